//! Upserts into tables that are out of the ordinary: keys that are equal by a collation of their own, parts, rules about
//! columns that do not come with the rows, views, tables without row ids.

use anyhow::{Context as _, Result};
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::ports::{LoadMethod, LoadReport};

use crate::loads::Subject;
use crate::postgres;
use crate::sqlite;
use crate::world::{World, refused, some, upsert, work};

async fn load(
    world: &World,
    subject: &Subject,
    generation: u32,
    table: &str,
    method: LoadMethod,
    columns: &[&str],
    rows: &str,
) -> Result<Result<LoadReport, millrace_operator_api::PortError>> {
    let mut request = world.request(table, method, &[("u.csv", rows)]).await?;
    request.work = work(generation);
    request.columns = Some(columns.iter().map(|name| (*name).to_owned()).collect());
    Ok(subject.warehouse.load(request).await)
}

/// Rows `k, ord, v` where `a` and `A` are one key: the newest stays, from wherever it comes.
async fn one_key_whatever_its_case(world: &World, subject: &Subject, tables: &[&str]) -> Result<()> {
    for (index, table) in (0..).zip(tables) {
        let upserted = async |generation: u32, rows: &str| {
            load(world, subject, index * 10 + generation, table, upsert(&["k"], Some("ord")), &["k", "ord", "v"], rows)
                .await?
                .with_context(|| format!("{table}: {rows}"))
        };
        let found = async || subject.rows(&format!("SELECT lower(k), ord, v FROM {table} ORDER BY 1, 2")).await;
        upserted(1, "a,5,newest\nA,3,older\nb,1,b\n").await?;
        assert_eq!(found().await?, [some(&["a", "5", "newest"]), some(&["b", "1", "b"])], "{table}");
        // One row is there, two come: it is updated once and not taken for two.
        let report = upserted(2, "A,6,last\na,4,before\n").await?;
        assert_eq!((report.rows_updated, report.rows_inserted, report.rows_deleted), (Some(1), Some(0), Some(0)));
        assert_eq!(found().await?, [some(&["a", "6", "last"]), some(&["b", "1", "b"])], "{table}");
        upserted(3, "A,1,old\na,2,old\n").await?;
        assert_eq!(found().await?, [some(&["a", "6", "last"]), some(&["b", "1", "b"])], "{table}");
    }
    Ok(())
}

