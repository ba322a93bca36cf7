//! What will run: the schedules ahead, each date with what becomes of it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::{self, Peekable};

use chrono::{DateTime, Utc};
use millrace_model::calendar::Fate;
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use millrace_model::instant::format_utc_micros;
use millrace_model::schedule::{DataInterval, PlannedRun, Schedule};
use millrace_model::state::RunState;

use crate::due_dates;
use crate::explain::{explain_run, room_for_runs};
use crate::run::RunView;
use crate::view::{DagFacts, View};
use crate::windows::{HELD, open_window};

/// Dates that are looked at beyond those that are asked for: what a calendar or a maintenance window puts off is overtaken
/// by later dates.
const MOST_OVERTAKEN: usize = 10_000;

/// What becomes of a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prospect {
    /// It is queued already.
    Queued,
    Run,
    /// Left out by a calendar.
    Skipped,
    /// Its run starts on another day than the schedule says.
    Shifted,
    /// It is left until the DAG is unpaused.
    Paused,
}

impl Prospect {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Run => "run",
            Self::Skipped => "skipped",
            Self::Shifted => "shifted",
            Self::Paused => "paused",
        }
    }
}

/// A date ahead.
#[derive(Debug, Clone, PartialEq)]
pub struct Upcoming {
    pub dag_id: DagId,
    /// As the schedule has it.
    pub run: PlannedRun,
    pub prospect: Prospect,
    /// When its run starts, as far as time alone decides; none for what is left out.
    pub starts_at: Option<DateTime<Utc>>,
    /// What holds it up, or why it is left out.
    pub reason: Option<String>,
}

/// What the schedules of all DAGs (or of one) call for until then, in the order in which it starts. At most `limit`; the
/// flag says that there is more. Of a paused DAG that was not asked for only the next date is told, behind all that will run.
pub fn outlook(
    view: &View,
    dag_id: Option<&DagId>,
    (now, until): (DateTime<Utc>, DateTime<Utc>),
    limit: usize,
) -> (Vec<Upcoming>, bool) {
    let is_asked = |id: &DagId| dag_id.is_none_or(|asked| asked == id);
    let mut found: Vec<Upcoming> = view
        .runs
        .values()
        .filter(|run| run.state == RunState::Queued && is_asked(&run.dag_id))
        .map(|run| queued(view, run, now))
        .collect();
    let asked = view.dags.values().filter(|facts| is_asked(&facts.version.dag.dag_id) && !facts.is_stale);
    let (paused, going): (Vec<&DagFacts>, Vec<_>) = asked.partition(|facts| facts.is_paused && dag_id.is_none());
    let make = |facts: &&DagFacts, date| prospect(view, facts, date, now);
    let schedules = |of: Vec<_>, most| of.into_iter().map(|it| (it, dates(it, now).take(most).peekable())).collect();
    let mut has_unseen = look_ahead(schedules(going, usize::MAX), &mut found, (now, until), limit, make);
    let mut left = Vec::new();
    let room = limit.saturating_sub(found.len());
    has_unseen |= look_ahead(schedules(paused, 1), &mut left, (now, until), room, make);
    for some in [&mut found, &mut left] {
        some.sort_by(|a, b| when(a, now).cmp(&when(b, now)).then_with(|| a.dag_id.cmp(&b.dag_id)));
    }
    found.append(&mut left);
    let has_more = has_unseen || found.len() > limit;
    found.truncate(limit);
    (found, has_more)
}

type Place = (DateTime<Utc>, DateTime<Utc>);

/// Where it stands among the others.
fn when(it: &Upcoming, now: DateTime<Utc>) -> Place {
    (it.starts_at.unwrap_or_else(|| it.run.run_after.max(now)), it.run.logical_date)
}

/// Takes dates from all schedules in the order in which they can start at the earliest, until no other one can stand
/// among the first `limit`: what it costs depends on what is asked for, not on how much there is. True if it stopped
/// before the end.
fn look_ahead<F, I: Iterator<Item = PlannedRun>>(
    mut schedules: Vec<(F, Peekable<I>)>,
    found: &mut Vec<Upcoming>,
    (now, until): (DateTime<Utc>, DateTime<Utc>),
    limit: usize,
    make: impl Fn(&F, PlannedRun) -> Upcoming,
) -> bool {
    // Nothing starts before it is due.
    let earliest = |dates: &mut Peekable<I>| {
        let date = dates.peek().filter(|date| date.run_after <= until)?;
        Some((date.run_after.max(now), date.logical_date))
    };
    let firsts = schedules.iter_mut().enumerate();
    let mut next: BinaryHeap<Reverse<(Place, usize)>> =
        firsts.filter_map(|(index, (_, dates))| Some(Reverse((earliest(dates)?, index)))).collect();
    let mut open: BinaryHeap<Reverse<Place>> = found.iter().map(|it| Reverse(when(it, now))).collect();
    let (mut settled, mut taken) = (0, 0);
    while let Some(Reverse((least, index))) = next.pop() {
        while open.peek().is_some_and(|Reverse(place)| *place < least) {
            open.pop();
            settled += 1;
        }
        if settled > limit || taken >= limit.saturating_add(MOST_OVERTAKEN) {
            return true;
        }
        let (facts, dates) = &mut schedules[index];
        if let Some(date) = dates.next() {
            taken += 1;
            let upcoming = make(facts, date);
            open.push(Reverse(when(&upcoming, now)));
            found.push(upcoming);
        }
        next.extend(earliest(dates).map(|place| Reverse((place, index))));
    }
    false
}

