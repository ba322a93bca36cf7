//! Locks on whole tables are asked for in short attempts.
//!
//! A lock that waits lets nobody past whom it would keep out: behind a swap that waits for a slow load, every reader
//! would hang until the load is over. So the lock gives up soon, lets the others through, and is asked for again.

use std::time::Duration;

use millrace_operator_api::PortError;

use crate::parts::session::{Session, ask};
use crate::parts::sql::literal;
use crate::parts::wire::{ClientSession, WireClient};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// An hour and a half or more; what holds its table for longer is told of.
const MOST: u32 = 1_500;
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The mode that keeps readers out, too.
pub const ALONE: &str = "ACCESS EXCLUSIVE";

/// How often a lock was asked for.
#[derive(Debug, Default)]
pub struct LockTurns {
    failed: u32,
}

impl LockTurns {
    fn wait(&self) -> Duration {
        FIRST_WAIT.saturating_mul(1 << self.failed.min(10)).min(LONGEST_WAIT)
    }

    /// Statements of the transaction that needs the lock. `table` is quoted, `mode` is `SHARE ROW EXCLUSIVE` and the like.
    pub fn statements(&self, table: &str, mode: &str) -> [String; 3] {
        [
            format!("SET LOCAL lock_timeout TO {}", self.wait().as_millis()),
            format!("LOCK TABLE {table} IN {mode} MODE"),
            "SET LOCAL lock_timeout TO DEFAULT".to_owned(),
        ]
    }

    /// Waits a while, outside of any transaction, if the lock was not to be had, or gives the error back.
    pub async fn again(&mut self, error: PortError) -> Result<(), PortError> {
        let pause = self.wait();
        self.failed += 1;
        if error.code.as_deref() != Some(LOCK_NOT_AVAILABLE) || self.failed == MOST {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Lets whoever looks at the try know why nothing moves: after some three seconds, and then ever less often.
    pub async fn tell(&self, session: &dyn Session, table: &str, mode: &str) {
        if self.failed == 3 || (self.failed > 4 && self.failed.is_power_of_two()) {
            let holders = holders(session, table, mode).await;
            session.tell(&format!("waiting for a lock on {table}, {holders}; readers go first meanwhile"));
        }
    }
}

/// Begins a transaction that has the lock. It reads what others have committed meanwhile, whatever is usual in this
/// database: the marker of an earlier try must be seen.
pub async fn begin_with(client: &WireClient, table: &str, mode: &str) -> Result<(), PortError> {
    let mut turns = LockTurns::default();
    loop {
        client.batch(BEGIN).await?;
        let locked = async {
            for statement in turns.statements(table, mode) {
                client.batch(&statement).await?;
            }
            Ok(())
        };
        let Err(error) = locked.await else { return Ok(()) };
        // The first error counts; a connection that is gone has rolled back by itself.
        let _ = client.batch("ROLLBACK").await;
        turns.again(error).await?;
        turns.tell(&ClientSession { client }, table, mode).await;
    }
}

/// Who has a lock on the table that keeps one of `mode` out, as far as this account may see: of other accounts, not since
/// when.
async fn holders(session: &dyn Session, table: &str, mode: &str) -> String {
    let harmless = if mode == ALONE { "''" } else { "'AccessShareLock', 'RowShareLock'" };
    let asked = format!(
        "SELECT concat('process ', a.pid, ' of ', a.usename, nullif(concat(' (', a.application_name, ')'), ' ()'), \
         ', its transaction open since ' || to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS') || ' UTC') \
         FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
         WHERE l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
         AND l.relation = {}::regclass AND l.granted AND a.pid <> pg_backend_pid() \
         AND l.mode NOT IN ({harmless}) GROUP BY 1, a.xact_start, a.pid ORDER BY a.xact_start, a.pid LIMIT 3",
        literal(table)
    );
    let found = ask(session, "holders", asked).await.map(|answer| answer.rows).unwrap_or_default();
    let found: Vec<String> = found.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect();
    if found.is_empty() {
        "which another transaction holds".to_owned()
    } else {
        format!("held by {}", found.join("; "))
    }
}

/// Loads lock, and do not want to be told at the end that they ran beside another one.
pub const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED";
