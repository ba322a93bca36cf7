//! Keys that differ by the blanks at their end: Redshift takes them for one when it compares, and they are two rows.

use anyhow::Result;
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind, run};
use crate::tasks::Task;
use crate::world::{World, some};

const ROWS: &str = "SELECT k || '.', v FROM dw.t ORDER BY LENGTH(k), 1";

#[tokio::test]
async fn keys_that_differ_by_blanks_are_copied_merged_and_reconciled() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    let make = "DROP TABLE IF EXISTS t; CREATE TABLE t (k varchar(8) PRIMARY KEY, v int, at timestamp); INSERT INTO t VALUES \
                ('k', 1, '2024-01-01'), ('k ', 2, '2024-01-01'), ('k  ', 3, '2024-01-01'), ('l', 4, '2024-01-01')";
    for (generation, kind) in [(1, Kind::Redshift), (10, Kind::Wire), (20, Kind::Postgres)] {
        source.run(make).await?;
        let target = Database::start(&world, kind, "target").await?;
        let copying = |mode: &str| {
            let mut table = json!({
                "source": "public.t", "target": "dw.t", "primary_key": "k", "sync_mode": mode, "verify": ["counts", "keys", "checksums"],
            });
            if mode == "incremental_sync" {
                table["incremental_field"] = json!("at");
                table["deletes"] = json!("reconcile");
            }
            json!({"source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "tables": [table]})
        };
        let copied = async |generation, mode| {
            run(&world, generation, copying(mode)).await.map_err(|error| anyhow::anyhow!("{kind:?} {mode}: {error}"))
        };
        let first = copied(generation, "incremental_sync").await?;
        assert_eq!(first["tables"][0]["rows_inserted"], json!(4), "{kind:?}: {first}");
        let all = [some(&["k.", "1"]), some(&["l.", "4"]), some(&["k .", "2"]), some(&["k  .", "3"])];
        assert_eq!(target.rows(ROWS).await?, all, "{kind:?}");
        source
            .run(
                "UPDATE t SET v = 20, at = '2024-01-02' WHERE k = 'k '; DELETE FROM t WHERE k IN ('k  ', 'l'); \
                 INSERT INTO t VALUES ('l  ', 5, '2024-01-02')",
            )
            .await?;
        let second = copied(generation + 1, "incremental_sync").await?;
        let counts = ["rows_inserted", "rows_updated", "rows_deleted"].map(|name| second["tables"][0][name].clone());
        assert_eq!(counts[0], json!(1), "{kind:?}: {second}");
        assert_eq!(counts[2], json!(2), "{kind:?}: {second}");
        let merged = [some(&["k.", "1"]), some(&["k .", "20"]), some(&["l  .", "5"])];
        assert_eq!(target.rows(ROWS).await?, merged, "{kind:?}");
        // Each copy of the whole table looks for keys that name two rows.
        copied(generation + 2, "full_sync").await?;
        assert_eq!(target.rows(ROWS).await?, merged, "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn rows_of_files_meet_the_rows_with_exactly_their_keys() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source
        .run(
            "CREATE TABLE t (k varchar(8), v int, note varchar(9)); INSERT INTO t VALUES ('k', 10, 'a'), ('k ', 20, 'b'), \
             ('n', 30, 'c')",
        )
        .await?;
    for kind in [Kind::Redshift, Kind::Wire] {
        let target = Database::start(&world, kind, "target").await?;
        let columns = "k varchar(8), v int, note varchar(9)";
        let upsert = async |key: &str, query: &str, order: Option<&str>, direct: bool| {
            let mut load = json!({
                "warehouse_conn_id": target.conn_id, "aws_conn_id": "s3", "schema": "dw", "table": "t", "method": "upsert",
                "upsert_keys": "k",
            });
            if let Some(order) = order {
                load["order_key"] = json!(order);
            }
            if direct {
                (load["sql_conn_id"], load["query"]) = (json!(source.conn_id), json!(query));
                return Task::new(&world, "copy", load).run(1).await;
            }
            let extract = json!({
                "sql_conn_id": source.conn_id, "query": query, "s3_bucket": "lake", "s3_key": format!("{kind:?}/{key}.csv"),
                "aws_conn_id": "s3", "replace": true,
            });
            let written = Task::new(&world, "sql_to_s3", extract).run(1).await?;
            load["from_task"] = json!("before");
            Task::new(&world, "copy", load).after(&written).run(1).await
        };
        for (order, direct) in [(None, false), (Some("v"), false), (None, true), (Some("v"), true)] {
            let case = format!("{kind:?} {order:?} {direct}");
            target.run("DROP TABLE IF EXISTS dw.t").await?;
            target.run(&format!("CREATE TABLE dw.t ({columns})")).await?;
            // 'k' is there twice, and 'k ' is neither of them.
            target.run("INSERT INTO dw.t VALUES ('k', 1, 'x'), ('k', 2, 'x'), ('k ', 3, 'x'), ('n  ', 4, 'x')").await?;
            let loaded = upsert("rows", "SELECT * FROM t", order, direct).await;
            let loaded: Value = loaded.map_err(|error| anyhow::anyhow!("{case}: {error:?}"))?;
            let counts = ["rows_read", "rows_inserted", "rows_updated"].map(|name| loaded[name].clone());
            assert_eq!(counts, [json!(3), json!(1), json!(2)], "{case}");
            let expected = [some(&["k.", "10"]), some(&["n.", "30"]), some(&["k .", "20"]), some(&["n  .", "4"])];
            assert_eq!(target.rows(ROWS).await?, expected, "{case}");
        }
        // Rows that differ by blanks alone are not the same in everything.
        let tied = "SELECT 'k' AS k, 1 AS v, 'a' AS note UNION ALL SELECT 'k', 1, 'a ' ORDER BY 3";
        let error = upsert("tied", tied, None, false).await.expect_err("a tie");
        assert!(format!("{error:?}").contains("1 values of k come in several rows that differ"), "{kind:?}: {error:?}");
    }
    Ok(())
}

/// With the digits that are printed where nothing else is asked for, a float comes back as another one.
#[tokio::test]
async fn floats_are_read_from_redshift_to_their_last_bit() -> Result<()> {
    for kind in [Kind::Redshift, Kind::Wire] {
        let world = World::start().await?;
        let target = Database::start(&world, kind, "target").await?;
        target.run("CREATE TABLE dw.f (f float8, r float4)").await?;
        target.run("INSERT INTO dw.f SELECT 0.1::float8 + 0.2::float8, 0.1::float4 + 0.2::float4").await?;
        let rows = target.rows("SELECT f, r FROM dw.f").await?;
        let cell = |at: usize| rows[0][at].clone().unwrap_or_default();
        assert_eq!(cell(0).parse::<f64>()?.to_bits(), (0.1_f64 + 0.2).to_bits(), "{kind:?}: {rows:?}");
        assert_eq!(cell(1).parse::<f32>()?.to_bits(), (0.1_f32 + 0.2).to_bits(), "{kind:?}: {rows:?}");
    }
    Ok(())
}
