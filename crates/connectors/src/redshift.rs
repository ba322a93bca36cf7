//! Redshift as a warehouse, by the Data API or by wire. The SQL is the same for both and stands in `plan`.

mod blanks;
mod column_limits;
mod data_api;
mod hashing;
mod insert;
pub mod limits;
mod load;
mod load_errors;
mod plan;
mod refusals;
mod source;
mod statement;
mod unload;

use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::BoxFuture;
use millrace_operator_api::PortError;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::context::WorkId;
use millrace_operator_api::ports::{
    Alteration, BuildReport, BuildRequest, CheckResult, Column, ColumnLimit, CsvFormat, Ended, LoadReport, LoadRequest,
    NewColumn, SmallResult, Staging, TableCheck, TableName, UnloadReport, UnloadRequest, ValueType, Warehouse,
};
use sqlparser::dialect::RedshiftSqlDialect;

use crate::parts::dialect::Dialect;
use crate::parts::failure::{invalid, while_doing};
use crate::parts::script::{self, units};
use crate::parts::session::{Session, ask, describe, make_table};
use crate::parts::sql;
use crate::parts::swap;
use crate::parts::task::TaskHandle;
use crate::parts::wire::{WireConfig, WireSession};
use crate::parts::{ddl, long_names, room};
use crate::postgres::{execute_over_wire, forget};
use data_api::{DataApi, DataApiSession};
pub use source::RedshiftSource;

/// Extra of the connection: exactly one of `cluster_identifier` and `workgroup_name` (Data API), or neither and a host
/// (wire), or `mode: wire`; `secret_arn` or `db_user`; `iam_role` for COPY; `s3_staging` and
/// `s3_conn_id`, where rows without files are put for COPY.
pub struct RedshiftWarehouse {
    transport: Transport,
    copy_credentials: String,
    symmetric_key: Option<String>,
    s3_region: Option<String>,
    staging: Option<Staging>,
    /// Scripts of one task are told apart in the journal by their order.
    scripts: AtomicU32,
}

enum Transport {
    DataApi(DataApi),
    Wire(Box<WireConfig>),
}

impl RedshiftWarehouse {
    pub async fn open(connection: &Connection, task: TaskHandle) -> Result<Self, PortError> {
        let extra = &connection.extra;
        let conn_id = &connection.conn_id;
        let is_api = extra.text("cluster_identifier").is_some() || extra.text("workgroup_name").is_some();
        let transport = match extra.text("mode") {
            Some("wire") => Transport::Wire(Box::new(WireConfig::of(connection, Dialect::Redshift, task)?)),
            Some("data_api") | None if is_api => Transport::DataApi(DataApi::open(connection, task).await?),
            None if connection.host.is_some() => {
                Transport::Wire(Box::new(WireConfig::of(connection, Dialect::Redshift, task)?))
            }
            None | Some("data_api") => {
                return Err(invalid(format!(
                    "connection {conn_id:?} names neither a cluster_identifier nor a workgroup_name (Data API), nor a host (wire)"
                )));
            }
            Some(other) => {
                return Err(invalid(format!(
                    "connection {conn_id:?}: mode {other:?} is neither \"data_api\" nor \"wire\""
                )));
            }
        };
        let staging = match (extra.text("s3_staging"), extra.text("s3_conn_id")) {
            (Some(address), Some(store)) => Some(Staging { conn_id: store.to_owned(), address: address.to_owned() }),
            (None, None) => None,
            _ => {
                return Err(invalid(format!(
                    "connection {conn_id:?}: s3_staging (s3://bucket/prefix) and s3_conn_id (a connection of type aws) are \
                     needed together"
                )));
            }
        };
        Ok(Self {
            transport,
            staging,
            copy_credentials: plan::copy_credentials(extra),
            symmetric_key: extra.text("master_symmetric_key").map(ToOwned::to_owned),
            s3_region: extra.text("s3_region").map(ToOwned::to_owned),
            scripts: AtomicU32::new(0),
        })
    }

