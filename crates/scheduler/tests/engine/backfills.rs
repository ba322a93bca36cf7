//! The order of a backfill's runs, what pausing and cancelling do to it, and backfills of some tasks.

use chrono::TimeDelta;
use millrace_model::change::TryOutcome;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::mapping::{Expand, Items};
use millrace_model::selection::{TaskChoice, TaskSelection};
use millrace_model::state::RunState;
use millrace_planner::{Limits, explain};
use millrace_situation::BackfillRequest;
use millrace_store::{BackfillState, ClearRequest, Reprocess, RunChoice, Selection};
use serde_json::json;

use crate::stage::{Stage, dag, instant, wished};

/// 2 to 6 January, one run at a time. Returns the backfill's number.
async fn backfill(stage: &Stage, is_reversed: bool, tasks: Option<TaskSelection>) -> i64 {
    backfill_again(stage, is_reversed, tasks, Reprocess::None).await
}

async fn backfill_again(stage: &Stage, is_reversed: bool, tasks: Option<TaskSelection>, reprocess: Reprocess) -> i64 {
    backfill_from(stage, "2024-01-02", is_reversed, tasks, reprocess).await
}

async fn backfill_from(
    stage: &Stage,
    from: &str,
    is_reversed: bool,
    tasks: Option<TaskSelection>,
    reprocess: Reprocess,
) -> i64 {
    let wished = wished(instant(from), instant("2024-01-07"));
    let report = stage.backfill("d", BackfillRequest { is_reversed, tasks, reprocess, ..wished }).await;
    report.backfill_key.unwrap()
}

async fn stage(tasks: &[&str]) -> Stage {
    let mut stage = Stage::new(8).await;
    let mut daily = dag("d", json!("@daily"), tasks);
    daily.catchup = false;
    stage.put(&daily).await;
    stage.store.set_paused(&daily.dag_id, true, "cli", stage.now()).await.unwrap();
    stage.clock.advance(TimeDelta::days(20));
    stage.lead().await;
    stage
}

/// The days of January whose runs run now.
fn days(stage: &Stage) -> Vec<String> {
    let running = stage.executor.running();
    running.iter().map(|it| it.run.logical_date.format("%-d").to_string()).collect()
}

async fn end_first(stage: &mut Stage) {
    end_first_with(stage, TryOutcome::Success).await;
}

async fn end_first_with(stage: &mut Stage, outcome: TryOutcome) {
    let running = stage.executor.running()[0].instance;
    let completion = stage.executor.end(running, outcome, stage.now());
    stage.engine.as_mut().unwrap().complete(completion);
    stage.turn().await;
}

