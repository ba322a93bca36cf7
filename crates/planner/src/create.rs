//! Which scheduled runs are due.

use millrace_model::change::{NewRun, NextRun, SchedulePointer};
use millrace_model::ids::{DagId, RunId};
use millrace_model::schedule::DataInterval;
use millrace_model::state::{RunState, RunType};
use serde_json::Map;

use crate::due_dates;
use crate::requests::scheduled_run_id;
use crate::turn::Turn;
use crate::view::DagFacts;

/// Runs of a DAG that an open window may hold.
const MOST_HELD: u32 = 1_000;

impl Turn<'_> {
    /// Works out the next run of each DAG that is new or was changed.
    pub(crate) fn point_dags(&mut self) {
        while let Some(dag_id) = self.view.dirty_dags.pop_first() {
            let Some(facts) = self.view.dags.get(&dag_id) else { continue };
            if self.view.frozen_dags.contains(&dag_id) {
                continue;
            }
            let next = due_dates::next_slot(facts, self.now).map(|slot| slot.next_run());
            self.set_pointer(&dag_id, next, None);
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
        let limit = self.most_runs(dag_id);
        let mut active = self.view.active_normal_runs(dag_id, self.now);
        // A window holds what begins, not what is due.
        let is_held = self.view.windows.open.contains(dag_id);
        while active < limit {
            let Some(facts) = self.view.dags.get_mut(dag_id) else { return };
            // The latest may be another than when the pointer was set.
            let (passed, next) = due_dates::pass_over(facts, self.now);
            let moved = (!passed.is_empty()).then_some(facts.last_interval).flatten();
            self.plan.batch.passed_slots.extend(passed);
            let Some(slot) = next.as_ref().filter(|slot| slot.date.run_after <= self.now) else {
                let due = due_dates::due_at(facts, self.now);
                self.set_pointer(dag_id, next.map(|slot| slot.next_run()), moved);
                self.view.set_due(dag_id, due);
                return;
            };
            let moved = Some(slot.date.data_interval);
            facts.last_interval = moved;
            let waits = slot.next_run().run_after > self.now || is_held;
            let run = scheduled_run(facts, slot.next_run(), waits);
            self.plan.batch.passed_slots.extend(due_dates::record_shifted(facts, slot));
            let following = due_dates::next_slot(facts, self.now).map(|slot| slot.next_run());
            self.set_pointer(dag_id, following, moved);
            // A run that waits for its day takes no place.
            active += u32::from(run.run_after <= self.now);
            self.plan.batch.new_runs.push(run);
        }
        // No room: looked at again when a run of this DAG ends.
    }

    /// How many active runs the schedule may bring a DAG to. In a maintenance window nothing of what is due gets lost, so
    /// it is queued beyond `max_active_runs`, which still holds for what runs afterwards.
    fn most_runs(&self, dag_id: &DagId) -> u32 {
        let limit = self.view.max_active_runs(&(dag_id.clone(), None));
        let is_periodic = |facts: &DagFacts| facts.version.dag.timetable.is_periodic();
        if self.view.windows.open.contains(dag_id) && self.view.dags.get(dag_id).is_some_and(is_periodic) {
            return limit.max(MOST_HELD);
        }
        limit
    }

    /// Whether and when the DAG waits for the clock.
    pub(crate) fn refresh_due(&mut self, dag_id: &DagId) {
        let is_full = self.view.active_normal_runs(dag_id, self.now) >= self.most_runs(dag_id);
        let is_frozen = self.view.frozen_dags.contains(dag_id);
        let due = self.view.dags.get(dag_id).and_then(|facts| {
            let waits = !facts.is_paused && !facts.is_stale && !is_full && !is_frozen;
            if waits { due_dates::due_at(facts, self.now) } else { None }
        });
        self.view.set_due(dag_id, due);
    }

    /// `passed`: the last date that was dealt with, when there is a new one.
    fn set_pointer(&mut self, dag_id: &DagId, next: Option<NextRun>, passed: Option<DataInterval>) {
        let Some(facts) = self.view.dags.get_mut(dag_id) else { return };
        if facts.pointer == next && passed.is_none() {
            return;
        }
        facts.pointer = next;
        let pointers = &mut self.plan.batch.pointers;
        match pointers.last_mut().filter(|pointer| pointer.dag_id == *dag_id) {
            Some(pointer) => {
                pointer.next = next;
                pointer.passed = passed.or(pointer.passed);
            }
            None => pointers.push(SchedulePointer { dag_id: dag_id.clone(), next, passed }),
        }
    }
}

fn scheduled_run(facts: &DagFacts, next: NextRun, waits: bool) -> NewRun {
    NewRun {
        dag_id: facts.version.dag.dag_id.clone(),
        run_id: RunId::new_unchecked(scheduled_run_id(next.logical_date)),
        run_type: RunType::Scheduled,
        state: if waits { RunState::Queued } else { facts.version.first_state() },
        logical_date: next.logical_date,
        data_interval: next.data_interval,
        run_after: next.run_after,
        conf: Map::new(),
        version_key: facts.version.key,
        backfill_key: None,
        triggered_by: "scheduler".to_owned(),
        tasks: facts.version.new_instances(),
        asset_events: Vec::new(),
    }
}
