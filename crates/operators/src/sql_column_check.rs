//! `sql_column_check`: figures of columns against bounds.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use millrace_operator_api::ports::CheckResult;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parts::asking::{ask, conclude};
use crate::parts::parameter::{is_blank, rendered, rendered_option, rendered_text, written, yes};
use crate::parts::scalar::{Scalar, number};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<SqlColumnCheck>("sql_column_check", "fails unless figures of columns are within bounds")
        .aliases(&["SQLColumnCheckOperator", "ColumnCheckOperator"])
        .parameter_aliases(&[("conn_id", "sql_conn_id")]);

/// Checks columns of a table: how many NULLs they hold, how many different values, how many that are there more than once,
/// the least and the greatest. All is asked for in one query for each check.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlColumnCheck {
    /// The connection to ask.
    sql_conn_id: Template<String>,
    /// The table as SQL writes it: `analytics.nps`, in quotes where the names need them.
    table: Template<String>,
    /// For each column (as SQL writes it) its checks: `null_check`, `distinct_check`, `unique_check`, `min`, `max`, each with
    /// `equal_to`, `greater_than`, `geq_to`, `less_than`, `leq_to`, `tolerance` and `partition_clause`.
    column_mapping: Template<BTreeMap<String, BTreeMap<Figure, Bounds>>>,
    /// A condition on the rows that every check looks at: `day = '2024-01-01'`.
    #[serde(default)]
    partition_clause: Option<Template<String>>,
    /// Whether NULL, as `min` of no rows gives it, counts as 0.
    #[serde(default = "yes")]
    accept_none: bool,
    /// Whether a check that does not pass is tried again, as other failures are.
    #[serde(default = "yes")]
    retry_on_failure: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Figure {
    NullCheck,
    DistinctCheck,
    UniqueCheck,
    Min,
    Max,
}

/// What a figure must be.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Bounds {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    equal_to: Option<Scalar>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    greater_than: Option<Scalar>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    geq_to: Option<Scalar>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    less_than: Option<Scalar>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    leq_to: Option<Scalar>,
    /// Widens every bound by this part of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tolerance: Option<f64>,
    /// A condition on the rows that this check looks at, beside that of the table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    partition_clause: Option<String>,
}

impl Figure {
    fn sql(self, column: &str) -> String {
        match self {
            Self::NullCheck => format!("SUM(CASE WHEN {column} IS NULL THEN 1 ELSE 0 END)"),
            Self::DistinctCheck => format!("COUNT(DISTINCT {column})"),
            Self::UniqueCheck => format!("COUNT({column}) - COUNT(DISTINCT {column})"),
            Self::Min => format!("MIN({column})"),
            Self::Max => format!("MAX({column})"),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::NullCheck => "null_check",
            Self::DistinctCheck => "distinct_check",
            Self::UniqueCheck => "unique_check",
            Self::Min => "min",
            Self::Max => "max",
        }
    }
}

impl Bounds {
    fn each(&self) -> impl Iterator<Item = (&'static str, &Scalar)> {
        [
            ("=", &self.equal_to),
            (">", &self.greater_than),
            (">=", &self.geq_to),
            ("<", &self.less_than),
            ("<=", &self.leq_to),
        ]
        .into_iter()
        .filter_map(|(sign, bound)| bound.as_ref().map(|bound| (sign, bound)))
    }

    fn hold(&self, found: &str) -> bool {
        let tolerance = self.tolerance.filter(|part| *part != 0.0);
        self.each().all(|(sign, bound)| match (number(found), bound.number(), tolerance) {
            (Some(number), Some(bound), Some(part)) => {
                let slack = bound.abs() * part;
                match sign {
                    "=" => (number - bound).abs() <= slack,
                    ">" => number > bound - slack,
                    ">=" => number >= bound - slack,
                    "<" => number < bound + slack,
                    _ => number <= bound + slack,
                }
            }
            (Some(_), Some(_), None) => is_so(bound.order_of(found), sign),
            // Dates and texts, whose order is that of their text.
            _ => is_so(Some(found.cmp(&bound.to_string())), sign),
        })
    }
}

