//! The examples that copy tables, unchanged, each run as a whole.

use std::fs;

use millrace_testkit::{Postgres, TestDatabase};

use crate::support::{TestHome, repository};

fn home_with(example: &str) -> TestHome {
    let home = TestHome::new();
    home.copy_example(example);
    home
}

/// A file that SQLite takes for an empty database.
fn sqlite(home: &TestHome, name: &str) -> String {
    let path = home.file(name);
    fs::write(&path, "").unwrap();
    path.display().to_string()
}

/// Two databases of PostgreSQL under the names that the examples use.
fn with_postgres(home: &mut TestHome) -> (TestDatabase, TestDatabase) {
    let server = Postgres::shared().unwrap();
    let (source, target) = (server.create_database().unwrap(), server.create_database().unwrap());
    home.set("MILLRACE_CONN_PG_SOURCE", source.url());
    home.set("MILLRACE_CONN_PG_TARGET", target.url());
    (source, target)
}

#[test]
fn the_smallest_copy_has_at_most_fifteen_lines_and_copies() {
    let text = fs::read_to_string(repository().join("dags/simple_postgres_copy.yaml")).unwrap();
    assert!(text.lines().count() <= 15, "{} lines", text.lines().count());
    let mut home = home_with("simple_postgres_copy.yaml");
    let (source, target) = with_postgres(&mut home);
    source
        .execute("CREATE TABLE orders (id int PRIMARY KEY, v text); INSERT INTO orders VALUES (1, 'a'), (2, NULL)")
        .unwrap();
    home.ok(&["dags", "test", "simple_postgres_copy"]);
    let rows = target.query("SELECT id, v FROM orders ORDER BY id").unwrap();
    let text = |cell: &str| Some(cell.to_owned());
    assert_eq!(rows, [[text("1"), text("a")], [text("2"), None]]);
    assert!(target.execute("INSERT INTO orders VALUES (1, 'x')").is_err(), "the key came along");
}

