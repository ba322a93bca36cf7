//! Objects into a table: what `copy` and `upsert` share.

mod deleting;
mod direct;
mod foreign_header;
mod found;
mod late;
mod learnt;
mod split_parts;
mod telling_apart;
mod too_long;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use millrace_model::ledger::{RowsRead, RowsWritten, WriteMethod};
use millrace_operator_api::ports::{
    CsvFormat, FileKind, LoadMethod, LoadReport, LoadRequest, LoadRows, ObjectInfo, ObjectRows, TableName, Warehouse,
};
use millrace_operator_api::{Outcome, PortError, TaskContext, TaskError};
use serde_json::{Value, json};

use crate::parts::copying::deletes::{forget_earlier, work_of_keys};
use crate::parts::files::mark::{self, Marks};
use crate::parts::loads::copy_options::{self, CopyOptions};
use crate::parts::loads::drift::{SchemaDrift, Settled};
use crate::parts::loads::file_columns::{self, Naming};
use crate::parts::loads::handover::WrittenObject;
use crate::parts::loads::rejected;
use crate::parts::reads::treatment::{Leaps, Treatments, ZeroDates};
use crate::parts::report::{ledger_entry, unless_cancelled, while_doing};
use deleting::First;

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
    /// Times without a zone in files are UTC: whoever wrote the task says so.
    pub files_in_utc: bool,
    /// What the task said that wrote the objects.
    pub handed: Option<Handed>,
    /// Rows straight from a database instead of objects.
    pub direct: Option<Direct>,
    /// Where all keys of the source come from, if rows without one are to go.
    pub delete_missing: Option<Missing>,
}

/// One SELECT over a connection.
pub struct Query {
    pub conn_id: String,
    pub query: String,
}

/// All keys of the source, and what is done to them so that they are those of the table.
pub struct Missing {
    pub keys: Query,
    pub columns: Treatments,
    /// The connection with the key of `hash`.
    pub hash_conn_id: Option<String>,
    pub source_timezone: Option<String>,
}

/// Rows that come straight from a database.
pub struct Direct {
    pub query: Query,
    pub zero_dates: ZeroDates,
    pub treatments: Treatments,
    /// The connection with the key of `hash`.
    pub hash_conn_id: Option<String>,
    pub source_timezone: Option<String>,
}

/// The result of a task that wrote objects.
pub struct Handed {
    pub task: String,
    pub object: WrittenObject,
    /// How the objects are written, where they don't say it themselves.
    pub options: Option<CopyOptions>,
}

/// Rows that are ready to be loaded.
struct Prepared {
    rows: LoadRows,
    format: CsvFormat,
    settled: Option<Settled>,
    /// How many were written to the files, where that is known.
    written: Option<u64>,
    /// Where they come from, for people.
    label: String,
    bytes: Option<u64>,
    files: usize,
    /// What was read, where it comes straight from a database.
    read: Option<RowsRead>,
    leaps: Option<Leaps>,
    /// What ended the reading: a warehouse puts it in words of its own.
    read_error: Option<Arc<Mutex<Option<PortError>>>>,
}

pub async fn load(context: &TaskContext, loading: Loading) -> Result<Outcome, TaskError> {
    let started_at = context.clock.now();
    let warehouse = context.ports.warehouse(context, &loading.warehouse_conn_id).await?;
    let warehouse = warehouse.as_ref();
    check_engine(warehouse.engine(), &loading, &loading.options.format)?;
    if loading.delete_missing.is_some() {
        forget_earlier(context, warehouse, &loading.target, &work_of_keys(&context.work)).await;
    }
    // Before the rows are asked for: nobody reads them meanwhile, and a source that waits for that gives up.
    let first = deleting::before_load(context, warehouse, &loading).await?;
    let loaded = load_rows(context, warehouse, &loading, (first.as_ref(), started_at)).await;
    if let Some(first) = first {
        first.forget().await;
    }
    let loaded = loaded?;
    if copy_options::loads_nothing(&loading.options.format) {
        return Ok(checked(context, &loading, loaded, started_at));
    }
    let Loaded { report, settled, files, bytes, .. } = loaded;
    let deleted = match &loading.delete_missing {
        Some(missing) => {
            let settled = settled.as_ref();
            let deleted = deleting::delete_missing(context, warehouse, &loading, (missing, settled)).await?;
            sum_known(report.rows_deleted, Some(deleted))
        }
        None => report.rows_deleted,
    };
    let differences = settled.map(|settled| settled.differences).unwrap_or_default();
    let report = LoadReport { rows_deleted: deleted, ..report };
    Ok(Outcome::with(result_of(&report, files, bytes, &differences)))
}

/// Rows that stand in the table.
struct Loaded {
    report: LoadReport,
    /// Where they come from, for people.
    label: String,
    settled: Option<Settled>,
    files: usize,
    bytes: Option<u64>,
}

