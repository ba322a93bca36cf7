//! The PostgreSQL protocol, as PostgreSQL and Redshift speak it: connect, ask, cancel.

mod merging;
mod negotiation;
pub mod tls;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::BoxFuture;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::SmallResult;
use millrace_operator_api::{PortError, PortErrorKind};
use secrecy::ExposeSecret;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::parts::dialect::Dialect;
use crate::parts::failure::{
    chain, invalid, kind_of_redshift_text, kind_of_sqlstate, redshift_without_values, without_values,
};
use crate::parts::farewell::farewell;
use crate::parts::row_counts::Awaited;
use crate::parts::session::Session;
use crate::parts::sql::{literal, scalar_number};
use crate::parts::task::TaskHandle;
use crate::postgres::BrokenRule;
use crate::rds::Tokens;
use negotiation::Negotiation;

/// The most that it takes: with fewer a float is printed as another one.
pub const REDSHIFT_FLOAT_DIGITS: u8 = 2;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// What errors about data say of values, which the server's own words repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Values {
    Shown,
    /// The server's words, with nothing in the place of what they quote.
    Masked,
    /// Our own words for rows that a load brings.
    Hidden,
}

/// Where to connect and how; one per opened connection.
#[derive(Clone)]
pub struct WireConfig {
    pub conn_id: String,
    config: tokio_postgres::Config,
    tokens: Option<Tokens>,
    negotiation: Negotiation,
    dialect: Dialect,
    settings: Vec<String>,
    values: Values,
    pub task: TaskHandle,
}

impl WireConfig {
    pub fn of(connection: &Connection, dialect: Dialect, task: TaskHandle) -> Result<Self, PortError> {
        let conn_id = connection.conn_id.clone();
        let extra = &connection.extra;
        let Some(host) = connection.host.as_deref().filter(|host| !host.is_empty()) else {
            return Err(invalid(format!("connection {conn_id:?} names no host")));
        };
        let mut config = tokio_postgres::Config::new();
        let default_port = if dialect == Dialect::Redshift { 5439 } else { 5432 };
        config.host(host).port(connection.port.unwrap_or(default_port));
        if let Some(login) = &connection.login {
            config.user(login);
        }
        if let Some(password) = &connection.password {
            config.password(password.expose_secret());
        }
        if let Some(database) = connection.schema.as_deref().filter(|database| !database.is_empty()) {
            config.dbname(database);
        }
        // PostgreSQL's own logs and pg_stat_activity tell by it whose work it was.
        let name =
            if dialect == Dialect::Postgres { format!("millrace {}", task.label) } else { "millrace".to_owned() };
        config.application_name(name).connect_timeout(CONNECT_TIMEOUT).keepalives_idle(Duration::from_mins(1));
        let mode = extra.text("sslmode").or_else(|| extra.text("ssl_mode")).unwrap_or("prefer");
        let (ssl_mode, check) = tls::mode(mode).ok_or_else(|| {
            let known = "disable, prefer, require, verify-ca, verify-full";
            invalid(format!("connection {conn_id:?}: sslmode {mode:?} is not one of {known}"))
        })?;
        if host.starts_with('/') {
            // A socket in the file system has no name to encrypt for.
            config.ssl_mode(ssl_mode);
        } else {
            config.ssl_mode(SslMode::Require).ssl_negotiation(SslNegotiation::Direct);
        }
        let tls = if ssl_mode == SslMode::Disable {
            tls::connector(tls::Check::Nothing, None)
        } else {
            tls::connector(check, extra.text("sslrootcert"))
        }
        .map_err(|error| invalid(format!("connection {conn_id:?}: {error}")))?;
        let mut settings = match dialect {
            Dialect::Postgres => vec![
                "SET TIME ZONE 'UTC'".to_owned(),
                "SET datestyle TO 'ISO, YMD'".to_owned(),
                "SET intervalstyle TO 'postgres'".to_owned(),
                "SET extra_float_digits TO 3".to_owned(),
                "SET bytea_output TO 'hex'".to_owned(),
                "SET standard_conforming_strings TO on".to_owned(),
                // Types are read by their names, and NULL in an array is no text.
                "SET quote_all_identifiers TO off".to_owned(),
                "SET array_nulls TO on".to_owned(),
                "SET client_min_messages TO warning".to_owned(),
            ],
            Dialect::Redshift => vec![
                "SET timezone TO 'UTC'".to_owned(),
                "SET datestyle TO 'ISO, YMD'".to_owned(),
                format!("SET extra_float_digits TO {REDSHIFT_FLOAT_DIGITS}"),
            ],
        };
        if let Some(seconds) = extra.number("statement_timeout") {
            settings.push(format!("SET statement_timeout TO {}", seconds.saturating_mul(1000)));
        }
        let negotiation = Negotiation { tls, mode: ssl_mode };
        let tokens =
            if dialect == Dialect::Postgres { Tokens::of(connection, default_port, &task.clock)? } else { None };
        Ok(Self { conn_id, config, tokens, negotiation, dialect, settings, values: Values::Masked, task })
    }

