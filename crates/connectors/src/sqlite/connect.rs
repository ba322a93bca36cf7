//! Opening a SQLite file, and asking it.

use std::time::Duration;

use futures::TryStreamExt;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{SmallResult, TableName};
use millrace_operator_api::{PortError, PortErrorKind};
use rusqlite::types::ValueRef;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Either, Executor, Row, SqliteConnection, TypeInfo, ValueRef as _};

use super::cells::text;
use super::numbers;
use crate::parts::failure::{chain, invalid};
use crate::parts::sql::{quote, scalar};
use crate::parts::task::TaskHandle;

pub const BUSY_TIMEOUT: Duration = Duration::from_mins(1);

/// Asked of every file that is opened.
pub const ENCODING: &str = "PRAGMA encoding";

/// Which file, for whom.
#[derive(Clone)]
pub struct SqliteFile {
    pub conn_id: String,
    pub path: String,
    pub task: TaskHandle,
}

impl SqliteFile {
    /// The connection's schema, or its host as in `sqlite:///path`; empty when it names none.
    pub fn path_of(connection: &Connection) -> &str {
        let schema = connection.schema.as_deref().filter(|path| !path.is_empty());
        schema.or(connection.host.as_deref()).unwrap_or_default()
    }

    pub fn of(connection: &Connection, task: TaskHandle) -> Result<Self, PortError> {
        let path = Self::path_of(connection);
        if path.is_empty() {
            return Err(invalid(format!(
                "connection {:?} names no file; give the path in its schema",
                connection.conn_id
            )));
        }
        Ok(Self { conn_id: connection.conn_id.clone(), path: path.to_owned(), task })
    }

    pub async fn open(&self, is_read_only: bool) -> Result<SqliteConnection, PortError> {
        let options = SqliteConnectOptions::new()
            .filename(&self.path)
            .create_if_missing(false)
            .read_only(is_read_only)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .collation(numbers::NAME, numbers::compare)
            .disable_statement_logging();
        let options = if is_read_only {
            options
        } else {
            options.journal_mode(SqliteJournalMode::Wal).synchronous(SqliteSynchronous::Full)
        };
        let connected = options.connect().await;
        let mut connection =
            connected.map_err(|error| self.not_opened(self.failure("cannot open the file", &error)))?;
        let encoding = self.ask(&mut connection, ENCODING).await?;
        self.require_utf8(scalar(&encoding))?;
        Ok(connection)
    }

    /// Why the file could not be opened.
    pub fn not_opened(&self, mut failure: PortError) -> PortError {
        if !std::path::Path::new(&self.path).exists() {
            failure.kind = PortErrorKind::NotFound;
            failure.message = format!("connection {:?}: there is no file {}", self.conn_id, self.path);
        }
        failure
    }

    /// What is read of other texts are their bytes, and no error.
    pub fn require_utf8(&self, encoding: Option<&str>) -> Result<(), PortError> {
        if encoding == Some("UTF-8") {
            return Ok(());
        }
        Err(invalid(format!(
            "connection {:?}: the texts of {} are kept in UTF-16, which is not read here; write the database anew in UTF-8 \
             (sqlite3 old.db .dump | sqlite3 new.db)",
            self.conn_id, self.path
        )))
    }

    pub fn failure(&self, what: &str, error: &sqlx::Error) -> PortError {
        let Some(database) = error.as_database_error() else {
            let message = format!("connection {:?}: {what}: {}", self.conn_id, chain(error));
            return PortError::new(PortErrorKind::Other, message);
        };
        let code = database.code().and_then(|code| code.parse().ok()).unwrap_or_default();
        self.refusal(what, code, database.message())
    }

    /// What SQLite says, with its extended result code.
    pub fn refusal(&self, what: &str, code: i32, said: &str) -> PortError {
        let message =
            format!("connection {:?}: {what}: error returned from database: (code: {code}) {said}", self.conn_id);
        // The low byte of SQLite's extended result codes.
        let kind = match code & 0xff {
            5 | 6 | 10 | 13 => PortErrorKind::Unavailable,
            3 | 8 | 23 => PortErrorKind::Denied,
            18..=20 => PortErrorKind::Data,
            14 => PortErrorKind::NotFound,
            1 if said.contains("no such table") => PortErrorKind::NotFound,
            1 if said.contains("already exists") => PortErrorKind::AlreadyExists,
            1 => PortErrorKind::Invalid,
            _ => PortErrorKind::Other,
        };
        PortError::new(kind, message).with_code(code.to_string())
    }

    pub async fn run(&self, connection: &mut SqliteConnection, sql: &str) -> Result<u64, PortError> {
        let done = connection
            .execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())))
            .await
            .map_err(|error| self.failure(&opening(sql), &error))?;
        Ok(done.rows_affected())
    }

    pub async fn ask(&self, connection: &mut SqliteConnection, sql: &str) -> Result<SmallResult, PortError> {
        let mut result = SmallResult::default();
        let mut answers = connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql.to_owned())));
        while let Some(answer) = answers.try_next().await.map_err(|error| self.failure(&opening(sql), &error))? {
            match answer {
                Either::Left(done) => result.rows_affected = Some(done.rows_affected()),
                Either::Right(row) => {
                    if result.columns.is_empty() {
                        result.columns = row.columns().iter().map(|column| column.name().to_owned()).collect();
                    }
                    let mut cells = Vec::with_capacity(row.len());
                    for index in 0..row.len() {
                        let value = value(&row, index).map_err(|error| self.failure(&opening(sql), &error))?;
                        cells.push(text(value));
                    }
                    result.rows.push(cells);
                }
            }
        }
        Ok(result)
    }
}

/// By its own storage class.
fn value(row: &SqliteRow, index: usize) -> Result<ValueRef<'_>, sqlx::Error> {
    let value = row.try_get_raw(index)?;
    if value.is_null() {
        return Ok(ValueRef::Null);
    }
    Ok(match value.type_info().name() {
        "INTEGER" | "BOOLEAN" => ValueRef::Integer(row.try_get_unchecked(index)?),
        "REAL" => ValueRef::Real(row.try_get_unchecked(index)?),
        "BLOB" => ValueRef::Blob(row.try_get_unchecked(index)?),
        _ => ValueRef::Text(row.try_get_unchecked(index)?),
    })
}

/// Schemas are attached databases in SQLite; names such as `analytics` that are none mean the one file.
pub fn table(name: &TableName) -> String {
    quote(&name.name)
}

/// SQLite knows no backslash.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn opening(sql: &str) -> String {
    sql.split_whitespace().take(8).collect::<Vec<_>>().join(" ").chars().take(80).collect()
}
