use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result};
use chrono::TimeDelta;
use millrace_model::change::{Batch, NewRun, RunMove};
use millrace_model::selection::TaskChoice;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{ClearRequest, MarkRequest, NewJob, Selection, StoreError};
use sqlx::{Connection, PgConnection};

use crate::bench::{Bench, at, claim, new_run};

pub async fn one_leads_at_a_time(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let other = bench.again().await?;
    assert!(!other.is_led().await?);
    let mut lead = store.try_lead("job-1", at(0)).await?.context("nobody leads")?;
    assert_eq!(lead.epoch, 1);
    assert_eq!(lead.previous_owner_is_dead, !bench.is_postgres());
    assert!(lead.still_held().await);
    assert!(other.is_led().await?);
    if !bench.is_postgres() {
        let lock = std::fs::metadata(bench.home.path().join("scheduler.lock"))?;
        assert_eq!(lock.permissions().mode() & 0o777, 0o600, "nobody else on the machine may hold it");
    }
    assert!(other.try_lead("job-2", at(1)).await?.is_none());
    assert!(store.try_lead("job-1", at(1)).await?.is_none(), "not even to itself twice");
    drop(lead);
    if bench.is_postgres() {
        // The server ends the session when it notices that the connection is gone.
        let wait = async {
            while other.is_led().await? {
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        };
        tokio::time::timeout(std::time::Duration::from_mins(1), wait).await??;
    }
    assert!(!other.is_led().await?);
    assert_eq!(other.try_lead("job-2", at(2)).await?.context("free")?.epoch, 2);
    Ok(())
}

pub async fn heartbeats_say_who_lives(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let job = NewJob { kind: "scheduler".to_owned(), hostname: "here".to_owned(), pid: 42 };
    let id = world.store.register_job(&job, at(0)).await?;
    let run = world.running_run(0).await?;
    let mut mine = claim(run.instances[0], TaskState::None, 1);
    mine.owner.clone_from(&id);
    let theirs = claim(run.instances[1], TaskState::None, 1);
    world.commit(&Batch { claims: vec![mine, theirs], ..Batch::default() }, at(1)).await?;
    let leases = world.store.running_instances().await?;
    assert_eq!(leases.len(), 2);
    if bench.is_postgres() {
        // Whoever holds the turn, with something large perhaps, keeps nobody from saying that they live.
        let mut other = PgConnection::connect(&bench.url).await?;
        sqlx::query("SELECT pg_advisory_lock(x'6D696C6C0003'::bigint)").execute(&mut other).await?;
        let beat = world.store.heartbeat(&id, at(100));
        tokio::time::timeout(std::time::Duration::from_secs(20), beat).await??;
        other.close().await?;
    }
    world.store.heartbeat(&id, at(100)).await?;
    assert_eq!(world.store.health().await?.scheduler_heartbeat_at, Some(at(100)));
    let row = world.store.job(&id).await?.context("registered")?;
    assert_eq!((row.kind.as_str(), row.pid, row.heartbeat_at), ("scheduler", 42, at(100)));
    assert_eq!(world.store.running_instances().await?, leases, "one row says it for every lease");
    // Whoever leads adds what it has watched; any sign of life makes that nothing.
    let (epoch, seconds) = (world.lead.epoch, TimeDelta::seconds);
    assert_eq!(world.store.note_silence(&id, at(100), seconds(10), epoch).await?, seconds(10));
    assert_eq!(world.store.note_silence(&id, at(100), seconds(-3), epoch).await?, seconds(10), "a clock was set back");
    assert_eq!(world.store.note_silence(&id, at(100), seconds(5), epoch).await?, seconds(15));
    assert_eq!(world.store.note_silence(&id, at(99), seconds(5), epoch).await?, seconds(0), "that was another sign");
    assert_eq!(world.store.job(&id).await?.context("registered")?.silent_for, seconds(15));
    let late = world.store.note_silence(&id, at(100), seconds(5), epoch - 1).await;
    assert!(matches!(late, Err(StoreError::StaleEpoch { .. })), "{late:?}");
    world.store.heartbeat(&id, at(100)).await?;
    assert_eq!(
        world.store.note_silence(&id, at(100), seconds(1), epoch).await?,
        seconds(1),
        "though its clock stood still"
    );
    world.store.end_job(&id, at(101)).await?;
    assert_eq!(world.store.health().await?.scheduler_heartbeat_at, None);
    assert_eq!(world.store.jobs(10).await?[0].ended_at, Some(at(101)));
    // However many come and go after it, one that goes on is among the first.
    let job = |kind: &str| NewJob { kind: kind.to_owned(), hostname: "h".to_owned(), pid: 1 };
    let old = world.store.register_job(&job("scheduler"), at(102)).await?;
    for second in 103..106 {
        let short = world.store.register_job(&job("task_run"), at(second)).await?;
        world.store.end_job(&short, at(second)).await?;
    }
    assert_eq!(world.store.jobs(1).await?[0].id, old);
    Ok(())
}

pub async fn what_a_dead_owner_held_is_found(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let held = claim(run.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(1)).await?;
    world.store.close().await;
    drop(world);

    let store = bench.again().await?;
    let running = store.running_instances().await?;
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].row.lease.as_ref().map(|it| it.token.as_str()), Some(held.token.as_str()));
    let finish = crate::bench::finish(&held, millrace_model::change::TryOutcome::LostWorker, TaskState::UpForRetry);
    let report = store.commit_unled(&Batch { finishes: vec![finish], ..Batch::default() }, at(500)).await?;
    assert_eq!(report.stale_count(), 0);
    assert!(store.running_instances().await?.is_empty());
    assert!(store.signals().await?.iter().any(|it| it.run == Some(run.run)), "a scheduler reads the run again");
    Ok(())
}

