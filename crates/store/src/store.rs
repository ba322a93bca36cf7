//! The handle.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sea_orm::{DatabaseConnection, DbBackend, SqlxPostgresConnector, SqlxSqliteConnector};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use tokio::sync::broadcast;

use crate::commit::lengths::Waiting;
use crate::counter::Counters;
use crate::sql::values;
use crate::trouble::Troubles;
use crate::url::DatabaseUrl;
use crate::version_cache::VersionCache;
use crate::wake::Wake;
use crate::{Change, Result, StoreError, schema, sql};

/// How long a statement waits for another process that writes (SQLite), and anybody for a free connection.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_mins(1);
/// How long PostgreSQL may take to accept the first connection; a command that cannot work says so then.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long anybody waits for a free or a new connection to PostgreSQL. Whoever can wait longer asks again.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// A page that shows changes and is slower than this many loses the oldest.
const CHANGES_KEPT: usize = 4096;
/// Prepared statements of a connection.
const STATEMENTS_KEPT: usize = 256;
/// Connections for writing on PostgreSQL, beside the one for what takes turns.
const WRITERS: u32 = 3;
/// How long after its last use a connection is believed to stand.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    Sqlite,
    Postgres,
}

#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// `sqlite:///abs/path/millrace.db` or `postgres://user:password@host:5432/database`.
    pub url: String,
    /// Connections for reading on SQLite; all on PostgreSQL, where up to four of them are for writing (two at the least).
    pub max_connections: u32,
    /// Where lock and wake files lie; needed on SQLite to lead.
    pub home: Option<PathBuf>,
}

/// Connections to the metadata database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionPool {
    /// `read`, `write` or `take_turns`.
    pub purpose: &'static str,
    pub in_use: u32,
    pub idle: u32,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) backend: Backend,
    /// None: opened for reading only. On SQLite a pool of exactly one connection. Connects with its first use.
    pub(crate) writer: Option<DatabaseConnection>,
    /// For transactions that take turns, one connection: every statement of the hot path is prepared and planned once, where
    /// a pool would hand out one connection after the other, each with all of that before it. On SQLite the writer.
    pub(crate) turns: Option<DatabaseConnection>,
    pub(crate) reader: DatabaseConnection,
    pub(crate) postgres: Option<PgConnectOptions>,
    pub(crate) home: Option<PathBuf>,
    pub(crate) changes: broadcast::Sender<Change>,
    pub(crate) run_changes: broadcast::Sender<Change>,
    pub(crate) wake: Wake,
    /// Versions never change, so what was read once stays true.
    pub(crate) versions: VersionCache,
    pub(crate) troubles: Troubles,
    pub(crate) counters: Counters,
    pub(crate) waiting: Waiting,
}

impl Store {
    /// Opens an existing database whose schema is exactly this program's. Errors: `NoDatabase`, `SchemaPending`,
    /// `SchemaTooNew`.
    pub async fn open(options: &StoreOptions) -> Result<Self> {
        Self::open_with(options, false).await
    }

    /// Writes nothing, whatever is asked of it.
    pub async fn open_read_only(options: &StoreOptions) -> Result<Self> {
        Self::open_with(options, true).await
    }

