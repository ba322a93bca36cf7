//! Tries that wait outside hold no slot, and whatever is made of their tasks meanwhile, they never come back to one.

use millrace_model::change::{Assignment, TryOutcome};
use millrace_model::selection::TaskChoice;
use millrace_model::state::TaskState;
use millrace_planner::DagVersion;
use millrace_store::{ClearRequest, MarkRequest, NewestVersion, PoolRow, RepinRequest, RunChoice, RunRow, Selection};
use serde_json::Value;

use crate::stage::{Stage, dag};

/// What people do to a task while its try waits outside.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Done {
    Cleared,
    Marked,
    Removed,
}

const ALL: [Done; 3] = [Done::Cleared, Done::Marked, Done::Removed];

async fn put_pool(stage: &Stage, slots: i64, include_deferred: bool) {
    let row = PoolRow { name: "p".into(), slots, description: None, include_deferred };
    stage.store.put_pool(&row, "cli", stage.now()).await.unwrap();
}

/// `a` of `d` waits outside; the pool has one slot, and the run room for one task.
async fn parked(stage: &mut Stage, include_deferred: bool) -> (RunRow, Assignment) {
    put_pool(stage, 1, include_deferred).await;
    let mut first = dag("d", Value::Null, &["a", "b < a"]);
    first.max_active_tasks = 1;
    first.tasks[0].pool = "p".into();
    stage.put(&first).await;
    let mut other = dag("other", Value::Null, &["c"]);
    other.tasks[0].pool = "p".into();
    stage.put(&other).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    let held = stage.executor.running().remove(0);
    stage.go_outside("a").await;
    assert_eq!(stage.state_of(held.instance).await, TaskState::Deferred);
    (run, held)
}

async fn apply(stage: &Stage, done: Done, run: &RunRow) {
    let selection = Selection::of_run(run.key, TaskChoice::tasks([millrace_model::ids::TaskId::new_unchecked("a")]));
    match done {
        Done::Cleared => {
            let request = ClearRequest::new(selection, "ann");
            stage.store.clear_instances(&request, stage.now()).await.unwrap();
        }
        Done::Marked => {
            let (to, actor) = (TaskState::Failed, "ann".to_owned());
            let request = MarkRequest { selection, to, note: None, dry_run: false, actor };
            stage.store.mark_instances(&request, stage.now()).await.unwrap();
        }
        Done::Removed => {
            let mut without = dag("d", Value::Null, &["b"]);
            without.max_active_tasks = 1;
            stage.put(&without).await;
            let row = stage.store.scheduler_dag(&without.dag_id).await.unwrap().unwrap();
            let version = DagVersion::new(row.version_key, row.dag).unwrap();
            let newest = NewestVersion { version_key: row.version_key, tasks: version.new_instances() };
            let runs = RunChoice::One(run.key);
            let request = RepinRequest { runs, only_active: true, newest, dry_run: false, actor: "ann".into() };
            stage.store.repin_runs(&request, stage.now()).await.unwrap();
        }
    }
}

async fn stops(stage: &mut Stage, held: &Assignment) {
    let outcome = TryOutcome::Cancelled { reason: "taken away".into() };
    let completion = stage.executor.end(held.instance, outcome, stage.now());
    stage.engine.as_mut().unwrap().complete(completion);
    stage.turn().await;
}

#[tokio::test]
async fn whatever_is_made_of_a_task_that_waits_outside_its_try_takes_no_slot_while_it_stops() {
    for done in ALL {
        for reads_again in [false, true] {
            let mut stage = Stage::new(4).await;
            let (run, held) = parked(&mut stage, false).await;
            apply(&stage, done, &run).await;
            stage.trigger("other").await;
            stage.turn().await;
            if reads_again {
                stage.engine.as_mut().unwrap().lead_again(1);
                stage.turn().await;
            }
            assert!(stage.executor.stopping(&held.token).is_some(), "{done:?}: it is asked to stop");
            let mut names = stage.executor.names();
            names.sort();
            let expected: &[&str] = if done == Done::Removed { &["b#1", "c#1"] } else { &["c#1"] };
            assert_eq!(names, expected, "{done:?}: the pool's slot is free, and so is the run's");
            let used = stage.store.pool_use().await.unwrap().remove("p").unwrap();
            assert_eq!(used.running, 1, "{done:?}: people see c alone in the pool");
            stops(&mut stage, &held).await;
            let row = stage.store.instance_by_key(held.instance).await.unwrap().unwrap();
            assert_eq!((row.lease, row.is_outside), (None, false), "{done:?}");
            if done == Done::Cleared {
                assert_eq!(row.state, TaskState::Scheduled, "it waits for the pool like everybody");
                stage.end("c", TryOutcome::Success).await;
                assert_eq!(stage.executor.names(), ["a#2"]);
            }
        }
    }
}

#[tokio::test]
async fn a_pool_that_counts_those_outside_counts_them_until_they_have_stopped() {
    for done in ALL {
        let mut stage = Stage::new(4).await;
        let (run, held) = parked(&mut stage, true).await;
        apply(&stage, done, &run).await;
        stage.trigger("other").await;
        stage.turn().await;
        assert!(!stage.executor.names().contains(&"c#1".to_owned()), "{done:?}: the pool is full");
        stops(&mut stage, &held).await;
        let is_again = stage.executor.names().contains(&"a#2".to_owned());
        assert_eq!(is_again, done == Done::Cleared, "{done:?}: heavier, and older");
        assert_ne!(is_again, stage.executor.names().contains(&"c#1".to_owned()), "{done:?}");
    }
}

/// The clear is committed, and the scheduler cannot read the run: what it knows of the pool stays true all the same.
#[tokio::test]
async fn a_clear_that_the_scheduler_cannot_read_leaves_the_slots_of_the_pool_as_they_were() {
    use millrace_store::faults::{Fault, FaultPoint, with_faults};
    use std::sync::Arc;

    use crate::world::failures::PlannedFaults;

    let mut stage = Stage::new(4).await;
    let (run, held) = parked(&mut stage, false).await;
    apply(&stage, Done::Cleared, &run).await;
    stage.trigger("other").await;
    let faults = Arc::new(PlannedFaults::default());
    faults.plan_at((FaultPoint::Statement, "read a run"), Fault::Refusal, 0, 1);
    with_faults(faults.clone(), stage.turn()).await;
    assert!(faults.end().is_some(), "the run was set aside");
    assert_eq!(stage.executor.names(), ["c#1"]);
    let rows = stage.store.running_instances().await.unwrap();
    let used: u32 = rows.iter().filter(|it| !it.row.is_outside).map(|it| it.row.pool_slots).sum();
    assert_eq!((rows.len(), used), (2, 1), "by the database too, the pool holds no more than it has");
    assert_eq!(stage.state_of(held.instance).await, TaskState::Restarting);
}