#[test]
fn the_basic_copy_needs_no_server() {
    let mut home = home_with("data_copy.yaml");
    let (source, target) = (sqlite(&home, "shop.db"), sqlite(&home, "warehouse.db"));
    home.set("MILLRACE_CONN_DEMO_SOURCE", format!(r#"{{"conn_type": "sqlite", "schema": "{source}"}}"#));
    home.set("MILLRACE_CONN_DEMO_WAREHOUSE", format!(r#"{{"conn_type": "sqlite", "schema": "{target}"}}"#));
    home.write_dag(
        "fill.yaml",
        "schedule: none\ntasks:\n  fill:\n    operator: sql\n    sql_conn_id: demo_source\n    sql: CREATE TABLE orders (id INTEGER PRIMARY KEY, amount NUMERIC NOT NULL); INSERT INTO orders VALUES (1, 1.5), (2, 3)\n",
    );
    home.ok(&["dags", "test", "fill"]);
    let output = home.ok(&["dags", "test", "data_copy"]);
    assert!(output.stdout.contains("check passed: checksum of the rows copied: rows3:2:"), "{}", output.stdout);
    assert!(output.stdout.contains("check passed: unique_check(id) = 0"), "{}", output.stdout);
}

#[test]
fn a_part_of_a_mapped_copy_goes_on_from_its_own_watermark_wherever_it_stands_in_the_list() {
    let mut home = TestHome::new();
    let server = Postgres::shared().unwrap();
    let (source, target) = (server.create_database().unwrap(), server.create_database().unwrap());
    home.set("MILLRACE_CONN_SHOP", source.url());
    home.set("MILLRACE_CONN_DW", target.url());
    let orders = "CREATE TABLE orders (id int PRIMARY KEY, region text, at timestamp)";
    source
        .execute(&format!("{orders}; INSERT INTO orders VALUES (1, 'eu', '2024-01-01'), (2, 'us', '2024-03-01')"))
        .unwrap();
    target.execute(orders).unwrap();
    let copy = |regions: &str| {
        home.write_dag(
            "parts.yaml",
            &format!(
                "schedule: none\ntasks:\n  copy:\n    operator: table_copy\n    expand: {{region: [{regions}]}}\n    source_conn_id: shop\n    target_conn_id: dw\n    tables:\n      source: public.orders\n      primary_key: id\n      sync_mode: incremental_sync\n      incremental_field: at\n      watermark: stored\n      custom_where: \"region = '{{{{ item.region }}}}'\"\n"
            ),
        );
        home.ok(&["dags", "test", "parts"]);
        target.query("SELECT id FROM orders ORDER BY id").unwrap().concat().into_iter().flatten().collect::<Vec<_>>()
    };
    assert_eq!(copy("eu, us"), ["1", "2"]);
    source.execute("INSERT INTO orders VALUES (3, 'eu', '2024-02-01')").unwrap();
    assert_eq!(copy("us, eu"), ["1", "2", "3"], "older than the newest of the other region");
}

#[test]
fn the_refactored_copy_tries_out_copies_and_goes_on_from_where_it_was() {
    let mut home = home_with("postgres_data_copy_refactored.yaml");
    let (source, target) = with_postgres(&mut home);
    source
        .execute(
            "CREATE TABLE orders (id int PRIMARY KEY, amount numeric(10,2), updated_at timestamp);
             INSERT INTO orders VALUES (1, 10, '2024-01-01'), (2, 20.5, '2024-01-02');
             CREATE TABLE tickets (id int PRIMARY KEY, title text, priority text, status text, updated_at timestamp);
             INSERT INTO tickets VALUES (1, 'a', '12.0', 'active', '2024-01-01'), (2, 'b', 'high', 'closed', '2024-01-01');
             CREATE TABLE countries (code varchar(2) PRIMARY KEY, name text);
             INSERT INTO countries VALUES ('KR', '대한민국'), ('SE', '')",
        )
        .unwrap();
    target.execute("CREATE SCHEMA raw_data; CREATE TABLE raw_data.orders (id int PRIMARY KEY, amount numeric(10,2), updated_at timestamp); INSERT INTO raw_data.orders VALUES (0, 1, '2020-01-01')").unwrap();
    let tables = || target.query("SELECT COUNT(*) FROM pg_tables WHERE schemaname = 'raw_data'").unwrap()[0][0].clone();
    home.ok(&["dags", "test", "postgres_data_copy_refactored", "-c", r#"{"dry_run": true}"#]);
    assert_eq!(tables().as_deref(), Some("1"), "nothing was made");

    let output = home.ok(&["dags", "test", "postgres_data_copy_refactored"]);
    let counts = |table: &str| target.query(&format!("SELECT COUNT(*) FROM raw_data.{table}")).unwrap()[0][0].clone();
    assert_eq!(
        [counts("orders"), counts("tickets"), counts("countries")].map(Option::unwrap_or_default),
        ["3", "1", "2"]
    );
    assert_eq!(target.query("SELECT priority FROM raw_data.tickets").unwrap()[0][0].as_deref(), Some("12"));
    assert_eq!(
        target.query("SELECT name FROM raw_data.countries WHERE code = 'SE'").unwrap()[0][0],
        None,
        "'' is NULL"
    );
    assert!(output.stdout.contains("check passed: there_are_orders"), "{}", output.stdout);

    source.execute("UPDATE orders SET amount = 30, updated_at = '2024-02-01' WHERE id = 1; UPDATE orders SET amount = 99 WHERE id = 2").unwrap();
    home.ok(&["dags", "test", "postgres_data_copy_refactored", "2024-05-06"]);
    let amounts = target.query("SELECT amount FROM raw_data.orders WHERE id > 0 ORDER BY id").unwrap();
    assert_eq!(
        amounts.iter().map(|row| row[0].as_deref().unwrap()).collect::<Vec<_>>(),
        ["30.00", "99.00"],
        "the tie is read again"
    );
}

#[test]
fn a_zone_that_is_said_later_stops_the_copy_by_change_until_it_is_cleared() {
    let mut home = TestHome::new();
    let (source, target) = with_postgres(&mut home);
    source
        .execute("CREATE TABLE t (id int PRIMARY KEY, at timestamp); INSERT INTO t VALUES (1, '2024-01-02 09:00')")
        .unwrap();
    home.write_dag(
        "by_change.yaml",
        "schedule: none\ntasks:\n  copy:\n    operator: table_copy\n    source_conn_id: pg_source\n    target_conn_id: pg_target\n    \
         tables: {source: public.t, target: public.t, primary_key: id, sync_mode: incremental_sync, incremental_field: at}\n",
    );
    home.ok(&["tasks", "run", "by_change", "copy", "2024-01-02"]);
    home.ok(&["tasks", "run", "by_change", "copy", "2024-01-03"]);
    let url = source.url();
    let separator = if url.contains('?') { '&' } else { '?' };
    home.set("MILLRACE_CONN_PG_SOURCE", format!("{url}{separator}source_timezone=Asia%2FSeoul"));
    let output = home.run(&["tasks", "run", "by_change", "copy", "2024-01-04"]);
    let told = format!("{}{}", output.stdout, output.stderr);
    assert!(output.code != 0 && told.contains("is one of Asia/Seoul now (source_timezone)"), "{told}");
    target.execute("UPDATE t SET at = at - interval '9 hours'").unwrap();
    source.execute("INSERT INTO t VALUES (2, '2024-01-02 09:30')").unwrap();
    home.ok(&["tasks", "clear", "by_change", "-s", "2024-01-04", "-e", "2024-01-05", "--yes"]);
    home.ok(&["tasks", "run", "by_change", "copy", "2024-01-04"]);
    home.ok(&["tasks", "run", "by_change", "copy", "2024-01-05"]);
    let moments = target.query("SELECT at::text FROM t ORDER BY id").unwrap().concat();
    let moments: Vec<&str> = moments.iter().flatten().map(String::as_str).collect();
    assert_eq!(moments, ["2024-01-02 00:00:00", "2024-01-02 00:30:00"]);
}
