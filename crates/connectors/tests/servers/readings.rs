//! Value by value: what a source holds, and what is read of it. The same table makes the page of types in the manual.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{Ports, SourceColumn, ValueType, Warehouse};
use millrace_operators::parts::files::parquet::parquet_type;
use millrace_testkit::{MariaDb, Postgres};

use crate::world::{World, cells, connection};

/// A column's declaration, SQL for values of it, and the text that each must come out as.
type Case = (&'static str, &'static [(&'static str, &'static str)]);

const MARIADB: &[Case] = &[
    ("tinyint", &[("-128", "-128"), ("127", "127")]),
    ("tinyint unsigned", &[("255", "255")]),
    ("tinyint(1)", &[("1", "1"), ("2", "2")]),
    ("smallint", &[("-32768", "-32768")]),
    ("smallint unsigned", &[("65535", "65535")]),
    ("mediumint", &[("-8388608", "-8388608")]),
    ("mediumint unsigned", &[("16777215", "16777215")]),
    ("int", &[("-2147483648", "-2147483648")]),
    ("int unsigned", &[("4294967295", "4294967295")]),
    ("bigint", &[("-9223372036854775808", "-9223372036854775808")]),
    ("bigint unsigned", &[("18446744073709551615", "18446744073709551615")]),
    (
        "decimal(38,10)",
        &[
            ("-1234567890123456789012345678.0123456789", "-1234567890123456789012345678.0123456789"),
            ("0", "0.0000000000"),
        ],
    ),
    (
        "decimal(65,0)",
        &[(
            "99999999999999999999999999999999999999999999999999999999999999999",
            "99999999999999999999999999999999999999999999999999999999999999999",
        )],
    ),
    (
        "double",
        &[
            ("0.1", "0.1"),
            ("1.7976931348623157e308", "1.7976931348623157e308"),
            ("2.2250738585072014e-308", "2.2250738585072014e-308"),
        ],
    ),
    ("bit(1)", &[("b'1'", "1"), ("b'0'", "0")]),
    ("bit(64)", &[("0xFFFFFFFFFFFFFFFF", "18446744073709551615")]),
    (
        "varchar(200)",
        &[
            ("''", ""),
            ("'\\\\N'", "\\N"),
            ("'NULL'", "NULL"),
            ("'주문 😀'", "주문 😀"),
            ("'a\\tb\\r\\nc\\\\'", "a\tb\r\nc\\"),
        ],
    ),
    ("char(3)", &[("'z'", "z")]),
    ("text", &[("CONCAT('a', CHAR(0), 'b')", "a\0b"), ("'\"quoted\", and ''so'''", "\"quoted\", and 'so'")]),
    ("varchar(20) CHARACTER SET latin1", &[("'é'", "é")]),
    ("varbinary(8)", &[("x'00ff'", "00ff"), ("''", "")]),
    ("blob", &[("x'0a0d22'", "0a0d22")]),
    ("date", &[("'0001-01-01'", "0001-01-01"), ("'9999-12-31'", "9999-12-31"), ("'0000-00-00'", "0000-00-00")]),
    ("datetime(6)", &[("'9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999")]),
    ("timestamp(6) NULL", &[("'2024-01-01 09:00:00.000001'", "2024-01-01 00:00:00.000001")]),
    ("time(6)", &[("'-838:59:59'", "-838:59:59.000000"), ("'00:00:00.000001'", "00:00:00.000001")]),
    ("year", &[("2155", "2155"), ("0000", "0000")]),
    ("enum('a','나')", &[("'나'", "나")]),
    ("set('x','y')", &[("'x,y'", "x,y"), ("''", "")]),
    ("json", &[("'{\"a\": [1, null]}'", "{\"a\": [1, null]}")]),
    ("uuid", &[("'123e4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000")]),
    ("inet6", &[("'::1'", "::1")]),
];

