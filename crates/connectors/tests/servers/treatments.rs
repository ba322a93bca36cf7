//! Keys that were changed when they were extracted, and tell rows apart no more when they are loaded.

use anyhow::{Context, Result};
use futures::TryStreamExt;
use millrace_operator_api::TaskError;
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind, run};
use crate::tasks::Task;
use crate::world::{World, some};

fn with(mut base: Value, more: &Value) -> Value {
    if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
        base.extend(more.clone());
    }
    base
}

fn extract(source: &Database, more: &Value) -> Value {
    let base = json!({
        "sql_conn_id": source.conn_id, "query": "SELECT * FROM people", "s3_bucket": "lake", "s3_key": "people.csv",
        "aws_conn_id": "s3", "replace": true, "hash_conn_id": source.conn_id,
    });
    with(base, more)
}

fn upsert(target: &Database, more: &Value) -> Value {
    let base = json!({
        "warehouse_conn_id": target.conn_id, "aws_conn_id": "s3", "schema": "dw", "table": "people", "upsert_keys": "email",
        "order_key": "at",
    });
    with(base, more)
}

fn failed(result: Result<Value, TaskError>) -> Result<String> {
    match result {
        Err(TaskError::Fail(text)) => Ok(text),
        other => anyhow::bail!("it should have failed for good: {other:?}"),
    }
}

#[tokio::test]
async fn an_upsert_by_a_masked_or_dropped_key_is_refused_and_one_by_a_hashed_key_is_not() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source
        .run(
            "CREATE TABLE people (email text, at timestamp, note text);
             INSERT INTO people VALUES ('a@x', '2024-01-01', 'one'), ('b@x', '2024-01-02', 'two')",
        )
        .await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    target
        .run("CREATE TABLE dw.people (email text PRIMARY KEY, at text, note text); INSERT INTO dw.people VALUES ('old', '', '')")
        .await?;
    let count = async || target.rows("SELECT COUNT(*) FROM dw.people").await;
    let by_key = json!({"s3_bucket": "lake", "s3_key": "people.csv"});
    let by_task = json!({"from_task": "extract"});
    let ways = [json!({}), json!({"format": "parquet"}), json!({"max_rows_per_file": 1})];
    for way in &ways {
        for (columns, said) in [
            (json!({"email": "mask"}), "email was masked"),
            (json!({"email": "drop"}), "email was left out"),
            (json!({"at": "hash"}), "order_key at was hashed"),
            (json!({"at": "drop"}), "order_key at was left out"),
        ] {
            let wanted = with(way.clone(), &json!({"columns": columns}));
            let written = Task::new(&world, "sql_to_s3", extract(&source, &wanted)).run(1).await?;
            for from in [&by_key, &by_task] {
                let text = failed(Task::new(&world, "upsert", upsert(&target, from)).after(&written).run(1).await)?;
                assert!(text.contains(said) && text.contains("dw.people"), "{wanted} {from}: {text}");
            }
            assert_eq!(count().await?, [some(&["1"])], "{wanted}");
        }
        // Hashes are as many as there were keys.
        let hashed = with(way.clone(), &json!({"columns": {"email": "hash"}}));
        let written = Task::new(&world, "sql_to_s3", extract(&source, &hashed)).run(1).await?;
        Task::new(&world, "upsert", upsert(&target, &by_task)).after(&written).run(1).await?;
        assert_eq!(count().await?, [some(&["3"])], "{way}");
        target.run("DELETE FROM dw.people WHERE email <> 'old'").await?;
    }
    let mut file = extract(&source, &json!({"columns": {"email": "mask"}}));
    for name in ["s3_bucket", "s3_key", "aws_conn_id", "replace"] {
        file.as_object_mut().context("parameters")?.remove(name);
    }
    let written = Task::new(&world, "extract", file).run(1).await?;
    assert_eq!(written["shape"]["personal"], json!({"email": "mask"}));
    Ok(())
}

