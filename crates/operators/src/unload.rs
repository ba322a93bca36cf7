//! `unload`: rows of a query from Redshift to S3, written by Redshift.

use millrace_model::ledger::RowsRead;
use millrace_operator_api::ports::{ObjectPlace, TableName, UnloadReport, UnloadRequest, Warehouse};
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::loads::handover::WrittenObject;
use crate::parts::one_select::one_select;
use crate::parts::parameter::{OneOrMany, aws_default, is_blank, rendered, rendered_text, written};
use crate::parts::report::{ledger_entry, query_label, while_doing};
use crate::parts::table_name;
use crate::parts::unload_options::{self, UnloadOptions};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<Unload>("unload", "writes the rows of a query to S3 by Redshift's UNLOAD")
        .aliases(&["redshift_to_s3", "RedshiftToS3Operator"])
        .parameter_aliases(&[("redshift_conn_id", "warehouse_conn_id"), ("select_query", "query"), ("sql", "query")]);

/// Lets Redshift write the rows of a query, or of a table, to S3 (UNLOAD), many files at once. For other databases
/// `sql_to_s3` does that, and says so here.
///
/// The options are checked against each other when the file is read. When there are objects at the place already, the task
/// fails and changes nothing, unless an earlier try of the same task wrote them since it was last cleared, or `allowoverwrite` or `cleanpath` stands
/// among the options. So that a later try knows, a small note stays under `_millrace/` in the bucket.
///
/// In CSV and text, `null as '\N'` is added when no other is named, so that NULL and '' stay two. Texts that are just that
/// would be read as NULL: Redshift looks for them first, in the same transaction, and when there are any, nothing is written
/// and the task says in which columns. That reads the query a second time; `null as ''` does without, and `parquet` needs
/// none.
///
/// Credentials come from the connection and are never shown. The result names what was written: the manifest, when there
/// is one, or the one object; and how, and the names of the columns. So `copy` with `from_task` loads exactly these files by
/// the names of their columns, and needs no options of its own; several files need `manifest` here. A load that names the
/// files by their keys has to be told `null as '\N'` itself.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of parameters are the field's standard ones")]
pub struct Unload {
    /// The connection to Redshift.
    warehouse_conn_id: Template<String>,
    /// One SELECT, without LIMIT outside of brackets. Either this or `table`.
    #[serde(default)]
    query: Option<Template<String>>,
    /// The schema of `table`.
    #[serde(default)]
    schema: Option<Template<String>>,
    /// All rows of this table.
    #[serde(default)]
    table: Option<Template<String>>,
    /// The bucket to write to.
    s3_bucket: Template<String>,
    /// The beginning of the keys: Redshift adds the number of the slice and of the part.
    s3_key: Template<String>,
    /// Put the files under `s3_key` as a folder, with names that begin with that of the table.
    #[serde(default)]
    table_as_file_name: bool,
    /// The connection to S3 that looks at the place; Redshift itself writes with the role of its own connection.
    #[serde(default = "aws_default")]
    aws_conn_id: Template<String>,
    /// Options of UNLOAD: `csv`, `parquet`, `json` (none of them: text, with vertical bars), `header`, `delimiter ';'`, `null as '\N'`,
    /// `gzip`, `zstd`, `bzip2`, `partition by (year) include`, `manifest`, `allowoverwrite`, `cleanpath`, `parallel off`,
    /// `maxfilesize 100 mb`, ….
    #[serde(default = "csv")]
    unload_options: Template<OneOrMany>,
    /// `true` means `header` among the options.
    #[serde(default)]
    include_header: bool,
}

fn csv() -> Template<OneOrMany> {
    "csv".into()
}

