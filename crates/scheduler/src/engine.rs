//! A leader's view of the world and its turns, without a clock of its own and without waiting: the scheduler drives it
//! by events, a simulation by hand.

mod aside;
mod flight;
mod reconcile;
mod recover;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::{Assignment, Completion, Executor, InstanceKey, Release, Resumption, RunKey};
use millrace_model::ids::DagId;
use millrace_model::maintenance::Maintenance;
use millrace_planner::{Limits, Plan, View, plan};
use millrace_situation::Situation;
use millrace_store::{Result, SetAside, SignalKind, Store, StoreError};
use tokio::sync::Notify;

use self::aside::Aside;
use crate::options::EndLeftovers;

/// Rounds of planning and committing in one turn. Each follows from something that changed; far fewer are ever needed.
const ROUNDS_AT_MOST: u32 = 1_000;

/// What an engine needs to know of its leader.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// The owner of its claims.
    pub job_id: String,
    pub epoch: i64,
    /// The lock proves that every earlier leader's process has ended.
    pub previous_owner_is_dead: bool,
    pub lease_ttl: TimeDelta,
    /// The maintenance windows of the installation.
    pub maintenance: Arc<Maintenance>,
    /// Instances that a mapped task may have.
    pub max_map_length: usize,
}

/// A try that wants its slot again.
struct Returned {
    token: String,
    /// For the metrics.
    since: Instant,
}

/// Knows nothing yet but the rules of the installation.
fn fresh(store: &Store, options: &EngineOptions) -> Situation {
    let mut situation = Situation::new(store.clone()).with_maintenance(options.maintenance.clone());
    situation.view.set_max_map_length(options.max_map_length);
    situation
}

/// Whatever fails in the database leaves the view in doubt: the next turn reads everything again and goes on from what
/// is really there, with the results that are not committed yet. A turn that failed may simply be tried again.
pub struct Engine {
    store: Store,
    executor: Arc<dyn Executor>,
    options: EngineOptions,
    situation: Situation,
    /// Tries that this engine started and whose end is not committed, with their tokens.
    in_flight: BTreeMap<InstanceKey, String>,
    /// Those of them that have ended, by their tokens: kept until their end is committed or refused.
    ended: BTreeMap<String, Completion>,
    /// Tries that were claimed while an earlier one of their instance had not stopped yet: they begin when it has.
    parked: BTreeMap<InstanceKey, Assignment>,
    /// Those earlier ones, by their tokens.
    stopping: BTreeMap<String, InstanceKey>,
    /// Those of them that came back from outside and have no slot yet.
    back: BTreeMap<InstanceKey, Returned>,
    /// Tries that somebody else holds: an earlier leader that may be alive, or a command.
    foreign: BTreeSet<InstanceKey>,
    /// Signals that were taken into account; they go with the next commit.
    handled: Vec<i64>,
    /// What the database refuses.
    aside: Aside,
    /// What of it was written down; none: nothing is known yet.
    aside_told: Option<Vec<SetAside>>,
    /// Of the last plan.
    claimed_at: DateTime<Utc>,
    is_draining: bool,
    /// The last turn was given up after [`ROUNDS_AT_MOST`].
    is_endless: bool,
    /// The view is not what the database says: nothing was read yet, or something failed.
    is_in_doubt: bool,
    /// The last sign of life of each owner of foreign tries, and when this engine last looked for one. Forgotten whenever
    /// the database fails: others may have been unable to give any for as long as this engine was unable to read them.
    watched: BTreeMap<String, (DateTime<Utc>, DateTime<Utc>)>,
    /// Told when the pools were changed.
    pools_changed: Arc<Notify>,
    /// Told when somebody wants the DAG files to be read again.
    files_asked: Arc<Notify>,
    /// This machine, and what ends processes on it.
    leftovers: Option<(String, EndLeftovers)>,
}

impl Engine {
    /// Knows nothing: its first turn reads everything that is active and takes over what earlier leaders left behind.
    pub fn new(store: Store, executor: Arc<dyn Executor>, options: EngineOptions) -> Self {
        Self {
            situation: fresh(&store, &options),
            store,
            executor,
            options,
            in_flight: BTreeMap::new(),
            ended: BTreeMap::new(),
            parked: BTreeMap::new(),
            stopping: BTreeMap::new(),
            back: BTreeMap::new(),
            foreign: BTreeSet::new(),
            handled: Vec::new(),
            aside: Aside::default(),
            aside_told: None,
            claimed_at: DateTime::UNIX_EPOCH,
            is_draining: false,
            is_endless: false,
            is_in_doubt: true,
            watched: BTreeMap::new(),
            pools_changed: Arc::default(),
            files_asked: Arc::default(),
            leftovers: None,
        }
    }

