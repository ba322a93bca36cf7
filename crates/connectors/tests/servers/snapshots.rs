//! Several readers of one moment, limits of a connection, and queries that end with their task.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use futures::TryStreamExt;
use millrace_model::ledger::{Checkpoint, LedgerEntry};
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::TaskError;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::context::{LogLevel, Reporter};
use millrace_operator_api::ports::Ports;
use millrace_testkit::{MariaDb, Postgres, TestDatabase, wait_until};
use serde_json::{Value, json};

use crate::tasks::Task;
use crate::world::{World, cells, connection, extra, refused, some};

#[tokio::test]
async fn postgres_readers_see_one_moment() -> Result<()> {
    let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
    let world = World::start().await?;
    world.add_url("pg", "postgres", &database.url())?;
    database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")?;
    let source = world.connectors.source(&world.context(1), "pg").await?;
    let snapshot = source.snapshot(3).await?.context("a snapshot")?;
    assert_eq!((snapshot.readers.len(), snapshot.note), (3, None));
    database.execute("DELETE FROM t; INSERT INTO t VALUES (9)")?;
    for reader in &snapshot.readers {
        assert_eq!(cells(reader.query("SELECT sum(a) FROM t").await?).await?, [some(&["3"])]);
    }
    assert_eq!(cells(source.query("SELECT sum(a) FROM t").await?).await?, [some(&["9"])]);
    Ok(())
}

#[tokio::test]
async fn mariadb_readers_see_one_moment_or_there_is_one_only() -> Result<()> {
    let database = tokio::task::spawn_blocking(|| MariaDb::shared()?.create_database()).await??;
    let world = World::start().await?;
    world.add_url("maria", "mysql", &database.url())?;
    database.execute("CREATE TABLE t (a int); INSERT INTO t VALUES (1), (2)")?;
    // Production is not stopped unless its connection says so.
    let source = world.connectors.source(&world.context(1), "maria").await?;
    let snapshot = source.snapshot(3).await?.context("a snapshot")?;
    assert_eq!(snapshot.readers.len(), 1);
    assert!(snapshot.note.context("a reason")?.contains("flush_tables: true"));
    world.change("maria", |connection| connection.extra = extra(json!({"flush_tables": true})));
    let source = world.connectors.source(&world.context(1), "maria").await?;
    let snapshot = source.snapshot(3).await?.context("a snapshot")?;
    assert_eq!((snapshot.readers.len(), snapshot.note), (3, None));
    // Nothing is locked any more.
    database.execute("DELETE FROM t; INSERT INTO t VALUES (9)")?;
    for reader in &snapshot.readers {
        assert_eq!(cells(reader.query("SELECT sum(a) FROM t").await?).await?, [some(&["3"])]);
        assert_eq!(refused(reader.query("SELECT 1").await.map(drop))?.kind, PortErrorKind::Invalid);
    }
    let user = format!("r{}", database.name().chars().rev().take(8).collect::<String>());
    database.execute(&format!(
        "CREATE USER '{user}'@'%' IDENTIFIED BY 'secret'; GRANT SELECT ON {}.* TO '{user}'@'%'",
        database.name()
    ))?;
    let url = database.url();
    let place = url.split_once('@').context("a place")?.1;
    world.add_url("poor", "mysql", &format!("mysql://{user}:secret@{place}"))?;
    world.change("poor", |connection| connection.extra = extra(json!({"flush_tables": true})));
    let poor = world.connectors.source(&world.context(1), "poor").await?;
    let snapshot = poor.snapshot(3).await?.context("a snapshot")?;
    assert_eq!(snapshot.readers.len(), 1);
    let note = snapshot.note.context("a reason")?;
    assert!(note.contains("FLUSH TABLES WITH READ LOCK") && !note.contains("secret"), "{note}");
    assert_eq!(cells(snapshot.readers[0].query("SELECT sum(a) FROM t").await?).await?, [some(&["9"])]);
    database.execute(&format!("DROP USER '{user}'@'%'"))?;
    Ok(())
}

/// What the operator says that reads the query in three ranges of `id`, and the ids that it wrote.
async fn split(database: &TestDatabase, world: &World, query: &str) -> Result<(Result<Value, TaskError>, Vec<String>)> {
    world.add_url("pg", "postgres", &database.url())?;
    let parameters = json!({
        "sql_conn_id": "pg", "query": query, "s3_bucket": "lake", "s3_key": "t.manifest", "aws_conn_id": "s3",
        "replace": true, "split_by": "id", "readers": 3,
    });
    let said = Task::new(world, "sql_to_s3", parameters).run(1).await;
    let store = world.store().await?;
    let mut ids = Vec::new();
    for key in world.keys("t.manifest.parts/").await? {
        let pieces: Vec<_> = store.get("lake", &key).await?.try_collect().await?;
        ids.extend(String::from_utf8(pieces.concat())?.lines().map(ToOwned::to_owned));
    }
    ids.sort();
    Ok((said, ids))
}

