//! An ordered set of instants that can be stepped through from anywhere.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;

use super::cron::{self, CronExpression};
use super::delta;
use crate::duration::Step;

/// The instants at which something fires.
#[derive(Clone, Copy)]
pub(super) enum Ticks<'a> {
    /// The union of some cron expressions.
    Cron(&'a [CronExpression], Tz),
    /// Strides from an anchor on.
    Strides { step: Step, anchor: DateTime<Utc>, zone: Tz },
    /// A sorted list.
    Listed(&'a [DateTime<Utc>]),
}

const MOMENT: TimeDelta = TimeDelta::microseconds(1);

impl Ticks<'_> {
    /// The first one after `at`.
    pub(super) fn next(self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Cron(expressions, zone) => expressions.iter().filter_map(|cron| cron.next_after(at, zone)).min(),
            Self::Strides { step, anchor, zone } => match delta::walk_to(step, anchor, at, zone) {
                Some((last, _)) => delta::advance(step, last, zone),
                None => Some(anchor),
            },
            Self::Listed(events) => events.get(events.partition_point(|event| *event <= at)).copied(),
        }
    }

    /// The last one before `at`.
    pub(super) fn previous(self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Cron(expressions, zone) => expressions.iter().filter_map(|cron| cron.previous_before(at, zone)).max(),
            Self::Strides { step, anchor, zone } => {
                let (last, before) = delta::walk_to(step, anchor, at, zone)?;
                if last < at { Some(last) } else { before }
            }
            Self::Listed(events) => events.get(events.partition_point(|event| *event < at).checked_sub(1)?).copied(),
        }
    }

    /// `at` itself when it is one, else the next.
    pub(super) fn align_next(self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.next(at.checked_sub_signed(MOMENT)?)
    }

    /// `at` itself when it is one, else the one before.
    pub(super) fn align_previous(self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        self.previous(at.checked_add_signed(MOMENT)?)
    }

    /// The one before `at`, if `at` is one.
    pub(super) fn before(self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        (self.align_previous(at)? == at).then(|| self.previous(at))?
    }

    /// As [`Ticks::previous`]; strides also go back beyond their anchor.
    pub(super) fn previous_or_stride(self, at: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::Strides { step, zone, .. } => delta::retreat(step, at, zone),
            _ => self.previous(at),
        }
    }

    /// How many there are in `[from, to)`.
    pub(super) fn count(self, from: DateTime<Utc>, to: DateTime<Utc>) -> u64 {
        match self {
            Self::Cron(expressions, zone) => cron::count(expressions, zone, from, to),
            Self::Strides { step, zone, .. } => delta::count(step, from, to, zone),
            Self::Listed(events) => {
                let before = |at: DateTime<Utc>| events.partition_point(|event| *event < at);
                before(to).saturating_sub(before(from)) as u64
            }
        }
    }
}
