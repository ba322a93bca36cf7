//! Whoever asks why something waits is told what the scheduler goes by, also what it alone would know.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use chrono::TimeDelta;
use chrono_tz::Tz;
use millrace_model::change::TryOutcome;
use millrace_model::execution::KeyLimit;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::ledger::Checkpoint;
use millrace_model::maintenance::Maintenance;
use millrace_model::notice::{Callback, Callbacks};
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use millrace_situation::{Asked, Explanation, Surroundings, explain};
use millrace_store::faults::{Fault, FaultPoint, Faults, with_faults};
use millrace_store::{AlertFilter, MarkRequest, NotificationFilter, PoolRow, Selection};
use serde_json::{Value, json};

use crate::stage::{Stage, dag, instant, wished};

async fn why(stage: &Stage, asked: Asked<'_>) -> Explanation {
    let surroundings = Surroundings { parallelism: 8, maintenance: Arc::default() };
    explain(&stage.store, asked, &surroundings, stage.now()).await.unwrap()
}

#[tokio::test]
async fn what_a_try_in_a_finished_run_still_holds_is_named() {
    let mut stage = Stage::new(8).await;
    let pool = PoolRow { name: "p".into(), slots: 1, description: None, include_deferred: false };
    stage.store.put_pool(&pool, "cli", stage.now()).await.unwrap();
    for id in ["d", "e"] {
        let mut pooled = dag(id, Value::Null, &["a"]);
        pooled.tasks[0].pool = "p".into();
        stage.put(&pooled).await;
    }
    stage.lead().await;
    let first = stage.trigger("d").await;
    stage.turn().await;
    let selection = Selection::of_run(first.key, TaskChoice::tasks([TaskId::new_unchecked("a")]));
    let mark = MarkRequest { selection, to: TaskState::Success, note: None, dry_run: false, actor: "cli".to_owned() };
    stage.store.mark_instances(&mark, stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
    assert_eq!(stage.executor.names(), ["a#1"], "its try has not stopped yet");

    let second = stage.trigger("e").await;
    stage.turn().await;
    let second = stage.store.run_by_key(second.key).await.unwrap().unwrap();
    let task = stage.store.instance(second.key, "a", -1).await.unwrap().unwrap();
    let said = why(&stage, Asked::Task(&second, &task)).await;
    let told = format!("held by task a in run {} of DAG d", first.run_id);
    assert_eq!(said.answer, format!("pool p: 1 of 1 slots are in use, the task needs 1; {told}"));
    stage.end("a", TryOutcome::Cancelled { reason: "marked".into() }).await;
    assert_eq!(stage.executor.names(), ["a#1"], "now that of the other run");
    let task = stage.store.instance(second.key, "a", -1).await.unwrap().unwrap();
    assert_eq!(why(&stage, Asked::Task(&second, &task)).await.answer, "try 1 is running");
}

/// Whom to ask, also in another DAG, and why that one may not go on.
#[tokio::test]
async fn whose_runs_hold_a_key_is_named_and_that_they_are_paused() {
    let mut stage = Stage::new(8).await;
    for id in ["d", "e", "f"] {
        let mut keyed = dag(id, json!("@daily"), &["a"]);
        (keyed.catchup, keyed.concurrency) = (false, Some(KeyLimit { key: "eu".into(), limit: 2 }));
        stage.put(&keyed).await;
        stage.store.set_paused(&keyed.dag_id, true, "cli", stage.now()).await.unwrap();
    }
    stage.clock.advance(TimeDelta::days(4));
    stage.lead().await;
    let wish = wished(instant("2024-01-01"), instant("2024-01-02"));
    let backfill = stage.backfill("e", wish).await.backfill_key.unwrap();
    stage.store.set_paused(&DagId::new_unchecked("d"), false, "cli", stage.now()).await.unwrap();
    stage.turn().await;
    stage.store.set_paused(&DagId::new_unchecked("d"), true, "cli", stage.now()).await.unwrap();
    stage.store.set_backfill_paused(backfill, true, "cli", stage.now()).await.unwrap();
    assert_eq!(stage.executor.names(), ["a#1", "a#1"]);
    stage.store.set_paused(&DagId::new_unchecked("f"), false, "cli", stage.now()).await.unwrap();
    stage.turn().await;
    let runs = stage.runs().await;
    let run_of = |id: &str| runs.iter().find(|run| run.dag_id.as_str() == id).unwrap();
    let (of_d, of_e) = (&run_of("d").run_id, &run_of("e").run_id);
    let holders = format!("run {of_e} of the paused backfill {backfill} of DAG e, run {of_d} of the paused DAG d");
    let told = format!("2 of 2 runs with the key 'eu' are running (concurrency); held by {holders}");
    assert_eq!(why(&stage, Asked::Run(run_of("f"))).await.answer, told);
    let task = stage.store.instance(run_of("f").key, "a", -1).await.unwrap().unwrap();
    assert_eq!(why(&stage, Asked::Task(run_of("f"), &task)).await.answer, told);
}

/// A database that takes no new runs.
struct NoRuns;

impl Faults for NoRuns {
    fn strike(&self, point: FaultPoint, attempted: &'static str) -> Option<Fault> {
        (point == FaultPoint::Statement && attempted == "create runs").then_some(Fault::Refusal)
    }
}

#[tokio::test]
async fn a_dag_that_the_database_refuses_says_so_until_it_is_taken() {
    let mut stage = Stage::new(8).await;
    stage.put(&dag("d", json!("@daily"), &["a"])).await;
    stage.lead().await;
    stage.clock.advance(TimeDelta::days(1));
    with_faults(Arc::new(NoRuns), stage.turn()).await;
    assert!(stage.runs().await.is_empty());
    let row = stage.store.dag("d", 0).await.unwrap().unwrap();
    let said = why(&stage, Asked::Dag(&row)).await;
    assert!(said.answer.contains("set aside") && said.answer.contains("refused on purpose"), "{said:?}");

    // Another leader has not been refused anything, and says so.
    stage.kill();
    stage.lead().await;
    assert_eq!(stage.run_states().await, [RunState::Running]);
    let said = why(&stage, Asked::Dag(&row)).await;
    assert!(!said.answer.contains("set aside"), "{said:?}");
}

/// What people are told of other DAGs in the same turn, and what follows from it, is neither lost nor told twice.
#[tokio::test]
async fn what_is_told_of_others_outlives_what_the_database_refuses() {
    let mut stage = Stage::new(8).await;
    stage.put(&dag("d", json!("@daily"), &["a"])).await;
    let mut other = dag("other", Value::Null, &["b", "c < b"]);
    let tell = vec![Callback::Command("true".to_owned())];
    other.callbacks = Callbacks { on_failure: tell.clone(), on_alert: tell.clone(), ..Callbacks::default() };
    other.tasks[0].callbacks = Callbacks { on_failure: tell, ..Callbacks::default() };
    other.max_consecutive_failed_dag_runs = 1;
    stage.put(&other).await;
    stage.lead().await;
    stage.trigger("other").await;
    stage.turn().await;
    stage.clock.advance(TimeDelta::days(1));
    let failed = TryOutcome::Failed { reason: "error".into(), retry: false };
    let completion = stage.executor.end_task("b", failed, stage.now());
    stage.engine.as_mut().unwrap().complete(completion);
    with_faults(Arc::new(NoRuns), stage.turn()).await;
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Failed]);
    let told = stage
        .store
        .notifications(&NotificationFilter { limit: 10, ..NotificationFilter::default() })
        .await
        .unwrap()
        .rows;
    let mut told: Vec<String> =
        told.iter().map(|row| format!("{} {}", row.event, row.task_id.as_ref().map_or("-", TaskId::as_str))).collect();
    told.sort();
    assert_eq!(told, ["auto_paused -", "failure -", "failure b"]);
    let alerts = stage.store.alerts(&AlertFilter { limit: 10, ..AlertFilter::default() }).await.unwrap().rows;
    assert_eq!(alerts.iter().map(|alert| alert.kind.as_str()).collect::<Vec<_>>(), ["auto_paused"]);
    assert!(stage.store.scheduler_dag(&other.dag_id).await.unwrap().unwrap().is_paused);
    assert_eq!(stage.tasks().await, ["b failed 1", "c upstream_failed 0"], "all of a run that ended then");
}

