//! Tables that do not simply take the rows that are put into them: triggers and rules that drop some, tables that inherit,
//! columns that the table works out. A load that would lose rows there says so and changes nothing.

use anyhow::Result;
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::ports::{BuildRequest, LoadMethod, TableName};
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