#[tokio::test]
async fn case_42_pausing_keeps_the_order_and_cancelling_lets_what_runs_end() {
    let mut stage = stage(&["a"]).await;
    let key = backfill(&stage, false, None).await;
    stage.turn().await;
    assert_eq!(days(&stage), ["2"]);
    stage.store.set_backfill_paused(key, true, "cli", stage.now()).await.unwrap();
    stage.turn().await;
    end_first(&mut stage).await;
    assert_eq!(days(&stage), [""; 0], "nothing queued starts");
    let waiting = stage.runs().await.into_iter().find(|run| run.state == RunState::Queued).unwrap().key;
    let limits = Limits { free_slots: 8, owner: "test".into(), lease_ttl: TimeDelta::minutes(5), is_draining: false };
    let why = explain(stage.engine.as_ref().unwrap().view(), waiting, "a", stage.now(), &limits);
    let why = why.into_iter().find(|condition| !condition.ok).unwrap().text;
    assert_eq!(why, format!("the run is queued: backfill {key} is paused"));

    stage.store.set_backfill_paused(key, false, "cli", stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(days(&stage), ["3"]);
    end_first(&mut stage).await;
    assert_eq!(days(&stage), ["4"]);
    stage.store.cancel_backfill(key, "cli", stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(days(&stage), ["4"], "what runs goes on");
    end_first(&mut stage).await;
    assert_eq!(days(&stage), [""; 0]);
    let states = stage.run_states().await;
    let of = |state| states.iter().filter(|it| **it == state).count();
    assert_eq!((of(RunState::Success), of(RunState::Failed), states.len()), (3, 2, 5));
    assert_eq!(stage.store.backfill(key).await.unwrap().unwrap().state, BackfillState::Cancelled);
}

#[tokio::test]
async fn a_reversed_one_begins_with_the_newest_date() {
    let mut stage = stage(&["a"]).await;
    backfill(&stage, true, None).await;
    stage.turn().await;
    let mut seen = days(&stage);
    for _ in 0..2 {
        end_first(&mut stage).await;
        seen.extend(days(&stage));
    }
    // Also after the scheduler's memory is gone.
    stage.kill();
    stage.lead().await;
    stage.turn().await;
    while !stage.executor.running().is_empty() {
        end_first(&mut stage).await;
        seen.extend(days(&stage));
    }
    assert_eq!(seen, ["6", "5", "4", "3", "2"]);
}

/// A limit that the runs share is given to them in the order in which they begin.
#[tokio::test]
async fn a_reversed_one_ends_with_the_oldest_date_where_its_runs_share_a_limit() {
    let mut stage = Stage::new(8).await;
    let mut daily = dag("d", json!("@daily"), &["a", "b < a"]);
    daily.catchup = false;
    daily.tasks[1].max_active_tis_per_dag = Some(1);
    stage.put(&daily).await;
    stage.store.set_paused(&daily.dag_id, true, "cli", stage.now()).await.unwrap();
    stage.clock.advance(TimeDelta::days(20));
    stage.lead().await;
    let wished = wished(instant("2024-01-02"), instant("2024-01-07"));
    stage.backfill("d", BackfillRequest { is_reversed: true, max_active_runs: Some(5), ..wished }).await;
    stage.turn().await;
    for try_ in stage.executor.running() {
        let ended = stage.executor.end(try_.instance, TryOutcome::Success, stage.now());
        stage.engine.as_mut().unwrap().complete(ended);
    }
    stage.turn().await;
    let mut order = Vec::new();
    while !stage.executor.running().is_empty() {
        order.extend(days(&stage));
        end_first(&mut stage).await;
    }
    assert_eq!(order, ["6", "5", "4", "3", "2"]);
}

#[tokio::test]
async fn some_tasks_run_without_waiting_for_the_others() {
    let mut stage = stage(&["a", "b < a", "c < b"]).await;
    let b = TaskChoice::tasks([TaskId::new_unchecked("b")]);
    let key = backfill(&stage, false, Some(b.into())).await;
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["b#1"]);
    while !stage.executor.running().is_empty() {
        end_first(&mut stage).await;
    }
    assert_eq!(stage.run_states().await, [RunState::Success; 5]);
    assert_eq!(stage.store.backfill(key).await.unwrap().unwrap().state, BackfillState::Finished);
    let first = stage.runs().await[0].key;
    let rows = stage.store.instances(first).await.unwrap();
    let states: Vec<String> = rows.iter().map(|row| format!("{} {}", row.task_id, row.state)).collect();
    assert_eq!(states, ["b success", "a skipped", "c skipped"]);
}

/// `work` is mapped over what `more` leaves, which is mapped over what `gen` leaves; `more` is cleaned up after.
#[tokio::test]
async fn what_a_chosen_task_is_mapped_over_runs_with_it() {
    let mut stage = stage(&["a"]).await;
    let mut dag =
        dag("d", json!("@daily"), &["gen", "up", "more < gen,up", "down < up,more", "work < more", "end < work"]);
    (dag.catchup, dag.tasks[1].is_setup, dag.tasks[3].is_teardown) = (false, true, true);
    for (mapped, producer) in [(2, "gen"), (4, "more")] {
        dag.tasks[mapped].expand = Some(Expand::Each(Items::ResultsOf(TaskId::new_unchecked(producer))));
    }
    stage.put(&dag).await;
    stage.turn().await;
    let work = TaskChoice::tasks([TaskId::new_unchecked("work")]);
    backfill(&stage, false, Some(work.into())).await;
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["gen#1", "up#1"]);
    for task in ["gen", "up", "more"] {
        let mut done = stage.executor.end_task(task, TryOutcome::Success, stage.now());
        done.results.push(("return_value".to_owned(), json!([1])));
        stage.engine.as_mut().unwrap().complete(done);
        stage.turn().await;
    }
    assert_eq!(stage.executor.names(), ["down#1", "work#1"]);
    stage.end("down", TryOutcome::Success).await;
    stage.end("work", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await[0], RunState::Success);
}

