//! Objects into a table: what `copy` and `upsert` share.

use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use millrace_model::ledger::{RowsWritten, WriteMethod};
use millrace_operator_api::ports::{
    Column, CsvFormat, FileKind, LoadMethod, LoadReport, LoadRequest, LoadRows, ObjectInfo, ObjectRows, ObjectStore,
    TableName, Warehouse,
};
use millrace_operator_api::{Outcome, TaskContext, TaskError};
use serde_json::{Value, json};

use super::copy_options::{self, CopyOptions};
use super::drift::{Incoming, SchemaDrift, Settled, settle};
use super::manifest;
use super::mark::{self, Compression, FileShape, Format, Marks};
use super::report::{ledger_entry, unless_cancelled, while_doing};

/// Rejected rows that the log shows.
const REJECTED_SHOWN: usize = 10;
/// Objects asked about at one time.
const HEADS_AT_ONCE: usize = 16;

/// A load with every parameter rendered.
pub struct Loading {
    pub warehouse_conn_id: String,
    pub aws_conn_id: String,
    pub bucket: String,
    pub key: String,
    /// The key is the beginning of the keys to load.
    pub is_prefix: bool,
    pub target: TableName,
    pub columns: Option<Vec<String>>,
    pub method: LoadMethod,
    pub options: CopyOptions,
    pub drift: SchemaDrift,
    /// Where refused rows go.
    pub quarantine: Option<TableName>,
    pub show_values: bool,
    /// The rows that the task which wrote the objects reported.
    pub expected_rows: Option<u64>,
}

pub async fn load(context: &TaskContext, loading: Loading) -> Result<Outcome, TaskError> {
    let started_at = context.clock.now();
    let store = context.ports.objects(context, &loading.aws_conn_id).await?;
    let warehouse = context.ports.warehouse(context, &loading.warehouse_conn_id).await?;
    let unknown = copy_options::unknown_to(warehouse.engine(), &loading.options.format);
    if !unknown.is_empty() {
        return Err(TaskError::Fail(format!(
            "copy_options: {} has no meaning for {} ({})",
            unknown.join(", ").to_ascii_lowercase(),
            warehouse.engine(),
            loading.warehouse_conn_id
        )));
    }
    let objects = unless_cancelled(context, find_objects(store.as_ref(), &loading)).await?;
    let bytes: u64 = objects.iter().map(|object| object.size).sum();
    let marks: Vec<Marks> = objects.iter().map(mark::read).collect();
    let format = learn_format(context, &loading, &objects, &marks)?;
    let settled = choose_columns(context, warehouse.as_ref(), &loading, &marks).await?;
    let written: Option<u64> =
        loading.expected_rows.or_else(|| marks.iter().map(|marks| marks.rows).sum::<Option<u64>>());
    let source = source_label(&loading, &objects);
    context.info(format!(
        "loading {} ({} bytes) into {} of {} ({})",
        source,
        bytes,
        loading.target,
        loading.warehouse_conn_id,
        method_name(&loading.method)
    ));
    context.checkpoint("load", format!("{} objects, {bytes} bytes into {}", objects.len(), loading.target));

    let file_count = objects.len();
    let request = LoadRequest {
        target: loading.target.clone(),
        columns: settled.as_ref().map(|settled| settled.columns.clone()),
        ignored: settled.as_ref().map(|settled| settled.ignored.clone()).unwrap_or_default(),
        method: loading.method.clone(),
        rows: LoadRows::Objects(ObjectRows {
            objects,
            store: Arc::clone(&store),
            manifest_prefix: (loading.bucket.clone(), format!("_millrace/{}/", context.work.short_hash())),
        }),
        format,
        also: Vec::new(),
        quarantine: loading.quarantine.clone(),
        show_values: loading.show_values,
        work: context.work.clone(),
    };
    if context.cancel.is_cancelled() {
        return Err(TaskError::Cancelled(context.cancel.cancelled().await));
    }
    // Not dropped when the stop is asked for: the warehouse sees the stop itself and has to undo what it began.
    let report = warehouse
        .load(request)
        .await
        .map_err(|error| while_doing(&format!("loading {source} into {}", loading.target), error))?;

    let mut entry = ledger_entry(context, "load", &source, target_label(&loading), started_at);
    entry.written = Some(written_rows(&loading, settled.as_ref().map(Settled::taken)));
    entry.rows_read = report.rows_read;
    entry.rows_inserted = report.rows_inserted;
    entry.rows_updated = report.rows_updated;
    entry.rows_deleted = report.rows_deleted;
    entry.rows_rejected = report.rows_rejected;
    entry.bytes = Some(bytes);
    entry.remote_ids.clone_from(&report.remote_ids);
    entry.rows_written = sum_known(report.rows_inserted, report.rows_updated);
    context.reporter.ledger(entry);

    tell(context, &loading, &report);
    compare(&loading, &report, written)?;
    let differences = settled.map(|settled| settled.differences).unwrap_or_default();
    Ok(Outcome::with(result_of(&report, file_count, bytes, &differences)))
}

