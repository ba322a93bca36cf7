//! `table_copy` between real databases: MariaDB, PostgreSQL and SQLite into PostgreSQL, SQLite and the Redshift stand-in.

pub mod databases;
mod doubles;
mod hindered;
mod mended;
mod overlapping;
mod staged_bytes;
mod watermarks;
mod written;

use anyhow::{Result, bail};
use millrace_operator_api::TaskError;
use serde_json::{Value, json};

use databases::{Database, Kind, run, run_try};

const SOURCES: [Kind; 3] = [Kind::Maria, Kind::Postgres, Kind::Lite];
const TARGETS: [Kind; 3] = [Kind::Postgres, Kind::Lite, Kind::Redshift];

fn message(result: Result<Value, TaskError>) -> Result<String> {
    match result {
        Ok(value) => bail!("it worked, but should not have: {value}"),
        Err(error) => Ok(error.to_string()),
    }
}

/// `{"source": …, "target": …}` with more.
fn table(source: &str, target: &str, more: Value) -> Value {
    let mut table = json!({ "source": source, "target": target });
    if let (Some(table), Some(more)) = (table.as_object_mut(), more.as_object()) {
        table.extend(more.clone());
    }
    table
}

fn copying(source: &Database, target: &Database, tables: Value) -> Value {
    json!({ "source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "tables": tables, "show_values": true })
}

/// A table with a Korean name and columns called like words of SQL.
async fn make_orders(source: &Database) -> Result<String> {
    let name = source.quoted("주문");
    let columns: Vec<String> = ["id", "select", "금액", "at", "note"].iter().map(|name| source.quoted(name)).collect();
    source
        .run(&format!(
            "CREATE TABLE {name} ({} bigint NOT NULL PRIMARY KEY, {} varchar(40), {} decimal(20,5), {} {}, {} text)",
            columns[0],
            columns[1],
            columns[2],
            columns[3],
            source.moment_type(),
            columns[4],
        ))
        .await?;
    source
        .run(&format!(
            "INSERT INTO {name} VALUES (1, 'plain', 12.5, '2024-01-01 10:00:00', 'a'), \
             (2, '', -0.00001, '2024-01-02 10:00:00', NULL), (3, NULL, NULL, '2024-01-03 10:00:00', 'tab\there, \"quoted\", it''s'), \
             (4, '한글 😀', 99999999999999.99999, NULL, 'line\nbreak')"
        ))
        .await?;
    Ok(format!("{}.주문", source.schema))
}

#[tokio::test]
async fn every_source_is_copied_into_every_target_whole_and_by_change() -> Result<()> {
    let world = crate::world::World::start().await?;
    let mut generation = 0;
    for source_kind in SOURCES {
        let source = Database::start(&world, source_kind, "source").await?;
        let name = make_orders(&source).await?;
        for target_kind in TARGETS {
            let pair = format!("{source_kind:?} -> {target_kind:?}");
            let target = Database::start(&world, target_kind, "target").await?;
            let verify = if target_kind == Kind::Redshift {
                json!(["counts", "keys"])
            } else {
                json!(["counts", "keys", "checksums"])
            };
            let into = format!("{}.orders_{}", target.schema, source.conn_id);
            let more = json!({ "primary_key": "id", "verify": verify, "empty_as_null": false });
            generation += 1;
            let result = run(&world, generation, copying(&source, &target, table(&name, &into, more))).await;
            let copied = &result.map_err(|error| anyhow::anyhow!("{pair}: {error}"))?["tables"][0];
            assert_eq!(copied["rows_read"], 4, "{pair}: {copied}");
            let of_target = |columns: &str| {
                let table = target.quoted(&format!("orders_{}", source.conn_id));
                format!("SELECT {columns} FROM {} ORDER BY {}", target.place(&table), target.quoted("id"))
            };
            let list = ["id", "select", "note"].map(|name| target.quoted(name)).join(", ");
            let rows = target.rows(&of_target(&list)).await?;
            assert_eq!(rows.len(), 4, "{pair}");
            assert_eq!(rows[1][1].as_deref(), Some(""), "{pair}");
            assert_eq!(rows[2][2].as_deref(), Some("tab\there, \"quoted\", it's"), "{pair}");
            assert_eq!(rows[3][1].as_deref(), Some("한글 😀"), "{pair}");
            assert_eq!(rows[3][2].as_deref(), Some("line\nbreak"), "{pair}");

            // What has changed, into the same table.
            let change = json!({ "primary_key": ["id"], "sync_mode": "incremental_sync", "incremental_field": "at" });
            source
                .run(&format!("INSERT INTO {} VALUES (5, 'new', 1, '2024-01-05 10:00:00', 'n')", source.quoted("주문")))
                .await?;
            generation += 1;
            let result = run(&world, generation, copying(&source, &target, table(&name, &into, change))).await;
            let copied = &result.map_err(|error| anyhow::anyhow!("{pair}: {error}"))?["tables"][0];
            // The row at the watermark and the one that has none come again.
            assert_eq!((&copied["rows_read"], &copied["rows_inserted"]), (&json!(3), &json!(1)), "{pair}: {copied}");
            assert_eq!(copied["rows_without_value"], 1, "{pair}: {copied}");
            assert_eq!(target.rows(&of_target("1")).await?.len(), 5, "{pair}");
            source.run(&format!("DELETE FROM {} WHERE id = 5", source.quoted("주문"))).await?;
        }
    }
    Ok(())
}

/// A source and a target with a table of moments, copied once.
async fn changing(world: &crate::world::World, target_kind: Kind) -> Result<(Database, Database)> {
    let source = Database::start(world, Kind::Postgres, "source").await?;
    let target = Database::start(world, target_kind, "target").await?;
    source.run("CREATE TABLE t (id int PRIMARY KEY, at timestamp, day varchar(8), d date, n bigint, v text)").await?;
    source
        .run(
            "INSERT INTO t SELECT i, timestamp '2024-01-01' + i * interval '1 hour', to_char(date '2024-01-01' + i, 'YYYYMMDD'), \
             date '2024-01-01' + i, i, 'v' || i FROM generate_series(1, 20) i",
        )
        .await?;
    Ok((source, target))
}

#[tokio::test]
async fn case_81_a_tie_at_the_watermark_is_neither_lost_nor_doubled() -> Result<()> {
    let world = crate::world::World::start().await?;
    let mut generation = 0;
    for target_kind in TARGETS {
        let (source, target) = changing(&world, target_kind).await?;
        for (field, kind) in
            [("at", "timestamp"), ("at", "datetime"), ("day", "yyyymmdd"), ("d", "date"), ("n", "integer")]
        {
            for watermark in ["from_target", "stored"] {
                let pair = format!("{target_kind:?} {field} {kind} {watermark}");
                source.run("DELETE FROM t WHERE id > 20; UPDATE t SET v = 'v' || id").await?;
                let name = format!("{}.t_{field}_{kind}_{watermark}", target.schema);
                let more = json!({
                    "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": field,
                    "incremental_field_type": kind, "watermark": watermark
                });
                let parameters = copying(&source, &target, table("public.t", &name, more));
                let mut copy = async || {
                    generation += 1;
                    let result = run(&world, generation, parameters.clone()).await;
                    result.map_err(|error| anyhow::anyhow!("{pair}: {error}")).map(|value| value["tables"][0].clone())
                };
                assert_eq!(copy().await?["rows_inserted"], 20, "{pair}: an empty target gets all rows");
                // One more with the very value of the watermark, and one that changed and kept it.
                source
                    .run("INSERT INTO t SELECT 21, at, day, d, n, 'tie' FROM t WHERE id = 20; UPDATE t SET v = 'changed' WHERE id = 20")
                    .await?;
                let copied = copy().await?;
                assert_eq!(
                    (&copied["rows_inserted"], &copied["rows_read"]),
                    (&json!(1), &json!(2)),
                    "{pair}: {copied}"
                );
                let copied = copy().await?;
                assert_eq!(copied["rows_inserted"], 0, "{pair}: again: {copied}");
                let table = target.place(&target.quoted(&format!("t_{field}_{kind}_{watermark}")));
                let rows = target.rows(&format!("SELECT id, v FROM {table} WHERE id >= 20 ORDER BY id")).await?;
                let v = |index: usize| rows[index][1].as_deref();
                assert_eq!((rows.len(), v(0), v(1)), (2, Some("changed"), Some("tie")), "{pair}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn case_81_a_watermark_that_cannot_be_read_fails_the_task() -> Result<()> {
    let world = crate::world::World::start().await?;
    let (source, target) = changing(&world, Kind::Postgres).await?;
    target.run("CREATE TABLE dw.t (id int PRIMARY KEY, at text, day text, d date, n bigint, v text)").await?;
    target.run("INSERT INTO dw.t (id, at) VALUES (1, 'soon')").await?;
    let more = json!({ "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at" });
    let parameters = copying(&source, &target, table("public.t", "dw.t", more));
    let text = message(run(&world, 1, parameters.clone()).await)?;
    assert!(text.contains("watermark of at") && text.contains("'soon' is no timestamp"), "{text}");
    target
        .run("DROP TABLE dw.t; CREATE TABLE dw.t (id int PRIMARY KEY, at box, day text, d date, n bigint, v text)")
        .await?;
    let text = message(run(&world, 2, parameters).await)?;
    assert!(text.contains("watermark of source") && text.contains("max"), "{text}");
    assert!(target.rows("SELECT 1 FROM dw.t").await?.is_empty(), "nothing was copied");
    Ok(())
}

#[tokio::test]
async fn a_stored_watermark_is_written_with_the_rows_or_not_at_all() -> Result<()> {
    let world = crate::world::World::start().await?;
    let (source, target) = changing(&world, Kind::Postgres).await?;
    let more = json!({
        "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at", "watermark": "stored"
    });
    let parameters = copying(&source, &target, table("public.t", "dw.t", more));
    run(&world, 1, parameters.clone()).await?;
    let kept = "SELECT value FROM dw.millrace_watermark";
    let before = target.rows(kept).await?;
    assert_eq!(before, [[Some("2024-01-01 20:00:00".to_owned())]]);
    // Somebody took rows away: what is stored knows better than the table.
    target.run("DELETE FROM dw.t WHERE id > 10; ALTER TABLE dw.t ADD CHECK (id < 22)").await?;
    source
        .run("INSERT INTO t VALUES (21, '2024-01-02', '', NULL, 1, 'a'), (22, '2024-01-03', '', NULL, 1, 'b')")
        .await?;
    message(run(&world, 2, parameters.clone()).await)?;
    assert_eq!(target.rows(kept).await?, before, "the rows were refused, so the watermark stays");
    target.run("ALTER TABLE dw.t DROP CONSTRAINT t_id_check").await?;
    let copied = run(&world, 3, parameters).await?;
    assert_eq!(copied["tables"][0]["rows_read"], 3, "the tie, and two new ones");
    assert_eq!(target.rows(kept).await?, [[Some("2024-01-03 00:00:00".to_owned())]]);
    Ok(())
}

#[tokio::test]
async fn case_82_values_are_converted_or_named() -> Result<()> {
    let world = crate::world::World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source.run("CREATE TABLE t (id int PRIMARY KEY, n varchar(20), at varchar(30), s varchar(10))").await?;
    source.run("INSERT INTO t VALUES (1, '12.0', '2024/01/31', ''), (2, '', '20240131102030', 'x')").await?;
    let name = format!("{}.t", source.schema);
    let mut generation = 0;
    for target_kind in TARGETS {
        let target = Database::start(&world, target_kind, "target").await?;
        let place = target.place(&target.quoted("t"));
        target.run(&format!("CREATE TABLE {place} (id int NOT NULL, n bigint, at timestamp, s varchar(10))")).await?;
        let into = format!("{}.t", target.schema);
        let mut copy = async |more: Value| {
            generation += 1;
            run(&world, generation, copying(&source, &target, table(&name, &into, more))).await
        };
        copy(json!({})).await?;
        let rows = target.rows(&format!("SELECT n, at, s FROM {place} ORDER BY id")).await?;
        let cell = |row: usize, column: usize| rows[row][column].as_deref().unwrap_or("NULL");
        assert_eq!((cell(0, 0), cell(1, 0)), ("12", "NULL"), "{target_kind:?}");
        assert_eq!((cell(0, 1), cell(1, 1)), ("2024-01-31 00:00:00", "2024-01-31 10:20:30"), "{target_kind:?}");
        assert_eq!((cell(0, 2), cell(1, 2)), ("NULL", "x"), "{target_kind:?}: '' is NULL by default");

        source.run("INSERT INTO t VALUES (3, '12.5', '', '')").await?;
        let text = message(copy(json!({ "primary_key": "id" })).await)?;
        for part in ["read of source", "row 3 (id=3), column n", "'12.5'", "decimals: truncate"] {
            assert!(text.contains(part), "{target_kind:?}: {part}: {text}");
        }
        assert_eq!(target.rows(&format!("SELECT 1 FROM {place}")).await?.len(), 2, "{target_kind:?}: as it was");
        copy(json!({ "decimals": "round" })).await?;
        assert_eq!(target.rows(&format!("SELECT n FROM {place} WHERE id = 3")).await?, [[Some("13".to_owned())]]);
        source.run("UPDATE t SET n = '1', at = '31.01.2024' WHERE id = 3").await?;
        let text = message(copy(json!({})).await)?;
        assert!(
            text.contains("column at") && text.contains("'31.01.2024'") && text.contains("timestamp_formats"),
            "{text}"
        );
        copy(json!({ "timestamp_formats": ["%d.%m.%Y", "%Y/%m/%d", "%Y%m%d%H%M%S"] })).await?;
        source.run("DELETE FROM t WHERE id = 3").await?;
    }
    Ok(())
}

#[tokio::test]
async fn case_83_a_failure_at_the_last_row_leaves_the_target_as_it_was() -> Result<()> {
    let world = crate::world::World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source.run("CREATE TABLE t (id int PRIMARY KEY, n text)").await?;
    source.run("INSERT INTO t SELECT i, i::text FROM generate_series(1, 30000) i").await?;
    source.run("INSERT INTO t VALUES (30001, 'x')").await?;
    for (generation, target_kind) in (1..).zip(TARGETS) {
        let target = Database::start(&world, target_kind, "target").await?;
        let place = target.place(&target.quoted("t"));
        target.run(&format!("CREATE TABLE {place} (id int NOT NULL, n bigint)")).await?;
        target.run(&format!("INSERT INTO {place} VALUES (1, 100), (2, 200)")).await?;
        let into = format!("{}.t", target.schema);
        let more = json!({ "batch_size": 1000, "custom_select": "SELECT id, n FROM t ORDER BY id" });
        let text = message(run(&world, generation, copying(&source, &target, table("public.t", &into, more))).await)?;
        assert!(text.contains("row 30001"), "{target_kind:?}: {text}");
        let rows = target.rows(&format!("SELECT id, n FROM {place} ORDER BY id")).await?;
        assert_eq!(rows, [crate::world::some(&["1", "100"]), crate::world::some(&["2", "200"])], "{target_kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn case_84_every_row_of_the_beginning_comes_exactly_once_while_the_source_changes() -> Result<()> {
    let world = crate::world::World::start().await?;
    let mut generation = 0;
    for source_kind in [Kind::Postgres, Kind::Maria] {
        let source = Database::start(&world, source_kind, "source").await?;
        source.run("CREATE TABLE t (id int PRIMARY KEY, v varchar(200))").await?;
        let filler = "x".repeat(180);
        for chunk in 0..20 {
            let values: Vec<String> =
                (0..1_000).map(|n| format!("({}, '{filler}')", (chunk * 1_000 + n) * 2)).collect();
            source.run(&format!("INSERT INTO t VALUES {}", values.join(", "))).await?;
        }
        let target = Database::start(&world, Kind::Postgres, "target").await?;
        let name = format!("{}.t", source.schema);
        generation += 1;
        let parameters =
            copying(&source, &target, table(&name, "dw.t", json!({ "primary_key": "id", "batch_size": 100 })));
        let copy = run(&world, generation, parameters);
        // Rows come and go all the time, before and behind the place that is being read.
        let change = async {
            for n in 0..200 {
                source.run(&format!("INSERT INTO t VALUES ({}, 'new')", n * 200 + 1)).await?;
                source.run(&format!("DELETE FROM t WHERE id = {}", n * 150)).await?;
                // MariaDB's client is waited for without letting anybody else go on.
                tokio::task::yield_now().await;
            }
            anyhow::Ok(())
        };
        let (copied, changed) = tokio::join!(copy, change);
        changed?;
        copied?;
        let rows = target.rows("SELECT COUNT(*), COUNT(DISTINCT id) FROM dw.t").await?;
        assert_eq!(rows[0][0], rows[0][1], "{source_kind:?}: none twice");
        // One snapshot: what was deleted before it is gone in order, and nothing after the first that is there.
        let gone = target.rows("SELECT n FROM generate_series(0, 19999) n WHERE NOT EXISTS (SELECT 1 FROM dw.t WHERE id = n * 2) ORDER BY n").await?;
        let came = target.rows("SELECT COUNT(*), COALESCE(MAX(id), -199) FROM dw.t WHERE id % 2 = 1").await?;
        for (index, row) in gone.iter().enumerate() {
            assert_eq!(row[0].as_deref(), Some((index * 75).to_string().as_str()), "{source_kind:?}: lost");
        }
        let number = |cell: &Option<String>| cell.as_deref().unwrap_or_default().parse::<i64>().unwrap_or_default();
        assert_eq!(number(&came[0][1]), (number(&came[0][0]) - 1) * 200 + 1, "{source_kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn several_tables_are_copied_beside_each_other_and_those_that_arrived_are_not_copied_again() -> Result<()> {
    let world = crate::world::World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    for name in ["a", "b", "c"] {
        source
            .run(&format!("CREATE TABLE {name} (id int PRIMARY KEY, v text); INSERT INTO {name} VALUES (1, '{name}')"))
            .await?;
    }
    target.run("CREATE TABLE dw.b (id int PRIMARY KEY, v int)").await?;
    let tables = json!([
        table("public.a", "dw.a", json!({})),
        table("public.b", "dw.b", json!({})),
        table("public.c", "dw.c", json!({}))
    ]);
    let mut parameters = copying(&source, &target, tables);
    parameters["max_parallel_tables"] = json!(3);
    let text = message(run(&world, 1, parameters.clone()).await)?;
    assert!(
        text.contains("1 of 3 tables were not copied") && text.contains("public.b -> target_Postgres: dw.b"),
        "{text}"
    );
    assert_eq!(target.rows("SELECT v FROM dw.a UNION ALL SELECT v FROM dw.c ORDER BY v").await?.len(), 2);
    source.run("UPDATE b SET v = '5'; UPDATE a SET v = 'changed'").await?;
    let result = run(&world, 1, parameters).await?;
    assert_eq!(result["tables"][0]["was_loaded_before"], true);
    assert_eq!(target.rows("SELECT v FROM dw.a").await?, [[Some("a".to_owned())]]);
    assert_eq!(target.rows("SELECT v FROM dw.b").await?, [[Some("5".to_owned())]]);
    Ok(())
}

#[tokio::test]
async fn a_dry_run_writes_nothing_and_a_limit_never_shrinks_a_table() -> Result<()> {
    let world = crate::world::World::start().await?;
    let (source, target) = changing(&world, Kind::Postgres).await?;
    let mut parameters = copying(&source, &target, table("public.t", "dw.t", json!({ "primary_key": "id" })));
    parameters["dry_run"] = json!(true);
    let result = run(&world, 1, parameters.clone()).await?;
    let tried = &result["tables"][0];
    assert_eq!((&tried["rows_to_copy"], &tried["rows_tried"]), (&json!(20), &json!(20)), "{tried}");
    assert!(tried["changes"][0].as_str().is_some_and(|text| text.starts_with("create dw.t (id integer")), "{tried}");
    assert!(target.rows("SELECT 1 FROM pg_tables WHERE schemaname = 'dw'").await?.is_empty());

    parameters["dry_run"] = json!(false);
    parameters["limit"] = json!(5);
    assert_eq!(run(&world, 2, parameters.clone()).await?["tables"][0]["rows_read"], 5);
    parameters["limit"] = json!(3);
    let text = message(run(&world, 3, parameters.clone()).await)?;
    assert!(text.contains("holds 5 rows") && text.contains("dry_run"), "{text}");
    // Of what has changed the oldest first, so that the next copy finds the others.
    parameters["tables"] = table(
        "public.t",
        "dw.u",
        json!({ "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at" }),
    );
    for (generation, expected) in [(4, 3), (5, 5), (6, 7)] {
        run(&world, generation, parameters.clone()).await?;
        let rows = target.rows("SELECT COUNT(*), MAX(id) FROM dw.u").await?;
        assert_eq!(rows, [crate::world::some(&[&expected.to_string(), &expected.to_string()])]);
    }
    // Nor is a place made for a watermark.
    parameters["tables"]["watermark"] = json!("stored");
    parameters["dry_run"] = json!(true);
    let result = run(&world, 7, parameters.clone()).await?;
    assert_eq!(result["tables"][0]["rows_tried"], 3, "{result}");
    let places = "SELECT 1 FROM pg_tables WHERE tablename = 'millrace_watermark'";
    assert!(target.rows(places).await?.is_empty());
    parameters["dry_run"] = json!(false);
    run(&world, 8, parameters.clone()).await?;
    parameters["dry_run"] = json!(true);
    let result = run(&world, 9, parameters).await?;
    let select = result["tables"][0]["select"].as_str().unwrap_or_default();
    assert!(
        select.contains("\"at\" >= '2024-01-01 03:00:00'"),
        "from the third row on, where the copy before ended: {result}"
    );
    Ok(())
}

#[tokio::test]
async fn sql_of_ones_own_and_columns_that_came_later() -> Result<()> {
    let world = crate::world::World::start().await?;
    let (source, target) = changing(&world, Kind::Postgres).await?;
    let incremental = json!({ "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at" });
    let with = |more: Value| {
        let mut all = incremental.clone();
        if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        copying(&source, &target, table("public.t", "dw.t", all))
    };
    let own = "SELECT id, at, upper(v) AS v FROM t WHERE n > 5 -- not all";
    run(&world, 1, with(json!({ "custom_select": own, "custom_where": "id <> 7", "custom_count": "SELECT 14" })))
        .await?;
    assert_eq!(target.rows("SELECT COUNT(*), MIN(v) FROM dw.t").await?, [crate::world::some(&["14", "V10"])]);
    let placed = "SELECT id, at, v FROM t WHERE {incremental_filter} AND id > 1";
    let copied = run(&world, 2, with(json!({ "custom_select": placed }))).await?;
    assert_eq!(copied["tables"][0]["rows_read"], 1, "from the watermark on");

    let text = message(run(&world, 3, with(json!({ "new_columns": "fail" }))).await)?;
    assert!(text.contains("the target has no column day, d, n; it has id, at, v"), "{text}");
    run(&world, 4, with(json!({}))).await?;
    run(&world, 5, with(json!({ "new_columns": "add" }))).await?;
    assert_eq!(target.rows("SELECT v, n FROM dw.t WHERE id = 20").await?, [crate::world::some(&["v20", "20"])]);
    Ok(())
}

#[tokio::test]
async fn columns_that_a_star_leaves_out_are_copied() -> Result<()> {
    let world = crate::world::World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    let rows =
        "CREATE TABLE t (id int PRIMARY KEY, `hid den` int INVISIBLE DEFAULT 5, v int); INSERT INTO t VALUES (1, 2)";
    source.run(rows).await?;
    let whole = table(&format!("{}.t", source.schema), "dw.t", json!({ "primary_key": "id" }));
    run(&world, 1, copying(&source, &target, whole)).await?;
    let copied = target.rows("SELECT id, v, \"hid den\" FROM dw.t").await?;
    assert_eq!(copied, [crate::world::some(&["1", "2", "5"])]);
    Ok(())
}

#[tokio::test]
async fn rows_that_the_source_has_no_more_are_found_by_its_keys() -> Result<()> {
    let world = crate::world::World::start().await?;
    let mut generation = 0;
    for target_kind in TARGETS {
        let (source, target) = changing(&world, target_kind).await?;
        let into = format!("{}.t", target.schema);
        let more = json!({
            "primary_key": ["id", "n"], "sync_mode": "incremental_sync", "incremental_field": "at", "deletes": "reconcile"
        });
        let parameters = copying(&source, &target, table("public.t", &into, more));
        let copy = async |generation| run(&world, generation, parameters.clone()).await;
        generation += 10;
        assert_eq!(copy(generation).await?["tables"][0]["rows_deleted"], 0, "{target_kind:?}");
        source
            .run("DELETE FROM t WHERE id IN (3, 20); INSERT INTO t VALUES (30, '2024-02-01', '', NULL, 1, 'new')")
            .await?;
        assert_eq!(copy(generation + 1).await?["tables"][0]["rows_deleted"], 2, "{target_kind:?}");
        let place = target.place(&target.quoted("t"));
        let rows = target.rows(&format!("SELECT COUNT(*), MAX(id) FROM {place}")).await?;
        assert_eq!(rows, [crate::world::some(&["19", "30"])], "{target_kind:?}");
        // A try after one that did everything and could not say so.
        run_try(&world, generation + 1, 2, parameters.clone()).await?;
        assert_eq!(target.rows(&format!("SELECT COUNT(*) FROM {place}")).await?, [crate::world::some(&["19"])]);
        source.run("DELETE FROM t").await?;
        let text = message(copy(generation + 2).await)?;
        assert!(text.contains("the source has no row at all"), "{target_kind:?}: {text}");
        let left = target.rows(&format!("SELECT COUNT(*) FROM {place}")).await?;
        assert_eq!(left, [crate::world::some(&["19"])], "{target_kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_server_that_copies_no_other_is_not_behind() -> Result<()> {
    use millrace_operator_api::ports::Ports;
    let world = crate::world::World::start().await?;
    for kind in SOURCES {
        let source = Database::start(&world, kind, "source").await?;
        let port = world.connectors.source(&world.context(1), &source.conn_id).await?;
        assert_eq!(port.replica_lag().await?, None, "{kind:?}");
    }
    Ok(())
}
