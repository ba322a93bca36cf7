//! The command line, as scripts and people use it, on homes that begin with nothing but a folder `dags`.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use millrace_testkit::{Postgres, wait_until_blocking};
use serde_json::{Value, json};
use support::{PATIENCE, TestHome};

const HELLO: &str = "
schedule: \"@daily\"
start_date: 2024-01-01
catchup: true
tasks:
  hello:
    operator: bash
    bash_command: echo hello on {{ ds }}
  after:
    operator: bash
    depends_on: [hello]
    bash_command: echo done
";

fn home_with_hello() -> TestHome {
    let home = TestHome::new();
    home.write_dag("hello.yaml", HELLO);
    home
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|dag| dag["dag_id"].as_str().unwrap()).collect()
}

// ---- a fresh home

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
fn two_migrations_at_once_both_succeed() {
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
fn the_schema_goes_down_and_up_again_and_reset_asks_first() {
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

// ---- forms

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

// ---- DAG files

#[test]
fn validate_names_every_problem_with_its_place() {
    let home = home_with_hello();
    let output = home.ok(&["validate"]);
    assert!(output.stderr.contains("1 files are fine"), "{}", output.stderr);
    let bad = home.write_dag(
        "bad.yaml",
        "shedule: \"@daily\"\ntasks:\n  one:\n    opertor: bash\n    bash_command: echo\n  two:\n    operator: bash\n    depends_on: [on]\n",
    );
    let output = home.run(&["validate"]).exits(1);
    let path = bad.to_str().unwrap();
    for expected in [
        format!("{path}:1:1: error: unknown key 'shedule'"),
        "did you mean 'schedule'?".to_owned(),
        format!("{path}:4:5: error: unknown key 'opertor'"),
        format!("{path}:8:"),
    ] {
        assert!(output.stdout.contains(&expected), "{expected}\n---\n{}", output.stdout);
    }
    home.run(&["validate", path]).exits(1);
    home.ok(&["validate", home.file("dags/hello.yaml").to_str().unwrap()]);
    home.run(&["validate", "no/such/folder"]).exits(1);
    let report = home.run(&["validate", "-o", "json"]).exits(1).json();
    let file = report.as_array().unwrap().iter().find(|file| file["file"] == path).unwrap();
    assert_eq!((&file["diagnostics"][0]["line"], &file["diagnostics"][0]["column"]), (&json!(1), &json!(1)));
    assert!(!home.file("millrace.db").exists(), "validate stores nothing");
}

#[test]
fn a_broken_file_keeps_its_last_good_version_and_is_listed() {
    let home = home_with_hello();
    home.json(&["dags", "list"]);
    home.write_dag("hello.yaml", &HELLO.replace("operator: bash", "operator: bahs"));
    home.write_dag("twice.yaml", &format!("dag_id: twin\n{HELLO}"));
    assert_eq!(ids(&home.json(&["dags", "list"])), ["hello", "twin"]);
    let dag = home.json(&["dags", "show", "hello"]);
    assert_eq!(dag["version"], 1);
    let errors = home.json(&["dags", "list-import-errors"]);
    assert_eq!(errors[0]["fileloc"], "hello.yaml");
    assert!(errors[0]["error"].as_str().unwrap().contains("did you mean 'bash'?"), "{errors}");
    home.write_dag("hello.yaml", HELLO);
    assert_eq!(home.json(&["dags", "list-import-errors"]), json!([]));
}

// ---- dates

#[test]
fn next_execution_reckons_as_the_scheduler_does() {
    let home = TestHome::new();
    home.copy_example("nps_full_refresh.yaml");
    let row = |start: &str, end: &str| {
        let (start, end) = (format!("{start}:00.000000Z"), format!("{end}:00.000000Z"));
        json!({"logical_date": start, "data_interval_start": start, "data_interval_end": end, "run_after": end})
    };
    // 02:00 in Seoul is 17:00 UTC of the day before; without catchup the last complete night comes first.
    assert_eq!(
        home.json(&["dags", "next-execution", "nps_full_refresh", "-n", "3", "--from", "2024-03-09T00:00:00Z"]),
        json!([
            row("2024-03-07T17:00", "2024-03-08T17:00"),
            row("2024-03-08T17:00", "2024-03-09T17:00"),
            row("2024-03-09T17:00", "2024-03-10T17:00"),
        ])
    );
    // A bare date is a day of the DAG's own zone: midnight in Seoul is 15:00 UTC of the day before.
    assert_eq!(
        home.json(&["dags", "next-execution", "nps_full_refresh", "--from", "2024-03-09"]),
        json!([row("2024-03-06T17:00", "2024-03-07T17:00")])
    );
    let zurich = |cron: &str| {
        format!(
            "schedule: \"{cron}\"\nstart_date: 2023-03-24\ncatchup: true\ntimezone: Europe/Zurich\ntasks: {{a: {{operator: empty}}}}\n"
        )
    };
    // On 26 March 2023 there is no 02:00 in Zurich.
    home.write_dag("gap.yaml", &zurich("0 2 * * *"));
    assert_eq!(
        home.json(&["dags", "next-execution", "gap", "-n", "3", "--from", "2023-04-01"]),
        json!([
            row("2023-03-24T01:00", "2023-03-25T01:00"),
            row("2023-03-25T01:00", "2023-03-26T01:00"),
            row("2023-03-26T01:00", "2023-03-27T00:00"),
        ])
    );
    home.write_dag("none.yaml", "schedule: none\ntasks: {a: {operator: empty}}\n");
    assert_eq!(home.json(&["dags", "next-execution", "none", "-n", "3"]), json!([]));
}

#[test]
fn a_dry_backfill_prints_its_dates_half_open_and_makes_nothing() {
    let home = home_with_hello();
    let dates = home.json(&["dags", "backfill", "hello", "-s", "2024-01-01", "-e", "2024-01-05", "--dry-run"]);
    let dates: Vec<&str> =
        dates.as_array().unwrap().iter().map(|date| date["logical_date"].as_str().unwrap()).collect();
    let expected: Vec<String> = (1..5).map(|day| format!("2024-01-{day:02}T00:00:00.000000Z")).collect();
    assert_eq!(dates, expected);
    let with_end = home.json(&[
        "dags",
        "backfill",
        "hello",
        "-s",
        "2024-01-01",
        "-e",
        "2024-01-05",
        "--end-inclusive",
        "--dry-run",
    ]);
    assert_eq!(with_end.as_array().unwrap().len(), 5);
    assert_eq!(home.json(&["dags", "list-runs", "hello"]), json!([]));
    // Outside of what the DAG allows, in the future, or without a schedule.
    home.run(&["dags", "backfill", "hello", "-s", "2023-12-01", "-e", "2023-12-05", "--dry-run"]).exits(2);
    home.ok(&["dags", "backfill", "hello", "-s", "2023-12-01", "-e", "2023-12-05", "--dry-run", "--ignore-bounds"]);
    home.run(&["dags", "backfill", "hello", "-s", "2999-01-01", "-e", "2999-01-05", "--dry-run"]).exits(2);
    home.write_dag("by_hand.yaml", "schedule: none\ntasks: {a: {operator: empty}}\n");
    home.run(&["dags", "backfill", "by_hand", "-s", "2024-01-01", "-e", "2024-01-05", "--dry-run"]).exits(2);
}

// ---- one task

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

// ---- triggers

#[test]
fn waiting_for_a_run_that_nobody_will_start_is_refused_at_once() {
    let home = home_with_hello();
    let paused = home.run(&["dags", "trigger", "hello", "--wait"]).exits(1);
    assert!(paused.stderr.contains("paused") && paused.stderr.contains("unpause"), "{}", paused.stderr);
    home.ok(&["dags", "unpause", "hello"]);
    let alone = home.run(&["dags", "trigger", "hello", "--wait"]).exits(1);
    assert!(alone.stderr.contains("no scheduler is running"), "{}", alone.stderr);
    let alone = home.run(&["dags", "backfill", "hello", "-s", "2024-01-01", "-e", "2024-01-03", "--wait"]).exits(1);
    assert!(alone.stderr.contains("no scheduler is running"), "{}", alone.stderr);
    assert_eq!(home.json(&["dags", "list-runs", "hello"]), json!([]), "nothing was left behind");

    let run = home.json(&[
        "dags",
        "trigger",
        "hello",
        "--run-id",
        "mine",
        "--conf",
        r#"{"a": 1}"#,
        "--logical-date",
        "2024-02-03T04:05:06Z",
    ]);
    assert_eq!((&run["run_id"], &run["state"], &run["conf"]), (&json!("mine"), &json!("queued"), &json!({"a": 1})));
    assert_eq!(run["logical_date"], "2024-02-03T04:05:06.000000Z");
    let twice = home.run(&["dags", "trigger", "hello", "--run-id", "mine"]).exits(1);
    assert!(twice.stderr.contains("mine"), "{}", twice.stderr);
    home.run(&["dags", "trigger", "hello", "--conf", "[1]"]).exits(2);
}

#[test]
fn a_trigger_ends_with_the_run_s_result() {
    let home = TestHome::new();
    home.write_dag(
        "ends.yaml",
        "schedule: none\nparams: {code: 0}\ntasks:\n  ends:\n    operator: bash\n    bash_command: echo \"code {{ params.code }}\"; exit {{ params.code }}\n  later:\n    operator: empty\n    depends_on: [ends]\n",
    );
    let _scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "ends"]);
    home.ok(&["dags", "trigger", "ends", "--run-id", "good", "--wait"]);
    let failed = home
        .run(&["dags", "trigger", "ends", "--run-id", "bad", "--conf", r#"{"code": 7}"#, "--wait", "-o", "json"])
        .exits(1);
    assert_eq!(failed.json()["state"], "failed");
    home.ok(&["dags", "trigger", "ends", "--run-id", "skips", "--conf", r#"{"code": 99}"#, "--wait"]);
    let states = |run: &str| home.task_states("ends", run);
    assert_eq!((&*states("good")["ends"], &*states("good")["later"]), ("success", "success"));
    assert_eq!((&*states("bad")["ends"], &*states("bad")["later"]), ("failed", "upstream_failed"));
    assert_eq!((&*states("skips")["ends"], &*states("skips")["later"]), ("skipped", "skipped"));
    assert!(home.ok(&["tasks", "logs", "ends", "ends", "bad"]).stdout.contains("code 7"));
}

// ---- connections and variables

#[test]
fn connections_are_kept_shown_masked_and_handed_on() {
    let mut home = TestHome::new();
    let secret = "p@ss/w0rd:with%signs";
    home.run_with_input(
        &["connections", "add", "shop", "--conn-json", "-"],
        &json!({"conn_type": "mysql", "host": "db.example", "port": 3306, "login": "me", "password": secret, "schema": "shop", "extra": {"api_token": "tok-12345", "charset": "utf8mb4"}}).to_string(),
    )
    .exits(0);
    home.ok(&["connections", "add", "lake", "--conn-uri", "aws://key:se%2Fcret%40x@/?region_name=eu-north-1"]);
    home.ok(&["connections", "add", "file", "--conn-type", "sqlite", "--conn-schema", "/tmp/x.db"]);
    home.run(&["connections", "add", "shop", "--conn-uri", "mysql://other"]).exits(1);
    home.run(&["connections", "add", "bad id", "--conn-uri", "mysql://other"]).exits(2);

    let shop = home.json(&["connections", "get", "shop"]);
    assert_eq!((&shop["host"], &shop["port"], &shop["password"]), (&json!("db.example"), &json!(3306), &json!("***")));
    assert_eq!(shop["extra"], json!({"api_token": "***", "charset": "utf8mb4"}));
    let list = home.json(&["connections", "list"]);
    let names: Vec<&str> = list.as_array().unwrap().iter().map(|row| row["conn_id"].as_str().unwrap()).collect();
    assert_eq!(names, ["file", "lake", "shop"]);

    // Masked by default, and what is masked is not taken for a secret later.
    let masked = home.ok(&["connections", "export", "-"]).stdout;
    assert!(masked.contains("***"));
    let other = TestHome::new();
    other.run_with_input(&["connections", "import", "-"], &masked).exits(1);
    for format in ["json", "yaml", "env"] {
        let file = home.file(&format!("export.{format}"));
        home.ok(&["connections", "export", file.to_str().unwrap(), "--with-secrets"]);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let other = TestHome::new();
        other.ok(&["connections", "import", file.to_str().unwrap()]);
        let back = other.ok(&["connections", "export", "-", "--with-secrets"]).json();
        assert_eq!(back["shop"]["password"], secret, "{format}");
        assert_eq!(back["shop"]["extra"]["api_token"], "tok-12345", "{format}");
        assert_eq!(back["lake"]["password"], "se/cret@x", "{format}");
        fs::remove_file(&file).unwrap();
    }

    // The environment comes first.
    home.set("AIRFLOW_CONN_SHOP", "mysql://env%40user:pw@elsewhere:3307/shop");
    let shop = home.json(&["connections", "get", "shop"]);
    assert_eq!(
        (&shop["host"], &shop["login"], &shop["origin"]),
        (&json!("elsewhere"), &json!("env@user"), &json!("environment"))
    );
    home.set("MILLRACE_CONN_SHOP", r#"{"conn_type": "mysql", "host": "nearer"}"#);
    assert_eq!(home.json(&["connections", "get", "shop"])["host"], "nearer");

    home.unset("AIRFLOW_CONN_SHOP").unset("MILLRACE_CONN_SHOP");
    home.ok(&["connections", "delete", "lake"]);
    home.run(&["connections", "delete", "lake"]).exits(1);
    home.ok(&["rotate-key"]);
    assert!(home.ok(&["connections", "export", "-", "--with-secrets"]).stdout.contains("utf8mb4"));
}

#[test]
fn variables_are_kept_and_sensitive_ones_shown_masked() {
    let mut home = TestHome::new();
    home.ok(&["variables", "set", "plain", "value"]);
    home.run_with_input(&["variables", "set", "my_api_key", "-"], "hidden-value\n").exits(0);
    assert_eq!(home.ok(&["variables", "get", "plain"]).stdout, "value\n");
    assert_eq!(home.ok(&["variables", "get", "my_api_key"]).stdout, "hidden-value\n");
    assert_eq!(home.ok(&["variables", "get", "missing", "--default", "x"]).stdout, "x\n");
    let list = home.ok(&["variables", "list"]).stdout;
    assert!(list.contains("value") && list.contains("***") && !list.contains("hidden-value"), "{list}");
    assert!(!home.ok(&["variables", "export", "-"]).stdout.contains("hidden-value"));

    let file = home.file("variables.json");
    fs::write(&file, r#"{"plain": "new", "nested": {"a": [1, 2]}}"#).unwrap();
    let file = file.to_str().unwrap();
    home.run(&["variables", "import", file, "--action-on-existing-key", "fail"]).exits(1);
    home.run(&["variables", "get", "nested"]).exits(1);
    home.ok(&["variables", "import", file, "--action-on-existing-key", "skip"]);
    assert_eq!(home.ok(&["variables", "get", "plain"]).stdout, "value\n");
    home.ok(&["variables", "import", file]);
    assert_eq!(home.ok(&["variables", "get", "plain"]).stdout, "new\n");
    let nested: Value = serde_json::from_str(&home.ok(&["variables", "get", "nested"]).stdout).unwrap();
    assert_eq!(nested, json!({"a": [1, 2]}));
    home.set("MILLRACE_VAR_PLAIN", "from the environment");
    assert_eq!(home.ok(&["variables", "get", "plain"]).stdout, "from the environment\n");
    home.ok(&["variables", "delete", "nested"]);
}

#[test]
fn secrets_show_up_nowhere() {
    let mut home = TestHome::new();
    let (stored, spoken, env) = ("correct-horse-battery", "staple/with+signs", "from-the-environment");
    home.run_with_input(
        &["connections", "add", "shop", "--conn-json", "-"],
        &json!({"conn_type": "mysql", "password": stored}).to_string(),
    )
    .exits(0);
    home.run_with_input(&["variables", "set", "my_api_token", "-"], spoken).exits(0);
    home.set("MILLRACE_CONN_OTHER", format!("mysql://u:{env}@127.0.0.1:1/x"));
    home.write_dag(
        "tells.yaml",
        "schedule: none\ntasks:\n  tells:\n    operator: bash\n    bash_command: |\n      echo 'a {{ conn.shop.password }} b {{ var.value.my_api_token }} c {{ conn.other.password }}'\n      echo '{{ conn.shop.password }}' >&2; exit 1\n  connects:\n    operator: sql_to_s3\n    sql_conn_id: other\n    aws_conn_id: nowhere\n    query: SELECT 1\n    s3_bucket: b\n    s3_key: k\n",
    );
    let told = home.run(&["tasks", "test", "tells", "tells", "2024-01-01"]).exits(1);
    assert!(told.stdout.contains("a *** b *** c ***"), "{}", told.stdout);
    home.run(&["tasks", "run", "tells", "tells", "2024-01-01"]).exits(1);
    home.run(&["tasks", "test", "tells", "connects", "2024-01-01"]).exits(1);
    home.run(&["connections", "test", "other"]).exits(1);
    home.ok(&["tasks", "render", "tells", "tells", "2024-01-01"]);
    home.ok(&["tasks", "logs", "tells", "tells", "2024-01-01"]);
    home.ok(&["connections", "list", "-o", "json"]);
    home.ok(&["connections", "export", "-", "--file-format", "env"]);
    home.ok(&["config", "list"]);
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "tells"]);
    home.run(&["dags", "trigger", "tells", "--run-id", "r", "--wait"]).exits(1);
    home.ok(&["tasks", "logs", "tells", "tells", "r"]);
    scheduler.terminate(Duration::from_secs(10)).unwrap();

    let mut seen = home.files();
    seen.insert("printed by commands".to_owned(), home.printed().into_bytes());
    seen.insert("printed by the daemon".to_owned(), (scheduler.stdout() + &scheduler.stderr()).into_bytes());
    for secret in [stored, spoken, env] {
        for (place, bytes) in &seen {
            assert!(!String::from_utf8_lossy(bytes).contains(secret), "{secret} stands in: {place}");
        }
    }
    assert_eq!(fs::metadata(home.file("encryption_key")).unwrap().permissions().mode() & 0o777, 0o600);
}

// ---- the daemon

#[test]
fn an_edited_file_is_picked_up_without_waiting_for_the_scan() {
    let home = TestHome::new();
    let said = home.file("said");
    let says = |word: &str| {
        format!(
            "schedule: none\ntasks:\n  say:\n    operator: bash\n    bash_command: echo {word} >> {}\n",
            said.display()
        )
    };
    home.write_dag("says.yaml", &says("one"));
    let _scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "says"]);
    // The metadata database, straight: every command would read the changed files itself.
    let versions = || {
        let file = home.file("millrace.db");
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
            let mut database = sqlx::ConnectOptions::connect(&options).await.unwrap();
            sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM dag_version").fetch_one(&mut database).await.unwrap()
        })
    };
    assert_eq!(versions(), 1);
    home.write_dag("says.yaml", &says("two"));
    wait_until_blocking("the scheduler reads the edited file", PATIENCE, || versions() == 2).unwrap();
    home.write_dag("new.yaml", HELLO);
    wait_until_blocking("the scheduler reads the new file", PATIENCE, || versions() == 3).unwrap();
    home.ok(&["dags", "trigger", "says", "--wait"]);
    assert_eq!(fs::read_to_string(&said).unwrap(), "two\n");

    home.write_dag("says.yaml", "schedule: none\ntasks: 7\n");
    home.ok(&["dags", "trigger", "says", "--wait"]);
    assert_eq!(fs::read_to_string(&said).unwrap(), "two\ntwo\n", "a broken file leaves the last good version");
    fs::remove_file(home.file("dags/says.yaml")).unwrap();
    home.run(&["dags", "trigger", "says", "--wait"]).exits(1);
    assert_eq!(home.json(&["dags", "list-runs", "says"]).as_array().unwrap().len(), 2, "the history stays");
}

