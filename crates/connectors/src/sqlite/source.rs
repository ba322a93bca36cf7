//! Rows out of SQLite.

use futures::TryStreamExt;
use futures::future::BoxFuture;
use millrace_operator_api::PortError;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{RowBatch, RowStream, SourceColumn, SqlSource, TableName};
use sqlx::{AssertSqlSafe, Executor, SqlSafeStr, SqliteConnection, Statement};

use super::cells::{Unreadable, canonical};
use super::connect::SqliteFile;
use super::types::source_columns;
use crate::parts::batches::{Outlet, channel};
use crate::parts::failure::data;
use crate::parts::sql::without_semicolon;
use crate::parts::task::TaskHandle;

/// Reads in one transaction of a read-only connection; a dropped stream interrupts the query.
pub struct SqliteSource {
    file: SqliteFile,
    timezone: Option<String>,
}

impl SqliteSource {
    pub fn open(connection: &Connection, task: TaskHandle) -> Result<Self, PortError> {
        let timezone = connection.extra.text("source_timezone").map(ToOwned::to_owned);
        Ok(Self { file: SqliteFile::of(connection, task)?, timezone })
    }

    async fn start(&self, sql: &str) -> Result<RowStream, PortError> {
        let mut connection = self.file.open(true).await?;
        self.file.run(&mut connection, "BEGIN").await?;
        let sql = without_semicolon(sql).to_owned();
        let prepared = (&mut connection)
            .prepare(AssertSqlSafe(sql.clone()).into_sql_str())
            .await
            .map_err(|error| self.file.failure("the query was refused", &error))?;
        let described = prepared.columns().to_vec();
        drop(prepared);
        let columns = source_columns(&self.file, &mut connection, &described).await;
        let (outlet, batches) = channel();
        let (file, read) = (self.file.clone(), columns.clone());
        tokio::spawn(async move {
            let work = file.task.until_cancelled(pump(&file, connection, sql, &read, &outlet));
            tokio::select! {
                result = work => outlet.end(result).await,
                () = outlet.closed() => {}
            }
        });
        Ok(RowStream { columns, batches })
    }
}

async fn pump(
    file: &SqliteFile,
    mut connection: SqliteConnection,
    sql: String,
    columns: &[SourceColumn],
    outlet: &Outlet,
) -> Result<(), PortError> {
    let width = columns.len();
    let mut batch = RowBatch::new(width);
    let mut number = 0_u64;
    let mut rows = connection.fetch(sqlx::raw_sql(AssertSqlSafe(sql)));
    while let Some(row) = rows.try_next().await.map_err(|error| file.failure("the query failed", &error))? {
        number += 1;
        for (index, column) in columns.iter().enumerate() {
            let cell = canonical(&row, index, &column.value).map_err(|error| match error {
                Unreadable::Database(error) => file.failure("a value could not be read", &error),
                Unreadable::Bytes(length) => no_text(file, number, column, length),
            });
            batch.push(cell?.as_deref());
        }
        drop(row);
        if outlet.is_enough(&batch) {
            let full = std::mem::replace(&mut batch, RowBatch::new(width));
            outlet.send(full).await?;
        }
    }
    if !batch.is_empty() {
        outlet.send(batch).await?;
    }
    Ok(())
}

fn no_text(file: &SqliteFile, row: u64, column: &SourceColumn, length: usize) -> PortError {
    data(format!(
        "connection {:?}: row {row}, column {}: a blob of {length} bytes that are no text (UTF-8) stands in a column declared {}; \
         hex({}) in the query reads it as digits",
        file.conn_id,
        column.name,
        column.type_name.to_ascii_uppercase(),
        column.name
    ))
}

impl SqlSource for SqliteSource {
    fn quote(&self, name: &str) -> String {
        crate::parts::sql::quote(name)
    }

    fn literal(&self, text: &str) -> String {
        super::connect::literal(text)
    }

    fn has_dates(&self) -> bool {
        false
    }

    fn source_timezone(&self) -> Option<&str> {
        self.timezone.as_deref()
    }

    fn key_query(&self, table: &TableName) -> Option<String> {
        let table = super::connect::literal(&table.name);
        Some(format!("SELECT name FROM pragma_table_info({table}) WHERE pk > 0 ORDER BY pk"))
    }

    fn table_sql(&self, table: &TableName) -> String {
        super::connect::table(table)
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RowStream, PortError>> {
        Box::pin(self.file.task.until_cancelled(self.start(sql)))
    }
}
