//! Backfills: many past dates of one DAG.

use chrono::{DateTime, Utc};
use millrace_model::change::{NewRun, RunKey};
use millrace_model::ids::{DagId, RunId};
use serde_json::{Map, Value};

use crate::{Result, Store};

/// What to do with a date that has a finished run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reprocess {
    None,
    /// Run it again if it failed.
    Failed,
    /// Run it again.
    Completed,
}

impl Reprocess {
    pub const ALL: &[Self] = &[Self::None, Self::Failed, Self::Completed];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Failed => "failed",
            Self::Completed => "completed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.as_str() == text)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackfillState {
    Running,
    Finished,
    Cancelled,
}

#[derive(Debug, Clone, PartialEq)]
pub struct NewBackfill {
    pub dag_id: DagId,
    /// The first logical date asked for.
    pub from: DateTime<Utc>,
    /// The end asked for, as printed; the dates themselves are those of `runs`.
    pub to: DateTime<Utc>,
    pub reprocess: Reprocess,
    pub max_active_runs: u32,
    pub conf: Map<String, Value>,
    /// One for each date, in the order in which they are to run. `backfill_key` is filled in here.
    pub runs: Vec<NewRun>,
    /// Reports what would be done, and does nothing.
    pub dry_run: bool,
    pub actor: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DateOutcome {
    Created,
    /// An existing run was cleared and belongs to the backfill now.
    Cleared,
    /// `already exists` or `in flight`.
    Skipped { reason: String },
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillDate {
    pub logical_date: DateTime<Utc>,
    /// The run at that date, new or old. None in a dry run that would create it.
    pub run: Option<RunKey>,
    pub run_id: RunId,
    pub outcome: DateOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackfillReport {
    /// None in a dry run, and when every date was skipped: then no backfill is made.
    pub backfill_key: Option<i64>,
    pub dates: Vec<BackfillDate>,
}

impl BackfillReport {
    /// How many runs are created or run again.
    pub fn run_count(&self) -> usize {
        self.dates.iter().filter(|date| !matches!(date.outcome, DateOutcome::Skipped { .. })).count()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct BackfillRow {
    pub key: i64,
    pub dag_id: DagId,
    pub from: DateTime<Utc>,
    pub to: DateTime<Utc>,
    pub reprocess: Reprocess,
    pub max_active_runs: u32,
    pub state: BackfillState,
    pub created_by: String,
    pub created_at: DateTime<Utc>,
    pub completed_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Errors: `BackfillActive`.
    pub async fn create_backfill(&self, new: &NewBackfill, now: DateTime<Utc>) -> Result<BackfillReport> {
        todo!("{new:?} {now}")
    }

    /// Queued runs fail (reason `backfill cancelled`), running ones go on. Returns the failed runs.
    pub async fn cancel_backfill(&self, backfill_key: i64, actor: &str, now: DateTime<Utc>) -> Result<Vec<RunKey>> {
        todo!("{backfill_key} {actor} {now}")
    }

    /// Newest first; of one DAG, or of all.
    pub async fn backfills(&self, dag_id: Option<&DagId>) -> Result<Vec<BackfillRow>> {
        todo!("{dag_id:?}")
    }

    pub async fn backfill(&self, backfill_key: i64) -> Result<Option<BackfillRow>> {
        todo!("{backfill_key}")
    }

    /// Those not finished: what the scheduler needs for their `max_active_runs`.
    pub async fn active_backfills(&self) -> Result<Vec<BackfillRow>> {
        todo!()
    }
}
