//! Changing by hand what has run: clear, rerun, mark, note, repin.

use std::fs;

use millrace_testkit::wait_until_blocking;
use serde_json::{Value, json};

use crate::support::{PATIENCE, TestHome};

/// `load` fails until the file `good` is there.
fn flaky() -> TestHome {
    let home = TestHome::new();
    let good = home.file("good");
    home.write_dag(
        "flaky.yaml",
        &format!(
            "schedule: none\ntasks:\n  extract: {{operator: bash, bash_command: 'true'}}\n  \
             load: {{operator: bash, depends_on: [extract], bash_command: test -f {}}}\n  \
             check: {{operator: bash, depends_on: [load], bash_command: 'true'}}\n",
            good.display()
        ),
    );
    home
}

fn touched(list: &Value) -> Vec<(String, String, String)> {
    let text = |row: &Value, name: &str| row[name].as_str().unwrap().to_owned();
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| (text(row, "task_id"), text(row, "state"), text(row, "becomes"))).collect()
}

fn triple(task: &str, from: &str, to: &str) -> (String, String, String) {
    (task.to_owned(), from.to_owned(), to.to_owned())
}

#[test]
fn an_older_version_and_a_pause_are_told_where_runs_are_cleared() {
    let home = flaky();
    home.ok(&["dags", "unpause", "flaky"]);
    let _scheduler = home.scheduler();
    home.run(&["dags", "trigger", "flaky", "-r", "one", "-e", "2024-01-01", "--wait"]).exits(1);
    home.write_dag("flaky.yaml", "schedule: none\ntasks:\n  load: {operator: bash, bash_command: 'true'}\n");
    home.ok(&["dags", "pause", "flaky"]);
    let said = home.ok(&["dags", "rerun-failed", "flaky", "--dry-run"]).stderr;
    for line in [
        "1 run keeps version 1 of flaky, whose newest is 2: --latest-version takes that",
        "flaky is paused: what is cleared waits until `millrace dags unpause flaky`",
    ] {
        assert!(said.contains(line), "{line:?} is missing in {said}");
    }
    home.ok(&["dags", "unpause", "flaky"]);
    let newest = home.ok(&["dags", "rerun-failed", "flaky", "--latest-version", "-y"]).stderr;
    assert!(!newest.contains("version") && !newest.contains("paused"), "{newest}");
    let is_well = || home.run_states("flaky").values().all(|state| state == "success");
    wait_until_blocking("the mended task succeeds", PATIENCE, is_well).unwrap();
    home.ok(&["dags", "mark", "flaky", "one", "--state", "failed", "-y"]);
}

#[test]
fn who_clears_a_load_that_appends_is_told_that_its_rows_come_twice() {
    let home = TestHome::new();
    let file = home.file("lite.db");
    fs::write(&file, "").unwrap();
    home.ok(&["connections", "add", "lite", "--conn-type", "sqlite", "--conn-schema", file.to_str().unwrap()]);
    home.write_dag(
        "adds.yaml",
        "schedule: none\ntasks:\n  \
         make: {operator: sql, sql_conn_id: lite, sql: CREATE TABLE IF NOT EXISTS t (id INTEGER)}\n  \
         add: {operator: sql, sql_conn_id: lite, depends_on: [make], sql: INSERT INTO t VALUES (1)}\n  \
         fail: {operator: sql, sql_conn_id: lite, depends_on: [add], sql: INSERT INTO nothing VALUES (1)}\n",
    );
    home.ok(&["dags", "unpause", "adds"]);
    let _scheduler = home.scheduler();
    home.run(&["dags", "trigger", "adds", "-r", "one", "--wait"]).exits(1);
    let told = "warning: task 'add' appends, and has loaded already: its rows will be there twice; delete the rows";
    let looked = home.ok(&["dags", "clear", "adds", "--run-id", "one", "--dry-run"]).stderr;
    assert!(looked.contains(told) && !looked.contains("'fail' appends") && !looked.contains("'make'"), "{looked}");
    for harmless in [
        &["dags", "rerun-failed", "adds", "--dry-run"][..],
        &["tasks", "clear", "adds", "-t", "make", "--run-id", "one", "--dry-run"],
    ] {
        assert!(!home.ok(harmless).stderr.contains("warning"), "{harmless:?}");
    }
    let cleared = home.ok(&["tasks", "clear", "adds", "-t", "add", "--run-id", "one", "-y"]).stderr;
    assert!(cleared.contains(told), "{cleared}");
}

