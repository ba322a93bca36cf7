//! Cases of time: given a timetable, a history and a moment, these runs and no others.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use millrace_model::instant::{format_utc_micros, parse_instant};
use millrace_model::schedule::{
    DataInterval, Misfire, PlannedRun, RunImmediately, Schedule, Timetable, TimetableKind, Window, parse_zone,
};
use serde_json::{Value, json};

fn at(text: &str) -> DateTime<Utc> {
    parse_instant(text, Tz::UTC).unwrap()
}

fn schedule(value: impl Into<Value>) -> Schedule {
    Schedule::from_value(&value.into()).unwrap()
}

fn interval(value: impl Into<Value>, zone: &str) -> Timetable {
    Timetable::interval(schedule(value), parse_zone(zone).unwrap())
}

fn trigger(value: impl Into<Value>, zone: &str) -> Timetable {
    Timetable::trigger(schedule(value), parse_zone(zone).unwrap())
}

fn window(start: &str, catchup: bool) -> Window {
    Window { start_date: (!start.is_empty()).then(|| at(start)), end_date: None, catchup }
}

fn covering(start: &str, end: &str) -> DataInterval {
    DataInterval::new(at(start), at(end))
}

/// `2024-01-01T00:00`, seconds only where there are any.
fn short(at: DateTime<Utc>) -> String {
    let text = format_utc_micros(at);
    text.strip_suffix(":00.000000Z").or_else(|| text.strip_suffix(".000000Z")).unwrap_or(&text).to_owned()
}

fn span(interval: &DataInterval) -> String {
    format!("{}..{}", short(interval.start), short(interval.end))
}

/// The runs that have become due by `now`, each the successor of the one before.
fn due_runs(
    timetable: &Timetable,
    mut previous: Option<DataInterval>,
    window: &Window,
    now: DateTime<Utc>,
) -> Vec<PlannedRun> {
    let mut runs = Vec::new();
    while let Some(run) = timetable.next_run(previous.as_ref(), window, now).filter(|run| run.run_after <= now) {
        assert!(runs.len() < 1_000, "no end of runs");
        previous = Some(run.data_interval);
        runs.push(run);
    }
    runs
}

fn logical_dates(runs: &[PlannedRun]) -> Vec<String> {
    runs.iter().map(|run| short(run.logical_date)).collect()
}

fn next_span(timetable: &Timetable, previous: Option<DataInterval>, window: &Window, now: &str) -> String {
    span(&timetable.next_run(previous.as_ref(), window, at(now)).unwrap().data_interval)
}

/// `count` intervals in a row from `start` on.
fn spans_from(timetable: &Timetable, start: &str, count: usize) -> Vec<String> {
    timetable
        .upcoming(None, &window(start, true), at("2030-01-01"))
        .take(count)
        .map(|run| span(&run.data_interval))
        .collect()
}

fn fires_from(timetable: &Timetable, start: &str, count: usize) -> Vec<String> {
    let runs: Vec<PlannedRun> = timetable.upcoming(None, &window(start, true), at("2030-01-01")).take(count).collect();
    logical_dates(&runs)
}

#[test]
fn case_01_catchup_runs_up_to_the_boundary_now() {
    let runs = due_runs(&interval("@daily", "UTC"), None, &window("2024-01-01", true), at("2024-01-04T00:00"));
    assert_eq!(logical_dates(&runs), ["2024-01-01T00:00", "2024-01-02T00:00", "2024-01-03T00:00"]);
    assert_eq!(span(&runs[2].data_interval), "2024-01-03T00:00..2024-01-04T00:00");
    assert_eq!(short(runs[2].run_after), "2024-01-04T00:00");
}

#[test]
fn case_02_an_unfinished_interval_is_not_due() {
    let runs = due_runs(&interval("@daily", "UTC"), None, &window("2024-01-01", true), at("2024-01-03T23:59:59"));
    assert_eq!(logical_dates(&runs), ["2024-01-01T00:00", "2024-01-02T00:00"]);
}

#[test]
fn case_03_first_run_without_catchup_starts_at_the_first_boundary() {
    let timetable = interval("30 16 * * *", "UTC");
    let window = window("2021-09-06T00:00", false);
    for previous in [None, Some(covering("2021-09-04T16:30", "2021-09-05T16:30"))] {
        let run = timetable.next_run(previous.as_ref(), &window, at("2021-09-07T00:00")).unwrap();
        assert_eq!(span(&run.data_interval), "2021-09-06T16:30..2021-09-07T16:30");
        assert_eq!(short(run.run_after), "2021-09-07T16:30");
    }
}

#[test]
fn case_04_the_boundary_instant_counts_as_complete() {
    let runs = due_runs(&interval("@hourly", "UTC"), None, &window("2015-01-01", false), at("2021-09-07T00:00"));
    assert_eq!(runs.len(), 1);
    assert_eq!(span(&runs[0].data_interval), "2021-09-06T23:00..2021-09-07T00:00");
}

#[test]
fn case_05_after_an_outage_without_catchup_only_the_latest() {
    let timetable = interval("@hourly", "UTC");
    let last = covering("2024-05-01T00:00", "2024-05-01T01:00");
    let runs = due_runs(&timetable, Some(last), &window("2024-01-01", false), at("2024-05-01T11:20"));
    assert_eq!(logical_dates(&runs), ["2024-05-01T10:00"]);
    let left_out: Vec<PlannedRun> = timetable.runs_between(last.end, runs[0].logical_date, None).collect();
    assert_eq!(left_out.len(), 9);
    assert_eq!(short(left_out[0].logical_date), "2024-05-01T01:00");
    assert_eq!(short(left_out[8].logical_date), "2024-05-01T09:00");
}

