//! What tasks do to assets, who is told, alerts, and what callbacks are told.

use anyhow::{Context, Result};
use chrono::DateTime;
use millrace_model::alert::{Alert, AlertKind};
use millrace_model::asset::{AssetCondition, AssetEvent, AssetName};
use millrace_model::change::{Batch, DagPause, NewInstance, NewRun, RunKey, RunMove, TryOutcome};
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, RunId};
use millrace_model::notice::{Callback, Notice, NoticeEvent};
use millrace_model::state::{RunState, RunType, TaskState};

use serde_json::json;

use crate::bench::{Bench, World, at, claim, dag, day, finish, new_run, sample, task};
use millrace_store::{
    AlertFilter, AssetEventFilter, ClearRequest, DateSpan, NewAssetEvent, NotificationFilter, NotificationRow,
    StoreError, SyncDag,
};

fn name(text: &str) -> AssetName {
    AssetName::new_unchecked(text)
}

/// `daily`, whose extract makes `orders`.
fn producer() -> Dag {
    let mut dag = sample();
    dag.tasks[0].outlets = vec![name("orders")];
    dag
}

fn consumer(dag_id: &str) -> Dag {
    let assets = Some(AssetCondition::Asset(name("orders")));
    Dag { assets, ..dag(dag_id, vec![task("use", &[], 0)]) }
}

async fn sync(world: &World, dag: &Dag, paused: bool) -> Result<i64> {
    let file_path = format!("{}.yaml", dag.dag_id);
    let file = SyncDag { dag, file_path: &file_path, source: "", paused_at_creation: paused };
    Ok(world.store.sync_dag(file, at(0)).await?.version_key)
}

/// The extract of a new run of that day succeeds.
async fn make_orders(world: &World, which: i64) -> Result<Vec<DagId>> {
    let created = world.running_run(which).await?;
    let claim = claim(created.instances[0], TaskState::None, 1);
    world.commit(&Batch { claims: vec![claim.clone()], ..Batch::default() }, at(1)).await?;
    let mut done = finish(&claim, TryOutcome::Success, TaskState::Success);
    done.asset_events = vec![name("orders")];
    let report = world.commit(&Batch { finishes: vec![done], ..Batch::default() }, at(2)).await?;
    Ok(report.waiting_for_assets.into_iter().collect())
}

pub async fn an_event_goes_to_those_who_wait_and_is_used_up_by_their_run(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    sync(&world, &producer(), false).await?;
    let version = sync(&world, &consumer("waits"), false).await?;
    sync(&world, &consumer("sleeps"), true).await?;
    let waits = DagId::new_unchecked("waits");
    assert_eq!(make_orders(&world, 0).await?, std::slice::from_ref(&waits), "a paused DAG is not told");
    assert_eq!(make_orders(&world, 1).await?, std::slice::from_ref(&waits));
    let events = world.store.queued_asset_events(&waits).await?;
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].data_interval.start, day(0));
    assert_eq!(events[0].task_id.as_ref().map(|id| id.as_str()), Some("extract"));

    let run = NewRun {
        dag_id: waits.clone(),
        run_id: RunId::new_unchecked("asset_triggered__x"),
        run_type: RunType::AssetTriggered,
        state: RunState::Running,
        asset_events: events.clone(),
        tasks: vec![NewInstance::of(&task("use", &[], 0))],
        ..new_run(version, 5)
    };
    let report = world.commit(&Batch { new_runs: vec![run.clone()], ..Batch::default() }, at(3)).await?;
    let created = report.created[0].clone().context("created")?;
    assert!(world.store.queued_asset_events(&waits).await?.is_empty());
    let row = world.store.run_by_key(created.run).await?.context("there")?;
    assert_eq!(row.asset_events, events, "the run knows what called for it");
    assert_eq!(row.facts().asset_events.len(), 2);
    let ids: Vec<i64> = events.iter().map(|event| event.id).collect();
    let called = world.store.runs_called(&ids).await?;
    let called: Vec<_> = called.iter().map(|run| (run.event_id, run.run_id.as_str(), run.is_last)).collect();
    assert_eq!(called, [(ids[0], "asset_triggered__x", false), (ids[1], "asset_triggered__x", true)]);

    // A run that was not made uses nothing up.
    make_orders(&world, 2).await?;
    let again = NewRun { asset_events: world.store.queued_asset_events(&waits).await?, ..run };
    let report = world.commit(&Batch { new_runs: vec![again], ..Batch::default() }, at(4)).await?;
    assert_eq!(report.created, [None]);
    assert_eq!(world.store.queued_asset_events(&waits).await?.len(), 1);
    let asset = &world.store.assets().await?[0];
    assert_eq!((asset.event_count, asset.consumers.len(), asset.producers.len()), (3, 2, 1));
    Ok(())
}

