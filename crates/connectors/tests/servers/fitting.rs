//! Values that Redshift would refuse, found at the extract: nothing is written, and nothing is loaded.

use anyhow::Result;
use millrace_operator_api::TaskError;
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind};
use crate::tasks::Task;
use crate::world::World;

const TARGET: &str = "CREATE TABLE dw.goods (id bigint, name varchar(8), code char(4), big bigint, price decimal(8,2), \
     made timestamp, day date, doc super, label varbyte(2))";

fn extract(source: &Database, target: &Database, select: &str, more: Value) -> Value {
    let mut table = json!({"warehouse_conn_id": target.conn_id, "schema": "dw", "table": "goods", "key": "id"});
    if let (Some(table), Some(more)) = (table.as_object_mut(), more.as_object()) {
        table.extend(more.clone());
    }
    json!({
        "sql_conn_id": source.conn_id, "query": select, "s3_bucket": "lake", "s3_key": "goods.csv", "aws_conn_id": "s3",
        "replace": true, "zero_dates": "keep", "for_table": table,
    })
}

fn load(target: &Database) -> Value {
    json!({
        "warehouse_conn_id": target.conn_id, "schema": "dw", "table": "goods", "method": "replace", "aws_conn_id": "s3",
        "s3_bucket": "lake", "s3_key": "goods.csv",
    })
}

async fn refusals(world: &World, source: &Database, target: &Database, cases: &[(&str, &str, &str)]) -> Result<()> {
    for (select, column, why) in cases {
        let task = Task::new(world, "sql_to_s3", extract(source, target, select, json!({})));
        let text = match task.run(1).await {
            Err(TaskError::Retry(text)) => text,
            other => panic!("{select}: {other:?}"),
        };
        assert!(text.contains(&format!("dw.goods: row 2 (id=2), column {column}: the value ")), "{select}: {text}");
        assert!(text.contains(why), "{select}: {text}");
        assert_eq!(world.keys("goods").await?, Vec::<String>::new(), "{select}");
    }
    Ok(())
}

