//! PostgreSQL as a warehouse.

use futures::future::BoxFuture;
use millrace_operator_api::PortError;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::context::WorkId;
use millrace_operator_api::ports::{
    Alteration, BuildReport, BuildRequest, CheckResult, Column, Ended, LoadReport, LoadRequest, NewColumn, SmallResult,
    TableCheck, TableName, ValueType, Warehouse,
};
use sqlparser::dialect::PostgreSqlDialect;

use super::{keys, load};
use crate::parts::dialect::Dialect;
use crate::parts::script::{self, units};
use crate::parts::session::{Session, ask, describe, make_table};
use crate::parts::sql;
use crate::parts::task::TaskHandle;
use crate::parts::wire::{WireConfig, WireSession, only_asks};
use crate::parts::{ddl, long_names, room, swap};

pub struct PostgresWarehouse {
    config: WireConfig,
}

impl PostgresWarehouse {
    pub fn open(connection: &Connection, task: TaskHandle) -> Result<Self, PortError> {
        Ok(Self { config: WireConfig::of(connection, Dialect::Postgres, task)? })
    }

    pub async fn ping(&self) -> Result<String, PortError> {
        let answer = self.config.ask("SHOW server_version").await?;
        Ok(format!("PostgreSQL {}", crate::parts::sql::scalar(&answer).unwrap_or("of unknown version")))
    }

    fn session(&self) -> WireSession {
        WireSession { config: self.config.clone() }
    }
}

/// Runs a script over the wire; shared with Redshift's wire transport.
pub async fn execute(
    config: &WireConfig,
    statements: &[String],
    autocommit: bool,
    ended: Ended<'_>,
) -> Result<Vec<SmallResult>, PortError> {
    let client = config.connect().await?;
    let mut results = vec![SmallResult::default(); statements.len()];
    if autocommit {
        for (index, statement) in statements.iter().enumerate() {
            results[index] = client.query(statement).await.map_err(|mut error| {
                error.message = format!("statement {} failed, those before it stay done: {}", index + 1, error.message);
                error
            })?;
            if !only_asks(statement) {
                results[index].remote_id = client.remote_id().await;
            }
            ended(index, &results[index]);
        }
        return Ok(results);
    }
    for unit in units(statements) {
        let answers = client.transaction(&unit.statements, unit.is_rolled_back).await?;
        for ((number, _), answer) in unit.statements.iter().zip(answers) {
            ended(number - 1, &answer);
            results[number - 1] = answer;
        }
    }
    Ok(results)
}

/// Drops tables whether the task goes on or not; shared with Redshift.
pub async fn forget(session: &dyn Session, tables: &[TableName]) -> Result<(), PortError> {
    for table in tables {
        session.clean_up(format!("DROP TABLE IF EXISTS {}", sql::table(table))).await?;
    }
    Ok(())
}

impl Warehouse for PostgresWarehouse {
    fn engine(&self) -> &'static str {
        "postgres"
    }

    fn split(&self, script: &str) -> Result<Vec<String>, PortError> {
        script::split(&PostgreSqlDialect {}, script)
    }

    fn quote(&self, name: &str) -> String {
        crate::parts::sql::quote(name)
    }

    fn literal(&self, text: &str) -> String {
        crate::parts::sql::literal(text)
    }

    fn table_sql(&self, table: &TableName) -> String {
        crate::parts::sql::table(table)
    }

    fn lock_sql(&self, table: &TableName) -> Option<String> {
        Some(format!("LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", sql::table(table)))
    }

    fn forget<'a>(&'a self, tables: &'a [TableName]) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move { forget(&self.session(), tables).await })
    }

    fn execute_telling<'a>(
        &'a self,
        statements: &'a [String],
        autocommit: bool,
        _: &'a WorkId,
        ended: Ended<'a>,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        Box::pin(self.config.task.until_cancelled(execute(&self.config, statements, autocommit, ended)))
    }

    fn describe<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Vec<Column>, PortError>> {
        Box::pin(async move { describe(&self.session(), table).await })
    }

    fn column_type(&self, value: &ValueType) -> String {
        ddl::postgres(value)
    }

    fn holds(&self, type_name: &str, value: &ValueType) -> bool {
        room::holds(type_name, value, Dialect::Postgres)
    }

    fn widened(&self, type_name: &str, value: &ValueType) -> Option<String> {
        room::widened(type_name, value, Dialect::Postgres)
    }

    fn gone_rows_hinder<'a>(
        &'a self,
        table: &'a TableName,
        keys: &'a [String],
    ) -> BoxFuture<'a, Result<bool, PortError>> {
        Box::pin(
            async move { Ok(!ask(&self.session(), "rules", keys::rule_beside(table, keys)).await?.rows.is_empty()) },
        )
    }

    fn name_refusal(&self, table: &TableName, columns: &[NewColumn]) -> Option<PortError> {
        long_names::check_new(Dialect::Postgres, table, columns).err()
    }

    fn create_table<'a>(
        &'a self,
        table: &'a TableName,
        columns: &'a [NewColumn],
        keys: &'a [String],
        if_not_exists: bool,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            long_names::check_new(Dialect::Postgres, table, columns)?;
            let statement = ddl::create_table(&sql::table(table), columns, keys, if_not_exists)?;
            make_table(&self.session(), table, statement, if_not_exists).await
        })
    }

    fn alter_table<'a>(
        &'a self,
        table: &'a TableName,
        alterations: &'a [Alteration],
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            long_names::check_altered(Dialect::Postgres, table, alterations)?;
            self.session().run("alter-table", ddl::alter_table(table, alterations)).await.map(|_| ())
        })
    }

    fn load<'a>(&'a self, request: LoadRequest) -> BoxFuture<'a, Result<LoadReport, PortError>> {
        Box::pin(self.config.task.until_cancelled(load::load(&self.config, request)))
    }

    fn check<'a>(
        &'a self,
        table: &'a TableName,
        checks: &'a [TableCheck],
    ) -> BoxFuture<'a, Result<Vec<CheckResult>, PortError>> {
        Box::pin(async move { swap::check(&self.session(), table, checks).await })
    }

    fn build_and_swap<'a>(&'a self, request: BuildRequest) -> BoxFuture<'a, Result<BuildReport, PortError>> {
        Box::pin(async move { swap::build_and_swap(&self.session(), request, &self.config.task).await })
    }

    fn ping(&self) -> BoxFuture<'_, Result<String, PortError>> {
        Box::pin(PostgresWarehouse::ping(self))
    }
}
