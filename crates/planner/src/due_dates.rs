//! The dates of a schedule, each of which becomes a run or a record of why it did not.

use std::iter;

use chrono::{DateTime, Utc};
use millrace_model::calendar::{Compare, Fate, day_start};
use millrace_model::change::{NextRun, PassedSlots, SlotOutcome};
use millrace_model::dag::Dag;
use millrace_model::instant::format_utc_micros;
use millrace_model::schedule::{DataInterval, Misfire, PlannedRun, Schedule, Window};

use crate::view::DagFacts;

/// Up to so many dates that are passed over together get a record each; more of them share one.
const APART: u64 = 24;
/// Days that are left out in a row before a calendar is taken to leave out all of them.
const MAX_DAYS: usize = 1_500;
/// Missed dates among which the latest that may run is looked for.
const MAX_BACK: usize = 2_000;

/// A date that becomes a run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Slot {
    /// As the timetable has it.
    pub date: PlannedRun,
    /// Why its run starts later than the timetable says, and when.
    pub shifted: Option<(DateTime<Utc>, String)>,
}

impl Slot {
    pub fn next_run(&self) -> NextRun {
        let run_after = self.shifted.as_ref().map_or(self.date.run_after, |(at, _)| *at);
        NextRun { run_after, ..self.date }
    }
}

/// The next date that becomes a run, due or not.
pub(crate) fn next_slot(facts: &DagFacts, now: DateTime<Utc>) -> Option<Slot> {
    let dag = &facts.version.dag;
    // A run that happens once without a start date is due at the moment it was first seen, not at each look anew.
    let is_undated = dag.timetable.schedule == Schedule::Once && dag.start_date.is_none();
    if is_undated && facts.last_interval.is_none() && facts.pointer.is_some() {
        return facts.pointer.map(|date| Slot { date, shifted: None });
    }
    let kept = chosen(dag, facts.last_interval.as_ref(), &dag.window(), now)?;
    allowed_from(dag, kept)
}

/// What the misfire policy takes next; of missed dates the latest that may run.
pub(crate) fn chosen(
    dag: &Dag,
    previous: Option<&DataInterval>,
    window: &Window,
    now: DateTime<Utc>,
) -> Option<PlannedRun> {
    let kept = dag.timetable.next_kept(previous, window, dag.misfire(), now)?;
    if dag.calendar.is_none() || dag.misfire() != Misfire::Latest || !matches!(dag.fate(&kept), Fate::Skip(_)) {
        return Some(kept);
    }
    let first = dag.timetable.next_slot(previous, window, now)?;
    let mut slots = dag.timetable.slots_back(kept, &first).take(MAX_BACK);
    slots.find(|slot| !matches!(dag.fate(slot), Fate::Skip(_))).or(Some(kept))
}

/// `date`, or the first after it that the calendar does not leave out.
pub(crate) fn allowed_from(dag: &Dag, mut date: PlannedRun) -> Option<Slot> {
    for _ in 0..MAX_DAYS {
        match dag.fate(&date) {
            Fate::Run => return Some(Slot { date, shifted: None }),
            Fate::Shift(at, reason) => return Some(Slot { date, shifted: Some((at, reason)) }),
            Fate::Skip(_) => {}
        }
        date = on_another_day(dag, &date)?;
        if dag.end_date.is_some_and(|end| date.logical_date > end) {
            return None;
        }
    }
    None
}

/// The first date whose day is later than this one's, for the calendar.
fn on_another_day(dag: &Dag, date: &PlannedRun) -> Option<PlannedRun> {
    let rule = dag.calendar.as_ref()?;
    let zone = dag.timetable.timezone;
    let tomorrow = day_start(rule.day_of(date, zone).succ_opt()?, zone);
    dag.timetable.slot_from(date, tomorrow, rule.compare == Compare::RunAfter)
}

/// The last date of the same day, for the calendar, if all of them until then are due.
fn last_of_day(dag: &Dag, date: &PlannedRun, now: DateTime<Utc>) -> Option<PlannedRun> {
    let last = dag.timetable.slot_before(&on_another_day(dag, date)?, date)?;
    let is_within = dag.end_date.is_none_or(|end| last.logical_date <= end);
    (last.logical_date > date.logical_date && last.run_after <= now && is_within).then_some(last)
}

