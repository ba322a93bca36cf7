//! What will run, what did not, calendars and maintenance windows.

use std::fs;

use chrono::Datelike;
use millrace_testkit::wait_until_blocking;
use serde_json::{Value, json};

use crate::support::{PATIENCE, TestHome};

fn calendars(home: &TestHome) {
    fs::create_dir_all(home.file("dags/calendars")).unwrap();
    home.write_dag(
        "calendars/holidays.yaml",
        "description: Days off\ndays: {12-25: Christmas, 2999-01-07..2999-01-08: Fair}\ninclude: weekends\n",
    );
    home.write_dag("calendars/weekends.yaml", "days: [sat, sun]\n");
}

fn column<'a>(rows: &'a Value, name: &str) -> Vec<&'a str> {
    rows.as_array().unwrap().iter().map(|row| row[name].as_str().unwrap_or("-")).collect()
}

#[test]
fn missed_dates_have_one_record_and_the_plan_goes_on() {
    let home = TestHome::new();
    home.write_dag(
        "minutes.yaml",
        "schedule: '0 */6 * * *'\nstart_date: 2024-01-01\nmisfire: none\ntasks: {a: {operator: empty}}\n",
    );
    let _scheduler = home.scheduler();
    assert_eq!(home.json(&["dags", "slots", "minutes"]), json!([]), "it is paused: nothing was due");
    home.ok(&["dags", "unpause", "minutes"]);
    wait_until_blocking("the past is recorded", PATIENCE, || {
        home.json(&["dags", "slots", "minutes"]).as_array().is_some_and(|slots| !slots.is_empty())
    })
    .unwrap();
    let slots = home.json(&["dags", "slots", "minutes"]);
    assert_eq!(slots.as_array().unwrap().len(), 1, "{slots}");
    let slot = &slots[0];
    assert_eq!((&slot["logical_date"], &slot["outcome"]), (&json!("2024-01-01T00:00:00.000000Z"), &json!("skipped")));
    assert!(slot["slots"].as_u64().unwrap() > 1_000, "{slot}");
    assert!(slot["reason"].as_str().unwrap().contains("misfire: none"), "{slot}");

    let plan = home.json(&["dags", "plan", "minutes", "--hours", "24"]);
    assert_eq!(column(&plan, "outcome"), ["run"; 4], "{plan}");
    assert_eq!(column(&plan, "reason"), ["-"; 4]);
    let next = home.json(&["dags", "next-execution", "minutes", "-n", "4"]);
    assert_eq!(column(&plan, "logical_date"), column(&next, "logical_date"));
    home.ok(&["dags", "pause", "minutes"]);
    let paused = home.json(&["dags", "plan", "minutes", "--hours", "24"]);
    assert_eq!(column(&paused, "reason"), ["the DAG is paused"; 4]);
    let crowd = home.json(&["dags", "plan", "--hours", "24"]);
    assert_eq!(column(&crowd, "reason"), ["the DAG is paused"], "it leaves room for others");
}

#[test]
fn a_run_by_hand_for_a_date_moves_that_dates_data_and_the_schedule_says_so() {
    let home = TestHome::new();
    home.write_dag(
        "nightly.yaml",
        "schedule: '0 2 * * *'\ntimezone: Asia/Seoul\nstart_date: 2026-01-05\nend_date: 2026-01-08T12:00\ncatchup: true\n\
         tasks: {a: {operator: bash, bash_command: 'echo {{ ds_local }}'}}\n",
    );
    let run = home.json(&["dags", "trigger", "nightly", "-e", "2026-01-06"]);
    assert_eq!(
        (&run["logical_date"], &run["data_interval_start"], &run["data_interval_end"]),
        (
            &json!("2026-01-05T17:00:00.000000Z"),
            &json!("2026-01-05T17:00:00.000000Z"),
            &json!("2026-01-06T17:00:00.000000Z")
        ),
        "02:00 in Seoul, and the day from then on"
    );
    let dry = home.ok(&["tasks", "render", "nightly", "a", "2026-01-06"]).stdout;
    assert!(dry.contains("echo 2026-01-06"), "{dry}");
    home.ok(&["dags", "trigger", "nightly", "-r", "noon", "-e", "2026-01-06T12:00"]);
    let meant = home.ok(&["dags", "state", "nightly", "2026-01-06"]).stderr;
    assert!(meant.contains("of the 2 runs on 2026-01-06 this is manual__2026-01-05T17:00:00+00:00"), "{meant}");
    home.ok(&["dags", "trigger", "nightly", "-r", "eight", "-e", "2026-01-07T08:00"]);
    home.ok(&["dags", "trigger", "nightly", "-r", "nine", "-e", "2026-01-07T09:00"]);
    let unclear = home.run(&["dags", "state", "nightly", "2026-01-07"]).exits(2).stderr;
    assert!(unclear.contains("has 2 runs on 2026-01-07: nine, eight"), "{unclear}");

    let _scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "nightly"]);
    let ended = |home: &TestHome| home.run_states("nightly").len() == 7;
    wait_until_blocking("the schedule has made its runs", PATIENCE, || ended(&home)).unwrap();
    let slots = home.json(&["dags", "slots", "nightly"]);
    assert_eq!(column(&slots, "outcome"), ["taken"], "{slots}");
    assert_eq!(column(&slots, "logical_date"), ["2026-01-05T17:00:00.000000Z"]);
    assert_eq!(column(&slots, "reason"), ["the run manual__2026-01-05T17:00:00+00:00 was there already"]);
}

