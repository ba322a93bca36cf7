//! A server of MySQL or MariaDB as a source of rows: sessions, the moment that several of them see, and the reading.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::TimeDelta;
use futures::TryStreamExt;
use futures::future::BoxFuture;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{RowBatch, RowHashing, RowStream, Snapshot, SqlSource, TableName};
use millrace_operator_api::{PortError, PortErrorKind};
use secrecy::ExposeSecret;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Connection as _, Either, Executor, Row, SqlSafeStr, Statement};

use super::cells::{self, CellForm, form_of, push};
use super::entrance::Entrance;
use super::hashing;
use super::kill::{KillOnDrop, Mark, Running, Search, server_sql};
use super::refusal::{failure, wire_failure};
use super::replica;
use super::rows::{Encryption, Target, WireConnection, WireError};
use super::types::source_columns;
use crate::parts::batches::{Outlet, channel_beside};
use crate::parts::failure::invalid;
use crate::parts::sql::without_semicolon;
use crate::parts::task::TaskHandle;
use crate::parts::wire::tls::Check;
use crate::rds::Tokens;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Reads in one read-only transaction with a consistent snapshot, by the text protocol: numbers and dates are exactly
/// the server's own text. An answer with a FLOAT comes by the binary protocol, because the server prints six digits of it
/// only. BIT is an integer, BINARY and BLOB are
/// lower-case hex, TINYINT(1) stays a number, and dates like 0000-00-00 stay as they are.
#[derive(Clone)]
pub struct MySqlSource {
    conn_id: String,
    entrance: Entrance,
    /// The same for [`WireConnection`].
    target: Target,
    /// Seconds.
    statement_timeout: Option<u64>,
    timezone: Option<String>,
    /// Every writer of the server may be made to wait for a moment.
    may_flush_tables: bool,
    /// How many read beside each other, this one among them.
    readers: usize,
    task: TaskHandle,
}

/// What a server may set for every session and no reader may take over: a limit would end a table early, in silence; padded
/// CHARs are other values; and a reader whose target or pace makes it wait would be cut off after a minute.
const OWN_SETTINGS: &str = "SET SESSION sql_select_limit = 18446744073709551615, net_write_timeout = 31536000, \
     wait_timeout = 31536000, sql_mode = TRIM(BOTH ',' FROM REPLACE(CONCAT(',', @@SESSION.sql_mode, ','), \
     ',PAD_CHAR_TO_FULL_LENGTH,', ','))";

impl MySqlSource {
    pub fn open(connection: &Connection, task: TaskHandle) -> Result<Self, PortError> {
        let conn_id = connection.conn_id.clone();
        let extra = &connection.extra;
        let Some(host) = connection.host.as_deref().filter(|host| !host.is_empty()) else {
            return Err(invalid(format!("connection {conn_id:?} names no host")));
        };
        // PIPES_AS_CONCAT would change what the user's `||` means.
        let mut options = MySqlConnectOptions::new()
            .host(host)
            .port(connection.port.unwrap_or(3306))
            .charset("utf8mb4")
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            .statement_cache_capacity(0)
            .disable_statement_logging();
        if let Some(login) = &connection.login {
            options = options.username(login);
        }
        if let Some(password) = &connection.password {
            options = options.password(password.expose_secret());
        }
        if let Some(database) = connection.schema.as_deref().filter(|database| !database.is_empty()) {
            options = options.database(database);
        }
        let mode = extra.text("ssl_mode").or_else(|| extra.text("sslmode")).unwrap_or("preferred");
        let (ssl_mode, encryption) = match mode.to_ascii_lowercase().replace('-', "_").as_str() {
            "disabled" | "disable" => (MySqlSslMode::Disabled, Encryption::Never),
            "preferred" | "prefer" => (MySqlSslMode::Preferred, Encryption::Preferred),
            "required" | "require" => (MySqlSslMode::Required, Encryption::Required(Check::Nothing)),
            "verify_ca" => (MySqlSslMode::VerifyCa, Encryption::Required(Check::Authority)),
            "verify_identity" | "verify_full" => (MySqlSslMode::VerifyIdentity, Encryption::Required(Check::Full)),
            other => {
                let known = "disabled, preferred, required, verify_ca, verify_identity";
                return Err(invalid(format!("connection {conn_id:?}: ssl_mode {other:?} is not one of {known}")));
            }
        };
        options = options.ssl_mode(ssl_mode);
        // A token is no password that could be hashed: the server asks for it as it is, inside TLS.
        if extra.flag("iam") {
            options = options.enable_cleartext_plugin(true);
        }
        if let Some(file) = extra.text("ssl_ca") {
            if let Err(error) = std::fs::File::open(file) {
                return Err(invalid(format!("connection {conn_id:?}: ssl_ca: cannot read {file}: {error}")));
            }
            options = options.ssl_ca(file);
        }
        let timezone = extra.text("source_timezone").map(ToOwned::to_owned);
        let target = Target {
            host: host.to_owned(),
            port: connection.port.unwrap_or(3306),
            address: None,
            login: connection.login.clone().unwrap_or_else(|| "root".to_owned()),
            password: connection.password.clone(),
            database: connection.schema.clone().filter(|database| !database.is_empty()),
            encryption,
            authorities: extra.text("ssl_ca").map(str::to_owned),
        };
        let tokens = Tokens::of(connection, 3306, &task.clock)?;
        Ok(Self {
            conn_id,
            entrance: Entrance { options, tokens },
            target,
            statement_timeout: extra.number("statement_timeout"),
            timezone,
            may_flush_tables: extra.flag("flush_tables"),
            readers: 1,
            task,
        })
    }

