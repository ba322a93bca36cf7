use anyhow::{Context, Result};
use millrace_model::change::{Batch, RunMove, TaskMove, TryOutcome};
use millrace_model::ids::{DagId, TaskId};
use millrace_model::selection::{TaskChoice, TaskPattern};
use millrace_model::state::{RunState, TaskState};
use millrace_store::{
    AuditFilter, ClearReport, ClearRequest, NewestVersion, RepinRequest, RunChoice, Selection, SignalKind, StoreError,
};

use crate::bench::{Bench, World, at, claim, dag, day, failed, finish, step, sync, task, tasks};

fn request(run: i64, task_ids: Vec<TaskId>) -> ClearRequest {
    ClearRequest::of_run(run, &task_ids, "cli")
}

fn names(report: &ClearReport) -> Vec<&str> {
    report.cleared.iter().map(|it| it.task_id.as_str()).collect()
}

/// The generation of what was cleared then: another after every clear, also when an older state was brought back in between.
fn second(seconds: i64) -> u32 {
    u32::try_from(at(seconds).timestamp()).unwrap_or(0)
}

pub async fn finished_run(world: &World) -> Result<millrace_store::CreatedRun> {
    let run = world.running_run(0).await?;
    for instance in &run.instances {
        world.work(*instance, TryOutcome::Success, TaskState::Success).await?;
    }
    world.end_run(run.run, RunState::Success).await?;
    Ok(run)
}

pub async fn case_63_a_middle_task_of_a_finished_run(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = finished_run(&world).await?;
    let report = world.store.clear_instances(&request(run.run, tasks(&["load", "check"])), at(40)).await?;
    assert_eq!(report.queued(), 1);
    let cleared: Vec<_> = report.cleared.iter().map(|it| (it.task_id.as_str(), it.from, it.to)).collect();
    let none = (TaskState::Success, TaskState::None);
    assert_eq!(cleared, [("load", none.0, none.1), ("check", none.0, none.1)]);
    assert_eq!(world.states(run.run).await?, "success none none", "upstream is untouched");

    let row = world.store.run_by_key(run.run).await?.context("there")?;
    assert_eq!((row.state, row.start_date, row.end_date), (RunState::Queued, None, None));
    assert_eq!((row.clear_number, row.queued_at), (1, Some(at(40))));
    let load = world.store.instance(run.run, "load", -1).await?.context("there")?;
    assert_eq!((load.try_number, load.max_tries, load.generation), (1, 1 + 2, second(40)), "a full budget again");
    assert_eq!((load.start_date, load.end_date), (None, None));
    assert_eq!(world.store.tries(load.key).await?.len(), 1, "the history stays");

    let signals = world.store.signals().await?;
    assert!(signals.iter().any(|it| it.kind == SignalKind::RunChanged && it.run == Some(run.run)));
    let audit = world.store.audit_log(&AuditFilter { limit: 1, ..AuditFilter::default() }).await?;
    assert_eq!((audit.rows[0].action.as_str(), audit.rows[0].actor.as_str()), ("clear", "cli"));
    let told = |of: serde_json::Value| Some(serde_json::json!({ row.run_id.as_str(): of }));
    let before = serde_json::json!({"state": "success", "tasks": {"check": "success", "load": "success"}});
    assert_eq!(audit.rows[0].before, told(before));
    assert_eq!(audit.rows[0].after, told(serde_json::json!({"tasks": {"check": "none", "load": "none"}})));

    world
        .commit(
            &Batch {
                run_moves: vec![RunMove { run: run.run, from: RunState::Queued, to: RunState::Running, reason: None }],
                signals_handled: world.signals().await?,
                ..Batch::default()
            },
            at(41),
        )
        .await?;
    world.work(load.key, TryOutcome::Success, TaskState::Success).await?;
    let tries = world.store.tries(load.key).await?;
    let generations: Vec<_> = tries.iter().map(|it| (it.try_number, it.generation)).collect();
    assert_eq!(generations, [(1, 0), (2, second(40))]);
    world.store.clear_instances(&request(run.run, tasks(&["load"])), at(39)).await?;
    let load = world.store.instance(run.run, "load", -1).await?.context("there")?;
    assert_eq!(load.generation, second(40) + 1, "the clock may go back");
    Ok(())
}

