//! A swap in PostgreSQL leaves the table what it was, but for its rows, and keeps nobody waiting who reads.

use std::sync::Arc;

use anyhow::Result;
use futures::{StreamExt, stream};
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::ports::{
    BuildRequest, LoadMethod, LoadRequest, LoadRows, NewColumn, Ports, RowBatch, RowStream, SourceColumn, TableName,
    ValueType,
};
use millrace_testkit::wait_until;
use tokio::sync::Notify;

use crate::copies::databases::{Database, Kind};
use crate::postgres;
use crate::tasks::{PATIENCE, operate};
use crate::world::{World, build, refused, some, work};

async fn swap(world: &World, generation: u32, table: &str, columns: &[&str], rows: &str) -> Result<LoadRequest> {
    let mut request = world.request(table, LoadMethod::Swap, &[("s.csv", rows)]).await?;
    request.work = work(generation);
    request.columns = Some(columns.iter().map(|name| (*name).to_owned()).collect());
    Ok(request)
}

/// All that the catalogue says of `kept`; object ids, sizes and the like left out.
const SAID: &str = "SELECT c.relrowsecurity, c.relforcerowsecurity, c.relreplident, c.relpersistence, c.reloptions, \
    ARRAY(SELECT x::text FROM unnest(c.relacl) AS x ORDER BY 1), pg_get_userbyid(c.relowner), \
    (SELECT string_agg(concat_ws(' ', a.attname, a.attacl, a.attstattarget, a.attoptions, a.attidentity), '; ' ORDER BY a.attnum) \
     FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped), \
    (SELECT string_agg(concat_ws(' ', pg_get_indexdef(i.indexrelid), i.indisreplident, i.indisclustered), '; ' \
     ORDER BY i.indexrelid::regclass::text) FROM pg_index i WHERE i.indrelid = c.oid), \
    (SELECT string_agg(concat_ws(' ', k.conname, pg_get_constraintdef(k.oid)), '; ' ORDER BY k.conname) \
     FROM pg_constraint k WHERE k.conrelid = c.oid), \
    (SELECT string_agg(pg_get_statisticsobjdef(x.oid), '; ' ORDER BY x.stxname) FROM pg_statistic_ext x WHERE x.stxrelid = c.oid), \
    (SELECT reloptions FROM pg_class t WHERE t.oid = c.reltoastrelid), pg_get_serial_sequence('kept', 'id') \
    FROM pg_class c WHERE c.oid = 'kept'::regclass";

#[tokio::test]
async fn a_table_stays_what_it_was() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE kept (gone int, id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, secret text, \
         code text NOT NULL UNIQUE DEFERRABLE, tag text NOT NULL, double int GENERATED ALWAYS AS (id * 2) STORED); \
         ALTER TABLE kept DROP gone; CREATE UNIQUE INDEX tags ON kept (lower(tag) DESC) WHERE id > 0; CREATE UNIQUE INDEX by_tag ON kept (tag); \
         CREATE INDEX ON kept (secret); CREATE INDEX ON kept (secret); \
         INSERT INTO kept (secret, code, tag) SELECT 's', n, n FROM generate_series(1, 50) AS n; \
         ALTER TABLE kept ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; \
         ALTER TABLE kept SET (fillfactor = 70, autovacuum_enabled = false, toast.autovacuum_enabled = false); \
         ALTER TABLE kept SET UNLOGGED; ALTER TABLE kept REPLICA IDENTITY USING INDEX by_tag; ALTER TABLE kept CLUSTER ON by_tag; \
         CREATE STATISTICS together (ndistinct) ON code, tag FROM kept; CREATE STATISTICS \"Odd one\" ON code, secret FROM kept; \
         ALTER TABLE kept ALTER secret SET STATISTICS 7, ALTER secret SET (n_distinct = 3); \
         GRANT SELECT (id, code), UPDATE (code) ON kept TO pg_monitor; GRANT INSERT ON kept TO pg_monitor WITH GRANT OPTION; \
         ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC; ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO pg_monitor",
    )
    .await?;
    let before = database.query(SAID)?;
    for generation in 1..3 {
        let load = swap(&world, generation, "kept", &["id", "secret", "code", "tag"], "1,x,a,b\n2,y,c,d\n").await?;
        assert_eq!(subject.warehouse.load(load).await?.rows_inserted, Some(2));
        assert_eq!(database.query(SAID)?, before, "swap {generation}");
    }
    // The owner's own rights can have been taken as well.
    database.execute("REVOKE ALL ON kept FROM CURRENT_USER; GRANT SELECT ON kept TO CURRENT_USER")?;
    let before = database.query(SAID)?;
    subject.warehouse.load(swap(&world, 5, "kept", &["id", "code", "tag"], "1,a,b\n").await?).await?;
    assert_eq!(database.query(SAID)?, before);
    database.execute("INSERT INTO kept (secret, code, tag) VALUES ('z', 'e', 'f')")?;
    assert_eq!(database.query("SELECT id, double FROM kept ORDER BY id")?, [some(&["1", "2"]), some(&["51", "102"])]);
    Ok(())
}

