//! What is found at the start, and found again after a failure: everything that is active, and tries whose holder has
//! died.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::{Batch, Completion, InstanceKey, LostTry, Release, RunKey, TryOutcome};
use millrace_model::instant::format_utc_micros;
use millrace_model::state::TaskState;
use millrace_planner::{Limits, SHUTDOWN_REASON, plan};
use millrace_store::{ActiveRun, Counted, InstanceRow, Lease, Result, RunningInstance, SignalKind};

use super::{Engine, Returned};

impl Engine {
    /// Forgets the view and reads it anew. What ended here and is not committed is given to the next plan again.
    pub(super) async fn read_again(&mut self, now: DateTime<Utc>) -> Result<()> {
        let claims_made = self.situation.view.claims_made();
        self.situation = super::fresh(&self.store, &self.options);
        self.situation.view.number_claims_after(claims_made);
        // What is written from here on is read again because of its signal.
        let signals = self.store.signals().await?;
        if signals.iter().any(|signal| signal.kind == SignalKind::PoolChanged) {
            self.pools_changed.notify_one();
        }
        if signals.iter().any(|signal| signal.kind == SignalKind::FilesAsked) {
            self.files_asked.notify_one();
        }
        self.handled = signals.into_iter().map(|signal| signal.id).collect();
        self.situation.read_everything().await?;
        for (run, dag) in self.aside.names() {
            if let Some(run) = run {
                self.situation.view.freeze_run(run);
            }
            if let Some(dag_id) = dag {
                self.situation.view.freeze_dag(dag_id);
            }
        }
        for (instance, Returned { token, .. }) in &self.back {
            self.situation.view.came_back(*instance, token.as_str());
        }
        self.watched.clear();
        self.compare_leases(now).await?;
        self.recover(now).await
    }

    /// Stops what was taken away from this engine, and gives again what was claimed by a commit that was never answered.
    async fn compare_leases(&mut self, now: DateTime<Utc>) -> Result<()> {
        let mut held: BTreeMap<InstanceKey, (String, bool)> = BTreeMap::new();
        for RunningInstance { row, .. } in self.store.running_instances().await? {
            let Some(lease) = row.lease.filter(|lease| lease.owner == self.options.job_id) else { continue };
            let token = lease.token.clone();
            // A run that was ended while its try runs counts for as long as that runs.
            if self.situation.view.run_of(row.key).is_none() {
                self.read_run(row.run, now).await?;
            }
            if self.in_flight.get(&row.key) != Some(&token) && !self.ended.contains_key(&token) {
                let never_started = TryOutcome::Cancelled { reason: SHUTDOWN_REASON.to_owned() };
                let begun = row.start_date.unwrap_or(now);
                let never_started =
                    Completion::new(row.key, row.try_number, lease.token, never_started, (begun, now.max(begun)));
                self.situation.view.complete(never_started);
            }
            held.insert(row.key, (token, matches!(row.state, TaskState::Running | TaskState::Deferred)));
        }
        let mut taken = Vec::new();
        for (instance, token) in &self.in_flight {
            if held.get(instance) != Some(&(token.clone(), true)) {
                taken.push((*instance, token.clone()));
            }
        }
        for (instance, token) in taken {
            self.cancel(instance, &token, "the task was cleared, marked or given to another scheduler");
        }
        // The end of the others was committed, though nobody said so, or counts for nothing any more.
        for completion in self.ended.values().cloned().collect::<Vec<_>>() {
            if held.get(&completion.instance).is_some_and(|(token, _)| *token == completion.token) {
                self.situation.view.complete(completion);
            } else {
                self.forget_try(&completion);
            }
        }
        Ok(())
    }

