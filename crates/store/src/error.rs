use std::path::PathBuf;

use millrace_model::ids::{DagId, RunId};

pub type Result<T, E = StoreError> = std::result::Result<T, E>;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("cannot {attempted} in the metadata database")]
    Database {
        attempted: &'static str,
        #[source]
        source: sea_orm::DbErr,
    },
    #[error(
        "cannot open the metadata database {url}; see that it runs and that database.url in millrace.toml is right"
    )]
    Open {
        /// Without its password.
        url: String,
        #[source]
        source: sea_orm::DbErr,
    },
    #[error(
        "'{url}' is not a database URL: {problem}; write sqlite:///absolute/path/millrace.db or postgres://user:password@host:5432/database"
    )]
    Url { url: String, problem: String },
    #[error("the metadata database {url} does not exist; run `millrace db migrate` to make it")]
    NoDatabase { url: String },
    #[error("the metadata database lacks {} migration(s): {}; run `millrace db migrate`", .pending.len(), .pending.join(", "))]
    SchemaPending { pending: Vec<String> },
    #[error(
        "the metadata database was made by a newer Millrace: this one does not know the migration(s) {}; \
         install that version, or go back with its `millrace db downgrade`", .unknown.join(", ")
    )]
    SchemaTooNew { unknown: Vec<String> },
    #[error("cannot migrate, nothing was changed: {}", .problems.join("; "))]
    PreCheck { problems: Vec<String> },
    #[error("another process is migrating the metadata database")]
    MigrationInProgress,
    #[error("there is no migration named '{name}'; known are: {}", .known.join(", "))]
    UnknownMigration { name: String, known: Vec<String> },
    #[error("another scheduler leads now (epoch {current}, this one's was {held}); nothing was written")]
    StaleEpoch { held: i64, current: i64 },
    #[error("DAG {dag_id} already has a run {run_id}")]
    RunExists { dag_id: DagId, run_id: RunId },
    #[error("DAG {dag_id} already has a run for the logical date {logical_date}: {run_id}")]
    LogicalDateExists { dag_id: DagId, run_id: RunId, logical_date: String },
    #[error("DAG {dag_id} already has an active backfill (number {backfill_key}); wait for it or cancel it")]
    BackfillActive { dag_id: DagId, backfill_key: i64 },
    #[error("there is no {kind} '{name}'")]
    NotFound { kind: &'static str, name: String },
    #[error("cannot {attempted}: {reason}")]
    Refused { attempted: &'static str, reason: String },
    #[error("the metadata database was opened for reading only; cannot {attempted}")]
    ReadOnly { attempted: &'static str },
    #[error("cannot {attempted}: column {column} of row {row} cannot be read: {problem}")]
    Corrupt { attempted: &'static str, column: String, row: String, problem: String },
    #[error("cannot use {}{}", .path.display(), if is_forbidden(.source) { "; run as the user who owns it" } else { "" })]
    Home {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

fn is_forbidden(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::PermissionDenied
}

impl StoreError {
    /// What a call of the database failed with that `attempted` this.
    pub(crate) fn during(attempted: &'static str) -> impl Fn(sea_orm::DbErr) -> Self + Copy {
        move |source| Self::Database { attempted, source }
    }

    /// The database was busy, restarting, full, read-only or out of reach: nothing is wrong with what was asked, and the
    /// same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            // A process that was let in before is let in again, whatever the reason is now: a failover, a password that is
            // being changed, a database that accepts nobody for a while.
            Self::Database { source: sea_orm::DbErr::Conn(_), .. } => true,
            Self::Database { source, .. } | Self::Open { source, .. } => is_outage(source),
            Self::Home { .. } => true,
            _ => false,
        }
    }
}

fn is_outage(error: &sea_orm::DbErr) -> bool {
    use sea_orm::{DbErr, RuntimeErr};
    match error {
        DbErr::ConnectionAcquire(_) => true,
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => match &**error {
            sqlx::Error::Database(error) => error.code().is_some_and(|code| is_outage_code(&code)),
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            // What a connection says of itself that was cut in the middle of an answer.
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        },
        DbErr::Conn(RuntimeErr::Internal(_)) => true,
        _ => false,
    }
}

/// SQLSTATE has five characters; SQLite's codes are shorter numbers, the lowest eight bits of which say what kind it is.
fn is_outage_code(code: &str) -> bool {
    if code.len() == 5 {
        // Connection, rolled back (deadlock), no resources (disk full), stopped by the operator, disk trouble, and a
        // server that only reads for now (a standby, a failover).
        return ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class)) || code == "25006";
    }
    // BUSY, LOCKED, READONLY, INTERRUPT, IOERR, FULL, CANTOPEN, PROTOCOL.
    code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 9 | 10 | 13 | 14 | 15))
}

#[cfg(test)]
mod tests {
    use super::is_outage_code;

    #[test]
    fn an_outage_is_told_from_a_mistake() {
        for outage in ["08006", "40P01", "53100", "57P01", "57P03", "58030", "25006", "5", "13", "10", "778", "8", "14"]
        {
            assert!(is_outage_code(outage), "{outage}");
        }
        for mistake in ["23505", "22003", "42P01", "1", "19", "2067", "1555", ""] {
            assert!(!is_outage_code(mistake), "{mistake}");
        }
    }
}