#[tokio::test]
async fn ranges_of_numbers_of_38_digits_give_each_row_once() -> Result<()> {
    let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
    let world = World::start().await?;
    database.execute(
        "CREATE TABLE t (id numeric(38,0)); INSERT INTO t VALUES (1e34), (2.5e37), (4e37), (6e37), (8e37), (9.999e37)",
    )?;
    let (said, ids) = split(&database, &world, "SELECT id FROM t").await?;
    assert_eq!(said?["rows"], 6);
    assert_eq!(
        Some(ids),
        database.query("SELECT id FROM t ORDER BY id::text")?.into_iter().map(|row| row[0].clone()).collect()
    );
    Ok(())
}

#[tokio::test]
async fn a_query_that_answers_differently_each_time_is_not_split() -> Result<()> {
    let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
    let world = World::start().await?;
    database.execute("CREATE TABLE t AS SELECT generate_series(1, 5000)::bigint AS id")?;
    let (said, ids) = split(&database, &world, "SELECT id FROM t ORDER BY random() LIMIT 1000").await?;
    let Err(TaskError::Fail(message)) = said else { anyhow::bail!("it should have been refused: {said:?}") };
    assert!(message.contains("the query has RANDOM()"), "{message}");
    assert_eq!(ids, Vec::<String>::new());
    Ok(())
}

/// A source of a thousand rows, whose connection has these settings.
async fn limited(settings: serde_json::Value) -> Result<World> {
    let world = World::start().await?;
    let path = world.folder.path().join("limited.db");
    std::fs::File::create(&path)?;
    let schema = Some(path.display().to_string());
    world.add(Connection { schema: schema.clone(), ..connection("free", "sqlite") });
    world.add(Connection { schema, extra: extra(settings), ..connection("lite", "sqlite") });
    let context = world.context(1);
    let fill = "CREATE TABLE t AS WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000) \
         SELECT n FROM s";
    world.connectors.warehouse(&context, "free").await?.execute(&[fill.to_owned()], false, &context.work).await?;
    Ok(world)
}

#[tokio::test]
async fn no_more_queries_run_than_the_connection_allows() -> Result<()> {
    let world = limited(json!({"max_concurrency": 2, "source_timezone": "Asia/Seoul"})).await?;
    let source = world.connectors.source(&world.context(1), "lite").await?;
    assert_eq!(source.source_timezone(), Some("Asia/Seoul"));
    let first = source.query("SELECT n FROM t").await?;
    let _second = source.query("SELECT n FROM t").await?;
    // Another task's handle on the same connection.
    let other = world.connectors.source(&world.context(1), "lite").await?;
    let mut third = Box::pin(other.query("SELECT n FROM t"));
    let is_waiting = tokio::select! {
        biased;
        _ = &mut third => false,
        () = tokio::task::yield_now() => true,
    };
    assert!(is_waiting);
    drop(first);
    assert_eq!(cells(third.await?).await?.len(), 1_000);
    let world = limited(json!({"max_concurrency": "none"})).await?;
    let error = refused(world.connectors.source(&world.context(1), "lite").await.map(drop))?;
    assert!(error.message.contains("max_concurrency is no number above 0"), "{}", error.message);
    Ok(())
}

