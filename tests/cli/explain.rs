//! Why is it not running?

use std::time::Duration;

use millrace_testkit::wait_until_blocking;
use serde_json::{Value, json};

use crate::support::{PATIENCE, TestHome};
use crate::{home_with_hello, ids};

fn unmet(explanation: &Value) -> Vec<&str> {
    let conditions = explanation["conditions"].as_array().unwrap().iter();
    conditions
        .filter(|condition| condition["ok"] == false)
        .map(|condition| condition["text"].as_str().unwrap())
        .collect()
}

#[test]
fn a_dag_says_when_its_next_run_starts_and_what_holds_it() {
    let home = home_with_hello();
    home.write_dag("later.yaml", "schedule: \"@daily\"\nstart_date: 2999-01-01\ntasks: {a: {operator: empty}}\n");
    home.write_dag("never.yaml", "schedule: none\ntasks: {a: {operator: empty}}\n");
    let alone = home.json(&["dags", "explain", "later"]);
    assert!(alone["answer"].as_str().unwrap().contains("no scheduler is running"), "{alone}");
    assert_eq!(unmet(&alone)[1], "the DAG is paused", "{alone}");
    let never = home.json(&["dags", "explain", "never"]);
    assert!(unmet(&never).iter().any(|text| text.contains("it runs when triggered")), "{never}");

    let _scheduler = home.scheduler();
    let paused = home.ok(&["dags", "explain", "later"]).stdout;
    assert!(paused.starts_with("the DAG is paused\n"), "{paused}");
    home.ok(&["dags", "unpause", "later"]);
    let fine = home.json(&["dags", "explain", "later"]);
    assert_eq!(fine["starts_at"], "2999-01-02T00:00:00.000000Z", "{fine}");
    assert_eq!(fine["answer"], "everything is fine: the next run starts at 2999-01-02T00:00:00.000000Z");
    let text = home.ok(&["dags", "explain", "later", "-o", "plain"]).stdout;
    assert!(text.contains("  met      the DAG is not paused\n") && text.contains("  not yet  the run for"), "{text}");
    home.run(&["dags", "explain", "nothing"]).exits(1);
    home.run(&["dags", "explain", "later", "no_such_run"]).exits(1);

    // One whose file is gone can't be triggered either, and stands in no list but that of all.
    std::fs::remove_file(home.file("dags/never.yaml")).unwrap();
    let told = |text: &str| text.contains("scheduled, but their files are gone");
    assert!(!told(&home.ok(&["dags", "list"]).stderr), "it has no schedule");
    assert_eq!(ids(&home.json(&["dags", "list"])), ["hello", "later"]);
    let all = home.json(&["dags", "list", "--all"]);
    assert_eq!((ids(&all), &all[2]["is_stale"]), (vec!["hello", "later", "never"], &json!(true)));
    assert_eq!(home.json(&["dags", "explain", "never"])["answer"], "the DAG's file is gone");
    std::fs::remove_file(home.file("dags/later.yaml")).unwrap();
    let output = home.ok(&["dags", "list"]);
    assert!(
        output.stderr.contains("scheduled, but their files are gone: later; put the files back"),
        "{}",
        output.stderr
    );
    home.ok(&["dags", "pause", "later"]);
    assert!(!told(&home.ok(&["dags", "list"]).stderr));
}