/// An answer with a FLOAT comes by another protocol, so the kinds of values stand here again.
const MARIADB_FLOAT: &[Case] = &[(
    "float",
    &[("0.1", "0.1"), ("16777215", "16777215"), ("3.4028235e38", "3.4028235e38"), ("1.17549435e-38", "1.1754944e-38")],
)];

const BESIDE_FLOAT: &[Case] = &[
    ("float", &[("0.1", "0.1")]),
    ("tinyint", &[("-128", "-128")]),
    ("mediumint", &[("-8388608", "-8388608")]),
    ("int unsigned", &[("4294967295", "4294967295")]),
    ("bigint unsigned", &[("18446744073709551615", "18446744073709551615")]),
    ("decimal(38,10)", &[("-1234567890123456789012345678.0123456789", "-1234567890123456789012345678.0123456789")]),
    ("double", &[("0.1", "0.1"), ("-1e300", "-1e300")]),
    ("bit(64)", &[("0xFFFFFFFFFFFFFFFF", "18446744073709551615")]),
    ("text", &[("'주문 😀'", "주문 😀"), ("''", "")]),
    ("blob", &[("x'00ff'", "00ff")]),
    ("date", &[("'9999-12-31'", "9999-12-31"), ("'0000-00-00'", "0000-00-00")]),
    (
        "datetime(6)",
        &[("'9999-12-31 23:59:59.000001'", "9999-12-31 23:59:59.000001"), ("'0000-00-00'", "0000-00-00 00:00:00")],
    ),
    ("timestamp NULL", &[("'2024-01-01 09:00:00'", "2024-01-01 00:00:00")]),
    ("time(6)", &[("'-838:59:59'", "-838:59:59"), ("'00:00:00'", "00:00:00")]),
    ("year", &[("2155", "2155")]),
    ("enum('a','나')", &[("'나'", "나")]),
    ("json", &[("'{}'", "{}")]),
];

const POSTGRES: &[Case] = &[
    ("smallint", &[("-32768", "-32768")]),
    ("integer", &[("-2147483648", "-2147483648")]),
    ("bigint", &[("-9223372036854775808", "-9223372036854775808")]),
    ("numeric(38,10)", &[("-1234567890123456789012345678.0123456789", "-1234567890123456789012345678.0123456789")]),
    ("numeric", &[("'NaN'", "NaN"), ("'-Infinity'", "-Infinity"), ("1e-20", "0.00000000000000000001")]),
    ("real", &[("0.1", "0.1"), ("16777216", "1.6777216e+07"), ("'NaN'", "NaN")]),
    ("double precision", &[("0.1", "0.1"), ("'Infinity'", "Infinity"), ("5e-324", "5e-324"), ("'-0'", "-0")]),
    ("boolean", &[("true", "t"), ("false", "f")]),
    ("bit(3)", &[("B'101'", "101")]),
    ("varbit(5)", &[("B'1'", "1"), ("B''", "")]),
    ("char(3)", &[("'z'", "z  ")]),
    ("varchar(20)", &[("''", ""), ("'\\N'", "\\N"), ("'주문 😀'", "주문 😀")]),
    (
        "text",
        &[("E'a\\tb\\r\\nc\\\\d\\be\\ff\\x0b'", "a\tb\r\nc\\d\u{8}e\u{c}f\u{b}"), ("'NULL'", "NULL"), ("'\\.'", "\\.")],
    ),
    ("bytea", &[("'\\x00ff'", "00ff"), ("''", "")]),
    (
        "date",
        &[
            ("'0001-01-01'", "0001-01-01"),
            ("'9999-12-31'", "9999-12-31"),
            ("'infinity'", "infinity"),
            ("'0044-03-15 BC'", "0044-03-15 BC"),
        ],
    ),
    ("time(6)", &[("'23:59:59.999999'", "23:59:59.999999"), ("'24:00'", "24:00:00")]),
    ("timetz", &[("'12:00+09'", "12:00:00+09")]),
    ("timestamp", &[("'9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999"), ("'-infinity'", "-infinity")]),
    ("timestamptz", &[("'2024-01-01 09:00:00.000001+09'", "2024-01-01 00:00:00.000001+00")]),
    ("interval", &[("'1 year 2 months -3 days 25:00:00.5'", "1 year 2 mons -3 days +25:00:00.5")]),
    ("json", &[("'{\"a\":  1e2}'", "{\"a\":  1e2}")]),
    ("jsonb", &[("'{\"a\":  1}'", "{\"a\": 1}")]),
    ("uuid", &[("'123E4567-e89b-12d3-a456-426655440000'", "123e4567-e89b-12d3-a456-426655440000")]),
    ("money", &[("'-1234.5'", "-1234.50")]),
    ("integer[]", &[("'{1,NULL,-2}'", "{1,NULL,-2}"), ("'{}'", "{}")]),
    ("text[]", &[("ARRAY['a,b', '', 'say \"hi\"', NULL]", "{\"a,b\",\"\",\"say \\\"hi\\\"\",NULL}")]),
    ("mood", &[("'행복'", "행복")]),
    ("price", &[("12.5", "12.50")]),
    ("hstore", &[("'a=>1, b=>NULL'", "\"a\"=>\"1\", \"b\"=>NULL")]),
    ("inet", &[("'::1/128'", "::1")]),
    ("int4range", &[("'[1,3]'", "[1,4)")]),
];

