//! Lengths of time as people write them.
//!
//! Two kinds, because a month has no fixed length: [`Span`] is a fixed length (timeouts, delays), [`Step`] may also hold
//! calendar months and is the stride of a delta schedule. Both are read from `90` (seconds), `3m`, `1h30m`, `2 days` or
//! ISO 8601 `PT3M`; months and years (`1mo`, `1y`, `P1M`) only by [`Step`].

use std::fmt;
use std::str::FromStr;

use chrono::TimeDelta;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const MILLIS_PER_SECOND: i64 = 1_000;
const MILLIS_PER_MINUTE: i64 = 60 * MILLIS_PER_SECOND;
const MILLIS_PER_HOUR: i64 = 60 * MILLIS_PER_MINUTE;
const MILLIS_PER_DAY: i64 = 24 * MILLIS_PER_HOUR;
const MILLIS_PER_WEEK: i64 = 7 * MILLIS_PER_DAY;

/// Longest accepted length, so that adding one to any sensible instant cannot overflow.
const LONGEST_MILLIS: i64 = 36_525 * MILLIS_PER_DAY;
const LONGEST_MONTHS: i64 = 1_200;

/// Why a text is not a length of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read '{text}' as a duration: {problem}; write {examples}")]
pub struct DurationError {
    /// What was given.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
    /// What can be read in its place.
    pub examples: &'static str,
}

impl DurationError {
    fn new(text: &str, problem: impl Into<String>) -> Self {
        Self { text: text.to_owned(), problem: problem.into(), examples: "90 (seconds), 3m, 1h30m, 2d or PT3M" }
    }

    fn of_step(self) -> Self {
        Self { examples: "90 (seconds), 3m, 1h30m, 2d, 1mo, 1y, PT3M or P1M", ..self }
    }
}

/// A fixed, non-negative length of time with millisecond resolution, at most 100 years.
///
/// `Display` is for people (`1h 30m`); serialisation is the same without blanks (`1h30m`), and reads back equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    millis: i64,
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self { millis: 0 };

    /// `seconds`, cut to 100 years.
    pub const fn from_seconds(seconds: u32) -> Self {
        let millis = seconds as i64 * MILLIS_PER_SECOND;
        Self { millis: if millis > LONGEST_MILLIS { LONGEST_MILLIS } else { millis } }
    }

    /// `minutes`, cut to 100 years.
    pub const fn from_minutes(minutes: u32) -> Self {
        let millis = minutes as i64 * MILLIS_PER_MINUTE;
        Self { millis: if millis > LONGEST_MILLIS { LONGEST_MILLIS } else { millis } }
    }

    /// Whole milliseconds.
    pub const fn as_millis(self) -> i64 {
        self.millis
    }

    /// Seconds with their fraction.
    pub fn as_seconds_f64(self) -> f64 {
        self.millis as f64 / MILLIS_PER_SECOND as f64
    }

    /// For arithmetic on instants.
    pub fn as_delta(self) -> TimeDelta {
        TimeDelta::milliseconds(self.millis)
    }

    /// For timers.
    pub fn as_std(self) -> std::time::Duration {
        std::time::Duration::from_millis(self.millis.unsigned_abs())
    }

    /// Whether it is no time at all.
    pub const fn is_zero(self) -> bool {
        self.millis == 0
    }

    /// Reads a JSON string or a number of seconds.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, DurationError> {
        value_text(value)?.parse()
    }

    fn text(self, separator: &str) -> String {
        join_parts(0, self.millis, separator)
    }
}

impl FromStr for Span {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let amount = Amount::parse(text)?;
        if amount.months > 0 {
            return Err(DurationError::new(text, "months and years have no fixed length here"));
        }
        Ok(Self { millis: amount.millis })
    }
}

/// Reads a fixed length of time. See [`Span`].
pub fn parse_duration(text: &str) -> Result<Span, DurationError> {
    text.parse()
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(" "))
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text(""))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Self::from_value(&value).map_err(serde::de::Error::custom)
    }
}