#[tokio::test]
async fn every_limit_of_redshift_is_known_at_the_extract() -> Result<()> {
    let world = World::start().await?;
    let maria = Database::start(&world, Kind::Maria, "source").await?;
    let postgres = Database::start(&world, Kind::Postgres, "source").await?;
    maria
        .run(
            "SET sql_mode = ''; CREATE TABLE goods (id int PRIMARY KEY, name varchar(40) CHARACTER SET utf8mb4, code varchar(9) \
             CHARACTER SET utf8mb4, big bigint unsigned, price decimal(20,4), made datetime(6), day date, doc text, label blob); \
             INSERT INTO goods VALUES (1, '주문', 'ab', 9223372036854775807, 1.5, '2024-02-29 10:00:00.000001', '2024-02-29', \
             '{}', x'00ff'), (2, '주문 표', '주', 9223372036854775808, 1.005, '0000-00-00 00:00:00', '0000-00-00', '{', x'010203')",
        )
        .await?;
    postgres
        .run(
            "CREATE TABLE goods (id int PRIMARY KEY, price numeric, made timestamptz, day date, name text);
             INSERT INTO goods VALUES (1, 1.5, '2024-02-29 10:00:00+00', '9999-12-31', 'all right'), (2, 'NaN', 'infinity', \
             '0044-03-15 BC', NULL), (3, 1e7, NULL, NULL, NULL)",
        )
        .await?;
    for kind in [Kind::Redshift, Kind::Wire] {
        let target = Database::start(&world, kind, "target").await?;
        target.run(TARGET).await?;
        refusals(
            &world,
            &maria,
            &target,
            &[
                ("SELECT id, name FROM goods", "name", "is 10 bytes long, and varchar(8) holds 8"),
                ("SELECT id, code FROM goods", "code", "more than one byte"),
                ("SELECT id, big FROM goods", "big", "out of the range of bigint"),
                ("SELECT id, price FROM goods", "price", "roundec"),
                ("SELECT id, made FROM goods", "made", "zero_dates: null"),
                ("SELECT id, day FROM goods", "day", "zero_dates: null"),
                ("SELECT id, doc FROM goods", "doc", "is not JSON"),
            ],
        )
        .await?;
        refusals(
            &world,
            &postgres,
            &target,
            &[
                ("SELECT id, price FROM goods", "price", "is not a number"),
                ("SELECT id, made FROM goods", "made", "is not a timestamp that Redshift holds"),
                ("SELECT id, day FROM goods", "day", "is not a date that Redshift holds"),
                (
                    "SELECT id, price FROM goods WHERE id <> 2 UNION ALL SELECT 2, 1e7 ORDER BY 1",
                    "price",
                    "8 digits before the point",
                ),
            ],
        )
        .await?;
        // What is let through arrives.
        let whole = "SELECT id, name, code, big, made, day, doc, label FROM goods WHERE id = 1";
        Task::new(&world, "sql_to_s3", extract(&maria, &target, whole, json!({}))).run(1).await?;
        Task::new(&world, "copy", load(&target)).run(1).await?;
        let found = target.rows("SELECT name, code, big FROM dw.goods").await?;
        assert_eq!(found, [["주문", "ab  ", "9223372036854775807"].map(|cell| Some(cell.to_owned()))]);
        let cut = json!({"copy_options": ["csv", "truncatecolumns"]});
        let parameters = extract(&maria, &target, "SELECT id, name FROM goods", cut.clone());
        Task::new(&world, "sql_to_s3", parameters).run(1).await?;
        let mut parameters = load(&target);
        parameters["copy_options"] = cut["copy_options"].clone();
        Task::new(&world, "copy", parameters).run(1).await?;
        let found = target.rows("SELECT name FROM dw.goods WHERE id = 2").await?;
        assert_eq!(found, [[Some("주문 ".to_owned())]]);
        world.store().await?.delete("lake", vec!["goods.csv".to_owned()]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_null_that_the_table_refuses_is_known_at_the_extract() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run(
            "CREATE TABLE goods (id int PRIMARY KEY, name varchar(9), big bigint, number varchar(9));
             INSERT INTO goods VALUES (1, '', 7, '1'), (2, NULL, NULL, '')",
        )
        .await?;
    let select = |columns: &str| format!("SELECT id, {columns} FROM goods ORDER BY id");
    for kind in [Kind::Postgres, Kind::Lite, Kind::Redshift] {
        let target = Database::start(&world, kind, "target").await?;
        let columns = "id bigint NOT NULL, name varchar(8) NOT NULL, big bigint NOT NULL, number int NOT NULL";
        target.run(&format!("CREATE TABLE {} ({columns})", target.place("goods"))).await?;
        let at = |columns: &str, more: Value| {
            let mut parameters = extract(&source, &target, &select(columns), more);
            parameters["for_table"]["schema"] = json!(target.schema);
            Task::new(&world, "sql_to_s3", parameters)
        };
        let refused = async |columns: &str, more: Value| match at(columns, more).run(1).await {
            Err(TaskError::Retry(text)) => text,
            other => panic!("{kind:?} {columns}: {other:?}"),
        };
        for (columns, column, why) in [
            ("name", "name", "is NULL, and the table's column is NOT NULL"),
            ("big", "big", "COALESCE"),
            ("name, number", "name", "is NULL"),
            ("number", "number", "is empty, and would be loaded as NULL"),
        ] {
            let text = refused(columns, json!({})).await;
            assert!(text.contains(&format!("row 2 (id=2), column {column}: the value")), "{kind:?} {columns}: {text}");
            assert!(text.contains(why), "{kind:?} {columns}: {text}");
            assert_eq!(world.keys("goods").await?, Vec::<String>::new(), "{kind:?} {columns}");
        }
        // '' is a text, unless the load makes NULL of it.
        let text = refused("name", json!({"copy_options": ["csv", "emptyasnull"]})).await;
        assert!(text.contains("row 1 (id=1), column name: the value is empty"), "{kind:?}: {text}");
        at("COALESCE(name, '') AS name, COALESCE(big, 0) AS big, 1 AS number", json!({})).run(1).await?;
        world.store().await?.delete("lake", vec!["goods.csv".to_owned()]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_copy_into_redshift_knows_a_null_before_anything_is_loaded() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run("CREATE TABLE goods (id int PRIMARY KEY, name varchar(9)); INSERT INTO goods VALUES (1, 'a'), (2, NULL)")
        .await?;
    for (generation, kind) in [(1, Kind::Redshift), (2, Kind::Wire)] {
        let target = Database::start(&world, kind, "target").await?;
        target.run("CREATE TABLE dw.goods (id bigint NOT NULL, name varchar(9) NOT NULL)").await?;
        let copying = json!({
            "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
            "tables": [{"source": format!("{}.goods", source.schema), "target": "dw.goods", "primary_key": "id"}],
        });
        let text = match crate::copies::databases::run(&world, generation, copying).await {
            Err(error) => error.to_string(),
            Ok(value) => panic!("{kind:?}: {value}"),
        };
        assert!(text.contains("row 2 (id=2), column name: the value is NULL"), "{kind:?}: {text}");
        assert_eq!(target.rows("SELECT COUNT(*) FROM dw.goods").await?, [[Some("0".to_owned())]], "{kind:?}");
    }
    Ok(())
}
