//! That tries begin only after what they depend on, and that teardowns are not forgotten. Worked out here from the rows
//! alone, not by the planner's rules.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::change::RunKey;
use millrace_model::dag::{Dag, Task};
use millrace_model::state::{RunType, TaskState};
use millrace_model::trigger_rule::TriggerRule;
use millrace_store::{InstanceRow, RunRow};

use super::World;

/// The instances of each run.
type Rows<'a> = BTreeMap<RunKey, Vec<&'a InstanceRow>>;

impl World {
    /// To be called before what has begun is noted as seen.
    pub(super) fn dependencies_are_kept(&mut self, runs: &[RunRow], rows: &[InstanceRow], place: &str) {
        let mut of_run: Rows<'_> = BTreeMap::new();
        for row in rows {
            of_run.entry(row.run).or_default().push(row);
        }
        for run in runs {
            let dag = self.version_of(run);
            let own = of_run.get(&run.key).map_or(&[][..], Vec::as_slice);
            for row in own.iter().filter(|row| self.has_just_begun(row)) {
                let Some(task) = dag.task(row.task_id.as_str()) else { continue };
                after_successes(dag, task, row, own, place);
                if task.depends_on_past || task.wait_for_downstream {
                    self.after_a_good_past((run, dag, task), runs, &of_run, place);
                }
            }
            if run.state.is_finished() {
                torn_down(dag, run, own, place);
            }
        }
        self.known = runs.iter().map(|run| run.key).collect();
    }

    fn has_just_begun(&self, row: &InstanceRow) -> bool {
        row.lease.as_ref().is_some_and(|lease| !self.begun.contains(&lease.token))
    }

    /// The run before, by its date, must have ended well in this task. What was the run before when the try began is sure
    /// only if it was there before that.
    fn after_a_good_past(
        &self,
        (run, dag, task): (&RunRow, &Dag, &Task),
        runs: &[RunRow],
        of_run: &Rows<'_>,
        place: &str,
    ) {
        if run.runs_for_backfill().is_some_and(|backfill| self.firsts.contains(&(backfill, run.key))) {
            return;
        }
        let counts = |it: &&RunRow| !dag.catchup || it.run_type != RunType::Manual;
        let earlier = runs.iter().filter(|it| it.dag_id == run.dag_id && it.logical_date < run.logical_date);
        let Some(past) = earlier.filter(counts).max_by_key(|it| it.logical_date) else { return };
        if !self.known.contains(&past.key) {
            return;
        }
        let after = |it: &&Task| task.wait_for_downstream && it.depends_on.contains(&task.task_id);
        let looked_at: BTreeSet<_> =
            dag.tasks.iter().filter(after).chain([task]).map(|it| it.task_id.as_str()).collect();
        let there = of_run.get(&past.key).map_or(&[][..], Vec::as_slice);
        // A task that is new since then has nothing to wait for.
        if !there.iter().any(|row| row.task_id == task.task_id) {
            return;
        }
        for there in there {
            let ended_well = matches!(there.state, TaskState::Success | TaskState::Skipped) && !there.given_up;
            assert!(
                ended_well || !looked_at.contains(there.task_id.as_str()),
                "{place}: {} of {run:?} began although its past is {there:?}",
                task.task_id
            );
        }
    }

    /// Which run of a new backfill has no other before it. Known too when the answer was lost.
    pub(super) async fn note_first_of_backfill(&mut self) {
        let Some(active) = self.stage.store.active_backfills().await.unwrap().pop() else { return };
        if self.firsts.iter().any(|(backfill, _)| *backfill == active.key) {
            return;
        }
        let runs = self.stage.runs().await;
        let own = runs.iter().filter(|run| run.runs_for_backfill() == Some(active.key));
        let by_date = |run: &&RunRow| run.logical_date;
        let first = if active.is_reversed { own.max_by_key(by_date) } else { own.min_by_key(by_date) };
        self.firsts.extend(first.map(|run| (active.key, run.key)));
    }
}

/// A task with the rule `all_success` begins when all that it waits for was successful.
fn after_successes(dag: &Dag, task: &Task, row: &InstanceRow, own: &[&InstanceRow], place: &str) {
    if task.trigger_rule != TriggerRule::AllSuccess {
        return;
    }
    for before in task.depends_on.iter().filter_map(|id| dag.task(id.as_str())) {
        let of_task = || own.iter().filter(|it| it.task_id == before.task_id);
        let is_together = dag.is_mapped_together(task, before) && of_task().any(|it| it.map_index >= 0);
        // Items of a list that is shorter now than it was.
        let is_gone = |it: &InstanceRow| dag.expand_of(before).is_some() && it.state == TaskState::Removed;
        for it in of_task().filter(|it| !is_together || it.map_index == row.map_index).filter(|it| !is_gone(it)) {
            assert_eq!(it.state, TaskState::Success, "{place}: {row:?} began although it waits for {it:?}");
        }
    }
}

/// What a setup has made is cleaned up, however its run ended.
fn torn_down(dag: &Dag, run: &RunRow, own: &[&InstanceRow], place: &str) {
    for teardown in dag.tasks.iter().filter(|task| task.is_teardown) {
        let is_own_setup = |row: &&&InstanceRow| {
            row.state == TaskState::Success
                && teardown.depends_on.contains(&row.task_id)
                && dag.task(row.task_id.as_str()).is_some_and(|task| task.is_setup)
        };
        let Some(setup) = own.iter().find(is_own_setup) else { continue };
        let forgotten = own.iter().find(|row| row.task_id == teardown.task_id && row.state == TaskState::None);
        assert!(forgotten.is_none(), "{place}: {run:?} ended without {forgotten:?}, which cleans up after {setup:?}");
    }
}
