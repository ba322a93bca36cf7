//! Floats in the proof of rows: PostgreSQL's SQL hashes the bytes that the stream of rows has.

use anyhow::Result;
use millrace_operator_api::ports::TableName;
use millrace_operators::parts::proof::comparing::{Comparison, Side};

use crate::copies::databases::{Database, Kind};
use crate::world::World;

async fn side(world: &World, database: &Database, name: &str, is_streamed: bool) -> Result<Side> {
    let source = world.connectors.reader(&database.conn_id).await?;
    let table = TableName { schema: Some("public".to_owned()), name: name.to_owned() };
    Ok(Side {
        label: name.to_owned(),
        relation: source.table_sql(&table),
        columns: source.table_columns(&table).await?,
        source,
        filter: None,
        is_streamed,
        repeated: None,
    })
}

#[tokio::test]
async fn floats_are_hashed_in_sql_to_their_last_bit() -> Result<()> {
    let world = World::start().await?;
    let database = Database::start(&world, Kind::Postgres, "source").await?;
    let doubles = "'0', '-0', '0.1', '-1.5', '1e300', '5e-324', '2.2250738585072014e-308', '1.7976931348623157e308', 'NaN', \
         'Infinity', '-Infinity', '9007199254740993', '0.30000000000000004', NULL";
    let singles = "'0', '-0', '0.1', '-1.5', '1e30', '1e-45', '1.17549435e-38', '3.4028235e38', 'NaN', 'Infinity', '-Infinity', \
         '16777217', '0.3', NULL";
    for name in ["here", "there"] {
        database
            .run(&format!(
                "CREATE TABLE {name} AS SELECT n AS id, 'row ' || n AS note, \
                 (ARRAY[{doubles}]::float8[])[n % 14 + 1] AS d, (ARRAY[{singles}]::float4[])[(n / 14) % 14 + 1] AS s, \
                 CASE WHEN n % 3 > 0 THEN '주문' END AS after FROM generate_series(0, 195) AS n"
            ))
            .await?;
    }
    let verdict = async |streams: (bool, bool)| -> Result<_> {
        let comparison = Comparison {
            source: side(&world, &database, "here", streams.0).await?,
            target: side(&world, &database, "there", streams.1).await?,
            keys: vec![0],
            most: 3,
        };
        Ok(comparison.run(&|_, _| {}).await?)
    };
    for streams in [(false, false), (true, false), (true, true)] {
        let verdict = verdict(streams).await?;
        assert_eq!(verdict.in_sql, (!streams.0, !streams.1));
        assert_eq!((verdict.source, verdict.source.rows), (verdict.target, 196), "{streams:?}");
    }
    // 0.30000000000000004 and the double before it, -0 and 0, the single 0.1 and the one after it.
    for (set, of) in [("d = 0.3", 12), ("d = 0", 1), ("s = 0.100000009", 28)] {
        database.run(&format!("UPDATE there SET {set} WHERE id = {of}")).await?;
        for streams in [(false, false), (true, false)] {
            let verdict = verdict(streams).await?;
            let named: Vec<_> = verdict.differences.iter().map(|difference| difference.key.clone()).collect();
            assert_eq!(
                (verdict.rows_different, named),
                (1, vec![vec![("id".to_owned(), Some(of.to_string()))]]),
                "{set} {streams:?}"
            );
        }
        database
            .run(&format!("UPDATE there t SET d = h.d, s = h.s FROM here h WHERE h.id = t.id AND t.id = {of}"))
            .await?;
    }
    // As a key too.
    let by_float = Comparison {
        source: side(&world, &database, "here", false).await?,
        target: side(&world, &database, "there", true).await?,
        keys: vec![2, 3, 0],
        most: 3,
    };
    assert!(by_float.run(&|_, _| {}).await?.is_equal());
    Ok(())
}
