//! Redshift where it is narrow: what is asked again under one name, statements at the limit of their length, texts full of
//! what SQL escapes, names that need their quotes.

use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use millrace_devstack::Fault;
use millrace_operator_api::TaskError;
use millrace_operator_api::entry::find;
use millrace_operator_api::ports::{BuildRequest, LoadMethod, LoadRequest, LoadRows, Ports, TableName, ValueType};
use millrace_operators::parts::proof::comparing::{Comparison, Side};
use millrace_testkit::wait_until;
use serde_json::{Value, json};

use crate::copies::databases::{Database, Kind, run};
use crate::tasks::{Task, operate};
use crate::world::{World, some, stream_of, upsert, work};

/// One look of a sensor that was put off so often before.
async fn look(world: &World, parameters: &Value, put_offs: u32) -> Result<Result<Option<Value>, TaskError>> {
    let entry = find(millrace_operators::catalogue(), "wait_for_sql").context("an operator")?;
    let operator = (entry.parse)(parameters.clone()).map_err(anyhow::Error::msg)?;
    let mut context = world.context(1);
    (context.work, context.put_offs) = (work(77), put_offs);
    Ok(operator.run(&context).await.map(|outcome| outcome.result))
}

#[tokio::test]
async fn a_sensor_sees_what_has_come_since_its_last_look() -> Result<()> {
    for kind in [Kind::Redshift, Kind::Wire, Kind::Postgres, Kind::Lite] {
        let world = World::start().await?;
        let target = Database::start(&world, kind, "target").await?;
        let table = target.place("arrived");
        target.run(&format!("CREATE TABLE {table} (day varchar(10))")).await?;
        let parameters = json!({"sql_conn_id": target.conn_id, "sql": format!("SELECT COUNT(*) FROM {table}")});
        for put_offs in 0..2 {
            let found = look(&world, &parameters, put_offs).await?;
            assert!(matches!(found, Err(TaskError::NotYet { .. })), "{kind:?}: {found:?}");
        }
        target.run(&format!("INSERT INTO {table} VALUES ('2024-01-01')")).await?;
        let found = look(&world, &parameters, 2).await?;
        assert_eq!(found.ok().flatten(), Some(json!("1")), "{kind:?}");
    }
    Ok(())
}

/// Columns of names so long that an UPDATE of them all is longer than a statement may be.
#[tokio::test]
async fn a_wide_table_is_upserted_though_one_statement_cannot_hold_it() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    let names: Vec<String> = (0..800).map(|number| format!("column_of_a_rather_wide_table_{number:04}_주문")).collect();
    let columns = names.iter().fold(String::new(), |mut text, name| {
        let _ = write!(text, ", \"{name}\" int");
        text
    });
    source.run(&format!("CREATE TABLE wide (id int PRIMARY KEY, at timestamp{columns})")).await?;
    source.run("INSERT INTO wide (id, at) VALUES (1, '2024-01-01'), (2, '2024-01-01')").await?;
    let (first, last) = (&names[0], &names[799]);
    for (generation, kind) in [(1, Kind::Redshift), (10, Kind::Wire)] {
        let target = Database::start(&world, kind, "target").await?;
        let copying = json!({
            "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
            "tables": [{"source": "public.wide", "target": "dw.wide", "primary_key": "id", "sync_mode": "incremental_sync",
                        "incremental_field": "at"}],
        });
        run(&world, generation, copying.clone()).await.map_err(|error| anyhow::anyhow!("{kind:?}: {error}"))?;
        source.run(&format!("UPDATE wide SET at = '2024-01-02', \"{first}\" = 7, \"{last}\" = 9 WHERE id = 2")).await?;
        let copied =
            run(&world, generation + 1, copying).await.map_err(|error| anyhow::anyhow!("{kind:?}: {error}"))?;
        assert_eq!(copied["tables"][0]["rows_inserted"], json!(0), "{kind:?}: {copied}");
        let found =
            target.postgres()?.query(&format!("SELECT id, \"{first}\", \"{last}\" FROM dw.wide ORDER BY id"))?;
        assert_eq!(found, [some(&["1", "NULL", "NULL"]), some(&["2", "7", "9"])], "{kind:?}");
        source.run(&format!("UPDATE wide SET at = '2024-01-01', \"{first}\" = NULL, \"{last}\" = NULL")).await?;
    }
    Ok(())
}

