//! Operators that wait.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::state::{RunState, TaskState};
use millrace_operator_api::context::{Runs, SeenRun};
use millrace_operator_api::{BoxFuture, Outcome, PortError, TaskContext, TaskError};
use serde_json::{Value, json};

use crate::fakes::{World, at, run_in};

/// A world, and its context after so many looks.
fn looked(count: u32) -> (Arc<World>, TaskContext) {
    let world = Arc::new(World::default());
    let context = TaskContext { put_offs: count, ..world.context(1) };
    (world, context)
}

#[track_caller]
fn put_off(result: Result<Outcome, TaskError>) -> (TimeDelta, String) {
    match result {
        Err(TaskError::NotYet { until, reason }) => (until - at(0), reason),
        other => panic!("not put off: {other:?}"),
    }
}

fn key(more: Value) -> Value {
    let mut parameters = json!({ "s3_bucket": "lake", "s3_key": "in/a.csv" });
    parameters.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    parameters
}

#[test]
fn an_object_is_waited_for_and_then_is_the_result() {
    let (world, context) = looked(0);
    let (until, reason) = put_off(run_in(&context, "wait_for_key", key(json!({}))));
    assert_eq!((until, reason.as_str()), (TimeDelta::seconds(60), "s3://lake/in/a.csv is not there"));
    world.put_stranger("in/a.csv", "text");
    let found = run_in(&context, "wait_for_key", key(json!({}))).unwrap();
    assert_eq!(found.result, Some(json!({ "url": "s3://lake/in/a.csv", "size": 4 })));
    let by_prefix = json!({ "s3_bucket": "lake", "s3_prefix": "in/" });
    assert_eq!(run_in(&context, "wait_for_key", by_prefix).unwrap().result, found.result);
}

#[test]
fn with_a_back_off_each_wait_is_twice_the_one_before_up_to_an_hour() {
    for (count, seconds) in [(0, 60), (1, 120), (5, 1_920), (6, 3_600), (60, 3_600)] {
        let (_world, context) = looked(count);
        let (until, _) = put_off(run_in(&context, "wait_for_key", key(json!({ "exponential_backoff": true }))));
        assert_eq!(until, TimeDelta::seconds(seconds), "after {count}");
    }
}

#[test]
fn case_56_waiting_too_long_fails_without_a_retry_or_skips() {
    let after = |seconds| {
        let (_world, context) = looked(3);
        TaskContext { first_start: at(0) - TimeDelta::seconds(seconds), ..context }
    };
    let parameters = key(json!({ "timeout": "10m", "poke_interval": "5m" }));
    let (until, _) = put_off(run_in(&after(599), "wait_for_key", parameters.clone()));
    assert_eq!(until, TimeDelta::seconds(1), "the last look is at the end");
    match run_in(&after(600), "wait_for_key", parameters) {
        Err(TaskError::Fail(text)) => assert!(text.contains("waited for 10m, and timeout is 10m"), "{text}"),
        other => panic!("{other:?}"),
    }
    let soft = key(json!({ "timeout": "10m", "soft_fail": true }));
    assert!(matches!(run_in(&after(600), "wait_for_key", soft), Err(TaskError::Skip(_))));
}

#[test]
fn a_moment_is_waited_for_exactly() {
    let (_world, context) = looked(0);
    let (until, _) = put_off(run_in(&context, "wait_for_time", json!({ "until": "2024-01-01T00:00:07" })));
    assert_eq!(until, TimeDelta::seconds(7));
    let (_world, context) = looked(0);
    let (until, _) = put_off(run_in(&context, "wait_for_time", json!({ "delta": "2h" })));
    assert_eq!(until, TimeDelta::hours(26), "after the end of the data interval");
    assert!(run_in(&context, "wait_for_time", json!({ "until": "2024-01-01" })).is_ok());
}

#[test]
fn a_query_is_asked_until_its_first_value_is_true() {
    let (world, context) = looked(0);
    let ask = json!({ "sql_conn_id": "shop", "sql": "SELECT COUNT(*) FROM orders" });
    let (_, reason) = put_off(run_in(&context, "wait_for_sql", ask.clone()));
    assert_eq!(reason, "the query's first value is NULL, or there is no row");
    world.answer(&[&[Some("0")]]);
    let (_, reason) = put_off(run_in(&context, "wait_for_sql", ask.clone()));
    assert_eq!(reason, "the query's first value is '0'");
    world.answer(&[&[Some("12")]]);
    assert_eq!(run_in(&context, "wait_for_sql", ask).unwrap().result, Some(json!("12")));
}

