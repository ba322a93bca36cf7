//! SQLite as a source of rows.

use futures::future::BoxFuture;
use millrace_operator_api::PortError;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{RowStream, SqlSource, TableName};

use super::connect::SqliteFile;
use super::reading;
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
        Box::pin(self.file.task.until_cancelled(reading::start(&self.file, without_semicolon(sql))))
    }
}
