//! Waiting for something outside, without holding a slot: each look is short, and between two looks the task gives its
//! slot back.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::duration::Span;
use millrace_operator_api::{Outcome, Problems, TaskContext, TaskError};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// With a back-off, no two looks are further apart.
const LONGEST_INTERVAL: TimeDelta = TimeDelta::hours(1);

/// A length of time in a DAG file: `90` (seconds), `3m`, `1h30m` or `PT3M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Length(pub Span);

impl Length {
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(Span::from_seconds(seconds))
    }
}

impl<'de> Deserialize<'de> for Length {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Span::deserialize(deserializer).map(Self)
    }
}

impl serde::Serialize for Length {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Length {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Length".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["string", "number"] })
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How a task waits in other schedulers. Here both mean the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, serde::Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Reschedule,
    Poke,
}

/// How long to wait, and how often to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    pub poke_interval: Length,
    pub exponential_backoff: bool,
    pub timeout: Length,
    pub soft_fail: bool,
}

/// What a look came to.
pub enum Look {
    Found(Option<Value>),
    /// Look again after the usual interval.
    NotYet(String),
    /// It can't be there before that.
    NotBefore(DateTime<Utc>, String),
}

impl Patience {
    pub fn check(&self, problems: &mut Problems) {
        if self.poke_interval.0.is_zero() {
            problems.add("poke_interval", "poke_interval must be longer than zero");
        }
        if self.timeout.0.is_zero() {
            problems.add("timeout", "timeout must be longer than zero");
        }
    }

    /// Ends the task, or puts it off. The timeout is measured from the first look.
    pub fn decide(&self, context: &TaskContext, look: Look) -> Result<Outcome, TaskError> {
        let now = context.clock.now();
        let (wanted, reason) = match look {
            Look::Found(result) => return Ok(Outcome { result, ..Outcome::default() }),
            Look::NotYet(reason) => (now + self.interval(context.put_offs), reason),
            Look::NotBefore(at, reason) => (at.max(now), reason),
        };
        let deadline = context.first_start + self.timeout.0.as_delta();
        if now >= deadline {
            let text = format!(
                "{reason}; waited for {}, and timeout is {}",
                Length::from_seconds(u32::try_from((now - context.first_start).num_seconds()).unwrap_or(u32::MAX)),
                self.timeout
            );
            return Err(if self.soft_fail { TaskError::Skip(text) } else { TaskError::Fail(text) });
        }
        Err(TaskError::NotYet { until: wanted.min(deadline), reason })
    }

    fn interval(&self, put_offs: u32) -> TimeDelta {
        let interval = self.poke_interval.0.as_delta();
        if !self.exponential_backoff {
            return interval;
        }
        let longest = interval.max(LONGEST_INTERVAL);
        let factor = 2_i32.checked_pow(put_offs).unwrap_or(i32::MAX);
        interval.checked_mul(factor).map_or(longest, |grown| grown.min(longest))
    }
}

/// Defines an operator that waits: its own parameters, and those that all of them have.
macro_rules! sensor {
    ($(#[$meta:meta])* pub struct $name:ident {
        $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $($(#[$field_meta])* $field: $type,)*
            /// From one look to the next.
            #[serde(default = "crate::parts::sensor::usual_interval")]
            poke_interval: crate::parts::sensor::Length,
            /// Wait twice as long after each look, up to an hour.
            #[serde(default)]
            exponential_backoff: bool,
            /// How long to wait in all, from the first look. Then the task fails, and is not retried.
            #[serde(default = "crate::parts::sensor::usual_timeout")]
            timeout: crate::parts::sensor::Length,
            /// Skip the task instead of failing it when the time is over.
            #[serde(default)]
            soft_fail: bool,
            /// Accepted for the sake of older files: a wait never holds a slot.
            #[serde(default = "crate::parts::sensor::usual_mode")]
            #[expect(dead_code, reason = "both modes mean the same here")]
            mode: crate::parts::sensor::Mode,
        }

        impl $name {
            fn patience(&self) -> crate::parts::sensor::Patience {
                crate::parts::sensor::Patience {
                    poke_interval: self.poke_interval,
                    exponential_backoff: self.exponential_backoff,
                    timeout: self.timeout,
                    soft_fail: self.soft_fail,
                }
            }
        }
    };
}
pub(crate) use sensor;

/// A minute.
pub fn usual_interval() -> Length {
    Length::from_seconds(60)
}

/// Seven days.
pub fn usual_timeout() -> Length {
    Length::from_seconds(7 * 86_400)
}

pub fn usual_mode() -> Mode {
    Mode::Reschedule
}