#[test]
fn terminated_it_stops_in_time_and_loses_no_result() {
    let home = TestHome::new();
    let (quick, slow) = (home.file("quick"), home.file("slow"));
    home.write_dag(
        "works.yaml",
        &format!(
            "schedule: none\ntasks:\n  quick:\n    operator: bash\n    bash_command: echo x >> {quick}\n  slow:\n    operator: bash\n    bash_command: |\n      echo x >> {slow}\n      test $(wc -l < {slow}) -gt 1 || exec sleep 600\n",
            quick = quick.display(),
            slow = slow.display(),
        ),
    );
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "works"]);
    home.ok(&["dags", "trigger", "works", "--run-id", "r"]);
    let lines = |file| fs::read_to_string(file).unwrap_or_default().lines().count();
    wait_until_blocking("both tasks have begun", PATIENCE, || lines(&quick) == 1 && lines(&slow) == 1).unwrap();
    let status = scheduler.terminate(Duration::from_secs(10)).unwrap();
    assert!(status.success(), "{status}\n{}", scheduler.stderr());
    let tasks = home.task_states("works", "r");
    assert_eq!(tasks["quick"], "success", "its result was kept");
    assert_ne!(tasks["slow"], "failed");

    let mut scheduler = home.scheduler();
    wait_until_blocking("the run ends", PATIENCE, || home.ok(&["dags", "state", "works", "r"]).stdout == "success\n")
        .unwrap();
    assert_eq!((lines(&quick), lines(&slow)), (1, 2), "only what was interrupted ran again");
    scheduler.interrupt(Duration::from_secs(10)).unwrap();
}

#[test]
fn a_second_scheduler_stands_by_and_takes_over() {
    let home = home_with_hello();
    let mut first = home.scheduler();
    let mut second = home.daemon(&["scheduler"]);
    second.wait_for_line("standing by", PATIENCE).unwrap();
    first.kill().unwrap();
    second.wait_for_line("this scheduler leads", PATIENCE).unwrap();
    home.ok(&["dags", "backfill", "hello", "-s", "2024-01-01", "-e", "2024-01-03", "--wait"]);
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
fn the_stand_ins_start_and_stop() {
    let home = TestHome::new();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let url = database.url();
    let mut devstack = home.daemon(&["devstack", "--s3-port", "0", "--redshift-port", "0", "--redshift-over", &url]);
    let line = devstack.wait_for_line("Redshift Data API at http://127.0.0.1:", PATIENCE).unwrap();
    assert!(line.contains("database dev"), "{line}");
    devstack.wait_for_line("S3 at http://127.0.0.1:", PATIENCE).unwrap();
    assert!(devstack.terminate(Duration::from_secs(10)).unwrap().success());
}
