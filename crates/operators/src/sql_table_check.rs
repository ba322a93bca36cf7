//! `sql_table_check`: named conditions on a table.

use std::collections::BTreeMap;

use millrace_operator_api::ports::CheckResult;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parts::asking::{ask, conclude, is_true};
use crate::parts::parameter::{is_blank, rendered, rendered_option, rendered_text, written, yes};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<SqlTableCheck>("sql_table_check", "fails unless conditions on a table are true")
        .aliases(&["SQLTableCheckOperator", "TableCheckOperator"])
        .parameter_aliases(&[("conn_id", "sql_conn_id")]);

/// Checks a table by named conditions: on every row (`amount >= 0`) or on all of them (`COUNT(*) > 100`). A condition that
/// is NULL is not true, and one on every row of an empty table has nothing to be true of.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlTableCheck {
    /// The connection to ask.
    sql_conn_id: Template<String>,
    /// The table as SQL writes it: `analytics.nps`, in quotes where the names need them.
    table: Template<String>,
    /// For each name a condition: `check_statement`, and `partition_clause` for the rows it looks at.
    checks: Template<BTreeMap<String, Condition>>,
    /// A condition on the rows that every check looks at: `day = '2024-01-01'`.
    #[serde(default)]
    partition_clause: Option<Template<String>>,
    /// Whether a check that does not pass is tried again, as other failures are.
    #[serde(default = "yes")]
    retry_on_failure: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Condition {
    /// A condition in SQL.
    check_statement: String,
    /// A condition on the rows that this check looks at.
    #[serde(default)]
    partition_clause: Option<String>,
}

impl Operator for SqlTableCheck {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [("sql_conn_id", &self.sql_conn_id), ("table", &self.table)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        if let Some(checks) = written(&self.checks) {
            if checks.is_empty() {
                problems.add("checks", "checks names no condition");
            }
            for (name, check) in checks.iter().filter(|(_, check)| check.check_statement.trim().is_empty()) {
                problems.add("checks", format!("the condition {name} is empty: {:?}", check.check_statement));
            }
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl SqlTableCheck {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let table = rendered_text("table", &self.table)?;
        let checks = rendered("checks", &self.checks)?;
        let of_all = rendered_option("partition_clause", self.partition_clause.as_ref())?;
        let mut results = Vec::new();
        for (name, check) in &checks {
            let conditions: Vec<String> = of_all
                .iter()
                .chain(&check.partition_clause)
                .filter(|text| !text.trim().is_empty())
                .map(|text| format!("({text})"))
                .collect();
            let narrowed =
                if conditions.is_empty() { String::new() } else { format!(" WHERE {}", conditions.join(" AND ")) };
            // The least over all rows, or the one row of an aggregate. The newline ends a comment.
            let sql = format!(
                "SELECT MIN(found) FROM (SELECT CASE WHEN {}\nTHEN 1 ELSE 0 END AS found FROM {table}{narrowed}) AS checked",
                check.check_statement
            );
            let answer = ask(context, &conn_id, &sql).await?;
            let cell = answer.rows.first().and_then(|row| row.first().cloned().flatten());
            results.push(CheckResult {
                name: format!("{name}: {}", check.check_statement.split_whitespace().collect::<Vec<_>>().join(" ")),
                passed: cell.as_deref().is_some_and(is_true),
                found: match cell.as_deref() {
                    None => "no row".to_owned(),
                    Some(cell) if is_true(cell) => "true".to_owned(),
                    Some(_) => "not true".to_owned(),
                },
            });
        }
        conclude(context, &conn_id, &table, &results, self.retry_on_failure)
    }
}
