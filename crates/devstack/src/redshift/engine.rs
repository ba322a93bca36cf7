//! Runs statements on PostgreSQL as Redshift would: each one, or a whole batch, in a transaction at snapshot isolation.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use tokio::sync::Mutex;
use tokio_postgres::{CancelToken, Client, NoTls, SimpleQueryMessage};
use tokio_util::sync::CancellationToken;

use super::answer::{SqlError, from_postgres};
use super::copy::{CopyOutcome, CopyRun};
use super::float_text;
use super::load_errors;
use super::plan::{Plan, Run};
use super::translate::{Parameter, Statement, translate};
use super::types::{Transport, result_type};
use super::unload;
use crate::error::DevstackError;
use crate::faults::{Fault, Faults};
use crate::objects::ObjectSource;

const SETUP: &str = include_str!("setup.sql");

/// Backslashes escape in literals, as in Redshift; transactions see one snapshot; times are UTC; floats have 15 digits.
const SESSION: &str = "\
SET standard_conforming_strings = off; SET escape_string_warning = off; SET backslash_quote = on; \
SET client_min_messages = error; SET extra_float_digits = 0; SET timezone = 'UTC'; SET datestyle = 'ISO, MDY'; \
SET default_transaction_isolation = 'repeatable read'; \
SET search_path = \"$user\", public, redshift_stand_in, pg_catalog";

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ";

/// Bytes of the largest result that is kept.
const LARGEST_RESULT: usize = 100 * 1024 * 1024;
/// Bytes of the largest row that the Data API hands out.
const LARGEST_ROW: usize = 64 * 1024;
/// A cancel that arrives between two statements is lost: it is sent again until the statement is over.
const CANCEL_AGAIN: Duration = Duration::from_millis(100);

/// Where statements run.
pub(super) struct Engine {
    postgres_url: String,
    objects: Arc<dyn ObjectSource>,
    pub(super) faults: Faults,
    /// For query ids and load errors, beside all transactions.
    side: Mutex<Option<Connection>>,
}

/// A connection of PostgreSQL: a session of Redshift.
pub(super) struct Connection {
    client: Client,
    pub(super) pid: i32,
    /// Between an explicit BEGIN and its end.
    in_transaction: bool,
}

/// A column of a result.
#[derive(Debug, Clone)]
pub(super) struct ResultColumn {
    pub(super) name: String,
    pub(super) type_name: &'static str,
    pub(super) transport: Transport,
}

/// The rows of a query, as text.
#[derive(Debug, Default)]
pub(super) struct ResultSet {
    pub(super) columns: Vec<ResultColumn>,
    pub(super) rows: Vec<Vec<Option<String>>>,
    pub(super) bytes: usize,
}

/// What one statement did.
#[derive(Debug)]
pub(super) struct Done {
    /// Rows returned or changed.
    pub(super) rows: i64,
    pub(super) result: Option<ResultSet>,
}

impl Done {
    fn rows(rows: i64) -> Self {
        Self { rows, result: None }
    }
}

/// How several statements belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// One statement, its own transaction.
    Single,
    /// One transaction for all.
    Batch,
    /// A batch in which each statement has its own transaction.
    AutoCommit,
}

/// Told while statements run.
pub(super) trait Watcher: Sync {
    fn started(&self, index: usize, query_id: i64);
    fn finished(&self, index: usize, result: Result<Done, SqlError>);
}

/// What to run.
pub(super) struct Work<'a> {
    pub(super) sqls: &'a [String],
    pub(super) parameters: &'a [Parameter],
    pub(super) mode: Mode,
    /// In a session BEGIN and COMMIT are statements like others.
    pub(super) in_session: bool,
    /// Sent to a workgroup, not to a cluster.
    pub(super) serverless: bool,
    pub(super) cancel: &'a CancellationToken,
}

impl Engine {
    /// Prepares the database.
    pub(super) async fn start(
        postgres_url: String,
        objects: Arc<dyn ObjectSource>,
        faults: Faults,
    ) -> Result<Self, DevstackError> {
        let connection = connect(&postgres_url).await.map_err(DevstackError::Postgres)?;
        // Two stand-ins over one database must not make the schema at the same moment.
        let setup = format!("BEGIN; SELECT pg_advisory_xact_lock(7246912); {SETUP}; COMMIT;");
        connection.client.batch_execute(&setup).await.map_err(DevstackError::Postgres)?;
        connection.client.batch_execute(SESSION).await.map_err(DevstackError::Postgres)?;
        Ok(Self { postgres_url, objects, faults, side: Mutex::new(Some(connection)) })
    }

