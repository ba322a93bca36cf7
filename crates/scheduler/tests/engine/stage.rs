//! A store of its own for each test, DAGs made of a few words, and an executor whose tries end when the test says so.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use millrace_model::change::{Assignment, Batch, Claim, Completion, Executor, InstanceKey, Report, RunKey, TryOutcome};
use millrace_model::dag::{Dag, Task};
use millrace_model::ids::{DagId, TaskId};
use millrace_model::instant::parse_instant;
use millrace_model::schedule::{Schedule, Timetable};
use millrace_model::state::{RunState, TaskState};
use millrace_operator_api::context::Clock;
use millrace_planner::{DagVersion, ManualRun, manual_run};
use millrace_scheduler::{Engine, EngineOptions};
use millrace_situation::{BackfillRequest, prepare_backfill};
use millrace_store::{
    BackfillReport, Leadership, NewJob, Reprocess, RunFilter, RunRequest, RunRow, Store, StoreError, StoreOptions,
    SyncDag, schema,
};
use millrace_testkit::{Postgres, TestDatabase};
use tempfile::TempDir;
use tokio::sync::OnceCell;

pub fn instant(text: &str) -> DateTime<Utc> {
    parse_instant(text, Tz::UTC).unwrap()
}

/// A clock that moves when it is told to.
#[derive(Clone)]
pub struct HandClock(Arc<Mutex<DateTime<Utc>>>);

impl HandClock {
    pub fn at(text: &str) -> Self {
        Self(Arc::new(Mutex::new(instant(text))))
    }

    pub fn advance(&self, by: TimeDelta) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap()
    }
}

#[derive(Default)]
struct Running {
    assignments: BTreeMap<InstanceKey, Assignment>,
    /// They have left their slots.
    outside: BTreeMap<InstanceKey, Assignment>,
    cancelled: Vec<(InstanceKey, String)>,
    /// Tokens of tries that were asked to stop, each with why.
    stopping: BTreeMap<String, String>,
}

/// Tries that were started and have not been told to end.
#[derive(Clone)]
pub struct HandExecutor {
    slots: usize,
    running: Arc<Mutex<Running>>,
}

impl HandExecutor {
    pub fn new(slots: usize) -> Self {
        Self { slots, running: Arc::default() }
    }

    pub fn running(&self) -> Vec<Assignment> {
        self.running.lock().unwrap().assignments.values().cloned().collect()
    }

    /// Also those that have left their slots.
    pub fn everything(&self) -> Vec<Assignment> {
        let running = self.running.lock().unwrap();
        running.assignments.values().chain(running.outside.values()).cloned().collect()
    }

    pub fn outside(&self) -> Vec<Assignment> {
        self.running.lock().unwrap().outside.values().cloned().collect()
    }

    pub fn names(&self) -> Vec<String> {
        let name = |it: &Assignment| format!("{}#{}", it.task().task_id, it.try_number);
        let mut names: Vec<String> = self.running().iter().map(name).collect();
        names.sort();
        names
    }

    pub fn cancelled(&self) -> Vec<(InstanceKey, String)> {
        self.running.lock().unwrap().cancelled.clone()
    }

    /// Why a try was asked to stop, if it was.
    pub fn stopping(&self, token: &str) -> Option<String> {
        self.running.lock().unwrap().stopping.get(token).cloned()
    }

    pub fn go_outside(&self, instance: InstanceKey) {
        let mut running = self.running.lock().unwrap();
        let left = running.assignments.remove(&instance).expect("the try runs");
        running.outside.insert(instance, left);
    }

    /// Ends the try of an instance; the slot, if it has one, is free at once.
    pub fn end(&self, instance: InstanceKey, outcome: TryOutcome, now: DateTime<Utc>) -> Completion {
        let mut running = self.running.lock().unwrap();
        let ended = running.assignments.remove(&instance).or_else(|| running.outside.remove(&instance));
        let ended = ended.expect("the try runs");
        Completion::new(instance, ended.try_number, ended.token, outcome, (now, now))
    }

