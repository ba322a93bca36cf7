//! From a schedule to runs.

use std::iter;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use serde::{Deserialize, Serialize};

use super::delta;
use super::ticks::Ticks;
use super::{Schedule, describe};
use crate::duration::{Span, Step};

/// Continuous runs begin no closer together.
const BETWEEN_CONTINUOUS: TimeDelta = TimeDelta::seconds(10);

/// The stretch of time a run covers: half-open, UTC. Empty for a run that stands for a point in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DataInterval {
    /// First instant in it.
    pub start: DateTime<Utc>,
    /// First instant after it.
    pub end: DateTime<Utc>,
}

impl DataInterval {
    /// `[start, end)`.
    pub const fn new(start: DateTime<Utc>, end: DateTime<Utc>) -> Self {
        Self { start, end }
    }

    /// The empty interval at a point in time.
    pub const fn point(at: DateTime<Utc>) -> Self {
        Self { start: at, end: at }
    }
}

/// How fire times become runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimetableKind {
    /// A run covers the time from one boundary to the next and starts when that time has passed; its logical date is
    /// the interval's start.
    #[default]
    Interval,
    /// A run starts at the fire time, which is its logical date.
    Trigger {
        /// Widens the data interval to `[fire - interval, fire)`; without it the interval is empty.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        interval: Option<Step>,
        /// What to do about the last fire time when there is no start date.
        #[serde(default)]
        run_immediately: RunImmediately,
    },
}

/// Whether a trigger timetable without a start date runs for the fire time that has just passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunImmediately {
    /// Only if it is no longer ago than a tenth of the gap between fire times, or five minutes.
    #[default]
    IfRecent,
    /// Always.
    Always,
    /// Only if it is no longer ago than this.
    Within(Span),
}

/// The bounds that a DAG puts on its automated runs. Both dates are inclusive and compared with the logical date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Window {
    /// No run before it.
    pub start_date: Option<DateTime<Utc>>,
    /// No run after it.
    pub end_date: Option<DateTime<Utc>>,
    /// Whether every missed run is made up for, or only the latest.
    #[serde(default)]
    pub catchup: bool,
}

/// A run that the timetable calls for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PlannedRun {
    /// Identifies the run among its DAG's runs.
    pub logical_date: DateTime<Utc>,
    /// What it covers.
    pub data_interval: DataInterval,
    /// The earliest moment it may start.
    pub run_after: DateTime<Utc>,
}

impl PlannedRun {
    fn over(start: DateTime<Utc>, end: DateTime<Utc>) -> Self {
        Self { logical_date: start, data_interval: DataInterval::new(start, end), run_after: end }
    }

    fn at(instant: DateTime<Utc>) -> Self {
        Self::over(instant, instant)
    }
}

/// A schedule with everything needed to work out its runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timetable {
    /// What the user wrote.
    pub schedule: Schedule,
    /// How fire times become runs.
    #[serde(default)]
    pub kind: TimetableKind,
    /// The zone whose wall clock the schedule means.
    #[serde(with = "zone_name")]
    pub timezone: Tz,
}

