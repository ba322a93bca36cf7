//! Tables that do not simply take the rows that are put into them: triggers and rules that drop some, tables that inherit,
//! columns that the table works out. A load that would lose rows there says so and changes nothing.

use std::sync::Arc;

use anyhow::{Context, Result};
use millrace_operator_api::context::Reporter;
use millrace_operator_api::entry::find;
use millrace_operator_api::ports::{LoadMethod, LoadRequest};
use millrace_operator_api::{PortErrorKind, TaskContext};
use serde_json::json;

use crate::copies::databases::{Database, Kind, run, run_in};
use crate::loads::Subject;
use crate::snapshots::Heard;
use crate::world::{World, build, refused, some, upsert, work};
use crate::{postgres, sqlite};

/// The first table's trigger drops every second row, the second one's rule all, and a part of the last one has the trigger.
const DROPPING: &str = "CREATE SCHEMA analytics; \
    CREATE FUNCTION every_second() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN IF NEW.id % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW; END'; \
    CREATE TABLE dropping (id int PRIMARY KEY, v text); INSERT INTO dropping VALUES (1, 'old'); \
    CREATE TRIGGER halving BEFORE INSERT ON dropping FOR EACH ROW EXECUTE FUNCTION every_second(); \
    CREATE TABLE ruled (id int, v text); INSERT INTO ruled VALUES (1, 'old'); \
    CREATE RULE swallowing AS ON INSERT TO ruled DO INSTEAD NOTHING; \
    CREATE TABLE parts (id int, v text) PARTITION BY LIST (v); CREATE TABLE part PARTITION OF parts DEFAULT; \
    INSERT INTO parts VALUES (1, 'old'); \
    CREATE TRIGGER halving BEFORE INSERT ON part FOR EACH ROW EXECUTE FUNCTION every_second()";

async fn load(world: &World, subject: &Subject, generation: u32, table: &str, method: LoadMethod) -> Result<String> {
    let rows = "1,a\n2,b\n3,c\n4,d\n";
    let mut request = world.request(table, method, &[("in.csv", rows)]).await?;
    request.work = work(generation);
    request.columns = Some(vec!["id".to_owned(), "v".to_owned()]);
    let error = refused(subject.warehouse.load(request).await)?;
    assert_eq!(error.kind, PortErrorKind::Data, "{}", error.message);
    Ok(error.message)
}

#[tokio::test]
async fn rows_that_triggers_and_rules_of_postgres_drop_are_missed_before_the_commit() -> Result<()> {
    let (database, world, subject) = postgres::start(DROPPING).await?;
    let methods = [LoadMethod::Append, LoadMethod::Replace, LoadMethod::Swap, upsert(&["id"], None)];
    let mut generation = 0;
    for (table, arrives) in [("dropping", 2), ("ruled", 0), ("parts", 2)] {
        for method in &methods {
            generation += 1;
            // Of the four keys one is there already, and it is none of those that are dropped.
            let (wanted, arrived) = match (method, table) {
                (LoadMethod::Append, "dropping") => continue,
                (LoadMethod::Upsert { .. }, "ruled") => (3, 0),
                (LoadMethod::Upsert { .. }, _) => (3, 1),
                _ => (4, arrives),
            };
            let said = load(&world, &subject, generation, table, method.clone()).await?;
            let expected = format!("{wanted} rows were to be inserted into {table}, but {arrived} were");
            assert!(said.contains(&expected) && said.contains("nothing was loaded"), "{method:?}: {said}");
            let rows = database.query(&format!("SELECT id, v FROM {table}"))?;
            assert_eq!(rows, [some(&["1", "old"])], "{table} {method:?}");
        }
        generation += 1;
        let select = "SELECT n, 'new' FROM generate_series(1, 4) AS n";
        let error = refused(subject.warehouse.build_and_swap(build(table, select, generation)).await)?;
        assert!(error.message.contains(&format!("4 rows were to be inserted into {table}")), "{}", error.message);
        assert_eq!(database.query(&format!("SELECT id, v FROM {table}"))?, [some(&["1", "old"])], "{table}");
    }
    assert!(database.query("SELECT 1 FROM millrace_load_marker")?.is_empty());
    // What a trigger lets through goes through.
    let mut request = world.request("dropping", upsert(&["id"], None), &[("in.csv", "1,new\n3,c\n")]).await?;
    request.work = work(90);
    let report = subject.warehouse.load(request).await?;
    assert_eq!((report.rows_inserted, report.rows_updated), (Some(1), Some(1)));
    Ok(())
}

