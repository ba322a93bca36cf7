//! What people ask of the store. A request that fails leaves nothing behind, unless only its answer was lost; one that is
//! tried first does what the trial said.

use std::future::Future;

use chrono::TimeDelta;
use millrace_model::change::RunKey;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::schedule::Schedule;
use millrace_model::selection::{TaskChoice, TaskSelection};
use millrace_model::state::{RunState, TaskState};
use millrace_planner::{BackfillRange, BackfillWish, DagVersion, ManualRun, manual_run, plan_backfill};
use millrace_store::faults::{FaultPoint, with_faults};
use millrace_store::{
    ClearRequest, DateOutcome, MarkRequest, MarkRunRequest, NewAssetEvent, NewBackfill, NewPart, NewestVersion,
    PoolRow, RepinRequest, Reprocess, RunChoice, RunRequest, RunRow, Selection, StoreError, SyncDag,
};

use super::World;
use super::random::{POOL, edited};

impl World {
    /// None: a failure struck. The error is the store's own.
    async fn ask<T>(&mut self, work: impl Future<Output = Result<T, StoreError>>) -> Result<Option<T>, StoreError> {
        let before = if self.faults.is_armed() { Some(self.contents().await) } else { None };
        self.faults.begin();
        let result = with_faults(self.faults.clone(), work).await;
        match (result, self.faults.end()) {
            (Ok(value), _) => {
                self.allow_what_is_there().await;
                self.look().await;
                Ok(Some(value))
            }
            (Err(error), None) => Err(error),
            (Err(_), Some(FaultPoint::AfterCommit)) => {
                self.note("its answer was lost");
                self.forget_doubtful().await;
                self.allow_what_is_there().await;
                self.look().await;
                Ok(None)
            }
            (Err(_), Some(_)) => {
                self.note("it failed");
                let after = self.contents().await;
                assert_eq!(before, Some(after), "{}: what failed has left something", self.place());
                Ok(None)
            }
        }
    }

    /// Everything that people's requests can change.
    async fn contents(&self) -> Vec<String> {
        let runs = self.stage.runs().await;
        let keys: Vec<RunKey> = runs.iter().map(|run| run.key).collect();
        let rows = self.stage.store.instances_of_runs(&keys).await.unwrap();
        let dags = self.stage.store.scheduler_dags().await.unwrap();
        let dags = dags.iter().map(|it| format!("{} {} {:?}", it.dag_id, it.is_paused, it.dag));
        let signals = self.stage.store.signals().await.unwrap();
        let backfills = self.stage.store.active_backfills().await.unwrap();
        let texts = runs.iter().map(|it| format!("{it:?}")).chain(rows.iter().map(|it| format!("{it:?}")));
        let texts = texts.chain(signals.iter().map(|it| format!("{it:?}"))).chain(dags);
        texts.chain(backfills.iter().map(|it| format!("{it:?}"))).collect()
    }

    /// Something was changed, and nobody said what.
    async fn forget_doubtful(&mut self) {
        let keys: Vec<RunKey> = self.stage.runs().await.iter().map(|run| run.key).collect();
        let rows = self.stage.store.instances_of_runs(&keys).await.unwrap();
        self.touched(rows.iter().filter(|row| row.state != TaskState::Success).map(|row| row.key));
    }

    pub(super) async fn pause(&mut self) {
        let dag_id = self.any_dag();
        let paused = self.dice.roll(2) == 0;
        self.note(format!("{} {dag_id}", if paused { "pause" } else { "unpause" }));
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        self.ask(async move { store.set_paused(&dag_id, paused, "world", now).await }).await.unwrap();
    }

    pub(super) async fn trigger(&mut self) {
        let dag_id = self.any_dag();
        self.note(format!("trigger {dag_id}"));
        self.stage.clock.advance(TimeDelta::microseconds(1 + self.dice.roll(2_000_000) as i64));
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        if store.run_at(dag_id.as_str(), now).await.unwrap().is_some() {
            return;
        }
        let version = self.newest(&dag_id).await;
        let request = ManualRun {
            version: &version,
            run_id: None,
            logical_date: None,
            conf: Default::default(),
            triggered_by: "cli".into(),
        };
        let request = RunRequest { run: manual_run(request, now).unwrap(), note: None, actor: "world".into() };
        self.ask(async move { store.create_run(&request, now).await }).await.unwrap();
    }

