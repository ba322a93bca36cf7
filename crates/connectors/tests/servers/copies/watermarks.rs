//! Where a copy goes on from: each part of a table has a mark of its own.

use anyhow::Result;
use millrace_model::ids::TaskId;
use millrace_operator_api::TaskContext;
use millrace_operator_api::context::WorkId;
use serde_json::{Value, json};

use super::databases::{Database, Kind, run, run_as, run_in};
use super::{SOURCES, TARGETS, changing, copying, table};
use crate::world::{World, some, work};

#[tokio::test]
async fn tasks_that_copy_parts_of_one_table_have_a_watermark_each() -> Result<()> {
    let world = World::start().await?;
    for kind in TARGETS {
        let (source, target) = changing(&world, kind).await?;
        let place = target.place(&target.quoted("t"));
        let mut generation = 0;
        let mut copy = async |task: &str, part: &str| {
            let more = json!({
                "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at", "watermark": "stored",
                "custom_where": part
            });
            generation += 1;
            let work = WorkId { task_id: TaskId::new_unchecked(task), ..work(generation) };
            let parameters = copying(&source, &target, table("public.t", &format!("{}.t", target.schema), more));
            let copied = run_as(&world, work, 1, parameters).await;
            copied.map(|copied| copied["tables"][0]["rows_read"].clone())
        };
        assert_eq!(copy("late", "id > 10").await?, 10, "{kind:?}");
        assert_eq!(copy("early", "id <= 10").await?, 10, "{kind:?}: the other's mark is not its own");
        let rows = target.rows(&format!("SELECT COUNT(*) FROM {place}")).await?;
        assert_eq!(rows, [some(&["20"])], "{kind:?}");
        // As they were kept when both had one in common.
        let store = target.place("millrace_watermark");
        target.run(&format!("DELETE FROM {store} WHERE name LIKE '%early'")).await?;
        target.run(&format!("UPDATE {store} SET name = 'source_Postgres:public.t -> {}.t'", target.schema)).await?;
        assert_eq!(copy("late", "id > 10").await?, 1, "{kind:?}: what was stored is found: the row at the watermark");
        assert_eq!(copy("early", "id <= 10").await?, 10, "{kind:?}: and belongs to the first who asked");
        assert_eq!(copy("early", "id <= 10").await?, 1, "{kind:?}");
        let names = target.rows(&format!("SELECT name FROM {store} ORDER BY name")).await?;
        let ends: Vec<&str> =
            names.iter().filter_map(|row| row[0].as_deref()?.rsplit_once(" by ").map(|(_, task)| task)).collect();
        assert_eq!(ends, ["nightly.early", "nightly.late"], "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn instances_of_one_task_have_a_watermark_for_each_item_of_its_list() -> Result<()> {
    let world = World::start().await?;
    for kind in TARGETS {
        let (source, target) = changing(&world, kind).await?;
        let place = target.place(&target.quoted("t"));
        let mut generation = 0;
        let mut copy = async |item: Option<Value>, part: &str| {
            let more = json!({
                "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at", "watermark": "stored",
                "custom_where": part
            });
            generation += 1;
            let parameters = copying(&source, &target, table("public.t", &format!("{}.t", target.schema), more));
            let context = TaskContext { work: work(generation), item, ..world.context(1) };
            run_in(&context, parameters).await.map(|copied| copied["tables"][0]["rows_read"].clone())
        };
        let (low, high) = (json!("id <= 10"), json!({"part": "id > 10", "why": "주".repeat(100)}));
        assert_eq!(copy(Some(high.clone()), "id > 10").await?, 10, "{kind:?}");
        assert_eq!(copy(Some(low.clone()), "id <= 10").await?, 10, "{kind:?}: the other's mark is not its own");
        let rows = target.rows(&format!("SELECT COUNT(*) FROM {place}")).await?;
        assert_eq!(rows, [some(&["20"])], "{kind:?}");
        assert_eq!(copy(Some(high.clone()), "id > 10").await?, 1, "{kind:?}: its own is found");
        assert_eq!(copy(Some(low.clone()), "id <= 10").await?, 1, "{kind:?}");
        // As all of them kept it under the task's name: whose it is cannot be told.
        let store = target.place("millrace_watermark");
        target.run(&format!("DELETE FROM {store} WHERE name LIKE '%id <= 10%'")).await?;
        let left = target.rows(&format!("SELECT name FROM {store}")).await?;
        let (of_task, hash) = left[0][0].as_deref().and_then(|name| name.split_once(" for ")).unwrap_or_default();
        assert_eq!((left.len(), hash.len()), (1, 64), "{kind:?}: a long item goes by its hash");
        target.run(&format!("INSERT INTO {store} (name, value) VALUES ('{of_task}', '2999-01-01 00:00:00')")).await?;
        assert_eq!(copy(Some(low), "id <= 10").await?, 10, "{kind:?}: it begins anew");
        assert_eq!(copy(None, "id <= 10").await?, 0, "{kind:?}: a task that is not mapped goes on by its own name");
    }
    Ok(())
}

#[tokio::test]
async fn rows_at_the_watermark_are_not_read_again_where_the_file_says_so() -> Result<()> {
    let world = World::start().await?;
    for (generation, kind) in (1..).step_by(10).zip(TARGETS) {
        let (source, target) = changing(&world, kind).await?;
        let copy = async |number: u32| {
            let more = json!({
                "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "at", "watermark_op": ">",
                "verify": ["counts", "keys", "watermark", "checksums"]
            });
            let parameters = copying(&source, &target, table("public.t", &format!("{}.t", target.schema), more));
            let copied = run(&world, generation + number, parameters).await;
            copied.map(|copied| copied["tables"][0]["rows_read"].clone())
        };
        assert_eq!(copy(0).await?, 20, "{kind:?}");
        assert_eq!(copy(1).await?, 0, "{kind:?}: not even the row at the watermark");
        source
            .run(
                "INSERT INTO t SELECT 21, at, day, d, n, 'tie' FROM t WHERE id = 20; \
                 INSERT INTO t SELECT 22, at + interval '1 second', day, d, n, 'new' FROM t WHERE id = 20",
            )
            .await?;
        assert_eq!(copy(2).await?, 1, "{kind:?}: a tie is not newer");
        let place = target.place(&target.quoted("t"));
        let rows = target.rows(&format!("SELECT id FROM {place} WHERE id > 20")).await?;
        assert_eq!(rows, [some(&["22"])], "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_row_that_does_not_say_when_it_changed_is_copied_too() -> Result<()> {
    let world = World::start().await?;
    let mut generation = 0;
    for source_kind in SOURCES {
        let source = Database::start(&world, source_kind, "source").await?;
        for target_kind in TARGETS {
            let target = Database::start(&world, target_kind, "target").await?;
            // One column of moments, and one of texts, which may be empty.
            for (field, kind, none) in [("at", "timestamp", "NULL"), ("day", "date", "''")] {
                let watermark = if (field == "at") == (source_kind == Kind::Maria) { "stored" } else { "from_target" };
                let pair = format!("{source_kind:?} -> {target_kind:?} {watermark} {field}");
                source
                    .run(&format!(
                        "DROP TABLE IF EXISTS t; CREATE TABLE t (id int PRIMARY KEY, at {}, day varchar(10), v text); \
                         INSERT INTO t VALUES (1, '2024-01-01', '2024-01-01', 'a'), (2, NULL, {none}, 'b')",
                        source.moment_type()
                    ))
                    .await?;
                let name = format!("{}.t_{field}", target.schema);
                let mut copy = async |more: Value| {
                    let mut base = json!({
                        "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": field,
                        "incremental_field_type": kind, "watermark": watermark,
                        "verify": ["counts", "keys", "watermark", "checksums"]
                    });
                    base.as_object_mut()
                        .into_iter()
                        .for_each(|base| base.extend(more.as_object().cloned().unwrap_or_default()));
                    let table = table(&format!("{}.t", source.schema), &name, base);
                    generation += 1;
                    let copied = run(&world, generation, copying(&source, &target, table)).await;
                    copied.map(|copied| copied["tables"][0].clone()).map_err(|error| anyhow::anyhow!("{pair}: {error}"))
                };
                copy(json!({})).await?;
                source.run("INSERT INTO t (id, v) VALUES (3, 'new'); UPDATE t SET v = 'changed' WHERE id = 2").await?;
                if none != "NULL" {
                    source.run("UPDATE t SET day = '' WHERE id = 3").await?;
                }
                let ignored = copy(json!({"incremental_nulls": "ignore"})).await?;
                assert_eq!(
                    (&ignored["rows_read"], &ignored["rows_without_value"]),
                    (&json!(1), &json!(0)),
                    "{pair}: {ignored}"
                );
                let copied = copy(json!({})).await?;
                let numbers = (&copied["rows_read"], &copied["rows_inserted"], &copied["rows_without_value"]);
                assert_eq!(numbers, (&json!(3), &json!(1), &json!(2)), "{pair}: {copied}");
                let place = target.place(&target.quoted(&format!("t_{field}")));
                let rows = target.rows(&format!("SELECT id, v FROM {place} ORDER BY id")).await?;
                assert_eq!(rows, [some(&["1", "a"]), some(&["2", "changed"]), some(&["3", "new"])], "{pair}");
                // A value that is taken away is a change.
                source.run(&format!("UPDATE t SET v = 'undated', {field} = {none} WHERE id = 1")).await?;
                copy(json!({})).await?;
                let rows = target.rows(&format!("SELECT v FROM {place} WHERE id = 1")).await?;
                assert_eq!(rows, [some(&["undated"])], "{pair}");
            }
        }
    }
    Ok(())
}

#[tokio::test]
async fn dates_of_eight_digits_may_be_numbers() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run("CREATE TABLE days (id int PRIMARY KEY, ymd int, v text); INSERT INTO days VALUES (1, 20240101, 'a')")
        .await?;
    for (generation, kind) in (1..).step_by(10).zip(TARGETS) {
        let target = Database::start(&world, kind, "target").await?;
        let copy = async |number: u32| {
            let more = json!({
                "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "ymd",
                "incremental_field_type": "yyyymmdd", "verify": ["counts", "keys", "watermark", "checksums"]
            });
            let table = table(&format!("{}.days", source.schema), &format!("{}.days", target.schema), more);
            run(&world, generation + number, copying(&source, &target, table)).await
        };
        let copied = copy(0).await?;
        let checked = copied["tables"][0]["checks"].to_string();
        assert!(checked.contains("max(ymd) >= 20240101"), "{kind:?}: {checked}");
        assert!(checked.contains("min(ymd) <= 20240101"), "{kind:?}: {checked}");
        source.run("INSERT INTO days VALUES (2, 20240102, 'b')").await?;
        assert_eq!(copy(1).await?["tables"][0]["rows_inserted"], 1, "{kind:?}");
        // What was lost is seen.
        let place = target.place(&target.quoted("days"));
        if kind != Kind::Redshift {
            target
                .run(&match kind {
                    Kind::Lite => format!(
                        "CREATE TRIGGER lose AFTER INSERT ON {place} BEGIN UPDATE days SET ymd = 1 WHERE ymd = 20240103; END"
                    ),
                    _ => format!(
                        "CREATE FUNCTION lose() RETURNS trigger AS $$BEGIN NEW.ymd = 1; RETURN NEW; END$$ LANGUAGE plpgsql; \
                         CREATE TRIGGER lose BEFORE INSERT ON {place} FOR EACH ROW WHEN (NEW.ymd = 20240103) EXECUTE FUNCTION \
                         lose()"
                    ),
                })
                .await?;
            source.run("INSERT INTO days VALUES (3, 20240103, 'c')").await?;
            let text = copy(2).await.expect_err("the newest is not there").to_string();
            assert!(text.contains("max(ymd) >= 20240103"), "{kind:?}: {text}");
        }
        source.run("DELETE FROM days WHERE id > 1").await?;
    }
    Ok(())
}

#[tokio::test]
async fn what_came_in_is_looked_at_from_both_ends() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run("CREATE TABLE days (id int PRIMARY KEY, ymd int); INSERT INTO days VALUES (1, 20240101), (2, 20240109)")
        .await?;
    for (generation, kind) in (1..).step_by(10).zip([Kind::Lite, Kind::Postgres]) {
        let target = Database::start(&world, kind, "target").await?;
        let place = target.place(&target.quoted("days"));
        target.run(&format!("CREATE TABLE {place} (id INTEGER PRIMARY KEY, ymd INTEGER)")).await?;
        target
            .run(&match kind {
                Kind::Lite => format!(
                    "CREATE TRIGGER lose AFTER INSERT ON {place} BEGIN UPDATE days SET ymd = 20240105 WHERE ymd = 20240101; END"
                ),
                _ => format!(
                    "CREATE FUNCTION lose() RETURNS trigger AS $$BEGIN NEW.ymd = 20240105; RETURN NEW; END$$ LANGUAGE plpgsql; \
                     CREATE TRIGGER lose BEFORE INSERT ON {place} FOR EACH ROW WHEN (NEW.ymd = 20240101) EXECUTE FUNCTION \
                     lose()"
                ),
            })
            .await?;
        let more = json!({
            "primary_key": "id", "sync_mode": "incremental_sync", "incremental_field": "ymd",
            "incremental_field_type": "yyyymmdd", "verify": ["watermark"]
        });
        let table = table(&format!("{}.days", source.schema), &format!("{}.days", target.schema), more);
        let copied = run(&world, generation, copying(&source, &target, table)).await;
        let text = copied.expect_err("the oldest is not there").to_string();
        assert!(text.contains("min(ymd) <= 20240101") && !text.contains("max(ymd)"), "{kind:?}: {text}");
    }
    Ok(())
}