pub async fn a_running_task_restarts_even_if_its_try_succeeds(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    let held = claim(run.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(1)).await?;
    let report = world.store.clear_instances(&request(run.run, tasks(&["extract"])), at(2)).await?;
    assert_eq!(report.cleared[0].to, TaskState::Restarting);
    assert_eq!(report.queued(), 0);

    // The scheduler has not heard of it, and the try ends well.
    let done = finish(&held, TryOutcome::Success, TaskState::Success);
    let report = world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(3)).await?;
    assert_eq!((report.stale_finishes.len(), report.cleared_finishes), (0, vec![0]));
    assert_eq!(world.states(run.run).await?, "none none none", "the clear is not lost");
    let row = world.store.instance_by_key(run.instances[0]).await?.context("there")?;
    assert_eq!((row.try_number, row.max_tries, row.generation), (1, 2, second(2)));
    assert_eq!(world.store.tries(row.key).await?[0].state, TaskState::Success, "the try is what it was");
    Ok(())
}

pub async fn a_look_that_is_cleared_does_not_look_again(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    // As the scheduler plans it before and after it has heard of the clear.
    for (place, planned) in [TaskState::UpForReschedule, TaskState::None].into_iter().enumerate() {
        let run = world.running_run(i64::try_from(place)?).await?;
        let held = claim(run.instances[0], TaskState::None, 1);
        world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(1)).await?;
        world.store.clear_instances(&request(run.run, tasks(&["extract"])), at(2)).await?;
        let outcome = TryOutcome::PutOff { until: at(100), reason: "not there".to_owned() };
        let done = finish(&held, outcome, planned);
        world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(3)).await?;
        let tries = world.store.tries(run.instances[0]).await?;
        let ended: Vec<_> = tries.iter().map(|it| (it.state, it.end_date.is_some())).collect();
        assert_eq!(ended, [(TaskState::Failed, true)], "{planned}");
    }
    Ok(())
}

pub async fn a_running_run_keeps_its_start(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    let before = world.store.run_by_key(run.run).await?.context("there")?;
    let report = world.store.clear_instances(&request(run.run, Vec::new()), at(50)).await?;
    assert_eq!(report.cleared.len(), 1, "what never ran has nothing to clear");
    assert_eq!(report.queued(), 0);
    assert_eq!(world.store.run_by_key(run.run).await?.context("there")?, before);
    Ok(())
}

pub async fn case_69_of_two_clears_one_wins(bench: Bench) -> Result<()> {
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
    assert_eq!((load.generation, load.max_tries), (second(40), 3));
    assert_eq!(world.store.run_by_key(run.run).await?.context("there")?.clear_number, 1);
    Ok(())
}

pub async fn what_failed_is_cleared_with_its_setup_and_teardown(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run_that_cleans_up().await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    world.work(run.instances[1], failed(false), TaskState::Failed).await?;
    world.work(run.instances[2], TryOutcome::Success, TaskState::Success).await?;
    world.end_run(run.run, RunState::Failed).await?;
    let mut wanted = request(run.run, Vec::new());
    wanted.selection.only_failed = true;
    let cleared = world.store.clear_instances(&wanted, at(30)).await?.cleared;
    let names: Vec<_> = cleared.iter().map(|it| it.task_id.as_str()).collect();
    assert_eq!(
        names,
        ["extract", "load", "check"],
        "what the setup made is gone: it is made again, and cleaned up again"
    );
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

    let mut wanted = ClearRequest { dry_run: true, ..request(run.run, Vec::new()) };
    wanted.selection.only_failed = true;
    let would = world.store.clear_instances(&wanted, at(40)).await?;
    assert_eq!(world.states(run.run).await?, "success failed upstream_failed", "a dry run changes nothing");
    wanted.dry_run = false;
    let did = world.store.clear_instances(&wanted, at(40)).await?;
    assert_eq!(would, did);
    assert_eq!(world.states(run.run).await?, "success none none");
    Ok(())
}

