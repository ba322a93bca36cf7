//! PostgreSQL as source and as warehouse.

use anyhow::{Context as _, Result};
use futures::TryStreamExt;
use millrace_connectors::Connectors;
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::ports::{LoadMethod, Ports};
use millrace_testkit::{Postgres, TestDatabase, wait_until};
use std::time::Duration;

use crate::altered::{self, Lossy, lossy};
use crate::fidelity::{self, Reader};
use crate::loads::{self, Subject};
use crate::world::{World, again, cells, connection, refused, some};

const TABLE: &str = "CREATE SCHEMA analytics; CREATE TABLE analytics.nps (id bigint, at timestamp, \
     score smallint, note varchar(20) DEFAULT 'x')";

pub async fn start(ddl: &str) -> Result<(TestDatabase, World, Subject)> {
    let database = tokio::task::spawn_blocking(|| Postgres::shared()?.create_database()).await??;
    database.execute(ddl)?;
    let world = World::start().await?;
    world.add_url("pg", "postgres", &database.url())?;
    let context = world.context(1);
    let warehouse = world.connectors.warehouse(&context, "pg").await?;
    Ok((database, world, Subject { warehouse, context, table: "analytics.nps" }))
}

#[tokio::test]
async fn case_77_case_78_methods_do_what_they_say() -> Result<()> {
    let (_database, world, subject) = start(TABLE).await?;
    loads::methods_do_what_they_say(&world, &subject).await
}

#[tokio::test]
async fn an_upsert_does_the_same_whatever_key_the_table_has() -> Result<()> {
    let rows = "INSERT INTO analytics.nps VALUES (1, '2024-01-01', 10), (2, '2024-01-05', 20), (3, NULL, 30)";
    let keys = [
        "ALTER TABLE analytics.nps ADD UNIQUE (id)",
        // What cannot be met by an INSERT that updates: a trigger would see two kinds of rows as one, and a row that is
        // there already needs no value for a column that must have one.
        "ALTER TABLE analytics.nps ADD UNIQUE (id); CREATE FUNCTION same() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF new.id <= 3 THEN RAISE EXCEPTION $$inserted again$$; END IF; RETURN new; END'; \
         CREATE TRIGGER same BEFORE INSERT ON analytics.nps FOR EACH ROW EXECUTE FUNCTION same()",
        "ALTER TABLE analytics.nps ADD UNIQUE (id, at), ADD UNIQUE (id) DEFERRABLE",
        "CREATE UNIQUE INDEX ON analytics.nps (id) INCLUDE (score); ALTER TABLE analytics.nps ALTER note SET NOT NULL",
    ];
    for key in keys {
        let (_database, world, subject) = start(&format!("{TABLE}; {rows}; {key}")).await?;
        loads::upsert_keeps_the_newest(&world, &subject).await.with_context(|| key.to_owned())?;
    }
    Ok(())
}

#[tokio::test]
async fn methods_do_what_they_say_with_a_primary_key_and_children() -> Result<()> {
    // The child rows would vanish if updated rows were deleted and inserted again.
    let (database, world, subject) = start(TABLE).await?;
    loads::upsert_removes_doubles_and_never_matches_null(&world, &subject).await?;
    database.execute(
        "TRUNCATE analytics.nps; ALTER TABLE analytics.nps ADD PRIMARY KEY (id); \
         CREATE TABLE analytics.child (nps bigint REFERENCES analytics.nps ON DELETE CASCADE); \
         INSERT INTO analytics.nps VALUES (1, '2024-01-01', 1, 'a'); INSERT INTO analytics.child VALUES (1)",
    )?;
    let mut request =
        world.request("analytics.nps", crate::world::upsert(&["id"], None), &[("k.csv", "1,2024-01-02,2,b\n")]).await?;
    request.work = crate::world::work(9);
    subject.warehouse.load(request).await?;
    assert_eq!(
        database.query("SELECT n.note, c.nps FROM analytics.nps n JOIN analytics.child c ON c.nps = n.id")?,
        [some(&["b", "1"])]
    );
    Ok(())
}

#[tokio::test]
async fn a_run_made_again_under_its_id_loads_again() -> Result<()> {
    let (_database, world, subject) = start(TABLE).await?;
    loads::a_run_made_again_under_its_id_loads_again(&world, &subject).await
}

