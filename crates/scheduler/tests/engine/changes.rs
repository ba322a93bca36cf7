//! What people change while the scheduler works: clear, backfill, pools, limits.

use chrono::TimeDelta;
use millrace_model::change::{Batch, TryOutcome};
use millrace_model::execution::KeyLimit;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_planner::explain_run;
use millrace_situation::BackfillRequest;
use millrace_store::{
    BackfillReport, BackfillState, ClearRequest, MarkRequest, MarkRunRequest, PoolRow, Reprocess, RunRow, Selection,
};
use serde_json::{Value, json};

use crate::stage::{Stage, dag, instant, wished};

async fn clear(stage: &Stage, task_ids: &[&str]) {
    let run = stage.runs().await[0].key;
    let task_ids: Vec<TaskId> = task_ids.iter().map(|id| TaskId::new_unchecked(*id)).collect();
    stage.store.clear_instances(&ClearRequest::of_run(run, &task_ids, "cli"), stage.now()).await.unwrap();
}

async fn backfill(stage: &Stage, from: &str, to: &str, reprocess: Reprocess, limit: u32) -> BackfillReport {
    let wished = wished(instant(from), instant(to));
    stage.backfill("d", BackfillRequest { reprocess, max_active_runs: Some(limit), ..wished }).await
}

/// Ends every running try well until nothing runs. Returns how many did.
async fn finish_all(stage: &mut Stage) -> usize {
    let mut count = 0;
    while let Some(running) = stage.executor.running().first() {
        let completion = stage.executor.end(running.instance, TryOutcome::Success, stage.now());
        stage.engine.as_mut().unwrap().complete(completion);
        stage.turn().await;
        count += 1;
    }
    count
}

