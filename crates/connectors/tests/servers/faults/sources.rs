//! The source breaks off in the middle of a row.

use std::time::Duration;

use anyhow::{Context, Result};
use millrace_devstack::Fault;
use millrace_testkit::{Cable, wait_until};
use serde_json::json;

use crate::copies::databases::{Database, Kind};
use crate::s3::unfinished;
use crate::tasks::{PATIENCE, Target, Task, extract, may_try_again, no_upload_is_left};
use crate::world::World;

const LONG: &str = "repeat('x', 4000)";

/// A source behind a cable, with 300 rows of four thousand characters.
async fn behind_a_cable(world: &World, kind: Kind) -> Result<(Database, Cable)> {
    let source = Database::start(world, kind, "source").await?;
    let (port, numbers) = match kind {
        Kind::Maria => (source.maria()?.server().port(), "seq AS id FROM seq_1_to_300"),
        _ => (source.postgres()?.server().port(), "n AS id FROM generate_series(1, 300) n"),
    };
    let numbers = numbers.replace(" AS id", &format!(" AS id, {LONG} AS note"));
    source.run(&format!("CREATE TABLE many AS SELECT {numbers}")).await?;
    let cable = Cable::to(port)?;
    world.change(&source.conn_id, |connection| connection.port = Some(cable.port));
    Ok((source, cable))
}

fn is_whole(rows: &[(i64, String)]) -> bool {
    (1..).zip(rows).all(|(number, (id, note))| *id == number && note.len() == 4000) && rows.len() == 300
}

async fn a_cut_source_is_read_again(kind: Kind) -> Result<()> {
    let world = World::start().await?;
    let (source, cable) = behind_a_cable(&world, kind).await?;
    let target = Target::start(&world, Kind::Postgres).await?;
    for (key, more) in [("whole", json!({})), ("parts", json!({"max_rows_per_file": 20}))] {
        let task = extract(&world, &source, "many", key, more);
        cable.break_after(Some(500_123));
        let message = may_try_again(task.run(1).await).context(key)?;
        assert!(message.contains(&source.conn_id), "{message}");
        assert!(cable.is_broken());
        cable.break_after(None);
        assert!(world.keys(key).await?.is_empty(), "{:?}", world.keys(key).await?);
        no_upload_is_left(&world).await?;
        let said = task.run(2).await?;
        target.fill().await?;
        target.load(&world, "replace", &said, json!({})).run(1).await?;
        assert!(is_whole(&target.rows().await?));
    }
    for target in [target, Target::start(&world, Kind::Lite).await?, Target::start(&world, Kind::Redshift).await?] {
        target.fill().await?;
        let place = format!("{}.moved", target.database.schema);
        let many = format!("{}.many", source.schema);
        let task = Task::new(
            &world,
            "table_copy",
            json!({
                "source_conn_id": source.conn_id, "target_conn_id": target.database.conn_id,
                "tables": {"source": many, "target": place, "sync_mode": "full_sync"},
            }),
        );
        // What is asked before the rows takes some, too.
        cable.break_after(Some(700_123));
        may_try_again(task.run(1).await).with_context(|| format!("{:?}", target.database.kind))?;
        assert!(cable.is_broken());
        cable.break_after(None);
        assert_eq!(target.rows().await?, Target::before());
        assert!(target.leftovers()?.is_empty(), "{:?}", target.leftovers()?);
        task.run(2).await?;
        assert!(is_whole(&target.rows().await?), "{:?}", target.database.kind);
        assert!(target.leftovers()?.is_empty(), "{:?}", target.leftovers()?);
    }
    Ok(())
}

#[tokio::test]
async fn mariadb_cut_in_the_middle_of_a_row_is_read_again() -> Result<()> {
    a_cut_source_is_read_again(Kind::Maria).await
}

#[tokio::test]
async fn postgres_cut_in_the_middle_of_a_row_is_read_again() -> Result<()> {
    a_cut_source_is_read_again(Kind::Postgres).await
}

/// Rows come more slowly than the store's client waits for an answer, and the store closes what nobody uses meanwhile; and the
/// store takes longer for each part than all rows take to come.
#[tokio::test]
async fn a_slow_source_and_a_slow_store_break_no_upload() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    // Nine rows of three million characters: parts of eight millions.
    let slowly =
        "SELECT n AS id, repeat('x', 3000000) AS note FROM generate_series(1, 9) n WHERE pg_sleep(0.8) IS NOT NULL";
    let store = Cable::to(world.s3.address().port())?;
    world.change("s3", |connection| {
        connection.extra.0.insert("endpoint_url".to_owned(), json!(format!("http://127.0.0.1:{}", store.port)));
        connection.extra.0.insert("config_kwargs".to_owned(), json!({"read_timeout": 2}));
    });
    let read = |key: &str, query: &str| {
        Task::new(
            &world,
            "sql_to_s3",
            json!({"sql_conn_id": source.conn_id, "query": query, "s3_bucket": "lake", "s3_key": key, "aws_conn_id": "s3"}),
        )
    };
    let task = read("slow", slowly);
    let close_what_is_idle = async {
        wait_until("a part is on its way", PATIENCE, async || unfinished(&world).is_ok_and(|count| count > 0)).await?;
        store.sever();
        anyhow::Ok(())
    };
    let (said, closed) = tokio::join!(task.run(1), close_what_is_idle);
    closed?;
    assert_eq!(said?["rows"], 9);
    world.change("s3", |connection| {
        connection.extra.0.remove("config_kwargs");
    });
    let faults = world.s3.faults();
    faults.inject("UploadPart", Fault::Delay(Duration::from_secs(2)), 3);
    let said = read("late", &slowly.replace("0.8", "0.01")).run(1).await?;
    assert_eq!((&said["rows"], faults.pending()), (&json!(9), 0));
    let store = world.store().await?;
    for key in ["slow", "late"] {
        let found = store.head("lake", key).await?.context("it is there")?;
        assert_eq!(found.size, 9 * 3_000_003, "{key}");
    }
    no_upload_is_left(&world).await
}