const SQLITE: &[Case] = &[
    ("INTEGER", &[("-9223372036854775808", "-9223372036854775808"), ("9223372036854775807", "9223372036854775807")]),
    ("REAL", &[("0.1", "0.1"), ("9e999", "Infinity"), ("-9e999", "-Infinity")]),
    ("DECIMAL(10,2)", &[("12.5", "12.5"), ("7", "7")]),
    ("TEXT", &[("''", ""), ("'\\N'", "\\N"), ("'주문 😀'", "주문 😀"), ("'a' || char(0) || 'b'", "a\0b")]),
    ("VARCHAR(20)", &[("'NULL'", "NULL")]),
    ("BLOB", &[("x'00ff'", "00ff"), ("x''", "")]),
    ("BOOLEAN", &[("1", "1"), ("0", "0")]),
    ("DATE", &[("'0001-01-01'", "0001-01-01")]),
    ("DATETIME", &[("'9999-12-31 23:59:59.999999'", "9999-12-31 23:59:59.999999")]),
    ("", &[("'anything'", "anything"), ("1.5", "1.5")]),
];

/// What was read: the columns, and for each the texts of its values.
struct Read {
    columns: Vec<SourceColumn>,
    texts: Vec<Vec<Option<String>>>,
}

fn ddl(cases: &[Case]) -> String {
    let columns: Vec<String> =
        cases.iter().enumerate().map(|(index, (declaration, _))| format!("c{index} {declaration}")).collect();
    format!("CREATE TABLE 값 (n integer, {})", columns.join(", "))
}

/// Row by row the values of all columns; NULL where a column has no more.
fn inserts(cases: &[Case]) -> Vec<String> {
    let rows = cases.iter().map(|(_, values)| values.len()).max().unwrap_or(0);
    (0..=rows)
        .map(|row| {
            let values: Vec<&str> =
                cases.iter().map(|(_, values)| values.get(row).map_or("NULL", |(sql, _)| *sql)).collect();
            format!("INSERT INTO 값 VALUES ({row}, {})", values.join(", "))
        })
        .collect()
}

async fn read(world: &World, conn_id: &str, cases: &[Case]) -> Result<Read> {
    let source = world.connectors.source(&world.context(1), conn_id).await?;
    let stream = source.query("SELECT * FROM 값 ORDER BY n").await?;
    let columns = stream.columns[1..].to_vec();
    let rows = cells(stream).await?;
    let texts = (0..cases.len()).map(|column| rows.iter().map(|row| row[column + 1].clone()).collect()).collect();
    let read = Read { columns, texts };
    check(cases, &read);
    Ok(read)
}

