use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use anyhow::Result;
use millrace_model::change::Batch;
use millrace_model::ids::DagId;
use millrace_store::faults::{Fault, FaultPoint, Faults, with_faults};
use millrace_store::{AuditRow, RunRequest, SignalKind, Store, StoreError};
use serde_json::json;

use crate::bench::{Bench, World, at, new_run, sample, sync};

fn row() -> AuditRow {
    AuditRow::new("tester", "tried", json!({}), at(0))
}

/// A call that writes a run, its instances, an audit row and a signal.
fn request(world: &World, which: i64) -> RunRequest {
    RunRequest { run: new_run(world.version, which), note: None, actor: "cli".to_owned() }
}

/// So many rows of each it writes.
const WRITTEN: [i64; 4] = [1, 3, 1, 1];

/// How many runs, instances, audit rows and signals there are.
async fn standing(bench: &Bench) -> Result<Vec<i64>> {
    let tables =
        ["dag_run", "task_instance", "audit_log", "signal"].map(|table| format!("(SELECT COUNT(*) FROM {table})"));
    let counts = bench.query(&format!("SELECT {}", tables.join(", "))).await?.remove(0);
    Ok(counts.iter().map(|count| count.parse()).collect::<Result<_, _>>()?)
}

/// Strikes at one step of a call: the transaction's begin is the first, its commit the last.
struct At {
    step: usize,
    seen: AtomicUsize,
    is_struck: AtomicBool,
    is_committing: AtomicBool,
    then: fn() -> Option<Fault>,
}

impl At {
    fn step(step: usize, then: fn() -> Option<Fault>) -> Arc<Self> {
        let [is_struck, is_committing] = [const { AtomicBool::new(false) }; 2];
        Arc::new(Self { step, seen: AtomicUsize::new(0), is_struck, is_committing, then })
    }
}

impl Faults for At {
    fn strike(&self, point: FaultPoint, _attempted: &'static str) -> Option<Fault> {
        self.is_committing.fetch_or(point == FaultPoint::BeforeCommit, Ordering::SeqCst);
        if point == FaultPoint::AfterCommit || self.seen.fetch_add(1, Ordering::SeqCst) != self.step {
            return None;
        }
        self.is_struck.store(true, Ordering::SeqCst);
        (self.then)()
    }
}

/// Once the call has come through: all that it writes, and nothing of the calls before it.
async fn assert_written_once(bench: &Bench, before: &[i64], steps: usize) -> Result<()> {
    assert!(steps > 4, "only {steps} steps were struck");
    let after = standing(bench).await?;
    let written: Vec<i64> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(written, WRITTEN);
    Ok(())
}

pub async fn case_94_an_error_rolls_back(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let (request, before) = (request(&world, 3), standing(&bench).await?);
    for step in 0.. {
        let faults = At::step(step, || Some(Fault::Refusal));
        let outcome = with_faults(faults.clone(), world.store.create_run(&request, at(1))).await;
        if !faults.is_struck.load(Ordering::SeqCst) {
            outcome?;
            return assert_written_once(&bench, &before, step).await;
        }
        assert!(matches!(outcome, Err(StoreError::Database { .. })), "step {step}: the error itself: {outcome:?}");
        assert_eq!(standing(&bench).await?, before, "step {step}");
    }
    Ok(())
}

pub async fn case_94_a_panic_rolls_back(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let (request, before) = (request(&world, 3), standing(&bench).await?);
    for step in 0.. {
        let faults = At::step(step, || panic!("on purpose"));
        let (doomed, wanted) = (world.store.clone(), request.clone());
        let call = with_faults(faults.clone(), async move { doomed.create_run(&wanted, at(1)).await });
        let ended = tokio::spawn(call).await;
        if !faults.is_struck.load(Ordering::SeqCst) {
            ended??;
            return assert_written_once(&bench, &before, step).await;
        }
        assert!(ended.is_err_and(|error| error.is_panic()), "step {step}");
        assert_eq!(standing(&bench).await?, before, "step {step}");
    }
    Ok(())
}

pub async fn case_94_a_dropped_caller_rolls_back(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let (mut wanted, mut dropped) = (standing(&bench).await?, 0);
    // Where SQLite answers at once, nobody waits who could be dropped: many calls, each struck at another statement.
    for which in 0..40_u8 {
        let request = request(&world, i64::from(which));
        let faults = At::step(1 + usize::from(which % 5), || None);
        let mut call = Box::pin(with_faults(faults.clone(), world.store.create_run(&request, at(1))));
        // A commit that is under way may stand.
        let is_doomed = || faults.is_struck.load(Ordering::SeqCst) && !faults.is_committing.load(Ordering::SeqCst);
        let ended = poll_fn(|context| match call.as_mut().poll(context) {
            Poll::Ready(outcome) => Poll::Ready(Some(outcome)),
            Poll::Pending if is_doomed() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        drop(call);
        match ended {
            Some(outcome) => {
                outcome?;
                wanted.iter_mut().zip(WRITTEN).for_each(|(count, more)| *count += more);
            }
            None => dropped += 1,
        }
        assert_eq!(standing(&bench).await?, wanted, "call {which}");
    }
    assert!(dropped > 0, "no call was dropped");
    world.store.create_run(&request(&world, 40), at(2)).await?;
    wanted.iter_mut().zip(WRITTEN).for_each(|(count, more)| *count += more);
    assert_eq!(standing(&bench).await?, wanted, "and the connection is good for the next");
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
    assert_eq!(store.active_runs().await?.len(), 1);
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
    let created = face.create_run(&request(&scheduler, 3), at(1)).await?;
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