#[test]
fn case_06_after_an_outage_with_catchup_all_oldest_first() {
    let last = covering("2024-05-01T00:00", "2024-05-01T01:00");
    let runs = due_runs(&interval("@hourly", "UTC"), Some(last), &window("2024-01-01", true), at("2024-05-01T11:20"));
    assert_eq!(runs.len(), 10);
    assert_eq!(short(runs[0].logical_date), "2024-05-01T01:00");
    assert!(runs.is_sorted_by_key(|run| run.logical_date));
}

#[test]
fn case_07_a_start_date_off_the_boundary_moves_up() {
    let run = interval("@daily", "UTC").next_run(None, &window("2021-06-03T22:16", true), at("2021-06-10"));
    assert_eq!(short(run.unwrap().logical_date), "2021-06-04T00:00");
}

#[test]
fn case_08_nothing_before_a_future_start_date() {
    for catchup in [false, true] {
        let (timetable, window) = (interval("@daily", "UTC"), window("2024-06-01", catchup));
        assert!(due_runs(&timetable, None, &window, at("2024-05-20")).is_empty());
        assert!(due_runs(&timetable, None, &window, at("2024-06-01T23:59:59")).is_empty());
        assert_eq!(logical_dates(&due_runs(&timetable, None, &window, at("2024-06-02"))), ["2024-06-01T00:00"]);
    }
}

#[test]
fn case_09_the_end_date_is_inclusive() {
    let window = Window { end_date: Some(at("2024-01-03")), ..window("2024-01-01", true) };
    let runs = due_runs(&interval("@daily", "UTC"), None, &window, at("2024-02-01"));
    assert_eq!(logical_dates(&runs), ["2024-01-01T00:00", "2024-01-02T00:00", "2024-01-03T00:00"]);
    let fires = due_runs(&trigger("@daily", "UTC"), None, &window, at("2024-02-01"));
    assert_eq!(logical_dates(&fires), ["2024-01-01T00:00", "2024-01-02T00:00", "2024-01-03T00:00"]);
}

#[test]
fn case_10_an_end_date_within_an_interval_still_runs_it() {
    let window = Window { end_date: Some(at("2024-01-03T12:00")), ..window("2024-01-01", true) };
    let runs = due_runs(&interval("@daily", "UTC"), None, &window, at("2024-02-01"));
    assert_eq!(short(runs.last().unwrap().logical_date), "2024-01-03T00:00");
}

#[test]
fn case_11_a_changed_schedule_never_repeats_a_logical_date() {
    let daily = interval("@daily", "UTC");
    for catchup in [false, true] {
        let last = covering("2021-09-07T01:00", "2021-09-08T01:00");
        let next = next_span(&daily, Some(last), &window("2021-09-01", catchup), "2021-09-08T02:00");
        assert_eq!(next, "2021-09-08T00:00..2021-09-09T00:00");
    }
    let cases = [
        ("@monthly", "2024-01-15", "2024-01-16", "2024-02-01T00:00..2024-03-01T00:00"),
        ("@daily", "2024-01-01", "2024-02-01", "2024-02-01T00:00..2024-02-02T00:00"),
        ("0 1 * * *", "2024-01-07", "2024-01-08", "2024-01-07T01:00..2024-01-08T01:00"),
        ("@hourly", "2024-01-07", "2024-01-08", "2024-01-08T00:00..2024-01-08T01:00"),
    ];
    for (text, start, end, want) in cases {
        let next =
            next_span(&interval(text, "UTC"), Some(covering(start, end)), &window("2023-01-01", true), "2024-06-01");
        assert_eq!(next, want, "{text}");
    }
}

#[test]
fn case_12_an_empty_predecessor_is_stepped_over() {
    let last = covering("2021-09-05T17:00", "2021-09-05T17:00");
    for catchup in [false, true] {
        let next =
            next_span(&interval("0 17 * * *", "UTC"), Some(last), &window("2021-09-01", catchup), "2021-09-07T15:00");
        assert_eq!(next, "2021-09-06T17:00..2021-09-07T17:00");
    }
}

#[test]
fn case_13_dst_gap_swallows_the_hour_of_the_cron() {
    assert_eq!(
        spans_from(&interval("0 2 * * *", "Europe/Zurich"), "2023-03-24T01:00", 4),
        [
            "2023-03-24T01:00..2023-03-25T01:00",
            "2023-03-25T01:00..2023-03-26T01:00",
            "2023-03-26T01:00..2023-03-27T00:00",
            "2023-03-27T00:00..2023-03-28T00:00",
        ]
    );
}

#[test]
fn case_14_dst_gap_just_before_the_cron() {
    assert_eq!(
        spans_from(&interval("0 3 * * *", "Europe/Zurich"), "2023-03-24T02:00", 3),
        [
            "2023-03-24T02:00..2023-03-25T02:00",
            "2023-03-25T02:00..2023-03-26T01:00",
            "2023-03-26T01:00..2023-03-27T01:00",
        ]
    );
}

#[test]
fn case_15_dst_fold_takes_the_second() {
    assert_eq!(
        spans_from(&interval("0 2 * * *", "Europe/Zurich"), "2023-10-27T00:00", 3),
        [
            "2023-10-27T00:00..2023-10-28T00:00",
            "2023-10-28T00:00..2023-10-29T01:00",
            "2023-10-29T01:00..2023-10-30T01:00",
        ]
    );
}

