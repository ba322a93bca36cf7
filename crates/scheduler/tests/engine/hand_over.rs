//! A leader that is stopped in the midst of a commit, as by SIGSTOP, while another takes the lead, and goes on afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use chrono::TimeDelta;
use millrace_model::change::{RunKey, TryOutcome};
use millrace_model::state::TaskState;
use millrace_scheduler::{Engine, EngineOptions};
use millrace_store::faults::{Fault, FaultPoint, Faults, with_faults};
use millrace_store::{Leadership, NewJob, Store, StoreError};
use serde_json::json;
use tokio::sync::Notify;

use crate::stage::{Blank, HandClock, HandExecutor, Stage, dag};

const COMMIT: &str = "commit a batch";

/// Stops whoever comes by a place, once, until it is opened.
struct Gate {
    place: (FaultPoint, &'static str),
    is_passed: AtomicBool,
    reached: Notify,
    opened: Mutex<mpsc::Receiver<()>>,
}

impl Gate {
    fn at(point: FaultPoint, attempted: &'static str) -> (Arc<Self>, mpsc::Sender<()>) {
        let (open, opened) = mpsc::channel();
        let (is_passed, reached, opened) = (AtomicBool::new(false), Notify::new(), Mutex::new(opened));
        (Arc::new(Self { place: (point, attempted), is_passed, reached, opened }), open)
    }
}

impl Gate {
    async fn wait_for_one(&self) {
        let somebody = tokio::time::timeout(Duration::from_mins(1), self.reached.notified()).await;
        somebody.unwrap_or_else(|_| panic!("nobody comes by {:?}", self.place));
    }
}

impl Faults for Gate {
    fn strike(&self, point: FaultPoint, attempted: &'static str) -> Option<Fault> {
        if (point, attempted) == self.place && !self.is_passed.swap(true, Ordering::SeqCst) {
            self.reached.notify_one();
            tokio::task::block_in_place(|| self.opened.lock().unwrap().recv().unwrap());
        }
        None
    }
}

struct Leader {
    engine: Engine,
    executor: HandExecutor,
    leadership: Option<Leadership>,
    clock: HandClock,
}

impl Leader {
    /// A process of its own, which has read nothing yet.
    async fn new(stage: &Stage, store: Store) -> Self {
        let job = NewJob { kind: "scheduler".into(), hostname: "here".into(), pid: 1 };
        let job_id = store.register_job(&job, stage.now()).await.unwrap();
        let leadership = stage.take_lead(&store, &job_id).await.unwrap();
        let options = EngineOptions {
            job_id,
            epoch: leadership.epoch,
            previous_owner_is_dead: false,
            maintenance: Arc::default(),
            max_map_length: 1024,
            lease_ttl: TimeDelta::seconds(60),
        };
        let executor = HandExecutor::new(8);
        let engine = Engine::new(store, Arc::new(executor.clone()), options);
        Self { engine, executor, leadership: Some(leadership), clock: stage.clock.clone() }
    }

    async fn turn(&mut self) -> Result<(), StoreError> {
        let clock = self.clock.clone();
        self.engine.take_signals(millrace_operator_api::context::Clock::now(&clock)).await?;
        self.engine.turn(&|| millrace_operator_api::context::Clock::now(&clock)).await.map(|_| ())
    }