#[tokio::test]
async fn rows_that_triggers_of_sqlite_drop_are_missed_before_the_commit() -> Result<()> {
    let (world, subject) = sqlite::start(&[
        "CREATE TABLE dropping (id int, v text)",
        "INSERT INTO dropping VALUES (1, 'old')",
        "CREATE TRIGGER halving BEFORE INSERT ON dropping WHEN NEW.id % 2 = 0 BEGIN SELECT RAISE(IGNORE); END",
    ])
    .await?;
    let methods = [LoadMethod::Append, LoadMethod::Replace, LoadMethod::Swap, upsert(&["id"], None)];
    for (generation, method) in (1..).zip(methods) {
        let said = load(&world, &subject, generation, "dropping", method.clone()).await?;
        let (wanted, arrived) = if matches!(method, LoadMethod::Upsert { .. }) { (3, 1) } else { (4, 2) };
        let expected = format!("{wanted} rows were to be inserted into dropping, but {arrived} were");
        assert!(said.contains(&expected), "{method:?}: {said}");
        assert_eq!(subject.rows("SELECT id, v FROM dropping").await?, [some(&["1", "old"])], "{method:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_copy_of_new_rows_misses_those_that_the_target_drops() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Lite, "source").await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    source.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v TEXT)").await?;
    source.run("INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c')").await?;
    target.postgres()?.execute(
        "CREATE TABLE dw.t (id bigint PRIMARY KEY, v text); \
         CREATE FUNCTION every_second() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF NEW.id % 2 = 0 THEN RETURN NULL; END IF; RETURN NEW; END'; \
         CREATE TRIGGER halving BEFORE INSERT ON dw.t FOR EACH ROW EXECUTE FUNCTION every_second()",
    )?;
    let copy = json!({
        "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
        "tables": {"source": "main.t", "target": "dw.t", "primary_key": "id", "sync_mode": "incremental_sync",
                   "incremental_field": "id"},
    });
    let error = run(&world, 1, copy).await.expect_err("a row is missing").to_string();
    assert!(error.contains("3 rows were to be inserted into dw.t, but 2 were"), "{error}");
    assert!(target.rows("SELECT id FROM dw.t").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_copy_that_the_target_has_changed_says_how_the_rows_are_compared() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Lite, "source").await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    for table in ["t", "u"] {
        source.run(&format!("CREATE TABLE {table} (id INTEGER PRIMARY KEY, v TEXT)")).await?;
        source.run(&format!("INSERT INTO {table} VALUES (1, 'a'), (2, 'b')")).await?;
    }
    target.postgres()?.execute(
        "CREATE TABLE dw.t (id bigint PRIMARY KEY, v text); \
         CREATE FUNCTION upper_v() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.v := upper(NEW.v); RETURN NEW; END'; \
         CREATE TRIGGER upper BEFORE INSERT ON dw.t FOR EACH ROW EXECUTE FUNCTION upper_v()",
    )?;
    let table = |name: &str| {
        json!({"source": format!("main.{name}"), "target": format!("dw.{name}"), "primary_key": "id",
               "sync_mode": "incremental_sync", "incremental_field": "id", "verify": ["checksums"]})
    };
    let mut copy = json!({
        "source_conn_id": source.conn_id, "target_conn_id": target.conn_id, "tables": [table("t"), table("u")],
    });
    let error = run(&world, 1, copy.clone()).await.expect_err("other values").to_string();
    assert!(error.contains(" --table dw.t` name the rows that differ"), "{error}");
    target.run("TRUNCATE dw.t").await?;
    copy["tables"] = table("t");
    let error = run(&world, 2, copy.clone()).await.expect_err("other values").to_string();
    assert!(error.contains("millrace data verify") && !error.contains("--table"), "{error}");
    target.run("TRUNCATE dw.t").await?;
    let unrecorded = TaskContext { work: work(3), is_test: true, ..world.context(1) };
    let error = run_in(&unrecorded, copy).await.expect_err("other values").to_string();
    assert!(error.ends_with("the copy is committed"), "{error}");
    Ok(())
}

#[tokio::test]
async fn tables_that_inherit_keep_their_rows() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE parent (id int, v text); CREATE TABLE child (more int) INHERITS (parent); \
         INSERT INTO child VALUES (1, 'old', 7)",
    )
    .await?;
    for (generation, method) in (1..).zip([LoadMethod::Replace, LoadMethod::Swap]) {
        let mut request = world.request("parent", method.clone(), &[("in.csv", "2,new\n")]).await?;
        request.work = work(generation);
        let error = refused(subject.warehouse.load(request).await)?;
        assert!(error.message.contains("table child, which inherits from it"), "{method:?}: {}", error.message);
    }
    let error = refused(subject.warehouse.build_and_swap(build("parent", "SELECT 2, 'new'", 3)).await)?;
    assert!(error.message.contains("table child, which inherits from it"), "{}", error.message);
    assert_eq!(database.query("SELECT * FROM child")?, [some(&["1", "old", "7"])]);
    Ok(())
}

