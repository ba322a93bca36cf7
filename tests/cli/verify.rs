//! Are the rows that were moved the same on both sides? From a real MariaDB to PostgreSQL and to the Redshift stand-in.

use millrace_testkit::{MariaDatabase, MariaDb, Postgres, TestDatabase};
use serde_json::{Value, json};

use crate::support::{TestHome, Warehouse};

/// Every kind of value that SQL can hash.
const SOURCE: &str = "
    SET time_zone = '+00:00';
    CREATE TABLE goods (
        id BIGINT PRIMARY KEY, name VARCHAR(80) CHARACTER SET utf8mb4, note TEXT, price DECIMAL(12,4), made DATETIME(6),
        day DATE, big BIGINT UNSIGNED, flag TINYINT(1), digest VARBINARY(16), code CHAR(8),
        latin VARCHAR(20) CHARACTER SET latin1, number INT(6) ZEROFILL, bits BIT(5), stamp TIMESTAMP(3) NULL, clock TIME(2), year YEAR);
    INSERT INTO goods SELECT CAST(seq AS SIGNED) - 50, CONCAT('\"주문\" 😀, ', seq), IF(seq % 7 = 0, NULL, IF(seq % 5 = 0, '', CONCAT('a\\nb\\\\', seq))),
        CAST(seq AS SIGNED) * 1.25 - 100, TIMESTAMPADD(MICROSECOND, seq * 1000001, '2024-02-28 23:59:59'), TIMESTAMPADD(DAY, seq, '0999-12-30'),
        18446744073709551615 - seq, seq % 2, UNHEX(MD5(seq)), CONCAT('c', seq), 'caf\u{e9}', seq, seq % 32,
        TIMESTAMPADD(SECOND, seq, '2024-10-27 00:59:00.120'), SEC_TO_TIME(seq * 20.25), 1901 + seq % 200
        FROM seq_1_to_3000;
    INSERT INTO goods (id) VALUES (100000);
";

const POSTGRES: &str = "
    CREATE TABLE goods (
        id bigint PRIMARY KEY, name text, note text, price numeric(12,4), made timestamp, day date, big numeric(20),
        flag boolean, digest text, code char(10), latin text, number int, bits smallint, stamp timestamptz, clock time, year smallint);
";

const REDSHIFT: &str = "
description: Makes the target table
schedule: none
tasks:
  make:
    operator: sql
    sql_conn_id: redshift_dev
    sql: |
      CREATE TABLE goods (
        id BIGINT NOT NULL, name VARCHAR(400), note VARCHAR(400), price DECIMAL(12,4), made TIMESTAMP, day DATE,
        big DECIMAL(20,0), flag BOOLEAN, digest VARCHAR(40), code CHAR(10), latin VARCHAR(40), number INT, bits SMALLINT,
        stamp TIMESTAMPTZ, clock VARCHAR(20), year SMALLINT)
";

const DATE: &str = "2024-05-06";

struct Pair {
    home: TestHome,
    source: MariaDatabase,
    warehouse: Warehouse,
    target: TestDatabase,
}

fn dag(conn_id: &str, method: &str, filter: &str) -> String {
    format!(
        "
schedule: none
tasks:
  read:
    operator: extract
    sql_conn_id: shop
    query: SELECT * FROM goods {filter}
  send:
    operator: upload
    depends_on: [read]
    from_task: read
    s3_bucket: warehouse-landing
    s3_key: goods.csv
    replace: true
    keep_file: true
  load:
    operator: copy
    depends_on: [send]
    warehouse_conn_id: {conn_id}
    s3_bucket: warehouse-landing
    s3_key: goods.csv
    table: goods
    copy_options: [csv]
    {method}
"
    )
}

impl Pair {
    fn new() -> Self {
        let mut home = TestHome::new();
        let source = MariaDb::shared().and_then(|server| server.create_database()).unwrap();
        source.execute(SOURCE).unwrap();
        let warehouse = Warehouse::start();
        let target = Postgres::shared().and_then(|server| server.create_database()).unwrap();
        target.execute(POSTGRES).unwrap();
        home.ok(&["db", "migrate"]);
        let server = source.server();
        let shop = json!({"conn_type": "mysql", "host": "127.0.0.1", "port": server.port(), "login": server.user(),
                          "password": server.password(), "schema": source.name()});
        let server = target.server();
        let dw = json!({"conn_type": "postgres", "host": "127.0.0.1", "port": server.port(), "login": server.user(),
                        "password": server.password(), "schema": target.name()});
        for (conn_id, form) in [("shop", shop), ("pg_dw", dw)] {
            home.run_with_input(&["connections", "add", conn_id, "--conn-json", "-"], &form.to_string()).exits(0);
        }
        warehouse.connect(&mut home);
        Self { home, source, warehouse, target }
    }

