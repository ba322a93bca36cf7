//! SQL that both databases read, and rows read back with their errors.
//!
//! A statement for many rows takes them as one JSON parameter, so that its text (and the prepared statement) is the same
//! for one row and for a thousand. Only the function that unpacks the JSON differs between the two databases.

use std::fmt::Write;

use chrono::{DateTime, Utc};
use sea_orm::{ConnectionTrait, DbBackend, QueryResult, Statement, TryGetable, Value};
use serde_json::Value as Json;

use crate::faults::{self, FaultPoint};
use crate::{Result, StoreError};

/// The type that a column of a [`source`] is given.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Int,
    Text,
    Bool,
}

/// `(SELECT … ) AS x`: the rows of the JSON array of arrays in parameter `$n`.
pub(crate) fn source(backend: DbBackend, n: usize, columns: &[(&str, Kind)]) -> String {
    let mut text = String::from("(SELECT ");
    for (index, (name, kind)) in columns.iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let target = match kind {
            Kind::Int => "BIGINT",
            Kind::Text => "TEXT",
            Kind::Bool => "BOOLEAN",
        };
        let _ = write!(text, "{separator}CAST(e.value ->> {index} AS {target}) AS {name}");
    }
    match backend {
        DbBackend::Sqlite => {
            let _ = write!(text, " FROM json_each(${n}) AS e) AS x");
        }
        _ => {
            let _ = write!(text, " FROM jsonb_array_elements(CAST(${n} AS jsonb)) AS e(value)) AS x");
        }
    }
    text
}

/// The parameter of a [`source`]. PostgreSQL's text cannot hold a NUL, so it becomes U+FFFD.
pub(crate) fn rows(rows: impl IntoIterator<Item = Vec<Json>>) -> Value {
    let rows: Vec<Json> = rows
        .into_iter()
        .map(|row| {
            Json::Array(
                row.into_iter()
                    .map(|cell| match cell {
                        Json::String(text) if text.contains('\0') => Json::String(text.replace('\0', "\u{fffd}")),
                        other => other,
                    })
                    .collect(),
            )
        })
        .collect();
    Value::from(Json::Array(rows).to_string())
}

/// The parameter of a [`source`] of one column.
pub(crate) fn column<T: Into<Json>>(cells: impl IntoIterator<Item = T>) -> Value {
    rows(cells.into_iter().map(|cell| vec![cell.into()]))
}

pub(crate) fn micros(instant: DateTime<Utc>) -> i64 {
    instant.timestamp_micros()
}

pub(crate) fn opt_micros(instant: Option<DateTime<Utc>>) -> Option<i64> {
    instant.map(micros)
}

macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$(sea_orm::Value::from($value)),*] };
}
pub(crate) use values;

/// Every statement written by hand passes here, and is seen by whoever traces this module.
fn statement(
    connection: &impl ConnectionTrait,
    attempted: &'static str,
    sql: impl Into<String>,
    values: Vec<Value>,
) -> Statement {
    let sql = sql.into();
    tracing::trace!(attempted, sql, "statement");
    Statement::from_sql_and_values(connection.get_database_backend(), sql, values)
}

pub(crate) async fn run(
    connection: &impl ConnectionTrait,
    attempted: &'static str,
    sql: impl Into<String>,
    values: Vec<Value>,
) -> Result<u64> {
    faults::strike(FaultPoint::Statement, attempted)?;
    let statement = statement(connection, attempted, sql, values);
    let done = connection.execute_raw(statement).await;
    Ok(done.map_err(|source| StoreError::Database { attempted, source })?.rows_affected())
}

pub(crate) async fn all(
    connection: &impl ConnectionTrait,
    attempted: &'static str,
    sql: impl Into<String>,
    values: Vec<Value>,
) -> Result<Vec<Row>> {
    faults::strike(FaultPoint::Statement, attempted)?;
    let statement = statement(connection, attempted, sql, values);
    let rows = connection.query_all_raw(statement).await;
    let rows = rows.map_err(|source| StoreError::Database { attempted, source })?;
    Ok(rows.into_iter().map(|inner| Row { inner, attempted }).collect())
}

