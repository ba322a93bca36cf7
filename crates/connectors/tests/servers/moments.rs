//! Times of a clock without a zone, on their way into columns of moments: never taken for UTC unless somebody says so.

use anyhow::Result;
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind, run};
use crate::tasks::Task;
use crate::world::{World, some};

/// A clock in Seoul showed nine; the same moment by a column that knows its zone.
async fn source(world: &World) -> Result<Database> {
    let source = Database::start(world, Kind::Maria, "source").await?;
    source
        .run(
            "CREATE TABLE visits (id int PRIMARY KEY, clock datetime, moment timestamp NULL);
             SET time_zone = '+00:00'; INSERT INTO visits VALUES (1, '2024-01-01 09:00:00', '2024-01-01 00:00:00')",
        )
        .await?;
    Ok(source)
}

async fn target(world: &World, kind: Kind) -> Result<Database> {
    let target = Database::start(world, kind, "target").await?;
    target.run("CREATE TABLE dw.visits (id int, clock timestamptz, moment timestamptz)").await?;
    Ok(target)
}

async fn clocks(target: &Database) -> Result<Vec<String>> {
    let rows = target.rows("SELECT CAST(clock AS varchar(40)) FROM dw.visits").await?;
    Ok(rows.into_iter().flatten().flatten().collect())
}

fn with(mut base: Value, more: &Value) -> Value {
    if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
        base.extend(more.clone());
    }
    base
}

/// The ways to say it, and what the column then holds.
const SAID: [(&str, &str, &str); 2] =
    [("UTC", "UTC", "2024-01-01 09:00:00+00"), ("Asia/Seoul", "Asia/Seoul", "2024-01-01 00:00:00+00")];

