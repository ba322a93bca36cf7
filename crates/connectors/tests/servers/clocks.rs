//! A clock whose zone is said later, or is another one than it was.

use std::sync::{Arc, Mutex};

use anyhow::{Result, bail};
use futures::future::BoxFuture;
use millrace_model::ledger::{Checkpoint, LedgerEntry, RowsRead};
use millrace_operator_api::context::{LogLevel, Reporter, Runs, SeenRun, SoughtRead, WorkId};
use millrace_operator_api::entry::find;
use millrace_operator_api::{PortError, TaskError};
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind};
use crate::world::{World, lock, some, work};

/// What the metadata database remembers of the runs of one task.
#[derive(Default)]
struct Memory {
    ledger: Mutex<Vec<LedgerEntry>>,
    heard: Mutex<Vec<String>>,
    runs: Mutex<u32>,
}

impl Reporter for Memory {
    fn log(&self, level: LogLevel, line: &str) {
        if level == LogLevel::Warning {
            lock(&self.heard).push(line.to_owned());
        }
    }

    fn checkpoint(&self, _: Checkpoint) {}

    fn ledger(&self, entry: LedgerEntry) {
        lock(&self.ledger).push(entry);
    }
}

impl Runs for Memory {
    fn at<'a>(
        &'a self,
        _: &'a str,
        _: chrono::DateTime<chrono::Utc>,
        _: &'a [String],
    ) -> BoxFuture<'a, Result<Option<SeenRun>, PortError>> {
        Box::pin(async { Ok(None) })
    }

    fn read_before<'a>(&'a self, sought: &'a SoughtRead<'a>) -> BoxFuture<'a, Result<Option<RowsRead>, PortError>> {
        let ledger = lock(&self.ledger);
        let is_it = |entry: &&LedgerEntry| {
            entry.stage == sought.stage
                && entry.source.starts_with(&format!("{}: ", sought.conn_id))
                && sought.target.is_none_or(|target| target == entry.target)
        };
        let found = ledger.iter().rev().find(is_it).and_then(|entry| entry.read.clone());
        Box::pin(async { Ok(found) })
    }
}

impl Memory {
    /// Each run is another piece of work, of an instance that was cleared or not.
    async fn run(
        self: &Arc<Self>,
        world: &World,
        operator: &str,
        parameters: &Value,
        is_cleared: bool,
    ) -> Result<Value, TaskError> {
        let entry =
            find(millrace_operators::catalogue(), operator).ok_or_else(|| TaskError::Fail("none".to_owned()))?;
        let operator = (entry.parse)(parameters.clone()).map_err(TaskError::Fail)?;
        let mut context = world.context(1);
        let number = {
            let mut runs = lock(&self.runs);
            *runs += 1;
            *runs
        };
        context.work = WorkId { run_id: format!("run{number}"), ..work(u32::from(is_cleared)) };
        context.reporter = Arc::clone(self) as Arc<dyn Reporter>;
        context.runs = Arc::clone(self) as Arc<dyn Runs>;
        Ok(operator.run(&context).await?.result.unwrap_or_default())
    }

    async fn refused(self: &Arc<Self>, world: &World, operator: &str, parameters: &Value) -> Result<String> {
        let before = lock(&self.ledger).len();
        match self.run(world, operator, parameters, false).await {
            Err(TaskError::Fail(message)) if lock(&self.ledger).len() == before => Ok(message),
            other => bail!("it should have been refused for good: {other:?}"),
        }
    }
}

fn set_zone(world: &World, database: &Database, zone: &str) {
    world.change(&database.conn_id, |connection| {
        connection.extra.0.insert("source_timezone".to_owned(), json!(zone));
    });
}