pub async fn catchup_replays_what_happened_before_the_dag_waited(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    sync(&world, &producer(), false).await?;
    make_orders(&world, 0).await?;
    sync(&world, &consumer("fresh"), false).await?;
    sync(&world, &Dag { catchup: true, ..consumer("thorough") }, false).await?;
    let queued = async |dag: &str| -> Result<Vec<AssetEvent>> {
        Ok(world.store.queued_asset_events(&DagId::new_unchecked(dag)).await?)
    };
    assert_eq!(queued("fresh").await?.len(), 0);
    assert_eq!(queued("thorough").await?.len(), 1);
    // A new version that still waits for it is not given it twice; one that does not loses it.
    sync(&world, &Dag { catchup: true, owner: Some("me".to_owned()), ..consumer("thorough") }, false).await?;
    assert_eq!(queued("thorough").await?.len(), 1);
    sync(&world, &Dag { assets: None, ..consumer("thorough") }, false).await?;
    assert_eq!(queued("thorough").await?.len(), 0);
    Ok(())
}

/// `orders` has changed so often while `customers` was waited for that no run could name all of it.
pub async fn a_run_uses_up_more_than_it_names(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let both = AssetCondition::All(["orders", "customers"].map(|it| AssetCondition::Asset(name(it))).to_vec());
    let version = sync(&world, &Dag { assets: Some(both), ..consumer("waits") }, false).await?;
    let waits = DagId::new_unchecked("waits");
    let often = "INSERT INTO asset_event (asset, interval_start, interval_end, at) \
                 WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2500) \
                 SELECT 'orders', CAST(i AS BIGINT) * 1000000, CAST(i + 1 AS BIGINT) * 1000000, 0 FROM n";
    bench.query(often).await?;
    bench.query("INSERT INTO asset_queue (dag_id, event_id) SELECT 'waits', id FROM asset_event").await?;
    world.store.record_asset_event(NewAssetEvent::of("customers"), "cli", at(7)).await?;
    world.store.record_asset_event(NewAssetEvent::of("orders"), "cli", at(8)).await?;

    let events = world.store.queued_asset_events(&waits).await?;
    let named = |asset: &str| events.iter().filter(|event| event.asset.as_str() == asset).count();
    assert_eq!((named("orders"), named("customers")), (500, 1));
    assert!(events.is_sorted_by_key(|event| event.id));
    assert_eq!(events[500].at, at(8), "the newest are named");
    let page = world.store.waiting_asset_events(None, Some("orders"), 10).await?;
    assert_eq!((page.rows.len(), page.total), (10, 2501));

    let run = NewRun {
        dag_id: waits.clone(),
        run_id: RunId::new_unchecked("asset_triggered__x"),
        run_type: RunType::AssetTriggered,
        asset_events: events.clone(),
        ..new_run(version, 5)
    };
    let report = world.commit(&Batch { new_runs: vec![run], ..Batch::default() }, at(9)).await?;
    assert_eq!(report.widened, [0]);
    let created = report.created[0].clone().context("created")?;
    let row = world.store.run_by_key(created.run).await?.context("there")?;
    assert_eq!(row.asset_events, events);
    let first = DateTime::from_timestamp(1, 0).context("an instant")?;
    assert_eq!((row.data_interval.start, row.data_interval.end), (first, at(8)), "it covers what it does not name");
    assert_eq!(bench.number("SELECT COUNT(*) FROM asset_queue").await?, 0);
    Ok(())
}