/// The stride of a schedule: calendar months and then seconds. Neither is negative and not both are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    months: i32,
    seconds: i64,
}

impl Step {
    /// Calendar months (years count as twelve).
    pub const fn months(self) -> i32 {
        self.months
    }

    /// Seconds beside the months.
    pub const fn seconds(self) -> i64 {
        self.seconds
    }

    /// The fixed length, when no months are in it.
    pub fn fixed(self) -> Option<TimeDelta> {
        if self.months == 0 { TimeDelta::try_seconds(self.seconds) } else { None }
    }

    /// Reads a JSON string or a number of seconds.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, DurationError> {
        value_text(value).map_err(DurationError::of_step)?.parse()
    }

    fn read(text: &str) -> Result<Self, DurationError> {
        let amount = Amount::parse(text)?;
        if amount.months == 0 && amount.millis == 0 {
            return Err(DurationError::new(text, "an interval must be longer than zero"));
        }
        if amount.millis % MILLIS_PER_SECOND != 0 {
            return Err(DurationError::new(text, "an interval is counted in whole seconds"));
        }
        let months = i32::try_from(amount.months).map_err(|_| DurationError::new(text, "too many months"))?;
        Ok(Self { months, seconds: amount.millis / MILLIS_PER_SECOND })
    }

    fn text(self, separator: &str) -> String {
        join_parts(self.months, self.seconds * MILLIS_PER_SECOND, separator)
    }
}

impl FromStr for Step {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::read(text).map_err(DurationError::of_step)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(" "))
    }
}

impl Serialize for Step {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text(""))
    }
}

impl<'de> Deserialize<'de> for Step {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(deserializer)?;
        Self::from_value(&value).map_err(serde::de::Error::custom)
    }
}

fn value_text(value: &serde_json::Value) -> Result<String, DurationError> {
    match value {
        serde_json::Value::String(text) => Ok(text.clone()),
        serde_json::Value::Number(number) => Ok(number.to_string()),
        other => Err(DurationError::new(&other.to_string(), "a text or a number of seconds is wanted")),
    }
}

fn join_parts(months: i32, millis: i64, separator: &str) -> String {
    let months = i64::from(months);
    let seconds = millis / MILLIS_PER_SECOND;
    let units = [
        (months / 12, "y"),
        (months % 12, "mo"),
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "m"),
        (seconds % 60, "s"),
        (millis % MILLIS_PER_SECOND, "ms"),
    ];
    let parts: Vec<String> =
        units.iter().filter(|(count, _)| *count != 0).map(|(count, unit)| format!("{count}{unit}")).collect();
    if parts.is_empty() { "0s".to_owned() } else { parts.join(separator) }
}

/// What both kinds are read into.
#[derive(Default)]
struct Amount {
    months: i64,
    millis: i64,
}

#[derive(Clone, Copy)]
enum Unit {
    Months(i64),
    Millis(i64),
}

impl Amount {
    fn parse(text: &str) -> Result<Self, DurationError> {
        let trimmed = text.trim();
        if trimmed.is_empty() {
            return Err(DurationError::new(text, "it is empty"));
        }
        if trimmed.starts_with('-') {
            return Err(DurationError::new(text, "it must not be negative"));
        }
        let amount = if let Some(iso) = trimmed.strip_prefix(['P', 'p']) {
            Self::parse_iso(text, iso)?
        } else if trimmed.ends_with(|last: char| last.is_ascii_digit()) && !trimmed.contains(char::is_alphabetic) {
            let mut amount = Self::default();
            amount.add(text, trimmed, Unit::Millis(MILLIS_PER_SECOND))?;
            amount
        } else {
            Self::parse_units(text, trimmed)?
        };
        if amount.millis > LONGEST_MILLIS || amount.months > LONGEST_MONTHS {
            return Err(DurationError::new(text, "it is longer than 100 years"));
        }
        Ok(amount)
    }

