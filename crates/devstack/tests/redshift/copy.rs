//! COPY and UNLOAD through both stand-ins.

use std::io::Write as _;

use aws_sdk_redshiftdata::types::{StatementStatusString, StatusString};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::stand::{ROLE, Result, Stand, contains};

const TABLE: &str = "CREATE TABLE t (id INT NOT NULL, name VARCHAR(10), amount DECIMAL(8,2), at TIMESTAMP)";

fn gzip(text: &str) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?)
}

#[tokio::test]
async fn a_manifest_loads_exactly_its_files() -> Result {
    let stand = Stand::start().await?;
    stand.run(TABLE).await?;
    stand.put("in/1.csv.gz", gzip("id,name,amount,at\n1,\"a \"\"x\"\", b\",1.50,2026-01-02 03:04:05\n")?).await?;
    stand.put("in/2.csv.gz", gzip("id,name,amount,at\n2,,,\n3,\\N,\\N,\\N\n")?).await?;
    stand.put("in/3.csv.gz", "never read").await?;
    let entry = |key: &str| serde_json::json!({"url": format!("s3://lake/{key}"), "mandatory": true});
    let manifest = serde_json::json!({"entries": [entry("in/1.csv.gz"), entry("in/2.csv.gz")]});
    stand.put("manifest", manifest.to_string()).await?;
    let done = stand
        .batch_runs(&[
            &format!(
                "COPY t FROM 's3://lake/manifest' {ROLE} FORMAT AS CSV GZIP MANIFEST IGNOREHEADER 1 STATUPDATE ON"
            ),
            "SELECT pg_last_copy_count()",
        ])
        .await?;
    assert_eq!(done.sub_statements()[0].result_rows(), 3);
    assert_eq!(stand.result(done.sub_statements()[1].id()).await?, ["3"]);
    let rows = stand.rows("SELECT * FROM t ORDER BY id").await?;
    assert_eq!(rows, ["1|a \"x\", b|1.50|2026-01-02 03:04:05", "2||∅|∅", "3|∅|∅|∅"]);
    assert_eq!(
        stand.rows("SELECT status, loaded_rows, source_file_count FROM sys_load_history").await?,
        ["completed|3|2"]
    );

    let missing = serde_json::json!({"entries": [entry("in/1.csv.gz"), entry("in/9.csv.gz")]});
    stand.put("manifest", missing.to_string()).await?;
    let copy = format!("COPY t FROM 's3://lake/manifest' {ROLE} CSV GZIP MANIFEST IGNOREHEADER 1");
    contains(&stand.fails(&copy).await?, "the mandatory file s3://lake/in/9.csv.gz does not exist");
    // The dangerous default: what is not mandatory is left out in silence.
    stand.put("manifest", missing.to_string().replace("true", "false")).await?;
    assert_eq!(stand.run(&copy).await?, 1);
    Ok(())
}

#[tokio::test]
async fn a_plain_key_is_a_prefix() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT)").await?;
    stand.put("nps", "1\n").await?;
    stand.put("nps_old.csv", "2\n").await?;
    assert_eq!(stand.run(&format!("COPY t FROM 's3://lake/nps' {ROLE} CSV")).await?, 2);
    contains(
        &stand.fails(&format!("COPY t FROM 's3://lake/nothing' {ROLE} CSV")).await?,
        "The specified S3 prefix 'nothing' does not exist",
    );
    contains(&stand.fails("COPY t FROM 's3://lake/nps' CSV").await?, "CREDENTIALS argument is required");
    Ok(())
}

#[tokio::test]
async fn a_bad_row_fails_the_copy_and_is_told_exactly() -> Result {
    let stand = Stand::start().await?;
    stand.run(TABLE).await?;
    stand.run("INSERT INTO t (id) VALUES (99)").await?;
    stand.put("bad.csv", "1,a,1,\n2,\"two\nlines\",1,\n3,c,1x,\n4,d,1,\n").await?;
    let copy = format!("COPY t FROM 's3://lake/bad.csv' {ROLE} CSV");
    let failed = stand.execute(&copy).await?;
    assert_eq!(failed.status(), Some(&StatusString::Failed));
    let error = failed.error().unwrap_or_default();
    contains(error, "ERROR: Load into table 't' failed.");
    contains(error, "sys_load_error_detail");
    let detail = stand
        .rows(&format!(
            "SELECT TRIM(file_name), line_number, TRIM(column_name), TRIM(column_type), TRIM(column_length), position, error_code, TRIM(error_message) \
             FROM sys_load_error_detail WHERE query_id = {}",
            failed.redshift_query_id()
        ))
        .await?;
    assert_eq!(
        detail,
        ["s3://lake/bad.csv|4|amount|numeric|8, 2|1|1207|Invalid digit, Value 'x', Pos 1, Type: Decimal"]
    );
    assert_eq!(stand.rows("SELECT raw_line, raw_field_value FROM stl_load_errors").await?, ["3,c,1x,|1x"]);
    assert_eq!(stand.rows("SELECT id FROM t").await?, ["99"], "a COPY loads everything or nothing");

    let serverless = stand.client.execute_statement().workgroup_name("w").database("dev").wait_time_seconds(30);
    let serverless = serverless.sql("SELECT * FROM stl_load_errors").send().await?;
    assert_eq!(serverless.status(), Some(&StatementStatusString::Failed), "a workgroup has no STL tables");

    assert_eq!(stand.run(&format!("{copy} MAXERROR 1")).await?, 3);
    assert_eq!(stand.rows("SELECT COUNT(*) FROM stl_load_errors").await?, ["2"]);
    Ok(())
}

