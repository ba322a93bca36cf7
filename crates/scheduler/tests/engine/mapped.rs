//! Mapped tasks through the store: over kills, clearings and lists that change.

use chrono::TimeDelta;
use millrace_model::change::{InstanceKey, TryOutcome};
use millrace_model::dag::Dag;
use millrace_model::ids::TaskId;
use millrace_model::mapping::{Expand, Items};
use millrace_model::selection::TaskChoice;
use millrace_model::state::RunState;
use millrace_model::state::TaskState::{self, Removed, Running, Skipped, Success};
use millrace_planner::DagVersion;
use millrace_store::{
    AuditFilter, ClearRequest, MarkRequest, NewestVersion, RepinRequest, Repinned, RunChoice, Selection,
};
use serde_json::{Value, json};

use crate::stage::{Stage, dag};

fn mapped_dag() -> Dag {
    let mut dag = dag("d", Value::Null, &["list", "copy < list", "sum < copy"]);
    dag.tasks[1].expand = Some(Expand::Each(Items::ResultsOf(TaskId::new_unchecked("list"))));
    dag
}

impl Stage {
    async fn end_list(&mut self, list: Value) {
        let mut completion = self.executor.end_task("list", TryOutcome::Success, self.now());
        completion.results.push(("return_value".to_owned(), list));
        self.engine.as_mut().unwrap().complete(completion);
        self.turn().await;
    }

    fn copies(&self) -> Vec<(i32, InstanceKey)> {
        let running = self.executor.running();
        let copies = running.iter().filter(|it| it.task().task_id.as_str() == "copy");
        let mut copies: Vec<(i32, InstanceKey)> = copies.map(|it| (it.map_index, it.instance)).collect();
        copies.sort_unstable();
        copies
    }

    async fn end_copies(&mut self) {
        for (_, instance) in self.copies() {
            let completion = self.executor.end(instance, TryOutcome::Success, self.now());
            self.engine.as_mut().unwrap().complete(completion);
        }
        self.turn().await;
    }

    /// State and tries of each instance of `copy`, by its map index.
    async fn states_of_copy(&self) -> Vec<(i32, TaskState, u32)> {
        let run = self.runs().await.remove(0);
        let rows = self.store.instances(run.key).await.unwrap();
        let copies = rows.iter().filter(|row| row.task_id.as_str() == "copy");
        copies.map(|row| (row.map_index, row.state, row.try_number)).collect()
    }

    async fn clear(&mut self, tasks: &[&str]) {
        let run = self.runs().await.remove(0);
        let tasks: Vec<TaskId> = tasks.iter().map(|task| TaskId::new_unchecked(*task)).collect();
        let request = ClearRequest::of_run(run.key, &tasks, "cli");
        self.store.clear_instances(&request, self.now()).await.unwrap();
        self.turn().await;
    }
}

#[tokio::test]
async fn a_list_becomes_instances_and_a_kill_loses_none() {
    for is_killed in [false, true] {
        let mut stage = Stage::new(2).await;
        stage.put(&mapped_dag()).await;
        stage.lead().await;
        stage.trigger("d").await;
        stage.turn().await;
        stage.end_list(json!(["a", "b", "c"])).await;
        assert_eq!(stage.copies().iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 1]);
        if is_killed {
            stage.kill();
            stage.lead().await;
            assert_eq!(stage.copies().len(), 2, "what was lost runs again");
        }
        stage.end_copies().await;
        stage.end_copies().await;
        let ended = stage.states_of_copy().await;
        assert_eq!(
            ended.iter().map(|(index, state, _)| (*index, *state)).collect::<Vec<_>>(),
            [(0, Success), (1, Success), (2, Success)]
        );
        stage.end("sum", TryOutcome::Success).await;
        assert_eq!(stage.run_states().await, [RunState::Success]);
    }
}