/// Three runs: 0 succeeded, 1 failed at `load`, 2 runs `extract`.
async fn three_runs(world: &World) -> Result<[i64; 3]> {
    let first = finished_run(world).await?.run;
    let second = world.running_run(1).await?;
    world.work(second.instances[0], TryOutcome::Success, TaskState::Success).await?;
    world.work(second.instances[1], failed(false), TaskState::Failed).await?;
    let below = step(second.instances[2], TaskState::None, TaskState::UpstreamFailed);
    world.commit(&Batch { task_moves: vec![below], ..Batch::default() }, at(21)).await?;
    world.end_run(second.run, RunState::Failed).await?;
    let third = world.running_run(2).await?;
    let held = claim(third.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held], ..Batch::default() }, at(22)).await?;
    Ok([first, second.run, third.run])
}

pub async fn relatives_past_and_future(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let [first, second, third] = three_runs(&world).await?;
    let dry = |change: fn(&mut Selection)| {
        let mut request = ClearRequest { dry_run: true, ..request(second, tasks(&["load"])) };
        change(&mut request.selection);
        let store = world.store.clone();
        async move { store.clear_instances(&request, at(40)).await }
    };
    assert_eq!(names(&dry(|_| ()).await?), ["load"]);
    assert_eq!(names(&dry(|it| it.tasks.upstream = true).await?), ["extract", "load"]);
    assert_eq!(names(&dry(|it| it.tasks.downstream = true).await?), ["load", "check"]);
    let past = dry(|it| it.past = true).await?;
    assert_eq!(past.cleared.iter().map(|it| it.run).collect::<Vec<_>>(), [first, second]);
    assert_eq!(
        past.runs.iter().map(|run| (run.logical_date, run.queued)).collect::<Vec<_>>(),
        [(day(0), true), (day(1), true)]
    );
    let future = dry(|it| (it.future, it.tasks.upstream) = (true, true)).await?;
    let touched: Vec<_> = future.cleared.iter().map(|it| (it.run, it.task_id.as_str(), it.to)).collect();
    let none = TaskState::None;
    let expected = [(second, "extract", none), (second, "load", none), (third, "extract", TaskState::Restarting)];
    assert_eq!(touched, expected);
    let running = dry(|it| (it.future, it.tasks.upstream, it.only_running) = (true, true, true)).await?;
    assert_eq!(names(&running), ["extract"]);
    assert_eq!(world.states(first).await?, "success success success", "dry runs changed nothing");
    assert!(world.store.signals().await?.iter().all(|it| it.kind != SignalKind::RunChanged));
    let unknown = world.store.clear_instances(&request(second, tasks(&["lode"])), at(40)).await;
    assert!(matches!(unknown, Err(StoreError::NotFound { name, .. }) if name == "lode"));
    Ok(())
}

pub async fn failed_tasks_of_many_runs(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let [first, second, third] = three_runs(&world).await?;
    let runs = |from, to| RunChoice::Between { dag_id: DagId::new_unchecked("daily"), from, to };
    let of = |runs| {
        let mut request = ClearRequest::new(Selection::of(runs, TaskChoice::All), "cli");
        request.selection.only_failed = true;
        request
    };
    let before = world.store.clear_instances(&of(runs(None, Some(day(1)))), at(40)).await?;
    assert_eq!(before, ClearReport::default(), "the end is not included");
    let report = world.store.clear_instances(&of(runs(Some(day(1)), None)), at(40)).await?;
    assert_eq!(names(&report), ["load", "check"]);
    assert_eq!(world.states(second).await?, "success none none");
    assert_eq!(world.store.run_by_key(second).await?.context("there")?.state, RunState::Queued);
    for untouched in [first, third] {
        assert_eq!(world.store.run_by_key(untouched).await?.context("there")?.clear_number, 0);
    }
    let audit = world.store.audit_log(&AuditFilter { limit: 1, ..AuditFilter::default() }).await?;
    assert_eq!((audit.rows[0].action.as_str(), audit.rows[0].details["instances"].as_i64()), ("clear", Some(2)));

    let pattern = TaskChoice::Pattern(TaskPattern::parse("^(ex|che)")?);
    let whole = ClearRequest::new(Selection::of(runs(None, None), pattern), "cli");
    let report = world.store.clear_instances(&whole, at(41)).await?;
    assert_eq!(names(&report), ["extract", "check", "extract", "extract"], "what waits has nothing to clear");
    let audit = world.store.audit_log(&AuditFilter { limit: 1, ..AuditFilter::default() }).await?;
    assert_eq!(audit.rows[0].details["run_count"].as_i64(), Some(3));
    Ok(())
}