#[tokio::test]
async fn rows_are_checked_as_redshift_checks_them() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT NOT NULL, name VARCHAR(4), ok BOOL, day DATE)").await?;
    for (row, code) in [
        ("1,über,,", 1204),
        (",a,,", 1213),
        ("1,a,maybe,", 1210),
        ("1,a,,2026-02-30", 1205),
        ("1,a,,,", 1202),
        ("1,a", 1214),
        ("1,a\"b,,", 1216),
        ("2147483648,a,,", 1207),
    ] {
        stand.put("row.csv", format!("{row}\n")).await?;
        let failed = stand.execute(&format!("COPY t FROM 's3://lake/row.csv' {ROLE} CSV")).await?;
        let query = failed.redshift_query_id();
        let codes =
            stand.rows(&format!("SELECT error_code FROM sys_load_error_detail WHERE query_id = {query}")).await?;
        assert_eq!(codes, [code.to_string()], "{row}");
    }
    stand.put("row.csv", "1,über,yes\n").await?;
    stand.run(&format!("COPY t FROM 's3://lake/row.csv' {ROLE} CSV TRUNCATECOLUMNS FILLRECORD")).await?;
    stand.put("row.txt", "2|b\\c|0|2026-01-01\n\n").await?;
    stand.run(&format!("COPY t FROM 's3://lake/row.txt' {ROLE} IGNOREBLANKLINES")).await?;
    stand.put("row.csv", "c,3\n").await?;
    stand.run(&format!("COPY t (name, id) FROM 's3://lake/row.csv' {ROLE} CSV")).await?;
    let rows = stand.rows("SELECT * FROM t ORDER BY id").await?;
    assert_eq!(rows, ["1|übe|true|∅", "2|b\\c|false|2026-01-01", "3|c|∅|∅"]);
    Ok(())
}

#[tokio::test]
async fn identity_columns_are_made_by_the_table() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id BIGINT IDENTITY(10, 5), name VARCHAR(5))").await?;
    stand.put("a.csv", "a\nb\n").await?;
    stand.run(&format!("COPY t FROM 's3://lake/a.csv' {ROLE} CSV")).await?;
    stand.put("b.csv", "1,c\n").await?;
    contains(&stand.fails(&format!("COPY t (id, name) FROM 's3://lake/b.csv' {ROLE} CSV")).await?, "identity column");
    stand.run(&format!("COPY t FROM 's3://lake/b.csv' {ROLE} CSV EXPLICIT_IDS")).await?;
    assert_eq!(stand.rows("SELECT * FROM t ORDER BY id").await?, ["1|c", "10|a", "15|b"]);
    Ok(())
}

#[tokio::test]
async fn a_large_file_streams_and_a_failing_batch_takes_it_back() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT, name VARCHAR(40))").await?;
    let lines: String = (0..50_000).fold(String::new(), |mut all, number| {
        all.push_str(&format!("{number},name of number {number}\n"));
        all
    });
    stand.put("big.csv.gz", gzip(&lines)?).await?;
    let copy = format!("COPY t FROM 's3://lake/big.csv.gz' {ROLE} CSV GZIP");
    let failed = stand.batch(&["DELETE FROM t", &copy, "SELECT nothing"]).await?;
    assert_eq!(failed.status(), Some(&StatusString::Failed));
    assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, ["0"]);
    assert_eq!(stand.run(&copy).await?, 50_000);
    assert_eq!(stand.rows("SELECT COUNT(*), MAX(id) FROM t").await?, ["50000|49999"]);
    stand.put("broken.csv.gz", "not gzip").await?;
    contains(
        &stand.fails(&format!("COPY t FROM 's3://lake/broken.csv.gz' {ROLE} CSV GZIP")).await?,
        "Invalid GZIP file",
    );
    Ok(())
}

#[tokio::test]
async fn unload_writes_what_copy_reads() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT, name VARCHAR(40))").await?;
    stand.run("INSERT INTO t VALUES (1, 'a, \"b\"'), (2, NULL)").await?;
    let unload = format!(
        "UNLOAD ('SELECT id, name FROM t WHERE name IS NULL OR name <> ''x'' ORDER BY id') TO 's3://lake/out/part-' {ROLE} CSV HEADER PARALLEL OFF NULL AS '\\N'"
    );
    assert_eq!(stand.run(&unload).await?, 2);
    assert_eq!(stand.get("out/part-000").await?, b"id,name\n1,\"a, \"\"b\"\"\"\n2,\\N\n");
    contains(&stand.fails(&unload).await?, "unload destination on S3 is not empty");
    stand.run(&format!("{unload} ALLOWOVERWRITE MANIFEST GZIP")).await?;
    stand.run("CREATE TABLE u (LIKE t)").await?;
    stand.run(&format!("COPY u FROM 's3://lake/out/part-manifest' {ROLE} CSV IGNOREHEADER 1 GZIP MANIFEST")).await?;
    assert_eq!(stand.rows("SELECT * FROM u ORDER BY id").await?, ["1|a, \"b\"", "2|∅"]);
    Ok(())
}
