//! Runs that were due and not made in time: which of them are still made.

use std::{fmt, iter};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::Schedule;
use super::timetable::{DataInterval, PlannedRun, Timetable, Window};
use crate::duration::Span;

/// Strides that are walked at the most.
const MAX_STRIDES: usize = 10_000;
/// How late a run may begin when nothing missed is made up for.
const ON_TIME: TimeDelta = TimeDelta::seconds(60);

/// What is made of the due dates that an outage, a pause or a full DAG left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Misfire {
    /// Every one, oldest first.
    All,
    /// Only the latest; it stands for the others.
    Latest,
    /// None: what is later than a minute is left out.
    None,
    /// Those no later than `within`, and of these the newest `max`.
    Bounded {
        /// No bound when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        within: Option<Span>,
        /// No bound when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max: Option<u32>,
    },
}

impl fmt::Display for Misfire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => formatter.write_str("all"),
            Self::Latest => formatter.write_str("latest"),
            Self::None => formatter.write_str("none"),
            Self::Bounded { within, max } => {
                let within = within.map(|span| format!("within: {span}"));
                let max = max.map(|max| format!("max: {max}"));
                let parts: Vec<String> = within.into_iter().chain(max).collect();
                write!(formatter, "{{{}}}", parts.join(", "))
            }
        }
    }
}

impl Timetable {
    /// The date that follows `previous`, whatever becomes of it.
    pub fn next_slot(
        &self,
        previous: Option<&DataInterval>,
        window: &Window,
        now: DateTime<Utc>,
    ) -> Option<PlannedRun> {
        self.next_run(previous, &Window { catchup: true, ..*window }, now)
    }

    /// The next date that is made a run under this policy, due or not; those between `previous` and it are left out.
    pub fn next_kept(
        &self,
        previous: Option<&DataInterval>,
        window: &Window,
        misfire: Misfire,
        now: DateTime<Utc>,
    ) -> Option<PlannedRun> {
        let latest = Window { catchup: false, ..*window };
        if !self.is_periodic() {
            return self.next_run(previous, &latest, now);
        }
        match misfire {
            Misfire::All => self.next_slot(previous, window, now),
            Misfire::Latest => self.next_run(previous, &latest, now),
            Misfire::None => self.first_since(previous, window, now - ON_TIME, now, Some(1)),
            Misfire::Bounded { within, max } => match within {
                Some(span) => self.first_since(previous, window, now.checked_sub_signed(span.as_delta())?, now, max),
                None => {
                    let first = self.next_slot(previous, window, now)?;
                    Some(self.among_newest(first, window, now, max))
                }
            },
        }
    }

    /// The first date due at `earliest` or later, and of those that are due one of the newest `max`.
    fn first_since(
        &self,
        previous: Option<&DataInterval>,
        window: &Window,
        earliest: DateTime<Utc>,
        now: DateTime<Utc>,
        max: Option<u32>,
    ) -> Option<PlannedRun> {
        let mut slot = self.next_run(previous, &Window { catchup: false, ..*window }, earliest)?;
        while slot.run_after < earliest {
            slot = self.next_slot(Some(&slot.data_interval), window, now)?;
        }
        Some(self.among_newest(slot, window, now, max))
    }

    /// `first`, or the oldest of the newest `max` due dates when that is later.
    fn among_newest(&self, first: PlannedRun, window: &Window, now: DateTime<Utc>, max: Option<u32>) -> PlannedRun {
        let Some(max) = max.filter(|_| first.run_after <= now) else { return first };
        let latest = Window { catchup: false, end_date: None, ..*window };
        let mut kept = match self.next_run(Some(&first.data_interval), &latest, now) {
            Some(newest) if newest.run_after <= now => newest,
            _ => return first,
        };
        if let Some(last) = window.end_date.and_then(|end| self.last_slot(&first, end)) {
            kept = if last.logical_date < kept.logical_date { last } else { kept };
        }
        for _ in 1..max {
            match self.slot_before(&kept, &first) {
                Some(before) if before.logical_date > first.logical_date => kept = before,
                _ => return first,
            }
        }
        kept
    }

    /// The last of the dates from `first` on that is no later than `end`.
    pub fn last_slot(&self, first: &PlannedRun, end: DateTime<Utc>) -> Option<PlannedRun> {
        let ticks = self.ticks(Some(first.logical_date))?;
        let at = ticks.align_previous(end).filter(|at| *at > first.logical_date);
        Some(match at {
            None => *first,
            Some(at) => self.slot(at, ticks.next(at).unwrap_or(at)),
        })
    }

    /// The date before `slot`, of those that follow `first`. Months cannot be counted backwards: from 31 July come 31 August,
    /// 30 September and 30 October, and a month before 30 September is 30 August.
    pub fn slot_before(&self, slot: &PlannedRun, first: &PlannedRun) -> Option<PlannedRun> {
        let before = self.ticks(Some(first.logical_date))?.previous(slot.logical_date)?;
        Some(self.slot(before, slot.logical_date))
    }

    /// From `last` back to `first`, both of them included.
    pub fn slots_back(&self, last: PlannedRun, first: &PlannedRun) -> Box<dyn Iterator<Item = PlannedRun> + '_> {
        let (first_date, last_date) = (first.logical_date, last.logical_date);
        if self.walks() {
            // Each look back would walk all the way from the first.
            let next = |at: &DateTime<Utc>| self.ticks(Some(*at))?.next(*at);
            let dates: Vec<_> = iter::successors(Some(first_date), next).take_while(|at| *at < last_date).collect();
            let following = dates.iter().skip(1).copied().chain([last_date]).collect::<Vec<_>>();
            let slots = dates.into_iter().zip(following).rev().map(|(at, following)| self.slot(at, following));
            return Box::new(iter::once(last).chain(slots));
        }
        let first = *first;
        let before = move |slot: &PlannedRun| self.slot_before(slot, &first).filter(|it| it.logical_date >= first_date);
        Box::new(iter::successors(Some(last), before))
    }

    /// How many dates lie in `[from, to)`; `from` is one of them.
    pub fn count_slots(&self, from: DateTime<Utc>, to: DateTime<Utc>) -> u64 {
        self.ticks(Some(from)).map_or(u64::from(from < to), |ticks| ticks.count(from, to))
    }

    /// The first date after `slot` whose logical date (or, with `by_start`, whose start) is no earlier than `bound`.
    pub fn slot_from(&self, slot: &PlannedRun, bound: DateTime<Utc>, by_start: bool) -> Option<PlannedRun> {
        let ticks = self.ticks(Some(slot.logical_date))?;
        if let Schedule::Delta(_) = &self.schedule {
            let following = |slot: &PlannedRun| {
                let at = ticks.next(slot.logical_date)?;
                Some(self.slot(at, ticks.next(at)?))
            };
            return iter::successors(following(slot), following)
                .take(MAX_STRIDES)
                .find(|slot| if by_start { slot.run_after >= bound } else { slot.logical_date >= bound });
        }
        let mut at = ticks.align_next(bound)?;
        if by_start && self.starts_at_the_end() {
            at = ticks.previous(at)?;
        }
        if at <= slot.logical_date {
            at = ticks.next(slot.logical_date)?;
        }
        Some(self.slot(at, ticks.next(at).unwrap_or(at)))
    }
}