    /// An engine that has read everything.
    pub async fn start(
        store: Store,
        executor: Arc<dyn Executor>,
        options: EngineOptions,
        now: DateTime<Utc>,
    ) -> Result<Self> {
        let mut engine = Self::new(store, executor, options);
        engine.read_again(now).await?;
        engine.is_in_doubt = false;
        Ok(engine)
    }

    /// What a lost try left running on this machine is ended before the try is given again.
    pub fn end_leftovers_with(&mut self, hostname: String, end: EndLeftovers) {
        self.leftovers = Some((hostname, end));
    }

    /// For whoever does something with the pools besides the planner.
    pub fn pools_changed(&self) -> Arc<Notify> {
        self.pools_changed.clone()
    }

    /// The planner's picture, for those who explain.
    pub fn view(&self) -> &View {
        &self.situation.view
    }

    /// What the database refuses to take, if anything: runs and DAGs that this engine leaves alone because of it.
    pub fn set_aside(&self) -> Option<String> {
        self.aside.text()
    }

    /// Whether the last turn came to no end: what it decided was never taken, or called for more at once.
    pub fn is_endless(&self) -> bool {
        self.is_endless
    }

    /// Other windows of the installation, from the next turn on.
    pub fn set_maintenance(&mut self, maintenance: Arc<Maintenance>) {
        self.options.maintenance = maintenance.clone();
        self.situation.view.set_maintenance(maintenance);
    }

    /// Is notified when somebody wants the DAG files to be read again.
    pub fn files_asked(&self) -> Arc<Notify> {
        self.files_asked.clone()
    }

    /// From now on nothing new starts.
    pub fn drain(&mut self) {
        self.is_draining = true;
    }

    /// The lead was lost and taken again: everything is read anew, and what was committed by others meanwhile stands.
    pub fn lead_again(&mut self, epoch: i64) {
        self.options.epoch = epoch;
        self.is_in_doubt = true;
        self.aside_told = None;
    }

    /// Reads again what signals name.
    pub async fn take_signals(&mut self, now: DateTime<Utc>) -> Result<()> {
        // All of it is read again with the next turn.
        if self.is_in_doubt {
            return Ok(());
        }
        self.is_in_doubt = true;
        self.read_signalled(now).await?;
        self.is_in_doubt = false;
        Ok(())
    }

