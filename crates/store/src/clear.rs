//! Clearing: task instances run again, with their history kept.

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::ids::TaskId;
use millrace_model::state::TaskState;

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq)]
pub struct ClearRequest {
    pub run: RunKey,
    /// The tasks to clear, in every map index; whoever asks has added downstream tasks. Empty: the whole run.
    pub task_ids: Vec<TaskId>,
    /// Only those in `failed` or `upstream_failed`.
    pub only_failed: bool,
    /// Changes nothing, and reports what it would change.
    pub dry_run: bool,
    pub actor: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClearedInstance {
    pub instance: InstanceKey,
    pub task_id: TaskId,
    pub map_index: i32,
    pub from: TaskState,
    /// `none`, or `restarting` if it ran.
    pub to: TaskState,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClearReport {
    /// Without those that had nothing to clear (`none`, or being cleared already).
    pub cleared: Vec<ClearedInstance>,
    /// The run had finished and was queued again.
    pub run_queued: bool,
}

impl Store {
    pub async fn clear_instances(&self, request: &ClearRequest, now: DateTime<Utc>) -> Result<ClearReport> {
        todo!("{request:?} {now}")
    }
}