#[tokio::test]
async fn rows_are_exchanged_around_what_the_table_makes_itself() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE viewed (id int GENERATED ALWAYS AS IDENTITY CHECK (id < 100), v int, \
         twice int GENERATED ALWAYS AS (v * 2) STORED); INSERT INTO viewed (v) VALUES (1); CREATE VIEW seen AS SELECT * FROM viewed; \
         CREATE TABLE typed (id int); CREATE FUNCTION of_typed(typed) RETURNS int LANGUAGE sql AS 'SELECT $1.id'; \
         INSERT INTO typed VALUES (1)",
    )
    .await?;
    subject.warehouse.load(swap(&world, 1, "viewed", &["id", "v"], "7,70\n").await?).await?;
    assert_eq!(database.query("SELECT * FROM seen")?, [some(&["7", "70", "140"])]);
    subject.warehouse.load(swap(&world, 2, "typed", &["id"], "9\n").await?).await?;
    assert_eq!(database.query("SELECT of_typed(t) FROM typed t")?, [some(&["9"])]);
    // What fails leaves nothing behind: refused rows, and a swap that cannot be.
    refused(subject.warehouse.load(swap(&world, 3, "viewed", &["id", "v"], "700,1\n").await?).await)?;
    let build = BuildRequest {
        target: TableName { schema: None, name: "viewed".to_owned() },
        // Never asked: the columns are looked at before.
        select: "SELECT 1, 2 / 0".to_owned(),
        columns_ddl: Some("(id int, v numeric(10,2), strange int)".to_owned()),
        checks: Vec::new(),
        keep_failed: false,
        also: Vec::new(),
        work: work(4),
    };
    let error = refused(subject.warehouse.build_and_swap(build).await)?;
    assert_eq!(error.kind, PortErrorKind::Invalid, "{}", error.message);
    assert!(error.message.contains("v is integer, not numeric(10,2), there is no strange"), "{}", error.message);
    assert_eq!(database.query("SELECT * FROM seen")?, [some(&["7", "70", "140"])]);
    assert!(database.query("SELECT relname FROM pg_class WHERE relname LIKE '%\\_\\_build\\_%'")?.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_table_of_another_owner_stays_with_its_owner() -> Result<()> {
    let server = tokio::task::spawn_blocking(millrace_testkit::Postgres::private).await??;
    let database = server.create_database()?;
    database.execute(
        "CREATE ROLE keeper; CREATE ROLE loader LOGIN PASSWORD 'in' IN ROLE keeper; GRANT ALL ON SCHEMA public TO keeper, loader; \
         CREATE TABLE kept (id serial PRIMARY KEY, v int); ALTER TABLE kept OWNER TO keeper; \
         GRANT SELECT, INSERT, DELETE ON kept TO loader; GRANT SELECT (v) ON kept TO pg_monitor; \
         INSERT INTO kept (v) VALUES (1), (2)",
    )?;
    let before = database.query(SAID)?;
    let world = World::start().await?;
    world.add_url(
        "pg",
        "postgres",
        &format!("postgres://loader:in@127.0.0.1:{}/{}", server.port(), database.name()),
    )?;
    let context = world.context(1);
    let warehouse = world.connectors.warehouse(&context, "pg").await?;
    warehouse.load(swap(&world, 1, "kept", &["id", "v"], "1,7\n").await?).await?;
    assert_eq!(database.query(SAID)?, before);
    database.execute("INSERT INTO kept (v) VALUES (8)")?;
    assert_eq!(database.query("SELECT id, v FROM kept ORDER BY 1")?, [some(&["1", "7"]), some(&["3", "8"])]);
    Ok(())
}

/// All that it may do with the table is to read and write rows.
#[tokio::test]
async fn rows_are_exchanged_by_an_account_that_owns_neither_the_table_nor_its_numbers() -> Result<()> {
    let server = tokio::task::spawn_blocking(millrace_testkit::Postgres::private).await??;
    let database = server.create_database()?;
    database.execute(
        "CREATE ROLE loader LOGIN PASSWORD 'in'; GRANT USAGE, CREATE ON SCHEMA public TO loader; \
         CREATE TABLE kept (v int, id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY); INSERT INTO kept VALUES (1), (2); \
         CREATE VIEW seen AS SELECT * FROM kept; GRANT SELECT, INSERT, UPDATE, DELETE ON kept TO loader",
    )?;
    let world = World::start().await?;
    let url = format!("postgres://loader:in@127.0.0.1:{}/{}", server.port(), database.name());
    world.add_url("pg", "postgres", &url)?;
    let warehouse = world.connectors.warehouse(&world.context(1), "pg").await?;
    let rows = || database.query("SELECT id, v FROM seen ORDER BY id");
    // The table itself gives the numbers that did not come.
    warehouse.load(swap(&world, 1, "kept", &["v"], "7\n8\n").await?).await?;
    assert_eq!(rows()?, [some(&["3", "7"]), some(&["4", "8"])]);
    warehouse.build_and_swap(build("kept", "SELECT 9", 2)).await?;
    assert_eq!(rows()?, [some(&["5", "9"])]);
    // Those that came stay.
    warehouse.load(swap(&world, 3, "kept", &["id", "v"], "70,1\n").await?).await?;
    assert_eq!(rows()?, [some(&["70", "1"])]);
    warehouse.build_and_swap(build("kept", "SELECT 2, 80", 4)).await?;
    assert_eq!(rows()?, [some(&["80", "2"])]);
    database.execute("INSERT INTO kept VALUES (3)")?;
    assert_eq!(rows()?, [some(&["6", "3"]), some(&["80", "2"])]);
    Ok(())
}

fn slow_row(go_on: &Arc<Notify>) -> RowStream {
    let go_on = Arc::clone(go_on);
    let value = ValueType::Integer { bits: 64, signed: true };
    let columns = vec![SourceColumn { name: "id".to_owned(), type_name: value.to_string(), value }];
    let batch = |ids: std::ops::Range<u64>| {
        let mut batch = RowBatch::new(1);
        ids.for_each(|id| batch.push(Some(id.to_string().as_bytes())));
        Ok(batch)
    };
    let last = stream::once(async move {
        go_on.notified().await;
        batch(30_000..30_001)
    });
    RowStream { columns, batches: stream::iter([batch(0..30_000)]).chain(last).boxed() }
}

#[tokio::test]
async fn readers_do_not_queue_behind_a_swap_that_waits_for_a_slow_load() -> Result<()> {
    for (ddl, method) in [
        ("CREATE TABLE slow (id bigint)", LoadMethod::Swap),
        ("CREATE TABLE slow (id bigint); CREATE VIEW seen AS SELECT * FROM slow", LoadMethod::Swap),
        ("CREATE TABLE slow (id bigint)", LoadMethod::Replace),
    ] {
        let (database, world, subject) = postgres::start(&format!("CREATE SCHEMA analytics; {ddl}")).await?;
        database.execute("INSERT INTO slow VALUES (-1)")?;
        let context = world.context(1);
        let other = world.connectors.warehouse(&context, "pg").await?;
        let go_on = Arc::new(Notify::new());
        let target = TableName { schema: None, name: "slow".to_owned() };
        let rows = LoadRows::direct(slow_row(&go_on));
        let append = LoadRequest {
            columns: Some(vec!["id".to_owned()]),
            ..LoadRequest::new(target, LoadMethod::Append, rows, work(1))
        };
        let mut exchange = swap(&world, 2, "slow", &["id"], "7\n").await?;
        exchange.method = method.clone();
        let exchanging = async {
            wait_until("the rows are being copied", PATIENCE, async || {
                let sql = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'COPY \"slow\"%' \
                           AND state = 'active' AND wait_event = 'ClientRead'";
                database.query(sql).is_ok_and(|rows| !rows.is_empty())
            })
            .await?;
            let reading = async {
                let waiting = "SELECT pid FROM pg_locks WHERE relation = 'slow'::regclass AND NOT granted";
                let mut seen = Vec::new();
                // It asks, gives up, and asks again, by another transaction each time.
                for _ in 0..3 {
                    wait_until("the lock is asked for", PATIENCE, async || {
                        database.query(waiting).is_ok_and(|rows| !rows.is_empty())
                    })
                    .await?;
                    // Waits for as long as one attempt does, not for the load.
                    seen.push(database.query("SELECT count(*) FROM slow")?);
                    wait_until("the lock is given up", PATIENCE, async || {
                        database.query(waiting).is_ok_and(|rows| rows.is_empty())
                    })
                    .await?;
                }
                go_on.notify_one();
                anyhow::Ok(seen)
            };
            let (exchanged, read) = tokio::join!(subject.warehouse.load(exchange), reading);
            exchanged?;
            anyhow::Ok(read?)
        };
        let (appended, read) = tokio::join!(other.load(append), exchanging);
        assert_eq!(appended?.rows_inserted, Some(30_001));
        assert!(read?.iter().all(|rows| rows == &[some(&["1"])]), "{method:?}");
        assert_eq!(database.query("SELECT id FROM slow")?, [some(&["7"])], "{method:?}");
    }
    Ok(())
}

#[tokio::test]
async fn loads_do_not_run_serializable_by_the_databases_default() -> Result<()> {
    let (database, world, subject) = postgres::start(
        "CREATE SCHEMA analytics; CREATE TABLE slow (id bigint); CREATE TABLE other (id bigint); CREATE TABLE kept (id bigint); \
         DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET default_transaction_isolation TO serializable', current_database()); END $$; \
         CREATE TABLE levels (level text); CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN INSERT INTO public.levels VALUES (current_setting($$transaction_isolation$$)); RETURN NULL; END'",
    )
    .await?;
    // The marker is written in the transaction of the rows, whatever way they take.
    let load = swap(&world, 1, "other", &["id"], "7\n").await?;
    subject.warehouse.load(load).await?;
    database
        .execute("CREATE TRIGGER note AFTER INSERT ON millrace_load_marker FOR EACH ROW EXECUTE FUNCTION note()")?;
    for (generation, method) in
        (2..).zip([LoadMethod::Append, LoadMethod::Replace, LoadMethod::Swap, crate::world::upsert(&["id"], None)])
    {
        let mut load = swap(&world, generation, "kept", &["id"], "7\n").await?;
        load.method = method;
        subject.warehouse.load(load).await?;
    }
    let levels = database.query("SELECT level, count(*) FROM levels GROUP BY level")?;
    assert_eq!(levels, [some(&["read committed", "4"])]);
    Ok(())
}

#[tokio::test]
async fn the_first_builds_of_a_table_take_turns_too_and_leave_nothing_beside_it() -> Result<()> {
    let world = World::start().await?;
    for (number, kind) in (1_u32..).zip([Kind::Postgres, Kind::Redshift]) {
        let target = Database::start(&world, kind, "target").await?;
        let build = |task: u32| {
            let summary = serde_json::json!({
                "warehouse_conn_id": target.conn_id, "schema": "dw", "table": "daily", "columns": "(id int, made_by int)",
                "select": format!("SELECT 1, {task}"),
            });
            operate(&world, number * 100 + task, "summary_table", summary)
        };
        let built = futures::future::join_all((1..=4).map(build)).await;
        for outcome in built {
            outcome?;
        }
        assert_eq!(target.rows("SELECT id FROM dw.daily").await?, [some(&["1"])], "{kind:?}");
        let left = "SELECT relname FROM pg_class WHERE relname LIKE '%build%' OR relname LIKE '%\\_old%'";
        assert!(target.rows(left).await?.is_empty(), "{kind:?}");

        // What can't be put in place goes.
        let broken = serde_json::json!({
            "warehouse_conn_id": target.conn_id, "schema": "dw", "table": "broken", "columns": "(id int)",
            "select": "SELECT CAST('x' AS int)",
        });
        let error = operate(&world, number * 100 + 50, "summary_table", broken).await;
        assert!(error.is_err(), "{kind:?}");
        assert!(target.rows(left).await?.is_empty(), "{kind:?}");

        let warehouse = world.connectors.warehouse(&world.context(1), &target.conn_id).await?;
        let name = TableName { schema: Some("dw".to_owned()), name: "fresh".to_owned() };
        let columns = [NewColumn { name: "id".to_owned(), type_name: "integer".to_owned(), is_nullable: true }];
        let made = futures::future::join_all((0..6).map(|_| warehouse.create_table(&name, &columns, &[], true))).await;
        for outcome in made {
            outcome?;
        }
    }
    Ok(())
}
