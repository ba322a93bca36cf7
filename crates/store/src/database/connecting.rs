//! Connections to the metadata database, and how they are set up.

use std::path::PathBuf;
use std::time::Duration;

use sea_orm::{DatabaseConnection, SqlxPostgresConnector, SqlxSqliteConnector};
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::database::url::DatabaseUrl;
use crate::{Result, StoreError, sql};

/// How long a statement waits for another process that writes (SQLite), and anybody for a free connection.
pub(crate) const BUSY_TIMEOUT: Duration = Duration::from_mins(1);
/// How long PostgreSQL may take to accept the first connection; a command that cannot work says so then.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long anybody waits for a free or a new connection to PostgreSQL. Whoever can wait longer asks again.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements of a connection.
const STATEMENTS_KEPT: usize = 256;
/// How long after its last use a connection is believed to stand.
const TRUSTED_FOR: Duration = Duration::from_secs(1);

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
pub(crate) fn sqlite_writer(path: &std::path::Path) -> DatabaseConnection {
    use sqlx::ConnectOptions;
    let pool = sqlite_pool_options(1).connect_lazy_with(sqlite_options(path).disable_statement_logging());
    SqlxSqliteConnector::from_sqlx_sqlite_pool(pool)
}

/// `mode=ro`. A WAL database in a folder that cannot be written can only be read as one that nobody changes.
pub(crate) async fn open_sqlite_for_reading(
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

pub(crate) fn postgres_writer(options: PgConnectOptions, connections: u32) -> DatabaseConnection {
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
