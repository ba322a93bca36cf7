//! A task that is stopped leaves nothing behind: no file, no upload, no query, no staging table, no row.

use anyhow::{Context, Result, bail};
use futures::TryStreamExt as _;
use millrace_devstack::Fault;
use millrace_operator_api::TaskError;
use millrace_operator_api::ports::Ports as _;
use millrace_testkit::wait_until;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

use crate::copies::databases::{Database, Kind};
use crate::faults::{Holder, is_waited_for};
use crate::s3::unfinished;
use crate::tasks::{METHODS, PATIENCE, Target, Task, extract, no_upload_is_left, source};
use crate::world::World;

fn is_cancelled(result: &Result<Value, TaskError>) -> Result<()> {
    match result {
        Err(TaskError::Cancelled(reason)) if reason.contains("somebody asked") => Ok(()),
        other => bail!("it should have been stopped: {other:?}"),
    }
}

/// Fifteen rows of a million characters, then none for ever.
fn endless(kind: Kind) -> &'static str {
    match kind {
        // Counts without end.
        Kind::Lite => {
            "WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n LIMIT 16), m(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM m) \
             SELECT id, CASE WHEN id = 16 THEN (SELECT count(*) FROM m) ELSE replace(hex(zeroblob(500000)), '0', 'x') END AS note FROM n"
        }
        Kind::Maria => "SELECT seq AS id, IF(seq = 16, SLEEP(3600), REPEAT('x', 1000000)) AS note FROM seq_1_to_16",
        _ => {
            "SELECT n AS id, CASE WHEN n = 16 THEN pg_sleep(3600)::text ELSE repeat('x', 1000000) END AS note \
             FROM generate_series(1, 16) AS n"
        }
    }
}

/// Queries of the kind that still run.
fn running(source: &Database) -> Result<usize> {
    if source.kind == Kind::Lite {
        return readers();
    }
    if source.kind == Kind::Maria {
        let statement = "SELECT id FROM information_schema.processlist WHERE info LIKE '%SLEEP(3600)%' \
             AND db = DATABASE() AND id <> CONNECTION_ID()";
        return Ok(source.maria()?.query(statement)?.len());
    }
    let statement = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND datname = current_database() \
         AND query LIKE '%pg_sleep(3600)%' AND pid <> pg_backend_pid()";
    Ok(source.postgres()?.query(statement)?.len())
}

/// Threads of this process that read SQLite.
fn readers() -> Result<usize> {
    let mut found = 0;
    for thread in std::fs::read_dir("/proc/self/task")? {
        // One that has ended meanwhile reads nothing.
        let name = std::fs::read_to_string(thread?.path().join("comm")).unwrap_or_default();
        found += usize::from(name.trim_end() == "sqlite-reader");
    }
    Ok(found)
}

async fn no_query_is_left(source: &Database) -> Result<()> {
    wait_until("no query is left", PATIENCE, async || running(source).is_ok_and(|count| count == 0)).await
}

fn files_below(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    if !folder.exists() {
        return Ok(found);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { found.extend(files_below(&path)?) } else { found.push(path.display().to_string()) }
    }
    Ok(found)
}

async fn a_stopped_extract(kind: Kind) -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, kind, "source").await?;
    let query = endless(kind);
    for more in [json!({}), json!({"max_rows_per_file": 4})] {
        let is_whole = more.get("max_rows_per_file").is_none();
        let mut parameters = more;
        parameters["query"] = json!(query);
        let task = extract(&world, &source, "", "k", parameters);
        // Parts of an upload, or whole files of the list, are in the store by then.
        let ended = task
            .run_until("rows are on their way and the query runs", async || {
                let sent = if is_whole {
                    unfinished(&world).is_ok_and(|count| count == 1)
                } else {
                    world.keys("k.parts/").await.is_ok_and(|keys| keys.len() >= 2)
                };
                sent && running(&source).is_ok_and(|count| count == 1)
            })
            .await?;
        is_cancelled(&ended)?;
        no_upload_is_left(&world).await?;
        no_query_is_left(&source).await?;
        assert!(world.keys("").await?.is_empty(), "{:?}", world.keys("").await?);
    }
    let scratch = world.folder.path().join("scratch");
    let task = Task::new(&world, "extract", json!({"sql_conn_id": source.conn_id, "query": query}));
    let ended = task
        .run_until("the file grows", async || {
            files_below(&scratch).is_ok_and(|files| files.len() == 1) && running(&source).is_ok_and(|count| count == 1)
        })
        .await?;
    is_cancelled(&ended)?;
    no_query_is_left(&source).await?;
    assert!(files_below(&scratch)?.is_empty(), "{:?}", files_below(&scratch)?);
    Ok(())
}

