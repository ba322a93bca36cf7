//! Rows out of SQLite, in memory that their sizes bound.
//!
//! A thread steps the query and copies each value from where SQLite keeps it straight into the batch, when there is room
//! for one.

use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use futures::TryStreamExt;
use millrace_operator_api::ports::{RowBatch, RowStream, SourceColumn};
use millrace_operator_api::{PortError, PortErrorKind};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, InterruptHandle, Row};
use tokio::sync::oneshot;

use super::cells::{NoText, append_canonical};
use super::connect::SqliteFile;
use super::session::INTERRUPTS;
use super::types::source_columns;
use crate::parts::batches::{Outlet, channel};
use crate::parts::failure::{data, invalid};

/// As the system shows it.
const THREAD: &str = "sqlite-reader";

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
    Err(file.broken_off())
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
        let work = async { finished.await.unwrap_or_else(|_| Err(self.file.broken_off())) };
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
        let refused = |error| self.file.failure("the query was refused", &error);
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
        let failed = |error| self.file.failure("the query failed", &error);
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
        let connection = self.file.open_blocking(true)?;
        let _ = self.interrupt.set(connection.get_interrupt_handle());
        let began = connection.execute_batch("BEGIN; SELECT 1 FROM sqlite_schema LIMIT 1");
        began.map_err(|error| self.file.failure("cannot read the file", &error))?;
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
            let value = row.get_ref(index).map_err(|error| self.file.failure("a value could not be read", &error))?;
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