mod zone_name {
    use chrono_tz::Tz;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(super) fn serialize<S: Serializer>(zone: &Tz, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(zone.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Tz, D::Error> {
        let name = String::deserialize(deserializer)?;
        super::super::parse_zone(&name).map_err(serde::de::Error::custom)
    }
}

impl Timetable {
    /// An interval timetable.
    pub fn interval(schedule: Schedule, timezone: Tz) -> Self {
        Self { schedule, kind: TimetableKind::Interval, timezone }
    }

    /// A trigger timetable whose runs stand for points in time.
    pub fn trigger(schedule: Schedule, timezone: Tz) -> Self {
        let kind = TimetableKind::Trigger { interval: None, run_immediately: RunImmediately::default() };
        Self { schedule, kind, timezone }
    }

    /// The next automated run, due or not (it is due once `now` has reached its `run_after`); none if there is never to
    /// be another.
    ///
    /// `previous` is the data interval of the last *automated* run: manual and backfill runs do not count. Without
    /// catchup, everything missed but the latest is left out; [`Timetable::runs_between`] lists what was.
    pub fn next_run(&self, previous: Option<&DataInterval>, window: &Window, now: DateTime<Utc>) -> Option<PlannedRun> {
        let run = match (&self.schedule, self.kind) {
            (Schedule::None, _) => None,
            (Schedule::Once, _) => match previous {
                Some(_) => None,
                None => Some(PlannedRun::at(window.start_date.unwrap_or(now))),
            },
            (Schedule::Continuous, _) => next_continuous(previous, window, now),
            (Schedule::Cron { expressions }, TimetableKind::Interval) => {
                next_interval(Ticks::Cron(expressions, self.timezone), previous, window, now)
            }
            (Schedule::Delta(step), TimetableKind::Interval) => self.next_stride(*step, previous, window, now),
            (Schedule::Cron { .. } | Schedule::Delta(_) | Schedule::Events(_), _) => {
                self.next_fire(self.ticks(window.start_date)?, previous, window, now)
            }
        }?;
        window.end_date.is_none_or(|end| run.logical_date <= end).then_some(run)
    }

    /// The automated runs from [`Timetable::next_run`] on, none left out after the first; for previews. A continuous
    /// schedule has only one to show.
    pub fn upcoming(
        &self,
        previous: Option<&DataInterval>,
        window: &Window,
        now: DateTime<Utc>,
    ) -> impl Iterator<Item = PlannedRun> + use<'_> {
        let window = *window;
        let first = self.next_run(previous, &window, now);
        let open_ended = self.schedule == Schedule::Continuous;
        let later = Window { catchup: true, ..window };
        iter::successors(
            first,
            move |run| {
                if open_ended { None } else { self.next_run(Some(&run.data_interval), &later, now) }
            },
        )
    }

    /// What a manual run started for `run_after` covers: of an interval timetable the last complete interval.
    pub fn manual_interval(&self, run_after: DateTime<Utc>) -> DataInterval {
        let start = match (&self.schedule, self.kind) {
            (Schedule::Cron { expressions }, TimetableKind::Interval) => {
                let ticks = Ticks::Cron(expressions, self.timezone);
                let complete = ticks.align_previous(run_after).and_then(|end| Some((ticks.previous(end)?, end)));
                if let Some((start, end)) = complete {
                    return DataInterval::new(start, end);
                }
                None
            }
            (Schedule::Delta(step), TimetableKind::Interval) => delta::retreat(*step, run_after, self.timezone),
            (_, TimetableKind::Trigger { interval: Some(step), .. }) => delta::retreat(step, run_after, self.timezone),
            _ => None,
        };
        DataInterval::new(start.unwrap_or(run_after), run_after)
    }

    /// A manual run for the moment `asked_at`, which is its logical date; see [`Timetable::named_run`] for another date.
    pub fn manual_run(&self, asked_at: DateTime<Utc>) -> PlannedRun {
        PlannedRun { logical_date: asked_at, data_interval: self.manual_interval(asked_at), run_after: asked_at }
    }

    /// The dates of the schedule before and after that of a run, whether they ran or not; none where a list of dates ends.
    /// Of a schedule that names no dates they are the run's own bounds. `start`: of the DAG.
    pub fn dates_around(
        &self,
        run: &DataInterval,
        logical_date: DateTime<Utc>,
        start: Option<DateTime<Utc>>,
    ) -> [Option<DateTime<Utc>>; 2] {
        let Some(ticks) = self.ticks(Some(logical_date)).filter(|_| !self.starts_at_the_end()) else {
            return [Some(self.manual_interval(logical_date).start), Some(run.end)];
        };
        let walked = start.filter(|_| self.walks()).and_then(|start| self.ticks(Some(start))?.before(logical_date));
        [walked.or_else(|| ticks.previous_or_stride(logical_date)), ticks.next(logical_date)]
    }

    /// Whether its steps do not lead back the way they came: a month before 30 September is no 31 August.
    pub(super) fn walks(&self) -> bool {
        matches!(&self.schedule, Schedule::Delta(step) if step.fixed().is_none())
    }

    /// The automated run with exactly this logical date, if the schedule has one. `anchor`: as in
    /// [`Timetable::runs_between`].
    pub fn run_at(&self, logical_date: DateTime<Utc>, anchor: Option<DateTime<Utc>>) -> Option<PlannedRun> {
        let after = logical_date.checked_add_signed(TimeDelta::microseconds(1))?;
        self.runs_between(logical_date, after, anchor).next()
    }

    /// The automated runs with a logical date in `[from, to)`, oldest first. Strides are counted from `anchor`, which is
    /// one of them (see [`Timetable::anchor`]), in both directions.
    pub fn runs_between(
        &self,
        from: DateTime<Utc>,
        to_exclusive: DateTime<Utc>,
        anchor: Option<DateTime<Utc>>,
    ) -> impl Iterator<Item = PlannedRun> + use<'_> {
        let ticks = self.ticks(anchor);
        let earlier = self.strides_before(anchor, from);
        let next = move |at: DateTime<Utc>| match earlier.iter().find(|it| **it > at) {
            Some(earlier) => Some(*earlier),
            None => ticks?.next(at),
        };
        let first = match &self.schedule {
            Schedule::None | Schedule::Continuous => None,
            Schedule::Once => anchor.filter(|at| *at >= from),
            _ => from.checked_sub_signed(TimeDelta::microseconds(1)).and_then(&next),
        };
        let mut upcoming = first;
        iter::from_fn(move || {
            let at = upcoming.filter(|at| *at < to_exclusive)?;
            upcoming = next(at);
            if self.starts_at_the_end() { Some(PlannedRun::over(at, upcoming?)) } else { Some(self.fire(at)) }
        })
    }

