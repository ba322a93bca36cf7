//! Stopping what runs: a single try, or a whole run that has no future.

use millrace_model::change::{Cancel, RunEnding, RunKey};
use millrace_model::state::{RunState, TaskState};

use crate::turn::Turn;

impl Turn<'_> {
    /// Asks a running try to stop. However it reports its end, its instance becomes `to`, and is not tried again; only a
    /// success that was faster stands. The view forgets the wish when the run is read again: whoever wishes it derives it
    /// from stored state and asks again.
    pub(crate) fn stop_try(&mut self, key: RunKey, place: usize, to: TaskState, reason: &str) {
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        let instance = &mut run.instances[place];
        let Some(token) = instance.token.clone().filter(|_| instance.stopping.is_none()) else { return };
        instance.stopping = Some((to, reason.to_owned()));
        self.plan.cancels.push(Cancel { instance: instance.key, token, reason: reason.to_owned() });
    }

    /// Gives a running run up: what runs is stopped and fails, what waits is skipped as given up, teardowns are still run as their
    /// setups ask for; when all have ended the run fails for `reason`. Does nothing to a run that winds down already.
    ///
    /// Must be followed by [`Turn::evaluate_runs`].
    pub(crate) fn wind_down(&mut self, key: RunKey, reason: &str) {
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        if run.state != RunState::Running || run.ending.is_some() {
            return;
        }
        run.ending = Some(reason.to_owned());
        self.plan.batch.endings.push(RunEnding { run: key, reason: reason.to_owned() });
        self.view.dirty_runs.insert(key);
    }

    /// What winding down asks for and has not happened yet. Derived from the state alone, so that a run that was read
    /// again goes on where it was.
    pub(crate) fn stop_work(&mut self, key: RunKey) {
        let Some(run) = self.view.runs.get(&key) else { return };
        let Some(reason) = run.ending.clone() else { return };
        for place in 0..run.instances.len() {
            let Some(run) = self.view.runs.get(&key) else { return };
            let state = run.instances[place].state;
            if state.is_finished() || run.task(place).is_teardown {
                continue;
            }
            match state {
                TaskState::Queued | TaskState::Running | TaskState::Restarting | TaskState::Deferred => {
                    self.stop_try(key, place, TaskState::Failed, &reason);
                }
                TaskState::AwaitingInput => {
                    self.move_task(key, place, TaskState::Failed, Some(reason.clone()), false);
                }
                _ => self.give_up_task(key, place, reason.clone()),
            }
        }
    }
}