#[tokio::test]
async fn files_that_are_not_what_was_written_load_nothing() -> Result<()> {
    let (_database, world, subject) = start(TABLE).await?;
    loads::files_that_are_not_what_was_written_load_nothing(&world, &subject).await
}

#[tokio::test]
async fn case_76_a_bad_value_leaves_everything_as_it_was() -> Result<()> {
    let (_database, world, subject) = start(TABLE).await?;
    let words = ["analytics.nps", "s3://lake/bad.csv", "line 3", "column score", "12.5"];
    loads::a_bad_value_leaves_everything_as_it_was(&world, &subject, &words).await
}

#[tokio::test]
async fn case_86_summaries_are_built_checked_and_swapped() -> Result<()> {
    let ddl = format!(
        "{TABLE}; ALTER TABLE analytics.nps ALTER score SET NOT NULL; CREATE TABLE public.source_rows (id bigint, at timestamp, score smallint, \
         note varchar(20)); INSERT INTO source_rows VALUES (5, '2024-01-01', 50, 'a'), (6, '2024-01-01', 60, 'b'); \
         COMMENT ON TABLE analytics.nps IS 'it''s a \\ table'; COMMENT ON COLUMN analytics.nps.score IS '0 to 10'; \
         GRANT SELECT ON analytics.nps TO PUBLIC; GRANT INSERT ON analytics.nps TO pg_monitor WITH GRANT OPTION"
    );
    let (database, _world, subject) = start(&ddl).await?;
    loads::summaries_are_built_checked_and_swapped(&subject).await?;
    let kept = database.query(
        "SELECT obj_description(c.oid, 'pg_class'), col_description(c.oid, 3), array_to_string(relacl, ' ') FROM pg_class c \
         WHERE oid = 'analytics.nps'::regclass",
    )?;
    assert_eq!(kept[0][0].as_deref(), Some("it's a \\ table"));
    assert_eq!(kept[0][1].as_deref(), Some("0 to 10"));
    let grants = kept[0][2].clone().unwrap_or_default();
    assert!(grants.contains("=r/") && grants.contains("pg_monitor=a*/"), "{grants}");
    Ok(())
}

#[tokio::test]
async fn a_table_with_views_keeps_them() -> Result<()> {
    let ddl = format!(
        "{TABLE}; ALTER TABLE analytics.nps ALTER score SET NOT NULL; CREATE TABLE public.source_rows (id bigint, at timestamp, score smallint, \
         note varchar(20)); INSERT INTO source_rows VALUES (5, '2024-01-01', 50, 'a'), (6, '2024-01-01', 60, 'b'); \
         CREATE VIEW analytics.scores AS SELECT id, score FROM analytics.nps"
    );
    let (database, _world, subject) = start(&ddl).await?;
    loads::summaries_are_built_checked_and_swapped(&subject).await?;
    assert_eq!(database.query("SELECT count(*), sum(score) FROM analytics.scores")?, [some(&["3", "111"])]);
    let tables = database.query("SELECT relname FROM pg_class WHERE relname LIKE 'nps\\_\\_%'")?;
    assert!(tables.is_empty(), "also the table that was kept is gone: {tables:?}");
    Ok(())
}

#[tokio::test]
async fn a_serial_column_goes_on_counting_after_a_swap() -> Result<()> {
    let (database, world, subject) =
        start("CREATE SCHEMA analytics; CREATE TABLE analytics.nps (id serial PRIMARY KEY, score int); INSERT INTO analytics.nps (score) VALUES (1)").await?;
    let request = millrace_operator_api::ports::BuildRequest {
        target: millrace_operator_api::ports::TableName { schema: Some("analytics".into()), name: "nps".into() },
        select: "SELECT 1 AS id, 7 AS score".into(),
        columns_ddl: None,
        checks: Vec::new(),
        keep_failed: false,
        also: Vec::new(),
        work: world.context(1).work,
    };
    assert!(subject.warehouse.build_and_swap(request).await?.was_swapped);
    database.execute("INSERT INTO analytics.nps (score) VALUES (8)")?;
    assert_eq!(
        database.query("SELECT id, score FROM analytics.nps ORDER BY 1")?,
        [some(&["1", "7"]), some(&["2", "8"])]
    );
    Ok(())
}

#[tokio::test]
async fn scripts_roll_back_as_a_whole() -> Result<()> {
    let (_database, _world, subject) = start(TABLE).await?;
    loads::scripts_roll_back_as_a_whole(&subject).await
}

