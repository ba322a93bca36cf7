//! What tasks wait for, through the store and over restarts.

use chrono::TimeDelta;
use millrace_model::alert::{Deadline, DeadlineReference};
use millrace_model::change::{Batch, Completion, TaskMove, TryOutcome};
use millrace_model::choice::Choice;
use millrace_model::dag::Dag;
use millrace_model::duration::Span;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use millrace_model::trigger_rule::TriggerRule;
use millrace_planner::{Limits, explain};
use millrace_situation::Situation;
use millrace_store::{AlertFilter, CleanRequest, ClearRequest, MarkRequest, NoArchive, Selection};
use serde_json::{Value, json};

use crate::stage::{Stage, dag};

fn failure() -> TryOutcome {
    TryOutcome::Failed { reason: "error".into(), retry: false }
}

#[tokio::test]
async fn fail_fast_reaches_the_running_tries_and_goes_on_after_a_kill() {
    for is_killed in [false, true] {
        let mut stage = Stage::new(3).await;
        stage.put(&Dag { fail_fast: true, ..dag("d", Value::Null, &["a", "b", "c < b"]) }).await;
        stage.lead().await;
        stage.trigger("d").await;
        stage.turn().await;
        let running = stage.executor.running();
        let b = running.iter().find(|it| it.task().task_id.as_str() == "b").unwrap().instance;
        stage.end("a", failure()).await;
        assert_eq!(stage.executor.cancelled(), [(b, "fail_fast: a failed".to_owned())]);
        assert_eq!(stage.tasks().await, ["a failed 1", "b running 1", "c skipped 0"]);
        assert_eq!(stage.run_states().await, [RunState::Running], "it has not ended while a try runs");
        if is_killed {
            stage.kill();
            stage.lead().await;
        } else {
            stage.end("b", TryOutcome::Cancelled { reason: "fail_fast: a failed".into() }).await;
        }
        let b = stage.store.instance_by_key(b).await.unwrap().unwrap();
        assert_eq!((b.state.as_str(), b.state_reason.as_deref()), ("failed", Some("fail_fast: a failed")));
        let run = stage.runs().await.remove(0);
        assert_eq!((run.state, run.state_reason.as_deref()), (RunState::Failed, Some("fail_fast: a failed")));
    }
}

fn looking_back(limit: u32) -> Dag {
    let mut dag = Dag { max_active_runs: limit, ..dag("d", "@daily".into(), &["a", "b < a"]) };
    dag.tasks[0].depends_on_past = true;
    dag
}

/// Two dated runs; the first has failed at `a`, the second waits for it.
async fn after_a_failure(limit: u32) -> Stage {
    let mut stage = Stage::new(4).await;
    stage.put(&looking_back(limit)).await;
    stage.lead().await;
    stage.clock.advance(TimeDelta::days(1));
    stage.turn().await;
    stage.end("a", failure()).await;
    stage.clock.advance(TimeDelta::days(1));
    stage.turn().await;
    assert_eq!(stage.executor.names(), Vec::<String>::new());
    assert_eq!(stage.run_states().await, [RunState::Failed, RunState::Running]);
    stage
}

async fn states(stage: &Stage, run: usize) -> Vec<String> {
    let run = stage.runs().await[run].key;
    let rows = stage.store.instances(run).await.unwrap();
    rows.iter().map(|row| format!("{} {}", row.task_id, row.state)).collect()
}

#[tokio::test]
async fn case_50_a_past_that_is_marked_or_cleared_later_is_seen() {
    for (is_marked, is_killed) in [(true, false), (false, false), (true, true), (false, true)] {
        let mut stage = after_a_failure(2).await;
        let run = stage.runs().await[0].key;
        let task_ids = vec![TaskId::new_unchecked("a")];
        if is_marked {
            let selection = Selection::of_run(run, TaskChoice::tasks(task_ids));
            let to = TaskState::Success;
            stage
                .store
                .mark_instances(
                    &MarkRequest { selection, to, note: None, dry_run: false, actor: "cli".into() },
                    stage.now(),
                )
                .await
                .unwrap();
        } else {
            let request = ClearRequest::of_run(run, &task_ids, "cli");
            stage.store.clear_instances(&request, stage.now()).await.unwrap();
        }
        if is_killed {
            stage.kill();
            stage.lead().await;
        } else {
            stage.turn().await;
        }
        if !is_marked {
            assert_eq!(stage.executor.names(), ["a#2"], "the cleared one runs, and the other still waits");
            assert_eq!(states(&stage, 1).await, ["a none", "b none"]);
            stage.end("a", TryOutcome::Success).await;
        }
        assert!(stage.executor.names().contains(&"a#1".to_owned()), "{:?}", stage.executor.names());
    }
}