#[tokio::test]
async fn a_copy_of_a_clock_into_moments_wants_its_zone() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let mut generation = 0;
    for kind in [Kind::Postgres, Kind::Redshift] {
        let target = target(&world, kind).await?;
        let copying = |more: Value| {
            let table =
                json!({"source": format!("{}.visits", source.schema), "target": "dw.visits", "primary_key": "id"});
            json!({"source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "tables": with(table, &more)})
        };
        for dry_run in [true, false] {
            generation += 1;
            let wanted = with(copying(json!({})), &json!({"dry_run": dry_run}));
            let text = run(&world, generation, wanted).await.expect_err("taken for UTC").to_string();
            for said in ["dw.visits", "clock (", "taken for UTC", "source_timezone", source.conn_id.as_str()] {
                assert!(text.contains(said), "{kind:?} {said}: {text}");
            }
            assert!(!text.contains("moment ("), "{kind:?}: {text}");
        }
        assert_eq!(clocks(&target).await?, Vec::<String>::new(), "{kind:?}");
        for (zone, of_column, held) in SAID {
            let columns = json!({"clock": {"timezone": of_column}});
            for more in [json!({"source_timezone": zone}), json!({"columns": columns})] {
                generation += 1;
                run(&world, generation, copying(more.clone())).await?;
                assert_eq!(clocks(&target).await?, [held], "{kind:?} {more}");
            }
        }
        // What the clock said, where the column is none of moments.
        target.run("DROP TABLE dw.visits").await?;
        generation += 1;
        run(&world, generation, copying(json!({}))).await?;
        assert_eq!(clocks(&target).await?, ["2024-01-01 09:00:00"], "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_load_of_a_clock_into_moments_wants_its_zone() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    for kind in [Kind::Postgres, Kind::Wire] {
        let target = target(&world, kind).await?;
        let into = json!({
            "warehouse_conn_id": target.conn_id, "schema": "dw", "table": "visits", "truncate_table": true, "aws_conn_id": "s3",
        });
        let direct = json!({"sql_conn_id": source.conn_id, "query": "SELECT id, clock, moment FROM visits"});
        let refused = async |operator: &'static str, more: &Value, said: &str| -> Result<()> {
            let base = if operator == "copy" { into.clone() } else { direct.clone() };
            let error = Task::new(&world, operator, with(base, more)).run(1).await.expect_err("taken for UTC");
            let text = error.to_string();
            assert!(
                text.contains("dw.visits wants moments in clock (") && text.contains(said),
                "{kind:?} {more}: {text}"
            );
            Ok(())
        };
        refused("copy", &direct, "in treat").await?;
        let file = json!({"s3_bucket": "lake", "s3_key": "visits", "replace": true, "aws_conn_id": "s3"});
        let meant = json!({"warehouse_conn_id": target.conn_id, "schema": "dw", "table": "visits"});
        refused("sql_to_s3", &with(file.clone(), &json!({"for_table": meant})), "in columns").await?;
        for way in [json!({}), json!({"format": "parquet"})] {
            let wanted = with(with(direct.clone(), &file), &way);
            let of_file = json!({"s3_bucket": "lake", "s3_key": "visits"});
            let by_name = with(of_file.clone(), &json!({"columns": ["id", "clock", "moment"]}));
            Task::new(&world, "sql_to_s3", wanted.clone()).run(1).await?;
            refused("copy", &of_file, "(source_timezone: UTC)").await?;
            refused("copy", &by_name, "(source_timezone: UTC)").await?;
            assert_eq!(clocks(&target).await?, Vec::<String>::new(), "{kind:?} {way}");
            let meant = with(with(into.clone(), &by_name), &json!({"source_timezone": "UTC"}));
            Task::new(&world, "copy", meant).run(1).await?;
            assert_eq!(clocks(&target).await?, ["2024-01-01 09:00:00+00"], "{kind:?} {way}");
            let moved = with(wanted, &json!({"source_timezone": "Asia/Seoul"}));
            Task::new(&world, "sql_to_s3", moved).run(1).await?;
            Task::new(&world, "copy", with(into.clone(), &of_file)).run(1).await?;
            assert_eq!(clocks(&target).await?, ["2024-01-01 00:00:00+00"], "{kind:?} {way}");
            target.run("DELETE FROM dw.visits").await?;
        }
        let treated = with(direct.clone(), &json!({"treat": {"clock": {"timezone": "Asia/Seoul"}}}));
        Task::new(&world, "copy", with(into.clone(), &treated)).run(1).await?;
        let rows = target.rows("SELECT id FROM dw.visits WHERE clock = moment").await?;
        assert_eq!(rows, [some(&["1"])], "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_domain_over_moments_wants_the_zone_of_a_clock_too() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    target
        .run(
            "CREATE DOMAIN dw.moment AS timestamptz; CREATE DOMAIN dw.past AS dw.moment CHECK (value < '2100-01-01');
             CREATE TABLE dw.visits (id int PRIMARY KEY, clock dw.past, moment dw.moment)",
        )
        .await?;
    let direct = json!({
        "warehouse_conn_id": target.conn_id, "schema": "dw", "table": "visits", "aws_conn_id": "s3",
        "sql_conn_id": source.conn_id, "query": "SELECT id, clock, moment FROM visits",
    });
    let table = json!({"source": format!("{}.visits", source.schema), "target": "dw.visits", "primary_key": "id"});
    let copying = |more: &Value| {
        let table = with(table.clone(), more);
        json!({"source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "tables": table})
    };
    for (operator, more) in [("copy", json!({})), ("upsert", json!({"upsert_keys": "id"}))] {
        let error = Task::new(&world, operator, with(direct.clone(), &more)).run(1).await.expect_err("taken for UTC");
        assert!(error.to_string().contains("wants moments in clock ("), "{operator}: {error}");
    }
    let error = run(&world, 2, copying(&json!({}))).await.expect_err("taken for UTC").to_string();
    assert!(error.contains("wants moments in clock (") && !error.contains("moment (time"), "{error}");
    let seoul = json!({"source_timezone": "Asia/Seoul"});
    run(&world, 3, copying(&seoul)).await?;
    assert_eq!(clocks(&target).await?, ["2024-01-01 00:00:00+00"]);
    Task::new(&world, "upsert", with(with(direct, &json!({"upsert_keys": "id"})), &seoul)).run(1).await?;
    assert_eq!(clocks(&target).await?, ["2024-01-01 00:00:00+00"]);
    Ok(())
}

#[tokio::test]
async fn days_and_texts_become_moments_by_the_zone_that_is_named_for_them() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run(
            "CREATE TABLE days (id int PRIMARY KEY, clock date); INSERT INTO days VALUES (1, '2024-01-02');
             CREATE TABLE texts (id int PRIMARY KEY, clock varchar(40));
             INSERT INTO texts VALUES (1, '2024-01-02 00:00:00')",
        )
        .await?;
    let mut generation = 0;
    for kind in [Kind::Postgres, Kind::Redshift] {
        let target = target(&world, kind).await?;
        for (name, refused) in [("days", "the rows give days"), ("texts", "says no zone")] {
            let direct = json!({
                "warehouse_conn_id": target.conn_id, "schema": "dw", "table": "visits", "truncate_table": true,
                "aws_conn_id": "s3", "sql_conn_id": source.conn_id, "query": format!("SELECT id, clock FROM {name}"),
            });
            let table = json!({
                "source": format!("{}.{name}", source.schema), "target": "dw.visits", "primary_key": "id",
            });
            let copying = |more: &Value| {
                let table = with(table.clone(), more);
                json!({"source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "tables": table})
            };
            let file = json!({"s3_bucket": "lake", "s3_key": name, "aws_conn_id": "s3"});
            for zone in [None, Some("UTC"), Some("Asia/Seoul")] {
                generation += 1;
                let of_clock = zone.map(|zone| json!({"clock": {"timezone": zone}}));
                let treat = of_clock.clone().map_or(json!({}), |of| json!({ "treat": of }));
                let columns = of_clock.map_or(json!({}), |of| json!({ "columns": of }));
                let held = if zone == Some("Asia/Seoul") { "2024-01-01 15:00:00+00" } else { "2024-01-02 00:00:00+00" };
                let told = format!("{kind:?} {name} {zone:?}");
                let loaded = Task::new(&world, "copy", with(direct.clone(), &treat)).run(1).await;
                let copied = run(&world, generation, copying(&columns)).await;
                if zone.is_some() {
                    loaded?;
                    copied?;
                    assert_eq!(clocks(&target).await?, [held], "{told}");
                    target.run("DELETE FROM dw.visits").await?;
                } else {
                    for error in [loaded.expect_err("taken for UTC"), copied.expect_err("taken for UTC")] {
                        assert!(error.to_string().contains(refused), "{told}: {error}");
                    }
                    assert_eq!(clocks(&target).await?, Vec::<String>::new(), "{told}");
                }
                if kind == Kind::Redshift {
                    // COPY reads a file of texts by itself.
                    continue;
                }
                let written = json!({
                    "sql_conn_id": source.conn_id, "query": format!("SELECT id, clock FROM {name}"), "replace": true,
                });
                Task::new(&world, "sql_to_s3", with(with(written, &file), &columns)).run(1).await?;
                let into = json!({"warehouse_conn_id": target.conn_id, "schema": "dw", "table": "visits"});
                let into = with(into, &file);
                let loaded = Task::new(&world, "copy", into.clone()).run(1).await;
                if zone.is_some() {
                    loaded?;
                } else {
                    let error = loaded.expect_err("taken for UTC").to_string();
                    assert!(error.contains(refused) && error.contains("source_timezone: UTC"), "{told}: {error}");
                    let meant = with(into, &json!({"source_timezone": "UTC"}));
                    Task::new(&world, "copy", meant).run(1).await?;
                }
                assert_eq!(clocks(&target).await?, [held], "{told}");
                target.run("DELETE FROM dw.visits").await?;
            }
        }
    }
    Ok(())
}