#[tokio::test]
async fn case_64_a_running_task_that_is_cleared_is_stopped_and_runs_again() {
    let mut stage = Stage::new(2).await;
    stage.put(&dag("d", Value::Null, &["a", "b < a"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    let first = stage.executor.running()[0].clone();
    let begun = stage.runs().await.remove(0);
    assert_eq!(
        (begun.state, begun.start_date, first.max_tries),
        (RunState::Running, Some(stage.now()), 0),
        "no retries"
    );
    stage.clock.advance(TimeDelta::minutes(1));
    clear(&stage, &["a"]).await;
    stage.turn().await;
    let run = stage.runs().await.remove(0);
    assert_eq!((run.state, run.start_date, run.clear_number), (begun.state, begun.start_date, 0), "it goes on");
    assert_eq!(stage.executor.cancelled().iter().map(|(it, _)| *it).collect::<Vec<_>>(), [first.instance]);
    assert_eq!(stage.tasks().await, ["a restarting 1", "b none 0"]);
    stage.end("a", TryOutcome::Cancelled { reason: "cleared".into() }).await;
    assert_eq!(stage.executor.names(), ["a#2"]);
    assert!(stage.executor.running()[0].generation > first.generation);
    assert_eq!(finish_all(&mut stage).await, 2);
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn a_clear_that_the_scheduler_has_not_heard_of_wins_over_the_result() {
    let mut stage = Stage::new(2).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    let completion = stage.executor.end_task("a", TryOutcome::Success, stage.now());
    clear(&stage, &["a"]).await;
    let now = stage.now();
    let engine = stage.engine.as_mut().unwrap();
    engine.complete(completion);
    engine.turn(&move || now).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["a#2"]);
    assert_eq!(stage.run_states().await, [RunState::Running]);
    finish_all(&mut stage).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn case_63_a_finished_run_goes_on_from_what_was_cleared() {
    let mut stage = Stage::new(2).await;
    stage.put(&dag("d", Value::Null, &["a", "b < a", "c < b"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    assert_eq!(finish_all(&mut stage).await, 3);
    clear(&stage, &["b", "c"]).await;
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["b#2"]);
    assert_eq!(finish_all(&mut stage).await, 2);
    assert_eq!(stage.tasks().await, ["a success 1", "b success 2", "c success 2"]);
}

#[tokio::test]
async fn case_38_and_39_a_backfill_runs_within_its_own_limit_on_a_paused_dag_and_ends() {
    let mut stage = Stage::new(8).await;
    let mut daily = dag("d", json!("@daily"), &["a"]);
    daily.catchup = false;
    stage.put(&daily).await;
    stage.store.set_paused(&daily.dag_id, true, "cli", stage.now()).await.unwrap();
    stage.clock.advance(TimeDelta::days(20));
    stage.lead().await;
    let pointer = stage.store.scheduler_dag(&daily.dag_id).await.unwrap().unwrap().pointer;

    let report = backfill(&stage, "2024-01-02", "2024-01-07", Reprocess::None, 2).await;
    assert_eq!(report.run_count(), 5);
    stage.turn().await;
    assert_eq!(stage.executor.running().len(), 2);
    let dates: Vec<String> = stage.executor.running().iter().map(|it| it.run.run_id.to_string()).collect();
    assert_eq!(dates, ["backfill__2024-01-02T00:00:00+00:00", "backfill__2024-01-03T00:00:00+00:00"]);
    assert_eq!(finish_all(&mut stage).await, 5);
    let key = report.backfill_key.unwrap();
    assert_eq!(stage.store.backfill(key).await.unwrap().unwrap().state, BackfillState::Finished);
    assert_eq!(stage.store.scheduler_dag(&daily.dag_id).await.unwrap().unwrap().pointer, pointer);

    assert_eq!(backfill(&stage, "2024-01-02", "2024-01-07", Reprocess::None, 2).await.run_count(), 0);
    assert_eq!(backfill(&stage, "2024-01-02", "2024-01-07", Reprocess::Completed, 3).await.run_count(), 5);
    stage.turn().await;
    assert_eq!(stage.executor.running().len(), 3);
    assert_eq!(stage.executor.running()[0].try_number, 2);
    assert_eq!(finish_all(&mut stage).await, 5);
    assert!(stage.runs().await.iter().all(|run| run.state == RunState::Success && run.run_type == RunType::Backfill));
    assert!(stage.store.active_backfills().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_backfill_goes_on_after_a_kill() {
    let mut stage = Stage::new(2).await;
    stage.clock.advance(TimeDelta::days(20));
    let mut daily = dag("d", json!("@daily"), &["a", "b < a"]);
    daily.catchup = false;
    stage.put(&daily).await;
    stage.store.set_paused(&daily.dag_id, true, "cli", stage.now()).await.unwrap();
    stage.lead().await;
    backfill(&stage, "2024-01-02", "2024-01-12", Reprocess::None, 4).await;
    stage.turn().await;
    for _ in 0..5 {
        let running = stage.executor.running()[0].instance;
        let completion = stage.executor.end(running, TryOutcome::Success, stage.now());
        stage.engine.as_mut().unwrap().complete(completion);
        stage.turn().await;
    }
    stage.kill();
    stage.lead().await;
    assert_eq!(finish_all(&mut stage).await, 15, "every task has exactly one success");
    assert!(stage.runs().await.iter().all(|run| run.state == RunState::Success));
}

#[tokio::test]
async fn a_run_that_was_ended_by_hand_keeps_its_place_and_its_key_until_its_try_has_stopped() {
    for (has_key, marks_task) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut stage = Stage::new(4).await;
        let mut one = dag("d", Value::Null, &["a"]);
        if has_key {
            one.concurrency = Some(KeyLimit { key: "one".into(), limit: 1 });
        } else {
            one.max_active_runs = 1;
        }
        stage.put(&one).await;
        stage.lead().await;
        let RunRow { key: first, run_id: first_id, .. } = stage.trigger("d").await;
        stage.clock.advance(TimeDelta::seconds(1));
        let second = stage.trigger("d").await.key;
        stage.turn().await;
        let (to, note, dry_run, actor) = (RunState::Failed, None, false, "cli".to_owned());
        if marks_task {
            let selection = Selection::of_run(first, TaskChoice::All);
            let request = MarkRequest { selection, to: TaskState::Failed, note, dry_run, actor };
            stage.store.mark_instances(&request, stage.now()).await.unwrap();
        } else {
            let request = MarkRunRequest { run: first, to, note, dry_run, actor };
            stage.store.mark_run(&request, stage.now()).await.unwrap();
        }
        stage.turn().await;
        assert_eq!(stage.run_states().await, [RunState::Failed, RunState::Queued]);
        if !has_key {
            let view = stage.engine.as_ref().unwrap().view();
            let unmet = explain_run(view, second, stage.now()).into_iter().find(|condition| !condition.ok).unwrap();
            let told = format!(
                "the run is queued: 1 of 1 runs of the DAG are running, 1 of them until the last try of an ended one has \
                 stopped (max_active_runs); held by run {first_id}"
            );
            assert_eq!(unmet.text, told);
        }
        // Also one that is queued again meanwhile, before the other.
        clear(&stage, &["a"]).await;
        stage.turn().await;
        assert_eq!(stage.run_states().await, [RunState::Queued, RunState::Queued]);
        stage.end("a", TryOutcome::Cancelled { reason: "marked".into() }).await;
        assert_eq!(stage.run_states().await, [RunState::Running, RunState::Queued]);
        assert_eq!(finish_all(&mut stage).await, 2);
        assert_eq!(stage.run_states().await, [RunState::Success, RunState::Success]);
    }
}

#[tokio::test]
async fn a_larger_pool_is_used_at_once() {
    let mut stage = Stage::new(8).await;
    let pool = |slots| PoolRow { name: "p".into(), slots, description: None, include_deferred: false };
    stage.store.put_pool(&pool(1), "cli", stage.now()).await.unwrap();
    let mut pooled = dag("d", Value::Null, &["a", "b", "c"]);
    pooled.tasks.iter_mut().for_each(|task| task.pool = "p".into());
    stage.put(&pooled).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    assert_eq!(stage.executor.running().len(), 1);
    stage.store.put_pool(&pool(3), "cli", stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.executor.running().len(), 3);
}

#[tokio::test]
async fn what_no_signal_named_is_found_by_the_slow_look() {
    let mut stage = Stage::new(8).await;
    let mut daily = dag("d", json!("@daily"), &["a"]);
    daily.catchup = false;
    stage.put(&daily).await;
    stage.clock.advance(TimeDelta::days(20));
    stage.lead().await;
    finish_all(&mut stage).await;
    backfill(&stage, "2024-01-02", "2024-01-04", Reprocess::None, 2).await;
    stage.trigger("d").await;
    let lost = stage.store.signals().await.unwrap().iter().map(|signal| signal.id).collect();
    let batch = Batch { signals_handled: lost, ..Batch::default() };
    stage.store.commit_unled(&batch, stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.executor.running().len(), 0, "nobody has heard of them");

    let now = stage.now();
    stage.engine.as_mut().unwrap().look_for_missed(now).await.unwrap();
    stage.turn().await;
    assert_eq!(finish_all(&mut stage).await, 3);
    assert!(stage.runs().await.iter().all(|run| run.state == RunState::Success));
}

async fn is_paused(stage: &Stage) -> bool {
    stage.store.scheduler_dag(&DagId::new_unchecked("d")).await.unwrap().unwrap().is_paused
}

#[tokio::test]
async fn case_62_a_run_counts_once_however_often_it_fails_and_as_what_it_was_marked() {
    for is_killed in [false, true] {
        let mut stage = Stage::new(4).await;
        let mut dag = dag("d", Value::Null, &["a"]);
        dag.max_consecutive_failed_dag_runs = 2;
        stage.put(&dag).await;
        stage.lead().await;
        let fails = || TryOutcome::Failed { reason: "broken".into(), retry: false };
        let first = stage.trigger("d").await.key;
        stage.turn().await;
        stage.end("a", fails()).await;
        for _ in 0..2 {
            clear(&stage, &["a"]).await;
            stage.turn().await;
            stage.end("a", fails()).await;
        }
        assert!(!is_paused(&stage).await, "one run has failed, three times");
        let success =
            MarkRunRequest { run: first, to: RunState::Success, note: None, dry_run: false, actor: "cli".into() };
        stage.store.mark_run(&success, stage.now()).await.unwrap();
        stage.turn().await;
        for (number, paused) in [(2, false), (3, true)] {
            if is_killed {
                stage.kill();
                stage.lead().await;
            }
            stage.clock.advance(TimeDelta::minutes(1));
            stage.trigger("d").await;
            stage.turn().await;
            stage.end("a", fails()).await;
            assert_eq!(is_paused(&stage).await, paused, "after run {number}");
        }
    }
}

#[tokio::test]
async fn a_retry_whose_time_has_come_before_its_turn_still_comes_when_the_clock_goes_back() {
    let mut stage = Stage::new(8).await;
    let mut retried = dag("d", Value::Null, &["a", "b < a"]);
    retried.tasks[1].retries = 1;
    stage.put(&retried).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.end("a", TryOutcome::Success).await;
    stage.end("b", TryOutcome::Failed { reason: "boom".into(), retry: true }).await;
    clear(&stage, &["a"]).await;
    stage.clock.advance(TimeDelta::minutes(10));
    stage.turn().await;
    assert_eq!(stage.tasks().await, ["a running 2", "b up_for_retry 1"]);
    stage.clock.advance(TimeDelta::minutes(-8));
    stage.end("a", TryOutcome::Success).await;
    assert_eq!(stage.tasks().await, ["a success 2", "b up_for_retry 1"], "not yet");
    stage.clock.advance(TimeDelta::minutes(10));
    stage.turn().await;
    assert_eq!(stage.tasks().await, ["a success 2", "b running 2"]);
}

#[tokio::test]
async fn a_try_whose_task_is_gone_goes_on_counting_when_it_is_cleared() {
    let mut stage = Stage::new(8).await;
    let mut first = dag("d", Value::Null, &["a", "b"]);
    first.tasks[0].max_active_tis_per_dag = Some(1);
    stage.put(&first).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    let mut second = first.clone();
    second.tasks.remove(0);
    stage.put(&second).await;
    crate::repinned::give_newest(&stage, run.key).await;
    stage.turn().await;
    clear(&stage, &["a"]).await;
    stage.put(&first).await;
    stage.clock.advance(TimeDelta::seconds(1));
    stage.trigger("d").await;
    stage.turn().await;
    let of_a = stage.executor.names().iter().filter(|name| name.starts_with("a#")).count();
    assert_eq!(of_a, 1, "{:?}", stage.executor.names());
}