#[test]
fn calendars_are_listed_shown_and_told_apart() {
    let home = TestHome::new();
    calendars(&home);
    home.write_dag(
        "daily.yaml",
        "schedule: '@daily'\nstart_date: 2999-01-03\ncalendar: {exclude: holidays, shift: next_business_day}\ntasks: {a: {operator: empty}}\n",
    );
    home.write_dag(
        "fairs.yaml",
        "schedule: '@daily'\nstart_date: 2999-01-03\ncalendar: holiday\ntasks: {a: {operator: empty}}\n",
    );
    let list = home.json(&["calendars", "list"]);
    assert_eq!(column(&list, "calendar"), ["holidays", "weekends"]);
    assert_eq!(list[0]["dags"], json!(["daily"]));
    let days = home.json(&["calendars", "show", "holidays", "--year", "2999"]);
    assert_eq!(days.as_array().unwrap().len(), 104 + 2 + 1, "{days}");
    assert_eq!((&days[2]["date"], &days[2]["name"]), (&json!("2999-01-07"), &json!("Fair")));
    home.run(&["calendars", "show", "holyday"]).exits(1);

    let broken = home.run(&["validate"]).exits(1);
    assert!(broken.stdout.contains("there is no calendar 'holiday'; did you mean 'holidays'?"), "{}", broken.stdout);
    let next = home.json(&["dags", "next-execution", "daily", "-n", "3"]);
    let after = column(&next, "run_after");
    // The 4th is a Friday; a weekend and the fair follow.
    assert_eq!(after, ["2999-01-04T00:00:00.000000Z", "2999-01-09T00:00:00.000000Z", "2999-01-09T00:00:00.000000Z"]);
    let rule = "schedule: '@daily'\nstart_date: 2024-01-01\ncalendar: weekends\ntasks: {a: {operator: empty}}\n";
    home.write_dag("workdays.yaml", rule);
    home.ok(&["dags", "unpause", "workdays"]);
    let next = home.run(&["calendars", "next", "workdays", "-n", "8", "-o", "json"]).exits(0);
    assert!(!next.stderr.contains("--limit"), "the command has no such option: {}", next.stderr);
    let days = next.json();
    assert_eq!(days.as_array().unwrap().len(), 8, "{days}");
    for day in days.as_array().unwrap() {
        let starts = day["run_after"].as_str().unwrap().parse::<chrono::DateTime<chrono::Utc>>().unwrap().weekday();
        let is_free = matches!(starts, chrono::Weekday::Sat | chrono::Weekday::Sun);
        assert_eq!(day["outcome"] == "skipped", is_free, "{day}");
    }
}

#[test]
fn a_window_of_the_installation_holds_all_but_the_spared() {
    let home = TestHome::new();
    fs::write(
        home.file("millrace.toml"),
        "[core]\nmaintenance = \"2020-01-01..2998-12-31\"\nmaintenance_except_tags = \"critical\"\n",
    )
    .unwrap();
    home.write_dag("held.yaml", "schedule: none\ntasks: {a: {operator: empty}}\n");
    home.write_dag("spared.yaml", "schedule: none\ntags: [critical]\ntasks: {a: {operator: empty}}\n");
    let _scheduler = home.scheduler();
    for dag in ["held", "spared"] {
        home.ok(&["dags", "unpause", dag]);
        home.ok(&["dags", "trigger", dag, "--run-id", "now"]);
    }
    let state = |dag: &str| home.ok(&["dags", "state", dag, "now"]).stdout.trim().to_owned();
    wait_until_blocking("the spared one runs", PATIENCE, || state("spared") == "success").unwrap();
    assert_eq!(state("held"), "queued");
    let why = home.json(&["dags", "explain", "held", "now"]);
    let until =
        "held by the maintenance window 2020-01-01T00:00:00.000000Z..2998-12-31T00:00:00.000000Z until 2998-12-31";
    assert!(why["conditions"].to_string().contains(until), "{why}");
    assert_eq!(why["starts_at"], "2998-12-31T00:00:00.000000Z", "{why}");
    let plan = home.json(&["dags", "plan"]);
    assert_eq!((column(&plan, "dag_id"), column(&plan, "outcome")), (vec!["held"], vec!["queued"]));

    fs::write(home.file("millrace.toml"), "[core]\nmaintenance = \"tonight\"\n").unwrap();
    let refused = home.run(&["dags", "plan"]).exits(1);
    assert!(refused.stderr.contains("core.maintenance") && refused.stderr.contains("'tonight'"), "{}", refused.stderr);
}
