//! One cron expression: when it fires in a time zone.
//!
//! The calendar search works on the plain wall clock; the zone comes in afterwards by the rule of
//! [`crate::instant::resolve_local`]. So each expression stands for one fixed, ordered set of instants: stepping forward
//! and back agree with each other on days when the clock changes, which they do not when the search itself crosses the
//! change.

use std::collections::{BTreeMap, HashMap};
use std::iter;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Timelike, Utc};
use chrono::{Offset, TimeZone};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

use super::ScheduleError;
use super::fields::Fields;
use crate::instant::{resolve_all, resolve_local};

const PRESETS: &[(&str, &str)] = &[
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@quarterly", "0 0 1 */3 *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// A parsed cron expression of five fields, or a preset such as `@daily`. Equal when written the same.
#[derive(Debug, Clone)]
pub struct CronExpression {
    text: String,
    fields: Fields,
    cron: Arc<croner::Cron>,
    every_hour: bool,
}

impl PartialEq for CronExpression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for CronExpression {}

/// Expressions that are kept parsed.
const KEPT: usize = 256;

/// What croner makes of an expression takes time and kilobytes, and a thousand DAGs have a handful of schedules.
fn shared(normalised: String) -> Result<Arc<croner::Cron>, croner::errors::CronError> {
    static PARSED: Mutex<BTreeMap<String, Arc<croner::Cron>>> = Mutex::new(BTreeMap::new());
    // Entries are put in whole, whatever panicked meanwhile.
    let mut parsed = PARSED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(cron) = parsed.get(&normalised) {
        return Ok(Arc::clone(cron));
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = Arc::new(parser.parse(&normalised)?);
    if parsed.len() == KEPT {
        parsed.clear();
    }
    parsed.insert(normalised, Arc::clone(&cron));
    Ok(cron)
}

impl CronExpression {
    /// Reads five fields or a preset.
    pub fn parse(text: &str) -> Result<Self, ScheduleError> {
        let text = text.trim();
        let expanded = if text.starts_with('@') { preset(text)? } else { text };
        let fields = Fields::parse(expanded, text)?;
        let cron = shared(fields.normalised())
            .map_err(|error| ScheduleError::Cron { text: text.to_owned(), problem: error.to_string() })?;
        let every_hour = fields.hour().covers(24);
        Ok(Self { text: text.to_owned(), fields, cron, every_hour })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// The first fire time after `after`, if there is one before the year 5000.
    pub fn next_after(&self, after: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        self.nearest(after, zone, Toward::Later)
    }

    /// The last fire time before `before`.
    pub fn previous_before(&self, before: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
        self.nearest(before, zone, Toward::Earlier)
    }

    /// Walks the wall clock from `from` and keeps the nearest instant.
    ///
    /// Near a clock change of `shift`, wall clock order and instant order differ by at most `shift`, so the walk begins
    /// that much behind and goes on that much past its best candidate. Everywhere else the first match is the answer.
    fn nearest(&self, from: DateTime<Utc>, zone: Tz, toward: Toward) -> Option<DateTime<Utc>> {
        let shift_here = shift_near(from, zone)?;
        let mut wall = toward.start(whole_second(from, zone, toward)?, shift_here)?;
        let mut best: Option<(DateTime<Utc>, NaiveDateTime)> = None;
        loop {
            if let Some((_, limit)) = best
                && !toward.precedes(wall, limit)
            {
                break;
            }
            let found = match toward {
                Toward::Later => self.cron.find_next_occurrence(&wall, false),
                Toward::Earlier => self.cron.find_previous_occurrence(&wall, false),
            };
            let Ok(found) = found else { break };
            wall = found;
            if let Some((_, limit)) = best
                && toward.precedes(limit, wall)
            {
                break;
            }
            for at in self.instants_of(wall, zone).into_iter().flatten() {
                if !toward.precedes(from, at) || best.is_some_and(|(kept, _)| !toward.precedes(at, kept)) {
                    continue;
                }
                let shift = shift_here.max(shift_near(at, zone)?);
                best = Some((at, toward.ahead(zone.from_utc_datetime(&at.naive_utc()).naive_local(), shift)?));
            }
        }
        best.map(|(at, _)| at)
    }

    /// An expression for every hour fires in both passes of a repeated hour; any other only in the second.
    fn instants_of(&self, wall: NaiveDateTime, zone: Tz) -> [Option<DateTime<Utc>>; 2] {
        if self.every_hour {
            let (first, second) = resolve_all(zone, wall);
            [Some(first), second]
        } else {
            [Some(resolve_local(zone, wall)), None]
        }
    }
}

/// How many instants of the expressions' union lie in `[from, to)`. Days on which no clock changes are counted once for
/// each set of expressions that fire on them, so that years of minutes cost as much as years of days.
pub(super) fn count(expressions: &[CronExpression], zone: Tz, from: DateTime<Utc>, to: DateTime<Utc>) -> u64 {
    let next = |after: DateTime<Utc>| expressions.iter().filter_map(|cron| cron.next_after(after, zone)).min();
    let moment = TimeDelta::microseconds(1);
    let mut of_a_day: HashMap<Vec<bool>, u64> = HashMap::new();
    let mut count = 0;
    let mut fire = from.checked_sub_signed(moment).and_then(next);
    while let Some(at) = fire.filter(|at| *at < to) {
        let plain = plain_day(at, zone).filter(|(start, end)| from <= *start && *end <= to);
        let Some((start, end)) = plain else {
            count += 1;
            fire = next(at);
            continue;
        };
        let fires_today = |cron: &CronExpression| cron.next_after(start - moment, zone).is_some_and(|at| at < end);
        let who: Vec<bool> = expressions.iter().map(fires_today).collect();
        count += *of_a_day
            .entry(who)
            .or_insert_with(|| iter::successors(Some(at), |at| next(*at)).take_while(|at| *at < end).count() as u64);
        fire = next(end - moment);
    }
    count
}

/// The local day of `at`, if no clock changes near it.
fn plain_day(at: DateTime<Utc>, zone: Tz) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let date = zone.from_utc_datetime(&at.naive_utc()).date_naive();
    let start = resolve_local(zone, date.and_hms_opt(0, 0, 0)?);
    let end = resolve_local(zone, date.succ_opt()?.and_hms_opt(0, 0, 0)?);
    (shift_near(start, zone)?.is_zero() && shift_near(end, zone)?.is_zero()).then_some((start, end))
}

pub(super) fn is_preset(text: &str) -> bool {
    PRESETS.iter().any(|(name, _)| name.eq_ignore_ascii_case(text))
}

fn preset(text: &str) -> Result<&'static str, ScheduleError> {
    let found = PRESETS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, cron)| *cron).ok_or_else(|| {
        let names: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        ScheduleError::Cron {
            text: text.to_owned(),
            problem: format!("there is no such preset; write {}, @once or @continuous", names.join(", ")),
        }
    })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Toward {
    Later,
    Earlier,
}