#[tokio::test]
async fn a_try_that_dies_anywhere_leaves_nothing_half_done() -> Result<()> {
    let (database, world, subject) = start(TABLE).await?;
    database.execute("INSERT INTO analytics.nps (id) VALUES (0)")?;
    let rows: String = (1..=2000).map(|id| format!("{id},2024-01-01 00:00:00,1,n\n")).collect();
    let request = world.request("analytics.nps", LoadMethod::Append, &[("in.csv", &rows)]).await?;
    // Dropped after more and more of its steps: the pause before the drop grows with each round.
    let mut rounds = 0;
    loop {
        let ended =
            tokio::time::timeout(Duration::from_millis(rounds * 3), subject.warehouse.load(again(&request))).await;
        rounds += 1;
        let count = database.query("SELECT count(*) FROM analytics.nps")?[0][0].clone();
        assert!(count.as_deref() == Some("1") || count.as_deref() == Some("2001"), "{count:?} rows");
        if let Ok(report) = ended {
            report?;
            break;
        }
    }
    assert!(subject.warehouse.load(request).await?.was_loaded_before);
    assert_eq!(database.query("SELECT count(*), count(DISTINCT id) FROM analytics.nps")?, [some(&["2001", "2001"])]);
    Ok(())
}

#[tokio::test]
async fn case_76_readers_never_see_a_table_without_rows() -> Result<()> {
    let (database, world, subject) = start(TABLE).await?;
    database.execute("INSERT INTO analytics.nps (id) SELECT generate_series(1, 500)")?;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let (url, done) = (database.url(), std::sync::Arc::clone(&done));
        move || -> Result<Vec<String>> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
                tokio::spawn(connection);
                let mut seen = Vec::new();
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    let row = client.query_one("SELECT count(*)::text FROM analytics.nps", &[]).await?;
                    seen.push(row.get(0));
                }
                Ok(seen)
            })
        }
    });
    let rows: String = (1..=700).map(|id| format!("{id},2024-01-01,1,n\n")).collect();
    for generation in 1..=5 {
        let mut request = world.request("analytics.nps", LoadMethod::Replace, &[("in.csv", &rows)]).await?;
        request.work = crate::world::work(generation);
        subject.warehouse.load(request).await?;
    }
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let seen = watcher.join().map_err(|_| anyhow::anyhow!("the watcher panicked"))??;
    assert!(!seen.is_empty() && seen.iter().all(|count| count == "500" || count == "700"), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn values_come_out_exactly() -> Result<()> {
    let (_database, world, _) = start(
        "CREATE TABLE v (a bigint, b numeric(38,10), c double precision, d timestamptz, e timestamp, f date, g bytea, h boolean, i jsonb, j text, k text, l int[]); \
         INSERT INTO v VALUES (9007199254740993, 1234567890123456789012345678.0123456789, 0.1, '2024-03-31 02:30:00+02', '2024-01-01 00:00:00.123456', \
         '2024-02-29', '\\x00ff', true, '{\"a\": \"b\\tc\"}', E'tab\\tnewline\\nback\\\\slash\\rreturn', '', '{1,NULL}'), \
         (NULL, NULL, 'NaN', NULL, 'infinity', NULL, NULL, NULL, NULL, '\\N', NULL, NULL)",
    )
    .await?;
    let source = world.connectors.source(&world.context(1), "pg").await?;
    let stream = source.query("SELECT * FROM v ORDER BY a; ").await?;
    let types: Vec<&str> = stream.columns.iter().map(|column| column.type_name.as_str()).collect();
    assert_eq!(
        types,
        [
            "int8",
            "numeric",
            "float8",
            "timestamptz",
            "timestamp",
            "date",
            "bytea",
            "bool",
            "jsonb",
            "text",
            "text",
            "_int4"
        ]
    );
    let rows = cells(stream).await?;
    assert_eq!(
        rows[0],
        some(&[
            "9007199254740993",
            "1234567890123456789012345678.0123456789",
            "0.1",
            "2024-03-31 00:30:00+00",
            "2024-01-01 00:00:00.123456",
            "2024-02-29",
            "00ff",
            "t",
            "{\"a\": \"b\\tc\"}",
            "tab\tnewline\nback\\slash\rreturn",
            "",
            "{1,NULL}"
        ])
    );
    assert_eq!(rows[1][9].as_deref(), Some("\\N"), "a text that looks like the marker is none");
    assert_eq!(rows[1][10], None);
    assert!(cells(source.query("SELECT 1 AS n WHERE false").await?).await?.is_empty());
    let error = refused(source.query("SELECT * FROM nothing_here").await.map(|_| ()))?;
    assert_eq!((error.kind, error.code.as_deref()), (PortErrorKind::NotFound, Some("42P01")));
    let error = refused(
        cells(source.query("SELECT 1 / (n - 3) FROM generate_series(1, 9) n").await?)
            .await
            .map_err(|e| e.downcast().expect("a port error")),
    )?;
    assert_eq!((error.kind, error.code.as_deref()), (PortErrorKind::Data, Some("22012")));
    refused(source.query("INSERT INTO v (a) VALUES (1) RETURNING a").await.map(|_| ()))
        .or_else(|_| anyhow::bail!("a source is read-only"))?;
    Ok(())
}

#[tokio::test]
async fn a_dropped_or_cancelled_stream_ends_the_query_on_the_server() -> Result<()> {
    let (database, world, _) = start("SELECT 1").await?;
    let running = || -> Result<usize> {
        Ok(database.query("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'active' AND query LIKE '%generate_series%' AND pid <> pg_backend_pid()")?.len())
    };
    let source = world.connectors.source(&world.context(1), "pg").await?;
    let endless = "SELECT repeat('x', 1000), generate_series(1, 1000000000)";
    let mut stream = source.query(endless).await?;
    assert!(stream.batches.try_next().await?.is_some());
    assert_eq!(running()?, 1);
    drop(stream);
    wait_until("the dropped query has ended", Duration::from_secs(20), async || {
        running().is_ok_and(|count| count == 0)
    })
    .await?;

    // The server says nothing before the first row: it is the opening that waits here.
    let cancel = async {
        wait_until("the query runs", Duration::from_secs(20), async || running().is_ok_and(|count| count == 1)).await?;
        world.cancel.cancel();
        anyhow::Ok(())
    };
    let (opened, cancelled) = tokio::join!(source.query("SELECT pg_sleep(600) FROM generate_series(1, 2)"), cancel);
    cancelled?;
    assert_eq!(refused(opened.map(|_| ()))?.kind, PortErrorKind::Cancelled);
    wait_until("the cancelled query has ended", Duration::from_secs(20), async || {
        running().is_ok_and(|count| count == 0)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn connections_are_tested_and_mistakes_named() -> Result<()> {
    let (database, world, _) = start("SELECT 1").await?;
    let mut known = connection("pg", "postgres");
    known.host = Some("127.0.0.1".into());
    known.port = Some(database.server().port());
    known.login = Some(database.server().user().into());
    known.schema = Some(database.name().into());
    known.password = Some(database.server().password().to_owned().into());
    let said = Connectors::test(&known).await?;
    assert!(said.starts_with("PostgreSQL "), "{said}");
    known.password = Some("wrong".to_owned().into());
    let error = refused(Connectors::test(&known).await)?;
    assert_eq!(error.kind, PortErrorKind::Denied, "{}", error.message);
    assert!(!error.message.contains("wrong"), "{}", error.message);
    known.port = Some(1);
    assert_eq!(refused(Connectors::test(&known).await)?.kind, PortErrorKind::Unavailable);

    let context = world.context(1);
    let error = refused(world.connectors.source(&context, "nobody").await.map(|_| ()))?;
    assert!(
        error.kind == PortErrorKind::NotFound && error.message.contains("millrace connections add nobody"),
        "{}",
        error.message
    );
    let error = refused(world.connectors.objects(&context, "pg").await.map(|_| ()))?;
    assert!(
        error.kind == PortErrorKind::Invalid && error.message.contains("postgres") && error.message.contains("aws"),
        "{}",
        error.message
    );
    Ok(())
}

#[tokio::test]
async fn every_value_arrives_by_every_method() -> Result<()> {
    let (database, world, subject) = start(TABLE).await?;
    let reader = Reader::Database(&database);
    fidelity::every_value_arrives_by_every_method(&world, &subject, Some("analytics"), &reader).await?;
    fidelity::random_tables_arrive_whole(&world, &subject, Some("analytics"), &reader).await?;
    fidelity::parquet_is_loaded(&world, &subject, Some("analytics"), &reader).await
}

#[tokio::test]
async fn what_a_column_would_change_is_refused() -> Result<()> {
    let (_database, world, subject) = start(TABLE).await?;
    subject.run("CREATE DOMAIN price AS numeric(12,2)").await?;
    subject.run("CREATE DOMAIN amount AS price").await?;
    let rounded = |case: Lossy, rounded| Lossy { rounded: Some(rounded), ..case };
    let cases = [
        rounded(lossy("numeric(10,2)", "12.3456", "4 digits behind the point"), "12.35"),
        rounded(lossy("price", "0.005", "3 digits behind the point"), "0.01"),
        rounded(lossy("amount", "0.005", "3 digits behind the point"), "0.01"),
        rounded(lossy("timestamp(0)", "2024-01-01 10:00:00.6", "1 digits of a second"), "2024-01-01 10:00:01"),
        rounded(lossy("time(3)", "10:00:00.1236", "4 digits of a second"), "10:00:00.124"),
        rounded(lossy("real", "0.30000000000000004", "more digits than real holds"), "0.3"),
        rounded(lossy("double precision", "1234567890123456789.25", "more digits"), "1.2345678901234568e+18"),
        lossy("date", "2024-01-01 10:00:00", "a time of day"),
        lossy("timestamp", "2024-01-01 10:00:00+09", "an offset from UTC"),
        lossy("varchar(3)", "abc ", "too long"),
        rounded(lossy("numeric(10,2)[]", "{1.239,2.50}", "an element that has 3 digits"), "{1.24,2.50}"),
        lossy("date[]", "{2024-01-01 10:20:30}", "an element that has a time of day"),
        rounded(lossy("real[]", "{0.1234567890123}", "more digits than real"), "{0.12345679}"),
        lossy("timestamp[]", "{2024-01-01 10:00:00+09}", "an element that has an offset"),
        lossy("time", "10:00:00+09", "an offset from UTC"),
        lossy("time", "2024-01-01 10:00:00", "a day before the time"),
        lossy("date", "1/2/24", "write it as 2024-01-31"),
        lossy("date", "20240102T1000", "a time of day"),
        lossy("timestamptz", "2024-01-02 10:00 CST", "letters behind it that name no zone"),
        lossy("timestamptz", "99.008", "write it as 2024-01-31 10:20:30.5+09"),
        lossy("timestamp", "Tue Jan 02 10:00:00 2024 PST", "a zone"),
        lossy("interval day", "1 day 10:20:30", "less than a day"),
        lossy("interval year to month", "1 mon 2 days", "less than a month"),
        lossy("\"char\"", "abcdef", "cut it to 1"),
        lossy("name", "a name of 70 bytes that is cut to 63 without a word by the type, abcdef", "cut it to 63"),
    ];
    altered::what_a_column_would_change_is_refused(&world, &subject, Some("analytics"), &cases).await
}

#[tokio::test]
async fn case_55_empty_values_are_no_null() -> Result<()> {
    let (_database, world, subject) = start(TABLE).await?;
    subject
        .run(
            "CREATE SCHEMA more; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE TYPE mood AS ENUM ('', 'sad')",
        )
        .await?;
    let types = ["text", "varchar(9)", "varbit", "bytea", "hstore", "ltree", "mood", "tsvector"];
    altered::empty_values_are_no_null(&world, &subject, Some("analytics"), &types).await
}

#[tokio::test]
async fn numbers_as_text_are_not_taken_for_an_order() -> Result<()> {
    let (_database, world, subject) = start(TABLE).await?;
    altered::numbers_as_text_are_compared_as_numbers(&world, &subject, Some("analytics"), false).await
}

#[tokio::test]
async fn refused_rows_go_to_the_quarantine() -> Result<()> {
    let (_database, world, subject) = start(TABLE).await?;
    loads::refused_rows_go_to_the_quarantine(&world, &subject).await
}

#[tokio::test]
async fn days_that_are_loaded_at_once_leave_no_double() -> Result<()> {
    let (_database, world, subject) = start(TABLE).await?;
    let connectors = std::sync::Arc::clone(&world.connectors);
    let open = move |context: millrace_operator_api::TaskContext| {
        let connectors = std::sync::Arc::clone(&connectors);
        Box::pin(async move { Ok(connectors.warehouse(&context, "pg").await?) })
            as futures::future::BoxFuture<'static, Result<std::sync::Arc<dyn millrace_operator_api::ports::Warehouse>>>
    };
    loads::days_that_are_loaded_at_once_leave_no_double(&world, &open, &subject).await
}
