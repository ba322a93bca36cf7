//! SQLite as source and as warehouse.

use anyhow::{Context as _, Result};
use millrace_connectors::Connectors;
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{BuildRequest, Ports, TableName};

use crate::altered::{self, Lossy, lossy};
use crate::fidelity::{self, Reader};
use crate::loads::{self, Subject};
use crate::world::{World, cells, connection, refused, some, work};

pub async fn start(statements: &[&str]) -> Result<(World, Subject)> {
    let world = World::start().await?;
    let path = world.folder.path().join("warehouse.db");
    std::fs::File::create(&path)?;
    world.add(Connection { schema: Some(path.display().to_string()), ..connection("lite", "sqlite") });
    let context = world.context(1);
    let warehouse = world.connectors.warehouse(&context, "lite").await?;
    let subject = Subject { warehouse, context, table: "nps" };
    for statement in statements {
        subject.run(statement).await?;
    }
    Ok((world, subject))
}

const TABLE: &str =
    "CREATE TABLE nps (id bigint, at timestamp, score smallint NOT NULL DEFAULT 0, note varchar(20) DEFAULT 'x')";
const NULLABLE: &str = "CREATE TABLE nps (id bigint, at timestamp, score smallint, note varchar(20) DEFAULT 'x')";

#[tokio::test]
async fn case_77_case_78_methods_do_what_they_say() -> Result<()> {
    let (world, subject) = start(&[NULLABLE]).await?;
    loads::methods_do_what_they_say(&world, &subject).await
}

#[tokio::test]
async fn a_run_made_again_under_its_id_loads_again() -> Result<()> {
    let (world, subject) = start(&[NULLABLE]).await?;
    loads::a_run_made_again_under_its_id_loads_again(&world, &subject).await
}

#[tokio::test]
async fn files_that_are_not_what_was_written_load_nothing() -> Result<()> {
    let (world, subject) = start(&[NULLABLE]).await?;
    loads::files_that_are_not_what_was_written_load_nothing(&world, &subject).await
}

#[tokio::test]
async fn upsert_removes_doubles_and_never_matches_null() -> Result<()> {
    let (world, subject) = start(&[NULLABLE]).await?;
    loads::upsert_removes_doubles_and_never_matches_null(&world, &subject).await
}

#[tokio::test]
async fn case_76_a_bad_value_leaves_everything_as_it_was() -> Result<()> {
    let (world, subject) = start(&[TABLE]).await?;
    let words = ["nps", "s3://lake/bad.csv", "line 3", "column score", "12.5"];
    loads::a_bad_value_leaves_everything_as_it_was(&world, &subject, &words).await
}

#[tokio::test]
async fn case_86_summaries_are_built_checked_and_swapped() -> Result<()> {
    let (_world, subject) = start(&[
        TABLE,
        "CREATE TABLE source_rows (id bigint, at timestamp, score smallint, note varchar(20))",
        "INSERT INTO source_rows VALUES (5, '2024-01-01 00:00:00', 50, 'a'), (6, '2024-01-01 00:00:00', 60, 'b')",
        "CREATE VIEW scores AS SELECT id, score FROM nps",
        "CREATE INDEX by_score ON nps (score)",
    ])
    .await?;
    loads::summaries_are_built_checked_and_swapped(&subject).await?;
    assert_eq!(subject.rows("SELECT count(*) FROM scores").await?, [some(&["3"])]);
    assert_eq!(
        subject.rows("SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'nps'").await?,
        [some(&["by_score"])]
    );
    Ok(())
}

#[tokio::test]
async fn scripts_roll_back_as_a_whole() -> Result<()> {
    let (_world, subject) = start(&[TABLE]).await?;
    loads::scripts_roll_back_as_a_whole(&subject).await
}