    pub async fn ping(&self) -> Result<String, PortError> {
        let answer = ask(&*self.session(None), "ping", "SELECT version()".to_owned()).await?;
        let version = crate::parts::sql::scalar(&answer).unwrap_or("Redshift").to_owned();
        Ok(match version.split_once("Redshift ") {
            Some((_, number)) => format!("Redshift {number}"),
            None => format!("Redshift ({version})"),
        })
    }

    /// Statements that change something are journalled under `work`.
    fn session(&self, work: Option<&WorkId>) -> Box<dyn Session> {
        match &self.transport {
            Transport::DataApi(api) => Box::new(DataApiSession::new(api.clone(), work)),
            Transport::Wire(config) => Box::new(WireSession { config: *config.clone() }),
        }
    }

    fn session_showing(&self, work: Option<&WorkId>, values: bool) -> Box<dyn Session> {
        match &self.transport {
            Transport::DataApi(api) => Box::new(DataApiSession::new(api.clone(), work).showing(values)),
            Transport::Wire(config) => Box::new(WireSession { config: config.showing(values) }),
        }
    }

    fn task(&self) -> &TaskHandle {
        match &self.transport {
            Transport::DataApi(api) => api.task(),
            Transport::Wire(config) => &config.task,
        }
    }

    async fn execute(
        &self,
        statements: &[String],
        autocommit: bool,
        work: &WorkId,
        ended: Ended<'_>,
    ) -> Result<Vec<SmallResult>, PortError> {
        let api = match &self.transport {
            Transport::Wire(config) => {
                return config.task.until_cancelled(execute_over_wire(config, statements, autocommit, ended)).await;
            }
            Transport::DataApi(api) => api,
        };
        let script = self.scripts.fetch_add(1, Ordering::Relaxed) + 1;
        let session = DataApiSession::new(api.clone(), Some(work));
        let mut results = vec![SmallResult::default(); statements.len()];
        if autocommit {
            for (index, statement) in statements.iter().enumerate() {
                let step = format!("script:{script}:{}", index + 1);
                results[index] = session.run_alone(&step, statement).await.map_err(|error| {
                    while_doing(&format!("statement {} failed, those before it stay done", index + 1), error)
                })?;
                ended(index, &results[index]);
            }
            return Ok(results);
        }
        for (index, unit) in units(statements).into_iter().enumerate() {
            if unit.is_rolled_back {
                return Err(invalid(
                    "a script sent by the Data API cannot ROLLBACK: each batch is committed as a whole",
                ));
            }
            let (numbers, texts): (Vec<usize>, Vec<String>) = unit.statements.into_iter().unzip();
            let first = numbers.first().copied().unwrap_or(1);
            let answers =
                session.run(&format!("script:{script}:unit:{}", index + 1), texts).await.map_err(|error| {
                    while_doing(
                        &format!("the statements from number {first} on failed, all of them were rolled back"),
                        error,
                    )
                })?;
            for (number, answer) in numbers.into_iter().zip(answers) {
                ended(number - 1, &answer);
                results[number - 1] = answer;
            }
        }
        Ok(results)
    }
}