/// The runs that the schedule makes next, one after another.
pub fn next_runs<'a>(
    dag: &'a Dag,
    previous: Option<&DataInterval>,
    now: DateTime<Utc>,
) -> impl Iterator<Item = PlannedRun> + use<'a> {
    let first =
        due_dates::chosen(dag, previous, &dag.window(), now).and_then(|date| due_dates::allowed_from(dag, date));
    let following = move |slot: &due_dates::Slot| {
        let next = following(dag, &slot.date, now)?;
        due_dates::allowed_from(dag, next)
    };
    iter::successors(first, following).map(|slot| slot.next_run())
}

fn following(dag: &Dag, date: &PlannedRun, now: DateTime<Utc>) -> Option<PlannedRun> {
    if dag.timetable.schedule == Schedule::Continuous {
        return None;
    }
    dag.timetable.next_slot(Some(&date.data_interval), &dag.window(), now)
}

fn dates(facts: &DagFacts, now: DateTime<Utc>) -> impl Iterator<Item = PlannedRun> + use<'_> {
    let dag = &*facts.version.dag;
    let first = match facts.pointer.filter(|_| !dag.timetable.is_periodic()) {
        Some(pointer) => Some(pointer),
        None => due_dates::chosen(dag, facts.last_interval.as_ref(), &dag.window(), now),
    };
    iter::successors(first, move |date| following(dag, date, now))
}

fn queued(view: &View, run: &RunView, now: DateTime<Utc>) -> Upcoming {
    let unmet = explain_run(view, run.key(), now).into_iter().find(|condition| !condition.ok);
    let run_after = run.facts.run_after;
    Upcoming {
        dag_id: run.dag_id.clone(),
        run: PlannedRun { logical_date: run.facts.logical_date, data_interval: run.facts.data_interval, run_after },
        prospect: Prospect::Queued,
        starts_at: Some(unmet.as_ref().and_then(|condition| condition.until).unwrap_or(run_after).max(now)),
        reason: unmet.map(|condition| condition.text),
    }
}

fn prospect(view: &View, facts: &DagFacts, date: PlannedRun, now: DateTime<Utc>) -> Upcoming {
    let dag = &facts.version.dag;
    let (mut prospect, starts_at, mut reasons) = match dag.fate(&date) {
        Fate::Run => (Prospect::Run, Some(date.run_after.max(now)), Vec::new()),
        Fate::Skip(reason) => (Prospect::Skipped, None, vec![reason]),
        Fate::Shift(at, reason) => (Prospect::Shifted, Some(at.max(now)), vec![reason]),
    };
    let starts_at = starts_at.map(|at| match open_window(&view.windows.everyones, dag, at) {
        Some((window, until)) => {
            reasons.push(format!("{HELD} {window} until {}", format_utc_micros(until)));
            until
        }
        None => at,
    });
    if starts_at.is_some() && facts.is_paused {
        prospect = Prospect::Paused;
        reasons.push("the DAG is paused".to_owned());
    }
    let is_due = starts_at.is_some() && date.run_after <= now;
    reasons.extend(is_due.then(|| room_for_runs(view, &dag.dag_id, now)).filter(|room| !room.ok).map(|room| room.text));
    Upcoming {
        dag_id: dag.dag_id.clone(),
        run: date,
        prospect,
        starts_at,
        reason: (!reasons.is_empty()).then(|| reasons.join("; ")),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn no_more_dates_are_looked_at_than_the_answer_needs() {
        let now: DateTime<Utc> = DateTime::from_timestamp(1_704_067_200, 0).unwrap_or_default();
        let looked_at = Cell::new(0);
        // A thousand schedules, each due every minute since a year ago.
        let begin = now - TimeDelta::days(366);
        let minutes = |_: u32| {
            let every_minute = (0..).map(move |minute| {
                let at = begin + TimeDelta::minutes(minute);
                PlannedRun { logical_date: at, data_interval: DataInterval::point(at), run_after: at }
            });
            every_minute.inspect(|_| looked_at.set(looked_at.get() + 1)).peekable()
        };
        let schedules = (0..1_000).map(|number| (number, minutes(number))).collect();
        let make = |number: &u32, date: PlannedRun| Upcoming {
            dag_id: DagId::new_unchecked(format!("d{number:04}")),
            run: date,
            prospect: Prospect::Run,
            starts_at: Some(date.run_after.max(now)),
            reason: None,
        };
        let mut found = Vec::new();
        assert!(look_ahead(schedules, &mut found, (now, now + TimeDelta::days(366)), 100, make));
        assert!(found.iter().take(100).all(|it| it.run.logical_date == begin));
        assert!(looked_at.get() <= 3_100, "{} dates were looked at", looked_at.get());
    }
}