#[tokio::test]
async fn values_come_out_by_their_storage_class() -> Result<()> {
    let (world, subject) = start(&[
        "CREATE TABLE v (a, b, c, d, e)",
        "INSERT INTO v VALUES (9007199254740993, 0.1, 'a''b', x'00ff', NULL), ('', 1e300, '주문', x'', 'NULL')",
    ])
    .await?;
    drop(subject);
    let source = world.connectors.source(&world.context(1), "lite").await?;
    let rows = cells(source.query("SELECT * FROM v ORDER BY rowid").await?).await?;
    assert_eq!(rows[0], some(&["9007199254740993", "0.1", "a'b", "00ff", "NULL"]));
    assert_eq!(
        (rows[1][0].as_deref(), rows[1][2].as_deref(), rows[1][4].as_deref()),
        (Some(""), Some("주문"), Some("NULL"))
    );
    assert_eq!(rows[1][1].as_deref().map(str::parse::<f64>), Some(Ok(1e300)));
    let error = refused(source.query("SELECT * FROM nothing_here").await.map(|_| ()))?;
    assert_eq!(error.kind, PortErrorKind::NotFound, "{}", error.message);
    Ok(())
}

#[tokio::test]
async fn a_query_is_one_whole_statement() -> Result<()> {
    let (world, subject) = start(&["CREATE TABLE v (a)", "INSERT INTO v VALUES (1)"]).await?;
    drop(subject);
    let source = world.connectors.source(&world.context(1), "lite").await?;
    for query in ["SELECT a FROM v ;; \n", "SELECT a FROM v; -- the end", "/* all */ SELECT a FROM v"] {
        assert_eq!(cells(source.query(query).await?).await?, [some(&["1"])], "{query}");
    }
    for (query, said) in [
        ("SELECT a FROM v; SELECT 2", "Multiple statements"),
        ("SELECT a FROM v WHERE a = :id", "needed 1"),
        ("SELECT b FROM v", "no such column: b"),
        ("-- SELECT a FROM v", "it gives no columns"),
        ("", "it gives no columns"),
    ] {
        let error = refused(source.query(query).await.map(drop))?;
        assert_eq!(error.kind, PortErrorKind::Invalid, "{query}: {}", error.message);
        assert!(
            error.message.contains("\"lite\": the query was refused") && error.message.contains(said),
            "{}",
            error.message
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_value_of_another_kind_than_its_column_is_read_as_the_columns_kind() -> Result<()> {
    let (world, subject) = start(&[
        "CREATE TABLE v (id INTEGER PRIMARY KEY, bytes BLOB, word TEXT, number INTEGER, uid UUID, day DATE, loose)",
        "INSERT INTO v VALUES (1, 'de', 'de', 7, '00112233-4455-6677-8899-aabbccddeeff', '2024-02-29', 'de')",
        "INSERT INTO v VALUES (2, x'de', CAST('주문' AS BLOB), CAST('12' AS BLOB), x'00112233445566778899aabbccddeeff', \
         CAST('2024-02-29' AS BLOB), x'de')",
        "INSERT INTO v VALUES (3, '', x'', NULL, NULL, NULL, '')",
        "INSERT INTO v VALUES (4, 12, 1.5, -1, NULL, NULL, 12)",
        "INSERT INTO v VALUES (5, '\\x6465', '주문', 0, NULL, NULL, x'')",
    ])
    .await?;
    let source = world.connectors.source(&world.context(1), "lite").await?;
    let read = async |sql: &str| cells(source.query(sql).await?).await;
    let rows = read("SELECT id, bytes, word, number, uid, day, loose FROM v ORDER BY id").await?;
    let uid = Some("00112233-4455-6677-8899-aabbccddeeff");
    let expected: [[Option<&str>; 7]; 5] = [
        [Some("1"), Some("6465"), Some("de"), Some("7"), uid, Some("2024-02-29"), Some("de")],
        [Some("2"), Some("de"), Some("주문"), Some("12"), uid, Some("2024-02-29"), Some("de")],
        [Some("3"), Some(""), Some(""), None, None, None, Some("")],
        [Some("4"), Some("3132"), Some("1.5"), Some("-1"), None, None, Some("12")],
        [Some("5"), Some("5c7836343635"), Some("주문"), Some("0"), None, None, Some("")],
    ];
    for (row, expected) in rows.iter().zip(expected) {
        assert_eq!(row.iter().map(Option::as_deref).collect::<Vec<_>>(), expected);
    }
    // SQLite itself says the same.
    let cast = "SELECT lower(hex(CAST(bytes AS BLOB))), CAST(word AS TEXT), CAST(number AS INTEGER) FROM v ORDER BY id";
    let cast = subject.rows(cast).await?;
    for (row, cast) in rows.iter().zip(cast) {
        assert_eq!(row[1..4], cast);
    }
    subject.run("INSERT INTO v (id, word) VALUES (6, x'ff00')").await?;
    let error = read("SELECT id, word FROM v ORDER BY id").await.err().context("bytes that are no text")?;
    let error: millrace_operator_api::PortError = error.downcast()?;
    assert_eq!(error.kind, PortErrorKind::Data);
    for part in ["row 6, column word", "2 bytes", "declared TEXT", "hex(word)"] {
        assert!(error.message.contains(part), "{part} in {}", error.message);
    }
    assert_eq!(read("SELECT hex(word) FROM v WHERE id = 6").await?, [some(&["FF00"])]);
    Ok(())
}

#[tokio::test]
async fn values_of_another_kind_arrive_and_are_proved() -> Result<()> {
    use crate::copies::databases::{Database, Kind, run};
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Lite, "source").await?;
    source.run("CREATE TABLE v (id INTEGER PRIMARY KEY, bytes BLOB, word TEXT)").await?;
    source
        .run("INSERT INTO v VALUES (1, 'de', 'de'), (2, x'de', CAST('주문' AS BLOB)), (3, 12, 1.5), (4, '', x''), (5, NULL, NULL)")
        .await?;
    for (generation, kind) in (1..).zip([Kind::Postgres, Kind::Lite, Kind::Redshift]) {
        let target = Database::start(&world, kind, "target").await?;
        let table = serde_json::json!({
            "source": "main.v", "target": format!("{}.copied", target.schema), "primary_key": "id", "empty_as_null": false,
            "verify": if kind == Kind::Redshift { vec!["counts"] } else { vec!["counts", "checksums"] },
        });
        let copying = serde_json::json!({
            "source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "tables": [table], "show_values": true,
        });
        let copied = run(&world, generation, copying).await.map_err(|error| anyhow::anyhow!("{kind:?}: {error}"))?;
        assert_eq!(copied["tables"][0]["rows_read"], 5, "{kind:?}: {copied}");
        let found = match kind {
            Kind::Lite => target.read(&world, "SELECT id, lower(hex(bytes)), word FROM copied ORDER BY id").await?,
            _ => target.postgres()?.query("SELECT id, encode(bytes, 'hex'), word FROM dw.copied ORDER BY id")?,
        };
        let expected =
            [some(&["1", "6465", "de"]), some(&["2", "de", "주문"]), some(&["3", "3132", "1.5"]), some(&["4", "", ""])];
        assert_eq!(found[..4], expected, "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn texts_that_are_not_utf_8_are_refused_by_the_file() -> Result<()> {
    let world = World::start().await?;
    let path = world.folder.path().join("wide.db");
    std::fs::File::create(&path)?;
    world.add(Connection { schema: Some(path.display().to_string()), ..connection("lite", "sqlite") });
    let context = world.context(1);
    let warehouse = world.connectors.warehouse(&context, "lite").await?;
    // Before the first table is made it can be chosen.
    let statements = ["PRAGMA encoding = 'UTF-16le'", "CREATE TABLE t (a TEXT)"].map(ToOwned::to_owned);
    warehouse.execute(&statements, true, &context.work).await?;
    let error = refused(world.connectors.source(&context, "lite").await?.query("SELECT * FROM t").await.map(|_| ()))?;
    assert!(error.message.contains("UTF-16") && error.message.contains("wide.db"), "{}", error.message);
    Ok(())
}

#[tokio::test]
async fn what_only_holds_values_has_nothing_to_reach() -> Result<()> {
    let said = Connectors::test(&connection("pepper", "generic")).await?;
    assert!(said.contains("nothing to reach"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_missing_file_is_named() -> Result<()> {
    let missing = Connection { schema: Some("/nowhere/at/all.db".into()), ..connection("lite", "sqlite") };
    let error = refused(Connectors::test(&missing).await)?;
    assert!(error.kind == PortErrorKind::NotFound && error.message.contains("/nowhere/at/all.db"), "{}", error.message);
    Ok(())
}

#[tokio::test]
async fn every_value_arrives_by_every_method() -> Result<()> {
    let (world, subject) = start(&[]).await?;
    let reader = Reader::Warehouse(&subject);
    fidelity::every_value_arrives_by_every_method(&world, &subject, None, &reader).await?;
    fidelity::random_tables_arrive_whole(&world, &subject, None, &reader).await?;
    fidelity::parquet_is_loaded(&world, &subject, None, &reader).await
}

#[tokio::test]
async fn what_a_column_would_change_is_refused() -> Result<()> {
    let (world, subject) = start(&[]).await?;
    let cases = [
        Lossy {
            rounded: Some("12345678901234567000"),
            ..lossy("DECIMAL(38,10)", "12345678901234567890.25", "more digits than SQLite keeps")
        },
        lossy("STRING", "007", "declare it TEXT"),
        lossy("JSON", "1.0", "declare it TEXT"),
        lossy("UUID", "1e5", "declare it TEXT"),
        lossy("REAL", "1234567890123456789.25", "more digits"),
    ];
    altered::what_a_column_would_change_is_refused(&world, &subject, None, &cases).await
}

#[tokio::test]
async fn empty_values_are_no_null() -> Result<()> {
    let (world, subject) = start(&[]).await?;
    altered::empty_values_are_no_null(&world, &subject, None, &["TEXT", "BLOB", "STRING", "JSON", ""]).await
}

#[tokio::test]
async fn numbers_as_text_are_compared_as_numbers() -> Result<()> {
    let (world, subject) = start(&[]).await?;
    altered::numbers_as_text_are_compared_as_numbers(&world, &subject, None, true).await
}

#[tokio::test]
async fn refused_rows_go_to_the_quarantine() -> Result<()> {
    let (world, subject) = start(&[NULLABLE]).await?;
    loads::refused_rows_go_to_the_quarantine(&world, &subject).await
}

#[tokio::test]
async fn days_that_are_loaded_at_once_leave_no_double() -> Result<()> {
    let (world, subject) = start(&[NULLABLE]).await?;
    let connectors = std::sync::Arc::clone(&world.connectors);
    let open = move |context: millrace_operator_api::TaskContext| {
        let connectors = std::sync::Arc::clone(&connectors);
        Box::pin(async move { Ok(connectors.warehouse(&context, "lite").await?) })
            as futures::future::BoxFuture<'static, Result<std::sync::Arc<dyn millrace_operator_api::ports::Warehouse>>>
    };
    loads::days_that_are_loaded_at_once_leave_no_double(&world, &open, &subject).await
}

#[tokio::test]
async fn a_table_of_another_shape_keeps_its_indexes_and_triggers() -> Result<()> {
    let (_world, subject) = start(&[
        NULLABLE,
        "CREATE TABLE seen (score smallint)",
        "CREATE INDEX by_score ON nps (score)",
        "CREATE TRIGGER watch AFTER INSERT ON nps BEGIN INSERT INTO seen VALUES (new.score); END",
    ])
    .await?;
    let build = |shape: &str, select: &str, generation| BuildRequest {
        target: TableName { schema: None, name: "nps".to_owned() },
        select: select.to_owned(),
        columns_ddl: Some(shape.to_owned()),
        checks: Vec::new(),
        keep_failed: false,
        also: Vec::new(),
        work: work(generation),
    };
    subject.warehouse.build_and_swap(build("(id bigint, score integer)", "SELECT 1, 2", 1)).await?;
    let names = "SELECT name FROM sqlite_master WHERE tbl_name = 'nps' AND type <> 'table' ORDER BY name";
    assert_eq!(subject.rows(names).await?, [some(&["by_score"]), some(&["watch"])]);
    subject.run("INSERT INTO nps VALUES (3, 4)").await?;
    assert_eq!(subject.rows("SELECT score FROM seen").await?, [some(&["4"])]);
    // Where they do not fit, nothing changes.
    let error = refused(subject.warehouse.build_and_swap(build("(id bigint)", "SELECT 9", 2)).await)?;
    assert!(
        error.message.contains("putting the new nps in place") && error.message.contains("score"),
        "{}",
        error.message
    );
    assert_eq!(subject.rows("SELECT id FROM nps ORDER BY id").await?, [some(&["1"]), some(&["3"])]);
    assert_eq!(subject.rows(names).await?.len(), 2);
    Ok(())
}
