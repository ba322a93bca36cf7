//! Whole runs, retries, and what a killed daemon leaves behind.

use std::sync::Arc;

use chrono::TimeDelta;
use millrace_model::change::TryOutcome;
use millrace_model::ids::DagId;
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use millrace_operator_api::context::Clock;
use millrace_planner::SHUTDOWN_REASON;
use millrace_store::faults::{Fault, FaultPoint, Faults, with_faults};
use millrace_store::{ClearRequest, Counted, MarkRequest, Selection};
use serde_json::{Value, json};

use crate::stage::{Stage, dag};
use crate::world::daemon::Daemon;
use crate::world::failures::PlannedFaults;

fn failed() -> TryOutcome {
    TryOutcome::Failed { reason: "boom".into(), retry: true }
}

#[tokio::test]
async fn a_scheduled_chain_runs_to_its_end() {
    let mut stage = Stage::new(4).await;
    stage.put(&dag("d", json!("@daily"), &["a", "b < a", "c < b"])).await;
    stage.lead().await;
    assert!(stage.runs().await.is_empty(), "nothing is due on the first day");
    stage.clock.advance(TimeDelta::days(1));
    stage.turn().await;
    for task in ["a", "b", "c"] {
        assert_eq!(stage.executor.names(), [format!("{task}#1")]);
        stage.end(task, TryOutcome::Success).await;
    }
    assert_eq!(stage.tasks().await, ["a success 1", "b success 1", "c success 1"]);
    let run = &stage.runs().await[0];
    assert_eq!((run.run_id.as_str(), run.state), ("scheduled__2024-01-01T00:00:00+00:00", RunState::Success));
    let next = stage.store.scheduler_dag(&DagId::new_unchecked("d")).await.unwrap().unwrap().pointer.unwrap();
    assert_eq!(next.run_after, crate::stage::instant("2024-01-03"));
}

