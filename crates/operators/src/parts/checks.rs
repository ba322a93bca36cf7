//! Checks on a table, as the user's file says them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_model::ledger::Checked;
use millrace_operator_api::ports::{CheckResult, TableCheck};
use millrace_operator_api::{Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, json};

use crate::parts::parameter::{OneOrMany, rendered, written};
use crate::parts::scalar::Scalar;
use crate::parts::sensor::Length;

/// What must be true of a table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Checks {
    /// At least so many rows. 0 allows an empty table.
    #[serde(default = "one", deserialize_with = "whole")]
    pub min_rows: u64,
    /// A column or a list of columns whose values, taken together, occur once only. A list of lists checks several.
    #[serde(default)]
    pub unique: Option<Keys>,
    /// A column or a list of columns that hold no NULL.
    #[serde(default)]
    pub not_null: OneOrMany,
    /// For a column the values it may hold, beside NULL.
    #[serde(default)]
    pub accepted_values: BTreeMap<String, Vec<Scalar>>,
    /// For a column of moments in UTC how old the newest may be: `updated_at: 1d`.
    #[serde(default)]
    pub freshness: BTreeMap<String, Length>,
    /// Named SELECTs whose first column must be true (or not 0) in every row; `{table}` stands for the table.
    #[serde(default)]
    pub sql: BTreeMap<String, String>,
}

/// One key (a column or a list of columns) or several (a list of lists).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Keys {
    Column(String),
    Columns(Vec<String>),
    Several(Vec<Vec<String>>),
}

/// A number, or the text of one that a template gave.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    let number = match Written::deserialize(deserializer) {
        Ok(Written::Number(number)) => Some(number),
        Ok(Written::Text(text)) => text.trim().parse().ok(),
        Err(_) => None,
    };
    number.ok_or_else(|| D::Error::custom("min_rows must be a whole number, 0 or more"))
}

fn one() -> u64 {
    1
}

impl Default for Checks {
    fn default() -> Self {
        Self {
            min_rows: one(),
            unique: None,
            not_null: OneOrMany::default(),
            accepted_values: BTreeMap::new(),
            freshness: BTreeMap::new(),
            sql: BTreeMap::new(),
        }
    }
}

impl Checks {
    fn keys(&self) -> Vec<Vec<String>> {
        match &self.unique {
            None => Vec::new(),
            Some(Keys::Column(column)) => vec![vec![column.clone()]],
            Some(Keys::Columns(columns)) => vec![columns.clone()],
            Some(Keys::Several(keys)) => keys.clone(),
        }
    }

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.keys().iter().any(|key| key.is_empty() || key.iter().any(|column| column.trim().is_empty())) {
            problems.push("unique names no column".to_owned());
        }
        if self.not_null.0.iter().any(|column| column.trim().is_empty()) {
            problems.push("not_null names no column".to_owned());
        }
        for (column, values) in &self.accepted_values {
            if values.is_empty() {
                problems.push(format!("accepted_values lists no value for {column}"));
            }
        }
        for (name, sql) in &self.sql {
            if sql.trim().is_empty() {
                problems.push(format!("the SQL of check '{name}' is empty"));
            }
        }
        problems
    }

    /// True when every table passes.
    pub fn is_nothing(&self) -> bool {
        self.table_checks(DateTime::UNIX_EPOCH).is_empty()
    }

    fn table_checks(&self, now: DateTime<Utc>) -> Vec<TableCheck> {
        let mut checks = Vec::new();
        if self.min_rows > 0 {
            checks.push(TableCheck::MinRows(self.min_rows));
        }
        checks.extend(self.keys().into_iter().map(TableCheck::Unique));
        if !self.not_null.0.is_empty() {
            checks.push(TableCheck::NotNull(self.not_null.0.clone()));
        }
        checks.extend(self.accepted_values.iter().map(|(column, values)| TableCheck::Accepted {
            column: column.clone(),
            values: values.iter().map(ToString::to_string).collect(),
        }));
        checks.extend(
            self.freshness
                .iter()
                .map(|(column, age)| TableCheck::Fresh { column: column.clone(), not_before: now - age.0.as_delta() }),
        );
        checks.extend(self.sql.iter().map(|(name, sql)| TableCheck::Sql {
            name: name.clone(),
            sql: sql.trim().trim_end_matches(';').to_owned(),
        }));
        checks
    }
}

/// Finds mistakes in checks that hold no template.
pub fn check(field: &Template<Checks>, problems: &mut Problems) {
    if let Some(checks) = written(field) {
        for problem in checks.problems() {
            problems.add("checks", problem);
        }
    }
}

/// Ages are counted from `now`.
pub fn rendered_checks(field: &Template<Checks>, now: DateTime<Utc>) -> Result<Vec<TableCheck>, TaskError> {
    let checks = rendered("checks", field)?;
    match checks.problems().first() {
        Some(problem) => Err(TaskError::Fail(format!("parameter checks: {problem}"))),
        None => Ok(checks.table_checks(now)),
    }
}

/// Logs every check's result and gives those that did not pass, in words.
pub fn tell(context: &TaskContext, results: &[CheckResult]) -> Vec<String> {
    let mut failed = Vec::new();
    for result in results {
        if result.passed {
            context.info(format!("check passed: {} ({})", result.name, result.found));
        } else {
            context.reporter.log(
                millrace_operator_api::context::LogLevel::Error,
                &format!("check failed: {} (found {})", result.name, result.found),
            );
            failed.push(format!("{}: found {}", result.name, result.found));
        }
    }
    context.checkpoint("check", format!("{} of {} checks passed", results.len() - failed.len(), results.len()));
    failed
}

/// The data-quality record of the ledger.
pub fn as_record(results: &[CheckResult]) -> Vec<Checked> {
    let checked = |result: &CheckResult| Checked {
        name: result.name.clone(),
        passed: result.passed,
        found: result.found.clone(),
    };
    results.iter().map(checked).collect()
}

pub fn as_json(results: &[CheckResult]) -> Value {
    results
        .iter()
        .map(|result| json!({ "name": result.name, "passed": result.passed, "found": result.found }))
        .collect()
}