    fn move_rows(&self, text: &str, date: &str) {
        self.home.write_dag("goods.yaml", text);
        for task in ["read", "send", "load"] {
            self.home.ok(&["tasks", "run", "goods", task, date, "--force"]);
        }
    }

    #[track_caller]
    fn verify(&self, code: i32, more: &[&str]) -> Value {
        let command = [&["data", "verify", "goods", "load", DATE, "-o", "json"], more].concat();
        self.home.run(&command).exits(code).json()
    }
}

/// Difference, column, values as they are shown, and the key.
fn differences(report: &Value) -> Vec<String> {
    let line = |line: &Value| {
        let text = |name: &str| line[name].as_str().map(|text| format!(" {text}")).unwrap_or_default();
        let id = line["key"]["id"].as_str().unwrap_or("?");
        format!("{id}:{}{}{}{}", text("difference"), text("column"), text("source"), text("target"))
    };
    report["differences"].as_array().unwrap().iter().map(line).collect()
}

#[test]
fn what_was_loaded_into_postgres_is_proved_and_every_change_is_named() {
    let pair = Pair::new();
    pair.move_rows(&dag("pg_dw", "method: replace", ""), DATE);
    let report = pair.verify(0, &[]);
    assert_eq!((&report["is_equal"], &report["source"]["rows"]), (&json!(true), &json!(3001)), "{report}");
    assert_eq!(report["source"]["fingerprint"], report["target"]["fingerprint"]);
    assert_eq!(report["source"]["hashed_by"], "sql", "{report}");
    assert_eq!(report["target"]["hashed_by"], "sql");
    assert_eq!(report["key"], json!(["id"]), "the table's primary key");
    // Reading gives the same hashes as SQL does, and the task that read is as good a name as the one that loaded.
    let read = pair.home.ok(&["data", "verify", "goods", "read", "2024-05-06", "--stream", "-o", "json"]).json();
    assert_eq!(read["source"]["hashed_by"], "reading");
    assert_eq!(read["source"]["fingerprint"], report["source"]["fingerprint"]);
    assert_eq!(read["target"]["fingerprint"], report["target"]["fingerprint"]);

    let changes = "
        UPDATE goods SET name = replace(name, '주', '준') WHERE id = 17;
        DELETE FROM goods WHERE id = 100;
        INSERT INTO goods (id, name) VALUES (-999, 'new');
        UPDATE goods SET note = '' WHERE id = 100000;
        UPDATE goods SET price = price + 0.0001, made = made + interval '1 microsecond' WHERE id = 2000;
    ";
    pair.target.execute(changes).unwrap();
    let report = pair.verify(1, &[]);
    assert_eq!((&report["is_equal"], &report["rows_different"]), (&json!(false), &json!(5)), "{report}");
    let found = differences(&report);
    let expected = [
        "-999: only in the target",
        "100: only in the source",
        "100000: other value note NULL empty text",
        "17: other value name *** (17 bytes) *** (17 bytes)",
        "2000: other value price *** (6 bytes) *** (9 bytes)",
    ];
    for line in expected {
        assert!(found.iter().any(|found| found == line), "{line} in {found:#?}");
    }
    assert_eq!(found.len(), 6, "{found:#?}");
    let shown = pair.verify(1, &["--show-values"]);
    assert!(
        differences(&shown).contains(&"17: other value name \"주문\" 😀, 67 \"준문\" 😀, 67".to_owned()),
        "{shown}"
    );
    let text = pair.home.run(&["data", "verify", "goods", "load", "2024-05-06", "--most", "1"]).exits(1);
    assert!(
        text.stdout.contains("id=-999") && text.stderr.contains("source and target differ: 5 rows"),
        "{}{}",
        text.stdout,
        text.stderr
    );

    // The source has changed since.
    pair.source.execute("DELETE FROM goods WHERE id = 5").unwrap();
    let report = pair.verify(1, &["--skip", "name,note,price,made"]);
    assert_eq!(report["source_is_as_extracted"], Value::Null, "not all columns were compared");
    assert!(differences(&report).contains(&"5: only in the target".to_owned()), "{report}");
    pair.home.run(&["data", "verify", "goods", "load", "2024-05-06", "--skip", "nothing"]).exits(2);
    pair.home.run(&["data", "verify", "goods", "load", "2024-05-07"]).exits(1);
}

