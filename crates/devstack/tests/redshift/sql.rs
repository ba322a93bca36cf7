//! What Redshift's SQL does here, and what is refused.

use crate::stand::{Result, Stand, contains};

#[tokio::test]
async fn keys_are_declared_and_not_enforced() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE SCHEMA s").await?;
    stand
        .run(
            "CREATE TABLE s.orders (
                id BIGINT IDENTITY(1,1) ENCODE az64,
                code VARCHAR(5) NOT NULL ENCODE lzo DISTKEY,
                note TEXT DEFAULT 'it''s \\\\ new',
                at TIMESTAMP DEFAULT GETDATE(),
                PRIMARY KEY (code),
                UNIQUE (note)
            ) DISTSTYLE KEY COMPOUND SORTKEY (at, code)",
        )
        .await?;
    stand.run("INSERT INTO s.orders (code) VALUES ('a'), ('a')").await?;
    assert_eq!(
        stand.rows("SELECT id, code, note FROM s.orders ORDER BY id").await?,
        ["1|a|it's \\ new", "2|a|it's \\ new"]
    );
    contains(&stand.fails("INSERT INTO s.orders (code) VALUES (NULL)").await?, "null value in column \"code\"");
    contains(
        &stand.fails("INSERT INTO s.orders (id, code) VALUES (1, 'b')").await?,
        "non-DEFAULT value into column \"id\"",
    );

    let keys = stand
        .rows(
            "SELECT tc.constraint_type, kcu.column_name FROM information_schema.table_constraints tc \
             JOIN information_schema.key_column_usage kcu ON kcu.constraint_name = tc.constraint_name \
             WHERE tc.table_schema = 's' AND tc.table_name = 'orders' ORDER BY 1",
        )
        .await?;
    assert_eq!(keys, ["PRIMARY KEY|code", "UNIQUE|note"]);
    stand.run("SET search_path TO s").await?;
    let done = stand
        .batch_runs(&[
            "SET search_path TO s",
            "SELECT \"column\", type, encoding, distkey, sortkey, \"notnull\" FROM pg_table_def WHERE tablename = 'orders'",
        ])
        .await?;
    let columns = stand.result(done.sub_statements()[1].id()).await?;
    assert_eq!(
        columns,
        [
            "id|bigint|az64|false|0|true",
            "code|character varying(5)|lzo|true|2|true",
            "note|character varying(256)|none|false|0|false",
            "at|timestamp without time zone|none|false|1|false",
        ]
    );
    // The name follows the table, not the other way round.
    stand.run("ALTER TABLE s.orders RENAME TO orders_old").await?;
    let renamed = "SELECT table_name FROM information_schema.table_constraints WHERE constraint_type = 'PRIMARY KEY'";
    assert_eq!(stand.rows(renamed).await?, ["orders_old"]);
    Ok(())
}

#[tokio::test]
async fn strings_count_bytes_however_they_arrive() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (v VARCHAR(4), c CHAR(4))").await?;
    stand.run("INSERT INTO t VALUES ('abcd', 'ab')").await?;
    contains(&stand.fails("INSERT INTO t (v) VALUES ('über')").await?, "value too long for type character varying(4)");
    contains(&stand.fails("UPDATE t SET c = 'ü'").await?, "value too long for type character(4)");
    for copy in
        ["CREATE TABLE l (LIKE t INCLUDING DEFAULTS)", "CREATE TABLE a AS SELECT * FROM t", "SELECT * INTO i FROM t"]
    {
        stand.run(copy).await?;
    }
    for table in ["l", "a", "i"] {
        contains(&stand.fails(&format!("INSERT INTO {table} (v) VALUES ('über')")).await?, "character varying(4)");
    }
    stand.run("ALTER TABLE t ADD COLUMN more VARCHAR(2)").await?;
    contains(&stand.fails("UPDATE t SET more = '€'").await?, "character varying(2)");
    stand.run("ALTER TABLE t ALTER COLUMN more TYPE VARCHAR(3)").await?;
    assert_eq!(stand.run("UPDATE t SET more = '€'").await?, 1);
    contains(&stand.fails("CREATE TABLE u (v VARCHAR(65536))").await?, "cannot exceed 65535");
    contains(&stand.fails("CREATE TABLE u (v JSONB)").await?, "has unsupported type \"jsonb\"");
    Ok(())
}