#[tokio::test]
async fn two_times_of_a_key_do_not_become_one_moment() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    // 02:30 was on no clock of New York that day; 01:30 in November was there twice.
    source
        .run(
            "CREATE TABLE people (email timestamp, at int, note text);
             INSERT INTO people VALUES ('2024-11-03 01:30', 1, 'twice'), ('2024-03-10 03:30', 1, 'real'), \
             ('2024-03-10 02:30', 1, 'no such')",
        )
        .await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    target.run("CREATE TABLE dw.people (email timestamptz PRIMARY KEY, at int, note text)").await?;
    let zone = json!({"source_timezone": "America/New_York"});
    // The extract that knows the key names the row.
    let meant = json!({"warehouse_conn_id": target.conn_id, "schema": "dw", "table": "people", "key": "email"});
    let told = extract(&source, &with(zone.clone(), &json!({"for_table": meant})));
    let text = Task::new(&world, "sql_to_s3", told).run(1).await.err().context("two rows of one key")?.to_string();
    assert!(text.contains("row 3, column 1 (email)") && text.contains("clocks of America/New_York skipped"), "{text}");
    assert!(world.keys("people").await?.is_empty());
    // One that does not tells the load.
    let written = Task::new(&world, "sql_to_s3", extract(&source, &zone)).run(1).await?;
    assert_eq!(written["skipped"], json!(["email"]));
    let load = upsert(&target, &json!({"from_task": "extract"}));
    let text = failed(Task::new(&world, "upsert", load).after(&written).run(1).await)?;
    assert!(text.contains("times of email") && text.contains("for_table: {key: email"), "{text}");
    // Without a file between it is known as well, and to table_copy.
    world.change(&source.conn_id, |connection| {
        connection.extra.0.insert("source_timezone".to_owned(), json!("America/New_York"));
    });
    let direct = json!({
        "warehouse_conn_id": target.conn_id, "schema": "dw", "table": "people", "upsert_keys": "email", "order_key": "at",
        "sql_conn_id": source.conn_id, "query": "SELECT * FROM people",
    });
    let direct = async || Task::new(&world, "upsert", direct.clone()).run(1).await;
    let text = direct().await.err().context("two rows of one key")?.to_string();
    assert!(text.contains("row 3, column 1 (email)"), "{text}");
    let copying = json!({
        "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
        "tables": [{"source": "public.people", "target": "dw.people", "primary_key": "email", "sync_mode": "incremental_sync",
                    "incremental_field": "at", "incremental_field_type": "integer"}],
    });
    let text = run(&world, 1, copying.clone()).await.err().context("two rows of one key")?.to_string();
    assert!(text.contains("row 3, column 1 (email)"), "{text}");
    assert_eq!(target.rows("SELECT COUNT(*) FROM dw.people").await?, [some(&["0"])]);
    // An hour that was there twice makes no two keys one.
    source.run("DELETE FROM people WHERE note = 'no such'").await?;
    direct().await?;
    run(&world, 2, copying).await?;
    let found = target.rows("SELECT (email AT TIME ZONE 'UTC')::text, note FROM dw.people ORDER BY 1").await?;
    assert_eq!(found, [some(&["2024-03-10 07:30:00", "real"]), some(&["2024-11-03 06:30:00", "twice"])]);
    Ok(())
}

#[tokio::test]
async fn a_window_and_the_values_in_it_go_by_one_clock() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run(
            "CREATE TABLE people (email varchar(20), at datetime);
             INSERT INTO people VALUES ('first of UTC', '1970-01-01 00:00:00'), ('first of Seoul', '1970-01-01 09:00:00'),
             ('last of Seoul', '1970-01-02 08:59:59')",
        )
        .await?;
    let mut connection = source.connection(&world)?;
    connection.extra.0.insert("source_timezone".to_owned(), json!("Asia/Seoul"));
    world.add(connection);
    let read = |more: Value| {
        let by = with(json!({"modified_field": "at"}), &more["incremental"]);
        let more = with(more, &json!({"incremental": by}));
        extract(&source, &more)
    };
    let text =
        failed(Task::new(&world, "sql_to_s3", read(json!({"incremental": {"source_timezone": "UTC"}}))).run(1).await)?;
    assert!(text.contains("source_timezone says UTC, but the values of at are read as times of Asia/Seoul"), "{text}");
    assert!(text.contains("columns: {at: {timezone: UTC}}"), "{text}");
    let ways = [
        (json!({}), ["first of Seoul,1970-01-01 00:00:00", "last of Seoul,1970-01-01 23:59:59"]),
        (
            json!({"incremental": {"source_timezone": "Asia/Seoul"}}),
            ["first of Seoul,1970-01-01 00:00:00", "last of Seoul,1970-01-01 23:59:59"],
        ),
        (
            json!({"columns": {"at": {"timezone": "UTC"}}}),
            ["first of UTC,1970-01-01 00:00:00", "first of Seoul,1970-01-01 09:00:00"],
        ),
        (
            json!({"source_timezone": "UTC", "incremental": {"source_timezone": "UTC"}}),
            ["first of UTC,1970-01-01 00:00:00", "first of Seoul,1970-01-01 09:00:00"],
        ),
    ];
    for (way, expected) in ways {
        Task::new(&world, "sql_to_s3", read(way.clone())).run(1).await?;
        let store = world.store().await?;
        let body: Vec<bytes::Bytes> = store.get("lake", "people.csv").await?.try_collect().await?;
        let text = String::from_utf8(body.concat())?;
        assert_eq!(text.lines().collect::<Vec<_>>(), expected, "{way}");
    }
    Ok(())
}

