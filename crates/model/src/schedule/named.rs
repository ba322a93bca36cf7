//! A date that a person names: which of the schedule's it is, and what its run covers.

use chrono::{DateTime, Days, NaiveDate, Utc};

use super::{PlannedRun, Timetable};
use crate::instant::{InstantError, format_utc_micros, parse_instant, resolve_local};

/// Dates of the schedule that an error lists.
const LISTED: usize = 6;

/// Why a text names no logical date.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DateError {
    #[error(transparent)]
    Instant(#[from] InstantError),
    #[error("the schedule has several dates on {day}; write one with its time: {dates}")]
    Several { day: String, first: DateTime<Utc>, dates: String },
}

impl Timetable {
    /// The logical date that a text names. One without a time of day is the schedule's date of that day in the timetable's
    /// zone: the day's midnight if that is one, or the only one; a day without any is its midnight. `anchor`: as in
    /// [`Timetable::runs_between`].
    pub fn read_date(&self, text: &str, anchor: Option<DateTime<Utc>>) -> Result<DateTime<Utc>, DateError> {
        let at = parse_instant(text, self.timezone)?;
        let Some((from, to)) = self.day(text) else { return Ok(at) };
        let dates: Vec<DateTime<Utc>> =
            self.runs_between(from, to, anchor).take(LISTED + 1).map(|run| run.logical_date).collect();
        match dates[..] {
            [] => Ok(at),
            [first, ..] if first == at => Ok(at),
            [only] => Ok(only),
            [first, ..] => {
                let mut listed: Vec<String> = dates.iter().take(LISTED).map(|date| format_utc_micros(*date)).collect();
                listed.extend((dates.len() > LISTED).then(|| "…".to_owned()));
                Err(DateError::Several { day: text.trim().to_owned(), first, dates: listed.join(", ") })
            }
        }
    }

    /// A text that is a date without a time, as that day in the timetable's zone: half-open.
    pub fn day(&self, text: &str) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let date = NaiveDate::parse_from_str(text.trim(), "%Y-%m-%d").ok()?;
        let next = date.checked_add_days(Days::new(1))?;
        let midnight = |date: NaiveDate| Some(resolve_local(self.timezone, date.and_hms_opt(0, 0, 0)?));
        Some((midnight(date)?, midnight(next)?))
    }

    /// A run by hand, asked for at `asked_at`, for a logical date that somebody named. A date of the schedule has the
    /// interval that the schedule's own run would have, any other that of [`Timetable::manual_interval`]. It starts no
    /// earlier than the schedule's would. `anchor`: as in [`Timetable::runs_between`].
    pub fn named_run(
        &self,
        asked_at: DateTime<Utc>,
        logical_date: DateTime<Utc>,
        anchor: Option<DateTime<Utc>>,
    ) -> PlannedRun {
        let run = self.run_at(logical_date, anchor).unwrap_or_else(|| PlannedRun {
            logical_date,
            data_interval: self.manual_interval(logical_date),
            run_after: logical_date,
        });
        PlannedRun { run_after: asked_at.max(run.run_after), ..run }
    }
}
