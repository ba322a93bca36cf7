//! What a run reads of its data interval: every row that belongs to it, or the task says why it cannot know.

use anyhow::Result;
use millrace_operator_api::TaskError;
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind};
use crate::tasks::Task;
use crate::world::World;

/// How many rows of the first day of 1970 are read, or what is said instead.
async fn read(world: &World, source: &Database, block: Value) -> Result<u64, String> {
    read_of(world, source, "t", block).await
}

async fn read_of(world: &World, source: &Database, table: &str, block: Value) -> Result<u64, String> {
    let parameters = json!({
        "sql_conn_id": source.conn_id, "query": format!("SELECT * FROM {table}; -- done"), "s3_bucket": "lake", "s3_key": "t.csv", "aws_conn_id": "s3",
        "replace": true, "incremental": block,
    });
    match Task::new(world, "sql_to_s3", parameters).run(1).await {
        Ok(said) => said["rows"].as_u64().ok_or_else(|| said.to_string()),
        Err(TaskError::Fail(message)) => Err(message),
        Err(other) => Err(format!("not for good: {other:?}")),
    }
}

fn window(more: Value) -> Value {
    let mut block = json!({"source_timezone": "UTC", "modified_field": "at"});
    if let (Some(block), Some(more)) = (block.as_object_mut(), more.as_object()) {
        block.extend(more.clone());
    }
    block
}

#[tokio::test]
async fn a_misspelt_deleted_field_stops_the_task() -> Result<()> {
    let world = World::start().await?;
    for kind in [Kind::Postgres, Kind::Maria, Kind::Lite] {
        let source = Database::start(&world, kind, "source").await?;
        let moment = if kind == Kind::Maria { "datetime" } else { "timestamp" };
        source.run(&format!("CREATE TABLE t (id int, at {moment} NULL, deleted_at {moment} NULL)")).await?;
        source
            .run("INSERT INTO t VALUES (1, '1970-01-01 10:00:00', NULL), (2, '1969-01-01 10:00:00', '1970-01-01 11:00:00')")
            .await?;
        assert_eq!(read(&world, &source, window(json!({"deleted_field": "deleted_at"}))).await, Ok(2), "{kind:?}");
        let said = read(&world, &source, window(json!({"deleted_field": "delted_at"}))).await.unwrap_err();
        assert!(said.contains("no column delted_at; it has id, at, deleted_at"), "{kind:?}: {said}");
    }
    Ok(())
}

#[tokio::test]
async fn texts_that_would_be_in_no_window_stop_the_task() -> Result<()> {
    let world = World::start().await?;
    for kind in [Kind::Postgres, Kind::Maria] {
        let source = Database::start(&world, kind, "source").await?;
        source.run("CREATE TABLE t (id int, at varchar(40)); INSERT INTO t VALUES (1, '01/01/1970 10:00')").await?;
        let said = read(&world, &source, window(json!({}))).await.unwrap_err();
        assert!(said.contains("STR_TO_DATE(at, '%Y-%m-%d %H:%i:%s')"), "{kind:?}: {said}");
    }
    let source = Database::start(&world, Kind::Lite, "source").await?;
    source.run("CREATE TABLE t (id int, at TEXT, gone TEXT)").await?;
    source
        .run("INSERT INTO t VALUES (1, '1970-01-01 10:00:00', NULL), (2, '1969-01-01', '1970-01-01 11:00:00'), (3, NULL, '1970-01-01')")
        .await?;
    let block = window(json!({"deleted_field": "gone"}));
    assert_eq!(read(&world, &source, block.clone()).await, Ok(3));
    source.run("UPDATE t SET gone = 'Y' WHERE id = 3").await?;
    assert_eq!(read(&world, &source, block).await, Ok(1), "a flag");
    for (stray, mend) in [
        ("1970-01-01T10:30:00", "datetime(at) AS"),
        ("1970-01-01 10:30:00-08:00", "datetime(at) AS"),
        ("1970-01-01 10:30:00Z", "datetime(at) AS"),
        ("1970-01-01 9:30:00", "datetime(at) AS"),
        ("1970-01-01 09:30:00 PM", "substr(at, …)"),
        ("01/01/1970 10:00", "substr(at, …)"),
        ("1704067200", "datetime(at, 'unixepoch')"),
    ] {
        source.run(&format!("UPDATE t SET at = '{stray}' WHERE id = 2")).await?;
        let said = read(&world, &source, window(json!({}))).await.unwrap_err();
        assert!(said.contains(mend), "{stray}: {said}");
        assert!(!said.contains(stray), "{said}");
    }
    // SQLite binds no value to its column's type.
    source
        .run("CREATE TABLE d (id int, at DATETIME, gone DATETIME); INSERT INTO d VALUES (1, 1704067200, NULL)")
        .await?;
    let said = read_of(&world, &source, "d", window(json!({}))).await.unwrap_err();
    assert!(said.contains("datetime(at, 'unixepoch')"), "{said}");
    Ok(())
}