#[tokio::test]
async fn rows_without_a_file_are_masked_hashed_and_left_out_too() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run(
            "CREATE TABLE people (email varchar(40), ssn varchar(20), phone varchar(20), at datetime);
             INSERT INTO people VALUES ('kim@example.com', '900101', '010', '2024-01-01 09:00:00')",
        )
        .await?;
    world.add(millrace_operator_api::connection::Connection {
        password: Some("key".into()),
        ..crate::world::connection("hashing", "aws")
    });
    for kind in [Kind::Postgres, Kind::Lite, Kind::Redshift] {
        let target = Database::start(&world, kind, "target").await?;
        let place = target.place("people");
        target.run(&format!("CREATE TABLE {place} (email varchar(64), phone varchar(20), at timestamp)")).await?;
        let load = |more: Value| {
            let base = json!({
                "warehouse_conn_id": target.conn_id, "table": "people", "upsert_keys": "email", "sql_conn_id": source.conn_id,
                "query": "SELECT * FROM people", "hash_conn_id": "hashing", "source_timezone": "Asia/Seoul",
                "treat": {"email": "hash", "ssn": "drop", "phone": "mask"},
            });
            let schema = if kind == Kind::Lite { json!({}) } else { json!({"schema": "dw"}) };
            with(with(base, &schema), &more)
        };
        Task::new(&world, "upsert", load(json!({}))).run(1).await?;
        let digest = "0a6604526bb820a6e4a4ec6c30a9fe28a6ea49e74a766f7ee374fa7ee8cf7c84";
        let rows = target.rows(&format!("SELECT * FROM {place}")).await?;
        assert_eq!(rows, [some(&[digest, "***", "2024-01-01 00:00:00"])], "{kind:?}");
        let masked = load(json!({"treat": {"email": "mask"}}));
        let text = failed(Task::new(&world, "upsert", masked).run(1).await)?;
        assert!(text.contains("email was masked"), "{kind:?}: {text}");
        let unknown = load(json!({"treat": {"emial": "hash"}}));
        let text = failed(Task::new(&world, "upsert", unknown).run(1).await)?;
        assert!(text.contains("treat names 'emial', but the query gives email, ssn, phone, at"), "{kind:?}: {text}");
    }
    Ok(())
}

#[tokio::test]
async fn a_day_that_its_month_does_not_have_is_named_and_can_be_left_out() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run(
            "SET SESSION sql_mode = 'ALLOW_INVALID_DATES'; CREATE TABLE people (id int, born date, seen datetime); \
             INSERT INTO people VALUES (1, '2024-02-29', '2024-12-31 10:00:00'), (2, '2024-02-31', '2024-04-31 10:00:00')",
        )
        .await?;
    let read = async |more: Value| Task::new(&world, "sql_to_s3", extract(&source, &more)).run(1).await;
    let mended = |name: &str| format!("IF(DAYOFMONTH({name}) <= DAYOFMONTH(LAST_DAY({name})), {name}, NULL) AS {name}");
    for policy in ["error", "null"] {
        let error = failed(read(json!({"zero_dates": policy})).await)?;
        assert!(error.contains("row 2, column 2 (born): the date is a day that its month does not have"), "{error}");
        assert!(error.contains(&mended("born")), "{error}");
    }
    let text = async || -> Result<String> {
        let bytes: Vec<_> = world.store().await?.get("lake", "people.csv").await?.try_collect().await?;
        Ok(String::from_utf8(bytes.concat())?)
    };
    read(json!({"zero_dates": "keep"})).await?;
    assert_eq!(text().await?, "1,2024-02-29,2024-12-31 10:00:00\n2,2024-02-31,2024-04-31 10:00:00\n");
    // What the message says.
    read(json!({"query": format!("SELECT id, {}, {} FROM people", mended("born"), mended("seen"))})).await?;
    assert_eq!(text().await?, "1,2024-02-29,2024-12-31 10:00:00\n2,\\N,\\N\n");
    Ok(())
}
