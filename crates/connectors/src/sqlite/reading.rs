//! Rows out of SQLite, in memory that their sizes bound.
//!
//! A thread steps the query and copies each value from where SQLite keeps it straight into the batch, when there is room
//! for one. sqlx does not read here: its own thread runs ahead of whoever takes the rows, by a number of rows however long
//! they are, and cannot be interrupted.

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use futures::TryStreamExt;
use millrace_operator_api::ports::{RowBatch, RowStream, SourceColumn};
use millrace_operator_api::{PortError, PortErrorKind};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, InterruptHandle, OpenFlags, Row};
use tokio::sync::oneshot;

use super::cells::{NoText, append_canonical};
use super::connect::{BUSY_TIMEOUT, ENCODING, SqliteFile};
use super::numbers;
use super::types::source_columns;
use crate::parts::batches::{Outlet, channel};
use crate::parts::failure::{chain, data, invalid};

/// As the system shows it.
const THREAD: &str = "sqlite-reader";
/// What SQLite begins just after it was interrupted does not see that, so it is interrupted until the thread has ended.
const INTERRUPTS: Duration = Duration::from_millis(20);

/// Starts to read; the stream ends with why it ended.
pub async fn start(file: &SqliteFile, sql: &str) -> Result<RowStream, PortError> {
    let (outlet, mut batches) = channel();
    let (describe, described) = oneshot::channel();
    let (finish, finished) = oneshot::channel();
    let reader = Arc::new(Reader { file: file.clone(), sql: sql.to_owned(), outlet, interrupt: OnceLock::new() });
    let watcher = Arc::clone(&reader);
    // Whoever waits for it may be gone.
    let read = move || drop(finish.send(reader.read(describe)));
    let thread = std::thread::Builder::new().name(THREAD.to_owned()).spawn(read).map_err(|error| {
        let message = format!("connection {:?}: no thread to read with: {error}", file.conn_id);
        PortError::new(PortErrorKind::Unavailable, message)
    })?;
    tokio::spawn(async move { watcher.watch(&thread, finished).await });
    if let Ok(columns) = described.await {
        return Ok(RowStream { columns, batches });
    }
    // What was in the way of the columns stands where rows would.
    batches.try_next().await?;
    Err(broken_off(file))
}

struct Reader {
    file: SqliteFile,
    sql: String,
    outlet: Outlet,
    /// Once the file is open.
    interrupt: OnceLock<InterruptHandle>,
}

impl Reader {
    /// Says the end, and ends the thread where somebody else has ended the reading.
    async fn watch(&self, thread: &JoinHandle<()>, finished: oneshot::Receiver<Result<(), PortError>>) {
        let work = async { finished.await.unwrap_or_else(|_| Err(broken_off(&self.file))) };
        let result = tokio::select! {
            result = self.file.task.until_cancelled(work) => Some(result),
            () = self.outlet.closed() => None,
        };
        let end = async {
            if let Some(result) = result {
                self.outlet.end(result).await;
            }
        };
        tokio::join!(end, self.stop(thread));
    }

    async fn stop(&self, thread: &JoinHandle<()>) {
        while !thread.is_finished() {
            if let Some(handle) = self.interrupt.get() {
                handle.interrupt();
            }
            tokio::time::sleep(INTERRUPTS).await;
        }
    }

    fn read(&self, describe: oneshot::Sender<Vec<SourceColumn>>) -> Result<(), PortError> {
        let connection = self.open()?;
        let refused = |error| self.failure("the query was refused", &error);
        let mut statement = connection.prepare(&self.sql).map_err(refused)?;
        if statement.column_count() == 0 {
            return Err(invalid(format!(
                "connection {:?}: the query was refused: it gives no columns; is it empty?",
                self.file.conn_id
            )));
        }
        let columns = source_columns(&statement);
        let mut rows = statement.query([]).map_err(refused)?;
        // Whoever asked may be gone, which the first batch tells.
        let _ = describe.send(columns.clone());
        let mut batch = RowBatch::new(columns.len());
        let mut number = 0;
        let failed = |error| self.failure("the query failed", &error);
        let mut row = rows.next().map_err(failed)?;
        while let Some(current) = row {
            number += 1;
            self.push(&mut batch, current, number, &columns)?;
            // A long row is not held here too while it is waited for that somebody takes it.
            row = rows.next().map_err(failed)?;
            if self.outlet.is_enough(&batch) {
                let next = RowBatch::new(columns.len());
                self.outlet.blocking_send(std::mem::replace(&mut batch, next))?;
            }
        }
        if batch.is_empty() { Ok(()) } else { self.outlet.blocking_send(batch) }
    }

    /// In a transaction that has begun: the columns are those of the rows, whoever changes the table meanwhile.
    fn open(&self) -> Result<Connection, PortError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
            | OpenFlags::SQLITE_OPEN_URI
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_PRIVATE_CACHE;
        let opened = Connection::open_with_flags(&self.file.path, flags);
        let failed = |error| self.failure("cannot open the file", &error);
        let connection = opened.map_err(|error| self.file.not_opened(failed(error)))?;
        let _ = self.interrupt.set(connection.get_interrupt_handle());
        connection.busy_timeout(BUSY_TIMEOUT).map_err(failed)?;
        connection.create_collation(numbers::NAME, numbers::compare).map_err(failed)?;
        let encoding: String = connection.query_row(ENCODING, [], |row| row.get(0)).map_err(failed)?;
        self.file.require_utf8(Some(&encoding))?;
        connection.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1").map_err(failed)?;
        Ok(connection)
    }

    fn push(
        &self,
        batch: &mut RowBatch,
        row: &Row<'_>,
        number: u64,
        columns: &[SourceColumn],
    ) -> Result<(), PortError> {
        for (index, column) in columns.iter().enumerate() {
            let value = row.get_ref(index).map_err(|error| self.failure("a value could not be read", &error))?;
            if value == ValueRef::Null {
                batch.push(None);
                continue;
            }
            let mut appended = Ok(());
            batch.push_written(|text| appended = append_canonical(value, &column.value, text));
            appended.map_err(|NoText(length)| self.no_text(number, column, length))?;
        }
        Ok(())
    }

    fn failure(&self, what: &str, error: &rusqlite::Error) -> PortError {
        match error {
            rusqlite::Error::SqliteFailure(error, said) => {
                let said = said.clone().unwrap_or_else(|| error.to_string());
                self.file.refusal(what, error.extended_code, &said)
            }
            // What is asked for is not what can be asked for: several statements, parameters without values.
            other => invalid(format!("connection {:?}: {what}: {}", self.file.conn_id, chain(other))),
        }
    }

    fn no_text(&self, row: u64, column: &SourceColumn, length: usize) -> PortError {
        data(format!(
            "connection {:?}: row {row}, column {}: a blob of {length} bytes that are no text (UTF-8) stands in a column \
             declared {}; hex({}) in the query reads it as digits",
            self.file.conn_id,
            column.name,
            column.type_name.to_ascii_uppercase(),
            column.name
        ))
    }
}

/// Never taken for the end of the rows.
fn broken_off(file: &SqliteFile) -> PortError {
    let message = format!("connection {:?}: the reading has broken off; see the log for why", file.conn_id);
    PortError::new(PortErrorKind::Unavailable, message)
}
