//! Runs that were given up: what they left undone is not taken for done by anybody who goes on with them.

use std::sync::Arc;

use chrono::TimeDelta;
use millrace_model::change::TryOutcome;
use millrace_model::duration::Span;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::notice::Callback;
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use millrace_store::faults::{Fault, FaultPoint, with_faults};
use millrace_store::{ClearRequest, Counted, MarkRequest, MarkRunRequest, NotificationFilter, RunChoice, Selection};
use serde_json::Value;

use crate::stage::{Stage, dag};
use crate::world::failures::PlannedFaults;

/// a -> b -> c; the run timed out while `a` ran.
async fn timed_out() -> Stage {
    let mut stage = Stage::new(4).await;
    let mut dag = dag("d", Value::Null, &["a", "b < a", "c < b"]);
    dag.dagrun_timeout = Some(Span::from_seconds(600));
    stage.put(&dag).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.clock.advance(TimeDelta::minutes(11));
    stage.turn().await;
    stage.end("a", TryOutcome::Cancelled { reason: "timeout".into() }).await;
    assert_eq!(stage.tasks().await, ["a failed 1", "b skipped 0", "c skipped 0"]);
    assert_eq!(stage.run_states().await, [RunState::Failed]);
    stage
}

/// Its task was cleared while it ran, and has not stopped when the time of the run is over.
#[tokio::test]
async fn a_run_that_times_out_while_a_cleared_task_stops_has_ended() {
    let mut stage = Stage::new(4).await;
    let mut dag = dag("d", Value::Null, &["a", "b < a"]);
    dag.dagrun_timeout = Some(Span::from_seconds(600));
    stage.put(&dag).await;
    stage.lead().await;
    let run = stage.trigger("d").await.key;
    stage.turn().await;
    stage.store.clear_instances(&ClearRequest::of_run(run, &[], "cli"), stage.now()).await.unwrap();
    stage.clock.advance(TimeDelta::minutes(11));
    stage.turn().await;
    stage.end("a", TryOutcome::Cancelled { reason: "cleared".into() }).await;
    assert_eq!(stage.run_states().await, [RunState::Failed]);
    assert_eq!(stage.tasks().await, ["a skipped 1", "b skipped 0"]);
}

/// Somebody has called it a success, and its time is over before it has cleaned up.
#[tokio::test]
async fn a_run_that_ends_as_it_was_marked_pauses_nothing_and_tells_of_no_failure() {
    let mut stage = Stage::new(4).await;
    let mut dag = dag("d", Value::Null, &["s", "a < s", "t < s,a"]);
    (dag.tasks[0].is_setup, dag.tasks[2].is_teardown) = (true, true);
    dag.dagrun_timeout = Some(Span::from_seconds(600));
    dag.max_consecutive_failed_dag_runs = 1;
    dag.callbacks.on_failure = vec![Callback::Command("true".into())];
    stage.put(&dag).await;
    stage.lead().await;
    let run = stage.trigger("d").await.key;
    stage.turn().await;
    stage.end("s", TryOutcome::Success).await;
    let mark = MarkRunRequest { run, to: RunState::Success, note: None, dry_run: false, actor: "cli".into() };
    stage.store.mark_run(&mark, stage.now()).await.unwrap();
    stage.turn().await;
    stage.end("a", TryOutcome::Cancelled { reason: "marked".into() }).await;
    stage.clock.advance(TimeDelta::minutes(11));
    stage.turn().await;
    stage.end("t", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
    assert!(!stage.store.scheduler_dags().await.unwrap()[0].is_paused);
    assert!(stage.engine.as_ref().unwrap().view().dags().all(|dag| !dag.is_paused));
    let told = stage.store.notifications(&NotificationFilter { limit: 9, ..Default::default() }).await.unwrap();
    assert_eq!(told.rows, []);
    let counts = stage.store.counts().await.unwrap();
    let ends = counts.iter().filter(|row| row.of == Counted::Runs).map(|row| (row.labels.as_slice(), row.value));
    assert_eq!(ends.collect::<Vec<_>>(), [(["success".to_owned()].as_slice(), 1)]);
}

/// Two failures are too many. The first one is run again when the second comes, and the scheduler has not heard of that.
#[tokio::test]
async fn a_failure_that_somebody_has_cleared_does_not_count_towards_a_pause() {
    let mut stage = Stage::new(4).await;
    let mut dag = dag("d", Value::Null, &["a"]);
    dag.max_consecutive_failed_dag_runs = 2;
    stage.put(&dag).await;
    stage.lead().await;
    let failed = || TryOutcome::Failed { reason: "error".into(), retry: false };
    let first = stage.trigger("d").await.key;
    stage.turn().await;
    stage.end("a", failed()).await;
    stage.clock.advance(TimeDelta::minutes(1));
    stage.trigger("d").await;
    stage.turn().await;
    let completion = stage.executor.end_task("a", failed(), stage.now());
    stage.store.clear_instances(&ClearRequest::of_run(first, &[], "cli"), stage.now()).await.unwrap();
    let (now, engine) = (stage.now(), stage.engine.as_mut().unwrap());
    engine.complete(completion);
    engine.turn(&move || now).await.unwrap();
    let is_paused = async |stage: &Stage| {
        let in_view = stage.engine.as_ref().unwrap().view().dags().all(|dag| dag.is_paused);
        (stage.store.scheduler_dags().await.unwrap()[0].is_paused, in_view)
    };
    assert_eq!(is_paused(&stage).await, (false, false));
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Running, RunState::Failed]);
    stage.end("a", failed()).await;
    assert_eq!(is_paused(&stage).await, (true, true));
}

