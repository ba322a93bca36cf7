//! The cron expressions against a second, independent implementation.
#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use chrono::{DateTime, NaiveDateTime, Utc};
use chrono_tz::Tz;
use millrace_model::schedule::CronExpression;

fn minute(text: &str) -> DateTime<Utc> {
    NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M").unwrap().and_utc()
}

#[test]
fn fires_when_the_reference_does() {
    let table = include_str!("data/cron_reference.tsv");
    let mut differences = Vec::new();
    let mut lines = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        lines += 1;
        let cells: Vec<&str> = line.split('\t').collect();
        let [text, base, next, previous] = cells.as_slice() else { panic!("{line}") };
        let cron = CronExpression::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut at = minute(base);
        for want in next.split(' ').map(minute) {
            let got = cron.next_after(at, Tz::UTC);
            if got != Some(want) {
                differences.push(format!("{text} after {at}: want {want}, got {got:?}"));
                break;
            }
            at = want;
        }
        let mut at = minute(base);
        for want in previous.split(' ').map(minute) {
            let got = cron.previous_before(at, Tz::UTC);
            if got != Some(want) {
                differences.push(format!("{text} before {at}: want {want}, got {got:?}"));
                break;
            }
            at = want;
        }
    }
    assert!(lines > 250, "only {lines} lines");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
