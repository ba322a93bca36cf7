//! Cron expressions, schedules, lengths of time, instants.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use millrace_model::duration::{Span, Step};
use millrace_model::instant::{format_utc_micros, parse_instant};
use millrace_model::maintenance::Maintenance;
use millrace_model::schedule::{CronExpression, Schedule, Timetable, parse_zone};
use millrace_testkit::Fuzz;
use serde_json::Value;

const CRONS: &[&str] = &[
    "0 2 * * *",
    "*/5 * * * *",
    "@daily",
    "0 0 L * *",
    "0 0 * * 5#2",
    "0 0 * * 5L",
    "15,45 9-17 * * MON-FRI",
    "0 0 29 2 *",
    "30 2 * * SUN",
    "0 0 1 */3 *",
    "59 23 31 12 6",
    "0 0-23/2 1-7 * *",
    "0 12 15W * *",
    "@quarterly",
    "0 0 30 2 *",
];

const ZONES: &[Tz] = &[Tz::UTC, Tz::Europe__Zurich, Tz::Asia__Seoul, Tz::Australia__Lord_Howe, Tz::America__New_York];
const MOMENTS: &[&str] =
    &["2024-03-30T23:00:00Z", "2024-10-26T23:30:00Z", "2024-02-28T12:00:00Z", "2023-12-31T23:59:59.999999Z"];

#[test]
fn fuzz_cron_expressions() {
    let words =
        ["*", "*/", "-", ",", "L", "W", "#", "MON", "sun", "JAN", "@", "@hourly", "0 ", " * *", "31", "/0", "~"];
    Fuzz::new("cron", 3_000).seeds(CRONS).words(&words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let cron = match CronExpression::parse(&text) {
            Ok(cron) => cron,
            Err(error) => {
                let said = error.to_string();
                assert!(said.len() > 10, "{said}");
                return said.chars().filter(|letter| letter.is_ascii_lowercase()).take(24).collect();
            }
        };
        assert_eq!(CronExpression::parse(cron.as_str()).unwrap(), cron);
        let mut fires = 0;
        for (zone, moment) in ZONES.iter().flat_map(|zone| MOMENTS.iter().map(move |moment| (*zone, *moment))) {
            let moment: DateTime<Utc> = moment.parse().unwrap();
            let Some(next) = cron.next_after(moment, zone) else { continue };
            fires += 1;
            assert!(next > moment, "{text} in {zone}: {next} is not after {moment}");
            let before = cron.previous_before(next + TimeDelta::microseconds(1), zone);
            assert_eq!(before, Some(next), "{text} in {zone}: the one before what follows {next}");
            let between = cron.previous_before(next, zone);
            assert!(between.is_none_or(|between| between <= moment), "{text} in {zone}: {between:?} was passed over");
        }
        format!("fires {fires}")
    });
}

#[test]
fn fuzz_schedules() {
    let seeds = [
        r#""0 2 * * *""#,
        r#"{"every": "6h"}"#,
        r#"{"every": {"months": 1, "days": 2}}"#,
        r#"["0 2 * * *", "@daily"]"#,
        r#"{"at": ["2024-01-01", "2024-06-01T12:00:00+09:00"]}"#,
        r#"{"cron": ["0 0 * * *"]}"#,
        "null",
        r#""@once""#,
        r#"{"every": 90}"#,
    ];
    let words = [
        "every",
        "at",
        "cron",
        "months",
        "days",
        "h",
        "m",
        "1w",
        "1y",
        "PT1H",
        "-",
        ".5",
        "+00:00",
        "Z",
        "T24:00",
        "9999-12-31",
    ];
    let now: DateTime<Utc> = "2024-03-30T23:00:00Z".parse().unwrap();
    Fuzz::new("schedules", 2_000).seeds(seeds).words(&words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let Ok(value) = serde_json::from_str::<Value>(&text) else { return "no JSON".to_owned() };
        let schedule = match Schedule::from_value_in(&value, Tz::Asia__Seoul) {
            Ok(schedule) => schedule,
            Err(error) => return error.to_string().chars().filter(|it| it.is_ascii_lowercase()).take(16).collect(),
        };
        assert_eq!(Schedule::from_value(&schedule.to_value()).unwrap(), schedule);
        for zone in ZONES {
            for timetable in [Timetable::interval(schedule.clone(), *zone), Timetable::trigger(schedule.clone(), *zone)]
            {
                let interval = timetable.manual_interval(now);
                assert!(interval.start <= interval.end, "{text} in {zone}: {interval:?}");
                timetable.manual_run(now);
                timetable.describe();
            }
        }
        schedule.display_text().chars().filter(|letter| letter.is_alphabetic()).take(8).collect()
    });
}

#[test]
fn fuzz_words_of_time() {
    let seeds = [
        "6h",
        "1d 12h",
        "90",
        "1.5m",
        "PT1H30M",
        "P1D",
        "00:10:00",
        "2 weeks",
        "1 month",
        "2024-01-01",
        "2024-06-01T12:00:00+09:00",
        "Asia/Seoul",
        "Sat 22:00..Sun 04:00 Asia/Seoul; 2026-12-24T22:00..2026-12-25T06:00",
        "Mon-Fri 09:00..10:00",
        "2024-03-31T02:30:00",
    ];
    let words =
        ["h", "min", "seconds", "P", "T", "..", "Mon", "UTC", "+", "-", ":", "Z", "Europe/Zurich", " ", ";", "24:00"];
    let now: DateTime<Utc> = "2024-03-30T23:00:00Z".parse().unwrap();
    Fuzz::new("words_of_time", 4_000).seeds(seeds).words(&words).run(|bytes| {
        let text = String::from_utf8_lossy(bytes);
        let (span, step) = (text.parse::<Span>(), text.parse::<Step>());
        if let Ok(span) = &span {
            assert_eq!(span.to_string().parse::<Span>().unwrap(), *span, "{text} is written {span}");
        }
        if let Ok(step) = &step {
            assert_eq!(step.to_string().parse::<Step>().unwrap(), *step, "{text} is written {step}");
        }
        let instant = parse_instant(&text, Tz::Europe__Zurich);
        if let Ok(instant) = &instant {
            let written = format_utc_micros(*instant);
            let again = parse_instant(&written, Tz::UTC).unwrap();
            assert_eq!(again.timestamp_micros(), instant.timestamp_micros(), "{text} is written {written}");
        }
        let maintenance = Maintenance::parse(&text, "", Tz::UTC);
        let zone = parse_zone(&text);
        let _ = now;
        (span.is_ok(), step.is_ok(), instant.is_ok(), maintenance.is_ok(), zone.is_ok())
    });
}
