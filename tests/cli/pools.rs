//! Pools and jobs.

use std::fs;
use std::time::Duration;

use serde_json::{Value, json};

use crate::home_with_hello;
use crate::support::TestHome;

fn named<'a>(pools: &'a Value, name: &str) -> &'a Value {
    pools.as_array().unwrap().iter().find(|pool| pool["pool"] == name).unwrap_or(&Value::Null)
}

#[test]
fn pools_are_set_shown_exported_and_deleted() {
    let home = TestHome::new();
    home.ok(&["pools", "set", "etl", "4", "for the warehouse", "--include-deferred"]);
    home.ok(&["pools", "set", "open", "-1"]);
    let etl = home.json(&["pools", "get", "etl"]);
    assert_eq!((&etl["slots"], &etl["open"], &etl["include_deferred"]), (&json!(4), &json!(4), &json!(true)));
    // What is not said stays.
    home.ok(&["pools", "set", "etl", "5"]);
    let pools = home.json(&["pools", "list"]);
    let etl = named(&pools, "etl");
    assert_eq!((&etl["slots"], &etl["description"]), (&json!(5), &json!("for the warehouse")));
    assert_eq!(etl["include_deferred"], true);
    assert_eq!(named(&pools, "open")["open"], Value::Null, "-1 is no limit");
    assert_eq!(named(&pools, "default_pool")["slots"], 128);

    let file = home.file("pools.json");
    let file = file.to_str().unwrap();
    home.ok(&["pools", "export", file]);
    let other = TestHome::new();
    other.ok(&["pools", "import", file]);
    assert_eq!(other.json(&["pools", "list"]), pools);
    fs::write(file, r#"{"good": {"slots": 1}, "bad": {"slots": -2}}"#).unwrap();
    other.run(&["pools", "import", file]).exits(2);
    other.run(&["pools", "get", "good"]).exits(1);

    home.ok(&["pools", "delete", "etl"]);
    let gone = home.run(&["pools", "get", "etl"]).exits(1);
    assert!(gone.stderr.contains("millrace pools list"), "{}", gone.stderr);
    home.run(&["pools", "delete", "etl"]).exits(1);
    let kept = home.run(&["pools", "delete", "default_pool"]).exits(1);
    assert!(kept.stderr.contains("default_pool is where tasks run that name no pool"), "{}", kept.stderr);
    home.run(&["pools", "set", "etl", "-2"]).exits(2);
    home.run(&["pools", "set", " ", "2"]).exits(2);
}

#[test]
fn jobs_check_tells_the_living_from_the_dead() {
    let home = home_with_hello();
    home.ok(&["db", "migrate"]);
    let never = home.run(&["jobs", "check"]).exits(1);
    assert!(never.stderr.contains("no scheduler has ever run"), "{}", never.stderr);
    let mut scheduler = home.scheduler();
    let lives = home.ok(&["jobs", "check"]);
    assert!(lives.stderr.contains("lives: heartbeat"), "{}", lives.stderr);
    assert_eq!(home.json(&["jobs", "check"])["state"], "running");
    home.run(&["jobs", "check", "--hostname", "nowhere.example"]).exits(1);
    let jobs = home.json(&["jobs", "list"]);
    assert_eq!((&jobs[0]["job_type"], &jobs[0]["state"]), (&json!("scheduler"), &json!("running")));
    scheduler.terminate(Duration::from_secs(10)).unwrap();
    let ended = home.run(&["jobs", "check"]).exits(1);
    assert!(ended.stderr.contains("the last one ended at"), "{}", ended.stderr);
    assert_eq!(home.json(&["jobs", "list"]), json!([]));
    assert_eq!(home.json(&["jobs", "list", "--all"])[0]["state"], "ended");

    let mut killed = home.scheduler();
    killed.kill().unwrap();
    let gone = home.run(&["jobs", "check"]).exits(1);
    assert!(gone.stderr.contains("ended without a word"), "its heartbeat is young, its lock is gone: {}", gone.stderr);
    sqlite(&home, "UPDATE job SET heartbeat_at = heartbeat_at - 31000000 WHERE ended_at IS NULL");
    let silent = home.run(&["jobs", "check"]).exits(1);
    assert!(silent.stderr.contains("ended without a word after its heartbeat"), "{}", silent.stderr);
    assert_eq!(home.json(&["jobs", "list"])[0]["state"], "lost");
    // Of others a heartbeat alone tells, and so it does of all on PostgreSQL.
    sqlite(&home, "UPDATE job SET kind = 'server' WHERE ended_at IS NULL");
    let silent = home.run(&["jobs", "check", "--job-type", "server"]).exits(1);
    assert!(silent.stderr.contains("s old; 30 s are allowed (scheduler.lease_timeout)"), "{}", silent.stderr);
    sqlite(&home, "UPDATE job SET heartbeat_at = heartbeat_at + 31000000 WHERE ended_at IS NULL");
    let lives = home.ok(&["jobs", "check", "--job-type", "server"]);
    assert!(lives.stderr.contains("lives: heartbeat"), "{}", lives.stderr);
}

/// Straight in the metadata database.
pub fn sqlite(home: &TestHome, sql: &'static str) {
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.file("millrace.db"));
        let mut database = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query(sql).execute(&mut database).await.unwrap();
    });
}
