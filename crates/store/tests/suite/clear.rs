use anyhow::{Context, Result};
use millrace_model::change::{Batch, TryOutcome};
use millrace_model::ids::TaskId;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{AuditFilter, ClearRequest, MarkRequest, SignalKind};

use crate::bench::{Bench, World, at, claim, failed, finish, step, tasks};

fn request(run: i64, task_ids: Vec<TaskId>) -> ClearRequest {
    ClearRequest { run, task_ids, only_failed: false, dry_run: false, actor: "cli".to_owned() }
}

async fn finished_run(world: &World) -> Result<millrace_store::CreatedRun> {
    let run = world.running_run(0).await?;
    for instance in &run.instances {
        world.work(*instance, TryOutcome::Success, TaskState::Success).await?;
    }
    world.end_run(run.run, RunState::Success).await?;
    Ok(run)
}

pub async fn a_middle_task_of_a_finished_run(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = finished_run(&world).await?;
    let report = world.store.clear_instances(&request(run.run, tasks(&["load", "check"])), at(40)).await?;
    assert!(report.run_queued);
    let cleared: Vec<_> = report.cleared.iter().map(|it| (it.task_id.as_str(), it.from, it.to)).collect();
    let none = (TaskState::Success, TaskState::None);
    assert_eq!(cleared, [("load", none.0, none.1), ("check", none.0, none.1)]);
    assert_eq!(world.states(run.run).await?, "success none none", "upstream is untouched");

    let row = world.store.run_by_key(run.run).await?.context("there")?;
    assert_eq!((row.state, row.start_date, row.end_date), (RunState::Queued, None, None));
    assert_eq!((row.clear_number, row.queued_at), (1, Some(at(40))));
    let load = world.store.instance(run.run, "load", -1).await?.context("there")?;
    assert_eq!((load.try_number, load.max_tries, load.generation), (1, 1 + 2, 1), "a full budget again");
    assert_eq!((load.start_date, load.end_date), (None, None));
    assert_eq!(world.store.tries(load.key).await?.len(), 1, "the history stays");

    let signals = world.store.signals().await?;
    assert!(signals.iter().any(|it| it.kind == SignalKind::RunChanged && it.run == Some(run.run)));
    let audit = world.store.audit_log(&AuditFilter { limit: 1, ..AuditFilter::default() }).await?;
    assert_eq!((audit.rows[0].action.as_str(), audit.rows[0].actor.as_str()), ("clear", "cli"));

    world
        .commit(
            &Batch {
                run_moves: vec![millrace_model::change::RunMove {
                    run: run.run,
                    from: RunState::Queued,
                    to: RunState::Running,
                    reason: None,
                }],
                ..Batch::default()
            },
            at(41),
        )
        .await?;
    world.work(load.key, TryOutcome::Success, TaskState::Success).await?;
    let tries = world.store.tries(load.key).await?;
    let generations: Vec<_> = tries.iter().map(|it| (it.try_number, it.generation)).collect();
    assert_eq!(generations, [(1, 0), (2, 1)]);
    Ok(())
}

pub async fn a_running_task_restarts_even_if_its_try_succeeds(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let held = claim(run.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(1)).await?;
    let report = world.store.clear_instances(&request(run.run, tasks(&["extract"])), at(2)).await?;
    assert_eq!(report.cleared[0].to, TaskState::Restarting);
    assert!(!report.run_queued);

    // The scheduler has not heard of it, and the try ends well.
    let done = finish(&held, TryOutcome::Success, TaskState::Success);
    let report = world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(3)).await?;
    assert_eq!((report.stale_finishes.len(), report.cleared_finishes), (0, vec![0]));
    assert_eq!(world.states(run.run).await?, "none none none", "the clear is not lost");
    let row = world.store.instance_by_key(run.instances[0]).await?.context("there")?;
    assert_eq!((row.try_number, row.max_tries, row.generation), (1, 2, 1));
    assert_eq!(world.store.tries(row.key).await?[0].state, TaskState::Success, "the try is what it was");
    Ok(())
}

