//! Named sets of days, and what a DAG makes of them: days on which its schedule starts nothing, or only those.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Days, NaiveDate, TimeZone, Utc, Weekday};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::instant::resolve_local;
use crate::schedule::PlannedRun;

/// How far a shifted run looks for a day.
const MAX_SHIFT: u64 = 366;

/// A calendar file with everything that it includes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// Of the file.
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<NamedDays>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Self>,
    /// Days that do not belong to it, whatever the others say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub except: Vec<DayRule>,
}

/// Some days under one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedDays {
    pub rule: DayRule,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Which days. Written `2026-12-25`, `2026-09-24..2026-09-26`, `12-25`, `sat`, `last mon of may`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DayRule {
    Date(NaiveDate),
    /// Both ends belong to it.
    Range(NaiveDate, NaiveDate),
    /// Every year; the 29th of February only where there is one.
    Yearly {
        month: u32,
        day: u32,
    },
    /// The first to fifth such day of a month, or with 0 the last one.
    Nth {
        month: u32,
        weekday: Weekday,
        nth: u32,
    },
    Weekday(Weekday),
}

/// Why a rule of days was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{text}' names no days; write 2026-12-25, 2026-09-24..2026-09-26, 12-25, sat, or 'last mon of may'")]
pub struct DayRuleError {
    pub text: String,
}

const MONTHS: [&str; 12] = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const ORDINALS: [&str; 6] = ["last", "1st", "2nd", "3rd", "4th", "5th"];
const ORDINAL_WORDS: [&str; 6] = ["last", "first", "second", "third", "fourth", "fifth"];

impl DayRule {
    pub fn covers(&self, date: NaiveDate) -> bool {
        match *self {
            Self::Date(day) => day == date,
            Self::Range(from, to) => from <= date && date <= to,
            Self::Yearly { month, day } => (date.month(), date.day()) == (month, day),
            Self::Weekday(weekday) => date.weekday() == weekday,
            Self::Nth { month, weekday, nth } => {
                let is_it = if nth == 0 {
                    date.checked_add_days(Days::new(7)).is_none_or(|later| later.month() != month)
                } else {
                    date.day().div_ceil(7) == nth
                };
                date.month() == month && date.weekday() == weekday && is_it
            }
        }
    }
}

impl FromStr for DayRule {
    type Err = DayRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        read_rule(&text.trim().to_ascii_lowercase()).ok_or_else(|| DayRuleError { text: text.to_owned() })
    }
}

fn read_rule(text: &str) -> Option<DayRule> {
    if let Some((from, to)) = text.split_once("..") {
        let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        return (from <= to).then_some(DayRule::Range(from, to));
    }
    if let Ok(date) = text.parse() {
        return Some(DayRule::Date(date));
    }
    if let Ok(weekday) = text.parse() {
        return Some(DayRule::Weekday(weekday));
    }
    if let Some((month, day)) = text.split_once('-') {
        let (month, day) = (month.parse().ok()?, day.parse().ok()?);
        // A leap year, so that the 29th of February is one of its days.
        NaiveDate::from_ymd_opt(2024, month, day)?;
        return Some(DayRule::Yearly { month, day });
    }
    let words: Vec<&str> = text.split_whitespace().collect();
    let [ordinal, weekday, "of", month] = words.as_slice() else { return None };
    let nth = [ORDINALS, ORDINAL_WORDS].iter().find_map(|words| words.iter().position(|word| word == ordinal))?;
    let month = MONTHS.iter().position(|name| month.starts_with(name))? + 1;
    Some(DayRule::Nth {
        month: u32::try_from(month).ok()?,
        weekday: weekday.parse().ok()?,
        nth: u32::try_from(nth).ok()?,
    })
}

impl fmt::Display for DayRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weekday = |day: &Weekday| day.to_string().to_lowercase();
        match self {
            Self::Date(day) => write!(f, "{day}"),
            Self::Range(from, to) => write!(f, "{from}..{to}"),
            Self::Yearly { month, day } => write!(f, "{month:02}-{day:02}"),
            Self::Weekday(day) => f.write_str(&weekday(day)),
            Self::Nth { month, weekday: day, nth } => {
                let ordinal = ORDINALS.get(*nth as usize).unwrap_or(&"");
                let month = MONTHS.get(*month as usize - 1).unwrap_or(&"");
                write!(f, "{ordinal} {} of {month}", weekday(day))
            }
        }
    }
}

impl Serialize for DayRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for DayRule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Calendar {
    /// Whether the day belongs to it; the text is the day's name, which may be empty.
    pub fn covers(&self, date: NaiveDate) -> Option<&str> {
        if self.except.iter().any(|rule| rule.covers(date)) {
            return None;
        }
        let own = self.days.iter().find(|days| days.rule.covers(date));
        own.map(|days| days.name.as_deref().unwrap_or_default())
            .or_else(|| self.include.iter().find_map(|calendar| calendar.covers(date)))
    }
}

/// What a run's day is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// The day on which it starts.
    #[default]
    RunAfter,
    /// The day of its logical date.
    LogicalDate,
}

/// What becomes of a run whose day is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shift {
    /// Left out.
    #[default]
    Skip,
    /// It starts at the same time of the next day that is one.
    NextBusinessDay,
}

