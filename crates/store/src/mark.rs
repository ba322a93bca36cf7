//! Marking by hand: a state is set without running anything.

use chrono::{DateTime, Utc};
use millrace_model::change::RunKey;
use millrace_model::ids::TaskId;
use millrace_model::state::{RunState, TaskState};

use crate::{ClearedInstance, Result, Store};

#[derive(Debug, Clone, PartialEq)]
pub struct MarkRequest {
    pub run: RunKey,
    pub task_ids: Vec<TaskId>,
    /// `Success`, `Failed` or `Skipped`.
    pub to: TaskState,
    pub actor: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MarkReport {
    pub marked: Vec<ClearedInstance>,
    /// Downstream ones that had failed, or never got their chance, and now run again.
    pub cleared: Vec<ClearedInstance>,
}

impl Store {
    /// Sets the state of the named tasks where it differs; everything downstream of them that is `failed` or
    /// `upstream_failed` is cleared, so that the run goes on.
    pub async fn mark_instances(&self, request: &MarkRequest, now: DateTime<Utc>) -> Result<MarkReport> {
        todo!("{request:?} {now}")
    }

    /// Success or failed: what runs takes that state, what waits is skipped, what has finished stays.
    pub async fn mark_run(&self, run: RunKey, to: RunState, actor: &str, now: DateTime<Utc>) -> Result<MarkReport> {
        todo!("{run} {to} {actor} {now}")
    }
}
