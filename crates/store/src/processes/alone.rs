//! One at a time, whichever process it is: for what is looked at first and changed then, in more than one transaction.

use std::fs::{File, TryLockError};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use sqlx::{ConnectOptions, PgConnection};

use crate::{Result, Store, StoreError};

/// Among PostgreSQL's advisory locks.
const ALONE_LOCK: i64 = 0x6D69_6C6C_0004;
/// How long the others may take before it is this one's turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// In the home, on SQLite.
const LOCK_FILE: &str = "changing.lock";
/// Between two looks at a file that somebody else holds.
const LOOK: Duration = Duration::from_millis(10);

/// Held while this value lives: the connection or the file ends with it, and the lock with that.
#[derive(Debug)]
pub struct Alone {
    _session: Option<PgConnection>,
    _file: Option<File>,
}

impl Store {
    /// Waits until no other process holds one. On PostgreSQL by a connection of its own, so that what is done meanwhile finds
    /// the pools as they were. On SQLite by a file in the home; without one, nobody is waited for.
    pub async fn alone(&self) -> Result<Alone> {
        let Some(options) = &self.inner.postgres else {
            let file = match &self.inner.home {
                Some(home) => Some(hold(home.join(LOCK_FILE)).await?),
                None => None,
            };
            return Ok(Alone { _session: None, _file: file });
        };
        let failed = |source: sqlx::Error| StoreError::Database {
            attempted: "wait for other processes that change something",
            source: sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(source.into())),
        };
        let lock = async {
            let mut connection = options.clone().disable_statement_logging().connect().await?;
            sqlx::query("SELECT pg_advisory_lock($1)").bind(ALONE_LOCK).execute(&mut connection).await?;
            Ok(Alone { _session: Some(connection), _file: None })
        };
        let locked = tokio::time::timeout(PATIENCE, lock).await;
        locked.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))).map_err(failed)
    }
}

/// The file, once nobody else holds it.
async fn hold(path: PathBuf) -> Result<File> {
    let failed = |source| StoreError::Home { path: path.clone(), source };
    let file = File::options().create(true).read(true).append(true).mode(0o600).open(&path).map_err(failed)?;
    let since = Instant::now();
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) if since.elapsed() > PATIENCE => {
                return Err(failed(std::io::ErrorKind::TimedOut.into()));
            }
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOOK).await,
        }
    }
}