#[tokio::test]
async fn keys_are_equal_where_postgres_says_so() -> Result<()> {
    let (_database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE COLLATION analytics.ci (provider = icu, locale = 'und-u-ks-level2', deterministic = false); \
         CREATE TABLE plain (k text COLLATE analytics.ci, ord int, v text); \
         CREATE TABLE kept (k text COLLATE analytics.ci PRIMARY KEY, ord int, v text); \
         CREATE TABLE parts (k text COLLATE analytics.ci, ord int, v text) PARTITION BY RANGE (ord); \
         CREATE TABLE part PARTITION OF parts DEFAULT; \
         CREATE TABLE other (k text COLLATE analytics.ci, ord int, v text); \
         CREATE UNIQUE INDEX ON other (k COLLATE \"C\")",
    )
    .await?;
    one_key_whatever_its_case(&world, &subject, &["plain", "kept", "parts", "other"]).await?;
    // By such a column rows can be ordered as well.
    load(&world, &subject, 90, "plain", upsert(&["v"], Some("k")), &["k", "v"], "c,last\nB,last\n").await??;
    assert_eq!(subject.rows("SELECT k FROM plain WHERE v = 'last'").await?, [some(&["c"])]);
    Ok(())
}

#[tokio::test]
async fn keys_are_equal_where_sqlite_says_so() -> Result<()> {
    let (world, subject) = sqlite::start(&[
        "CREATE TABLE plain (k TEXT COLLATE NOCASE, ord int, v text)",
        "CREATE TABLE \"kept (k\" (v text DEFAULT ')', \"k\" TEXT COLLATE NOCASE PRIMARY KEY, ord int)",
        "CREATE TABLE rowless (k TEXT COLLATE NOCASE PRIMARY KEY, ord int, v text) WITHOUT ROWID",
        "CREATE TABLE taken (rowid int DEFAULT 1, k TEXT COLLATE NOCASE, ord int, v text)",
    ])
    .await?;
    one_key_whatever_its_case(&world, &subject, &["plain", "rowless", "taken"]).await?;
    subject.run("ALTER TABLE \"kept (k\" RENAME TO kept").await?;
    load(&world, &subject, 90, "kept", upsert(&["k"], Some("v")), &["k", "v"], "a,1\nA,2\n").await??;
    assert_eq!(subject.rows("SELECT k, v FROM kept").await?, [some(&["A", "2"])]);
    // Doubles that are there already are told apart by what tells rows apart, not by a column that is called so.
    subject.run("INSERT INTO taken (k, ord, v) VALUES ('b', 7, 'double')").await?;
    let report = load(&world, &subject, 91, "taken", upsert(&["k"], Some("ord")), &["k", "ord"], "B,8\n").await??;
    assert_eq!(report.rows_deleted, Some(1));
    let last = subject.rows("SELECT k, ord, v FROM taken WHERE k = 'b'").await?;
    assert_eq!(last, [some(&["b", "8", "double"])]);
    Ok(())
}

#[tokio::test]
async fn a_partitioned_table_with_a_unique_key_is_updated() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE parts (id int PRIMARY KEY, v text, kept text DEFAULT 'k') PARTITION BY RANGE (id); \
         CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (10); \
         CREATE TABLE high PARTITION OF parts FOR VALUES FROM (10) TO (20); \
         INSERT INTO parts VALUES (1, 'old', 'mine'), (11, 'old', 'mine')",
    )
    .await?;
    let report =
        load(&world, &subject, 1, "parts", upsert(&["id"], None), &["id", "v"], "1,new\n11,new\n12,new\n12,new\n")
            .await??;
    assert_eq!((report.rows_updated, report.rows_inserted), (Some(2), Some(1)));
    assert_eq!(
        database.query("SELECT * FROM parts ORDER BY id")?,
        [some(&["1", "new", "mine"]), some(&["11", "new", "mine"]), some(&["12", "new", "k"])]
    );
    Ok(())
}

#[tokio::test]
async fn rules_about_columns_that_do_not_come_let_existing_rows_be_updated() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE DOMAIN filled AS text NOT NULL; \
         CREATE TABLE checked (id int PRIMARY KEY, v text, c int CHECK (c IS NOT NULL)); INSERT INTO checked VALUES (1, 'old', 5); \
         CREATE TABLE domained (id int PRIMARY KEY, v text, c filled); INSERT INTO domained VALUES (1, 'old', '5'); \
         CREATE TABLE late (id int PRIMARY KEY, v text, c int, UNIQUE (id) DEFERRABLE); INSERT INTO late VALUES (1, 'old', 5)",
    )
    .await?;
    for (generation, table) in (1..).zip(["checked", "domained", "late"]) {
        let report = load(&world, &subject, generation, table, upsert(&["id"], None), &["id", "v"], "1,new\n1,new\n")
            .await?
            .with_context(|| table.to_owned())?;
        assert_eq!((report.rows_updated, report.rows_inserted), (Some(1), Some(0)), "{table}");
        assert_eq!(database.query(&format!("SELECT v, c FROM {table}"))?, [some(&["new", "5"])], "{table}");
    }
    // A row that has to be inserted is held against the rule.
    let error =
        refused(load(&world, &subject, 9, "checked", upsert(&["id"], None), &["id", "v"], "1,a\n2,b\n").await?)?;
    assert_eq!(error.kind, PortErrorKind::Data, "{}", error.message);
    assert_eq!(database.query("SELECT id, v FROM checked")?, [some(&["1", "new"])]);
    Ok(())
}

#[tokio::test]
async fn nulls_are_one_key_where_the_index_says_so() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE nulls (k int, ord int, v text, UNIQUE NULLS NOT DISTINCT (k)); \
         INSERT INTO nulls VALUES (1, 1, 'old')",
    )
    .await?;
    let columns = ["k", "ord", "v"];
    let method = || upsert(&["k"], Some("ord"));
    load(&world, &subject, 1, "nulls", method(), &columns, "1,2,new\n,5,newest\n,4,older\n").await??;
    assert_eq!(
        database.query("SELECT * FROM nulls ORDER BY k")?,
        [some(&["1", "2", "new"]), some(&["NULL", "5", "newest"])]
    );
    let report = load(&world, &subject, 2, "nulls", method(), &columns, ",6,last\n,3,old\n").await??;
    assert_eq!((report.rows_updated, report.rows_inserted), (Some(1), Some(0)));
    assert_eq!(database.query("SELECT v FROM nulls WHERE k IS NULL")?, [some(&["last"])]);
    Ok(())
}

