//! The hot path: what one turn of the scheduler decided, made true in one transaction of a few multi-row statements.

use chrono::{DateTime, Utc};
use millrace_model::change::{Batch, InstanceKey, RunKey};

use crate::{Result, Store};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedRun {
    pub run: RunKey,
    /// In the order of `NewRun::tasks`.
    pub instances: Vec<InstanceKey>,
}

/// What became of a batch. Indexes are into the batch's own lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitReport {
    /// Parallel to `new_runs`; `None`: the run or its logical date was there before.
    pub created: Vec<Option<CreatedRun>>,
    /// The token is no longer the instance's: nothing of the completion was written.
    pub stale_finishes: Vec<usize>,
    /// Cleared while it ran: the try was closed as it ended, but the instance is `none` now, whatever `to` said.
    pub cleared_finishes: Vec<usize>,
    pub stale_runs: Vec<usize>,
    pub stale_moves: Vec<usize>,
    pub stale_claims: Vec<usize>,
    /// Backfills that have no unfinished run any more.
    pub finished_backfills: Vec<i64>,
}

impl CommitReport {
    /// How many items had to be left out.
    pub fn stale_count(&self) -> usize {
        self.created.iter().filter(|run| run.is_none()).count()
            + self.stale_finishes.len()
            + self.stale_runs.len()
            + self.stale_moves.len()
            + self.stale_claims.len()
    }
}

impl Store {
    /// Applies a leader's batch. `StaleEpoch`: another scheduler leads, and nothing was written.
    pub async fn commit(&self, batch: &Batch, epoch: i64, now: DateTime<Utc>) -> Result<CommitReport> {
        todo!("{batch:?} {epoch} {now}")
    }

    /// As [`Store::commit`], for a process that runs one task by itself and leads nothing.
    pub async fn commit_unled(&self, batch: &Batch, now: DateTime<Utc>) -> Result<CommitReport> {
        todo!("{batch:?} {now}")
    }
}
