//! `table_copy` where rows were once lost, kept too long or moved in time.

use anyhow::Result;
use millrace_operator_api::TaskContext;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{NewColumn, Ports, TableName, ValueType};
use millrace_operators::parts::copying::deletes::Reconciling;
use serde_json::{Value, json};

use super::databases::{Database, Kind, run, run_try};
use super::{TARGETS, changing, copying, message, table};
use crate::world::{World, extra, some, stream_of, work};

/// Tables of ours beside the target, but for those that stay.
pub async fn left_behind(target: &Database) -> Result<usize> {
    let names = match target.kind {
        Kind::Lite => "SELECT name FROM sqlite_master WHERE name LIKE 'millrace%' AND type = 'table'",
        _ => "SELECT relname FROM pg_class WHERE relname LIKE 'millrace%' AND relkind = 'r'",
    };
    let found = target.rows(names).await?;
    let stays = ["millrace_load_marker", "millrace_watermark"];
    Ok(found.iter().filter(|row| !row[0].as_deref().is_some_and(|name| stays.contains(&name))).count())
}

#[tokio::test]
async fn a_row_that_came_in_after_the_keys_were_read_stays() -> Result<()> {
    let world = World::start().await?;
    for (generation, kind) in (1..).zip(TARGETS) {
        let target = Database::start(&world, kind, "target").await?;
        let place = target.place(&target.quoted("t"));
        target.run(&format!("CREATE TABLE {place} (id bigint NOT NULL, at timestamp)")).await?;
        target
            .run(&format!(
                "INSERT INTO {place} VALUES (1, '2024-01-01 00:00:00'), (2, NULL), (3, '2024-01-01 00:00:00'), \
                 (4, '2024-01-01 00:00:00')"
            ))
            .await?;
        let context = TaskContext { work: work(generation), ..world.context(1) };
        let warehouse = world.connectors.warehouse(&context, &target.conn_id).await?;
        let name = TableName { schema: Some(target.schema.clone()), name: "t".to_owned() };
        let wanted = Reconciling {
            context: &context,
            warehouse: &*warehouse,
            target: &name,
            keys: vec![NewColumn { name: "id".to_owned(), type_name: "bigint".to_owned(), is_nullable: false }],
            field: Some("at".to_owned()),
            work: work(generation),
        };
        // While the keys are read another copy brings a new row, and one that was deleted and made again.
        let overlapping = async {
            target.run(&format!("INSERT INTO {place} VALUES (5, '2024-01-02 00:00:00')")).await?;
            target.run(&format!("UPDATE {place} SET at = '2024-01-02 00:00:00' WHERE id = 4")).await
        };
        let read = async {
            let known = [("id", ValueType::Integer { bits: 64, signed: true })];
            let rows = stream_of(&known, &vec![some(&["1"])]);
            overlapping.await.map_err(|error| millrace_operator_api::TaskError::Fail(error.to_string()))?;
            Ok(rows)
        };
        let found = wanted.run(read).await?;
        assert_eq!(found, (Some(1), 2), "{kind:?}: the second and the third");
        let rows = target.rows(&format!("SELECT id FROM {place} ORDER BY id")).await?;
        assert_eq!(rows, [some(&["1"]), some(&["4"]), some(&["5"])], "{kind:?}");
        assert_eq!(left_behind(&target).await?, 0, "{kind:?}");
    }
    Ok(())
}

fn reconciling(source: &Database, target: &Database, more: Value) -> Value {
    let mut all = json!({
        "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at", "deletes": "reconcile"
    });
    if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
        all.extend(more.clone());
    }
    copying(source, target, table("public.t", &format!("{}.t", target.schema), all))
}

