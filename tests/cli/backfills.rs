//! Backfills from the command line.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::TestHome;

fn daily() -> TestHome {
    let home = TestHome::new();
    home.write_dag(
        "daily.yaml",
        "schedule: '@daily'\nstart_date: 2024-01-01\ncatchup: false\ntasks:\n  extract:\n    operator: bash\n    \
         bash_command: test {{ ds }} != 2024-01-02\n  load:\n    operator: bash\n    depends_on: [extract]\n    \
         bash_command: echo '{{ dag_run.conf.full }} {{ ds }}'\n",
    );
    home
}

fn dates(list: &Value, name: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
}

#[test]
fn as_many_runs_go_at_a_time_as_the_dags_own_unless_told() {
    let home = daily();
    home.write_dag(
        "alone.yaml",
        "schedule: '@daily'\nstart_date: 2024-01-01\nmax_active_runs: 1\ntasks: {a: {operator: empty}}\n",
    );
    let asked = |dag: &'static str, more: &[&'static str]| {
        let words = ["dags", "backfill", dag, "-s", "2024-01-01", "-e", "2024-01-04", "--dry-run"];
        home.ok(&[&words[..], more].concat()).stderr
    };
    assert!(asked("alone", &[]).contains("3 runs, 1 at a time, would be started"));
    assert!(asked("alone", &["--max-active-runs", "2"]).contains("3 runs, 2 at a time"));
    assert!(asked("daily", &[]).contains("3 runs, 16 at a time"));
}

#[test]
fn case_43_the_dates_of_a_dry_run_are_those_of_a_real_one() {
    let home = daily();
    let _scheduler = home.scheduler();
    let asked = ["dags", "backfill", "daily", "-s", "2024-01-01", "-e", "2024-01-04", "-c", r#"{"full": "all"}"#];
    let dry = home.json(&[&asked[..], &["--dry-run"]].concat());
    assert_eq!(home.json(&["dags", "list-runs", "daily"]), json!([]));
    let real = home.run(&[&asked[..], &["--wait", "-o", "json"]].concat()).exits(1);
    assert_eq!(real.json(), dry);
    assert!(real.stderr.contains("3 of 3 runs ended, 1 failed"), "{}", real.stderr);
    assert!(real.stderr.contains("1 of 3 runs failed: backfill__2024-01-02"), "{}", real.stderr);
    assert!(real.stderr.contains("backfill__2024-01-02T00:00:00+00:00: task extract: "), "{}", real.stderr);
    let log = home.ok(&["tasks", "logs", "daily", "load", "2024-01-03"]);
    assert!(log.stdout.contains("all 2024-01-03"), "{}", log.stdout);

    let again = home.json(&[
        "dags",
        "backfill",
        "daily",
        "-s",
        "2024-01-01",
        "-e",
        "2024-01-04",
        "--reprocess",
        "failed",
        "--dry-run",
    ]);
    let outcomes = dates(&again, "outcome");
    assert_eq!(outcomes, ["left alone: already exists", "run again", "left alone: already exists"]);
    // Only the second task: what failed before it counts as done.
    home.ok(&[
        "dags",
        "backfill",
        "daily",
        "-s",
        "2024-01-01",
        "-e",
        "2024-01-04",
        "--reprocess",
        "failed",
        "--tasks",
        "^load$",
        "-c",
        r#"{"full": "some"}"#,
        "--wait",
    ]);
    let states = home.task_states("daily", "2024-01-02");
    assert_eq!(states.values().collect::<Vec<_>>(), ["failed", "success"]);
    let list = home.json(&["backfills", "list", "daily"]);
    assert_eq!(dates(&list, "progress"), ["1 of 1", "2 of 3"], "a run belongs to the last backfill that ran it");
    assert_eq!((&list[0]["tasks"], &list[0]["state"]), (&json!("^load$"), &json!("finished")));
    let nothing = home.run(&asked).exits(1);
    assert!(nothing.stderr.contains("nothing to backfill: every date has a run"), "{}", nothing.stderr);
}

#[test]
fn one_is_paused_shown_and_cancelled() {
    let home = daily();
    home.ok(&[
        "dags",
        "backfill",
        "daily",
        "-s",
        "2024-01-01",
        "-e",
        "2024-01-06",
        "--reverse",
        "--max-active-runs",
        "2",
    ]);
    let second = home.run(&["dags", "backfill", "daily", "-s", "2024-02-01", "-e", "2024-02-06"]).exits(1);
    assert!(second.stderr.contains("already has an active backfill"), "{}", second.stderr);
    let number = home.json(&["backfills", "list"])[0]["backfill"].to_string();
    home.ok(&["backfills", "pause", &number]);
    let shown = home.json(&["backfills", "show", &number]);
    assert_eq!((&shown["is_paused"], &shown["queued"], &shown["reversed"]), (&json!(true), &json!(5), &json!(true)));
    // Who clears is told of the pause that counts, and of no other.
    home.ok(&["dags", "pause", "daily"]);
    let first = "backfill__2024-01-01T00:00:00+00:00";
    home.ok(&["dags", "mark", "daily", first, "--state", "failed", "-y"]);
    let clear = ["dags", "clear", "daily", "--run-id", first, "--dry-run"];
    let said = home.ok(&clear).stderr;
    let waits = format!(
        "backfill {number} is paused: what is cleared of its runs waits until `millrace backfills unpause {number}`"
    );
    assert!(said.contains(&waits) && !said.contains("daily is paused"), "{said}");
    home.ok(&["backfills", "unpause", &number]);
    let said = home.ok(&clear).stderr;
    assert!(!said.contains("is paused"), "{said}");
    home.ok(&["dags", "clear", "daily", "--run-id", first, "-y"]);
    let cancelled = home.ok(&["backfills", "cancel", &number]);
    assert!(cancelled.stderr.contains("5 queued runs failed"), "{}", cancelled.stderr);
    for command in ["pause", "unpause", "cancel"] {
        let refused = home.run(&["backfills", command, &number]).exits(1);
        assert!(refused.stderr.contains("has ended: it is cancelled"), "{}", refused.stderr);
    }
    home.run(&["backfills", "show", "99"]).exits(1);
    home.run(&["dags", "backfill", "daily", "-s", "2024-01-01", "-e", "2024-01-06", "-t", "nobody"]).exits(2);
    home.run(&["dags", "backfill", "daily", "-s", "2024-01-01", "-e", "2024-01-06", "--upstream"]).exits(2);
}

#[test]
fn one_that_is_waited_for_says_why_nothing_goes_on() {
    let home = TestHome::new();
    home.write_dag(
        "past.yaml",
        "schedule: '@daily'\nstart_date: 2024-01-01\ncatchup: false\ntasks:\n  a: {operator: bash, depends_on_past: true, \
         bash_command: 'test {{ ds }} != 2024-01-02'}\n",
    );
    let _scheduler = home.scheduler();
    let asked = ["dags", "backfill", "past", "-s", "2024-01-01", "-e", "2024-01-04", "--reprocess", "failed", "--wait"];
    let mut waiting = home.command(&asked).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let said = BufReader::new(waiting.stderr.take().unwrap()).lines().map_while(Result::ok);
    let why = said.into_iter().find(|line| line.contains(" waits for "));
    waiting.kill().unwrap();
    waiting.wait().unwrap();
    let expected = "backfill__2024-01-03T00:00:00+00:00 waits for a (none): depends_on_past: a of 2024-01-02 is failed";
    assert!(why.as_ref().is_some_and(|why| why.contains(expected)), "{why:?}");
}