pub async fn the_state_of_the_run_can_be_left(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = finished_run(&world).await?.run;
    let kept = ClearRequest { keeps_run_state: true, ..request(run, tasks(&["check"])) };
    let report = world.store.clear_instances(&kept, at(40)).await?;
    assert_eq!((report.cleared.len(), report.queued()), (1, 0));
    let row = world.store.run_by_key(run).await?.context("there")?;
    assert_eq!((row.state, row.clear_number), (RunState::Success, 0));
    let report = world.store.clear_instances(&request(run, tasks(&["check"])), at(41)).await?;
    assert_eq!((report.cleared.len(), report.queued()), (0, 1), "it waits already; its run goes on");
    Ok(())
}

pub async fn a_running_task_can_be_spared(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let [.., third] = three_runs(&world).await?;
    let careful = ClearRequest { refuses_running: true, ..request(third, Vec::new()) };
    let refused = world.store.clear_instances(&careful, at(40)).await;
    assert!(matches!(refused, Err(StoreError::Refused { reason, .. }) if reason.contains("extract is running")));
    assert_eq!(world.states(third).await?, "running none none");
    Ok(())
}

pub async fn case_65_a_task_that_is_gone_from_the_dag(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = finished_run(&world).await?;
    let newer = dag("daily", vec![task("extract", &[], 1), task("publish", &["extract"], 3)]);
    let key = world.store.sync_dag(sync(&newer), at(35)).await?.version_key;
    let newest = NewestVersion {
        version_key: key,
        tasks: newer.tasks.iter().map(millrace_model::change::NewInstance::of).collect(),
    };
    let wanted = ClearRequest { newest: Some(newest), ..request(run.run, Vec::new()) };
    let report = world.store.clear_instances(&wanted, at(40)).await?;
    assert_eq!(report.queued(), 1);
    let row = world.store.run_by_key(run.run).await?.context("there")?;
    assert_eq!(row.version_key, key);
    let load = world.store.instance(run.run, "load", -1).await?.context("there")?;
    assert_eq!((load.state, load.max_tries, load.try_number), (TaskState::Removed, 2, 1), "its budget stays");
    let publish = world.store.instance(run.run, "publish", -1).await?.context("there")?;
    assert_eq!((publish.state, publish.max_tries), (TaskState::None, 3));
    let extract = world.store.instance(run.run, "extract", -1).await?.context("there")?;
    assert_eq!((extract.state, extract.max_tries), (TaskState::None, 2));
    Ok(())
}

