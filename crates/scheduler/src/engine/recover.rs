//! Tries whose holder has died.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_model::change::{Completion, TryOutcome};
use millrace_store::{Lease, Result, RunningInstance};

use super::Engine;

impl Engine {
    /// Reports every try as lost whose holder is known to be dead. Those whose holder may be alive are looked at again
    /// by [`Engine::look_after_foreign`].
    pub(super) async fn recover(&mut self, now: DateTime<Utc>) -> Result<()> {
        self.foreign.clear();
        let mut dead = BTreeMap::new();
        for RunningInstance { dag_id, run_id, row } in self.store.running_instances().await? {
            let Some(lease) = row.lease.clone().filter(|lease| lease.owner != self.options.job_id) else { continue };
            if self.situation.view.run_of(row.key).is_none() {
                self.read_run(row.run).await?;
            }
            let is_dead = match dead.get(&lease.owner) {
                Some(is_dead) => *is_dead,
                None => *dead.entry(lease.owner.clone()).or_insert(self.is_dead(&lease.owner).await?),
            };
            if is_dead || lease.expires_at <= now {
                tracing::warn!(dag = %dag_id, run = %run_id, task = %row.task_id, r#try = row.try_number, "its worker is gone");
                let started_at = row.start_date.unwrap_or(now);
                self.situation.view.complete(lost(row.key, row.try_number, lease, started_at, now));
            } else {
                self.foreign.insert(row.key);
            }
        }
        Ok(())
    }

    /// Looks again at the tries that others hold, if there are any.
    pub async fn look_after_foreign(&mut self, now: DateTime<Utc>) -> Result<()> {
        if self.foreign.is_empty() { Ok(()) } else { self.recover(now).await }
    }

    /// Compares the active runs with what is known of them. Everything should have come by a signal; should one have been
    /// missed, nothing waits for longer than the slow tick.
    pub async fn look_for_missed(&mut self, now: DateTime<Utc>) -> Result<()> {
        self.situation.read_backfills().await?;
        for run in self.store.active_runs(now).await? {
            if self.situation.view.run_state(run.row.key) != Some(run.row.state) {
                tracing::warn!(dag = %run.row.dag_id, run = %run.row.run_id, "found a run that no signal had named");
                self.note_leases(&run);
                self.situation.put_run(&run).await?;
            }
        }
        Ok(())
    }

    async fn is_dead(&self, owner: &str) -> Result<bool> {
        Ok(match self.store.job(owner).await? {
            None => true,
            // A command that runs one task holds a lease without leading; the lock says nothing of it.
            Some(job) => job.ended_at.is_some() || (self.options.previous_owner_is_dead && job.kind == "scheduler"),
        })
    }
}

fn lost(instance: i64, try_number: u32, lease: Lease, started_at: DateTime<Utc>, now: DateTime<Utc>) -> Completion {
    Completion {
        error: Some("the worker that ran it is gone".to_owned()),
        ..Completion::new(instance, try_number, lease.token, TryOutcome::LostWorker, (started_at, now))
    }
}
