//! Which scheduled runs are due.

use chrono::{DateTime, Utc};
use millrace_model::change::{NewRun, NextRun, SchedulePointer};
use millrace_model::ids::{DagId, RunId};
use millrace_model::schedule::{PlannedRun, Schedule};
use millrace_model::state::{RunState, RunType};
use serde_json::Map;

use crate::requests::scheduled_run_id;
use crate::turn::Turn;
use crate::view::DagFacts;

impl Turn<'_> {
    /// Works out the next run of each DAG that is new or was changed.
    pub(crate) fn point_dags(&mut self) {
        while let Some(dag_id) = self.view.dirty_dags.pop_first() {
            let Some(facts) = self.view.dags.get(&dag_id) else { continue };
            let next = next_run(facts, self.now);
            self.set_pointer(&dag_id, next);
            self.refresh_due(&dag_id);
        }
    }

    /// Creates what is due, oldest first, as far as `max_active_runs` allows; queued runs count.
    pub(crate) fn create_runs(&mut self) {
        while let Some((at, dag_id)) = self.view.due.first().cloned() {
            if at > self.now {
                break;
            }
            self.view.set_due(&dag_id, None);
            self.create_runs_of(&dag_id);
        }
    }

    fn create_runs_of(&mut self, dag_id: &DagId) {
        let limit = self.view.max_active_runs(&(dag_id.clone(), None));
        let mut active = self.view.active_normal_runs(dag_id);
        while active < limit {
            let Some(facts) = self.view.dags.get_mut(dag_id) else { return };
            // Without catchup the latest may be another than when the pointer was set.
            let next = next_run(facts, self.now);
            match next {
                Some(next) if next.run_after <= self.now => {
                    facts.last_interval = Some(next.data_interval);
                    let run = scheduled_run(facts, next);
                    let following = next_run(facts, self.now);
                    self.set_pointer(dag_id, following);
                    self.plan.batch.new_runs.push(run);
                    active += 1;
                }
                _ => {
                    self.set_pointer(dag_id, next);
                    self.view.set_due(dag_id, next.map(|next| next.run_after));
                    return;
                }
            }
        }
        // No room: looked at again when a run of this DAG ends.
    }

    /// Whether and when the DAG waits for the clock.
    pub(crate) fn refresh_due(&mut self, dag_id: &DagId) {
        let is_full = self.view.active_normal_runs(dag_id) >= self.view.max_active_runs(&(dag_id.clone(), None));
        let due = self.view.dags.get(dag_id).and_then(|facts| {
            let waits = !facts.is_paused && !facts.is_stale && !is_full;
            facts.pointer.filter(|_| waits).map(|next| next.run_after)
        });
        self.view.set_due(dag_id, due);
    }

    fn set_pointer(&mut self, dag_id: &DagId, next: Option<NextRun>) {
        let Some(facts) = self.view.dags.get_mut(dag_id) else { return };
        if facts.pointer == next {
            return;
        }
        facts.pointer = next;
        let pointers = &mut self.plan.batch.pointers;
        match pointers.last_mut().filter(|pointer| pointer.dag_id == *dag_id) {
            Some(pointer) => pointer.next = next,
            None => pointers.push(SchedulePointer { dag_id: dag_id.clone(), next }),
        }
    }
}

fn next_run(facts: &DagFacts, now: DateTime<Utc>) -> Option<NextRun> {
    let dag = &facts.version.dag;
    // A run that happens once without a start date is due at the moment it was first seen, not at each look anew.
    let is_undated = dag.timetable.schedule == Schedule::Once && dag.start_date.is_none();
    if is_undated && facts.last_interval.is_none() && facts.pointer.is_some() {
        return facts.pointer;
    }
    let PlannedRun { logical_date, data_interval, run_after } =
        dag.timetable.next_run(facts.last_interval.as_ref(), &dag.window(), now)?;
    Some(NextRun { logical_date, data_interval, run_after })
}

fn scheduled_run(facts: &DagFacts, next: NextRun) -> NewRun {
    NewRun {
        dag_id: facts.version.dag.dag_id.clone(),
        run_id: RunId::new_unchecked(scheduled_run_id(next.logical_date)),
        run_type: RunType::Scheduled,
        state: RunState::Running,
        logical_date: next.logical_date,
        data_interval: next.data_interval,
        run_after: next.run_after,
        conf: Map::new(),
        version_key: facts.version.key,
        backfill_key: None,
        triggered_by: "scheduler".to_owned(),
        tasks: facts.version.new_instances(),
    }
}
