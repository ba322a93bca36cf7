use anyhow::{Context, Result};
use millrace_model::alert::AlertKind;
use millrace_model::ids::DagId;
use millrace_model::notice::Callback;
use millrace_model::state::RunState;
use millrace_store::{
    AlertFilter, AuditFilter, DagFilter, NotificationFilter, SignalKind, StampedFile, StoreError, SyncDag, SyncWhat,
};
use serde_json::json;

use crate::bench::{Bench, at, dag, day, sample, sync, task};

pub async fn a_version_only_when_the_content_changed(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let first = store.sync_dag(SyncDag { paused_at_creation: true, ..sync(&sample()) }, at(0)).await?;
    assert_eq!(first.what, SyncWhat::Created);
    let signals = store.signals().await?.len();
    let again = store.sync_dag(sync(&sample()), at(1)).await?;
    assert_eq!((again.what, again.version_key), (SyncWhat::Unchanged, first.version_key));
    assert_eq!(store.signals().await?.len(), signals, "nothing changed, nobody is told");

    let changed = dag("daily", vec![task("extract", &[], 1)]);
    let other = dag("other", vec![]);
    let both = [sync(&changed), SyncDag { file_path: "other.yaml", ..sync(&other) }];
    let outcomes = store.sync_dags(&both, at(2)).await?;
    assert_eq!((outcomes[0].what, outcomes[1].what), (SyncWhat::NewVersion, SyncWhat::Created));
    assert_ne!(outcomes[0].version_key, first.version_key);
    let versions = store.dag_versions("daily").await?;
    assert_eq!(versions.iter().map(|it| it.number).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(*store.dag_version(first.version_key).await?, sample(), "an old version stays what it was");
    assert_eq!(store.dag_version_source(first.version_key).await?, sync(&sample()).source);

    let mut changes = store.changes();
    let again = dag("other", vec![task("load", &[], 1)]);
    let both = [sync(&changed), SyncDag { file_path: "other.yaml", ..sync(&again) }];
    assert_eq!(store.sync_dags(&both, at(3)).await?[0].what, SyncWhat::Unchanged);
    let signal = store.signals().await?.pop().context("signalled")?;
    assert_eq!(signal.dag_id, Some(again.dag_id.clone()), "nobody is told of the one that stayed what it was");
    assert_eq!(changes.recv().await?.dag_id, again.dag_id);
    assert!(changes.is_empty());

    let row = store.scheduler_dag(&DagId::new_unchecked("daily")).await?.context("there")?;
    assert!(row.is_paused, "paused at creation; a new version changes nothing of that");
    assert_eq!((row.version_key, row.dag.tasks.len()), (outcomes[0].version_key, 1));
    let fresh = bench.again().await?;
    assert_eq!(fresh.scheduler_dags().await?.len(), 2);
    Ok(())
}

pub async fn processes_that_read_the_same_change_at_once_store_it_once(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let other = bench.again().await?;
        tasks.push(tokio::spawn(async move { other.sync_dag(sync(&sample()), at(0)).await }));
    }
    let mut created = 0;
    for task in tasks {
        created += u32::from(task.await??.what == SyncWhat::Created);
    }
    assert_eq!(created, 1);
    assert_eq!(store.dag_versions("daily").await?.len(), 1);
    Ok(())
}

