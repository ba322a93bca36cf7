//! Tables that do not simply take the rows that are put into them: triggers and rules that drop some, tables that inherit,
//! columns that the table works out. A load that would lose rows there says so and changes nothing.

use anyhow::Result;
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::ports::{BuildRequest, LoadMethod, LoadRequest, TableName};
use serde_json::json;

use crate::copies::databases::{Database, Kind, run};
use crate::loads::Subject;
use crate::world::{World, refused, some, upsert, work};
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

fn build(table: &str, select: &str, generation: u32) -> BuildRequest {
    BuildRequest {
        target: TableName { schema: None, name: table.to_owned() },
        select: select.to_owned(),
        columns_ddl: None,
        checks: Vec::new(),
        keep_failed: false,
        also: Vec::new(),
        work: work(generation),
    }
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

#[tokio::test]
async fn rows_that_triggers_and_rules_of_postgres_keep_as_they_were_are_missed_before_the_commit() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE kept (id int PRIMARY KEY, v text, doc json, seen int DEFAULT 0); \
         CREATE FUNCTION keep_even() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN IF OLD.id % 4 = 0 THEN RETURN NULL; END IF; RETURN NEW; END'; \
         CREATE FUNCTION look() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.seen := NEW.seen + 1; RETURN NEW; END'",
    )
    .await?;
    let no_other = "suppress_redundant_updates_trigger()";
    let kept = [
        (
            "CREATE TRIGGER keeping BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION keep_even()",
            "but 2 were, and 1 differ",
        ),
        ("CREATE RULE keeping AS ON UPDATE TO kept WHERE OLD.id > 1 DO INSTEAD NOTHING", "but 1 were, and 2 differ"),
    ];
    for (generation, (made, said)) in (1..).zip(kept) {
        let request = upsert_changes(&world, &subject, generation).await?;
        database.execute(made)?;
        let error = refused(subject.warehouse.load(request).await)?;
        assert_eq!(error.kind, PortErrorKind::Data, "{made}: {}", error.message);
        assert!(
            error.message.contains(&format!("3 rows of kept were to be updated, {said}")),
            "{made}: {}",
            error.message
        );
        assert_eq!(database.query("SELECT COUNT(*) FROM kept WHERE v = 'old'")?, [some(&["3"])], "{made}");
        let kind = if made.contains("TRIGGER") { "TRIGGER" } else { "RULE" };
        database.execute(&format!("DROP {kind} keeping ON kept"))?;
    }
    // One that passes over what changes nothing loses nothing, and one that only looks neither.
    for (generation, function) in (10..).zip([no_other, "look()"]) {
        let request = upsert_changes(&world, &subject, generation).await?;
        database
            .execute(&format!("CREATE TRIGGER fine BEFORE UPDATE ON kept FOR EACH ROW EXECUTE FUNCTION {function}"))?;
        let report = subject.warehouse.load(request).await?;
        let updated = if function == no_other { 2 } else { 3 };
        assert_eq!((report.rows_inserted, report.rows_updated), (Some(1), Some(updated)), "{function}");
        database.execute("DROP TRIGGER fine ON kept")?;
    }
    Ok(())
}

#[tokio::test]
async fn rows_that_triggers_of_sqlite_keep_as_they_were_are_missed_before_the_commit() -> Result<()> {
    let (world, subject) = sqlite::start(&[
        "CREATE TABLE kept (id INTEGER PRIMARY KEY, v text)",
        "CREATE TRIGGER keeping BEFORE UPDATE ON kept WHEN OLD.id = 4 BEGIN SELECT RAISE(IGNORE); END",
    ])
    .await?;
    let request = upsert_changes(&world, &subject, 1).await?;
    let error = refused(subject.warehouse.load(request).await)?;
    assert!(error.message.contains("3 rows of kept were to be updated, but 2 were, and 1 differ"), "{}", error.message);
    assert_eq!(subject.rows("SELECT COUNT(*) FROM kept WHERE v = 'old'").await?, [some(&["3"])]);
    subject.run("DROP TRIGGER keeping").await?;
    subject
        .run("CREATE TRIGGER fine BEFORE UPDATE ON kept WHEN OLD.v IS NEW.v BEGIN SELECT RAISE(IGNORE); END")
        .await?;
    let report = subject.warehouse.load(upsert_changes(&world, &subject, 2).await?).await?;
    assert_eq!((report.rows_inserted, report.rows_updated), (Some(1), Some(2)));
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