/// Runs again what failed in all runs of the DAG.
async fn rerun_failed(stage: &mut Stage) -> usize {
    let runs = RunChoice::Between { dag_id: DagId::new_unchecked("d"), from: None, to: None };
    let mut request = ClearRequest::new(Selection::of(runs, TaskChoice::All), "cli");
    request.selection.only_failed = true;
    let report = stage.store.clear_instances(&request, stage.now()).await.unwrap();
    stage.turn().await;
    report.cleared.len()
}

async fn end_all(stage: &mut Stage, names: &[&str]) {
    for name in names {
        stage.end(name, TryOutcome::Success).await;
    }
}

#[tokio::test]
async fn what_failed_of_a_timed_out_run_is_all_of_it() {
    for is_killed in [false, true] {
        let mut stage = timed_out().await;
        if is_killed {
            stage.kill();
            stage.lead().await;
        }
        assert_eq!(rerun_failed(&mut stage).await, 3);
        end_all(&mut stage, &["a", "b", "c"]).await;
        assert_eq!(stage.tasks().await, ["a success 2", "b success 1", "c success 1"]);
        assert_eq!(stage.run_states().await, [RunState::Success]);
    }
}

#[tokio::test]
async fn a_run_does_not_succeed_while_what_was_given_up_is_undone() {
    for is_killed in [false, true] {
        let mut stage = timed_out().await;
        let run = stage.runs().await[0].key;
        let clear = |name: &str| ClearRequest::of_run(run, &[TaskId::new_unchecked(name)], "cli");
        stage.store.clear_instances(&clear("a"), stage.now()).await.unwrap();
        stage.turn().await;
        if is_killed {
            stage.kill();
            stage.lead().await;
        }
        stage.end("a", TryOutcome::Success).await;
        assert_eq!(stage.run_states().await, [RunState::Failed]);
        // What comes after one that was given up never gets its chance either.
        stage.store.clear_instances(&clear("c"), stage.now()).await.unwrap();
        stage.turn().await;
        assert_eq!(stage.tasks().await[1..], ["b skipped 0", "c upstream_failed 0"]);
        let c = stage.store.instance(run, "c", -1).await.unwrap().unwrap();
        assert_eq!(c.state_reason.as_deref(), Some("all_success: b is skipped (given up with its run)"));
        assert_eq!(stage.run_states().await, [RunState::Failed]);
        assert_eq!(rerun_failed(&mut stage).await, 2);
        end_all(&mut stage, &["b", "c"]).await;
        assert_eq!(stage.run_states().await, [RunState::Success]);
    }
}

