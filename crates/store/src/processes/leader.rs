//! One scheduler leads. PostgreSQL: a session's advisory lock. SQLite: a file lock in the home. Each leader takes the next
//! epoch, so that what a late one still sends is refused.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sqlx::{ConnectOptions, Connection, PgConnection};

use crate::sql::{micros, values};
use crate::{Backend, Result, Store, StoreError, sql};

/// In the home, on SQLite.
const LOCK_FILE: &str = "scheduler.lock";
/// Among PostgreSQL's advisory locks.
const LEADER_LOCK: i64 = 0x6D69_6C6C_0002;
/// Somebody who asks whether a scheduler runs holds the file's lock for an instant; that is not a leader.
const LOCK_ATTEMPTS: u32 = 4;
const LOCK_AGAIN: Duration = Duration::from_millis(20);
/// How long PostgreSQL may take to say that a session is still there, or to open one.
const SESSION_TIMEOUT: Duration = Duration::from_secs(5);

/// Held while this value lives.
#[derive(Debug)]
pub struct Leadership {
    pub epoch: i64,
    /// The lock itself proves that the process of every earlier leader has ended: its leases may be taken at once,
    /// without waiting for them to expire.
    pub previous_owner_is_dead: bool,
    hold: Hold,
}

/// What proves the lead.
enum Hold {
    File { _file: File },
    Session { connection: Box<PgConnection> },
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::File { .. } => "File",
            Self::Session { .. } => "Session",
        })
    }
}

impl Leadership {
    /// False when the lock was lost (PostgreSQL: the connection broke): stop leading.
    pub async fn still_held(&mut self) -> bool {
        match &mut self.hold {
            Hold::File { .. } => true,
            Hold::Session { connection } => {
                tokio::time::timeout(SESSION_TIMEOUT, connection.ping()).await.is_ok_and(|answer| answer.is_ok())
            }
        }
    }
}

/// Who led last, whether or not it still does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    pub epoch: i64,
    /// None: nobody has ever led.
    pub job_id: Option<String>,
    pub heartbeat_at: Option<DateTime<Utc>>,
}

impl Store {
    /// `None`: another process leads. Ask again later.
    pub async fn try_lead(&self, job_id: &str, now: DateTime<Utc>) -> Result<Option<Leadership>> {
        let hold = match self.backend() {
            Backend::Sqlite => self.lock_file().await?.map(|file| Hold::File { _file: file }),
            Backend::Postgres => self.lock_session().await?,
        };
        let Some(hold) = hold else { return Ok(None) };
        let tx = self.begin("take the lead").await?;
        let sql = "UPDATE leader SET epoch = epoch + 1, job_id = $1, since = $2 WHERE id = 1 RETURNING epoch";
        let row = sql::one(&tx.inner, "take the lead", sql, values![job_id, micros(now)]).await?;
        let epoch = row
            .ok_or_else(|| StoreError::NotFound { kind: "row in table", name: "leader".to_owned() })?
            .int("epoch")?;
        tx.commit().await?;
        Ok(Some(Leadership { epoch, previous_owner_is_dead: self.backend() == Backend::Sqlite, hold }))
    }

    /// Whether some process holds the lock now: a scheduler is running.
    pub async fn is_led(&self) -> Result<bool> {
        match self.backend() {
            Backend::Sqlite => {
                let Some(home) = &self.inner.home else { return Ok(false) };
                let Ok(file) = File::open(home.join(LOCK_FILE)) else { return Ok(false) };
                Ok(matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
            }
            Backend::Postgres => {
                // A key of 64 bits stands in two columns.
                let sql = "SELECT COUNT(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND granted \
                           AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
                           AND (CAST(classid AS BIGINT) << 32) + CAST(objid AS BIGINT) = $1";
                let row = sql::one(self.reader(), "see whether a scheduler leads", sql, values![LEADER_LOCK]).await?;
                Ok(row.map(|row| row.int("n")).transpose()?.unwrap_or(0) > 0)
            }
        }
    }

    /// Who led last.
    pub async fn leader(&self) -> Result<Leader> {
        let sql = "SELECT l.epoch, l.job_id, j.heartbeat_at FROM leader l LEFT JOIN job j ON j.id = l.job_id \
                   WHERE l.id = 1";
        let row = sql::one(self.reader(), "see who leads", sql, vec![]).await?;
        let row = row.ok_or_else(|| StoreError::NotFound { kind: "row in table", name: "leader".to_owned() })?;
        Ok(Leader {
            epoch: row.int("epoch")?,
            job_id: row.opt_text("job_id")?,
            heartbeat_at: row.opt_instant("heartbeat_at")?,
        })
    }

    /// Closes the session that holds the leader's lock, so that another may lead: for a leader that hangs, or whose
    /// machine is gone without a word. What it still sends is refused, because the next leader has another epoch.
    /// Returns whether there was one; on SQLite a lock ends with its process only.
    pub async fn unseat_leader(&self) -> Result<bool> {
        if self.backend() == Backend::Sqlite {
            return Ok(false);
        }
        // It may hang in the middle of a transaction, whose locks the next leader needs.
        let sql = "SELECT COUNT(*) AS n FROM (SELECT pg_terminate_backend(pid) AS is_ended FROM \
                   (SELECT DISTINCT l.pid FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid WHERE l.granted \
                   AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND \
                   ((l.locktype = 'advisory' AND (CAST(l.classid AS BIGINT) << 32) + CAST(l.objid AS BIGINT) = $1) OR \
                   (a.state LIKE 'idle in transaction%' AND a.state_change < now() - interval '1 second' AND \
                   (l.locktype = 'advisory' OR l.relation = CAST('leader' AS regclass))))) AS holders) AS sessions \
                   WHERE is_ended";
        let row = sql::one(self.reader(), "unseat the leader", sql, values![LEADER_LOCK]).await?;
        Ok(row.map(|row| row.int("n")).transpose()?.unwrap_or(0) > 0)
    }

    async fn lock_file(&self) -> Result<Option<File>> {
        let Some(home) = &self.inner.home else {
            return Err(StoreError::Refused {
                attempted: "lead",
                reason: "the store was opened without a home".to_owned(),
            });
        };
        let path = home.join(LOCK_FILE);
        let failed = |source| StoreError::Home { path: path.clone(), source };
        let file = File::options().create(true).read(true).append(true).mode(0o600).open(&path).map_err(failed)?;
        for _ in 0..LOCK_ATTEMPTS {
            match file.try_lock() {
                Ok(()) => return Ok(Some(file)),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_AGAIN).await,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
            }
        }
        Ok(None)
    }

    async fn lock_session(&self) -> Result<Option<Hold>> {
        let Some(options) = &self.inner.postgres else { return Ok(None) };
        let failed = |source: sqlx::Error| StoreError::Database {
            attempted: "take the lead",
            source: sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(source.into())),
        };
        let lock = async {
            let mut connection = options.clone().disable_statement_logging().connect().await?;
            let taken: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
                .bind(LEADER_LOCK)
                .fetch_one(&mut connection)
                .await?;
            Ok(taken.then(|| Hold::Session { connection: Box::new(connection) }))
        };
        let locked = tokio::time::timeout(SESSION_TIMEOUT, lock).await;
        locked.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))).map_err(failed)
    }
}