    /// A new session.
    pub(super) async fn connect(&self) -> Result<Connection, SqlError> {
        let connect = async {
            let connection = connect(&self.postgres_url).await?;
            connection.client.batch_execute(SESSION).await?;
            Ok(connection)
        };
        connect.await.map_err(|error: tokio_postgres::Error| from_postgres(&error))
    }

    /// Runs all statements; the first failure ends it.
    pub(super) async fn run(
        &self,
        connection: &mut Connection,
        work: &Work<'_>,
        watcher: &dyn Watcher,
    ) -> Result<(), SqlError> {
        let mut one_transaction = work.mode == Mode::Batch;
        if one_transaction {
            if connection.in_transaction {
                return Err(SqlError::new("a batch cannot run in the open transaction of its session"));
            }
            connection.execute(BEGIN).await?;
        }
        for (index, sql) in work.sqls.iter().enumerate() {
            let step = self.step(connection, work, sql, one_transaction, |id| watcher.started(index, id)).await;
            let result = match step {
                Ok((done, committed)) => {
                    one_transaction &= !committed;
                    Ok(done)
                }
                Err(error) => Err(error),
            };
            let failure = result.as_ref().err().cloned();
            watcher.finished(index, result);
            if let Some(error) = failure {
                if one_transaction {
                    connection.roll_back().await;
                }
                return Err(error);
            }
        }
        if one_transaction {
            self.commit(connection, work.cancel).await?;
        }
        Ok(())
    }

    /// One statement; says whether it committed the batch (TRUNCATE does).
    async fn step(
        &self,
        connection: &mut Connection,
        work: &Work<'_>,
        sql: &str,
        in_batch: bool,
        started: impl FnOnce(i64),
    ) -> Result<(Done, bool), SqlError> {
        let query_id = self.next_query_id().await?;
        started(query_id);
        if work.cancel.is_cancelled() {
            return Err(SqlError::aborted());
        }
        let statement = translate(sql, work.parameters, work.serverless)?;
        self.planned_failure(&statement, work.cancel).await?;
        let outer = in_batch || connection.in_transaction;
        match statement.plan {
            Plan::Begin | Plan::Commit | Plan::Rollback if in_batch || !work.in_session => Err(SqlError::new(
                "transaction control is not allowed here: use a batch (one transaction) or a session",
            )),
            Plan::Begin if connection.in_transaction => Ok((Done::rows(0), false)),
            Plan::Begin => {
                connection.execute(BEGIN).await?;
                connection.in_transaction = true;
                Ok((Done::rows(0), false))
            }
            Plan::Commit => {
                connection.in_transaction = false;
                self.commit(connection, work.cancel).await?;
                Ok((Done::rows(0), false))
            }
            Plan::Rollback => {
                connection.in_transaction = false;
                connection.execute("ROLLBACK").await?;
                Ok((Done::rows(0), false))
            }
            Plan::Alone { word, .. } if outer => {
                Err(SqlError::new(format!("{word} cannot run inside a transaction block")))
            }
            Plan::Alone { sql, .. } => {
                for sql in sql {
                    connection.guarded(work.cancel, connection.client.batch_execute(&sql)).await?;
                }
                Ok((Done::rows(0), false))
            }
            Plan::Truncate { sql } => {
                if !outer {
                    connection.execute(BEGIN).await?;
                }
                let truncated = connection.guarded(work.cancel, connection.client.batch_execute(&sql)).await;
                match truncated {
                    Ok(()) => {
                        connection.in_transaction = false;
                        self.commit(connection, work.cancel).await?;
                        Ok((Done::rows(0), in_batch))
                    }
                    Err(error) => {
                        if !outer {
                            connection.roll_back().await;
                        }
                        Err(error)
                    }
                }
            }
            plan => {
                if !outer {
                    connection.execute(BEGIN).await?;
                }
                let result = self.in_transaction(connection, plan, &statement.verb, query_id, work.cancel).await;
                match result {
                    Ok(done) => {
                        if !outer {
                            self.commit(connection, work.cancel).await?;
                        }
                        Ok((done, false))
                    }
                    Err(error) => {
                        if !outer {
                            connection.roll_back().await;
                        }
                        Err(error)
                    }
                }
            }
        }
    }

