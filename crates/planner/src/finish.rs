//! From how a try ended to the state of its task instance.

use chrono::{DateTime, Utc};
use millrace_model::change::{Completion, Finish, PutOffs, TryOutcome};
use millrace_model::notice::NoticeEvent;
use millrace_model::state::TaskState;

use crate::backoff::FailedTry;
use crate::instance::InstanceView;
use crate::run::RunView;
use crate::turn::Turn;

/// The reason of a [`TryOutcome::Cancelled`] with which the scheduler stops tries because it is itself stopping. Such a
/// try is given again and costs nothing.
pub const SHUTDOWN_REASON: &str = "shutdown";

/// Why a try failed whose result the database refused.
pub const UNSTORABLE_REASON: &str = "unstorable_result";

/// As [`SHUTDOWN_REASON`], for a scheduler that cannot reach the database and so cannot say any more that its tries live.
pub const FENCED_REASON: &str = "lease_not_extended";

/// How often a try may lose its worker and be given again.
pub const MAX_LOST_WORKERS: u32 = 3;

struct Verdict {
    to: TaskState,
    reason: Option<String>,
    next_try_at: Option<DateTime<Utc>>,
    counts_try: bool,
}

impl Verdict {
    fn end(to: TaskState, reason: Option<String>) -> Self {
        Self { to, reason, next_try_at: None, counts_try: true }
    }

    /// A try that cost nothing is given again; one that was put off before goes on with its own timeout.
    fn again(instance: &InstanceView, reason: &str) -> Self {
        if instance.put_offs.is_some() {
            return Self::end(TaskState::UpForReschedule, Some(reason.to_owned()));
        }
        Self { to: TaskState::UpForRetry, reason: Some(reason.to_owned()), next_try_at: None, counts_try: false }
    }
}

fn judge(run: &RunView, place: usize, completion: &Completion) -> Verdict {
    let (task, instance) = (run.task(place), &run.instances[place]);
    // The store makes nothing else of it. A run that winds down skips it then, as all that waits.
    if instance.state == TaskState::Restarting {
        return Verdict::end(TaskState::None, Some("cleared while it ran".to_owned()));
    }
    // A stop that was asked for has changed nothing of such an end, and must not hide it.
    let ended_by_itself = match &completion.outcome {
        TryOutcome::Success | TryOutcome::Skipped { .. } => true,
        TryOutcome::Failed { reason, .. } => reason == UNSTORABLE_REASON,
        _ => false,
    };
    if let Some((to, reason)) = instance.stopping.clone().filter(|_| !ended_by_itself) {
        return Verdict::end(to, Some(reason));
    }
    // A run that was read again while it winds down: what was asked of the try is known from the run.
    if let Some(reason) = run.ending.clone().filter(|_| !ended_by_itself && !task.is_teardown) {
        return Verdict::end(TaskState::Failed, Some(reason));
    }
    // One that could not be gone on with was failed without its tries: none of them is given again.
    if run.state.is_finished() && !ended_by_itself {
        let reason = match &completion.outcome {
            TryOutcome::Failed { reason, .. } => reason,
            _ => "its run has ended",
        };
        return Verdict::end(TaskState::Failed, Some(reason.to_owned()));
    }
    match &completion.outcome {
        TryOutcome::Success => Verdict::end(TaskState::Success, None),
        TryOutcome::PutOff { until, reason } => Verdict {
            to: TaskState::UpForReschedule,
            reason: Some(reason.clone()),
            next_try_at: Some(*until),
            counts_try: true,
        },
        TryOutcome::Skipped { reason } => Verdict::end(TaskState::Skipped, Some(reason.clone())),
        TryOutcome::Failed { reason, retry: true } if completion.try_number <= instance.max_tries => Verdict {
            to: TaskState::UpForRetry,
            reason: Some(reason.clone()),
            next_try_at: completion.ended_at.checked_add_signed(failed_try(run, place, completion).delay()),
            counts_try: true,
        },
        TryOutcome::Failed { reason, .. } => Verdict::end(TaskState::Failed, Some(reason.clone())),
        TryOutcome::Cancelled { reason } if [SHUTDOWN_REASON, FENCED_REASON].contains(&reason.as_str()) => {
            Verdict::again(instance, reason)
        }
        TryOutcome::Cancelled { reason } => Verdict::end(TaskState::Failed, Some(reason.clone())),
        TryOutcome::LostWorker if instance.lost_workers < MAX_LOST_WORKERS => Verdict::again(instance, "lost_worker"),
        TryOutcome::LostWorker => Verdict::end(TaskState::Failed, Some("lost_worker".to_owned())),
    }
}