/// The last of them would be whichever the query gave last. Rows that are the same in everything may well come twice.
async fn differing_rows_of_a_key_are_refused(world: &World, subject: &Subject, tables: &[&str]) -> Result<()> {
    for (index, table) in (0..).zip(tables) {
        let upserted = async |generation: u32, rows: &str| {
            let method = upsert(&["k"], None);
            load(world, subject, index * 10 + generation, table, method, &["k", "v"], rows).await
        };
        for rows in ["1,\n1,new\n2,a\n", "3,a\n3,b\n3,a\n"] {
            let error = refused(upserted(1, rows).await?).with_context(|| format!("{table}: {rows}"))?;
            assert_eq!(error.kind, PortErrorKind::Data, "{table}: {error}");
            let words = "1 values of k come in several rows that differ, and there is no order_key";
            assert!(error.message.contains(words), "{table}: {error}");
            assert_eq!(subject.rows(&format!("SELECT k, v FROM {table}")).await?, [some(&["1", "old"])], "{table}");
        }
        let report = upserted(2, "1,new\n1,new\n2,a\n2,a\n").await??;
        assert_eq!((report.rows_updated, report.rows_inserted), (Some(1), Some(1)), "{table}");
    }
    Ok(())
}

#[tokio::test]
async fn differing_rows_of_a_key_are_refused_without_an_order() -> Result<()> {
    let make = |table: &str, k: &str, v: &str| {
        format!("CREATE TABLE {table} (k {k}, v {v}); INSERT INTO {table} VALUES (1, 'old')")
    };
    let keyed = make("keyed", "int PRIMARY KEY", "text");
    let plain = make("plain", "int", "varchar(20)");
    let (_database, world, subject) = postgres::start(&format!(
        "CREATE SCHEMA analytics; {keyed}; {plain}; {}",
        make("nulls", "int UNIQUE NULLS NOT DISTINCT", "text")
    ))
    .await?;
    differing_rows_of_a_key_are_refused(&world, &subject, &["keyed", "plain", "nulls"]).await?;
    let twice = load(&world, &subject, 50, "nulls", upsert(&["k"], None), &["k", "v"], ",a\n,b\n").await?;
    assert!(refused(twice)?.message.contains("1 values of k come in several rows that differ"));
    let (world, subject) = sqlite::start(&keyed.split("; ").chain(plain.split("; ")).collect::<Vec<_>>()).await?;
    differing_rows_of_a_key_are_refused(&world, &subject, &["keyed", "plain"]).await
}

#[tokio::test]
async fn views_are_named_for_what_they_are() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE t (id int, v text); INSERT INTO t VALUES (1, 'old'); \
         CREATE VIEW seen AS SELECT * FROM t; CREATE MATERIALIZED VIEW made AS SELECT * FROM t",
    )
    .await?;
    let (lite_world, lite) =
        sqlite::start(&["CREATE TABLE t (id int, v text)", "CREATE VIEW seen AS SELECT * FROM t"]).await?;
    for (generation, method) in (1..).zip([upsert(&["id"], None), LoadMethod::Swap]) {
        for (world, subject) in [(&world, &subject), (&lite_world, &lite)] {
            let error =
                refused(load(world, subject, generation, "seen", method.clone(), &["id", "v"], "1,new\n").await?)?;
            assert!(
                error.kind == PortErrorKind::Invalid && error.message.contains("seen is a view"),
                "{}",
                error.message
            );
        }
    }
    let error = refused(load(&world, &subject, 5, "made", LoadMethod::Append, &["id", "v"], "1,new\n").await?)?;
    assert!(error.message.contains("REFRESH"), "{}", error.message);
    load(&world, &subject, 6, "seen", LoadMethod::Replace, &["id", "v"], "2,new\n").await??;
    assert_eq!(database.query("SELECT * FROM t")?, [some(&["2", "new"])]);
    Ok(())
}