    pub async fn ping(&self) -> Result<String, PortError> {
        let mut connection = self.connect().await?;
        let version = self.version(&mut connection).await?;
        Ok(if version.contains("MariaDB") { version } else { format!("MySQL {version}") })
    }

    async fn connect(&self) -> Result<MySqlConnection, PortError> {
        let options = self.entrance.options().await?;
        match tokio::time::timeout(CONNECT_TIMEOUT, options.connect()).await {
            Ok(result) => result.map_err(|error| {
                let place = format!("cannot connect to {}:{}", self.target.host, self.target.port);
                self.failure(&place, &error)
            }),
            Err(_) => Err(PortError::new(
                PortErrorKind::Unavailable,
                format!(
                    "connection {:?}: {}:{} did not answer within {} s",
                    self.conn_id,
                    self.target.host,
                    self.target.port,
                    CONNECT_TIMEOUT.as_secs()
                ),
            )),
        }
    }

    async fn version(&self, connection: &mut MySqlConnection) -> Result<String, PortError> {
        let row = connection
            .fetch_one(sqlx::raw_sql("SELECT VERSION()"))
            .await
            .map_err(|error| self.failure("cannot ask for the version", &error))?;
        row.try_get_unchecked::<String, _>(0).map_err(|error| self.failure("cannot read the version", &error))
    }

    /// A session with everything set, before its transaction.
    async fn session(&self) -> Result<MySession, PortError> {
        let mut connection = self.connect().await?;
        let version = self.version(&mut connection).await?;
        let mut settings = vec![
            "SET NAMES utf8mb4".to_owned(),
            "SET SESSION time_zone = '+00:00'".to_owned(),
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ".to_owned(),
            OWN_SETTINGS.to_owned(),
        ];
        if let Some(seconds) = self.statement_timeout {
            settings.push(if version.contains("MariaDB") {
                format!("SET SESSION max_statement_time = {seconds}")
            } else {
                format!("SET SESSION max_execution_time = {}", seconds.saturating_mul(1000))
            });
        }
        for setting in &settings {
            self.set(&mut connection, setting.clone()).await?;
        }
        let row = connection
            .fetch_one(sqlx::raw_sql("SELECT CAST(CONNECTION_ID() AS CHAR)"))
            .await
            .map_err(|error| self.failure("cannot ask for the connection's number", &error))?;
        let session: String =
            row.try_get_unchecked(0).map_err(|error| self.failure("cannot read the connection's number", &error))?;
        settings.push(BEGIN.to_owned());
        Ok(MySession { connection, session, is_mariadb: version.contains("MariaDB"), settings })
    }

    async fn set(&self, connection: &mut MySqlConnection, setting: String) -> Result<(), PortError> {
        connection
            .execute(sqlx::raw_sql(AssertSqlSafe(setting)))
            .await
            .map(drop)
            .map_err(|error| self.failure("cannot set the session up", &error))
    }

    async fn start(&self, sql: &str) -> Result<RowStream, PortError> {
        let mut session = self.session().await?;
        self.set(&mut session.connection, BEGIN.to_owned()).await?;
        self.read(session, sql, true).await
    }

