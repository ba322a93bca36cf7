//! Databases whose own defaults write dates, times, bytes and numbers in other ways: values are read and loaded as if they had
//! none.

use anyhow::Result;
use millrace_operator_api::ports::Ports;
use serde_json::json;

use crate::copies::databases::{Database, Kind, run};
use crate::tasks::operate;
use crate::world::{World, cells, some, work};

const DEFAULTS: &str = "DO $$ DECLARE setting text; BEGIN FOREACH setting IN ARRAY ARRAY['DateStyle = ''SQL, DMY''', \
    'IntervalStyle = ''sql_standard''', 'bytea_output = ''escape''', 'TimeZone = ''Asia/Seoul''', 'extra_float_digits = -3', \
    'standard_conforming_strings = off', 'backslash_quote = on', 'default_transaction_isolation = ''serializable''', \
    'search_path = ''public''', 'quote_all_identifiers = on', 'array_nulls = off'] LOOP EXECUTE format('ALTER DATABASE %I SET %s', current_database(), setting); END LOOP; END $$";

const ROWS: &str = "INSERT INTO t VALUES (1, '2024-02-03', '2024-02-03 04:05:06.789', '2024-02-03 04:05:06+00', \
    interval '-1 year 2 days -03:04:05', decode('00ff5c27', 'hex'), 0.1::float8 + 0.2, 1.1::real, E'a\\\\b''c', ARRAY['a', NULL]), \
    (2, '0044-03-15 BC', 'infinity', '-infinity', interval '1 month', '', 'NaN', '-Infinity', '', NULL)";

#[tokio::test]
async fn a_databases_own_defaults_change_no_value() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    let target = Database::start(&world, Kind::Postgres, "target").await?;
    let columns = "id int PRIMARY KEY, day date, at timestamp, moment timestamptz, took interval, raw bytea, big float8, \
                   small real, text text, tags text[]";
    source.postgres()?.execute(&format!("CREATE TABLE t ({columns}); {ROWS}"))?;
    target.postgres()?.execute(&format!("CREATE TABLE dw.t ({columns})"))?;
    for database in [&source, &target] {
        database.postgres()?.execute(DEFAULTS)?;
    }
    let read = source.read(&world, "SELECT * FROM t WHERE id = 1").await?;
    let expected = some(&[
        "1",
        "2024-02-03",
        "2024-02-03 04:05:06.789",
        "2024-02-03 04:05:06+00",
        "-1 years +2 days -03:04:05",
        "00ff5c27",
        "0.30000000000000004",
        "1.1",
        "a\\b'c",
        "{a,NULL}",
    ]);
    assert_eq!(read, [expected]);
    // In a form that no setting changes.
    let exact = |table: &str| {
        format!(
            "SELECT id::text, day - date '2000-01-01', CASE WHEN isfinite(at) THEN extract(epoch FROM at)::text ELSE at::text END, \
             CASE WHEN isfinite(moment) THEN extract(epoch FROM moment)::text ELSE moment::text END, \
             encode(interval_send(took), 'hex'), encode(raw, 'hex'), encode(float8send(big), 'hex'), \
             encode(float4send(small), 'hex'), encode(convert_to(text, 'UTF8'), 'hex'), tags::text FROM {table} ORDER BY id"
        )
    };
    let wanted = source.postgres()?.query(&exact("t"))?;
    let found = || target.postgres()?.query(&exact("dw.t"));
    let copy = json!({
        "source_conn_id": source.conn_id, "target_conn_id": target.conn_id,
        "tables": {"source": "public.t", "target": "dw.t", "primary_key": "id",
                   "empty_as_null": false},
    });
    run(&world, 1, copy).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    assert_eq!(found()?, wanted, "copied");
    let extract = json!({
        "sql_conn_id": source.conn_id, "query": "SELECT * FROM t", "s3_bucket": "lake", "s3_key": "t.csv", "aws_conn_id": "s3",
    });
    operate(&world, 2, "sql_to_s3", extract).await?;
    for (number, method) in [(3, "replace"), (4, "upsert"), (5, "swap")] {
        target.postgres()?.execute("DELETE FROM dw.t")?;
        let mut load = json!({
            "warehouse_conn_id": target.conn_id, "s3_bucket": "lake", "s3_key": "t.csv", "aws_conn_id": "s3", "schema": "dw",
            "table": "t",
        });
        if method == "upsert" {
            load["upsert_keys"] = json!("id");
        }
        operate(&world, number, method, load).await?;
        assert_eq!(found()?, wanted, "{method}");
    }
    Ok(())
}

#[tokio::test]
async fn bytes_of_another_encoding_are_named_with_their_row_and_can_be_read() -> Result<()> {
    let world = World::start().await?;
    let source = Database::start(&world, Kind::Postgres, "source").await?;
    let server = source.postgres()?;
    let name = format!("{}_ascii", server.name());
    server.execute(&format!(
        "CREATE DATABASE {name} ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    ))?;
    let url = server.url().replace(&format!("/{}", server.name()), &format!("/{name}"));
    world.add_url("ascii", "postgres", &url)?;
    let warehouse = world.connectors.warehouse(&world.context(1), "ascii").await?;
    let fill = "CREATE TABLE t AS SELECT n, 'plain ' || n AS note FROM generate_series(1, 3000) n";
    let spoil = "UPDATE t SET note = E'caf\\xe9' WHERE n = 2500";
    warehouse.execute(&[fill.to_owned(), spoil.to_owned()], false, &work(1)).await?;
    let read = async |columns: &str| {
        let reader = world.connectors.source(&world.context(1), "ascii").await?;
        cells(reader.query(&format!("SELECT {columns} FROM t ORDER BY n")).await?).await
    };
    for (columns, place) in
        [("n, note", ", column note"), ("n, note, note AS other", ", one of the columns note, other")]
    {
        let error = read(columns).await.err().map(|error| error.to_string()).unwrap_or_default();
        for words in [&format!("it is row 2500{place}: "), "encoding \"UTF8\"", "SQL_ASCII", "22021"] {
            assert!(error.contains(words), "{words:?} is missing in {error}");
        }
    }
    // What the message says.
    let rows =
        read("n, convert_from(convert(convert_to(note, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'SQL_ASCII') AS note").await?;
    assert_eq!((rows.len(), &rows[2499]), (3000, &some(&["2500", "café"])));
    let rows = read("n, encode(convert_to(note, 'SQL_ASCII'), 'hex') AS note").await?;
    assert_eq!(rows[2499], some(&["2500", "636166e9"]));
    drop(warehouse);
    server.execute(&format!("DROP DATABASE {name} WITH (FORCE)"))
}