    /// Ends the only running try of that task.
    pub fn end_task(&self, task_id: &str, outcome: TryOutcome, now: DateTime<Utc>) -> Completion {
        let found: Vec<InstanceKey> =
            self.running().iter().filter(|it| it.task().task_id.as_str() == task_id).map(|it| it.instance).collect();
        assert_eq!(found.len(), 1, "tries of {task_id} that run: {:?}", self.names());
        self.end(found[0], outcome, now)
    }

    /// The process dies: nothing that ran will ever report.
    pub fn die(&self) {
        let mut running = self.running.lock().unwrap();
        running.assignments.clear();
        running.outside.clear();
    }
}

impl Executor for HandExecutor {
    fn free_slots(&self) -> usize {
        self.slots.saturating_sub(self.running.lock().unwrap().assignments.len())
    }

    fn start(&self, assignments: Vec<Assignment>) {
        let mut running = self.running.lock().unwrap();
        for assignment in assignments {
            let before = running.assignments.insert(assignment.instance, assignment);
            assert!(before.is_none(), "a try was started while another of its instance ran");
            assert!(running.assignments.len() <= self.slots, "more tries than slots");
        }
        let twice = running.outside.keys().find(|instance| running.assignments.contains_key(instance));
        assert!(twice.is_none(), "a try was started while another of its instance waited outside");
    }

    fn resume(&self, instance: InstanceKey, token: &str) {
        let mut running = self.running.lock().unwrap();
        let Some(outside) = running.outside.remove(&instance) else {
            // It ended before it got its slot.
            assert!(!running.assignments.contains_key(&instance), "it got a slot twice");
            return;
        };
        assert_eq!(outside.token, token);
        running.assignments.insert(instance, outside);
        assert!(running.assignments.len() <= self.slots, "more tries than slots");
    }

    /// Whoever drives it ends what stops.
    fn fence(&self, reason: &str, _grace: Duration) {
        for running in self.everything() {
            self.cancel(running.instance, &running.token, reason);
        }
    }

    fn lift_fence(&self) {}

    fn cancel(&self, instance: InstanceKey, token: &str, reason: &str) {
        let mut running = self.running.lock().unwrap();
        running.cancelled.push((instance, reason.to_owned()));
        running.stopping.insert(token.to_owned(), reason.to_owned());
    }
}

/// In memory where there is such a folder: these tests write much, and prove nothing about the disk.
fn home() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// Made once, copied for each test.
async fn empty_database() -> &'static TempDir {
    static EMPTY: OnceCell<TempDir> = OnceCell::const_new();
    EMPTY
        .get_or_init(async || {
            let folder = home();
            schema::migrate(&url(folder.path()), true, instant("2024-01-01")).await.unwrap();
            folder
        })
        .await
}

fn url(home: &Path) -> String {
    format!("sqlite://{}/millrace.db", home.display())
}

/// Migrated and otherwise empty, to be copied: migrating takes longer than most tests.
pub enum Blank {
    Sqlite,
    Postgres(TestDatabase),
}

impl Blank {
    pub async fn postgres() -> Self {
        let database = Postgres::shared().unwrap().create_database().unwrap();
        schema::migrate(&database.url(), true, instant("2024-01-01")).await.unwrap();
        Self::Postgres(database)
    }
}

pub struct Stage {
    pub home: TempDir,
    /// On PostgreSQL; dropped with the stage.
    database: Option<TestDatabase>,
    pub store: Store,
    pub executor: HandExecutor,
    pub clock: HandClock,
    pub engine: Option<Engine>,
    leadership: Option<Leadership>,
}

impl Stage {
    pub async fn new(slots: usize) -> Self {
        Self::on(&Blank::Sqlite, slots).await
    }