fn check(cases: &[Case], read: &Read) {
    for ((declaration, values), texts) in cases.iter().zip(&read.texts) {
        for (index, text) in texts.iter().enumerate() {
            let expected = values.get(index).map(|(_, expected)| *expected);
            assert_eq!(text.as_deref(), expected, "{declaration}: {:?}", values.get(index).map(|(sql, _)| sql));
        }
        assert!(texts.len() > values.len(), "{declaration}: a NULL was read too");
    }
}

async fn mariadb(world: &World, cases: &[Case]) -> Result<Read> {
    let database = tokio::task::spawn_blocking(|| MariaDb::shared()?.create_database()).await??;
    world.add_url("maria", "mysql", &database.url())?;
    database.execute(&format!(
        "{} CHARACTER SET utf8mb4; SET time_zone = '+09:00'; SET sql_mode = 'ALLOW_INVALID_DATES'; {}",
        ddl(cases),
        inserts(cases).join("; ")
    ))?;
    read(world, "maria", cases).await
}

async fn postgres(world: &World) -> Result<Read> {
    let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
    world.add_url("pg", "postgres", &database.url())?;
    database.execute(
        "CREATE EXTENSION hstore; CREATE TYPE mood AS ENUM ('sad', '행복'); CREATE DOMAIN price AS numeric(12,2)",
    )?;
    database.execute(&ddl(POSTGRES))?;
    for insert in inserts(POSTGRES) {
        database.execute(&insert)?;
    }
    read(world, "pg", POSTGRES).await
}

async fn sqlite(world: &World) -> Result<Read> {
    let path = world.folder.path().join("values.db");
    std::fs::File::create(&path)?;
    world.add(Connection { schema: Some(path.display().to_string()), ..connection("lite", "sqlite") });
    let context = world.context(1);
    let warehouse = world.connectors.warehouse(&context, "lite").await?;
    let mut statements = vec![ddl(SQLITE)];
    statements.extend(inserts(SQLITE));
    warehouse.execute(&statements, false, &context.work).await?;
    read(world, "lite", SQLITE).await
}

#[tokio::test]
async fn every_value_comes_out_as_it_is_and_the_page_of_source_types_says_so() -> Result<()> {
    let world = World::start().await?;
    let maria = mariadb(&world, MARIADB).await?;
    let floats = mariadb(&world, MARIADB_FLOAT).await?;
    mariadb(&world, BESIDE_FLOAT).await?;
    let pg = postgres(&world).await?;
    let lite = sqlite(&world).await?;

    world.add(Connection {
        host: Some("127.0.0.1".to_owned()),
        login: Some("nobody".to_owned()),
        ..connection("red", "redshift")
    });
    let context = world.context(1);
    let mut warehouses = BTreeMap::new();
    for conn_id in ["red", "pg", "lite"] {
        warehouses.insert(conn_id, world.connectors.warehouse(&context, conn_id).await?);
    }
    let mut page = HEAD.to_owned();
    page.push_str("\n## From MySQL and MariaDB\n\n");
    table(&mut page, MARIADB.iter().chain(MARIADB_FLOAT), maria.columns.iter().chain(&floats.columns), &warehouses);
    page.push_str("\n## From PostgreSQL\n\n`mood` is an enum of two labels, `price` a domain over numeric(12,2).\n\n");
    table(&mut page, POSTGRES.iter(), pg.columns.iter(), &warehouses);
    page.push_str("\n## From SQLite\n\n");
    table(&mut page, SQLITE.iter(), lite.columns.iter(), &warehouses);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/source-types.md");
    if std::env::var_os("WRITE_DOCS").is_some() {
        std::fs::write(&path, &page)?;
    }
    let written = std::fs::read_to_string(&path).context("docs/source-types.md")?;
    assert!(written == page, "docs/source-types.md is not what the program does: run this test with WRITE_DOCS=1");
    Ok(())
}

