//! Redshift by the Data API, against the stand-in on a real PostgreSQL.

use std::time::Duration;

use anyhow::Result;
use millrace_connectors::Connectors;
use millrace_devstack::{Fault, RedshiftConfig, RunningRedshift, serve_redshift};
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{BuildRequest, LoadMethod, LoadRequest, LoadRows, Ports, TableName, ValueType};
use millrace_testkit::{Postgres, TestDatabase, wait_until};
use serde_json::json;

use crate::altered::{self, Lossy, lossy};
use crate::fidelity::{self, Reader};
use crate::loads::{self, Subject};
use crate::world::{World, again, connection, extra, refused, some, stream_of, upsert, work};

pub struct Stand {
    pub redshift: RunningRedshift,
    pub world: World,
    pub database: TestDatabase,
}

fn redshift_connection(endpoint: &str, place: &str) -> Connection {
    Connection {
        schema: Some("dev".into()),
        extra: extra(json!({
            place: "warehouse", "endpoint_url": endpoint, "region_name": "eu-west-1", "db_user": "loader",
            "aws_access_key_id": "standin", "aws_secret_access_key": "standin-secret",
            "iam_role": "arn:aws:iam::123456789012:role/load",
        })),
        ..connection("rs", "redshift")
    }
}

pub async fn start(statements: &[&str]) -> Result<(Stand, Subject)> {
    let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
    let world = World::start().await?;
    let redshift = serve_redshift(RedshiftConfig {
        listen: "127.0.0.1:0".parse()?,
        postgres_url: database.url(),
        database: "dev".to_owned(),
        objects: world.s3.storage(),
        access_key: "standin".to_owned(),
    })
    .await?;
    world.add(redshift_connection(&redshift.endpoint_url(), "cluster_identifier"));
    let stand = Stand { redshift, world, database };
    let subject = subject(&stand, 1).await?;
    for statement in statements {
        subject.run(statement).await?;
    }
    Ok((stand, subject))
}

/// The warehouse as one try of the task opens it.
pub async fn subject(stand: &Stand, try_number: u32) -> Result<Subject> {
    let context = stand.world.context(try_number);
    let warehouse = stand.world.connectors.warehouse(&context, "rs").await?;
    Ok(Subject { warehouse, context, table: "analytics.nps" })
}

const SCHEMA: &str = "CREATE SCHEMA analytics";
const TABLE: &str =
    "CREATE TABLE analytics.nps (id bigint, at timestamp, score smallint, note varchar(20) DEFAULT 'x')";

fn leftovers(stand: &Stand) -> Result<usize> {
    Ok(stand.database.query("SELECT 1 FROM pg_class WHERE relname ~ '^(millrace_(staging|known|keys)|nps__)'")?.len())
}

#[tokio::test]
async fn case_77_case_78_methods_do_what_they_say() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA, TABLE]).await?;
    loads::methods_do_what_they_say(&stand.world, &subject).await?;
    assert_eq!(leftovers(&stand)?, 0, "no staging table is left");
    assert!(stand.world.keys("manifests/").await?.is_empty(), "no manifest is left");
    assert!(stand.world.journal.all().iter().all(|row| row.is_settled && row.remote_id.is_some()));
    Ok(())
}

#[tokio::test]
async fn a_run_made_again_under_its_id_loads_again() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA, TABLE]).await?;
    loads::a_run_made_again_under_its_id_loads_again(&stand.world, &subject).await
}

#[tokio::test]
async fn files_that_are_not_what_was_written_load_nothing() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA, TABLE]).await?;
    loads::files_that_are_not_what_was_written_load_nothing(&stand.world, &subject).await
}

#[tokio::test]
async fn upsert_removes_doubles_and_never_matches_null() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA, TABLE]).await?;
    loads::upsert_removes_doubles_and_never_matches_null(&stand.world, &subject).await
}