    async fn in_transaction(
        &self,
        connection: &Connection,
        plan: Plan,
        verb: &str,
        query_id: i64,
        cancel: &CancellationToken,
    ) -> Result<Done, SqlError> {
        match plan {
            Plan::Run(run) => {
                let done = connection.interruptible(cancel, connection.run(&run)).await?;
                if matches!(verb, "INSERT" | "UPDATE" | "DELETE") {
                    connection.execute(&remember_query(query_id)).await?;
                }
                Ok(done)
            }
            Plan::Copy(statement) => {
                let copy = CopyRun {
                    client: &connection.client,
                    objects: &*self.objects,
                    statement: &statement,
                    query_id,
                    pid: connection.pid,
                };
                let CopyOutcome { result, history } = connection.interruptible(cancel, copy.run()).await;
                let result = if cancel.is_cancelled() && result.is_err() { Err(SqlError::aborted()) } else { result };
                if let Some((history, errors)) = history {
                    self.on_the_side(async |client| load_errors::write(client, &history, &errors).await).await?;
                }
                let rows = result?;
                let remember = format!(
                    "SELECT set_config('redshift_stand_in.copy_count', '{rows}', false), \
                     set_config('redshift_stand_in.copy_id', '{query_id}', false)"
                );
                connection.execute(&remember).await?;
                connection.execute(&remember_query(query_id)).await?;
                Ok(Done::rows(rows))
            }
            Plan::Unload(statement) => {
                let unload = unload::run(&connection.client, &*self.objects, &statement);
                let result = connection.interruptible(cancel, unload).await;
                let result = if cancel.is_cancelled() && result.is_err() { Err(SqlError::aborted()) } else { result };
                let rows = result?;
                let remember = format!("SELECT set_config('redshift_stand_in.unload_count', '{rows}', false)");
                connection.execute(&remember).await?;
                connection.execute(&remember_query(query_id)).await?;
                Ok(Done::rows(rows))
            }
            Plan::Truncate { .. } | Plan::Alone { .. } | Plan::Begin | Plan::Commit | Plan::Rollback => {
                Err(SqlError::new("internal: the statement does not belong into a transaction"))
            }
        }
    }

    /// From here on a cancel comes too late.
    async fn commit(&self, connection: &Connection, cancel: &CancellationToken) -> Result<(), SqlError> {
        if cancel.is_cancelled() {
            connection.roll_back().await;
            return Err(SqlError::aborted());
        }
        match self.faults.take_statement("COMMIT") {
            Some(Fault::FailStatement(message)) => {
                connection.roll_back().await;
                Err(SqlError::verbatim(message))
            }
            Some(Fault::AbortStatement) => {
                connection.roll_back().await;
                Err(SqlError::aborted())
            }
            Some(Fault::Delay(duration)) => {
                tokio::time::sleep(duration).await;
                connection.execute("COMMIT").await
            }
            _ => connection.execute("COMMIT").await,
        }
    }

    async fn planned_failure(&self, statement: &Statement, cancel: &CancellationToken) -> Result<(), SqlError> {
        match self.faults.take_statement(&statement.verb) {
            Some(Fault::FailStatement(message)) => Err(SqlError::verbatim(message)),
            Some(Fault::AbortStatement) => Err(SqlError::aborted()),
            Some(Fault::Delay(duration)) => {
                tokio::select! {
                    () = tokio::time::sleep(duration) => Ok(()),
                    () = cancel.cancelled() => Err(SqlError::aborted()),
                }
            }
            _ => Ok(()),
        }
    }

    async fn next_query_id(&self) -> Result<i64, SqlError> {
        self.on_the_side(async |client| {
            let row = client.query_one("SELECT nextval('redshift_stand_in.query_ids')", &[]).await?;
            Ok(row.get(0))
        })
        .await
    }

    /// Uses the connection beside all transactions, and makes a new one when it was lost.
    async fn on_the_side<T>(
        &self,
        work: impl AsyncFnOnce(&Client) -> Result<T, tokio_postgres::Error>,
    ) -> Result<T, SqlError> {
        let mut side = self.side.lock().await;
        let connection = match side.take() {
            Some(connection) if !connection.client.is_closed() => connection,
            _ => self.connect().await?,
        };
        let result = work(&connection.client).await;
        *side = Some(connection);
        result.map_err(|error| from_postgres(&error))
    }
}

async fn connect(url: &str) -> Result<Connection, tokio_postgres::Error> {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection behind the Redshift stand-in ended");
        }
    });
    let pid = client.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
    Ok(Connection { client, pid, in_transaction: false })
}