#[test]
fn what_failed_is_run_again() {
    let home = flaky();
    home.ok(&["dags", "unpause", "flaky"]);
    let _scheduler = home.scheduler();
    for run in ["one", "two"] {
        let date = if run == "one" { "2024-01-01" } else { "2024-01-02" };
        home.run(&["dags", "trigger", "flaky", "-r", run, "-e", date, "--wait"]).exits(1);
    }
    let plan = home.json(&["tasks", "clear", "flaky", "-r", "one", "-t", "^lo", "-d", "--dry-run"]);
    assert_eq!(touched(&plan), [triple("load", "failed", "none"), triple("check", "upstream_failed", "none")]);
    let plan = home.json(&["tasks", "clear", "flaky", "-r", "two", "-t", "extract", "--past", "--dry-run"]);
    assert_eq!(plan.as_array().unwrap().iter().map(|row| &row["run_id"]).collect::<Vec<_>>(), ["one", "two"]);
    let plan = home.json(&["tasks", "clear", "flaky", "-s", "2024-01-01", "-e", "2024-01-02", "-f", "--dry-run"]);
    assert_eq!(touched(&plan).len(), 2, "the end is not included");

    let plan = home.json(&["tasks", "clear", "flaky", "-r", "one", "-t", "load", "-d", "--future", "--dry-run"]);
    let of = |run: &str| plan.as_array().unwrap().iter().filter(|row| row["run_id"] == run).count();
    assert_eq!((of("one"), of("two")), (2, 2), "{plan}");
    let running = home.run(&["tasks", "clear", "flaky", "-r", "one", "--only-running", "--dry-run"]).exits(0);
    assert!(running.stderr.contains("nothing to clear"), "nothing of it runs: {}", running.stderr);
    let silent = home.run(&["tasks", "clear", "flaky", "-r", "one"]).exits(2);
    assert!(silent.stderr.contains("Clear 3 task instances in 1 run?"), "{}", silent.stderr);
    assert!(silent.stderr.contains("-y"), "{}", silent.stderr);
    home.run(&["tasks", "clear", "flaky", "-y"]).exits(2);
    let nobody = home.run(&["tasks", "clear", "flaky", "-r", "one", "-t", "nobody", "-y"]).exits(2);
    assert!(nobody.stderr.contains("no task of flaky has 'nobody' in its id"), "{}", nobody.stderr);
    let bad = home.run(&["tasks", "clear", "flaky", "-r", "one", "-t", "lo("]).exits(2);
    assert!(bad.stderr.contains("unclosed group"), "{}", bad.stderr);
    assert!(home.run_states("flaky").values().all(|state| state == "failed"), "nothing was changed so far");

    fs::write(home.file("good"), "").unwrap();
    let output = home.ok(&["dags", "rerun-failed", "flaky", "-y"]);
    assert!(output.stderr.contains("cleared 4 task instances; 2 runs queued again"), "{}", output.stderr);
    let all_well = || home.run_states("flaky").values().all(|state| state == "success");
    wait_until_blocking("both runs go on from where they failed", PATIENCE, all_well).unwrap();
    let tries = home.json(&["tasks", "states-for-dag-run", "flaky", "one"]);
    assert_eq!((&tries[0]["try_number"], &tries[1]["try_number"]), (&json!(1), &json!(2)));
    assert!(!output.stderr.contains("version"), "{}", output.stderr);
    let idle = home.ok(&["dags", "rerun-failed", "--all", "-y"]);
    assert!(idle.stderr.contains("there is nothing to clear\n"), "{}", idle.stderr);

    home.ok(&["dags", "pause", "flaky"]);
    home.ok(&["dags", "clear", "flaky", "-r", "one", "-y"]);
    let second = home.ok(&["tasks", "clear", "flaky", "-r", "one", "-y"]);
    let told = "there is nothing to clear: it waits to run already, in 1 run (cleared by cli at 20";
    assert!(second.stderr.contains(told), "{}", second.stderr);
    home.ok(&["dags", "unpause", "flaky"]);
    wait_until_blocking("it has run again", PATIENCE, all_well).unwrap();

    home.ok(&["dags", "clear", "flaky", "-r", "two", "-y"]);
    wait_until_blocking("the whole run runs again", PATIENCE, all_well).unwrap();
    wait_until_blocking("a second try of the first task", PATIENCE, || {
        home.json(&["tasks", "states-for-dag-run", "flaky", "two"])[0]["try_number"] == 2
    })
    .unwrap();
}

