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
    #[error("cannot open the metadata database {url}")]
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
    #[error("cannot use {}", .path.display())]
    Home {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

impl StoreError {
    /// The database was busy, restarting or out of reach: the same call may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Database { source, .. } | Self::Open { source, .. } => {
                let text = source.to_string().to_lowercase();
                ["locked", "busy", "timed out", "connection", "broken pipe", "shutting down", "starting up", "deadlock"]
                    .iter()
                    .any(|word| text.contains(word))
            }
            _ => false,
        }
    }
}