impl Connection {
    /// Between an explicit BEGIN and its end.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.in_transaction
    }

    async fn execute(&self, sql: &str) -> Result<(), SqlError> {
        self.client.batch_execute(sql).await.map_err(|error| from_postgres(&error))
    }

    /// The connection is gone when this fails, and the transaction with it.
    async fn roll_back(&self) {
        if let Err(error) = self.client.batch_execute("ROLLBACK").await {
            tracing::debug!(%error, "a transaction could not be rolled back");
        }
    }

    /// Waits for work on this connection, and cancels it in PostgreSQL when the statement is cancelled.
    async fn interruptible<T>(&self, cancel: &CancellationToken, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        tokio::select! {
            result = &mut work => return result,
            () = cancel.cancelled() => {}
        }
        let token: CancelToken = self.client.cancel_token();
        loop {
            if let Err(error) = token.cancel_query(NoTls).await {
                tracing::warn!(%error, "PostgreSQL could not be asked to cancel");
            }
            tokio::select! {
                result = &mut work => return result,
                () = tokio::time::sleep(CANCEL_AGAIN) => {}
            }
        }
    }

    async fn guarded<T>(
        &self,
        cancel: &CancellationToken,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, SqlError> {
        self.interruptible(cancel, work).await.map_err(|error| from_postgres(&error))
    }
}

impl Connection {
    async fn run(&self, run: &Run) -> Result<Done, SqlError> {
        let fail = |error: tokio_postgres::Error| from_postgres(&error);
        if let Some(name) = &run.unless_exists {
            let row =
                self.client.query_one("SELECT to_regclass($1) IS NOT NULL", &[&name.quoted()]).await.map_err(fail)?;
            if row.get(0) {
                return Ok(Done::rows(0));
            }
        }
        if let Some(table) = &run.lock {
            // The snapshot first, then the lock: a writer that had to wait does not see what the other one wrote.
            let lock = format!("SELECT 1; LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", table.quoted());
            self.client.batch_execute(&lock).await.map_err(fail)?;
        }
        let done = self.query(&run.sql).await?;
        for after in &run.after {
            self.client.batch_execute(after).await.map_err(fail)?;
        }
        Ok(done)
    }

    /// Types come from preparing the statement, values as text from the simple protocol.
    async fn query(&self, sql: &str) -> Result<Done, SqlError> {
        let fail = |error: tokio_postgres::Error| from_postgres(&error);
        let prepared = self.client.prepare(sql).await.map_err(fail)?;
        let columns: Vec<ResultColumn> = prepared
            .columns()
            .iter()
            .map(|column| {
                let (type_name, transport) = result_type(column.type_());
                ResultColumn { name: column.name().to_owned(), type_name, transport }
            })
            .collect();
        let has_result = !columns.is_empty();
        let digits = if columns.iter().any(|column| column.transport == Transport::Double) {
            let row = self.client.query_one("SHOW extra_float_digits", &[]).await.map_err(fail)?;
            row.get::<_, String>(0).parse().unwrap_or(0)
        } else {
            0
        };
        let mut result = ResultSet { columns, ..ResultSet::default() };
        let mut affected = 0;
        let mut messages = pin!(self.client.simple_query_raw(sql).await.map_err(fail)?);
        while let Some(message) = messages.try_next().await.map_err(fail)? {
            match message {
                SimpleQueryMessage::Row(row) => {
                    let values: Vec<Option<String>> = result
                        .columns
                        .iter()
                        .enumerate()
                        .map(|(at, column)| row.get(at).map(|value| shown(value, column, digits)))
                        .collect();
                    let bytes: usize = values.iter().flatten().map(String::len).sum();
                    if bytes > LARGEST_ROW {
                        return Err(SqlError::new("Database returned a row of more than 64 KB"));
                    }
                    result.bytes += bytes;
                    if result.bytes > LARGEST_RESULT {
                        return Err(SqlError::new("Result is larger than the stand-in keeps (100 MB)"));
                    }
                    result.rows.push(values);
                }
                SimpleQueryMessage::CommandComplete(rows) => affected = rows,
                _ => {}
            }
        }
        if has_result {
            Ok(Done { rows: result.rows.len() as i64, result: Some(result) })
        } else {
            Ok(Done::rows(affected as i64))
        }
    }
}

/// Redshift shows the bytes of a VARBYTE as hex without anything before it. PostgreSQL prints a float in the shortest way as soon
/// as more digits are asked for than are always right; it did not in version 8.
fn shown(value: &str, column: &ResultColumn, digits: i32) -> String {
    match value.strip_prefix("\\x") {
        Some(hex) if column.type_name == "varbyte" => hex.to_owned(),
        _ if column.transport == Transport::Double && digits > 0 => {
            float_text::printed(value, column.type_name == "float8", digits)
        }
        _ => value.to_owned(),
    }
}

/// For `pg_last_query_id()`; what the leader answers by itself is no query.
fn remember_query(query_id: i64) -> String {
    format!("SELECT set_config('redshift_stand_in.query_id', '{query_id}', false)")
}