#[test]
fn case_16_dst_fold_loses_and_doubles_no_half_hour() {
    let every_half_hour = interval("*/30 * * * *", "Europe/Zurich");
    assert_eq!(
        spans_from(&every_half_hour, "2023-10-28T23:30", 5),
        [
            "2023-10-28T23:30..2023-10-29T00:00",
            "2023-10-29T00:00..2023-10-29T00:30",
            "2023-10-29T00:30..2023-10-29T01:00",
            "2023-10-29T01:00..2023-10-29T01:30",
            "2023-10-29T01:30..2023-10-29T02:00",
        ]
    );
    assert_eq!(
        fires_from(&trigger("@hourly", "Europe/Zurich"), "2023-03-25T23:30", 4),
        ["2023-03-26T00:00", "2023-03-26T01:00", "2023-03-26T02:00", "2023-03-26T03:00"]
    );
}

#[test]
fn case_17_every_two_hours_across_both_changes() {
    let every_two = trigger("0 */2 * * *", "Europe/Zurich");
    assert_eq!(
        fires_from(&every_two, "2023-10-28T22:00", 4),
        ["2023-10-28T22:00", "2023-10-29T01:00", "2023-10-29T03:00", "2023-10-29T05:00"]
    );
    assert_eq!(
        fires_from(&every_two, "2023-03-25T23:00", 4),
        ["2023-03-25T23:00", "2023-03-26T01:00", "2023-03-26T02:00", "2023-03-26T04:00"]
    );
}

#[test]
fn case_18_a_time_in_the_gap_is_not_skipped() {
    let timetable = trigger("30 2 * * *", "Europe/Zurich");
    assert_eq!(
        fires_from(&timetable, "2023-03-25T00:00", 3),
        ["2023-03-25T01:30", "2023-03-26T01:30", "2023-03-27T00:30"]
    );
    assert_eq!(
        fires_from(&timetable, "2023-10-28T00:00", 3),
        ["2023-10-28T00:30", "2023-10-29T01:30", "2023-10-30T01:30"]
    );
}

#[test]
fn case_19_manual_run_on_the_gap_day_is_not_empty() {
    let timetable = interval("0 2 * * *", "America/New_York");
    for trigger_at in ["2024-03-10T07:30", "2024-03-10T07:00"] {
        let covered = timetable.manual_interval(at(trigger_at));
        assert_eq!(span(&covered), "2024-03-09T07:00..2024-03-10T07:00", "{trigger_at}");
    }
    let last = covering("2024-03-09T07:00", "2024-03-10T07:00");
    let next = next_span(&timetable, Some(last), &window("2024-01-01", true), "2024-03-10T08:00");
    assert_eq!(next, "2024-03-10T07:00..2024-03-11T06:00");
}

#[test]
fn case_20_manual_run_in_the_first_pass_of_the_fold() {
    let timetable = interval("0 1 * * *", "America/New_York");
    let covered = timetable.manual_interval(at("2024-11-03T05:30"));
    assert_eq!(span(&covered), "2024-11-01T05:00..2024-11-02T05:00");
    let covered = timetable.manual_interval(at("2024-11-03T06:00"));
    assert_eq!(span(&covered), "2024-11-02T05:00..2024-11-03T06:00");
}

#[test]
fn case_21_a_gap_of_half_an_hour() {
    let timetable = interval("0 2 * * *", "Australia/Lord_Howe");
    let now = "2024-10-05T15:30";
    let due = due_runs(&timetable, None, &window("2024-09-01", false), at(now));
    assert_eq!(due.len(), 1);
    assert_eq!(span(&due[0].data_interval), "2024-10-04T15:30..2024-10-05T15:30");
    assert_eq!(span(&timetable.manual_interval(at(now))), "2024-10-04T15:30..2024-10-05T15:30");
}

#[test]
fn case_22_two_hours_a_day_across_the_change() {
    assert_eq!(
        spans_from(&interval("0 7-8 * * *", "America/Los_Angeles"), "2020-03-07T15:00", 3),
        [
            "2020-03-07T15:00..2020-03-07T16:00",
            "2020-03-07T16:00..2020-03-08T14:00",
            "2020-03-08T14:00..2020-03-08T15:00",
        ]
    );
}

#[test]
fn case_23_a_day_in_seoul_starts_the_afternoon_before_in_utc() {
    let runs: Vec<PlannedRun> =
        interval("@daily", "Asia/Seoul").runs_between(at("2024-03-09"), at("2024-03-10"), None).collect();
    assert_eq!(logical_dates(&runs), ["2024-03-09T15:00"]);
    assert_eq!(span(&runs[0].data_interval), "2024-03-09T15:00..2024-03-10T15:00");
}

