//! The conditions of a list: what people ask of its rows, as SQL.

use chrono::{DateTime, Utc};
use sea_orm::Value;

use crate::sql::{Row, micros};
use crate::{Page, Result, Store, sql};

/// From a moment on, and up to before another; an end that is absent is open. A date that is not there lies in none but
/// the whole.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DateSpan {
    pub from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub before: Option<DateTime<Utc>>,
}

/// Conditions and the values in them, numbered as they come.
#[derive(Default)]
pub(crate) struct Conditions {
    conditions: Vec<String>,
    pub values: Vec<Value>,
}

impl Conditions {
    /// A condition that holds no value but our own words.
    pub fn add(&mut self, condition: String) {
        self.conditions.push(condition);
    }

    /// `test` is what stands between the column and the value: `>=`.
    pub fn compare(&mut self, column: &str, test: &str, value: impl Into<Value>) {
        self.values.push(value.into());
        self.conditions.push(format!("{column} {test} ${}", self.values.len()));
    }

    /// One of these; none means any. A single one is compared as such, which every index serves.
    pub fn among<T: AsRef<str>>(&mut self, column: &str, wanted: &[T]) {
        if let [only] = wanted {
            return self.compare(column, "=", only.as_ref());
        }
        if wanted.is_empty() {
            return;
        }
        let mut numbers = Vec::new();
        for value in wanted {
            self.values.push(value.as_ref().into());
            numbers.push(format!("${}", self.values.len()));
        }
        self.conditions.push(format!("{column} IN ({})", numbers.join(", ")));
    }

    /// A part of the text, in any case; what a pattern of SQL means by `%` and `_` are letters like others.
    pub fn contains(&mut self, column: &str, part: &str) {
        let part = part.to_lowercase().replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_");
        self.values.push(format!("%{part}%").into());
        self.conditions.push(format!("lower({column}) LIKE ${} ESCAPE '\\'", self.values.len()));
    }

    pub fn within(&mut self, column: &str, span: DateSpan) {
        if let Some(from) = span.from {
            self.compare(column, ">=", micros(from));
        }
        if let Some(before) = span.before {
            self.compare(column, "<", micros(before));
        }
    }

    /// ` WHERE ...`, or nothing.
    pub fn clause(&self) -> String {
        if self.conditions.is_empty() { String::new() } else { format!(" WHERE {}", self.conditions.join(" AND ")) }
    }
}

/// Counts what follows FROM to `most`, as `n`: of a million that alone would take a while.
pub(crate) fn count_to(most: u64, from: &str) -> String {
    format!("SELECT COUNT(*) AS n FROM (SELECT 1 AS one FROM {from} LIMIT {most}) AS counted")
}

impl Store {
    /// How many there are, by a `count` that gives that as `n`.
    pub(crate) async fn count_rows(&self, attempted: &'static str, count: String, values: Vec<Value>) -> Result<u64> {
        let total = sql::one(self.reader(), attempted, count, values).await?;
        Ok(total.map(|row| row.int("n")).transpose()?.unwrap_or(0).unsigned_abs())
    }

    /// A part of a list, and how long the whole is: `count` gives that as `n`, and `list` ends with its order. Both have the
    /// same values.
    pub(crate) async fn page<T>(
        &self,
        attempted: &'static str,
        (count, list): (String, String),
        mut values: Vec<Value>,
        (limit, offset): (u64, u64),
        read: impl Fn(&Row) -> Result<T>,
    ) -> Result<Page<T>> {
        let total = self.count_rows(attempted, count, values.clone()).await?;
        let list = format!("{list} LIMIT ${} OFFSET ${}", values.len() + 1, values.len() + 2);
        values.extend([limit, offset].map(|number| i64::try_from(number).unwrap_or(i64::MAX).into()));
        let rows = sql::all(self.reader(), attempted, list, values).await?;
        Ok(Page { rows: rows.iter().map(read).collect::<Result<_>>()?, total })
    }
}