    /// Also within a turn: the store takes nothing more of a run that was changed by hand until its signal is handled.
    async fn read_signalled(&mut self, now: DateTime<Utc>) -> Result<()> {
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
                SignalKind::FilesAsked => self.files_asked.notify_one(),
            }
        }
        if pools {
            self.situation.read_pools().await?;
            self.pools_changed.notify_one();
        }
        // A signal without a DAG's name means any of them.
        if dags.contains(&None) {
            self.read_dags().await?;
        } else {
            for dag_id in dags.iter().flatten() {
                self.read_dag(dag_id).await?;
            }
        }
        for dag_id in dags.iter().flatten() {
            self.situation.view.pasts_may_be_gone(dag_id);
        }
        if !backfills.is_empty() {
            self.situation.read_backfills().await?;
            self.read_backfill_runs(&backfills, now).await?;
        }
        for run in runs {
            if self.aside.take_back_run(run) {
                self.situation.view.thaw_run(run);
            }
            self.read_run(run, now).await?;
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
            if self.aside.take_back_dag(&row.dag_id) {
                self.situation.view.thaw_dag(&row.dag_id);
            }
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
        for run in self.store.active_runs().await? {
            if dags.contains(&run.row.dag_id) && run.row.backfill_key.is_some() {
                known.remove(&run.row.key);
                self.put_run(&run, now).await?;
            }
        }
        for run in known {
            self.read_run(run, now).await?;
        }
        Ok(())
    }

    pub(super) async fn read_dag(&mut self, dag_id: &DagId) -> Result<()> {
        if self.aside.take_back_dag(dag_id) {
            self.situation.view.thaw_dag(dag_id);
        }
        match self.store.scheduler_dag(dag_id).await? {
            Some(row) => self.situation.put_dag(row).await?,
            None => self.situation.view.remove_dag(dag_id),
        }
        self.situation.prune();
        Ok(())
    }

    /// Plans, commits and starts until nothing follows. Returns when there will be something to decide even if nothing
    /// happens. An error costs nothing but time: call it again. May be dropped while it waits.
    pub async fn turn(&mut self, clock: &(dyn Fn() -> DateTime<Utc> + Send + Sync)) -> Result<Option<DateTime<Utc>>> {
        if std::mem::replace(&mut self.is_in_doubt, true) {
            self.read_again(clock()).await?;
        }
        self.is_endless = false;
        let wake_at = self.decide(clock).await?;
        self.is_in_doubt = false;
        self.tell_of_aside().await;
        Ok(wake_at)
    }

    async fn decide(&mut self, clock: &(dyn Fn() -> DateTime<Utc> + Send + Sync)) -> Result<Option<DateTime<Utc>>> {
        for _ in 0..ROUNDS_AT_MOST {
            self.situation.read_pasts().await?;
            let now = clock();
            self.claimed_at = now;
            let limits = self.limits();
            let began = Instant::now();
            let Plan { mut batch, assignments, cancels, resumptions, wake_at, unknown, refused } =
                plan(&mut self.situation.view, now, &limits);
            self.store.count_plan(began.elapsed());
            for completion in refused {
                self.forget_try(&completion);
                // Usual after a clear or a mark: it was stopped for that.
                tracing::info!(
                    instance = completion.instance,
                    r#try = completion.try_number,
                    "a try that was taken from its task has stopped; its result counts for nothing"
                );
                batch.releases.push(Release { instance: completion.instance, token: completion.token });
            }
            let found = self.find_unknown(unknown, &mut batch.releases, now).await?;
            batch.signals_handled = std::mem::take(&mut self.handled);
            if batch.is_empty() {
                self.stop_tries(&cancels);
                self.resume_tries(&resumptions);
                if !found && !self.must_look_back() {
                    return Ok(wake_at);
                }
                continue;
            }
            let again = match self.store.commit(&batch, self.options.epoch, now).await {
                Ok(report) => {
                    self.stop_tries(&cancels);
                    self.resume_tries(&resumptions);
                    self.settle(&batch, &report, assignments, now).await?
                }
                Err(error) if error.is_transient() || Self::is_deposed(&error) => return Err(error),
                Err(error) => {
                    self.find_culprits(&batch, error, now).await?;
                    self.read_again(now).await?;
                    true
                }
            };
            if !again && !found && !self.must_look_back() {
                return Ok(wake_at);
            }
        }
        self.is_endless = true;
        tracing::error!(rounds = ROUNDS_AT_MOST, "a turn comes to no end; it is looked at again later");
        Ok(None)
    }

    fn must_look_back(&self) -> bool {
        self.situation.view.wanted_pasts().next().is_some()
    }

    pub(crate) fn limits(&self) -> Limits {
        Limits {
            free_slots: self.free_slots(),
            owner: self.options.job_id.clone(),
            lease_ttl: self.options.lease_ttl,
            is_draining: self.is_draining,
        }
    }

    fn resume_tries(&mut self, resumptions: &[Resumption]) {
        for Resumption { instance, token } in resumptions {
            if let Some(returned) = self.back.remove(instance) {
                self.store.count_return(returned.since.elapsed());
            }
            self.executor.resume(*instance, token);
        }
    }

    /// Reads the runs of finished tries that the view does not know. Returns whether one was found.
    async fn find_unknown(
        &mut self,
        unknown: Vec<Completion>,
        releases: &mut Vec<Release>,
        now: DateTime<Utc>,
    ) -> Result<bool> {
        let mut found = false;
        for completion in unknown {
            let row = self.store.instance_by_key(completion.instance).await?;
            let is_ours =
                row.as_ref().and_then(|row| row.lease.as_ref()).is_some_and(|lease| lease.token == completion.token);
            if let Some(row) = row.as_ref().filter(|row| is_ours && row.state.is_finished()) {
                releases.push(Release { instance: row.key, token: completion.token.clone() });
            } else if let Some(row) = row.filter(|_| is_ours) {
                self.read_run(row.run, now).await?;
                if self.situation.view.run_of(completion.instance).is_some() {
                    self.situation.view.complete(completion);
                    found = true;
                    continue;
                }
                tracing::error!(instance = row.key, "a try ended whose run cannot be read; its lease will expire");
            }
            self.forget_try(&completion);
        }
        Ok(found)
    }

    /// Whether the error means that another process leads now.
    pub fn is_deposed(error: &StoreError) -> bool {
        matches!(error, StoreError::StaleEpoch { .. })
    }
}