    async fn newest(&self, dag_id: &DagId) -> DagVersion {
        let row = self.stage.store.scheduler_dag(dag_id).await.unwrap().unwrap();
        DagVersion::new(row.version_key, row.dag).unwrap()
    }

    async fn any_run(&mut self) -> Option<(RunRow, Vec<TaskId>)> {
        let runs = self.stage.runs().await;
        if runs.is_empty() {
            return None;
        }
        let run = self.dice.pick(&runs).clone();
        let named = self.some_tasks(&run.dag_id);
        Some((run, named))
    }

    /// Of the newest version: a run with another one may have none of them.
    fn some_tasks(&mut self, dag_id: &DagId) -> Vec<TaskId> {
        let tasks = &self.dags[dag_id.as_str()].tasks;
        let tasks: Vec<TaskId> = tasks.iter().map(|task| task.task_id.clone()).collect();
        let first = self.dice.roll(tasks.len());
        let named = tasks.into_iter().enumerate().filter(|(at, _)| *at == first || self.dice.roll(2) == 0);
        named.map(|(_, task_id)| task_id).collect()
    }

    /// Some tasks of a run, whatever their state; the scheduler hears of it with its next turn.
    pub(super) async fn clear(&mut self) {
        let Some((run, task_ids)) = self.any_run().await else { return };
        self.note(format!("clear of run {}", run.key));
        let mut request = ClearRequest::of_run(run.key, &task_ids, "world");
        request.selection.only_failed = self.dice.roll(4) == 0;
        self.widen(&mut request.selection);
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        let trial = ClearRequest { dry_run: true, ..request.clone() };
        let foreseen = match store.clear_instances(&trial, now).await {
            Ok(foreseen) => foreseen,
            Err(StoreError::NotFound { .. }) => return,
            Err(error) => panic!("{}: {error:?}", self.place()),
        };
        let report = self.ask(async move { store.clear_instances(&request, now).await }).await.unwrap();
        let Some(report) = report else { return };
        assert_eq!(report.cleared, foreseen.cleared, "{}", self.place());
        self.touched(report.cleared.iter().map(|it| it.instance));
    }

    pub(super) async fn mark(&mut self) {
        let Some((run, task_ids)) = self.any_run().await else { return };
        let to = *self.dice.pick(&[TaskState::Success, TaskState::Failed, TaskState::Skipped]);
        self.note(format!("mark {to} in run {}", run.key));
        let mut request = mark_request(run.key, task_ids, to);
        self.widen(&mut request.selection);
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        let trial = MarkRequest { dry_run: true, ..request.clone() };
        let foreseen = match store.mark_instances(&trial, now).await {
            Ok(foreseen) => foreseen,
            Err(StoreError::NotFound { .. }) => return,
            Err(error) => panic!("{}: {error:?}", self.place()),
        };
        let report = self.ask(async move { store.mark_instances(&request, now).await }).await.unwrap();
        let Some(report) = report else { return };
        assert_eq!((&report.marked, &report.cleared), (&foreseen.marked, &foreseen.cleared), "{}", self.place());
        self.touched(report.marked.iter().chain(&report.cleared).map(|it| it.instance));
    }

    /// To other runs of the DAG, and to tasks before and after the named ones.
    fn widen(&mut self, selection: &mut Selection) {
        selection.past = self.dice.one_in(6);
        selection.future = self.dice.one_in(6);
        selection.tasks.upstream = self.dice.one_in(6);
        selection.tasks.downstream = self.dice.one_in(4);
    }

