use std::collections::BTreeMap;

use anyhow::{Context, Result};
use millrace_model::change::{Batch, NewInstance, Release, TryOutcome};
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{MarkRequest, MarkRunRequest, NewestVersion, PoolUse, RepinRequest, RunChoice, Selection};
use serde_json::json;

use crate::bench::{Bench, at, claim, failed, finish, sample, step, sync, tasks};

fn mark(run: i64, names: &[&str], to: TaskState) -> MarkRequest {
    let selection = Selection::of_run(run, TaskChoice::tasks(tasks(names)));
    MarkRequest { selection, to, note: None, dry_run: false, actor: "cli".to_owned() }
}

pub async fn case_66_marking_success_lets_the_run_go_on(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], failed(false), TaskState::Failed).await?;
    let moves = run.instances[1..].iter().map(|key| step(*key, TaskState::None, TaskState::UpstreamFailed)).collect();
    world.commit(&Batch { task_moves: moves, ..Batch::default() }, at(21)).await?;
    world.end_run(run.run, RunState::Failed).await?;

    let failed = world.store.instance(run.run, "extract", -1).await?.context("there")?;
    let mark = |to| mark(run.run, &["extract"], to);
    assert!(world.store.mark_instances(&mark(TaskState::Running), at(40)).await.is_err());
    let report = world.store.mark_instances(&mark(TaskState::Success), at(40)).await?;
    assert_eq!((report.marked.len(), report.cleared.len()), (1, 2));
    assert_eq!(world.states(run.run).await?, "success none none");
    let row = world.store.run_by_key(run.run).await?.context("there")?;
    assert_eq!(row.state, RunState::Queued);
    let extract = world.store.instance(run.run, "extract", -1).await?.context("there")?;
    assert_eq!(extract.state_reason.as_deref(), Some("marked by cli"));
    assert_eq!((extract.start_date, extract.end_date), (failed.start_date, failed.end_date), "it took what it took");
    let again = world.store.mark_instances(&mark(TaskState::Success), at(41)).await?;
    assert!(again.marked.is_empty(), "it is what it should be");
    Ok(())
}

/// A task further on that coped with the failure.
pub async fn case_66_what_succeeded_behind_a_failure_stays(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], failed(false), TaskState::Failed).await?;
    let moves = vec![step(run.instances[1], TaskState::None, TaskState::UpstreamFailed)];
    world.commit(&Batch { task_moves: moves, ..Batch::default() }, at(21)).await?;
    world.work(run.instances[2], TryOutcome::Success, TaskState::Success).await?;
    world.end_run(run.run, RunState::Failed).await?;
    let before = world.store.instance_by_key(run.instances[2]).await?;
    let report = world.store.mark_instances(&mark(run.run, &["extract"], TaskState::Success), at(40)).await?;
    assert_eq!((report.marked.len(), report.cleared.len()), (1, 1));
    assert_eq!(world.states(run.run).await?, "success none success");
    assert_eq!(world.store.instance_by_key(run.instances[2]).await?, before, "untouched");
    Ok(())
}

pub async fn case_67_marking_a_run(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    let held = claim(run.instances[1], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(30)).await?;
    let mark = |dry_run| MarkRunRequest {
        run: run.run,
        to: RunState::Failed,
        note: Some("stopped".to_owned()),
        dry_run,
        actor: "cli".to_owned(),
    };
    let would = world.store.mark_run(&mark(true), at(31)).await?;
    assert_eq!(world.states(run.run).await?, "success running none", "a dry run changes nothing");
    assert_eq!(would, world.store.mark_run(&mark(false), at(31)).await?);
    assert_eq!(world.states(run.run).await?, "success failed skipped");
    let row = world.store.run_by_key(run.run).await?.context("there")?;
    assert_eq!((row.state, row.end_date, row.note.as_deref()), (RunState::Failed, Some(at(31)), Some("stopped")));
    let late = finish(&held, TryOutcome::Success, TaskState::Success);
    let report = world.commit(&Batch { finishes: vec![late], ..Batch::default() }, at(32)).await?;
    assert_eq!(report.stale_finishes, [0], "the worker has lost it");
    let tries = world.store.tries(run.instances[1]).await?;
    assert_eq!((tries[0].state, tries[0].end_date), (TaskState::Failed, Some(at(31))));
    Ok(())
}

pub async fn skipping_what_runs_stops_it_with_its_relatives(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let held = claim(run.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(30)).await?;
    let mut request = mark(run.run, &["extract"], TaskState::Skipped);
    request.selection.tasks.downstream = true;
    request.dry_run = true;
    let would = world.store.mark_instances(&request, at(31)).await?;
    assert_eq!(world.states(run.run).await?, "running none none");
    request.dry_run = false;
    let report = world.store.mark_instances(&request, at(31)).await?;
    assert_eq!(would, report);
    assert_eq!(report.marked.len(), 3);
    assert_eq!(world.states(run.run).await?, "skipped skipped skipped");
    let late = finish(&held, TryOutcome::Success, TaskState::Success);
    let report = world.commit(&Batch { finishes: vec![late], ..Batch::default() }, at(32)).await?;
    assert_eq!(report.stale_finishes, [0], "the worker has lost it");
    assert_eq!(world.store.tries(run.instances[0]).await?[0].end_date, Some(at(31)));
    Ok(())
}

