//! `millrace dags test`: a whole run, and nothing recorded.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::support::TestHome;
use crate::{home_with_hello, ids};

fn states(list: &Value) -> BTreeMap<&str, &str> {
    let rows = list.as_array().unwrap().iter();
    rows.map(|row| (row["task_id"].as_str().unwrap(), row["state"].as_str().unwrap())).collect()
}

#[test]
fn a_whole_run_is_played_and_nothing_is_written() {
    let home = home_with_hello();
    let output = home.ok(&["dags", "test", "hello", "2024-05-06"]);
    assert!(output.stdout.contains("[hello] ") && output.stdout.contains("hello on 2024-05-06"), "{}", output.stdout);
    assert!(output.stdout.contains("[after] ") && output.stderr.contains("nothing was recorded"), "{}", output.stdout);
    assert_eq!(home.files().into_keys().collect::<Vec<_>>(), ["dags/hello.yaml"], "it makes no database and no log");

    home.ok(&["variables", "set", "greeting", "good morning"]);
    home.json(&["dags", "list"]);
    home.write_dag(
        "talks.yaml",
        "schedule: none\nparams: {code: 0}\ntasks:\n  say:\n    operator: bash\n    bash_command: echo '{{ var.value.greeting }}'; exit {{ params.code }}\n",
    );
    let stored = || {
        let mut files = home.files();
        files.retain(|name, bytes| (name == "millrace.db" || name == "millrace.db-wal") && !bytes.is_empty());
        files
    };
    let before = stored();
    assert!(before.contains_key("millrace.db"));
    let output = home.ok(&["dags", "test", "talks"]);
    assert!(output.stdout.contains("good morning"), "{}", output.stdout);
    home.run(&["dags", "test", "talks", "-c", r#"{"code": 3}"#]).exits(1);
    home.run(&["dags", "test", "talks", "-c", "[3]"]).exits(2);
    home.run(&["dags", "test", "nothing"]).exits(1);
    assert!(stored() == before, "the database or its log of changes was written to");
    assert_eq!(ids(&home.json(&["dags", "list"])), ["hello", "talks"]);
    assert_eq!(home.json(&["dags", "list-runs", "talks"]), json!([]));
}

#[test]
fn rules_retries_skips_and_results_work_as_in_a_run() {
    let home = TestHome::new();
    let tries = home.file("tries");
    home.write_dag(
        "all.yaml",
        &format!(
            "schedule: '@daily'\nstart_date: 2024-01-01\ncatchup: true\ndefault_args: {{pool: nowhere}}\ntasks:\n  flaky:\n    operator: bash\n    retries: 2\n    retry_delay: 1h\n    bash_command: echo x >> {tries}; test $(wc -l < {tries}) -gt 1\n  skips:\n    operator: bash\n    bash_command: exit 99\n  after_skip: {{operator: empty, depends_on: [skips]}}\n  fails: {{operator: bash, bash_command: exit 1, depends_on: [flaky]}}\n  never: {{operator: empty, depends_on: [fails]}}\n  cleans: {{operator: bash, bash_command: 'true', depends_on: [fails, skips], trigger_rule: all_done}}\n",
            tries = tries.display()
        ),
    );
    let output = home.run(&["dags", "test", "all", "2024-05-06", "-o", "json"]).exits(1);
    let list = output.json();
    let expected = [
        ("after_skip", "skipped"),
        ("cleans", "success"),
        ("fails", "failed"),
        ("flaky", "success"),
        ("never", "upstream_failed"),
        ("skips", "skipped"),
    ];
    assert_eq!(states(&list), BTreeMap::from(expected));
    let flaky = list.as_array().unwrap().iter().find(|row| row["task_id"] == "flaky").unwrap();
    assert_eq!(flaky["tries"], 2, "it is repeated at once");
    assert!(output.stderr.contains("there is no pool 'nowhere' yet"), "{}", output.stderr);
    assert!(output.stderr.contains("[flaky (try 2)]"), "{}", output.stderr);
    assert_eq!(home.files().into_keys().collect::<Vec<_>>(), ["dags/all.yaml", "tries"]);
}

#[test]
fn mapped_tasks_and_waits_work_as_in_a_run() {
    let home = home_with_hello();
    let late = home.file("late");
    home.write_dag(
        "more.yaml",
        &format!(
            "schedule: none\ntasks:\n  each:\n    operator: bash\n    expand: {{bash_command: ['echo one', 'echo two']}}\n  makes: {{operator: bash, bash_command: 'touch {late}', depends_on: [each]}}\n  waits: {{operator: wait_for_file, path: '{late}', poke_interval: 1s}}\n  other: {{operator: wait_for_task, dag_id: hello, poke_interval: 1s}}\n",
            late = late.display()
        ),
    );
    home.ok(&["tasks", "run", "hello", "hello", "2024-05-06"]);
    let output = home.ok(&["dags", "test", "more", "2024-05-06", "-o", "json"]);
    let list = output.json();
    assert!(list.as_array().unwrap().iter().all(|row| row["state"] == "success"), "{list}");
    assert_eq!(list.as_array().unwrap().iter().filter(|row| row["task_id"] == "each").count(), 2);
    assert!(output.stderr.contains("[each[0]]") && output.stderr.contains("[each[1]]"), "{}", output.stderr);
}

#[test]
fn a_run_that_no_schedule_makes_is_waited_for_and_said_to_be_one() {
    let home = TestHome::new();
    home.write_dag(
        "daily.yaml",
        "schedule: '@daily'\nstart_date: 2024-01-01\nend_date: 2024-01-02\ntasks:\n  load: {operator: empty}\n",
    );
    home.write_dag(
        "waits.yaml",
        "schedule: none\ntasks:\n  waits: {operator: wait_for_task, dag_id: daily, poke_interval: 1s, timeout: 1s}\n",
    );
    home.json(&["dags", "list"]);
    let told = "is not there, and the schedule of daily (every day at 00:00 (UTC)) has no such date; wait for another \
                date by 'offset' or 'logical_date', or trigger waits with a date of daily (-e DATE)";
    let output = home.run(&["dags", "test", "waits", "2024-05-06T11:30", "-o", "json"]).exits(1);
    assert!(output.stderr.contains(told), "{}", output.stderr);
    let output = home.run(&["dags", "test", "waits", "2024-05-06", "-o", "json"]).exits(1);
    assert!(output.stderr.contains("is not there; ") && !output.stderr.contains("no such date"), "{}", output.stderr);
}