    /// Reports every try as lost whose holder is known to be dead. Those whose holder may be alive are looked at again
    /// by [`Engine::look_after_foreign`].
    pub(super) async fn recover(&mut self, now: DateTime<Utc>) -> Result<()> {
        let known = std::mem::take(&mut self.foreign);
        let (mut owners, mut gone) = (BTreeMap::new(), BTreeSet::new());
        let mut losses = Vec::new();
        for RunningInstance { dag_id, run_id, row } in self.store.running_instances().await? {
            let Some(lease) = row.lease.clone().filter(|lease| lease.owner != self.options.job_id) else { continue };
            if self.situation.view.run_of(row.key).is_none() {
                self.read_run(row.run, now).await?;
            }
            if !owners.contains_key(&lease.owner) {
                owners.insert(lease.owner.clone(), self.look_up(&lease.owner, now).await?);
            }
            let Some(owner): Option<&Owner> = owners.get(&lease.owner) else { continue };
            if owner.is_gone(lease_given(&row, &lease).max(self.options.lease_ttl)) {
                tracing::warn!(dag = %dag_id, run = %run_id, task = %row.task_id, r#try = row.try_number, "its worker is gone");
                let text = format!("the worker of this try is gone{}", owner.told);
                let (task_id, map_index, try_number) = (row.task_id.clone(), row.map_index, row.try_number);
                self.executor.tell_of_loss(&LostTry { dag_id, run_id, task_id, map_index, try_number, at: now, text });
                let started_at = row.start_date.unwrap_or(now);
                gone.extend(owner.process);
                losses.push(lost(row.key, row.try_number, lease, started_at, now));
            } else {
                self.foreign.insert(row.key);
            }
        }
        self.store.count(Counted::Adopted, &[], self.foreign.difference(&known).count() as u64);
        if let Some((_, end)) = self.leftovers.clone().filter(|_| !gone.is_empty()) {
            let gone: Vec<u32> = gone.into_iter().collect();
            tokio::task::spawn_blocking(move || end(&gone)).await.ok();
        }
        for loss in losses {
            self.situation.view.complete(loss);
        }
        Ok(())
    }

    /// Others hold tries, and may be dead.
    pub fn watches_foreign(&self) -> bool {
        !self.foreign.is_empty()
    }

    /// Looks again at the tries that others hold, if there are any.
    pub async fn look_after_foreign(&mut self, now: DateTime<Utc>) -> Result<()> {
        if self.foreign.is_empty() || self.is_in_doubt {
            return Ok(());
        }
        self.is_in_doubt = true;
        self.recover(now).await?;
        self.is_in_doubt = false;
        Ok(())
    }

    /// Compares the active runs with what is known of them. Everything should have come by a signal; should one have been
    /// missed, nothing waits for longer than the slow tick.
    pub async fn look_for_missed(&mut self, now: DateTime<Utc>) -> Result<()> {
        if self.is_in_doubt {
            return Ok(());
        }
        self.is_in_doubt = true;
        let (runs, dags) = self.aside.take_due(now);
        for dag_id in dags {
            self.situation.view.thaw_dag(&dag_id);
            self.read_dag(&dag_id).await?;
        }
        for run in runs {
            self.situation.view.thaw_run(run);
            self.read_run(run, now).await?;
        }
        self.situation.read_backfills().await?;
        // Their states alone: a look at every instance would cost more the more is active, for nothing nearly always.
        let mut others = self.store.active_run_states().await?;
        others.retain(|(run, state)| self.situation.view.run_state(*run) != Some(*state) && !self.aside.has_run(*run));
        if !others.is_empty() {
            // Signals that came while this looked are for the next turn.
            let signals = self.store.signals().await?;
            let new = signals.into_iter().filter(|signal| !self.handled.contains(&signal.id));
            let named: BTreeSet<RunKey> = new.filter_map(|signal| signal.run).collect();
            others.retain(|(run, _)| !named.contains(run));
        }
        for (run, state) in others {
            tracing::warn!(run, state = %state, "found a run that no signal had named");
            self.read_run(run, now).await?;
        }
        self.is_in_doubt = false;
        Ok(())
    }

    /// For a leader that was replaced, once its tries have ended: the results of those that nobody else was given yet
    /// are written down, each guarded by its own lease.
    pub async fn hand_over(&mut self, now: DateTime<Utc>) -> Result<()> {
        self.read_again(now).await?;
        let limits = Limits { is_draining: true, ..self.limits() };
        let plan = plan(&mut self.situation.view, now, &limits);
        let ours = |token: &str| token.starts_with(&self.options.job_id);
        let finishes = plan.batch.finishes.into_iter().filter(|finish| ours(&finish.completion.token)).collect();
        let releases = plan.refused.into_iter().filter(|refused| ours(&refused.token));
        let releases = releases.map(|it| Release { instance: it.instance, token: it.token }).collect();
        self.store.commit_unled(&Batch { finishes, releases, ..Batch::default() }, now).await?;
        self.ended.clear();
        self.in_flight.clear();
        self.parked.clear();
        Ok(())
    }

    /// Reads a run again, whatever is known of it.
    pub(crate) async fn read_run(&mut self, key: RunKey, now: DateTime<Utc>) -> Result<()> {
        match self.store.active_run(key).await {
            Ok(Some(run)) => {
                self.put_run(&run, now).await?;
                self.situation.read_last_ends(&run.row.dag_id).await
            }
            Ok(None) => {
                self.situation.view.remove_run(key);
                Ok(())
            }
            Err(error) if error.is_transient() => Err(error),
            Err(error) => {
                // What was known of it still counts.
                self.leave_run(key, &error, now);
                Ok(())
            }
        }
    }

    pub(super) async fn put_run(&mut self, run: &ActiveRun, now: DateTime<Utc>) -> Result<()> {
        self.note_leases(run);
        match self.situation.put_run(run).await {
            Err(error) if !error.is_transient() => {
                self.leave_run(run.row.key, &error, now);
                Ok(())
            }
            other => other,
        }
    }

    async fn look_up(&mut self, owner: &str, now: DateTime<Utc>) -> Result<Owner> {
        let Some(job) = self.store.job(owner).await? else { return Ok(Owner::default()) };
        // A command that runs one task holds a lease without leading; the lock says nothing of it.
        let is_dead = job.ended_at.is_some() || (self.options.previous_owner_is_dead && job.kind == "scheduler");
        let is_here = self.leftovers.as_ref().is_some_and(|(hostname, _)| *hostname == job.hostname);
        let process = is_here.then_some(job.pid);
        let before = self.watched.insert(owner.to_owned(), (job.heartbeat_at, now));
        let silent_for = match before.filter(|(sign, at)| *sign == job.heartbeat_at && *at < now) {
            Some((sign, at)) if !is_dead => self.store.note_silence(owner, sign, now - at, self.options.epoch).await?,
            _ => job.silent_for,
        };
        let (pid, hostname, sign) = (job.pid, job.hostname, format_utc_micros(job.heartbeat_at));
        let told = format!(" (process {pid} on {hostname}, after its last sign of life at {sign})");
        Ok(Owner { alive_silent_for: (!is_dead).then_some(silent_for), process, told })
    }
}

/// Who holds a lease.
#[derive(Debug, Default)]
struct Owner {
    /// How long leaders have watched in vain for a sign of life since its last one; none: it is known to be dead.
    alive_silent_for: Option<TimeDelta>,
    /// Its number, if it is one of this machine.
    process: Option<u32>,
    /// Its name, for people.
    told: String,
}

impl Owner {
    /// Dead, or silent for as long as its lease was given for. Not by the moment at which the lease ends: clocks need not
    /// agree. It is measured by what leaders have watched, each by its own clock, and whoever leads next goes on from
    /// there: leaders may change as fast as they like.
    fn is_gone(&self, lease_ttl: TimeDelta) -> bool {
        self.alive_silent_for.is_none_or(|silent_for| silent_for >= lease_ttl)
    }
}

/// By the owner's clock, which need not be this one.
fn lease_given(row: &InstanceRow, lease: &Lease) -> TimeDelta {
    row.queued_at.map_or(TimeDelta::zero(), |claimed_at| lease.expires_at - claimed_at)
}

fn lost(instance: i64, try_number: u32, lease: Lease, started_at: DateTime<Utc>, now: DateTime<Utc>) -> Completion {
    Completion {
        error: Some("the worker that ran it is gone".to_owned()),
        ..Completion::new(instance, try_number, lease.token, TryOutcome::LostWorker, (started_at, now))
    }
}
