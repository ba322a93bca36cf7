//! As wide and as long as tables come: a thousand columns, and a text of a quarter of a gigabyte.

use anyhow::Result;
use serde_json::json;

use crate::copies::databases::{Database, Kind, run};
use crate::tasks::operate;
use crate::world::{Cells, World, some};

const COLUMNS: usize = 1_000;

fn name(column: usize) -> String {
    format!("a_column_with_quite_a_long_name_{column:04}")
}

/// Numbers and texts in turn, every seventh NULL; MariaDB keeps no thousand texts in a row.
fn table(kind: Kind) -> (String, String) {
    let is_text = |column: usize| kind != Kind::Maria && column.is_multiple_of(2);
    let definitions: Vec<String> = (1..COLUMNS)
        .map(|column| format!("{} {}", name(column), if is_text(column) { "varchar(12)" } else { "int" }))
        .collect();
    let rows: Vec<String> = (1..=3)
        .map(|row| {
            let values: Vec<String> = (1..COLUMNS)
                .map(|column| match column {
                    _ if column.is_multiple_of(7) => "NULL".to_owned(),
                    _ if is_text(column) => format!("'주 {row},{column}'"),
                    _ => (row * 10_000 + column).to_string(),
                })
                .collect();
            format!("({row}, {})", values.join(", "))
        })
        .collect();
    (
        format!("CREATE TABLE wide (id int NOT NULL PRIMARY KEY, {})", definitions.join(", ")),
        format!("INSERT INTO wide VALUES {}", rows.join(", ")),
    )
}

#[tokio::test]
async fn a_thousand_columns_arrive() -> Result<()> {
    let world = World::start().await?;
    let mut generation = 0;
    for source_kind in [Kind::Maria, Kind::Postgres] {
        let source = Database::start(&world, source_kind, "source").await?;
        let (create, insert) = table(source_kind);
        source.run(&create).await?;
        source.run(&insert).await?;
        let expected: Cells = source.read(&world, "SELECT * FROM wide ORDER BY id").await?;
        assert_eq!(expected[0].len(), COLUMNS);
        for target_kind in [Kind::Postgres, Kind::Lite, Kind::Redshift] {
            let target = Database::start(&world, target_kind, "target").await?;
            generation += 10;
            let told = format!("{source_kind:?} -> {target_kind:?}");
            let place = |table: &str| target.place(&target.quoted(table));
            let copied = json!({
                "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
                "tables": {"source": format!("{}.wide", source.schema), "target": format!("{}.copied", target.schema),
                           "primary_key": "id"},
            });
            run(&world, generation, copied).await.map_err(|error| anyhow::anyhow!("{told}: {error}"))?;
            let rows = target.rows(&format!("SELECT * FROM {} ORDER BY id", place("copied"))).await?;
            assert_eq!(rows, expected, "{told}, copied");

            // The names are too long for the metadata of an object: their list knows them.
            let key = format!("wide/{told}");
            let extract = json!({
                "sql_conn_id": source.conn_id, "query": "SELECT * FROM wide", "s3_bucket": "lake", "s3_key": key,
                "aws_conn_id": "s3", "compression": "gzip", "max_rows_per_file": 2,
            });
            operate(&world, generation + 1, "sql_to_s3", extract).await?;
            target.run(&format!("DELETE FROM {}", place("copied"))).await?;
            let mut load = json!({
                "warehouse_conn_id": target.conn_id, "s3_bucket": "lake", "s3_key": key, "aws_conn_id": "s3",
                "table": "copied", "upsert_keys": "id",
            });
            if target.schema == "dw" {
                load["schema"] = json!("dw");
            }
            operate(&world, generation + 2, "upsert", load).await.map_err(|error| error.context(told.clone()))?;
            let rows = target.rows(&format!("SELECT * FROM {} ORDER BY id", place("copied"))).await?;
            assert_eq!(rows, expected, "{told}, loaded");
        }
    }
    Ok(())
}