#[tokio::test]
async fn texts_full_of_backslashes_and_quotes_arrive_and_go_to_the_quarantine() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source
        .run(
            r#"CREATE TABLE t (id int PRIMARY KEY, note text, n text); INSERT INTO t SELECT 1, repeat('\', 30000), '1';
               INSERT INTO t SELECT 2, repeat('\''"', 10000), '2'; INSERT INTO t SELECT 3, repeat('\', 40000) || '~^|`#@', '3';
               INSERT INTO t SELECT 4, repeat('"\', 12000), 'not a number'"#,
        )
        .await?;
    for (generation, kind) in [(1, Kind::Redshift), (10, Kind::Wire)] {
        let target = Database::start(&world, kind, "target").await?;
        target.run("CREATE TABLE dw.t (id int, note varchar(65535), n int)").await?;
        let load = json!({
            "warehouse_conn_id": target.conn_id, "schema": "dw", "table": "t", "sql_conn_id": source.conn_id,
            "query": "SELECT * FROM t ORDER BY id", "quarantine": "refused", "copy_options": ["csv", "maxerror 5"],
        });
        let loaded = operate(&world, generation, "copy", load).await.with_context(|| format!("{kind:?}"))?;
        assert_eq!((&loaded["rows_inserted"], &loaded["rows_rejected"]), (&json!(3), &json!(1)), "{kind:?}: {loaded}");
        let digests = "SELECT id, md5(note) FROM t WHERE id < 4 ORDER BY id";
        let expected = source.postgres()?.query(digests)?;
        let found = target.postgres()?.query(&digests.replace("FROM t", "FROM dw.t"))?;
        assert_eq!(found, expected, "{kind:?}");
        let kept =
            target.postgres()?.query("SELECT source_row::json ->> 'id', length(source_row) > 1000 FROM dw.refused")?;
        assert_eq!(kept, [some(&["4", "t"])], "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn names_that_need_their_quotes_go_by_every_way() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    source
        .run(
            r#"CREATE TABLE "it's ""주문""" (id int PRIMARY KEY, "select" text, "a ""b""" text, "c\d" text, "주문;--" text);
               INSERT INTO "it's ""주문""" VALUES (1, 'a', 'b', 'c', 'd'), (2, '', NULL, 'x\', '''')"#,
        )
        .await?;
    for (generation, kind) in [(1_u32, Kind::Redshift), (100, Kind::Wire)] {
        let target = Database::start(&world, kind, "target").await?;
        let columns =
            r#"id int NOT NULL, "select" varchar(9), "a ""b""" varchar(9), "c\d" varchar(9), "주문;--" varchar(9)"#;
        target.run(&format!(r#"CREATE TABLE dw."it's ""주문""" ({columns})"#)).await?;
        let query = r#"SELECT * FROM "it's ""주문""" ORDER BY id"#;
        let extract = json!({
            "sql_conn_id": source.conn_id, "query": query, "s3_bucket": "lake", "s3_key": format!("it's/{kind:?}/주문 \"1\".csv"),
            "aws_conn_id": "s3",
        });
        let written = Task::new(&world, "sql_to_s3", extract).run(1).await?;
        for method in ["append", "replace", "swap", "upsert", "direct"] {
            let mut load = json!({
                "warehouse_conn_id": target.conn_id, "aws_conn_id": "s3", "schema": "dw", "table": "it's \"주문\"",
                "method": if method == "direct" { "replace" } else { method }, "show_values": true,
            });
            if method == "direct" {
                load["sql_conn_id"] = json!(source.conn_id);
                load["query"] = json!(query);
            } else {
                load["from_task"] = json!("before");
            }
            if method == "upsert" {
                load["upsert_keys"] = json!(["id", "select"]);
            }
            let loaded = Task::new(&world, "copy", load).after(&written).run(1).await;
            loaded.map_err(|error| anyhow::anyhow!("{kind:?} {method}: {error}"))?;
            let found = target.postgres()?.query(r#"SELECT * FROM dw."it's ""주문""" ORDER BY id"#)?;
            let expected = [some(&["1", "a", "b", "c", "d"]), some(&["2", "", "NULL", "x\\", "'"])];
            assert_eq!(found, expected, "{kind:?} {method}");
        }
        let copying = json!({
            "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
            "tables": [{"source": "public.it's \"주문\"", "target": "dw.another \"주문\"", "primary_key": "id"}],
        });
        run(&world, generation, copying).await.map_err(|error| anyhow::anyhow!("{kind:?}: {error}"))?;
        let found = target.rows(r#"SELECT "a ""b""" FROM dw."another ""주문""" WHERE id = 1"#).await?;
        assert_eq!(found, [some(&["b"])], "{kind:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_swap_that_lost_against_another_transaction_is_made_again() -> Result<()> {
    let table = "CREATE TABLE analytics.nps (id bigint, note varchar(20))";
    let (stand, subject) = crate::redshift::start(&["CREATE SCHEMA analytics", table]).await?;
    let conflict =
        "ERROR: 1023 DETAIL: Serializable isolation violation on table - 100, transactions forming the cycle are: 1, 2";
    let faults = stand.redshift.faults();
    faults.inject("ALTER", Fault::FailStatement(conflict.to_owned()), 2);
    let request = stand.world.request("analytics.nps", LoadMethod::Swap, &[("in.csv", "1,a\n")]).await?;
    assert_eq!(subject.warehouse.load(request).await?.rows_inserted, Some(1));
    assert_eq!(faults.pending(), 0);
    assert_eq!(stand.database.query("SELECT id, note FROM analytics.nps")?, [some(&["1", "a"])]);
    faults.inject("ALTER", Fault::FailStatement(conflict.to_owned()), 2);
    let request = BuildRequest {
        target: TableName { schema: Some("analytics".to_owned()), name: "nps".to_owned() },
        select: "SELECT 2, 'b'".to_owned(),
        columns_ddl: None,
        checks: Vec::new(),
        keep_failed: false,
        also: Vec::new(),
        work: work(5),
    };
    assert!(subject.warehouse.build_and_swap(request).await?.was_swapped);
    assert_eq!(faults.pending(), 0);
    assert_eq!(stand.database.query("SELECT id, note FROM analytics.nps")?, [some(&["2", "b"])]);
    assert!(stand.database.query("SELECT 1 FROM pg_class WHERE relname ~ '^nps__'")?.is_empty());
    Ok(())
}

/// A table with a column that SQL cannot hash, so that its rows are read, and an answer arrives whole.
#[tokio::test]
async fn a_large_table_is_compared_by_answers_that_are_small() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    let rows = "SELECT n AS id, n * 0.1::float8 AS f FROM generate_series(-60000, 60000) AS n";
    source.run(&format!("CREATE TABLE t AS {rows}")).await?;
    let target = Database::start(&world, Kind::Redshift, "target").await?;
    target.run("CREATE TABLE dw.t (id int, f double precision)").await?;
    target.postgres()?.execute(&format!("INSERT INTO dw.t {rows}"))?;
    let side = async |database: &Database, schema: &str| {
        let reader = world.connectors.reader(&database.conn_id).await?;
        let table = TableName { schema: Some(schema.to_owned()), name: "t".to_owned() };
        anyhow::Ok(Side {
            label: database.conn_id.clone(),
            relation: reader.table_sql(&table),
            columns: reader.table_columns(&table).await?,
            source: reader,
            filter: None,
            is_streamed: false,
            repeated: None,
        })
    };
    let comparison = Comparison {
        source: side(&source, "public").await?,
        target: side(&target, "dw").await?,
        keys: vec![0],
        most: 5,
    };
    let said = Mutex::new(Vec::new());
    let tell = |_: &str, text: &str| said.lock().unwrap_or_else(PoisonError::into_inner).push(text.to_owned());
    let verdict = comparison.run(&tell).await?;
    assert!(verdict.is_equal() && verdict.target.rows == 120_001, "{verdict:?}");
    let told = said.lock().unwrap_or_else(PoisonError::into_inner).join("; ");
    assert!(told.contains("120001 rows read and hashed, in 3 parts"), "{told}");
    target
        .postgres()?
        .execute("UPDATE dw.t SET f = f + 1 WHERE id IN (-59999, 0, 44444); DELETE FROM dw.t WHERE id = 17")?;
    let verdict = comparison.run(&|_, _| {}).await?;
    assert_eq!((verdict.rows_different, verdict.is_partial), (4, false), "{verdict:?}");
    let mut named: Vec<&str> = verdict.differences.iter().filter_map(|found| found.key.first()?.1.as_deref()).collect();
    named.sort_unstable();
    assert_eq!(named, ["-59999", "0", "17", "44444"]);
    Ok(())
}

#[tokio::test]
async fn a_load_is_found_again_by_its_group_and_its_ids() -> Result<()> {
    for kind in [Kind::Redshift, Kind::Wire, Kind::Postgres] {
        let world = World::start().await?;
        let target = Database::start(&world, kind, "target").await?;
        target.run("CREATE TABLE dw.t (id int)").await?;
        let (group, sign) = if kind == Kind::Postgres {
            (target.rows("SHOW application_name").await?, "pid:")
        } else {
            (target.rows("SHOW query_group").await?, "query:")
        };
        let label = if kind == Kind::Postgres { "millrace nightly/load" } else { "nightly/load" };
        assert_eq!(group, [some(&[label])], "{kind:?}");
        let warehouse = world.connectors.warehouse(&world.context(1), &target.conn_id).await?;
        let ids = async |generation: u32, method: LoadMethod| {
            let mut request = world.request("dw.t", method, &[("in.csv", "1\n2\n")]).await?;
            request.work = work(generation);
            anyhow::Ok(warehouse.load(request).await?.remote_ids)
        };
        for (generation, method) in (1..).zip([LoadMethod::Append, LoadMethod::Swap, upsert(&["id"], None)]) {
            let found = ids(generation, method.clone()).await?;
            // The COPY's number in the catalogue, and by wire that of what came after it.
            let known = found.iter().filter(|id| id.starts_with(sign)).count();
            assert!(known >= if kind == Kind::Wire { 2 } else { 1 }, "{kind:?} {method:?}: {found:?}");
            if kind == Kind::Redshift {
                let sent: Vec<_> = world.journal.all().into_iter().filter_map(|row| row.remote_id).collect();
                let statements: Vec<_> = found.iter().filter(|id| !id.starts_with("query:")).collect();
                assert!(statements.len() >= 2, "{method:?}: {found:?}");
                assert!(statements.iter().all(|id| sent.iter().any(|sent| id.contains(sent))), "{found:?} {sent:?}");
            }
        }
        // Without files, and a table that is built of others.
        let rows = stream_of(&[("id", ValueType::Integer { bits: 32, signed: true })], &vec![some(&["3"])]);
        let table = TableName { schema: Some("dw".to_owned()), name: "t".to_owned() };
        let request = LoadRequest::new(table.clone(), upsert(&["id"], None), LoadRows::direct(rows), work(20));
        let found = warehouse.load(LoadRequest { columns: Some(vec!["id".to_owned()]), ..request }).await?.remote_ids;
        assert!(kind == Kind::Redshift || found.iter().any(|id| id.starts_with(sign)), "{kind:?}: {found:?}");
        let built = BuildRequest {
            target: table,
            select: "SELECT 1".to_owned(),
            columns_ddl: None,
            checks: Vec::new(),
            keep_failed: false,
            also: Vec::new(),
            work: work(21),
        };
        let found = warehouse.build_and_swap(built).await?.remote_ids;
        let is_known = found.iter().any(|id| id.starts_with(sign));
        assert!(if kind == Kind::Redshift { !found.is_empty() } else { is_known }, "{kind:?}: {found:?}");
    }
    Ok(())
}

/// The process is killed at each write of its journal while it builds a table whose rows are exchanged; then the built table
/// may lose its rows as well. The next try gives the rows that one clean run gives.
#[tokio::test]
async fn a_summary_killed_at_any_write_has_its_rows() -> Result<()> {
    for (after, is_emptied) in [(false, false), (true, false), (false, true)] {
        let mut deaths = 0;
        for number in 1.. {
            let (stand, first) = crate::redshift::start(&[
                "CREATE SCHEMA analytics",
                "CREATE TABLE analytics.summary (id bigint, note varchar(20))",
                "CREATE VIEW analytics.notes AS SELECT note FROM analytics.summary",
            ])
            .await?;
            let request = BuildRequest {
                target: TableName { schema: Some("analytics".to_owned()), name: "summary".to_owned() },
                select: "SELECT 1, 'a' UNION ALL SELECT 2, 'b'".to_owned(),
                columns_ddl: Some("(id bigint, note varchar(20))".to_owned()),
                checks: Vec::new(),
                keep_failed: false,
                also: Vec::new(),
                work: work(1),
            };
            let is_dead =
                stand.world.journal.kills((number, after), first.warehouse.build_and_swap(request.clone())).await?;
            if !is_dead {
                break;
            }
            deaths += 1;
            let others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state <> 'idle' \
                          AND pid <> pg_backend_pid()";
            let is_over = async || stand.database.query(others).is_ok_and(|rows| rows.is_empty());
            wait_until("what was sent has ended", Duration::from_secs(20), is_over).await?;
            if is_emptied {
                let built = "SELECT relname FROM pg_class WHERE relname LIKE 'summary\\_\\_build%' AND relkind = 'r'";
                for row in stand.database.query(built)? {
                    stand
                        .database
                        .execute(&format!("DELETE FROM analytics.{}", row[0].as_deref().unwrap_or_default()))?;
                }
            }
            let second = crate::redshift::subject(&stand, 2).await?;
            assert!(second.warehouse.build_and_swap(request).await?.was_swapped);
            let found = stand.database.query("SELECT id, note FROM analytics.summary ORDER BY 1")?;
            let place = format!("death at {number}, after: {after}, emptied: {is_emptied}");
            assert_eq!(found, [some(&["1", "a"]), some(&["2", "b"])], "{place}");
            let left = "SELECT relname FROM pg_class WHERE relname LIKE 'summary\\_\\_%'";
            assert_eq!(stand.database.query(left)?, Vec::<Vec<_>>::new(), "{place}");
        }
        // Three writes for each of four statements: the marker's table, the columns, the building, the swap.
        assert_eq!(deaths, 12);
    }
    Ok(())
}
