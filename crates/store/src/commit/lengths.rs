//! How long runs took, how late they began, and how long tries waited for a slot: for the metrics.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::{Batch, InstanceKey, NewRun};
use millrace_model::state::{RunState, RunType, TaskState};

use super::CommitReport;
use crate::processes::counter::{RUN_ENDS, WAIT_ENDS};
use crate::{Counted, Store};

/// Of the runs of one commit.
#[derive(Default)]
pub(super) struct RunTimes {
    /// Of the scheduled ones, since they were due: a date of the past that somebody asks for is not late.
    pub started: Vec<TimeDelta>,
    /// Since they started.
    pub ended: Vec<(RunState, TimeDelta)>,
}

/// Since when instances have only waited for a slot, as far as this process has seen. One that was cleared meanwhile is
/// forgotten when it is scheduled again.
#[derive(Default)]
pub(crate) struct Waiting(Mutex<HashMap<InstanceKey, DateTime<Utc>>>);

/// More than so many are those of runs that somebody has deleted.
const MOST_WAITING: usize = 200_000;

impl Store {
    pub(super) fn note_times(&self, batch: &Batch, report: &CommitReport, times: &RunTimes, now: DateTime<Utc>) {
        let starts = |state| state == RunState::Running && !report.has_less_room;
        let created = batch.new_runs.iter().zip(&report.created).filter(|(_, created)| created.is_some());
        let is_due = |new: &NewRun| starts(new.state) && new.run_type == RunType::Scheduled;
        let at_once = created.filter(|(new, _)| is_due(new)).map(|(new, _)| now - new.run_after);
        for delay in times.started.iter().copied().chain(at_once) {
            let of = (Counted::RunDelays, Counted::RunDelayTime);
            self.count_length(of, &[], WAIT_ENDS, delay.to_std().unwrap_or_default());
        }
        for (state, took) in &times.ended {
            let of = (Counted::RunLengths, Counted::RunTime);
            self.count_length(of, &[state.as_str()], RUN_ENDS, took.to_std().unwrap_or_default());
        }
    }

    /// A try that starts in the commit in which it could has waited no time.
    pub(super) fn note_waits(&self, batch: &Batch, report: &CommitReport, now: DateTime<Utc>) {
        if batch.task_moves.is_empty() && batch.claims.is_empty() {
            return;
        }
        let mut waiting = self.inner.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, step) in batch.task_moves.iter().enumerate() {
            if step.to != TaskState::Scheduled {
                waiting.remove(&step.instance);
            } else if !report.stale_moves.contains(&index) {
                waiting.entry(step.instance).or_insert(now);
            }
        }
        let mut at_once = 0;
        for (index, claim) in batch.claims.iter().enumerate() {
            let since = waiting.remove(&claim.instance);
            if report.stale_claims.binary_search(&index).is_ok() {
                continue;
            }
            match since {
                Some(since) => {
                    let of = (Counted::TryWaits, Counted::TryWaitTime);
                    self.count_length(of, &[], WAIT_ENDS, (now - since).to_std().unwrap_or_default());
                }
                // What was scheduled before this process began: nobody knows for how long.
                None if claim.from == TaskState::Scheduled => {}
                None => at_once += 1,
            }
        }
        self.count(Counted::TryWaits, &["0"], at_once);
        if waiting.len() > MOST_WAITING {
            waiting.clear();
        }
    }
}