    pub async fn on(blank: &Blank, slots: usize) -> Self {
        let home = home();
        let (database, url) = match blank {
            Blank::Sqlite => {
                for entry in std::fs::read_dir(empty_database().await.path()).unwrap() {
                    let entry = entry.unwrap();
                    std::fs::copy(entry.path(), home.path().join(entry.file_name())).unwrap();
                }
                (None, url(home.path()))
            }
            Blank::Postgres(blank) => {
                let database = blank.server().copy_database(blank).unwrap();
                let url = database.url();
                (Some(database), url)
            }
        };
        let options = StoreOptions { url, max_connections: 2, home: Some(home.path().to_owned()) };
        let store = Store::open(&options).await.unwrap();
        let (executor, clock) = (HandExecutor::new(slots), HandClock::at("2024-01-01"));
        Self { home, database, store, executor, clock, engine: None, leadership: None }
    }

    pub fn is_on_postgres(&self) -> bool {
        self.database.is_some()
    }

    /// None on SQLite.
    pub fn database(&self) -> Option<&TestDatabase> {
        self.database.as_ref()
    }

    /// Another process with the same database.
    pub async fn another_store(&self) -> Store {
        let url = self.database.as_ref().map_or_else(|| url(self.home.path()), TestDatabase::url);
        let options = StoreOptions { url, max_connections: 2, home: Some(self.home.path().to_owned()) };
        Store::open(&options).await.unwrap()
    }

    /// Takes the lead, which is free.
    pub async fn take_lead(&self, store: &Store, job_id: &str) -> Result<Leadership, StoreError> {
        loop {
            if let Some(leadership) = store.try_lead(job_id, self.now()).await? {
                return Ok(leadership);
            }
            // PostgreSQL frees the lock as soon as it notices that its session has ended.
            assert!(self.database.is_some(), "nobody leads");
            tokio::task::yield_now().await;
        }
    }

    pub fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    /// Stores a DAG, unpaused.
    pub async fn put(&self, dag: &Dag) {
        let file = SyncDag { dag, file_path: "x.yaml", source: "", paused_at_creation: false };
        self.store.sync_dag(file, self.now()).await.unwrap();
    }

    /// A process of its own: registers, leads, reads everything, has its first turn.
    pub async fn lead(&mut self) {
        let job = NewJob { kind: "scheduler".into(), hostname: "here".into(), pid: 1 };
        let job_id = self.store.register_job(&job, self.now()).await.unwrap();
        let leadership = self.take_lead(&self.store, &job_id).await.unwrap();
        let options = EngineOptions {
            job_id,
            epoch: leadership.epoch,
            previous_owner_is_dead: leadership.previous_owner_is_dead,
            maintenance: Arc::default(),
            max_map_length: 1024,
            lease_ttl: TimeDelta::seconds(60),
        };
        self.leadership = Some(leadership);
        let executor = Arc::new(self.executor.clone());
        self.engine = Some(Engine::start(self.store.clone(), executor, options, self.now()).await.unwrap());
        self.turn().await;
    }

    /// kill -9: the engine and what it ran are gone, the lock is free.
    pub fn kill(&mut self) {
        self.engine = None;
        self.leadership = None;
        self.executor.die();
    }

    /// Takes signals and has a turn.
    pub async fn turn(&mut self) -> Option<DateTime<Utc>> {
        let clock = self.clock.clone();
        let engine = self.engine.as_mut().unwrap();
        engine.take_signals(clock.now()).await.unwrap();
        engine.turn(&move || clock.now()).await.unwrap()
    }

    pub async fn end(&mut self, task_id: &str, outcome: TryOutcome) {
        let completion = self.executor.end_task(task_id, outcome, self.now());
        self.engine.as_mut().unwrap().complete(completion);
        self.turn().await;
    }

    /// The only running try of that task leaves its slot.
    pub async fn go_outside(&mut self, task_id: &str) {
        let found = self.executor.running().into_iter().find(|it| it.task().task_id.as_str() == task_id).unwrap();
        self.executor.go_outside(found.instance);
        let report = Report::WentOutside { instance: found.instance, token: found.token };
        self.engine.as_mut().unwrap().complete(report);
        self.turn().await;
    }

    pub async fn come_back(&mut self, try_: &Assignment) {
        let report = Report::CameBack { instance: try_.instance, token: try_.token.clone() };
        self.engine.as_mut().unwrap().complete(report);
        self.turn().await;
    }