async fn load_rows(
    context: &TaskContext,
    warehouse: &dyn Warehouse,
    loading: &Loading,
    (first, started_at): (Option<&First<'_>>, DateTime<Utc>),
) -> Result<Loaded, TaskError> {
    let prepared = match &loading.direct {
        Some(direct) => direct::prepare(context, warehouse, loading, direct).await?,
        None => prepare(context, warehouse, loading).await?,
    };
    let Prepared { rows, format, settled, written, label, bytes, files, read, leaps, read_error } = prepared;
    first.map_or(Ok(()), |first| first.check(settled.as_ref()))?;
    if warehouse.engine() == "redshift" && loading.direct.is_none() {
        warn_of_empty_bytes(context, &format.kind, settled.as_ref());
    }
    announce(context, loading, &label, (files, bytes));
    let request = LoadRequest {
        columns: settled.as_ref().map(|settled| settled.columns.clone()),
        ignored: settled.as_ref().map(|settled| settled.ignored.clone()).unwrap_or_default(),
        types: settled.as_ref().map(|settled| settled.types.clone()).unwrap_or_default(),
        texts_are_utc: loading.files_in_utc,
        format,
        expected_rows: written,
        late_before: late::before(loading),
        gone: first.map(|first| first.gone.clone()).unwrap_or_default(),
        quarantine: loading.quarantine.clone(),
        show_values: loading.show_values,
        ..LoadRequest::new(loading.target.clone(), loading.method.clone(), rows, context.work.clone())
    };
    if context.cancel.is_cancelled() {
        return Err(TaskError::Cancelled(context.cancel.cancelled().await));
    }
    // Not dropped when the stop is asked for: the warehouse sees the stop itself and has to undo what it began.
    let report = warehouse.load(request).await.map_err(|error| {
        let cause = read_error.and_then(|seen| seen.lock().unwrap_or_else(PoisonError::into_inner).take());
        match cause {
            Some(cause) => while_doing(&format!("reading {label}"), cause),
            None => while_doing(&format!("loading {label} into {}", loading.target), told(loading, error)),
        }
    })?;
    if let Some(leaps) = leaps {
        leaps.tell(context);
    }
    let bytes = bytes.or(report.bytes);
    if copy_options::loads_nothing(&loading.options.format) {
        return Ok(Loaded { report, label, settled, files, bytes });
    }
    let mut entry = ledger_entry(context, "load", &label, target_label(loading), started_at);
    entry.read = read;
    entry.written = Some(written_rows(loading, settled.as_ref().map(Settled::taken)));
    entry.rows_read = report.rows_read;
    entry.rows_inserted = report.rows_inserted;
    entry.rows_updated = report.rows_updated;
    entry.rows_deleted = report.rows_deleted;
    entry.rows_rejected = report.rows_rejected;
    entry.bytes = bytes;
    entry.remote_ids.clone_from(&report.remote_ids);
    entry.rows_written = sum_known(report.rows_inserted, report.rows_updated);
    context.reporter.ledger(entry);

    tell(context, loading, &report);
    late::tell(context, loading, &label, report.rows_late, started_at);
    compare(loading, &report, written)?;
    Ok(Loaded { report, label, settled, files, bytes })
}

/// Nothing was loaded, and nobody is to take it for a load.
fn checked(context: &TaskContext, loading: &Loading, loaded: Loaded, started_at: DateTime<Utc>) -> Outcome {
    let Loaded { report, label, files, bytes, .. } = loaded;
    let mut entry = ledger_entry(context, "check", &label, target_label(loading), started_at);
    (entry.bytes, entry.remote_ids) = (bytes, report.remote_ids);
    context.reporter.ledger(entry);
    context.info(format!("noload: {label} fits {}; nothing was loaded", loading.target));
    Outcome::with(json!({"noload": true, "files": files, "bytes": bytes}))
}

fn announce(context: &TaskContext, loading: &Loading, label: &str, (files, bytes): (usize, Option<u64>)) {
    let size = bytes.map(|bytes| format!(" ({bytes} bytes)")).unwrap_or_default();
    context.info(format!(
        "loading {label}{size} into {} of {} ({})",
        loading.target,
        loading.warehouse_conn_id,
        method_name(&loading.method)
    ));
    let objects = if files == 1 { "object" } else { "objects" };
    context.checkpoint("load", format!("{files} {objects}{size} into {}", loading.target));
}

fn told(loading: &Loading, error: PortError) -> PortError {
    rejected::of_a_rule(error, loading.options.format.max_error, "maxerror")
}

fn warn_of_empty_bytes(context: &TaskContext, kind: &FileKind, settled: Option<&Settled>) {
    let Some(settled) = settled.filter(|settled| !settled.bytes.is_empty()) else { return };
    let what = match kind {
        FileKind::Csv => {
            "becomes NULL, because COPY takes such a field of a CSV file for NULL in a VARBYTE column; for_table at the extract \
             stops at it"
        }
        FileKind::Parquet => "may become NULL: what COPY makes of one in a Parquet file is not documented",
        _ => return,
    };
    context.warning(format!("{}: a value of no bytes {what}; table_copy keeps it", settled.bytes.join(", ")));
}

/// Refuses options that mean nothing to the engine.
fn check_engine(engine: &str, loading: &Loading, format: &CsvFormat) -> Result<(), TaskError> {
    let unknown = copy_options::unknown_to(engine, format);
    if !unknown.is_empty() {
        return Err(TaskError::Fail(format!(
            "copy_options: {} has no meaning for {} ({})",
            unknown.join(", ").to_ascii_lowercase(),
            engine,
            loading.warehouse_conn_id
        )));
    }
    if format.remove_nul && engine == "redshift" && loading.direct.is_none() {
        return Err(TaskError::Fail(format!(
            "nul_bytes: remove has no meaning here: Redshift ({}) reads the files itself and refuses NUL bytes; take them out in \
             the query that writes the files, or load without files (sql_conn_id and query)",
            loading.warehouse_conn_id
        )));
    }
    Ok(())
}

/// Finds the objects and how they are written.
async fn prepare(context: &TaskContext, warehouse: &dyn Warehouse, loading: &Loading) -> Result<Prepared, TaskError> {
    let store = context.ports.objects(context, &loading.aws_conn_id).await?;
    let found::Found { objects, columns: told } =
        unless_cancelled(context, found::objects(context, store.as_ref(), loading)).await?;
    let bytes: u64 = objects.iter().map(|object| object.size).sum();
    let marks: Vec<Marks> = objects.iter().map(mark::read).collect();
    telling_apart::check(loading, &marks, &BTreeMap::new())?;
    let format = learnt::format(context, warehouse.engine(), loading, &objects, &marks)?;
    check_engine(warehouse.engine(), loading, &format)?;
    let names = Naming { store: store.as_ref(), told: &told, format: &format, are_given: loading.columns.is_some() };
    let columns = unless_cancelled(context, names.of(&objects, &marks)).await?;
    let are_foreign = loading.columns.is_none() && columns.iter().all(|columns| columns.names.is_empty());
    if are_foreign {
        let files = (&format, objects.as_slice());
        let looked = foreign_header::refuse_other_order(store.as_ref(), warehouse, &loading.target, files);
        unless_cancelled(context, looked).await?;
    }
    let settled = file_columns::choose(context, warehouse, loading, columns).await?;
    too_long::check(context, warehouse, loading, &format, settled.as_ref()).await?;
    let handed = loading.handed.as_ref().and_then(|handed| handed.object.rows);
    let written: Option<u64> = handed.or_else(|| marks.iter().map(|marks| marks.rows).sum::<Option<u64>>());
    Ok(Prepared {
        label: source_label(loading, &objects),
        files: objects.len(),
        bytes: Some(bytes),
        rows: LoadRows::Objects(ObjectRows {
            objects,
            store: Arc::clone(&store),
            manifest_prefix: (loading.bucket.clone(), format!("_millrace/{}/", context.work.short_hash())),
        }),
        format,
        settled,
        written,
        read: None,
        leaps: None,
        read_error: None,
    })
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
        // An upsert deletes few rows, if any; what goes after it is counted then.
        (
            "deleted",
            report.rows_deleted.filter(|count| *count > 0 || !matches!(loading.method, LoadMethod::Upsert { .. })),
        ),
        ("rejected", report.rows_rejected),
    ]
    .iter()
    .filter_map(|(name, count)| count.map(|count| format!("{count} {name}")))
    .collect();
    if !numbers.is_empty() {
        context.info(format!("rows: {}", numbers.join(", ")));
    }
    rejected::tell(context, report, loading.quarantine.as_ref(), "maxerror");
    tell_what_the_table_did(context, &loading.target, report);
}

/// With rows and values that were to go into it.
pub fn tell_what_the_table_did(context: &TaskContext, target: &TableName, report: &LoadReport) {
    if !report.computed.is_empty() {
        context.info(format!(
            "{target}: {} is computed by the table itself; the values that came in were passed over",
            report.computed.join(", ")
        ));
    }
    if let Some(kept) = report.rows_kept.filter(|kept| *kept > 0) {
        context.warning(format!(
            "{target}: {kept} of the rows that were to be updated are as they were, though other values came in: a trigger of \
             the table keeps them, or makes of those values what is there already"
        ));
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

fn result_of(report: &LoadReport, files: usize, bytes: Option<u64>, differences: &[String]) -> Value {
    json!({
        "rows_unchanged": unchanged(report),
        "schema_drift": differences,
        "rows_read": report.rows_read,
        "rows_inserted": report.rows_inserted,
        "rows_updated": report.rows_updated,
        "rows_deleted": report.rows_deleted,
        "rows_rejected": report.rows_rejected,
        "rows_late": report.rows_late,
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
