//! Times on clocks without a zone, and the moments that they mean.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{Datelike, NaiveDateTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;
use millrace_operator_api::TaskContext;

/// Clocks that were put forward or back: what a time on them means is a choice.
#[derive(Clone, Default)]
pub struct Leaps {
    pub(super) skipped: Arc<AtomicU64>,
    pub(super) repeated: Arc<AtomicU64>,
    /// Columns with times that were skipped.
    columns: Arc<Mutex<BTreeSet<String>>>,
}

/// What a time on a clock means.
pub(super) struct Moment {
    pub utc: String,
    /// No clock ever showed it.
    pub is_skipped: bool,
}

/// Why a text means no moment.
pub(super) enum NoMoment {
    /// It is no date with a time.
    NoTime,
    /// In UTC it would be before the year 1 or after 9999.
    OutOfCalendar,
}

/// Years that most databases do not have come from PostgreSQL: 12024, and those before Christ, of which there is no year 0.
fn read(seconds: &str, is_before_christ: bool) -> Option<NaiveDateTime> {
    let (year, rest) = seconds.split_at(seconds.find('-')?);
    let is_year = (4..=6).contains(&year.len()) && year.bytes().all(|byte| byte.is_ascii_digit());
    let year: i32 = year.parse().ok().filter(|_| is_year)?;
    let year = if is_before_christ { 1 - year } else { year };
    let text = format!("{year:+05}{rest}");
    ["%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"].iter().find_map(|form| NaiveDateTime::parse_from_str(&text, form).ok())
}

fn written(utc: NaiveDateTime, fraction: &str) -> String {
    let (year, era) = if utc.year() < 1 { (1 - utc.year(), " BC") } else { (utc.year(), "") };
    format!("{year:04}-{}{fraction}{era}", utc.format("%m-%d %H:%M:%S"))
}

impl Leaps {
    /// A time on the zone's clocks as the moment that it means in UTC. The fraction of the second stays as it is written, and
    /// so does an infinity.
    pub(super) fn to_utc(&self, zone: Tz, text: &str) -> Result<Moment, NoMoment> {
        if matches!(text, "infinity" | "-infinity") {
            return Ok(Moment { utc: text.to_owned(), is_skipped: false });
        }
        let mut is_skipped = false;
        let (clock, is_before_christ) = text.strip_suffix(" BC").map_or((text, false), |clock| (clock, true));
        let (seconds, fraction) = clock.split_at(clock.find('.').unwrap_or(clock.len()));
        let local = read(seconds, is_before_christ).ok_or(NoMoment::NoTime)?;
        let offset = match zone.offset_from_local_datetime(&local) {
            chrono::LocalResult::Single(offset) => offset.fix(),
            chrono::LocalResult::Ambiguous(_, later) => {
                self.repeated.fetch_add(1, Ordering::Relaxed);
                later.fix()
            }
            chrono::LocalResult::None => {
                self.skipped.fetch_add(1, Ordering::Relaxed);
                is_skipped = true;
                // No zone skips more than a day.
                let before = local - TimeDelta::days(1);
                zone.offset_from_local_datetime(&before)
                    .latest()
                    .map_or_else(|| zone.offset_from_utc_datetime(&before).fix(), |offset| offset.fix())
            }
        };
        let utc = local - TimeDelta::seconds(i64::from(offset.local_minus_utc()));
        let usual = 1..=9999;
        if usual.contains(&local.year()) && !usual.contains(&utc.year()) {
            return Err(NoMoment::OutOfCalendar);
        }
        Ok(Moment { utc: written(utc, fraction), is_skipped })
    }

    fn columns(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.columns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note_skipped(&self, column: &str) {
        let mut columns = self.columns();
        if !columns.contains(column) {
            columns.insert(column.to_owned());
        }
    }

    /// The columns with times that were skipped.
    pub fn skipped_columns(&self) -> Vec<String> {
        self.columns().iter().cloned().collect()
    }

    /// Says how many times were not clear.
    pub fn tell(&self, context: &TaskContext) {
        let (skipped, repeated) = (self.skipped.load(Ordering::Relaxed), self.repeated.load(Ordering::Relaxed));
        if skipped > 0 {
            context.warning(format!(
                "{skipped} times stand in an hour that the clocks skipped: they were read as if the clocks had not been changed yet"
            ));
        }
        if repeated > 0 {
            context.warning(format!(
                "{repeated} times stand in an hour that the clocks showed twice: the later one was taken"
            ));
        }
    }
}