    /// Sessions that all began while nobody could write on the server that all of them reached; or why there are none.
    async fn sessions_of_one_moment(&self, count: usize) -> Result<Result<Vec<MySession>, String>, PortError> {
        if !self.may_flush_tables {
            return Ok(Err("several connections see one moment only when they begin under FLUSH TABLES WITH READ LOCK, which \
                 makes every writer of the server wait for a moment; where that is allowed, put flush_tables: true into the \
                 extra of the connection"
                .to_owned()));
        }
        let mut sessions = Vec::with_capacity(count);
        for _ in 0..count {
            sessions.push(self.session().await?);
        }
        let mut guard = self.session().await?;
        // Behind one name there may be several servers: the lock would hold one of them, and each has its own moment.
        let place = self.server_of(&mut guard.connection, guard.is_mariadb).await?;
        for session in &mut sessions {
            let other = self.server_of(&mut session.connection, session.is_mariadb).await?;
            if other != place {
                return Ok(Err(format!(
                    "its connections reach different servers ({place} and {other}), which do not stand at one moment; give \
                     the connection the address of one of them"
                )));
            }
        }
        let guard = &mut guard.connection;
        self.set(guard, format!("SET SESSION lock_wait_timeout = {LOCK_WAIT_SECONDS}")).await?;
        if let Err(error) = self.set(guard, "FLUSH TABLES WITH READ LOCK".to_owned()).await {
            return Ok(Err(format!(
                "several connections see one moment only when the server lets them begin under FLUSH TABLES WITH READ LOCK \
                 (privilege RELOAD or FLUSH_TABLES), which it did not: {}",
                error.message
            )));
        }
        for session in &mut sessions {
            self.set(&mut session.connection, BEGIN.to_owned()).await?;
        }
        // The connection is closed next, which unlocks as well.
        self.set(guard, "UNLOCK TABLES".to_owned()).await?;
        Ok(Ok(sessions))
    }

    async fn server_of(&self, connection: &mut MySqlConnection, is_mariadb: bool) -> Result<String, PortError> {
        let asked = format!("SELECT {}", server_sql(is_mariadb));
        let row = connection
            .fetch_one(sqlx::raw_sql(AssertSqlSafe(asked)))
            .await
            .map_err(|error| self.failure("cannot ask which server it is", &error))?;
        row.try_get_unchecked::<String, _>(0).map_err(|error| self.failure("cannot read which server it is", &error))
    }

    async fn share(&self, readers: usize) -> Result<Snapshot, PortError> {
        let (sessions, note) = match self.sessions_of_one_moment(readers.max(1)).await? {
            Ok(sessions) => (sessions, None),
            Err(note) => {
                let mut session = self.session().await?;
                self.set(&mut session.connection, BEGIN.to_owned()).await?;
                (vec![session], Some(note))
            }
        };
        let readers = sessions.len();
        let reader = |session| {
            let source = Self { readers, ..self.clone() };
            Arc::new(SnapshotReader { source, session: Mutex::new(Some(session)) }) as Arc<dyn SqlSource>
        };
        Ok(Snapshot { readers: sessions.into_iter().map(reader).collect(), note })
    }

    /// With `alone` another connection may take the reading over: one that shares its moment with others must not.
    async fn read(&self, session: MySession, sql: &str, alone: bool) -> Result<RowStream, PortError> {
        let MySession { mut connection, session, is_mariadb, settings } = session;
        let sql = AssertSqlSafe(without_semicolon(sql).to_owned()).into_sql_str();
        let prepared =
            connection.prepare(sql.clone()).await.map_err(|error| self.failure("the query was refused", &error))?;
        let described = prepared.columns().to_vec();
        drop(prepared);
        let is_binary = described.iter().any(|column| cells::loses_digits(column.type_info()));
        let form = if is_binary { cells::binary_form_of } else { form_of };
        let forms: Vec<CellForm> = described.iter().map(|column| form(column.type_info())).collect();
        let columns = source_columns(&mut connection, &described, sql.as_str(), is_mariadb).await;
        if columns.is_empty() {
            return Err(invalid(format!(
                "connection {:?}: the statement returns no columns, so there is nothing to read",
                self.conn_id
            )));
        }
        // What reads by wire hashes a password, and a token goes as it is.
        let alone = alone && self.entrance.tokens.is_none();
        let wire = if alone && !is_binary { Some(self.read_by_wire(&settings).await) } else { None };
        let wire = wire.and_then(|wire| {
            let told = |error: &WireError| {
                tracing::debug!(error = error as &dyn std::error::Error, "rows are read by the driver");
            };
            wire.inspect_err(told).ok()
        });
        let mark = Mark::new();
        let sql = AssertSqlSafe(mark.put_on(sql.as_str(), &self.task.label)).into_sql_str();
        let (reader, running, address) = match wire {
            None => {
                let server = self.server_of(&mut connection, is_mariadb).await.ok();
                (Reader::Driver(connection), Running { session, server, mark }, None)
            }
            Some(mut wire) => {
                let _ = connection.close().await;
                let server = wire.ask(&format!("SELECT {}", server_sql(is_mariadb))).await;
                let server = server.ok().and_then(|cells| cells.into_iter().next()?);
                let (session, address) = (wire.session.to_string(), wire.address);
                (Reader::Wire(wire), Running { session, server, mark }, address)
            }
        };
        let search = Search {
            entrance: self.entrance.clone(),
            target: Target { address, ..self.target.clone() },
            running,
            is_mariadb,
            task: self.task.clone(),
        };
        let kill = KillOnDrop { search, is_done: Arc::new(AtomicBool::new(false)) };
        let (outlet, batches) = channel_beside(self.readers);
        let (task, conn_id) = (self.task.clone(), self.conn_id.clone());
        tokio::spawn(async move {
            let work = task.until_cancelled(pump(reader, sql, (forms, is_binary), &outlet, &conn_id));
            tokio::select! {
                result = work => {
                    kill.is_done.store(result.is_ok(), Ordering::Relaxed);
                    outlet.end(result).await;
                }
                () = outlet.closed() => {}
            }
        });
        Ok(RowStream { columns, batches })
    }

