//! Queries that nobody waits for any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::mysql::MySqlDatabaseError;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _, Executor};

use super::entrance::Entrance;
use crate::parts::failure::chain;

/// Ends the query on the server when it is dropped before everything was read. The server would otherwise notice only
/// when it next writes to the closed connection, which may be hours away.
pub struct KillOnDrop {
    pub entrance: Entrance,
    pub session: String,
    pub is_done: Arc<AtomicBool>,
}

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if self.is_done.load(Ordering::Relaxed) {
            return;
        }
        let (entrance, session) = (self.entrance.clone(), self.session.clone());
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        runtime.spawn(async move {
            let options = match entrance.options().await {
                Ok(options) => options,
                Err(error) => {
                    tracing::warn!(error = error.message, "a query could not be killed on the server");
                    return;
                }
            };
            let killed = async {
                let mut connection = options.connect().await?;
                connection.execute(sqlx::raw_sql(AssertSqlSafe(format!("KILL {session}")))).await?;
                connection.close().await
            };
            if let Err(error) = killed.await {
                // 1094 is "no such thread": it ended by itself.
                let is_gone = error.as_database_error().is_some_and(|error| {
                    error.try_downcast_ref::<MySqlDatabaseError>().is_some_and(|error| error.number() == 1094)
                });
                if !is_gone {
                    tracing::warn!(error = chain(&error), "a query could not be killed on the server");
                }
            }
        });
    }
}