#[tokio::test]
async fn columns_that_the_table_computes_are_passed_over() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; \
         CREATE TABLE made (id int PRIMARY KEY, v int, twice int GENERATED ALWAYS AS (v * 2) STORED)",
    )
    .await?;
    let methods = [LoadMethod::Append, LoadMethod::Replace, LoadMethod::Swap, upsert(&["id"], None)];
    for (generation, method) in (1..).zip(methods) {
        // A source with the same columns has the same values; another one shows here who made it.
        let rows = format!("{generation},99,5\n");
        let mut request = world.request("made", method.clone(), &[("in.csv", &rows)]).await?;
        request.work = work(generation);
        request.columns = Some(["id", "twice", "v"].map(ToOwned::to_owned).to_vec());
        let report = subject.warehouse.load(request).await?;
        assert_eq!((report.rows_inserted, report.computed), (Some(1), vec!["twice".to_owned()]), "{method:?}");
    }
    let rows = database.query("SELECT id, v, twice FROM made ORDER BY id")?;
    assert_eq!(rows, [some(&["3", "5", "10"]), some(&["4", "5", "10"])]);
    Ok(())
}

/// Rows 2 and 4 are to be changed, 1 is as it comes in, and 3 is new.
const CHANGES: &str = "1,old\n2,b\n3,c\n4,d\n";

async fn upsert_changes(world: &World, subject: &Subject, generation: u32) -> Result<LoadRequest> {
    let mut request = world.request("kept", upsert(&["id"], None), &[("in.csv", CHANGES)]).await?;
    request.work = work(generation);
    request.columns = Some(vec!["id".to_owned(), "v".to_owned()]);
    subject.run("DELETE FROM kept WHERE 1 = 1").await?;
    subject.run("INSERT INTO kept (id, v) VALUES (1, 'old'), (2, 'old'), (4, 'old')").await?;
    Ok(request)
}

/// A trigger may have made the same of what came in; a rule cannot.
#[tokio::test]
async fn rows_that_postgres_keeps_as_they_were_are_told_of_or_fail_the_load() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE kept (id int PRIMARY KEY, v text, doc json, seen int DEFAULT 0); \
         CREATE FUNCTION keep_even() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF OLD.id % 4 = 0 THEN RETURN NULL; END IF; RETURN NEW; END'; \
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.seen := NEW.seen + 1; RETURN NEW; END'",
    )
    .await?;
    let request = upsert_changes(&world, &subject, 1).await?;
    database.execute("CREATE RULE keeping AS ON UPDATE TO kept WHERE OLD.id > 1 DO INSTEAD NOTHING")?;
    let error = refused(subject.warehouse.load(request).await)?;
    assert_eq!(error.kind, PortErrorKind::Data, "{}", error.message);
    let said = "2 rows of kept were to be updated and are as they were (a rule of the table may have kept them); nothing was loaded";
    assert!(error.message.contains(said), "{}", error.message);
    assert_eq!(database.query("SELECT COUNT(*) FROM kept WHERE v = 'old'")?, [some(&["3"])]);
    database.execute("DROP RULE keeping ON kept")?;
    // One that passes over what changes nothing loses nothing, and one that only looks neither.
    let ways = [("suppress_redundant_updates_trigger()", 2, 0), ("look()", 3, 0), ("keep_even()", 2, 1)];
    for (generation, (function, updated, kept)) in (10..).zip(ways) {
        let request = upsert_changes(&world, &subject, generation).await?;
        database.execute(&format!(
            "CREATE TRIGGER keeping BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION {function}"
        ))?;
        let report = subject.warehouse.load(request).await?;
        assert_eq!((report.rows_inserted, report.rows_updated), (Some(1), Some(updated)), "{function}");
        assert_eq!(report.rows_kept, Some(kept), "{function}");
        database.execute("DROP TRIGGER keeping ON kept")?;
    }
    database.execute("CREATE TRIGGER keeping BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION keep_even()")?;
    let heard = Arc::new(Heard::default());
    let mut context = world.context(1);
    context.reporter = Arc::clone(&heard) as Arc<dyn Reporter>;
    let entry = find(millrace_operators::catalogue(), "upsert").context("an operator")?;
    let parameters = json!({"warehouse_conn_id": "pg", "table": "kept", "upsert_keys": "id", "sql_conn_id": "pg",
                            "query": "SELECT 4 AS id, 'other' AS v"});
    (entry.parse)(parameters).map_err(anyhow::Error::msg)?.run(&context).await?;
    let told = heard.0.lock().map(|lines| lines.join("\n")).unwrap_or_default();
    assert!(told.contains("kept: 1 of the rows that were to be updated are as they were"), "{told}");
    Ok(())
}

