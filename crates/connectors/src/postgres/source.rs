//! Rows out of PostgreSQL by COPY.

use std::sync::Arc;

use chrono::TimeDelta;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use millrace_operator_api::PortError;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{RowBatch, RowHashing, RowStream, Snapshot, SourceColumn, SqlSource, TableName};
use tokio_postgres::types::Type;

use super::copy_text::CopyTextReader;
use super::hashing::{PostgresHashing, key_query};
use super::replica;
use super::types::source_column;
use crate::parts::batches::{Outlet, channel_beside};
use crate::parts::dialect::Dialect;
use crate::parts::sql::{literal, scalar, without_semicolon};
use crate::parts::task::TaskHandle;
use crate::parts::wire::{WireClient, WireConfig, is_about_encoding};

/// Reads in one read-only REPEATABLE READ transaction. Values are COPY's own text with the session in UTC; `bytea` is
/// plain lower-case hex, booleans are `t` and `f`.
pub struct PostgresSource {
    config: WireConfig,
    timezone: Option<String>,
    /// How many read beside each other, this one among them.
    readers: usize,
}

impl PostgresSource {
    pub fn open(connection: &Connection, task: TaskHandle) -> Result<Self, PortError> {
        let timezone = connection.extra.text("source_timezone").map(ToOwned::to_owned);
        let config = WireConfig::of(connection, Dialect::Postgres, task)?.reading(connection);
        Ok(Self { config, timezone, readers: 1 })
    }

    /// In a snapshot that another session has exported, or in one of its own.
    async fn start(&self, sql: &str, snapshot: Option<&str>) -> Result<RowStream, PortError> {
        let client = self.config.connect().await?;
        client.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        if let Some(id) = snapshot {
            client.batch(&format!("SET TRANSACTION SNAPSHOT {}", literal(id))).await?;
        }
        let sql = without_semicolon(sql);
        let prepared = client
            .busy(client.client.prepare(sql))
            .await
            .map_err(|error| self.config.failure("the query was refused", &error))?;
        let is_bytes = prepared.columns().iter().map(|column| *column.type_() == Type::BYTEA).collect();
        let columns: Vec<SourceColumn> = prepared.columns().iter().map(source_column).collect();
        let is_money: Vec<bool> = prepared.columns().iter().map(|column| *column.type_() == Type::MONEY).collect();
        drop(prepared);
        // The newline ends a comment that the query may end with.
        let copy = match money_as_numbers(sql, is_money) {
            Some(rewritten) => format!("COPY ({rewritten}) TO STDOUT"),
            None => format!("COPY ({sql}\n) TO STDOUT"),
        };
        let stream = client
            .busy(client.client.copy_out(&copy))
            .await
            .map_err(|error| self.config.failure("the query failed", &error))?;
        client.set_busy(true);
        let (outlet, batches) = channel_beside(self.readers);
        let task = self.config.task.clone();
        let read = columns.clone();
        tokio::spawn(async move {
            let work = task.until_cancelled(pump(stream, &read, CopyTextReader::new(is_bytes), &outlet, &client));
            tokio::select! {
                result = work => {
                    if result.is_ok() {
                        client.set_busy(false);
                    }
                    outlet.end(result).await;
                }
                () = outlet.closed() => {}
            }
            drop(client);
        });
        Ok(RowStream { columns, batches })
    }
}

/// What money looks like depends on the server's locale; the number behind it does not, and only the server knows how
/// many of its digits stand behind the point.
fn money_as_numbers(sql: &str, is_money: Vec<bool>) -> Option<String> {
    if !is_money.contains(&true) {
        return None;
    }
    let names: Vec<String> = (1..=is_money.len()).map(|number| format!("c{number}")).collect();
    let cells = names.iter().zip(is_money).map(
        |(name, is_money)| {
            if is_money { format!("{name}::numeric") } else { name.clone() }
        },
    );
    let cells = cells.collect::<Vec<_>>().join(", ");
    Some(format!("SELECT {cells} FROM ({sql}\n) AS q({})", names.join(", ")))
}

impl PostgresSource {
    async fn export(&self, readers: usize) -> Result<Snapshot, PortError> {
        let exporter = self.config.connect().await?;
        exporter.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let answer = exporter.query("SELECT pg_export_snapshot()").await?;
        let id = scalar(&answer).unwrap_or_default().to_owned();
        let exporter = Arc::new(exporter);
        let reader = || SnapshotReader {
            source: Self { config: self.config.clone(), timezone: self.timezone.clone(), readers },
            id: id.clone(),
            _exporter: Arc::clone(&exporter),
        };
        let readers = (0..readers.max(1)).map(|_| Arc::new(reader()) as Arc<dyn SqlSource>).collect();
        Ok(Snapshot { readers, note: None })
    }
}