#[tokio::test]
async fn rows_outside_of_the_condition_and_rows_without_a_key_are_not_deleted() -> Result<()> {
    let world = World::start().await?;
    let mut generation = 0;
    for kind in TARGETS {
        let (source, target) = changing(&world, kind).await?;
        generation += 10;
        run(&world, generation, reconciling(&source, &target, json!({}))).await?;
        source.run("DELETE FROM t WHERE id IN (3, 15)").await?;
        let part = reconciling(&source, &target, json!({ "custom_where": "id <= 10" }));
        let copied = run(&world, generation + 1, part).await?;
        assert_eq!(copied["tables"][0]["rows_deleted"], 2, "{kind:?}: {copied}");
        let place = target.place(&target.quoted("t"));
        let rows = target.rows(&format!("SELECT COUNT(*), MAX(id) FROM {place}")).await?;
        assert_eq!(rows, [some(&["18", "20"])], "{kind:?}: the source still has 11 to 20 but one");
    }
    let (source, target) = changing(&world, Kind::Postgres).await?;
    target.run("CREATE TABLE dw.t (id int, at timestamp, day varchar(8), d date, n bigint, v text)").await?;
    target.run("INSERT INTO dw.t (id, n) VALUES (NULL, 7)").await?;
    run(&world, generation + 2, reconciling(&source, &target, json!({ "verify": [] }))).await?;
    assert_eq!(target.rows("SELECT n FROM dw.t WHERE id IS NULL").await?, [some(&["7"])]);
    Ok(())
}

#[tokio::test]
async fn a_retry_deletes_by_keys_of_its_own_and_nothing_is_left_behind() -> Result<()> {
    let world = World::start().await?;
    let (source, target) = changing(&world, Kind::Postgres).await?;
    let parameters = reconciling(&source, &target, json!({}));
    run(&world, 1, parameters.clone()).await?;
    target
        .run(
            "CREATE FUNCTION dw.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not now''; END'; \
             CREATE TRIGGER no BEFORE DELETE ON dw.t FOR EACH ROW EXECUTE FUNCTION dw.no()",
        )
        .await?;
    source.run("DELETE FROM t WHERE id = 3").await?;
    let text = message(run(&world, 2, parameters.clone()).await)?;
    assert!(text.contains("reconcile of") && text.contains("not now"), "{text}");
    assert_eq!(left_behind(&target).await?, 0, "after a failed deletion");
    target.run("DROP TRIGGER no ON dw.t").await?;
    // Another run brings a row that the first try's keys did not have.
    source.run("INSERT INTO t VALUES (30, '2024-02-01', '', NULL, 1, 'new')").await?;
    run(
        &world,
        3,
        copying(
            &source,
            &target,
            table(
                "public.t",
                "dw.t",
                json!({
                    "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at"
                }),
            ),
        ),
    )
    .await?;
    let copied = run_try(&world, 2, 2, parameters).await?;
    let copied = &copied["tables"][0];
    assert_eq!((&copied["was_loaded_before"], &copied["rows_deleted"]), (&json!(true), &json!(1)), "{copied}");
    assert_eq!(target.rows("SELECT COUNT(*), MAX(id) FROM dw.t").await?, [some(&["20", "30"])]);
    Ok(())
}

#[tokio::test]
async fn the_first_load_with_a_stored_watermark_has_rows_without_a_moment_and_an_emptied_table_is_filled_again()
-> Result<()> {
    let world = World::start().await?;
    let mut generation = 0;
    for kind in TARGETS {
        let (source, target) = changing(&world, kind).await?;
        source.run("INSERT INTO t (id, v) VALUES (21, 'never changed')").await?;
        let more = json!({
            "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at", "watermark": "stored"
        });
        let parameters = copying(&source, &target, table("public.t", &format!("{}.t", target.schema), more));
        generation += 10;
        run(&world, generation, parameters.clone()).await?;
        let place = target.place(&target.quoted("t"));
        let count = format!("SELECT COUNT(*) FROM {place}");
        assert_eq!(target.rows(&count).await?, [some(&["21"])], "{kind:?}");
        target.run(&format!("DELETE FROM {place} WHERE 1 = 1")).await?;
        run(&world, generation + 1, parameters).await?;
        assert_eq!(target.rows(&count).await?, [some(&["21"])], "{kind:?}: emptied");
    }
    Ok(())
}

/// The same connection with a zone for its clocks.
fn with_zone(world: &World, database: &Database, zone: &str) -> Result<String> {
    let known = database.connection(world)?;
    let conn_id = format!("{}_in_zone", database.conn_id);
    let mut more = known.extra.0.clone();
    more.insert("source_timezone".to_owned(), json!(zone));
    world.add(Connection { conn_id: conn_id.clone(), extra: extra(Value::Object(more)), ..known });
    Ok(conn_id)
}

