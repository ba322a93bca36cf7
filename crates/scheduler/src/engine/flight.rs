//! Tries of this process: begun, stopped, ended.

use std::time::Instant;

use millrace_model::change::{Assignment, Cancel, Completion, InstanceKey, Report, TryOutcome};

use super::{Engine, Returned};

impl Engine {
    /// Tries that were started here and whose end is not committed yet, and those that still stop.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len() + self.stopping.len()
    }

    /// Those of them that still run.
    pub fn running(&self) -> usize {
        self.in_flight.values().filter(|token| !self.ended.contains_key(*token)).count() + self.stopping.len()
    }

    /// Tries that this process could begin now.
    pub fn free_slots(&self) -> usize {
        // A parked try needs the slot that the one it waits for has.
        self.executor.free_slots().saturating_sub(self.parked.len())
    }

    /// A try has ended, has left its slot or wants one again; the next turn takes it into account.
    pub fn complete(&mut self, report: impl Into<Report>) {
        let completion = match report.into() {
            Report::Ended(completion) => completion,
            Report::WentOutside { instance, token } => return self.situation.view.went_outside(instance, token),
            Report::CameBack { instance, token } => {
                if self.in_flight.get(&instance) == Some(&token) {
                    self.back.insert(instance, Returned { token: token.clone(), since: Instant::now() });
                    self.situation.view.came_back(instance, token);
                }
                return;
            }
        };
        if self.back.get(&completion.instance).is_some_and(|it| it.token == completion.token) {
            self.back.remove(&completion.instance);
        }
        if let Some(instance) = self.stopping.remove(&completion.token) {
            // Another has its place; it counts for nothing any more.
            if let Some(assignment) = self.parked.remove(&instance) {
                self.executor.start(vec![assignment]);
            }
            return;
        }
        self.ended.insert(completion.token.clone(), completion.clone());
        self.situation.view.complete(completion);
    }

    /// Asks every running try to stop.
    pub fn cancel_all(&mut self, reason: &str) {
        for (instance, token) in self.in_flight.clone() {
            self.cancel(instance, &token, reason);
        }
    }

    pub(super) fn cancel(&mut self, instance: InstanceKey, token: &str, reason: &str) {
        match self.parked.get(&instance).filter(|parked| parked.token == token) {
            None => self.executor.cancel(instance, token, reason),
            Some(parked) => {
                let outcome = TryOutcome::Cancelled { reason: reason.to_owned() };
                let at = self.claimed_at;
                let never_begun = Completion::new(instance, parked.try_number, token, outcome, (at, at));
                self.parked.remove(&instance);
                self.complete(never_begun);
            }
        }
    }

    /// Those that others hold cannot be reached from here.
    pub(super) fn stop_tries(&mut self, cancels: &[Cancel]) {
        for Cancel { instance, token, reason } in cancels {
            if self.in_flight.get(instance).is_some_and(|held| held == token) {
                self.cancel(*instance, token, reason);
            }
        }
    }

    pub(super) fn forget_try(&mut self, completion: &Completion) {
        self.ended.remove(&completion.token);
        self.in_flight.retain(|instance, token| *instance != completion.instance || *token != completion.token);
    }

    /// Starts what was claimed. No two tries of an instance run at once: one whose predecessor was taken away and has not
    /// stopped yet waits for that.
    pub(super) fn start_tries(&mut self, assignments: Vec<Assignment>) {
        let mut free = Vec::with_capacity(assignments.len());
        for assignment in assignments {
            let instance = assignment.instance;
            let before = self.in_flight.insert(instance, assignment.token.clone());
            let before = before.filter(|token| !self.ended.contains_key(token) && *token != assignment.token);
            // One that was parked itself has never begun.
            let began = before.filter(|token| self.parked.get(&instance).is_none_or(|parked| parked.token != *token));
            self.stopping.extend(began.map(|token| (token, instance)));
            if self.stopping.values().any(|stopping| *stopping == instance) {
                self.parked.insert(instance, assignment);
            } else {
                free.push(assignment);
            }
        }
        if !free.is_empty() {
            self.executor.start(free);
        }
    }
}