    fn parse_units(text: &str, trimmed: &str) -> Result<Self, DurationError> {
        let mut amount = Self::default();
        let mut rest = trimmed;
        while !rest.is_empty() {
            let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
            let (unit, after) = split_while(after.trim_start(), |c| !c.is_ascii_digit() && !c.is_whitespace());
            if number.is_empty() {
                return Err(DurationError::new(text, format!("a number is wanted before '{rest}'")));
            }
            let unit = match unit.to_ascii_lowercase().as_str() {
                "ms" | "millis" | "milliseconds" => Unit::Millis(1),
                "s" | "sec" | "secs" | "second" | "seconds" => Unit::Millis(MILLIS_PER_SECOND),
                "m" | "min" | "mins" | "minute" | "minutes" => Unit::Millis(MILLIS_PER_MINUTE),
                "h" | "hr" | "hrs" | "hour" | "hours" => Unit::Millis(MILLIS_PER_HOUR),
                "d" | "day" | "days" => Unit::Millis(MILLIS_PER_DAY),
                "w" | "week" | "weeks" => Unit::Millis(MILLIS_PER_WEEK),
                "mo" | "month" | "months" => Unit::Months(1),
                "y" | "yr" | "year" | "years" => Unit::Months(12),
                "" => return Err(DurationError::new(text, format!("a unit is missing after {number}"))),
                other => return Err(DurationError::new(text, format!("'{other}' is not a unit (ms, s, m, h, d, w)"))),
            };
            amount.add(text, number, unit)?;
            rest = after.trim_start();
        }
        Ok(amount)
    }

