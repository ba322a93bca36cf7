use anyhow::Result;
use millrace_model::change::Batch;
use millrace_model::ids::DagId;
use millrace_store::{AuditFilter, AuditRow, SignalKind, Store, StoreError};
use serde_json::json;
use tokio::sync::oneshot;

use crate::bench::{Bench, at, new_run, sample, sync};

fn row() -> AuditRow {
    AuditRow::new("tester", "tried", json!({}), at(0))
}

async fn audit_rows(store: &Store) -> Result<u64> {
    Ok(store.audit_log(&AuditFilter { limit: 10, ..AuditFilter::default() }).await?.total)
}

pub async fn an_error_rolls_back(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let outcome: millrace_store::Result<()> = store
        .with_tx(async |tx| {
            tx.audit(&row()).await?;
            Err(StoreError::Refused { attempted: "go on", reason: "for the test".to_owned() })
        })
        .await;
    assert!(matches!(outcome, Err(StoreError::Refused { .. })), "the error itself comes back");
    assert_eq!(audit_rows(&store).await?, 0);

    store
        .with_tx(async |tx| {
            tx.audit(&row()).await?;
            tx.audit(&row()).await
        })
        .await?;
    assert_eq!(audit_rows(&store).await?, 2, "several calls in one transaction");
    Ok(())
}

pub async fn a_panic_rolls_back(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let doomed = store.clone();
    let task = tokio::spawn(async move {
        let outcome: millrace_store::Result<()> = doomed
            .with_tx(async |tx| {
                tx.audit(&row()).await?;
                panic!("on purpose")
            })
            .await;
        outcome
    });
    assert!(task.await.is_err(), "it panicked");
    assert_eq!(audit_rows(&store).await?, 0);
    store.record_audit(&row()).await?;
    assert_eq!(audit_rows(&store).await?, 1, "and the connection is good for the next");
    Ok(())
}

pub async fn a_dropped_caller_rolls_back(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let doomed = store.clone();
    let (written, wait) = oneshot::channel();
    let task = tokio::spawn(async move {
        let outcome: millrace_store::Result<()> = doomed
            .with_tx(async |tx| {
                tx.audit(&row()).await?;
                let _ = written.send(());
                std::future::pending().await
            })
            .await;
        outcome
    });
    wait.await?;
    task.abort();
    assert!(task.await.is_err_and(|error| error.is_cancelled()));
    store.record_audit(&row()).await?;
    assert_eq!(audit_rows(&store).await?, 1, "only what came after");
    Ok(())
}

pub async fn a_read_only_store_writes_nothing(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let run = world.running_run(0).await?;
    world.store.close().await;
    let wal = bench.home.path().join("millrace.db-wal");
    let sizes = || std::fs::metadata(&wal).map_or(0, |it| it.len());
    let before = sizes();

    let store = Store::open_read_only(&bench.options()).await?;
    assert_eq!(store.instances(run.run).await?.len(), 3);
    assert_eq!(store.active_runs(at(0)).await?.len(), 1);
    assert!(matches!(store.record_audit(&row()).await, Err(StoreError::ReadOnly { .. })));
    assert!(matches!(
        store.sync_dag(sync(&crate::bench::dag("x", vec![])), at(0)).await,
        Err(StoreError::ReadOnly { .. })
    ));
    assert!(matches!(store.commit(&Batch::default(), 1, at(0)).await, Err(StoreError::ReadOnly { .. })));
    store.sync_dag(sync(&sample()), at(0)).await?;
    store.close().await;
    assert_eq!(sizes(), before, "the write-ahead log did not grow");
    Ok(())
}

pub async fn what_a_face_asks_for_wakes_the_scheduler(bench: Bench) -> Result<()> {
    let scheduler = bench.led().await?;
    // What was signalled before anybody listened is in the table, and not in the way.
    for signal in scheduler.store.signals().await? {
        let batch = Batch { signals_handled: vec![signal.id], ..Batch::default() };
        scheduler.commit(&batch, at(0)).await?;
    }
    let fresh = bench.again().await?;
    fresh.listen().await;
    let face = bench.again().await?;
    let woken = tokio::spawn({
        let fresh = fresh.clone();
        async move { fresh.woken().await }
    });
    let request =
        millrace_store::RunRequest { run: new_run(scheduler.version, 3), note: None, actor: "cli".to_owned() };
    let created = face.create_run(&request, at(1)).await?;
    woken.await?;
    let signals = fresh.signals().await?;
    assert_eq!(signals.len(), 1);
    assert_eq!(signals[0].kind, SignalKind::RunCreated);
    assert_eq!(signals[0].run, Some(created.run));
    assert_eq!(signals[0].dag_id, Some(DagId::new_unchecked("daily")));

    let woken = tokio::spawn({
        let face = face.clone();
        async move { face.woken().await }
    });
    face.wake().await;
    woken.await?;
    Ok(())
}
