//! Options of COPY that change what a load is: ids of their own, a look without a load, rows that are too short. And what is
//! known of files before COPY is sent.

use anyhow::Result;
use millrace_operator_api::TaskError;
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind};
use crate::tasks::Task;
use crate::world::{Cells, World, some};

async fn extract(world: &World, source: &Database, query: &str, more: Value) -> Result<Value> {
    let mut extract = json!({
        "sql_conn_id": source.conn_id, "query": query, "s3_bucket": "lake", "s3_key": "rows", "aws_conn_id": "s3", "replace": true,
    });
    if let (Some(extract), Some(more)) = (extract.as_object_mut(), more.as_object()) {
        extract.extend(more.clone());
    }
    Ok(Task::new(world, "sql_to_s3", extract).run(1).await?)
}

async fn load(world: &World, target: &Database, written: &Value, more: Value) -> Result<Value, TaskError> {
    let mut load = json!({
        "warehouse_conn_id": target.conn_id, "aws_conn_id": "s3", "schema": target.schema, "table": "t", "from_task": "before",
    });
    if let (Some(load), Some(more)) = (load.as_object_mut(), more.as_object()) {
        load.extend(more.clone());
        load.retain(|_, value| !value.is_null());
    }
    Task::new(world, "copy", load).after(written).run(1).await
}

async fn refused(world: &World, target: &Database, written: &Value, more: Value) -> String {
    match load(world, target, written, more).await {
        Err(error) => format!("{error:?}"),
        Ok(done) => panic!("{done}"),
    }
}

fn tables(target: &Database) -> Result<Cells> {
    target.postgres()?.query("SELECT relname FROM pg_class WHERE relname LIKE 'millrace_staging%'")
}