/// A database that takes no new runs, and not the end of the first of several.
#[derive(Default)]
struct NoFirstEnd(AtomicUsize);

impl Faults for NoFirstEnd {
    fn strike(&self, point: FaultPoint, attempted: &'static str) -> Option<Fault> {
        if point != FaultPoint::Statement || !["create runs", "move runs"].contains(&attempted) {
            return None;
        }
        // After that of the whole batch, that of the first run alone, and that as a failure from both states.
        let is_of_first = || (1..4).contains(&self.0.fetch_add(1, Ordering::SeqCst));
        (attempted == "create runs" || is_of_first()).then_some(Fault::Refusal)
    }
}

/// Two failures are too many, and three come at once: of the first two one is refused.
#[tokio::test]
async fn what_is_refused_is_no_failure_and_those_that_stand_pause_their_dag() {
    let mut stage = Stage::new(8).await;
    stage.put(&dag("d", json!("@daily"), &["a"])).await;
    let mut other = dag("other", Value::Null, &["b"]);
    other.max_consecutive_failed_dag_runs = 2;
    stage.put(&other).await;
    stage.lead().await;
    for _ in 0..3 {
        stage.clock.advance(TimeDelta::minutes(1));
        stage.trigger("other").await;
    }
    stage.turn().await;
    stage.clock.advance(TimeDelta::days(1));
    for try_ in stage.executor.running() {
        let failed = TryOutcome::Failed { reason: "error".into(), retry: false };
        let completion = stage.executor.end(try_.instance, failed, stage.now());
        stage.engine.as_mut().unwrap().complete(completion);
    }
    with_faults(Arc::new(NoFirstEnd::default()), stage.turn()).await;
    assert_eq!(stage.run_states().await, [RunState::Running, RunState::Failed, RunState::Failed]);
    assert!(stage.store.scheduler_dag(&other.dag_id).await.unwrap().unwrap().is_paused);
    let alerts = stage.store.alerts(&AlertFilter { limit: 10, ..AlertFilter::default() }).await.unwrap().rows;
    assert_eq!(alerts.iter().map(|alert| alert.kind.as_str()).collect::<Vec<_>>(), ["auto_paused"]);
}

