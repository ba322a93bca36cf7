//! What a server says of a value that it could not take is not told further, unless values may be shown.

use anyhow::Result;
use millrace_operator_api::TaskError;
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind, run};
use crate::tasks::Task;
use crate::world::World;

const SECRET: &str = "kim.secret@example.com";

fn message(result: Result<Value, TaskError>) -> String {
    match result {
        Err(TaskError::Fail(message) | TaskError::Retry(message)) => message,
        other => panic!("it should have failed: {other:?}"),
    }
}

#[tokio::test]
async fn an_error_of_the_source_shows_no_value_of_a_masked_column() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source
        .run(&format!("CREATE TABLE t (id int PRIMARY KEY, email text); INSERT INTO t VALUES (1, '{SECRET}')"))
        .await?;
    for wrong in ["email::int", "email::date", "email::json", "string_to_array(email, '.')::int[]"] {
        let extract = json!({
            "sql_conn_id": source.conn_id, "query": format!("SELECT id, email, {wrong} AS n FROM t"), "s3_bucket": "lake",
            "s3_key": "t.csv", "aws_conn_id": "s3", "columns": {"email": "mask"},
        });
        let said = message(Task::new(&world, "sql_to_s3", extract).run(1).await);
        assert!(said.contains("invalid input syntax for type") && said.contains("SQLSTATE 22"), "{said}");
        assert!(!said.contains("kim") && !said.contains("secret"), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn errors_of_statements_and_copies_show_none_either() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source
        .run(&format!("CREATE TABLE t (id int PRIMARY KEY, email text); INSERT INTO t VALUES (1, '{SECRET}')"))
        .await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    let copy = json!({
        "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
        "tables": {"source": "public.t", "custom_select": "SELECT id, email, email::int AS n FROM t", "target": "dw.t",
                   "primary_key": "id",
                   "columns": {"email": "mask"}},
    });
    let said = message(run(&world, 1, copy).await);
    assert!(said.contains("invalid input syntax for type integer") && !said.contains("kim"), "{said}");
    for kind in [Kind::Postgres, Kind::Redshift, Kind::Wire] {
        let target = Database::start(&world, kind, "target").await?;
        target.run("CREATE TABLE dw.people (email varchar(60), n int)").await?;
        target.run(&format!("INSERT INTO dw.people VALUES ('{SECRET}', 1)")).await?;
        for (operator, parameters) in [
            ("sql", json!({"sql_conn_id": target.conn_id, "sql": "UPDATE dw.people SET n = CAST(email AS int)"})),
            (
                "summary_table",
                json!({"warehouse_conn_id": target.conn_id, "schema": "dw", "table": "sums", "columns": "(n int)",
                       "select": "SELECT CAST(email AS int) AS n FROM dw.people"}),
            ),
        ] {
            let said = message(Task::new(&world, operator, parameters).run(1).await);
            assert!(said.contains("invalid input syntax") && !said.contains("kim"), "{kind:?}, {operator}: {said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_load_that_fails_tells_the_row_by_its_key_and_its_values_where_they_may_be_shown() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source
        .run(&format!(
            "CREATE TABLE people AS SELECT i AS id, CASE i WHEN 4321 THEN '{SECRET}' ELSE 'a@example.com' END AS email, \
             NULL::text AS note, CASE i WHEN 4321 THEN 'seven' ELSE '7' END AS n FROM generate_series(1, 5000) AS i"
        ))
        .await?;
    for kind in [Kind::Postgres, Kind::Lite, Kind::Redshift] {
        let target = Database::start(&world, kind, "target").await?;
        let place = target.place(&target.quoted("people"));
        target
            .run(&format!("CREATE TABLE {place} (id int NOT NULL, email varchar(60), note varchar(9), n smallint)"))
            .await?;
        for shown in [false, true] {
            let mut load = json!({
                "warehouse_conn_id": target.conn_id, "table": "people", "upsert_keys": "id", "show_values": shown,
                "sql_conn_id": source.conn_id, "query": "SELECT * FROM people ORDER BY id",
            });
            if kind != Kind::Lite {
                load["schema"] = json!("dw");
            }
            let said = message(Task::new(&world, "upsert", load).run(1).await);
            let row = if shown {
                format!("the row: email is {SECRET:?}, id is \"4321\", n is \"seven\", note is NULL")
            } else {
                "the row: email has 22 characters, id is 4321, n has 5 characters, note is NULL".to_owned()
            };
            assert!(said.contains("row 4321 of the source, column n") && said.contains(&row), "{kind:?}: {said}");
            assert_eq!(said.contains("kim"), shown, "{kind:?}: {said}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_key_of_text_is_as_little_shown_as_any_other_text() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source
        .run("CREATE TABLE people AS SELECT 7 AS id, date '2024-05-06' AS day, '900101-1234567' AS ssn, 'seven' AS n")
        .await?;
    for kind in [Kind::Postgres, Kind::Lite, Kind::Redshift] {
        let target = Database::start(&world, kind, "target").await?;
        let place = target.place(&target.quoted("people"));
        let day = if kind == Kind::Lite { "text" } else { "date" };
        target.run(&format!("CREATE TABLE {place} (id int NOT NULL, day {day}, ssn varchar(20), n smallint)")).await?;
        let mut load = json!({
            "warehouse_conn_id": target.conn_id, "table": "people", "upsert_keys": ["id", "day", "ssn"],
            "sql_conn_id": source.conn_id, "query": "SELECT * FROM people",
        });
        if kind != Kind::Lite {
            load["schema"] = json!("dw");
        }
        let said = message(Task::new(&world, "upsert", load).run(1).await);
        let day = if kind == Kind::Lite { "day has 10 characters" } else { "day is 2024-05-06" };
        let row = format!("the row: {day}, id is 7, n has 5 characters, ssn has 14 characters");
        assert!(said.contains(&row), "{kind:?}: {said}");
    }
    Ok(())
}
