//! What moving tables needs beside what an idle daemon has: 64 MiB and three times the largest row, whatever the table,
//! however many read it, and however slow the other side is.

use std::cell::OnceCell;
use std::time::Duration;

use millrace_devstack::Fault;
use millrace_testkit::{
    Daemon, MariaDb, Postgres, TestDatabase, mapped_program, most_memory, own_memory, wait_until_blocking,
};
use serde_json::json;

use crate::support::{TestHome, Warehouse};

const MIB: u64 = 1 << 20;

struct Measured {
    home: TestHome,
    warehouse: Warehouse,
    daemon: Daemon,
    source: TestDatabase,
    idle: OnceCell<u64>,
}

impl Measured {
    fn new(home: TestHome, dags: &[(&str, &str)]) -> Self {
        let mut home = home;
        home.ok(&["db", "migrate"]);
        let source = Postgres::shared().and_then(|server| server.create_database()).unwrap();
        let server = source.server();
        let form = json!({"conn_type": "postgres", "host": "127.0.0.1", "port": server.port(), "login": server.user(),
                          "password": server.password(), "schema": source.name()});
        home.run_with_input(&["connections", "add", "pg", "--conn-json", "-"], &form.to_string()).exits(0);
        let warehouse = Warehouse::start();
        warehouse.connect(&mut home);
        let warm = extract("split_by: id\n    readers: 2").replace("FROM many", "FROM few");
        let dags = [&[("warm", warm.as_str())], dags].concat();
        for (name, tasks) in &dags {
            home.write_dag(&format!("{name}.yaml"), &format!("schedule: none\ntasks:\n{tasks}"));
        }
        let daemon = home.scheduler();
        for (name, _) in &dags {
            home.ok(&["dags", "unpause", name]);
        }
        source.execute("CREATE TABLE few AS SELECT id, 'few' AS note FROM generate_series(1, 10) id").unwrap();
        // What is loaded of the program when it first moves anything is not what moving needs.
        home.ok(&["dags", "trigger", "warm", "--run-id", "warm", "--wait"]);
        Self { home, warehouse, daemon, source, idle: OnceCell::new() }
    }

    /// What the run needed at the most beyond what there was before the first of them.
    fn above_idle(&self, dag: &str, run: &str) -> u64 {
        let pid = self.daemon.pid();
        let idle = *self.idle.get_or_init(|| own_memory(pid).unwrap());
        let run = || self.home.ok(&["dags", "trigger", dag, "--run-id", run, "--wait"]);
        let (_, most) = most_memory(pid, run).unwrap();
        most.saturating_sub(idle)
    }
}

fn extract(more: &str) -> String {
    extract_from("pg", more)
}

fn extract_from(connection: &str, more: &str) -> String {
    format!(
        "
  read:
    operator: sql_to_s3
    sql_conn_id: {connection}
    query: SELECT * FROM many
    s3_bucket: warehouse-landing
    s3_key: many-{{{{ run_id }}}}
    {more}
"
    )
}

/// Of the file that this run has written.
fn load(run: &str, connection: &str, table: &str, options: &str) -> String {
    format!(
        "
  load:
    operator: copy
    warehouse_conn_id: {connection}
    s3_bucket: warehouse-landing
    s3_key: many-{run}
    table: {table}
    copy_options: [{options}]
"
    )
}

fn table_copy(from: &str, table: &str, to: &str, target: &str) -> String {
    format!(
        "
  copy:
    operator: table_copy
    source_conn_id: {from}
    target_conn_id: {to}
    tables: {{source: {table}, target: {target}, sync_mode: full_sync}}
"
    )
}

