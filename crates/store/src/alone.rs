//! One at a time, whichever process it is: for what is looked at first and changed then, in more than one transaction.

use std::time::Duration;

use sqlx::{ConnectOptions, PgConnection};

use crate::{Result, Store, StoreError};

/// Among PostgreSQL's advisory locks.
const ALONE_LOCK: i64 = 0x6D69_6C6C_0004;
/// How long the others may take before it is this one's turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// Held while this value lives: the connection ends with it, and the lock with the connection.
#[derive(Debug)]
pub struct Alone {
    _session: Option<PgConnection>,
}

impl Store {
    /// Waits until no other process holds one. On PostgreSQL by a connection of its own, so that what is done meanwhile finds
    /// the pools as they were. On SQLite, whose home is one server's, nobody is waited for.
    pub async fn alone(&self) -> Result<Alone> {
        let Some(options) = &self.inner.postgres else { return Ok(Alone { _session: None }) };
        let failed = |source: sqlx::Error| StoreError::Database {
            attempted: "wait for other processes that change something",
            source: sea_orm::DbErr::Conn(sea_orm::RuntimeErr::SqlxError(source.into())),
        };
        let lock = async {
            let mut connection = options.clone().disable_statement_logging().connect().await?;
            sqlx::query("SELECT pg_advisory_lock($1)").bind(ALONE_LOCK).execute(&mut connection).await?;
            Ok(Alone { _session: Some(connection) })
        };
        let locked = tokio::time::timeout(PATIENCE, lock).await;
        locked.unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))).map_err(failed)
    }
}
