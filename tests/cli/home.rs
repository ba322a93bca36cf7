//! A fresh home, settings and the schema.

use std::fs;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::TestHome;
use crate::{home_with_hello, ids};

#[test]
fn a_home_may_hold_nothing_but_dags() {
    let home = home_with_hello();
    home.write_dag("short.yml", "schedule: none\ntasks: {a: {operator: empty}}\n");
    let output = home.ok(&["db", "migrate"]);
    assert_eq!(output.stdout, "", "notices go to stderr");
    assert!(home.file("millrace.db").exists() && !home.file("millrace.toml").exists());
    home.ok(&["db", "migrate"]);
    home.ok(&["db", "check"]);

    let dags = home.json(&["dags", "list"]);
    assert_eq!(ids(&dags), ["hello", "short"]);
    for dag in dags.as_array().unwrap() {
        assert_eq!(dag["is_paused"], true, "new DAGs are paused");
        assert_eq!(dag["next_run"], Value::Null);
    }
    home.ok(&["dags", "unpause", "hello"]);
    let dags = home.json(&["dags", "list"]);
    assert_eq!((&dags[0]["is_paused"], &dags[0]["next_run"]), (&json!(false), &json!("2024-01-02T00:00:00.000000Z")));
}

#[test]
fn a_command_in_a_home_without_anything_says_that_it_made_one() {
    let home = home_with_hello();
    let first = home.ok(&["connections", "list"]);
    assert!(first.stderr.contains("made a metadata database there (--home or MILLRACE_HOME names another home)"));
    assert!(first.stderr.contains(home.path().to_str().unwrap()), "{}", first.stderr);
    assert_eq!(home.ok(&["connections", "list"]).stderr, "");
}

#[test]
fn a_setting_lets_new_dags_start_unpaused() {
    let home = home_with_hello();
    fs::write(home.file("millrace.toml"), "dags_are_paused_at_creation = false\n").unwrap();
    assert_eq!(home.json(&["dags", "list"])[0]["is_paused"], false);
    fs::write(home.file("millrace.toml"), "dags_are_paused_at_creaton = false\n").unwrap();
    let output = home.run(&["dags", "list"]).exits(2);
    assert!(
        output.stderr.contains("dags_are_paused_at_creaton") && output.stderr.contains("did you mean"),
        "{}",
        output.stderr
    );
}

#[test]
fn case_93_two_migrations_at_once_both_succeed() {
    let home = home_with_hello();
    let start = || home.command(&["db", "migrate"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let both = [start(), start(), start()];
    for child in both {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    home.ok(&["db", "check"]);
}

#[test]
fn case_93_the_schema_goes_down_and_up_again_and_reset_asks_first() {
    let home = home_with_hello();
    home.ok(&["variables", "set", "k", "v"]);
    home.run_with_input(&["db", "reset"], "something else\n").exits(1);
    assert_eq!(home.ok(&["variables", "get", "k"]).stdout, "v\n");
    home.ok(&["db", "downgrade", "--steps", "1", "--yes"]);
    home.run(&["db", "check"]).exits(1);
    home.ok(&["db", "migrate"]);
    home.ok(&["db", "check"]);
    assert_eq!(home.ok(&["variables", "get", "k"]).stdout, "v\n", "the last migration's tables held no variables");
    home.ok(&["db", "reset", "--yes"]);
    home.run(&["variables", "get", "k"]).exits(1);
}

#[test]
fn a_newer_schema_is_refused_with_a_clear_word() {
    let home = home_with_hello();
    home.ok(&["db", "migrate"]);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(home.file("millrace.db"));
        let mut database = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query("INSERT INTO seaql_migrations (version, applied_at) VALUES ('m9999_from_the_future', 0)")
            .execute(&mut database)
            .await
            .unwrap();
    });
    for arguments in [&["scheduler"][..], &["dags", "list"], &["db", "check"]] {
        let output = home.run(arguments).exits(1);
        assert!(output.stderr.contains("newer"), "{arguments:?}: {}", output.stderr);
    }
}

#[test]
fn commands_answer_to_the_names_that_they_have_elsewhere() {
    let home = TestHome::new();
    for command in [&["initdb"][..], &["upgradedb"], &["db", "upgrade"]] {
        home.ok(command);
    }
    home.copy_example("hello.yaml");
    assert_eq!(home.json(&["dags", "details", "hello"]), home.json(&["dags", "show", "hello"]));
    for command in ["api-server", "webserver"] {
        assert!(home.ok(&[command, "--help"]).stdout.contains("pages and REST"), "{command}");
    }
}
