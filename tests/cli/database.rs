//! The metadata database: what is old, moving house, statements by hand.

use std::fs;
use std::time::{Duration, SystemTime};

use millrace_testkit::{Postgres, wait_until_blocking};
use serde_json::{Value, json};

use super::pools::sqlite;
use crate::home_with_hello;
use crate::support::{PATIENCE, TestHome};

fn rows(report: &Value, table: &str) -> u64 {
    let found = report.as_array().unwrap().iter().find(|row| row["table"] == table);
    found.map_or(0, |row| row["rows"].as_u64().unwrap())
}

/// Four runs of `hello`, all ended.
fn home_with_runs() -> TestHome {
    let home = home_with_hello();
    for day in 1..5 {
        let date = format!("2024-01-0{day}");
        home.ok(&["tasks", "run", "hello", "hello", &date]);
    }
    home
}

fn run_folders(home: &TestHome) -> usize {
    fs::read_dir(home.file("logs/dag_id=hello")).map_or(0, Iterator::count)
}

#[test]
fn clean_archives_and_deletes_what_is_old() {
    let home = home_with_runs();
    assert_eq!(run_folders(&home), 4);
    let dry = home.json(&["db", "clean", "--before", "2999-01-01", "--dry-run"]);
    assert_eq!(rows(&dry, "dag_run"), 3, "the newest stays: {dry}");
    let nothing = home.ok(&["db", "clean", "--keep", "30d", "--yes"]);
    assert!(nothing.stderr.contains("nothing is older than"), "{}", nothing.stderr);
    home.run(&["db", "clean", "--before", "2999-01-01"]).exits(1);
    assert_eq!(home.json(&["dags", "list-runs", "hello"]).as_array().unwrap().len(), 4, "it asks first");
    home.run(&["db", "clean"]).exits(2);
    home.run(&["db", "clean", "--keep", "soon", "-y"]).exits(2);
    home.run(&["db", "clean", "--before", "2999-01-01", "--tables", "user", "-y"]).exits(1);

    // Making the database again changes nothing.
    home.ok(&["db", "init"]);
    assert_eq!(home.json(&["dags", "list-runs", "hello"]).as_array().unwrap().len(), 4);

    let output = home.ok(&[
        "db",
        "clean",
        "--before",
        "2999-01-01",
        "--tables",
        "dag_run",
        "--batch-size",
        "2",
        "-y",
        "-o",
        "json",
    ]);
    let report = output.json();
    assert_eq!(
        (rows(&report, "dag_run"), rows(&report, "task_instance"), rows(&report, "task_try")),
        (3, 6, 3),
        "{report}"
    );
    assert_eq!(home.json(&["dags", "list-runs", "hello"]).as_array().unwrap().len(), 1);
    assert_eq!(run_folders(&home), 1, "the logs went too");
    let folder = fs::read_dir(home.file("archive")).unwrap().next().unwrap().unwrap().path();
    assert!(output.stderr.contains(folder.to_str().unwrap()), "{}", output.stderr);
    let archived = fs::read_to_string(folder.join("dag_run.jsonl")).unwrap();
    let first: Value = serde_json::from_str(archived.lines().next().unwrap()).unwrap();
    assert_eq!((archived.lines().count(), &first["dag_id"], &first["state"]), (3, &json!("hello"), &json!("success")));
    assert_eq!(fs::read_to_string(folder.join("task_instance.jsonl")).unwrap().lines().count(), 6);
}

#[test]
fn clean_takes_only_the_dags_that_are_named_and_leaves_what_it_is_told_to() {
    let home = home_with_runs();
    home.write_dag("other.yaml", "schedule: none\ntasks: {a: {operator: bash, bash_command: 'true'}}\n");
    for day in 1..4 {
        home.ok(&["tasks", "run", "other", "a", &format!("2024-01-0{day}")]);
    }
    let folders = || fs::read_dir(home.file("logs/dag_id=other")).map_or(0, Iterator::count);
    let clean = ["db", "clean", "--before", "2999-01-01", "--dag-ids", "other", "--tables", "dag_run"];
    let dry = home.json(&[&clean[..], &["--dry-run"]].concat());
    assert_eq!(rows(&dry, "dag_run"), 2, "the newest stays: {dry}");
    home.ok(&[&clean[..], &["--skip-archive", "--keep-logs", "-y"]].concat());
    let left = |dag: &str| home.json(&["dags", "list-runs", dag]).as_array().unwrap().len();
    assert_eq!((left("hello"), left("other")), (4, 1));
    assert_eq!((run_folders(&home), folders()), (4, 3), "all logs are there");
    assert!(!home.file("archive").exists());
}