#[test]
fn a_task_and_its_run_name_the_first_unmet_condition() {
    let home = TestHome::new();
    let gate = home.file("gate");
    home.ok(&["pools", "set", "narrow", "1"]);
    home.write_dag(
        "waits.yaml",
        &format!(
            "schedule: none\nmax_active_runs: 1\ntasks:\n  first:\n    operator: bash\n    pool: narrow\n    bash_command: while [ ! -e {gate} ]; do sleep 0.05; done\n  second:\n    operator: bash\n    pool: narrow\n    bash_command: 'true'\n  wide:\n    operator: bash\n    pool: narrow\n    pool_slots: 2\n    bash_command: 'true'\n  last:\n    operator: bash\n    depends_on: [first, second]\n    bash_command: 'true'\n",
            gate = gate.display()
        ),
    );
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "waits"]);
    home.ok(&["dags", "trigger", "waits", "--run-id", "one"]);
    home.ok(&["dags", "trigger", "waits", "--run-id", "two"]);
    let state = |task: &str| home.ok(&["tasks", "state", "waits", task, "one"]).stdout;
    wait_until_blocking("the first runs", PATIENCE, || {
        state("first") == "running\n" && state("second") == "scheduled\n"
    })
    .unwrap();
    let why = |task: &str| home.json(&["tasks", "explain", "waits", task, "one"]);
    assert_eq!(why("first")["answer"], "try 1 is running");
    let second = why("second");
    let held = "pool narrow: 1 of 1 slots are in use, the task needs 1; held by task first in run one of DAG waits";
    assert_eq!(second["answer"], held);
    assert_eq!((unmet(&second).len(), &second["state"]), (1, &json!("scheduled")), "{second}");
    assert_eq!(why("wide")["answer"], "pool narrow has 1 of the 2 slots that the task needs, which can never run");
    let last = why("last");
    assert!(last["answer"].as_str().unwrap().starts_with("all_success: 0 of 2 upstream tasks have ended"), "{last}");

    let queued = home.json(&["dags", "explain", "waits", "two"]);
    let held = "the run is queued: 1 of 1 runs of the DAG are running (max_active_runs); held by run one";
    assert_eq!(queued["answer"], held, "{queued}");
    let running = home.json(&["dags", "explain", "waits", "one"]);
    assert_eq!(running["answer"], "the run is in progress: 1 task runs", "{running}");
    assert_eq!(running["tasks"].as_array().unwrap().len(), 4);
    home.run(&["tasks", "explain", "waits", "nothing", "one"]).exits(1);
    home.run(&["tasks", "explain", "waits", "first", "one", "--map-index", "7"]).exits(1);

    home.ok(&["pools", "set", "narrow", "2"]);
    std::fs::write(&gate, "").unwrap();
    let ended = |run: &str| home.ok(&["dags", "state", "waits", run]).stdout == "success\n";
    wait_until_blocking("both runs end", PATIENCE, || ended("one") && ended("two")).unwrap();
    assert_eq!(why("first")["answer"], "it has ended: success");
    assert_eq!(home.json(&["dags", "explain", "waits", "one"])["answer"], "the run has ended: success");
    scheduler.terminate(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_file_that_cannot_be_read_is_told_wherever_its_last_good_version_is_taken() {
    let home = TestHome::new();
    let text = "schedule: '@daily'\nstart_date: 2999-01-01\ntasks: {a: {operator: bash, bash_command: echo old}}\n";
    home.write_dag("torn.yaml", text);
    home.ok(&["dags", "unpause", "torn"]);
    home.write_dag("torn.yaml", &text.replace("echo old}", "echo new"));
    let mut scheduler = home.scheduler();
    let explained = home.run(&["dags", "explain", "torn", "-o", "json"]).exits(0);
    assert_eq!(
        explained.json()["answer"],
        "torn.yaml cannot be read as it is now, so its last good version (1) serves: the next run starts at 2999-01-02T00:00:00.000000Z"
    );
    let commands: [&[&str]; 4] = [
        &["tasks", "render", "torn", "a", "2024-01-01"],
        &["dags", "show", "torn"],
        &["dags", "trigger", "torn", "--run-id", "one"],
        &["tasks", "run", "torn", "a", "2024-01-01"],
    ];
    for command in commands {
        let said = home.run(command).exits(0).stderr;
        assert!(
            said.contains("torn.yaml cannot be read as it is now, so its last good version (1) is taken"),
            "{said}"
        );
    }
    home.write_dag("torn.yaml", &text.replace("old", "new"));
    let fine = home.json(&["dags", "explain", "torn"]);
    assert_eq!(fine["answer"], "everything is fine: the next run starts at 2999-01-02T00:00:00.000000Z");
    scheduler.terminate(Duration::from_secs(10)).unwrap();
}

#[test]
fn what_has_failed_says_what_went_wrong() {
    let home = TestHome::new();
    home.write_dag(
        "broken.yaml",
        "schedule: none\ntasks:\n  ends: {operator: bash, bash_command: exit 3}\n  after: {operator: noop, depends_on: [ends]}\n",
    );
    home.write_dag(
        "again.yaml",
        "schedule: none\ntasks: {a: {operator: bash, bash_command: exit 4, retries: 1, retry_delay: 1h}}\n",
    );
    let mut scheduler = home.scheduler();
    for dag in ["broken", "again"] {
        home.ok(&["dags", "unpause", dag]);
        home.ok(&["dags", "trigger", dag, "--run-id", "r"]);
    }
    wait_until_blocking("both have failed", PATIENCE, || {
        home.ok(&["dags", "state", "broken", "r"]).stdout == "failed\n"
            && home.ok(&["tasks", "state", "again", "a", "r"]).stdout == "up_for_retry\n"
    })
    .unwrap();
    let run = home.json(&["dags", "explain", "broken", "r"]);
    assert_eq!(run["answer"], "the run has ended: failed (task_failure)");
    let failed: Vec<(&str, &str)> = (run["tasks"].as_array().unwrap().iter())
        .map(|task| (task["task_id"].as_str().unwrap(), task["answer"].as_str().unwrap()))
        .collect();
    assert_eq!(failed, [("ends", "it has ended: failed (error: bash exited with code 3; it printed nothing)")]);
    let again = home.json(&["tasks", "explain", "again", "a", "r"]);
    let answer = again["answer"].as_str().unwrap();
    assert!(
        answer.starts_with(
            "try 1 has failed (error: bash exited with code 4; it printed nothing); it is tried again after"
        ),
        "{answer}"
    );
    scheduler.terminate(Duration::from_secs(10)).unwrap();
}

/// Whoever asks may have another configuration than the daemon has.
#[test]
fn what_waits_is_explained_by_the_configuration_of_the_daemon() {
    let mut home = TestHome::new();
    let (begun, gate) = (home.file("begun"), home.file("gate"));
    let command = format!("touch {}; while [ ! -e {} ]; do sleep 0.05; done", begun.display(), gate.display());
    home.write_dag(
        "two.yaml",
        &format!(
            "schedule: none\ntasks:\n  a: {{operator: bash, bash_command: '{command}'}}\n  b: {{operator: bash, bash_command: 'true', priority_weight: 0}}\n"
        ),
    );
    home.set("MILLRACE__CORE__PARALLELISM", "1");
    home.set("MILLRACE__CORE__MAINTENANCE_EXCEPT_TAGS", "critical");
    let mut scheduler = home.scheduler();
    home.set("MILLRACE__CORE__PARALLELISM", "8");
    home.ok(&["dags", "unpause", "two"]);
    home.ok(&["dags", "trigger", "two", "--run-id", "r"]);
    wait_until_blocking("the task has begun", PATIENCE, || begun.exists()).unwrap();
    let waits = home.json(&["tasks", "explain", "two", "b", "r"]);
    assert_eq!(waits["answer"], "1 of 1 worker slots are in use", "{waits}");
    home.set("MILLRACE__CORE__MAINTENANCE", "2020-01-01..2998-12-31");
    let goes_on = home.json(&["tasks", "explain", "two", "b", "r"]);
    assert_eq!(unmet(&goes_on), ["1 of 1 worker slots are in use"], "{goes_on}");
    // So does a web server in a process of its own.
    home.run_with_input(&["users", "create", "ada", "--role", "admin"], "battery staple").exits(0);
    let token = home.json(&["tokens", "create", "ada", "ci"])["token"].as_str().unwrap().to_owned();
    let mut server = home.daemon(&["server", "--port", "0"]);
    let line = server.wait_for_line("serving http://", PATIENCE).unwrap();
    let address = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(';');
    let path = format!("{address}/api/v1/dags/two/dagRuns/r/taskInstances/b/dependencies");
    let mut answer = ureq::get(path).header("authorization", format!("Bearer {token}")).call().unwrap();
    let told: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    assert_eq!(told["answer"], "1 of 1 worker slots are in use", "{told}");
    drop(server);

    // When nobody leads, the caller's own windows are all that is known.
    home.unset("MILLRACE__CORE__MAINTENANCE");
    std::fs::write(&gate, "").unwrap();
    wait_until_blocking("the run ends", PATIENCE, || home.ok(&["dags", "state", "two", "r"]).stdout == "success\n")
        .unwrap();
    assert!(scheduler.terminate(PATIENCE).unwrap().success());
    home.set("MILLRACE__CORE__MAINTENANCE", "2020-01-01..2998-12-31");
    home.write_dag("later.yaml", "schedule: '@daily'\nstart_date: 2024-01-01\ntasks: {a: {operator: empty}}\n");
    home.ok(&["dags", "unpause", "later"]);
    let held = home.json(&["dags", "plan", "later"]);
    assert!(held[0]["reason"].as_str().unwrap().contains("maintenance window"), "{held}");
}
