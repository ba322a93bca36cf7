//! A leader's view of the world and its turns, without a clock of its own and without waiting: the scheduler drives it
//! by events, a simulation by hand.

mod reconcile;
mod recover;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::{Assignment, Batch, Cancel, Completion, Executor, InstanceKey, RunKey};
use millrace_model::ids::DagId;
use millrace_planner::{Limits, Plan, View, plan};
use millrace_situation::Situation;
use millrace_store::{CommitReport, Result, SignalKind, Store, StoreError};

/// Between attempts to commit while the database is out of reach.
const COMMIT_AGAIN: Duration = Duration::from_millis(50);
const COMMIT_AGAIN_AT_MOST: Duration = Duration::from_secs(2);

/// What an engine needs to know of its leader.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The owner of its claims.
    pub job_id: String,
    pub epoch: i64,
    /// The lock proves that every earlier leader's process has ended.
    pub previous_owner_is_dead: bool,
    pub lease_ttl: TimeDelta,
}

pub struct Engine {
    store: Store,
    executor: Arc<dyn Executor>,
    options: EngineOptions,
    situation: Situation,
    /// Tries that this engine started and whose end is not committed, with their tokens.
    in_flight: BTreeMap<InstanceKey, String>,
    /// Tries that somebody else holds: an earlier leader that may be alive, or a command.
    foreign: BTreeSet<InstanceKey>,
    /// Signals that were taken into account; they go with the next commit.
    handled: Vec<i64>,
    is_draining: bool,
}

impl Engine {
    /// Reads everything that is active and takes over what earlier leaders left behind.
    pub async fn start(
        store: Store,
        executor: Arc<dyn Executor>,
        options: EngineOptions,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let mut engine = Self {
            situation: Situation::new(store.clone()),
            store,
            executor,
            options,
            in_flight: BTreeMap::new(),
            foreign: BTreeSet::new(),
            handled: Vec::new(),
            is_draining: false,
        };
        engine.load(now).await?;
        engine.recover(now).await?;
        Ok(engine)
    }

    async fn load(&mut self, now: DateTime<Utc>) -> Result<()> {
        // What is written from here on is read again because of its signal.
        self.handled.extend(self.store.signals().await?.into_iter().map(|signal| signal.id));
        self.situation.read_everything(now).await
    }

    /// The planner's picture, for those who explain.
    pub fn view(&self) -> &View {
        &self.situation.view
    }

    /// Tries that were started here and whose end is not committed yet.
    pub fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    /// A try has ended; the next turn takes it into account.
    pub fn complete(&mut self, completion: Completion) {
        self.situation.view.complete(completion);
    }

    /// From now on nothing new starts.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// Asks every running try to stop.
    pub fn cancel_all(&self, reason: &str) {
        for (instance, token) in &self.in_flight {
            self.executor.cancel(*instance, token, reason);
        }
    }

    /// Reads again what signals name.
    pub async fn take_signals(&mut self, now: DateTime<Utc>) -> Result<()> {
        let (mut runs, mut dags) = (BTreeSet::new(), BTreeSet::new());
        let (mut pools, mut backfills) = (false, BTreeSet::new());
        let mut ids = Vec::new();
        for signal in self.store.signals().await? {
            if self.handled.contains(&signal.id) {
                continue;
            }
            ids.push(signal.id);
            match signal.kind {
                SignalKind::RunCreated | SignalKind::RunChanged => runs.extend(signal.run),
                SignalKind::DagChanged => dags.extend([signal.dag_id]),
                SignalKind::PoolChanged => pools = true,
                SignalKind::BackfillChanged => backfills.extend(signal.dag_id),
            }
        }
        if pools {
            self.situation.read_pools().await?;
        }
        // A signal without a DAG's name means any of them.
        if dags.contains(&None) {
            self.read_dags().await?;
        } else {
            for dag_id in dags.into_iter().flatten() {
                self.read_dag(&dag_id).await?;
            }
        }
        if !backfills.is_empty() {
            self.situation.read_backfills().await?;
            self.read_backfill_runs(&backfills, now).await?;
        }
        for run in runs {
            self.read_run(run).await?;
        }
        self.handled.extend(ids);
        Ok(())
    }

    async fn read_dags(&mut self) -> Result<()> {
        let rows = self.store.scheduler_dags().await?;
        let present: BTreeSet<DagId> = rows.iter().map(|row| row.dag_id.clone()).collect();
        let known = self.situation.view.dags().map(|facts| facts.version.dag.dag_id.clone());
        let gone: Vec<DagId> = known.filter(|dag_id| !present.contains(dag_id)).collect();
        for row in rows {
            self.situation.put_dag(row).await?;
        }
        for dag_id in gone {
            self.situation.view.remove_dag(&dag_id);
        }
        self.situation.prune();
        Ok(())
    }

