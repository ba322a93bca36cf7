use anyhow::{Context, Result};
use millrace_model::change::{Batch, NewInstance, NewRun, RunMove, TryOutcome};
use millrace_model::ids::{DagId, RunId};
use millrace_model::schedule::DataInterval;
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_store::{
    BackfillProgress, BackfillState, ClearRequest, DateOutcome, NewBackfill, NewPart, Reprocess, RunChoice, RunFilter,
    StoreError,
};
use serde_json::{Map, json};

use crate::bench::{Bench, World, at, dag, day, failed, new_run, sync, task};

fn backfill(world: &World, from: i64, to: i64, reprocess: Reprocess) -> NewBackfill {
    let runs = (from..to)
        .map(|which| {
            let run = new_run(world.version, which);
            let run_id = RunId::new_unchecked(format!("backfill__{}", run.logical_date.to_rfc3339()));
            NewRun { run_id, run_type: RunType::Backfill, ..run }
        })
        .collect();
    NewBackfill {
        dag_id: DagId::new_unchecked("daily"),
        from: day(from),
        to: day(to),
        reprocess,
        max_active_runs: 10,
        conf: Map::new(),
        runs,
        is_reversed: false,
        part: None,
        dry_run: false,
        actor: "cli".to_owned(),
    }
}

/// 5 January succeeded, 6 failed, 7 is running; days count from 0.
async fn three_runs(world: &World) -> Result<()> {
    for (which, end) in [(4, Some(RunState::Success)), (5, Some(RunState::Failed)), (6, None)] {
        let run = world.running_run(which).await?;
        match end {
            Some(RunState::Success) => {
                for instance in &run.instances {
                    world.work(*instance, TryOutcome::Success, TaskState::Success).await?;
                }
            }
            Some(_) => world.work(run.instances[0], failed(false), TaskState::Failed).await?,
            None => continue,
        }
        world.end_run(run.run, end.unwrap_or(RunState::Success)).await?;
    }
    Ok(())
}

pub async fn case_38_existing_runs_by_reprocess(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    three_runs(&world).await?;
    for (reprocess, runs) in [(Reprocess::None, 4), (Reprocess::Failed, 5), (Reprocess::Completed, 6)] {
        let dry = NewBackfill { dry_run: true, ..backfill(&world, 2, 9, reprocess) };
        let report = world.store.create_backfill(&dry, at(40)).await?;
        assert_eq!(report.run_count(), runs, "{reprocess:?}");
        assert_eq!(report.backfill_key, None);
    }
    assert_eq!(bench.number("SELECT COUNT(*) FROM dag_run").await?, 3, "a dry run creates nothing");

    let report = world.store.create_backfill(&backfill(&world, 2, 9, Reprocess::None), at(40)).await?;
    let skipped = |reason: &str| DateOutcome::Skipped { reason: reason.to_owned() };
    let outcomes: Vec<_> = report.dates.iter().map(|date| date.outcome.clone()).collect();
    let new = DateOutcome::Created;
    let expected = [
        new.clone(),
        new.clone(),
        skipped("already exists"),
        skipped("already exists"),
        skipped("in flight"),
        new.clone(),
        new,
    ];
    assert_eq!(outcomes, expected);
    let key = report.backfill_key.context("created")?;
    let filter = RunFilter { backfill_key: Some(key), ascending: true, limit: 10, ..RunFilter::default() };
    let places: Vec<_> = world.store.runs(&filter).await?.rows.iter().map(|run| run.backfill_ordinal).collect();
    assert_eq!(places, [Some(0), Some(1), Some(2), Some(3)], "dates that are left out have no place");
    world.store.cancel_backfill(key, "cli", at(41)).await?;

    // Cancelling failed the four; the failed ones are six now, the running one is still in flight.
    let report = world.store.create_backfill(&backfill(&world, 4, 7, Reprocess::Completed), at(42)).await?;
    assert_eq!(report.run_count(), 2);
    let key = report.backfill_key.context("created")?;
    let success = world.store.run_at("daily", day(4)).await?.context("there")?;
    assert_eq!((success.run_type, success.state), (RunType::Backfill, RunState::Queued));
    assert_eq!((success.backfill_key, success.start_date, success.clear_number), (Some(key), None, 1));
    assert_eq!(world.states(success.key).await?, "none none none");
    Ok(())
}