const HEAD: &str = "# Types of the sources

What a column of a source becomes. The types come from the source's catalogue, never from the rows: width, digits and zone
are what the table declares. This page is made by a test that writes each value below into a real server and reads it.

*As text* is what stands in a CSV file (before quoting) for the values in the second column. NULL is the file's `null_marker`,
'' is `\"\"`. *Parquet* is the type in a file of `format: parquet`; a value that it can't hold stops the task with row and
column (`0000-00-00`, `infinity`, years before 1, 24:00:00). The last three are the types of columns that tables made
here get.

An expression has the type that the server says of it. MySQL and MariaDB do not say the digits of a decimal expression, SQLite
says nothing of expressions: such columns are text in Parquet. Columns of tables and views are always exact.

- Sessions are in UTC: a MySQL `timestamp` and a PostgreSQL `timestamptz` are moments, whatever the zone of the server. A
  `datetime` or `timestamp` without zone is what a clock said; `source_timezone` says where it hung, and without it a column of
  moments takes none of them. Where that is said later, or is another zone than it was, what was loaded and what
  comes are no longer of one time: `incremental`, `table_copy` by change and an `upsert` that orders by such a column stop
  before they read and say by how much, until the table is loaded whole (`full_sync`) or somebody who has mended it clears the
  task.
- A date with a zero for year, month or day stops the task unless `zero_dates` says otherwise. So does a day that its month
  does not have (2024-02-31, where a server of MySQL allows it), except with `zero_dates: keep`.
- MySQL's bit is a number; PostgreSQL's is a text of 0 and 1. Bytes are hexadecimal.
- SQLite binds no value to its column's type: what does not fit is refused in Parquet and written as it is in CSV. A blob in
  a column of another kind, and any other value in a BLOB column, is read as SQLite's own CAST to the column's kind reads it:
  the text `de` in a BLOB is the bytes `6465`, the blob `x'6465'` in a TEXT is `de`; a blob that is no text (UTF-8) stops the
  task with its row. Sixteen bytes in a UUID column are a UUID. In an expression a blob stays hexadecimal digits. Files whose
  texts are kept in UTF-16 are refused.
";

fn table<'a>(
    page: &mut String,
    cases: impl Iterator<Item = &'a Case>,
    columns: impl Iterator<Item = &'a SourceColumn>,
    warehouses: &BTreeMap<&str, Arc<dyn Warehouse>>,
) {
    page.push_str("| column | values | as text | Parquet | Redshift | PostgreSQL | SQLite |\n");
    page.push_str("|---|---|---|---|---|---|---|\n");
    for ((declaration, values), column) in cases.zip(columns) {
        let list = |pick: fn(&(&'static str, &'static str)) -> &'static str| {
            values.iter().map(|value| shown(pick(value))).collect::<Vec<_>>().join(" · ")
        };
        let of = |conn_id: &str| target(warehouses, conn_id, &column.value);
        let _ = writeln!(
            page,
            "| {} | {} | {} | {} | {} | {} | {} |",
            shown(if declaration.is_empty() { "(none)" } else { declaration }),
            list(|(sql, _)| sql),
            list(|(_, text)| text),
            parquet_type(&column.value),
            of("red"),
            of("pg"),
            of("lite"),
        );
    }
}

fn target(warehouses: &BTreeMap<&str, Arc<dyn Warehouse>>, conn_id: &str, value: &ValueType) -> String {
    warehouses.get(conn_id).map(|warehouse| warehouse.column_type(value)).unwrap_or_default()
}

/// For a cell of the page: control characters by their escapes.
fn shown(text: &str) -> String {
    if text.is_empty() {
        return "(empty)".to_owned();
    }
    let mut out = String::new();
    for character in text.chars() {
        match character {
            '|' => out.push_str("\\|"),
            '\n' | '\r' | '\t' => out.extend(character.escape_default()),
            control if control.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(control))),
            other => out.push(other),
        }
    }
    format!("`{out}`")
}
