//! `sql_threshold_check`: a query whose value must lie between two others.

use std::cmp::Ordering;

use millrace_operator_api::ports::CheckResult;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::asking::{ask, conclude};
use crate::parts::parameter::{is_blank, rendered, rendered_text, written, yes};
use crate::parts::scalar::{Scalar, number};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<SqlThresholdCheck>("sql_threshold_check", "fails unless a query's value is within bounds")
        .aliases(&["SQLThresholdCheckOperator", "ThresholdCheckOperator"])
        .parameter_aliases(&[("conn_id", "sql_conn_id")]);

/// Asks a database, in a read-only transaction, for one number and fails unless it lies between the two thresholds, which
/// belong to the allowed. A threshold is a number, or a query that gives one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlThresholdCheck {
    /// The connection to ask.
    sql_conn_id: Template<String>,
    /// One query; the first value of its first row is checked.
    sql: Template<String>,
    /// The least value allowed: a number (in quotes one of more than 15 digits) or a query.
    min_threshold: Template<Scalar>,
    /// The greatest value allowed: a number or a query.
    max_threshold: Template<Scalar>,
    /// Whether a check that does not pass is tried again, as other failures are.
    #[serde(default = "yes")]
    retry_on_failure: bool,
}

impl Operator for SqlThresholdCheck {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [("sql_conn_id", &self.sql_conn_id), ("sql", &self.sql)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        if let (Some(least), Some(most)) = (written(&self.min_threshold), written(&self.max_threshold))
            && most.order_of(&least.to_string()).is_some_and(Ordering::is_gt)
        {
            problems.add("min_threshold", format!("min_threshold {least} is above max_threshold {most}"));
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl SqlThresholdCheck {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let sql = rendered_text("sql", &self.sql)?;
        let least = bound(context, &conn_id, "min_threshold", &self.min_threshold).await?;
        let most = bound(context, &conn_id, "max_threshold", &self.max_threshold).await?;
        let answer = ask(context, &conn_id, &sql).await?;
        let cell = answer.rows.first().and_then(|row| row.first().cloned().flatten());
        let result = CheckResult {
            name: format!("{least} <= {} <= {most}", answer.columns.first().map_or("value", String::as_str)),
            passed: cell.as_deref().is_some_and(|cell| {
                least.order_of(cell).is_some_and(Ordering::is_ge) && most.order_of(cell).is_some_and(Ordering::is_le)
            }),
            found: cell.unwrap_or_else(|| "no value".to_owned()),
        };
        conclude(context, &conn_id, &sql, &[result], self.retry_on_failure)
    }
}

async fn bound(
    context: &TaskContext,
    conn_id: &str,
    name: &str,
    field: &Template<Scalar>,
) -> Result<Scalar, TaskError> {
    let written = rendered(name, field)?;
    if written.number().is_some() {
        return Ok(written);
    }
    let answer = ask(context, conn_id, &written.to_string()).await?;
    let cell = answer.rows.first().and_then(|row| row.first().cloned().flatten());
    match cell {
        Some(cell) if number(&cell).is_some() => Ok(Scalar::Text(cell)),
        cell => Err(TaskError::Retry(format!(
            "parameter {name}: the query gave {}, which is no number",
            cell.as_deref().unwrap_or("no value")
        ))),
    }
}
