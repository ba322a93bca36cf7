//! One turn: everything that changed, decided together.

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::{Assignment, Batch, Cancel, Completion, InstanceKey, Resumption, RunKey, TaskMove};
use millrace_model::state::TaskState;

use crate::view::View;

/// What bounds a turn from outside.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Tries that the executor can take now.
    pub free_slots: usize,
    /// The job that claims; with a number of the view it makes the token of each try, so it must never be used twice.
    pub owner: String,
    /// How long a claim holds without a heartbeat.
    pub lease_ttl: TimeDelta,
    /// Nothing new starts: no run is created or started, no task claimed. What is running is still finished.
    pub is_draining: bool,
}

/// What one turn decided.
#[derive(Debug, Default)]
pub struct Plan {
    /// To be committed whole.
    pub batch: Batch,
    /// Parallel to `batch.claims`: to be started once the batch is committed.
    pub assignments: Vec<Assignment>,
    /// Running tries to stop once the batch is committed. Whoever cannot reach one leaves it: it ends by itself.
    pub cancels: Vec<Cancel>,
    /// Tries that came back and get a slot, once the batch is committed.
    pub resumptions: Vec<Resumption>,
    /// When there will be something to decide even if nothing happens.
    pub wake_at: Option<DateTime<Utc>>,
    /// Finished tries of instances that the view does not know: their runs must be read, and the completions given again.
    pub unknown: Vec<Completion>,
    /// Finished tries that are not their instance's any more, or whose instance was marked meanwhile: they count for
    /// nothing, and let go of it.
    pub refused: Vec<Completion>,
}

/// Decides what should happen at `now`, and moves the view forward as though it had.
pub fn plan(view: &mut View, now: DateTime<Utc>, limits: &Limits) -> Plan {
    let mut turn = Turn { view, now, limits, plan: Plan::default(), newly_ready: Vec::new() };
    turn.keep_windows();
    turn.take_steps();
    turn.finish_tries();
    turn.wake_retries();
    turn.time_out_runs();
    turn.evaluate_runs();
    turn.raise_alerts();
    if !limits.is_draining {
        turn.start_runs();
        turn.point_dags();
        turn.create_runs();
        turn.create_asset_runs();
        turn.claim();
        turn.record_waiting();
        turn.plan.wake_at = turn.next_wake();
    }
    turn.plan
}

pub(crate) struct Turn<'a> {
    pub view: &'a mut View,
    pub now: DateTime<Utc>,
    pub limits: &'a Limits,
    pub plan: Plan,
    /// Instances whose dependencies were met in this turn.
    pub newly_ready: Vec<(RunKey, InstanceKey)>,
}

impl Turn<'_> {
    /// A try is repeated strictly after the moment that its failure named.
    fn wake_retries(&mut self) {
        while let Some((at, instance)) = self.view.retries.first().copied() {
            if at >= self.now {
                break;
            }
            self.view.retries.pop_first();
            let Some((key, place)) = self.view.places.get(&instance).copied() else { continue };
            if let Some(run) = self.view.runs.get_mut(&key) {
                run.look_at(place);
                self.view.dirty_runs.insert(key);
            }
        }
    }

    /// What is ready and found no slot is shown as scheduled.
    fn record_waiting(&mut self) {
        for (key, instance) in std::mem::take(&mut self.newly_ready) {
            let Some((_, place)) = self.view.places.get(&instance).copied() else { continue };
            let Some(run) = self.view.runs.get_mut(&key) else { continue };
            let from = run.instances[place].state;
            if !run.is_ready(place) || run.is_held || from == TaskState::Scheduled {
                continue;
            }
            run.instances[place].next_try_at = None;
            self.view.set_state(key, place, TaskState::Scheduled);
            self.plan.batch.task_moves.push(TaskMove {
                instance,
                from,
                to: TaskState::Scheduled,
                reason: None,
                counts_try: false,
                given_up: false,
            });
        }
    }

    fn next_wake(&self) -> Option<DateTime<Utc>> {
        let due = self.view.due.first().map(|(at, _)| *at);
        let retry = self.view.retries.first().map(|(at, _)| *at + TimeDelta::microseconds(1));
        let start = self.view.later_groups.first().map(|(at, _)| *at);
        let timeout = self.view.timeouts.first().map(|(at, _)| *at);
        let watch = self.view.watches.first().map(|(at, ..)| *at);
        [due, retry, start, timeout, watch, self.view.windows.next_change()].into_iter().flatten().min()
    }
}
