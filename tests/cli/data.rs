//! What was moved.

use millrace_testkit::Postgres;
use serde_json::json;

use crate::support::{TestHome, Warehouse};

const MOVES: &str = "
schedule: none
tasks:
  few:
    operator: extract
    sql_conn_id: lite
    query: SELECT 1 AS id UNION ALL SELECT 2
  more:
    operator: extract
    sql_conn_id: lite
    query: SELECT 1 AS id UNION ALL SELECT 2 UNION ALL SELECT 3
";

#[test]
fn the_ledger_says_what_was_moved() {
    let home = TestHome::new();
    home.write_dag("moves.yaml", MOVES);
    std::fs::write(home.file("lite.db"), "").unwrap();
    let file = home.file("lite.db");
    home.ok(&["connections", "add", "lite", "--conn-type", "sqlite", "--conn-schema", file.to_str().unwrap()]);
    assert_eq!(home.json(&["data", "ledger"]), json!([]));
    home.ok(&["tasks", "run", "moves", "few", "2024-05-06"]);
    home.ok(&["tasks", "run", "moves", "more", "2024-05-06"]);
    home.ok(&["tasks", "run", "moves", "more", "2024-05-07"]);

    let all = home.json(&["data", "ledger"]);
    let rows: Vec<_> = all.as_array().unwrap().iter().map(|line| line["rows_written"].as_u64().unwrap()).collect();
    assert_eq!(rows, [3, 3, 2], "newest first");
    let first = &all[2];
    assert_eq!(
        (&first["dag_id"], &first["task_id"], &first["stage"]),
        (&json!("moves"), &json!("few"), &json!("extract"))
    );
    assert_eq!((&first["source"], &first["bytes"]), (&json!("lite: SELECT 1 AS id UNION ALL SELECT 2"), &json!(4)));
    assert!(first["checksum"].as_str().unwrap().starts_with("sha256:"), "{first}");
    // As the API calls them.
    assert!(first["start_date"].as_str() <= first["end_date"].as_str() && first["duration"].is_number(), "{first}");
    assert_eq!(first["logical_date"], "2024-05-06T00:00:00.000000Z");
    let asked = |arguments: &[&str]| {
        let arguments = [&["data", "ledger"], arguments].concat();
        home.json(&arguments).as_array().unwrap().len()
    };
    assert_eq!(asked(&["-d", "moves", "-t", "more"]), 2);
    assert_eq!(asked(&["-d", "moves", "-r", "2024-05-06"]), 2);
    assert_eq!(asked(&["--stage", "load"]), 0);
    assert_eq!(asked(&["--since", "2000-01-01", "--until", "2001-01-01"]), 0);
    let page = home.ok(&["data", "ledger", "--limit", "1", "--offset", "1"]);
    assert!(page.stdout.contains("3 read, 3 written"), "{}", page.stdout);
    let run = all[1]["run_id"].as_str().unwrap();
    // Which run and try read what: all of it, where nobody's terminal is too narrow.
    for known in
        [run, "lite: SELECT 1 AS id UNION ALL SELECT 2 UNION ALL SELECT 3", all[1]["checksum"].as_str().unwrap()]
    {
        assert!(page.stdout.contains(known), "{known} is missing in {}", page.stdout);
    }
    let heading: Vec<&str> = page.stdout.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heading[..5], ["end_date", "dag_id", "run_id", "task_id", "try_number"]);
    assert!(page.stderr.contains("1 of 3 movements; --offset 2"), "{}", page.stderr);
    home.run(&["data", "ledger", "-d", "nothing"]).exits(1);
    home.run(&["data", "ledger", "--since", "yesterday-ish"]).exits(2);
}

const CHECKS: &str = "
schedule: none
tasks:
  amounts:
    operator: sql_column_check
    sql_conn_id: lite
    table: orders
    column_mapping: {amount: {min: {geq_to: 0}, null_check: {equal_to: 0}}}
  table:
    operator: table_copy
    source_conn_id: lite
    target_conn_id: copy
    tables: {source: main.orders, target: main.orders, primary_key: id}
