//! The schema's life: migrations, under one lock for all processes.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use chrono::{DateTime, Utc};
use millrace_migrations::{KNOWN, Migrator, MigratorTrait};
use millrace_model::dag::DEFAULT_POOL;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use sqlx::sqlite::SqliteConnectOptions;

use crate::database::connecting::{postgres_pool, sqlite_options, sqlite_pool};
use crate::database::url::DatabaseUrl;
use crate::sql::values;
use crate::{Result, StoreError, sql};

/// Key in table `setting`.
pub(crate) const INSTALLATION_ID: &str = "installation_id";
/// Slots of `default_pool` when it is made.
const DEFAULT_POOL_SLOTS: i64 = 128;
/// Names the global lock of migrations among a PostgreSQL database's advisory locks ("millrace" in ASCII, cut).
const MIGRATION_LOCK: i64 = 0x6D69_6C6C_0001;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MigrationStatus {
    /// `m0001_…`
    pub name: String,
    pub description: String,
    /// None: pending. To the second.
    pub applied_at: Option<DateTime<Utc>>,
}

/// Applies what is pending, making the database (SQLite) if need be, and adds the default pool if it is missing.
/// Everything or nothing. Returns the names applied. With `wait`, a second process waits for the first; without, it
/// fails with `MigrationInProgress`.
pub async fn migrate(url: &str, wait: bool, now: DateTime<Utc>) -> Result<Vec<String>> {
    let work = Migration::begin(url, true, wait).await?;
    let before = work.applied_names().await?;
    work.check_before(&before).await?;
    Migrator::up(&work.tx, None).await.map_err(StoreError::during("migrate"))?;
    let applied: Vec<String> =
        KNOWN.iter().map(|known| known.name.to_owned()).filter(|name| !before.contains(name)).collect();
    // The migrator asked the machine's clock; `now` is what counts here.
    let sql = format!("UPDATE seaql_migrations SET applied_at = $2 WHERE version IN (SELECT name FROM {})", {
        sql::source(work.dialect(), 1, &[("name", sql::Kind::Text)])
    });
    let names = sql::column(applied.iter().map(String::as_str));
    sql::run(&work.tx, "date the migrations", sql, vec![names, now.timestamp().into()]).await?;
    work.seed().await?;
    work.commit().await?;
    Ok(applied)
}

/// Takes back every migration after `to` (a name; `""` for all), newest first. Returns the names taken back.
pub async fn downgrade(url: &str, to: &str, wait: bool) -> Result<Vec<String>> {
    let known = || KNOWN.iter().map(|known| known.name.to_owned()).collect::<Vec<_>>();
    if !to.is_empty() && !KNOWN.iter().any(|known| known.name == to) {
        return Err(StoreError::UnknownMigration { name: to.to_owned(), known: known() });
    }
    let work = Migration::begin(url, false, wait).await?;
    let applied = work.applied_names().await?;
    work.check_before(&applied).await?;
    let mut taken_back: Vec<String> = applied.into_iter().filter(|name| name.as_str() > to).collect();
    taken_back.reverse();
    if !taken_back.is_empty() {
        let steps = u32::try_from(taken_back.len()).unwrap_or(u32::MAX);
        let down = Migrator::down(&work.tx, Some(steps)).await;
        down.map_err(StoreError::during("take migrations back"))?;
    }
    work.commit().await?;
    Ok(taken_back)
}

/// Every migration that this program knows, in order, and then those that it doesn't. Writes nothing.
pub async fn status(url: &str) -> Result<Vec<MigrationStatus>> {
    let parsed = DatabaseUrl::parse(url)?;
    let applied = match &parsed {
        DatabaseUrl::Sqlite { path } if !path.exists() => Vec::new(),
        _ => {
            let connection = open_to_look(&parsed).await?;
            let applied = applied(&connection).await?;
            let _ = connection.close().await;
            applied
        }
    };
    let known = KNOWN.iter().map(|known| MigrationStatus {
        name: known.name.to_owned(),
        description: known.description.to_owned(),
        applied_at: applied.iter().find(|(applied, _)| applied == known.name).map(|(_, at)| *at),
    });
    let unknown = applied.iter().filter(|(name, _)| !is_known(name)).map(|(name, at)| MigrationStatus {
        name: name.clone(),
        description: "made by a newer Millrace".to_owned(),
        applied_at: Some(*at),
    });
    Ok(known.chain(unknown).collect())
}

