//! Every date that a schedule has gone past is accounted for: by its run, or by one record of why it has none.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use millrace_model::change::SlotOutcome;
use millrace_model::schedule::DataInterval;
use millrace_store::{RunRow, SchedulerDag, SlotRow};

use super::World;

impl World {
    pub(super) async fn dates_are_accounted_for(&self, runs: &[RunRow], place: &str) {
        for row in self.stage.store.scheduler_dags().await.unwrap() {
            let Some(until) = row.last_interval.filter(|_| row.dag.timetable.is_periodic()) else { continue };
            let records = self.stage.store.passed_slots(row.dag_id.as_str(), 0, 0).await.unwrap().rows;
            // Also one that a backfill has taken over since.
            let is_own = |run: &&RunRow| run.dag_id == row.dag_id && run.run_id.as_str().starts_with("scheduled__");
            let own: BTreeSet<DateTime<Utc>> = runs.iter().filter(is_own).map(|run| run.logical_date).collect();
            let (dag_id, mut known) = (&row.dag_id, 0);
            for date in self.dates_until(&row, &until) {
                let about = |it: &&SlotRow| it.slots.first <= date && date <= it.slots.last;
                let why: Vec<SlotOutcome> = records.iter().filter(about).map(|it| it.slots.outcome).collect();
                let is_right = match (own.contains(&date), why.as_slice()) {
                    (true, [] | [SlotOutcome::Shifted]) => true,
                    (false, [outcome]) => *outcome != SlotOutcome::Shifted,
                    _ => false,
                };
                let run = if own.contains(&date) { "a run" } else { "no run" };
                assert!(is_right, "{place}: {date} of {dag_id} has {run} and is recorded as {why:?}; {records:?}");
                known += usize::from(own.contains(&date));
            }
            assert_eq!(known, own.len(), "{place}: runs of {dag_id} that its schedule does not have: {own:?}");
        }
    }

    /// All that the timetable has up to the last one that was dealt with.
    fn dates_until(&self, row: &SchedulerDag, until: &DataInterval) -> Vec<DateTime<Utc>> {
        let (window, now) = (row.dag.window(), self.stage.now());
        let following = |previous: Option<&DataInterval>| row.dag.timetable.next_slot(previous, &window, now);
        let all = std::iter::successors(following(None), |slot| following(Some(&slot.data_interval)));
        all.take_while(|slot| slot.data_interval.end <= until.end).map(|slot| slot.logical_date).collect()
    }
}
