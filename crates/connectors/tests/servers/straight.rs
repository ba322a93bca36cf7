//! Rows that go into a PostgreSQL table itself: others may write meanwhile, nobody sees a part of them, and a second try
//! of the same work waits for the first.

use std::sync::Arc;

use anyhow::{Context, Result};
use futures::{StreamExt, stream};
use millrace_operator_api::context::Reporter;
use millrace_operator_api::ports::{
    BuildRequest, LoadMethod, LoadRequest, LoadRows, RowBatch, RowStream, SourceColumn, TableName, ValueType,
};
use millrace_testkit::{Postgres, TestDatabase, wait_until};
use tokio::sync::Notify;

use crate::snapshots::Heard;
use crate::tasks::PATIENCE;
use crate::world::{World, refused, some, stream_of, work};

const COLUMNS: [(&str, ValueType); 1] = [("id", ValueType::Integer { bits: 64, signed: true })];

async fn start(ddl: &str) -> Result<(TestDatabase, World)> {
    let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
    database.execute(ddl)?;
    let world = World::start().await?;
    world.add_url("pg", "postgres", &database.url())?;
    Ok((database, world))
}

fn request(rows: RowStream, method: LoadMethod, generation: u32) -> LoadRequest {
    let target = TableName { schema: None, name: "straight".to_owned() };
    LoadRequest {
        columns: Some(vec!["id".to_owned()]),
        ..LoadRequest::new(target, method, LoadRows::direct(rows), work(generation))
    }
}

fn rebuilt(generation: u32) -> BuildRequest {
    BuildRequest {
        target: TableName { schema: None, name: "straight".to_owned() },
        select: "SELECT generate_series(1, 2)".to_owned(),
        columns_ddl: None,
        checks: Vec::new(),
        keep_failed: false,
        also: Vec::new(),
        work: work(generation),
    }
}

/// Rows from `first` on, the last of which comes when it is told to; enough that the first are sent before.
fn slow_rows(go_on: &Arc<Notify>, first: u64) -> RowStream {
    let go_on = Arc::clone(go_on);
    let batch = |ids: std::ops::Range<u64>| {
        let mut batch = RowBatch::new(1);
        ids.for_each(|id| batch.push(Some(id.to_string().as_bytes())));
        Ok(batch)
    };
    let many = stream::iter([batch(first..first + 30_000)]);
    let last = stream::once(async move {
        go_on.notified().await;
        batch(first + 30_000..first + 30_001)
    });
    let columns = COLUMNS
        .map(|(name, value)| SourceColumn { name: name.to_owned(), type_name: value.to_string(), value })
        .to_vec();
    RowStream { columns, batches: many.chain(last).boxed() }
}

fn count(database: &TestDatabase) -> Result<String> {
    let rows = database.query("SELECT count(*) FROM straight")?;
    Ok(rows[0][0].clone().unwrap_or_default())
}

/// The COPY waits for its client: the rows that were sent are in.
async fn is_copying(database: &TestDatabase, copies: usize) -> Result<()> {
    let sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY \"straight\"%' \
               AND state = 'active' AND wait_event = 'ClientRead'";
    wait_until("the rows are being copied", PATIENCE, async || {
        database.query(sql).is_ok_and(|rows| rows.len() == copies)
    })
    .await
}

#[tokio::test]
async fn whoever_holds_the_table_is_named_in_the_log_of_the_try_that_waits() -> Result<()> {
    let (database, world) = start("CREATE TABLE straight (id bigint)").await?;
    // A copy has the same tables, by number too.
    let copy = tokio::task::spawn_blocking({
        let server = database.server().clone();
        move || server.copy_database(&database).map(|copy| (copy, database))
    });
    let (copy, database) = copy.await??;
    let role = format!("waiter_of_{}", database.name());
    database.execute(&format!(
        "CREATE ROLE {role} LOGIN PASSWORD 'in'; GRANT ALL ON SCHEMA public TO {role}; GRANT ALL ON straight TO {role}"
    ))?;
    let outsider = format!("postgres://{role}:in@127.0.0.1:{}/{}", database.server().port(), database.name());
    world.add_url("outsider", "postgres", &outsider)?;
    let holder = async |url: &str, name: &str, mode: &str| {
        let (holder, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        let lock = format!("SET application_name TO '{name}'; BEGIN; LOCK TABLE straight IN {mode} MODE");
        holder.batch_execute(&lock).await?;
        let pid: i32 = holder.query_one("SELECT pg_backend_pid()", &[]).await?.get(0);
        anyhow::Ok((holder, pid))
    };
    let _elsewhere = holder(&copy.url(), "elsewhere", "EXCLUSIVE").await?;
    // A swap waits for readers, too.
    for (generation, (conn_id, mode, since)) in (1..).zip([
        ("outsider", "EXCLUSIVE", "; readers"),
        ("pg", "EXCLUSIVE", ", its transaction open since 20"),
        ("pg", "ACCESS SHARE", ", its transaction open since 20"),
    ]) {
        let heard = Arc::new(Heard::default());
        let mut context = world.context(1);
        context.reporter = Arc::clone(&heard) as Arc<dyn Reporter>;
        let warehouse = millrace_operator_api::ports::Ports::warehouse(&*world.connectors, &context, conn_id).await?;
        let (holder, pid) = holder(&database.url(), "a report", mode).await?;
        let go_on = Arc::new(Notify::new());
        go_on.notify_one();
        let load = async {
            if mode == "ACCESS SHARE" {
                return warehouse.build_and_swap(rebuilt(generation)).await.map(|built| built.rows);
            }
            let load = request(slow_rows(&go_on, 1), LoadMethod::Replace, generation);
            warehouse.load(load).await.map(|loaded| loaded.rows_inserted)
        };
        let release = async {
            let told = || heard.0.lock().ok()?.iter().find(|line| line.contains("waiting for a lock")).cloned();
            wait_until("the holder is named", PATIENCE, async || told().is_some()).await?;
            holder.batch_execute("ROLLBACK").await?;
            told().context("a line")
        };
        let (loaded, told) = tokio::join!(load, release);
        let told = told?;
        assert_eq!(count(&database)?, loaded?.unwrap_or_default().to_string());
        assert!(told.contains("waiting for a lock on \"straight\", held by process "), "{conn_id}: {told}");
        assert!(told.contains(&format!("process {pid} of ")), "{conn_id}: {told}");
        assert!(told.contains(&format!("(a report){since}")), "{conn_id}: {told}");
        assert!(!told.contains("elsewhere"), "{conn_id}: {told}");
    }
    database.execute(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))?;
    Ok(())
}