#[tokio::test]
async fn a_run_that_is_cleared_after_its_backfill_keeps_to_the_pause_and_the_limit_of_its_dag() {
    let mut stage = stage(&["a"]).await;
    backfill(&stage, false, None).await;
    stage.turn().await;
    for _ in 0..5 {
        end_first(&mut stage).await;
    }
    assert_eq!(stage.run_states().await, [RunState::Success; 5]);
    for is_killed in [false, true] {
        let runs = RunChoice::Between { dag_id: DagId::new_unchecked("d"), from: None, to: None };
        let clear = ClearRequest::new(Selection::of(runs, TaskChoice::All), "cli");
        stage.store.clear_instances(&clear, stage.now()).await.unwrap();
        if is_killed {
            stage.kill();
            stage.lead().await;
        }
        stage.turn().await;
        assert_eq!(days(&stage), [""; 0], "its DAG is paused");
    }
    let mut dag = dag("d", json!("@daily"), &["a"]);
    (dag.catchup, dag.max_active_runs) = (false, 2);
    stage.put(&dag).await;
    stage.store.set_paused(&dag.dag_id, false, "cli", stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(days(&stage), ["2", "3"], "within the limit of the DAG");
}

#[tokio::test]
async fn a_run_stays_red_while_a_task_that_was_not_selected_is() {
    let mut stage = stage(&["a", "b", "c < b"]).await;
    backfill(&stage, false, None).await;
    stage.turn().await;
    stage.end("a", TryOutcome::Failed { reason: "broken".into(), retry: false }).await;
    stage.end("b", TryOutcome::Failed { reason: "broken".into(), retry: false }).await;
    while !stage.executor.running().is_empty() {
        end_first(&mut stage).await;
    }
    let again = async |stage: &mut Stage, name: &str| {
        let tasks = TaskChoice::tasks([TaskId::new_unchecked(name)]);
        backfill_again(stage, false, Some(tasks.into()), Reprocess::Failed).await;
        stage.turn().await;
        assert_eq!(stage.executor.names().len(), 1);
        end_first(stage).await;
        let run = stage.runs().await.remove(0);
        (run.state, run.state_reason)
    };
    let reason = "task_failure: a, which was not selected, had failed before".to_owned();
    assert_eq!(again(&mut stage, "c").await, (RunState::Failed, Some(reason)));
    // b failed too, but c, which comes after it, is what counts.
    assert_eq!(again(&mut stage, "a").await, (RunState::Success, None));
}

/// A paused `@daily` whose only task looks back.
async fn looking_back() -> Stage {
    let mut stage = stage(&["a"]).await;
    let mut dag = dag("d", json!("@daily"), &["a"]);
    (dag.catchup, dag.tasks[0].depends_on_past) = (false, true);
    stage.put(&dag).await;
    stage.turn().await;
    stage
}

fn broken() -> TryOutcome {
    TryOutcome::Failed { reason: "broken".into(), retry: false }
}

#[tokio::test]
async fn case_41_the_first_run_of_a_backfill_does_not_look_back_and_the_others_do() {
    let mut stage = looking_back().await;
    let first = backfill_again(&stage, false, None, Reprocess::Failed).await;
    stage.turn().await;
    end_first(&mut stage).await;
    end_first_with(&mut stage, broken()).await;
    assert_eq!(days(&stage), [""; 0], "the 4th waits for the 3rd");
    stage.store.cancel_backfill(first, "cli", stage.now()).await.unwrap();
    stage.turn().await;

    // The 4th waits still, and is in flight; the 5th does not look at it.
    let second = backfill_from(&stage, "2024-01-04", false, None, Reprocess::Completed).await;
    stage.turn().await;
    assert_eq!(days(&stage), ["5"]);
    end_first_with(&mut stage, broken()).await;
    assert_eq!(days(&stage), [""; 0], "the 6th waits for the 5th");
    stage.store.cancel_backfill(second, "cli", stage.now()).await.unwrap();

    // The dates before the one that runs still are taken over, and it is no first run because of that.
    backfill_again(&stage, false, None, Reprocess::Completed).await;
    stage.turn().await;
    assert_eq!(days(&stage), ["2"]);
    end_first_with(&mut stage, broken()).await;
    assert_eq!(days(&stage), [""; 0]);
    stage.kill();
    stage.lead().await;
    assert_eq!(days(&stage), [""; 0], "nor after the scheduler's memory is gone");
}