#[tokio::test]
async fn rows_come_no_faster_than_the_connection_allows() -> Result<()> {
    let world = limited(json!({"max_rows_per_second": 2_000})).await?;
    let source = world.connectors.source(&world.context(1), "lite").await?;
    let before = std::time::Instant::now();
    for _ in 0..3 {
        assert_eq!(cells(source.query("SELECT n FROM t").await?).await?.len(), 1_000);
    }
    // The third thousand may begin when two thousand were due: never earlier, whatever the machine does.
    assert!(before.elapsed() >= Duration::from_millis(990), "{:?}", before.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_cancelled_task_ends_its_query_in_postgres_and_sqlite() -> Result<()> {
    let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
    let world = World::start().await?;
    world.add_url("pg", "postgres", &database.url())?;
    let running = || -> Result<usize> {
        let statement = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND datname = current_database() \
             AND query LIKE '%endless%' AND pid <> pg_backend_pid()";
        Ok(database.query(statement)?.len())
    };
    let source = world.connectors.source(&world.context(1), "pg").await?;
    // The server says nothing before the first row is there.
    let cancelling = async {
        wait_until("the query runs", Duration::from_secs(20), async || running().is_ok_and(|count| count == 1)).await?;
        world.cancel.cancel();
        Ok::<_, anyhow::Error>(())
    };
    let (answer, cancelled) = tokio::join!(source.query("SELECT pg_sleep(600) AS endless"), cancelling);
    cancelled?;
    assert_eq!(refused(answer.map(drop))?.kind, PortErrorKind::Cancelled);
    wait_until("the cancelled query has ended", Duration::from_secs(20), async || {
        running().is_ok_and(|count| count == 0)
    })
    .await?;

    let world = limited(json!({})).await?;
    let source = world.connectors.source(&world.context(1), "lite").await?;
    let endless = "WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s) SELECT n FROM s";
    let mut stream = source.query(endless).await?;
    assert!(stream.batches.try_next().await?.is_some());
    world.cancel.cancel();
    // What was read before may still come.
    let ended = loop {
        match stream.batches.try_next().await {
            Ok(Some(_)) => {}
            other => break other,
        }
    };
    assert_eq!(refused(ended)?.kind, PortErrorKind::Cancelled);
    Ok(())
}

#[tokio::test]
async fn the_planners_of_the_sources_are_asked_how_many_rows_will_come() -> Result<()> {
    let (postgres, maria) = tokio::task::spawn_blocking(|| {
        anyhow::Ok((Postgres::shared()?.create_database()?, MariaDb::shared()?.create_database()?))
    })
    .await??;
    let world = World::start().await?;
    world.add_url("pg", "postgres", &postgres.url())?;
    world.add_url("maria", "mysql", &maria.url())?;
    postgres.execute("CREATE TABLE t AS SELECT n FROM generate_series(1, 1000) n; ANALYZE t")?;
    maria.execute("CREATE TABLE t AS SELECT seq AS n FROM seq_1_to_1000; ANALYZE TABLE t")?;
    for conn_id in ["pg", "maria"] {
        let source = world.connectors.source(&world.context(1), conn_id).await?;
        let expected = async |sql| source.expected_rows(sql).await;
        let all = expected("SELECT n FROM t;").await?.context("a guess")?;
        assert!((900..1_100).contains(&all), "{conn_id}: {all}");
        assert!(expected("SELECT nothing FROM t").await.is_err(), "{conn_id}");
    }
    // A guess of the rows that are read is none of those that a condition leaves.
    let source = world.connectors.source(&world.context(1), "maria").await?;
    for sql in
        ["SELECT n FROM t WHERE n % 7 = 1", "SELECT n FROM t LIMIT 3", "SELECT a.n FROM t a JOIN t b ON a.n = b.n"]
    {
        assert_eq!(source.expected_rows(sql).await?, None, "{sql}");
    }
    world.change("pg", |connection| connection.extra = extra(json!({"max_concurrency": 1})));
    let source = world.connectors.source(&world.context(1), "pg").await?;
    assert_eq!(source.expected_rows("SELECT n FROM t").await?, None, "one query at a time is one");
    Ok(())
}

async fn both_servers(world: &World) -> Result<(TestDatabase, millrace_testkit::MariaDatabase)> {
    let (postgres, maria) = tokio::task::spawn_blocking(|| {
        anyhow::Ok((Postgres::shared()?.create_database()?, MariaDb::shared()?.create_database()?))
    })
    .await??;
    world.add_url("pg", "postgres", &postgres.url())?;
    world.add_url("maria", "mysql", &maria.url())?;
    Ok((postgres, maria))
}

#[tokio::test]
async fn a_query_lasts_no_longer_than_the_connection_allows() -> Result<()> {
    let world = World::start().await?;
    let _servers = both_servers(&world).await?;
    let asked = [
        ("pg", "SELECT current_setting('statement_timeout')", "1s", "SELECT pg_sleep(600)::text"),
        ("maria", "SELECT CAST(@@max_statement_time AS CHAR)", "1.000000", "SELECT CAST(SLEEP(600) AS CHAR)"),
    ];
    for (conn_id, setting, expected, endless) in asked {
        world.change(conn_id, |connection| connection.extra = extra(json!({"statement_timeout": 1})));
        let source = world.connectors.source(&world.context(1), conn_id).await?;
        assert_eq!(cells(source.query(setting).await?).await?, [some(&[expected])], "{conn_id}");
        let ended = async { cells(source.query(endless).await?).await };
        assert!(ended.await.is_err(), "{conn_id}");
    }
    Ok(())
}

#[derive(Default)]
pub struct Heard(pub std::sync::Mutex<Vec<String>>);

impl Reporter for Heard {
    fn log(&self, _: LogLevel, line: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line.to_owned());
    }
    fn checkpoint(&self, _: Checkpoint) {}
    fn ledger(&self, _: LedgerEntry) {}
}

#[tokio::test]
async fn queries_of_a_server_wait_for_each_other_where_the_connection_says_so() -> Result<()> {
    let world = World::start().await?;
    let _servers = both_servers(&world).await?;
    for conn_id in ["pg", "maria"] {
        world.change(conn_id, |connection| connection.extra = extra(json!({"max_concurrency": 1})));
        let heard = Arc::new(Heard::default());
        let mut context = world.context(1);
        context.reporter = Arc::clone(&heard) as Arc<dyn Reporter>;
        let first = world.connectors.source(&context, conn_id).await?.query("SELECT 1").await?;
        let second = world.connectors.source(&context, conn_id).await?;
        let waiting = async {
            let said = format!("waiting: 1 queries run on connection {conn_id} already");
            let is_said = async || heard.0.lock().is_ok_and(|lines| lines.iter().any(|line| line.starts_with(&said)));
            let waited = wait_until("the second query waits", Duration::from_mins(1), is_said).await;
            drop(first);
            waited
        };
        let answer = async { cells(second.query("SELECT 2").await?).await };
        let (answer, waited) = tokio::join!(answer, waiting);
        waited?;
        assert_eq!(answer?, [some(&["2"])], "{conn_id}");
    }
    Ok(())
}
