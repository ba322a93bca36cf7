//! Windows of time in which nothing new starts. What runs goes on, and what is due waits for the window's end.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveTime, TimeZone, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::instant::{format_utc_micros, parse_instant, resolve_local};
use crate::schedule::parse_zone;

/// One window. Written `22:00..04:00`, `Sat 22:00..Sun 04:00`, `2026-12-24T22:00..2026-12-25T06:00`, and with a time zone
/// after a blank: `Sat 22:00..Sun 04:00 Asia/Seoul`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaintenanceWindow {
    span: Span,
    timezone: Tz,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Span {
    Daily(NaiveTime, NaiveTime),
    Weekly((Weekday, NaiveTime), (Weekday, NaiveTime)),
    Once(DateTime<Utc>, DateTime<Utc>),
}

/// Why a window was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is no maintenance window{problem}; write 22:00..04:00, Sat 22:00..Sun 04:00 or 2026-12-24T22:00..2026-12-25T06:00, and a time zone behind it if need be"
)]
pub struct WindowError {
    pub text: String,
    problem: String,
}

impl MaintenanceWindow {
    /// Reads one; `zone` is for those that name none.
    pub fn parse(text: &str, zone: Tz) -> Result<Self, WindowError> {
        let refuse = |problem: &str| WindowError { text: text.to_owned(), problem: problem.to_owned() };
        let (from, rest) = text.split_once("..").ok_or_else(|| refuse(""))?;
        let (from, rest) = (from.trim(), rest.trim());
        let (to, zone) = match rest.rsplit_once(char::is_whitespace) {
            Some((to, name)) if !name.starts_with(|first: char| first.is_ascii_digit()) => {
                (to.trim(), parse_zone(name).map_err(|error| refuse(&format!(": {error}")))?)
            }
            _ => (rest, zone),
        };
        let span = if let (Some(from), Some(to)) = (time(from), time(to)) {
            Span::Daily(from, to)
        } else if let (Some(from), Some(to)) = (day_and_time(from), day_and_time(to)) {
            Span::Weekly(from, to)
        } else {
            let instant = |text: &str| parse_instant(text, zone).map_err(|_| refuse(""));
            Span::Once(instant(from)?, instant(to)?)
        };
        match span {
            Span::Once(from, to) if to <= from => Err(refuse(": it ends before it begins")),
            Span::Daily(from, to) if from == to => Err(refuse(": it ends when it begins")),
            Span::Weekly(from, to) if from == to => Err(refuse(": it ends when it begins")),
            span => Ok(Self { span, timezone: zone }),
        }
    }

    /// When it ends, if it is open now.
    pub fn open_until(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.around(now).into_iter().flatten().find(|(from, to)| *from <= now && now < *to).map(|(_, to)| to)
    }

    /// When it opens or closes next.
    pub fn next_change(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.around(now).into_iter().flatten().flat_map(|(from, to)| [from, to]).filter(|at| *at > now).min()
    }

    /// Its openings before, at and after `now`.
    fn around(&self, now: DateTime<Utc>) -> [Option<(DateTime<Utc>, DateTime<Utc>)>; 3] {
        let today = self.timezone.from_utc_datetime(&now.naive_utc()).date_naive();
        match self.span {
            Span::Once(from, to) => [Some((from, to)), None, None],
            Span::Daily(from, to) => {
                let length = u64::from(to <= from);
                let opening = |day: Option<NaiveDate>| self.opening(day?, from, length, to);
                [opening(today.pred_opt()), opening(Some(today)), opening(today.succ_opt())]
            }
            Span::Weekly((from_day, from), (to_day, to)) => {
                let back = Days::new(u64::from(today.weekday().days_since(from_day)));
                let length = match u64::from(to_day.days_since(from_day)) {
                    0 if to <= from => 7,
                    days => days,
                };
                let this = today.checked_sub_days(back);
                let week = Days::new(7);
                let opening = |day: Option<NaiveDate>| self.opening(day?, from, length, to);
                [
                    opening(this.and_then(|day| day.checked_sub_days(week))),
                    opening(this),
                    opening(this.and_then(|day| day.checked_add_days(week))),
                ]
            }
        }
    }

    fn opening(
        &self,
        day: NaiveDate,
        from: NaiveTime,
        length: u64,
        to: NaiveTime,
    ) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let last = day.checked_add_days(Days::new(length))?;
        Some((resolve_local(self.timezone, day.and_time(from)), resolve_local(self.timezone, last.and_time(to))))
    }
}

