//! Opening a SQLite file, and asking it.

use std::time::Duration;

use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{SmallResult, TableName};
use millrace_operator_api::{PortError, PortErrorKind};
use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::{Batch, OpenFlags};

use super::cells::text;
use super::numbers;
use super::session::Session;
use crate::parts::failure::{chain, invalid};
use crate::parts::sql::quote;
use crate::parts::task::TaskHandle;

const BUSY_TIMEOUT: Duration = Duration::from_mins(1);
/// Readers never wait for writers, and what is committed outlives a power failure.
const WRITING: &str = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON";

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

    pub async fn open(&self, is_read_only: bool) -> Result<Session, PortError> {
        let file = self.clone();
        let opened = tokio::task::spawn_blocking(move || file.open_blocking(is_read_only)).await;
        opened.unwrap_or_else(|_| Err(self.broken_off())).map(Session::of)
    }

    pub fn open_blocking(&self, is_read_only: bool) -> Result<rusqlite::Connection, PortError> {
        let failed = |error| self.failure("cannot open the file", &error);
        let access = if is_read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
        let flags = access
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
        let opened = rusqlite::Connection::open_with_flags(&self.path, flags);
        let connection = opened.map_err(|error| self.not_opened(failed(error)))?;
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.create_collation(numbers::NAME, numbers::compare).map_err(failed)?;
        if !is_read_only {
            connection.execute_batch(WRITING).map_err(failed)?;
        }
        let encoding: String = connection.query_row("PRAGMA encoding", [], |row| row.get(0)).map_err(failed)?;
        self.require_utf8(&encoding)?;
        Ok(connection)
    }

    /// Why the file could not be opened.
    fn not_opened(&self, mut failure: PortError) -> PortError {
        if !std::path::Path::new(&self.path).exists() {
            failure.kind = PortErrorKind::NotFound;
            failure.message = format!("connection {:?}: there is no file {}", self.conn_id, self.path);
        }
        failure
    }

    /// What is read of other texts are their bytes, and no error.
    fn require_utf8(&self, encoding: &str) -> Result<(), PortError> {
        if encoding == "UTF-8" {
            return Ok(());
        }
        Err(invalid(format!(
            "connection {:?}: the texts of {} are kept in UTF-16, which is not read here; write the database anew in UTF-8 \
             (sqlite3 old.db .dump | sqlite3 new.db)",
            self.conn_id, self.path
        )))
    }

    pub fn failure(&self, what: &str, error: &rusqlite::Error) -> PortError {
        match error {
            rusqlite::Error::SqliteFailure(error, said) => {
                let said = said.clone().unwrap_or_else(|| error.to_string());
                self.refusal(what, error.extended_code, &said)
            }
            // What is asked for is not what can be asked for: parameters without values, say.
            other => invalid(format!("connection {:?}: {what}: {}", self.conn_id, chain(other))),
        }
    }

    /// Never taken for an end.
    pub fn broken_off(&self) -> PortError {
        let message =
            format!("connection {:?}: the work with the file has broken off; see the log for why", self.conn_id);
        PortError::new(PortErrorKind::Unavailable, message)
    }

    /// What SQLite says, with its extended result code.
    fn refusal(&self, what: &str, code: i32, said: &str) -> PortError {
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

    pub async fn with<T: Send + 'static>(
        &self,
        session: &mut Session,
        what: &str,
        work: impl FnOnce(&rusqlite::Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, PortError> {
        let done = session.with(work).await.ok_or_else(|| self.broken_off())?;
        done.map_err(|error| self.failure(what, &error))
    }

    pub async fn run(&self, session: &mut Session, sql: &str) -> Result<u64, PortError> {
        Ok(self.ask(session, sql).await?.rows_affected.unwrap_or_default())
    }

    pub async fn ask(&self, session: &mut Session, sql: &str) -> Result<SmallResult, PortError> {
        let script = sql.to_owned();
        self.with(session, &opening(sql), move |connection| answer(connection, &script)).await
    }
}

/// The rows of all statements, and how many the last one changed.
fn answer(connection: &rusqlite::Connection, script: &str) -> rusqlite::Result<SmallResult> {
    let mut result = SmallResult::default();
    let mut statements = Batch::new(connection, script);
    while let Some(mut statement) = statements.next()? {
        let names: Vec<String> = statement.column_names().into_iter().map(ToOwned::to_owned).collect();
        let before = connection.total_changes();
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let cells = (0..names.len()).map(|index| row.get_ref(index).map(text));
            result.rows.push(cells.collect::<Result<_, _>>()?);
            if result.columns.is_empty() {
                result.columns.clone_from(&names);
            }
        }
        // What changes nothing leaves the number of the statement before it.
        let is_changed = connection.total_changes() != before;
        result.rows_affected = Some(if is_changed { connection.changes() } else { 0 });
    }
    Ok(result)
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
