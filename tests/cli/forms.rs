//! Forms of output, exit codes, and what the program says of itself.

use std::fs;

use serde_json::{Value, json};

use crate::support::TestHome;
use crate::{HELLO, home_with_hello, ids};

#[test]
fn every_format_shows_the_same_and_notices_stay_out_of_it() {
    let home = home_with_hello();
    home.write_dag("broken.yaml", "schedule: none\ntask: {}\n");
    for format in ["table", "json", "yaml", "plain"] {
        let output = home.ok(&["dags", "list", "-o", format]);
        assert!(output.stdout.contains("hello"), "{format}: {}", output.stdout);
        assert!(
            output.stderr.contains("list-import-errors") && !output.stdout.contains("list-import-errors"),
            "{format}"
        );
    }
    let json = home.json(&["dags", "list"]);
    assert_eq!(ids(&json), ["hello"]);
    let plain = home.ok(&["dags", "list", "-o", "plain"]).stdout;
    assert_eq!(plain.lines().count(), 2, "a head and a line: {plain}");
    assert!(plain.is_ascii());
    assert!(home.ok(&["dags", "list", "-o", "yaml"]).stdout.contains("dag_id: hello"));
}

#[test]
fn the_home_may_be_named_after_any_subcommand() {
    let (one, other) = (home_with_hello(), TestHome::new());
    other.write_dag("elsewhere.yaml", HELLO);
    let folder = other.path().to_str().unwrap();
    for arguments in [
        &["dags", "list", "-o", "json", "--home", folder][..],
        &["dags", "--home", folder, "list", "-o", "json"],
        &["--home", folder, "dags", "list", "-o", "json"],
    ] {
        assert_eq!(ids(&one.ok(arguments).json()), ["elsewhere"]);
    }
    assert!(!one.file("millrace.db").exists(), "the other home was left alone");
}

#[test]
fn exit_codes_tell_failure_from_wrong_use() {
    let home = home_with_hello();
    for arguments in [
        &["dags", "lst"][..],
        &["dags", "list", "--colour"],
        &["dags", "show"],
        &["dags", "list", "-o", "xml"],
        &["dags", "next-execution", "hello", "--from", "yesterday-ish"],
        &["dags", "backfill", "hello", "-s", "2024-01-05", "-e", "2024-01-01"],
        &["dags", "backfill", "hello", "-s", "never", "-e", "2024-01-01"],
    ] {
        let output = home.run(arguments).exits(2);
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
    for arguments in [
        &["dags", "show", "nothing"][..],
        &["tasks", "test", "hello", "nothing", "2024-01-01"],
        &["tasks", "logs", "hello", "hello", "2024-01-01"],
        &["connections", "get", "nothing"],
        &["variables", "get", "nothing"],
        &["config", "get-value", "core", "nothing"],
        &["operators", "nothing"],
    ] {
        let output = home.run(arguments).exits(1);
        assert!(output.stdout.is_empty() && output.stderr.starts_with("error: "), "{arguments:?}: {}", output.stderr);
    }
    home.ok(&["--help"]);
    home.ok(&["dags", "backfill", "--help"]);
    assert_eq!(home.ok(&["version"]).stdout, format!("{}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(home.json(&["version"]), json!({"version": env!("CARGO_PKG_VERSION")}));
    assert_eq!(home.json(&["config", "lint"])["is_valid"], true);
    assert!(home.ok(&["--version"]).stdout.contains(env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_program_describes_itself() {
    let home = TestHome::new();
    let schema: Value = serde_json::from_str(&home.ok(&["schema"]).stdout).unwrap();
    assert!(schema["properties"]["tasks"].is_object(), "a JSON Schema of DAG files");
    let operators = home.json(&["operators"]);
    let names: Vec<&str> = operators.as_array().unwrap().iter().map(|entry| entry["name"].as_str().unwrap()).collect();
    for name in [
        "extract",
        "upload",
        "sql_to_s3",
        "s3_cleanup",
        "copy",
        "upsert",
        "summary_table",
        "summary_check",
        "sql",
        "bash",
        "noop",
        "empty",
    ] {
        assert!(names.contains(&name), "{names:?}");
        assert!(home.ok(&["operators", name]).stdout.contains(name));
    }
    assert!(home.ok(&["completions", "bash"]).stdout.contains("millrace"));
    assert_eq!(home.ok(&["config", "get-value", "core", "parallelism"]).stdout, "32\n");
    assert_eq!(home.ok(&["config", "get-value", "core.dag_dir_list_interval"]).stdout, "300\n");
    let reference = home.ok(&["config", "reference"]).stdout;
    fs::write(home.file("millrace.toml"), reference).unwrap();
    home.ok(&["config", "list"]);
    home.json(&["explain"]);
    assert!(!home.file("millrace.db").exists(), "none of these needs a database");
}
