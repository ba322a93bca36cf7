//! Dependencies: what may run, what never will, and how a run ends.

use millrace_model::change::{RunKey, RunMove, TaskMove};
use millrace_model::notice::NoticeEvent;
use millrace_model::state::{RunState, TaskState};
use millrace_model::trigger_rule::{Decision, TriggerRule};

use crate::run::RunView;
use crate::turn::Turn;

impl Turn<'_> {
    /// Looks at each run in which something changed, until nothing follows from it any more.
    pub(crate) fn evaluate_runs(&mut self) {
        while let Some(key) = self.view.dirty_runs.pop_first() {
            let is_frozen = self.view.frozen.contains(&key);
            if is_frozen || self.view.runs.get(&key).is_none_or(|run| run.state != RunState::Running) {
                continue;
            }
            self.view.hide(key);
            self.stop_work(key);
            // Marks go only downstream, and the smallest place comes first: each task is looked at once.
            while let Some(place) = self.view.runs.get_mut(&key).and_then(|run| run.pending.pop_first()) {
                self.evaluate_task(key, place);
            }
            match self.view.runs.get(&key).and_then(outcome) {
                Some(Outcome::Ended(to, reason)) => self.end_run(key, to, reason),
                // What its setups made must be cleaned up.
                Some(Outcome::Deadlock) => self.wind_down(key, DEADLOCK),
                None => {
                    self.view.tell_followers(key);
                    self.view.offer_way(key);
                    self.view.show(key);
                }
            }
        }
    }

    fn evaluate_task(&mut self, key: RunKey, place: u32) {
        let Some(run) = self.view.runs.get(&key) else { return };
        let task = run.version.graph.order[place as usize];
        if run.version.mapping.is_mapped(task) {
            return self.evaluate_mapped(key, task);
        }
        let decision = run.version.dag.tasks[task].trigger_rule.decide(&run.upstream_counts(task));
        let places = run.instances_of(task);
        let (decision, reason) = self.decide(key, (task, -1), decision);
        for instance in places {
            self.settle_instance(key, instance, decision, reason.clone());
        }
    }

    /// Does what was decided about an instance, if it waits for that. `reason`: when it is not the trigger rule's.
    pub(crate) fn settle_instance(&mut self, key: RunKey, instance: usize, decision: Decision, reason: Option<String>) {
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        let view = &run.instances[instance];
        if !view.may_begin(self.now) {
            if let Some(at) = view.next_try_at {
                // Its time may have come once, before the clock went back.
                self.view.retries.insert((at, view.key));
            }
            return;
        }
        match decision {
            Decision::Wait => run.take_ready(instance),
            Decision::Run if run.task(instance).is_inline && !run.is_held => {
                run.instances[instance].try_number += 1;
                self.move_task(key, instance, TaskState::Success, None, true);
            }
            Decision::Run if view.key_error.is_some() => {
                let error = view.key_error.as_deref().unwrap_or_default();
                let reason = format!("the key of its concurrency can't be rendered: {error}");
                self.move_task(key, instance, TaskState::Failed, Some(reason), false);
            }
            Decision::Run => {
                let instance_key = run.instances[instance].key;
                if run.make_ready(instance) || run.instances[instance].state != TaskState::Scheduled {
                    self.newly_ready.push((key, instance_key));
                }
            }
            Decision::Mark(state) => {
                let reason = reason.unwrap_or_else(|| mark_reason(run, instance));
                self.move_task(key, instance, state, Some(reason), false);
            }
        }
    }

    pub(crate) fn move_task(
        &mut self,
        key: RunKey,
        place: usize,
        to: TaskState,
        reason: Option<String>,
        counts_try: bool,
    ) {
        let Some(run) = self.view.runs.get_mut(&key) else { return };
        run.take_ready(place);
        if let Some(at) = run.instances[place].next_try_at.take() {
            self.view.retries.remove(&(at, run.instances[place].key));
        }
        let view = &run.instances[place];
        let (instance, from, tries) = (view.key, view.state, view.try_number);
        self.view.set_state(key, place, to);
        if to == TaskState::Failed {
            self.tell_of_try(key, place, NoticeEvent::Failure, tries, reason.as_deref());
        }
        self.plan.batch.task_moves.push(TaskMove { instance, from, to, reason, counts_try, given_up: false });
    }

    /// Skips what waits in a run that is given up.
    pub(crate) fn give_up_task(&mut self, key: RunKey, place: usize, reason: String) {
        self.move_task(key, place, TaskState::Skipped, Some(reason), false);
        if let Some(step) = self.plan.batch.task_moves.last_mut() {
            step.given_up = true;
        }
        if let Some(run) = self.view.runs.get_mut(&key) {
            run.instances[place].given_up = true;
        }
    }

    fn end_run(&mut self, key: RunKey, to: RunState, reason: Option<String>) {
        let event = if to == RunState::Failed { NoticeEvent::Failure } else { NoticeEvent::Success };
        self.tell_of_run(key, event, reason.as_deref());
        self.note_end(key, to);
        self.view.end_run(key, to);
        self.plan.batch.run_moves.push(RunMove { run: key, from: RunState::Running, to, reason });
    }
}

