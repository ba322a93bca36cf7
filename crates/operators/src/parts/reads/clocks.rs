//! The clocks by which a task reads, held against those of its reading before: where one was said later, or another one,
//! what was loaded and what comes now are no longer of one time.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDateTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use millrace_model::ledger::RowsRead;
use millrace_operator_api::context::SoughtRead;
use millrace_operator_api::{TaskContext, TaskError};

use crate::parts::report::while_doing;

/// What the task wrote down of its reading before.
pub async fn read_before(
    context: &TaskContext,
    stage: &str,
    conn_id: &str,
    target: Option<&str>,
) -> Result<Option<RowsRead>, TaskError> {
    let sought = SoughtRead { work: &context.work, stage, conn_id, target };
    let found = context.runs.read_before(&sought).await;
    found.map_err(|error| while_doing("looking at what the task read before", error))
}

/// Whose clock a column's times were taken from, before and now. As they stood is as UTC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    before: Tz,
    now: Tz,
}

impl Change {
    fn between(before: Option<&str>, now: Option<&str>) -> Option<Self> {
        let zone = |name: Option<&str>| name.map_or(Some(Tz::UTC), |name| name.parse::<Tz>().ok());
        let change = Self { before: zone(before)?, now: zone(now)? };
        change.tells().then_some(change)
    }

    /// Whether the clocks have told different times since 2000: `Asia/Seoul` and `Asia/Tokyo` have not.
    fn tells(self) -> bool {
        const START: i64 = 946_684_800;
        const HALF_MONTHS: i64 = 24 * 40;
        self.before != self.now
            && (0..HALF_MONTHS)
                .filter_map(|at| DateTime::from_timestamp(START + at * 15 * 86_400, 0))
                .any(|at| self.ahead(at) != TimeDelta::zero())
    }

    /// Of the values that are written, which become UTC.
    pub fn of_values(before: &RowsRead, now: &BTreeMap<String, String>, column: &str) -> Option<Self> {
        let now = RowsRead { changed: now.clone(), ..RowsRead::default() };
        Self::between(before.moved_from(column), now.moved_from(column))
    }

    /// Of the bounds of a window. Nothing is said of one that is not known.
    pub fn of_window(before: &RowsRead, now: &BTreeMap<String, String>, column: &str) -> Option<Self> {
        Self::between(Some(before.clocks.get(column)?), Some(now.get(column)?))
    }

    /// How much later than now's the times of before are written.
    fn ahead(self, at: DateTime<Utc>) -> TimeDelta {
        let offset = |zone: Tz| zone.offset_from_utc_datetime(&at.naive_utc()).fix().local_minus_utc();
        TimeDelta::seconds(i64::from(offset(self.now)) - i64::from(offset(self.before)))
    }

    /// What becomes of times that stand there beside those that come now.
    pub fn told(self, column: &str, at: DateTime<Utc>) -> String {
        let ahead = self.ahead(at);
        let length = in_words(ahead.abs());
        let was = match self.before {
            Tz::UTC => "was written as it stood".to_owned(),
            zone => format!("was taken for a time of {zone}"),
        };
        let is = match self.now {
            Tz::UTC => "is written as it stands".to_owned(),
            zone => format!("is one of {zone}"),
        };
        let what = if ahead.is_zero() {
            "has other times wherever their clocks differ".to_owned()
        } else if ahead > TimeDelta::zero() {
            format!("is {length} ahead: rows that change within {length} would be taken for older than they are")
        } else {
            format!("is {length} behind: older versions of rows would be taken for newer")
        };
        format!("{column} {was} before, and {is} now (source_timezone), so that what was loaded {what}")
    }

    /// Which rows are in no window, or in two, where one that was read by the clock of before ends at `seam`, and one of now
    /// begins.
    pub fn told_of_window(self, column: &str, seam: DateTime<Utc>) -> String {
        let (ended, begins) = (said_by(self.before, seam), said_by(self.now, seam));
        let what = if begins > ended {
            let length = in_words(begins - ended);
            format!("rows from {ended} to {begins} by it would be read by none (lookback: {length} reads them)")
        } else {
            format!("rows from {begins} to {ended} by it are read by two, which loads that append have twice")
        };
        format!(
            "windows of {column} were those of a clock in {}, and are of one in {} now: {what}",
            self.before, self.now
        )
    }
}