impl Warehouse for RedshiftWarehouse {
    fn engine(&self) -> &'static str {
        "redshift"
    }

    fn split(&self, script: &str) -> Result<Vec<String>, PortError> {
        script::split(&RedshiftSqlDialect {}, script)
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

    fn staging(&self) -> Option<Staging> {
        self.staging.clone()
    }

    fn lock_sql(&self, table: &TableName) -> Option<String> {
        Some(format!("LOCK TABLE {}", sql::table(table)))
    }

    fn forget<'a>(&'a self, tables: &'a [TableName]) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move { forget(&*self.session(None), tables).await })
    }

    fn execute_telling<'a>(
        &'a self,
        statements: &'a [String],
        autocommit: bool,
        work: &'a WorkId,
        ended: Ended<'a>,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        Box::pin(RedshiftWarehouse::execute(self, statements, autocommit, work, ended))
    }

    fn describe<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Vec<Column>, PortError>> {
        Box::pin(async move { describe(&*self.session(None), table).await })
    }

    fn column_type(&self, value: &ValueType) -> String {
        ddl::redshift(value)
    }

    fn holds(&self, type_name: &str, value: &ValueType) -> bool {
        room::holds(type_name, value, Dialect::Redshift)
    }

    fn widened(&self, type_name: &str, value: &ValueType) -> Option<String> {
        room::widened(type_name, value, Dialect::Redshift)
    }

    fn passes_over_blanks(&self, type_name: &str) -> bool {
        blanks::are_passed_over(type_name)
    }

    fn column_limit(&self, type_name: &str, value: &ValueType, format: &CsvFormat) -> Option<Box<dyn ColumnLimit>> {
        column_limits::column_limit(type_name, value, format)
    }

    fn name_refusal(&self, table: &TableName, columns: &[NewColumn]) -> Option<PortError> {
        long_names::check_new(Dialect::Redshift, table, columns).err()
    }

    fn create_table<'a>(
        &'a self,
        table: &'a TableName,
        columns: &'a [NewColumn],
        keys: &'a [String],
        if_not_exists: bool,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            long_names::check_new(Dialect::Redshift, table, columns)?;
            // Of one that was looked at before, to make another like it.
            let declared = |column: &NewColumn| {
                let type_name = plan::declared(&column.type_name).to_owned();
                NewColumn { type_name, ..column.clone() }
            };
            let columns: Vec<NewColumn> = columns.iter().map(declared).collect();
            let statement = ddl::create_table(&sql::table(table), &columns, keys, if_not_exists)?;
            make_table(&*self.session(None), table, statement, if_not_exists).await
        })
    }

    fn alter_table<'a>(
        &'a self,
        table: &'a TableName,
        alterations: &'a [Alteration],
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            long_names::check_altered(Dialect::Redshift, table, alterations)?;
            for alteration in alterations {
                if let Alteration::Widen { column, type_name } = alteration
                    && !type_name.starts_with("varchar")
                {
                    return Err(invalid(format!(
                        "column {column} of {table} needs the type {type_name}, and Redshift changes the length of VARCHAR only: \
                         make a new column, or a new table"
                    )));
                }
            }
            let statements = ddl::alter_table(table, alterations);
            match &self.transport {
                // The length of a VARCHAR can't be changed in a transaction.
                Transport::Wire(config) => execute_over_wire(config, &statements, true, &|_, _| {}).await.map(|_| ()),
                Transport::DataApi(api) => {
                    let session = DataApiSession::new(api.clone(), None);
                    for statement in &statements {
                        session.run_alone("alter-table", statement).await?;
                    }
                    Ok(())
                }
            }
        })
    }

    fn load<'a>(&'a self, request: LoadRequest) -> BoxFuture<'a, Result<LoadReport, PortError>> {
        Box::pin(async move {
            let session = self.session_showing(Some(&request.work), request.show_values);
            let options = load::Options {
                credentials: &self.copy_credentials,
                symmetric_key: self.symmetric_key.as_deref(),
                region: self.s3_region.as_deref(),
                task: self.task(),
            };
            load::load(&*session, &options, request).await
        })
    }

    fn unload(&self, request: UnloadRequest) -> BoxFuture<'_, Result<UnloadReport, PortError>> {
        Box::pin(async move {
            let session = self.session(Some(&request.work));
            let authorization = unload::Authorization {
                credentials: &self.copy_credentials,
                symmetric_key: self.symmetric_key.as_deref(),
                region: self.s3_region.as_deref(),
            };
            unload::unload((&*session, &*self.session(None)), &authorization, &request).await
        })
    }

    fn check<'a>(
        &'a self,
        table: &'a TableName,
        checks: &'a [TableCheck],
    ) -> BoxFuture<'a, Result<Vec<CheckResult>, PortError>> {
        Box::pin(async move { swap::check(&*self.session(None), table, checks).await })
    }

    fn build_and_swap<'a>(&'a self, request: BuildRequest) -> BoxFuture<'a, Result<BuildReport, PortError>> {
        Box::pin(async move { swap::build_and_swap(&*self.session(Some(&request.work)), request, self.task()).await })
    }

    fn ping(&self) -> BoxFuture<'_, Result<String, PortError>> {
        Box::pin(RedshiftWarehouse::ping(self))
    }
}