#[test]
fn a_file_that_is_missing_is_waited_for() {
    let (_world, context) = looked(0);
    let (_, reason) = put_off(run_in(&context, "wait_for_file", json!({ "path": "/data/missing.csv" })));
    assert_eq!(reason, "/data/missing.csv is not there");
}

/// One run, of the DAG `other` a day before.
struct Seen(RunState, Vec<TaskState>);

impl Runs for Seen {
    fn at<'a>(
        &'a self,
        dag_id: &'a str,
        logical_date: DateTime<Utc>,
        task_ids: &'a [String],
    ) -> BoxFuture<'a, Result<Option<SeenRun>, PortError>> {
        let is_it = dag_id == "other" && logical_date == at(0) - TimeDelta::days(1);
        let tasks = task_ids.iter().map(|task| if task == "load" { self.1.clone() } else { Vec::new() }).collect();
        let seen = is_it.then(|| SeenRun { run_id: "r".to_owned(), state: self.0, tasks });
        Box::pin(std::future::ready(Ok(seen)))
    }
}

fn wait_for(seen: Seen, more: Value) -> Result<Outcome, TaskError> {
    let (_world, context) = looked(0);
    let mut parameters = json!({ "external_dag_id": "other", "offset": "1d" });
    parameters.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
    run_in(&TaskContext { runs: Arc::new(seen), ..context }, "wait_for_task", parameters)
}

#[test]
fn another_dags_run_is_waited_for() {
    let found = wait_for(Seen(RunState::Success, Vec::new()), json!({})).unwrap();
    assert_eq!(found.result, Some(json!({ "run_id": "r" })));
    let (_, reason) = put_off(wait_for(Seen(RunState::Running, Vec::new()), json!({})));
    assert_eq!(reason, "the run of other for 2023-12-31T00:00:00.000000Z is running");
    let (_, reason) = put_off(wait_for(Seen(RunState::Success, Vec::new()), json!({ "offset": "2d" })));
    assert!(reason.ends_with("is not there"), "{reason}");
    let failed = wait_for(Seen(RunState::Failed, Vec::new()), json!({ "failed_states": ["failed"] }));
    assert!(matches!(failed, Err(TaskError::Fail(text)) if text.contains("is failed")));
}

#[test]
fn every_instance_of_another_dags_task_must_have_ended_as_allowed() {
    let load = json!({ "external_task_ids": "load", "allowed_states": ["success", "skipped"] });
    let ended = Seen(RunState::Running, vec![TaskState::Success, TaskState::Skipped]);
    assert!(wait_for(ended, load.clone()).is_ok());
    let (_, reason) = put_off(wait_for(Seen(RunState::Running, vec![TaskState::Success, TaskState::Running]), load));
    assert!(reason.starts_with("task load of the run of other") && reason.ends_with("is running"), "{reason}");
    let unknown = wait_for(Seen(RunState::Running, Vec::new()), json!({ "external_task_ids": ["laod"] }));
    assert!(matches!(unknown, Err(TaskError::Fail(text)) if text.contains("has no task laod")));
}

#[test]
fn instances_of_another_dags_task_that_were_removed_are_not_waited_for() {
    let wait = |states: &[TaskState], more: Value| {
        let mut parameters = json!({ "external_task_ids": "load" });
        parameters.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        wait_for(Seen(RunState::Success, states.to_vec()), parameters)
    };
    let shrunk = [TaskState::Success, TaskState::Success, TaskState::Removed];
    assert!(wait(&shrunk, json!({})).is_ok());
    let (_, reason) = put_off(wait(&[TaskState::Running, TaskState::Removed], json!({})));
    assert!(reason.ends_with("is running"), "{reason}");
    let gone = wait(&[TaskState::Removed], json!({}));
    assert!(matches!(gone, Err(TaskError::Fail(text)) if text.contains("has no task load")));
    // Whoever names the state is told of it.
    assert!(wait(&shrunk, json!({ "allowed_states": ["success", "removed"] })).is_ok());
    let failed = wait(&shrunk, json!({ "failed_states": ["removed"] }));
    assert!(matches!(failed, Err(TaskError::Fail(text)) if text.contains("is removed, which is one of failed_states")));
}
