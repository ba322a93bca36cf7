//! Tables that change between one load and the next, rows that go straight from a database into a table, and rows that
//! the source has no more.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind};
use crate::tasks::operate;
use crate::world::{World, connection, extra, some};

/// Names and types of a table's columns, by name.
async fn columns(target: &Database, table: &str) -> Result<Vec<(String, String)>> {
    let sql = format!(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid \
         WHERE c.relname = '{table}' AND a.attnum > 0 AND NOT a.attisdropped ORDER BY 1"
    );
    let rows = target.rows(&sql).await?;
    Ok(rows.into_iter().map(|row| (row[0].clone().unwrap_or_default(), row[1].clone().unwrap_or_default())).collect())
}

fn with(mut base: Value, more: Value) -> Value {
    if let (Some(base), Some(more)) = (base.as_object_mut(), more.as_object()) {
        base.extend(more.clone());
    }
    base
}

fn extract(source: &Database, key: &str, more: Value) -> Value {
    let base = json!({
        "sql_conn_id": source.conn_id, "query": "SELECT * FROM goods", "s3_bucket": "lake", "s3_key": key, "aws_conn_id": "s3",
    });
    with(base, more)
}

fn load(target: &Database, key: &str, more: Value) -> Value {
    let base = json!({
        "warehouse_conn_id": target.conn_id, "s3_bucket": "lake", "s3_key": key, "aws_conn_id": "s3", "schema": "dw",
        "table": "goods", "method": "replace", "show_values": true,
    });
    with(base, more)
}