impl Operator for Unload {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [
            ("warehouse_conn_id", Some(&self.warehouse_conn_id)),
            ("query", self.query.as_ref()),
            ("s3_bucket", Some(&self.s3_bucket)),
            ("s3_key", Some(&self.s3_key)),
            ("aws_conn_id", Some(&self.aws_conn_id)),
        ] {
            if field.is_some_and(is_blank) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        match (&self.query, &self.table) {
            (None, None) => problems.add("", "say which rows: query or table"),
            (Some(_), Some(_)) => problems.add("table", "query and table exclude each other"),
            (None, Some(table)) => table_name::check(self.schema.as_ref(), table, problems),
            (Some(query), None) => {
                if let Some(Err(problem)) = written(query).filter(|_| !is_blank(query)).as_deref().map(one_select) {
                    problems.add("query", problem);
                }
                if self.schema.is_some() {
                    problems.add("schema", "schema has a meaning with table only");
                }
            }
        }
        if self.table_as_file_name && self.table.is_none() {
            problems.add("table_as_file_name", "table_as_file_name has a meaning with table only");
        }
        if let Some(OneOrMany(texts)) = written(&self.unload_options) {
            for problem in self.options(&texts).err().unwrap_or_default() {
                problems.add("unload_options", problem);
            }
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl Unload {
    fn options(&self, texts: &[String]) -> Result<UnloadOptions, Vec<String>> {
        let options = unload_options::parse(texts)?;
        if !self.include_header || options.has_header {
            return Ok(options);
        }
        unload_options::parse(&[texts, &["header".to_owned()]].concat())
    }

    fn rendered_rows(&self, warehouse: &dyn Warehouse) -> Result<(String, Option<TableName>), TaskError> {
        match (&self.query, &self.table) {
            (Some(query), _) => {
                let text = rendered_text("query", query)?;
                let query =
                    one_select(&text).map_err(|problem| TaskError::Fail(format!("parameter query: {problem}")))?;
                Ok((query.to_owned(), None))
            }
            (None, Some(table)) => {
                let table = table_name::rendered(self.schema.as_ref(), table)?;
                Ok((format!("SELECT * FROM {}", warehouse.table_sql(&table)), Some(table)))
            }
            (None, None) => Err(TaskError::Fail("say which rows: query or table".to_owned())),
        }
    }

    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let conn_id = rendered_text("warehouse_conn_id", &self.warehouse_conn_id)?;
        let aws_conn_id = rendered_text("aws_conn_id", &self.aws_conn_id)?;
        let OneOrMany(texts) = rendered("unload_options", &self.unload_options)?;
        let options = self
            .options(&texts)
            .map_err(|problems| TaskError::Fail(format!("parameter unload_options: {}", problems.join("; "))))?;
        let warehouse = context.ports.warehouse(context, &conn_id).await?;
        let (query, table) = self.rendered_rows(warehouse.as_ref())?;
        let mut to = ObjectPlace {
            bucket: rendered_text("s3_bucket", &self.s3_bucket)?,
            key: rendered_text("s3_key", &self.s3_key)?,
        };
        if let Some(table) = table.filter(|_| self.table_as_file_name) {
            to.key = format!("{}/{}_", to.key.trim_end_matches('/'), table.name);
        }
        let store = context.ports.objects(context, &aws_conn_id).await?;
        let label = query_label(&conn_id, &query);
        if context.cancel.is_cancelled() {
            return Err(TaskError::Cancelled(context.cancel.cancelled().await));
        }
        context.checkpoint("unload", format!("{label} to {}", to.url()));
        let request = UnloadRequest {
            query: query.clone(),
            to: to.clone(),
            options: options.clauses.clone(),
            null_marker: options.null_marker.clone(),
            existing: options.existing,
            store,
            note_prefix: format!("_millrace/{}/", context.work.short_hash()),
            work: context.work.clone(),
        };
        // Not dropped when the stop is asked for: the warehouse sees the stop itself.
        let report =
            warehouse.unload(request).await.map_err(|error| while_doing(&format!("unloading {label}"), error))?;

        let bytes = report.objects.iter().map(|object| object.size).sum();
        let mut entry = ledger_entry(context, "extract", &label, to.url(), started_at);
        entry.read = Some(RowsRead { conn_id, query, ..RowsRead::default() });
        (entry.rows_read, entry.rows_written) = (report.rows, report.rows);
        entry.bytes = Some(bytes);
        entry.remote_ids.clone_from(&report.remote_ids);
        context.reporter.ledger(entry);
        if report.was_unloaded_before {
            context.info("an earlier try of this task had written all of it");
        }
        let rows = report.rows.map_or_else(|| "rows".to_owned(), |rows| format!("{rows} rows"));
        context.info(format!("{rows}, {bytes} bytes in {} objects at {}", report.objects.len(), to.url()));
        let result = result_of(&to, &options, &report, bytes);
        serde_json::to_value(result).map(Outcome::with).map_err(|error| TaskError::Fail(error.to_string()))
    }
}

fn result_of(to: &ObjectPlace, options: &UnloadOptions, report: &UnloadReport, bytes: u64) -> WrittenObject {
    let manifest = format!("{}manifest", to.key);
    let data: Vec<&str> =
        report.objects.iter().map(|object| object.key.as_str()).filter(|key| *key != manifest).collect();
    let key = match data.as_slice() {
        _ if options.has_manifest => manifest.clone(),
        [only] => (*only).to_owned(),
        _ => to.key.clone(),
    };
    let parts = (options.has_manifest || data.len() != 1).then_some(data.len());
    let url = ObjectPlace { bucket: to.bucket.clone(), key: key.clone() }.url();
    let etag = report.objects.iter().find(|object| object.key == key).and_then(|object| object.etag.clone());
    let is_in_file = |name: &str| !options.in_keys.iter().any(|other| other.eq_ignore_ascii_case(name));
    WrittenObject {
        bucket: to.bucket.clone(),
        key,
        url,
        rows: report.rows,
        bytes,
        checksum: None,
        parts,
        etag,
        columns: report.columns.iter().filter(|name| is_in_file(name)).cloned().collect(),
        copy_options: options.copy_options.clone(),
        types: Vec::new(),
        personal: std::collections::BTreeMap::new(),
        skipped: Vec::new(),
        longest: std::collections::BTreeMap::new(),
        since: None,
    }
}