fn time(text: &str) -> Option<NaiveTime> {
    let (hour, minute) = text.split_once(':')?;
    NaiveTime::from_hms_opt(hour.parse().ok()?, minute.parse().ok()?, 0)
}

fn day_and_time(text: &str) -> Option<(Weekday, NaiveTime)> {
    let (day, at) = text.split_once(char::is_whitespace)?;
    Some((day.parse().ok()?, time(at.trim())?))
}

impl fmt::Display for MaintenanceWindow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let zone = self.timezone.name();
        match self.span {
            Span::Daily(from, to) => write!(f, "{}..{} {zone}", from.format("%H:%M"), to.format("%H:%M")),
            Span::Weekly((from_day, from), (to_day, to)) => {
                write!(f, "{from_day} {}..{to_day} {} {zone}", from.format("%H:%M"), to.format("%H:%M"))
            }
            Span::Once(from, to) => write!(f, "{}..{}", format_utc_micros(from), format_utc_micros(to)),
        }
    }
}

impl FromStr for MaintenanceWindow {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, Tz::UTC)
    }
}

impl Serialize for MaintenanceWindow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MaintenanceWindow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The windows of an installation: for every DAG but those with one of the tags.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Maintenance {
    pub windows: Vec<MaintenanceWindow>,
    pub except_tags: Vec<String>,
}

impl Maintenance {
    /// Reads windows between `;` and tags between `,`.
    pub fn parse(windows: &str, except_tags: &str, zone: Tz) -> Result<Self, WindowError> {
        let parts = |text: &str, by: char| -> Vec<String> {
            text.split(by).map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        };
        let windows: Result<Vec<_>, _> =
            parts(windows, ';').iter().map(|window| MaintenanceWindow::parse(window, zone)).collect();
        Ok(Self { windows: windows?, except_tags: parts(except_tags, ',') })
    }

    /// Those that count for a DAG with these windows of its own and these tags.
    pub fn of<'a>(
        &'a self,
        own: &'a [MaintenanceWindow],
        tags: &[String],
    ) -> impl Iterator<Item = &'a MaintenanceWindow> + use<'a> {
        let is_excepted = self.except_tags.iter().any(|tag| tags.contains(tag));
        own.iter().chain(self.windows.iter().filter(move |_| !is_excepted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        parse_instant(text, Tz::UTC).unwrap()
    }

    #[test]
    fn windows_open_and_close() {
        for (text, now, until, change) in [
            ("22:00..04:00", "2026-08-01T23:00", Some("2026-08-02T04:00"), "2026-08-02T04:00"),
            ("22:00..04:00", "2026-08-01T03:59", Some("2026-08-01T04:00"), "2026-08-01T04:00"),
            ("22:00..04:00", "2026-08-01T04:00", None, "2026-08-01T22:00"),
            ("12:00..13:00 Asia/Seoul", "2026-08-01T03:30", Some("2026-08-01T04:00"), "2026-08-01T04:00"),
            ("Sat 22:00..Sun 04:00", "2026-08-01T22:00", Some("2026-08-02T04:00"), "2026-08-02T04:00"),
            ("Sat 22:00..Sun 04:00", "2026-08-02T04:00", None, "2026-08-08T22:00"),
            ("Fri 22:00..Mon 04:00", "2026-08-02T12:00", Some("2026-08-03T04:00"), "2026-08-03T04:00"),
            ("Sun 22:00..Sun 04:00", "2026-08-05T12:00", Some("2026-08-09T04:00"), "2026-08-09T04:00"),
            ("2026-12-24T22:00..2026-12-25T06:00", "2026-12-25", Some("2026-12-25T06:00"), "2026-12-25T06:00"),
            ("2026-12-24T22:00..2026-12-25T06:00", "2026-12-01", None, "2026-12-24T22:00"),
        ] {
            let window: MaintenanceWindow = text.parse().unwrap();
            assert_eq!(window.open_until(at(now)), until.map(at), "{text} at {now}");
            assert_eq!(window.next_change(at(now)), Some(at(change)), "{text} at {now}");
            assert_eq!(window.to_string().parse(), Ok(window), "{text}");
        }
        let past: MaintenanceWindow = "2026-12-24T22:00..2026-12-25T06:00".parse().unwrap();
        assert_eq!(past.next_change(at("2027-01-01")), None);
    }

    #[test]
    fn what_is_no_window_says_what_is_one() {
        for text in ["", "22:00", "22:00..22:00", "Sat 22:00..04:00", "2026-12-25..2026-12-24", "1:00..2:00 Mars/Base"]
        {
            assert!(text.parse::<MaintenanceWindow>().is_err(), "{text}");
        }
    }
}
