//! What the scheduler reads: at start, and again for a run when a guard missed or a signal says so.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::change::{NextRun, RunKey};
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use millrace_model::schedule::DataInterval;

use crate::{InstanceRow, Result, RunRow, RunningInstance, Store};

/// An unfinished run with all of its task instances, finished ones too.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveRun {
    pub row: RunRow,
    pub instances: Vec<InstanceRow>,
}

#[derive(Debug, Clone)]
pub struct SchedulerDag {
    pub dag_id: DagId,
    pub is_paused: bool,
    /// Its file is gone: nothing new is created, what runs goes on.
    pub is_stale: bool,
    pub has_import_error: bool,
    /// The newest version, which new runs are pinned to.
    pub version_key: i64,
    pub dag: Arc<Dag>,
    pub pointer: Option<NextRun>,
}

impl Store {
    /// Every queued or running run.
    pub async fn active_runs(&self, now: DateTime<Utc>) -> Result<Vec<ActiveRun>> {
        todo!("{now}")
    }

    /// One run with its instances, whatever its state.
    pub async fn active_run(&self, run: RunKey) -> Result<Option<ActiveRun>> {
        todo!("{run}")
    }

    /// The interval of the newest run that the schedule made (even if a backfill has taken it over since).
    pub async fn last_automated_interval(&self, dag_id: &DagId) -> Result<Option<DataInterval>> {
        todo!("{dag_id}")
    }

    /// Every DAG whose stored form can be read. One whose stored form is another DAG's is left out, with a warning.
    pub async fn scheduler_dags(&self) -> Result<Vec<SchedulerDag>> {
        todo!()
    }

    /// One DAG as [`Store::scheduler_dags`] gives it.
    pub async fn scheduler_dag(&self, dag_id: &DagId) -> Result<Option<SchedulerDag>> {
        todo!("{dag_id}")
    }

    /// How many stored DAGs were left out so far because their id is not that of their row.
    pub fn mismatched_dags(&self) -> u64 {
        todo!()
    }

    /// A stored version, from memory when it was read before (versions never change).
    pub async fn dag_version(&self, version_key: i64) -> Result<Arc<Dag>> {
        todo!("{version_key}")
    }

    /// Every instance that a worker holds, with its lease.
    pub async fn running_instances(&self) -> Result<Vec<RunningInstance>> {
        todo!()
    }

    /// Up to `limit` newest finished runs' states of a DAG by `run_after`, newest first.
    pub async fn last_finished_states(&self, dag_id: &DagId, limit: u32) -> Result<Vec<millrace_model::state::RunState>> {
        todo!("{dag_id} {limit}")
    }
}