    /// Of one table that is read as a whole or by a range of an index; the planner guesses the rows of its parts only, and
    /// knows nothing of how many a condition or a LIMIT leaves.
    async fn ask_expected_rows(&self, sql: &str) -> Result<Option<u64>, PortError> {
        let sql = without_semicolon(sql);
        if sql.to_ascii_lowercase().contains("limit") {
            return Ok(None);
        }
        let mut connection = self.connect().await?;
        let lines = connection.fetch_all(sqlx::raw_sql(AssertSqlSafe(format!("EXPLAIN {sql}")))).await;
        let lines = lines.map_err(|error| self.failure("cannot ask how many rows there are", &error))?;
        let [line] = lines.as_slice() else { return Ok(None) };
        let text = |name: &str| line.try_get_unchecked::<Option<String>, _>(name).ok().flatten().unwrap_or_default();
        if text("type").eq_ignore_ascii_case("all") && text("Extra").contains("Using where") {
            return Ok(None);
        }
        Ok(text("rows").parse().ok())
    }

    /// A connection for the rows, in a transaction of its own. Whatever is in the way of it, the driver may know better.
    async fn read_by_wire(&self, settings: &[String]) -> Result<WireConnection, WireError> {
        let signing_in = tokio::time::timeout(CONNECT_TIMEOUT, WireConnection::connect(&self.target));
        let mut wire = signing_in.await.map_err(|_| WireError::Connection(std::io::ErrorKind::TimedOut.into()))??;
        for setting in settings {
            wire.execute(setting).await?;
        }
        Ok(wire)
    }

    fn failure(&self, what: &str, error: &sqlx::Error) -> PortError {
        failure(&self.conn_id, what, error)
    }
}

/// Who reads the rows.
enum Reader {
    Wire(WireConnection),
    Driver(MySqlConnection),
}

/// A connection, what the server calls it, and what the server is.
struct MySession {
    connection: MySqlConnection,
    session: String,
    is_mariadb: bool,
    /// What was set, and the beginning of the transaction.
    settings: Vec<String>,
}

const BEGIN: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// Whoever waits for the lock makes every later writer wait too: it is given up early.
const LOCK_WAIT_SECONDS: u32 = 3;

/// Answers one query in the transaction that it began with.
struct SnapshotReader {
    source: MySqlSource,
    session: Mutex<Option<MySession>>,
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
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        Box::pin(async move {
            let session = session.ok_or_else(|| invalid("a reader of a snapshot answers one query only"))?;
            self.source.task.until_cancelled(self.source.read(session, sql, false)).await
        })
    }
}

async fn pump(
    reader: Reader,
    sql: sqlx::SqlStr,
    (forms, is_binary): (Vec<CellForm>, bool),
    outlet: &Outlet,
    conn_id: &str,
) -> Result<(), PortError> {
    match reader {
        Reader::Wire(wire) => pump_wire(wire, sql.as_str(), &forms, outlet, conn_id).await,
        Reader::Driver(connection) => pump_driver(connection, sql, (forms, is_binary), outlet, conn_id).await,
    }
}

