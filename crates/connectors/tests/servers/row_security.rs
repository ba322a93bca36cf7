//! Reads and loads by a role from which policies hide rows: what needs to see all rows is refused, and changes nothing.

use anyhow::{Context, Result};
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::ports::{BuildRequest, LoadMethod, Ports, TableName};

use crate::world::{World, cells, refused, some, upsert, work};

const TABLES: &str = "CREATE ROLE loader LOGIN PASSWORD 'in'; GRANT ALL ON SCHEMA public TO loader; \
    CREATE TABLE kept (id int PRIMARY KEY, v text); INSERT INTO kept VALUES (1, 'seen'), (2, 'hidden'); \
    ALTER TABLE kept ENABLE ROW LEVEL SECURITY; CREATE POLICY not_hidden ON kept USING (v <> 'hidden') WITH CHECK (true); \
    GRANT ALL ON kept TO loader; CREATE VIEW shown AS SELECT * FROM kept; GRANT ALL ON shown TO loader; \
    CREATE TABLE parts (id int, v text) PARTITION BY LIST (id); CREATE TABLE part PARTITION OF parts DEFAULT; \
    ALTER TABLE parts ENABLE ROW LEVEL SECURITY; GRANT ALL ON parts, part TO loader; INSERT INTO parts VALUES (1, 'hidden'); \
    CREATE TABLE own (id int PRIMARY KEY, v text); ALTER TABLE own OWNER TO loader; INSERT INTO own VALUES (1, 'seen'); \
    ALTER TABLE own ENABLE ROW LEVEL SECURITY";

#[tokio::test]
async fn rows_that_policies_hide_are_neither_kept_nor_doubled_in_silence() -> Result<()> {
    let server = tokio::task::spawn_blocking(millrace_testkit::Postgres::private).await??;
    let database = server.create_database()?;
    database.execute(TABLES)?;
    let world = World::start().await?;
    let url = |role: &str| format!("postgres://{role}@127.0.0.1:{}/{}", server.port(), database.name());
    world.add_url("pg", "postgres", &url("loader:in"))?;
    let warehouse = world.connectors.warehouse(&world.context(1), "pg").await?;
    let rows = |table: &str| database.query(&format!("SELECT id, v FROM {table} ORDER BY 1"));
    let load = async |generation: u32, table: &str, method: LoadMethod, text: &str| {
        let mut request = world.request(table, method, &[("r.csv", text)]).await?;
        request.work = work(generation);
        anyhow::Ok(warehouse.load(request).await)
    };
    let ways = [LoadMethod::Replace, LoadMethod::Swap, upsert(&["id"], None)];
    let mut generation = 0;
    for (table, hidden) in [("kept", "kept"), ("parts", "parts"), ("shown", "kept")] {
        let before = rows(table)?;
        for method in &ways {
            if table == "shown" && *method != LoadMethod::Replace {
                continue;
            }
            generation += 1;
            let error = refused(load(generation, table, method.clone(), "2,new\n").await?)?;
            assert_eq!(error.kind, PortErrorKind::Invalid, "{table} {method:?}: {}", error.message);
            for part in
                [&format!("the policies of {hidden} may hide"), "ALTER ROLE loader BYPASSRLS", "nothing was changed"]
            {
                assert!(error.message.contains(part), "{table} {method:?}: {part} in {}", error.message);
            }
            assert_eq!(rows(table)?, before, "{table} {method:?}");
        }
    }
    let build = BuildRequest {
        target: TableName { schema: None, name: "kept".to_owned() },
        select: "SELECT 9, 'built'".to_owned(),
        columns_ddl: None,
        checks: Vec::new(),
        keep_failed: false,
        also: Vec::new(),
        work: work(80),
    };
    assert!(refused(warehouse.build_and_swap(build).await)?.message.contains("the policies of kept may hide"));
    assert_eq!(rows("kept")?.len(), 2);

    // What adds rows only needs to see none.
    load(90, "kept", LoadMethod::Append, "3,hidden\n").await?.context("an append")?;
    assert_eq!(rows("kept")?.len(), 3);
    // The owner sees all rows, unless the table says that he does not either.
    load(91, "own", LoadMethod::Replace, "5,new\n").await?.context("of the owner")?;
    assert_eq!(rows("own")?, [some(&["5", "new"])]);
    database.execute("ALTER TABLE own FORCE ROW LEVEL SECURITY")?;
    assert!(refused(load(92, "own", upsert(&["id"], None), "5,twice\n").await?)?.message.contains("policies of own"));
    // Policies that hide nothing from this role, as long as no other one does.
    let rights = "CREATE ROLE loaders; GRANT loaders TO loader; CREATE POLICY reads ON kept FOR SELECT USING (true); \
                  CREATE POLICY updates ON kept FOR UPDATE TO loaders USING (true)";
    database.execute(rights)?;
    let error = refused(load(93, "kept", LoadMethod::Replace, "2,new\n").await?)?;
    assert!(error.message.contains("the policies of kept"), "rows may be hidden from a DELETE: {}", error.message);
    database.execute("CREATE POLICY deletes ON kept FOR DELETE TO loaders USING (true)")?;
    for (number, method) in (94..).zip(&ways) {
        load(number, "kept", method.clone(), "2,new\n").await?.with_context(|| format!("{method:?}"))?;
        assert_eq!(rows("kept")?, [some(&["2", "new"])], "{method:?}");
    }
    database.execute("CREATE POLICY night ON kept AS RESTRICTIVE FOR SELECT TO loaders USING (id < 7)")?;
    assert!(refused(load(98, "kept", LoadMethod::Replace, "2,new\n").await?)?.message.contains("policies of kept"));
    // The way out.
    database.execute("ALTER ROLE loader BYPASSRLS; INSERT INTO kept VALUES (9, 'hidden')")?;
    for (number, method) in (100..).zip(ways) {
        load(number, "kept", method.clone(), "2,new\n").await?.with_context(|| format!("{method:?}"))?;
        assert_eq!(rows("kept")?, [some(&["2", "new"])], "{method:?}");
    }
    Ok(())
}

