//! Reading the configuration again, and stopping in order.

use std::fs;
use std::process::Command;
use std::time::Duration;

use millrace_testkit::wait_until_blocking;
use serde_json::{Value, json};

use super::pools::sqlite;
use crate::support::{PATIENCE, TestHome};

#[test]
fn a_reload_applies_what_it_can_and_names_the_rest() {
    let home = TestHome::new();
    let (begun, gate) = (home.file("begun"), home.file("gate"));
    home.write_dag(
        "three.yaml",
        &format!(
            "schedule: none\ntasks:\n{}",
            ["a", "b", "c"]
                .map(|name| format!(
                    "  {name}:\n    operator: bash\n    bash_command: echo x >> {}; while [ ! -e {} ]; do sleep 0.05; done\n",
                    begun.display(),
                    gate.display()
                ))
                .join("")
        ),
    );
    fs::write(home.file("millrace.toml"), "[core]\nparallelism = 1\n").unwrap();
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "three"]);
    home.ok(&["dags", "trigger", "three", "--run-id", "r"]);
    let count = || fs::read_to_string(&begun).unwrap_or_default().lines().count();
    wait_until_blocking("one task has begun", PATIENCE, || count() == 1).unwrap();
    let waits = home.json(&["tasks", "explain", "three", "c", "r"]);
    assert_eq!(waits["answer"], "1 of 1 worker slots are in use", "{waits}");

    let changed =
        "[core]\nparallelism = 2\ndag_dir_list_interval = 7\n[logs]\nlevel = \"debug\"\n[server]\nport = 9999\n";
    fs::write(home.file("millrace.toml"), changed).unwrap();
    let output = home.ok(&["config", "reload", "-o", "json"]);
    let answer = &output.json()[0];
    assert_eq!(answer["applied"], json!(["core.dag_dir_list_interval", "core.parallelism", "logs.level"]), "{answer}");
    assert_eq!(answer["needs_restart"], json!(["server.port"]));
    assert!(output.stderr.contains("needs a restart"), "{}", output.stderr);
    wait_until_blocking("a second task has begun", PATIENCE, || count() == 2).unwrap();
    let again = home.json(&["config", "reload"]);
    assert_eq!((&again[0]["applied"], &again[0]["needs_restart"]), (&json!([]), &json!(["server.port"])));

    // A mistake changes nothing, and ends nothing.
    fs::write(home.file("millrace.toml"), "[core]\nparalelism = 3\n").unwrap();
    home.run(&["config", "reload"]).exits(2);
    home.run(&["config", "lint"]).exits(2);
    let hangup = Command::new("kill").args(["-HUP", &scheduler.pid().to_string()]).status().unwrap();
    assert!(hangup.success());
    let line = scheduler.wait_for_line("the configuration has a mistake", PATIENCE).unwrap();
    assert!(line.contains("did you mean 'parallelism'"), "{line}");
    fs::write(home.file("millrace.toml"), "").unwrap();
    home.ok(&["config", "lint"]);
    fs::write(&gate, "").unwrap();
    wait_until_blocking("the run ends", PATIENCE, || home.ok(&["dags", "state", "three", "r"]).stdout == "success\n")
        .unwrap();
    scheduler.terminate(Duration::from_secs(10)).unwrap();
    let nobody = home.run(&["config", "reload"]).exits(1);
    assert!(nobody.stderr.contains("no daemon runs on this machine"), "{}", nobody.stderr);
}

#[test]
fn a_stop_waits_for_what_runs_as_long_as_it_is_told() {
    let mut home = TestHome::new();
    let (begun, gate) = (home.file("begun"), home.file("gate"));
    home.write_dag(
        "slow.yaml",
        &format!(
            "schedule: none\ntasks:\n  a:\n    operator: bash\n    bash_command: touch {}; while [ ! -e {} ]; do sleep 0.05; done\n  b: {{operator: bash, bash_command: 'true', depends_on: [a]}}\n",
            begun.display(),
            gate.display()
        ),
    );
    home.set("MILLRACE__SCHEDULER__DRAIN_TIMEOUT", "600");
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "slow"]);
    home.ok(&["dags", "trigger", "slow", "--run-id", "r"]);
    wait_until_blocking("the task has begun", PATIENCE, || begun.exists()).unwrap();
    let stop = Command::new("kill").args(["-TERM", &scheduler.pid().to_string()]).status().unwrap();
    assert!(stop.success());
    scheduler.wait_for_line("stopping: nothing new starts", PATIENCE).unwrap();
    assert_eq!(home.task_states("slow", "r")["a"], "running", "it is waited for");
    fs::write(&gate, "").unwrap();
    wait_until_blocking("the scheduler ends", PATIENCE, || {
        !home.ok(&["jobs", "list", "--all"]).stdout.contains("running")
    })
    .unwrap();
    let states = home.task_states("slow", "r");
    assert_eq!(states["a"], "success", "its result was kept");
    assert_ne!(states["b"], "success", "nothing new was started");
}