#[tokio::test]
async fn a_past_that_is_deleted_holds_up_nobody_any_more() {
    for is_cleaned in [false, true] {
        let mut stage = after_a_failure(2).await;
        let run = stage.runs().await[0].key;
        if is_cleaned {
            let request = CleanRequest {
                before: stage.now(),
                tables: vec!["dag_run".to_owned()],
                dag_ids: Vec::new(),
                batch: 10,
                actor: "cli".to_owned(),
            };
            let report = stage.store.clean(&request, &mut NoArchive, &mut |_| (), stage.now()).await.unwrap();
            assert_eq!(report.runs.len(), 1);
        } else {
            stage.store.delete_run(run, "cli", stage.now()).await.unwrap();
        }
        stage.turn().await;
        assert_eq!(stage.executor.names(), ["a#1"], "cleaned: {is_cleaned}");
    }
}

#[tokio::test]
async fn a_run_that_waits_makes_way_for_the_one_that_it_waits_for() {
    let mut stage = after_a_failure(1).await;
    let run = stage.runs().await[0].key;
    let mut request = ClearRequest::of_run(run, &[], "cli");
    request.selection.only_failed = true;
    stage.store.clear_instances(&request, stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Running, RunState::Queued], "never more than one at a time");
    stage.end("a", TryOutcome::Success).await;
    stage.end("b", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success, RunState::Running]);
    assert_eq!(stage.executor.names(), ["a#1"]);
}

#[tokio::test]
async fn a_run_that_waits_to_try_again_makes_way_too() {
    let mut stage = Stage::new(4).await;
    let mut dag = looking_back(1);
    dag.tasks[0].retries = 1;
    stage.put(&dag).await;
    stage.lead().await;
    stage.clock.advance(TimeDelta::days(1));
    stage.turn().await;
    stage.end("a", TryOutcome::Success).await;
    stage.end("b", TryOutcome::Success).await;
    stage.clock.advance(TimeDelta::days(1));
    stage.turn().await;
    stage.end("a", TryOutcome::Failed { reason: "error".into(), retry: true }).await;
    assert_eq!(states(&stage, 1).await, ["a up_for_retry", "b none"]);
    let first = stage.runs().await[0].key;
    stage.store.clear_instances(&ClearRequest::of_run(first, &[], "cli"), stage.now()).await.unwrap();
    stage.clock.advance(TimeDelta::minutes(6));
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Running, RunState::Queued]);
    stage.end("a", TryOutcome::Success).await;
    stage.end("b", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success, RunState::Running]);
    assert_eq!(stage.executor.names(), ["a#2"]);
}

#[tokio::test]
async fn whoever_explains_sees_the_past_too() {
    let stage = after_a_failure(2).await;
    let run = stage.runs().await[1].key;
    let situation = Situation::read(stage.store.clone()).await.unwrap();
    let limits = Limits { free_slots: 1, owner: String::new(), lease_ttl: TimeDelta::seconds(60), is_draining: false };
    let found = explain(&situation.view, run, "a", stage.now(), &limits);
    let first = found.iter().find(|condition| !condition.ok).unwrap();
    assert_eq!(first.text, "depends_on_past: a of 2024-01-01 is failed");
}

async fn choose(stage: &mut Stage, task_id: &str, names: &[&str]) {
    let ended = stage.executor.end_task(task_id, TryOutcome::Success, stage.now());
    let choice = Some(Choice::Follow(names.iter().map(|name| (*name).to_owned()).collect()));
    stage.engine.as_mut().unwrap().complete(Completion { choice, ..ended });
    stage.turn().await;
}

async fn clear(stage: &mut Stage, task_ids: &[&str]) {
    let run = stage.runs().await[0].key;
    let task_ids: Vec<TaskId> = task_ids.iter().map(|id| TaskId::new_unchecked(*id)).collect();
    stage.store.clear_instances(&ClearRequest::of_run(run, &task_ids, "cli"), stage.now()).await.unwrap();
    stage.turn().await;
}

