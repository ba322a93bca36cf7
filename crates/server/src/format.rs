//! Times, lengths and sizes as people read them.

use std::borrow::Cow;
use std::sync::LazyLock;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use chrono_tz::Tz;
use regex::{Captures, Regex};
use serde::Serialize;

use crate::viewer::zone_for;
use crate::words::{fill, said, t};

/// An instant, both ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct When {
    /// For programs.
    pub iso: String,
    /// To the second, zone included.
    pub exact: String,
    /// To the minute, in the zone only.
    pub local: String,
    /// `4 min ago`, `in 3 h`.
    pub ago: String,
}

impl When {
    /// In `zone`, unless the viewer chose another.
    pub fn new(at: DateTime<Utc>, now: DateTime<Utc>, zone: Tz) -> Self {
        let zone = zone_for(zone);
        Self {
            iso: at.to_rfc3339_opts(SecondsFormat::Secs, true),
            exact: exact(at, zone),
            local: local(at, zone),
            ago: ago(at, now),
        }
    }
}

/// In the zone, and in UTC when that is another.
pub(crate) fn exact(at: DateTime<Utc>, zone: Tz) -> String {
    let utc = at.format("%Y-%m-%d %H:%M:%S UTC");
    if zone == Tz::UTC {
        return utc.to_string();
    }
    format!("{} ({utc})", at.with_timezone(&zone).format(&format!("%Y-%m-%d %H:%M:%S {zone}")))
}

fn local(at: DateTime<Utc>, zone: Tz) -> String {
    format!("{} {zone}", at.with_timezone(&zone).format("%Y-%m-%d %H:%M"))
}

static INSTANT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"\b\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{6}Z").expect("the pattern is checked by a test")
});

/// A sentence whose instants, written for programs (`2024-03-01T12:00:00.000000Z`), become times of `zone`, unless the viewer
/// chose another.
pub(crate) fn with_times(text: &str, zone: Tz) -> Cow<'_, str> {
    let zone = zone_for(zone);
    INSTANT.replace_all(text, |found: &Captures<'_>| match found[0].parse::<DateTime<Utc>>() {
        Ok(at) if at.timestamp() % 60 == 0 => local(at, zone),
        Ok(at) => format!("{} {zone}", at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S")),
        Err(_) => found[0].to_owned(),
    })
}

/// For the start of a sentence.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// The time of day in the zone, for the lines of a log.
pub(crate) fn clock(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).format("%H:%M:%S%.3f").to_string()
}

pub(crate) fn ago(at: DateTime<Utc>, now: DateTime<Utc>) -> String {
    let seconds = (now - at).num_seconds();
    let (long, unit) = match seconds.unsigned_abs() {
        0..5 => return t("now").to_owned(),
        n @ 5..60 => (n, said!("{n} s")),
        n @ 60..3_600 => (n / 60, said!("{n} min")),
        n @ 3_600..172_800 => (n / 3_600, said!("{n} h")),
        n => (n / 86_400, said!("{n} d")),
    };
    let long = fill(unit, &[("n", &long.to_string())]);
    fill(if seconds > 0 { said!("{time} ago") } else { said!("in {time}") }, &[("time", &long)])
}

/// `40ms`, `0.4s`, `12s`, `1m 04s`, `2h 05m`, `3d 04h`.
pub(crate) fn length(length: TimeDelta) -> String {
    let seconds = length.num_seconds().max(0);
    match seconds {
        0 if (1..100).contains(&length.num_milliseconds()) => format!("{}ms", length.num_milliseconds()),
        0..10 => format!("{:.1}s", length.num_milliseconds().max(0) as f64 / 1000.0),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// From start to end, or to now.
pub(crate) fn span(start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Option<TimeDelta> {
    start.map(|start| (end.unwrap_or(now) - start).max(TimeDelta::zero()))
}

/// `1,234,567`
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `812 B`, `1.4 GB` (decimal).
pub(crate) fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KB", "MB", "GB", "TB"] {
        if value < 999.5 || unit == "TB" {
            return if unit == "B" || value >= 99.5 {
                format!("{value:.0} {unit}")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    unreachable!("the last unit returns")
}

/// `upstream_failed` as words.
pub(crate) fn words(state: &str) -> String {
    if state == "none" { t("not started").to_owned() } else { t(&state.replace('_', " ")).to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_in_sentences() {
        let text = "it starts at 2024-03-01T12:00:00.000000Z, looks again at 2024-03-01T12:00:07.250000Z";
        assert_eq!(
            with_times(text, Tz::UTC),
            "it starts at 2024-03-01 12:00 UTC, looks again at 2024-03-01 12:00:07 UTC"
        );
        let of_no_clock = "scheduled__2024-03-01T12:00:00+00:00 and 2024-13-01T12:00:00.000000Z";
        assert_eq!(with_times(of_no_clock, Tz::UTC), of_no_clock);
        assert_eq!(with_times("at 2024-03-01T12:00:00.000000Z", Tz::Asia__Seoul), "at 2024-03-01 21:00 Asia/Seoul");
    }

    #[test]
    fn lengths() {
        let text = |ms| length(TimeDelta::milliseconds(ms));
        assert_eq!(text(0), "0.0s");
        assert_eq!((text(7).as_str(), text(99).as_str()), ("7ms", "99ms"));
        assert_eq!(text(440), "0.4s");
        assert_eq!(text(12_900), "12s");
        assert_eq!(text(64_000), "1m 04s");
        assert_eq!(text(7_500_000), "2h 05m");
        assert_eq!(text(273_600_000), "3d 04h");
        assert_eq!(text(-5), "0.0s");
    }

    #[test]
    fn counts_and_sizes() {
        assert_eq!((count(0).as_str(), count(999).as_str(), count(1_234_567).as_str()), ("0", "999", "1,234,567"));
        assert_eq!((size(812).as_str(), size(1_400_000_000).as_str()), ("812 B", "1.4 GB"));
        assert_eq!((size(999_900).as_str(), size(u64::MAX).as_str()), ("1.0 MB", "18446744 TB"));
    }

    #[test]
    fn times_are_relative_and_exact() {
        let now: DateTime<Utc> = "2024-03-01T12:00:00Z".parse().unwrap();
        let before = |seconds| ago(now - TimeDelta::seconds(seconds), now);
        assert_eq!((before(2), before(-40)), ("now".to_owned(), "in 40 s".to_owned()));
        assert_eq!((before(240), before(-10_800)), ("4 min ago".to_owned(), "in 3 h".to_owned()));
        assert_eq!(before(400_000), "4 d ago");
        assert_eq!(exact(now, Tz::UTC), "2024-03-01 12:00:00 UTC");
        assert_eq!(exact(now, Tz::Asia__Seoul), "2024-03-01 21:00:00 Asia/Seoul (2024-03-01 12:00:00 UTC)");
    }
}