#[tokio::test]
async fn an_upsert_keeps_the_values_of_identity_columns() -> Result<()> {
    let table = "CREATE TABLE analytics.nps (number bigint IDENTITY(1,1), id bigint, at timestamp, score smallint, note varchar(20))";
    let existing = "INSERT INTO analytics.nps (id, at, score, note) VALUES (1, '2024-01-01', 10, 'a'), (2, '2024-01-09', 20, 'b'), \
                    (3, '2024-01-01', 30, 'c')";
    let (stand, subject) = start(&[SCHEMA, table, existing]).await?;
    let text = "1,2024-01-02 00:00:00,11\n2,2024-01-02 00:00:00,21\n4,2024-01-02 00:00:00,41\n";
    let mut request = stand.world.request("analytics.nps", upsert(&["id"], Some("at")), &[("in.csv", text)]).await?;
    request.columns = Some(["id", "at", "score"].map(ToOwned::to_owned).to_vec());
    let report = subject.warehouse.load(request).await?;
    assert_eq!((report.rows_updated, report.rows_inserted), (Some(1), Some(1)));
    let found = stand.database.query("SELECT id, number, score, note FROM analytics.nps ORDER BY id")?;
    assert_eq!(found[..3], [some(&["1", "1", "11", "a"]), some(&["2", "2", "20", "b"]), some(&["3", "3", "30", "c"])]);
    assert_eq!((found[3][0].as_deref(), found[3][2].as_deref()), (Some("4"), Some("41")));
    assert_eq!(leftovers(&stand)?, 0);
    Ok(())
}

#[tokio::test]
async fn rows_of_one_key_that_nothing_orders_are_refused() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA, TABLE]).await?;
    let same = "1,2024-01-01 00:00:00,1,a\n1,2024-01-01 00:00:00,1,a\n";
    // An older row may be ambiguous.
    let older = "2,2024-01-01 00:00:00,1,a\n2,2024-01-01 00:00:00,2,b\n2,2024-01-02 00:00:00,3,c\n";
    let tied = "3,2024-01-01 00:00:00,1,a\n3,2024-01-01 00:00:00,2,a\n";
    let load = async |order: Option<&str>, files: &[(&str, &str)]| {
        let request = stand.world.request("analytics.nps", upsert(&["id"], order), files).await?;
        anyhow::Ok(subject.warehouse.load(request).await)
    };
    let error = refused(load(Some("at"), &[("a.csv", same), ("b.csv", older), ("c.csv", tied)]).await?)?;
    assert_eq!(error.kind, PortErrorKind::Data);
    assert!(error.message.contains("1 values of id come in several rows that differ"), "{}", error.message);
    assert!(error.message.contains("they have one at, the order_key"), "{}", error.message);
    let error = refused(load(None, &[("b.csv", older)]).await?)?;
    assert!(error.message.contains("there is no order_key"), "{}", error.message);
    assert_eq!(stand.database.query("SELECT 1 FROM analytics.nps")?.len(), 0);
    assert_eq!(leftovers(&stand)?, 0);
    load(Some("at"), &[("a.csv", same), ("b.csv", older)]).await??;
    assert_eq!(
        stand.database.query("SELECT id, score FROM analytics.nps ORDER BY id")?,
        [some(&["1", "1"]), some(&["2", "3"])]
    );
    Ok(())
}

#[tokio::test]
async fn case_76_a_bad_value_leaves_everything_as_it_was() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA, TABLE]).await?;
    let words = ["analytics.nps", "s3://lake/bad.csv", "line 3", "column score", "12.5"];
    loads::a_bad_value_leaves_everything_as_it_was(&stand.world, &subject, &words).await?;
    assert_eq!(leftovers(&stand)?, 0);
    Ok(())
}

/// Redshift's own words name neither the length nor a way out.
#[tokio::test]
async fn what_copy_refuses_comes_with_the_columns_limit_and_a_way_out() -> Result<()> {
    let table = "CREATE TABLE analytics.nps (id bigint NOT NULL, day date, score smallint, note varchar(20))";
    let (stand, subject) = start(&[SCHEMA, table]).await?;
    let cases = [
        (
            "1,2024-01-01,1,a text of one and twenty",
            vec!["column note (varchar(20))", "a wider column", "truncatecolumns", "for_table"],
        ),
        ("1,01.02.2024 x,1,a", vec!["column day (date)", "dateformat in copy_options of copy"]),
        ("1,2024-01-01,12.5,a", vec!["column score (int2)", "cast it in the query", "for_table"]),
        ("\\N,2024-01-01,1,a", vec!["column id", "takes no NULL", "COALESCE"]),
    ];
    for (row, words) in cases {
        let mut request = stand.world.request(subject.table, LoadMethod::Append, &[("bad.csv", row)]).await?;
        request.format.null_as = Some("\\N".to_owned());
        request.columns = Some(["id", "day", "score", "note"].map(ToOwned::to_owned).to_vec());
        let error = refused(subject.warehouse.load(request).await)?;
        for word in words {
            assert!(error.message.contains(word), "{word:?} is missing in: {}", error.message);
        }
    }
    Ok(())
}