#[tokio::test]
async fn the_list_and_its_instances_are_one_commit() {
    let mut stage = Stage::new(1).await;
    stage.put(&mapped_dag()).await;
    stage.lead().await;
    let run = stage.trigger("d").await;
    stage.turn().await;
    stage.end_list(json!([1, 2])).await;
    assert_eq!(stage.states_of_copy().await.len(), 2);
    // Whoever comes after a kill knows how long the list was from the database alone.
    stage.kill();
    stage.lead().await;
    let lengths = stage.store.list_lengths(run.key, &["list"]).await.unwrap();
    assert_eq!(lengths.iter().map(|it| (it.map_index, it.length)).collect::<Vec<_>>(), [(-1, Some(2))]);
    for _ in 0..2 {
        stage.end_copies().await;
    }
    stage.end("sum", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn a_cleared_list_may_grow_shrink_and_be_empty() {
    let mut stage = Stage::new(10).await;
    stage.put(&mapped_dag()).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.end_list(json!([1, 2, 3])).await;
    stage.end_copies().await;
    stage.end("sum", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);

    stage.clear(&[]).await;
    stage.end_list(json!([1])).await;
    assert_eq!(stage.states_of_copy().await, [(0, Running, 2), (1, Removed, 1), (2, Removed, 1)]);
    stage.end_copies().await;
    stage.end("sum", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);

    stage.clear(&[]).await;
    stage.end_list(json!([1, 2, 3, 4])).await;
    let states = stage.states_of_copy().await;
    assert_eq!(states, [(0, Running, 3), (1, Running, 2), (2, Running, 2), (3, Running, 1)]);
    stage.end_copies().await;
    stage.end("sum", TryOutcome::Success).await;

    stage.clear(&[]).await;
    stage.end_list(json!([])).await;
    assert_eq!(stage.states_of_copy().await, [(0, Skipped, 3), (1, Removed, 2), (2, Removed, 2), (3, Removed, 1)]);
    assert_eq!(stage.run_states().await, [RunState::Success]);
    assert!(stage.tasks().await.contains(&"sum skipped 3".to_owned()), "{:?}", stage.tasks().await);
}

/// A day whose list has shrunk holds up nobody who looks back at it.
#[tokio::test]
async fn what_was_removed_from_the_run_before_is_not_waited_for() {
    for is_downstream in [false, true] {
        let mut stage = Stage::new(8).await;
        let mut daily = Dag { max_active_runs: 1, ..mapped_dag() };
        daily.timetable = dag("d", json!("@daily"), &[]).timetable;
        let looks_back = &mut daily.tasks[usize::from(!is_downstream)];
        looks_back.depends_on_past = true;
        looks_back.wait_for_downstream = is_downstream;
        stage.put(&daily).await;
        stage.lead().await;
        stage.clock.advance(TimeDelta::days(1));
        stage.turn().await;
        for list in [json!([1, 2, 3]), json!([1, 2])] {
            stage.end_list(list).await;
            stage.end_copies().await;
            stage.end("sum", TryOutcome::Success).await;
            if stage.states_of_copy().await[2].1 == Success {
                stage.clear(&[]).await;
            }
        }
        assert_eq!(stage.states_of_copy().await, [(0, Success, 2), (1, Success, 2), (2, Removed, 1)]);
        for is_killed in [false, true] {
            stage.clock.advance(TimeDelta::days(1));
            if is_killed {
                stage.kill();
                stage.lead().await;
            }
            stage.turn().await;
            stage.end_list(json!([1, 2])).await;
            assert_eq!(stage.copies().len(), 2, "downstream: {is_downstream}, read anew: {is_killed}");
            stage.end_copies().await;
            stage.end("sum", TryOutcome::Success).await;
        }
    }
}

#[tokio::test]
async fn clearing_only_the_mapped_task_runs_the_same_items_again() {
    let mut stage = Stage::new(10).await;
    stage.put(&mapped_dag()).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.end_list(json!([1, 2])).await;
    stage.end_copies().await;
    stage.end("sum", TryOutcome::Success).await;
    stage.clear(&["copy"]).await;
    assert_eq!(stage.states_of_copy().await, [(0, Running, 2), (1, Running, 2)]);
}

#[tokio::test]
async fn clearing_only_the_list_leaves_what_has_ended_and_runs_what_is_new() {
    let mut stage = Stage::new(10).await;
    stage.put(&mapped_dag()).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.end_list(json!([1, 2])).await;
    stage.end_copies().await;
    stage.end("sum", TryOutcome::Success).await;
    stage.clear(&["list"]).await;
    stage.end_list(json!([1, 2, 3])).await;
    assert_eq!(stage.states_of_copy().await, [(0, Success, 1), (1, Success, 1), (2, Running, 1)]);
    stage.end_copies().await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

/// Who has ended for an item has not done the work of another that stands in its place now.
#[tokio::test]
async fn what_has_ended_for_another_item_runs_again() {
    for is_killed in [false, true] {
        let mut stage = Stage::new(10).await;
        stage.put(&mapped_dag()).await;
        stage.lead().await;
        stage.trigger("d").await;
        stage.turn().await;
        stage.end_list(json!(["orders", "customers", "items"])).await;
        stage.end_copies().await;
        stage.end("sum", TryOutcome::Success).await;
        let run = stage.runs().await.remove(0);
        let generation = |index| {
            let (store, key) = (stage.store.clone(), run.key);
            async move { store.instance(key, "copy", index).await.unwrap().unwrap().generation }
        };
        let before = generation(1).await;
        stage.clear(&["list"]).await;
        if is_killed {
            stage.kill();
            stage.lead().await;
        }
        stage.end_list(json!(["orders", "items", "stock"])).await;
        assert_eq!(stage.states_of_copy().await, [(0, Success, 1), (1, Running, 2), (2, Running, 2)]);
        assert_eq!(stage.run_states().await, [RunState::Running]);
        let run_now = stage.store.instance(run.key, "copy", 1).await.unwrap().unwrap();
        assert!(run_now.generation > before, "what it loads is not taken for loaded");
        stage.end_copies().await;
        assert_eq!(stage.run_states().await, [RunState::Success]);
        let filter = AuditFilter { action: Some("items_changed".to_owned()), limit: 9, ..AuditFilter::default() };
        let told = stage.store.audit_log(&filter).await.unwrap().rows.remove(0);
        assert_eq!((told.task_id.as_deref(), &told.details), (Some("copy"), &json!({ "instances": 2 })));

        // The same list again, also in another order: nothing to do.
        for list in [json!(["orders", "items", "stock"]), json!(["stock", "orders", "items"])] {
            stage.clear(&["list"]).await;
            stage.end_list(list).await;
            assert_eq!(stage.states_of_copy().await, [(0, Success, 1), (1, Success, 2), (2, Success, 2)]);
            assert_eq!(stage.run_states().await, [RunState::Success]);
        }
    }
}

/// A running try goes on; when it has ended, what stands in its place now runs.
#[tokio::test]
async fn a_list_of_the_file_that_shifts_has_each_of_its_items_run() {
    for runs_still in [false, true] {
        let mut stage = Stage::new(8).await;
        let mut first = dag("d", Value::Null, &["copy", "sum < copy"]);
        first.tasks[0].expand = Some(Expand::Each(Items::List(vec![json!("a"), json!("b"), json!("c")])));
        stage.put(&first).await;
        stage.lead().await;
        stage.trigger("d").await;
        stage.turn().await;
        if !runs_still {
            stage.end_copies().await;
            stage.end("sum", TryOutcome::Success).await;
        }
        if !runs_still {
            let report = repin_to(&mut stage, Some(json!(["b", "c", "a"]))).await;
            assert_eq!(report.restored, [], "all of their work is done");
        }
        let report = repin_to(&mut stage, Some(json!(["a", "c"]))).await;
        assert_eq!(report.restored.len(), usize::from(!runs_still));
        if runs_still {
            stage.end_copies().await;
        }
        assert_eq!(stage.states_of_copy().await, [(0, Success, 1), (1, Running, 2), (2, Removed, 1)]);
        stage.end_copies().await;
        if runs_still {
            stage.end("sum", TryOutcome::Success).await;
        }
        assert_eq!(stage.run_states().await, [RunState::Success]);
    }
}

#[tokio::test]
async fn a_running_instance_without_an_item_is_stopped() {
    let mut stage = Stage::new(10).await;
    stage.put(&mapped_dag()).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.end_list(json!([1, 2])).await;
    let second = stage.copies()[1].1;
    stage.clear(&["list"]).await;
    assert_eq!(stage.states_of_copy().await, [(0, Running, 1), (1, Running, 1)]);
    stage.end_list(json!([1])).await;
    assert_eq!(stage.states_of_copy().await, [(0, Running, 1), (1, Removed, 1)]);
    assert!(stage.executor.cancelled().iter().any(|(instance, _)| *instance == second));
    let late = stage.executor.end(second, TryOutcome::Success, stage.now());
    stage.engine.as_mut().unwrap().complete(late);
    stage.end_copies().await;
    assert_eq!(stage.states_of_copy().await, [(0, Success, 1), (1, Removed, 1)]);
    stage.end("sum", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
}

#[tokio::test]
async fn case_51_no_list_fails_the_producer_and_a_mark_leaves_nothing_to_map_over() {
    let mut stage = Stage::new(10).await;
    stage.put(&mapped_dag()).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.end("list", TryOutcome::Success).await;
    assert_eq!(stage.tasks().await, ["list failed 1", "copy upstream_failed 0", "sum upstream_failed 0"]);
    let run = stage.runs().await.remove(0);
    let list = stage.store.instance(run.key, "list", -1).await.unwrap().unwrap();
    assert_eq!(list.state_reason.as_deref(), Some("copy: it left none"));
    let tries = stage.store.tries(list.key).await.unwrap();
    assert_eq!(tries[0].state, TaskState::Failed);
    assert_eq!(stage.states_of_copy().await, [(-1, TaskState::UpstreamFailed, 0)]);
    let choice = TaskChoice::tasks([TaskId::new_unchecked("list")]);
    let mark = MarkRequest {
        selection: Selection::of_run(run.key, choice),
        to: Success,
        note: None,
        dry_run: false,
        actor: "cli".into(),
    };
    stage.store.mark_instances(&mark, stage.now()).await.unwrap();
    stage.turn().await;
    let copy = stage.store.instance(run.key, "copy", -1).await.unwrap().unwrap();
    assert_eq!(copy.state_reason.as_deref(), Some("list is success and left no list"));
    assert_eq!(stage.run_states().await, [RunState::Failed]);
}

/// Gives the only run to a version in which `copy` is mapped over this list of the file, or not mapped.
async fn repin_to(stage: &mut Stage, items: Option<Value>) -> Repinned {
    let mut newer = dag("d", Value::Null, &["copy", "sum < copy"]);
    newer.tasks[0].expand = items.map(|items| Expand::Each(Items::List(items.as_array().unwrap().clone())));
    stage.put(&newer).await;
    let row = stage.store.scheduler_dag(&newer.dag_id).await.unwrap().unwrap();
    let version = DagVersion::new(row.version_key, row.dag).unwrap();
    let newest = NewestVersion { version_key: row.version_key, tasks: version.new_instances() };
    let runs = RunChoice::One(stage.runs().await[0].key);
    let request = RepinRequest { runs, only_active: false, newest, dry_run: false, actor: "cli".into() };
    let report = stage.store.repin_runs(&request, stage.now()).await.unwrap().remove(0);
    stage.turn().await;
    report
}

#[tokio::test]
async fn a_run_has_the_instances_that_its_newer_version_calls_for() {
    let mut stage = Stage::new(8).await;
    let mut first = dag("d", Value::Null, &["copy", "sum < copy"]);
    first.tasks[0].expand = Some(Expand::Each(Items::List(vec![json!(1), json!(2)])));
    stage.put(&first).await;
    stage.lead().await;
    stage.trigger("d").await;
    stage.turn().await;
    stage.end_copies().await;
    stage.end("sum", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);

    let copy = [TaskId::new_unchecked("copy")];
    let report = repin_to(&mut stage, Some(json!([1, 2, 3, 4]))).await;
    assert_eq!((report.added.as_slice(), report.run.queued), (&copy[..], true));
    assert_eq!(stage.copies().iter().map(|(index, _)| *index).collect::<Vec<_>>(), [2, 3], "only what is new");
    stage.end_copies().await;
    assert_eq!(stage.run_states().await, [RunState::Success]);

    let report = repin_to(&mut stage, Some(json!([1]))).await;
    assert_eq!((report.removed.as_slice(), report.run.queued), (&copy[..], false));
    let removed = [(1, Removed, 1), (2, Removed, 1), (3, Removed, 1)];
    assert_eq!(stage.states_of_copy().await, [&[(0, Success, 1)], &removed[..]].concat());
    let report = repin_to(&mut stage, Some(json!([1, 2]))).await;
    assert_eq!((report.added.len(), report.restored.as_slice()), (0, &copy[..]));
    assert_eq!(stage.copies().len(), 1);
    stage.end_copies().await;

    let report = repin_to(&mut stage, None).await;
    assert_eq!((report.added.as_slice(), report.removed.as_slice()), (&copy[..], &copy[..]));
    assert_eq!(stage.executor.names(), ["copy#1"], "one, and not one for each item that was");
    stage.end("copy", TryOutcome::Success).await;
    assert_eq!(stage.run_states().await, [RunState::Success]);
    let mut states = stage.states_of_copy().await;
    states.sort_by_key(|(index, ..)| *index);
    assert_eq!(states[..2], [(-1, Success, 1), (0, Removed, 1)]);
}