#[tokio::test]
async fn case_66_what_was_given_up_runs_when_what_stopped_the_run_is_marked_success() {
    let mut stage = timed_out().await;
    let run = stage.runs().await[0].key;
    let mark = |name: &str, to| MarkRequest {
        selection: Selection::of_run(run, TaskChoice::tasks([TaskId::new_unchecked(name)])),
        to,
        note: None,
        dry_run: false,
        actor: "cli".into(),
    };
    let report = stage.store.mark_instances(&mark("a", TaskState::Success), stage.now()).await.unwrap();
    assert_eq!(report.cleared.len(), 2);
    stage.turn().await;
    end_all(&mut stage, &["b", "c"]).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn one_that_was_given_up_may_be_wanted_skipped() {
    let mut stage = timed_out().await;
    let run = stage.runs().await[0].key;
    let skip = MarkRequest {
        selection: Selection::of_run(run, TaskChoice::All),
        to: TaskState::Skipped,
        note: None,
        dry_run: false,
        actor: "cli".into(),
    };
    let report = stage.store.mark_instances(&skip, stage.now()).await.unwrap();
    assert_eq!((report.marked.len(), report.cleared.len()), (3, 0));
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
    assert!(
        stage.store.mark_instances(&skip, stage.now()).await.unwrap().marked.is_empty(),
        "they are what they should be"
    );
}

/// The database refuses what the task left, and then the failure that was to be written instead.
#[tokio::test]
async fn a_task_whose_end_is_refused_again_and_again_fails_with_its_run() {
    let mut stage = Stage::new(4).await;
    let mut dag = dag("d", Value::Null, &["a", "b < a"]);
    dag.tasks[0].retries = 3;
    stage.put(&dag).await;
    stage.lead().await;
    let run = stage.trigger("d").await.key;
    stage.turn().await;
    let completion = stage.executor.end_task("a", TryOutcome::Success, stage.now());
    stage.engine.as_mut().unwrap().complete(completion);
    // With the others and by itself, the end and the failure.
    let faults = Arc::new(PlannedFaults::default());
    faults.plan_at((FaultPoint::Statement, "finish tries"), Fault::Refusal, 0, 4);
    with_faults(faults, stage.turn()).await;
    let ended = stage.runs().await.remove(0);
    assert_eq!(ended.state, RunState::Failed);
    assert!(ended.state_reason.is_some_and(|reason| reason.starts_with("set aside: ")));
    assert_eq!(stage.tasks().await, ["a failed 1", "b none 0"]);
    assert!(stage.store.running_instances().await.unwrap().is_empty());
    // The database takes everything again.
    stage.store.clear_instances(&ClearRequest::of_run(run, &[], "cli"), stage.now()).await.unwrap();
    stage.turn().await;
    end_all(&mut stage, &["a", "b"]).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

/// What would have ended the run cannot be stored: the run has not ended well.
#[tokio::test]
async fn a_run_whose_last_task_leaves_what_is_refused_fails() {
    let mut stage = Stage::new(4).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    let completion = stage.executor.end_task("a", TryOutcome::Success, stage.now());
    stage.engine.as_mut().unwrap().complete(completion);
    // With the others and by itself.
    let faults = Arc::new(PlannedFaults::default());
    faults.plan_at((FaultPoint::Statement, "finish tries"), Fault::Refusal, 0, 2);
    with_faults(faults, stage.turn()).await;
    assert_eq!(stage.tasks().await, ["a failed 1"]);
    let run = stage.runs().await.remove(0);
    let task = stage.store.instances(run.key).await.unwrap().remove(0);
    assert_eq!((run.state, task.state_reason.as_deref()), (RunState::Failed, Some("unstorable_result")));
}

#[tokio::test]
async fn runs_without_a_failed_task_are_found_and_run_again() {
    let mut stage = Stage::new(4).await;
    let mut dag = dag("d", Value::Null, &["a", "b < a"]);
    dag.max_active_runs = 1;
    stage.put(&dag).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.clock.advance(TimeDelta::minutes(1));
    let waits = stage.trigger("d").await.key;
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Running, RunState::Queued]);
    let mark = |to| MarkRunRequest { run: waits, to, note: None, dry_run: false, actor: "cli".into() };
    stage.store.mark_run(&mark(RunState::Failed), stage.now()).await.unwrap();
    stage.turn().await;
    end_all(&mut stage, &["a", "b"]).await;
    assert_eq!(stage.run_states().await, [RunState::Success, RunState::Failed]);
    assert_eq!(rerun_failed(&mut stage).await, 2);
    end_all(&mut stage, &["a", "b"]).await;
    assert_eq!(stage.run_states().await, [RunState::Success; 2]);

    // What a person calls a success is done with.
    stage.clock.advance(TimeDelta::minutes(1));
    let third = stage.trigger("d").await.key;
    stage.store.mark_run(&MarkRunRequest { run: third, ..mark(RunState::Success) }, stage.now()).await.unwrap();
    assert_eq!(rerun_failed(&mut stage).await, 0);
}