/// A database in which nothing is paused.
struct NoPause;

impl Faults for NoPause {
    fn strike(&self, point: FaultPoint, attempted: &'static str) -> Option<Fault> {
        (point == FaultPoint::Statement && attempted == "pause a DAG").then_some(Fault::Refusal)
    }
}

#[tokio::test]
async fn a_dag_that_cannot_be_paused_is_set_aside_and_its_run_ends_as_it_did() {
    let mut stage = Stage::new(8).await;
    let mut failing = dag("d", Value::Null, &["a"]);
    failing.max_consecutive_failed_dag_runs = 1;
    stage.put(&failing).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    let failed = TryOutcome::Failed { reason: "error".into(), retry: false };
    let completion = stage.executor.end_task("a", failed, stage.now());
    stage.engine.as_mut().unwrap().complete(completion);
    with_faults(Arc::new(NoPause), stage.turn()).await;
    let run = stage.runs().await.remove(0);
    assert_eq!((run.state, run.state_reason.as_deref()), (RunState::Failed, Some("task_failure")));
    let row = stage.store.dag("d", 0).await.unwrap().unwrap();
    let said = why(&stage, Asked::Dag(&row)).await;
    assert!(!row.is_paused && said.answer.contains("set aside"), "{said:?}");
}

#[tokio::test]
async fn other_maintenance_windows_hold_and_let_go_at_once() {
    let mut stage = Stage::new(8).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    let set = |stage: &mut Stage, windows: &str| {
        let maintenance = Maintenance::parse(windows, "", Tz::UTC).unwrap();
        stage.engine.as_mut().unwrap().set_maintenance(Arc::new(maintenance));
    };
    set(&mut stage, "00:00..23:00");
    stage.trigger("d").await;
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Queued]);
    set(&mut stage, "");
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["a#1"]);
}

