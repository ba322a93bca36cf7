//! SQLite as a warehouse.

use futures::future::BoxFuture;
use millrace_operator_api::PortError;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::context::WorkId;
use millrace_operator_api::ports::{
    Alteration, BuildReport, BuildRequest, CheckResult, Column, Ended, LoadReport, LoadRequest, NewColumn, SmallResult,
    TableCheck, TableName, ValueType, Warehouse,
};
use sqlparser::dialect::SQLiteDialect;

use super::anatomy::describe;
use super::connect::{SqliteFile, literal, table};
use super::table_checks::check;
use super::{anatomy, load, swap};
use crate::parts::failure::{invalid, while_doing};
use crate::parts::script::{self, units};
use crate::parts::task::TaskHandle;
use crate::parts::{ddl, room, sql};

/// Writers are IMMEDIATE transactions on a file in WAL mode, so that readers never wait for them.
pub struct SqliteWarehouse {
    file: SqliteFile,
}

impl SqliteWarehouse {
    pub fn open(connection: &Connection, task: TaskHandle) -> Result<Self, PortError> {
        Ok(Self { file: SqliteFile::of(connection, task)? })
    }

    pub async fn ping(&self) -> Result<String, PortError> {
        let mut connection = self.file.open(true).await?;
        let answer = self.file.ask(&mut connection, "SELECT sqlite_version(), count(*) FROM sqlite_master").await?;
        Ok(format!("SQLite {}", sql::scalar(&answer).unwrap_or("of unknown version")))
    }

    async fn execute(
        &self,
        statements: &[String],
        autocommit: bool,
        ended: Ended<'_>,
    ) -> Result<Vec<SmallResult>, PortError> {
        let mut connection = self.file.open(false).await?;
        let mut results = vec![SmallResult::default(); statements.len()];
        if autocommit {
            for (index, statement) in statements.iter().enumerate() {
                results[index] = self.file.ask(&mut connection, statement).await.map_err(|error| {
                    while_doing(&format!("statement {} failed, those before it stay done", index + 1), error)
                })?;
                ended(index, &results[index]);
            }
            return Ok(results);
        }
        for unit in units(statements) {
            self.file.run(&mut connection, "BEGIN IMMEDIATE").await?;
            for (number, statement) in &unit.statements {
                match self.file.ask(&mut connection, statement).await {
                    Ok(result) => results[number - 1] = result,
                    Err(error) => {
                        // The first error counts.
                        let _ = self.file.run(&mut connection, "ROLLBACK").await;
                        return Err(while_doing(
                            &format!("statement {number} failed, everything was rolled back"),
                            error,
                        ));
                    }
                }
            }
            self.file.run(&mut connection, if unit.is_rolled_back { "ROLLBACK" } else { "COMMIT" }).await?;
            unit.statements.iter().for_each(|(number, _)| ended(number - 1, &results[number - 1]));
        }
        Ok(results)
    }
}

impl Warehouse for SqliteWarehouse {
    fn engine(&self) -> &'static str {
        "sqlite"
    }

    fn split(&self, script: &str) -> Result<Vec<String>, PortError> {
        script::split(&SQLiteDialect {}, script)
    }

    fn quote(&self, name: &str) -> String {
        crate::parts::sql::quote(name)
    }

    fn literal(&self, text: &str) -> String {
        literal(text)
    }

    fn table_sql(&self, name: &TableName) -> String {
        table(name)
    }

    fn index_sql(&self, name: &TableName, columns: &[String]) -> Option<String> {
        let index = sql::quote(&format!("{}_index", name.name));
        Some(format!("CREATE INDEX {index} ON {} ({})", table(name), sql::list(columns)))
    }

    fn forget<'a>(&'a self, tables: &'a [TableName]) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let mut connection = self.file.open(false).await?;
            for name in tables {
                self.file.run(&mut connection, &format!("DROP TABLE IF EXISTS {}", table(name))).await?;
            }
            Ok(())
        })
    }

    fn execute_telling<'a>(
        &'a self,
        statements: &'a [String],
        autocommit: bool,
        _: &'a WorkId,
        ended: Ended<'a>,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        Box::pin(self.file.task.until_cancelled(SqliteWarehouse::execute(self, statements, autocommit, ended)))
    }

    fn describe<'a>(&'a self, name: &'a TableName) -> BoxFuture<'a, Result<Vec<Column>, PortError>> {
        Box::pin(async move {
            let mut connection = self.file.open(true).await?;
            describe(&self.file, &mut connection, name).await
        })
    }

    fn column_type(&self, value: &ValueType) -> String {
        ddl::sqlite(value)
    }

    fn holds(&self, type_name: &str, value: &ValueType) -> bool {
        room::sqlite_holds(type_name, value)
    }

    fn gone_rows_hinder<'a>(
        &'a self,
        name: &'a TableName,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(async move {
            let mut connection = self.file.open(false).await?;
            anatomy::has_rule_beside(&self.file, &mut connection, name, keys).await
        })
    }

    fn create_table<'a>(
        &'a self,
        name: &'a TableName,
        columns: &'a [NewColumn],
        keys: &'a [String],
        if_not_exists: bool,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let statement = ddl::create_table(&table(name), columns, keys, if_not_exists)?;
            let mut connection = self.file.open(false).await?;
            self.file.run(&mut connection, &statement).await.map(|_| ())
        })
    }

    fn alter_table<'a>(
        &'a self,
        name: &'a TableName,
        alterations: &'a [Alteration],
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let mut connection = self.file.open(false).await?;
            for alteration in alterations {
                match alteration {
                    Alteration::Add(column) => {
                        let statement = format!(
                            "ALTER TABLE {} ADD COLUMN {} {}",
                            table(name),
                            sql::quote(&column.name),
                            column.type_name
                        );
                        self.file.run(&mut connection, &statement).await?;
                    }
                    // A column takes values of any length; its kind cannot be changed.
                    Alteration::Widen { type_name, .. } if type_name == "TEXT" => {}
                    Alteration::Widen { column, type_name } => {
                        return Err(invalid(format!(
                            "column {column} of {name} needs the type {type_name}, and SQLite cannot change a column's type"
                        )));
                    }
                }
            }
            Ok(())
        })
    }

    fn load<'a>(&'a self, request: LoadRequest) -> BoxFuture<'a, Result<LoadReport, PortError>> {
        Box::pin(self.file.task.until_cancelled(load::load(&self.file, request)))
    }

    fn check<'a>(
        &'a self,
        name: &'a TableName,
        wanted: &'a [TableCheck],
    ) -> BoxFuture<'a, Result<Vec<CheckResult>, PortError>> {
        Box::pin(self.file.task.until_cancelled(async move {
            let mut connection = self.file.open(true).await?;
            check(&self.file, &mut connection, name, wanted).await
        }))
    }

    fn build_and_swap<'a>(&'a self, request: BuildRequest) -> BoxFuture<'a, Result<BuildReport, PortError>> {
        Box::pin(self.file.task.until_cancelled(swap::build_and_swap(&self.file, request)))
    }

    fn ping(&self) -> BoxFuture<'_, Result<String, PortError>> {
        Box::pin(SqliteWarehouse::ping(self))
    }
}