#[tokio::test]
async fn a_copy_by_change_stops_before_it_reads_by_another_clock() -> Result<()> {
    let world = World::start().await?;
    let (source, target) = (
        Database::start(&world, Kind::Maria, "source").await?,
        Database::start(&world, Kind::Postgres, "target").await?,
    );
    source.run("CREATE TABLE t (id int PRIMARY KEY, at datetime, made datetime)").await?;
    source.run("INSERT INTO t VALUES (1, '2024-01-02 09:00:00', '2024-01-01 12:00:00')").await?;
    for watermark in ["from_target", "stored"] {
        world.change(&source.conn_id, |connection| drop(connection.extra.0.remove("source_timezone")));
        let memory = Arc::new(Memory::default());
        let copying = |mode: &str| {
            json!({"source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "tables": {
                "source": format!("{}.t", source.schema), "target": format!("dw.{watermark}"), "primary_key": "id", "sync_mode": mode,
                "incremental_field": "at", "watermark": watermark}})
        };
        let by_change = copying("incremental_sync");
        memory.run(&world, "table_copy", &by_change, false).await?;
        memory.run(&world, "table_copy", &by_change, false).await?;
        set_zone(&world, &source, "UTC");
        memory.run(&world, "table_copy", &by_change, false).await?;
        set_zone(&world, &source, "Asia/Seoul");
        let said = memory.refused(&world, "table_copy", &by_change).await?;
        assert!(
            said.contains("at was written as it stood before, and is one of Asia/Seoul now (source_timezone), so that what was loaded is 9h ahead"),
            "{said}"
        );
        assert!(
            said.contains(&format!("Copy dw.{watermark} whole once (sync_mode: full_sync), or move its times by hand")),
            "{said}"
        );
        let full = json!({"source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "tables": {
            "source": format!("{}.t", source.schema), "target": format!("dw.{watermark}"), "primary_key": "id", "sync_mode": "full_sync"}});
        memory.run(&world, "table_copy", &full, false).await?;
        memory.run(&world, "table_copy", &by_change, false).await?;
        let moments = target.rows(&format!("SELECT at::text, made::text FROM dw.{watermark}")).await?;
        assert_eq!(moments, [some(&["2024-01-02 00:00:00", "2024-01-01 03:00:00"])]);
        // Whoever has mended the table by hand says so by clearing the task.
        set_zone(&world, &source, "Asia/Kolkata");
        let said = memory.refused(&world, "table_copy", &by_change).await?;
        assert!(said.contains("3h 30m behind"), "{said}");
        memory.run(&world, "table_copy", &by_change, true).await?;
        memory.run(&world, "table_copy", &by_change, false).await?;
        let heard = lock(&memory.heard).join("\n");
        assert!(
            heard.contains("made was taken for a time of Asia/Seoul before, and is one of Asia/Kolkata now"),
            "{heard}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_window_of_another_clock_is_refused_with_what_it_would_leave_out() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source.run("CREATE TABLE t (id int, at timestamp); INSERT INTO t VALUES (1, '1970-01-01 10:00')").await?;
    let memory = Arc::new(Memory::default());
    let extract = |zone: &str| {
        json!({"sql_conn_id": source.conn_id, "query": "SELECT * FROM t", "s3_bucket": "lake", "s3_key": "t.csv", "aws_conn_id": "s3",
               "replace": true, "incremental": {"modified_field": "at", "source_timezone": zone}})
    };
    memory.run(&world, "sql_to_s3", &extract("UTC"), false).await?;
    memory.run(&world, "sql_to_s3", &extract("UTC"), false).await?;
    let said = memory.refused(&world, "sql_to_s3", &extract("Asia/Seoul")).await?;
    assert!(
        said.contains("rows from 1970-01-01 00:00:00 to 1970-01-01 09:00:00 by it would be read by none (lookback: 9h"),
        "{said}"
    );
    let said = memory.refused(&world, "sql_to_s3", &extract("America/New_York")).await?;
    assert!(said.contains("rows from 1969-12-31 19:00:00 to 1970-01-01 00:00:00 by it are read by two"), "{said}");
    // The clock is the same, and its times become UTC from now on.
    memory.run(&world, "sql_to_s3", &extract("Asia/Seoul"), true).await?;
    set_zone(&world, &source, "Asia/Seoul");
    let said = memory.refused(&world, "sql_to_s3", &extract("Asia/Seoul")).await?;
    assert!(said.contains("what was loaded is 9h ahead") && !said.contains("windows of"), "{said}");
    memory.run(&world, "sql_to_s3", &extract("Asia/Seoul"), true).await?;
    memory.run(&world, "sql_to_s3", &extract("Asia/Seoul"), false).await?;
    Ok(())
}

#[tokio::test]
async fn an_upsert_that_orders_by_a_time_does_not_mix_two_clocks() -> Result<()> {
    let world = World::start().await?;
    let (source, target) = (
        Database::start(&world, Kind::Maria, "source").await?,
        Database::start(&world, Kind::Postgres, "target").await?,
    );
    source
        .run("CREATE TABLE t (id int PRIMARY KEY, at datetime); INSERT INTO t VALUES (1, '2024-01-02 09:00:00')")
        .await?;
    target.run("CREATE TABLE dw.t (id int, at timestamp)").await?;
    let memory = Arc::new(Memory::default());
    let load = json!({"warehouse_conn_id": target.conn_id, "sql_conn_id": source.conn_id, "query": "SELECT * FROM t", "schema": "dw",
                      "table": "t", "upsert_keys": "id", "order_key": "at"});
    memory.run(&world, "upsert", &load, false).await?;
    set_zone(&world, &source, "Asia/Seoul");
    let said = memory.refused(&world, "upsert", &load).await?;
    assert!(said.contains("at was written as it stood before"), "{said}");
    assert_eq!(target.rows("SELECT at::text FROM dw.t").await?, [some(&["2024-01-02 09:00:00"])]);
    target.run("UPDATE dw.t SET at = at - interval '9h'").await?;
    memory.run(&world, "upsert", &load, true).await?;
    source.run("UPDATE t SET at = '2024-01-02 09:00:01'").await?;
    memory.run(&world, "upsert", &load, false).await?;
    assert_eq!(target.rows("SELECT at::text FROM dw.t").await?, [some(&["2024-01-02 00:00:01"])]);
    Ok(())
}