impl Toward {
    fn precedes<T: Ord>(self, a: T, b: T) -> bool {
        match self {
            Self::Later => a < b,
            Self::Earlier => a > b,
        }
    }

    fn ahead(self, wall: NaiveDateTime, by: TimeDelta) -> Option<NaiveDateTime> {
        match self {
            Self::Later => wall.checked_add_signed(by),
            Self::Earlier => wall.checked_sub_signed(by),
        }
    }

    /// Where an exclusive walk begins: at `wall`, or behind it far enough to see a shifted match again.
    fn start(self, wall: NaiveDateTime, shift: TimeDelta) -> Option<NaiveDateTime> {
        if shift.is_zero() {
            return Some(wall);
        }
        let back = shift + TimeDelta::seconds(1);
        match self {
            Self::Later => wall.checked_sub_signed(back),
            Self::Earlier => wall.checked_add_signed(back),
        }
    }
}

/// The wall clock at `at`, fractions of a second rounded away from the search direction's target.
fn whole_second(at: DateTime<Utc>, zone: Tz, toward: Toward) -> Option<NaiveDateTime> {
    let wall = zone.from_utc_datetime(&at.naive_utc()).naive_local();
    let floor = wall.with_nanosecond(0)?;
    if toward == Toward::Earlier && floor != wall {
        floor.checked_add_signed(TimeDelta::seconds(1))
    } else {
        Some(floor)
    }
}

/// By how much the zone's clock changes within a day of `at`; zero on all but a few days of a year.
fn shift_near(at: DateTime<Utc>, zone: Tz) -> Option<TimeDelta> {
    let offset = |at: NaiveDateTime| i64::from(zone.offset_from_utc_datetime(&at).fix().local_minus_utc());
    let (now, day) = (at.naive_utc(), TimeDelta::days(1));
    let seen = [offset(now.checked_sub_signed(day)?), offset(now), offset(now.checked_add_signed(day)?)];
    let (low, high) = (seen.iter().min()?, seen.iter().max()?);
    Some(TimeDelta::seconds(high - low))
}
