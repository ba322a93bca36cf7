//! Tries that wait for something outside without a slot, and come back.
//!
//! Such a try keeps its lease, its number and what it holds of the limits of its task and key; its slots of the pool, of
//! the run and of the worker are free for others. Coming back it waits in line as though it were ready.

use std::sync::Arc;

use millrace_model::change::{InstanceKey, Resumption, RunKey, TaskMove};
use millrace_model::state::TaskState;

use crate::lines::Lane;
use crate::turn::Turn;
use crate::view::View;

/// Why an instance is deferred.
const REASON: &str = "waits for something outside";

/// What an executor said of a try that is under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    pub instance: InstanceKey,
    pub token: String,
    pub is_back: bool,
}

impl View {
    /// A running try has given its slot back; the next plan takes it into account.
    pub fn went_outside(&mut self, instance: InstanceKey, token: impl Into<String>) {
        self.steps.push(Step { instance, token: token.into(), is_back: false });
    }

    /// A try that went outside wants a slot again. To be said again when its run is read again before it has got one.
    pub fn came_back(&mut self, instance: InstanceKey, token: impl Into<String>) {
        let step = Step { instance, token: token.into(), is_back: true };
        // Said again before anybody has listened, it must not get two slots.
        if self.steps.iter().rfind(|known| known.instance == instance) != Some(&step) {
            self.steps.push(step);
        }
    }

    /// What one that came back has to wait for: it holds its limits already, and its pool's slots too where the pool
    /// counts deferred ones.
    fn way_back(&self, lane: &Lane) -> Lane {
        let is_counted = self.pools.get(&*lane.pool).is_some_and(|pool| pool.include_deferred);
        Lane {
            pool: lane.pool.clone(),
            slots: if is_counted { 0 } else { lane.slots },
            limits: Arc::new([]),
            is_way_back: true,
        }
    }
}

impl Turn<'_> {
    pub(crate) fn take_steps(&mut self) {
        for Step { instance, token, is_back } in std::mem::take(&mut self.view.steps) {
            let Some((key, place)) = self.view.places.get(&instance).copied() else { continue };
            let Some(run) = self.view.runs.get(&key) else { continue };
            let found = &run.instances[place];
            if found.token.as_deref() != Some(token.as_str()) {
                continue;
            }
            match (found.state, is_back) {
                (TaskState::Running, false) => self.move_held(key, place, TaskState::Deferred, Some(REASON)),
                // Its going was never written down, or its coming back was and nobody said so: it holds its slots still,
                // but its worker's may be another's by now.
                (TaskState::Running, true) if self.plan.resumptions.len() < self.limits.free_slots => {
                    self.plan.resumptions.push(Resumption { instance, token });
                }
                (state @ (TaskState::Running | TaskState::Deferred), true) => {
                    let lane = self.view.way_back(found.held_lane());
                    if state == TaskState::Running {
                        self.move_held(key, place, TaskState::Deferred, Some(REASON));
                    }
                    self.view.hide(key);
                    if let Some(run) = self.view.runs.get_mut(&key) {
                        run.make_ready_in(place, lane);
                    }
                    self.view.show(key);
                }
                _ => {}
            }
        }
    }

    /// Gives a slot to one that came back.
    pub(crate) fn resume(&mut self, key: RunKey, place: usize) {
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        run.take_ready(place);
        let instance = &run.instances[place];
        let Some(token) = instance.token.clone() else { return };
        self.plan.resumptions.push(Resumption { instance: instance.key, token });
        self.move_held(key, place, TaskState::Running, None);
    }

    /// Moves an instance whose worker goes on.
    fn move_held(&mut self, key: RunKey, place: usize, to: TaskState, reason: Option<&str>) {
        let Some(run) = self.view.runs.get(&key) else { return };
        let (instance, from) = (run.instances[place].key, run.instances[place].state);
        // A full run shows nothing, and may have room now.
        self.view.hide(key);
        self.view.set_state(key, place, to);
        self.view.show(key);
        let reason = reason.map(str::to_owned);
        self.plan.batch.task_moves.push(TaskMove { instance, from, to, reason, counts_try: false, given_up: false });
    }
}