    pub(super) async fn mark_run(&mut self) {
        let Some((run, _)) = self.any_run().await else { return };
        let to = *self.dice.pick(&[RunState::Success, RunState::Failed]);
        self.note(format!("mark run {} {to}", run.key));
        let request = MarkRunRequest { run: run.key, to, note: None, dry_run: false, actor: "world".into() };
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        let Some(report) = self.ask(async move { store.mark_run(&request, now).await }).await.unwrap() else { return };
        self.touched(report.marked.iter().chain(&report.cleared).map(|it| it.instance));
    }

    pub(super) async fn backfill(&mut self) {
        match self.dice.roll(6) {
            0 => self.cancel_backfill().await,
            1 => self.pause_backfill().await,
            _ => self.backfill_anew().await,
        }
    }

    pub(super) async fn backfill_anew(&mut self) {
        let dag_id = self.any_dag();
        let tasks = self.dice.one_in(3).then(|| TaskSelection {
            upstream: self.dice.one_in(3),
            downstream: self.dice.one_in(3),
            tasks: TaskChoice::tasks(self.some_tasks(&dag_id)),
        });
        let of = tasks.iter().map(|tasks| format!(" of {}", tasks.describe())).collect::<String>();
        self.note(format!("backfill {dag_id}{of}"));
        let version = self.newest(&dag_id).await;
        let to = self.stage.now() - TimeDelta::minutes(self.dice.roll(600) as i64);
        let from = to - TimeDelta::minutes(1 + self.dice.roll(300) as i64);
        let range = BackfillRange {
            version: &version,
            from,
            to,
            includes_end: self.dice.one_in(3),
            ignores_bounds: true,
            last_interval: None,
            conf: Default::default(),
        };
        let reprocess = *self.dice.pick(Reprocess::ALL);
        let wish = BackfillWish {
            range,
            is_reversed: self.dice.roll(4) == 0,
            reprocesses: reprocess != Reprocess::None,
            tasks,
        };
        // No dates, or an order in which tasks that look back could not run.
        let Ok(plan) = plan_backfill(&wish, self.stage.now()) else { return };
        let part = plan.part.map(|part| NewPart { dag: part.dag, left_out: part.left_out, selection: "some".into() });
        let part_dag = part.as_ref().map(|part| part.dag.clone());
        let new = NewBackfill {
            dag_id: dag_id.clone(),
            from,
            to,
            reprocess,
            max_active_runs: 1 + self.dice.roll(3) as u32,
            is_reversed: wish.is_reversed,
            part,
            conf: Default::default(),
            runs: plan.runs,
            dry_run: false,
            actor: "world".into(),
        };
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        let report = match self.ask(async move { store.create_backfill(&new, now).await }).await {
            Ok(report) => report,
            Err(StoreError::BackfillActive { .. }) => return,
            Err(error) => panic!("{}: {error:?}", self.place()),
        };
        self.note_first_of_backfill().await;
        if let Some(part) = part_dag {
            // Its runs are pinned to a version that nobody else sees; known too when the answer was lost.
            for run in self.stage.runs().await.into_iter().filter(|run| run.dag_id == dag_id) {
                if run.version_key != version.key {
                    self.versions.entry(run.version_key).or_insert_with(|| part.clone());
                }
            }
        }
        for run in report.iter().flat_map(|report| &report.dates).filter(|it| it.outcome != DateOutcome::Created) {
            let Some(run) = run.run else { continue };
            let rows = self.stage.store.instances(run).await.unwrap();
            self.touched(rows.iter().filter(|row| row.state != TaskState::Success).map(|row| row.key));
        }
    }

    async fn cancel_backfill(&mut self) {
        let Some(active) = self.stage.store.active_backfills().await.unwrap().into_iter().next() else { return };
        self.note(format!("cancel backfill {}", active.key));
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        self.ask(async move { store.cancel_backfill(active.key, "world", now).await }).await.unwrap();
    }

    async fn pause_backfill(&mut self) {
        let Some(active) = self.stage.store.active_backfills().await.unwrap().into_iter().next() else { return };
        let paused = !active.is_paused;
        self.note(format!("{} backfill {}", if paused { "pause" } else { "unpause" }, active.key));
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        self.ask(async move { store.set_backfill_paused(active.key, paused, "world", now).await }).await.unwrap();
    }

