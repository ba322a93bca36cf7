//! The running scheduler: woken by events, stopped in good order.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use millrace_model::change::{Assignment, Executor, InstanceKey, Report, TryOutcome};
use millrace_model::state::RunState;
use millrace_operator_api::context::Clock;
use millrace_planner::SHUTDOWN_REASON;
use millrace_scheduler::{FolderOptions, Scheduler, SchedulerError, SchedulerOptions, Tuning};
use millrace_store::{Counted, DagFilter, PoolRow, Store};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::stage::{HandExecutor, Stage, dag};

/// Ends each try at once, except those of tasks named `hang…`, which end when they are cancelled.
struct PromptExecutor {
    hand: HandExecutor,
    clock: Arc<dyn Clock>,
    completions: UnboundedSender<Report>,
}

impl Executor for PromptExecutor {
    fn free_slots(&self) -> usize {
        self.hand.free_slots()
    }

    fn start(&self, assignments: Vec<Assignment>) {
        self.hand.start(assignments.clone());
        for assignment in assignments.iter().filter(|it| !it.task().task_id.as_str().starts_with("hang")) {
            let done = self.hand.end(assignment.instance, TryOutcome::Success, self.clock.now());
            self.completions.send(done.into()).unwrap();
        }
    }

    fn fence(&self, reason: &str, _grace: Duration) {
        for running in self.hand.running() {
            self.cancel(running.instance, &running.token, reason);
        }
    }

    fn lift_fence(&self) {}

    fn cancel(&self, instance: InstanceKey, _token: &str, reason: &str) {
        let stopped = self.hand.end(instance, TryOutcome::Cancelled { reason: reason.to_owned() }, self.clock.now());
        self.completions.send(stopped.into()).unwrap();
    }
}

fn options(stage: &Stage) -> SchedulerOptions {
    SchedulerOptions {
        folder: FolderOptions {
            folder: stage.home.path().join("dags"),
            catalogue: millrace_operators::catalogue(),
            defaults: Default::default(),
            paused_at_creation: false,
        },
        heartbeat_interval: Duration::from_secs(5),
        lease_timeout: Duration::from_mins(1),
        leader_timeout: Duration::from_secs(7),
        tuning: watch::channel(Tuning {
            rescan_interval: Duration::from_mins(5),
            slow_tick: Duration::from_secs(10),
            drain_timeout: Duration::from_millis(50),
        })
        .1,
        maintenance: tokio::sync::watch::channel(Arc::default()).1,
        hostname: "here".into(),
        clock: Arc::new(stage.clock.clone()),
        end_leftovers: Arc::new(|_| ()),
    }
}

fn run(stage: &Stage, stop: &CancellationToken) -> JoinHandle<Result<(), SchedulerError>> {
    run_with(stage, stop, options(stage))
}

fn run_with(
    stage: &Stage,
    stop: &CancellationToken,
    options: SchedulerOptions,
) -> JoinHandle<Result<(), SchedulerError>> {
    std::fs::create_dir_all(stage.home.path().join("dags")).unwrap();
    let (sender, completions) = unbounded_channel();
    let executor =
        PromptExecutor { hand: stage.executor.clone(), clock: Arc::new(stage.clock.clone()), completions: sender };
    let scheduler = Scheduler::new(stage.store.clone(), Arc::new(executor), completions, options);
    tokio::spawn(scheduler.run(stop.clone()))
}

/// Waits until the condition holds; the test ends by itself when it never does.
async fn until<F: Future<Output = bool>>(store: &Store, condition: impl Fn() -> F) {
    let mut changes = store.changes();
    let wait = async {
        while !condition().await {
            // Not everything that is waited for is announced.
            tokio::time::timeout(Duration::from_millis(5), changes.recv()).await.ok();
        }
    };
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the condition never held");
}

#[tokio::test]
async fn a_chain_runs_without_a_poll_and_a_stop_is_clean() {
    let stage = Stage::new(4).await;
    let stop = CancellationToken::new();
    let scheduler = run(&stage, &stop);
    let names: Vec<String> =
        (0..20).map(|at| if at == 0 { "t0".to_owned() } else { format!("t{at} < t{}", at - 1) }).collect();
    until(&stage.store, || async { stage.store.is_led().await.unwrap() }).await;
    // Stored after the scheduler has read its folder, which does not have this DAG.
    stage.put(&dag("d", Value::Null, &names.iter().map(String::as_str).collect::<Vec<_>>())).await;
    stage.trigger("d").await;
    until(&stage.store, || async { stage.run_states().await == [RunState::Success] }).await;
    assert_eq!(stage.tasks().await[19], "t19 success 1");
    stop.cancel();
    scheduler.await.unwrap().unwrap();
    assert!(!stage.store.is_led().await.unwrap());
    assert!(stage.store.jobs(10).await.unwrap()[0].ended_at.is_some());
}