    /// The only running try of a task ends well, and nobody has planned with that yet.
    fn succeed(&mut self, stage: &Stage) {
        let running = self.executor.running()[0].clone();
        self.engine.complete(self.executor.end(running.instance, TryOutcome::Success, stage.now()));
    }
}

/// A run whose first task has just ended well: the next plan writes that down, gives the second task, and makes the run of
/// another DAG that is due.
async fn stage_with_much_to_write(blank: &Blank) -> (Stage, Leader) {
    let stage = Stage::on(blank, 8).await;
    stage.put(&dag("d", json!("@once"), &["a", "b < a"])).await;
    let mut first = Leader::new(&stage, stage.store.clone()).await;
    first.turn().await.unwrap();
    assert_eq!(first.executor.names(), ["a#1"]);
    stage.put(&dag("other", json!("@once"), &["c"])).await;
    first.succeed(&stage);
    (stage, first)
}

async fn contents(stage: &Stage) -> Vec<String> {
    let store = &stage.store;
    let runs = stage.runs().await;
    let keys: Vec<RunKey> = runs.iter().map(|run| run.key).collect();
    let rows = store.instances_of_runs(&keys).await.unwrap();
    let mut texts: Vec<String> = runs.iter().map(|it| format!("{it:?}")).collect();
    for row in &rows {
        texts.push(format!("{row:?} {:?}", store.tries(row.key).await.unwrap()));
    }
    let dags = store.scheduler_dags().await.unwrap();
    texts.extend(dags.iter().map(|it| format!("{} {:?} {:?}", it.dag_id, it.pointer, it.last_interval)));
    texts.extend(store.signals().await.unwrap().iter().map(|it| format!("{it:?}")));
    texts
}

/// Each task has succeeded once.
async fn all_is_well(stage: &Stage, second: &mut Leader) {
    while !second.executor.running().is_empty() {
        second.succeed(stage);
        second.turn().await.unwrap();
    }
    let keys: Vec<RunKey> = stage.runs().await.iter().map(|run| run.key).collect();
    assert_eq!(keys.len(), 2);
    for row in stage.store.instances_of_runs(&keys).await.unwrap() {
        assert_eq!((row.state, row.try_number), (TaskState::Success, 1), "{row:?}");
    }
}

/// Stopped between the plan and its commit: what it planned is refused, all of it.
async fn before_the_commit(blank: Blank) {
    let (stage, mut first) = stage_with_much_to_write(&blank).await;
    let (gate, open) = Gate::at(FaultPoint::Begin, COMMIT);
    let faults = gate.clone();
    let leadership = first.leadership.take();
    let stopped = tokio::spawn(async move { (with_faults(faults, first.turn()).await, first) });
    gate.wait_for_one().await;

    let store = stage.another_store().await;
    // PostgreSQL: its session is closed from outside. SQLite: the lock on the file is lost, as on a disk that others share.
    assert_eq!(store.unseat_leader().await.unwrap(), stage.is_on_postgres());
    if !stage.is_on_postgres() {
        drop(leadership);
    }
    let mut second = Leader::new(&stage, store).await;
    second.turn().await.unwrap();
    assert_eq!(second.executor.names(), ["c#1"], "what the first one holds is left alone, the rest goes on");

    let before = contents(&stage).await;
    open.send(()).unwrap();
    let (result, mut first) = stopped.await.unwrap();
    assert!(result.as_ref().is_err_and(Engine::is_deposed), "{result:?}");
    assert_eq!(contents(&stage).await, before, "nothing of its plan was written");
    assert_eq!(first.executor.names(), Vec::<String>::new(), "nor begun");
    let again = first.turn().await;
    assert!(again.as_ref().is_err_and(Engine::is_deposed), "{again:?}");
    assert_eq!(contents(&stage).await, before);

    // It stands down: what had ended is handed over, guarded by its own lease.
    first.engine.hand_over(stage.now()).await.unwrap();
    second.turn().await.unwrap();
    assert_eq!(second.executor.names(), ["b#1", "c#1"]);
    all_is_well(&stage, &mut second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_before_its_commit_and_replaced_writes_nothing_on_sqlite() {
    Box::pin(before_the_commit(Blank::Sqlite)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_before_its_commit_and_replaced_writes_nothing_on_postgres() {
    Box::pin(before_the_commit(Blank::postgres().await)).await;
}

/// Stopped within the transaction: whoever takes the lead has to end that first, and then none of it stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_leader_was_writing_when_it_was_stopped_and_replaced_is_undone_on_postgres() {
    for place in [(FaultPoint::Statement, "claim tries"), (FaultPoint::BeforeCommit, COMMIT)] {
        let blank = Blank::postgres().await;
        let (stage, mut first) = stage_with_much_to_write(&blank).await;
        let before = contents(&stage).await;
        let (gate, open) = Gate::at(place.0, place.1);
        let faults = gate.clone();
        let stopped = tokio::spawn(async move { (with_faults(faults, first.turn()).await, first) });
        gate.wait_for_one().await;

        let store = stage.another_store().await;
        let database = stage.database().unwrap();
        let open_ones =
            "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
        assert_eq!(database.query(open_ones).unwrap(), [[Some("1".to_owned())]], "it is in the midst of it");
        while database.query(open_ones).unwrap() != [[Some("0".to_owned())]] {
            store.unseat_leader().await.unwrap();
        }
        assert_eq!(contents(&stage).await, before, "{place:?}: none of it stands");
        let mut second = Leader::new(&stage, store).await;
        second.turn().await.unwrap();
        assert_eq!(second.executor.names(), ["c#1"]);

        let before = contents(&stage).await;
        open.send(()).unwrap();
        let (result, mut first) = stopped.await.unwrap();
        assert!(result.is_err(), "{place:?}: its transaction is gone");
        let again = first.turn().await;
        assert!(again.as_ref().is_err_and(Engine::is_deposed), "{place:?}: {again:?}");
        assert_eq!(contents(&stage).await, before, "{place:?}");
        first.engine.hand_over(stage.now()).await.unwrap();
        second.turn().await.unwrap();
        all_is_well(&stage, &mut second).await;
    }
}

/// Its lock is lost within the transaction, and nobody ends that: the next leader waits for it, and reads what it wrote.
async fn within_the_commit(blank: Blank) {
    let (stage, mut first) = stage_with_much_to_write(&blank).await;
    let (gate, open) = Gate::at(FaultPoint::BeforeCommit, COMMIT);
    let faults = gate.clone();
    drop(first.leadership.take());
    let stopped = tokio::spawn(async move { (with_faults(faults, first.turn()).await, first) });
    gate.wait_for_one().await;
    let store = stage.another_store().await;
    let opened = tokio::task::spawn_blocking(move || open.send(()).unwrap());
    let mut second = Leader::new(&stage, store).await;
    opened.await.unwrap();
    let (result, first) = stopped.await.unwrap();
    second.turn().await.unwrap();
    // Whichever came first: what the first one has begun is what is written, and the other has the rest.
    let mut begun = [first.executor.names(), second.executor.names()].concat();
    begun.sort();
    assert_eq!(first.executor.names()[0], "b#1", "it stands: it was begun before the other led");
    // What it went on with in the same turn may have come after that.
    assert!(result.as_ref().err().is_none_or(Engine::is_deposed), "{result:?}");
    assert_eq!(begun, ["b#1", "c#1"], "nothing begins twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_within_one_leadership_is_read_by_the_next_on_sqlite() {
    within_the_commit(Blank::Sqlite).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_within_one_leadership_is_read_by_the_next_on_postgres() {
    within_the_commit(Blank::postgres().await).await;
}
