//! What the database refuses to take. One item that cannot be stored must not hold up all the others: its run, or its
//! DAG, is set aside with a visible error.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::alert::AlertKind;
use millrace_model::change::{Batch, Completion, InstanceKey, NewRun, RunKey, RunMove, TryOutcome};
use millrace_model::ids::DagId;
use millrace_model::notice::{Notice, NoticeEvent};
use millrace_model::state::RunState;
use millrace_planner::UNSTORABLE_REASON;
use millrace_store::{Result, SetAside, StoreError};

use super::Engine;

/// What was set aside is tried again after this long.
const TRIED_AGAIN_AFTER: TimeDelta = TimeDelta::minutes(5);

/// Runs and DAGs that are left alone until somebody changes them, or for a while, each with the database's reason.
#[derive(Default)]
pub(super) struct Aside {
    runs: BTreeMap<RunKey, Reason>,
    dags: BTreeMap<DagId, Reason>,
}

struct Reason {
    text: String,
    since: DateTime<Utc>,
}

impl Aside {
    pub fn has_run(&self, run: RunKey) -> bool {
        self.runs.contains_key(&run)
    }

    pub fn take_back_run(&mut self, run: RunKey) -> bool {
        self.runs.remove(&run).is_some()
    }

    pub fn take_back_dag(&mut self, dag_id: &DagId) -> bool {
        self.dags.remove(dag_id).is_some()
    }

    /// Those whose time is over.
    pub fn take_due(&mut self, now: DateTime<Utc>) -> (Vec<RunKey>, Vec<DagId>) {
        // A clock that was set back must not keep anything aside for longer.
        let is_due = |reason: &Reason| (now - reason.since).abs() >= TRIED_AGAIN_AFTER;
        let runs: Vec<RunKey> = self.runs.iter().filter(|(_, reason)| is_due(reason)).map(|(run, _)| *run).collect();
        let dags: Vec<DagId> =
            self.dags.iter().filter(|(_, reason)| is_due(reason)).map(|(dag_id, _)| dag_id.clone()).collect();
        self.runs.retain(|run, _| !runs.contains(run));
        self.dags.retain(|dag_id, _| !dags.contains(dag_id));
        (runs, dags)
    }

    pub fn names(&self) -> Vec<(Option<RunKey>, Option<DagId>)> {
        let runs = self.runs.keys().map(|run| (Some(*run), None));
        runs.chain(self.dags.keys().map(|dag_id| (None, Some(dag_id.clone())))).collect()
    }

    fn list(&self) -> Vec<SetAside> {
        let runs = self.runs.iter().map(|(run, reason)| (None, Some(*run), reason));
        let dags = self.dags.iter().map(|(dag_id, reason)| (Some(dag_id.clone()), None, reason));
        let of = |(dag_id, run, reason): (_, _, &Reason)| SetAside { dag_id, run, reason: reason.text.clone() };
        runs.chain(dags).map(of).collect()
    }

