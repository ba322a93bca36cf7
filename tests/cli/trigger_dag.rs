//! A task that runs another DAG.

use std::fs;

use millrace_testkit::wait_until_blocking;
use serde_json::Value;

use crate::support::{PATIENCE, TestHome};

const PARENT: &str = "
schedule: none
tasks:
  copy:
    operator: trigger_dag
    trigger_dag_id: child
    conf: {table: '{{ ds }}', size: 7}
    retries: 1
    retry_delay: 1
  after: {operator: bash, command: \"echo {{ ti.xcom_pull('copy').run_id }}\", depends_on: [copy]}
";

/// A home with one worker slot, the parent, and a child that runs this command.
fn home(command: &str) -> TestHome {
    let mut home = TestHome::new();
    home.set("MILLRACE__CORE__PARALLELISM", "1");
    home.set("MILLRACE__CORE__DAGS_ARE_PAUSED_AT_CREATION", "false");
    home.write_dag("parent.yaml", PARENT);
    home.write_dag(
        "child.yaml",
        &format!("schedule: none\ntasks:\n  before: {{operator: bash, command: 'true'}}\n  work:\n    operator: bash\n    depends_on: [before]\n    command: |\n      {command}\n"),
    );
    home
}

fn ends_as(home: &TestHome, run: &str, state: &str) {
    let said = || home.ok(&["dags", "state", "parent", run]).stdout;
    wait_until_blocking("the run ends", PATIENCE, || ["success\n", "failed\n"].contains(&said().as_str())).unwrap();
    assert_eq!(said().trim(), state, "{:?}", home.json(&["tasks", "states-for-dag-run", "parent", run]));
}

/// The child's runs: their ids and states.
fn children(home: &TestHome) -> Vec<(String, String)> {
    let runs = home.json(&["dags", "list-runs", "child"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    runs.as_array().unwrap().iter().map(|run| (text(&run["run_id"]), text(&run["state"]))).collect()
}

fn child(home: &TestHome) -> (String, String) {
    let runs = children(home);
    assert_eq!(runs.len(), 1, "{runs:?}");
    runs[0].clone()
}

#[test]
fn it_waits_without_a_slot_and_hands_on_conf_and_result() {
    let home = home("echo {{ dag_run.conf.table }}/{{ dag_run.conf.size }} > \"$OUT\"; true");
    let out = home.file("out");
    let text = fs::read_to_string(home.file("dags/child.yaml")).unwrap().replace("$OUT", out.to_str().unwrap());
    home.write_dag("child.yaml", &text);
    let _scheduler = home.scheduler();
    // The only slot is needed by the child.
    home.ok(&["dags", "trigger", "parent", "--run-id", "r", "--exec-date", "2024-05-06"]);
    ends_as(&home, "r", "success");
    let (child, state) = child(&home);
    assert_eq!(state, "success");
    assert!(child.starts_with("triggered__"), "{child}");
    assert_eq!(fs::read_to_string(out).unwrap(), "2024-05-06/7\n");
    assert!(home.ok(&["tasks", "logs", "parent", "after", "r"]).stdout.contains(&child));
}

#[test]
fn a_retry_lets_what_failed_in_the_same_run_run_again() {
    let home = home("test -e HOME/flag || { touch HOME/flag; exit 1; }");
    let text = fs::read_to_string(home.file("dags/child.yaml")).unwrap().replace("HOME", home.path().to_str().unwrap());
    home.write_dag("child.yaml", &text);
    let _scheduler = home.scheduler();
    home.ok(&["dags", "trigger", "parent", "--run-id", "r"]);
    ends_as(&home, "r", "success");
    let (run, _) = child(&home);
    let tries = |task: &str| {
        let tasks = home.json(&["tasks", "states-for-dag-run", "child", &run]);
        let found = tasks.as_array().unwrap().iter().find(|row| row["task_id"] == task).cloned();
        found.unwrap()["try_number"].as_u64().unwrap()
    };
    assert_eq!((tries("before"), tries("work")), (1, 2), "what had succeeded was not repeated");
}

#[test]
fn a_failed_run_fails_the_task_and_clearing_the_task_asks_for_a_new_one() {
    let home = home("exit 1");
    let _scheduler = home.scheduler();
    home.ok(&["dags", "trigger", "parent", "--run-id", "r"]);
    ends_as(&home, "r", "failed");
    let (first, state) = child(&home);
    assert_eq!(state, "failed");
    let log = home.ok(&["tasks", "logs", "parent", "copy", "r"]).stdout;
    assert!(log.contains(&format!("the run {first} of DAG child is failed")), "{log}");
    home.ok(&["tasks", "clear", "parent", "--task-regex", "^copy$", "--run-id", "r", "--downstream", "--yes"]);
    wait_until_blocking("a second run", PATIENCE, || children(&home).len() == 2).unwrap();
    ends_as(&home, "r", "failed");
}

/// The child's log could not be searched for them.
#[test]
fn a_conf_of_more_secrets_than_can_be_hidden_starts_no_run() {
    let home = home("true");
    let text = PARENT.replace("size: 7", "password: '{{ \"x\" * 9000 }}'").replace("retries: 1", "retries: 0");
    home.write_dag("parent.yaml", &text);
    let _scheduler = home.scheduler();
    home.ok(&["dags", "trigger", "parent", "--run-id", "r"]);
    ends_as(&home, "r", "failed");
    let log = home.ok(&["tasks", "logs", "parent", "copy", "r"]).stdout;
    assert!(log.contains("'conf': it holds more secrets") && children(&home).is_empty(), "{log}");
}

#[test]
fn stopping_the_task_stops_the_run() {
    let home = home("exec sleep 600");
    let _scheduler = home.scheduler();
    home.ok(&["dags", "trigger", "parent", "--run-id", "r"]);
    wait_until_blocking("the child works", PATIENCE, || {
        children(&home).iter().any(|(run, _)| home.task_states("child", run)["work"] == "running")
    })
    .unwrap();
    assert_eq!(home.task_states("parent", "r")["copy"], "deferred");
    home.ok(&["dags", "mark", "parent", "r", "--state", "failed"]);
    wait_until_blocking("the child is stopped", PATIENCE, || child(&home).1 == "failed").unwrap();
}

#[test]
fn stopping_the_task_stops_the_run_although_no_daemon_runs() {
    for is_killed in [false, true] {
        let home = home("exec sleep 600");
        let mut scheduler = home.scheduler();
        home.ok(&["dags", "trigger", "parent", "--run-id", "r"]);
        wait_until_blocking("the child works", PATIENCE, || {
            children(&home).iter().any(|(run, _)| home.task_states("child", run)["work"] == "running")
                && home.task_states("parent", "r")["copy"] == "deferred"
        })
        .unwrap();
        if is_killed {
            scheduler.kill().unwrap();
        } else {
            assert!(scheduler.terminate(PATIENCE).unwrap().success());
        }
        home.ok(&["tasks", "mark", "parent", "copy", "r", "--state", "failed"]);
        assert_eq!(child(&home).1, "failed");
        let _scheduler = home.scheduler();
        ends_as(&home, "r", "failed");
        assert_eq!(child(&home).1, "failed", "and it stays so");
    }
}

#[test]
fn a_daemon_that_is_killed_or_stopped_asks_for_no_second_run() {
    let home = home("while ! test -e HOME/go; do read -t 0.05 _ <> <(:) || true; done");
    let text = fs::read_to_string(home.file("dags/child.yaml")).unwrap().replace("HOME", home.path().to_str().unwrap());
    home.write_dag("child.yaml", &text);
    let waits = || {
        let works = children(&home).iter().any(|(run, _)| home.task_states("child", run)["work"] == "running");
        works && home.task_states("parent", "r")["copy"] == "deferred"
    };
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "trigger", "parent", "--run-id", "r"]);
    wait_until_blocking("both are under way", PATIENCE, waits).unwrap();
    scheduler.kill().unwrap();
    let mut scheduler = home.scheduler();
    wait_until_blocking("both are under way again", PATIENCE, waits).unwrap();
    assert!(scheduler.terminate(PATIENCE).unwrap().success());
    assert_ne!(child(&home).1, "failed", "a daemon that stops gives up nothing");
    let _scheduler = home.scheduler();
    fs::write(home.file("go"), "").unwrap();
    ends_as(&home, "r", "success");
    assert_eq!(child(&home).1, "success");
}

#[test]
fn a_test_triggers_nothing() {
    let home = home("true");
    let said = home.ok(&["dags", "test", "parent"]);
    assert!(said.stdout.contains("this would trigger child"), "{}", said.stdout);
    assert!(children(&home).is_empty());
}
