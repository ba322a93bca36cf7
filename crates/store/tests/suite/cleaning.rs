use anyhow::{Context, Result};
use chrono::TimeDelta;
use millrace_model::change::{Batch, NewRun, TryOutcome};
use millrace_model::ids::{DagId, RunId};
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_store::{Archive, CleanRequest, NoArchive, StoreError};
use serde_json::Value;

use crate::bench::{Bench, World, at, new_run};

fn request(before: i64) -> CleanRequest {
    CleanRequest { before: at(before), tables: Vec::new(), dag_ids: Vec::new(), batch: 2, actor: "test".to_owned() }
}

/// What was kept, as table and number of rows.
#[derive(Default)]
struct Kept {
    rows: Vec<(String, usize)>,
    seals: usize,
    breaks: bool,
}

impl Archive for Kept {
    fn keep(&mut self, table: &str, columns: &[&str], rows: &[Vec<Value>]) -> Result<(), StoreError> {
        assert!(rows.iter().all(|row| row.len() == columns.len()));
        self.rows.push((table.to_owned(), rows.len()));
        Ok(())
    }

    fn seal(&mut self) -> Result<(), StoreError> {
        self.seals += 1;
        if self.breaks {
            return Err(StoreError::Refused { attempted: "archive", reason: "the disk is full".to_owned() });
        }
        Ok(())
    }
}

/// A run of the sample DAG with one task that worked, ended at `at(20)`.
async fn ended(world: &World, day: i64) -> Result<i64> {
    let run = world.running_run(day).await?;
    world.work(run.instances[0], TryOutcome::Success, TaskState::Success).await?;
    world.end_run(run.run, RunState::Success).await?;
    Ok(run.run)
}

pub async fn old_runs_go_and_what_is_needed_stays(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    let mut runs = Vec::new();
    for day in 0..6 {
        runs.push(ended(&world, day).await?);
    }
    let active = world.running_run(6).await?.run;
    let old = world.store.count_old(&request(100)).await?;
    // All that ended, but for the newest that the schedule made: an older one is active.
    let count = old.rows.iter().find(|(table, _)| table == "dag_run").map(|(_, rows)| *rows);
    assert_eq!(count, Some(6), "{old:?}");
    let younger = world.store.count_old(&request(30)).await?;
    assert!(younger.rows.contains(&("dag_run".to_owned(), 0)), "{younger:?}");

    // What cannot be archived is not deleted.
    let mut broken = Kept { breaks: true, ..Kept::default() };
    let refused = world.store.clean(&request(100), &mut broken, &mut |_| (), at(200)).await;
    assert!(refused.err().context("it is refused")?.to_string().contains("the disk is full"));
    assert_eq!(bench.number("SELECT COUNT(*) FROM dag_run").await?, 7);

    let (mut kept, mut told) = (Kept::default(), 0);
    let request = CleanRequest { tables: vec!["dag_run".to_owned()], ..request(100) };
    let report = world.store.clean(&request, &mut kept, &mut |part| told += part.runs.len(), at(200)).await?;
    assert_eq!((report.runs.len(), told), (6, 6));
    assert_eq!(kept.seals, 3, "two runs in each transaction");
    for table in ["dag_run", "task_instance", "task_try"] {
        let archived: usize = kept.rows.iter().filter(|(name, _)| name == table).map(|(_, rows)| rows).sum();
        let deleted = report.rows.iter().find(|(name, _)| name == table).map_or(0, |(_, rows)| *rows);
        assert!(archived > 0 && archived as u64 == deleted, "{table}: {archived} archived, {deleted} deleted");
    }
    assert_eq!(bench.number("SELECT COUNT(*) FROM dag_run").await?, 1);
    assert_eq!(bench.number(&format!("SELECT COUNT(*) FROM task_instance WHERE run_id <> {active}")).await?, 0);
    assert!(bench.number(&format!("SELECT COUNT(*) FROM task_instance WHERE run_id = {active}")).await? > 0);
    assert_eq!(bench.number("SELECT COUNT(*) FROM audit_log WHERE action = 'database_cleaned'").await?, 1);
    let again = world.store.clean(&request, &mut NoArchive, &mut |_| (), at(200)).await?;
    assert_eq!(again.total(), 0);
    Ok(())
}

pub async fn the_newest_run_and_the_newest_of_the_schedule_stay(bench: Bench) -> Result<()> {
    let world = bench.led().await?;
    for day in 0..3 {
        ended(&world, day).await?;
    }
    // One by hand, for a later date than the schedule's.
    let by_hand = NewRun {
        run_type: RunType::Manual,
        run_id: RunId::new_unchecked("by_hand"),
        state: RunState::Running,
        ..new_run(world.version, 9)
    };
    let report = world.commit(&Batch { new_runs: vec![by_hand], ..Batch::default() }, at(0)).await?;
    let run = report.created.into_iter().flatten().next().context("it is new")?.run;
    world.end_run(run, RunState::Success).await?;
    let daily = DagId::new_unchecked("daily");
    let before = world.store.last_automated_interval(&daily).await?;
    world.store.clean(&request(100), &mut NoArchive, &mut |_| (), at(200)).await?;
    let left = bench.query("SELECT run_id FROM dag_run ORDER BY id").await?;
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(left[1][0], "by_hand");
    assert!(before.is_some());
    assert_eq!(world.store.last_automated_interval(&daily).await?, before);
    Ok(())
}

pub async fn one_process_a_day_gets_the_turn(bench: Bench) -> Result<()> {
    let store = bench.store().await?;
    let day = TimeDelta::days(1);
    let hour = 3600;
    assert!(store.take_turn("cleaned_at", at(0), day).await?);
    assert!(!store.take_turn("cleaned_at", at(23 * hour), day).await?);
    assert!(store.take_turn("other", at(23 * hour), day).await?);
    assert!(store.take_turn("cleaned_at", at(24 * hour), day).await?);
    assert!(!store.take_turn("cleaned_at", at(24 * hour), day).await?);
    Ok(())
}