#[tokio::test]
async fn what_redshift_refuses_is_refused() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT, v VARCHAR(9))").await?;
    stand.run("CREATE VIEW w AS SELECT * FROM t").await?;
    for (sql, error) in [
        ("INSERT INTO t VALUES (1, 'a') ON CONFLICT DO NOTHING", "syntax error at or near \"conflict\""),
        ("INSERT INTO t VALUES (1, 'a') RETURNING id", "syntax error at or near \"returning\""),
        ("DELETE FROM t RETURNING id", "syntax error at or near \"returning\""),
        ("CREATE INDEX i ON t (id)", "CREATE INDEX"),
        ("SELECT DISTINCT ON (id) id FROM t", "DISTINCT ON is not supported"),
        ("SELECT * FROM t FOR UPDATE", "FOR UPDATE/SHARE is not supported"),
        ("SELECT * FROM (VALUES (1), (2)) AS x", "syntax error at or near \"values\""),
        ("SELECT COUNT(*) FILTER (WHERE id > 1) FROM t", "syntax error"),
        ("SELECT id IS DISTINCT FROM 1 FROM t", "syntax error at or near \"distinct\""),
        ("SELECT string_agg(v, ',') FROM t", "does not exist"),
        ("SELECT '1'::jsonb", "type \"jsonb\" does not exist"),
        ("CREATE TABLE u (id SERIAL)", "unsupported type \"serial\""),
        ("CREATE TABLE u (id INT CHECK (id > 0))", "syntax error at or near \"CHECK\""),
        ("CREATE TABLE u (tag INT)", "syntax error at or near \"tag\""),
        ("CREATE TABLE u (id INT PRIMARY KEY, PRIMARY KEY (id))", "multiple primary keys"),
        ("CREATE TABLE u (id INT, PRIMARY KEY (nothing))", "named in key does not exist"),
        ("ALTER TABLE t ADD COLUMN a INT, ADD COLUMN b INT", "syntax error"),
        (
            "MERGE INTO t USING (SELECT 1 AS id) s ON t.id = s.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (1, 'a')",
            "MERGE source must be a table",
        ),
        (
            "MERGE INTO t USING w ON t.id = w.id WHEN MATCHED THEN UPDATE SET v = w.v WHEN NOT MATCHED THEN INSERT (id, v) VALUES (w.id, w.v)",
            "MERGE source must be a table",
        ),
        ("SET no_such_thing TO 1", "unrecognized configuration parameter"),
        ("COPY t FROM STDIN", "syntax error"),
        ("DO 'x'", "syntax error"),
        ("CREATE VIEW v2 AS SELECT * FROM t WITH NO SCHEMA BINDING", "does not emulate"),
        ("LOCK t IN SHARE MODE", "syntax error at or near \"IN\""),
    ] {
        contains(&stand.fails(sql).await?, error);
    }
    let batch = stand.batch(&["SELECT 1", "VACUUM t"]).await?;
    contains(batch.error().unwrap_or_default(), "VACUUM cannot run inside a transaction block");
    let batch = stand.batch(&["CREATE TABLE s (id INT, v VARCHAR(9))", "ALTER TABLE t APPEND FROM s"]).await?;
    contains(batch.error().unwrap_or_default(), "ALTER TABLE APPEND cannot run inside a transaction block");
    Ok(())
}