#[tokio::test]
async fn explicit_ids_keep_the_numbers_of_the_rows() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source.run("CREATE TABLE t (id bigint, note varchar(9)); INSERT INTO t VALUES (7, 'a'), (900, 'b')").await?;
    for kind in [Kind::Redshift, Kind::Wire] {
        let target = Database::start(&world, kind, "target").await?;
        target.run("CREATE TABLE dw.t (id bigint IDENTITY(1,1), note varchar(9), made int DEFAULT 5)").await?;
        let csv = extract(&world, &source, "SELECT id, note FROM t", json!({})).await?;
        let options = |method: &str| json!({"copy_options": ["csv", "explicit_ids"], "method": method});
        let loaded = load(&world, &target, &csv, options("append")).await?;
        assert_eq!((&loaded["rows_read"], &loaded["rows_inserted"]), (&json!(2), &json!(2)), "{kind:?}");
        let rows = "SELECT id, note, made FROM dw.t ORDER BY id, note";
        let both = [some(&["7", "a", "5"]), some(&["900", "b", "5"])];
        assert_eq!(target.rows(rows).await?, both, "{kind:?}");
        // Readers see the rows of before until those of the files are there.
        let replaced = load(&world, &target, &csv, options("replace")).await?;
        assert_eq!(replaced["rows_deleted"], json!(2), "{kind:?}: {replaced}");
        assert_eq!(target.rows(rows).await?, both, "{kind:?}");
        for (more, why) in [
            (
                json!({"copy_options": ["csv", "explicit_ids"], "method": "upsert", "upsert_keys": "id"}),
                "only append and replace",
            ),
            (json!({"copy_options": ["csv", "explicit_ids"], "method": "swap"}), "only append and replace"),
            (
                json!({"copy_options": ["csv", "explicit_ids"], "from_task": null, "sql_conn_id": source.conn_id,
                       "query": "SELECT id, note FROM t"}),
                "rows that come without files are inserted",
            ),
        ] {
            let text = refused(&world, &target, &csv, more).await;
            assert!(text.contains("explicit_ids: dw.t: ") && text.contains(why), "{kind:?}: {text}");
        }
        let more = extract(&world, &source, "SELECT id, note, 1 AS other FROM t", json!({})).await?;
        let text = refused(&world, &target, &more, options("append")).await;
        assert!(text.contains("which has no column for other"), "{kind:?}: {text}");
        let others = extract(&world, &source, "SELECT note FROM t", json!({})).await?;
        let text = refused(&world, &target, &others, options("append")).await;
        assert!(text.contains("no IDENTITY column of the table is among"), "{kind:?}: {text}");
        // A Parquet file goes by the order of its columns.
        let parquet = json!({"format": "parquet"});
        let mixed = extract(&world, &source, "SELECT note, id, 1 AS made FROM t", parquet.clone()).await?;
        let by_order = json!({"copy_options": ["parquet", "explicit_ids"]});
        let text = refused(&world, &target, &mixed, by_order.clone()).await;
        assert!(text.contains("let the query give id, note, made"), "{kind:?}: {text}");
        let whole = extract(&world, &source, "SELECT id + 1 AS id, note, 6 AS made FROM t", parquet).await?;
        load(&world, &target, &whole, by_order).await?;
        let found = target.rows("SELECT id, made FROM dw.t WHERE made = 6 ORDER BY id").await?;
        assert_eq!(found, [some(&["8", "6"]), some(&["901", "6"])], "{kind:?}");
        assert_eq!(tables(&target)?, Cells::new(), "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn noload_checks_the_files_and_changes_nothing() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source.run("CREATE TABLE t (id text, note varchar(9)); INSERT INTO t VALUES ('7', 'a'), ('8', 'b')").await?;
    for kind in [Kind::Redshift, Kind::Wire] {
        let target = Database::start(&world, kind, "target").await?;
        target.run("CREATE TABLE dw.t (id int, note varchar(9))").await?;
        target.run("INSERT INTO dw.t VALUES (1, 'old')").await?;
        let written = extract(&world, &source, "SELECT id, note FROM t", json!({})).await?;
        for method in ["append", "replace", "swap"] {
            let options = json!({"copy_options": ["csv", "noload"], "method": method});
            let checked = load(&world, &target, &written, options).await?;
            assert_eq!((&checked["noload"], &checked["files"]), (&json!(true), &json!(1)), "{kind:?}: {checked}");
            assert_eq!(target.rows("SELECT id, note FROM dw.t").await?, [some(&["1", "old"])], "{kind:?} {method}");
        }
        let elsewhere = json!({"s3_key": "bad"});
        let bad = extract(&world, &source, "SELECT 'x' || id AS id, note FROM t", elsewhere).await?;
        let text = refused(&world, &target, &bad, json!({"copy_options": ["csv", "noload"]})).await;
        for said in
            ["s3://lake/bad: line 1, column id (int", "value of 2 characters, not shown", "cast it in the query"]
        {
            assert!(text.contains(said), "{kind:?} {said}: {text}");
        }
        let text = refused(&world, &target, &bad, json!({"method": "append"})).await;
        assert!(text.contains("s3://lake/bad: line 1, column id (int"), "{kind:?}: {text}");
        // What was only checked can be loaded.
        let loaded = load(&world, &target, &written, json!({"method": "replace"})).await?;
        assert_eq!(loaded["rows_inserted"], json!(2), "{kind:?}: {loaded}");
        assert_eq!(tables(&target)?, Cells::new(), "{kind:?}");
        assert_eq!(world.keys("_millrace/").await?, Vec::<String>::new(), "{kind:?}: no manifest is left");
        for (more, name) in [
            (json!({"schema_drift": {"added": "add"}}), "schema_drift"),
            (json!({"quarantine": "refused"}), "quarantine"),
            (json!({"from_task": null, "sql_conn_id": "x", "query": "SELECT 1"}), "copy_options"),
        ] {
            let mut options = json!({"copy_options": ["csv", "noload", "maxerror 3"]});
            if let (Some(options), Some(more)) = (options.as_object_mut(), more.as_object()) {
                options.extend(more.clone());
            }
            let text = refused(&world, &target, &written, options).await;
            assert!(text.contains(name) && text.contains("noload checks"), "{kind:?}: {text}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn rows_that_are_too_short_are_filled_up_where_that_is_asked_for() -> Result<()> {
    for kind in [Kind::Postgres, Kind::Lite, Kind::Redshift, Kind::Wire] {
        let world = World::start().await?;
        let target = Database::start(&world, kind, "target").await?;
        target.run(&format!("CREATE TABLE {} (id int, note varchar(9), n int)", target.place("t"))).await?;
        world.put("short.csv", b"1,a,2\n2\n\n3,b\n".to_vec()).await?;
        let copy = |options: Value| {
            let load = json!({
                "warehouse_conn_id": target.conn_id, "aws_conn_id": "s3", "schema": target.schema, "table": "t", "s3_bucket": "lake",
                "s3_key": "short.csv", "columns": ["id", "note", "n"], "copy_options": options,
            });
            Task::new(&world, "copy", load)
        };
        assert!(copy(json!(["csv", "ignoreblanklines"])).run(1).await.is_err(), "{kind:?}");
        copy(json!(["csv", "fillrecord", "ignoreblanklines"])).run(1).await?;
        let found = target.rows(&format!("SELECT id, note, n FROM {} ORDER BY id", target.place("t"))).await?;
        let null = |id: &str, note: &str| vec![Some(id.to_owned()), Some(note.to_owned()), None];
        assert_eq!(found, [some(&["1", "a", "2"]), null("2", ""), null("3", "b")], "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_is_known_before_copy_is_sent() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source
        .run(
            "CREATE TABLE t (id int, note text, n numeric, big bigint);
             INSERT INTO t VALUES (1, 'a', 1.5, 1), (2, repeat('주', 40), 2.5, 2), (3, repeat('b', 100) || repeat(' ', 30), 3.5, 3)",
        )
        .await?;
    for kind in [Kind::Redshift, Kind::Wire] {
        let target = Database::start(&world, kind, "target").await?;
        target.run("CREATE TABLE dw.t (id int, note varchar(100), n decimal(10,2), big int)").await?;
        let ordered = "SELECT id, note FROM t ORDER BY id";
        for format in ["csv", "parquet"] {
            let written = extract(&world, &source, ordered, json!({"format": format})).await?;
            let text = refused(&world, &target, &written, json!({})).await;
            for word in [
                "task 'before' wrote does not fit dw.t",
                "column note is character varying(100), and the longest value has 120 bytes, in row 2 of its query",
                "up to varchar(65535)",
                "truncatecolumns",
                "for_table in 'before'",
            ] {
                assert!(text.contains(word), "{kind:?} {format}: {word} is missing in {text}");
            }
        }
        let written = extract(&world, &source, ordered, json!({})).await?;
        let options = json!({"copy_options": ["csv", "truncatecolumns"]});
        load(&world, &target, &written, options).await?;
        let found = target.rows("SELECT LENGTH(note) FROM dw.t WHERE id = 2").await?;
        assert_eq!(found, [some(&["33"])], "{kind:?}");
        load(&world, &target, &written, json!({"schema_drift": {"widened": "widen"}, "method": "replace"})).await?;
        let found = target.rows("SELECT LENGTH(note) FROM dw.t WHERE id = 2").await?;
        assert_eq!(found, [some(&["40"])], "{kind:?}");
        for (columns, word) in [
            ("n", "column n of dw.t: the Parquet file holds text (decimal in the source), and the table numeric(10,2)"),
            ("big", "column big of dw.t: the Parquet file holds integer(64), and the table integer"),
        ] {
            let query = format!("SELECT id, {columns} FROM t");
            let written = extract(&world, &source, &query, json!({"format": "parquet"})).await?;
            let text = refused(&world, &target, &written, json!({})).await;
            assert!(text.contains(word) && text.contains("CAST("), "{kind:?}: {text}");
            assert!(!text.contains("Spectrum"), "{kind:?}: {text}");
        }
    }
    Ok(())
}
