//! The planner's view, read from the store: what the scheduler leads by, and what every face explains by.
//!
//! Invariant: whoever explains sees what the scheduler sees, because both read it here.
//!
//! Must not import: the scheduler, a worker, a face.

mod backfill;
mod clearing;
mod explanation;
mod in_force;
mod keys;
mod prospects;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use millrace_model::alert::USUAL_RUNS;
use millrace_model::change::RunKey;
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::maintenance::Maintenance;
use millrace_model::state::RunState;
use millrace_planner::{
    BackfillFacts, Begun, DagFacts, DagVersion, InstanceSnapshot, KeyFacts, PastQuestion, PastRun, PoolFacts,
    RecentRuns, ResultLength, RunEnd, RunSnapshot, View,
};
use millrace_store::{
    ActiveRun, ActiveScope, BackfillRow, EarlierRun, FinishedRun, InstanceRow, ListLength, Result, SchedulerDag, Store,
};

pub use backfill::{BackfillError, BackfillRequest, PreparedBackfill, prepare_backfill};
pub use clearing::clear_warnings;
pub use explanation::{Asked, Explanation, TaskAnswer, explain, first_line, unmet, unmet_of_new};
pub use in_force::{InForce, said_by_leader};
pub use prospects::{Ahead, PassedSlot, PlanEntry};

/// What the planner is told beside the database.
#[derive(Debug, Clone)]
pub struct Surroundings {
    /// Worker slots of the scheduler.
    pub parallelism: usize,
    /// The maintenance windows of the installation.
    pub maintenance: Arc<Maintenance>,
}

/// Versions that were read, with their graphs. They never change.
#[derive(Debug, Default)]
struct Versions {
    known: HashMap<i64, Arc<DagVersion>>,
}

impl Versions {
    /// None, with a warning, for a stored DAG whose tasks form a circle: no reader lets one through.
    fn of(&mut self, key: i64, dag: &Arc<Dag>) -> Option<Arc<DagVersion>> {
        if let Some(version) = self.known.get(&key) {
            return Some(version.clone());
        }
        match DagVersion::new(key, dag.clone()) {
            Ok(version) => {
                let version = version.with_key_renderer(keys::render);
                Some(self.known.entry(key).or_insert(Arc::new(version)).clone())
            }
            Err(error) => {
                tracing::error!(dag = %dag.dag_id, version = key, %error, "a stored DAG cannot be used");
                None
            }
        }
    }
}

/// A view and what is needed to keep it true.
pub struct Situation {
    store: Store,
    pub view: View,
    versions: Versions,
}

impl Situation {
    /// Knows nothing yet.
    pub fn new(store: Store) -> Self {
        Self { store, view: View::new(), versions: Versions::default() }
    }

    /// With the maintenance windows of the installation.
    #[must_use]
    pub fn with_maintenance(mut self, maintenance: Arc<Maintenance>) -> Self {
        self.view.set_maintenance(maintenance);
        self
    }

    /// Everything that is active.
    pub async fn read(store: Store) -> Result<Self> {
        let mut situation = Self::new(store);
        situation.read_everything().await?;
        Ok(situation)
    }

    pub async fn read_everything(&mut self) -> Result<()> {
        self.read_pools().await?;
        self.read_backfills().await?;
        for row in self.store.scheduler_dags().await? {
            self.put_dag(row).await?;
        }
        for run in self.store.active_runs().await? {
            self.put_run(&run).await?;
        }
        self.read_stopping().await?;
        self.read_pasts().await
    }

    /// Finished runs whose tries have not stopped yet: these hold slots.
    async fn read_stopping(&mut self) -> Result<()> {
        for held in self.store.running_instances().await? {
            if self.view.run_of(held.row.key).is_none()
                && let Some(run) = self.store.active_run(held.row.run).await?
            {
                self.put_run(&run).await?;
            }
        }
        Ok(())
    }

    /// As much as bears on one DAG: itself and the active runs of the scope, with what else holds something when the scope
    /// asks for that, but no other DAG.
    pub(crate) async fn read_dag(&mut self, dag_id: &DagId, scope: ActiveScope<'_>) -> Result<()> {
        self.read_pools().await?;
        self.read_backfills().await?;
        if let Some(row) = self.store.scheduler_dag(dag_id).await? {
            self.put_dag(row).await?;
        }
        for run in self.store.active_runs_in(scope).await? {
            self.put_run(&run).await?;
        }
        if matches!(scope, ActiveScope::OfDagAndHolders(_)) {
            self.read_stopping().await?;
        }
        Ok(())
    }

