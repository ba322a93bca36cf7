//! The table that says which loads were committed: quick however old it is, and never larger than what may be asked.

use anyhow::Result;
use futures::future::try_join_all;
use millrace_operator_api::ports::{LoadMethod, LoadRequest, Ports};

use crate::copies::databases::{Database, Kind};
use crate::world::{World, build, some, work};

async fn load(world: &World, target: &Database, table: &str, generation: u32) -> Result<bool> {
    let key = format!("{table}-{generation}.csv");
    let request = world.request(&target.place(table), LoadMethod::Append, &[(&key, "1\n")]).await?;
    let context = world.context(1);
    let warehouse = world.connectors.warehouse(&context, &target.conn_id).await?;
    let report = warehouse.load(LoadRequest { work: work(generation), ..request }).await?;
    Ok(report.was_loaded_before)
}

fn days_ago(kind: Kind, days: u32) -> String {
    match kind {
        Kind::Lite => format!("strftime('%Y-%m-%d %H:%M:%f', 'now', '-{days} days')"),
        Kind::Postgres => format!("timezone('UTC', now()) - INTERVAL '{days} days'"),
        _ => format!("GETDATE() - INTERVAL '{days} days'"),
    }
}

#[tokio::test]
async fn markers_of_long_ago_go_and_those_that_may_be_asked_for_stay() -> Result<()> {
    let world = World::start().await?;
    for kind in [Kind::Postgres, Kind::Lite, Kind::Redshift, Kind::Wire] {
        let target = Database::start(&world, kind, "target").await?;
        target.run(&format!("CREATE TABLE {} (id bigint)", target.place("t"))).await?;
        assert!(!load(&world, &target, "t", 1).await?);
        let markers = target.place("millrace_load_marker");
        for (name, days) in [("old", 98), ("less", 91), ("young", 89)] {
            target
                .run(&format!(
                    "INSERT INTO {markers} (marker, loaded_at, rows) SELECT '{name}', {}, 1",
                    days_ago(kind, days)
                ))
                .await?;
        }
        assert!(!load(&world, &target, "t", 2).await?);
        let left = format!("SELECT marker FROM {markers} WHERE marker IN ('old', 'less', 'young')");
        assert_eq!(target.rows(&left).await?, [some(&["young"])], "{kind:?}");
        let all = target.rows(&format!("SELECT COUNT(*) FROM {markers}")).await?;
        assert_eq!(all, [some(&["3"])], "{kind:?}");
        for generation in [1, 2] {
            assert!(load(&world, &target, "t", generation).await?, "{kind:?} {generation}");
        }
    }
    Ok(())
}

/// As an earlier version made it, in a database whose transactions are serializable unless they say otherwise, by several loads
/// at a time.
#[tokio::test]
async fn a_table_of_markers_of_before_gets_its_indexes_beside_loads() -> Result<()> {
    let world = World::start().await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    let postgres = target.postgres()?;
    postgres
        .execute(&format!("ALTER DATABASE {} SET default_transaction_isolation TO serializable", postgres.name()))?;
    postgres.execute(
        "CREATE TABLE dw.millrace_load_marker (marker varchar(512) NOT NULL, loaded_at timestamp NOT NULL, rows bigint); \
         INSERT INTO dw.millrace_load_marker SELECT 'old ' || i, now() - INTERVAL '100 days', 1 FROM generate_series(1, 500) AS i",
    )?;
    let (world, target) = (&world, &target);
    for number in 1..=6 {
        target.run(&format!("CREATE TABLE dw.t{number} (id bigint)")).await?;
    }
    for round in 0..2 {
        let loads =
            (1..=6).map(|number| async move { load(world, target, &format!("t{number}"), 10 * round + number).await });
        assert!(try_join_all(loads).await?.iter().all(|was_before| !was_before));
    }
    assert!(load(world, target, "t1", 1).await?);
    let counts =
        target.rows("SELECT COUNT(*), COUNT(*) FILTER (WHERE marker LIKE 'old%') FROM dw.millrace_load_marker").await?;
    assert_eq!(counts, [some(&["12", "0"])]);
    let indexes = "SELECT string_agg(a.attname, ' ' ORDER BY a.attname) FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid \
                   AND a.attnum = i.indkey[0] WHERE i.indrelid = 'dw.millrace_load_marker'::regclass AND i.indisvalid";
    assert_eq!(target.rows(indexes).await?, [some(&["loaded_at marker"])]);
    // One that is made today has them from the first load on; a table that is built and swapped in leaves its mark there, too.
    let warehouse = world.connectors.warehouse(&world.context(1), &target.conn_id).await?;
    target.run("CREATE TABLE public.fresh (id bigint)").await?;
    warehouse.build_and_swap(build("fresh", "SELECT 1", 50)).await?;
    let fresh = indexes.replace("dw.", "public.");
    assert_eq!(target.rows(&fresh).await?, [some(&["loaded_at marker"])]);
    Ok(())
}