pub async fn a_broken_file_and_its_repair(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    store.sync_dag(sync(&sample()), at(0)).await?;
    let problem = json!({"line": 3, "message": "unknown key"});
    store.set_import_error("daily.yaml", std::slice::from_ref(&problem), at(1)).await?;
    store.set_import_error("daily.yaml", &[problem.clone(), problem.clone()], at(2)).await?;
    let errors = store.import_errors().await?;
    assert_eq!(errors.len(), 1);
    assert_eq!((errors[0].first_seen_at, errors[0].last_seen_at), (at(1), at(2)));
    assert_eq!(errors[0].diagnostics, [problem.clone(), problem]);
    let dag_id = DagId::new_unchecked("daily");
    let row = store.scheduler_dag(&dag_id).await?.context("the last good version serves")?;
    assert!(row.has_import_error && !row.is_stale);

    let mut changes = store.changes();
    let repaired = store.sync_dag(sync(&sample()), at(3)).await?;
    assert_eq!(changes.recv().await?.dag_id, dag_id);
    assert_eq!(repaired.what, SyncWhat::Unchanged);
    assert!(store.import_errors().await?.is_empty());
    assert!(!store.scheduler_dag(&dag_id).await?.context("there")?.has_import_error);
    Ok(())
}

pub async fn a_file_that_breaks_or_loses_tasks_is_told_of_once(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let mut whole = sample();
    whole.callbacks.on_alert = vec![Callback::Command("true".to_owned())];
    store.sync_dag(sync(&whole), at(0)).await?;
    let problem = json!({"line": 3, "message": "unknown key"});
    let breaks = async |second| store.set_import_error("daily.yaml", std::slice::from_ref(&problem), at(second)).await;
    let unseen = async || store.alerts(&AlertFilter::unseen(9)).await.map(|page| page.rows);
    let told = async || store.notifications(&NotificationFilter { limit: 9, ..NotificationFilter::default() }).await;
    breaks(1).await?;
    breaks(2).await?;
    store.set_import_error("new.yaml", std::slice::from_ref(&problem), at(2)).await?;
    let alerts = unseen().await?;
    let broken = "daily.yaml cannot be read as it is now, so its last good version (1) serves: line 3: unknown key";
    assert_eq!(alerts.len(), 1, "once, and of no file that gives no DAG: {alerts:?}");
    assert_eq!(
        (alerts[0].kind, &alerts[0].run_id, alerts[0].message.as_str()),
        (AlertKind::ImportError, &None, broken)
    );
    let notified = told().await?.rows;
    assert_eq!(notified.len(), 1);
    assert_eq!((notified[0].event.as_str(), &notified[0].run_id), ("import_error", &None));
    store.see_alerts(None, "cli", at(3)).await?;
    store.sync_dag(sync(&whole), at(4)).await?;
    breaks(5).await?;
    assert_eq!((unseen().await?.len(), told().await?.total), (1, 2), "it is broken once more");
    store.sync_dag(sync(&whole), at(6)).await?;
    assert_eq!(unseen().await?, [], "it is mended");
    let all = store.alerts(&AlertFilter { limit: 9, ..AlertFilter::default() }).await?.rows;
    assert_eq!((all[0].seen_at, all[0].seen_by.as_deref()), (Some(at(6)), Some("scheduler")));
    breaks(7).await?;
    store.mark_stale(&[], &["daily.yaml".to_owned()], at(7)).await?;
    assert_eq!(unseen().await?, [], "its DAG is gone");
    let told_before = told().await?.total;

    let gone = whole.tasks.pop().context("it has tasks")?.task_id;
    let lacks = store.sync_dag(sync(&whole), at(6)).await?;
    assert_eq!(
        (lacks.what, store.sync_dag(sync(&whole), at(7)).await?.what),
        (SyncWhat::NewVersion, SyncWhat::Unchanged)
    );
    let lost = unseen().await?.remove(0);
    let message = format!("daily.yaml lacks the task {gone} now, which it had before: runs end well without it");
    assert_eq!((lost.kind, lost.message), (AlertKind::TasksLost, message));
    assert_eq!((unseen().await?.len(), told().await?.total), (1, told_before + 1));
    store.sync_dag(sync(&sample()), at(8)).await?;
    assert_eq!(unseen().await?.len(), 1, "nothing is told of tasks that come");
    Ok(())
}

