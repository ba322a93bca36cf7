//! Which DAGs run because of what happened to the assets that they wait for.

use chrono::{DateTime, DurationRound, TimeDelta, Utc};
use millrace_model::asset::AssetEvent;
use millrace_model::change::NewRun;
use millrace_model::ids::{DagId, RunId};
use millrace_model::instant::format_run_id_instant;
use millrace_model::schedule::DataInterval;
use millrace_model::state::{RunState, RunType};
use serde_json::Map;

use crate::turn::Turn;
use crate::view::{DagFacts, View};

impl View {
    /// Replaces what has happened since the DAG's last asset-triggered run; oldest first.
    pub fn set_asset_events(&mut self, dag_id: &DagId, events: Vec<AssetEvent>) {
        if events.is_empty() {
            self.asset_events.remove(dag_id);
        } else {
            self.asset_events.insert(dag_id.clone(), events);
            self.dirty_assets.insert(dag_id.clone());
        }
    }

    /// Looks at the DAG's assets again: it was unpaused, or has room for another run.
    pub(crate) fn look_at_assets(&mut self, dag_id: &DagId) {
        if self.asset_events.contains_key(dag_id) {
            self.dirty_assets.insert(dag_id.clone());
        }
    }

    /// Whether the DAG's condition holds for what has happened.
    pub(crate) fn is_called_by_assets(&self, facts: &DagFacts) -> bool {
        let dag = &facts.version.dag;
        let (Some(condition), Some(events)) = (&dag.assets, self.asset_events.get(&dag.dag_id)) else { return false };
        condition.holds(&|name| events.iter().any(|event| event.asset == *name))
    }
}

impl Turn<'_> {
    /// One run for everything that has happened to a DAG's assets, as soon as its condition holds and it has room.
    pub(crate) fn create_asset_runs(&mut self) {
        while let Some(dag_id) = self.view.dirty_assets.pop_first() {
            let Some(facts) = self.view.dags.get(&dag_id) else { continue };
            if facts.is_paused || facts.is_stale || !self.view.is_called_by_assets(facts) {
                continue;
            }
            let limit = self.view.max_active_runs(&(dag_id.clone(), None));
            // Its schedule may have made one in this very turn.
            let planned =
                self.plan.batch.new_runs.iter().filter(|run| run.dag_id == dag_id && run.run_after <= self.now);
            let active = self.view.active_normal_runs(&dag_id, self.now) + planned.count() as u32;
            if active >= limit {
                // Looked at again when one ends; what happens until then goes into the same run.
                continue;
            }
            let is_held = self.view.windows.open.contains(&dag_id);
            let now = self.now.duration_trunc(TimeDelta::microseconds(1)).unwrap_or(self.now);
            // At that moment there is a run already; it would be refused as long as no time passes.
            let refused = self.view.refused_dates.remove(&dag_id).filter(|refused| *refused >= now);
            let date = refused.map_or(now, |refused| refused + TimeDelta::microseconds(1));
            let events = self.view.asset_events.remove(&dag_id).unwrap_or_default();
            let mut run = asset_run(facts, events, date, now);
            if is_held {
                run.state = RunState::Queued;
            }
            self.plan.batch.new_runs.push(run);
        }
    }
}

/// It covers the intervals of all runs that brought its assets up to date.
fn asset_run(facts: &DagFacts, events: Vec<AssetEvent>, date: DateTime<Utc>, now: DateTime<Utc>) -> NewRun {
    let start = events.iter().map(|event| event.data_interval.start).min().unwrap_or(now);
    let end = events.iter().map(|event| event.data_interval.end).max().unwrap_or(now);
    NewRun {
        dag_id: facts.version.dag.dag_id.clone(),
        run_id: RunId::new_unchecked(format!("asset_triggered__{}", format_run_id_instant(date))),
        run_type: RunType::AssetTriggered,
        state: facts.version.first_state(),
        logical_date: date,
        data_interval: DataInterval { start, end },
        run_after: now,
        conf: Map::new(),
        version_key: facts.version.key,
        backfill_key: None,
        triggered_by: "assets".to_owned(),
        asset_events: events,
        tasks: facts.version.new_instances(),
    }
}
