//! Who holds what something else waits for: numbers alone would not say whom to ask.

use std::collections::BTreeSet;

use millrace_model::change::RunKey;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::state::{RunState, TaskState};

use crate::lines::{Lane, LimitKey};
use crate::run::RunView;
use crate::run_keys::HeldKey;
use crate::view::{GroupKey, View};

/// Holders that are named; the others are counted.
const NAMED: usize = 3;

impl View {
    pub(crate) fn holders_of_limit(&self, limit: &LimitKey) -> Vec<String> {
        self.tries_that(|lane, state| state.holds_limits() && lane.limits.iter().any(|(held, _)| held == limit))
    }

    pub(crate) fn holders_of_pool(&self, name: &str) -> Vec<String> {
        let counts_deferred = self.pools.get(name).is_some_and(|pool| pool.include_deferred);
        let holds = |state: TaskState| state.occupies_slot() || counts_deferred && state == TaskState::Deferred;
        self.tries_that(|lane, state| &*lane.pool == name && holds(state))
    }

    pub(crate) fn holders_of_run_key(&self, text: &str) -> Vec<String> {
        let of = |run: &RunView| {
            let (run_id, dag_id) = (&run.facts.run_id, &run.dag_id);
            let backfill = run.backfill_key.filter(|key| self.backfills.get(key).is_some_and(|facts| facts.is_paused));
            match backfill {
                Some(backfill) => format!("run {run_id} of the paused backfill {backfill} of DAG {dag_id}"),
                None if self.is_held_by_pause(run) => format!("run {run_id} of the paused DAG {dag_id}"),
                None => format!("run {run_id} of DAG {dag_id}"),
            }
        };
        named(self.runs_with_key(text), of)
    }

    /// Those of one limit of runs, of a DAG or of a backfill, that count against it.
    pub(crate) fn holders_of_group(&self, group: &GroupKey, counts: impl Fn(&RunView) -> bool) -> Vec<String> {
        let runs = self.runs.values().filter(|run| run.dag_id == group.0 && run.backfill_key == group.1 && counts(run));
        named(runs, |run| match run.state {
            RunState::Queued if !run.holds_place => format!("run {} (queued)", run.facts.run_id),
            _ => format!("run {}", run.facts.run_id),
        })
    }

    /// The DAGs whose runs hold the key that a queued run waits for, as far as they are named: what is told of them is
    /// whether they are paused, too.
    pub fn dags_holding_key_of(&self, run: RunKey) -> BTreeSet<DagId> {
        let Some(HeldKey::Key { text, .. }) = self.runs.get(&run).map(|run| &run.key_held) else {
            return BTreeSet::new();
        };
        self.runs_with_key(text).take(NAMED).map(|run| run.dag_id.clone()).collect()
    }

    fn runs_with_key<'a>(&'a self, text: &'a str) -> impl Iterator<Item = &'a RunView> {
        let holds = move |run: &RunView| matches!(&run.key_held, HeldKey::Key { text: held, .. } if **held == *text);
        self.runs.values().filter(move |run| run.holds_place && holds(run))
    }

    /// Those of all runs that hold something by their lane and by the state that they count as.
    fn tries_that(&self, hold: impl Fn(&Lane, TaskState) -> bool) -> Vec<String> {
        let name = |(run, task, map_index): (&RunView, &TaskId, i32)| {
            let index = if map_index < 0 { String::new() } else { format!("[{map_index}]") };
            format!("task {task}{index} in run {} of DAG {}", run.facts.run_id, run.dag_id)
        };
        let mut holders = Vec::new();
        for run in self.runs.values() {
            let tasks = &run.version.dag.tasks;
            let here = run.instances.iter().filter(|it| hold(it.held_lane(), it.holding()));
            holders.extend(here.map(|it| (run, &tasks[it.task].task_id, it.map_index)));
            let gone = run.departed.values().filter(|it| hold(it.lane(), it.holding()));
            holders.extend(gone.map(|it| (run, &it.snapshot.task_id, it.snapshot.map_index)));
        }
        named(holders.into_iter(), name)
    }
}

/// The numbers, and who they are.
pub(crate) fn held_by(numbers: String, holders: &[String]) -> String {
    if holders.is_empty() { numbers } else { format!("{numbers}; held by {}", holders.join(", ")) }
}

fn named<T>(mut holders: impl Iterator<Item = T>, name: impl Fn(T) -> String) -> Vec<String> {
    let mut names: Vec<String> = holders.by_ref().take(NAMED).map(name).collect();
    let more = holders.count();
    if more > 0 {
        names.push(format!("and {more} more"));
    }
    names
}