#[tokio::test]
async fn types_travel_with_the_file_and_the_table_follows_them_where_that_is_wanted() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run(
            "CREATE TABLE goods (id int PRIMARY KEY, n bigint, name varchar(40), price decimal(12,3), made datetime(6));
             INSERT INTO goods VALUES (1, 5000000000, 'a name of more than ten', 1.125, '2024-01-01 10:00:00.000001')",
        )
        .await?;
    let ways = [json!({}), json!({"format": "parquet"}), json!({"max_rows_per_file": 1, "compression": "zstd"})];
    for (kind, narrow, wide) in [
        (Kind::Postgres, "(id integer, n integer, name varchar(10))", "bigint"),
        (Kind::Redshift, "(id integer, n bigint, name varchar(10))", "bigint"),
    ] {
        let target = Database::start(&world, kind, "target").await?;
        for (number, way) in (0_u32..).zip(&ways) {
            if kind == Kind::Redshift && way.get("format").is_some() {
                continue;
            }
            let generation = 10 * (number + 1) + if kind == Kind::Redshift { 500 } else { 0 };
            let key = format!("goods/{kind:?}/{number}");
            operate(&world, generation, "sql_to_s3", extract(&source, &key, way.clone())).await?;
            target.run("DROP TABLE IF EXISTS dw.goods").await?;
            target.run(&format!("CREATE TABLE dw.goods {narrow}")).await?;

            let strict = load(&target, &key, json!({"schema_drift": {"added": "ignore", "widened": "fail"}}));
            let refused = operate(&world, generation + 1, "copy", strict).await.err().context("it must fail")?;
            let text = refused.to_string();
            assert!(text.contains("column name is text(40) in the source"), "{text}");

            // By default the night goes on; only a value that does not fit stops it, and it is named.
            let plain = operate(&world, generation + 2, "copy", load(&target, &key, json!({}))).await;
            let text = plain.err().context("ten characters are too few")?.to_string();
            let words = ["a name of more than ten", "5000000000", "'name'"];
            assert!(words.iter().any(|word| text.contains(word)), "{text}");

            let following = json!({"schema_drift": {"added": "add", "widened": "widen"}});
            let loaded = operate(&world, generation + 3, "copy", load(&target, &key, following.clone())).await?;
            let said = loaded["schema_drift"].to_string();
            for word in ["it was widened to", "price comes in, and the table does not have it: it was added as"] {
                assert!(said.contains(word), "{word:?} is missing in {said}");
            }
            let found = columns(&target, "goods").await?;
            let type_of = |name: &str| found.iter().find(|(known, _)| known == name).map(|(_, of)| of.as_str());
            assert_eq!(type_of("n"), Some(wide), "{kind:?}, {way}");
            assert_eq!(type_of("price"), Some("numeric(12,3)"), "{kind:?}, {way}");
            assert_eq!(type_of("made"), Some("timestamp without time zone"), "{kind:?}, {way}");
            let rows = target.rows("SELECT id, n, name, price, made FROM dw.goods").await?;
            let expected = ["1", "5000000000", "a name of more than ten", "1.125", "2024-01-01 10:00:00.000001"];
            assert_eq!(rows, [some(&expected)], "{kind:?}, {way}");
            // There is nothing left to follow.
            let once_more = operate(&world, generation + 4, "copy", load(&target, &key, following)).await?;
            assert_eq!(once_more["schema_drift"], json!([]), "{kind:?}, {way}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_small_table_goes_into_every_warehouse_without_an_object() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run(
            "CREATE TABLE goods (id int PRIMARY KEY, note varchar(20), made datetime);
             INSERT INTO goods VALUES (1, '', '2024-01-01 09:00:00'), (2, NULL, NULL)",
        )
        .await?;
    let mut connection = source.connection(&world)?;
    connection.extra.0.insert("source_timezone".to_owned(), json!("Asia/Seoul"));
    world.add(connection);
    for (number, kind) in (1_u32..).zip([Kind::Postgres, Kind::Lite, Kind::Redshift]) {
        let target = Database::start(&world, kind, "target").await?;
        let place = target.place("goods");
        target.run(&format!("CREATE TABLE {place} (made timestamp, note varchar(20), id bigint)")).await?;
        let mut straight = json!({
            "warehouse_conn_id": target.conn_id, "sql_conn_id": source.conn_id, "query": "SELECT id, note, made FROM goods",
            "table": "goods", "upsert_keys": "id",
            "delete_missing": {"sql_conn_id": source.conn_id, "query": "SELECT id FROM goods"},
        });
        if target.schema == "dw" {
            straight["schema"] = json!("dw");
        }
        let moved = operate(&world, number * 10, "upsert", straight.clone()).await?;
        assert_eq!((&moved["rows_read"], &moved["files"], &moved["rows_deleted"]), (&json!(2), &json!(0), &json!(0)));
        let rows = format!("SELECT id, note, made FROM {place} ORDER BY id");
        assert_eq!(
            target.rows(&rows).await?,
            [some(&["1", "", "2024-01-01 00:00:00"]), some(&["2", "NULL", "NULL"])],
            "{kind:?}"
        );
        assert!(world.keys("").await?.is_empty(), "{kind:?}: nothing is written to S3");

        target.run(&format!("INSERT INTO {place} (id) VALUES (7), (NULL)")).await?;
        let moved = operate(&world, number * 10 + 1, "upsert", straight.clone()).await?;
        assert_eq!(moved["rows_deleted"], json!(1), "{kind:?}: the one that the source does not have");
        let ids = target.rows(&format!("SELECT id FROM {place} WHERE id IS NOT NULL ORDER BY id")).await?;
        assert_eq!(ids, [some(&["1"]), some(&["2"])], "{kind:?}");

        let mut wrong = straight.clone();
        wrong["delete_missing"]["query"] = json!("SELECT note FROM goods");
        let text = operate(&world, number * 10 + 2, "upsert", wrong).await.err().context("another column")?.to_string();
        assert!(text.contains("the query gives note, but it has to give the columns of upsert_keys"), "{text}");
        let mut shifted = straight.clone();
        shifted["delete_missing"]["query"] = json!("SELECT id + 1000 AS id FROM goods");
        let text = operate(&world, number * 10 + 4, "upsert", shifted).await.err().context("other keys")?.to_string();
        assert!(text.contains("none of the keys that the source gives is in"), "{text}");
        let ids = target.rows(&format!("SELECT id FROM {place} WHERE id IS NOT NULL ORDER BY id")).await?;
        assert_eq!(ids, [some(&["1"]), some(&["2"])], "{kind:?}");
        let mut broken = straight;
        broken["query"] = json!("SELECT id, nothing FROM goods");
        let text =
            operate(&world, number * 10 + 3, "upsert", broken).await.err().context("no such column")?.to_string();
        assert!(text.contains("nothing"), "{text}");
    }
    Ok(())
}

#[tokio::test]
async fn rows_that_are_read_by_change_keep_the_types_of_their_columns() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run(
            "CREATE TABLE goods (id int PRIMARY KEY, name varchar(10), price decimal(12,3), is_new bit(1), kind enum('a','bc'),
             at datetime);
             INSERT INTO goods VALUES (1, 'one', 1.125, b'1', 'bc', '1970-01-01 10:00:00'),
             (2, 'two', 2, NULL, 'a', '1971-01-01 10:00:00')",
        )
        .await?;
    let by_change = json!({"incremental": {"modified_field": "at", "source_timezone": "UTC"}});
    let columns = "(id integer, name varchar(40), price numeric(12,3), is_new smallint, kind varchar(8), at timestamp)";
    for (number, kind) in (0_u32..).zip([Kind::Postgres, Kind::Redshift]) {
        let target = Database::start(&world, kind, "target").await?;
        target.run(&format!("CREATE TABLE dw.goods {columns}")).await?;
        for (way, format) in (0_u32..).zip(["csv", "parquet"]) {
            let (generation, key) = (100 * (number + 1) + 10 * way, format!("goods/{kind:?}/{format}"));
            let more = with(by_change.clone(), json!({"format": format}));
            operate(&world, generation, "sql_to_s3", extract(&source, &key, more)).await?;
            // What the night before was no reason to fail is none tonight.
            let strict =
                load(&target, &key, json!({"schema_drift": {"widened": "fail", "added": "fail", "removed": "fail"}}));
            let loaded = operate(&world, generation + 1, "copy", strict).await?;
            assert_eq!(loaded["schema_drift"], json!([]), "{kind:?}, {format}");
            assert_eq!(
                target.rows("SELECT id, name, price, is_new, kind, at FROM dw.goods").await?,
                [some(&["1", "one", "1.125", "1", "bc", "1970-01-01 10:00:00"])],
                "{kind:?}, {format}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_missing_is_named_with_what_would_mend_it() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run("CREATE TABLE goods (id int PRIMARY KEY, name varchar(10)); INSERT INTO goods VALUES (1, 'one')")
        .await?;
    operate(&world, 1, "sql_to_s3", extract(&source, "goods", json!({}))).await?;
    for (number, kind) in (1_u32..).zip([Kind::Postgres, Kind::Redshift]) {
        let target = Database::start(&world, kind, "target").await?;
        let said = async |generation: u32, more: Value| {
            let result = operate(&world, number * 100 + generation, "copy", load(&target, "goods", more)).await;
            Ok::<_, anyhow::Error>(result.err().context("it must fail")?.to_string())
        };
        let text = said(1, json!({"s3_bucket": "nowhere"})).await?;
        assert!(text.contains("there is no bucket nowhere, where goods was looked for (s3)"), "{kind:?}: {text}");
        let text = said(2, json!({"s3_key": "other"})).await?;
        assert!(text.contains("there is no object s3://lake/other"), "{kind:?}: {text}");
        let text = said(3, json!({})).await?;
        let length = if kind == Kind::Redshift { 40 } else { 10 };
        let made = format!("CREATE TABLE \"dw\".\"goods\" (\"id\" integer, \"name\" varchar({length}))");
        assert!(text.contains(&made), "{kind:?}: {text}");
        target.run(&made[made.find("CREATE").context("it is there")?..]).await?;
        operate(&world, number * 100 + 4, "copy", load(&target, "goods", json!({}))).await?;
    }
    let target = Database::start(&world, Kind::Redshift, "target").await?;
    let copied = json!({
        "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
        "tables": {"source": format!("{}.goods", source.schema), "target": "nowhere.goods"},
    });
    let text = operate(&world, 800, "table_copy", copied).await.err().context("no schema")?.to_string();
    assert!(text.contains("make the schema first: CREATE SCHEMA \"nowhere\""), "{text}");
    for kind in [Kind::Postgres, Kind::Redshift, Kind::Wire] {
        let target = Database::start(&world, kind, "target").await?;
        let summary = json!({"warehouse_conn_id": target.conn_id, "schema": "dww", "table": "sums", "columns": "(n int)",
                             "select": "SELECT 1"});
        let copied = json!({"source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
                            "tables": {"source": format!("{}.goods", source.schema), "target": "dww.goods"}});
        let loaded = load(&target, "goods", json!({"schema": "dww"}));
        let all = [("copy", loaded), ("table_copy", copied), ("summary_table", summary)];
        for (generation, (operator, parameters)) in (900..).zip(all) {
            let text = operate(&world, generation, operator, parameters).await.err().context("no schema")?.to_string();
            assert!(
                text.contains("there is no schema dww in database") && text.contains("which has dw, "),
                "{kind:?}: {text}"
            );
            assert!(text.ends_with("CREATE SCHEMA \"dww\""), "{kind:?} {operator}: {text}");
        }
    }
    target.run("CREATE TABLE dw.j (v super)").await?;
    let nul =
        target.run("INSERT INTO dw.j SELECT JSON_PARSE('{\"a\": \"\\\\u0000\"}')").await.err().context("a NUL")?;
    assert!(format!("{nul:#}").contains("the Redshift stand-in does not emulate a SUPER with"), "{nul:#}");
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    // Roles are the whole server's.
    let role = format!("outsider_of_{}", target.postgres()?.name());
    target.run(&format!("CREATE TABLE dw.goods (id int, name text); CREATE ROLE {role} LOGIN PASSWORD 'out'")).await?;
    let mut outsider = target.connection(&world)?;
    (outsider.login, outsider.password) = (Some(role.clone()), Some("out".into()));
    world.add(outsider);
    let text =
        operate(&world, 900, "copy", load(&target, "goods", json!({}))).await.err().context("no rights")?.to_string();
    target.run(&format!("DROP ROLE {role}")).await?;
    assert!(text.contains("need USAGE and CREATE on schema dw"), "{text}");
    Ok(())
}

#[tokio::test]
async fn whoever_cannot_be_reached_is_named_by_its_address() -> Result<()> {
    let world = World::start().await?;
    for (conn_id, conn_type) in [("closed_maria", "mysql"), ("closed_pg", "postgres")] {
        world.add_url(conn_id, conn_type, "mysql://a:b@127.0.0.1:1/c")?;
        let more = json!({"sql_conn_id": conn_id, "query": "SELECT 1", "s3_bucket": "lake", "s3_key": "k", "aws_conn_id": "s3"});
        let text = operate(&world, 1, "sql_to_s3", more).await.err().context("nobody listens")?.to_string();
        assert!(text.contains("cannot connect to 127.0.0.1:1"), "{text}");
    }
    let mut keyless = connection("keyless", "redshift");
    keyless.schema = Some("dev".to_owned());
    keyless.extra = extra(json!({
        "workgroup_name": "any", "region_name": "eu-west-1", "endpoint_url": "http://127.0.0.1:1",
        "profile_name": "nobody-has-such-a-profile",
    }));
    world.add(keyless);
    let more = json!({"sql_conn_id": "keyless", "sql": "SELECT 1"});
    let text = operate(&world, 2, "sql", more).await.err().context("there is no key")?.to_string();
    assert!(text.contains("no AWS credentials were found; put aws_access_key_id"), "{text}");
    Ok(())
}

#[tokio::test]
async fn a_domain_keeps_its_rules_whatever_is_to_be_widened() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Maria, "source").await?;
    source
        .run("CREATE TABLE goods (id int PRIMARY KEY, name varchar(20)); INSERT INTO goods VALUES (1, 'abc')")
        .await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    target
        .run(
            "CREATE DOMAIN dw.short AS varchar(3) CHECK (value <> 'bad'); CREATE DOMAIN dw.word AS dw.short;
             CREATE TABLE dw.goods (id int PRIMARY KEY, name dw.word)",
        )
        .await?;
    let widened = json!({"schema_drift": {"widened": "widen"}});
    let copying = json!({
        "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
        "tables": {
            "source": format!("{}.goods", source.schema), "target": "dw.goods", "primary_key": "id", "widen_columns": true,
        },
    });
    let mut generation = 0;
    let mut both = async |name: &str| -> Result<[Result<String, String>; 2]> {
        generation += 10;
        source.run(&format!("UPDATE goods SET name = '{name}'")).await?;
        operate(&world, generation, "sql_to_s3", extract(&source, "goods", json!({"replace": true}))).await?;
        let loaded = operate(&world, generation + 1, "copy", load(&target, "goods", widened.clone())).await;
        let copied = operate(&world, generation + 2, "table_copy", copying.clone()).await;
        Ok([loaded, copied].map(|done| done.map(|said| said.to_string()).map_err(|error| error.to_string())))
    };
    for done in both("abc").await? {
        let said = done.map_err(anyhow::Error::msg)?;
        assert!(said.contains("dw.word (character varying(3)) may not hold it"), "{said}");
        assert!(!said.contains("it was widened"), "{said}");
    }
    for name in ["longer", "bad"] {
        for done in both(name).await? {
            let refused = done.err().context("the domain refuses it")?;
            assert!(refused.contains("name") || refused.contains("short"), "{refused}");
        }
    }
    assert_eq!(target.rows("SELECT name FROM dw.goods").await?, [some(&["abc"])]);
    assert!(columns(&target, "goods").await?.contains(&("name".to_owned(), "dw.word".to_owned())));
    Ok(())
}
