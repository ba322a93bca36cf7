//! `summary_check`: checks on a table that is there.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::parts::checks::{self, Checks};
use crate::parts::parameter::{is_blank, rendered_text, written};
use crate::parts::report::{ledger_entry, while_doing};
use crate::parts::table_name;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<SummaryCheck>("summary_check", "checks a table: rows, keys, NULLs, SQL")
        .aliases(&["table_check"])
        .parameter_aliases(&[("redshift_conn_id", "warehouse_conn_id")]);

/// Checks a table and changes nothing; a check that does not pass fails the task. `summary_table` runs the same checks
/// before it swaps a table in.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SummaryCheck {
    /// The connection to the warehouse.
    warehouse_conn_id: Template<String>,
    /// The table's schema. Left out: the connection's own search path.
    #[serde(default)]
    schema: Option<Template<String>>,
    /// The table's name, without schema.
    table: Template<String>,
    /// What must be true of the table. By default it must hold a row.
    #[serde(default)]
    checks: Template<Checks>,
}

impl Operator for SummaryCheck {
    fn check(&self, problems: &mut Problems) {
        if is_blank(&self.warehouse_conn_id) {
            problems.add("warehouse_conn_id", "warehouse_conn_id is empty");
        }
        table_name::check(self.schema.as_ref(), &self.table, problems);
        checks::check(&self.checks, problems);
        if written(&self.checks).is_some_and(|checks| checks.is_nothing()) {
            problems.add("checks", "nothing is checked: min_rows is 0 and there is no other check");
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl SummaryCheck {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let conn_id = rendered_text("warehouse_conn_id", &self.warehouse_conn_id)?;
        let table = table_name::rendered(self.schema.as_ref(), &self.table)?;
        let wanted = checks::rendered_checks(&self.checks, started_at)?;
        let warehouse = context.ports.warehouse(context, &conn_id).await?;
        if context.cancel.is_cancelled() {
            return Err(TaskError::Cancelled(context.cancel.cancelled().await));
        }
        let results =
            warehouse.check(&table, &wanted).await.map_err(|error| while_doing(&format!("checking {table}"), error))?;
        let failed = checks::tell(context, &results);
        let label = format!("{conn_id}: {table}");
        let mut entry = ledger_entry(context, "check", &label, &label, started_at);
        entry.checks = checks::as_record(&results);
        context.reporter.ledger(entry);
        if results.len() != wanted.len() {
            return Err(TaskError::Fail(format!(
                "{} checks were asked of {table}, but {} were answered",
                wanted.len(),
                results.len()
            )));
        }
        if !failed.is_empty() {
            return Err(TaskError::Retry(format!("{table} did not pass its checks: {}", failed.join("; "))));
        }
        Ok(Outcome::with(json!({ "checks": checks::as_json(&results) })))
    }
}