#[test]
fn what_runs_is_cleared_alone_or_spared_and_a_run_may_stay_ended() {
    let home = flaky();
    let gate = home.file("gate");
    let waits = format!("while [ ! -e {} ]; do sleep 0.05; done", gate.display());
    home.write_dag(
        "slow.yaml",
        &format!(
            "schedule: none\ntasks:\n  first: {{operator: bash, bash_command: 'true'}}\n  second: {{operator: bash, depends_on: [first], bash_command: '{waits}'}}\n"
        ),
    );
    home.ok(&["dags", "unpause", "--all"]);
    let _scheduler = home.scheduler();
    home.ok(&["dags", "trigger", "slow", "-r", "one"]);
    wait_until_blocking("the second task runs", PATIENCE, || {
        home.task_states("slow", "one").get("second").is_some_and(|it| it == "running")
    })
    .unwrap();
    let refused = home.run(&["tasks", "clear", "slow", "-r", "one", "--prevent-running-task", "-y"]).exits(1);
    assert!(refused.stderr.contains("second is running in the run one"), "{}", refused.stderr);
    let states = home.task_states("slow", "one");
    assert_eq!((states["first"].as_str(), states["second"].as_str()), ("success", "running"), "nothing was changed");
    let plan = home.json(&["tasks", "clear", "slow", "-r", "one", "--only-running", "--dry-run"]);
    assert_eq!(touched(&plan), [triple("second", "running", "restarting")]);
    home.ok(&["tasks", "clear", "slow", "-r", "one", "-t", "first", "--prevent-running-task", "-y"]);
    fs::write(&gate, "").unwrap();
    wait_until_blocking("the run ends", PATIENCE, || home.ok(&["dags", "state", "slow", "one"]).stdout == "success\n")
        .unwrap();

    home.ok(&["tasks", "clear", "slow", "-r", "one", "-t", "second", "--leave-run-state", "-y"]);
    assert_eq!(
        home.ok(&["dags", "state", "slow", "one"]).stdout,
        "success\n",
        "the run stays ended, and what was cleared waits"
    );
    assert_eq!(home.task_states("slow", "one")["second"], "none");
}

