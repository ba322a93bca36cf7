//! Runs that are given to a version without a task that is running, or with another key for it.

use std::sync::Arc;

use chrono::TimeDelta;
use millrace_model::change::{Assignment, RunKey, TryOutcome};
use millrace_model::dag::Dag;
use millrace_model::execution::KeyLimit;
use millrace_model::ids::DagId;
use millrace_model::mapping::{Expand, Items};
use millrace_model::state::RunState;
use millrace_planner::DagVersion;
use millrace_situation::{Asked, Surroundings, explain};
use millrace_store::{NewestVersion, PoolRow, RepinRequest, RunChoice};
use serde_json::{Value, json};

use crate::stage::{Stage, dag};

/// `a` runs and `b` waits for room; then the file loses `a`, and the run is given the new version.
async fn without_a(stage: &mut Stage, shape: impl Fn(&mut Dag)) -> Assignment {
    let mut first = dag("d", Value::Null, &["a", "b"]);
    shape(&mut first);
    stage.put(&first).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["a#1"]);
    let running = stage.executor.running().remove(0);

    let mut second = first.clone();
    second.tasks.remove(0);
    stage.put(&second).await;
    assert_eq!(give_newest(stage, run.key).await, 1);
    stage.turn().await;
    assert_eq!(stage.executor.stopping(&running.token).as_deref(), Some("gone from the DAG"));
    running
}

/// Returns how many runs were given another version.
pub async fn give_newest(stage: &Stage, run: RunKey) -> usize {
    let row = stage.store.scheduler_dag(&DagId::new_unchecked("d")).await.unwrap().unwrap();
    let version = DagVersion::new(row.version_key, row.dag).unwrap();
    let newest = NewestVersion { version_key: row.version_key, tasks: version.new_instances() };
    let runs = RunChoice::One(run);
    let request = RepinRequest { runs, only_active: true, newest, dry_run: false, actor: "cli".into() };
    stage.store.repin_runs(&request, stage.now()).await.unwrap().len()
}

async fn stops(stage: &mut Stage, running: &Assignment) {
    let stopped = TryOutcome::Cancelled { reason: "gone from the DAG".into() };
    let completion = stage.executor.end(running.instance, stopped, stage.now());
    stage.engine.as_mut().unwrap().complete(completion);
    stage.turn().await;
}

async fn put_pool(stage: &Stage, slots: i64) {
    let row = PoolRow { name: "p".into(), slots, description: None, include_deferred: false };
    stage.store.put_pool(&row, "cli", stage.now()).await.unwrap();
}

#[tokio::test]
async fn a_try_whose_task_is_gone_counts_among_the_tasks_of_its_run_until_it_has_stopped() {
    let mut stage = Stage::new(8).await;
    let running = without_a(&mut stage, |dag| dag.max_active_tasks = 1).await;
    assert_eq!(stage.executor.names(), ["a#1"], "b waits for it to stop");
    stops(&mut stage, &running).await;
    assert_eq!(stage.executor.names(), ["b#1"]);
    let removed = stage.store.instance(stage.runs().await[0].key, "a", -1).await.unwrap().unwrap();
    assert_eq!(removed.end_date, Some(stage.now()), "it ran until it was removed");
    assert_eq!(stage.tasks().await, ["a removed 1", "b running 1"]);
    stage.end("b", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn a_try_whose_task_is_gone_keeps_the_slots_of_its_pool_until_it_has_stopped() {
    let mut stage = Stage::new(8).await;
    put_pool(&stage, 3).await;
    let running = without_a(&mut stage, |dag| {
        for task in &mut dag.tasks {
            (task.pool, task.pool_slots) = ("p".into(), 2);
        }
    })
    .await;
    assert_eq!(stage.executor.names(), ["a#1"], "b finds one slot of the pool free, and needs two");
    stops(&mut stage, &running).await;
    assert_eq!(stage.executor.names(), ["b#1"]);
}

#[tokio::test]
async fn a_try_whose_task_is_gone_holds_its_concurrency_key_until_it_has_stopped() {
    let mut stage = Stage::new(8).await;
    let running = without_a(&mut stage, |dag| {
        dag.params.insert("region".to_owned(), "eu".into());
        for task in &mut dag.tasks {
            task.concurrency = Some(KeyLimit { key: "{{ params.region }}".into(), limit: 1 });
        }
    })
    .await;
    assert_eq!(stage.executor.names(), ["a#1"], "b wants the key that a holds");
    // Whoever reads everything again counts it too.
    stage.engine.as_mut().unwrap().lead_again(1);
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["a#1"]);
    stops(&mut stage, &running).await;
    assert_eq!(stage.executor.names(), ["b#1"]);
}

#[tokio::test]
async fn a_run_that_ends_while_a_try_of_a_task_that_is_gone_stops_gives_its_slots_back_when_that_has_stopped() {
    let mut stage = Stage::new(8).await;
    put_pool(&stage, 1).await;
    let running = without_a(&mut stage, |dag| {
        dag.tasks[0].pool = "p".into();
        dag.tasks[1].is_inline = true;
        dag.max_active_tasks = 1;
    })
    .await;
    stage.turn().await;
    let mut other = dag("other", Value::Null, &["c"]);
    other.tasks[0].pool = "p".into();
    stage.put(&other).await;
    stage.trigger("other").await;
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["a#1"], "c waits for the pool's slot");
    // Whoever reads everything again counts it too.
    stage.engine.as_mut().unwrap().lead_again(1);
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["a#1"]);
    stops(&mut stage, &running).await;
    assert_eq!(stage.executor.names(), ["c#1"]);
    assert_eq!(stage.store.running_instances().await.unwrap().len(), 1, "the lease of a is given back");
}

