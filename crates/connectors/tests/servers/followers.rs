//! Tables whose rows follow those of a load's target: a foreign key with an action takes them along when rows are deleted.

use anyhow::Result;
use millrace_operator_api::ports::{LoadMethod, LoadRequest, Warehouse};
use millrace_operator_api::{PortError, PortErrorKind};

use crate::postgres;
use crate::sqlite;
use crate::world::{World, refused, some, upsert, work};

const CHILDREN: [&str; 3] = ["CASCADE", "SET NULL", "SET DEFAULT"];

async fn request(world: &World, method: LoadMethod, generation: u32, table: &str, rows: &str) -> Result<LoadRequest> {
    let mut request = world.request(table, method, &[("f.csv", rows)]).await?;
    request.work = work(generation);
    Ok(request)
}

fn is_refused(error: &PortError, words: &[&str]) {
    assert_eq!(error.kind, PortErrorKind::Invalid, "{}", error.message);
    for word in words.iter().chain(&["nothing was changed", "upsert", "NO ACTION"]) {
        assert!(error.message.contains(word), "{word:?} is missing in {}", error.message);
    }
}

#[tokio::test]
async fn replacing_rows_that_others_follow_is_refused_in_postgres() -> Result<()> {
    for action in CHILDREN {
        let (database, world, subject) = postgres::start(&format!(
            "CREATE SCHEMA analytics; CREATE TABLE analytics.nps (id bigint PRIMARY KEY, note text); \
             INSERT INTO analytics.nps VALUES (1, 'old'), (2, 'old'); \
             CREATE TABLE child (nps bigint DEFAULT 2 REFERENCES analytics.nps ON DELETE {action}); INSERT INTO child VALUES (1)"
        ))
        .await?;
        for (generation, method) in (1..).zip([LoadMethod::Replace, LoadMethod::Swap]) {
            let load = request(&world, method, generation, "analytics.nps", "1,new\n2,new\n").await?;
            let error = refused(subject.warehouse.load(load).await)?;
            is_refused(&error, &["analytics.nps", "child_nps_fkey", "child", &format!("ON DELETE {action}")]);
        }
        assert_eq!(database.query("SELECT nps FROM child")?, [some(&["1"])], "{action}");
        assert_eq!(database.query("SELECT count(*) FROM analytics.nps WHERE note = 'old'")?, [some(&["2"])]);
        let left = "SELECT relname FROM pg_class WHERE relname LIKE 'nps\\_\\_%'";
        assert!(database.query(left)?.is_empty(), "nothing is left behind");
        // The ways out that the message names.
        subject.warehouse.load(request(&world, upsert(&["id"], None), 3, "analytics.nps", "1,new\n").await?).await?;
        assert_eq!(database.query("SELECT nps FROM child")?, [some(&["1"])], "{action}");
        database.execute("DELETE FROM child; DELETE FROM analytics.nps")?;
        let into_nothing = request(&world, LoadMethod::Replace, 4, "analytics.nps", "7,new\n").await?;
        assert_eq!(subject.warehouse.load(into_nothing).await?.rows_inserted, Some(1), "nothing was lost");
    }
    Ok(())
}

#[tokio::test]
async fn followers_of_partitions_views_and_doubles_are_seen() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE analytics.nps (id bigint PRIMARY KEY, note text) PARTITION BY RANGE (id); \
         CREATE TABLE low PARTITION OF analytics.nps FOR VALUES FROM (0) TO (100); \
         INSERT INTO analytics.nps VALUES (1, 'old'); \
         CREATE TABLE whole (nps bigint REFERENCES analytics.nps ON DELETE CASCADE); INSERT INTO whole VALUES (1); \
         CREATE TABLE own (id bigint PRIMARY KEY, up bigint REFERENCES own ON DELETE CASCADE); INSERT INTO own VALUES (1, 1); \
         CREATE TABLE plain (id bigint PRIMARY KEY, note text); INSERT INTO plain VALUES (1, 'a'), (2, 'a'); \
         CREATE VIEW shown AS SELECT id, note FROM plain; \
         CREATE TABLE follows (plain bigint REFERENCES plain ON DELETE CASCADE); INSERT INTO follows VALUES (1), (2)",
    )
    .await?;
    for (generation, table) in (1..).zip(["analytics.nps", "public.low", "public.shown"]) {
        let load = request(&world, LoadMethod::Replace, generation, table, "1,new\n").await?;
        is_refused(&refused(subject.warehouse.load(load).await)?, &[table]);
    }
    // Of two rows with one note one would go, and with it what refers to it.
    let load = request(&world, upsert(&["note"], None), 5, "public.plain", "3,a\n").await?;
    is_refused(&refused(subject.warehouse.load(load).await)?, &["public.plain", "follows"]);
    assert_eq!(
        database.query("SELECT (SELECT count(*) FROM whole), (SELECT count(*) FROM follows)")?,
        [some(&["1", "2"])]
    );
    // A table that refers to itself loses nothing but what is replaced.
    let load = request(&world, LoadMethod::Replace, 6, "public.own", "5,5\n").await?;
    assert_eq!(subject.warehouse.load(load).await?.rows_deleted, Some(1));
    Ok(())
}