/// Ok if the schema is exactly this program's. Errors as [`crate::Store::open`].
pub async fn check(url: &str) -> Result<()> {
    let parsed = DatabaseUrl::parse(url)?;
    if let DatabaseUrl::Sqlite { path } = &parsed
        && !path.exists()
    {
        return Err(StoreError::NoDatabase { url: parsed.shown() });
    }
    let connection = open_to_look(&parsed).await?;
    let outcome = check_connection(&connection).await;
    let _ = connection.close().await;
    outcome
}

/// Removes everything and migrates anew. Refuses a database that a newer Millrace made.
pub async fn reset(url: &str, now: DateTime<Utc>) -> Result<()> {
    let parsed = DatabaseUrl::parse(url)?;
    let exists = !matches!(&parsed, DatabaseUrl::Sqlite { path } if !path.exists());
    if exists {
        downgrade(url, "", true).await?;
    }
    migrate(url, true, now).await.map(|_| ())
}

/// The statements of all migrations, for the kind of database that `url` names.
pub fn show_sql(url: &str) -> Result<String> {
    Ok(millrace_migrations::show_sql(match DatabaseUrl::parse(url)? {
        DatabaseUrl::Sqlite { .. } => DbBackend::Sqlite,
        DatabaseUrl::Postgres { .. } => DbBackend::Postgres,
    }))
}

pub(crate) async fn check_connection(connection: &DatabaseConnection) -> Result<()> {
    let applied = applied(connection).await?;
    refuse_unknown(applied.iter().map(|(name, _)| name))?;
    let is_applied = |name: &str| applied.iter().any(|(applied, _)| applied == name);
    let pending: Vec<String> =
        KNOWN.iter().map(|known| known.name).filter(|name| !is_applied(name)).map(str::to_owned).collect();
    if pending.is_empty() { Ok(()) } else { Err(StoreError::SchemaPending { pending }) }
}

fn is_known(name: &str) -> bool {
    KNOWN.iter().any(|known| known.name == name)
}

fn refuse_unknown<'a>(applied: impl Iterator<Item = &'a String>) -> Result<()> {
    let unknown: Vec<String> = applied.filter(|name| !is_known(name)).cloned().collect();
    if unknown.is_empty() { Ok(()) } else { Err(StoreError::SchemaTooNew { unknown }) }
}

async fn open_to_look(url: &DatabaseUrl) -> Result<DatabaseConnection> {
    match url {
        DatabaseUrl::Sqlite { path } => {
            sqlite_pool(SqliteConnectOptions::new().filename(path).read_only(true), 1, url).await
        }
        DatabaseUrl::Postgres { options, .. } => postgres_pool((**options).clone(), 1, url).await,
    }
}

async fn has_table(connection: &impl ConnectionTrait, table: &str) -> Result<bool> {
    let sql = match connection.get_database_backend() {
        DbBackend::Sqlite => "SELECT 1 AS n FROM sqlite_master WHERE type = 'table' AND name = $1",
        _ => {
            "SELECT CAST(1 AS BIGINT) AS n FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_name = $1"
        }
    };
    Ok(sql::one(connection, "look for tables", sql, values![table]).await?.is_some())
}

/// In order of their names.
async fn applied(connection: &impl ConnectionTrait) -> Result<Vec<(String, DateTime<Utc>)>> {
    if !has_table(connection, "seaql_migrations").await? {
        return Ok(Vec::new());
    }
    let sql = "SELECT version, applied_at FROM seaql_migrations ORDER BY version";
    let rows = sql::all(connection, "read which migrations are applied", sql, vec![]).await?;
    rows.iter()
        .map(|row| Ok((row.text("version")?, DateTime::from_timestamp(row.int("applied_at")?, 0).unwrap_or_default())))
        .collect()
}

/// The global lock, and the one transaction that everything happens in.
struct Migration {
    tx: DatabaseTransaction,
    connection: DatabaseConnection,
    /// SQLite: held until the commit. The database's own write lock would do, were it not for the change to WAL mode,
    /// which two at once cannot make.
    _lock: Option<File>,
}