/// `a` holds the one slot of the pool when its run is given a version in which it needs none of it.
#[tokio::test]
async fn a_running_try_holds_the_slots_that_it_was_given_when_it_began() {
    let mut stage = Stage::new(8).await;
    put_pool(&stage, 2).await;
    let in_pool = |name: &str, task: &str, slots: u32| {
        let mut dag = dag(name, Value::Null, &[task]);
        (dag.tasks[0].pool, dag.tasks[0].pool_slots) = ("p".into(), slots);
        dag
    };
    stage.put(&in_pool("d", "a", 2)).await;
    stage.put(&in_pool("other", "c", 1)).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    let running = stage.executor.running().remove(0);
    stage.put(&dag("d", Value::Null, &["a"])).await;
    assert_eq!(give_newest(&stage, run.key).await, 1);
    stage.trigger("other").await;
    for reads_again in [false, true] {
        if reads_again {
            stage.engine.as_mut().unwrap().lead_again(1);
        }
        stage.turn().await;
        assert_eq!(stage.executor.names(), ["a#1"], "the pool is full");
        let used = stage.store.pool_use().await.unwrap();
        assert_eq!((used["p"].running, used["p"].scheduled, used.get("default_pool")), (2, 1, None));
    }
    let surroundings = Surroundings { parallelism: 8, maintenance: Arc::default() };
    let row = stage.store.instance_by_key(running.instance).await.unwrap().unwrap();
    let said = explain(&stage.store, Asked::Task(&run, &row), &surroundings, stage.now()).await.unwrap();
    assert_eq!(
        said.answer,
        "try 1 is running; it began with 2 of the slots of pool p, which it holds until it has ended"
    );
    // What it waited for outside comes when the pool is full: it goes back where it was.
    stage.go_outside("a").await;
    assert_eq!(stage.executor.names(), ["c#1"]);
    stage.come_back(&running).await;
    assert_eq!(stage.executor.names(), ["c#1"]);
    stage.end("c", TryOutcome::Success).await;
    assert_eq!(stage.executor.names(), ["a#1"]);
    stage.end("a", TryOutcome::Success).await;
    assert!(stage.store.pool_use().await.unwrap().is_empty());
}

/// `a` holds the key 'old' when its run is given a version that calls for 'new'.
#[tokio::test]
async fn a_running_try_counts_under_the_key_that_it_began_with() {
    let mut stage = Stage::new(8).await;
    let keyed = |key: &str| {
        let mut dag = dag("d", Value::Null, &["a"]);
        dag.tasks[0].concurrency = Some(KeyLimit { key: key.to_owned(), limit: 1 });
        dag.tasks[0].retries = 1;
        dag
    };
    stage.put(&keyed("old")).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    let running = stage.executor.running().remove(0);
    for key in ["newer", "new"] {
        stage.put(&keyed(key)).await;
        assert_eq!(give_newest(&stage, run.key).await, 1);
    }
    for (name, key) in [("waits", "old"), ("free", "new")] {
        let mut other = dag(name, Value::Null, &[name]);
        other.tasks[0].concurrency = Some(KeyLimit { key: key.to_owned(), limit: 1 });
        stage.put(&other).await;
        stage.trigger(name).await;
    }
    for reads_again in [false, true] {
        if reads_again {
            stage.engine.as_mut().unwrap().lead_again(1);
        }
        stage.turn().await;
        let mut names = stage.executor.names();
        names.sort();
        assert_eq!(names, ["a#1", "free#1"], "what a began with is taken, what it would take now is free");
    }
    let surroundings = Surroundings { parallelism: 8, maintenance: Arc::default() };
    let row = stage.store.instance_by_key(running.instance).await.unwrap().unwrap();
    let run = stage.store.run_by_key(run.key).await.unwrap().unwrap();
    let said = explain(&stage.store, Asked::Task(&run, &row), &surroundings, stage.now()).await.unwrap();
    assert_eq!(
        said.answer,
        "try 1 is running; it began with the key 'old', which counts until it has ended, and its next try takes 'new' (concurrency)"
    );
    // Its next try has the new key, and waits for it.
    let outcome = TryOutcome::Failed { reason: "boom".into(), retry: true };
    let completion = stage.executor.end(running.instance, outcome, stage.now());
    stage.engine.as_mut().unwrap().complete(completion);
    stage.clock.advance(TimeDelta::minutes(6));
    stage.turn().await;
    let mut names = stage.executor.names();
    names.sort();
    assert_eq!(names, ["free#1", "waits#1"]);
    stage.end("free", TryOutcome::Success).await;
    let mut names = stage.executor.names();
    names.sort();
    assert_eq!(names, ["a#2", "waits#1"]);
    let row = stage.store.instance_by_key(running.instance).await.unwrap().unwrap();
    assert_eq!(row.begun_with, None, "the version that its run has");
}

#[tokio::test]
async fn an_instance_that_another_version_adds_has_that_versions_tries() {
    let mut stage = Stage::new(8).await;
    let mut first = dag("d", Value::Null, &["a"]);
    first.tasks[0].retries = 1;
    first.tasks[0].expand = Some(Expand::Each(Items::List(vec![json!(1)])));
    stage.put(&first).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    let mut second = first.clone();
    second.tasks[0].retries = 0;
    second.tasks[0].expand = Some(Expand::Each(Items::List(vec![json!(1), json!(2)])));
    stage.put(&second).await;
    assert_eq!(give_newest(&stage, run.key).await, 1);
    for index in [0, 1] {
        assert_eq!(stage.store.instance(run.key, "a", index).await.unwrap().unwrap().max_tries, 0, "a[{index}]");
    }
}