/// The first cell of a file, where a reader looks for the mark of UTF-8.
#[tokio::test]
async fn a_text_that_begins_as_a_mark_of_utf8_keeps_its_beginning() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Lite, "source").await?;
    source.run("CREATE TABLE marked (v TEXT, id INTEGER PRIMARY KEY)").await?;
    source
        .run("INSERT INTO marked VALUES (char(65279) || 'abc', 1), (char(65279) || 'abc', 2), (char(65279), 3)")
        .await?;
    let extract = json!({
        "sql_conn_id": source.conn_id, "query": "SELECT v, id FROM marked ORDER BY id", "s3_bucket": "lake", "s3_key": "marked",
        "aws_conn_id": "s3", "max_rows_per_file": 2,
    });
    operate(&world, 1, "sql_to_s3", extract).await?;
    for (number, kind) in (2..).zip([Kind::Postgres, Kind::Lite, Kind::Redshift]) {
        let target = Database::start(&world, kind, "target").await?;
        let place = target.place("marked");
        target.run(&format!("CREATE TABLE {place} (v varchar(20), id int)")).await?;
        let mut load = json!({
            "warehouse_conn_id": target.conn_id, "s3_bucket": "lake", "s3_key": "marked", "aws_conn_id": "s3", "table": "marked",
        });
        if target.schema == "dw" {
            load["schema"] = json!("dw");
        }
        operate(&world, number, "copy", load).await?;
        let lengths = target.rows(&format!("SELECT length(v) FROM {place} ORDER BY id")).await?;
        assert_eq!(lengths, [some(&["4"]), some(&["4"]), some(&["1"])], "{kind:?}");
    }
    Ok(())
}

/// How much memory that takes is measured elsewhere.
#[tokio::test]
async fn a_text_of_a_quarter_of_a_gigabyte_arrives() -> Result<()> {
    let world = World::start().await?;
    let postgres = Database::start(&world, Kind::Postgres, "source").await?;
    postgres.run("CREATE TABLE long (id int PRIMARY KEY, v text)").await?;
    let maria = Database::start(&world, Kind::Maria, "source").await?;
    // For sessions that begin from now on. The log of InnoDB has no room for such a row.
    maria.run("SET GLOBAL max_allowed_packet = 1073741824").await?;
    maria.run("CREATE TABLE `long` (id int PRIMARY KEY, v longtext) ENGINE = MyISAM").await?;
    for (generation, source, backslash) in [(0, postgres, "\\"), (10, maria, "\\\\")] {
        let (kind, name) = (source.kind, source.quoted("long"));
        let target = Database::start(&world, Kind::Postgres, "target").await?;
        // Eight bytes so often: quotes, a backslash, a character of three bytes.
        let text = format!("repeat('ab\"{backslash}주c', 33554432)");
        source.run(&format!("INSERT INTO {name} SELECT 1, {text}; INSERT INTO {name} VALUES (2, 'short')")).await?;
        let sums = |table: &str| format!("SELECT id, octet_length(v), md5(v) FROM {table} ORDER BY id");
        let expected = source.read(&world, &sums(&name)).await?;
        assert_eq!(expected[0][1].as_deref(), Some("268435456"), "{kind:?}");
        let copied = json!({
            "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
            "tables": {"source": format!("{}.long", source.schema), "target": "dw.long", "primary_key": "id"},
        });
        run(&world, generation + 1, copied).await.map_err(|error| anyhow::anyhow!("{kind:?}: {error}"))?;
        assert_eq!(target.rows(&sums("dw.long")).await?, expected, "{kind:?}, straight");

        let extract = json!({
            "sql_conn_id": source.conn_id, "query": format!("SELECT * FROM {name}"), "s3_bucket": "lake", "s3_key": "long",
            "aws_conn_id": "s3", "replace": true,
        });
        operate(&world, generation + 2, "sql_to_s3", extract).await?;
        let load = json!({
            "warehouse_conn_id": target.conn_id, "s3_bucket": "lake", "s3_key": "long", "aws_conn_id": "s3", "schema": "dw",
            "table": "long", "method": "replace",
        });
        operate(&world, generation + 3, "copy", load).await?;
        assert_eq!(target.rows(&sums("dw.long")).await?, expected, "{kind:?}, by a file");
    }
    Ok(())
}
