//! `wait_for_time`: until a moment has come.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use millrace_model::instant::{format_utc_micros, parse_instant};
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;

use crate::parts::parameter::{rendered_text, written};
use crate::parts::sensor::{Length, Look, sensor};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<WaitForTime>("wait_for_time", "waits until a moment has come")
    .aliases(&["DateTimeSensor", "DateTimeSensorAsync", "TimeDeltaSensor", "TimeDeltaSensorAsync"])
    .parameter_aliases(&[("target_time", "until")]);

sensor! {
    /// Waits until a moment has come, without holding a slot; it goes on at that very moment, whatever `poke_interval`
    /// says.
    ///
    /// Give either `until` or `delta`.
    pub struct WaitForTime {
        /// The moment, with an offset or in UTC: `"{{ data_interval_end.add(hours=2) }}"`.
        #[serde(default)]
        until: Option<Template<String>>,
        /// How long after the end of the data interval.
        #[serde(default)]
        delta: Option<Length>,
    }
}

impl Operator for WaitForTime {
    fn check(&self, problems: &mut Problems) {
        self.patience().check(problems);
        match (&self.until, self.delta) {
            (None, None) => {
                problems.add("", "say until when: until (a moment) or delta (after the data interval's end)");
            }
            (Some(_), Some(_)) => problems.add("delta", "until and delta exclude each other"),
            (Some(until), None) => {
                if let Some(Err(error)) = written(until).map(|text| parse_instant(&text, Tz::UTC)) {
                    problems.add("until", error.to_string());
                }
            }
            (None, Some(_)) => {}
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(std::future::ready(self.look(context)))
    }
}

impl WaitForTime {
    fn look(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let at = self.moment(context)?;
        let look = if context.clock.now() >= at {
            Look::Found(None)
        } else {
            Look::NotBefore(at, format!("it is not yet {}", format_utc_micros(at)))
        };
        self.patience().decide(context, look)
    }

    fn moment(&self, context: &TaskContext) -> Result<DateTime<Utc>, TaskError> {
        let Some(until) = &self.until else {
            let delta = self.delta.unwrap_or(Length::from_seconds(0));
            return Ok(context.run.data_interval.end + delta.0.as_delta());
        };
        let text = rendered_text("until", until)?;
        parse_instant(&text, Tz::UTC).map_err(|error| TaskError::Fail(format!("parameter until: {error}")))
    }
}