    /// The moment from which the strides of the automated runs are counted. A fixed stride goes on from the run before it,
    /// `last`; a calendar one is walked from the start date.
    pub fn anchor(&self, start_date: Option<DateTime<Utc>>, last: Option<&DataInterval>) -> Option<DateTime<Utc>> {
        let goes_on =
            self.starts_at_the_end() && matches!(&self.schedule, Schedule::Delta(step) if step.fixed().is_some());
        last.filter(|_| goes_on).map(|last| last.end).or(start_date)
    }

    /// Calendar strides back from the anchor to `from`, the oldest first. Fixed ones are counted in both directions.
    fn strides_before(&self, anchor: Option<DateTime<Utc>>, from: DateTime<Utc>) -> Vec<DateTime<Utc>> {
        let (Schedule::Delta(step), Some(anchor)) = (&self.schedule, anchor) else { return Vec::new() };
        if step.fixed().is_some() {
            return Vec::new();
        }
        let back = |at: &DateTime<Utc>| delta::retreat(*step, *at, self.timezone).filter(|before| before < at);
        let mut earlier: Vec<_> = iter::successors(back(&anchor), back).take_while(|at| *at >= from).collect();
        earlier.reverse();
        earlier
    }

    /// The schedule in words, such as `every day at 02:00 (Asia/Seoul)`; the cron text where words would be long.
    pub fn describe(&self) -> String {
        describe::describe(&self.schedule, self.timezone)
    }

    /// Whether the schedule names dates one after another: neither by hand, nor once, nor without a pause.
    pub const fn is_periodic(&self) -> bool {
        matches!(self.schedule, Schedule::Cron { .. } | Schedule::Delta(_) | Schedule::Events(_))
    }

    /// The run of a date, given the one that follows.
    pub(super) fn slot(&self, at: DateTime<Utc>, following: DateTime<Utc>) -> PlannedRun {
        if self.starts_at_the_end() { PlannedRun::over(at, following) } else { self.fire(at) }
    }

    /// Whether a run starts when the time that it covers has passed.
    pub const fn starts_at_the_end(&self) -> bool {
        matches!((&self.schedule, self.kind), (Schedule::Cron { .. } | Schedule::Delta(_), TimetableKind::Interval))
    }