#[tokio::test]
async fn a_stopped_extract_from_mariadb_leaves_nothing() -> Result<()> {
    a_stopped_extract(Kind::Maria).await
}

#[tokio::test]
async fn a_stopped_extract_from_postgres_leaves_nothing() -> Result<()> {
    a_stopped_extract(Kind::Postgres).await
}

#[tokio::test]
async fn a_stopped_extract_from_sqlite_leaves_nothing() -> Result<()> {
    a_stopped_extract(Kind::Lite).await
}

#[tokio::test]
async fn a_query_of_sqlite_ends_with_its_stream_in_the_middle_of_a_step() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Lite, "source").await?;
    let port = world.connectors.source(&world.context(1), &source.conn_id).await?;
    let mut stream = port.query(endless(Kind::Lite)).await?;
    // The last of them before the endless one is kept until that one is there.
    for id in 1..=14 {
        let batch = stream.batches.try_next().await?.context("a row")?;
        assert_eq!(batch.cell(0, 0), Some(id.to_string().as_bytes()));
    }
    assert_eq!(running(&source)?, 1);
    drop(stream);
    no_query_is_left(&source).await
}

#[tokio::test]
async fn a_stopped_upload_leaves_nothing_in_the_store_and_keeps_its_file() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let query = json!({"sql_conn_id": source.conn_id, "query": "SELECT id, note FROM large"});
    let filed = Task::new(&world, "extract", query).run(1).await?;
    let parameters = json!({"from_task": "before", "s3_bucket": "lake", "s3_key": "k", "aws_conn_id": "s3"});
    for operation in ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"] {
        let task = Task::new(&world, "upload", parameters.clone()).after(&filed);
        world.s3.faults().inject(operation, Fault::Delay(Duration::from_hours(1)), 1);
        let ended = task.run_until(operation, async || world.s3.faults().pending() == 0).await?;
        is_cancelled(&ended).context(operation)?;
        no_upload_is_left(&world).await.context(operation)?;
        assert!(world.keys("").await?.is_empty(), "{operation}");
    }
    // The file is there for the next try.
    Task::new(&world, "upload", parameters).after(&filed).run(1).await?;
    assert_eq!(world.keys("").await?, ["k"]);
    Ok(())
}

/// A store obeys what has reached it also when whoever sent it has gone, and maybe after what is said next.
#[tokio::test]
async fn a_part_that_arrives_after_the_stop_is_removed_with_the_others() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let late = Fault::Delay(Duration::from_secs(1));
    let task = extract(&world, &source, "large", "k", json!({"max_rows_per_file": 4}));
    world.s3.faults().inject("PutObject", late, 1);
    let ended = task.run_until("a part is on its way", async || world.s3.faults().pending() == 0).await?;
    is_cancelled(&ended)?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(world.keys("").await?.is_empty(), "{:?}", world.keys("").await?);
    Ok(())
}

