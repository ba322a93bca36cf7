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
    Ok(done.map_err(StoreError::during(attempted))?.rows_affected())
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
    let rows = rows.map_err(StoreError::during(attempted))?;
    Ok(rows.into_iter().map(|row| Row { cells: Cells::Sent(row), attempted }).collect())
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
    Ok(row.map_err(StoreError::during(attempted))?.map(|row| Row { cells: Cells::Sent(row), attempted }))
}

/// As [`all`], the rows packed into one: SQLite's thread and the reader take turns at every row or few, which costs more
/// than the reading where there are a thousand of them. `columns` are those of the query that are asked for.
pub(crate) async fn all_at_once(
    connection: &impl ConnectionTrait,
    attempted: &'static str,
    columns: &[&'static str],
    sql: &str,
    values: Vec<Value>,
) -> Result<Vec<Row>> {
    let list = columns.iter().map(|column| format!("q.{column}")).collect::<Vec<_>>().join(", ");
    let sql = match connection.get_database_backend() {
        DbBackend::Sqlite => format!("SELECT json_group_array(json_array({list})) AS packed FROM ({sql}) AS q"),
        _ => format!(
            "SELECT CAST(COALESCE(json_agg(json_build_array({list})), '[]') AS TEXT) AS packed FROM ({sql}) AS q"
        ),
    };
    let Some(packed) = one(connection, attempted, sql, values).await? else { return Ok(Vec::new()) };
    let rows: Vec<Vec<Json>> = packed.json("packed")?;
    let row = |cells: Vec<Json>| Row { cells: Cells::Packed(columns.iter().copied().zip(cells).collect()), attempted };
    Ok(rows.into_iter().map(row).collect())
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
    cells: Cells,
    attempted: &'static str,
}

enum Cells {
    Sent(QueryResult),
    /// One of many that came as one.
    Packed(Vec<(&'static str, Json)>),
}

/// What a cell can be, however it came.
trait Cell: TryGetable {
    fn of_json(json: &Json) -> Option<Self>;
}

impl Cell for i64 {
    fn of_json(json: &Json) -> Option<Self> {
        json.as_i64()
    }
}

impl Cell for bool {
    /// SQLite's are numbers.
    fn of_json(json: &Json) -> Option<Self> {
        json.as_bool().or_else(|| json.as_i64().map(|number| number != 0))
    }
}

impl Cell for String {
    fn of_json(json: &Json) -> Option<Self> {
        json.as_str().map(str::to_owned)
    }
}

impl<T: Cell> Cell for Option<T> {
    fn of_json(json: &Json) -> Option<Self> {
        if json.is_null() { Some(None) } else { T::of_json(json).map(Some) }
    }
}

impl Row {
    fn get<T: Cell>(&self, column: &str) -> Result<T> {
        match &self.cells {
            Cells::Sent(row) => {
                let attempted = self.attempted;
                row.try_get("", column).map_err(StoreError::during(attempted))
            }
            Cells::Packed(cells) => {
                let cell = cells.iter().find(|(name, _)| *name == column).map(|(_, cell)| cell);
                cell.and_then(T::of_json).ok_or_else(|| StoreError::Corrupt {
                    attempted: self.attempted,
                    column: column.to_owned(),
                    row: "?".to_owned(),
                    problem: cell
                        .map_or("it was not asked for".to_owned(), |cell| format!("{cell} is of another type")),
                })
            }
        }
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