#[test]
fn case_24_calendar_notations() {
    let cases: [(&str, &str, &[&str]); 12] = [
        ("0 0 13 * 5", "2024-01-01", &["01-05T00:00", "01-12T00:00", "01-13T00:00", "01-19T00:00", "01-26T00:00"]),
        ("0 0 31 * *", "2024-01-01", &["01-31T00:00", "03-31T00:00", "05-31T00:00"]),
        ("0 0 * * 7", "2024-01-01", &["01-07T00:00", "01-14T00:00"]),
        ("0 0 */2 * *", "2024-01-29T00:01", &["01-31T00:00", "02-01T00:00", "02-03T00:00"]),
        ("5/15 * * * *", "2024-01-01", &["01-01T00:05", "01-01T00:20", "01-01T00:35", "01-01T00:50", "01-01T01:05"]),
        ("0 22-2 * * *", "2024-01-01T20:00", &["01-01T22:00", "01-01T23:00", "01-02T00:00", "01-02T01:00"]),
        ("0 0 * * FRI-MON", "2024-01-02", &["01-05T00:00", "01-06T00:00", "01-07T00:00", "01-08T00:00", "01-12T00:00"]),
        ("0 0 L * *", "2024-01-01", &["01-31T00:00", "02-29T00:00", "03-31T00:00"]),
        ("0 0 * * L5", "2024-01-01", &["01-26T00:00", "02-23T00:00", "03-29T00:00"]),
        ("0 0 * * 5#2", "2024-01-01", &["01-12T00:00", "02-09T00:00"]),
        ("@quarterly", "2024-01-02", &["04-01T00:00", "07-01T00:00", "10-01T00:00"]),
        ("0 0 */10 * 1", "2024-01-02", &["01-08T00:00", "01-11T00:00", "01-15T00:00", "01-21T00:00"]),
    ];
    for (text, start, want) in cases {
        let want: Vec<String> = want.iter().map(|date| format!("2024-{date}")).collect();
        assert_eq!(fires_from(&trigger(text, "UTC"), start, want.len()), want, "{text}");
    }
    assert_eq!(fires_from(&trigger("0 0 29 2 *", "UTC"), "2024-01-01", 2), ["2024-02-29T00:00", "2028-02-29T00:00"]);
    assert_eq!(
        fires_from(&trigger("0 0 29 2 *", "UTC"), "2096-03-01", 1),
        ["2104-02-29T00:00"],
        "1900 and 2100 are no leap years"
    );
}

#[test]
fn case_25_a_bad_schedule_is_refused_by_name() {
    let cases = [
        (json!("0 0 1 13 0"), "month must be 1-12, got 13 in field 4 of '0 0 1 13 0'"),
        (json!("0 0 30 2 *"), "it never fires"),
        (
            json!({"every": "0s"}),
            "schedule.every: cannot read '0s' as a duration: an interval must be longer than zero",
        ),
        (json!({"every": -5}), "schedule.every: cannot read '-5' as a duration: it must not be negative"),
        (json!({"every": true}), "a text or a number of seconds is wanted"),
        (json!({"at": ["soon"]}), "schedule.at: cannot read 'soon' as a date"),
        (json!({"at": []}), "as a schedule; write a cron text"),
        (json!([]), "as a schedule; write a cron text"),
        (json!("6h"), "a length of time goes under every"),
        (json!("@fortnightly"), "there is no such preset; write @hourly, @daily"),
        (json!({"evry": "6h"}), "cannot read {\"evry\":\"6h\"} as a schedule"),
        (json!("0 0 2 * * *"), "seconds and years are not supported"),
    ];
    for (value, want) in cases {
        let error = Schedule::from_value(&value).unwrap_err().to_string();
        assert!(error.contains(want), "{value}: {error}");
    }
}

#[test]
fn case_26_uneven_hours_make_uneven_intervals() {
    assert_eq!(
        spans_from(&interval("0 3,16 * * *", "UTC"), "2024-01-01T03:00", 3),
        [
            "2024-01-01T03:00..2024-01-01T16:00",
            "2024-01-01T16:00..2024-01-02T03:00",
            "2024-01-02T03:00..2024-01-02T16:00",
        ]
    );
}

#[test]
fn case_27_a_manual_run_covers_the_last_complete_interval() {
    let timetable = interval("@daily", "UTC");
    for asked_at in ["2024-05-25T01:00", "2024-05-25T00:00"] {
        let run = timetable.manual_run(at(asked_at));
        assert_eq!(span(&run.data_interval), "2024-05-24T00:00..2024-05-25T00:00", "{asked_at}");
        assert_eq!((run.logical_date, run.run_after), (at(asked_at), at(asked_at)));
    }
    for value in [json!(null), json!("@once"), json!({"at": ["2024-01-01"]})] {
        let covered = interval(value.clone(), "UTC").manual_interval(at("2024-05-25T01:00"));
        assert_eq!(span(&covered), "2024-05-25T01:00..2024-05-25T01:00", "{value}");
    }
}

#[test]
fn a_named_date_of_the_schedule_has_the_interval_of_the_schedules_run() {
    let timetable = interval("@daily", "UTC");
    let named = |date: &str| timetable.named_run(at("2024-05-25T01:00"), at(date), None);
    let own = named("2024-03-02");
    assert_eq!(span(&own.data_interval), "2024-03-02T00:00..2024-03-03T00:00");
    assert_eq!(Some(own.data_interval), timetable.run_at(at("2024-03-02"), None).map(|run| run.data_interval));
    assert_eq!((short(own.logical_date), own.run_after), ("2024-03-02T00:00".into(), at("2024-05-25T01:00")));
    assert_eq!(named("2024-05-25").run_after, at("2024-05-26"), "its day has not ended");
    let other = named("2024-03-02T05:00");
    assert_eq!(span(&other.data_interval), "2024-03-01T00:00..2024-03-02T00:00", "no date of the schedule");
    assert_eq!(short(other.logical_date), "2024-03-02T05:00");

    let six_hours = interval(json!({"every": "6h"}), "UTC");
    let anchor = six_hours.anchor(None, Some(&DataInterval::new(at("2024-05-01T01:00"), at("2024-05-01T07:00"))));
    let own = six_hours.named_run(at("2024-05-25T01:00"), at("2024-05-03T13:00"), anchor);
    assert_eq!(span(&own.data_interval), "2024-05-03T13:00..2024-05-03T19:00", "strides go on from the last run");
    let fired = trigger("30 16 * * *", "UTC").named_run(at("2024-05-25T01:00"), at("2024-05-30T16:30"), None);
    assert_eq!(
        (span(&fired.data_interval).as_str(), fired.run_after),
        ("2024-05-30T16:30..2024-05-30T16:30", at("2024-05-30T16:30"))
    );
}