pub async fn an_asset_keeps_its_number_whoever_names_it(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    sync(&world, &producer(), false).await?;
    let number = world.store.assets().await?[0].id;
    sync(&world, &consumer("waits"), false).await?;
    sync(&world, &Dag { assets: None, ..consumer("waits") }, false).await?;
    sync(&world, &sample(), false).await?;
    assert_eq!(world.store.assets().await?, []);
    assert_eq!(world.store.asset_numbers(&["orders"]).await?["orders"], number);
    sync(&world, &consumer("waits"), false).await?;
    let again = &world.store.assets().await?[0];
    assert_eq!((again.id, again.consumers.len(), again.producers.len()), (number, 1, 0));
    // A run of a version from before there were numbers makes what nobody names any more.
    sync(&world, &producer(), false).await?;
    bench.query("DELETE FROM asset").await?;
    make_orders(&world, 0).await?;
    assert_eq!(world.store.assets().await?.len(), 1);
    Ok(())
}

pub async fn events_are_chosen_by_what_they_are(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    sync(&world, &producer(), false).await?;
    sync(&world, &consumer("waits"), false).await?;
    make_orders(&world, 0).await?;
    let extra = json!({"rows": 5}).as_object().cloned().unwrap_or_default();
    let said = NewAssetEvent { asset: "orders", extra: extra.clone() };
    let by_person = world.store.record_asset_event(said, "ada", at(9)).await?.id;
    let ids = async |filter: AssetEventFilter| -> Result<Vec<i64>> {
        let page = world.store.asset_events(&AssetEventFilter { limit: 10, ..filter }).await?;
        assert_eq!(page.total as usize, page.rows.len());
        Ok(page.rows.iter().map(|event| event.id).collect())
    };
    let any = AssetEventFilter::default;
    let none: [i64; 0] = [];
    let all = ids(any()).await?;
    let by_task = all[1];
    assert_eq!((all.len(), all[0]), (2, by_person));
    assert_eq!(ids(AssetEventFilter { ascending: true, ..any() }).await?, [by_task, by_person]);
    let number = world.store.assets().await?[0].id;
    assert_eq!(ids(AssetEventFilter { asset_id: Some(number), ..any() }).await?.len(), 2);
    assert_eq!(ids(AssetEventFilter { asset_id: Some(number + 1), ..any() }).await?, none);
    assert_eq!(ids(AssetEventFilter { asset: Some("clicks".to_owned()), ..any() }).await?, none);
    assert_eq!(ids(AssetEventFilter { part: Some("ORD".to_owned()), ..any() }).await?.len(), 2);
    assert_eq!(ids(AssetEventFilter { dag_id: Some("daily".to_owned()), ..any() }).await?, [by_task]);
    assert_eq!(ids(AssetEventFilter { task_id: Some("extract".to_owned()), ..any() }).await?, [by_task]);
    assert_eq!(ids(AssetEventFilter { run_id: Some("none".to_owned()), ..any() }).await?, none);
    assert_eq!(ids(AssetEventFilter { map_index: Some(3), ..any() }).await?, none);
    let late = DateSpan { from: Some(at(5)), before: None };
    assert_eq!(ids(AssetEventFilter { at: late, ..any() }).await?, [by_person]);
    let waiting = world.store.queued_asset_events(&DagId::new_unchecked("waits")).await?;
    assert_eq!((&waiting[0].extra, &waiting[1].extra), (&serde_json::Map::new(), &extra));
    Ok(())
}

pub async fn a_person_may_say_that_an_asset_changed(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    sync(&world, &consumer("waits"), false).await?;
    let before = world.store.signals().await?.len();
    let event = world.store.record_asset_event(NewAssetEvent::of("orders"), "cli", at(7)).await?;
    assert_eq!((event.at, event.dag_id), (at(7), None));
    assert_eq!(world.store.queued_asset_events(&DagId::new_unchecked("waits")).await?.len(), 1);
    assert_eq!(world.store.signals().await?.len(), before + 1);
    let refused = world.store.record_asset_event(NewAssetEvent::of("nobody's"), "cli", at(8)).await;
    assert!(matches!(refused, Err(StoreError::NotFound { .. })), "{refused:?}");
    Ok(())
}

