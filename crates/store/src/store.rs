//! The handle.

use std::path::PathBuf;
use std::sync::Arc;

use sea_orm::{DatabaseConnection, DbBackend};
use sqlx::postgres::PgConnectOptions;
use tokio::sync::broadcast;

use crate::commit::lengths::Waiting;
use crate::dags::version_cache::VersionCache;
use crate::database::connecting::{
    open_sqlite_for_reading, postgres_pool, postgres_writer, sqlite_options, sqlite_pool, sqlite_writer,
};
use crate::database::schema;
use crate::database::url::DatabaseUrl;
use crate::processes::counter::Counters;
use crate::processes::trouble::Troubles;
use crate::processes::wake::Wake;
use crate::sql::values;
use crate::{Change, Result, StoreError, sql};

/// A page that shows changes and is slower than this many loses the oldest.
const CHANGES_KEPT: usize = 4096;
/// Connections for writing on PostgreSQL, beside the one for what takes turns.
const WRITERS: u32 = 3;

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