#[test]
fn a_date_without_a_time_is_the_schedules_date_of_that_day() {
    let read = |timetable: &Timetable, text: &str| timetable.read_date(text, None).map(short);
    let seoul = interval("0 2 * * *", "Asia/Seoul");
    assert_eq!(read(&seoul, "2026-10-20").unwrap(), "2026-10-19T17:00");
    assert_eq!(read(&seoul, "2026-10-20T00:00:00").unwrap(), "2026-10-19T15:00", "a time is taken as it is");
    assert_eq!(read(&interval("@hourly", "UTC"), "2026-10-20").unwrap(), "2026-10-20T00:00");
    assert_eq!(read(&interval("0 3 * * mon", "UTC"), "2026-10-20").unwrap(), "2026-10-20T00:00", "a Tuesday has none");
    assert_eq!(read(&interval(json!(null), "UTC"), "2026-10-20").unwrap(), "2026-10-20T00:00");
    let error = read(&interval("0 3,15 * * *", "UTC"), "2026-10-20").unwrap_err().to_string();
    assert_eq!(
        error,
        "the schedule has several dates on 2026-10-20; write one with its time: 2026-10-20T03:00:00.000000Z, \
         2026-10-20T15:00:00.000000Z"
    );
    assert!(read(&seoul, "2026-13-20").unwrap_err().to_string().contains("there is no such day"));
}

#[test]
fn case_28_a_trigger_timetable_runs_at_the_fire_time() {
    let timetable = trigger("30 16 * * *", "UTC");
    let window = window("2021-09-06T00:00", false);
    let first = timetable.next_run(None, &window, at("2021-09-07T00:00")).unwrap();
    assert_eq!(short(first.run_after), "2021-09-06T16:30");
    assert_eq!((first.logical_date, first.data_interval), (first.run_after, DataInterval::point(first.run_after)));
    let second = timetable.next_run(Some(&first.data_interval), &window, at("2021-09-07T00:00")).unwrap();
    assert_eq!(short(second.run_after), "2021-09-07T16:30");
    let after_outage = timetable.next_run(Some(&first.data_interval), &window, at("2021-09-20T20:00")).unwrap();
    assert_eq!(short(after_outage.run_after), "2021-09-20T16:30");
}

#[test]
fn case_29_a_trigger_timetable_without_start_date() {
    let kind = |run_immediately| TimetableKind::Trigger { interval: None, run_immediately };
    let within = |text: &str| RunImmediately::Within(text.parse().unwrap());
    let cases = [
        (RunImmediately::IfRecent, "2024-05-01T03:05", "2024-05-01T03:00"),
        (RunImmediately::IfRecent, "2024-05-01T05:24", "2024-05-01T03:00"),
        (RunImmediately::IfRecent, "2024-05-01T05:25", "2024-05-02T03:00"),
        (RunImmediately::IfRecent, "2024-05-01T12:05", "2024-05-02T03:00"),
        (RunImmediately::Always, "2024-05-01T12:05", "2024-05-01T03:00"),
        (within("10h"), "2024-05-01T12:05", "2024-05-01T03:00"),
        (within("9h"), "2024-05-01T12:05", "2024-05-02T03:00"),
    ];
    for catchup in [false, true] {
        for (run_immediately, now, want) in cases {
            let timetable = Timetable { kind: kind(run_immediately), ..trigger("0 3 * * *", "UTC") };
            let run = timetable.next_run(None, &window("", catchup), at(now)).unwrap();
            assert_eq!(short(run.run_after), want, "{run_immediately:?} at {now}, catchup {catchup}");
        }
    }
    let soon = trigger("*/10 * * * *", "UTC").next_run(None, &window("", false), at("2024-05-01T03:04:59"));
    assert_eq!(short(soon.unwrap().run_after), "2024-05-01T03:00", "five minutes are more than a tenth of ten");
}

#[test]
fn case_30_a_trigger_timetable_with_a_data_interval() {
    let kind =
        TimetableKind::Trigger { interval: Some("16h30m".parse().unwrap()), run_immediately: Default::default() };
    let timetable = Timetable { kind, ..trigger("30 16 * * MON", "UTC") };
    let run = timetable.next_run(None, &window("2024-05-01", true), at("2024-05-01")).unwrap();
    assert_eq!(span(&run.data_interval), "2024-05-06T00:00..2024-05-06T16:30");
    assert_eq!((short(run.logical_date), run.run_after), ("2024-05-06T16:30".into(), run.logical_date));
    let second = timetable.next_run(Some(&run.data_interval), &window("2024-05-01", true), at("2024-05-01")).unwrap();
    assert_eq!(short(second.logical_date), "2024-05-13T16:30");
    assert_eq!(span(&timetable.manual_interval(at("2024-05-08T17:30"))), "2024-05-08T01:00..2024-05-08T17:30");
}