#[tokio::test]
async fn case_86_summaries_are_built_checked_and_swapped() -> Result<()> {
    let (stand, subject) = start(&[
        SCHEMA,
        "CREATE TABLE analytics.nps (id bigint, at timestamp, score smallint NOT NULL, note varchar(20) DEFAULT 'x')",
        "CREATE TABLE source_rows (id bigint, at timestamp, score smallint, note varchar(20))",
        "INSERT INTO source_rows VALUES (5, '2024-01-01', 50, 'a'), (6, '2024-01-01', 60, 'b')",
        "GRANT SELECT ON analytics.nps TO PUBLIC",
        "ALTER TABLE analytics.nps ADD PRIMARY KEY (score)",
        "ALTER TABLE analytics.nps ADD UNIQUE (id, score)",
        "COMMENT ON TABLE analytics.nps IS 'it''s scores'",
    ])
    .await?;
    loads::summaries_are_built_checked_and_swapped(&subject).await?;
    let kept = stand.database.query("SELECT array_to_string(relacl, ' '), obj_description(oid, 'pg_class') FROM pg_class WHERE oid = 'analytics.nps'::regclass")?;
    assert!(kept[0][0].as_deref().unwrap_or_default().contains("=r/"), "{kept:?}");
    let keys = "SELECT kind, array_to_string(columns, ' ') FROM redshift_stand_in.declared_keys \
                WHERE relid = 'analytics.nps'::regclass ORDER BY 1";
    assert_eq!(stand.database.query(keys)?, [some(&["p", "3"]), some(&["u", "1 3"])]);
    assert_eq!(kept[0][1].as_deref(), Some("it's scores"));
    Ok(())
}

/// More than a transaction of the Data API has statements.
#[tokio::test]
async fn a_table_keeps_a_comment_for_each_of_its_many_columns() -> Result<()> {
    let columns: Vec<String> = (1..=45).map(|number| format!("c{number} int")).collect();
    let (stand, subject) = start(&[SCHEMA, &format!("CREATE TABLE analytics.wide ({})", columns.join(", "))]).await?;
    for number in 1..=45 {
        subject.run(&format!("COMMENT ON COLUMN analytics.wide.c{number} IS 'the {number}th'")).await?;
    }
    subject.run("GRANT SELECT ON analytics.wide TO PUBLIC").await?;
    let numbers: Vec<String> = (1..=45).map(|number| number.to_string()).collect();
    let request = BuildRequest {
        target: TableName { schema: Some("analytics".to_owned()), name: "wide".to_owned() },
        select: format!("SELECT {}", numbers.join(", ")),
        columns_ddl: None,
        checks: Vec::new(),
        keep_failed: false,
        also: Vec::new(),
        work: work(1),
    };
    assert!(subject.warehouse.build_and_swap(request).await?.was_swapped);
    assert_eq!(subject.rows("SELECT c1, c45 FROM analytics.wide").await?, [some(&["1", "45"])]);
    let kept = "SELECT count(col_description(c.oid, a.attnum)), max(array_to_string(c.relacl, ' ')) FROM pg_class c \
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 WHERE c.oid = 'analytics.wide'::regclass";
    let kept = stand.database.query(kept)?;
    assert_eq!(kept[0][0].as_deref(), Some("45"));
    assert!(kept[0][1].as_deref().unwrap_or_default().contains("=r/"), "{kept:?}");
    Ok(())
}

#[tokio::test]
async fn a_table_with_views_keeps_them() -> Result<()> {
    let (_stand, subject) = start(&[
        SCHEMA,
        "CREATE TABLE analytics.nps (id bigint, at timestamp, score smallint NOT NULL, note varchar(20) DEFAULT 'x')",
        "CREATE TABLE source_rows (id bigint, at timestamp, score smallint, note varchar(20))",
        "INSERT INTO source_rows VALUES (5, '2024-01-01', 50, 'a'), (6, '2024-01-01', 60, 'b')",
        "CREATE VIEW analytics.scores AS SELECT id, score FROM analytics.nps",
    ])
    .await?;
    loads::summaries_are_built_checked_and_swapped(&subject).await?;
    assert_eq!(subject.rows("SELECT COUNT(*) FROM analytics.scores").await?, [some(&["3"])]);
    Ok(())
}