#[tokio::test]
async fn clocks_without_a_zone_are_read_in_that_of_the_connection() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source.run("CREATE TABLE t (id int PRIMARY KEY, at datetime, v varchar(20))").await?;
    source.run("INSERT INTO t VALUES (1, '2024-01-01 09:00:00', 'a'), (2, '2024-01-02 08:59:59', 'b')").await?;
    let conn_id = with_zone(&world, &source, "Asia/Seoul")?;
    let name = format!("{}.t", source.schema);
    let mut generation = 0;
    for watermark in ["from_target", "stored"] {
        for kind in [Kind::Postgres, Kind::Redshift] {
            let target = Database::start(&world, kind, "target").await?;
            let more = json!({
                "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at", "watermark": watermark,
                "lookback": "1s"
            });
            let mut parameters = copying(&source, &target, table(&name, "dw.t", more));
            parameters["source_conn_id"] = json!(conn_id);
            let mut copy = async || {
                generation += 1;
                run(&world, generation, parameters.clone()).await.map(|found| found["tables"][0].clone())
            };
            copy().await?;
            let moments = target.rows("SELECT EXTRACT(epoch FROM at)::bigint FROM dw.t ORDER BY id").await?;
            assert_eq!(moments, [some(&["1704067200"]), some(&["1704153599"])], "{kind:?}: midnight in UTC");
            source.run("INSERT INTO t VALUES (3, '2024-01-02 08:59:58', 'late')").await?;
            let copied = copy().await?;
            assert_eq!(
                (&copied["rows_read"], &copied["rows_inserted"], &copied["rows_late"]),
                (&json!(2), &json!(1), &json!(1)),
                "{kind:?} {watermark}: {copied}"
            );
            source.run("DELETE FROM t WHERE id = 3").await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn personal_data_is_hidden_and_days_that_are_none_are_null() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source.run("SET SESSION sql_mode = ''; CREATE TABLE t (id int PRIMARY KEY, mail varchar(40), ssn varchar(20), phone varchar(20), d date)").await?;
    source
        .run("SET SESSION sql_mode = ''; INSERT INTO t VALUES (1, 'kim@example.com', '900101', '010', '0000-00-00')")
        .await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    world.add(Connection { password: Some("key".into()), ..crate::world::connection("hashing", "aws") });
    let name = format!("{}.t", source.schema);
    let columns = json!({ "mail": "hash", "ssn": "drop", "phone": "mask" });
    let with = |more: Value| {
        let mut all = json!({ "columns": columns, "zero_dates": null });
        if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        let mut parameters = copying(&source, &target, table(&name, "dw.t", all));
        parameters["hash_conn_id"] = json!("hashing");
        parameters
    };
    run(&world, 1, with(json!({ "verify": ["counts", "checksums"] }))).await?;
    let rows = target.rows("SELECT * FROM dw.t").await?;
    let digest = "0a6604526bb820a6e4a4ec6c30a9fe28a6ea49e74a766f7ee374fa7ee8cf7c84";
    assert_eq!(rows, [some(&["1", digest, "***", "NULL"])]);
    let text = message(run(&world, 2, with(json!({ "zero_dates": "error" }))).await)?;
    assert!(text.contains("read of source") && text.contains("zero_dates: null"), "{text}");
    let text = message(run(&world, 3, with(json!({ "columns": { "emial": "drop" } }))).await)?;
    assert!(text.contains("columns names 'emial'"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_nightly_copy_goes_on_when_the_source_gets_a_column() -> Result<()> {
    let world = World::start().await?;
    let mut generation = 0;
    for kind in TARGETS {
        let source = Database::start(&world, Kind::Postgres, "source").await?;
        let target = Database::start(&world, kind, "target").await?;
        source.run("CREATE TABLE t (id int PRIMARY KEY, \"At\" timestamp, v varchar(3)); INSERT INTO t VALUES (1, '2024-01-01', 'a')").await?;
        let place = target.place(&target.quoted("t"));
        target.run(&format!("CREATE TABLE {place} (id int, at timestamp, v varchar(3))")).await?;
        let into = format!("{}.t", target.schema);
        generation += 10;
        let copy = async |number: u32, more: Value| {
            let mut all = json!({ "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "At" });
            if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
                all.extend(more.clone());
            }
            run(&world, generation + number, copying(&source, &target, table("public.t", &into, all))).await
        };
        copy(0, json!({})).await?;
        source.run("ALTER TABLE t ADD COLUMN w int; UPDATE t SET w = 5").await?;
        // The target spells the field in another way, and the watermark is found all the same.
        let copied = copy(1, json!({})).await?;
        assert_eq!(copied["tables"][0]["rows_read"], 1, "{kind:?}: {copied}");
        let drift = |copied: &Value| copied["tables"][0]["schema_drift"].to_string();
        assert!(drift(&copied).contains("the source's w is not copied"), "{kind:?}: {copied}");
        let copied = copy(2, json!({ "new_columns": "add" })).await?;
        assert!(drift(&copied).contains("column w comes in"), "{kind:?}: {copied}");
        assert_eq!(target.rows(&format!("SELECT w FROM {place}")).await?, [some(&["5"])], "{kind:?}");
        source.run("ALTER TABLE t ALTER COLUMN v TYPE varchar(9)").await?;
        // What may not hold every value is told, whatever the values are now.
        let copied = copy(6, json!({})).await?;
        let narrow = "column v is text(9) in the source, and ";
        assert_eq!(drift(&copied).contains(narrow), kind != Kind::Lite, "{kind:?}: {copied}");
        if kind != Kind::Lite {
            let text = message(copy(7, json!({ "narrow_columns": "fail" })).await)?;
            assert!(text.contains(narrow) && text.contains("widen_columns: true"), "{kind:?}: {text}");
        }
        source.run("UPDATE t SET v = 'longer'").await?;
        let copied = copy(3, json!({ "widen_columns": true, "narrow_columns": "fail" })).await?;
        assert_eq!(drift(&copied).contains("it was widened to"), kind != Kind::Lite, "{kind:?}: {copied}");
        assert_eq!(target.rows(&format!("SELECT v FROM {place}")).await?, [some(&["longer"])], "{kind:?}");
        source.run("ALTER TABLE t DROP COLUMN w").await?;
        let text = message(copy(4, json!({ "removed_columns": "fail" })).await)?;
        assert!(text.contains("the source has no column w"), "{kind:?}: {text}");
        let copied = copy(5, json!({})).await?;
        assert!(drift(&copied).contains("the source has no column w"), "{kind:?}: {copied}");
    }
    Ok(())
}

#[tokio::test]
async fn values_are_compared_by_change_too_and_in_redshift_by_its_own_sql() -> Result<()> {
    let world = World::start().await?;
    let mut generation = 0;
    for kind in TARGETS {
        let (source, target) = changing(&world, kind).await?;
        let into = format!("{}.t", target.schema);
        let place = target.place(&target.quoted("t"));
        generation += 10;
        let copy = async |number: u32, more: Value| {
            run(&world, generation + number, copying(&source, &target, table("public.t", &into, more))).await
        };
        let checks = json!(["counts", "keys", "checksums"]);
        copy(0, json!({ "primary_key": "id", "verify": checks })).await?;
        let changes = json!({
            "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at", "verify": checks
        });
        source.run("INSERT INTO t VALUES (21, '2024-02-01 00:00:00', '20240201', '2024-02-01', 21, 'new')").await?;
        copy(1, changes.clone()).await?;
        // A row of the target that the source's reading does not have.
        target.run(&format!("INSERT INTO {place} (id, at, v) VALUES (99, '2024-03-01 00:00:00', 'stranger')")).await?;
        source.run("INSERT INTO t VALUES (22, '2024-04-01 00:00:00', '20240201', '2024-02-01', 21, 'new')").await?;
        target.run(&format!("UPDATE {place} SET at = '2024-04-01 00:00:00' WHERE id = 99")).await?;
        let text = message(copy(2, changes).await)?;
        assert!(text.contains("checksum of the rows copied"), "{kind:?}: {text}");
    }
    Ok(())
}

/// The target writes them otherwise, and they are what was read.
#[tokio::test]
async fn values_that_the_target_writes_otherwise_have_the_same_checksum() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    let columns = [
        ("doc", "json", "jsonb", r#"'{"b": 1.0, "a": [1, 2]}'"#),
        ("guid", "text", "uuid", "'ABCDEF00-0000-0000-0000-00000000000A'"),
        ("code", "varchar(5)", "char(5)", "'ab'"),
        ("day", "date", "timestamp", "'2024-01-05'"),
        ("at", "text", "timestamp", "'2024-01-05T00:00:00'"),
        ("moment", "text", "timestamptz", "'2024-01-05T10:00:00.50Z'"),
        ("n", "text", "double precision", "'1.50e3'"),
        ("price", "numeric(10,4)", "numeric(12,2)", "12.5000"),
        ("list", "numeric[]", "numeric(10,2)[]", "'{1.25,NULL}'"),
    ];
    let list = |pick: fn(&(&str, &str, &str, &str)) -> String| columns.iter().map(pick).collect::<Vec<_>>().join(", ");
    let of_source = list(|(name, source, _, _)| format!("{name} {source}"));
    let of_target = list(|(name, _, target, _)| format!("{name} {target}"));
    let values = list(|(_, _, _, value)| (*value).to_owned());
    source.run(&format!("CREATE TABLE t (id int PRIMARY KEY, {of_source})")).await?;
    source.run(&format!("INSERT INTO t VALUES (1, {values}); INSERT INTO t (id) VALUES (2)")).await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    target.run(&format!("CREATE TABLE dw.t (id int PRIMARY KEY, {of_target})")).await?;
    let checks = json!({ "primary_key": "id", "verify": ["counts", "keys", "checksums"] });
    let parameters = copying(&source, &target, table("public.t", "dw.t", checks));
    run(&world, 1, parameters).await?;
    assert_eq!(target.rows("SELECT count(*) FROM dw.t").await?[0][0].as_deref(), Some("2"));
    Ok(())
}

#[tokio::test]
async fn what_an_earlier_try_copied_is_checked_again() -> Result<()> {
    let world = World::start().await?;
    let (source, target) = changing(&world, Kind::Postgres).await?;
    let parameters = copying(&source, &target, table("public.t", "dw.t", json!({ "primary_key": "id" })));
    target.run("CREATE TABLE dw.t (id int, at timestamp, day varchar(8), d date, n bigint, v text)").await?;
    run(&world, 1, parameters.clone()).await?;
    target.run("INSERT INTO dw.t SELECT * FROM dw.t WHERE id = 1").await?;
    let text = message(run_try(&world, 1, 2, parameters).await)?;
    assert!(text.contains("unique(id)"), "{text}");
    Ok(())
}

#[tokio::test]
async fn rows_go_into_redshift_by_files_that_are_removed_afterwards() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source
        .run(
            "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, v text, n numeric(12,4), ok boolean, day date, doc text); \
             INSERT INTO t VALUES (1, '2024-01-01 10:00:00.5+00', 'a,\"b\"', 1.2345, true, '2024-02-29', ''), (2, NULL, NULL, NULL, NULL, \
             NULL, NULL), (3, '2024-01-03', '한글 \\N', -7, false, NULL, 'x')",
        )
        .await?;
    let target = Database::start(&world, Kind::Redshift, "target").await?;
    let known = target.connection(&world)?;
    let mut more = known.extra.0.clone();
    more.insert("s3_staging".to_owned(), json!("s3://lake/staging"));
    more.insert("s3_conn_id".to_owned(), json!("s3"));
    world.add(Connection { conn_id: "staged".to_owned(), extra: extra(Value::Object(more)), ..known });
    let copy = async |generation: u32, into: &str, more: Value| {
        let mut all = json!({ "primary_key": "id", "verify": ["counts", "keys", "checksums"], "empty_as_null": false });
        if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
            all.extend(more.clone());
        }
        let mut parameters = copying(&source, &target, table("public.t", into, all));
        parameters["target_conn_id"] = json!("staged");
        // Few rows as there are, they go by files unless the copy is the ninth.
        parameters["direct_rows"] = json!(if generation == 9 { 3 } else { 1 });
        run(&world, generation, parameters).await.map(|found| found["tables"][0].clone())
    };
    let steps = |name: &str| world.journal.all().iter().filter(|row| row.step == name).count();
    copy(1, "dw.t", json!({})).await?;
    assert_eq!((steps("stage"), steps("rows:1")), (1, 0), "by COPY");
    let rows = target.rows("SELECT id, at, v, n, ok, day, doc FROM dw.t ORDER BY id").await?;
    let by_files = |rows: &[Vec<Option<String>>]| {
        let cells: Vec<Vec<&str>> =
            rows.iter().map(|row| row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect()).collect();
        format!("{cells:?}")
    };
    // The same as without files.
    let mut plain = copying(&source, &target, table("public.t", "dw.plain", json!({ "empty_as_null": false })));
    plain["tables"]["primary_key"] = json!("id");
    run(&world, 2, plain).await?;
    assert_eq!(steps("rows:1"), 1, "by INSERT");
    let inserted = target.rows("SELECT id, at, v, n, ok, day, doc FROM dw.plain ORDER BY id").await?;
    assert_eq!(by_files(&rows), by_files(&inserted));
    assert_eq!(rows[0][6].as_deref(), Some(""));
    assert_eq!(rows[1][2], None);
    // By change, and without any row.
    let change = json!({ "sync_mode": "incremental_sync", "incremental_field": "at", "verify": ["counts", "keys"] });
    source.run("UPDATE t SET v = 'changed', at = '2024-02-01' WHERE id = 1").await?;
    let copied = copy(3, "dw.t", change).await?;
    assert_eq!((&copied["rows_read"], &copied["rows_updated"]), (&json!(3), &json!(3)), "{copied}");
    copy(4, "dw.none", json!({ "custom_where": "id > 100" })).await?;
    assert!(target.rows("SELECT 1 FROM dw.none").await?.is_empty());
    assert_eq!(steps("stage"), 2);
    copy(9, "dw.few", json!({})).await?;
    assert_eq!((steps("stage"), target.rows("SELECT 1 FROM dw.few").await?.len()), (2, 3), "three rows are few");
    // What COPY would cut or refuse is found while it is read, and no COPY is asked for.
    target.run("CREATE TABLE dw.narrow (id int, n numeric(6,2)); CREATE TABLE dw.short (id int, v varchar(3))").await?;
    for (generation, into, column, why) in
        [(5, "dw.narrow", "n", "roundec"), (6, "dw.short", "v", "bytes long, and varchar(3) holds 3")]
    {
        let select = format!("SELECT id, {column} FROM t");
        let text = message(copy(generation, into, json!({ "custom_select": select })).await)?;
        assert!(text.contains(&format!(": {into}: row ")) && text.contains(&format!("column {column}: ")), "{text}");
        assert!(text.contains("(id=") && text.contains(why), "{text}");
        assert_eq!(steps("stage"), 2);
    }
    // A narrower column whose values all fit needs no INSERT.
    let exact = json!({ "custom_select": "SELECT id, n FROM t WHERE id > 1" });
    copy(7, "dw.narrow", exact).await?;
    assert_eq!((steps("stage"), target.rows("SELECT 1 FROM dw.narrow").await?.len()), (3, 2));
    // A COPY that fails leaves nothing.
    let allowed = json!({ "custom_select": "SELECT id, v FROM t", "max_error": 1 });
    let text = message(copy(8, "dw.short", allowed).await)?;
    assert!(text.contains("column v"), "{text}");
    assert_eq!(steps("stage"), 4);
    assert_eq!(world.keys("staging").await?, Vec::<String>::new());
    assert_eq!(left_behind(&target).await?, 0);
    Ok(())
}

#[tokio::test]
async fn moments_of_sqlite_are_the_same_however_they_are_written() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Lite, "source").await?;
    source.run("CREATE TABLE t (id integer PRIMARY KEY, at datetime, clock time)").await?;
    source
        .run(
            "INSERT INTO t VALUES (1, '2024-01-01T09:00:00', '12:00'), (2, '2024-01-01T09:00:00.250Z', '12:00:00.5'), \
             (3, '2024-01-01 09:00', '00:00:00'), (4, '2024-01-01', NULL), (5, '2024-01-01 09:00:00', '12:00:10')",
        )
        .await?;
    for (generation, kind) in (1..).zip(TARGETS) {
        let target = Database::start(&world, kind, "target").await?;
        let more = json!({ "primary_key": "id", "verify": ["counts", "checksums"] });
        let copied =
            run(&world, generation, copying(&source, &target, table("main.t", &format!("{}.t", target.schema), more)));
        copied.await.map_err(|error| anyhow::anyhow!("{kind:?}: {error}"))?;
        if kind == Kind::Postgres {
            let rows = target.rows("SELECT at::text, clock::text FROM dw.t ORDER BY id").await?;
            assert_eq!(rows[0], some(&["2024-01-01 09:00:00", "12:00:00"]));
            assert_eq!(rows[3], [Some("2024-01-01 00:00:00".to_owned()), None]);
        }
    }
    Ok(())
}

#[tokio::test]
async fn nul_bytes_are_taken_out_of_texts_but_not_of_keys() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source.run("CREATE TABLE t (id varchar(9) NOT NULL PRIMARY KEY, v text)").await?;
    source.run("INSERT INTO t VALUES ('1', 'a\\0b\\0'), ('2', '\\0'), ('3', 'whole')").await?;
    for (generation, kind) in (1..).step_by(10).zip([Kind::Postgres, Kind::Redshift]) {
        let target = Database::start(&world, kind, "target").await?;
        let copy = async |number: u32, more: Value| {
            let mut all = json!({ "primary_key": "id" });
            if let (Some(all), Some(more)) = (all.as_object_mut(), more.as_object()) {
                all.extend(more.clone());
            }
            let from = format!("{}.t", source.schema);
            run(&world, generation + number, copying(&source, &target, table(&from, "dw.t", all))).await
        };
        let text = message(copy(0, json!({})).await)?;
        assert!(text.contains("nul_bytes: remove"), "{kind:?}: {text}");
        let verify = if kind == Kind::Postgres { json!(["counts", "checksums"]) } else { json!(["counts"]) };
        copy(1, json!({ "nul_bytes": "remove", "verify": verify })).await?;
        let rows = target.rows("SELECT id, v FROM dw.t ORDER BY id").await?;
        let null = vec![Some("2".to_owned()), None];
        assert_eq!(rows, [some(&["1", "ab"]), null, some(&["3", "whole"])], "{kind:?}: '' is NULL by default");
    }
    source.run("INSERT INTO t VALUES ('4\\0', 'v')").await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    let more = json!({ "primary_key": "id", "nul_bytes": "remove" });
    let key = copying(&source, &target, table(&format!("{}.t", source.schema), "dw.t", more));
    let text = message(run(&world, 90, key).await)?;
    assert!(text.contains("holds a NUL byte"), "{text}");
    Ok(())
}