#[test]
fn many_readers_and_a_slow_store_share_what_one_task_may_hold() {
    let eight = extract("split_by: id\n    readers: 8");
    let all = extract("split_by: id\n    readers: 32");
    let parquet = extract("split_by: id\n    readers: 32\n    format: parquet");
    let measured = Measured::new(TestHome::new(), &[("eight", &eight), ("all", &all), ("parquet", &parquet)]);
    // 130 MB: each of eight readers has more than a part of an upload, and all of them many times what may be held.
    let rows = "CREATE TABLE many AS SELECT id, repeat(md5(id::text), 250) AS note FROM generate_series(1, 16000) id; \
                ALTER TABLE many ADD PRIMARY KEY (id); ANALYZE many";
    measured.source.execute(rows).unwrap();
    let mut most = 0;
    for (dag, delay) in [("eight", 50), ("all", 50), ("parquet", 50)] {
        let slow = Fault::Delay(Duration::from_millis(delay));
        measured.warehouse.s3_faults().inject("UploadPart", slow.clone(), 1_000_000);
        measured.warehouse.s3_faults().inject("PutObject", slow, 1_000_000);
        let needed = measured.above_idle(dag, &format!("{dag}-{delay}"));
        measured.warehouse.s3_faults().clear();
        println!("{dag}, parts that take {delay} ms: {} MiB above idle", needed / MIB);
        most = needed.max(most);
    }
    assert!(most <= 64 * MIB, "{} MiB above idle", most / MIB);
}

/// A task for each way of a long row, by the name of its DAG; in this order: what is loaded was extracted before, and what
/// is read from SQLite was loaded.
fn ways_of_a_long_row(shop: &str) -> Vec<(&'static str, String)> {
    let of_maria = format!("{shop}.many");
    let three = "n, note FROM many, generate_series(1, 3) n";
    vec![
        ("csv", extract("header: true")),
        ("gzip", extract("compression: gzip")),
        ("parquet", extract("format: parquet")),
        ("zstd", extract("format: parquet\n    compression: zstd")),
        ("three", extract("").replace("* FROM many", three)),
        ("three_parquet", extract("format: parquet").replace("* FROM many", three)),
        ("maria_three", extract_from("maria", "").replace("* FROM many", "seq, note FROM many, seq_1_to_3")),
        ("maria_csv", extract_from("maria", "")),
        ("maria_parquet", extract_from("maria", "format: parquet")),
        ("csv_pg", load("csv", "pg", "of_csv", "csv")),
        ("gzip_pg", load("gzip", "pg", "of_gzip", "csv")),
        ("parquet_pg", load("parquet", "pg", "of_parquet", "parquet")),
        ("zstd_pg", load("zstd", "pg", "of_zstd", "parquet")),
        ("three_pg", load("three", "pg", "three_csv", "csv")),
        ("three_parquet_pg", load("three_parquet", "pg", "three_parquet", "parquet")),
        ("csv_lite", load("csv", "lite", "of_csv", "csv")),
        ("parquet_lite", load("parquet", "lite", "many", "parquet")),
        ("lite_csv", extract_from("lite", "")),
        ("lite_parquet", extract_from("lite", "format: parquet")),
        ("lite_three", extract_from("lite", "").replace("FROM many", "FROM three")),
        (
            "lite_three_zstd",
            extract_from("lite", "format: parquet\n    compression: zstd").replace("FROM many", "FROM three"),
        ),
        ("lite_three_parquet", extract_from("lite", "format: parquet").replace("FROM many", "FROM three")),
        ("maria_to_pg", table_copy("maria", &of_maria, "pg", "public.of_maria")),
        ("maria_to_lite", table_copy("maria", &of_maria, "lite", "main.of_maria")),
        ("pg_to_pg", table_copy("pg", "public.many", "pg", "public.of_pg")),
        ("lite_to_pg", table_copy("lite", "main.many", "pg", "public.of_lite")),
        ("lite_three_to_pg", table_copy("lite", "main.three", "pg", "public.of_three")),
        ("lite_three_to_lite", table_copy("lite", "main.three", "other_lite", "main.of_three")),
    ]
}