#[tokio::test]
async fn a_stopped_load_leaves_the_table_as_it_was_and_nothing_else() -> Result<()> {
    for kind in [Kind::Postgres, Kind::Redshift] {
        let world = World::start().await?;
        let source = source(&world).await?;
        let target = Target::start(&world, kind).await?;
        let said = extract(&world, &source, "small", "in.csv", json!({})).run(1).await?;
        for method in METHODS {
            let told = format!("{kind:?} {method}");
            let load = target.load(&world, method, &said, json!({}));
            let holder = Holder::of(&target).await?;
            let ended = load.run_until(&told, async || is_waited_for(&target)).await?;
            is_cancelled(&ended).with_context(|| told.clone())?;
            wait_until("nobody waits any more", PATIENCE, async || !is_waited_for(&target))
                .await
                .context(told.clone())?;
            holder.release().await?;
            assert_eq!(target.rows().await?, Target::before(), "{told}");
            wait_until("no staging table is left", PATIENCE, async || {
                target.leftovers().is_ok_and(|left| left.is_empty())
            })
            .await
            .with_context(|| format!("{told}: {:?}", target.leftovers()))?;
            assert_eq!(world.keys("").await?, ["in.csv"], "{told}");
            // Another task is not in its way.
            target.load(&world, method, &said, json!({})).run(1).await.context(told.clone())?;
            assert_eq!(target.rows().await?, Target::after(method), "{told}");
            target.fill().await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_copy_stopped_in_the_middle_of_its_rows_leaves_nothing() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    for kind in [Kind::Postgres, Kind::Lite] {
        let target = Target::start(&world, kind).await?;
        let said = extract(&world, &source, "large", &format!("{kind:?}"), json!({})).run(1).await?;
        let load = target.load(&world, "append", &said, json!({}));
        let slow = Fault::SlowBody { bytes: 200_000, every: Duration::from_hours(1) };
        world.s3.faults().inject("GetObject", slow, 1);
        let ended = load.run_until("it reads", async || world.s3.faults().pending() == 0).await?;
        is_cancelled(&ended)?;
        assert_eq!(target.rows().await?, Target::before());
        if kind == Kind::Postgres {
            let busy = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY%' \
                 AND state = 'active' AND pid <> pg_backend_pid()";
            let database = target.database.postgres()?;
            wait_until("the COPY has ended", PATIENCE, async || database.query(busy).is_ok_and(|rows| rows.is_empty()))
                .await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_stopped_table_copy_leaves_nothing() -> Result<()> {
    for (from, to) in [
        (Kind::Maria, Kind::Postgres),
        (Kind::Postgres, Kind::Lite),
        (Kind::Postgres, Kind::Redshift),
        (Kind::Maria, Kind::Redshift),
    ] {
        let told = format!("{from:?} into {to:?}");
        let world = World::start().await?;
        let source = Database::start(&world, from, "source").await?;
        source.run("CREATE TABLE anything (id bigint, note text)").await?;
        let target = Target::start(&world, to).await?;
        let place = format!("{}.moved", target.database.schema);
        for staging in [json!({}), json!({"s3_staging": "s3://lake/staging", "s3_conn_id": "s3"})] {
            if to != Kind::Redshift && staging.get("s3_staging").is_some() {
                continue;
            }
            let mut parameters = json!({
                "source_conn_id": source.conn_id, "target_conn_id": target.database.conn_id,
                "tables": {
                    "source": format!("{}.anything", source.schema), "target": place, "sync_mode": "full_sync",
                    "custom_select": endless(from).replace("1000000", "1000"), "count_rows": false,
                },
            });
            if let (Some(parameters), Some(staging)) = (parameters.as_object_mut(), staging.as_object()) {
                parameters.extend(staging.clone());
            }
            let task = Task::new(&world, "table_copy", parameters);
            let ended = task.run_until(&told, async || running(&source).is_ok_and(|count| count == 1)).await?;
            is_cancelled(&ended).with_context(|| told.clone())?;
            no_query_is_left(&source).await?;
            no_upload_is_left(&world).await?;
            assert_eq!(target.rows().await?, Target::before(), "{told}");
            wait_until("no staging table is left", PATIENCE, async || {
                target.leftovers().is_ok_and(|left| left.is_empty())
            })
            .await
            .with_context(|| format!("{told}: {:?}", target.leftovers()))?;
            let keys = world.keys("").await?;
            assert!(keys.is_empty(), "{told}: {keys:?}");
        }
    }
    Ok(())
}
