//! Stepping through two years of clock changes: forwards only, nothing twice, and the same backwards.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use millrace_model::instant::{parse_instant, resolve_local};
use millrace_model::schedule::{CronExpression, DataInterval, Schedule, Timetable, Window};
use serde_json::json;

const ZONES: [Tz; 5] =
    [Tz::Europe__Zurich, Tz::America__New_York, Tz::Australia__Lord_Howe, Tz::Asia__Seoul, Tz::Africa__Cairo];

/// A small generator, so that a failure can be run again: the seed is in every message.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn field(&mut self, sides: u64) -> String {
        match self.roll(4) {
            0 => "*".to_owned(),
            1 => self.roll(sides).to_string(),
            2 => format!("{}-{}", self.roll(sides), self.roll(sides)),
            _ => format!("*/{}", 1 + self.roll(sides / 2)),
        }
    }

    fn cron(&mut self) -> String {
        // Early hours are where clocks change; the few minutes keep two years to some thousand steps.
        let (hour, minute) = match self.roll(3) {
            0 => (self.field(24), self.roll(60).to_string()),
            1 => (self.field(4).replace('*', "0-3"), "0,30".to_owned()),
            _ => (self.field(4).replace('*', "0-3"), "10,45".to_owned()),
        };
        let weekday = if self.roll(3) == 0 { self.field(7) } else { "*".to_owned() };
        format!("{minute} {hour} * * {weekday}")
    }
}

fn at(text: &str) -> DateTime<Utc> {
    parse_instant(text, Tz::UTC).unwrap()
}

#[test]
fn steps_never_repeat_and_lead_back() {
    for seed in 1..=6 {
        let mut dice = Dice(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed));
        for _ in 0..4 {
            dice.roll(2);
        }
        let text = dice.cron();
        let cron = CronExpression::parse(&text).unwrap();
        for zone in ZONES {
            let (mut from, end) = (at("2023-01-01"), at("2025-01-01"));
            let mut last = None;
            while from < end {
                let next = cron.next_after(from, zone).unwrap();
                assert!(next > from, "seed {seed}: {text} in {zone} goes back from {from} to {next}");
                if last.is_some() {
                    let back = cron.previous_before(next, zone);
                    assert_eq!(back, last, "seed {seed}: {text} in {zone} does not lead back from {next}");
                }
                last = Some(next);
                from = next;
            }
        }
    }
}

/// Every minute of the wall clock, put to the expression by plain arithmetic and resolved one by one.
#[test]
fn agrees_with_walking_every_minute() {
    type Case = (&'static str, fn(NaiveDateTime) -> bool, bool);
    let cases: [Case; 5] = [
        ("20,45 2-3 * * *", |w| matches!(w.minute(), 20 | 45) && matches!(w.hour(), 2 | 3), false),
        ("*/10 1 * * *", |w| w.minute() % 10 == 0 && w.hour() == 1, false),
        (
            "15,45 0-3 * * 0",
            |w| w.minute() % 30 == 15 && w.hour() < 4 && w.weekday().num_days_from_sunday() == 0,
            false,
        ),
        ("*/40 * * * *", |w| w.minute() % 40 == 0, true),
        ("7 */3 * * *", |w| w.minute() == 7 && w.hour() % 3 == 0, false),
    ];
    for zone in ZONES {
        for (text, matches, every_hour) in cases {
            let cron = CronExpression::parse(text).unwrap();
            let (from, to) = (at("2024-01-01"), at("2025-01-01"));
            let mut wanted: BTreeSet<DateTime<Utc>> = BTreeSet::new();
            let mut wall = from.naive_utc() - TimeDelta::days(2);
            while wall < to.naive_utc() + TimeDelta::days(2) {
                if matches(wall) {
                    wanted.insert(resolve_local(zone, wall));
                    if every_hour && let Some(first) = zone.from_local_datetime(&wall).earliest() {
                        wanted.insert(first.to_utc());
                    }
                }
                wall += TimeDelta::minutes(1);
            }
            let wanted: Vec<_> = wanted.into_iter().filter(|at| *at > from && *at < to).collect();
            let forwards: Vec<_> = std::iter::successors(Some(from), |at| cron.next_after(*at, zone))
                .skip(1)
                .take_while(|at| *at < to)
                .collect();
            assert_eq!(forwards, wanted, "{text} in {zone}");
            let mut backwards: Vec<_> = std::iter::successors(Some(to), |at| cron.previous_before(*at, zone))
                .skip(1)
                .take_while(|at| *at > from)
                .collect();
            backwards.reverse();
            assert_eq!(backwards, wanted, "{text} in {zone}, backwards");
        }
    }
}

/// Asked at any moment, also between the boundaries, the answers fit together.
#[test]
fn intervals_are_seamless_and_manual_ones_complete() {
    for zone in ZONES {
        for text in ["0 2 * * *", "30 1 * * *", "15 */2 * * *", "0 * * * *", "0 3,16 * * *"] {
            let timetable = Timetable::interval(Schedule::from_value(&json!(text)).unwrap(), zone);
            let window = Window { start_date: Some(at("2024-01-01")), end_date: None, catchup: true };
            let mut previous: Option<DataInterval> = None;
            for run in
                timetable.upcoming(None, &window, at("2024-01-01")).take_while(|r| r.run_after < at("2025-01-01"))
            {
                let covered = run.data_interval;
                assert!(covered.end > covered.start, "{text} in {zone}: {covered:?}");
                assert!(previous.is_none_or(|before| before.end == covered.start), "{text} in {zone}: {covered:?}");
                for asked_at in [covered.end, covered.end + TimeDelta::minutes(1)] {
                    assert_eq!(timetable.manual_interval(asked_at), covered, "{text} in {zone} at {asked_at}");
                }
                let just_before = timetable.manual_interval(covered.end - TimeDelta::microseconds(1));
                assert_eq!(just_before.end, covered.start, "{text} in {zone}");
                previous = Some(covered);
            }
        }
    }
}

/// The work for one decision does not grow with the time missed: this would take minutes if every slot were visited.
#[test]
fn a_long_absence_is_jumped_over() {
    let every_minute = Timetable::interval(Schedule::from_value(&json!("* * * * *")).unwrap(), Tz::Europe__Zurich);
    let window = Window { start_date: Some(at("1971-01-01")), end_date: None, catchup: false };
    let last = DataInterval::new(at("1972-01-01"), at("1972-01-01T00:01"));
    let mut now = at("2024-03-01T12:00:30");
    for _ in 0..200 {
        let run = every_minute.next_run(Some(&last), &window, now).unwrap();
        assert_eq!(run.run_after, now - TimeDelta::seconds(30));
        now += TimeDelta::minutes(1);
    }
}
