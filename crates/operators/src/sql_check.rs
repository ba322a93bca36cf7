//! `sql_check`: a query whose first row must be true.

use millrace_operator_api::ports::CheckResult;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::asking::{ask, conclude, is_true};
use crate::parts::parameter::{is_blank, rendered_text, yes};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<SqlCheck>("sql_check", "fails unless a query's first row is true")
    .aliases(&["SQLCheckOperator", "CheckOperator", "RedshiftCheckOperator"])
    .parameter_aliases(&[("conn_id", "sql_conn_id")]);

/// Asks a database, in a read-only transaction, and fails unless every value of the first row is true: not NULL, `''`,
/// `0`, `f` or `false`. No row fails too.
///
/// The task's result is a data-quality record: what was checked, when, and what was found.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlCheck {
    /// The connection to ask.
    sql_conn_id: Template<String>,
    /// One query.
    sql: Template<String>,
    /// Whether a check that does not pass is tried again, as other failures are.
    #[serde(default = "yes")]
    retry_on_failure: bool,
}

impl Operator for SqlCheck {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [("sql_conn_id", &self.sql_conn_id), ("sql", &self.sql)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl SqlCheck {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let sql = rendered_text("sql", &self.sql)?;
        let answer = ask(context, &conn_id, &sql).await?;
        let results: Vec<CheckResult> = match answer.rows.first() {
            None => {
                vec![CheckResult { name: "first row".to_owned(), passed: false, found: "no row came back".to_owned() }]
            }
            Some(row) => answer
                .columns
                .iter()
                .zip(row)
                .map(|(column, cell)| CheckResult {
                    name: column.clone(),
                    passed: cell.as_deref().is_some_and(is_true),
                    found: cell.clone().unwrap_or_else(|| "NULL".to_owned()),
                })
                .collect(),
        };
        conclude(context, &conn_id, &sql, &results, self.retry_on_failure)
    }
}