pub async fn a_running_run_keeps_its_start(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    let before = world.store.run_by_key(run.run).await?.context("there")?;
    let report = world.store.clear_instances(&request(run.run, Vec::new()), at(50)).await?;
    assert_eq!(report.cleared.len(), 1, "what never ran has nothing to clear");
    assert!(!report.run_queued);
    assert_eq!(world.store.run_by_key(run.run).await?.context("there")?, before);
    Ok(())
}

pub async fn of_two_clears_one_wins(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = finished_run(&world).await?;
    let clears: Vec<_> = (0..6)
        .map(|_| {
            let (store, request) = (world.store.clone(), request(run.run, tasks(&["load"])));
            tokio::spawn(async move { store.clear_instances(&request, at(40)).await })
        })
        .collect();
    let mut cleared = 0;
    for clear in clears {
        cleared += clear.await??.cleared.len();
    }
    assert_eq!(cleared, 1);
    let load = world.store.instance(run.run, "load", -1).await?.context("there")?;
    assert_eq!((load.generation, load.max_tries), (1, 3));
    assert_eq!(world.store.run_by_key(run.run).await?.context("there")?.clear_number, 1);
    Ok(())
}

pub async fn only_failed_and_dry_run(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    world.work(run.instances[1], failed(false), TaskState::Failed).await?;
    let below = step(run.instances[2], TaskState::None, TaskState::UpstreamFailed);
    world.commit(&Batch { task_moves: vec![below], ..Batch::default() }, at(21)).await?;
    world.end_run(run.run, RunState::Failed).await?;

    let mut wanted = ClearRequest { only_failed: true, dry_run: true, ..request(run.run, Vec::new()) };
    let would = world.store.clear_instances(&wanted, at(40)).await?;
    assert_eq!(world.states(run.run).await?, "success failed upstream_failed", "a dry run changes nothing");
    wanted.dry_run = false;
    let did = world.store.clear_instances(&wanted, at(40)).await?;
    assert_eq!(would, did);
    assert_eq!(world.states(run.run).await?, "success none none");
    Ok(())
}

pub async fn marking_success_lets_the_run_go_on(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], failed(false), TaskState::Failed).await?;
    let moves = run.instances[1..].iter().map(|key| step(*key, TaskState::None, TaskState::UpstreamFailed)).collect();
    world.commit(&Batch { task_moves: moves, ..Batch::default() }, at(21)).await?;
    world.end_run(run.run, RunState::Failed).await?;

    let mark = |to| MarkRequest { run: run.run, task_ids: tasks(&["extract"]), to, actor: "cli".to_owned() };
    assert!(world.store.mark_instances(&mark(TaskState::Running), at(40)).await.is_err());
    let report = world.store.mark_instances(&mark(TaskState::Success), at(40)).await?;
    assert_eq!((report.marked.len(), report.cleared.len()), (1, 2));
    assert_eq!(world.states(run.run).await?, "success none none");
    let row = world.store.run_by_key(run.run).await?.context("there")?;
    assert_eq!(row.state, RunState::Queued);
    let extract = world.store.instance(run.run, "extract", -1).await?.context("there")?;
    assert_eq!(extract.state_reason.as_deref(), Some("marked by cli"));
    let again = world.store.mark_instances(&mark(TaskState::Success), at(41)).await?;
    assert!(again.marked.is_empty(), "it is what it should be");
    Ok(())
}

pub async fn marking_a_run(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    let held = claim(run.instances[1], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(30)).await?;
    world.store.mark_run(run.run, RunState::Failed, "cli", at(31)).await?;
    assert_eq!(world.states(run.run).await?, "success failed skipped");
    let row = world.store.run_by_key(run.run).await?.context("there")?;
    assert_eq!((row.state, row.end_date), (RunState::Failed, Some(at(31))));
    let late = finish(&held, TryOutcome::Success, TaskState::Success);
    let report = world.commit(&Batch { finishes: vec![late], ..Batch::default() }, at(32)).await?;
    assert_eq!(report.stale_finishes, [0], "the worker has lost it");
    let tries = world.store.tries(run.instances[1]).await?;
    assert_eq!((tries[0].state, tries[0].end_date), (TaskState::Failed, Some(at(31))));
    Ok(())
}