async fn pump_wire(
    mut wire: WireConnection,
    sql: &str,
    forms: &[CellForm],
    outlet: &Outlet,
    conn_id: &str,
) -> Result<(), PortError> {
    let failed = |error: WireError| wire_failure(conn_id, "the query failed", &error);
    let columns = wire.query(sql).await.map_err(failed)?;
    if usize::try_from(columns) != Ok(forms.len()) {
        let message = format!("connection {conn_id:?}: the query's columns changed while it was asked; try again");
        return Err(PortError::new(PortErrorKind::Unavailable, message));
    }
    let mut batch = RowBatch::new(forms.len());
    let enough = (outlet.batch_bytes(), outlet.batch_bytes());
    loop {
        let has_more = wire.fill(&mut batch, forms, enough).await.map_err(failed)?;
        if !batch.is_empty() {
            let next = RowBatch::like(&batch);
            outlet.send(std::mem::replace(&mut batch, next)).await?;
        }
        if !has_more {
            // Everything was read: what closing says changes nothing.
            let _ = wire.quit().await;
            return Ok(());
        }
    }
}

async fn pump_driver(
    mut connection: MySqlConnection,
    sql: sqlx::SqlStr,
    (forms, is_binary): (Vec<CellForm>, bool),
    outlet: &Outlet,
    conn_id: &str,
) -> Result<(), PortError> {
    let width = forms.len();
    let mut batch = RowBatch::new(width);
    {
        let mut rows = if is_binary {
            connection.fetch_many(sqlx::query(sql).persistent(false))
        } else {
            connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql.as_str().to_owned())))
        };
        while let Some(step) = rows.try_next().await.map_err(|error| failure(conn_id, "the query failed", &error))? {
            // The other kind is the end of the rows.
            let Either::Right(row) = step else { continue };
            for (index, form) in forms.iter().enumerate() {
                let cell = if is_binary {
                    cells::binary_cell(&row, index)
                } else {
                    row.try_get_unchecked::<Option<&[u8]>, _>(index)
                };
                let cell = cell.map_err(|error| failure(conn_id, "a value could not be read", &error))?;
                push(&mut batch, cell, *form);
            }
            drop(row);
            if outlet.is_enough(&batch) {
                let next = RowBatch::like(&batch);
                let full = std::mem::replace(&mut batch, next);
                outlet.send(full).await?;
            }
        }
    }
    if !batch.is_empty() {
        outlet.send(batch).await?;
    }
    // Everything was read: what closing says changes nothing.
    let _ = connection.close().await;
    Ok(())
}

impl SqlSource for MySqlSource {
    fn quote(&self, name: &str) -> String {
        hashing::quote(name)
    }

    fn source_timezone(&self) -> Option<&str> {
        self.timezone.as_deref()
    }

    fn replica_lag(&self) -> BoxFuture<'_, Result<Option<TimeDelta>, PortError>> {
        Box::pin(self.task.until_cancelled(async {
            let mut connection = self.connect().await?;
            replica::lag(&mut connection, &self.conn_id).await
        }))
    }

    fn expected_rows<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<Option<u64>, PortError>> {
        Box::pin(self.task.until_cancelled(self.ask_expected_rows(sql)))
    }

    fn table_sql(&self, table: &TableName) -> String {
        match &table.schema {
            Some(schema) => format!("{}.{}", self.quote(schema), self.quote(&table.name)),
            None => self.quote(&table.name),
        }
    }

    /// What a backslash means depends on the server's settings, so none is written.
    fn literal(&self, text: &str) -> String {
        if text.contains('\\') {
            return format!("_utf8mb4 x'{}'", hex::encode(text));
        }
        format!("'{}'", text.replace('\'', "''"))
    }

    fn query<'a>(&'a self, sql: &'a str) -> BoxFuture<'a, Result<RowStream, PortError>> {
        Box::pin(self.task.until_cancelled(self.start(sql)))
    }

    fn key_query(&self, table: &TableName) -> Option<String> {
        Some(hashing::key_query(table, |text| self.literal(text)))
    }

    fn invisible_columns<'a>(&'a self, table: &'a TableName) -> BoxFuture<'a, Result<Vec<String>, PortError>> {
        Box::pin(async move {
            let sql = hashing::invisible_columns(table, |text| self.literal(text));
            let batches: Vec<_> = self.query(&sql).await?.batches.try_collect().await?;
            let names = batches.iter().flat_map(|batch| (0..batch.len()).filter_map(|row| batch.cell(row, 0)));
            Ok(names.map(|name| String::from_utf8_lossy(name).into_owned()).collect())
        })
    }

    fn row_hashing(&self) -> Option<&dyn RowHashing> {
        Some(&hashing::MySqlHashing)
    }

    fn snapshot(&self, readers: usize) -> BoxFuture<'_, Result<Option<Snapshot>, PortError>> {
        Box::pin(self.task.until_cancelled(async move { self.share(readers).await.map(Some) }))
    }
}
