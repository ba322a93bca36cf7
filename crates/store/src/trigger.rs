//! Requests that people make of a DAG: run it, pause it.

use chrono::{DateTime, Utc};
use millrace_model::change::NewRun;
use millrace_model::ids::DagId;

use crate::{CreatedRun, Result, Store};

/// A run that a person asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRequest {
    /// Its state is `Queued`; the scheduler starts it.
    pub run: NewRun,
    pub note: Option<String>,
    /// `cli`, `rest:<user>`: for the audit log.
    pub actor: String,
}

impl Store {
    /// Errors: `RunExists`, `LogicalDateExists` (both name the run that is there).
    pub async fn create_run(&self, request: &RunRequest, now: DateTime<Utc>) -> Result<CreatedRun> {
        todo!("{request:?} {now}")
    }

    /// Returns whether anything changed.
    pub async fn set_paused(&self, dag_id: &DagId, paused: bool, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        todo!("{dag_id} {paused} {actor} {now}")
    }
}
