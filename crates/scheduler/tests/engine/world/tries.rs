//! What becomes of tries: how they end, and the way outside and back.

use chrono::TimeDelta;
use millrace_model::change::{InstanceKey, Report, TryOutcome};
use millrace_model::choice::Choice;
use millrace_model::state::TaskState;

use super::World;
use super::daemon::Daemon;

impl World {
    fn daemon(&mut self, of_late: bool) -> Option<&mut Daemon> {
        if of_late { self.late.as_mut() } else { Some(&mut self.leader) }
    }

    pub(super) async fn end_one(&mut self) {
        let of_late = self.late.is_some() && self.dice.roll(3) == 0;
        let Some(daemon) = self.daemon(of_late) else { return };
        let executor = daemon.executor.clone();
        let running = executor.everything();
        if running.is_empty() {
            self.note("turn");
            self.turn().await;
            return;
        }
        let assignment = self.dice.pick(&running).clone();
        let outcome = match executor.stopping(&assignment.token) {
            Some(reason) if self.dice.roll(4) > 0 => TryOutcome::Cancelled { reason },
            _ => match self.dice.roll(self.odds.ends) {
                0 => TryOutcome::Failed { reason: "boom".into(), retry: true },
                1 => TryOutcome::Failed { reason: "boom".into(), retry: false },
                2 => TryOutcome::Skipped { reason: "nothing to do".into() },
                3 => TryOutcome::PutOff {
                    until: self.stage.now() + TimeDelta::minutes(self.dice.roll(20) as i64),
                    reason: "not there yet".into(),
                },
                _ => TryOutcome::Success,
            },
        };
        self.end(of_late, assignment.instance, outcome).await;
    }

    pub(super) async fn end(&mut self, of_late: bool, instance: InstanceKey, outcome: TryOutcome) {
        self.note(format!("{} of {instance}{}", outcome_name(&outcome), if of_late { " (late)" } else { "" }));
        let is_success = outcome == TryOutcome::Success;
        let follow = Choice::Follow(vec![format!("t{}", self.dice.roll(6))]);
        let choice = self.dice.pick(&[follow, Choice::SkipChildren, Choice::SkipDescendants]).clone();
        let choice = Some(choice).filter(|_| self.dice.roll(8) == 0);
        let now = self.stage.now();
        let Some(daemon) = self.daemon(of_late) else { return };
        let mut completion = daemon.executor.end(instance, outcome, now);
        if is_success {
            // What tasks are mapped over.
            let items: Vec<usize> = (0..instance as usize % 4).collect();
            completion.results.push(("return_value".to_owned(), items.into()));
            completion.choice = choice;
        }
        let token = completion.token.clone();
        daemon.engine.complete(completion);
        let row = self.stage.store.instance_by_key(instance).await.unwrap().unwrap();
        let is_held = matches!(row.state, TaskState::Running | TaskState::Deferred);
        if is_success && is_held && row.lease.is_some_and(|lease| lease.token == token) {
            self.owed.insert(token, instance);
        }
        // A leader that is told of several ends at once.
        if !of_late && self.dice.roll(4) > 0 {
            self.turn().await;
        }
    }

    /// One that runs leaves its slot, or one that left it wants a slot again.
    pub(super) async fn step_outside(&mut self) {
        let of_late = self.late.is_some() && self.dice.roll(3) == 0;
        let wants_back = self.dice.roll(2) == 0;
        let Some(daemon) = self.daemon(of_late) else { return };
        let executor = daemon.executor.clone();
        let mut candidates = if wants_back { executor.outside() } else { executor.running() };
        if wants_back {
            candidates.retain(|it| !self.asked_back.contains(&it.token));
        }
        if candidates.is_empty() {
            return;
        }
        let try_ = self.dice.pick(&candidates).clone();
        self.note(format!("{} {}", try_.instance, if wants_back { "wants back" } else { "goes outside" }));
        self.step_one(of_late, try_.instance, &try_.token, wants_back);
        if !of_late && self.dice.roll(4) > 0 {
            self.turn().await;
        }
    }

    pub(super) fn step_one(&mut self, of_late: bool, instance: InstanceKey, token: &str, wants_back: bool) {
        let token = token.to_owned();
        if wants_back {
            // It asks once; that nobody forgets it is the leader's part.
            self.asked_back.insert(token.clone());
        } else {
            self.asked_back.remove(&token);
        }
        let Some(daemon) = self.daemon(of_late) else { return };
        if wants_back {
            daemon.engine.complete(Report::CameBack { instance, token });
        } else {
            daemon.executor.go_outside(instance);
            daemon.engine.complete(Report::WentOutside { instance, token });
        }
    }
}

fn outcome_name(outcome: &TryOutcome) -> &'static str {
    match outcome {
        TryOutcome::Success => "success",
        TryOutcome::Skipped { .. } => "skip",
        TryOutcome::Failed { .. } => "failure",
        TryOutcome::Cancelled { .. } => "stop",
        TryOutcome::PutOff { .. } => "no luck",
        TryOutcome::LostWorker => "loss",
    }
}