/// When there is a date to deal with: one to run, or one to record as left out.
pub(crate) fn due_at(facts: &DagFacts, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let dag = &facts.version.dag;
    let pointer = facts.pointer.map(|next| next.run_after);
    // Whoever makes the oldest or the latest date a run has it in the pointer; the others may have to pass over some.
    let is_pointed_at = match dag.misfire() {
        _ if dag.calendar.is_some() => false,
        Misfire::All => true,
        Misfire::Latest => pointer.is_some(),
        Misfire::None | Misfire::Bounded { .. } => false,
    };
    if is_pointed_at || !dag.timetable.is_periodic() {
        return pointer;
    }
    let slot = dag.timetable.next_slot(facts.last_interval.as_ref(), &dag.window(), now)?;
    Some(slot.run_after)
}

/// Moves `facts.last_interval` over the due dates that become no run, and gives their records and the next that does.
pub(crate) fn pass_over(facts: &mut DagFacts, now: DateTime<Utc>) -> (Vec<PassedSlots>, Option<Slot>) {
    let dag = facts.version.dag.clone();
    let mut records: Vec<PassedSlots> = uncovered(facts, now).into_iter().collect();
    if !dag.timetable.is_periodic() || (dag.misfire() == Misfire::All && dag.calendar.is_none()) {
        return (records, next_slot(facts, now));
    }
    loop {
        pass_over_missed(facts, &dag, now, &mut records);
        let kept = chosen(&dag, facts.last_interval.as_ref(), &dag.window(), now);
        let Some(kept) = kept else { return (records, None) };
        match dag.fate(&kept) {
            Fate::Skip(reason) if kept.run_after <= now => {
                // A calendar may leave out the minutes of years: after the first ones a day is one step.
                let is_long = dag.misfire() == Misfire::All && records.len() as u64 >= APART;
                let last = last_of_day(&dag, &kept, now).filter(|_| is_long).unwrap_or(kept);
                facts.last_interval = Some(last.data_interval);
                record_skipped(&mut records, &dag, (&kept, &last), reason);
            }
            _ => return (records, allowed_from(&dag, kept)),
        }
    }
}

/// The time between the last run and the first date that is due, which a timetable or a start date of now leaves to none.
fn uncovered(facts: &DagFacts, now: DateTime<Utc>) -> Option<PassedSlots> {
    let (dag, previous) = (&facts.version.dag, facts.last_interval?);
    if !dag.timetable.starts_at_the_end() {
        return None;
    }
    let first = dag.timetable.next_slot(Some(&previous), &dag.window(), now).filter(|first| first.run_after <= now)?;
    (previous.end < first.data_interval.start).then(|| PassedSlots {
        dag_id: dag.dag_id.clone(),
        first: previous.end,
        last: previous.end,
        data_interval: DataInterval::new(previous.end, first.data_interval.start),
        count: 1,
        outcome: SlotOutcome::Skipped,
        reason: format!(
            "no run covers what lies before {}: the schedule or its start_date is another than it was",
            format_utc_micros(first.data_interval.start)
        ),
    })
}

/// Passes over what the misfire policy leaves out.
fn pass_over_missed(facts: &mut DagFacts, dag: &Dag, now: DateTime<Utc>, records: &mut Vec<PassedSlots>) {
    let window = dag.window();
    let first = dag.timetable.next_slot(facts.last_interval.as_ref(), &window, now);
    let Some(first) = first.filter(|first| first.run_after <= now) else { return };
    // Behind the end date there is a date to go on from, but no run.
    let open = Window { end_date: None, ..window };
    let kept = chosen(dag, facts.last_interval.as_ref(), &open, now);
    let last = match kept {
        Some(kept) if kept.logical_date <= first.logical_date => return,
        Some(kept) => dag.timetable.slot_before(&kept, &first).unwrap_or(first),
        None => dag.timetable.last_slot(&first, now).unwrap_or(first),
    };
    facts.last_interval = Some(last.data_interval);
    let ended = |end: &DateTime<Utc>| last.logical_date > *end;
    let last = window.end_date.filter(ended).and_then(|end| dag.timetable.last_slot(&first, end)).unwrap_or(last);
    let kept = kept.filter(|kept| window.end_date.is_none_or(|end| kept.logical_date <= end));
    records.extend(Stretch { first, last, kept }.records(dag, now));
}