#[test]
fn the_scheduler_deletes_daily_what_is_older_than_the_setting() {
    let mut home = home_with_runs();
    sqlite(&home, "UPDATE dag_run SET end_date = end_date - 3 * CAST(86400000000 AS BIGINT)");
    home.set("MILLRACE__DATABASE__RETENTION_DAYS", "2");
    // Whoever deleted these was stopped before their logs were gone too; the last one may belong to something new.
    let old = SystemTime::now() - Duration::from_hours(48);
    for (folder, changed) in [("hello/run_id=gone", old), ("gone", old), ("hello/run_id=young", SystemTime::now())] {
        let folder = home.file(&format!("logs/dag_id={folder}"));
        fs::create_dir_all(folder.join("task_id=x")).unwrap();
        fs::File::open(&folder).unwrap().set_modified(changed).unwrap();
    }
    let _scheduler = home.scheduler();
    let left = || home.json(&["dags", "list-runs", "hello"]).as_array().unwrap().len();
    wait_until_blocking("old runs are deleted", PATIENCE, || left() == 1 && run_folders(&home) == 2).unwrap();
    wait_until_blocking("what was left of a DAG is too", PATIENCE, || !home.file("logs/dag_id=gone").exists()).unwrap();
    assert!(home.file("logs/dag_id=hello/run_id=young").is_dir());
    assert!(home.file("archive").is_dir());
}

/// A database that does not know what another one's runs have left, as one that was only just made, has no say over it.
#[test]
fn logs_of_another_installation_stay() {
    let home = home_with_runs();
    let folder = home.file("logs/dag_id=etl");
    fs::create_dir_all(folder.join("run_id=old")).unwrap();
    fs::File::open(&folder).unwrap().set_modified(SystemTime::now() - Duration::from_hours(48)).unwrap();
    let own = fs::read_to_string(home.file("logs/installation")).unwrap();
    fs::write(home.file("logs/installation"), "another").unwrap();
    home.ok(&["db", "clean", "--before", "2999-01-01", "--yes"]);
    assert_eq!(run_folders(&home), 1, "those of its own runs go with them");
    assert!(folder.is_dir());
    fs::write(home.file("logs/installation"), own).unwrap();
    home.ok(&["db", "clean", "--before", "2999-01-02", "--yes"]);
    assert!(!folder.exists());
}

#[test]
fn everything_moves_to_postgres_and_back() {
    let mut home = home_with_runs();
    home.ok(&["connections", "add", "shop", "--conn-uri", "mysql://me:correct-horse@db.example/shop"]);
    home.ok(&["pools", "set", "etl", "3"]);
    let shown = |home: &TestHome| {
        [&["dags", "list-runs", "hello"][..], &["pools", "list"], &["connections", "list"], &["dags", "list"]]
            .map(|command| home.json(command))
    };
    let before = shown(&home);
    let file = home.file("export.jsonl");
    let file = file.to_str().unwrap();
    let scheduler = home.scheduler();
    let beside = home.ok(&["db", "export", "-"]);
    assert!(beside.stderr.contains("to move, stop it first"), "{}", beside.stderr);
    drop(scheduler);
    let output = home.ok(&["db", "export", file]);
    assert!(output.stderr.contains("encryption_key") && !output.stderr.contains("stop it"), "{}", output.stderr);
    home.run(&["db", "export", file]).exits(1);
    assert!(!fs::read_to_string(file).unwrap().contains("correct-horse"), "secrets stay sealed");
    let full = home.run(&["db", "import", file]).exits(1);
    assert!(full.stderr.contains("the database is not empty"), "{}", full.stderr);

    let database = Postgres::shared().unwrap().create_database().unwrap();
    home.set("MILLRACE__DATABASE__URL", database.url());
    home.ok(&["db", "migrate"]);
    home.ok(&["db", "import", file]);
    assert_eq!(shown(&home), before);
    let secret = home.ok(&["connections", "export", "-", "--with-secrets"]).json();
    assert_eq!(secret["shop"]["password"], "correct-horse");
    home.ok(&["tasks", "run", "hello", "hello", "2024-01-07"]);

    let text = home.ok(&["db", "export", "-"]).stdout;
    let other = TestHome::new();
    fs::copy(home.file("encryption_key"), other.file("encryption_key")).unwrap();
    other.ok(&["db", "migrate"]);
    other.run_with_input(&["db", "import", "-"], &text).exits(0);
    assert_eq!(other.json(&["pools", "list"]), before[1]);
    other.run_with_input(&["db", "import", "-"], "{}\n").exits(1);
}

#[test]
fn the_statements_of_all_migrations_can_be_read() {
    let home = TestHome::new();
    let sql = home.ok(&["db", "migrate", "--show-sql"]).stdout;
    assert!(sql.contains("-- m0001_dags_and_runs") && sql.contains("CREATE TABLE dag_run"), "{sql}");
    assert!(!home.file("millrace.db").exists());
    home.ok(&["db", "migrate"]);
    let names = home.json(&["db", "check-migrations"]);
    for migration in names.as_array().unwrap() {
        let name = migration["name"].as_str().unwrap();
        assert!(sql.contains(&format!("-- {name}: ")), "{name} is missing");
    }
}