    /// Reads what tasks that look back wait for.
    pub async fn read_pasts(&mut self) -> Result<()> {
        let wanted: Vec<RunKey> = self.view.wanted_pasts().collect();
        for run in wanted {
            self.read_past(run).await?;
        }
        Ok(())
    }

    async fn read_past(&mut self, run: RunKey) -> Result<()> {
        let past = match self.view.past_question(run) {
            Some(question) => self.past(question).await?,
            None => None,
        };
        self.view.put_past(run, past);
        Ok(())
    }

    async fn past(&self, question: PastQuestion) -> Result<Option<PastRun>> {
        let PastQuestion { dag_id, logical_date, without_manual, tasks } = question;
        let Some(before) = self.store.run_before(&dag_id, logical_date, without_manual).await? else {
            return Ok(None);
        };
        let missing: Vec<TaskId> = tasks.into_iter().filter(|task| !before.states.contains_key(task)).collect();
        let ran_earlier = if missing.is_empty() {
            BTreeSet::new()
        } else {
            self.store.tasks_before(&dag_id, before.logical_date, &missing).await?
        };
        let EarlierRun { run, logical_date, states, given_up } = before;
        Ok(Some(PastRun { run, logical_date, states, given_up, ran_earlier }))
    }

    pub async fn put_dag(&mut self, row: SchedulerDag) -> Result<()> {
        let Some(version) = self.versions.of(row.version_key, &row.dag) else { return Ok(()) };
        let recent = self.recent_runs(&row).await?;
        let waits_for_assets = row.dag.assets.is_some();
        self.view.put_dag(DagFacts {
            version,
            is_paused: row.is_paused,
            is_stale: row.is_stale,
            last_interval: row.last_interval,
            pointer: row.pointer,
            recent,
        });
        if waits_for_assets {
            self.read_asset_events(&row.dag_id).await?;
        }
        Ok(())
    }

    /// What has happened since the DAG's last asset-triggered run.
    pub async fn read_asset_events(&mut self, dag_id: &DagId) -> Result<()> {
        let events = self.store.queued_asset_events(dag_id).await?;
        self.view.set_asset_events(dag_id, events);
        Ok(())
    }

    /// Read only for DAGs that ask for it.
    async fn recent_runs(&self, row: &SchedulerDag) -> Result<RecentRuns> {
        let mut recent = RecentRuns::default();
        let limit = row.dag.max_consecutive_failed_dag_runs;
        if limit > 0 {
            recent.ends = self.last_ends(&row.dag_id, limit).await?;
        }
        if row.dag.longer_than_usual.is_some() {
            recent.durations = self.store.last_run_durations(&row.dag_id, USUAL_RUNS).await?;
        }
        Ok(recent)
    }

    async fn last_ends(&self, dag_id: &DagId, limit: u32) -> Result<Vec<RunEnd>> {
        let runs = self.store.last_finished_runs(dag_id, limit).await?;
        let end =
            |it: FinishedRun| RunEnd { run: it.run, run_after: it.run_after, has_failed: it.state == RunState::Failed };
        Ok(runs.into_iter().map(end).collect())
    }

    /// A run of the DAG was changed by hand: how its last runs ended is read again, if it is kept count of.
    pub async fn read_last_ends(&mut self, dag_id: &DagId) -> Result<()> {
        let limit = self.view.dag(dag_id).map_or(0, |facts| facts.version.dag.max_consecutive_failed_dag_runs);
        if limit > 0 {
            let ends = self.last_ends(dag_id, limit).await?;
            self.view.set_last_ends(dag_id, ends);
        }
        Ok(())
    }

