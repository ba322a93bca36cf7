//! Rows that the source has no more are deleted while other runs bring rows, and after a try that died.

use anyhow::Result;
use millrace_testkit::wait_until;
use serde_json::{Value, json};

use super::TARGETS;
use super::databases::{Database, Kind};
use super::mended::left_behind;
use crate::tasks::{PATIENCE, Task};
use crate::world::{World, some};

/// Nobody reads a table past it.
struct Gate<'a> {
    database: &'a Database,
    table: &'static str,
    client: tokio_postgres::Client,
}

impl<'a> Gate<'a> {
    async fn before(database: &'a Database, table: &'static str) -> Result<Self> {
        let url = database.postgres()?.url();
        let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let place = database.place(table);
        client.batch_execute(&format!("BEGIN; LOCK TABLE {place} IN ACCESS EXCLUSIVE MODE")).await?;
        Ok(Self { database, table, client })
    }

    /// Until somebody stands before it.
    async fn is_reached(&self) -> Result<()> {
        let waiting = format!(
            "SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation WHERE c.relname = '{}' AND NOT granted",
            self.table
        );
        let found = || self.database.postgres().and_then(|database| database.query(&waiting));
        wait_until("a run is at the gate", PATIENCE, async || found().is_ok_and(|rows| !rows.is_empty())).await
    }

    async fn open(self) -> Result<()> {
        Ok(self.client.batch_execute("COMMIT").await?)
    }
}

/// `stock` of twenty rows with its keys in a table of their own, and a warehouse that has them.
async fn stocked(world: &World, kind: Kind) -> Result<(Database, Database)> {
    let source = Database::start(world, Kind::Postgres, "source").await?;
    let target = Database::start(world, kind, "target").await?;
    source
        .run(
            "CREATE TABLE stock (id int PRIMARY KEY, at timestamp NOT NULL, note text); \
             INSERT INTO stock SELECT i, timestamp '2024-01-01' + i * interval '1 hour', 'old' FROM generate_series(1, 20) i; \
             CREATE TABLE all_keys AS SELECT id FROM stock",
        )
        .await?;
    let place = target.place("goods");
    target.run(&format!("CREATE TABLE {place} (id int NOT NULL, at timestamp, note varchar(20))")).await?;
    upsert(world, (&source, &target), "", None).run(1).await?;
    Ok((source, target))
}

/// Straight from `stock`; `keys` names the table with all keys.
fn upsert<'w>(
    world: &'w World,
    (source, target): (&Database, &Database),
    filter: &str,
    keys: Option<&str>,
) -> Task<'w> {
    let mut parameters = json!({
        "warehouse_conn_id": target.conn_id, "sql_conn_id": source.conn_id, "table": "goods", "upsert_keys": "id",
        "order_key": "at", "query": format!("SELECT id, at, note FROM stock {filter}"),
    });
    if target.schema == "dw" {
        parameters["schema"] = json!("dw");
    }
    if let Some(keys) = keys {
        parameters["delete_missing"] =
            json!({"sql_conn_id": source.conn_id, "query": format!("SELECT id FROM {keys}")});
    }
    Task::new(world, "upsert", parameters)
}

async fn ids(target: &Database) -> Result<Vec<i64>> {
    let rows = target.rows(&format!("SELECT id FROM {} ORDER BY id", target.place("goods"))).await?;
    rows.into_iter().map(|row| Ok(row[0].as_deref().unwrap_or_default().parse()?)).collect()
}

/// 1 to 20 without some, and others.
fn expected(without: &[i64], others: &[i64]) -> Vec<i64> {
    (1..=20).filter(|id| !without.contains(id)).chain(others.iter().copied()).collect()
}

#[tokio::test]
async fn runs_that_overlap_delete_none_of_each_others_rows() -> Result<()> {
    for kind in TARGETS {
        let world = World::start().await?;
        let (source, target) = stocked(&world, kind).await?;
        source.run("DELETE FROM stock WHERE id = 3; DELETE FROM all_keys WHERE id IN (3, 4)").await?;
        let both = (&source, &target);
        let gate = Gate::before(&source, "all_keys").await?;
        let slow = upsert(&world, both, "WHERE id <= 20", Some("all_keys"));
        let quick = async {
            gate.is_reached().await?;
            // A row that the slow one's keys will not have, and one that they have no more and that was made again.
            source
                .run(
                    "INSERT INTO stock VALUES (30, '2024-02-01', 'new'); \
                     UPDATE stock SET at = '2024-02-02', note = 'again' WHERE id = 4",
                )
                .await?;
            let done = upsert(&world, both, "", Some("stock")).run(1).await?;
            gate.open().await?;
            anyhow::Ok(done)
        };
        let (slow, quick) = tokio::join!(slow.run(1), quick);
        let (slow, quick) = (slow?, quick?);
        assert_eq!((&slow["rows_deleted"], &quick["rows_deleted"]), (&json!(0), &json!(1)), "{kind:?}");
        assert_eq!(ids(&target).await?, expected(&[3], &[30]), "{kind:?}");
        let note = target.rows(&format!("SELECT note FROM {} WHERE id = 4", target.place("goods"))).await?;
        assert_eq!(note, [some(&["again"])], "{kind:?}");
        assert_eq!(left_behind(&target).await?, 0, "{kind:?}");
    }
    Ok(())
}