pub async fn an_alert_is_raised_once_and_seen_once(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let created = world.running_run(0).await?;
    let dag_id = DagId::new_unchecked("daily");
    let alert = Alert {
        dag_id: dag_id.clone(),
        run: created.run,
        kind: AlertKind::Deadline,
        message: "late".to_owned(),
        at: at(5),
    };
    let pause = pause(created.run, 0);
    let told = Notice { event: NoticeEvent::Alert(AlertKind::Deadline), ..notice(created.run, "pager") };
    let batch =
        Batch { alerts: vec![alert.clone(), alert], pauses: vec![pause], notices: vec![told], ..Batch::default() };
    world.commit(&batch, at(5)).await?;
    world.commit(&batch, at(6)).await?;
    assert_eq!(
        world.store.notifications(&NotificationFilter { limit: 10, ..NotificationFilter::default() }).await?.rows.len(),
        1,
        "whoever reads the run again finds it late again"
    );
    let alerts = world.store.alerts(&AlertFilter::unseen(10)).await?.rows;
    assert_eq!(alerts.len(), 1);
    assert_eq!((alerts[0].kind, alerts[0].at), (AlertKind::Deadline, at(5)));
    assert_eq!(world.store.see_alerts(Some(&[alerts[0].id]), "me", at(9)).await?, 1);
    assert_eq!(world.store.see_alerts(None, "me", at(9)).await?, 0);
    assert_eq!(world.store.alerts(&AlertFilter::unseen(10)).await?.rows, []);
    assert_eq!(
        world.store.alerts(&AlertFilter { limit: 10, ..AlertFilter::default() }).await?.rows[0].seen_by.as_deref(),
        Some("me")
    );
    assert!(world.store.scheduler_dag(&dag_id).await?.context("there")?.is_paused);
    assert_eq!(bench.number("SELECT COUNT(*) FROM audit_log WHERE action = 'auto_pause'").await?, 1);
    Ok(())
}

/// Somebody lets a DAG go on, and runs the run again that it was paused for.
pub async fn a_dag_that_is_paused_again_for_the_same_run_is_told_of_again(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let created = world.running_run(0).await?;
    let dag_id = DagId::new_unchecked("daily");
    let kind = AlertKind::AutoPaused;
    let batch = |at| Batch {
        alerts: vec![Alert { dag_id: dag_id.clone(), run: created.run, kind, message: "paused".to_owned(), at }],
        pauses: vec![pause(created.run, 0)],
        notices: vec![Notice { event: NoticeEvent::Alert(kind), ..notice(created.run, "pager") }],
        ..Batch::default()
    };
    world.commit(&batch(at(5)), at(5)).await?;
    world.commit(&batch(at(5)), at(6)).await?;
    let filter = NotificationFilter { limit: 10, ..NotificationFilter::default() };
    let told = async || -> Result<u64> { Ok(world.store.notifications(&filter).await?.total) };
    assert_eq!(told().await?, 1, "it was paused once");
    assert_eq!(world.store.see_alerts(None, "me", at(6)).await?, 1);

    let other = world.running_run(1).await?;
    let late = Alert {
        dag_id: dag_id.clone(),
        run: other.run,
        kind: AlertKind::Deadline,
        message: "late".to_owned(),
        at: at(7),
    };
    world.commit(&Batch { alerts: vec![late], ..Batch::default() }, at(7)).await?;
    world.store.set_paused(&dag_id, false, "me", at(7)).await?;
    world.commit(&batch(at(8)), at(8)).await?;
    assert_eq!(told().await?, 2);
    let alerts = world.store.alerts(&AlertFilter::unseen(10)).await?.rows;
    assert_eq!(alerts.iter().map(|alert| alert.at).collect::<Vec<_>>(), [at(8), at(7)], "nobody has seen it yet");

    // Somebody was quicker than the end that it was planned from.
    world.store.set_paused(&dag_id, false, "me", at(9)).await?;
    let end = RunMove { run: created.run, from: RunState::Queued, to: RunState::Failed, reason: None };
    let report = world.commit(&Batch { run_moves: vec![end], ..batch(at(10)) }, at(10)).await?;
    assert_eq!((report.stale_runs.len(), told().await?), (1, 2), "the run went on");
    assert!(!world.store.scheduler_dag(&dag_id).await?.context("there")?.is_paused);

    // It was late all the same, and that is told once.
    let (run, kind) = (created.run, AlertKind::Deadline);
    let late = Batch {
        alerts: vec![Alert { dag_id: dag_id.clone(), run, kind, message: "late".to_owned(), at: at(11) }],
        notices: vec![Notice { event: NoticeEvent::Alert(kind), ..notice(run, "pager") }],
        run_moves: vec![RunMove { run, from: RunState::Queued, to: RunState::Failed, reason: None }],
        ..Batch::default()
    };
    world.commit(&late, at(11)).await?;
    world.commit(&late, at(12)).await?;
    assert_eq!(told().await?, 3);
    Ok(())
}