/// `max_tries` grows with each try that cost nothing and with each clearing, so that what is left of it says how many
/// tries have counted.
fn failed_try<'a>(run: &'a RunView, place: usize, completion: &Completion) -> FailedTry<'a> {
    let (task, instance) = (run.task(place), &run.instances[place]);
    let left = instance.max_tries.saturating_sub(completion.try_number);
    FailedTry {
        dag_id: &run.dag_id,
        task,
        run: &run.facts,
        try_number: completion.try_number,
        failures: task.retries.saturating_sub(left).max(1),
    }
}

impl Turn<'_> {
    pub(crate) fn finish_tries(&mut self) {
        for mut completion in std::mem::take(&mut self.view.completions) {
            let Some((key, place)) = self.view.places.get(&completion.instance).copied() else {
                if self.view.let_departed_go(&completion) {
                    self.plan.refused.push(completion);
                    continue;
                }
                self.plan.unknown.push(completion);
                continue;
            };
            let Some(run) = self.view.runs.get(&key) else { continue };
            if run.instances[place].token.as_deref() != Some(completion.token.as_str()) {
                self.plan.refused.push(completion);
                continue;
            }
            if run.instances[place].is_leaving() {
                self.view.let_go(key, place);
                self.plan.refused.push(completion);
                continue;
            }
            self.note_list(key, place, &mut completion);
            let Some(run) = self.view.runs.get(&key) else { continue };
            let verdict = judge(run, place, &completion);
            let task = run.task(place);
            let fails_fast = verdict.to == TaskState::Failed && run.version.dag.fail_fast && !task.is_teardown;
            let failed = fails_fast.then(|| format!("fail_fast: {} failed", task.task_id));
            let asset_events =
                if verdict.to == TaskState::Success { run.task(place).outlets.clone() } else { Vec::new() };
            let event = match verdict.to {
                TaskState::Failed => Some(NoticeEvent::Failure),
                TaskState::Success => Some(NoticeEvent::Success),
                TaskState::UpForRetry if verdict.counts_try => Some(NoticeEvent::Retry),
                TaskState::Skipped if matches!(completion.outcome, TryOutcome::Skipped { .. }) => {
                    Some(NoticeEvent::Skipped)
                }
                _ => None,
            };
            if let Some(event) = event {
                self.tell_of_try(key, place, event, completion.try_number, verdict.reason.as_deref());
            }
            self.view.hide(key);
            if let Some(run) = self.view.runs.get_mut(&key) {
                run.take_ready(place);
                run.instances[place].token = None;
            }
            self.view.set_state(key, place, verdict.to);
            let Some(run) = self.view.runs.get_mut(&key) else { continue };
            let instance = &mut run.instances[place];
            instance.stopping = None;
            let choice = completion.choice.clone().filter(|_| verdict.to == TaskState::Success);
            instance.next_try_at = verdict.next_try_at;
            if !verdict.counts_try {
                instance.max_tries += 1;
            }
            instance.lost_workers += u32::from(completion.outcome == TryOutcome::LostWorker);
            instance.put_offs = (verdict.to == TaskState::UpForReschedule).then(|| {
                let first = PutOffs { first_start: completion.started_at, count: 0 };
                let before = instance.put_offs.unwrap_or(first);
                PutOffs { count: before.count + 1, ..before }
            });
            run.note_choice(place, choice);
            match verdict.next_try_at {
                Some(at) => {
                    self.view.retries.insert((at, completion.instance));
                }
                None => run.look_at(place),
            }
            self.view.dirty_runs.insert(key);
            self.view.try_has_stopped(key);
            if let Some(reason) = failed {
                self.wind_down(key, &reason);
            }
            let Verdict { to, reason, next_try_at, counts_try } = verdict;
            self.plan.batch.finishes.push(Finish { completion, to, reason, next_try_at, counts_try, asset_events });
        }
    }
}