fn said_by(zone: Tz, at: DateTime<Utc>) -> NaiveDateTime {
    at.with_timezone(&zone).naive_local()
}

/// `9h`, `5h 30m`.
fn in_words(length: TimeDelta) -> String {
    let (hours, minutes) = (length.num_hours(), length.num_minutes() % 60);
    match (hours, minutes) {
        (0, minutes) => format!("{minutes}m"),
        (hours, 0) => format!("{hours}h"),
        (hours, minutes) => format!("{hours}h {minutes}m"),
    }
}

/// Stops a task before it reads, until somebody who has seen why clears it.
pub fn refuse_unless_cleared(context: &TaskContext, why: &str, mend: &str) -> Result<(), TaskError> {
    if context.work.generation > 0 {
        context.warning(format!("{why}. The task was cleared, and goes on by the clock of now"));
        return Ok(());
    }
    Err(TaskError::Fail(format!(
        "{why}. Nothing was read or written. {mend}; a task that is cleared goes on by the clock of now"
    )))
}

#[cfg(test)]
mod tests {
    use millrace_model::ledger::moved_from;

    use super::*;

    fn read(changed: Option<&str>, clock: Option<&str>) -> RowsRead {
        let one = |text: Option<String>| text.map(|text| ("at".to_owned(), text)).into_iter().collect();
        RowsRead {
            changed: one(changed.map(moved_from)),
            clocks: one(clock.map(ToOwned::to_owned)),
            ..RowsRead::default()
        }
    }

    #[test]
    fn as_they_stood_is_as_utc() {
        let change = |before, now| Change::of_values(&read(before, None), &read(now, None).changed, "at");
        assert_eq!(change(None, None), None);
        assert_eq!(change(Some("UTC"), None), None);
        assert_eq!(change(Some("Asia/Seoul"), Some("Asia/Seoul")), None);
        for alias in ["Asia/Tokyo", "ROK"] {
            assert_eq!(change(Some("Asia/Seoul"), Some(alias)), None, "{alias} tells the same times");
        }
        let london = change(None, Some("Europe/London")).expect("another clock in summer");
        let winter = "2026-01-01T00:00:00Z".parse().expect("a moment");
        assert!(london.told("at", winter).ends_with("what was loaded has other times wherever their clocks differ"));
        let seoul = change(None, Some("Asia/Seoul")).expect("another clock");
        let at = "2026-01-01T00:00:00Z".parse().expect("a moment");
        assert_eq!(
            seoul.told("at", at),
            "at was written as it stood before, and is one of Asia/Seoul now (source_timezone), so that what was loaded is 9h \
             ahead: rows that change within 9h would be taken for older than they are"
        );
        let back = change(Some("Asia/Kolkata"), None).expect("another clock");
        assert!(back.told("at", at).ends_with("is 5h 30m behind: older versions of rows would be taken for newer"));
    }

    #[test]
    fn a_window_says_what_is_in_none_and_what_is_in_two() {
        let change = |before, now| Change::of_window(&read(None, before), &read(None, now).clocks, "at");
        assert_eq!(change(None, Some("Asia/Seoul")), None, "an older version wrote none down");
        let seam = "2026-01-02T00:00:00Z".parse().expect("a moment");
        let said = |before, now| change(Some(before), Some(now)).expect("another clock").told_of_window("at", seam);
        assert!(
            said("UTC", "Asia/Seoul").ends_with(
                "rows from 2026-01-02 00:00:00 to 2026-01-02 09:00:00 by it would be read by none (lookback: 9h reads them)"
            ),
            "{}",
            said("UTC", "Asia/Seoul")
        );
        let twice = said("UTC", "America/New_York");
        assert!(
            twice.contains("rows from 2026-01-01 19:00:00 to 2026-01-02 00:00:00 by it are read by two"),
            "{twice}"
        );
    }
}