    /// Reads all runs that backfills of these DAGs made, took over or gave up.
    async fn read_backfill_runs(&mut self, dags: &BTreeSet<DagId>, now: DateTime<Utc>) -> Result<()> {
        let mut known: BTreeSet<RunKey> = self.situation.view.backfill_runs(dags).collect();
        for run in self.store.active_runs(now).await? {
            if dags.contains(&run.row.dag_id) && run.row.backfill_key.is_some() {
                known.remove(&run.row.key);
                self.note_leases(&run);
                self.situation.put_run(&run).await?;
            }
        }
        for run in known {
            self.read_run(run).await?;
        }
        Ok(())
    }

    async fn read_dag(&mut self, dag_id: &DagId) -> Result<()> {
        match self.store.scheduler_dag(dag_id).await? {
            Some(row) => self.situation.put_dag(row).await?,
            None => self.situation.view.remove_dag(dag_id),
        }
        self.situation.prune();
        Ok(())
    }

    /// Plans, commits and starts until nothing follows. Returns when there will be something to decide even if nothing
    /// happens.
    pub async fn turn(&mut self, clock: &(dyn Fn() -> DateTime<Utc> + Send + Sync)) -> Result<Option<DateTime<Utc>>> {
        loop {
            let now = clock();
            let limits = Limits {
                free_slots: self.executor.free_slots(),
                owner: self.options.job_id.clone(),
                lease_ttl: self.options.lease_ttl,
                is_draining: self.is_draining,
            };
            let Plan { mut batch, assignments, cancels, wake_at, unknown, refused } =
                plan(&mut self.situation.view, now, &limits);
            for completion in &refused {
                self.in_flight.retain(|instance, token| *instance != completion.instance || *token != completion.token);
                tracing::warn!(
                    instance = completion.instance,
                    "a try ended that is not the instance's any more; left out"
                );
            }
            let found = self.find_unknown(unknown).await?;
            batch.signals_handled = std::mem::take(&mut self.handled);
            if batch.is_empty() {
                self.stop_tries(&cancels);
                if !found {
                    return Ok(wake_at);
                }
                continue;
            }
            let report = self.commit(&batch, now).await?;
            self.stop_tries(&cancels);
            let again = self.settle(&batch, &report, assignments, now).await?;
            if !again && !found {
                return Ok(wake_at);
            }
        }
    }

    /// Commits, however long the database is out of reach: what the batch holds must not be lost.
    async fn commit(&mut self, batch: &Batch, now: DateTime<Utc>) -> Result<CommitReport> {
        let mut pause = COMMIT_AGAIN;
        loop {
            match self.store.commit(batch, self.options.epoch, now).await {
                Ok(report) => return Ok(report),
                Err(error) if error.is_transient() => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot commit; trying again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(COMMIT_AGAIN_AT_MOST);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn start_tries(&mut self, assignments: Vec<Assignment>) {
        for assignment in &assignments {
            self.in_flight.insert(assignment.instance, assignment.token.clone());
        }
        if !assignments.is_empty() {
            self.executor.start(assignments);
        }
    }

    /// Those that others hold cannot be reached from here.
    fn stop_tries(&self, cancels: &[Cancel]) {
        for Cancel { instance, token, reason } in cancels {
            if self.in_flight.get(instance).is_some_and(|held| held == token) {
                self.executor.cancel(*instance, token, reason);
            }
        }
    }

    /// Reads the runs of finished tries that the view does not know. Returns whether one was found.
    async fn find_unknown(&mut self, unknown: Vec<Completion>) -> Result<bool> {
        let mut found = false;
        for completion in unknown {
            self.in_flight.remove(&completion.instance);
            let row = self.store.instance_by_key(completion.instance).await?;
            let is_ours =
                row.as_ref().and_then(|row| row.lease.as_ref()).is_some_and(|lease| lease.token == completion.token);
            if let Some(row) = row.filter(|_| is_ours) {
                self.read_run(row.run).await?;
                if self.situation.view.run_of(completion.instance).is_some() {
                    self.situation.view.complete(completion);
                    found = true;
                    continue;
                }
                tracing::error!(instance = row.key, "a try ended whose run cannot be read; its lease will expire");
            }
        }
        Ok(found)
    }

    /// Whether the error means that another process leads now.
    pub fn is_deposed(error: &StoreError) -> bool {
        matches!(error, StoreError::StaleEpoch { .. })
    }

    /// Reads a run again, whatever is known of it.
    pub(crate) async fn read_run(&mut self, key: RunKey) -> Result<()> {
        match self.store.active_run(key).await? {
            Some(run) => {
                self.note_leases(&run);
                self.situation.put_run(&run).await
            }
            None => {
                self.situation.view.remove_run(key);
                Ok(())
            }
        }
    }
}