    pub(super) fn ticks(&self, anchor: Option<DateTime<Utc>>) -> Option<Ticks<'_>> {
        match &self.schedule {
            Schedule::None | Schedule::Once | Schedule::Continuous => None,
            Schedule::Cron { expressions } => Some(Ticks::Cron(expressions, self.timezone)),
            Schedule::Delta(step) => {
                let anchor = anchor.unwrap_or_else(|| delta::epoch_anchor(self.timezone));
                Some(Ticks::Strides { step: *step, anchor, zone: self.timezone })
            }
            Schedule::Events(events) => Some(Ticks::Listed(events)),
        }
    }

    /// Strides follow one another from the first run on. Catching up with the latest, a fixed stride is put on the grid
    /// of the epoch, a calendar one is walked from the start date.
    fn next_stride(
        &self,
        step: Step,
        previous: Option<&DataInterval>,
        window: &Window,
        now: DateTime<Utc>,
    ) -> Option<PlannedRun> {
        let zone = self.timezone;
        let earliest = if window.catchup {
            window.start_date
        } else if let Some(length) = step.fixed() {
            let latest = delta::floor_to_epoch(length, now)?.checked_sub_signed(length);
            latest.max(window.start_date)
        } else {
            let anchor = window.start_date.unwrap_or_else(|| delta::epoch_anchor(zone));
            let latest = delta::walk_to(step, anchor, now, zone).map(|(last, before)| before.unwrap_or(last));
            Some(latest.unwrap_or(anchor))
        };
        let start = match previous {
            None => earliest?,
            Some(previous) => {
                let start = earliest.map_or(previous.end, |earliest| previous.end.max(earliest));
                if start > previous.start { start } else { delta::advance(step, start, zone)? }
            }
        };
        Some(PlannedRun::over(start, delta::advance(step, start, zone)?))
    }

    fn next_fire(
        &self,
        ticks: Ticks<'_>,
        previous: Option<&DataInterval>,
        window: &Window,
        now: DateTime<Utc>,
    ) -> Option<PlannedRun> {
        // With a predecessor or a start date there is one more fire time or there is none; both bounds hold.
        let after_previous = match (previous, window.start_date) {
            (Some(previous), _) => Some(ticks.next(previous.end)?),
            (None, Some(_)) => None,
            (None, None) => Some(self.first_fire(ticks, window, now)?),
        };
        let from_start = match window.start_date {
            Some(start) if !window.catchup || previous.is_none() => Some(ticks.align_next(start)?),
            _ => None,
        };
        let latest = if window.catchup { None } else { ticks.align_previous(now) };
        Some(self.fire(after_previous.max(from_start).max(latest)?))
    }

    /// Where a timetable without a start date begins.
    fn first_fire(&self, ticks: Ticks<'_>, window: &Window, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        if window.catchup
            && let Schedule::Events(events) = &self.schedule
        {
            return events.first().copied();
        }
        let next = ticks.align_next(now);
        let Some(past) = ticks.align_previous(now) else { return next };
        let run_immediately = match self.kind {
            TimetableKind::Interval => RunImmediately::default(),
            TimetableKind::Trigger { run_immediately, .. } => run_immediately,
        };
        let longest_ago = match run_immediately {
            RunImmediately::Always => return Some(past),
            RunImmediately::Within(span) => span.as_delta(),
            RunImmediately::IfRecent => {
                let tenth = next.map_or(TimeDelta::zero(), |next| (next - past) / 10);
                tenth.max(TimeDelta::minutes(5))
            }
        };
        if now - past <= longest_ago { Some(past) } else { next }
    }

    fn fire(&self, at: DateTime<Utc>) -> PlannedRun {
        let start = match self.kind {
            TimetableKind::Trigger { interval: Some(step), .. } => delta::retreat(step, at, self.timezone),
            _ => None,
        };
        PlannedRun { logical_date: at, data_interval: DataInterval::new(start.unwrap_or(at), at), run_after: at }
    }
}

fn next_interval(
    ticks: Ticks<'_>,
    previous: Option<&DataInterval>,
    window: &Window,
    now: DateTime<Utc>,
) -> Option<PlannedRun> {
    let from_start = match window.start_date {
        Some(start) => Some(ticks.align_next(start)?),
        None => None,
    };
    let latest_complete =
        if window.catchup { None } else { ticks.align_previous(now).and_then(|end| ticks.previous(end)) };
    let earliest = from_start.max(latest_complete);
    let mut start = match previous {
        None => earliest?,
        Some(previous) => ticks.align_previous(previous.end).max(earliest)?,
    };
    // A changed schedule or an empty predecessor can lead back to a logical date that exists already.
    if previous.is_some_and(|previous| start <= previous.start) {
        start = ticks.next(start)?;
    }
    Some(PlannedRun::over(start, ticks.next(start)?))
}

/// Covers the time since the previous run, and is due a little after that one began at the earliest: a run that ends at once,
/// because it fails, say, is not repeated as fast as it can be. The caller asks when that one has ended.
fn next_continuous(previous: Option<&DataInterval>, window: &Window, now: DateTime<Utc>) -> Option<PlannedRun> {
    let Some(previous) = previous else {
        let start = window.start_date.unwrap_or(now);
        return Some(PlannedRun::over(start, start.max(now)));
    };
    // After an empty predecessor a run at the same instant would repeat its logical date.
    let start = if previous.end > previous.start {
        previous.end
    } else {
        previous.end.checked_add_signed(TimeDelta::microseconds(1))?.max(now)
    };
    let start = window.start_date.map_or(start, |earliest| start.max(earliest));
    let earliest = previous.end.checked_add_signed(BETWEEN_CONTINUOUS)?;
    Some(PlannedRun::over(start, start.max(now).max(earliest)))
}