#[tokio::test]
async fn keys_without_an_action_do_what_they_did() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE analytics.nps (id bigint PRIMARY KEY, note text); \
         INSERT INTO analytics.nps VALUES (1, 'old'); CREATE TABLE child (nps bigint REFERENCES analytics.nps \
         ON UPDATE CASCADE DEFERRABLE INITIALLY DEFERRED); INSERT INTO child VALUES (1)",
    )
    .await?;
    for (generation, method) in (1..).zip([LoadMethod::Replace, LoadMethod::Swap]) {
        subject.warehouse.load(request(&world, method.clone(), generation, "analytics.nps", "1,new\n").await?).await?;
        assert_eq!(database.query("SELECT nps FROM child")?, [some(&["1"])]);
        let without = request(&world, method, generation + 10, "analytics.nps", "2,new\n").await?;
        let error = refused(subject.warehouse.load(without).await)?;
        assert_eq!(error.kind, PortErrorKind::Data, "{}", error.message);
        assert_eq!(database.query("SELECT id FROM analytics.nps")?, [some(&["1"])]);
    }
    Ok(())
}

#[tokio::test]
async fn replacing_rows_that_others_follow_is_refused_in_sqlite() -> Result<()> {
    for action in CHILDREN {
        let (world, subject) = sqlite::start(&[
            "CREATE TABLE nps (id INTEGER PRIMARY KEY, note text)",
            "INSERT INTO nps VALUES (1, 'old'), (2, 'old')",
            &format!("CREATE TABLE child (nps bigint DEFAULT 2 REFERENCES NPS ON DELETE {action})"),
            "INSERT INTO child VALUES (1)",
        ])
        .await?;
        for (generation, method) in (1..).zip([LoadMethod::Replace, LoadMethod::Swap]) {
            let load = request(&world, method, generation, "nps", "1,new\n2,new\n").await?;
            is_refused(
                &refused(subject.warehouse.load(load).await)?,
                &["nps", "child", &format!("ON DELETE {action}")],
            );
        }
        let build = millrace_operator_api::ports::BuildRequest {
            target: millrace_operator_api::ports::TableName { schema: None, name: "nps".to_owned() },
            select: "SELECT 1".to_owned(),
            columns_ddl: Some("(id bigint)".to_owned()),
            checks: Vec::new(),
            keep_failed: false,
            also: Vec::new(),
            work: work(9),
        };
        // DROP TABLE deletes too.
        is_refused(&refused(Warehouse::build_and_swap(&*subject.warehouse, build).await)?, &["nps", "child"]);
        assert_eq!(subject.rows("SELECT nps FROM child").await?, [some(&["1"])], "{action}");
        assert_eq!(subject.rows("SELECT count(*) FROM nps WHERE note = 'old'").await?, [some(&["2"])]);
        let left = "SELECT name FROM sqlite_master WHERE name LIKE 'nps\\_\\_%' ESCAPE '\\'";
        assert!(subject.rows(left).await?.is_empty(), "nothing is left behind");
        // Of two rows with one note one would go, and with it what refers to it.
        let doubles = request(&world, upsert(&["note"], None), 3, "nps", "1,old\n").await?;
        is_refused(&refused(subject.warehouse.load(doubles).await)?, &["nps", "child"]);
        subject.warehouse.load(request(&world, upsert(&["id"], None), 4, "nps", "1,new\n").await?).await?;
        assert_eq!(subject.rows("SELECT nps FROM child").await?, [some(&["1"])], "{action}");
    }
    Ok(())
}