/// Records a date that the calendar leaves out; when there are many, those of one day share a record.
fn record_skipped(
    records: &mut Vec<PassedSlots>,
    dag: &Dag,
    (first, last): (&PlannedRun, &PlannedRun),
    reason: String,
) {
    let count = dag.timetable.count_slots(first.logical_date, last.logical_date) + 1;
    let is_long = records.len() as u64 >= APART;
    if let Some(before) = records.last_mut().filter(|before| is_long && before.reason == reason) {
        before.last = last.logical_date;
        before.data_interval.end = last.data_interval.end;
        before.count += count;
        return;
    }
    records.push(record(dag, first, last, count, SlotOutcome::Skipped, reason));
}

/// The record of a date whose run starts on another day.
pub(crate) fn record_shifted(facts: &DagFacts, slot: &Slot) -> Option<PassedSlots> {
    let (at, reason) = slot.shifted.as_ref()?;
    let reason = format!("{reason}; the run starts at {}", format_utc_micros(*at));
    Some(record(&facts.version.dag, &slot.date, &slot.date, 1, SlotOutcome::Shifted, reason))
}

fn record(
    dag: &Dag,
    first: &PlannedRun,
    last: &PlannedRun,
    count: u64,
    outcome: SlotOutcome,
    reason: String,
) -> PassedSlots {
    PassedSlots {
        dag_id: dag.dag_id.clone(),
        first: first.logical_date,
        last: last.logical_date,
        data_interval: DataInterval::new(first.data_interval.start, last.data_interval.end),
        count,
        outcome,
        reason,
    }
}

/// Dates in a row that are passed over together.
struct Stretch {
    first: PlannedRun,
    last: PlannedRun,
    /// The run that comes after them.
    kept: Option<PlannedRun>,
}

impl Stretch {
    fn records(&self, dag: &Dag, now: DateTime<Utc>) -> Vec<PassedSlots> {
        let (outcome, reason) = self.outcome(dag.misfire(), now);
        let beyond = self.last.logical_date + chrono::TimeDelta::microseconds(1);
        let count = dag.timetable.count_slots(self.first.logical_date, beyond).max(1);
        if count > APART {
            return vec![record(dag, &self.first, &self.last, count, outcome, reason)];
        }
        let following = |slot: &PlannedRun| dag.timetable.next_slot(Some(&slot.data_interval), &dag.window(), now);
        iter::successors(Some(self.first), following)
            .take_while(|slot| slot.logical_date <= self.last.logical_date)
            .map(|slot| match dag.fate(&slot) {
                Fate::Skip(reason) => record(dag, &slot, &slot, 1, SlotOutcome::Skipped, reason),
                _ => record(dag, &slot, &slot, 1, outcome, reason.clone()),
            })
            .collect()
    }

    fn outcome(&self, misfire: Misfire, now: DateTime<Utc>) -> (SlotOutcome, String) {
        match (misfire, self.kept.filter(|kept| kept.run_after <= now)) {
            (Misfire::Latest, Some(kept)) => (
                SlotOutcome::Coalesced,
                format!("the run for {} stands for it (misfire: latest)", format_utc_micros(kept.logical_date)),
            ),
            (Misfire::Latest, None) => (SlotOutcome::Skipped, "the end_date has passed (misfire: latest)".to_owned()),
            (Misfire::None, _) => (SlotOutcome::Skipped, "missed by more than a minute (misfire: none)".to_owned()),
            (bounds, _) => (SlotOutcome::Skipped, format!("missed beyond the bounds (misfire: {bounds})")),
        }
    }
}