#[test]
fn marks_notes_and_versions() {
    let home = flaky();
    home.ok(&["dags", "trigger", "flaky", "-r", "one"]);
    let marked = home.json(&["tasks", "mark", "flaky", "load", "one", "--state", "success"]);
    assert_eq!(touched(&marked), [triple("load", "none", "success")]);
    let again = home.ok(&["tasks", "mark", "flaky", "load", "one", "--state", "success"]);
    assert!(again.stderr.contains("nothing to mark"), "{}", again.stderr);
    home.run(&["tasks", "mark", "flaky", "lode", "one", "--state", "success"]).exits(1);
    home.run(&["tasks", "mark", "flaky", "load", "one", "--state", "skipped", "-u"]).exits(2);
    home.ok(&["tasks", "mark", "flaky", "load", "one", "--state", "skipped", "-u", "-y"]);
    let states = home.task_states("flaky", "one");
    assert_eq!(states.values().collect::<Vec<_>>(), ["none", "skipped", "skipped"]);

    let plan = home.json(&["dags", "mark", "flaky", "one", "--state", "failed", "--dry-run"]);
    assert_eq!(touched(&plan), [triple("check", "none", "skipped")]);
    home.ok(&["dags", "mark", "flaky", "one", "--state", "failed", "--note", "given up"]);
    assert_eq!(home.ok(&["dags", "state", "flaky", "one"]).stdout, "failed\n");
    assert_eq!(home.ok(&["dags", "note", "flaky", "one"]).stdout, "given up\n");
    let said = home.json(&["dags", "note", "flaky", "one"]);
    assert_eq!((&said["dag_run_id"], &said["note"]), (&json!("one"), &json!("given up")));
    home.ok(&["dags", "note", "flaky", "one", ""]);
    assert_eq!(home.json(&["dags", "note", "flaky", "one"])["note"], Value::Null);
    let none = home.ok(&["dags", "note", "flaky", "one"]);
    assert!(none.stdout.is_empty() && none.stderr.contains("has no note"), "{}{}", none.stdout, none.stderr);

    home.ok(&["dags", "trigger", "flaky", "-r", "two"]);
    home.write_dag("flaky.yaml", "schedule: none\ntasks:\n  extract: {operator: noop}\n  publish: {operator: noop}\n");
    let plan = home.json(&["dags", "repin", "flaky", "--all-active", "--dry-run"]);
    let expected = json!([{"run_id": "two", "state": "queued", "added": ["publish"], "removed": ["load", "check"],
        "restored": [], "queued": false}]);
    assert_eq!(plan, expected);
    assert_eq!(home.task_states("flaky", "two").len(), 3, "nothing was changed");
    home.ok(&["dags", "repin", "flaky", "two"]);
    let states = home.task_states("flaky", "two");
    let states: Vec<(&str, &str)> = states.iter().map(|(task, state)| (task.as_str(), state.as_str())).collect();
    assert_eq!(states, [("check", "removed"), ("extract", "none"), ("load", "removed"), ("publish", "none")]);
    home.run(&["dags", "repin", "flaky", "two"]).exits(1);
}

#[test]
fn a_group_and_single_instances_are_cleared_by_name() {
    let home = TestHome::new();
    home.write_dag(
        "many.yaml",
        "schedule: none\ntasks:\n  each: {operator: bash, command: 'true', expand: [a, b, c]}\n  after: {operator: noop, depends_on: [load]}\ngroups:\n  load:\n    depends_on: [each]\n    tasks:\n      one: {operator: noop}\n    groups:\n      deep: {tasks: {two: {operator: noop}}}\n",
    );
    let _scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "many"]);
    home.ok(&["dags", "trigger", "many", "-r", "r", "--wait"]);
    let plan = |more: &[&str]| -> Vec<String> {
        let rows = home.json(&[&["tasks", "clear", "many", "-r", "r", "--dry-run"], more].concat());
        let name = |row: &Value| format!("{}{}", row["task_id"].as_str().unwrap(), row["map_index"]);
        rows.as_array().unwrap().iter().map(name).collect()
    };
    assert_eq!(plan(&["--group", "load"]), ["load.one-1", "load.deep.two-1"]);
    assert_eq!(plan(&["--group", "load", "--downstream"]).len(), 3);
    assert_eq!(plan(&["--map-index", "1"]), ["each1"]);
    assert_eq!(plan(&["--task-regex", "each", "--map-index", "0,2"]), ["each0", "each2"]);
    let nothing = home.run(&["tasks", "clear", "many", "-r", "r", "--group", "lode", "--dry-run"]).exits(1);
    assert!(nothing.stderr.contains("has no group 'lode'; it has load"), "{}", nothing.stderr);
    home.run(&["tasks", "clear", "many", "-r", "r", "-t", "after", "--map-index", "0", "--dry-run"]).exits(1);
    home.run(&["tasks", "mark", "many", "load", "r", "--state", "skipped"]).exits(2);
    let marked = home.json(&["tasks", "mark", "many", "load", "r", "--state", "skipped", "-y"]);
    let both = [triple("load.one", "success", "skipped"), triple("load.deep.two", "success", "skipped")];
    assert_eq!(touched(&marked), both, "a group is marked as a unit");
}