    /// A run whose stored version cannot be read is left out, with an error in the log.
    pub async fn put_run(&mut self, run: &ActiveRun) -> Result<()> {
        let dag = match self.store.dag_version(run.row.version_key).await {
            Ok(dag) => dag,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(dag = %run.row.dag_id, run = %run.row.run_id, %error, "a run cannot be used; left out");
                return Ok(());
            }
        };
        let Some(version) = self.versions.of(run.row.version_key, &dag) else { return Ok(()) };
        let producers: Vec<&str> = version.mapping.producers(&version.dag).map(|id| id.as_str()).collect();
        let list_lengths = match producers.as_slice() {
            [] => Vec::new(),
            producers => self.store.list_lengths(run.row.key, producers).await?,
        };
        let failed_outside = self.failed_outside(run, &version).await?;
        let instances = self.instances(run).await?;
        let length = |it: ListLength| ResultLength {
            task_id: it.task_id,
            map_index: it.map_index,
            length: it.length,
            digests: it.digests,
        };
        let list_lengths = list_lengths.into_iter().map(length).collect();
        self.view.put_run(RunSnapshot {
            list_lengths,
            dag_id: run.row.dag_id.clone(),
            facts: Arc::new(run.row.facts()),
            state: run.row.state,
            version,
            backfill_key: run.row.runs_for_backfill(),
            backfill_ordinal: run.row.backfill_ordinal,
            ending: run.row.ending.clone(),
            was_cleared: run.row.clear_number > 0,
            instances,
            failed_outside,
        });
        Ok(())
    }

    async fn instances(&mut self, run: &ActiveRun) -> Result<Vec<InstanceSnapshot>> {
        let mut instances: Vec<InstanceSnapshot> = run.instances.iter().map(instance).collect();
        for (snapshot, row) in instances.iter_mut().zip(&run.instances) {
            if let Some(version_key) = row.begun_with {
                snapshot.begun = Some(self.begun_with(run, row, version_key).await?);
            }
        }
        Ok(instances)
    }

    /// What a try holds that began with another version. When that can't be had: what the run's version says, and no key.
    async fn begun_with(&mut self, run: &ActiveRun, row: &InstanceRow, version_key: i64) -> Result<Begun> {
        let unknown = || Begun { pool: row.pool.clone(), pool_slots: row.pool_slots, key: None };
        let dag = match self.store.dag_version(version_key).await {
            Ok(dag) => dag,
            Err(error) if error.is_transient() => return Err(error),
            Err(error) => {
                tracing::error!(dag = %run.row.dag_id, task = %row.task_id, %error, "what a try holds is not known");
                return Ok(unknown());
            }
        };
        let Some(task) = dag.task(row.task_id.as_str()) else { return Ok(unknown()) };
        let key = task.concurrency.as_ref().and_then(|concurrency| {
            let facts = KeyFacts {
                template: &concurrency.key,
                dag: &dag,
                task: Some(task),
                run: &run.row.facts(),
                map_index: row.map_index,
            };
            // One that can't be rendered was never held.
            keys::render(&facts).ok()
        });
        Ok(Begun { pool: task.pool.clone(), pool_slots: task.pool_slots, key })
    }

    /// A run of some tasks of its DAG says nothing of the others; one of them that has failed is still a failure of the
    /// run, if it is one that decides about it.
    async fn failed_outside(&mut self, run: &ActiveRun, part: &DagVersion) -> Result<Option<TaskId>> {
        let is_outside = |it: &&InstanceRow| it.has_failed() && part.dag.task(it.task_id.as_str()).is_none();
        let mut outside = run.instances.iter().filter(is_outside).peekable();
        if outside.peek().is_none() {
            return Ok(None);
        }
        let Some(key) = self.store.whole_version(part.key).await? else { return Ok(None) };
        let Some(whole) = self.versions.of(key, &self.store.dag_version(key).await?) else { return Ok(None) };
        Ok(outside.find(|it| whole.decides(it.task_id.as_str())).map(|it| it.task_id.clone()))
    }

    pub async fn read_pools(&mut self) -> Result<()> {
        let pools = self.store.pools().await?;
        self.view.set_pools(
            pools
                .into_iter()
                .map(|row| (row.name, PoolFacts { slots: row.slots, include_deferred: row.include_deferred })),
        );
        Ok(())
    }

    pub async fn read_backfills(&mut self) -> Result<()> {
        let backfills = self.store.active_backfills().await?;
        let facts =
            |row: &BackfillRow| BackfillFacts { max_active_runs: row.max_active_runs, is_paused: row.is_paused };
        self.view.set_backfills(backfills.iter().map(|row| (row.key, facts(row))));
        Ok(())
    }

    /// Lets go of versions that nothing else holds.
    pub fn prune(&mut self) {
        self.versions.known.retain(|_, version| Arc::strong_count(version) > 1);
    }
}

fn instance(row: &InstanceRow) -> InstanceSnapshot {
    InstanceSnapshot {
        key: row.key,
        task_id: row.task_id.clone(),
        map_index: row.map_index,
        state: row.state,
        try_number: row.try_number,
        max_tries: row.max_tries,
        generation: row.generation,
        lost_workers: row.lost_workers,
        pool: row.pool.clone(),
        pool_slots: row.pool_slots,
        priority_weight: row.priority_weight,
        next_try_at: row.next_try_at,
        put_offs: row.put_offs,
        token: row.lease.as_ref().map(|lease| lease.token.clone()),
        choice: row.choice.clone(),
        given_up: row.given_up,
        is_outside: row.is_outside,
        begun: None,
        item: row.item,
    }
}
