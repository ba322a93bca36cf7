//! What the sources' catalogues say of columns, in neutral words.

use anyhow::Result;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::Ports;
use millrace_testkit::{MariaDb, Postgres};

use crate::world::{World, connection};

/// Column by column `declaration -> type`.
async fn check(world: &World, conn_id: &str, sql: &str, expected: &[(&str, &str)]) -> Result<()> {
    let source = world.connectors.source(&world.context(1), conn_id).await?;
    let stream = source.query(sql).await?;
    let found: Vec<String> = stream.columns.iter().map(|column| column.value.to_string()).collect();
    for (index, (declaration, value)) in expected.iter().enumerate() {
        assert_eq!(found.get(index).map(String::as_str), Some(*value), "{declaration}");
    }
    assert_eq!(found.len(), expected.len());
    Ok(())
}

fn table(expected: &[(&str, &str)]) -> String {
    let columns: Vec<String> =
        expected.iter().enumerate().map(|(index, (declaration, _))| format!("c{index} {declaration}")).collect();
    format!("CREATE TABLE 표 ({})", columns.join(", "))
}

#[tokio::test]
async fn mariadb_types_come_from_the_catalogue() -> Result<()> {
    let database = tokio::task::spawn_blocking(|| MariaDb::shared()?.create_database()).await??;
    let world = World::start().await?;
    world.add_url("maria", "mysql", &database.url())?;
    let columns = [
        ("tinyint", "integer(8)"),
        ("tinyint(1)", "integer(8)"),
        ("tinyint unsigned", "unsigned integer(8)"),
        ("smallint", "integer(16)"),
        ("mediumint unsigned", "unsigned integer(24)"),
        ("int zerofill", "unsigned integer(32)"),
        ("bigint", "integer(64)"),
        ("bigint unsigned", "unsigned integer(64)"),
        ("decimal(65,30)", "decimal(65,30)"),
        ("decimal(10,0) unsigned", "decimal(10,0)"),
        ("float", "float(32)"),
        ("double unsigned", "float(64)"),
        ("bit(1)", "bit(1)"),
        ("bit(64)", "bit(64)"),
        ("char(3)", "text(3)"),
        ("varchar(20) CHARACTER SET latin1", "text(20)"),
        ("text CHARACTER SET utf8mb4", "text(65535)"),
        ("longtext", "text(4294967295)"),
        ("json", "json"),
        ("binary(16)", "bytes(16)"),
        ("varbinary(20)", "bytes(20)"),
        ("blob", "bytes(65535)"),
        ("date", "date"),
        ("time(6)", "time beyond a day"),
        ("datetime(6)", "timestamp"),
        ("timestamp NULL", "timestamp with zone"),
        ("year", "year"),
        ("enum('a','bcd')", "enum(3)"),
        ("set('x','yz')", "set(4)"),
        ("uuid", "uuid"),
        ("inet6", "text(45)"),
        ("geometry", "bytes"),
    ];
    database.execute(&table(&columns))?;
    check(&world, "maria", "SELECT * FROM 표", &columns).await?;
    let around = [
        "SELECT * FROM (SELECT * FROM 표) AS x",
        "SELECT * FROM (\nSELECT * FROM (SELECT * FROM 표) x -- )\n) AS millrace_source WHERE c0 >= 1;",
        "SELECT * FROM (WITH t AS (SELECT 1) SELECT * FROM 표\n) q WHERE q.c0 < 4 OR q.c0 IS NULL",
    ];
    for sql in around {
        check(&world, "maria", sql, &columns).await?;
    }
    let some = [("by its name", "decimal(65,30)"), ("an expression inside", "text")];
    check(&world, "maria", "SELECT c8, word FROM (SELECT c8, CONCAT(c14, 'x') AS word FROM 표) x LIMIT 1", &some)
        .await?;
    let both = [("rows of another query, too", "decimal")];
    check(&world, "maria", "SELECT * FROM (SELECT c8 FROM 표) x UNION SELECT 1.5", &both).await?;
    database.execute("CREATE VIEW v AS SELECT c8 AS amount FROM 표")?;
    let others = [
        ("a column by another name", "decimal(65,30)"),
        ("a view's", "decimal(65,30)"),
        ("an expression", "decimal"),
        ("a number", "integer(32)"),
        ("NULL", "text"),
        ("an unsigned expression", "unsigned integer(64)"),
        ("text", "text"),
        ("bytes", "bytes"),
    ];
    let sql = "SELECT t.c8 AS `select`, amount, SUM(t.c9), 1, NULL, CAST(1 AS UNSIGNED) + c7, CONCAT(t.c14, 'x'), UNHEX('00') \
               FROM 표 t, v GROUP BY 1, 2";
    check(&world, "maria", sql, &others).await
}