/// Reads what another session saw at one moment.
struct SnapshotReader {
    source: PostgresSource,
    id: String,
    /// A snapshot can be taken over for as long as the session that exported it keeps its transaction open.
    _exporter: Arc<WireClient>,
}

impl SqlSource for SnapshotReader {
    fn quote(&self, name: &str) -> String {
        self.source.quote(name)
    }

    fn literal(&self, text: &str) -> String {
        self.source.literal(text)
    }

    fn table_sql(&self, table: &TableName) -> String {
        self.source.table_sql(table)
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RowStream, PortError>> {
        Box::pin(self.source.config.task.until_cancelled(self.source.start(sql, Some(&self.id))))
    }
}

async fn pump(
    stream: tokio_postgres::CopyOutStream,
    columns: &[SourceColumn],
    mut reader: CopyTextReader,
    outlet: &Outlet,
    client: &WireClient,
) -> Result<(), PortError> {
    let mut stream = std::pin::pin!(stream);
    let mut batch = RowBatch::new(columns.len());
    let mut sent = 0;
    while let Some(chunk) = stream.try_next().await.map_err(|error| {
        let failure = client.config.failure("the query failed while its rows were read", &error);
        with_place(failure, sent + batch.len() as u64 + 1, columns)
    })? {
        reader.read(&chunk, &mut batch)?;
        drop(chunk);
        if outlet.is_enough(&batch) {
            sent += batch.len() as u64;
            let next = RowBatch::like(&batch);
            let full = std::mem::replace(&mut batch, next);
            outlet.send(full).await?;
        }
    }
    if !batch.is_empty() {
        outlet.send(batch).await?;
    }
    client.batch("COMMIT").await
}

/// Which row it was whose bytes are no text, in which columns they may stand, and a way to read them.
fn with_place(mut failure: PortError, row: u64, columns: &[SourceColumn]) -> PortError {
    if !failure.code.as_deref().is_some_and(is_about_encoding) {
        return failure;
    }
    let is_text = |column: &&SourceColumn| column.value.is_text();
    let names: Vec<&str> = columns.iter().filter(is_text).map(|column| column.name.as_str()).collect();
    let example = names.first().copied().unwrap_or("note");
    let places = match names[..] {
        [] => String::new(),
        [only] => format!(", column {only}"),
        _ => format!(", one of the columns {}", names.join(", ")),
    };
    failure.message.push_str(&format!(
        "; it is row {row}{places}: a database of SQL_ASCII keeps whatever bytes it was given. Where they are LATIN1, the query reads \
         them by convert_from(convert(convert_to({example}, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'SQL_ASCII') AS {example}; \
         encode(convert_to({example}, 'SQL_ASCII'), 'hex') shows them",
    ));
    failure
}

impl SqlSource for PostgresSource {
    fn quote(&self, name: &str) -> String {
        crate::parts::sql::quote(name)
    }

    fn literal(&self, text: &str) -> String {
        crate::parts::sql::literal(text)
    }

    fn replica_lag(&self) -> BoxFuture<'_, Result<Option<TimeDelta>, PortError>> {
        Box::pin(replica::lag(&self.config))
    }

    fn source_timezone(&self) -> Option<&str> {
        self.timezone.as_deref()
    }

    fn table_sql(&self, table: &TableName) -> String {
        crate::parts::sql::table(table)
    }

    fn expected_rows<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        Box::pin(async move {
            let plan = self.config.ask(&format!("EXPLAIN (FORMAT JSON) {}", without_semicolon(sql))).await?;
            let text: String = plan.rows.into_iter().flatten().flatten().collect();
            let plan: Option<serde_json::Value> = serde_json::from_str(&text).ok();
            Ok(plan.and_then(|plan| plan.pointer("/0/Plan/Plan Rows")?.as_u64()))
        })
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RowStream, PortError>> {
        Box::pin(self.config.task.until_cancelled(self.start(sql, None)))
    }

    fn snapshot(&self, readers: usize) -> BoxFuture<'_, Result<Option<Snapshot>, PortError>> {
        Box::pin(self.config.task.until_cancelled(async move { self.export(readers).await.map(Some) }))
    }

    fn key_query(&self, table: &TableName) -> Option<String> {
        Some(key_query(table, crate::parts::sql::literal))
    }

    fn row_hashing(&self) -> Option<&dyn RowHashing> {
        Some(&PostgresHashing)
    }
}