pub async fn heartbeats_and_batches_do_not_get_in_each_others_way(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let mut instances = Vec::new();
    for which in 0..20 {
        instances.extend(world.running_run(which).await?.instances);
    }
    let claims: Vec<_> = instances.iter().map(|key| claim(*key, TaskState::None, 1)).collect();
    world.commit(&Batch { claims: claims.clone(), ..Batch::default() }, at(1)).await?;
    let beating = (0..2).map(|_| {
        let store = world.store.clone();
        tokio::spawn(async move {
            for second in 0..40 {
                store.heartbeat("job-1", at(second)).await?;
            }
            anyhow::Ok(())
        })
    });
    let beating: Vec<_> = beating.collect();
    // In the other order than the index of leases has them.
    for claims in claims.rchunks(3) {
        let done = claims.iter().rev();
        let finishes = done
            .map(|held| crate::bench::finish(held, millrace_model::change::TryOutcome::Success, TaskState::Success))
            .collect();
        let report = world.commit(&Batch { finishes, ..Batch::default() }, at(50)).await?;
        assert_eq!(report.stale_count(), 0);
    }
    for task in beating {
        task.await??;
    }
    assert!(world.store.running_instances().await?.is_empty());
    Ok(())
}

/// Somebody changes a run by hand between the plan and its commit.
pub async fn nothing_starts_in_the_place_of_a_run_that_does_not_end(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let running = world.running_run(0).await?;
    let queued = world.commit(&Batch { new_runs: vec![new_run(world.version, 1)], ..Batch::default() }, at(1)).await?;
    let queued = queued.created[0].clone().context("created")?;
    world.store.clear_instances(&ClearRequest::of_run(running.run, &[], "me"), at(2)).await?;
    let mark = MarkRequest {
        selection: Selection::of_run(running.run, TaskChoice::All),
        to: TaskState::Failed,
        note: None,
        dry_run: false,
        actor: "me".to_owned(),
    };
    world.store.mark_instances(&mark, at(2)).await?;
    let ends = RunMove { run: running.run, from: RunState::Running, to: RunState::Success, reason: None };
    let starts = RunMove { run: queued.run, from: RunState::Queued, to: RunState::Running, reason: None };
    let created = NewRun { state: RunState::Running, ..new_run(world.version, 2) };
    let batch = Batch {
        new_runs: vec![created],
        run_moves: vec![starts, ends],
        claims: vec![claim(queued.instances[0], TaskState::None, 1)],
        ..Batch::default()
    };
    let report = world.commit(&batch, at(3)).await?;
    assert!(report.has_less_room);
    assert_eq!(report.stale_claims, [0], "nor a try of what waits in the queue");
    assert_eq!(report.stale_runs.len(), 2, "neither the end nor the start");
    let mut states = Vec::new();
    for run in world.store.active_runs().await? {
        states.push((run.row.key, run.row.state));
    }
    let created = report.created[0].clone().context("created, and queued")?.run;
    let expected = [(running.run, RunState::Running), (queued.run, RunState::Queued), (created, RunState::Queued)];
    assert_eq!(states, expected);
    Ok(())
}