/// Triggers that bring values into a form of their own, and pass over what would change nothing then.
#[tokio::test]
async fn rows_that_triggers_of_postgres_bring_into_form_are_updated() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE people (id int PRIMARY KEY, email text, paid numeric, doc json); \
         CREATE FUNCTION lower_email() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.email := lower(NEW.email); RETURN NEW; END'; \
         CREATE TRIGGER a_form BEFORE INSERT OR UPDATE ON people FOR EACH ROW EXECUTE FUNCTION lower_email(); \
         CREATE TRIGGER b_same BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger(); \
         INSERT INTO people VALUES (1, 'a@x', 1, '{}'), (2, 'b@x', 1, '{}'), (3, 'c@x', 1, '{}')",
    )
    .await?;
    let columns = ["id", "email", "paid", "doc"];
    let load = async |generation: u32, rows: &str| {
        let mut request = world.request("people", upsert(&["id"], None), &[("in.csv", rows)]).await?;
        request.work = work(generation);
        request.columns = Some(columns.map(ToOwned::to_owned).to_vec());
        let report = subject.warehouse.load(request).await?;
        anyhow::Ok((report.rows_updated, report.rows_kept))
    };
    let rows = "1,a@x,1,{}\n2,New@x,1,{}\n3,Other@x,1,{}\n";
    assert_eq!(load(1, rows).await?, (Some(2), Some(0)), "one is the same, two are other ones");
    let expected = [some(&["a@x"]), some(&["new@x"]), some(&["other@x"])];
    assert_eq!(database.query("SELECT email FROM people ORDER BY id")?, expected);
    // Nobody can tell from outside that the trigger would have made the same of them.
    assert_eq!(load(2, rows).await?, (Some(0), Some(2)), "the same again");
    assert_eq!(database.query("SELECT email FROM people ORDER BY id")?, expected);
    // 1 and 1.00 are the same to whoever compares.
    database.execute(
        "DROP TRIGGER b_same ON people; CREATE FUNCTION unless_same() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF (NEW.email, NEW.paid) IS NOT DISTINCT FROM (OLD.email, OLD.paid) THEN RETURN NULL; END IF; RETURN NEW; END'; \
         CREATE TRIGGER b_same BEFORE UPDATE ON people FOR EACH ROW EXECUTE FUNCTION unless_same()",
    )?;
    assert_eq!(load(3, "1,a@x,1.00,{}\n2,new@x,2.00,{}\n").await?, (Some(1), Some(0)));
    Ok(())
}

#[tokio::test]
async fn rows_that_triggers_of_sqlite_keep_as_they_were_are_told_of() -> Result<()> {
    let (world, subject) = sqlite::start(&[
        "CREATE TABLE kept (id INTEGER PRIMARY KEY, v text)",
        "CREATE TRIGGER keeping BEFORE UPDATE ON kept WHEN OLD.id = 4 BEGIN SELECT RAISE(IGNORE); END",
    ])
    .await?;
    let load = async |generation: u32| {
        let request = upsert_changes(&world, &subject, generation).await?;
        anyhow::Ok(subject.warehouse.load(request).await?)
    };
    let report = load(1).await?;
    assert_eq!((report.rows_inserted, report.rows_updated, report.rows_kept), (Some(1), Some(2), Some(1)));
    assert_eq!(subject.rows("SELECT id FROM kept WHERE v = 'old' ORDER BY id").await?, [some(&["1"]), some(&["4"])]);
    subject.run("DROP TRIGGER keeping").await?;
    // What a trigger makes of a row behind its update was updated all the same.
    subject
        .run("CREATE TRIGGER same BEFORE UPDATE ON kept WHEN OLD.v IS NEW.v BEGIN SELECT RAISE(IGNORE); END")
        .await?;
    subject
        .run("CREATE TRIGGER form AFTER UPDATE ON kept BEGIN UPDATE kept SET v = upper(NEW.v) WHERE id = NEW.id; END")
        .await?;
    let report = load(2).await?;
    assert_eq!((report.rows_inserted, report.rows_updated, report.rows_kept), (Some(1), Some(2), Some(0)));
    Ok(())
}

