//! `summary_table`: builds a table beside the live one, checks it, swaps it in.

use millrace_model::ledger::{RowsRead, RowsWritten, WriteMethod};
use millrace_operator_api::ports::BuildRequest;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::parts::checks::{self, Checks};
use crate::parts::parameter::{is_blank, rendered_option, rendered_text, written, yes};
use crate::parts::report::{ledger_entry, query_label, while_doing};
use crate::parts::table_name;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<SummaryTable>("summary_table", "builds a table from a SELECT, checks it, and swaps it in")
        .aliases(&["build_summary_table"])
        .parameter_aliases(&[("redshift_conn_id", "warehouse_conn_id"), ("sql", "select"), ("main_sql", "select")]);

/// Builds a table from a SELECT beside the live one, checks it, and swaps it in when every check passed. Readers see the
/// old table or the new one. A failed check fails the task and leaves the live table untouched.
///
/// Without `columns` the new table is made like the live one, with its types, defaults and NOT NULLs, and the live one must
/// exist. It takes the live one's place as with `swap`. With `columns` where views, triggers or foreign keys hang on the live
/// one, they must be columns that it has, with its types: its rows are exchanged then, and it stays.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SummaryTable {
    /// The connection to the warehouse.
    warehouse_conn_id: Template<String>,
    /// The table's schema. Left out: the connection's own search path.
    #[serde(default)]
    schema: Option<Template<String>>,
    /// The live table's name, without schema.
    table: Template<String>,
    /// The SELECT that fills it; its columns are in the table's order.
    select: Template<String>,
    /// The column definitions of CREATE TABLE in parentheses, such as `(day date not null, n bigint default 0)`.
    #[serde(default)]
    columns: Option<Template<String>>,
    /// What must be true of the new table before it is swapped in. By default it must hold a row.
    #[serde(default)]
    checks: Template<Checks>,
    /// Keep the new table for inspection when a check fails, as `TABLE__failed_…`. The next success of the task drops what its
    /// failed runs kept.
    #[serde(default = "yes")]
    keep_failed: bool,
}

impl Operator for SummaryTable {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [("warehouse_conn_id", &self.warehouse_conn_id), ("select", &self.select)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        table_name::check(self.schema.as_ref(), &self.table, problems);
        if let Some(columns) = self.columns.as_ref().and_then(written)
            && !is_definition(&columns)
        {
            problems
                .add("columns", "columns is the text in parentheses of CREATE TABLE: (day date not null, n bigint)");
        }
        checks::check(&self.checks, problems);
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

fn is_definition(text: &str) -> bool {
    text.trim_start().starts_with('(') && text.contains(')')
}

impl SummaryTable {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let conn_id = rendered_text("warehouse_conn_id", &self.warehouse_conn_id)?;
        let target = table_name::rendered(self.schema.as_ref(), &self.table)?;
        let select = rendered_text("select", &self.select)?.trim().trim_end_matches(';').trim_end().to_owned();
        let columns_ddl = rendered_option("columns", self.columns.as_ref())?;
        if columns_ddl.as_deref().is_some_and(|text| !is_definition(text)) {
            return Err(TaskError::Fail("parameter columns: not a list of columns in parentheses".to_owned()));
        }
        let request = BuildRequest {
            target: target.clone(),
            select: select.clone(),
            columns_ddl,
            checks: checks::rendered_checks(&self.checks, started_at)?,
            keep_failed: self.keep_failed,
            also: Vec::new(),
            work: context.work.clone(),
        };
        let warehouse = context.ports.warehouse(context, &conn_id).await?;
        if context.cancel.is_cancelled() {
            return Err(TaskError::Cancelled(context.cancel.cancelled().await));
        }
        context.checkpoint("build", format!("building a new table for {target}"));
        let report = warehouse
            .build_and_swap(request)
            .await
            .map_err(|error| while_doing(&format!("building a new table for {target}"), error))?;

        if report.was_built_before {
            context.info(format!("an earlier try of this task had built {target} and swapped it in"));
        }
        let failed = checks::tell(context, &report.checks);
        let mut entry =
            ledger_entry(context, "build", query_label(&conn_id, &select), format!("{conn_id}: {target}"), started_at);
        entry.rows_read = report.rows;
        entry.rows_written = if report.was_swapped { report.rows } else { Some(0) };
        if report.was_swapped || report.was_built_before {
            let (of_source, of_target) = (conn_id.clone(), conn_id.clone());
            entry.read = Some(RowsRead { conn_id: of_source, query: select.clone(), ..RowsRead::default() });
            entry.written = Some(RowsWritten {
                conn_id: of_target,
                schema: target.schema.clone(),
                table: target.name.clone(),
                columns: None,
                method: WriteMethod::Replace,
                keys: Vec::new(),
            });
        }
        entry.remote_ids.clone_from(&report.remote_ids);
        entry.checks = checks::as_record(&report.checks);
        context.reporter.ledger(entry);
        if !failed.is_empty() || !(report.was_swapped || report.was_built_before) {
            let kept = report.kept_as.map(|name| format!("; the new table is kept as {name}")).unwrap_or_default();
            let none = if report.rows == Some(0) { "no records: " } else { "" };
            return Err(TaskError::Retry(format!(
                "the new table for {target} did not pass its checks: {none}{}; the live table is untouched{kept}",
                failed.join("; ")
            )));
        }
        context.info(format!(
            "{target} is the new table{}",
            report.rows.map(|n| format!(", {n} rows")).unwrap_or_default()
        ));
        Ok(Outcome::with(json!({
            "rows": report.rows,
            "checks": checks::as_json(&report.checks),
            "was_built_before": report.was_built_before,
        })))
    }
}