/// Why a run has failed of which a leaf has.
pub(crate) const TASK_FAILURE: &str = "task_failure";

/// Why a run has failed in which nothing could ever run any more.
const DEADLOCK: &str = "deadlock";

enum Outcome {
    Ended(RunState, Option<String>),
    Deadlock,
}

/// How a run has ended, if it has. Only the leaves count: a failure that a later task was made to cope with is no
/// failure of the run.
fn outcome(run: &RunView) -> Option<Outcome> {
    // A list that was made again may have more items than before.
    if !run.expanding.is_empty() {
        return None;
    }
    let unfinished = run.unfinished();
    if unfinished == 0 {
        if let Some(reason) = &run.ending {
            return Some(Outcome::Ended(RunState::Failed, Some(reason.clone())));
        }
        let failed = run
            .version
            .roles
            .leaves
            .iter()
            .copied()
            .flat_map(|leaf| run.instances_of(leaf))
            .any(|instance| run.instances[instance].counts_as().is_failure());
        return Some(match &run.failed_outside {
            _ if failed => Outcome::Ended(RunState::Failed, Some(TASK_FAILURE.to_owned())),
            Some(task_id) => Outcome::Ended(
                RunState::Failed,
                Some(format!("{TASK_FAILURE}: {task_id}, which was not selected, had failed before")),
            ),
            None => Outcome::Ended(RunState::Success, None),
        });
    }
    let waiting = run.count(TaskState::None) + run.count(TaskState::Scheduled);
    let is_stuck = waiting == unfinished && run.ready_count == 0 && run.held_by_past.is_empty();
    is_stuck.then(|| match &run.ending {
        // A teardown that can't run either.
        Some(reason) => Outcome::Ended(RunState::Failed, Some(reason.clone())),
        None => Outcome::Deadlock,
    })
}

/// Names the rule and one upstream that decided: of the states that the rule looks at first, the first that there is.
fn mark_reason(run: &RunView, place: usize) -> String {
    let rule = run.task(place).trigger_rule;
    let decisive = |states: &[TaskState]| {
        let upstream = run.upstream_of_instance(place).find(|instance| states.contains(&instance.counts_as()))?;
        let task_id = run.version.dag.tasks[upstream.task].task_id.as_str();
        let index = if upstream.map_index >= 0 { format!("[{}]", upstream.map_index) } else { String::new() };
        Some((format!("{task_id}{index}"), upstream.standing()))
    };
    let failure: &[TaskState] = &[TaskState::Failed, TaskState::UpstreamFailed];
    let (skipped, success): (&[TaskState], &[TaskState]) = (&[TaskState::Skipped], &[TaskState::Success]);
    let order = match rule {
        TriggerRule::NoneSkipped | TriggerRule::AllDoneMinOneSuccess => [skipped, failure, success],
        TriggerRule::AllFailed => [success, skipped, failure],
        TriggerRule::AllSkipped => [success, failure, skipped],
        _ => [failure, skipped, success],
    };
    match order.into_iter().chain([&[TaskState::Removed][..]]).find_map(decisive) {
        Some((upstream, state)) => format!("{}: {upstream} is {state}", rule.as_str()),
        None => rule.as_str().to_owned(),
    }
}