#[tokio::test]
async fn the_next_run_is_told_with_the_window_that_will_be_open_when_it_is_due() {
    let mut stage = Stage::new(8).await;
    for (id, window) in [("held", "00:00..01:00"), ("free", "22:00..23:59")] {
        let mut with_window = dag(id, json!("@daily"), &["a"]);
        with_window.maintenance.push(window.parse().unwrap());
        stage.put(&with_window).await;
    }
    stage.lead().await;
    stage.clock.advance(TimeDelta::minutes(22 * 60 + 30));
    stage.turn().await;
    let mut answers = Vec::new();
    for id in ["held", "free"] {
        let row = stage.store.dag(id, 0).await.unwrap().unwrap();
        answers.push(why(&stage, Asked::Dag(&row)).await.answer);
    }
    let held = "the next run is held by the maintenance window 00:00..01:00 UTC until 2024-01-02T01:00:00.000000Z";
    assert_eq!(answers, [held, "everything is fine: the next run starts at 2024-01-02T00:00:00.000000Z"]);
}

#[tokio::test]
async fn a_dag_with_a_clock_and_assets_tells_of_both() {
    let mut stage = Stage::new(8).await;
    let mut both = dag("both", json!("@daily"), &["a"]);
    both.assets = Some(serde_json::from_value(json!({"all": [{"asset": "x1"}, {"asset": "x2"}]})).unwrap());
    stage.put(&both).await;
    stage.lead().await;
    let row = stage.store.dag("both", 0).await.unwrap().unwrap();
    let explained = why(&stage, Asked::Dag(&row)).await;
    assert!(explained.answer.starts_with("everything is fine: the next run starts at"), "{}", explained.answer);
    let said = |text: &str| explained.conditions.iter().any(|condition| condition.ok && condition.text.contains(text));
    assert!(said("besides: it runs when x1 and x2 have changed; none has"), "{:?}", explained.conditions);
}

#[tokio::test]
async fn a_task_that_waits_for_the_clock_says_what_it_looked_for_or_why_it_failed() {
    let mut stage = Stage::new(8).await;
    let mut retried = dag("d", Value::Null, &["a", "b", "c"]);
    retried.tasks[1].retries = 1;
    retried.tasks[2].retries = 1;
    stage.put(&retried).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    let failed = TryOutcome::Failed { reason: "error".into(), retry: true };
    let mut completion = stage.executor.end_task("c", failed, stage.now());
    completion.error = Some("bash exited with code 1; its last lines:\n  copying\n  no space left\n".into());
    stage.engine.as_mut().unwrap().complete(completion);
    stage.turn().await;
    let until = stage.now() + TimeDelta::minutes(1);
    stage.end("a", TryOutcome::PutOff { until, reason: "s3://in/a.csv is not there".into() }).await;
    stage.end("b", TryOutcome::Failed { reason: "exit code 1".into(), retry: true }).await;
    let run = stage.store.run_by_key(run.key).await.unwrap().unwrap();
    let mut answers = Vec::new();
    for task in ["a", "b", "c"] {
        let row = stage.store.instance(run.key, task, -1).await.unwrap().unwrap();
        answers.push(why(&stage, Asked::Task(&run, &row)).await.answer);
    }
    assert_eq!(answers[0], "it waits: s3://in/a.csv is not there; it looks again after 2024-01-01T00:01:00.000000Z");
    assert!(
        answers[1].starts_with("try 1 has failed (exit code 1); it is tried again after 2024-01-01T"),
        "{answers:?}"
    );
    let told = "try 1 has failed (error: bash exited with code 1; its last lines: no space left); it is tried again";
    assert!(answers[2].starts_with(told), "{answers:?}");
}

#[tokio::test]
async fn a_task_that_waits_outside_says_what_it_said_last() {
    let mut stage = Stage::new(8).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    let instance = stage.executor.running().remove(0).instance;
    let mut last = Checkpoint {
        name: "waiting".into(),
        message: "for nobody".into(),
        rows: None,
        bytes: None,
        total_rows: None,
        at: stage.now(),
    };
    stage.store.record_checkpoint(instance, 1, &last).await.unwrap();
    last.message = "for the run r of DAG other".into();
    stage.store.record_checkpoint(instance, 1, &last).await.unwrap();
    stage.go_outside("a").await;
    let run = stage.store.run_by_key(run.key).await.unwrap().unwrap();
    let row = stage.store.instance(run.key, "a", -1).await.unwrap().unwrap();
    let answer = why(&stage, Asked::Task(&run, &row)).await.answer;
    assert_eq!(answer, "try 1 waits for something outside and holds no slot; waiting for the run r of DAG other");
}