#[tokio::test]
async fn a_triggered_run_starts_by_its_signal_and_a_failure_is_handed_down() {
    let mut stage = Stage::new(4).await;
    stage.put(&dag("d", Value::Null, &["a", "b < a"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    assert!(stage.store.signals().await.unwrap().is_empty(), "a signal is taken once");
    stage.end("a", failed()).await;
    assert_eq!(stage.tasks().await, ["a failed 1", "b upstream_failed 0"]);
    assert_eq!(stage.run_states().await, [RunState::Failed]);
}

#[tokio::test]
async fn a_retry_waits_and_survives_a_restart() {
    let mut stage = Stage::new(4).await;
    let mut retried = dag("d", Value::Null, &["a"]);
    retried.tasks[0].retries = 1;
    stage.put(&retried).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.end("a", failed()).await;
    assert_eq!(stage.tasks().await, ["a up_for_retry 1"]);
    stage.kill();
    stage.clock.advance(TimeDelta::seconds(299));
    stage.lead().await;
    assert!(stage.executor.running().is_empty(), "too early");
    stage.clock.advance(TimeDelta::seconds(2));
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["a#2"]);
    stage.end("a", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn a_wait_without_a_slot_survives_a_kill_with_its_first_start() {
    let mut stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    let first_start = stage.now();
    let until = stage.now() + TimeDelta::minutes(1);
    stage.end("a", TryOutcome::PutOff { until, reason: "not there".into() }).await;
    assert_eq!(stage.tasks().await, ["a up_for_reschedule 1"]);
    stage.kill();
    stage.clock.advance(TimeDelta::seconds(59));
    stage.lead().await;
    assert!(stage.executor.running().is_empty(), "too early");
    stage.clock.advance(TimeDelta::seconds(2));
    stage.turn().await;
    let looking = stage.executor.running()[0].clone();
    assert_eq!((looking.try_number, looking.put_offs.unwrap().count), (1, 1));
    // Killed in the middle of a look: the same wait goes on, not a new one.
    stage.kill();
    stage.lead().await;
    let looking = stage.executor.running()[0].clone();
    assert_eq!((looking.try_number, looking.put_offs.unwrap().first_start), (1, first_start));
    stage.end("a", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn case_60_after_a_kill_what_ran_is_given_again_at_no_cost_and_what_succeeded_stays() {
    let mut stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a", "b < a", "x"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["a#1"]);
    assert_eq!(stage.tasks().await, ["a running 1", "b none 0", "x scheduled 0"]);
    stage.end("a", TryOutcome::Success).await;
    let before = stage.executor.running()[0].clone();
    stage.kill();
    stage.lead().await;
    let after = stage.executor.running()[0].clone();
    assert_eq!((after.instance, after.try_number), (before.instance, before.try_number + 1));
    assert_eq!(after.max_tries, before.max_tries + 1, "one more is allowed: it cost no retry");
    assert_ne!(after.token, before.token);
    let tries = stage.store.tries(before.instance).await.unwrap();
    let ended = (tries[0].state, tries[0].state_reason.as_deref());
    assert_eq!(ended, (TaskState::Failed, Some("lost_worker")), "the lost try is kept");
    while let Some(running) = stage.executor.running().first() {
        let completion = stage.executor.end(running.instance, TryOutcome::Success, stage.now());
        stage.engine.as_mut().unwrap().complete(completion);
        stage.turn().await;
    }
    assert_eq!(stage.tasks().await, ["a success 1", "b success 2", "x success 1"]);
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn a_worker_lost_for_the_fourth_time_is_a_failure() {
    let mut stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    for number in 2..=4 {
        stage.kill();
        stage.lead().await;
        assert_eq!(stage.executor.names(), [format!("a#{number}")]);
    }
    stage.kill();
    stage.lead().await;
    assert!(stage.executor.running().is_empty());
    assert_eq!(stage.tasks().await, ["a failed 4"]);
    assert_eq!(stage.run_states().await, [RunState::Failed]);
}

#[tokio::test]
async fn case_59_a_stale_worker_cannot_overwrite_the_newer_try() {
    let mut stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    let stale = stage.executor.end_task("a", failed(), stage.now());
    stage.kill();
    stage.lead().await;
    stage.engine.as_mut().unwrap().complete(stale);
    stage.turn().await;
    assert_eq!(stage.tasks().await, ["a running 2"]);
    stage.end("a", TryOutcome::Success).await;
    assert_eq!(stage.tasks().await, ["a success 2"]);
}

#[tokio::test]
async fn a_leader_that_was_replaced_can_change_nothing() {
    let mut stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    let mut late = stage.engine.take().unwrap();
    stage.kill();
    stage.trigger("d").await;
    stage.lead().await;
    assert_eq!(stage.executor.names(), ["a#1"]);
    stage.clock.advance(TimeDelta::minutes(1));
    stage.trigger("d").await;
    let now = stage.now();
    late.take_signals(now).await.unwrap();
    let error = late.turn(&move || now).await.unwrap_err();
    assert!(millrace_scheduler::Engine::is_deposed(&error), "{error}");
}

#[tokio::test]
async fn a_paused_dag_starts_nothing_until_it_is_unpaused() {
    let mut stage = Stage::new(4).await;
    stage.put(&dag("d", Value::Null, &["a", "b < a"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    let dag_id = DagId::new_unchecked("d");
    stage.store.set_paused(&dag_id, true, "cli", stage.now()).await.unwrap();
    stage.turn().await;
    stage.end("a", TryOutcome::Success).await;
    assert_eq!(stage.tasks().await, ["a success 1", "b none 0"]);
    stage.store.set_paused(&dag_id, false, "cli", stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["b#1"]);
}

#[tokio::test]
async fn a_drained_engine_finishes_and_starts_nothing() {
    let mut stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a", "b < a"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    let running = stage.executor.running()[0].instance;
    stage.engine.as_mut().unwrap().drain();
    stage.end("a", TryOutcome::Success).await;
    assert_eq!(stage.state_of(running).await, TaskState::Success);
    assert!(stage.executor.running().is_empty());
    assert_eq!(stage.engine.as_ref().unwrap().in_flight(), 0);
}

#[tokio::test]
async fn what_a_command_runs_by_itself_is_left_alone_until_its_lease_ends() {
    let mut stage = Stage::new(2).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    let run = stage.trigger("d").await;
    stage.claim_by_command(run.key).await;
    stage.lead().await;
    assert!(stage.executor.running().is_empty());
    assert_eq!(stage.tasks().await, ["a running 1"]);
    let now = stage.now();
    stage.engine.as_mut().unwrap().look_after_foreign(now).await.unwrap();

    stage.clock.advance(TimeDelta::seconds(60));
    let now = stage.now();
    stage.engine.as_mut().unwrap().look_after_foreign(now).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["a#2"], "its lease has ended: the try is given again");
    let counts = stage.store.counts().await.unwrap();
    let sum = |of: Counted| counts.iter().filter(|row| row.of == of).map(|row| row.value).sum::<u64>();
    assert_eq!((sum(Counted::Adopted), sum(Counted::Lost)), (1, 1), "however often it was looked after");
}

#[tokio::test]
async fn a_try_that_waits_outside_leaves_its_slot_and_takes_one_before_it_goes_on() {
    let mut stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a", "b"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    let a = stage.executor.running()[0].clone();
    stage.go_outside("a").await;
    assert_eq!(stage.tasks().await, ["a deferred 1", "b running 1"]);
    stage.come_back(&a).await;
    assert_eq!(stage.tasks().await, ["a deferred 1", "b running 1"], "there is no slot for it");
    stage.end("b", TryOutcome::Success).await;
    assert_eq!(stage.tasks().await, ["a running 1", "b success 1"]);
    assert_eq!(stage.executor.names(), ["a#1"]);
    let counts = stage.store.counts().await.unwrap();
    let sum = |of: Counted| counts.iter().filter(|row| row.of == of).map(|row| row.value).sum::<u64>();
    assert_eq!(sum(Counted::ReturnWaits), 1, "how long it waited for its slot is told");
    assert!(sum(Counted::Plans) >= 5);
    stage.end("a", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn case_60_a_try_that_waited_outside_when_the_daemon_was_killed_is_given_again() {
    let mut stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.go_outside("a").await;
    assert_eq!(stage.tasks().await, ["a deferred 1"]);
    stage.kill();
    stage.lead().await;
    assert_eq!(stage.executor.names(), ["a#2"]);
    let instance = &stage.store.instances(stage.runs().await[0].key).await.unwrap()[0];
    assert_eq!((instance.state, instance.max_tries, instance.lost_workers), (TaskState::Running, 1, 1));
}

#[tokio::test]
async fn a_try_that_waits_outside_is_stopped_when_it_is_cleared() {
    let mut stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    let a = stage.executor.running()[0].clone();
    stage.go_outside("a").await;
    let request = ClearRequest::new(Selection::of_run(run.key, TaskChoice::All), "ann");
    stage.store.clear_instances(&request, stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.tasks().await, ["a restarting 1"]);
    assert_eq!(stage.executor.cancelled().len(), 1);
    let stopped = TryOutcome::Cancelled { reason: "cleared".into() };
    let stopped = stage.executor.end(a.instance, stopped, stage.now());
    stage.engine.as_mut().unwrap().complete(stopped);
    stage.turn().await;
    assert_eq!(stage.tasks().await, ["a running 2"]);
}

/// Marked while it ran; the run ends at once, and its try goes on until it has stopped.
#[tokio::test]
async fn a_run_that_ended_by_a_mark_holds_its_slots_until_its_try_has_stopped() {
    let mut stage = Stage::new(4).await;
    let mut pooled = dag("d", Value::Null, &["a"]);
    pooled.max_active_runs = 2;
    pooled.tasks[0].max_active_tis_per_dag = Some(1);
    stage.put(&pooled).await;
    stage.lead().await;
    let first = stage.trigger("d").await;
    stage.turn().await;
    let held = stage.executor.running()[0].clone();
    let selection = Selection::of_run(first.key, TaskChoice::All);
    let mark = MarkRequest { selection, to: TaskState::Failed, note: None, dry_run: false, actor: "me".into() };
    stage.store.mark_instances(&mark, stage.now()).await.unwrap();
    stage.clock.advance(TimeDelta::seconds(1));
    stage.trigger("d").await;
    stage.turn().await;
    assert_eq!(stage.run_states().await, [RunState::Failed, RunState::Running]);
    assert_eq!(stage.executor.running().len(), 1, "one try of the task at a time");
    let used = stage.store.pool_use().await.unwrap()["default_pool"];
    assert_eq!((used.running, used.scheduled), (1, 1), "people see in its pool what still stops");
    let stopped = TryOutcome::Cancelled { reason: "marked".into() };
    let completion = stage.executor.end(held.instance, stopped, stage.now());
    stage.engine.as_mut().unwrap().complete(completion);
    stage.turn().await;
    assert_eq!(stage.executor.running().len(), 1);
    assert_ne!(stage.executor.running()[0].instance, held.instance);
}

/// Marked and cleared, while a leader that was replaced and has not noticed still runs it.
#[tokio::test]
async fn what_was_marked_is_not_started_again_before_its_try_has_stopped_wherever_that_runs() {
    let stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    let calm = Arc::new(PlannedFaults::default());
    let mut late = Daemon::leading(&stage, 1, true, &calm).await;
    let run = stage.trigger("d").await;
    late.turn(&stage, &calm, false).await.unwrap();
    let held = late.executor.running()[0].clone();
    late.release();
    let mut leader = Daemon::leading(&stage, 1, false, &calm).await;
    let selection = Selection::of_run(run.key, TaskChoice::All);
    let mark = MarkRequest { selection, to: TaskState::Failed, note: None, dry_run: false, actor: "me".into() };
    stage.store.mark_instances(&mark, stage.now()).await.unwrap();
    leader.turn(&stage, &calm, false).await.unwrap();
    assert_eq!((stage.tasks().await, stage.run_states().await), (vec!["a failed 1".into()], vec![RunState::Failed]));
    stage.store.clear_instances(&ClearRequest::of_run(run.key, &[], "me"), stage.now()).await.unwrap();
    leader.turn(&stage, &calm, true).await.unwrap();
    assert_eq!(stage.tasks().await, ["a restarting 1"], "its try may still run");
    assert!(leader.executor.running().is_empty());

    // It stands down: its try has stopped, and says so.
    late.engine.cancel_all(SHUTDOWN_REASON);
    let stopped = TryOutcome::Cancelled { reason: SHUTDOWN_REASON.into() };
    late.engine.complete(late.executor.end(held.instance, stopped, stage.now()));
    late.engine.hand_over(stage.now()).await.unwrap();
    leader.turn(&stage, &calm, false).await.unwrap();
    assert_eq!(leader.executor.names(), ["a#2"]);
}

#[tokio::test]
async fn what_was_marked_lets_go_when_its_worker_is_gone() {
    let mut stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    let selection = Selection::of_run(run.key, TaskChoice::All);
    let mark = MarkRequest { selection, to: TaskState::Success, note: None, dry_run: false, actor: "me".into() };
    stage.store.mark_instances(&mark, stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.store.running_instances().await.unwrap().len(), 1, "it has not stopped yet");
    assert_eq!(stage.engine.as_ref().unwrap().free_slots(), 0);
    stage.kill();
    stage.lead().await;
    assert!(stage.store.running_instances().await.unwrap().is_empty());
    assert_eq!(stage.tasks().await, ["a success 1"], "and stays what it was marked");
    stage.store.clear_instances(&ClearRequest::of_run(run.key, &[], "me"), stage.now()).await.unwrap();
    stage.turn().await;
    assert_eq!(stage.executor.names(), ["a#2"]);
}

/// The answer of the first commit is lost: all of it stands, and nobody is told.
struct LostAnswer(std::sync::atomic::AtomicBool);

impl Faults for LostAnswer {
    fn strike(&self, point: FaultPoint, _: &'static str) -> Option<Fault> {
        let first = point == FaultPoint::AfterCommit && !self.0.swap(true, std::sync::atomic::Ordering::SeqCst);
        first.then_some(Fault::Outage)
    }
}

/// A try is queued and given to its worker in one commit, so that none can be stuck in the queue: whatever dies between
/// that commit and the start, the row says who holds the try.
#[tokio::test]
async fn case_61_nothing_is_stuck_between_the_queue_and_the_start() {
    for is_killed in [false, true] {
        let mut stage = Stage::new(1).await;
        let mut task = dag("d", Value::Null, &["a"]);
        task.tasks[0].retries = 0;
        stage.put(&task).await;
        stage.lead().await;
        let run = stage.trigger("d").await;
        let clock = stage.clock.clone();
        let engine = stage.engine.as_mut().unwrap();
        engine.take_signals(stage.clock.now()).await.unwrap();
        let lost = Arc::new(LostAnswer(false.into()));
        let now = move || clock.now();
        with_faults(lost, engine.turn(&now)).await.unwrap_err();

        assert!(stage.executor.running().is_empty(), "it was not started");
        let row = stage.store.instances(run.key).await.unwrap().remove(0);
        assert_eq!((row.state, row.try_number), (TaskState::Running, 1), "never queued without an owner");
        assert!(row.lease.is_some());

        if is_killed {
            stage.kill();
            stage.lead().await;
        } else {
            stage.turn().await;
        }
        assert_eq!(stage.executor.running().len(), 1, "no time out of a queue is waited for");
        stage.end("a", TryOutcome::Success).await;
        assert_eq!(stage.run_states().await, [RunState::Success], "it cost no try");
    }
}

#[tokio::test]
async fn what_another_holds_is_not_forgotten_when_the_look_at_it_fails() {
    let stage = Stage::new(1).await;
    stage.put(&dag("d", Value::Null, &["a"])).await;
    let faults = Arc::new(PlannedFaults::default());
    let mut dead = Daemon::leading(&stage, 1, true, &faults).await;
    stage.trigger("d").await;
    dead.turn(&stage, &faults, false).await.unwrap();
    dead.release();
    let mut leader = Daemon::leading(&stage, 1, false, &faults).await;
    leader.turn(&stage, &faults, false).await.unwrap();
    // The first statement reads the signals, the second what others hold, the third who they are.
    faults.plan(FaultPoint::Statement, Fault::Outage, 2, 1);
    leader.turn(&stage, &faults, true).await.unwrap_err();
    leader.turn(&stage, &faults, false).await.unwrap();
    stage.clock.advance(TimeDelta::minutes(2));
    leader.turn(&stage, &faults, true).await.unwrap();
    assert_eq!(leader.executor.names(), ["a#2"], "its lease has run out");
}
