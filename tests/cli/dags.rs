//! Dates, triggers and backfills.

use serde_json::json;

use crate::support::TestHome;
use crate::{home_with_hello, ids};

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
fn case_37_a_dry_backfill_prints_its_dates_half_open_and_makes_nothing() {
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
    // A day that is included is all of it.
    home.write_dag("night.yaml", "schedule: 0 2 * * *\nstart_date: 2024-01-01\ntasks: {a: {operator: empty}}\n");
    let last = |end: &[&str]| {
        let asked = [&["dags", "backfill", "night", "-s", "2024-01-01", "--dry-run", "-e"], end].concat();
        let dates = home.json(&asked);
        dates.as_array().unwrap().last().unwrap()["logical_date"].as_str().unwrap().to_owned()
    };
    assert_eq!(last(&["2024-01-05"]), "2024-01-04T02:00:00.000000Z");
    assert_eq!(last(&["2024-01-05", "--end-inclusive"]), "2024-01-05T02:00:00.000000Z");
    assert_eq!(last(&["2024-01-05T01:00", "--end-inclusive"]), "2024-01-04T02:00:00.000000Z");
    assert_eq!(last(&["2024-01-05T02:00", "--end-inclusive"]), "2024-01-05T02:00:00.000000Z");
    // Outside of what the DAG allows, in the future, or without a schedule.
    home.run(&["dags", "backfill", "hello", "-s", "2023-12-01", "-e", "2023-12-05", "--dry-run"]).exits(2);
    home.ok(&["dags", "backfill", "hello", "-s", "2023-12-01", "-e", "2023-12-05", "--dry-run", "--ignore-bounds"]);
    home.run(&["dags", "backfill", "hello", "-s", "2999-01-01", "-e", "2999-01-05", "--dry-run"]).exits(2);
    home.write_dag("by_hand.yaml", "schedule: none\ntasks: {a: {operator: empty}}\n");
    home.run(&["dags", "backfill", "by_hand", "-s", "2024-01-01", "-e", "2024-01-05", "--dry-run"]).exits(2);
}

#[test]
fn a_run_by_hand_keeps_to_the_dates_of_its_dag() {
    let home = home_with_hello();
    let early = home.run(&["dags", "trigger", "hello", "-e", "2023-12-31"]);
    assert_ne!(early.code, 0);
    assert!(early.stderr.contains("start_date 2024-01-01T00:00:00"), "{}", early.stderr);
    assert_eq!(home.json(&["dags", "list-runs", "hello"]), json!([]));
    home.ok(&["dags", "trigger", "hello", "-e", "2024-01-05"]);
    let early = home.run(&["dags", "trigger", "hello", "-e", "2999-01-05"]).exits(2).stderr;
    assert!(early.contains("leave the date out to run the last complete interval now"), "{early}");
    home.ok(&["dags", "trigger", "hello", "-r", "later", "-e", "2999-01-05T11:11"]);
    let why = home.ok(&["dags", "explain", "hello", "later"]).stdout;
    assert!(why.contains("2999-01-05"), "its date is waited for: {why}");
}

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
    let long = format!(r#"{{"password": "{}"}}"#, "x".repeat(9000));
    let refused = home.run(&["dags", "trigger", "hello", "--conf", &long]).exits(2).stderr;
    assert!(refused.contains("--conf: it holds more secrets"), "{refused}");
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

#[test]
fn many_dags_are_paused_and_unpaused_at_once() {
    let home = TestHome::new();
    for (name, tags) in [("one", "[nightly]"), ("two", "[nightly, eu]"), ("three", "[]")] {
        home.write_dag(&format!("{name}.yaml"), &format!("tags: {tags}\ntasks: {{a: {{operator: noop}}}}\n"));
    }
    let listed = |arguments: &[&str]| -> Vec<String> {
        ids(&home.json(&[&["dags", "list"], arguments].concat())).into_iter().map(str::to_owned).collect()
    };
    let running = || listed(&["--unpaused"]);
    assert!(home.ok(&["dags", "unpause", "--tag", "nightly"]).stderr.contains("unpaused 2 DAGs\n"));
    assert_eq!(running(), ["one", "two"]);
    assert!(home.ok(&["dags", "pause", "--tag", "eu"]).stderr.contains("paused 1 DAG\n"));
    assert!(home.ok(&["dags", "unpause", "--all"]).stderr.contains("unpaused 2 DAGs; 1 was unpaused already\n"));
    assert_eq!(running(), ["one", "three", "two"]);
    home.ok(&["dags", "pause", "one", "two"]);
    assert_eq!(running(), ["three"]);
    assert_eq!(listed(&["--paused"]), ["one", "two"]);
    assert_eq!(listed(&["--tag", "eu"]), ["two"]);
    assert_eq!(listed(&["T", "--tag", "nightly"]), ["two"]);
    home.run(&["dags", "pause", "three", "unknown"]).exits(1);
    let said = home.run(&["dags", "pause", "--tag", "weekly"]).exits(2).stderr;
    assert!(said.contains("no DAG has the tag 'weekly'"), "{said}");
    home.run(&["dags", "pause"]).exits(2);
    home.run(&["dags", "pause", "one", "--all"]).exits(2);
}