pub async fn a_run_is_given_another_version(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    let held = claim(run.instances[1], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(30)).await?;
    let of = |dag: &millrace_model::dag::Dag, version_key| RepinRequest {
        runs: RunChoice::Between { dag_id: DagId::new_unchecked("daily"), from: None, to: None },
        only_active: true,
        newest: NewestVersion {
            version_key,
            tasks: dag.tasks.iter().map(millrace_model::change::NewInstance::of).collect(),
        },
        dry_run: false,
        actor: "cli".to_owned(),
    };
    let newer = dag("daily", vec![task("extract", &[], 1), task("check", &["extract"], 0), task("more", &[], 0)]);
    let key = world.store.sync_dag(sync(&newer), at(35)).await?.version_key;
    let dry = world.store.repin_runs(&RepinRequest { dry_run: true, ..of(&newer, key) }, at(40)).await?;
    assert_eq!(world.states(run.run).await?, "success running none");
    let report = world.store.repin_runs(&of(&newer, key), at(40)).await?;
    assert_eq!(report, dry);
    assert_eq!((&report[0].added, &report[0].removed), (&tasks(&["more"]), &tasks(&["load"])));
    assert!(!report[0].run.queued);
    assert_eq!(world.states(run.run).await?, "success removed none none");
    let late = finish(&held, TryOutcome::Success, TaskState::Success);
    let report = world.commit(&Batch { finishes: vec![late], ..Batch::default() }, at(41)).await?;
    assert_eq!(report.stale_finishes, [0], "what ran was taken from its worker");
    assert!(world.store.repin_runs(&of(&newer, key), at(42)).await?.is_empty(), "it has this version");

    let back = crate::bench::sample();
    let key = world.store.sync_dag(sync(&back), at(43)).await?.version_key;
    let report = world.store.repin_runs(&of(&back, key), at(44)).await?;
    assert_eq!((&report[0].restored, &report[0].removed), (&tasks(&["load"]), &tasks(&["more"])));
    assert_eq!(world.states(run.run).await?, "success none none removed");
    Ok(())
}

/// It did its work before it was gone; what it is to do now is other work, with a budget of its own.
pub async fn a_task_that_is_back_begins_anew(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    world.work(run.instances[1], TryOutcome::LostWorker, TaskState::None).await?;
    world.work(run.instances[1], failed(true), TaskState::UpForRetry).await?;
    let load = world.store.instance_by_key(run.instances[1]).await?.context("there")?;
    assert_eq!((load.lost_workers, load.next_try_at), (1, Some(at(79))));
    world.repin(run.run, &dag("daily", vec![task("check", &[], 0)])).await?;
    assert_eq!(world.states(run.run).await?, "removed removed none");

    world.repin(run.run, &crate::bench::sample()).await?;
    assert_eq!(world.states(run.run).await?, "none none none");
    for (name, retries) in [("extract", 1), ("load", 2)] {
        let it = world.store.instance(run.run, name, -1).await?.context("there")?;
        assert_eq!((it.generation, it.max_tries), (second(2), it.try_number + retries), "{name}");
        assert_eq!((it.lost_workers, it.next_try_at, it.put_offs), (0, None, None), "{name}");
    }
    let check = world.store.instance(run.run, "check", -1).await?.context("there")?;
    assert_eq!(check.generation, 0, "it was never gone");
    Ok(())
}

/// The scheduler ends a run in the moment in which one of its tasks is cleared.
pub async fn a_run_does_not_end_over_a_clear_it_has_not_seen(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    for instance in &run.instances[..2] {
        world.work(*instance, TryOutcome::Success, TaskState::Success).await?;
    }
    let held = claim(run.instances[2], TaskState::None, 1);
    world.commit(&Batch { claims: vec![held.clone()], ..Batch::default() }, at(30)).await?;
    let planned = Batch {
        finishes: vec![finish(&held, TryOutcome::Success, TaskState::Success)],
        run_moves: vec![RunMove { run: run.run, from: RunState::Running, to: RunState::Success, reason: None }],
        ..Batch::default()
    };
    world.store.clear_instances(&request(run.run, tasks(&["extract"])), at(31)).await?;
    let report = world.commit(&planned, at(32)).await?;
    assert_eq!((report.stale_finishes.len(), report.stale_runs), (0, vec![0]));
    assert_eq!(world.states(run.run).await?, "none success success");
    assert_eq!(world.store.run_by_key(run.run).await?.context("there")?.state, RunState::Running);

    // Nor is anything moved or claimed by what was cleared since; another run is not concerned.
    let other = world.running_run(1).await?;
    let batch = |signals_handled| Batch {
        task_moves: vec![
            step(run.instances[0], TaskState::None, TaskState::Skipped),
            step(other.instances[1], TaskState::None, TaskState::Skipped),
        ],
        claims: vec![claim(other.instances[0], TaskState::None, 1)],
        signals_handled,
        ..Batch::default()
    };
    let report = world.commit(&batch(Vec::new()), at(33)).await?;
    assert_eq!((report.stale_moves.as_slice(), report.stale_claims.len()), ([0].as_slice(), 0));
    assert_eq!(world.states(run.run).await?, "none success success");
    let report = world.commit(&batch(world.signals().await?), at(34)).await?;
    assert_eq!(report.stale_moves, [1], "whoever has heard of the clear may");
    assert_eq!(world.states(run.run).await?, "skipped success success");
    Ok(())
}

