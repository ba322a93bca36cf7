//! One task at a time.

use serde_json::json;

use crate::{home_with_hello, ids};

#[test]
fn tasks_test_runs_a_task_and_writes_nothing() {
    let home = home_with_hello();
    let output = home.ok(&["tasks", "test", "hello", "hello", "2024-05-06"]);
    assert!(output.stdout.contains("hello on 2024-05-06"), "{}", output.stdout);
    assert!(!home.file("millrace.db").exists(), "it works without a database and makes none");

    home.ok(&["variables", "set", "greeting", "good morning"]);
    home.json(&["dags", "list"]);
    home.write_dag("talks.yaml", "schedule: none\ntasks:\n  say:\n    operator: bash\n    bash_command: echo '{{ var.value.greeting }}'; exit {{ params.code | default(0) }}\nparams: {code: 0}\n");
    let stored = || {
        let mut files = home.files();
        // Of the database only what is durable: its shared memory is an index of readers.
        files.retain(|name, bytes| (name == "millrace.db" || name == "millrace.db-wal") && !bytes.is_empty());
        files
    };
    let before = stored();
    assert!(before.contains_key("millrace.db"));
    let output = home.ok(&["tasks", "test", "talks", "say", "2024-05-06"]);
    assert!(output.stdout.contains("good morning"), "it reads the database: {}", output.stdout);
    home.run(&["tasks", "test", "talks", "say", "2024-05-06", "-t", r#"{"code": 3}"#]).exits(1);
    assert!(stored() == before, "the database or its log of changes was written to");
    assert_eq!(ids(&home.json(&["dags", "list"])), ["hello", "talks"]);
    assert_eq!(home.json(&["dags", "list-runs", "talks"]), json!([]));
}

#[test]
fn tasks_run_records_and_minds_dependencies() {
    let home = home_with_hello();
    let refused = home.run(&["tasks", "run", "hello", "after", "2024-05-06"]).exits(1);
    assert!(
        refused.stderr.contains("hello is none") && refused.stderr.contains("--ignore-dependencies"),
        "{}",
        refused.stderr
    );
    home.ok(&["tasks", "run", "hello", "hello", "2024-05-06"]);
    let again = home.run(&["tasks", "run", "hello", "hello", "2024-05-06"]).exits(1);
    assert!(again.stderr.contains("--force"), "{}", again.stderr);
    home.ok(&["tasks", "run", "hello", "after", "2024-05-06"]);

    let runs = home.json(&["dags", "list-runs", "hello"]);
    assert_eq!(runs.as_array().unwrap().len(), 1);
    assert_eq!((&runs[0]["run_type"], &runs[0]["state"]), (&json!("manual"), &json!("success")));
    assert_eq!(runs[0]["logical_date"], "2024-05-06T00:00:00.000000Z");
    let run_id = runs[0]["run_id"].as_str().unwrap();
    for run in [run_id, "2024-05-06", "2024-05-06T00:00:00Z"] {
        assert_eq!(home.ok(&["tasks", "state", "hello", "hello", run]).stdout, "success\n");
        assert!(home.ok(&["tasks", "logs", "hello", "hello", run]).stdout.contains("hello on 2024-05-06"));
        assert_eq!(home.ok(&["dags", "state", "hello", run]).stdout, "success\n");
    }
    home.ok(&["tasks", "run", "hello", "hello", "2024-05-06", "--force"]);
    let tasks = home.json(&["tasks", "states-for-dag-run", "hello", run_id]);
    let tries: Vec<(&str, u64)> = tasks
        .as_array()
        .unwrap()
        .iter()
        .map(|task| (task["task_id"].as_str().unwrap(), task["try_number"].as_u64().unwrap()))
        .collect();
    assert!(tries.contains(&("hello", 2)) && tries.contains(&("after", 1)), "{tries:?}");
    let start = tasks[0]["start_date"].as_str().unwrap();
    assert!(start.len() == 27 && start.ends_with('Z'), "RFC 3339 in UTC with microseconds: {start}");
    assert!(home.ok(&["tasks", "logs", "hello", "hello", run_id, "--try", "1"]).stdout.contains("hello on"));

    let list = home.json(&["tasks", "list", "hello"]);
    assert_eq!(
        (&list[0]["task_id"], &list[1]["task_id"]),
        (&json!("hello"), &json!("after")),
        "in the order of dependencies"
    );
    let rendered = home.json(&["tasks", "render", "hello", "hello", "2024-07-08"]);
    assert_eq!(rendered["bash_command"], "echo hello on 2024-07-08");
}