fn written_rows(loading: &Loading, columns: Option<Vec<String>>) -> RowsWritten {
    let (method, keys) = match &loading.method {
        LoadMethod::Append => (WriteMethod::Append, Vec::new()),
        LoadMethod::Replace | LoadMethod::Swap => (WriteMethod::Replace, Vec::new()),
        LoadMethod::Upsert { keys, .. } => (WriteMethod::Upsert, keys.clone()),
    };
    RowsWritten {
        conn_id: loading.warehouse_conn_id.clone(),
        schema: loading.target.schema.clone(),
        table: loading.target.name.clone(),
        columns,
        method,
        keys,
    }
}

/// Exactly the objects to load, with their metadata, in key order.
async fn find_objects(store: &dyn ObjectStore, loading: &Loading) -> Result<Vec<ObjectInfo>, TaskError> {
    let place = format!("s3://{}/{}", loading.bucket, loading.key);
    let attempted = format!("looking for {place}");
    if !loading.is_prefix {
        let object = store.head(&loading.bucket, &loading.key).await.map_err(|e| while_doing(&attempted, e))?;
        return match object {
            Some(list) if mark::is_manifest(&list) || loading.options.is_manifest => {
                let objects = manifest::objects(store, &list).await?;
                if objects.is_empty() { Err(TaskError::Fail(format!("{place} lists no objects"))) } else { Ok(objects) }
            }
            Some(object) => Ok(vec![object]),
            None => Err(TaskError::Retry(format!(
                "there is no object {place}; s3_key names one object exactly (prefix: true loads every key that begins \
                 with it)"
            ))),
        };
    }
    let listed: Vec<ObjectInfo> = store
        .list(&loading.bucket, &loading.key)
        // Consoles make empty objects that stand for folders.
        .try_filter(|object| std::future::ready(!(object.size == 0 && object.key.ends_with('/'))))
        .try_collect()
        .await
        .map_err(|error| while_doing(&attempted, error))?;
    if listed.is_empty() {
        return Err(TaskError::Retry(format!("no object's key begins with {place}")));
    }
    let attempted = &attempted;
    let found: Vec<ObjectInfo> = stream::iter(listed.into_iter().map(|object| async move {
        let found = store.head(&object.bucket, &object.key).await.map_err(|e| while_doing(attempted, e))?;
        found.ok_or_else(|| TaskError::Retry(format!("{} vanished while it was looked at", object.url())))
    }))
    .buffered(HEADS_AT_ONCE)
    .try_collect()
    .await?;
    match found.iter().find(|object| mark::is_manifest(object)) {
        None => Ok(found),
        Some(list) => Err(TaskError::Fail(format!(
            "{} is a list of parts, which prefix: true would load as rows; name its key exactly and leave prefix out",
            list.url()
        ))),
    }
}