pub async fn case_67_the_teardown_of_a_marked_run_still_runs(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run_that_cleans_up().await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    let claims = vec![claim(run.instances[1], TaskState::None, 1)];
    world.commit(&Batch { claims, ..Batch::default() }, at(30)).await?;

    let mut below = mark(run.run, &["load"], TaskState::Skipped);
    (below.selection.tasks.downstream, below.dry_run) = (true, true);
    assert_eq!(world.store.mark_instances(&below, at(31)).await?.marked.len(), 1, "not the teardown");
    let failed =
        MarkRunRequest { run: run.run, to: RunState::Failed, note: None, dry_run: false, actor: "cli".to_owned() };
    world.store.mark_run(&failed, at(31)).await?;
    assert_eq!(world.states(run.run).await?, "success failed none");
    assert_eq!(world.store.run_by_key(run.run).await?.context("there")?.state, RunState::Running);
    let batch = Batch { signals_handled: world.signals().await?, ..Batch::default() };
    world.commit(&batch, at(32)).await?;
    world.work(run.instances[2], TryOutcome::Success, TaskState::Success).await?;
    world.end_run(run.run, RunState::Success).await?;
    let row = world.store.run_by_key(run.run).await?.context("there")?;
    assert_eq!((row.state, row.state_reason.as_deref()), (RunState::Failed, Some("marked failed")));

    let clear = millrace_store::ClearRequest::of_run(run.run, &tasks(&["load"]), "cli");
    let report = world.store.clear_instances(&clear, at(40)).await?;
    let names: Vec<_> = report.cleared.iter().map(|it| it.task_id.as_str()).collect();
    assert_eq!(names, ["extract", "load", "check"], "with its setup and its teardown");
    Ok(())
}

pub async fn a_try_holds_the_slots_that_it_began_with_until_it_has_stopped(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let held = claim(run.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(1)).await?;
    let mut dag = sample();
    for task in &mut dag.tasks {
        (task.pool, task.pool_slots) = ("p".to_owned(), 3);
    }
    let version_key = world.store.sync_dag(sync(&dag), at(2)).await?.version_key;
    let newest = NewestVersion { version_key, tasks: dag.tasks.iter().map(NewInstance::of).collect() };
    let runs = RunChoice::One(run.run);
    let repin = RepinRequest { runs, only_active: true, newest, dry_run: false, actor: "cli".to_owned() };
    world.store.repin_runs(&repin, at(3)).await?;
    let ready = step(run.instances[1], TaskState::None, TaskState::Scheduled);
    let signals_handled = world.signals().await?;
    world.commit(&Batch { task_moves: vec![ready], signals_handled, ..Batch::default() }, at(4)).await?;
    let running = ("default_pool".to_owned(), PoolUse { running: 1, ..PoolUse::default() });
    let ready = ("p".to_owned(), PoolUse { scheduled: 3, ..PoolUse::default() });
    assert_eq!(world.store.pool_use().await?, BTreeMap::from([running.clone(), ready]));

    let failed =
        MarkRunRequest { run: run.run, to: RunState::Failed, note: None, dry_run: false, actor: "cli".to_owned() };
    world.store.mark_run(&failed, at(5)).await?;
    assert_eq!(world.store.pool_use().await?, BTreeMap::from([running]), "its run has ended, and it has not");
    let releases = vec![Release { instance: held.instance, token: held.token }];
    world.commit(&Batch { releases, ..Batch::default() }, at(6)).await?;
    assert_eq!(world.store.pool_use().await?, BTreeMap::new());
    Ok(())
}

pub async fn what_an_earlier_try_left_is_no_result_of_a_task_that_is_skipped_or_failed_by_hand(
    bench: Bench,
) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    for instance in &run.instances {
        let began = claim(*instance, TaskState::None, 1);
        world.commit(&Batch { claims: vec![began.clone()], ..Batch::default() }, at(1)).await?;
        let mut done = finish(&began, failed(true), TaskState::UpForRetry);
        done.completion.results = vec![("return_value".to_owned(), json!("of before"))];
        world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(2)).await?;
        assert_eq!(world.store.xcoms(*instance).await?.len(), 1);
    }
    for (instance, to) in run.instances.iter().zip([TaskState::Skipped, TaskState::Failed, TaskState::Success]) {
        let row = world.store.instance_by_key(*instance).await?.context("there")?;
        let report = world.store.mark_instances(&mark(run.run, &[row.task_id.as_str()], to), at(3)).await?;
        assert_eq!(report.marked.len(), 1);
        let left = world.store.xcoms(*instance).await?;
        assert_eq!(left.len(), usize::from(to == TaskState::Success), "{to}");
    }
    Ok(())
}