#[test]
fn case_31_several_crons_are_a_union() {
    let timetable = trigger(json!(["@hourly", "30 * * * *"]), "UTC");
    assert_eq!(
        fires_from(&timetable, "2024-05-01T00:05", 3),
        ["2024-05-01T00:30", "2024-05-01T01:00", "2024-05-01T01:30"]
    );
    let overlapping = trigger(json!(["0 */2 * * *", "0 */3 * * *"]), "UTC");
    assert_eq!(
        fires_from(&overlapping, "2024-05-01T04:00", 4),
        ["2024-05-01T04:00", "2024-05-01T06:00", "2024-05-01T08:00", "2024-05-01T09:00"]
    );
    let late = timetable.next_run(None, &window("2024-05-01", false), at("2024-05-02T07:40")).unwrap();
    assert_eq!(short(late.run_after), "2024-05-02T07:30");
}

#[test]
fn case_32_a_clamped_month_stays_clamped() {
    let monthly = interval(json!({"every": "1mo"}), "UTC");
    let next = next_span(&monthly, None, &window("2025-01-31", false), "2026-06-29");
    assert_eq!(next, "2026-05-28T00:00..2026-06-28T00:00");
    assert_eq!(
        spans_from(&monthly, "2025-01-31", 3),
        [
            "2025-01-31T00:00..2025-02-28T00:00",
            "2025-02-28T00:00..2025-03-28T00:00",
            "2025-03-28T00:00..2025-04-28T00:00",
        ]
    );
    let in_seoul = interval(json!({"every": "1mo"}), "Asia/Seoul");
    assert_eq!(
        next_span(&in_seoul, None, &window("2025-01-30T15:00", true), "2026-06-29"),
        "2025-01-30T15:00..2025-02-27T15:00"
    );
}

#[test]
fn case_32_fixed_strides() {
    let every_six = interval(json!({"every": "6h"}), "UTC");
    assert_eq!(
        spans_from(&every_six, "2024-05-01T01:00", 2),
        ["2024-05-01T01:00..2024-05-01T07:00", "2024-05-01T07:00..2024-05-01T13:00"]
    );
    let late = next_span(&every_six, None, &window("2024-01-01T01:00", false), "2024-05-01T13:10");
    assert_eq!(late, "2024-05-01T06:00..2024-05-01T12:00");
    let early = next_span(&every_six, None, &window("2024-05-01T01:00", false), "2024-05-01T02:00");
    assert_eq!(early, "2024-05-01T01:00..2024-05-01T07:00");
    assert_eq!(span(&every_six.manual_interval(at("2024-05-01T13:10"))), "2024-05-01T07:10..2024-05-01T13:10");
    let points = trigger(json!({"every": "6h"}), "UTC");
    let late = points.next_run(None, &window("2024-05-01T01:00", false), at("2024-05-02T14:00")).unwrap();
    assert_eq!(short(late.run_after), "2024-05-02T13:00");
}

fn dates_between(timetable: &Timetable, from: &str, to: &str, anchor: Option<&str>) -> Vec<String> {
    logical_dates(&timetable.runs_between(at(from), at(to), anchor.map(at)).collect::<Vec<_>>())
}

#[test]
fn strides_of_a_range_are_those_of_the_start_date() {
    let every_six = interval(json!({"every": "6h"}), "UTC");
    let found = dates_between(&every_six, "2024-01-05", "2024-01-06", Some("2024-01-01T01:00"));
    assert_eq!(found, ["2024-01-05T01:00", "2024-01-05T07:00", "2024-01-05T13:00", "2024-01-05T19:00"]);
    assert_eq!(every_six.run_at(at("2024-01-05"), Some(at("2024-01-01T01:00"))), None);
    let on_time = every_six.run_at(at("2024-01-05T07:00"), Some(at("2024-01-01T01:00"))).unwrap();
    assert_eq!(span(&on_time.data_interval), "2024-01-05T07:00..2024-01-05T13:00");
    // Without a start date: those of the first of January 1970.
    assert_eq!(dates_between(&every_six, "2024-01-05T01:00", "2024-01-05T08:00", None), ["2024-01-05T06:00"]);
    let before = dates_between(&every_six, "2023-12-31T12:00", "2024-01-01T02:00", Some("2024-01-01T01:00"));
    assert_eq!(before, ["2023-12-31T13:00", "2023-12-31T19:00", "2024-01-01T01:00"]);

    let monthly = interval(json!({"every": "1mo"}), "UTC");
    let found = dates_between(&monthly, "2024-02-01", "2024-05-01", Some("2024-01-10T03:00"));
    assert_eq!(found, ["2024-02-10T03:00", "2024-03-10T03:00", "2024-04-10T03:00"]);
    let around = dates_between(&monthly, "2023-11-01", "2024-02-20", Some("2024-01-10"));
    assert_eq!(around, ["2023-11-10T00:00", "2023-12-10T00:00", "2024-01-10T00:00", "2024-02-10T00:00"]);
}

#[test]
fn a_range_of_strides_meets_what_the_schedule_made() {
    let every_six = interval(json!({"every": "6h"}), "UTC");
    let window = window("2024-01-01T01:00", false);
    // Later than the start date, the first run is put on the grid of the epoch, and the others follow it.
    let made = every_six.next_run(None, &window, at("2024-01-05T13:10")).unwrap();
    let anchor = every_six.anchor(window.start_date, Some(&made.data_interval));
    assert_eq!(every_six.run_at(made.logical_date, anchor), Some(made));
    let monthly = interval(json!({"every": "1mo"}), "UTC");
    assert_eq!(monthly.anchor(window.start_date, Some(&made.data_interval)), window.start_date);
    let points = trigger(json!({"every": "6h"}), "UTC");
    assert_eq!(points.anchor(window.start_date, Some(&made.data_interval)), window.start_date);
}