#[test]
fn what_a_timeout_gave_up_is_really_run_again() {
    let home = TestHome::new();
    let (good, done) = (home.file("good"), home.file("done"));
    home.write_dag(
        "slow.yaml",
        &format!(
            "schedule: none\ndagrun_timeout: 2s\ntasks:\n  a: {{operator: bash, bash_command: 'test -f {} || sleep 600'}}\n  \
             b: {{operator: bash, depends_on: [a], bash_command: 'echo b >> {1}'}}\n  \
             c: {{operator: bash, depends_on: [b], bash_command: 'echo c >> {1}'}}\n",
            good.display(),
            done.display()
        ),
    );
    home.ok(&["dags", "unpause", "slow"]);
    let _scheduler = home.scheduler();
    for (run, date) in [("one", "2024-01-01"), ("two", "2024-01-02")] {
        home.run(&["dags", "trigger", "slow", "-r", run, "-e", date, "--wait"]).exits(1);
        let states = home.task_states("slow", run);
        assert_eq!(states.values().collect::<Vec<_>>(), ["failed", "skipped", "skipped"]);
    }
    // A task that is marked lets those after it have their chance.
    home.ok(&["tasks", "mark", "slow", "a", "two", "--state", "success", "-y"]);
    let state = |run: &str| home.ok(&["dags", "state", "slow", run]).stdout.trim().to_owned();
    wait_until_blocking("the marked run goes on", PATIENCE, || state("two") == "success").unwrap();
    assert_eq!(fs::read_to_string(&done).unwrap(), "b\nc\n");

    fs::write(&good, "").unwrap();
    let output = home.ok(&["dags", "rerun-failed", "slow", "-y"]);
    assert!(output.stderr.contains("cleared 3 task instances; 1 run queued again"), "{}", output.stderr);
    wait_until_blocking("the run goes on where it was given up", PATIENCE, || state("one") == "success").unwrap();
    assert_eq!(fs::read_to_string(&done).unwrap(), "b\nc\nb\nc\n", "and does the work that it had not done");
}

#[test]
fn a_run_and_a_dag_are_deleted_with_all_that_belongs_to_them() {
    let home = flaky();
    home.ok(&["dags", "unpause", "flaky"]);
    let scheduler = home.scheduler();
    for run in ["one", "two"] {
        home.run(&["dags", "trigger", "flaky", "-r", run, "--wait"]).exits(1);
    }
    let silent = home.run(&["dags", "delete", "flaky", "-r", "one"]).exits(2);
    assert!(silent.stderr.contains("Delete the run one of flaky, with tasks"), "{}", silent.stderr);
    home.ok(&["dags", "delete", "flaky", "-r", "one", "--dry-run"]);
    assert_eq!(home.run_states("flaky").len(), 2, "nothing was changed so far");
    for of_all in [&["dags", "list-runs", "--state", "failed"][..], &["dags", "list-runs", "~"]] {
        let list = home.json(of_all);
        let names: Vec<_> = list.as_array().unwrap().iter().map(|run| [&run["dag_id"], &run["run_id"]]).collect();
        assert_eq!(names, [["flaky", "two"], ["flaky", "one"]], "of all DAGs");
    }
    assert_eq!(home.json(&["dags", "list-runs", "--state", "success"]), json!([]));
    home.ok(&["dags", "delete", "flaky", "-r", "one", "-y"]);
    let left = home.json(&["dags", "list-runs", "flaky"]);
    assert_eq!((left.as_array().unwrap().len(), left[0]["run_id"].as_str()), (1, Some("two")));
    let refused = home.run(&["dags", "delete", "flaky", "-y"]).exits(1);
    assert!(refused.stderr.contains("flaky.yaml would bring it back"), "{}", refused.stderr);
    drop(scheduler);
    fs::remove_file(home.file("dags/flaky.yaml")).unwrap();
    let done = home.ok(&["dags", "delete", "flaky", "-y"]);
    assert!(done.stderr.contains("deleted the DAG flaky and 1 run"), "{}", done.stderr);
    home.run(&["dags", "list-runs", "flaky"]).exits(1);
    assert!(!home.file("logs/dag_id=flaky/run_id=two").exists(), "its logs went too");
}