#[tokio::test]
async fn scripts_roll_back_as_a_whole() -> Result<()> {
    let (_stand, subject) = start(&[SCHEMA, TABLE]).await?;
    loads::scripts_roll_back_as_a_whole(&subject).await
}

/// The process is killed at each write of its journal: before a statement is sent, after it was sent and before its id is
/// known, while it runs, after it has ended. The next try makes the table what one clean run makes it.
async fn is_taken_up_by_the_next_try(method: LoadMethod, after: bool, expected: &[&[&str]]) -> Result<()> {
    let expected: Vec<_> = expected.iter().map(|row| some(row)).collect();
    let mut deaths = 0;
    for number in 1.. {
        let existing = "INSERT INTO analytics.nps (id, at, score) VALUES (1, '2024-01-01', 1)";
        let (stand, _) = start(&[SCHEMA, TABLE, existing]).await?;
        let text = "1,2024-01-02 00:00:00,7\n2,2024-01-02 00:00:00,8\n";
        let mut request = stand.world.request("analytics.nps", method.clone(), &[("in.csv", text)]).await?;
        request.columns = Some(["id", "at", "score"].map(ToOwned::to_owned).to_vec());
        let first = subject(&stand, 1).await?;
        let is_dead = stand.world.journal.kills((number, after), first.warehouse.load(again(&request))).await?;
        let report = subject(&stand, 2).await?.warehouse.load(again(&request)).await?;
        assert!(is_dead || report.was_loaded_before);
        assert!(subject(&stand, 3).await?.warehouse.load(request).await?.was_loaded_before);
        let found = stand.database.query("SELECT id, score FROM analytics.nps ORDER BY 1, 2")?;
        assert_eq!(found, expected, "death at {number}");
        if !is_dead {
            break;
        }
        deaths += 1;
    }
    // Three writes for each of three statements: the marker's table, the staging, the load.
    assert_eq!(deaths, 9);
    Ok(())
}

/// Rows that come straight from a source are read anew by the next try, which finds nothing of the dead one's batches in its
/// own.
#[tokio::test]
async fn a_load_without_files_killed_at_any_write_is_done_once() -> Result<()> {
    let columns = [("id", ValueType::Integer { bits: 64, signed: true }), ("note", ValueType::TEXT)];
    let rows = vec![some(&["1", "a"]), some(&["2", "b"])];
    for after in [false, true] {
        let mut deaths = 0;
        for number in 1.. {
            let (stand, _) = start(&[SCHEMA, TABLE]).await?;
            let request = || LoadRequest {
                columns: Some(["id", "note"].map(ToOwned::to_owned).to_vec()),
                ..LoadRequest::new(
                    TableName { schema: Some("analytics".to_owned()), name: "nps".to_owned() },
                    LoadMethod::Append,
                    LoadRows::direct(stream_of(&columns, &rows)),
                    work(0),
                )
            };
            let first = subject(&stand, 1).await?;
            let is_dead = stand.world.journal.kills((number, after), first.warehouse.load(request())).await?;
            subject(&stand, 2).await?.warehouse.load(request()).await?;
            let found = stand.database.query("SELECT id, note FROM analytics.nps ORDER BY 1, 2")?;
            assert_eq!(found, rows, "death at {number}, after: {after}");
            assert_eq!(leftovers(&stand)?, 0, "death at {number}, after: {after}");
            if !is_dead {
                break;
            }
            deaths += 1;
        }
        // Three writes for each of four statements: the marker's table, the staging, its rows, the load.
        assert_eq!(deaths, 12);
    }
    Ok(())
}