pub async fn case_40_one_at_a_time_and_finished_by_its_last_run(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let report = world.store.create_backfill(&backfill(&world, 0, 2, Reprocess::None), at(0)).await?;
    let key = report.backfill_key.context("created")?;
    let refused = world.store.create_backfill(&backfill(&world, 5, 7, Reprocess::None), at(1)).await;
    assert!(matches!(refused, Err(StoreError::BackfillActive { backfill_key, .. }) if backfill_key == key));
    let filter = RunFilter { backfill_key: Some(key), ascending: true, limit: 10, ..RunFilter::default() };
    let rows = world.store.runs(&filter).await?.rows;
    assert_eq!(rows.iter().map(|run| run.backfill_ordinal).collect::<Vec<_>>(), [Some(0), Some(1)]);

    for (number, run) in rows.iter().enumerate() {
        let start = RunMove { run: run.key, from: RunState::Queued, to: RunState::Running, reason: None };
        world.commit(&Batch { run_moves: vec![start], ..Batch::default() }, at(2)).await?;
        assert_eq!(world.store.active_backfills().await?.len(), 1);
        let report = world.end_run(run.key, RunState::Success).await?;
        assert_eq!(report.finished_backfills, if number == 0 { vec![] } else { vec![key] });
    }
    let row = world.store.backfill(key).await?.context("there")?;
    assert_eq!((row.state, row.completed_at), (BackfillState::Finished, Some(at(30))));
    assert!(world.store.active_backfills().await?.is_empty());
    let idle = world.store.create_backfill(&backfill(&world, 0, 2, Reprocess::None), at(31)).await?;
    assert_eq!((idle.backfill_key, idle.run_count()), (None, 0), "nothing to do makes no backfill");
    Ok(())
}

pub async fn case_42_cancelled(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let report = world.store.create_backfill(&backfill(&world, 0, 3, Reprocess::None), at(0)).await?;
    let key = report.backfill_key.context("created")?;
    let first = report.dates[0].run.context("created")?;
    let start = RunMove { run: first, from: RunState::Queued, to: RunState::Running, reason: None };
    world.commit(&Batch { run_moves: vec![start], ..Batch::default() }, at(1)).await?;
    let ended = world.store.cancel_backfill(key, "cli", at(2)).await?;
    assert_eq!(ended, report.dates[1..].iter().filter_map(|date| date.run).collect::<Vec<_>>());
    let states: Vec<_> =
        bench.query("SELECT state FROM dag_run ORDER BY logical_date").await?.into_iter().flatten().collect();
    assert_eq!(states, ["running", "failed", "failed"]);
    assert_eq!(world.states(ended[0]).await?, "skipped skipped skipped");
    let row = world.store.backfill(key).await?.context("there")?;
    assert_eq!(row.state, BackfillState::Cancelled);
    assert!(matches!(world.store.cancel_backfill(key, "cli", at(3)).await, Err(StoreError::NotFound { .. })));
    world.end_run(first, RunState::Success).await?;
    assert_eq!(world.store.backfill(key).await?.context("there")?.state, BackfillState::Cancelled);
    Ok(())
}

pub async fn cleared_runs_take_the_new_version(bench: Bench) -> Result<()> {
    let mut world = bench.led().await?;
    let run = world.running_run(0).await?;
    for instance in &run.instances {
        world.work(*instance, TryOutcome::Success, TaskState::Success).await?;
    }
    world.end_run(run.run, RunState::Success).await?;
    let newer = dag("daily", vec![task("extract", &[], 5), task("publish", &["extract"], 0), task("check", &[], 0)]);
    world.version = world.store.sync_dag(sync(&newer), at(35)).await?.version_key;
    let mut new = backfill(&world, 0, 1, Reprocess::Completed);
    new.runs[0].tasks = newer.tasks.iter().map(NewInstance::of).collect();
    new.runs[0].conf = json!({"full": true}).as_object().cloned().unwrap_or_default();
    world.store.create_backfill(&new, at(40)).await?;

    let row = world.store.run_by_key(run.run).await?.context("there")?;
    assert_eq!((row.version_key, row.conf["full"].as_bool()), (world.version, Some(true)));
    let mut states: Vec<_> =
        world.store.instances(run.run).await?.into_iter().map(|it| (it.task_id.into_string(), it.state)).collect();
    states.sort();
    let expected = [
        ("check", TaskState::None),
        ("extract", TaskState::None),
        ("load", TaskState::Removed),
        ("publish", TaskState::None),
    ];
    assert_eq!(states, expected.map(|(name, state)| (name.to_owned(), state)));
    let extract = world.store.instance(run.run, "extract", -1).await?.context("there")?;
    assert_eq!(extract.max_tries, 1 + 5);
    Ok(())
}