#[tokio::test]
async fn rows_that_policies_hide_are_not_left_out_of_a_read_in_silence() -> Result<()> {
    let server = tokio::task::spawn_blocking(millrace_testkit::Postgres::private).await??;
    let database = server.create_database()?;
    database.execute(TABLES)?;
    let world = World::start().await?;
    world.add_url(
        "pg",
        "postgres",
        &format!("postgres://loader:in@127.0.0.1:{}/{}", server.port(), database.name()),
    )?;
    let read = async |sql: &str| {
        let source = world.connectors.source(&world.context(1), "pg").await?;
        cells(source.query(sql).await?).await
    };
    for sql in ["SELECT id FROM kept", "SELECT COUNT(*) FROM (SELECT * FROM kept) AS q"] {
        let error = format!("{:#}", read(sql).await.err().context(sql)?);
        for part in ["row-level security policy for table \"kept\"", "row_security: true", "BYPASSRLS"] {
            assert!(error.contains(part), "{sql}: {part} in {error}");
        }
    }
    assert_eq!(read("SELECT v FROM own").await?, [some(&["seen"])], "its owner's");
    // Whoever wants the role's part says so.
    world.change("pg", |connection| connection.extra = crate::world::extra(serde_json::json!({"row_security": true})));
    assert_eq!(read("SELECT v FROM kept").await?, [some(&["seen"])]);
    world.change("pg", |connection| connection.extra = crate::world::extra(serde_json::json!({})));
    database.execute("ALTER ROLE loader BYPASSRLS")?;
    assert_eq!(read("SELECT v FROM kept").await?.len(), 2);
    Ok(())
}