    fn parse_iso(text: &str, iso: &str) -> Result<Self, DurationError> {
        let mut amount = Self::default();
        let mut rest = iso;
        let mut in_time = false;
        let mut any = false;
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(['T', 't']) {
                if in_time {
                    return Err(DurationError::new(text, "the letter T stands in it twice"));
                }
                in_time = true;
                rest = after;
                continue;
            }
            let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
            let mut letters = after.chars();
            let unit = match (letters.next().map(|c| c.to_ascii_uppercase()), in_time) {
                (Some('Y'), false) => Unit::Months(12),
                (Some('M'), false) => Unit::Months(1),
                (Some('W'), false) => Unit::Millis(MILLIS_PER_WEEK),
                (Some('D'), false) => Unit::Millis(MILLIS_PER_DAY),
                (Some('H'), true) => Unit::Millis(MILLIS_PER_HOUR),
                (Some('M'), true) => Unit::Millis(MILLIS_PER_MINUTE),
                (Some('S'), true) => Unit::Millis(MILLIS_PER_SECOND),
                _ => return Err(DurationError::new(text, format!("'{rest}' is not ISO 8601 (such as P1DT2H30M)"))),
            };
            amount.add(text, number, unit)?;
            any = true;
            rest = letters.as_str();
        }
        if any { Ok(amount) } else { Err(DurationError::new(text, "no number follows the P")) }
    }

    fn add(&mut self, text: &str, number: &str, unit: Unit) -> Result<(), DurationError> {
        let too_long = || DurationError::new(text, "it is longer than 100 years");
        let bad_number = || DurationError::new(text, format!("'{number}' is not a number"));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || !fraction.chars().all(|c| c.is_ascii_digit()) || (number.ends_with('.')) {
            return Err(bad_number());
        }
        if !whole.chars().all(|c| c.is_ascii_digit()) {
            return Err(bad_number());
        }
        let whole: i64 = whole.parse().map_err(|_| too_long())?;
        match unit {
            Unit::Months(each) => {
                if !fraction.is_empty() {
                    return Err(DurationError::new(text, "months and years are whole numbers"));
                }
                self.months =
                    whole.checked_mul(each).and_then(|more| self.months.checked_add(more)).ok_or_else(too_long)?;
            }
            Unit::Millis(each) => {
                let mut millis = whole.checked_mul(each).ok_or_else(too_long)?;
                // Nine digits are finer than a millisecond of a week; the rest cannot matter.
                let fraction = &fraction[..fraction.len().min(9)];
                if !fraction.is_empty() {
                    let digits: i64 = fraction.parse().map_err(|_| bad_number())?;
                    let scale = 10_i128.pow(fraction.len() as u32);
                    millis += (i128::from(digits) * i128::from(each) / scale) as i64;
                }
                self.millis = self.millis.checked_add(millis).ok_or_else(too_long)?;
            }
        }
        Ok(())
    }
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    let end = text.find(|c| !keep(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_way_of_writing() {
        let cases = [
            ("90", 90_000, "1m 30s"),
            ("0", 0, "0s"),
            ("1.5", 1_500, "1s 500ms"),
            ("3m", 180_000, "3m"),
            ("3 min", 180_000, "3m"),
            ("1h30m", 5_400_000, "1h 30m"),
            ("1h 30m", 5_400_000, "1h 30m"),
            ("1.5h", 5_400_000, "1h 30m"),
            ("2 days", 172_800_000, "2d"),
            ("1w", 604_800_000, "7d"),
            ("250ms", 250, "250ms"),
            ("PT3M", 180_000, "3m"),
            ("P1D", 86_400_000, "1d"),
            ("P1DT2H3M4.5S", 93_784_500, "1d 2h 3m 4s 500ms"),
            ("P2W", 1_209_600_000, "14d"),
        ];
        for (text, millis, shown) in cases {
            let span = parse_duration(text).unwrap();
            assert_eq!((span.as_millis(), span.to_string().as_str()), (millis, shown), "{text}");
            let back: Span = serde_json::from_value(serde_json::to_value(span).unwrap()).unwrap();
            assert_eq!(back, span, "{text}");
        }
    }

    #[test]
    fn refuses_with_a_reason() {
        let cases = [
            ("", "it is empty"),
            ("-3m", "must not be negative"),
            ("3 parsecs", "'parsecs' is not a unit"),
            ("h", "a number is wanted before 'h'"),
            ("1h30", "a unit is missing after 30"),
            ("1mo", "no fixed length"),
            ("P1M", "no fixed length"),
            ("P", "no number follows the P"),
            ("PT3D", "not ISO 8601"),
            ("1..5s", "'1..5' is not a number"),
            ("200y", "longer than 100 years"),
            ("99999999999999999999", "longer than 100 years"),
            ("1e3", "'e' is not a unit"),
        ];
        for (text, problem) in cases {
            let error = parse_duration(text).unwrap_err().to_string();
            assert!(error.contains(problem), "{text}: {error}");
            assert!(error.contains("write 90 (seconds)"), "{text}: {error}");
        }
        assert!(serde_json::from_str::<Span>("true").is_err());
        assert_eq!(serde_json::from_str::<Span>("90").unwrap(), Span::from_seconds(90));
    }

    #[test]
    fn steps_hold_calendar_months() {
        for (text, months, seconds, shown) in
            [("1mo", 1, 0, "1mo"), ("P1Y2M", 14, 0, "1y 2mo"), ("6h", 0, 21_600, "6h"), ("P1MT1H", 1, 3_600, "1mo 1h")]
        {
            let step: Step = text.parse().unwrap();
            assert_eq!((step.months(), step.seconds(), step.to_string().as_str()), (months, seconds, shown), "{text}");
            let back: Step = serde_json::from_value(serde_json::to_value(step).unwrap()).unwrap();
            assert_eq!(back, step);
        }
        for text in ["0", "0s", "PT0S", "-1h", "500ms"] {
            let error = text.parse::<Step>().unwrap_err().to_string();
            assert!(error.ends_with("write 90 (seconds), 3m, 1h30m, 2d, 1mo, 1y, PT3M or P1M"), "{error}");
        }
    }
}
