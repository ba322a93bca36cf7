//! `sql_value_check`: a query whose values must be a given one.

use std::cmp::Ordering;

use millrace_operator_api::ports::CheckResult;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::asking::{ask, conclude};
use crate::parts::parameter::{is_blank, rendered, rendered_option, rendered_text, written, yes};
use crate::parts::scalar::{Scalar, number};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<SqlValueCheck>("sql_value_check", "fails unless a query gives an expected value")
        .aliases(&["SQLValueCheckOperator", "ValueCheckOperator", "RedshiftValueCheckOperator"])
        .parameter_aliases(&[("conn_id", "sql_conn_id")]);

/// Asks a database, in a read-only transaction, and fails unless every value of the first row is `pass_value`, or a number
/// that differs from it by no more than `tolerance`. No row fails too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlValueCheck {
    /// The connection to ask.
    sql_conn_id: Template<String>,
    /// One query.
    sql: Template<String>,
    /// The value that must come back: a number, which is compared as one, or a text. A number with a point and more than 15
    /// digits is compared by all of them when it stands in quotes.
    pass_value: Template<Scalar>,
    /// How far a number may be off, as a part of `pass_value`: `0.1` allows 90 to 110 for 100.
    #[serde(default)]
    tolerance: Option<Template<f64>>,
    /// Whether a check that does not pass is tried again, as other failures are.
    #[serde(default = "yes")]
    retry_on_failure: bool,
}

impl Operator for SqlValueCheck {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [("sql_conn_id", &self.sql_conn_id), ("sql", &self.sql)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        if let Some(tolerance) = self.tolerance.as_ref().and_then(written) {
            if !(tolerance.is_finite() && tolerance >= 0.0) {
                problems.add("tolerance", "tolerance is a part of pass_value, 0 or more");
            }
            if written(&self.pass_value).is_some_and(|value| value.number().is_none()) {
                problems.add("tolerance", "a tolerance has a meaning for numbers only, and pass_value is a text");
            }
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl SqlValueCheck {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let sql = rendered_text("sql", &self.sql)?;
        let wanted = rendered("pass_value", &self.pass_value)?;
        let tolerance = rendered_option("tolerance", self.tolerance.as_ref())?;
        let answer = ask(context, &conn_id, &sql).await?;
        let within = tolerance.map(|part| format!(" within {part}")).unwrap_or_default();
        let row = answer.rows.first().cloned().unwrap_or_else(|| vec![None]);
        let results: Vec<CheckResult> = answer
            .columns
            .iter()
            .zip(&row)
            .map(|(column, cell)| CheckResult {
                name: format!("{column} = {wanted}{within}"),
                passed: cell.as_deref().is_some_and(|cell| is_wanted(cell, &wanted, tolerance.unwrap_or(0.0))),
                found: match cell {
                    Some(cell) => cell.clone(),
                    None if answer.rows.is_empty() => "no row".to_owned(),
                    None => "NULL".to_owned(),
                },
            })
            .collect();
        conclude(context, &conn_id, &sql, &results, self.retry_on_failure)
    }
}

fn is_wanted(cell: &str, wanted: &Scalar, tolerance: f64) -> bool {
    if cell == wanted.to_string() {
        return true;
    }
    if tolerance == 0.0 {
        return wanted.order_of(cell) == Some(Ordering::Equal);
    }
    match (number(cell), wanted.number()) {
        (Some(found), Some(wanted)) => (found - wanted).abs() <= wanted.abs() * tolerance,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_compared_as_numbers_and_texts_as_texts() {
        let number = |value: i64| Scalar::Number(value.into());
        assert!(is_wanted("100.0", &number(100), 0.0) && !is_wanted("101", &number(100), 0.0));
        assert!(is_wanted("110", &number(100), 0.1) && is_wanted("90", &number(100), 0.1));
        assert!(!is_wanted("110.1", &number(100), 0.1) && !is_wanted("89", &number(100), 0.1));
        assert!(is_wanted("-105", &number(-100), 0.1), "a negative value has two sides too");
        assert!(is_wanted("done", &Scalar::Text("done".into()), 0.0));
        assert!(!is_wanted("Done", &Scalar::Text("done".into()), 0.5));
        assert!(is_wanted("9007199254740993", &number(9_007_199_254_740_993), 0.0));
        assert!(!is_wanted("9007199254740993", &number(9_007_199_254_740_992), 0.0), "a float knows both as one");
        let sum = Scalar::Text("123456789012345678.99".into());
        assert!(is_wanted("123456789012345678.990", &sum, 0.0) && !is_wanted("123456789012345678.01", &sum, 0.0));
    }
}