/// Two failures in a row are too many, and one of the two runs has been cleared: the scheduler has not heard of it.
pub async fn a_dag_is_paused_for_failures_that_stand(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let dag_id = DagId::new_unchecked("daily");
    let is_paused =
        async || -> Result<bool> { Ok(world.store.scheduler_dag(&dag_id).await?.context("there")?.is_paused) };
    let first = world.running_run(0).await?.run;
    let second = world.running_run(1).await?.run;
    world.end_run(first, RunState::Failed).await?;
    world.store.clear_instances(&ClearRequest::of_run(first, &[], "me"), at(40)).await?;
    let step = |run, from, to| RunMove { run, from, to, reason: None };
    let end = |run| Batch {
        run_moves: vec![step(run, RunState::Running, RunState::Failed)],
        pauses: vec![pause(run, 2)],
        alerts: vec![Alert {
            dag_id: dag_id.clone(),
            run,
            kind: AlertKind::AutoPaused,
            message: String::new(),
            at: at(50),
        }],
        ..Batch::default()
    };
    let report = world.commit(&end(second), at(50)).await?;
    assert_eq!((report.stale_count(), report.stale_pauses), (0, vec![0]));
    assert!(!is_paused().await?);
    assert_eq!(world.store.alerts(&AlertFilter::unseen(10)).await?.rows, []);

    let start = vec![step(first, RunState::Queued, RunState::Running)];
    let start = Batch { run_moves: start, signals_handled: world.signals().await?, ..Batch::default() };
    assert_eq!(world.commit(&start, at(60)).await?.stale_count(), 0);
    assert!(world.commit(&end(first), at(70)).await?.stale_pauses.is_empty());
    assert!(is_paused().await?);
    assert_eq!(world.store.alerts(&AlertFilter::unseen(10)).await?.rows.len(), 1);
    Ok(())
}

fn pause(run: RunKey, failures: u32) -> DagPause {
    DagPause { dag_id: DagId::new_unchecked("daily"), run, failures, reason: "too many".to_owned() }
}

fn notice(run: RunKey, conn_id: &str) -> Notice {
    Notice {
        run,
        dag_id: DagId::new_unchecked("daily"),
        run_id: RunId::new_unchecked("first"),
        logical_date: at(0),
        of_try: None,
        event: NoticeEvent::Failure,
        reason: None,
        callback: Callback::Webhook(conn_id.to_owned()),
        at: at(5),
    }
}

pub async fn what_was_given_up_is_told_again_on_request(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let created = world.running_run(0).await?;
    let notices = ["sent", "waits", "lost", "lost_too"].map(|conn_id| notice(created.run, conn_id)).to_vec();
    world.commit(&Batch { notices, ..Batch::default() }, at(5)).await?;
    let ids: Vec<i64> = world.store.take_notifications(10, at(60), at(5)).await?.iter().map(|row| row.id).collect();
    world.store.settle_notification(ids[0], None, at(6)).await?;
    world.store.settle_notification(ids[1], Some(("busy", Some(at(99)))), at(6)).await?;
    for id in &ids[2..] {
        world.store.settle_notification(*id, Some(("gone", None)), at(6)).await?;
    }
    let states = async || -> Result<Vec<&'static str>> {
        let rows =
            world.store.notifications(&NotificationFilter { limit: 10, ..NotificationFilter::default() }).await?.rows;
        Ok(rows.iter().rev().map(NotificationRow::state).collect())
    };
    assert_eq!(states().await?, ["sent", "waits", "given up", "given up"]);
    assert_eq!(world.store.retry_notifications(Some(&ids[..3]), "me", at(7)).await?, 1, "only what was given up");
    assert_eq!(states().await?, ["sent", "waits", "waits", "given up"]);
    let due = world.store.take_notifications(10, at(60), at(7)).await?;
    assert_eq!(
        due.iter().map(|row| (row.id, row.attempts)).collect::<Vec<_>>(),
        [(ids[2], 1)],
        "with all its attempts"
    );
    assert_eq!(world.store.retry_notifications(None, "me", at(8)).await?, 1);
    assert_eq!(world.store.retry_notifications(None, "me", at(8)).await?, 0);
    assert_eq!(bench.number("SELECT COUNT(*) FROM audit_log WHERE action = 'notifications_retried'").await?, 2);
    Ok(())
}