/// What the options leave open is taken from what the objects say about themselves; where the two disagree so that rows
/// would be lost or changed, the load is refused.
fn learn_format(
    context: &TaskContext,
    loading: &Loading,
    objects: &[ObjectInfo],
    marks: &[Marks],
) -> Result<CsvFormat, TaskError> {
    let mut format = loading.options.format.clone();
    let shapes: Vec<Option<&FileShape>> = marks.iter().map(|marks| marks.shape.as_ref()).collect();
    let Some(Some(shape)) = shapes.first().copied() else {
        return Ok(format);
    };
    let differing = shapes.iter().position(|other| {
        other.is_none_or(|other| {
            FileShape { columns: Vec::new(), ..other.clone() } != FileShape { columns: Vec::new(), ..shape.clone() }
        })
    });
    if let Some(index) = differing {
        return Err(TaskError::Fail(format!(
            "{} and {} are written differently (NULL marker, header, delimiter or compression), and one load reads all files \
             in one way; load them by two tasks",
            objects[0].url(),
            objects[index].url()
        )));
    }
    if shape.format == Format::Parquet {
        // The file knows its columns, its NULLs and its compression itself.
        return Ok(CsvFormat { kind: FileKind::Parquet, ..format });
    }
    let marker = (!shape.null_marker.is_empty()).then(|| shape.null_marker.clone());
    match (&format.null_as, &marker) {
        (None, Some(marker)) => {
            context.info(format!("the file says that '{marker}' stands for NULL"));
            format.null_as = Some(marker.clone());
        }
        (Some(given), Some(marker)) if given != marker => context.warning(format!(
            "copy_options say null as '{given}', but the file was written with '{marker}' for NULL, which is now loaded as text"
        )),
        _ => {}
    }
    if !loading.options.says_header {
        format.ignore_header = u32::from(shape.header);
    } else if format.ignore_header != u32::from(shape.header) {
        return Err(TaskError::Fail(format!(
            "copy_options say ignoreheader {}, but {} was written with {} header lines: rows would be lost or a header \
             loaded; leave ignoreheader out, the file says it itself",
            format.ignore_header,
            objects[0].url(),
            u32::from(shape.header)
        )));
    }
    if format.delimiter.is_none() && shape.delimiter != ',' {
        format.delimiter = Some(shape.delimiter);
    } else if format.delimiter.is_some_and(|given| given != shape.delimiter) {
        return Err(TaskError::Fail(format!(
            "copy_options say delimiter '{}', but {} was written with '{}'",
            format.delimiter.unwrap_or(','),
            objects[0].url(),
            shape.delimiter
        )));
    }
    if format.kind != FileKind::Csv {
        return Err(TaskError::Fail(format!(
            "{} was written as CSV, but copy_options name another format; write csv",
            objects[0].url()
        )));
    }
    format.gzip = shape.compression == Compression::Gzip;
    format.zstd = shape.compression == Compression::Zstd;
    Ok(format)
}

/// By name wherever the names are known: given, or remembered by the file. `None` is by position.
async fn choose_columns(
    context: &TaskContext,
    warehouse: &dyn Warehouse,
    loading: &Loading,
    marks: &[Marks],
) -> Result<Option<Settled>, TaskError> {
    let names_of = |marks: &Marks| marks.shape.as_ref().map(|shape| shape.columns.clone()).unwrap_or_default();
    let written = marks.first().map(names_of).unwrap_or_default();
    if let Some(columns) = &loading.columns {
        if !written.is_empty() && written.len() != columns.len() {
            return Err(TaskError::Fail(format!(
                "columns lists {} names, but the file has {} columns: {}",
                columns.len(),
                written.len(),
                written.join(", ")
            )));
        }
        require_keys(&loading.method, columns, &[])?;
        return Ok(Some(Settled { columns: columns.clone(), ..Settled::default() }));
    }
    if let Some(other) = marks.iter().map(names_of).find(|names| *names != written) {
        if written.is_empty() || other.is_empty() {
            return Ok(None);
        }
        return Err(TaskError::Fail(format!(
            "the files have different columns ({} and {}), and one load reads all files in one way; load them by two tasks",
            written.join(", "),
            other.join(", ")
        )));
    }
    if written.is_empty() {
        return Ok(None);
    }
    let table = warehouse
        .describe(&loading.target)
        .await
        .map_err(|error| while_doing(&format!("looking at table {}", loading.target), error))?;
    let is_known = |name: &String| table.iter().any(|column| column.name.eq_ignore_ascii_case(name));
    if !written.iter().any(is_known) {
        return by_position(context, loading, &written, &table);
    }
    let incoming: Vec<Incoming> = written.into_iter().map(|name| Incoming { name, value: None }).collect();
    let settled = settle(context, warehouse, &loading.target, &incoming, loading.drift).await?;
    require_keys(&loading.method, &settled.columns, &settled.ignored)?;
    Ok(Some(settled))
}

/// No name of the file is one of the table.
fn by_position(
    context: &TaskContext,
    loading: &Loading,
    written: &[String],
    table: &[Column],
) -> Result<Option<Settled>, TaskError> {
    let in_file = written.join(", ");
    let of_table = table.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
    if written.len() != table.len() {
        return Err(TaskError::Fail(format!(
            "the file's columns ({in_file}) do not fit table {} ({of_table}): name them alike in the query, or list the \
             table's names in columns",
            loading.target
        )));
    }
    context.warning(format!(
        "columns go by position, because no name of the file ({in_file}) is in table {} ({of_table})",
        loading.target
    ));
    Ok(None)
}