    /// The same connection, for reading a source. Rows that policies hide from its role fail the read instead of being left
    /// out in silence, unless the connection says that its part is what is wanted. A snapshot waits for its readers.
    pub fn reading(mut self, connection: &Connection) -> Self {
        if !connection.extra.flag("row_security") {
            self.settings.push("SET row_security TO off".to_owned());
        }
        self.settings.push("SET idle_in_transaction_session_timeout TO 0".to_owned());
        self
    }

    /// The same connection, whose errors show values or do not.
    pub fn showing(&self, values: bool) -> Self {
        Self { values: if values { Values::Shown } else { Values::Hidden }, ..self.clone() }
    }

    /// Host and port, for people.
    fn place(&self) -> String {
        let host = match self.config.get_hosts().first() {
            Some(Host::Tcp(name)) => name.clone(),
            Some(Host::Unix(path)) => path.display().to_string(),
            None => "nowhere".to_owned(),
        };
        format!("{host}:{}", self.config.get_ports().first().copied().unwrap_or(5432))
    }

    pub async fn connect(&self) -> Result<WireClient, PortError> {
        let mut config = self.config.clone();
        if let Some(tokens) = &self.tokens {
            config.password(tokens.sign().await?.expose_secret());
        }
        let (client, connection) = config
            .connect(self.negotiation.clone())
            .await
            .map_err(|error| self.failure(&format!("cannot connect to {}", self.place()), &error))?;
        // Ends when the client is dropped.
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = chain(&error), "database connection ended");
            }
        });
        let client =
            WireClient { config: self.clone(), client, is_busy: AtomicBool::new(false), broken: Mutex::default() };
        client.batch(&self.settings.join("; ")).await?;
        if self.dialect == Dialect::Redshift {
            // By it cost and blame are found again; no reason to refuse the work where it cannot be set.
            if let Err(error) = client.batch(&format!("SET query_group TO {}", literal(&self.task.label))).await {
                tracing::debug!(error = error.message, "the query group was not set");
            }
        }
        Ok(client)
    }

    /// Connects for one question.
    pub async fn ask(&self, sql: &str) -> Result<SmallResult, PortError> {
        self.task.until_cancelled(async { self.connect().await?.query(sql).await }).await
    }

    pub fn failure(&self, what: &str, error: &tokio_postgres::Error) -> PortError {
        let Some(db) = error.as_db_error() else {
            let kind = if error.code().is_some() { PortErrorKind::Other } else { PortErrorKind::Unavailable };
            return PortError::new(kind, format!("connection {:?}: {what}: {}", self.conn_id, chain(error)));
        };
        let code = db.code().code();
        let is_about_data = matches!(code.get(..2), Some("22" | "23"));
        if self.values == Values::Hidden && is_about_data && self.dialect == Dialect::Postgres {
            let place = [("table", db.table()), ("column", db.column()), ("constraint", db.constraint())]
                .into_iter()
                .filter_map(|(kind, name)| Some(format!("{kind} {}", name?)))
                .collect::<Vec<_>>()
                .join(", ");
            let why = crate::postgres::reason_of(db);
            return PortError::new(
                PortErrorKind::Data,
                format!("connection {:?}: {what}: {place}: a row {why} (SQLSTATE {code})", self.conn_id),
            )
            .with_code(code);
        }
        let is_about_data = is_about_data
            || (self.dialect == Dialect::Redshift && kind_of_redshift_text(db.message()) == PortErrorKind::Data);
        let is_masked = self.values != Values::Shown && is_about_data;
        // What breaks a rule is told by the names of the rule and its table only; in other words a value is quoted.
        let said = match self.dialect {
            // What those two quote are names of encodings.
            Dialect::Postgres if is_masked && code.starts_with("22") && !is_about_encoding(code) => {
                without_values(db.message())
            }
            Dialect::Redshift if is_masked => redshift_without_values(db.message()),
            _ => db.message().to_owned(),
        };
        let mut message = format!("connection {:?}: {what}: {}: {said} (SQLSTATE {code})", self.conn_id, db.severity());
        for (name, text, repeats) in
            [("detail", db.detail(), true), ("hint", db.hint(), false), ("where", db.where_(), true)]
        {
            if let Some(text) = text.filter(|_| !(is_masked && repeats)) {
                message.push_str(&format!("; {name}: {}", text.replace('\n', " ")));
            }
        }
        if code == "42501" && db.message().contains("row-level security policy") {
            message.push_str(
                "; policies may hide rows of it from the connection's role, and they would be missing in silence: read as a role \
                 that sees all (ALTER ROLE … BYPASSRLS), or, if its part is what is wanted, put row_security: true into the extra \
                 of the connection",
            );
        }
        let kind = match (kind_of_sqlstate(code), self.dialect) {
            (PortErrorKind::Other, Dialect::Redshift) => kind_of_redshift_text(db.message()),
            (kind, _) => kind,
        };
        PortError::new(kind, message).with_code(code)
    }
}