#[tokio::test]
async fn postgres_types_come_from_the_catalogue() -> Result<()> {
    let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
    let world = World::start().await?;
    world.add_url("pg", "postgres", &database.url())?;
    database.execute("CREATE TYPE mood AS ENUM ('sad', '행복'); CREATE DOMAIN price AS numeric(12,2); CREATE TYPE pair AS (a int, b int)")?;
    let columns = [
        ("smallint", "integer(16)"),
        ("integer", "integer(32)"),
        ("bigserial", "integer(64)"),
        ("numeric", "decimal"),
        ("numeric(38,10)", "decimal(38,10)"),
        ("numeric(4,-2)", "decimal(6,0)"),
        ("price", "decimal(12,2)"),
        ("real", "float(32)"),
        ("double precision", "float(64)"),
        ("boolean", "bool"),
        ("bit(3)", "bit string(3)"),
        ("varbit", "bit string"),
        ("char(3)", "text(3)"),
        ("varchar(20)", "text(20)"),
        ("text", "text"),
        ("bytea", "bytes"),
        ("date", "date"),
        ("time(3)", "time"),
        ("timetz", "time with zone"),
        ("timestamp(6)", "timestamp"),
        ("timestamptz", "timestamp with zone"),
        ("interval", "interval"),
        ("json", "json"),
        ("jsonb", "json"),
        ("uuid", "uuid"),
        ("money", "money"),
        ("integer[]", "array of integer(32)"),
        ("varchar(5)[]", "array of text(5)"),
        ("mood", "enum(3)"),
        ("inet", "other"),
        ("pair", "other"),
        ("int4range", "other"),
    ];
    database.execute(&table(&columns))?;
    check(&world, "pg", "SELECT * FROM 표", &columns).await?;
    let others = [("an expression", "decimal"), ("NULL", "text"), ("a cast", "decimal(10,2)")];
    check(&world, "pg", "SELECT sum(c4), NULL, avg(c3)::numeric(10,2) FROM 표", &others).await
}

#[tokio::test]
async fn sqlite_types_are_the_declared_ones() -> Result<()> {
    let world = World::start().await?;
    let path = world.folder.path().join("source.db");
    std::fs::File::create(&path)?;
    world.add(Connection { schema: Some(path.display().to_string()), ..connection("lite", "sqlite") });
    let columns = [
        ("INTEGER PRIMARY KEY", "integer(64)"),
        ("smallint", "integer(64)"),
        ("decimal(38,10)", "decimal(38,10)"),
        ("numeric", "decimal"),
        ("REAL", "float(64)"),
        ("boolean", "bool"),
        ("varchar(20)", "text(20)"),
        ("TEXT", "text"),
        ("BLOB", "bytes"),
        ("date", "date"),
        ("datetime", "timestamp"),
        ("time", "time"),
        ("json", "json"),
        ("", "other"),
    ];
    let context = world.context(1);
    let warehouse = world.connectors.warehouse(&context, "lite").await?;
    warehouse.execute(&[table(&columns)], false, &context.work).await?;
    check(&world, "lite", "SELECT * FROM 표;", &columns).await?;
    let others =
        [("an expression", "other"), ("NULL", "other"), ("the same name", "integer(64)"), ("again", "text(20)")];
    check(&world, "lite", "SELECT c0 + 1, NULL, c0 AS x, c6 AS x FROM 표 -- end", &others).await
}