    /// As a person asks for it.
    pub async fn backfill(&self, dag_id: &str, request: BackfillRequest) -> BackfillReport {
        let dag = self.store.dag(dag_id, 0).await.unwrap().unwrap();
        let prepared = prepare_backfill(&self.store, &dag, request, self.now()).await.unwrap();
        self.store.create_backfill(&prepared.new, self.now()).await.unwrap()
    }

    pub async fn trigger(&self, dag_id: &str) -> RunRow {
        let row = self.store.scheduler_dag(&DagId::new_unchecked(dag_id)).await.unwrap().unwrap();
        let version = DagVersion::new(row.version_key, row.dag).unwrap();
        let request = ManualRun {
            version: &version,
            run_id: None,
            logical_date: None,
            conf: Default::default(),
            triggered_by: "cli".into(),
        };
        let run = manual_run(request, self.now()).unwrap();
        let request = RunRequest { run, note: None, actor: "cli".into() };
        let created = self.store.create_run(&request, self.now()).await.unwrap();
        self.store.run_by_key(created.run).await.unwrap().unwrap()
    }

    /// The run's first task is run by a command of its own, under a lease of a minute.
    pub async fn claim_by_command(&self, run: RunKey) {
        let now = self.now();
        let job = NewJob { kind: "task_run".into(), hostname: "elsewhere".into(), pid: 1 };
        let claim = Claim {
            instance: self.store.instances(run).await.unwrap()[0].key,
            from: TaskState::None,
            try_number: 1,
            owner: self.store.register_job(&job, now).await.unwrap(),
            token: "by hand".into(),
            lease_expires_at: now + TimeDelta::minutes(1),
            queued_at: now,
            item: None,
        };
        let batch = Batch { claims: vec![claim], ..Batch::default() };
        self.store.commit_unled(&batch, now).await.unwrap();
    }

    pub async fn runs(&self) -> Vec<RunRow> {
        self.store.runs(&RunFilter { ascending: true, limit: 10_000, ..RunFilter::default() }).await.unwrap().rows
    }

    pub async fn run_states(&self) -> Vec<RunState> {
        self.runs().await.iter().map(|run| run.state).collect()
    }

    /// `task state try` of each instance of the only run.
    pub async fn tasks(&self) -> Vec<String> {
        let runs = self.runs().await;
        assert_eq!(runs.len(), 1, "{runs:?}");
        let rows = self.store.instances(runs[0].key).await.unwrap();
        rows.iter().map(|row| format!("{} {} {}", row.task_id, row.state, row.try_number)).collect()
    }

    pub async fn state_of(&self, instance: InstanceKey) -> TaskState {
        self.store.instance_by_key(instance).await.unwrap().unwrap().state
    }
}

/// New dates, all tasks, one run at a time.
pub fn wished(from: DateTime<Utc>, to: DateTime<Utc>) -> BackfillRequest {
    BackfillRequest {
        from,
        to,
        includes_end: false,
        is_reversed: false,
        ignores_bounds: false,
        reprocess: Reprocess::None,
        max_active_runs: Some(1),
        conf: Default::default(),
        tasks: None,
        actor: "cli".into(),
        dry_run: false,
    }
}

/// `a`, `b < a`, `c < a,b`: each task with those before it.
pub fn dag(dag_id: &str, schedule: serde_json::Value, tasks: &[&str]) -> Dag {
    Dag {
        timetable: Timetable::interval(Schedule::from_value(&schedule).unwrap(), Tz::UTC),
        start_date: Some(instant("2024-01-01")),
        catchup: true,
        tasks: tasks.iter().map(|text| task(text)).collect(),
        ..Dag::new(DagId::new_unchecked(dag_id))
    }
}

pub fn task(text: &str) -> Task {
    let (task_id, upstream) = text.split_once('<').unwrap_or((text, ""));
    let upstream = upstream.split(',').map(str::trim).filter(|name| !name.is_empty());
    Task {
        depends_on: upstream.map(TaskId::new_unchecked).collect(),
        ..Task::new(TaskId::new_unchecked(task_id.trim()), "noop")
    }
}