pub async fn case_39_the_schedule_goes_on_where_it_was(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let dag_id = DagId::new_unchecked("daily");
    let run = world.running_run(5).await?;
    world.end_run(run.run, RunState::Failed).await?;
    let last = Some(DataInterval { start: day(5), end: day(6) });
    assert_eq!(world.store.last_automated_interval(&dag_id).await?, last);
    world.store.create_backfill(&backfill(&world, 5, 9, Reprocess::Completed), at(40)).await?;
    assert_eq!(world.store.last_automated_interval(&dag_id).await?, last, "neither its new runs nor the one it took");
    Ok(())
}

pub async fn case_42_paused(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let report = world.store.create_backfill(&backfill(&world, 0, 3, Reprocess::None), at(0)).await?;
    let key = report.backfill_key.context("created")?;
    assert!(world.store.set_backfill_paused(key, true, "cli", at(1)).await?);
    assert!(!world.store.set_backfill_paused(key, true, "cli", at(2)).await?, "it was");
    assert!(world.store.active_backfills().await?[0].is_paused, "it is still the one active backfill");
    assert!(world.store.set_backfill_paused(key, false, "cli", at(3)).await?);
    let start = |run| RunMove { run, from: RunState::Queued, to: RunState::Running, reason: None };
    let runs: Vec<i64> = report.dates.iter().filter_map(|date| date.run).collect();
    world.commit(&Batch { run_moves: vec![start(runs[0]), start(runs[1])], ..Batch::default() }, at(4)).await?;
    world.end_run(runs[0], RunState::Failed).await?;
    let progress = world.store.backfill_progress(&[key, key + 1]).await?;
    let expected = BackfillProgress { queued: 1, running: 1, success: 0, failed: 1, ..BackfillProgress::default() };
    assert_eq!((progress.len(), progress[&key]), (1, expected));
    assert_eq!((expected.ended(), expected.total()), (1, 3));
    world.store.cancel_backfill(key, "cli", at(5)).await?;
    let again = world.store.create_backfill(&backfill(&world, 0, 3, Reprocess::Failed), at(6)).await?;
    assert_eq!(again.run_count(), 2);
    let progress = world.store.backfill_progress(&[key]).await?[&key];
    assert_eq!((progress.running, progress.gone, progress.total()), (1, 2, 3), "it keeps what it began with");
    let taker = again.backfill_key.context("created")?;
    assert_eq!((progress.taken_over, progress.taken_over_by), (2, taker), "and says who has the others");
    let ended = world.store.set_backfill_paused(key, true, "cli", at(6)).await;
    assert!(matches!(ended, Err(StoreError::NotFound { .. })));
    Ok(())
}

