//! MariaDB as a source.

use std::time::Duration;

use anyhow::Result;
use futures::TryStreamExt;
use millrace_operator_api::ports::{Ports, RowStream};
use millrace_operator_api::{PortError, PortErrorKind};
use millrace_testkit::{MariaDatabase, MariaDb, wait_until};

use crate::world::{World, cells, refused, some};

async fn start() -> Result<(MariaDatabase, World)> {
    let database = tokio::task::spawn_blocking(|| MariaDb::shared()?.create_database()).await??;
    let world = World::start().await?;
    world.add_url("maria", "mysql", &database.url())?;
    Ok((database, world))
}

#[tokio::test]
async fn values_come_out_exactly() -> Result<()> {
    let (database, world) = start().await?;
    database.execute(
        "CREATE TABLE v (a bigint unsigned, b decimal(38,10), c double, d float, e tinyint(1), f bit(1), g bit(64), h datetime(6), \
         i timestamp NULL, j date, k time, l year, m varbinary(8), n blob, o varchar(20) COLLATE utf8mb4_bin, p json, q enum('a','b'), \
         r set('x','y'), s text, t char(3)) CHARACTER SET utf8mb4; \
         SET time_zone = '+09:00'; \
         INSERT INTO v VALUES (18446744073709551615, 1234567890123456789012345678.0123456789, 0.1, 1.5, 1, b'1', b'1111111111111111111111111111111111111111111111111111111111111111', \
         '2024-01-01 00:00:00.123456', '2024-01-01 09:00:00', '2024-02-29', '-838:59:59', 2024, x'00ff', x'ab', '주문', '{\"a\": 1}', 'b', 'x,y', 'a\\tb\\nc\\\\N', 'z'); \
         SET sql_mode = ''; \
         INSERT INTO v (h, j, s, e) VALUES ('0000-00-00', '0000-00-00', '', 2)",
    )?;
    let source = world.connectors.source(&world.context(1), "maria").await?;
    let stream = source.query("SELECT * FROM v ORDER BY a DESC;").await?;
    let types: Vec<&str> = stream.columns.iter().map(|column| column.type_name.as_str()).collect();
    assert_eq!(types[0], "bigint unsigned");
    assert_eq!(types[4], "tinyint(1)");
    assert_eq!((types[12], types[13], types[14]), ("varbinary", "blob", "varchar"));
    let rows = cells(stream).await?;
    assert_eq!(
        rows[0],
        some(&[
            "18446744073709551615",
            "1234567890123456789012345678.0123456789",
            "0.1",
            "1.5",
            "1",
            "1",
            "18446744073709551615",
            "2024-01-01 00:00:00.123456",
            "2024-01-01 00:00:00",
            "2024-02-29",
            "-838:59:59",
            "2024",
            "00ff",
            "ab",
            "주문",
            "{\"a\": 1}",
            "b",
            "x,y",
            "a\tb\nc\\N",
            "z"
        ])
    );
    assert_eq!(rows[1][7].as_deref(), Some("0000-00-00 00:00:00"));
    assert_eq!(rows[1][9].as_deref(), Some("0000-00-00"));
    assert_eq!((rows[1][18].as_deref(), rows[1][0].as_deref()), (Some(""), None), "'' and NULL stay apart");
    assert_eq!(rows[1][4].as_deref(), Some("2"));
    let empty = source.query("SELECT a, s FROM v WHERE 1 = 0").await?;
    assert_eq!(empty.columns.len(), 2, "an empty answer has columns too");
    assert!(cells(empty).await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn mistakes_are_named_and_nothing_can_be_written() -> Result<()> {
    let (database, world) = start().await?;
    database.execute("CREATE TABLE v (a int)")?;
    let source = world.connectors.source(&world.context(1), "maria").await?;
    let error = refused(source.query("SELECT * FROM nothing_here").await.map(|_| ()))?;
    assert_eq!((error.kind, error.code.as_deref()), (PortErrorKind::NotFound, Some("1146")), "{}", error.message);
    let error = refused(source.query("SELEC 1").await.map(|_| ()))?;
    assert_eq!(error.kind, PortErrorKind::Invalid, "{}", error.message);
    // When it is sent, or when its rows are asked for.
    let written = match source.query("INSERT INTO v VALUES (1) RETURNING a").await {
        Ok(stream) => cells(stream).await.map(|_| ()).map_err(|error| error.downcast::<PortError>().unwrap()),
        Err(error) => Err(error),
    };
    assert_eq!(written.unwrap_err().code.as_deref(), Some("1792"), "a transaction that only reads");
    assert_eq!(database.query("SELECT COUNT(*) FROM v")?, [["0"]]);
    Ok(())
}

#[tokio::test]
async fn a_dropped_stream_ends_the_query_on_the_server() -> Result<()> {
    let (database, world) = start().await?;
    let running = || -> Result<usize> {
        Ok(database
            .query(&format!("SELECT 1 FROM information_schema.processlist WHERE db = '{}' AND info LIKE '%endless%' AND id <> CONNECTION_ID()", database.name()))?
            .len())
    };
    let source = world.connectors.source(&world.context(1), "maria").await?;
    let mut stream = source.query("SELECT REPEAT('x', 1000) AS endless FROM seq_1_to_1000000000").await?;
    assert!(stream.batches.try_next().await?.is_some());
    assert_eq!(running()?, 1);
    drop(stream);
    wait_until("the dropped query has ended", Duration::from_secs(20), async || {
        running().is_ok_and(|count| count == 0)
    })
    .await?;

    let mut stream = source.query("SELECT SLEEP(600) AS endless").await?;
    wait_until("the query runs", Duration::from_secs(20), async || running().is_ok_and(|count| count == 1)).await?;
    world.cancel.cancel();
    assert_eq!(refused(stream.batches.try_next().await)?.kind, PortErrorKind::Cancelled);
    wait_until("the cancelled query has ended", Duration::from_secs(20), async || {
        running().is_ok_and(|count| count == 0)
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn many_rows_come_in_small_batches_and_from_one_snapshot() -> Result<()> {
    let (database, world) = start().await?;
    database.execute("CREATE TABLE v (a int PRIMARY KEY, b varchar(100)); INSERT INTO v SELECT seq, REPEAT('b', 90) FROM seq_1_to_50000")?;
    let source = world.connectors.source(&world.context(1), "maria").await?;
    let mut stream = source.query("SELECT a, b FROM v ORDER BY a").await?;
    let (mut rows, mut last) = (0, 0);
    let mut is_changed = false;
    while let Some(batch) = stream.batches.try_next().await? {
        assert!(batch.byte_len() < 300 * 1024, "{} bytes", batch.byte_len());
        if !is_changed {
            is_changed = true;
            database.execute("DELETE FROM v WHERE a > 40000; INSERT INTO v VALUES (0, 'late')")?;
        }
        for row in batch.rows() {
            let a: i32 = row
                .into_iter()
                .next()
                .flatten()
                .map(|cell| String::from_utf8_lossy(cell).into_owned())
                .unwrap_or_default()
                .parse()?;
            assert_eq!(a, last + 1);
            last = a;
            rows += 1;
        }
    }
    assert_eq!(rows, 50_000);
    Ok(())
}

#[tokio::test]
async fn what_a_server_sets_for_every_session_does_not_reach_a_reader() -> Result<()> {
    let server = tokio::task::spawn_blocking(MariaDb::private).await??;
    let database = server.create_database()?;
    let world = World::start().await?;
    world.add_url("maria", "mysql", &database.url())?;
    database.execute(
        "SET GLOBAL sql_select_limit = 7, GLOBAL net_write_timeout = 1, GLOBAL time_zone = '+09:00', \
         GLOBAL sql_mode = 'PAD_CHAR_TO_FULL_LENGTH,ANSI_QUOTES'; \
         CREATE TABLE t (id int, c char(5), at timestamp NULL); INSERT INTO t SELECT seq, 'z', \
         CONVERT_TZ('2024-01-01 00:00:00', '+00:00', @@SESSION.time_zone) FROM seq_1_to_50",
    )?;
    let source = world.connectors.source(&world.context(1), "maria").await?;
    let rows = cells(source.query("SELECT \"c\", at FROM t").await?).await?;
    assert_eq!(rows, vec![some(&["z", "2024-01-01 00:00:00"]); 50], "the server's own modes are the query's");
    // More than the buffers on the way hold, so that the server waits for the reader.
    let mut long = source.query("SELECT REPEAT('x', 10000) FROM seq_1_to_5000").await?;
    let mut count = some_of(&mut long).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    while let Some(batch) = long.batches.try_next().await? {
        count += batch.len();
    }
    assert_eq!(count, 5_000);
    Ok(())
}

async fn some_of(rows: &mut RowStream) -> Result<usize> {
    Ok(rows.batches.try_next().await?.map_or(0, |batch| batch.len()))
}