/// By its key, not by its place in a query without an order; and with remedies that this operator takes.
#[tokio::test]
async fn a_row_that_is_refused_is_found_by_its_key() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source.run("CREATE TABLE t (id int, n bigint, v text); INSERT INTO t VALUES (12, 1, 'a'), (4711, 2, 'four'), (9, 3, 'b')").await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    target.run("CREATE TABLE dw.t (id int, n bigint, v varchar(3))").await?;
    let whole = json!({ "primary_key": "id" });
    let mut whole = copying(&source, &target, table("public.t", "dw.t", whole));
    whole["show_values"] = json!(false);
    let text = message(run(&world, 1, whole).await)?;
    assert!(text.contains("id is 4711, n has 1 character, v has 4 characters"), "{text}");
    assert!(text.contains("widen_columns: true"), "{text}");
    let widened = json!({ "primary_key": "id", "widen_columns": true });
    run(&world, 2, copying(&source, &target, table("public.t", "dw.t", widened))).await?;
    Ok(())
}

#[tokio::test]
async fn rows_are_reconciled_by_a_key_of_bytes() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source.run("CREATE TABLE parts (id int, label varbinary(8), at datetime, PRIMARY KEY (id, label))").await?;
    for (generation, kind) in (1..).step_by(10).zip([Kind::Postgres, Kind::Lite, Kind::Redshift, Kind::Wire]) {
        let target = Database::start(&world, kind, "target").await?;
        source
            .run("INSERT INTO parts VALUES (1, x'00ff', '2024-01-01'), (1, x'00fe', '2024-01-01'), (2, x'01', '2024-01-02')")
            .await?;
        let copy = async |number: u32| {
            let more = json!({
                "primary_key": ["id", "label"], "sync_mode": "incremental_sync", "incremental_field": "at",
                "deletes": "reconcile"
            });
            let table = table(&format!("{}.parts", source.schema), &format!("{}.parts", target.schema), more);
            let copied = run(&world, generation + number, copying(&source, &target, table)).await;
            copied.map(|copied| copied["tables"][0].clone()).map_err(|error| anyhow::anyhow!("{kind:?}: {error}"))
        };
        copy(0).await?;
        source.run("DELETE FROM parts WHERE label = x'00fe'").await?;
        assert_eq!(copy(1).await?["rows_deleted"], 1, "{kind:?}");
        let place = target.place(&target.quoted("parts"));
        let rows = target.rows(&format!("SELECT id FROM {place} ORDER BY id")).await?;
        assert_eq!(rows, [some(&["1"]), some(&["2"])], "{kind:?}");
        source.run("DELETE FROM parts").await?;
    }
    Ok(())
}