/// A killed task that nobody runs again has nobody to tidy up after it but the loads of others.
#[tokio::test]
async fn a_staging_table_that_nobody_comes_back_for_is_dropped_by_a_later_load() -> Result<()> {
    let (stand, first) = start(&[SCHEMA, TABLE]).await?;
    let text = [("in.csv", "1,2024-01-02 00:00:00,7,a\n")];
    let abandoned = stand.world.request("analytics.nps", LoadMethod::Append, &text).await?;
    // The seventh write is the intent to move the staged rows into the table.
    stand.world.journal.die_at(7, true);
    let mut load = first.warehouse.load(again(&abandoned));
    tokio::select! {
        result = &mut load => anyhow::bail!("it was to die: {result:?}"),
        () = stand.world.journal.died.notified() => {}
    }
    std::mem::forget(load);
    // Nor do those of the deletion of rows that the source has no more.
    for name in ["millrace_known_0123_0", "millrace_keys_0123_0"] {
        first.run(&format!("CREATE TABLE analytics.{name} (id bigint)")).await?;
    }
    assert_eq!(leftovers(&stand)?, 3);
    let load = async |generation| {
        let request = LoadRequest { work: work(generation), ..again(&abandoned) };
        subject(&stand, 1).await?.warehouse.load(request).await?;
        anyhow::Ok(())
    };
    load(1).await?;
    assert_eq!(leftovers(&stand)?, 3, "somebody may still be at work with them");
    let older = "UPDATE redshift_stand_in.table_creations SET created = created - interval '4 days'";
    stand.database.execute(older)?;
    load(2).await?;
    assert_eq!(leftovers(&stand)?, 0);
    assert_eq!(stand.database.query("SELECT count(*) FROM analytics.nps")?, [some(&["2"])]);
    Ok(())
}

#[tokio::test]
async fn an_append_killed_before_a_write_is_done_once() -> Result<()> {
    is_taken_up_by_the_next_try(LoadMethod::Append, false, &[&["1", "1"], &["1", "7"], &["2", "8"]]).await
}

#[tokio::test]
async fn an_append_killed_after_a_write_is_done_once() -> Result<()> {
    is_taken_up_by_the_next_try(LoadMethod::Append, true, &[&["1", "1"], &["1", "7"], &["2", "8"]]).await
}

#[tokio::test]
async fn a_replace_killed_after_a_write_is_done_once() -> Result<()> {
    is_taken_up_by_the_next_try(LoadMethod::Replace, true, &[&["1", "7"], &["2", "8"]]).await
}

#[tokio::test]
async fn an_upsert_killed_before_a_write_is_done_once() -> Result<()> {
    is_taken_up_by_the_next_try(upsert(&["id"], Some("at")), false, &[&["1", "7"], &["2", "8"]]).await
}

#[tokio::test]
async fn lost_answers_and_throttling_change_nothing() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA, TABLE]).await?;
    for (operation, fault) in [
        ("BatchExecuteStatement", Fault::LoseAnswer),
        ("BatchExecuteStatement", Fault::Throttle),
        ("DescribeStatement", Fault::CutConnection),
        ("DescribeStatement", Fault::InternalError),
        ("GetStatementResult", Fault::Throttle),
    ] {
        stand.redshift.faults().inject(operation, fault, 1);
    }
    let request =
        stand.world.request("analytics.nps", LoadMethod::Append, &[("in.csv", "1,2024-01-01 00:00:00,1,a\n")]).await?;
    let report = subject.warehouse.load(request).await?;
    assert_eq!((report.rows_read, report.rows_inserted), (Some(1), Some(1)));
    assert_eq!(stand.redshift.faults().pending(), 0, "every fault was met");
    assert_eq!(stand.database.query("SELECT count(*) FROM analytics.nps")?, [some(&["1"])]);
    Ok(())
}

#[tokio::test]
async fn an_aborted_transaction_may_be_tried_again() -> Result<()> {
    let (stand, _) = start(&[SCHEMA, TABLE]).await?;
    let request =
        stand.world.request("analytics.nps", LoadMethod::Append, &[("in.csv", "1,2024-01-01 00:00:00,1,a\n")]).await?;
    let text =
        "ERROR: 1023 DETAIL: Serializable isolation violation on table - 100, transactions forming the cycle are: 1, 2";
    stand.redshift.faults().inject("COMMIT", Fault::FailStatement(text.into()), 1);
    let error = refused(subject(&stand, 1).await?.warehouse.load(again(&request)).await)?;
    assert_eq!(error.kind, PortErrorKind::Unavailable, "{}", error.message);
    assert_eq!(leftovers(&stand)?, 0);
    let second = subject(&stand, 2).await?.warehouse.load(request).await?;
    assert!(!second.was_loaded_before);
    assert_eq!(stand.database.query("SELECT count(*) FROM analytics.nps")?, [some(&["1"])]);
    Ok(())
}