pub(crate) async fn one(
    connection: &impl ConnectionTrait,
    attempted: &'static str,
    sql: impl Into<String>,
    values: Vec<Value>,
) -> Result<Option<Row>> {
    faults::strike(FaultPoint::Statement, attempted)?;
    let statement = statement(connection, attempted, sql, values);
    let row = connection.query_one_raw(statement).await;
    Ok(row.map_err(|source| StoreError::Database { attempted, source })?.map(|inner| Row { inner, attempted }))
}

/// The ids that a statement with `RETURNING id` gave.
pub(crate) async fn ids(
    connection: &impl ConnectionTrait,
    attempted: &'static str,
    sql: impl Into<String>,
    values: Vec<Value>,
) -> Result<Vec<i64>> {
    all(connection, attempted, sql, values).await?.iter().map(|row| row.int("id")).collect()
}

pub(crate) struct Row {
    inner: QueryResult,
    attempted: &'static str,
}

impl Row {
    fn get<T: TryGetable>(&self, column: &str) -> Result<T> {
        let attempted = self.attempted;
        self.inner.try_get("", column).map_err(|source| StoreError::Database { attempted, source })
    }

    pub(crate) fn corrupt(&self, column: &str, problem: impl Into<String>) -> StoreError {
        let row = self.get::<i64>("id").map_or_else(|_| "?".to_owned(), |id| id.to_string());
        StoreError::Corrupt { attempted: self.attempted, column: column.to_owned(), row, problem: problem.into() }
    }

    pub(crate) fn int(&self, column: &str) -> Result<i64> {
        self.get(column)
    }

    pub(crate) fn opt_int(&self, column: &str) -> Result<Option<i64>> {
        self.get(column)
    }

    /// A count: fits u32 and is not negative.
    pub(crate) fn count(&self, column: &str) -> Result<u32> {
        let value = self.int(column)?;
        u32::try_from(value).map_err(|_| self.corrupt(column, format!("{value} is not a count")))
    }

    pub(crate) fn small(&self, column: &str) -> Result<i32> {
        let value = self.int(column)?;
        i32::try_from(value).map_err(|_| self.corrupt(column, format!("{value} is too large")))
    }

    pub(crate) fn opt_large(&self, column: &str) -> Result<Option<u64>> {
        Ok(self.opt_int(column)?.and_then(|value| u64::try_from(value).ok()))
    }

    pub(crate) fn flag(&self, column: &str) -> Result<bool> {
        self.get(column)
    }

    pub(crate) fn text(&self, column: &str) -> Result<String> {
        self.get(column)
    }

    pub(crate) fn opt_text(&self, column: &str) -> Result<Option<String>> {
        self.get(column)
    }

    pub(crate) fn instant(&self, column: &str) -> Result<DateTime<Utc>> {
        let value = self.int(column)?;
        instant(value).ok_or_else(|| self.corrupt(column, format!("{value} is not an instant")))
    }

    pub(crate) fn opt_instant(&self, column: &str) -> Result<Option<DateTime<Utc>>> {
        self.opt_int(column)?.map(|_| self.instant(column)).transpose()
    }

    /// A word of a fixed list.
    pub(crate) fn word<T>(&self, column: &str, parse: impl FnOnce(&str) -> Option<T>) -> Result<T> {
        let text = self.text(column)?;
        parse(&text).ok_or_else(|| self.corrupt(column, format!("'{text}' is unknown")))
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<T> {
        serde_json::from_str(&self.text(column)?).map_err(|error| self.corrupt(column, error.to_string()))
    }

    pub(crate) fn opt_json<T: serde::de::DeserializeOwned>(&self, column: &str) -> Result<Option<T>> {
        self.opt_text(column)?.map(|_| self.json(column)).transpose()
    }
}

pub(crate) fn instant(micros: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(micros)
}