/// `MILLRACE_LONG_ROW` says how many MiB the row has (96: with fewer than 64, four of them would be within what is allowed).
#[test]
fn a_long_row_is_held_three_times_at_the_most() {
    let row = std::env::var("MILLRACE_LONG_ROW").ok().and_then(|row| row.parse().ok()).unwrap_or(96) * MIB;
    let maria = MariaDb::private().unwrap();
    let shop = maria.create_database().unwrap();
    let mut home = TestHome::new();
    home.set("MILLRACE_CONN_MARIA", shop.url());
    for (name, variable) in [("lite.db", "MILLRACE_CONN_LITE"), ("other.db", "MILLRACE_CONN_OTHER_LITE")] {
        let lite = home.file(name);
        std::fs::write(&lite, "").unwrap();
        home.set(variable, json!({"conn_type": "sqlite", "schema": lite}).to_string());
    }
    let ways = ways_of_a_long_row(shop.name());
    let make_lite = "
  make:
    operator: sql
    sql_conn_id: lite
    sql: >
      CREATE TABLE many (id INTEGER, note TEXT); CREATE TABLE of_csv (id INTEGER, note TEXT);
      CREATE VIEW three AS SELECT value AS id, note FROM many, json_each('[1, 2, 3]')
";
    let dags: Vec<(&str, &str)> =
        std::iter::once(("make", make_lite)).chain(ways.iter().map(|(name, tasks)| (*name, tasks.as_str()))).collect();
    let measured = Measured::new(home, &dags);
    measured.home.ok(&["dags", "trigger", "make", "--run-id", "make", "--wait"]);
    // Eight bytes so often: a quote, a backslash, a character of three bytes.
    let count = row / 8;
    let source = &measured.source;
    source
        .execute(&format!("CREATE TABLE many AS SELECT 1 AS id, repeat('ab\"\\\u{c8fc}c', {count}) AS note"))
        .unwrap();
    for table in ["of_csv", "of_gzip", "of_parquet", "of_zstd", "three_csv", "three_parquet"] {
        source.execute(&format!("CREATE TABLE {table} (id int, note text)")).unwrap();
    }
    shop.execute("SET GLOBAL max_allowed_packet = 1073741824").unwrap();
    let text = format!("REPEAT('ab\"\\\\\u{c8fc}c', {count})");
    shop.execute(&format!("CREATE TABLE many ENGINE = MyISAM AS SELECT 1 AS id, {text} AS note")).unwrap();
    let mut above = Vec::new();
    for (way, _) in &ways {
        let needed = measured.above_idle(way, way);
        println!("{way}: a row of {} MiB: {} MiB above idle", row / MIB, needed / MIB);
        if needed > 64 * MIB + 3 * row {
            above.push(format!("{way}: {} MiB above idle", needed / MIB));
        }
    }
    for table in ["of_csv", "of_gzip", "of_parquet", "of_zstd", "of_maria", "of_pg", "of_lite"] {
        let found = source.query(&format!("SELECT t.id, t.note = m.note FROM {table} t, many m")).unwrap();
        assert_eq!(found, [["1", "t"].map(|cell| Some(cell.to_owned()))], "{table}");
    }
    for table in ["of_three", "three_csv", "three_parquet"] {
        let found =
            source.query(&format!("SELECT count(*), bool_and(t.note = m.note) FROM {table} t, many m")).unwrap();
        assert_eq!(found, [["3", "t"].map(|cell| Some(cell.to_owned()))], "{table}");
    }
    assert!(above.is_empty(), "of a row of {} MiB: {}", row / MIB, above.join(", "));
}

#[test]
fn an_idle_daemon_gives_back_what_its_start_needed() {
    let home = TestHome::new();
    home.ok(&["db", "migrate"]);
    let daemon = home.scheduler();
    let at_start = mapped_program(daemon.pid()).unwrap();
    let is_small = || mapped_program(daemon.pid()).unwrap() < at_start / 2;
    wait_until_blocking("less of the program to be mapped", Duration::from_mins(1), is_small).unwrap();
    // And works as before.
    home.write_dag("later.yaml", "schedule: none\ntasks:\n  say: {operator: bash, bash_command: echo}\n");
    home.ok(&["dags", "unpause", "later"]);
    home.ok(&["dags", "trigger", "later", "--wait"]);
}