#[test]
fn retention_and_the_time_for_a_stop_hold_from_the_reload_on() {
    let home = TestHome::new();
    let (begun, gate) = (home.file("begun"), home.file("gate"));
    let (begins, waits) = (begun.display(), gate.display());
    home.write_dag(
        "slow.yaml",
        &format!("schedule: none\ntasks: {{a: {{operator: bash, bash_command: 'touch {begins}; while [ ! -e {waits} ]; do sleep 0.05; done'}}}}\n"),
    );
    home.write_dag("quick.yaml", "schedule: none\ntasks: {a: {operator: bash, bash_command: 'true'}}\n");
    for day in 1..4 {
        home.ok(&["tasks", "run", "quick", "a", &format!("2024-01-0{day}")]);
    }
    sqlite(&home, "UPDATE dag_run SET end_date = end_date - 3 * CAST(86400000000 AS BIGINT)");
    fs::write(home.file("millrace.toml"), "[scheduler]\ndrain_timeout = 600\n").unwrap();
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "slow"]);
    home.ok(&["dags", "trigger", "slow", "--run-id", "r"]);
    wait_until_blocking("the task has begun", PATIENCE, || begun.exists()).unwrap();

    let open = "[database]\nretention_days = 2\nretention_archive = false\n[scheduler]\ndrain_timeout = 0\n";
    fs::write(home.file("millrace.toml"), open).unwrap();
    let applied = &home.json(&["config", "reload"])[0]["applied"];
    let expected = ["database.retention_days", "database.retention_archive", "scheduler.drain_timeout"];
    assert_eq!(*applied, json!(expected));
    let left = || home.json(&["dags", "list-runs", "quick"]).as_array().unwrap().len();
    wait_until_blocking("old runs are deleted", PATIENCE, || left() == 1).unwrap();
    assert!(!home.file("archive").exists());
    // Ten minutes would be longer than anybody waits here.
    assert!(scheduler.terminate(PATIENCE).unwrap().success());
    assert_ne!(home.task_states("slow", "r")["a"], "success", "it was stopped");
}

#[test]
fn a_window_that_is_gone_holds_nothing_and_a_shorter_tick_is_kept() {
    let home = TestHome::new();
    home.write_dag("held.yaml", "schedule: none\ntasks: {a: {operator: empty}}\n");
    let closed = "[core]\nmaintenance = \"2020-01-01..2998-12-31\"\n[scheduler]\nslow_tick = 3600\n";
    fs::write(home.file("millrace.toml"), closed).unwrap();
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "held"]);
    home.ok(&["dags", "trigger", "held", "--run-id", "one"]);
    let state = |run: &str| home.ok(&["dags", "state", "held", run]).stdout.trim().to_owned();
    let why = || home.json(&["dags", "explain", "held", "one"])["answer"].as_str().unwrap_or_default().to_owned();
    assert!(why().ends_with("until 2998-12-31T00:00:00.000000Z"), "{}", why());
    assert_eq!(state("one"), "queued");

    fs::write(home.file("millrace.toml"), "[scheduler]\nslow_tick = 1\n").unwrap();
    let applied = &home.json(&["config", "reload"])[0]["applied"];
    assert_eq!(*applied, json!(["core.maintenance", "scheduler.slow_tick"]));
    wait_until_blocking("the run ends", PATIENCE, || state("one") == "success").unwrap();

    // What nobody wakes the scheduler for it finds with a slow tick: the next one would be an hour away.
    home.ok(&["dags", "pause", "held"]);
    home.ok(&["dags", "trigger", "held", "--run-id", "two"]);
    sqlite(&home, "UPDATE dag SET is_paused = FALSE");
    sqlite(&home, "INSERT INTO signal (kind, dag_id, created_at) VALUES ('dag_changed', 'held', 0)");
    wait_until_blocking("the tick comes", PATIENCE, || state("two") == "success").unwrap();
    assert!(scheduler.terminate(PATIENCE).unwrap().success());
}

#[test]
fn a_web_server_of_its_own_is_a_job_and_reads_its_configuration_again() {
    let home = TestHome::new();
    home.ok(&["db", "migrate"]);
    home.run_with_input(&["users", "create", "ada", "--role", "admin"], "battery staple").exits(0);
    let token = home.json(&["tokens", "create", "ada", "ci"])["token"].as_str().unwrap().to_owned();
    let mut server = home.daemon(&["server", "--port", "0"]);
    let line = server.wait_for_line("serving http://", PATIENCE).unwrap();
    let address = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(';');
    let shown = |section: &str, option: &str| {
        let path = format!("{address}/api/v1/config/section/{section}/option/{option}");
        let mut answer = ureq::get(path).header("authorization", format!("Bearer {token}")).call().unwrap();
        let config: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
        config["sections"][0]["options"][0]["value"].as_str().unwrap().to_owned()
    };
    assert!(address.ends_with(&format!(":{}", shown("server", "port"))), "the port that it has: {address}");
    assert_eq!(shown("logs", "level"), "info");
    let jobs = home.json(&["jobs", "list"]);
    assert_eq!((&jobs[0]["job_type"], &jobs[0]["state"]), (&json!("server"), &json!("running")), "{jobs}");
    fs::write(home.file("millrace.toml"), "[logs]\nlevel = \"debug\"\n[server]\nsession_hours = 3\n").unwrap();
    let answer = home.json(&["config", "reload"]);
    assert_eq!(answer[0]["applied"], json!(["logs.level"]), "{answer}");
    assert_eq!(shown("logs", "level"), "debug");
    assert_ne!(shown("server", "session_hours"), "3", "that needs a restart");
    assert!(server.terminate(PATIENCE).unwrap().success());
    assert_eq!(home.json(&["jobs", "list", "--all"])[0]["state"], "ended");
}