/// Bytes that are no text, or none in the other side's encoding.
pub fn is_about_encoding(code: &str) -> bool {
    matches!(code, "22021" | "22P05")
}

/// A connected client. Dropped in the middle of a question, it has the question cancelled on the server.
pub struct WireClient {
    pub config: WireConfig,
    pub client: Client,
    is_busy: AtomicBool,
    /// Of the last question that failed.
    broken: Mutex<BrokenRule>,
}

impl WireClient {
    /// Marks the client busy while `work` runs; when `work` is dropped before its end the mark stays.
    pub async fn busy<T>(&self, work: impl Future<Output = T>) -> T {
        self.is_busy.store(true, Ordering::Relaxed);
        let result = work.await;
        self.is_busy.store(false, Ordering::Relaxed);
        result
    }

    /// For work that outlives one call, such as a stream.
    pub fn set_busy(&self, is_busy: bool) {
        self.is_busy.store(is_busy, Ordering::Relaxed);
    }

    pub async fn batch(&self, sql: &str) -> Result<(), PortError> {
        self.busy(self.client.batch_execute(sql)).await.map_err(|error| self.config.failure(&opening(sql), &error))
    }

    /// One statement by the simple protocol: every cell is text.
    pub async fn query(&self, sql: &str) -> Result<SmallResult, PortError> {
        let messages = self.busy(self.client.simple_query(sql)).await.map_err(|error| {
            *self.broken() = error.as_db_error().map(BrokenRule::of).unwrap_or_default();
            self.config.failure(&opening(sql), &error)
        })?;
        let mut result = SmallResult::default();
        for message in messages {
            match message {
                SimpleQueryMessage::RowDescription(columns) => {
                    result.columns = columns.iter().map(|column| column.name().to_owned()).collect();
                }
                SimpleQueryMessage::Row(row) => {
                    result.rows.push((0..row.len()).map(|index| row.get(index).map(ToOwned::to_owned)).collect());
                }
                SimpleQueryMessage::CommandComplete(rows) => result.rows_affected = Some(rows),
                _ => {}
            }
        }
        Ok(result)
    }

    /// The rule that the last question broke, as far as its error says.
    pub fn broken_rule(&self) -> BrokenRule {
        self.broken().clone()
    }

    fn broken(&self) -> MutexGuard<'_, BrokenRule> {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By what the server's own tables and logs know what was just done: in Redshift the query, in PostgreSQL the process that
    /// served it. `None` where it cannot be told, which is no reason to undo the work.
    pub async fn remote_id(&self) -> Option<String> {
        let (kind, asked) = match self.config.dialect {
            Dialect::Postgres => ("pid", "SELECT pg_backend_pid()"),
            Dialect::Redshift => ("query", "SELECT pg_last_query_id()"),
        };
        match self.query(asked).await {
            // -1: there was none.
            Ok(answer) => scalar_number(&answer).map(|id| format!("{kind}:{id}")),
            Err(error) => {
                tracing::debug!(error = error.message, "the server did not say the id of what was done");
                None
            }
        }
    }

    /// Runs statements in one transaction; numbers say which of a script's statements they are.
    pub async fn transaction(
        &self,
        statements: &[(usize, String)],
        is_rolled_back: bool,
    ) -> Result<Vec<SmallResult>, PortError> {
        self.transaction_counting(statements, is_rolled_back, None).await
    }

