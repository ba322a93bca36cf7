//! When a DAG runs: the schedule as users write it, and the [`Timetable`] that turns it into runs.
//!
//! A data interval is half-open and in UTC; everything is computed on the wall clock of the timetable's zone. Nothing
//! here reads a clock.

mod cron;
mod delta;
mod describe;
mod fields;
mod misfire;
mod named;
mod ticks;
mod timetable;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

pub use cron::CronExpression;
pub use misfire::Misfire;
pub use named::DateError;
pub use timetable::{DataInterval, PlannedRun, RunImmediately, Timetable, TimetableKind, Window};

use crate::duration::{DurationError, Step};
use crate::instant::{InstantError, format_utc_micros, parse_instant};

/// Why a schedule was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// A cron expression that cannot be read, or never fires.
    #[error("'{text}' is not a cron expression that can be used: {problem}")]
    Cron {
        /// The expression as written.
        text: String,
        /// What is wrong with it and how to mend it.
        problem: String,
    },
    /// One field of a cron expression that cannot be read.
    #[error("{problem} in field {field} of '{text}'")]
    CronField {
        /// The expression as written.
        text: String,
        /// Counted from 1.
        field: usize,
        /// The field's name and what is wrong with it.
        problem: String,
    },
    /// An `every` that is not a positive length.
    #[error("schedule.every: {0}")]
    Every(#[from] DurationError),
    /// An `at` entry that is not an instant.
    #[error("schedule.at: {0}")]
    At(#[from] InstantError),
    /// A value of another shape.
    #[error(
        "cannot read {value} as a schedule; write a cron text, @daily, @once, @continuous, none, {{every: 6h}}, a list of cron texts, {{at: [2024-01-01]}} or {{assets: [a, b]}}"
    )]
    Shape {
        /// The value as JSON.
        value: String,
    },
    /// A zone name that is not in the time zone database.
    #[error("'{0}' is not a time zone; write a name such as UTC, Asia/Seoul or Europe/Zurich")]
    Zone(String),
}

/// Reads an IANA zone name, whatever its case.
pub fn parse_zone(name: &str) -> Result<Tz, ScheduleError> {
    name.trim().parse::<Tz>().or_else(|_| {
        let same = |zone: &&Tz| zone.name().eq_ignore_ascii_case(name.trim());
        chrono_tz::TZ_VARIANTS.iter().find(same).copied().ok_or_else(|| ScheduleError::Zone(name.to_owned()))
    })
}

/// What the user wrote under `schedule`. Reads from and writes to the same simple shapes, see [`Schedule::from_value`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Schedule {
    /// Runs only when triggered.
    #[default]
    None,
    /// One run, ever.
    Once,
    /// The next run begins when the one before has ended.
    Continuous,
    /// At the union of some cron expressions; never empty.
    Cron {
        /// As written, parsed.
        expressions: Vec<CronExpression>,
    },
    /// In fixed or calendar strides.
    Delta(Step),
    /// At listed instants, in order and without doubles; never empty.
    Events(Vec<DateTime<Utc>>),
}

impl Schedule {
    /// [`Schedule::from_value_in`] with UTC for instants that name no offset.
    pub fn from_value(value: &Value) -> Result<Self, ScheduleError> {
        Self::from_value_in(value, Tz::UTC)
    }

    /// Reads `"0 2 * * *"`, `"@daily"`, `"@once"`, `"@continuous"`, `"none"` or null, `{"every": "6h"}`, a list of crons,
    /// `{"cron": …}` or `{"at": [instants]}`. `zone` is for instants without an offset.
    pub fn from_value_in(value: &Value, zone: Tz) -> Result<Self, ScheduleError> {
        let shape = || ScheduleError::Shape { value: value.to_string() };
        match value {
            Value::Null => Ok(Self::None),
            Value::String(text) => Self::from_text(text),
            Value::Array(items) => Self::from_crons(items).and_then(|found| found.ok_or_else(shape)),
            Value::Object(map) if map.len() == 1 => {
                if let Some(every) = map.get("every") {
                    Ok(Self::Delta(Step::from_value(every)?))
                } else if let Some(Value::Array(items)) = map.get("at") {
                    Self::from_instants(items, zone)?.ok_or_else(shape)
                } else {
                    match map.get("cron") {
                        Some(Value::String(text)) => Self::from_text(text),
                        Some(Value::Array(items)) => Self::from_crons(items).and_then(|found| found.ok_or_else(shape)),
                        _ => Err(shape()),
                    }
                }
            }
            _ => Err(shape()),
        }
    }

    fn from_text(text: &str) -> Result<Self, ScheduleError> {
        match text.trim().to_ascii_lowercase().as_str() {
            "none" | "" => Ok(Self::None),
            "@once" => Ok(Self::Once),
            "@continuous" => Ok(Self::Continuous),
            lower if !lower.starts_with('@') && lower.parse::<Step>().is_ok() => {
                Err(ScheduleError::Shape { value: format!("'{text}' (a length of time goes under every)") })
            }
            lower if cron::is_preset(&format!("@{lower}")) || matches!(lower, "once" | "continuous") => {
                let problem = format!("write '@{lower}', in quotes");
                Err(ScheduleError::Cron { text: text.to_owned(), problem })
            }
            _ => Ok(Self::Cron { expressions: vec![CronExpression::parse(text)?] }),
        }
    }

    fn from_crons(items: &[Value]) -> Result<Option<Self>, ScheduleError> {
        let mut expressions: Vec<CronExpression> = Vec::with_capacity(items.len());
        for item in items {
            let Some(text) = item.as_str() else { return Ok(None) };
            let expression = CronExpression::parse(text)?;
            if !expressions.contains(&expression) {
                expressions.push(expression);
            }
        }
        Ok((!expressions.is_empty()).then_some(Self::Cron { expressions }))
    }

    fn from_instants(items: &[Value], zone: Tz) -> Result<Option<Self>, ScheduleError> {
        let mut events = Vec::with_capacity(items.len());
        for item in items {
            let Some(text) = item.as_str() else { return Ok(None) };
            events.push(parse_instant(text, zone)?);
        }
        events.sort_unstable();
        events.dedup();
        Ok((!events.is_empty()).then_some(Self::Events(events)))
    }

    /// The shape that [`Schedule::from_value`] reads back equal.
    pub fn to_value(&self) -> Value {
        match self {
            Self::None => Value::Null,
            Self::Once => json!("@once"),
            Self::Continuous => json!("@continuous"),
            Self::Cron { expressions } => match expressions.as_slice() {
                [only] => json!(only.as_str()),
                several => several.iter().map(CronExpression::as_str).collect(),
            },
            Self::Delta(step) => json!({ "every": step }),
            Self::Events(events) => {
                json!({ "at": events.iter().map(|at| format_utc_micros(*at)).collect::<Vec<_>>() })
            }
        }
    }

    /// The schedule in its user's own notation, on one line.
    pub fn display_text(&self) -> String {
        match self {
            Self::None => "none".to_owned(),
            Self::Once => "@once".to_owned(),
            Self::Continuous => "@continuous".to_owned(),
            Self::Cron { expressions } => {
                expressions.iter().map(CronExpression::as_str).collect::<Vec<_>>().join(" | ")
            }
            Self::Delta(step) => format!("every {step}"),
            Self::Events(events) => format!("{} listed times", events.len()),
        }
    }
}

impl Serialize for Schedule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Schedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Self::from_value(&value).map_err(serde::de::Error::custom)
    }
}