#[test]
fn case_33_once_is_once() {
    let timetable = interval("@once", "UTC");
    for catchup in [false, true] {
        let window = window("2024-01-01T05:00", catchup);
        let runs = due_runs(&timetable, None, &window, at("2025-01-01"));
        assert_eq!(logical_dates(&runs), ["2024-01-01T05:00"]);
    }
    assert!(due_runs(&timetable, None, &window("2026-01-01", false), at("2025-01-01")).is_empty());
}

#[test]
fn case_33_continuous_goes_on_from_the_end_of_the_last() {
    let timetable = interval("@continuous", "UTC");
    let window = window("2024-01-01", false);
    let first = timetable.next_run(None, &window, at("2024-01-01T00:10")).unwrap();
    assert_eq!(span(&first.data_interval), "2024-01-01T00:00..2024-01-01T00:10");
    let second = timetable.next_run(Some(&first.data_interval), &window, at("2024-01-01T00:25")).unwrap();
    assert_eq!(span(&second.data_interval), "2024-01-01T00:10..2024-01-01T00:25");
    assert_eq!(second.run_after, at("2024-01-01T00:25"));
    // A run that ends as soon as it has begun is not repeated at once.
    let hasty = timetable.next_run(Some(&first.data_interval), &window, at("2024-01-01T00:10")).unwrap();
    assert_eq!(span(&hasty.data_interval), "2024-01-01T00:10..2024-01-01T00:10:10");
    assert_eq!(hasty.run_after, at("2024-01-01T00:10:10"));
    let empty = DataInterval::point(at("2024-01-01"));
    let after_empty = timetable.next_run(Some(&empty), &window, at("2024-01-01")).unwrap();
    assert!(after_empty.logical_date > empty.start, "a logical date is never repeated");
}

#[test]
fn case_33_none_never_runs() {
    let timetable = interval(json!(null), "UTC");
    assert_eq!(timetable.next_run(None, &window("2024-01-01", true), at("2025-01-01")), None);
    assert_eq!(timetable.runs_between(at("2024-01-01"), at("2025-01-01"), None).count(), 0);
}

#[test]
fn case_33_listed_times() {
    let timetable =
        interval(json!({"at": ["2024-03-01", "2024-01-01", "2024-02-01T09:00:00+09:00", "2024-01-01"]}), "UTC");
    let all = due_runs(&timetable, None, &window("2023-01-01", true), at("2024-02-15"));
    assert_eq!(logical_dates(&all), ["2024-01-01T00:00", "2024-02-01T00:00"]);
    let latest = due_runs(&timetable, None, &window("2023-01-01", false), at("2024-02-15"));
    assert_eq!(logical_dates(&latest), ["2024-02-01T00:00"]);
    let last = DataInterval::point(at("2024-03-01"));
    assert_eq!(timetable.next_run(Some(&last), &window("2023-01-01", false), at("2024-05-01")), None);
    assert_eq!(timetable.next_run(None, &window("2024-04-01", false), at("2024-05-01")), None);
    let without_start = timetable.next_run(None, &window("", true), at("2024-02-15")).unwrap();
    assert_eq!(short(without_start.logical_date), "2024-01-01T00:00");
}

#[test]
fn case_34_a_clock_that_steps_back_repeats_nothing() {
    let tables = [
        interval("@hourly", "Europe/Zurich"),
        trigger("@hourly", "Europe/Zurich"),
        interval(json!({"every": "1h"}), "UTC"),
        interval(json!({"every": "1mo"}), "UTC"),
    ];
    for timetable in tables {
        for catchup in [false, true] {
            let window = window("2023-01-01", catchup);
            let run = timetable.next_run(None, &window, at("2023-10-29T01:10")).unwrap();
            for now in ["2023-10-29T00:10", "2023-10-28T01:10", "2022-01-01"] {
                let next = timetable.next_run(Some(&run.data_interval), &window, at(now)).unwrap();
                assert!(next.logical_date > run.logical_date, "{timetable:?} at {now}");
            }
        }
    }
}

#[test]
fn backfill_dates_are_half_open() {
    let daily = interval("@daily", "UTC");
    let dates = |from: &str, to: &str| -> Vec<String> {
        let runs: Vec<PlannedRun> = daily.runs_between(at(from), at(to), None).collect();
        logical_dates(&runs)
    };
    assert_eq!(
        dates("2024-01-01", "2024-01-05"),
        ["2024-01-01T00:00", "2024-01-02T00:00", "2024-01-03T00:00", "2024-01-04T00:00"]
    );
    assert_eq!(dates("2024-01-01T00:00:01", "2024-01-03T00:00:01"), ["2024-01-02T00:00", "2024-01-03T00:00"]);
    assert!(dates("2024-01-05", "2024-01-01").is_empty());
    assert_eq!(daily.run_at(at("2024-01-05T12:00"), None), None);
    let on_time = daily.run_at(at("2024-01-05"), None).unwrap();
    assert_eq!(span(&on_time.data_interval), "2024-01-05T00:00..2024-01-06T00:00");
}

