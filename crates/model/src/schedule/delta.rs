//! Strides: a fixed length counts real time, a calendar month counts on the wall clock.

use std::iter;

use chrono::{DateTime, Months, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::duration::Step;
use crate::instant::resolve_local;

/// `at` plus one step. A day that the month lacks becomes its last day, and stays so for the steps after it.
pub(super) fn advance(step: Step, at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    match step.fixed() {
        Some(length) => at.checked_add_signed(length),
        None => Some(resolve_local(zone, advance_wall(step, wall_of(at, zone))?)),
    }
}

/// `at` minus one step.
pub(super) fn retreat(step: Step, at: DateTime<Utc>, zone: Tz) -> Option<DateTime<Utc>> {
    if let Some(length) = step.fixed() {
        return at.checked_sub_signed(length);
    }
    let wall = wall_of(at, zone).checked_sub_months(months_of(step)?)?;
    Some(resolve_local(zone, wall.checked_sub_signed(TimeDelta::try_seconds(step.seconds())?)?))
}

/// The steps from `anchor` on: the last one at or before `at`, and the one before that. Months have to be walked one by
/// one, because a clamped day sticks.
pub(super) fn walk_to(
    step: Step,
    anchor: DateTime<Utc>,
    at: DateTime<Utc>,
    zone: Tz,
) -> Option<(DateTime<Utc>, Option<DateTime<Utc>>)> {
    if let Some(length) = step.fixed() {
        let micros = length.num_microseconds()?;
        let elapsed = (at - anchor).num_microseconds()?;
        let last = anchor.checked_add_signed(TimeDelta::microseconds(elapsed.div_euclid(micros) * micros))?;
        return Some((last, last.checked_sub_signed(length)));
    }
    let mut wall = wall_of(anchor, zone);
    let mut before = None;
    if anchor > at {
        return None;
    }
    // A day short of the target no clock change can matter, so the zone is asked only for the last few.
    let near = wall_of(at, zone).checked_sub_signed(TimeDelta::days(2))?;
    loop {
        let next = advance_wall(step, wall)?;
        if next > near && resolve_local(zone, next) > at {
            return Some((resolve_local(zone, wall), before.map(|wall| resolve_local(zone, wall))));
        }
        before = Some(wall);
        wall = next;
    }
}

/// How many strides begin in `[from, to)`, the first of them at `from`.
pub(super) fn count(step: Step, from: DateTime<Utc>, to: DateTime<Utc>, zone: Tz) -> u64 {
    if to <= from {
        return 0;
    }
    if let Some(length) = step.fixed()
        && let (Some(length), Some(elapsed)) = (length.num_microseconds(), (to - from).num_microseconds())
    {
        return u64::try_from((elapsed - 1) / length.max(1) + 1).unwrap_or(0);
    }
    iter::successors(Some(from), |at| advance(step, *at, zone)).take_while(|at| *at < to).count() as u64
}

/// The grid of a stride without a start: steps from the first of January 1970 on the zone's wall clock.
pub(super) fn epoch_anchor(zone: Tz) -> DateTime<Utc> {
    resolve_local(zone, DateTime::UNIX_EPOCH.naive_utc())
}

/// `now` rounded down to a multiple of the fixed `length` since the epoch.
pub(super) fn floor_to_epoch(length: TimeDelta, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let (micros, stamp) = (length.num_microseconds()?, now.timestamp_micros());
    DateTime::from_timestamp_micros(stamp.div_euclid(micros) * micros)
}

fn wall_of(at: DateTime<Utc>, zone: Tz) -> NaiveDateTime {
    zone.from_utc_datetime(&at.naive_utc()).naive_local()
}

fn advance_wall(step: Step, wall: NaiveDateTime) -> Option<NaiveDateTime> {
    wall.checked_add_months(months_of(step)?)?.checked_add_signed(TimeDelta::try_seconds(step.seconds())?)
}

fn months_of(step: Step) -> Option<Months> {
    u32::try_from(step.months()).ok().map(Months::new)
}