#[tokio::test]
async fn case_68_a_skipped_child_that_is_cleared_is_skipped_again_and_with_its_branch_decided_anew() {
    for is_killed in [false, true] {
        let mut stage = Stage::new(4).await;
        stage.put(&dag("d", Value::Null, &["choose", "a < choose", "b < choose"])).await;
        stage.lead().await;
        stage.trigger("d").await;
        stage.turn().await;
        choose(&mut stage, "choose", &["a"]).await;
        stage.end("a", TryOutcome::Success).await;
        assert_eq!(stage.tasks().await, ["choose success 1", "a success 1", "b skipped 0"]);
        assert_eq!(stage.run_states().await, [RunState::Success]);
        if is_killed {
            stage.kill();
            stage.lead().await;
        }
        clear(&mut stage, &["b"]).await;
        assert_eq!(stage.tasks().await, ["choose success 1", "a success 1", "b skipped 0"]);
        let run = stage.runs().await[0].key;
        let b = stage.store.instance(run, "b", -1).await.unwrap().unwrap();
        assert!(b.generation > 0);
        assert_eq!(b.state_reason.as_deref(), Some("branch: not followed by choose"));

        clear(&mut stage, &["choose", "a", "b"]).await;
        assert_eq!(stage.executor.names(), ["choose#2"]);
        assert_eq!(stage.store.instance(run, "choose", -1).await.unwrap().unwrap().choice, None);
        choose(&mut stage, "choose", &["b"]).await;
        assert_eq!(stage.executor.names(), ["b#1"]);
        assert_eq!(stage.tasks().await, ["choose success 2", "a skipped 1", "b running 1"]);
    }
}

#[tokio::test]
async fn case_49_a_rule_that_can_never_be_met_ends_the_run_as_a_deadlock() {
    let mut stage = Stage::new(4).await;
    let mut dag = dag("d", Value::Null, &["a", "b", "c < a,b"]);
    dag.tasks[2].trigger_rule = TriggerRule::AllSkipped;
    stage.put(&dag).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    let run = stage.runs().await[0].key;
    let instance = stage.store.instance(run, "a", -1).await.unwrap().unwrap().key;
    let (from, to) = (TaskState::Running, TaskState::Removed);
    let task_moves = vec![TaskMove { instance, from, to, reason: None, counts_try: false, given_up: false }];
    stage.store.commit_unled(&Batch { task_moves, ..Batch::default() }, stage.now()).await.unwrap();
    stage.turn().await;
    stage.end("b", TryOutcome::Skipped { reason: "exit code 99".into() }).await;
    assert_eq!(stage.tasks().await, ["a removed 1", "b skipped 1", "c skipped 0"]);
    let run = stage.runs().await.remove(0);
    assert_eq!((run.state, run.state_reason.as_deref()), (RunState::Failed, Some("deadlock")));
}

#[tokio::test]
async fn marking_a_branch_takes_its_choice_back() {
    let mut stage = Stage::new(4).await;
    stage.put(&dag("d", Value::Null, &["choose", "a < choose", "b < choose"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    choose(&mut stage, "choose", &["a"]).await;
    stage.end("a", TryOutcome::Success).await;
    let run = stage.runs().await[0].key;
    for to in [TaskState::Failed, TaskState::Success] {
        let selection = Selection::of_run(run, TaskChoice::tasks([TaskId::new_unchecked("choose")]));
        let mark = MarkRequest { selection, to, note: None, dry_run: false, actor: "cli".into() };
        stage.store.mark_instances(&mark, stage.now()).await.unwrap();
        stage.turn().await;
        assert_eq!(stage.store.instance(run, "choose", -1).await.unwrap().unwrap().choice, None);
    }
    // A person said that it succeeded, and not for whom: what is cleared now runs.
    clear(&mut stage, &["b"]).await;
    assert_eq!(stage.executor.names(), ["b#1"]);
    stage.end("b", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn an_old_run_that_is_cleared_is_given_its_deadline_from_its_new_start() {
    let mut stage = Stage::new(4).await;
    let mut dag = dag("d", json!("@daily"), &["a"]);
    dag.deadline = Some(Deadline { reference: DeadlineReference::RunAfter, within: Span::from_seconds(3600) });
    stage.put(&dag).await;
    stage.lead().await;
    stage.clock.advance(TimeDelta::days(1));
    stage.turn().await;
    stage.end("a", TryOutcome::Success).await;
    let dag_id = DagId::new_unchecked("d");
    stage.store.set_paused(&dag_id, true, "cli", stage.now()).await.unwrap();
    stage.clock.advance(TimeDelta::hours(5));
    clear(&mut stage, &["a"]).await;
    stage.clock.advance(TimeDelta::hours(2));
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Queued]);
    assert_eq!(
        stage.store.alerts(&AlertFilter { limit: 10, ..AlertFilter::default() }).await.unwrap().rows,
        [],
        "it waits because somebody paused it"
    );
    stage.store.set_paused(&dag_id, false, "cli", stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Running]);
    stage.clock.advance(TimeDelta::minutes(61));
    stage.turn().await;
    assert_eq!(
        stage.store.alerts(&AlertFilter { limit: 10, ..AlertFilter::default() }).await.unwrap().rows.len(),
        1,
        "an hour has passed since its new start"
    );
}
