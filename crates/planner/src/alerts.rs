//! What people are told of: late runs, long runs, DAGs that fail again and again.

use std::cmp::Reverse;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::alert::{Alert, AlertKind, DeadlineReference, USUAL_RUNS};
use millrace_model::change::{DagPause, RunKey};
use millrace_model::duration::Span;
use millrace_model::ids::DagId;
use millrace_model::instant::format_utc_micros;
use millrace_model::notice::NoticeEvent;
use millrace_model::state::RunState;

use crate::run::RunView;
use crate::turn::Turn;
use crate::view::{DagFacts, View};

/// How the last runs of a DAG went; kept only for DAGs that ask for it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecentRuns {
    /// The finished runs with the latest `run_after`, newest first, those of backfills left out; at most
    /// `max_consecutive_failed_dag_runs`.
    pub ends: Vec<RunEnd>,
    /// How long successful runs took, newest first; at most [`USUAL_RUNS`].
    pub durations: Vec<TimeDelta>,
}

/// A run that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunEnd {
    pub run: RunKey,
    pub run_after: DateTime<Utc>,
    pub has_failed: bool,
}

impl RecentRuns {
    /// A run counts once, however often it was run again, and by its date, whenever it ended.
    fn note_end(&mut self, end: RunEnd, most: u32) {
        self.forget(end.run);
        self.ends.push(end);
        self.ends.sort_unstable_by_key(|end| Reverse((end.run_after, end.run)));
        self.ends.truncate(most as usize);
    }

    fn forget(&mut self, run: RunKey) {
        self.ends.retain(|end| end.run != run);
    }

    /// How many of the latest runs have failed one after the other.
    fn failures(&self) -> u32 {
        self.ends.iter().take_while(|end| end.has_failed).count() as u32
    }

    fn median(&self) -> Option<TimeDelta> {
        let mut sorted = self.durations.clone();
        sorted.sort_unstable();
        sorted.get(sorted.len() / 2).copied()
    }
}

/// When a run that does not end is to be told of, and the message.
fn watches(facts: &DagFacts, run: &RunView) -> Vec<(DateTime<Utc>, AlertKind)> {
    let mut watches = Vec::new();
    // The run keeps to its own version.
    let dag = &run.version.dag;
    // One that had ended and was cleared was due long ago: it is given its time from its new start.
    let is_queued_again = run.was_cleared && run.facts.start_date.is_none();
    if let Some(deadline) = dag.deadline.filter(|_| !is_queued_again) {
        let from = match deadline.reference {
            DeadlineReference::RunAfter => Some(run.facts.run_after),
            DeadlineReference::LogicalDate => Some(run.facts.logical_date),
            DeadlineReference::StartDate => run.facts.start_date,
        };
        let due = |from: DateTime<Utc>| from.checked_add_signed(deadline.within.as_delta());
        let at = from.and_then(due);
        // A run that is made up for later than it was due is given its time from its start.
        let at = at.filter(|at| run.facts.start_date.is_some() || *at > run.facts.created_at);
        let at = if run.facts.start_date > at { run.facts.start_date.and_then(due) } else { at };
        watches.extend(at.filter(|_| run.backfill_key.is_none()).map(|at| (at, AlertKind::Deadline)));
    }
    if let Some((limit, _)) = usual_limit(facts, run) {
        let at = run.facts.start_date.and_then(|start| start.checked_add_signed(limit));
        watches.extend(at.map(|at| (at, AlertKind::LongerThanUsual)));
    }
    watches
}

/// How long the run may take before it is longer than usual, and what is usual.
fn usual_limit(facts: &DagFacts, run: &RunView) -> Option<(TimeDelta, TimeDelta)> {
    let rule = run.version.dag.longer_than_usual?;
    let enough = facts.recent.durations.len() >= rule.min_runs.max(1) as usize;
    let median = facts.recent.median().filter(|_| enough)?;
    let millis = median.num_milliseconds().checked_mul(i64::from(rule.percent))? / 100;
    Some((TimeDelta::milliseconds(millis), median))
}

impl View {
    /// Replaces what is known of how the last runs of a DAG ended: one of them was run again, marked or taken over.
    pub fn set_last_ends(&mut self, dag_id: &DagId, ends: Vec<RunEnd>) {
        if let Some(facts) = self.dags.get_mut(dag_id) {
            facts.recent.ends = ends;
        }
    }