#[tokio::test]
async fn appends_keep_nobody_from_writing_and_are_seen_whole() -> Result<()> {
    let (database, world) = start("CREATE TABLE straight (id bigint)").await?;
    let context = world.context(1);
    let warehouse = millrace_operator_api::ports::Ports::warehouse(&*world.connectors, &context, "pg").await?;
    let (one, other) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let loads = async {
        tokio::join!(
            warehouse.load(request(slow_rows(&one, 0), LoadMethod::Append, 1)),
            warehouse.load(request(slow_rows(&other, 100_000), LoadMethod::Append, 2)),
        )
    };
    let meanwhile = async {
        is_copying(&database, 2).await?;
        database.execute("INSERT INTO straight VALUES (-1)")?;
        assert_eq!(count(&database)?, "1", "nothing of the loads is seen yet");
        one.notify_one();
        other.notify_one();
        anyhow::Ok(())
    };
    let ((one, other), meanwhile) = tokio::join!(loads, meanwhile);
    meanwhile?;
    assert_eq!((one?.rows_inserted, other?.rows_inserted), (Some(30_001), Some(30_001)));
    assert_eq!(count(&database)?, "60003");
    Ok(())
}

#[tokio::test]
async fn a_second_try_waits_for_the_first_and_then_loads_nothing() -> Result<()> {
    for method in [LoadMethod::Append, LoadMethod::Replace] {
        let (database, world) = start("CREATE TABLE straight (id bigint)").await?;
        let context = world.context(1);
        let warehouse = millrace_operator_api::ports::Ports::warehouse(&*world.connectors, &context, "pg").await?;
        let go_on = Arc::new(Notify::new());
        let first = warehouse.load(request(slow_rows(&go_on, 0), method.clone(), 1));
        let second = async {
            is_copying(&database, 1).await?;
            let waiting = async {
                let sql = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
                wait_until("the second try waits", PATIENCE, async || {
                    database.query(sql).is_ok_and(|rows| !rows.is_empty())
                })
                .await?;
                go_on.notify_one();
                anyhow::Ok(())
            };
            let rows = stream_of(&COLUMNS, &vec![some(&["7"])]);
            let (loaded, waited) = tokio::join!(warehouse.load(request(rows, method.clone(), 1)), waiting);
            waited?;
            anyhow::Ok(loaded?)
        };
        let (first, second) = tokio::join!(first, second);
        assert!(!first?.was_loaded_before && second?.was_loaded_before, "{method:?}");
        assert_eq!(count(&database)?, "30001", "{method:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_the_table_refuses_leaves_it_as_it_was() -> Result<()> {
    let (database, world) = start(
        "CREATE TABLE straight (id bigint PRIMARY KEY, made timestamp DEFAULT now()); INSERT INTO straight VALUES (7)",
    )
    .await?;
    let context = world.context(1);
    let warehouse = millrace_operator_api::ports::Ports::warehouse(&*world.connectors, &context, "pg").await?;
    let rows = stream_of(&COLUMNS, &vec![some(&["5"]), some(&["6"]), some(&["7"])]);
    let error = refused(warehouse.load(request(rows, LoadMethod::Append, 1)).await)?;
    for word in ["row 3 of the source", "has a key that is there already", "23505"] {
        assert!(error.message.contains(word), "{word:?} is missing in {}", error.message);
    }
    assert_eq!(count(&database)?, "1");
    let rows = stream_of(&COLUMNS, &vec![some(&["5"]), some(&["6"])]);
    assert_eq!(warehouse.load(request(rows, LoadMethod::Append, 1)).await?.rows_inserted, Some(2));
    // Where rows are replaced, these go by the staging table.
    let rows = stream_of(&COLUMNS, &vec![some(&["8"])]);
    let replaced = warehouse.load(request(rows, LoadMethod::Replace, 2)).await?;
    assert_eq!((replaced.rows_deleted, replaced.rows_inserted), (Some(3), Some(1)));
    Ok(())
}
