//! Task instances, as everybody reads them.

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::state::TaskState;

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job that runs the try.
    pub owner: String,
    pub token: String,
    pub expires_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct InstanceRow {
    pub key: InstanceKey,
    pub run: RunKey,
    pub task_id: TaskId,
    /// -1 for a task that is not mapped.
    pub map_index: i32,
    pub operator: String,
    pub state: TaskState,
    pub state_reason: Option<String>,
    /// Tries that counted so far, the running one included. The next claim's number is this plus one.
    pub try_number: u32,
    /// The try number after which a failure is final is `max_tries + 1`.
    pub max_tries: u32,
    /// How often it was cleared.
    pub generation: u32,
    /// Lost workers in a row in this generation; they cost no try.
    pub lost_workers: u32,
    pub pool: String,
    pub pool_slots: u32,
    pub priority_weight: i32,
    pub queued_at: Option<DateTime<Utc>>,
    /// Of the latest try.
    pub start_date: Option<DateTime<Utc>>,
    pub end_date: Option<DateTime<Utc>>,
    /// Set while `up_for_retry`.
    pub next_try_at: Option<DateTime<Utc>>,
    pub lease: Option<Lease>,
}

/// An instance that a worker holds, found again after a crash.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningInstance {
    pub dag_id: DagId,
    pub run_id: RunId,
    /// Its lease is set.
    pub row: InstanceRow,
}

impl Store {
    /// The instances of one run, in the order of the DAG's tasks.
    pub async fn instances(&self, run: RunKey) -> Result<Vec<InstanceRow>> {
        todo!("{run}")
    }

    /// All instances of several runs in one query: a grid. In the order of the keys given, then of the tasks.
    pub async fn instances_of_runs(&self, runs: &[RunKey]) -> Result<Vec<InstanceRow>> {
        todo!("{runs:?}")
    }

    pub async fn instance(&self, run: RunKey, task_id: &str, map_index: i32) -> Result<Option<InstanceRow>> {
        todo!("{run} {task_id} {map_index}")
    }

    pub async fn instance_by_key(&self, key: InstanceKey) -> Result<Option<InstanceRow>> {
        todo!("{key}")
    }
}