    pub fn text(&self) -> Option<String> {
        let runs = self.runs.iter().map(|(run, reason)| format!("run number {run}: {}", reason.text));
        let all: Vec<String> =
            runs.chain(self.dags.iter().map(|(dag_id, reason)| format!("DAG {dag_id}: {}", reason.text))).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

impl Engine {
    /// Writes down what is set aside where every process can read it, when that has changed. It explains, and nothing
    /// depends on it: when it fails, the next turn tries again.
    pub(super) async fn tell_of_aside(&mut self) {
        let all = self.aside.list();
        if self.aside_told.as_ref() == Some(&all) {
            return;
        }
        let told = async {
            // An earlier leader may have left something there.
            if self.aside_told.is_some() || self.store.set_aside().await? != all {
                self.store.note_set_aside(&all).await?;
            }
            Ok::<(), StoreError>(())
        };
        match told.await {
            Ok(()) => self.aside_told = Some(all),
            Err(error) => tracing::warn!(%error, "what is set aside could not be written down"),
        }
    }

    /// A batch was refused for something that is in it. Its parts are committed one by one; what cannot be is set aside.
    /// The view must be read again afterwards.
    pub(super) async fn find_culprits(&mut self, batch: &Batch, error: StoreError, now: DateTime<Utc>) -> Result<()> {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "the database refuses what was planned; looking for what it is"
        );
        let mut found = 0;
        // What the plan knew of may be committed; the rest of the batch is guarded by what it did not know of.
        let known = Batch { signals_handled: batch.signals_handled.clone(), ..Batch::default() };
        self.probe(&known, now).await??;
        let mut unended = BTreeSet::new();
        for finish in &batch.finishes {
            let try_ = (finish.completion.instance, finish.completion.try_number);
            let notices = batch.notices.iter().filter(|notice| ended_try(notice) == Some(try_)).cloned().collect();
            let alone = Batch { finishes: vec![finish.clone()], notices, ..Batch::default() };
            match self.probe(&alone, now).await? {
                Ok(()) => self.forget_try(&finish.completion),
                Err(error) => {
                    found += 1;
                    let run = self.store.instance_by_key(finish.completion.instance).await?.map(|row| row.run);
                    unended.extend(run);
                    self.store_failure(&finish.completion, run, &error, now).await?;
                }
            }
        }
        if let Err(error) = self.probe(&Batch { releases: batch.releases.clone(), ..Batch::default() }, now).await? {
            found += 1;
            tracing::error!(error = &error as &dyn std::error::Error, "what tries hold cannot be let go of");
        }
        // What was planned for a run after an end that was refused, its own end perhaps, is planned anew.
        for (run, part) in self.by_run(batch).await?.into_iter().filter(|(run, _)| !unended.contains(run)) {
            if let Err(error) = self.probe(&part, now).await? {
                found += 1;
                self.fail_run(run, &error, now).await?;
            }
        }
        // After the ends of all runs, among which failures are counted.
        for pause in batch.pauses.iter().filter(|pause| !unended.contains(&pause.run)) {
            let is_told = |notice: &&Notice| notice.event == NoticeEvent::Alert(AlertKind::AutoPaused);
            let part = Batch {
                pauses: vec![pause.clone()],
                alerts: batch.alerts.iter().filter(|it| it.run == pause.run).cloned().collect(),
                notices: batch.notices.iter().filter(is_told).filter(|it| it.run == pause.run).cloned().collect(),
                ..Batch::default()
            };
            if let Err(error) = self.probe(&part, now).await? {
                found += 1;
                self.leave_dag(&pause.dag_id, &error, now);
            }
        }
        let of_dags: BTreeSet<&DagId> = (batch.new_runs.iter().map(|run| &run.dag_id))
            .chain(batch.pointers.iter().map(|pointer| &pointer.dag_id))
            .chain(batch.passed_slots.iter().map(|passed| &passed.dag_id))
            .collect();
        for dag_id in of_dags {
            let part = Batch {
                new_runs: batch.new_runs.iter().filter(|run| run.dag_id == *dag_id).map(queued).collect(),
                pointers: batch.pointers.iter().filter(|pointer| pointer.dag_id == *dag_id).cloned().collect(),
                passed_slots: batch.passed_slots.iter().filter(|passed| passed.dag_id == *dag_id).cloned().collect(),
                ..Batch::default()
            };
            if let Err(error) = self.probe(&part, now).await? {
                found += 1;
                self.leave_dag(dag_id, &error, now);
            }
        }
        // Nothing can be done about what cannot be found.
        if found == 0 { Err(error) } else { Ok(()) }
    }

    /// The inner error is the part's own; the outer one ends the search.
    async fn probe(&self, part: &Batch, now: DateTime<Utc>) -> Result<Result<(), StoreError>> {
        match self.store.commit(part, self.options.epoch, now).await {
            Ok(_) => Ok(Ok(())),
            Err(error) if error.is_transient() || Self::is_deposed(&error) => Err(error),
            Err(error) => Ok(Err(error)),
        }
    }

    /// The batch's moves with what people are told of them, each run's by themselves. What starts is left out: it was
    /// planned for the room of others, and is planned anew.
    async fn by_run(&self, batch: &Batch) -> Result<BTreeMap<RunKey, Batch>> {
        let mut parts: BTreeMap<RunKey, Batch> = BTreeMap::new();
        // The view has let go of runs whose ends were planned.
        let instances: Vec<InstanceKey> = batch.task_moves.iter().map(|step| step.instance).collect();
        let runs = self.store.instances_by_key(&instances).await?;
        let runs: BTreeMap<InstanceKey, RunKey> = runs.into_iter().map(|row| (row.key, row.run)).collect();
        for step in &batch.task_moves {
            if let Some(run) = runs.get(&step.instance) {
                parts.entry(*run).or_default().task_moves.push(step.clone());
            }
        }
        for expansion in &batch.expansions {
            parts.entry(expansion.run).or_default().expansions.push(expansion.clone());
        }
        for renewal in &batch.renewals {
            parts.entry(renewal.run).or_default().renewals.push(renewal.clone());
        }
        for ending in &batch.endings {
            parts.entry(ending.run).or_default().endings.push(ending.clone());
        }
        for step in batch.run_moves.iter().filter(|step| step.to != RunState::Running) {
            parts.entry(step.run).or_default().run_moves.push(step.clone());
        }
        for alert in &batch.alerts {
            parts.entry(alert.run).or_default().alerts.push(alert.clone());
        }
        let finished: BTreeSet<(InstanceKey, u32)> =
            batch.finishes.iter().map(|it| (it.completion.instance, it.completion.try_number)).collect();
        for notice in batch.notices.iter().filter(|notice| notice.event != NoticeEvent::Execute) {
            // That of a try which has ended was committed with its end.
            if ended_try(notice).is_none_or(|try_| !finished.contains(&try_)) {
                parts.entry(notice.run).or_default().notices.push(notice.clone());
            }
        }
        Ok(parts)
    }

    /// A result that cannot be stored is a failure of its try.
    async fn store_failure(
        &mut self,
        completion: &Completion,
        run: Option<RunKey>,
        error: &StoreError,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let outcome = TryOutcome::Failed { reason: UNSTORABLE_REASON.to_owned(), retry: false };
        if completion.outcome == outcome {
            // It was the failure itself that was refused.
            self.forget_try(completion);
            if let Some(run) = run {
                self.fail_run(run, error, now).await?;
            }
            return Ok(());
        }
        let reason = format!("its end could not be stored: {}", text(error));
        tracing::error!(instance = completion.instance, reason, "a try's end is stored as a failure");
        let failed = Completion {
            error: Some(reason),
            ..Completion::new(
                completion.instance,
                completion.try_number,
                completion.token.clone(),
                outcome,
                (completion.started_at, completion.ended_at),
            )
        };
        self.ended.insert(failed.token.clone(), failed);
        Ok(())
    }

    async fn fail_run(&mut self, run: RunKey, error: &StoreError, now: DateTime<Utc>) -> Result<()> {
        let reason = format!("set aside: {}", text(error));
        for from in [RunState::Running, RunState::Queued] {
            let step = RunMove { run, from, to: RunState::Failed, reason: Some(reason.clone()) };
            // What cannot even be failed stays as it is, and is left alone.
            let _ = self.probe(&Batch { run_moves: vec![step], ..Batch::default() }, now).await?;
        }
        self.leave_run(run, error, now);
        Ok(())
    }

    /// Leaves a DAG alone for a while: it gets no new runs. To be followed by a new reading of the view.
    fn leave_dag(&mut self, dag_id: &DagId, error: &StoreError, now: DateTime<Utc>) {
        tracing::error!(dag = %dag_id, error = error as &dyn std::error::Error, "the DAG is set aside");
        self.aside.dags.insert(dag_id.clone(), Reason { text: text(error), since: now });
    }

    /// Leaves a run alone for a while, or until a signal names it.
    pub(super) fn leave_run(&mut self, run: RunKey, error: &StoreError, now: DateTime<Utc>) {
        self.situation.view.freeze_run(run);
        if self.aside.runs.insert(run, Reason { text: text(error), since: now }).is_none() {
            tracing::error!(run, error = error as &dyn std::error::Error, "the run is set aside");
        }
    }
}

/// The try whose end the notice tells of.
fn ended_try(notice: &Notice) -> Option<(InstanceKey, u32)> {
    let of_try = notice.of_try.as_ref().filter(|_| notice.event != NoticeEvent::Execute);
    of_try.map(|of_try| (of_try.instance, of_try.try_number))
}

fn queued(run: &NewRun) -> NewRun {
    NewRun { state: RunState::Queued, ..run.clone() }
}

/// The error and its causes on one line.
fn text(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text = format!("{text}: {next}");
        }
        cause = error.source();
    }
    text
}