#[tokio::test]
async fn a_cancelled_task_cancels_its_statement_and_records_the_end() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA, TABLE]).await?;
    stand.redshift.faults().inject("COPY", Fault::Delay(Duration::from_mins(10)), 1);
    let request =
        stand.world.request("analytics.nps", LoadMethod::Append, &[("in.csv", "1,2024-01-01 00:00:00,1,a\n")]).await?;
    let (journal, cancel) = (std::sync::Arc::clone(&stand.world.journal), stand.world.cancel.clone());
    let watch = async {
        wait_until("the statement was sent", Duration::from_secs(20), async || {
            journal.all().iter().any(|row| row.step == "stage" && row.remote_id.is_some())
        })
        .await?;
        cancel.cancel();
        anyhow::Ok(())
    };
    let (loaded, watched) = tokio::join!(subject.warehouse.load(request), watch);
    watched?;
    assert_eq!(refused(loaded)?.kind, PortErrorKind::Cancelled);
    assert!(stand.world.journal.all().iter().all(|row| row.is_settled));
    assert_eq!(leftovers(&stand)?, 0, "the staging table is swept afterwards");
    assert_eq!(stand.database.query("SELECT count(*) FROM analytics.nps")?, [some(&["0"])]);
    Ok(())
}

#[tokio::test]
async fn connections_are_tested_and_mistakes_named() -> Result<()> {
    let (stand, _) = start(&[]).await?;
    for place in ["cluster_identifier", "workgroup_name"] {
        let said = Connectors::test(&redshift_connection(&stand.redshift.endpoint_url(), place)).await?;
        assert!(said.starts_with("Redshift"), "{said}");
    }
    let mut both = redshift_connection(&stand.redshift.endpoint_url(), "cluster_identifier");
    both.extra.0.insert("workgroup_name".into(), "w".into());
    let error = refused(Connectors::test(&both).await)?;
    assert!(error.kind == PortErrorKind::Invalid && error.message.contains("exactly one"), "{}", error.message);
    let mut neither = redshift_connection(&stand.redshift.endpoint_url(), "nothing");
    neither.extra.0.remove("nothing");
    assert_eq!(refused(Connectors::test(&neither).await)?.kind, PortErrorKind::Invalid);
    let mut stranger = redshift_connection(&stand.redshift.endpoint_url(), "cluster_identifier");
    stranger.extra.0.insert("aws_access_key_id".into(), "stranger".into());
    let error = refused(Connectors::test(&stranger).await)?;
    assert_eq!(error.kind, PortErrorKind::Denied, "{}", error.message);
    Ok(())
}

/// By wire the statements are the same; a PostgreSQL stands in as far as it can: it knows no COPY from S3.
#[tokio::test]
async fn by_wire_scripts_and_summaries_work() -> Result<()> {
    let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
    database.execute(
        "CREATE SCHEMA analytics; CREATE FUNCTION getdate() RETURNS timestamp LANGUAGE sql AS $$ SELECT now()::timestamp $$; \
         CREATE TABLE analytics.nps (id bigint, at timestamp, score smallint NOT NULL, note varchar(20) DEFAULT 'x'); \
         CREATE TABLE source_rows (id bigint, at timestamp, score smallint, note varchar(20)); \
         INSERT INTO source_rows VALUES (5, '2024-01-01', 50, 'a'), (6, '2024-01-01', 60, 'b')",
    )?;
    let world = World::start().await?;
    world.add_url("rs", "redshift", &database.url())?;
    let context = world.context(1);
    let warehouse = world.connectors.warehouse(&context, "rs").await?;
    assert!(warehouse.ping().await?.starts_with("Redshift"));
    let subject = Subject { warehouse, context, table: "analytics.nps" };
    loads::summaries_are_built_checked_and_swapped(&subject).await?;
    subject.run("DELETE FROM analytics.nps").await?;
    loads::scripts_roll_back_as_a_whole(&subject).await
}

#[tokio::test]
async fn every_value_arrives_by_every_method() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA]).await?;
    let reader = Reader::Database(&stand.database);
    fidelity::every_value_arrives_by_every_method(&stand.world, &subject, Some("analytics"), &reader).await?;
    fidelity::random_tables_arrive_whole(&stand.world, &subject, Some("analytics"), &reader).await?;
    assert_eq!(leftovers(&stand)?, 0, "no staging table is left");
    Ok(())
}

