//! Runs, as everybody reads them.

use chrono::{DateTime, Utc};
use millrace_model::change::{RunFacts, RunKey};
use millrace_model::ids::{DagId, RunId};
use millrace_model::schedule::DataInterval;
use millrace_model::state::{RunState, RunType};
use serde_json::{Map, Value};

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    pub key: RunKey,
    pub dag_id: DagId,
    pub run_id: RunId,
    pub run_type: RunType,
    pub state: RunState,
    pub state_reason: Option<String>,
    pub logical_date: DateTime<Utc>,
    pub data_interval: DataInterval,
    pub run_after: DateTime<Utc>,
    pub queued_at: Option<DateTime<Utc>>,
    pub start_date: Option<DateTime<Utc>>,
    pub end_date: Option<DateTime<Utc>>,
    pub conf: Map<String, Value>,
    pub version_key: i64,
    pub backfill_key: Option<i64>,
    pub triggered_by: String,
    /// How often a clear has started it again.
    pub clear_number: u32,
    pub note: Option<String>,
    pub created_at: DateTime<Utc>,
}

impl RunRow {
    /// What the run gives to its tasks.
    pub fn facts(&self) -> RunFacts {
        RunFacts {
            run_key: self.key,
            run_id: self.run_id.clone(),
            run_type: self.run_type,
            logical_date: self.logical_date,
            data_interval: self.data_interval,
            run_after: self.run_after,
            start_date: self.start_date,
            conf: self.conf.clone(),
        }
    }
}

/// A run in a strip of dots.
#[derive(Debug, Clone, PartialEq)]
pub struct RunSummary {
    pub key: RunKey,
    pub run_id: RunId,
    pub state: RunState,
    pub logical_date: DateTime<Utc>,
    pub start_date: Option<DateTime<Utc>>,
    pub end_date: Option<DateTime<Utc>>,
}

/// A part of a list, and how many there are in all.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub rows: Vec<T>,
    pub total: u64,
}

/// Empty or `None` means "any".
#[derive(Debug, Clone, Default)]
pub struct RunFilter {
    pub dag_id: Option<DagId>,
    pub states: Vec<RunState>,
    pub run_type: Option<RunType>,
    pub logical_date_from: Option<DateTime<Utc>>,
    /// Exclusive.
    pub logical_date_to: Option<DateTime<Utc>>,
    pub backfill_key: Option<i64>,
    /// Oldest first; the default is newest first, by `run_after`.
    pub ascending: bool,
    pub limit: u64,
    pub offset: u64,
}

impl Store {
    pub async fn runs(&self, filter: &RunFilter) -> Result<Page<RunRow>> {
        todo!("{filter:?}")
    }

    pub async fn run(&self, dag_id: &str, run_id: &str) -> Result<Option<RunRow>> {
        todo!("{dag_id} {run_id}")
    }

    pub async fn run_by_key(&self, run: RunKey) -> Result<Option<RunRow>> {
        todo!("{run}")
    }

    pub async fn run_at(&self, dag_id: &str, logical_date: DateTime<Utc>) -> Result<Option<RunRow>> {
        todo!("{dag_id} {logical_date}")
    }
}