#[tokio::test]
async fn files_are_read_again_when_somebody_asks() {
    let stage = Stage::new(4).await;
    let folder = stage.home.path().join("dags");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("one.yaml"), "tasks: []\n").unwrap();
    let stop = CancellationToken::new();
    let scheduler = run(&stage, &stop);
    let read = async |times: u64| {
        let counts = stage.store.counts().await.unwrap();
        counts.iter().any(|row| row.of == Counted::FilesRead && row.value >= times)
    };
    until(&stage.store, || read(1)).await;
    stage.store.ask_for_files("one.yaml", None, "test", stage.clock.now()).await.unwrap();
    until(&stage.store, || read(2)).await;
    stop.cancel();
    scheduler.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_does_not_end_in_time_is_stopped_and_given_again_at_the_next_start() {
    let stage = Stage::new(4).await;
    let stop = CancellationToken::new();
    let scheduler = run(&stage, &stop);
    until(&stage.store, || async { stage.store.is_led().await.unwrap() }).await;
    stage.put(&dag("d", Value::Null, &["hang", "after < hang"])).await;
    stage.trigger("d").await;
    until(&stage.store, || async { !stage.executor.running().is_empty() }).await;
    stop.cancel();
    scheduler.await.unwrap().unwrap();
    assert_eq!(stage.tasks().await, ["hang up_for_retry 1", "after none 0"]);
    let instance = stage.store.instances(stage.runs().await[0].key).await.unwrap()[0].clone();
    assert_eq!((instance.state_reason.as_deref(), instance.lost_workers), (Some(SHUTDOWN_REASON), 0));

    let stop = CancellationToken::new();
    let scheduler = run(&stage, &stop);
    until(&stage.store, || async { stage.executor.names() == ["hang#2"] }).await;
    stop.cancel();
    scheduler.await.unwrap().unwrap();
}

#[tokio::test]
async fn case_71_a_file_is_read_again_as_soon_as_the_pool_that_it_names_is_there() {
    let stage = Stage::new(4).await;
    let folder = stage.home.path().join("dags");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("d.yaml"), "tasks:\n  a: {operator: noop, pool: etl}\n").unwrap();
    let stop = CancellationToken::new();
    let scheduler = run(&stage, &stop);
    until(&stage.store, || async { !stage.store.import_errors().await.unwrap().is_empty() }).await;
    let dags = async || stage.store.dags(&DagFilter::default()).await.unwrap().rows.len();
    assert_eq!(dags().await, 0);
    // Another process makes it.
    let row = PoolRow { name: "etl".into(), slots: 1, description: None, include_deferred: false };
    stage.another_store().await.put_pool(&row, "cli", stage.now()).await.unwrap();
    until(&stage.store, || async { dags().await == 1 }).await;
    assert!(stage.store.import_errors().await.unwrap().is_empty());
    stop.cancel();
    scheduler.await.unwrap().unwrap();
}

#[tokio::test]
async fn whoever_holds_a_try_is_watched_from_the_first_moment_of_a_lead() {
    let stage = Stage::new(4).await;
    stage.put(&dag("d", Value::Null, &["hang"])).await;
    let run = stage.trigger("d").await;
    stage.claim_by_command(run.key).await;

    // It never gets as far as its slow tick.
    let tuning = Tuning {
        rescan_interval: Duration::from_hours(1),
        slow_tick: Duration::from_hours(1),
        drain_timeout: Duration::from_millis(50),
    };
    let options = SchedulerOptions { tuning: watch::channel(tuning).1, ..options(&stage) };
    let stop = CancellationToken::new();
    let scheduler = run_with(&stage, &stop, options);
    until(&stage.store, || async {
        stage.clock.advance(TimeDelta::seconds(1));
        stage.executor.names() == ["hang#2"]
    })
    .await;
    stop.cancel();
    scheduler.await.unwrap().unwrap();
}