/// The same by the PostgreSQL protocol, COPY from S3 and all.
#[tokio::test]
async fn by_wire_every_value_arrives_by_every_method() -> Result<()> {
    let (stand, _) = start(&[SCHEMA, TABLE]).await?;
    let address = stand.redshift.serve_wire("127.0.0.1:0".parse()?).await?;
    stand.world.add(Connection {
        host: Some(address.ip().to_string()),
        port: Some(address.port()),
        login: Some("loader".to_owned()),
        password: Some("any".into()),
        schema: Some("dev".to_owned()),
        extra: extra(json!({"sslmode": "disable", "iam_role": "arn:aws:iam::123456789012:role/load"})),
        ..connection("wire", "redshift")
    });
    let context = stand.world.context(1);
    let warehouse = stand.world.connectors.warehouse(&context, "wire").await?;
    let subject = Subject { warehouse, context, table: "analytics.nps" };
    loads::methods_do_what_they_say(&stand.world, &subject).await?;
    let reader = Reader::Database(&stand.database);
    fidelity::every_value_arrives_by_every_method(&stand.world, &subject, Some("analytics"), &reader).await?;
    fidelity::parquet_is_loaded(&stand.world, &subject, Some("analytics"), &reader).await?;
    subject.run("DELETE FROM analytics.nps").await?;
    loads::scripts_roll_back_as_a_whole(&subject).await?;
    assert_eq!(leftovers(&stand)?, 0, "no staging table is left");
    Ok(())
}

#[tokio::test]
async fn parquet_is_loaded_and_nothing_is_widened() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA]).await?;
    let reader = Reader::Database(&stand.database);
    fidelity::parquet_is_loaded(&stand.world, &subject, Some("analytics"), &reader).await?;
    subject.run("CREATE TABLE analytics.narrow (n integer, word varchar(40), at timestamp)").await?;
    let mut request = stand.world.request("analytics.narrow", LoadMethod::Append, &[]).await?;
    let LoadRows::Objects(files) = &mut request.rows else { anyhow::bail!("files are asked for") };
    files.objects.push(stand.world.put("narrow.parquet", fidelity::parquet_file()?).await?);
    request.format.kind = millrace_operator_api::ports::FileKind::Parquet;
    request.work = work(77);
    let error = refused(subject.warehouse.load(request).await)?;
    assert!(error.message.contains("incompatible Parquet schema for column 'n'"), "{}", error.message);
    assert_eq!(leftovers(&stand)?, 0, "no staging table is left");
    Ok(())
}

#[tokio::test]
async fn what_a_column_would_change_is_refused() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA]).await?;
    let direct = |case: Lossy| Lossy { direct_only: true, ..case };
    let cases = [
        Lossy { rounded: Some("12.35"), ..lossy("decimal(10,2)", "12.3456", "digits behind the point") },
        lossy("decimal(37,2)", "12.345", "digits behind the point"),
        direct(lossy("real", "0.30000000000000004", "more digits than real holds")),
        direct(lossy("date", "2024-01-01 10:00:00", "a time of day")),
        direct(lossy("timestamp", "2024-01-01 10:00:00+09", "an offset from UTC")),
        direct(lossy("time", "10:00:00+09", "an offset from UTC")),
    ];
    altered::what_a_column_would_change_is_refused(&stand.world, &subject, Some("analytics"), &cases).await?;
    assert_eq!(leftovers(&stand)?, 0, "no staging table is left");
    Ok(())
}

#[tokio::test]
async fn numbers_as_text_are_not_taken_for_an_order() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA]).await?;
    altered::numbers_as_text_are_compared_as_numbers(&stand.world, &subject, Some("analytics"), false).await?;
    assert_eq!(leftovers(&stand)?, 0, "no staging table is left");
    Ok(())
}

#[tokio::test]
async fn refused_rows_go_to_the_quarantine() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA, TABLE]).await?;
    loads::refused_rows_go_to_the_quarantine(&stand.world, &subject).await
}

#[tokio::test]
async fn days_that_are_loaded_at_once_leave_no_double() -> Result<()> {
    let (stand, subject) = start(&[SCHEMA, TABLE]).await?;
    let connectors = std::sync::Arc::clone(&stand.world.connectors);
    let open = move |context: millrace_operator_api::TaskContext| {
        let connectors = std::sync::Arc::clone(&connectors);
        Box::pin(async move { Ok(connectors.warehouse(&context, "rs").await?) })
            as futures::future::BoxFuture<'static, Result<std::sync::Arc<dyn millrace_operator_api::ports::Warehouse>>>
    };
    loads::days_that_are_loaded_at_once_leave_no_double(&stand.world, &open, &subject).await
}