    async fn transaction_counting(
        &self,
        statements: &[(usize, String)],
        is_rolled_back: bool,
        awaited: Option<Awaited<'_>>,
    ) -> Result<Vec<SmallResult>, PortError> {
        self.batch("BEGIN").await?;
        let mut results = Vec::with_capacity(statements.len());
        for (at, (number, statement)) in statements.iter().enumerate() {
            match self.query(statement).await {
                Ok(result) => {
                    if let Some(Err(error)) = awaited.map(|awaited| awaited.judge(at, &result)) {
                        let _ = self.batch("ROLLBACK").await;
                        return Err(error);
                    }
                    results.push(result);
                }
                Err(mut error) => {
                    // The first error is the one that counts; a connection that is gone has rolled back by itself.
                    let _ = self.batch("ROLLBACK").await;
                    error.message = format!("statement {number} failed, everything was rolled back: {}", error.message);
                    return Err(error);
                }
            }
        }
        self.batch(if is_rolled_back { "ROLLBACK" } else { "COMMIT" }).await?;
        if statements.iter().any(|(_, statement)| !only_asks(statement))
            && let Some(last) = results.last_mut()
        {
            last.remote_id = self.remote_id().await;
        }
        Ok(results)
    }
}

impl Drop for WireClient {
    fn drop(&mut self) {
        if !*self.is_busy.get_mut() || self.client.is_closed() {
            return;
        }
        let (token, negotiation) = (self.client.cancel_token(), self.config.negotiation.clone());
        farewell(async move {
            if let Err(error) = token.cancel_query(negotiation).await {
                tracing::warn!(error = chain(&error), "a query could not be cancelled on the server");
            }
        });
    }
}

/// Each run is a connection and a transaction of its own.
pub struct WireSession {
    pub config: WireConfig,
}

impl Session for WireSession {
    fn dialect(&self) -> Dialect {
        self.config.dialect
    }

    fn run_counting<'a>(
        &'a self,
        step: &'a str,
        statements: Vec<String>,
        awaited: Option<Awaited<'a>>,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        Box::pin(async move {
            let numbered: Vec<(usize, String)> =
                statements.into_iter().enumerate().map(|(n, text)| (n + 1, text)).collect();
            let work = async { self.config.connect().await?.transaction_counting(&numbered, false, awaited).await };
            self.config
                .task
                .until_cancelled(work)
                .await
                .map_err(|error| crate::parts::failure::while_doing(step, error))
        })
    }

    fn clean_up(&self, statement: String) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move { self.config.connect().await?.batch(&statement).await })
    }

    fn tell(&self, line: &str) {
        self.config.task.tell(line);
    }
}

/// Runs on one connection, whose temporary tables stay.
pub struct ClientSession<'a> {
    pub client: &'a WireClient,
}

impl Session for ClientSession<'_> {
    fn dialect(&self) -> Dialect {
        self.client.config.dialect
    }

    fn run_counting<'a>(
        &'a self,
        step: &'a str,
        statements: Vec<String>,
        awaited: Option<Awaited<'a>>,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        Box::pin(async move {
            let numbered: Vec<(usize, String)> =
                statements.into_iter().enumerate().map(|(n, text)| (n + 1, text)).collect();
            let work = self.client.transaction_counting(&numbered, false, awaited);
            work.await.map_err(|error| crate::parts::failure::while_doing(step, error))
        })
    }

    fn clean_up(&self, statement: String) -> BoxFuture<'_, Result<(), PortError>> {
        Box::pin(async move { self.client.batch(&statement).await })
    }

    fn tell(&self, line: &str) {
        self.client.config.task.tell(line);
    }
}

/// A plain question has nothing to be found again by.
pub fn only_asks(statement: &str) -> bool {
    let words = statement.trim_start();
    ["select", "set", "lock"]
        .iter()
        .any(|word| words.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word)))
}

/// The beginning of a statement, for messages.
fn opening(sql: &str) -> String {
    // Of a COPY nothing is shown beyond its table: credentials come next.
    let sql = if sql.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("copy ")) {
        sql.split(" FROM ").next().unwrap_or_default()
    } else {
        sql
    };
    let words = sql.split_whitespace().count();
    let mut line = String::new();
    for (at, word) in sql.split_whitespace().enumerate() {
        if at == 8 || line.len() + word.len() > 80 && at > 0 {
            break;
        }
        line.push_str(if at > 0 { " " } else { "" });
        line.push_str(word);
    }
    if line.split_whitespace().count() < words { format!("{line} …") } else { line }
}
