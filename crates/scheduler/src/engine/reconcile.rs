//! What the store made of a batch, brought back into the view.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use millrace_model::change::{Assignment, Batch, RunKey, RunMove};
use millrace_model::state::{RunState, TaskState};
use millrace_store::{ActiveRun, CommitReport, Result};

use super::Engine;

impl Engine {
    /// Starts what was claimed, adds what was created, reads again what did not fit. Returns whether there may be more
    /// to decide at once.
    pub(super) async fn settle(
        &mut self,
        batch: &Batch,
        report: &CommitReport,
        assignments: Vec<Assignment>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        for finish in &batch.finishes {
            self.forget_try(&finish.completion);
            self.foreign.remove(&finish.completion.instance);
        }
        for release in &batch.releases {
            self.foreign.remove(&release.instance);
        }
        let (stale, sound): (Vec<_>, Vec<_>) =
            assignments.into_iter().enumerate().partition(|(index, _)| report.stale_claims.contains(index));
        self.start_tries(sound.into_iter().map(|(_, assignment)| assignment).collect());

        let mut again = self.add_created(batch, report, now).await?;
        for dag_id in &report.waiting_for_assets {
            self.situation.read_asset_events(dag_id).await?;
            again = true;
        }
        let mut unsure = self.misfits(batch, report).await?;
        // Not so many runs have failed as was planned, and the DAG goes on.
        for index in &report.stale_pauses {
            self.read_dag(&batch.pauses[*index].dag_id).await?;
            again = true;
        }
        // How such a run has ended was planned otherwise, and counted.
        for (index, _) in &report.marked_runs {
            if let Some(run) = self.store.run_by_key(batch.run_moves[*index].run).await? {
                self.read_dag(&run.dag_id).await?;
            }
        }
        self.reopen(&unsure, batch, report, now).await?;
        unsure.extend(stale.iter().map(|(_, assignment)| assignment.run.run_key));
        unsure.extend(batch.renewals.iter().map(|renewal| renewal.run));
        for (expansion, keys) in batch.expansions.iter().zip(&report.expanded) {
            match keys {
                Some(keys) => self.situation.view.put_expanded(expansion, keys),
                None => unsure.extend([expansion.run]),
            }
            again = true;
        }
        for run in unsure {
            self.read_run(run, now).await?;
            again = true;
        }
        // A commit that was repeated because its first answer was lost finds its own claims there.
        let committed = stale.into_iter().map(|(_, assignment)| assignment).filter(|it| self.holds(it)).collect();
        self.start_tries(committed);
        if !report.finished_backfills.is_empty() {
            self.situation.read_backfills().await?;
        }
        if report.stale_count() > 0 {
            self.read_signalled(now).await?;
            again = true;
        }
        Ok(again)
    }

    async fn add_created(&mut self, batch: &Batch, report: &CommitReport, now: DateTime<Utc>) -> Result<bool> {
        for (place, (new, created)) in batch.new_runs.iter().zip(&report.created).enumerate() {
            match created {
                // What the plan had start waits in the queue; what covers more than was planned is read as it is.
                Some(created) if report.has_less_room || report.widened.contains(&place) => {
                    self.read_run(created.run, now).await?;
                }
                Some(created) => {
                    if !self.situation.view.put_created(new, created.run, &created.instances, now) {
                        self.read_run(created.run, now).await?;
                    }
                }
                None => {
                    tracing::info!(dag = %new.dag_id, run = %new.run_id, "there is a run for this date already");
                    self.situation.view.creation_refused(new);
                    if !new.asset_events.is_empty() {
                        self.situation.read_asset_events(&new.dag_id).await?;
                    }
                    if let Some(row) = self.store.run(new.dag_id.as_str(), new.run_id.as_str()).await?
                        && self.situation.view.run_state(row.key).is_none()
                        && !row.state.is_finished()
                    {
                        self.read_run(row.key, now).await?;
                    }
                }
            }
        }
        Ok(!batch.new_runs.is_empty())
    }

    /// The runs of items that were stale, or that became something else than was planned.
    async fn misfits(&self, batch: &Batch, report: &CommitReport) -> Result<BTreeSet<RunKey>> {
        let mut runs: BTreeSet<RunKey> = report.stale_runs.iter().map(|index| batch.run_moves[*index].run).collect();
        runs.extend(report.stale_endings.iter().map(|index| batch.endings[*index].run));
        let finishes = report.stale_finishes.iter().chain(&report.cleared_finishes);
        let instances = finishes
            .map(|index| batch.finishes[*index].completion.instance)
            .chain(report.stale_moves.iter().map(|index| batch.task_moves[*index].instance));
        for instance in instances {
            match self.situation.view.run_of(instance) {
                Some(run) => runs.extend([run]),
                // The plan ended its run, and the view has let go of it.
                None => runs.extend(self.store.instance_by_key(instance).await?.map(|row| row.run)),
            }
        }
        if !runs.is_empty() {
            tracing::debug!(stale = report.stale_count(), runs = runs.len(), "reading runs again");
        }
        Ok(runs)
    }

    /// A run whose end was planned from a state that somebody changed meanwhile has not ended: it is queued again.
    async fn reopen(
        &mut self,
        unsure: &BTreeSet<RunKey>,
        batch: &Batch,
        report: &CommitReport,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let ended = batch.run_moves.iter().enumerate().filter(|(index, step)| {
            step.to.is_finished() && unsure.contains(&step.run) && !report.stale_runs.contains(index)
        });
        let reason = Some("a task was changed as it ended".to_owned());
        let run_moves: Vec<RunMove> = ended
            .map(|(_, step)| RunMove { run: step.run, from: step.to, to: RunState::Queued, reason: reason.clone() })
            .collect();
        if !run_moves.is_empty() {
            let batch = Batch { run_moves, ..Batch::default() };
            self.store.commit(&batch, self.options.epoch, now).await?;
        }
        Ok(())
    }

    fn holds(&self, assignment: &Assignment) -> bool {
        self.situation.view.token_of(assignment.instance) == Some(assignment.token.as_str())
            && self.situation.view.instance_state(assignment.instance) == Some(TaskState::Running)
    }

    /// Compares a run's leases with what runs here: stops what was taken away, notes what others hold.
    pub(super) fn note_leases(&mut self, run: &ActiveRun) {
        for row in &run.instances {
            match (&row.lease, self.in_flight.get(&row.key).cloned()) {
                (lease, Some(token)) => {
                    let is_held = lease.as_ref().is_some_and(|lease| lease.token == token);
                    if !is_held || !matches!(row.state, TaskState::Running | TaskState::Deferred) {
                        let reason = row.state_reason.as_deref().unwrap_or("the task was cleared or marked");
                        self.cancel(row.key, &token, reason);
                    }
                }
                (Some(lease), None) if lease.owner != self.options.job_id => {
                    self.foreign.insert(row.key);
                }
                (_, None) => {
                    self.foreign.remove(&row.key);
                }
            }
        }
    }
}