    async fn open_with(options: &StoreOptions, read_only: bool) -> Result<Self> {
        let url = DatabaseUrl::parse(&options.url)?;
        let connections = options.max_connections.max(1);
        let (backend, writer, turns, reader, postgres) = match &url {
            DatabaseUrl::Sqlite { path } => {
                if !path.exists() {
                    return Err(StoreError::NoDatabase { url: url.shown() });
                }
                let reader = if read_only {
                    open_sqlite_for_reading(path, connections, &url).await?
                } else {
                    sqlite_pool(sqlite_options(path), connections, &url).await?
                };
                let writer = (!read_only).then(|| sqlite_writer(path));
                (Backend::Sqlite, writer.clone(), writer, reader, None)
            }
            DatabaseUrl::Postgres { options, .. } => {
                let mut pg = (**options).clone();
                if read_only {
                    pg = pg.options([("default_transaction_read_only", "on")]);
                }
                let writers = (connections / 2).saturating_sub(1).clamp(1, WRITERS);
                let writing = if read_only { 0 } else { writers + 1 };
                let pool = postgres_pool(pg.clone(), connections.saturating_sub(writing).max(1), &url).await?;
                let writer = (!read_only).then(|| postgres_writer(pg.clone(), writers));
                let turns = (!read_only).then(|| postgres_writer(pg.clone(), 1));
                (Backend::Postgres, writer, turns, pool, Some(pg))
            }
        };
        schema::check_connection(&reader).await?;
        let inner = Inner {
            backend,
            writer,
            turns,
            reader,
            postgres,
            home: options.home.clone(),
            changes: broadcast::channel(CHANGES_KEPT).0,
            run_changes: broadcast::channel(CHANGES_KEPT).0,
            wake: Wake::default(),
            versions: VersionCache::default(),
            troubles: Troubles::default(),
            counters: Counters::default(),
            waiting: Waiting::default(),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    pub fn backend(&self) -> Backend {
        self.inner.backend
    }

    pub fn is_read_only(&self) -> bool {
        self.inner.writer.is_none()
    }

    /// Made once, when the schema was: tells one installation's objects from another's.
    pub async fn installation_id(&self) -> Result<String> {
        let sql = "SELECT value FROM setting WHERE key = $1";
        let row = sql::one(self.reader(), "read the installation's id", sql, values![schema::INSTALLATION_ID]).await?;
        row.map(|row| row.text("value"))
            .unwrap_or_else(|| Err(StoreError::NotFound { kind: "setting", name: schema::INSTALLATION_ID.to_owned() }))
    }

    /// Every committed change of this process from now on. A receiver that is too slow loses the oldest.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.inner.changes.subscribe()
    }

    /// As [`Store::changes`], the states of runs only: it costs nothing while a run goes on.
    pub fn run_changes(&self) -> broadcast::Receiver<Change> {
        self.inner.run_changes.subscribe()
    }

    /// Waits for what is being written, and closes every connection.
    pub async fn close(&self) {
        self.inner.wake.stop();
        for writer in [&self.inner.writer, &self.inner.turns].into_iter().flatten() {
            let _ = writer.close_by_ref().await;
        }
        let _ = self.inner.reader.close_by_ref().await;
    }

    /// The pools of connections of this process, by what they are for.
    pub fn connection_pools(&self) -> Vec<ConnectionPool> {
        let count = |purpose: &'static str, pool: &DatabaseConnection| {
            let (open, idle) = match self.inner.backend {
                Backend::Sqlite => {
                    let pool = pool.get_sqlite_connection_pool();
                    (pool.size(), pool.num_idle())
                }
                Backend::Postgres => {
                    let pool = pool.get_postgres_connection_pool();
                    (pool.size(), pool.num_idle())
                }
            };
            // Counted one after the other: one may have been given back in between.
            let idle = u32::try_from(idle).unwrap_or(open).min(open);
            ConnectionPool { purpose, in_use: open - idle, idle }
        };
        // On SQLite, what takes turns is the writer.
        let turns = self.inner.turns.as_ref().filter(|_| self.inner.backend == Backend::Postgres);
        let writers = [("write", self.inner.writer.as_ref()), ("take_turns", turns)];
        let writers = writers.into_iter().filter_map(|(purpose, pool)| Some(count(purpose, pool?)));
        std::iter::once(count("read", &self.inner.reader)).chain(writers).collect()
    }

    pub(crate) fn reader(&self) -> &DatabaseConnection {
        &self.inner.reader
    }

    pub(crate) fn dialect(&self) -> DbBackend {
        match self.inner.backend {
            Backend::Sqlite => DbBackend::Sqlite,
            Backend::Postgres => DbBackend::Postgres,
        }
    }
}

pub(crate) fn sqlite_options(path: &std::path::Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENTS_KEPT)
        .row_buffer_size(ROWS_AHEAD)
}

pub(crate) async fn sqlite_pool(
    options: SqliteConnectOptions,
    connections: u32,
    url: &DatabaseUrl,
) -> Result<DatabaseConnection> {
    use sqlx::ConnectOptions;
    let path = options.get_filename().to_owned();
    let pool = sqlite_pool_options(connections)
        .connect_with(options.disable_statement_logging())
        .await
        .map_err(|source| forbidden(path).unwrap_or_else(|| opening(url, source)))?;
    Ok(SqlxSqliteConnector::from_sqlx_sqlite_pool(pool))
}

/// SQLite says of such a file only that it can't be opened.
fn forbidden(path: PathBuf) -> Option<StoreError> {
    let source = std::fs::File::options().read(true).append(true).open(&path).err()?;
    (source.kind() == std::io::ErrorKind::PermissionDenied).then_some(StoreError::Home { path, source })
}

/// Rows that SQLite's thread may be ahead of the one that reads them: with few, the two take turns at every row.
const ROWS_AHEAD: usize = 1024;

fn sqlite_pool_options(connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(BUSY_TIMEOUT)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
        .before_acquire(|connection, _| {
            // A full disk makes SQLite end a transaction by itself. sqlx would take the next one for a part of it, and what
            // that commits would be kept from everybody.
            let is_fit = !connection.is_in_transaction();
            Box::pin(async move { Ok(is_fit) })
        })
}

/// A command that only reads never opens it.
fn sqlite_writer(path: &std::path::Path) -> DatabaseConnection {
    use sqlx::ConnectOptions;
    let pool = sqlite_pool_options(1).connect_lazy_with(sqlite_options(path).disable_statement_logging());
    SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)
}