fn require_keys(method: &LoadMethod, columns: &[String], ignored: &[String]) -> Result<(), TaskError> {
    let LoadMethod::Upsert { keys, order_key } = method else { return Ok(()) };
    let missing: Vec<&str> = keys
        .iter()
        .chain(order_key)
        .filter(|key| {
            let is_key = |column: &&String| column.eq_ignore_ascii_case(key) && !ignored.contains(column);
            !columns.iter().any(|column| is_key(&column))
        })
        .map(String::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(TaskError::Fail(format!(
        "upsert needs {} in the file, whose columns are {}",
        missing.join(" and "),
        columns.join(", ")
    )))
}

fn tell(context: &TaskContext, loading: &Loading, report: &LoadReport) {
    if report.was_loaded_before {
        context.info(format!(
            "an earlier try of this task had loaded it into {} and committed: nothing was loaded again",
            loading.target
        ));
    }
    let numbers: Vec<String> = [
        ("read", report.rows_read),
        ("inserted", report.rows_inserted),
        ("updated", report.rows_updated),
        ("unchanged", unchanged(report)),
        ("deleted", report.rows_deleted),
        ("rejected", report.rows_rejected),
    ]
    .iter()
    .filter_map(|(name, count)| count.map(|count| format!("{count} {name}")))
    .collect();
    if !numbers.is_empty() {
        context.info(format!("rows: {}", numbers.join(", ")));
    }
    if report.rows_rejected.is_some_and(|rejected| rejected > 0) {
        context.warning("rows were rejected, within what maxerror allows");
        for row in report.rejected.iter().take(REJECTED_SHOWN) {
            context.warning(format!("rejected: {row}"));
        }
        if let Some(quarantine) = &loading.quarantine {
            context.info(format!("the rejected rows are in {quarantine}"));
        }
    }
}

/// Numbers that can't all be right fail the task; what is unknown is not compared.
fn compare(loading: &Loading, report: &LoadReport, written: Option<u64>) -> Result<(), TaskError> {
    let Some(read) = report.rows_read else { return Ok(()) };
    let rejected = report.rows_rejected.unwrap_or(0);
    let fail = |what: String| {
        Err(TaskError::Fail(format!(
            "{what}; the load into {} is committed: compare the table with its source before anything builds on it",
            loading.target
        )))
    };
    if let Some(written) = written
        && read != written
        && read + rejected != written
    {
        return fail(format!("{written} rows were written to the files, but {read} were read from them"));
    }
    if let (LoadMethod::Append | LoadMethod::Replace | LoadMethod::Swap, Some(inserted)) =
        (&loading.method, report.rows_inserted)
        && inserted != read
        && inserted + rejected != read
    {
        return fail(format!("{read} rows were read, but {inserted} were inserted and {rejected} rejected"));
    }
    if let (LoadMethod::Upsert { .. }, Some(changed)) =
        (&loading.method, sum_known(report.rows_inserted, report.rows_updated))
        && changed > read
    {
        return fail(format!("{read} rows were read, but {changed} were inserted or updated"));
    }
    Ok(())
}

fn sum_known(first: Option<u64>, second: Option<u64>) -> Option<u64> {
    match (first, second) {
        (None, None) => None,
        (first, second) => Some(first.unwrap_or(0) + second.unwrap_or(0)),
    }
}

/// Rows that came in and changed nothing.
fn unchanged(report: &LoadReport) -> Option<u64> {
    let changed = report.rows_inserted? + report.rows_updated? + report.rows_rejected?;
    report.rows_read?.checked_sub(changed)
}

fn result_of(report: &LoadReport, files: usize, bytes: u64, differences: &[String]) -> Value {
    json!({
        "rows_unchanged": unchanged(report),
        "schema_drift": differences,
        "rows_read": report.rows_read,
        "rows_inserted": report.rows_inserted,
        "rows_updated": report.rows_updated,
        "rows_deleted": report.rows_deleted,
        "rows_rejected": report.rows_rejected,
        "was_loaded_before": report.was_loaded_before,
        "files": files,
        "bytes": bytes,
    })
}

fn source_label(loading: &Loading, objects: &[ObjectInfo]) -> String {
    match objects {
        [only] => only.url(),
        several => format!("s3://{}/{}* ({} objects)", loading.bucket, loading.key, several.len()),
    }
}

fn target_label(loading: &Loading) -> String {
    format!("{}: {}", loading.warehouse_conn_id, loading.target)
}

fn method_name(method: &LoadMethod) -> String {
    match method {
        LoadMethod::Append => "append".to_owned(),
        LoadMethod::Replace => "replace".to_owned(),
        LoadMethod::Swap => "swap".to_owned(),
        LoadMethod::Upsert { keys, order_key: None } => format!("upsert by {}", keys.join(", ")),
        LoadMethod::Upsert { keys, order_key: Some(order) } => {
            format!("upsert by {}, the highest {order} stays", keys.join(", "))
        }
    }
}
