//! Rows that were committed late: of those that a lookback reads again, the ones that a reading without it would have missed.

use anyhow::Result;
use serde_json::json;

use crate::copies::databases::{Database, Kind, run};
use crate::tasks::Task;
use crate::world::World;

const TARGETS: [Kind; 4] = [Kind::Postgres, Kind::Lite, Kind::Redshift, Kind::Wire];

/// Up to 10 o'clock, read once. Then comes a row from before that, an older row that was changed since and still before
/// that, one that was set back, and one that is simply new.
const BEFORE: &str = "CREATE TABLE t (id int PRIMARY KEY, at timestamp, v varchar(20)); \
    INSERT INTO t VALUES (1, '1970-01-01 08:00:00', 'a'), (2, '1970-01-01 09:00:00', 'b'), (3, '1970-01-01 09:30:00', 'c'), \
    (4, '1970-01-01 10:00:00', 'd'), (5, '1970-01-01 09:40:00', 'e')";
const AFTER: &str = "INSERT INTO t VALUES (6, '1970-01-01 09:59:00', 'late'), (7, '1970-01-01 11:00:00', 'new'); \
    UPDATE t SET at = '1970-01-01 09:45:00', v = 'changed' WHERE id = 2; \
    UPDATE t SET at = '1970-01-01 09:10:00', v = 'set back' WHERE id = 3";

#[tokio::test]
async fn rows_that_are_merely_read_again_are_not_late() -> Result<()> {
    let world = World::start().await?;
    let mut generation = 0;
    for kind in TARGETS {
        for watermark in ["from_target", "stored"] {
            let source = Database::start(&world, Kind::Postgres, "source").await?;
            let target = Database::start(&world, kind, "target").await?;
            source.run(BEFORE).await?;
            let parameters = json!({
                "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
                "tables": {"source": "public.t", "target": format!("{}.t", target.schema), "primary_key": "id",
                           "sync_mode": "incremental_sync", "incremental_field": "at", "watermark": watermark, "lookback": "2h"},
            });
            let mut copy = async || {
                generation += 1;
                run(&world, generation, parameters.clone()).await.map(|found| found["tables"][0].clone())
            };
            let first = copy().await?;
            assert_eq!(first["rows_late"], json!(null), "{kind:?}: all rows: {first}");
            let again = copy().await?;
            assert_eq!((&again["rows_read_again"], &again["rows_late"]), (&json!(4), &json!(0)), "{kind:?}: {again}");
            source.run(AFTER).await?;
            let copied = copy().await?;
            assert_eq!(
                (&copied["rows_read_again"], &copied["rows_late"], &copied["rows_inserted"]),
                (&json!(5), &json!(2), &json!(2)),
                "{kind:?} {watermark}: {copied}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_upsert_counts_what_the_extract_before_it_read_again_and_the_table_did_not_have() -> Result<()> {
    let world = World::start().await?;
    for (kind, zone) in [(Kind::Postgres, "UTC"), (Kind::Redshift, "UTC"), (Kind::Postgres, "Asia/Seoul")] {
        let source = Database::start(&world, Kind::Postgres, "source").await?;
        let target = Database::start(&world, kind, "target").await?;
        // The interval begins at midnight in UTC, and the clocks of the source are those of the zone.
        let hours = if zone == "UTC" { 0 } else { 9 };
        source.run("CREATE TABLE t (id int, at timestamp)").await?;
        source
            .run(&format!(
                "INSERT INTO t SELECT n, timestamp '1969-12-31 23:00:00' + (n * 10 + {hours} * 60) * interval '1 minute' \
                 FROM generate_series(0, 11) AS n"
            ))
            .await?;
        // One key comes three times: it is one row that was missed.
        source
            .run(&format!(
                "INSERT INTO t SELECT 5, timestamp '1969-12-31 23:00:00' + (n + {hours} * 60) * interval '1 minute' \
                 FROM generate_series(48, 49) AS n"
            ))
            .await?;
        let key = if zone == "UTC" { "PRIMARY KEY" } else { "NOT NULL" };
        target.run(&format!("CREATE TABLE dw.t (id int {key}, at timestamp)")).await?;
        target
            .run("INSERT INTO dw.t VALUES (3, '1969-12-31 23:30:00'), (4, '1969-12-31 22:00:00'), (6, '1970-01-01')")
            .await?;
        let extract = json!({
            "sql_conn_id": source.conn_id, "query": "SELECT * FROM t", "s3_bucket": "lake", "s3_key": "t.csv",
            "aws_conn_id": "s3", "replace": true, "source_timezone": zone,
            "incremental": {"modified_field": "at", "lookback": "30m"},
        });
        let written = Task::new(&world, "sql_to_s3", extract).run(1).await?;
        let load = |order_key: &str| {
            json!({"warehouse_conn_id": target.conn_id, "aws_conn_id": "s3", "schema": "dw", "table": "t",
                   "upsert_keys": "id", "order_key": order_key, "from_task": "extract"})
        };
        let loaded = Task::new(&world, "upsert", load("at")).after(&written).run(1).await?;
        // From 23:30 on: 3, 4 and 5 lie before the interval; the first is there, and the second was older.
        assert_eq!((&loaded["rows_read"], &loaded["rows_late"]), (&json!(11), &json!(2)), "{kind:?} {zone}: {loaded}");
        let again = Task::new(&world, "upsert", load("at")).after(&written).run(1).await?;
        assert_eq!(again["rows_late"], json!(0), "{kind:?} {zone}: {again}");
    }
    Ok(())
}