/// `mode=ro`. A WAL database in a folder that cannot be written can only be read as one that nobody changes.
async fn open_sqlite_for_reading(
    path: &std::path::Path,
    connections: u32,
    url: &DatabaseUrl,
) -> Result<DatabaseConnection> {
    let options = SqliteConnectOptions::new().filename(path).read_only(true).busy_timeout(BUSY_TIMEOUT);
    let pool = sqlite_pool(options.clone(), connections, url).await?;
    match sql::one(&pool, "read the metadata database", "SELECT COUNT(*) AS n FROM sqlite_master", vec![]).await {
        Ok(_) => Ok(pool),
        Err(_) => sqlite_pool(options.immutable(true), connections, url).await,
    }
}

pub(crate) async fn postgres_pool(
    options: PgConnectOptions,
    connections: u32,
    url: &DatabaseUrl,
) -> Result<DatabaseConnection> {
    use sqlx::ConnectOptions;
    let options = options.disable_statement_logging().statement_cache_capacity(STATEMENTS_KEPT);
    let pool = postgres_pool_options(connections).connect_lazy_with(options.clone());
    let reached = match tokio::time::timeout(CONNECT_TIMEOUT, pool.acquire()).await {
        Ok(reached) => reached.map(drop),
        // The pool tries again and again and keeps to itself why it fails.
        Err(_) => match tokio::time::timeout(CONNECT_TIMEOUT / 5, options.connect()).await {
            Ok(connected) => connected.map(drop),
            Err(_) => Err(sqlx::Error::Io(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                format!("no answer within {} s", CONNECT_TIMEOUT.as_secs()),
            ))),
        },
    };
    reached.map_err(|source| opening(url, source))?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

/// A connection that was used a moment ago is not asked whether it still stands: that is a round trip.
fn postgres_pool_options(connections: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, facts| {
            Box::pin(async move {
                if facts.idle_for > TRUSTED_FOR {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
}

/// How PostgreSQL plans what is written, where every statement names its rows by their keys. It can't see how many rows a
/// JSON parameter holds, and keeps the plan that it made when a table was small: it would go on reading the table from
/// end to end for sixteen of its rows. So touching a row is dear, and a plan is made once. Costs that are so high must not
/// make it compile the statement, which takes half a second.
pub const POSTGRES_WRITER_SETTINGS: &str = "SET plan_cache_mode = force_generic_plan; SET cpu_tuple_cost = 10; SET jit = off; \
     SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off";

fn postgres_writer(options: PgConnectOptions, connections: u32) -> DatabaseConnection {
    use sqlx::ConnectOptions;
    let pool = postgres_pool_options(connections)
        .after_connect(|connection, _| {
            Box::pin(async move { sqlx::raw_sql(POSTGRES_WRITER_SETTINGS).execute(connection).await.map(|_| ()) })
        })
        .connect_lazy_with(options.disable_statement_logging().statement_cache_capacity(STATEMENTS_KEPT));
    SqlxPostgresConnector::from_sqlx_postgres_pool(pool)
}

pub(crate) fn opening(url: &DatabaseUrl, source: sqlx::Error) -> StoreError {
    StoreError::Open { url: url.shown(), source: sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(source.into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_committed_after_a_full_disk_is_seen_by_others() {
        let folder = tempfile::tempdir().unwrap();
        let options = sqlite_options(&folder.path().join("full.db")).create_if_missing(true);
        let pool = sqlite_pool_options(1).connect_with(options.clone()).await.unwrap();
        sqlx::raw_sql("CREATE TABLE t (x); PRAGMA max_page_count = 1").execute(&pool).await.unwrap();
        let mut full = pool.begin().await.unwrap();
        let refused = sqlx::raw_sql("INSERT INTO t VALUES (zeroblob(1000000))").execute(&mut *full).await.unwrap_err();
        assert!(refused.to_string().contains("full"), "{refused}");
        drop(full);
        let mut given_up = pool.begin().await.unwrap();
        sqlx::raw_sql("INSERT INTO t VALUES (1)").execute(&mut *given_up).await.unwrap();
        given_up.rollback().await.unwrap();
        let mut kept = pool.begin().await.unwrap();
        sqlx::raw_sql("INSERT INTO t VALUES (2)").execute(&mut *kept).await.unwrap();
        kept.commit().await.unwrap();
        let other = sqlite_pool_options(1).connect_with(options).await.unwrap();
        let seen: i64 = sqlx::query_scalar("SELECT x FROM t").fetch_one(&other).await.unwrap();
        assert_eq!(seen, 2);
        sqlx::raw_sql("INSERT INTO t VALUES (3)").execute(&other).await.unwrap();
    }
}