pub async fn notes(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = finished_run(&world).await?.run;
    let row = world.store.set_note(run, Some(" looked at by Ada "), "cli", at(40)).await?;
    assert_eq!(row.note.as_deref(), Some("looked at by Ada"));
    assert_eq!(world.store.run_by_key(run).await?.context("there")?, row);
    let too_long = world.store.set_note(run, Some(&"x".repeat(1001)), "cli", at(41)).await;
    assert!(matches!(too_long, Err(StoreError::Refused { .. })));
    assert_eq!(world.store.set_note(run, Some("  "), "cli", at(42)).await?.note, None);
    let audit = world.store.audit_log(&AuditFilter { limit: 9, ..AuditFilter::default() }).await?;
    assert_eq!(audit.rows.iter().filter(|row| row.action == "note").count(), 2);
    Ok(())
}

/// A run whose first task failed when it timed out; the others were given up.
async fn timed_out(world: &World) -> Result<millrace_store::CreatedRun> {
    let run = world.running_run(0).await?;
    world.work(run.instances[0], failed(false), TaskState::Failed).await?;
    let given_up = |key: &i64| TaskMove { given_up: true, ..step(*key, TaskState::None, TaskState::Skipped) };
    let task_moves = run.instances[1..].iter().map(given_up).collect();
    world.commit(&Batch { task_moves, ..Batch::default() }, at(21)).await?;
    world.end_run(run.run, RunState::Failed).await?;
    Ok(run)
}

pub async fn what_was_given_up_has_failed(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = timed_out(&world).await?;
    let before = world.store.run_before(&DagId::new_unchecked("daily"), day(1), false).await?.context("there")?;
    assert_eq!(before.given_up.into_iter().collect::<Vec<_>>(), tasks(&["check", "load"]));
    let mut wanted = request(run.run, Vec::new());
    wanted.selection.only_failed = true;
    let report = world.store.clear_instances(&wanted, at(40)).await?;
    assert_eq!(names(&report), ["extract", "load", "check"]);
    let rows = world.store.instances(run.run).await?;
    assert!(rows.iter().all(|row| !row.given_up && row.state == TaskState::None));
    // The same task, skipped because of its rule, is just that.
    let move_ = step(run.instances[1], TaskState::None, TaskState::Skipped);
    let signals_handled = world.signals().await?;
    world.commit(&Batch { task_moves: vec![move_], signals_handled, ..Batch::default() }, at(41)).await?;
    assert!(!world.store.instances(run.run).await?[1].given_up);
    Ok(())
}

pub async fn a_failed_run_without_a_failed_task_is_taken_whole(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    world.end_run(run.run, RunState::Failed).await?;
    let runs = RunChoice::Between { dag_id: DagId::new_unchecked("daily"), from: None, to: None };
    let mut wanted = ClearRequest::new(Selection::of(runs, TaskChoice::All), "cli");
    wanted.selection.only_failed = true;
    let report = world.store.clear_instances(&wanted, at(40)).await?;
    assert_eq!((names(&report), report.queued()), (vec!["extract"], 1), "what waits has nothing to clear");
    Ok(())
}