    pub(super) async fn change_pool(&mut self) {
        let slots = self.dice.roll(4) as i64;
        self.note(format!("{slots} slots"));
        let row = self.pool_row(slots);
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        self.ask(async move { store.put_pool(&row, "world", now).await }).await.unwrap();
        self.pool_slots = self.stage.store.pools().await.unwrap().iter().find(|pool| pool.name == POOL).unwrap().slots;
    }

    pub(super) fn pool_row(&self, slots: i64) -> PoolRow {
        PoolRow { name: POOL.into(), slots, description: None, include_deferred: self.counts_deferred }
    }

    /// Somebody says that an asset is up to date.
    pub(super) async fn asset(&mut self) {
        let asset = format!("a{}", self.dice.roll(self.dags.len()));
        self.note(format!("asset {asset}"));
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        match self.ask(async move { store.record_asset_event(NewAssetEvent::of(&asset), "world", now).await }).await {
            // No DAG names it.
            Ok(_) | Err(StoreError::NotFound { .. }) => {}
            Err(error) => panic!("{}: {error:?}", self.place()),
        }
    }

    /// The file of a DAG is edited.
    pub(super) async fn edit(&mut self) {
        let dag_id = self.any_dag();
        let new = edited(&mut self.dice, &self.whole[dag_id.as_str()]);
        let names: Vec<&str> = new.tasks.iter().map(|task| task.task_id.as_str()).collect();
        self.note(format!("edit {dag_id} to {names:?}"));
        self.sync(new).await;
    }

    async fn sync(&mut self, new: millrace_model::dag::Dag) {
        let (store, now, dag) = (self.stage.store.clone(), self.stage.now(), new.clone());
        let work = async move {
            let file = SyncDag { dag: &dag, file_path: "x.yaml", source: "", paused_at_creation: false };
            store.sync_dag(file, now).await
        };
        self.ask(work).await.unwrap();
        let row = self.stage.store.scheduler_dag(&new.dag_id).await.unwrap();
        let row = row.unwrap_or_else(|| panic!("{}: the store leaves {} out", self.place(), new.dag_id));
        self.versions.insert(row.version_key, (*row.dag).clone());
        self.dags.insert(new.dag_id.to_string(), (*row.dag).clone());
    }

    /// The DAG makes no run by itself any more.
    pub(super) async fn take_schedule(&mut self, name: &str) {
        let mut dag = self.dags[name].clone();
        dag.timetable.schedule = Schedule::None;
        self.sync(dag).await;
    }

    /// A run, or all of a DAG's, are given the newest version.
    pub(super) async fn repin(&mut self) {
        let Some((run, _)) = self.any_run().await else { return };
        let is_one = self.dice.one_in(2);
        let runs = if is_one {
            RunChoice::One(run.key)
        } else {
            RunChoice::Between { dag_id: run.dag_id.clone(), from: None, to: None }
        };
        self.note(format!("repin {runs:?}"));
        let version = self.newest(&run.dag_id).await;
        let request = RepinRequest {
            runs,
            only_active: self.dice.one_in(2),
            newest: NewestVersion { version_key: version.key, tasks: version.new_instances() },
            dry_run: false,
            actor: "world".into(),
        };
        let (store, now) = (self.stage.store.clone(), self.stage.now());
        match self.ask(async move { store.repin_runs(&request, now).await }).await {
            Ok(_) => self.forget_doubtful().await,
            // It is of some tasks only.
            Err(StoreError::Refused { .. }) if is_one => {}
            Err(error) => panic!("{}: {error:?}", self.place()),
        }
    }
}

pub fn mark_request(run: RunKey, task_ids: Vec<TaskId>, to: TaskState) -> MarkRequest {
    let selection = Selection::of_run(run, TaskChoice::tasks(task_ids));
    MarkRequest { selection, to, note: None, dry_run: false, actor: "world".into() }
}