/// The process dies, and its task is tried again when the source and the table have gone on.
async fn dies_and_is_tried_again(world: &World, kind: Kind, is_at_deletion: bool) -> Result<Value> {
    let (source, target) = stocked(world, kind).await?;
    source.run("DELETE FROM stock WHERE id = 3; DELETE FROM all_keys WHERE id = 3").await?;
    let both = (&source, &target);
    let task = upsert(world, both, "", Some("all_keys"));
    {
        let keys = Gate::before(&source, "all_keys").await?;
        let mut first = Box::pin(task.run(1));
        let death = async {
            keys.is_reached().await?;
            if !is_at_deletion {
                return Ok(Some(keys));
            }
            let rows = Gate::before(&target, "goods").await?;
            keys.open().await?;
            rows.is_reached().await?;
            anyhow::Ok(Some(rows))
        };
        let held = tokio::select! {
            result = &mut first => anyhow::bail!("it should have waited: {result:?}"),
            held = death => held?,
        };
        drop(first);
        if let Some(held) = held {
            held.open().await?;
        }
    }
    source
        .run(
            "DELETE FROM stock WHERE id = 5; DELETE FROM all_keys WHERE id = 5; \
             INSERT INTO stock VALUES (30, '2024-02-01', 'new'); INSERT INTO all_keys VALUES (30)",
        )
        .await?;
    upsert(world, both, "WHERE id = 30", None).run(1).await?;
    let second = task.run(2).await?;
    assert_eq!(ids(&target).await?, expected(&[3, 5], &[30]), "{kind:?}: by the keys of now");
    assert_eq!(left_behind(&target).await?, 0, "{kind:?}");
    Ok(second)
}

#[tokio::test]
async fn a_try_that_died_before_its_deletion_is_finished_by_keys_of_now() -> Result<()> {
    for kind in TARGETS {
        let moments: &[bool] = if kind == Kind::Lite { &[false] } else { &[false, true] };
        for is_at_deletion in moments {
            let world = World::start().await?;
            let second = dies_and_is_tried_again(&world, kind, *is_at_deletion).await?;
            assert_eq!(
                (&second["was_loaded_before"], &second["rows_deleted"]),
                (&json!(true), &json!(2)),
                "{kind:?}, at the deletion: {is_at_deletion}"
            );
        }
    }
    Ok(())
}

/// Keys that are hashed or moved to UTC on their way are the source's keys all the same, once that is done to both.
#[tokio::test]
async fn keys_that_were_changed_on_their_way_are_changed_alike_to_be_compared() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run(
            "CREATE TABLE visits (email varchar(40), at datetime, n int, PRIMARY KEY (email, at));
             INSERT INTO visits VALUES ('a@x', '2024-01-01 09:00:00', 1), ('a@x', '2024-01-01 18:00:00', 2), \
             ('b@x', '2024-01-01 09:00:00', 3)",
        )
        .await?;
    for kind in TARGETS {
        let target = Database::start(&world, kind, "target").await?;
        let place = target.place("visits");
        target.run(&format!("CREATE TABLE {place} (email varchar(64) NOT NULL, at timestamp NOT NULL, n int)")).await?;
        // The key of the hashes is the password of a connection.
        let done = json!({"columns": {"email": "hash", "at": {"timezone": "Asia/Seoul"}}, "hash_conn_id": "s3"});
        let mut extract = json!({
            "sql_conn_id": source.conn_id, "query": "SELECT email, at, n FROM visits", "aws_conn_id": "s3", "s3_bucket": "lake",
            "s3_key": "visits.csv", "replace": true,
        });
        let mut load = json!({
            "warehouse_conn_id": target.conn_id, "aws_conn_id": "s3", "from_task": "before", "table": "visits",
            "upsert_keys": ["email", "at"],
            "delete_missing": {"sql_conn_id": source.conn_id, "query": "SELECT email, at FROM visits"},
        });
        if target.schema == "dw" {
            load["schema"] = json!("dw");
        }
        let plain = load.clone();
        for block in [&mut extract, &mut load["delete_missing"]] {
            block["columns"] = done["columns"].clone();
            block["hash_conn_id"] = done["hash_conn_id"].clone();
        }
        let said = Task::new(&world, "sql_to_s3", extract.clone()).run(1).await?;
        let loaded = Task::new(&world, "upsert", load.clone()).after(&said).run(1).await?;
        assert_eq!((&loaded["rows_inserted"], &loaded["rows_deleted"]), (&json!(3), &json!(0)), "{kind:?}");

        source.run("DELETE FROM visits WHERE n = 1").await?;
        let said = Task::new(&world, "sql_to_s3", extract).run(1).await?;
        let refused = Task::new(&world, "upsert", plain).after(&said).run(1).await;
        let text = refused.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("delete_missing: at has a zone (UTC) in the rows that were loaded"), "{kind:?}: {text}");
        let loaded = Task::new(&world, "upsert", load).after(&said).run(1).await?;
        assert_eq!(loaded["rows_deleted"], json!(1), "{kind:?}");
        let rows = target.rows(&format!("SELECT n, at FROM {place} ORDER BY n")).await?;
        assert_eq!(
            rows,
            [some(&["2", "2024-01-01 09:00:00"]), some(&["3", "2024-01-01 00:00:00"])],
            "{kind:?}: by both parts of the key"
        );
        source.run("INSERT INTO visits VALUES ('a@x', '2024-01-01 09:00:00', 1)").await?;
    }
    Ok(())
}