fn is_so(order: Option<Ordering>, sign: &str) -> bool {
    order.is_some_and(|order| match sign {
        "=" => order.is_eq(),
        ">" => order.is_gt(),
        ">=" => order.is_ge(),
        "<" => order.is_lt(),
        _ => order.is_le(),
    })
}

fn problem(mapping: &BTreeMap<String, BTreeMap<Figure, Bounds>>) -> Option<String> {
    if mapping.is_empty() {
        return Some("column_mapping names no column".to_owned());
    }
    for (column, checks) in mapping {
        if checks.is_empty() {
            return Some(format!("there is no check for column {column}"));
        }
        for (figure, bounds) in checks {
            if bounds.each().next().is_none() {
                return Some(format!("{column}: {} has no bound such as equal_to or geq_to", figure.name()));
            }
        }
    }
    None
}

impl Operator for SqlColumnCheck {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [("sql_conn_id", &self.sql_conn_id), ("table", &self.table)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        if let Some(text) = written(&self.column_mapping).as_ref().and_then(problem) {
            problems.add("column_mapping", text);
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl SqlColumnCheck {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let table = rendered_text("table", &self.table)?;
        let mapping = rendered("column_mapping", &self.column_mapping)?;
        if let Some(text) = problem(&mapping) {
            return Err(TaskError::Fail(format!("parameter column_mapping: {text}")));
        }
        let of_all = rendered_option("partition_clause", self.partition_clause.as_ref())?;
        let mut results = Vec::new();
        for (column, checks) in &mapping {
            for (figure, bounds) in checks {
                let conditions: Vec<String> = of_all
                    .iter()
                    .chain(&bounds.partition_clause)
                    .filter(|text| !text.trim().is_empty())
                    .map(|text| format!("({text})"))
                    .collect();
                let narrowed =
                    if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
                let sql = format!("SELECT {} AS found FROM {table}{narrowed}", figure.sql(column));
                let answer = ask(context, &conn_id, &sql).await?;
                let cell = answer.rows.first().and_then(|row| row.first().cloned().flatten());
                let wanted: Vec<String> = bounds.each().map(|(sign, bound)| format!("{sign} {bound}")).collect();
                results.push(CheckResult {
                    name: format!("{}({column}) {}", figure.name(), wanted.join(" and ")),
                    passed: match &cell {
                        Some(cell) => bounds.hold(cell),
                        None => self.accept_none && bounds.hold("0"),
                    },
                    found: cell.unwrap_or_else(|| "NULL".to_owned()),
                });
            }
        }
        conclude(context, &conn_id, &table, &results, self.retry_on_failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounds(text: &str) -> Bounds {
        serde_json::from_str(text).expect("bounds")
    }

    #[test]
    fn bounds_hold_or_not() {
        assert!(bounds(r#"{"equal_to": 0}"#).hold("0") && !bounds(r#"{"equal_to": 0}"#).hold("1"));
        assert!(bounds(r#"{"geq_to": 1, "less_than": 5}"#).hold("1"));
        assert!(!bounds(r#"{"geq_to": 1, "less_than": 5}"#).hold("5"));
        assert!(bounds(r#"{"equal_to": 100, "tolerance": 0.1}"#).hold("91"));
        assert!(!bounds(r#"{"greater_than": 100}"#).hold("100"));
        assert!(bounds(r#"{"geq_to": "2024-01-01"}"#).hold("2024-01-01 00:00:00"), "as dates are written");
        assert!(!bounds(r#"{"leq_to": "2024-01-01"}"#).hold("2024-01-02"));
        assert!(!bounds(r#"{"equal_to": 9007199254740992}"#).hold("9007199254740993"), "a float knows both as one");
        assert!(bounds(r#"{"less_than": 9007199254740993}"#).hold("9007199254740992"));
    }
}