pub async fn a_deleted_file_makes_its_dag_stale(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.store.set_import_error("gone.yaml", &[], at(1)).await?;
    let daily = DagId::new_unchecked("daily");
    let present = [daily.clone()];
    let files = ["daily.yaml".to_owned()];
    assert!(world.store.mark_stale(&present, &files, at(1)).await?.is_empty());
    assert!(world.store.import_errors().await?.is_empty(), "a file that is gone has no error");

    let stamped = |path: &str| StampedFile { file_path: path.to_owned(), dags: vec![], stamps: json!([]) };
    let stamps = [stamped("daily.yaml"), stamped("renamed.yaml")];
    world.store.sync_stamped(&[], "reader", &stamps, at(1)).await?;
    assert!(world.store.mark_stale(&present, &files, at(1)).await?.is_empty());
    let known = world.store.stamped_files("reader").await?;
    assert_eq!(known, [stamped("daily.yaml")], "what a file that is gone was like is forgotten");

    assert_eq!(world.store.mark_stale(&[], &[], at(2)).await?, std::slice::from_ref(&daily));
    assert!(world.store.mark_stale(&[], &[], at(3)).await?.is_empty());
    assert!(world.store.scheduler_dag(&daily).await?.context("there")?.is_stale);
    assert!(world.store.run_by_key(run.run).await?.is_some(), "history is kept");
    assert_eq!(world.store.dags(&DagFilter::default()).await?.total, 0);
    let all = DagFilter { include_stale: true, ..DagFilter::default() };
    assert_eq!(world.store.dags(&all).await?.total, 1);

    world.store.sync_dag(sync(&sample()), at(4)).await?;
    assert!(!world.store.scheduler_dag(&daily).await?.context("there")?.is_stale, "the file is back");
    Ok(())
}

pub async fn a_dag_under_another_ones_name_is_left_out(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    store.sync_dag(sync(&sample()), at(0)).await?;
    store.sync_dag(SyncDag { file_path: "good.yaml", ..sync(&dag("good", vec![])) }, at(0)).await?;
    store.sync_dag(SyncDag { file_path: "bad.yaml", ..sync(&dag("bad", vec![])) }, at(0)).await?;
    bench.query("UPDATE dag_version SET data = REPLACE(data, '\"daily\"', '\"else\"') WHERE dag_id = 'daily'").await?;
    bench.query("UPDATE dag_version SET data = 'no JSON' WHERE dag_id = 'bad'").await?;
    let fresh = bench.again().await?;
    let dags = fresh.scheduler_dags().await?;
    assert_eq!(dags.iter().map(|it| it.dag_id.as_str()).collect::<Vec<_>>(), ["good"]);
    let left_out = fresh.left_out_dags().await?;
    assert_eq!(left_out.iter().map(|(dag_id, _)| dag_id.as_str()).collect::<Vec<_>>(), ["bad", "daily"]);
    assert!(left_out[1].1.contains("it holds DAG else, not daily"), "{left_out:?}");
    assert_eq!(fresh.left_out_because("daily").await?.as_ref(), Some(&left_out[1].1));
    assert_eq!((fresh.left_out_because("good").await?, fresh.left_out_because("absent").await?), (None, None));
    assert_eq!(fresh.dags(&DagFilter::default()).await?.total, 1);
    Ok(())
}

