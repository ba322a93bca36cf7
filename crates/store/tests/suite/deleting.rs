use anyhow::{Context, Result};
use millrace_model::change::TryOutcome;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{Gone, StoreError};

use crate::bench::{Bench, World, at, day, sample, sync};

async fn ended(world: &World, day: i64) -> Result<i64> {
    let run = world.running_run(day).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    world.end_run(run.run, RunState::Success).await?;
    Ok(run.run)
}

fn reason(result: Result<impl std::fmt::Debug, StoreError>) -> Result<String> {
    match result.err().context("it is refused")? {
        StoreError::Refused { reason, .. } => Ok(reason),
        other => Err(other.into()),
    }
}

pub async fn a_run_that_has_ended_goes_with_all_that_belongs_to_it(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let (first, newest) = (ended(&world, 0).await?, ended(&world, 1).await?);
    let active = world.running_run(2).await?.run;
    let store = &world.store;
    assert!(reason(store.delete_run(active, "test", at(50)).await)?.contains("it is running; mark it failed first"));

    store.delete_run(first, "test", at(50)).await?;
    assert_eq!(bench.number(&format!("SELECT COUNT(*) FROM dag_run WHERE id = {first}")).await?, 0);
    assert_eq!(bench.number(&format!("SELECT COUNT(*) FROM task_instance WHERE run_id = {first}")).await?, 0);
    assert_eq!(bench.number("SELECT COUNT(*) FROM audit_log WHERE action = 'run_deleted'").await?, 1);
    assert!(bench.number(&format!("SELECT COUNT(*) FROM task_instance WHERE run_id = {newest}")).await? > 0);
    let again = store.delete_run(first, "test", at(51)).await;
    assert!(matches!(again, Err(StoreError::NotFound { .. })), "{again:?}");
    Ok(())
}

pub async fn the_newest_run_of_the_schedule_is_not_deleted(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let (_, newest) = (ended(&world, 0).await?, ended(&world, 1).await?);
    assert!(reason(world.store.delete_run(newest, "test", day(50)).await)?.contains("newest of the schedule"));
    assert_eq!(bench.number("SELECT COUNT(*) FROM dag_run").await?, 2);
    // Before its interval has ended it was made by a clock that was ahead.
    world.store.delete_run(newest, "test", at(50)).await?;
    assert_eq!(bench.number("SELECT COUNT(*) FROM dag_run").await?, 1);
    Ok(())
}

pub async fn a_dag_whose_file_is_gone_goes_and_may_come_back(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    for day in 0..3 {
        ended(&world, day).await?;
    }
    let active = world.running_run(3).await?;
    let store = &world.store;
    let dag_id = sample().dag_id;
    let number = format!("SELECT COALESCE(MAX(number), 0) FROM dag_version WHERE dag_id = '{dag_id}'");
    assert!(reason(store.delete_dag(&dag_id, "test", at(50), |_| ()).await)?.contains("would bring it back"));
    store.mark_stale(&[], &[], at(51)).await?;
    assert!(reason(store.delete_dag(&dag_id, "test", at(52), |_| ()).await)?.contains("1 of its runs have not ended"));
    assert_eq!(bench.number("SELECT COUNT(*) FROM dag_run").await?, 4, "nothing was deleted so far");

    world.work(active.instances[0], TryOutcome::Success, TaskState::Success).await?;
    world.end_run(active.run, RunState::Success).await?;
    let mut told = Vec::new();
    let tell = |gone: Gone<'_>| match gone {
        Gone::Runs(runs) => told.extend(runs.iter().cloned()),
        Gone::EveryRun => told.push("every run".to_owned()),
    };
    assert_eq!(store.delete_dag(&dag_id, "test", at(53), tell).await?, 4);
    assert!(told.len() == 5 && told[4] == "every run", "{told:?}");
    for table in ["dag", "dag_run", "schedule_slot", "backfill", "asset_user"] {
        let left = bench.number(&format!("SELECT COUNT(*) FROM {table} WHERE dag_id = '{dag_id}'")).await?;
        assert_eq!(left, 0, "{table}");
    }
    let before = bench.number(&number).await?;
    assert!(before > 0, "versions stay until they are old");

    // Its file comes back: another version, not one that somebody may have read as something else.
    store.sync_dag(sync(&sample()), at(60)).await?;
    assert_eq!(bench.number(&number).await?, before + 1);
    assert_eq!(bench.number(&format!("SELECT COUNT(*) FROM dag WHERE dag_id = '{dag_id}' AND NOT is_stale")).await?, 1);
    Ok(())
}