#[test]
fn blanks_at_the_end_of_a_text_count_where_the_target_keeps_them() {
    let pair = Pair::new();
    let blanks = "UPDATE goods SET code = code || '  ' WHERE id = 7";
    pair.move_rows(&dag("pg_dw", "method: replace", ""), DATE);
    pair.target.execute(blanks).unwrap();
    assert_eq!(pair.verify(0, &[])["is_equal"], true, "char(10) is full of them");
    pair.target.execute("ALTER TABLE goods ALTER code TYPE varchar(10)").unwrap();
    assert_eq!(pair.verify(0, &[])["is_equal"], true, "neither side has one at the end");
    pair.target.execute(blanks).unwrap();
    for more in [&[][..], &["--stream"]] {
        let report = pair.verify(1, more);
        assert_eq!(differences(&report), ["7: other value code *** (3 bytes) *** (5 bytes)"], "{report}");
    }
    // Without a key a row is told by all it holds, which nobody asked to see.
    pair.target.execute("ALTER TABLE goods DROP CONSTRAINT goods_pkey").unwrap();
    let report = pair.verify(1, &[]);
    let keys: Vec<&Value> = report["differences"].as_array().unwrap().iter().map(|line| &line["key"]).collect();
    assert_eq!((&report["key"], keys.len()), (&json!([]), 2), "{report}");
    let is_masked = |value: &Value| {
        ["NULL", "empty text"].contains(&value.as_str().unwrap()) || value.as_str().unwrap().starts_with("*** (")
    };
    assert!(keys.iter().all(|key| key.as_object().unwrap().values().all(is_masked)), "{report}");
    let shown = pair.verify(1, &["--show-values"]);
    assert_eq!(shown["differences"][0]["key"]["id"], "7", "{shown}");
}