pub async fn the_list_of_dags(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let plain = millrace_model::dag::Dag { tags: vec![], ..dag("Another", vec![]) };
    world.store.sync_dag(SyncDag { file_path: "a.yaml", paused_at_creation: true, ..sync(&plain) }, at(0)).await?;
    for which in 0..5 {
        let run = world.running_run(which).await?;
        if which < 4 {
            world.end_run(run.run, if which % 2 == 0 { RunState::Success } else { RunState::Failed }).await?;
        }
    }
    let page = world.store.dags(&DagFilter { last_runs: 3, ..DagFilter::default() }).await?;
    assert_eq!(page.total, 2);
    let daily = page.rows.iter().find(|row| row.dag_id.as_str() == "daily").context("listed")?;
    let last: Vec<_> = daily.last_runs.iter().map(|run| (run.logical_date, run.state)).collect();
    assert_eq!(last, [(day(4), RunState::Running), (day(3), RunState::Failed), (day(2), RunState::Success)]);
    assert_eq!((daily.version_number, daily.first_seen_at), (1, at(0)));

    let list = world.store.dag_list().await?;
    let row = list.iter().find(|row| row.dag_id.as_str() == "daily").context("listed")?;
    assert_eq!((&row.head, row.last_run.as_ref()), (&sample().head(), daily.last_runs.first()));
    assert_eq!((list.len(), row.version_key, row.is_paused), (2, daily.version_key, false));
    // A row from before heads were kept is read whole, until its file is read again.
    bench.query("UPDATE dag SET head = NULL WHERE dag_id = 'daily'").await?;
    let list = world.store.dag_list().await?;
    let row = list.iter().find(|row| row.dag_id.as_str() == "daily").context("listed")?;
    assert_eq!(row.head, sample().head());
    world.store.sync_dag(sync(&sample()), at(5)).await?;
    bench.query("UPDATE dag_version SET data = 'no JSON' WHERE dag_id = 'Another'").await?;
    assert_eq!(bench.again().await?.dag_list().await?.len(), 2, "the head was filled in, and no stored form is read");

    let count = async |filter: DagFilter| world.store.dags(&filter).await.map(|page| (page.rows.len(), page.total));
    let any = DagFilter::default;
    assert_eq!(count(DagFilter { search: Some("NOTH".to_owned()), ..any() }).await?, (1, 1));
    assert_eq!(count(DagFilter { tag: Some("nightly".to_owned()), ..any() }).await?, (1, 1));
    assert_eq!(count(DagFilter { is_paused: Some(true), ..any() }).await?, (1, 1));
    assert_eq!(count(DagFilter { limit: 1, offset: 1, ..any() }).await?, (1, 2));

    let last = world.store.last_finished_runs(&DagId::new_unchecked("daily"), 2).await?;
    let last: Vec<_> = last.iter().map(|run| (run.run_after, run.state)).collect();
    assert_eq!(last, [(day(4), RunState::Failed), (day(3), RunState::Success)]);
    let keys: Vec<_> = daily.last_runs.iter().map(|run| run.key).collect();
    assert_eq!(world.store.instances_of_runs(&keys).await?.len(), 9);
    assert!(world.store.dag("nothing", 1).await?.is_none());
    assert_eq!(world.store.dag("daily", 1).await?.context("there")?.last_runs.len(), 1);
    Ok(())
}

pub async fn pausing_is_audited_and_signalled(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let mut changes = world.store.changes();
    let daily = DagId::new_unchecked("daily");
    assert!(world.store.set_paused(&daily, true, "rest:ada", at(1)).await?);
    assert!(!world.store.set_paused(&daily, true, "rest:ada", at(2)).await?);
    assert!(world.store.scheduler_dag(&daily).await?.context("there")?.is_paused);
    assert_eq!(changes.recv().await?.state, "paused");
    let signal = world.store.signals().await?.pop().context("signalled")?;
    assert_eq!((signal.kind, signal.dag_id), (SignalKind::DagChanged, Some(daily)));
    let filter = AuditFilter { actor: Some("rest:ada".to_owned()), limit: 9, ..AuditFilter::default() };
    let log = world.store.audit_log(&filter).await?;
    assert_eq!((log.total, log.rows[0].action.as_str(), log.rows[0].dag_id.as_deref()), (1, "pause", Some("daily")));
    let missing = world.store.set_paused(&DagId::new_unchecked("nothing"), true, "cli", at(3)).await;
    assert!(matches!(missing, Err(StoreError::NotFound { .. })));
    Ok(())
}
