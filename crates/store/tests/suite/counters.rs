use std::time::Duration;

use anyhow::{Context, Result};
use millrace_model::change::{Batch, NewRun, RunMove};
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_store::{Counted, Store, TURN_ENDS};

use crate::bench::{Bench, at, claim, new_run, step};

async fn count(store: &Store, of: Counted, labels: &[&str]) -> Result<u64> {
    let rows = store.counts().await?;
    Ok(rows.iter().find(|row| row.of == of && row.labels == labels).map_or(0, |row| row.value))
}

pub async fn counts_of_all_processes_are_one(bench: Bench) -> Result<()> {
    let (one, other) = (bench.store().await?, bench.store().await?);
    one.count(Counted::Tries, &["bash", "success"], 2);
    one.count(Counted::Tries, &["bash", "failed"], 0);
    other.count(Counted::Tries, &["bash", "success"], 3);
    assert_eq!(count(&one, Counted::Tries, &["bash", "success"]).await?, 2, "its own, before they are written");
    let (first, second) = tokio::join!(one.write_counts(), other.write_counts());
    first.and(second)?;
    one.write_counts().await?;
    one.count(Counted::Tries, &["bash", "success"], 1);
    assert_eq!(count(&one, Counted::Tries, &["bash", "success"]).await?, 6);
    assert_eq!(count(&other, Counted::Tries, &["bash", "success"]).await?, 5);
    assert_eq!(count(&one, Counted::Tries, &["bash", "failed"]).await?, 0);
    assert_eq!(one.counts().await?.len(), 1, "nothing is no count");

    other.count_turn(Duration::from_millis(3));
    other.count_turn(Duration::from_mins(1));
    assert_eq!(count(&other, Counted::Turns, &["1"]).await?, 1);
    assert_eq!(count(&other, Counted::Turns, &[&TURN_ENDS.len().to_string()]).await?, 1);
    assert_eq!(count(&other, Counted::TurnTime, &[]).await?, 60_003_000);
    Ok(())
}

pub async fn how_long_runs_take_and_tries_wait_is_counted(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let new = new_run(world.version, 0);
    let due = new.run_after;
    let batch = Batch { new_runs: vec![new], ..Batch::default() };
    let created = world.commit(&batch, at(1)).await?.created[0].clone().context("created")?;
    let [first, second] = [created.instances[0], created.instances[1]];
    let start = RunMove { run: created.run, from: RunState::Queued, to: RunState::Running, reason: None };
    let claims = vec![claim(first, TaskState::None, 1)];
    let task_moves = vec![step(second, TaskState::None, TaskState::Scheduled)];
    world.commit(&Batch { run_moves: vec![start], claims, task_moves, ..Batch::default() }, at(3)).await?;
    // One that comes too late is none.
    let again = vec![claim(first, TaskState::None, 1), claim(second, TaskState::Scheduled, 1)];
    world.commit(&Batch { claims: again, ..Batch::default() }, at(7)).await?;
    world.end_run(created.run, RunState::Failed).await?;

    let store = &world.store;
    let delay = u64::try_from((at(3) - due).num_microseconds().context("short")?.max(0))?;
    assert_eq!(count(store, Counted::RunDelayTime, &[]).await?, delay);
    assert_eq!(count(store, Counted::RunLengths, &["failed", "2"]).await?, 1, "more than 10 seconds, less than 60");
    assert_eq!(count(store, Counted::RunTime, &["failed"]).await?, 27_000_000);
    assert_eq!(count(store, Counted::TryWaits, &["0"]).await?, 1, "the first had its slot at once");
    assert_eq!(count(store, Counted::TryWaits, &["3"]).await?, 1, "the second waited 4 seconds");
    assert_eq!(count(store, Counted::TryWaitTime, &[]).await?, 4_000_000);
    Ok(())
}

/// Dates of the past that somebody asks for would make every quantile years long.
pub async fn only_scheduled_runs_begin_late(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let delays = async || -> Result<u64> {
        let rows = world.store.counts().await?;
        Ok(rows.iter().filter(|row| row.of == Counted::RunDelays).map(|row| row.value).sum())
    };
    let at_once = NewRun { run_type: RunType::Manual, state: RunState::Running, ..new_run(world.version, 0) };
    let queued = NewRun { run_type: RunType::Backfill, ..new_run(world.version, 1) };
    let report = world.commit(&Batch { new_runs: vec![at_once, queued], ..Batch::default() }, at(1)).await?;
    let backfilled = report.created[1].clone().context("created")?.run;
    let start = |run| RunMove { run, from: RunState::Queued, to: RunState::Running, reason: None };
    world.commit(&Batch { run_moves: vec![start(backfilled)], ..Batch::default() }, at(2)).await?;
    assert_eq!((delays().await?, count(&world.store, Counted::RunDelayTime, &[]).await?), (0, 0));
    let scheduled = NewRun { state: RunState::Running, ..new_run(world.version, 2) };
    world.commit(&Batch { new_runs: vec![scheduled], ..Batch::default() }, at(3)).await?;
    assert_eq!(delays().await?, 1);
    Ok(())
}

pub async fn of_a_mark_the_latest_stays(bench: Bench) -> Result<()> {
    let (one, other) = (bench.store().await?, bench.store().await?);
    let micros = |seconds| u64::try_from(at(seconds).timestamp_micros());
    one.mark(Counted::FolderSeen, &[], at(5));
    one.mark(Counted::FolderSeen, &[], at(4));
    other.mark(Counted::FolderSeen, &[], at(3));
    one.write_counts().await?;
    other.write_counts().await?;
    assert_eq!(count(&other, Counted::FolderSeen, &[]).await?, micros(5)?);
    other.mark(Counted::FolderSeen, &[], at(9));
    assert_eq!(count(&other, Counted::FolderSeen, &[]).await?, micros(9)?);
    other.write_counts().await?;
    assert_eq!(count(&one, Counted::FolderSeen, &[]).await?, micros(9)?);
    Ok(())
}