#[tokio::test]
async fn upsert_merge_and_swap_work() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT, v VARCHAR(9), PRIMARY KEY (id))").await?;
    stand.run("INSERT INTO t VALUES (1, 'old'), (2, 'old')").await?;
    let done = stand
        .batch_runs(&[
            "SET query_group TO 'dag/task'",
            "CREATE TEMP TABLE #s (LIKE t INCLUDING DEFAULTS)",
            "INSERT INTO #s VALUES (2, 'new'), (3, 'new')",
            "LOCK t",
            "DELETE FROM t USING #s WHERE t.id = #s.id",
            "INSERT INTO t (id, v) SELECT id, v FROM #s",
            "SHOW query_group",
        ])
        .await?;
    assert_eq!(stand.result(done.sub_statements()[6].id()).await?, ["dag/task"]);
    assert_eq!(stand.rows("SELECT id, v FROM t ORDER BY id").await?, ["1|old", "2|new", "3|new"]);

    stand.run("CREATE TABLE s AS SELECT id, 'merged' AS v FROM t WHERE id > 2").await?;
    stand.run("INSERT INTO s VALUES (9, 'merged')").await?;
    stand
        .run("MERGE INTO t USING s ON t.id = s.id WHEN MATCHED THEN UPDATE SET v = s.v WHEN NOT MATCHED THEN INSERT (id, v) VALUES (s.id, s.v)")
        .await?;
    assert_eq!(stand.rows("SELECT id, v FROM t ORDER BY id").await?, ["1|old", "2|new", "3|merged", "9|merged"]);

    stand
        .batch_runs(&[
            "ALTER TABLE t RENAME TO t_old",
            "ALTER TABLE s RENAME TO t",
            "DROP TABLE t_old",
            "COMMENT ON TABLE t IS 'x'",
        ])
        .await?;
    assert_eq!(stand.rows("SELECT COUNT(*) FROM t").await?, ["2"]);

    stand.run("CREATE TABLE more (v VARCHAR(65535), id INT)").await?;
    stand.run("INSERT INTO more VALUES ('m', 7)").await?;
    let widths = stand.rows("SELECT type FROM pg_table_def WHERE tablename = 't' ORDER BY \"column\"").await?;
    assert_eq!(widths, ["integer", "character varying(65535)"]);
    stand.run("ALTER TABLE t APPEND FROM more").await?;
    assert_eq!(stand.rows("SELECT (SELECT COUNT(*) FROM t), (SELECT COUNT(*) FROM more)").await?, ["3|0"]);
    stand.run("VACUUM FULL t").await?;
    stand.run("ANALYZE t").await?;
    Ok(())
}

#[tokio::test]
async fn truncate_commits_what_went_before() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE a (id INT)").await?;
    stand.run("CREATE TABLE b (id INT)").await?;
    stand.run("INSERT INTO a VALUES (1)").await?;
    let done = stand.batch(&["INSERT INTO b VALUES (1)", "TRUNCATE a", "INSERT INTO b VALUES ('x')"]).await?;
    contains(done.error().unwrap_or_default(), "Query #3");
    assert_eq!(stand.rows("SELECT (SELECT COUNT(*) FROM a), (SELECT COUNT(*) FROM b)").await?, ["0|1"]);
    Ok(())
}

#[tokio::test]
async fn words_of_redshift_are_understood() -> Result {
    let stand = Stand::start().await?;
    stand.run("CREATE TABLE t (id INT, \"Name\" VARCHAR(20))").await?;
    stand.run("INSERT INTO t VALUES (1, 'it\\'s'), (2, 'b')").await?;
    for (sql, expected) in [
        ("SELECT \"NAME\" FROM t WHERE ID = 1", "it's"),
        ("SELECT NVL(NULL, 'x'), LEN('äb'), NVL2(1, 'y', 'n')", "x|2|y"),
        ("SELECT LISTAGG(NVL(\"Name\", 'x'), ',') WITHIN GROUP (ORDER BY id DESC) FROM t", "b,it's"),
        (
            "SELECT DATEADD(month, 1, '2026-01-31'::timestamp), DATEDIFF(day, '2026-01-01', '2026-02-01')",
            "2026-02-28 00:00:00|31",
        ),
        ("SELECT DATEDIFF('hour', '2026-01-01 00:59:00', '2026-01-01 01:01:00')", "1"),
        ("SELECT GETDATE() <= SYSDATE + interval '1 second'", "true"),
        ("SELECT 'a'::VARCHAR(MAX)", "a"),
    ] {
        assert_eq!(stand.rows(sql).await?, [expected], "{sql}");
    }
    Ok(())
}
