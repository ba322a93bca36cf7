//! The dates of a schedule, each of which becomes a run or a record of why it did not.

use chrono::{DateTime, Utc};
use millrace_model::change::{NextRun, PassedSlots, SlotOutcome};
use millrace_model::instant::format_utc_micros;
use millrace_model::schedule::{DataInterval, Misfire, PlannedRun, Schedule, Window};

use crate::view::DagFacts;

/// Up to so many dates that are passed over together get a record each; more of them share one.
const APART: u64 = 24;

/// The next run that the schedule makes, due or not.
pub(crate) fn next_run(facts: &DagFacts, now: DateTime<Utc>) -> Option<NextRun> {
    let dag = &facts.version.dag;
    // A run that happens once without a start date is due at the moment it was first seen, not at each look anew.
    let is_undated = dag.timetable.schedule == Schedule::Once && dag.start_date.is_none();
    if is_undated && facts.last_interval.is_none() && facts.pointer.is_some() {
        return facts.pointer;
    }
    dag.timetable.next_kept(facts.last_interval.as_ref(), &dag.window(), dag.misfire(), now)
}

/// When there is a date to deal with: one to run, or one to record as left out.
pub(crate) fn due_at(facts: &DagFacts, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let dag = &facts.version.dag;
    let pointer = facts.pointer.map(|next| next.run_after);
    // Whoever makes the oldest or the latest date a run has it in the pointer; the others may have to pass over some.
    let is_pointed_at = match dag.misfire() {
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

/// Moves `facts.last_interval` over the due dates that become no run, and gives their records and the next run.
pub(crate) fn pass_over(facts: &mut DagFacts, now: DateTime<Utc>) -> (Vec<PassedSlots>, Option<NextRun>) {
    let next = next_run(facts, now);
    let dag = facts.version.dag.clone();
    if dag.misfire() == Misfire::All || !dag.timetable.is_periodic() {
        return (Vec::new(), next);
    }
    let window = dag.window();
    let first = dag.timetable.next_slot(facts.last_interval.as_ref(), &window, now);
    let Some(first) = first.filter(|first| first.run_after <= now) else { return (Vec::new(), next) };
    // Behind the end date there is a date to go on from, but no run.
    let open = Window { end_date: None, ..window };
    let kept = dag.timetable.next_kept(facts.last_interval.as_ref(), &open, dag.misfire(), now);
    let last = match kept {
        Some(kept) if kept.logical_date <= first.logical_date => return (Vec::new(), next),
        Some(kept) => dag.timetable.slot_before(&kept).unwrap_or(first),
        None => dag.timetable.last_slot(&first, now).unwrap_or(first),
    };
    facts.last_interval = Some(last.data_interval);
    let ended = |end: &DateTime<Utc>| last.logical_date > *end;
    let last = window.end_date.filter(ended).and_then(|end| dag.timetable.last_slot(&first, end)).unwrap_or(last);
    let stretch = Stretch { first, last, kept: next };
    (stretch.records(facts, now), next)
}

/// Dates in a row that are passed over together.
struct Stretch {
    first: PlannedRun,
    last: PlannedRun,
    /// The run that comes after them.
    kept: Option<NextRun>,
}

impl Stretch {
    fn records(&self, facts: &DagFacts, now: DateTime<Utc>) -> Vec<PassedSlots> {
        let dag = &facts.version.dag;
        let (outcome, reason) = self.outcome(dag.misfire(), now);
        let beyond = self.last.logical_date + chrono::TimeDelta::microseconds(1);
        let count = dag.timetable.count_slots(self.first.logical_date, beyond).max(1);
        let record = |first: &PlannedRun, last: &PlannedRun, count: u64| PassedSlots {
            dag_id: dag.dag_id.clone(),
            first: first.logical_date,
            last: last.logical_date,
            data_interval: DataInterval::new(first.data_interval.start, last.data_interval.end),
            count,
            outcome,
            reason: reason.clone(),
        };
        if count > APART {
            return vec![record(&self.first, &self.last, count)];
        }
        let following = |slot: &PlannedRun| dag.timetable.next_slot(Some(&slot.data_interval), &dag.window(), now);
        std::iter::successors(Some(self.first), following)
            .take_while(|slot| slot.logical_date <= self.last.logical_date)
            .map(|slot| record(&slot, &slot, 1))
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
