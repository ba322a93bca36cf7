//! What stands in a SQLite table, which keeps texts, whichever way the rows came; and days that are none.

use anyhow::Result;
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind};
use crate::tasks::Task;
use crate::world::{Cells, World, some};

fn with(mut base: Value, more: &Value) -> Value {
    if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
        base.extend(more.clone());
    }
    base
}

#[tokio::test]
async fn a_parquet_file_spells_values_as_a_csv_file_does() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Lite, "target").await?;
    let sources = [
        (
            Kind::Postgres,
            "CREATE TABLE t (id int, moment timestamptz, clock timestamp(6), price money);
             INSERT INTO t VALUES (1, '2024-01-01 00:00:00+00', '2024-01-01 10:00:00.5', 1234.5),
             (2, '2024-07-01 12:00:00.25+00', '2024-01-01 10:00:00', -7), (3, NULL, NULL, NULL)",
        ),
        (
            Kind::Maria,
            "CREATE TABLE t (id int, moment timestamp(3) NULL, clock datetime(6), price decimal(10,4));
             INSERT INTO t VALUES (1, '2024-01-01 00:00:00', '2024-01-01 10:00:00.5', 1234.5),
             (2, '2024-07-01 12:00:00.25', '2024-01-01 10:00:00', -7), (3, NULL, NULL, NULL)",
        ),
    ];
    for (kind, made) in sources {
        let source = Database::start(&world, kind, "source").await?;
        source.run(made).await?;
        let rows =
            json!({"sql_conn_id": source.conn_id, "query": "SELECT id, moment, clock, price FROM t ORDER BY id"});
        let mut found: Vec<Cells> = Vec::new();
        for way in [None, Some(json!({})), Some(json!({"format": "parquet"}))] {
            target.run("DROP TABLE IF EXISTS t").await?;
            target.run("CREATE TABLE t (id INTEGER, moment TIMESTAMP, clock TIMESTAMP, price TEXT)").await?;
            let into = json!({"warehouse_conn_id": target.conn_id, "table": "t", "aws_conn_id": "s3"});
            let file = json!({"s3_bucket": "lake", "s3_key": "t"});
            match way {
                None => Task::new(&world, "copy", with(into, &rows)).run(1).await?,
                Some(way) => {
                    let written = json!({"replace": true, "aws_conn_id": "s3"});
                    let written = with(with(rows.clone(), &file), &with(written, &way));
                    Task::new(&world, "sql_to_s3", written).run(1).await?;
                    Task::new(&world, "copy", with(into, &file)).run(1).await?
                }
            };
            found.push(target.rows("SELECT id, moment, clock, price FROM t ORDER BY id").await?);
        }
        assert_eq!(found[1], found[0], "{kind:?}: CSV");
        assert_eq!(found[2], found[0], "{kind:?}: Parquet");
        if kind == Kind::Postgres {
            assert_eq!(found[0][0], some(&["1", "2024-01-01 00:00:00+00", "2024-01-01 10:00:00.5", "1234.50"]));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_day_of_a_foreign_file_is_one_of_the_calendar() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Lite, "target").await?;
    target.run("CREATE TABLE t (id INTEGER, day DATE)").await?;
    let load = async |body: &str, more: Value| -> Result<Value, String> {
        world.put("days.csv", body.as_bytes().to_vec()).await.map_err(|error| error.to_string())?;
        let into = json!({
            "warehouse_conn_id": target.conn_id, "table": "t", "aws_conn_id": "s3", "s3_bucket": "lake", "s3_key": "days.csv",
            "copy_options": ["csv"],
        });
        Task::new(&world, "copy", with(into, &more)).run(1).await.map_err(|error| error.to_string())
    };
    for none in ["2024-02-31", "soon", "2024-01-31 10:00:00", "31.01.2024", "0000-00-00"] {
        let error = load(&format!("1,{none}\n"), json!({})).await.expect_err(none);
        assert!(error.contains("column day") && error.contains("no day written as 2024-01-31"), "{none}: {error}");
    }
    let some_refused = json!({"copy_options": ["csv", "maxerror 1"]});
    let loaded = load("1,2024-02-29\n2,\n3,2023-02-29\n", some_refused).await.map_err(anyhow::Error::msg)?;
    assert_eq!(loaded["rows_rejected"], 1, "{loaded}");
    let rows = target.rows("SELECT id, day FROM t ORDER BY id").await?;
    assert_eq!(rows, [some(&["1", "2024-02-29"]), vec![Some("2".to_owned()), None]]);
    // A column of texts is nobody's calendar.
    target.run("DROP TABLE t; CREATE TABLE t (id INTEGER, day TEXT)").await?;
    load("1,soon\n", json!({})).await.map_err(anyhow::Error::msg)?;
    Ok(())
}