/// A DAG's calendars. A day is one of the DAG's when it is in one of `include` (if there are any) and in none of
/// `exclude`; days are those of the DAG's time zone.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct CalendarRule {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub include: Vec<Calendar>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude: Vec<Calendar>,
    #[serde(default)]
    pub shift: Shift,
    #[serde(default)]
    pub compare: Compare,
}

/// What a calendar makes of a date of the schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Run,
    /// With the reason.
    Skip(String),
    /// It starts then; with the reason.
    Shift(DateTime<Utc>, String),
}

impl CalendarRule {
    /// Why the day is not one of the DAG's.
    pub fn refusal(&self, date: NaiveDate) -> Option<String> {
        if let Some((calendar, name)) = self.exclude.iter().find_map(|it| it.covers(date).map(|name| (it, name))) {
            return Some(format!("calendar {}: {date} {name}", calendar.name).trim_end().to_owned());
        }
        if self.include.is_empty() || self.include.iter().any(|calendar| calendar.covers(date).is_some()) {
            return None;
        }
        let names: Vec<&str> = self.include.iter().map(|calendar| calendar.name.as_str()).collect();
        Some(format!("calendar {}: {date} is not in it", names.join(", ")))
    }

    /// The day that counts.
    pub fn day_of(&self, slot: &PlannedRun, zone: Tz) -> NaiveDate {
        local_day(self.compared(slot), zone)
    }

    /// The moment whose day counts.
    pub fn compared(&self, slot: &PlannedRun) -> DateTime<Utc> {
        match self.compare {
            Compare::RunAfter => slot.run_after,
            Compare::LogicalDate => slot.logical_date,
        }
    }

    pub fn fate(&self, slot: &PlannedRun, zone: Tz) -> Fate {
        let day = self.day_of(slot, zone);
        let Some(reason) = self.refusal(day) else { return Fate::Run };
        if self.shift == Shift::NextBusinessDay
            && let Some(at) = self.shifted(slot, day, zone)
        {
            return Fate::Shift(at, reason);
        }
        Fate::Skip(reason)
    }

    fn shifted(&self, slot: &PlannedRun, day: NaiveDate, zone: Tz) -> Option<DateTime<Utc>> {
        let is_one =
            |later: &u64| day.checked_add_days(Days::new(*later)).is_some_and(|day| self.refusal(day).is_none());
        let later = (1..=MAX_SHIFT).find(is_one)?;
        let wall = zone.from_utc_datetime(&slot.run_after.naive_utc()).naive_local();
        Some(resolve_local(zone, wall.checked_add_days(Days::new(later))?))
    }
}

fn local_day(at: DateTime<Utc>, zone: Tz) -> NaiveDate {
    zone.from_utc_datetime(&at.naive_utc()).date_naive()
}

/// The first instant of a local day.
pub fn day_start(day: NaiveDate, zone: Tz) -> DateTime<Utc> {
    resolve_local(zone, day.and_time(chrono::NaiveTime::MIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    #[test]
    fn rules_are_read_and_written() {
        for (text, hit, miss) in [
            ("2026-12-25", "2026-12-25", "2027-12-25"),
            ("2026-09-24..2026-09-26", "2026-09-26", "2026-09-27"),
            ("12-25", "2031-12-25", "2031-12-24"),
            ("02-29", "2028-02-29", "2027-02-28"),
            ("sat", "2026-08-01", "2026-08-02"),
            ("last mon of may", "2026-05-25", "2026-05-18"),
            ("3rd mon of jan", "2026-01-19", "2026-01-12"),
            ("1st thu of oct", "2026-10-01", "2026-10-08"),
        ] {
            let rule: DayRule = text.parse().unwrap();
            assert_eq!(rule.to_string(), text);
            assert!(rule.covers(day(hit)), "{text} {hit}");
            assert!(!rule.covers(day(miss)), "{text} {miss}");
        }
        assert_eq!("Third Monday of January".parse(), "3rd mon of jan".parse::<DayRule>());
        for text in ["13-01", "02-30", "2026-02-30", "caturday", "6th mon of may", "2026-02-02..2026-02-01", ""] {
            assert!(text.parse::<DayRule>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_exception_goes_before_what_is_included() {
        let days = |rule: &str, name: &str| NamedDays { rule: rule.parse().unwrap(), name: Some(name.to_owned()) };
        let weekends = Calendar {
            name: "weekends".into(),
            description: None,
            days: vec![days("sat", "Saturday")],
            include: vec![],
            except: vec![],
        };
        let holidays = Calendar {
            name: "kr".into(),
            days: vec![days("12-25", "Christmas")],
            include: vec![weekends.clone()],
            except: vec!["2026-08-01".parse().unwrap()],
            ..weekends
        };
        assert_eq!(holidays.covers(day("2026-12-25")), Some("Christmas"));
        assert_eq!(holidays.covers(day("2026-08-08")), Some("Saturday"));
        assert_eq!(holidays.covers(day("2026-08-01")), None, "a day of work");
        assert_eq!(serde_json::from_value::<Calendar>(serde_json::to_value(&holidays).unwrap()).unwrap(), holidays);
    }
}