#[test]
fn every_shape_survives_a_round_trip() {
    let shapes = [
        json!(null),
        json!("@once"),
        json!("@continuous"),
        json!("0 2 * * *"),
        json!("@daily"),
        json!(["0 2 * * *", "@hourly"]),
        json!({"every": "6h"}),
        json!({"every": "1y2mo"}),
        json!({"at": ["2024-01-01T00:00:00.000000Z"]}),
    ];
    for shape in shapes {
        let read = schedule(shape.clone());
        assert_eq!(read.to_value(), shape);
        let kind = TimetableKind::Trigger {
            interval: Some("1h".parse().unwrap()),
            run_immediately: RunImmediately::Within("10m".parse().unwrap()),
        };
        for kind in [TimetableKind::Interval, kind] {
            let timetable = Timetable { schedule: read.clone(), kind, timezone: Tz::Asia__Seoul };
            let text = serde_json::to_string(&timetable).unwrap();
            assert_eq!(serde_json::from_str::<Timetable>(&text).unwrap(), timetable, "{text}");
        }
    }
    for (same, as_this) in [
        (json!("none"), json!(null)),
        (json!({"cron": "@daily"}), json!("@daily")),
        (json!({"cron": ["@daily", "@daily"]}), json!("@daily")),
        (json!({"every": 90}), json!({"every": "1m30s"})),
    ] {
        assert_eq!(schedule(same), schedule(as_this));
    }
}

#[test]
fn schedules_in_words() {
    let cases = [
        (json!("0 2 * * *"), "every day at 02:00 (Asia/Seoul)"),
        (json!("@daily"), "every day at 00:00 (Asia/Seoul)"),
        (json!("@hourly"), "every hour (Asia/Seoul)"),
        (json!("*/5 * * * *"), "every 5 minutes (Asia/Seoul)"),
        (json!("* * * * *"), "every minute (Asia/Seoul)"),
        (json!("15 * * * *"), "every hour at minute 15 (Asia/Seoul)"),
        (json!("0 */6 * * *"), "every 6 hours (Asia/Seoul)"),
        (json!("0 3,16 * * *"), "every day at 03:00 and 16:00 (Asia/Seoul)"),
        (json!("30 16 * * MON"), "every Monday at 16:30 (Asia/Seoul)"),
        (json!("0 9 * * 1-5"), "Monday to Friday at 09:00 (Asia/Seoul)"),
        (json!("*/10 * * * 1-5"), "every 10 minutes, Monday to Friday (Asia/Seoul)"),
        (json!("@monthly"), "on day 1 of every month at 00:00 (Asia/Seoul)"),
        (json!("0 0 1,15 1,7 *"), "on days 1 and 15 of January and July at 00:00 (Asia/Seoul)"),
        (json!("0 0 L * *"), "on the last day of every month at 00:00 (Asia/Seoul)"),
        (json!("0 0 * * L5"), "on the last Friday of every month at 00:00 (Asia/Seoul)"),
        (json!("0 0 * * 5#2"), "on the second Friday of every month at 00:00 (Asia/Seoul)"),
        (json!("0 0 13 * 5"), "cron 0 0 13 * 5 (Asia/Seoul)"),
        (json!("5/7 1-9 * * *"), "cron 5/7 1-9 * * * (Asia/Seoul)"),
        (json!(["@hourly", "0 2 * * *"]), "every hour, and every day at 02:00 (Asia/Seoul)"),
        (json!({"every": "90m"}), "every 1h 30m"),
        (json!(null), "only when triggered"),
    ];
    for (value, want) in cases {
        assert_eq!(interval(value.clone(), "Asia/Seoul").describe(), want, "{value}");
    }
}

#[test]
fn dates_are_counted_as_they_are_walked() {
    let timetables = [
        interval("*/7 * * * *", "Europe/Zurich"),
        interval("0 */2 * * *", "Europe/Zurich"),
        interval(json!(["0 3 * * 1-5", "30 * 1,15 * *"]), "America/New_York"),
        interval("0 2 * * *", "Australia/Lord_Howe"),
        interval(json!({"every": "1mo"}), "UTC"),
        interval(json!({"every": "7h"}), "UTC"),
        trigger("0 0 29 2 *", "UTC"),
        interval(json!({"at": ["2024-01-05", "2024-03-31T01:30", "2024-11-03"]}), "UTC"),
    ];
    for timetable in &timetables {
        for (from, to) in
            [("2024-03-25", "2024-04-12T11:11"), ("2024-10-05", "2024-11-12"), ("2024-03-31T01:30", "2024-03-31T05:00")]
        {
            let (from, to) = (at(from), at(to));
            let walked: Vec<PlannedRun> = timetable.runs_between(from, to, Some(from)).collect();
            let first = walked.first().map_or(from, |run| run.logical_date);
            assert_eq!(timetable.count_slots(first, to), walked.len() as u64, "{} from {from}", timetable.describe());
            for pair in walked.windows(2) {
                assert_eq!(timetable.slot_before(&pair[1], &walked[0]), Some(pair[0]), "{}", timetable.describe());
            }
        }
    }
}

#[test]
fn months_from_the_last_day_of_one_are_kept_as_they_follow_one_another() {
    let timetable = interval(json!({"every": "1mo"}), "UTC");
    let window = Window { start_date: Some(at("2023-07-31T04:00")), end_date: None, catchup: true };
    // 31 July, 31 August and 30 September are due; the newest two of them are not 30 August and 30 September.
    let bounds = Misfire::Bounded { within: None, max: Some(2) };
    let kept = timetable.next_kept(None, &window, bounds, at("2023-11-05")).unwrap();
    assert_eq!(kept.logical_date, at("2023-08-31T04:00"));
    assert_eq!(kept.data_interval.end, at("2023-09-30T04:00"));
}

#[test]
fn years_of_minutes_are_counted_at_once() {
    let timetable = interval("* * * * *", "Asia/Seoul");
    assert_eq!(timetable.count_slots(at("2014-01-01"), at("2024-01-01")), 3_652 * 1_440);
}