pub async fn some_tasks_only(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let old = world.running_run(0).await?;
    for instance in &old.instances {
        world.work(*instance, TryOutcome::Success, TaskState::Success).await?;
    }
    world.end_run(old.run, RunState::Failed).await?;
    let mut part = crate::bench::sample();
    part.tasks.retain(|task| task.task_id.as_str() == "load");
    part.tasks[0].depends_on.clear();
    let mut new = backfill(&world, 0, 2, Reprocess::Completed);
    for run in &mut new.runs {
        run.tasks.retain(|task| task.task_id.as_str() == "load");
    }
    let whole = crate::bench::sample();
    let left_out = whole.tasks.iter().filter(|task| task.task_id.as_str() != "load").map(NewInstance::of).collect();
    new.part = Some(NewPart { dag: part.clone(), left_out, selection: "load".to_owned() });
    let versions = bench.number("SELECT COUNT(*) FROM dag_version").await?;
    world.store.create_backfill(&NewBackfill { dry_run: true, ..new.clone() }, at(40)).await?;
    assert_eq!(bench.number("SELECT COUNT(*) FROM dag_version").await?, versions, "a dry run creates nothing");

    let key = world.store.create_backfill(&new, at(40)).await?.backfill_key.context("created")?;
    assert_eq!(world.store.backfill(key).await?.context("there")?.selection.as_deref(), Some("load"));
    assert_eq!(world.states(old.run).await?, "success none success", "what is not selected stays what it was");
    let fresh = world.store.run_at("daily", day(1)).await?.context("there")?;
    let states: Vec<_> =
        world.store.instances(fresh.key).await?.into_iter().map(|it| (it.task_id.into_string(), it.state)).collect();
    let skipped = |name: &str| (name.to_owned(), TaskState::Skipped);
    assert_eq!(states, [("load".to_owned(), TaskState::None), skipped("extract"), skipped("check")]);
    let pinned = world.store.dag_version(fresh.version_key).await?;
    assert_eq!(*pinned, part);
    assert_eq!(world.store.dag_versions("daily").await?.len(), 1, "it is nobody's version but theirs");
    let dag = world.store.dag("daily", 0).await?.context("there")?;
    assert_eq!((dag.version_key, dag.version_number), (world.version, 1));

    // Clearing the run concerns its own tasks, and it keeps to them.
    world.store.cancel_backfill(key, "cli", at(41)).await?;
    let report = world.store.clear_instances(&ClearRequest::of_run(fresh.key, &[], "cli"), at(42)).await?;
    assert_eq!(report.cleared.iter().map(|it| it.task_id.as_str()).collect::<Vec<_>>(), ["load"]);
    let newest = millrace_store::NewestVersion {
        version_key: world.version,
        tasks: whole.tasks.iter().map(NewInstance::of).collect(),
    };
    let repin = millrace_store::RepinRequest {
        runs: RunChoice::One(fresh.key),
        only_active: false,
        newest,
        dry_run: false,
        actor: "cli".to_owned(),
    };
    assert!(matches!(world.store.repin_runs(&repin, at(43)).await, Err(StoreError::Refused { .. })));

    // The whole DAG for those dates: everything runs.
    let all = NewBackfill { part: None, ..backfill(&world, 0, 1, Reprocess::Completed) };
    world.store.create_backfill(&all, at(44)).await?;
    assert_eq!(world.states(old.run).await?, "none none none");
    Ok(())
}

pub async fn a_run_that_is_cleared_after_its_backfill_is_one_like_others(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let report = world.store.create_backfill(&backfill(&world, 0, 2, Reprocess::None), at(0)).await?;
    let key = report.backfill_key.context("created")?;
    let runs: Vec<i64> = report.dates.iter().filter_map(|date| date.run).collect();
    let mark = |run| millrace_store::MarkRunRequest {
        run,
        to: RunState::Failed,
        note: None,
        dry_run: false,
        actor: "cli".to_owned(),
    };
    world.store.mark_run(&mark(runs[0]), at(1)).await?;
    let clear = |run| millrace_store::ClearRequest::of_run(run, &[], "cli");
    world.store.clear_instances(&clear(runs[0]), at(2)).await?;
    let row = world.store.run_by_key(runs[0]).await?.context("there")?;
    assert_eq!((row.state, row.runs_for_backfill()), (RunState::Queued, Some(key)), "the backfill is active");
    for run in &runs {
        world.store.mark_run(&mark(*run), at(3)).await?;
    }
    assert!(world.store.active_backfills().await?.is_empty());
    world.store.clear_instances(&clear(runs[0]), at(4)).await?;
    let row = world.store.run_by_key(runs[0]).await?.context("there")?;
    assert_eq!((row.state, row.runs_for_backfill(), row.backfill_key), (RunState::Queued, None, Some(key)));
    world.store.mark_run(&mark(runs[0]), at(5)).await?;
    let last = world.store.last_finished_runs(&row.dag_id, 5).await?;
    assert_eq!(last.iter().map(|run| run.run).collect::<Vec<_>>(), [runs[0]], "its end counts again");
    Ok(())
}
