//! What moving tables needs beside what an idle daemon has: 64 MiB and three times the largest row, whatever the table,
//! however many read it, and however slow the other side is.

use std::cell::OnceCell;
use std::time::Duration;

use millrace_devstack::Fault;
use millrace_testkit::{Daemon, Postgres, TestDatabase, mapped_program, most_memory, own_memory, wait_until_blocking};
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
    fn new(dags: &[(&str, &str)]) -> Self {
        let mut home = TestHome::new();
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
    format!(
        "
  read:
    operator: sql_to_s3
    sql_conn_id: pg
    query: SELECT * FROM many
    s3_bucket: warehouse-landing
    s3_key: many-{{{{ run_id }}}}
    {more}
"
    )
}

#[test]
fn many_readers_and_a_slow_store_share_what_one_task_may_hold() {
    let eight = extract("split_by: id\n    readers: 8");
    let all = extract("split_by: id\n    readers: 32");
    let parquet = extract("split_by: id\n    readers: 32\n    format: parquet");
    let measured = Measured::new(&[("eight", &eight), ("all", &all), ("parquet", &parquet)]);
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

/// `MILLRACE_LONG_ROW` says how many MiB the row has (32).
#[test]
fn a_long_row_is_held_three_times_at_the_most() {
    let row = std::env::var("MILLRACE_LONG_ROW").ok().and_then(|row| row.parse().ok()).unwrap_or(32) * MIB;
    let measured = Measured::new(&[("csv", &extract("header: true")), ("gzip", &extract("compression: gzip"))]);
    // Eight bytes so often: a quote, a backslash, a character of three bytes.
    let text = format!("repeat('ab\"\\\u{c8fc}c', {})", row / 8);
    measured.source.execute(&format!("CREATE TABLE many AS SELECT 1 AS id, {text} AS note")).unwrap();
    for dag in ["csv", "gzip"] {
        let needed = measured.above_idle(dag, dag);
        println!("{dag}: a row of {} MiB: {} MiB above idle", row / MIB, needed / MIB);
        assert!(needed <= 64 * MIB + 3 * row, "{dag}: {} MiB above idle", needed / MIB);
    }
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