#[test]
fn an_incremental_load_is_compared_with_the_rows_of_its_window() {
    let pair = Pair::new();
    pair.target.execute("INSERT INTO goods (id, name) VALUES (7777777, 'of another day')").unwrap();
    let upsert = "method: upsert\n    upsert_keys: [id]\n    order_key: made";
    pair.move_rows(&dag("pg_dw", upsert, "WHERE made >= '2024-02-29 00:10:00' AND made < '2024-02-29 00:20:00'"), DATE);
    let report = pair.verify(0, &[]);
    assert_eq!(report["target"]["rows"], 600, "{report}");
    assert_eq!(report["target"]["where"], r#""made" >= '2024-02-29 00:10:00' AND "made" < '2024-02-29 00:20:00'"#);
    assert_eq!(pair.verify(1, &["--where", "1 = 1"])["rows_different"], 1);
    pair.move_rows(&dag("pg_dw", upsert, "WHERE MOD(id, 100) = 3"), "2024-05-07");
    let again = ["data", "verify", "goods", "load", "2024-05-07"];
    let refused = pair.home.run(&again).exits(1);
    assert!(refused.stderr.contains("MOD(id, 100)") && refused.stderr.contains("--where"), "{}", refused.stderr);
    let report = pair.home.ok(&[&again[..], &["--where", "id % 100 = 3", "-o", "json"]].concat()).json();
    assert_eq!(report["target"]["rows"], 30, "{report}");
}

#[test]
fn columns_that_the_table_does_not_have_are_left_out_of_the_proof() {
    let pair = Pair::new();
    pair.target.execute("ALTER TABLE goods DROP note, DROP digest").unwrap();
    pair.move_rows(&dag("pg_dw", "method: replace", ""), DATE);
    let report = pair.verify(0, &[]);
    assert_eq!((&report["is_equal"], &report["target"]["rows"]), (&json!(true), &json!(3001)), "{report}");
    assert_eq!(report["skipped"], json!(["note", "digest"]));
    let said = pair.home.ok(&["data", "verify", "goods", "load", DATE]).stderr;
    assert!(said.contains("not compared: note, digest, which the load passed over"), "{said}");
    pair.target.execute("UPDATE goods SET latin = 'x' WHERE id = 7").unwrap();
    assert_eq!(pair.verify(1, &[])["rows_different"], 1, "the others are compared each with its own");
    assert_eq!(differences(&pair.verify(1, &[])), ["7: other value latin *** (5 bytes) *** (1 bytes)"]);
}

#[test]
fn what_was_loaded_into_redshift_is_proved_in_its_own_sql() {
    let pair = Pair::new();
    pair.home.write_dag("make.yaml", REDSHIFT);
    pair.home.ok(&["tasks", "test", "make", "make", "2024-01-01"]);
    pair.move_rows(&dag("redshift_dev", "method: replace", ""), DATE);
    let report = pair.verify(0, &["--key", "id"]);
    assert_eq!(report["source"]["fingerprint"], report["target"]["fingerprint"], "{report}");
    assert_eq!((&report["source"]["hashed_by"], &report["target"]["hashed_by"]), (&json!("sql"), &json!("sql")));
    pair.warehouse.query("UPDATE goods SET note = NULL WHERE id = 0");
    pair.warehouse.query("DELETE FROM goods WHERE id = 1");
    let report = pair.verify(1, &["--key", "id,code"]);
    let found = differences(&report);
    assert_eq!(found, ["0: other value note empty text NULL", "1: only in the source"]);
    let without = pair.verify(1, &[]);
    assert_eq!(without["rows_different"], 3, "nobody enforces a key: rows are told apart by all they hold; {without}");
}

const COPY: &str = "
schedule: none
tasks:
  load:
    operator: table_copy
    source_conn_id: shop
    target_conn_id: pg_dw
    hash_conn_id: pg_dw
    tables:
      - source: SHOP.goods
        target: public.copied
        primary_key: id
        columns: {latin: mask, code: hash, digest: drop, made: {timezone: Asia/Seoul}}
      - {source: SHOP.goods, target: public.plain, primary_key: id, empty_as_null: false}
  sum:
    operator: summary_table
    warehouse_conn_id: pg_dw
    table: by_year
    columns: (year smallint, goods bigint)
    select: SELECT year, COUNT(*) FROM plain GROUP BY year
";

#[test]
fn copies_and_summaries_are_proved_whatever_was_done_to_values_and_masked_ones_are_said_not_to_be_compared() {
    let pair = Pair::new();
    pair.home.write_dag("goods.yaml", &COPY.replace("SHOP", pair.source.name()));
    for task in ["load", "sum"] {
        pair.home.ok(&["tasks", "run", "goods", task, DATE, "--force"]);
    }
    let which = pair.home.run(&["data", "verify", "goods", "load", DATE]).exits(1);
    assert!(which.stderr.contains("--table names the one to compare"), "{}", which.stderr);
    let plain = pair.verify(0, &["--table", "plain"]);
    assert_eq!((&plain["is_equal"], &plain["source"]["rows"]), (&json!(true), &json!(3001)), "{plain}");
    assert_eq!(plain["skipped"], json!([]));
    // '' became NULL on the way, as table_copy has it by default, and that is no difference.
    let copied = pair.verify(0, &["--table", "public.copied"]);
    assert_eq!(copied["skipped"], json!(["latin"]), "{copied}");
    assert_eq!(copied["source"]["hashed_by"], "reading", "{copied}");
    let said = pair.home.run(&["data", "verify", "goods", "load", DATE, "--table", "copied"]).exits(0).stderr;
    for line in [
        "code: the source's values are hashed with the key of",
        "made: the source's values are moved to UTC from Asia/Seoul",
        "not compared: latin, whose values were masked",
        ": empty texts of the source are compared as NULL, which they were stored as (empty_as_null)",
    ] {
        assert!(said.contains(line), "{line:?} is missing in {said}");
    }
    pair.target
        .execute(
            "UPDATE copied SET note = '' WHERE note IS NULL AND id = 100000; \
             UPDATE copied SET made = made + interval '9 hours' WHERE id = 7; \
             UPDATE copied SET code = left(code, 63) || 'x' WHERE id = 8",
        )
        .unwrap();
    let changed = pair.verify(1, &["--table", "copied"]);
    assert_eq!(
        differences(&changed),
        [
            "100000: other value note NULL empty text",
            "7: other value made *** (26 bytes) *** (26 bytes)",
            "8: other value code *** (64 bytes) *** (64 bytes)",
        ]
    );

    let summary = ["data", "verify", "goods", "sum", DATE, "-o", "json", "--key", "year"];
    let equal = pair.home.run(&summary).exits(0).json();
    assert_eq!(equal["is_equal"], json!(true), "{equal}");
    pair.target.execute("DELETE FROM plain WHERE id = 17").unwrap();
    let stale = pair.home.run(&summary).exits(1).json();
    assert_eq!(stale["rows_different"], json!(1), "the summary is older than what it sums up: {stale}");
}

#[test]
fn rows_that_the_load_refused_are_said_to_be_in_the_source_only() {
    let pair = Pair::new();
    pair.target.execute("ALTER TABLE goods ALTER code TYPE varchar(4)").unwrap();
    let lenient = dag("pg_dw", "method: replace", "").replace("[csv]", "[csv, maxerror 5000]");
    pair.move_rows(&lenient, DATE);
    let said = pair.home.run(&["data", "verify", "goods", "load", DATE]).exits(1).stderr;
    assert!(
        said.contains("the load refused 2001 of the rows and passed them over: they are in the source only"),
        "{said}"
    );
}