impl Migration {
    async fn begin(url: &str, create: bool, wait: bool) -> Result<Self> {
        let url = DatabaseUrl::parse(url)?;
        let failed = StoreError::during("begin to migrate");
        match &url {
            DatabaseUrl::Sqlite { path } => {
                if !create && !path.exists() {
                    return Err(StoreError::NoDatabase { url: url.shown() });
                }
                let lock = lock_beside(path, wait).await?;
                let connection = sqlite_pool(sqlite_options(path).create_if_missing(create), 1, &url).await?;
                let immediate = TransactionOptions {
                    sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                    ..TransactionOptions::default()
                };
                let tx = connection.begin_with_options(immediate).await.map_err(failed)?;
                Ok(Self { tx, connection, _lock: Some(lock) })
            }
            DatabaseUrl::Postgres { options, .. } => {
                let connection = postgres_pool((**options).clone(), 1, &url).await?;
                let tx = connection.begin().await.map_err(failed)?;
                if wait {
                    let sql = "SELECT 1 AS n FROM (SELECT pg_advisory_xact_lock($1)) AS l";
                    sql::all(&tx, "wait for other migrations", sql, values![MIGRATION_LOCK]).await?;
                } else {
                    let sql = "SELECT pg_try_advisory_xact_lock($1) AS taken";
                    let row = sql::one(&tx, "look for other migrations", sql, values![MIGRATION_LOCK]).await?;
                    if !row.map(|row| row.flag("taken")).transpose()?.unwrap_or(false) {
                        return Err(StoreError::MigrationInProgress);
                    }
                }
                Ok(Self { tx, connection, _lock: None })
            }
        }
    }

    fn dialect(&self) -> DbBackend {
        self.tx.get_database_backend()
    }

    async fn applied_names(&self) -> Result<Vec<String>> {
        Ok(applied(&self.tx).await?.into_iter().map(|(name, _)| name).collect())
    }

    /// Everything that can be known beforehand, all of it reported.
    async fn check_before(&self, applied: &[String]) -> Result<()> {
        refuse_unknown(applied.iter())?;
        let mut problems = Vec::new();
        let gap = KNOWN.iter().map(|known| known.name).zip(applied).find(|(known, applied)| known != applied);
        if let Some((known, applied)) = gap {
            problems.push(format!("migration {applied} is applied, but {known}, which comes before it, is not"));
        }
        if applied.is_empty() {
            for table in ["dag", "dag_run", "task_instance", "connection", "variable", "job"] {
                if has_table(&self.tx, table).await? {
                    problems.push(format!("the database has a table '{table}' that no migration of Millrace made"));
                }
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(StoreError::PreCheck { problems }) }
    }

    async fn seed(&self) -> Result<()> {
        let sql = "INSERT INTO pool (name, slots, description, include_deferred) \
                   VALUES ($1, $2, 'Every task that names no other pool', FALSE) ON CONFLICT DO NOTHING";
        sql::run(&self.tx, "add the default pool", sql, values![DEFAULT_POOL, DEFAULT_POOL_SLOTS]).await?;
        let sql = "INSERT INTO setting (key, value) VALUES ($1, $2) ON CONFLICT DO NOTHING";
        let id = uuid::Uuid::new_v4().to_string();
        sql::run(&self.tx, "name the installation", sql, values![INSTALLATION_ID, id]).await.map(|_| ())
    }

    async fn commit(self) -> Result<()> {
        self.tx.commit().await.map_err(StoreError::during("commit the migration"))?;
        let _ = self.connection.close().await;
        Ok(())
    }
}

async fn lock_beside(database: &Path, wait: bool) -> Result<File> {
    let mut name = database.file_name().unwrap_or_default().to_owned();
    name.push(".lock");
    let path = database.with_file_name(name);
    let failed = |source| StoreError::Home { path: path.clone(), source };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let file = File::options().create(true).append(true).mode(0o600).open(&path).map_err(failed)?;
    if wait {
        let locked = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await;
        return locked.map_err(|error| failed(std::io::Error::other(error)))?.map_err(failed);
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::MigrationInProgress),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}