";

#[test]
fn what_checks_found_stands_in_the_ledger_whether_they_passed_or_not() {
    let home = TestHome::new();
    home.write_dag("checks.yaml", CHECKS);
    for name in ["lite", "copy"] {
        let file = home.file(&format!("{name}.db"));
        std::fs::write(&file, "").unwrap();
        home.ok(&["connections", "add", name, "--conn-type", "sqlite", "--conn-schema", file.to_str().unwrap()]);
    }
    home.write_dag(
        "make.yaml",
        "schedule: none\ntasks:\n  make:\n    operator: sql\n    sql_conn_id: lite\n    sql:\n      - CREATE TABLE orders (id \
         INTEGER PRIMARY KEY, amount INTEGER)\n      - INSERT INTO orders VALUES (1, 5), (2, NULL)\n",
    );
    home.ok(&["tasks", "run", "make", "make", "2024-05-06"]);
    home.run(&["tasks", "run", "checks", "amounts", "2024-05-06"]).exits(1);
    home.ok(&["tasks", "run", "checks", "table", "2024-05-06"]);
    let found = home.json(&["data", "ledger", "--stage", "check", "--task-id", "amounts"]);
    let checks = found[0]["checks"].as_array().unwrap();
    let passed: Vec<_> = checks.iter().map(|check| check["passed"].as_bool().unwrap()).collect();
    assert_eq!(passed.iter().filter(|passed| **passed).count(), 1, "{found}");
    assert!(checks.iter().all(|check| check["name"].is_string() && check["found"].is_string()), "{found}");
    assert_eq!(checks.len(), 2, "{found}");
    let copied = home.json(&["data", "ledger", "--stage", "check", "--task-id", "table"]);
    let names: Vec<_> =
        copied[0]["checks"].as_array().unwrap().iter().map(|check| check["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"rows = 2") && names.contains(&"unique(id)"), "{copied}");
    assert_eq!(copied[0]["target"], "copy: main.orders");
    let page = home.ok(&["data", "ledger", "--stage", "check", "--task-id", "amounts"]);
    assert!(page.stdout.contains("1 of 2 checks passed"), "{}", page.stdout);
}

const SCRIPT: &str = "
schedule: none
tasks:
  fill:
    operator: sql
    sql_conn_id: CONN
    sql: |
      CREATE TABLE moved (id INT, v INT);
      INSERT INTO moved VALUES (1, 1), (2, 2), (3, 3);
      CREATE TABLE more AS SELECT * FROM moved WHERE id > 1;
      UPDATE moved SET v = 9 WHERE id = 1;
      DELETE FROM moved WHERE id < 3;
      INSERT INTO moved SELECT id, v FROM more WHERE id > 7;
      CREATE TABLE last (id INT);
      SELECT COUNT(*) FROM moved;
";

/// Undone by the script itself.
const UNDONE: &str = "      COMMIT;\n      DELETE FROM moved;\n      ROLLBACK\n";

#[test]
fn what_a_script_moves_within_a_database_stands_in_the_ledger() {
    let mut home = TestHome::new();
    let file = home.file("lite.db");
    std::fs::write(&file, "").unwrap();
    home.ok(&["connections", "add", "lite", "--conn-type", "sqlite", "--conn-schema", file.to_str().unwrap()]);
    let database = Postgres::shared().and_then(|server| server.create_database()).unwrap();
    home.set("MILLRACE_CONN_PG", database.url());
    let warehouse = Warehouse::start();
    warehouse.connect(&mut home);
    for (conn_id, made, undone) in [("lite", None, UNDONE), ("pg", Some(2), UNDONE), ("redshift_dev", None, "")] {
        home.write_dag(&format!("{conn_id}.yaml"), &format!("{}{undone}", SCRIPT.replace("CONN", conn_id)));
        home.ok(&["tasks", "run", conn_id, "fill", "2024-05-06"]);
        let lines = home.json(&["data", "ledger", "-d", conn_id, "--stage", "sql"]);
        let lines: Vec<_> = lines.as_array().unwrap().iter().rev().collect();
        let found: Vec<_> = lines
            .iter()
            .map(|line| {
                let rows = |name: &str| line[name].as_u64();
                let target = line["target"].as_str().unwrap();
                (target, rows("rows_inserted"), rows("rows_updated"), rows("rows_deleted"), rows("rows_written"))
            })
            .collect();
        let (moved, more) = (format!("{conn_id}: moved"), format!("{conn_id}: more"));
        let expected = [
            (moved.as_str(), Some(3), None, None, Some(3)),
            (&more, made, None, None, made),
            (&moved, None, Some(1), None, Some(1)),
            (&moved, None, None, Some(2), None),
            (&moved, Some(0), None, None, Some(0)),
        ];
        assert_eq!(found, expected, "{conn_id}");
        assert_eq!(lines[3]["source"], format!("{conn_id}: DELETE FROM moved WHERE id < 3"));
        let has_id = lines.iter().all(|line| line["remote_ids"].as_array().is_some_and(|ids| !ids.is_empty()));
        assert_eq!(has_id, conn_id != "lite", "{lines:?}");
    }
}

const BROKEN: &str = "
schedule: none
tasks:
  own:
    operator: sql
    sql_conn_id: CONN
    sql: |
      INSERT INTO moved VALUES (4, 4), (5, 5);
      COMMIT;
      DELETE FROM moved;
      INSERT INTO nowhere VALUES (1);
  each:
    operator: sql
    sql_conn_id: CONN
    autocommit: true
    sql: [UPDATE moved SET v = 1, INSERT INTO nowhere VALUES (1), DELETE FROM moved]
  open:
    operator: sql
    sql_conn_id: CONN
    autocommit: true
    sql: [UPDATE moved SET v = 2, BEGIN, DELETE FROM moved, INSERT INTO nowhere VALUES (1)]
";

#[test]
fn of_a_script_that_fails_what_it_had_committed_stands_in_the_ledger() {
    let mut home = TestHome::new();
    let file = home.file("lite.db");
    std::fs::write(&file, "").unwrap();
    home.ok(&["connections", "add", "lite", "--conn-type", "sqlite", "--conn-schema", file.to_str().unwrap()]);
    let database = Postgres::shared().and_then(|server| server.create_database()).unwrap();
    home.set("MILLRACE_CONN_PG", database.url());
    let warehouse = Warehouse::start();
    warehouse.connect(&mut home);
    for conn_id in ["lite", "pg", "redshift_dev"] {
        home.write_dag(&format!("{conn_id}.yaml"), &BROKEN.replace("CONN", conn_id));
        let made = format!(
            "schedule: none\ntasks: {{t: {{operator: sql, sql_conn_id: {conn_id}, sql: 'CREATE TABLE moved (id INT, v INT)'}}}}\n"
        );
        home.write_dag(&format!("make_{conn_id}.yaml"), &made);
        home.ok(&["tasks", "run", &format!("make_{conn_id}"), "t", "2024-05-06"]);
        // The Data API keeps no transaction open between two statements.
        let tasks: &[_] = if conn_id == "redshift_dev" { &["own", "each"] } else { &["own", "each", "open"] };
        for task in tasks {
            home.run(&["tasks", "run", conn_id, task, "2024-05-06"]).exits(1);
            let lines = home.json(&["data", "ledger", "-d", conn_id, "--stage", "sql", "--task-id", task]);
            let lines = lines.as_array().unwrap();
            assert_eq!(lines.len(), 1, "{conn_id} {task}: {lines:?}");
            let rows = (&lines[0]["rows_inserted"], &lines[0]["rows_updated"], &lines[0]["rows_deleted"]);
            let (inserted, updated) = if *task == "own" { (json!(2), json!(null)) } else { (json!(null), json!(2)) };
            assert_eq!(rows, (&inserted, &updated, &json!(null)), "{conn_id} {task}");
        }
    }
}