/// What the table fills in by itself: a number, a moment, a count of changes.
const FILLED: &str = "CREATE SCHEMA analytics; CREATE TABLE filled (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
    k int NOT NULL UNIQUE, v text, made timestamptz NOT NULL DEFAULT clock_timestamp(), changed int NOT NULL DEFAULT 0); \
    INSERT INTO filled (k, v, made) VALUES (1, 'old', '2020-01-01'); \
    CREATE FUNCTION count_changes() RETURNS trigger LANGUAGE plpgsql AS \
    'BEGIN NEW.changed := OLD.changed + 1; RETURN NEW; END'";
const COUNTING: &str = "CREATE TRIGGER counting BEFORE UPDATE ON filled FOR EACH ROW EXECUTE FUNCTION count_changes()";

#[tokio::test]
async fn columns_that_the_table_fills_in_keep_what_they_have_and_new_rows_get_theirs() -> Result<()> {
    for has_trigger in [false, true] {
        let (database, world, subject) = postgres::start(FILLED).await?;
        if has_trigger {
            database.execute(COUNTING)?;
        }
        let load = async |generation: u32, method: LoadMethod, columns: &[&str], rows: &str| {
            let mut request = world.request("filled", method, &[("in.csv", rows)]).await?;
            request.work = work(generation);
            request.columns = Some(columns.iter().map(|name| (*name).to_owned()).collect());
            anyhow::Ok(subject.warehouse.load(request).await)
        };
        let rows = || database.query("SELECT k, v, made < '2021-01-01', changed, id > 0 FROM filled ORDER BY k");
        let by_key = upsert(&["k"], None);
        load(1, LoadMethod::Append, &["k", "v"], "2,b\n").await??;
        load(2, by_key.clone(), &["k", "v"], "1,new\n3,c\n").await??;
        let changed = if has_trigger { "1" } else { "0" };
        let expected = [
            some(&["1", "new", "t", changed, "t"]),
            some(&["2", "b", "f", "0", "t"]),
            some(&["3", "c", "f", "0", "t"]),
        ];
        assert_eq!(rows()?, expected, "{has_trigger}");
        assert_eq!(database.query("SELECT id FROM filled WHERE k = 1")?, [some(&["1"])], "it is the same row");
        // A number that the table gives is taken with a new row, and can't be changed in one that is there.
        load(3, LoadMethod::Append, &["id", "k", "v"], "70,4,d\n").await??;
        let error = refused(load(4, by_key.clone(), &["id", "k", "v"], "71,4,e\n").await?)?;
        assert!(error.message.contains("\"id\" can only be updated to DEFAULT"), "{}", error.message);
        assert_eq!(database.query("SELECT id, v FROM filled WHERE k = 4")?, [some(&["70", "d"])]);
        load(5, upsert(&["id"], None), &["id", "k", "v"], "70,4,e\n").await??;
        assert_eq!(database.query("SELECT id, v FROM filled WHERE k = 4")?, [some(&["70", "e"])]);
        for (generation, method) in (6..).zip([LoadMethod::Replace, LoadMethod::Swap]) {
            load(generation, method.clone(), &["k", "v"], "1,x\n2,y\n").await??;
            let expected = [some(&["1", "x", "f", "0", "t"]), some(&["2", "y", "f", "0", "t"])];
            assert_eq!(rows()?, expected, "{method:?} {has_trigger}");
        }
        // More rows than the table has ever given numbers to: the next one is none of theirs.
        let many: String = (1..=200).map(|k| format!("{k},z\n")).collect();
        load(8, LoadMethod::Swap, &["k", "v"], &many).await??;
        database.execute("INSERT INTO filled (k) VALUES (201)")?;
        let numbers = database.query("SELECT count(DISTINCT id), count(*) FROM filled")?;
        assert_eq!(numbers, [some(&["201", "201"])], "{has_trigger}");
    }
    Ok(())
}