    /// Notes when the run is to be told of. To be called again when it starts.
    pub(crate) fn watch(&mut self, key: RunKey) {
        let Some(run) = self.runs.get(&key).filter(|run| !run.state.is_finished()) else { return };
        let Some(facts) = self.dags.get(&run.dag_id) else { return };
        for (at, kind) in watches(facts, run) {
            match self.watches_of.insert((key, kind), at) {
                Some(before) if before == at => continue,
                Some(before) => drop(self.watches.remove(&(before, key, kind))),
                None => {}
            }
            self.watches.insert((at, key, kind));
        }
    }

    pub(crate) fn unwatch(&mut self, key: RunKey) {
        for kind in AlertKind::ALL {
            if let Some(at) = self.watches_of.remove(&(key, *kind)) {
                self.watches.remove(&(at, key, *kind));
            }
        }
    }
}

impl Turn<'_> {
    /// Tells of runs that are late.
    pub(crate) fn raise_alerts(&mut self) {
        while let Some((at, key, kind)) = self.view.watches.first().copied() {
            if at > self.now {
                break;
            }
            self.view.watches.pop_first();
            let Some(run) = self.view.runs.get(&key) else { continue };
            if run.state.is_finished() {
                continue;
            }
            let message = match kind {
                AlertKind::Deadline => {
                    format!("{} was {} when it was due, at {}", run.facts.run_id, run.state, format_utc_micros(at))
                }
                _ => {
                    let usual = self.view.dags.get(&run.dag_id).and_then(|facts| usual_limit(facts, run));
                    let usual = usual.map_or_else(String::new, |(_, usual)| format!("; {} is usual", seconds(usual)));
                    let took = run.facts.start_date.map_or(TimeDelta::zero(), |start| self.now - start);
                    format!("{} has been running for {}{usual}", run.facts.run_id, seconds(took))
                }
            };
            let dag_id = run.dag_id.clone();
            self.tell_of_run(key, NoticeEvent::Alert(kind), Some(&message));
            self.plan.batch.alerts.push(Alert { dag_id, run: key, kind, message, at: self.now });
        }
    }

    /// Keeps count of how the DAG's runs end; pauses it after too many failures in a row.
    pub(crate) fn note_end(&mut self, key: RunKey, to: RunState) {
        let Some(run) = self.view.runs.get(&key).filter(|run| run.backfill_key.is_none()) else { return };
        let (dag_id, start, run_id) = (run.dag_id.clone(), run.facts.start_date, run.facts.run_id.clone());
        let end = RunEnd { run: key, run_after: run.facts.run_after, has_failed: to == RunState::Failed };
        let Some(facts) = self.view.dags.get_mut(&dag_id) else { return };
        let limit = facts.version.dag.max_consecutive_failed_dag_runs;
        facts.recent.note_end(end, limit);
        if to == RunState::Success {
            if facts.version.dag.longer_than_usual.is_some()
                && let Some(start) = start
            {
                facts.recent.durations.insert(0, self.now - start);
                facts.recent.durations.truncate(USUAL_RUNS as usize);
            }
            return;
        }
        if limit == 0 || facts.recent.failures() < limit || facts.is_paused {
            return;
        }
        let reason = match limit {
            1 => format!("a run has failed: {run_id}"),
            limit => format!("{limit} runs have failed in a row, the last of them to end {run_id}"),
        };
        let paused = DagFacts { is_paused: true, ..facts.clone() };
        let pause = DagPause { dag_id: dag_id.clone(), run: key, failures: limit, reason: reason.clone() };
        self.plan.batch.pauses.push(pause);
        let message = format!("the DAG was paused: {reason}");
        self.tell_of_run(key, NoticeEvent::Alert(AlertKind::AutoPaused), Some(&message));
        self.plan.batch.alerts.push(Alert { dag_id, run: key, kind: AlertKind::AutoPaused, message, at: self.now });
        self.view.put_dag(paused);
    }
}

fn seconds(length: TimeDelta) -> String {
    Span::from_seconds(u32::try_from(length.num_seconds()).unwrap_or_default()).to_string()
}
