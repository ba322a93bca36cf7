//! What will run and what did not, for the command line, REST and the pages.

use chrono::{DateTime, Utc};
use millrace_model::ids::DagId;
use millrace_model::instant::format_utc_micros;
use millrace_planner::{Upcoming, outlook};
use millrace_store::{ActiveScope, Result, SlotRow, Store};
use serde::Serialize;

use crate::{Situation, Surroundings};

/// A date ahead and what becomes of it.
#[derive(Debug, Clone, Serialize)]
pub struct PlanEntry {
    pub dag_id: String,
    pub logical_date: String,
    pub data_interval_start: String,
    pub data_interval_end: String,
    /// When the schedule says.
    pub run_after: String,
    /// `queued`, `run`, `shifted`, `skipped` or `paused`.
    pub outcome: &'static str,
    /// When its run starts as far as time alone decides.
    pub starts_at: Option<String>,
    /// What holds it up, or why it is left out.
    pub reason: Option<String>,
}

/// A due date, or some in a row, that became no run of their own.
#[derive(Debug, Clone, Serialize)]
pub struct PassedSlot {
    pub dag_id: String,
    pub logical_date: String,
    /// Of the last, when there are several.
    pub last_logical_date: String,
    pub data_interval_start: String,
    pub data_interval_end: String,
    pub slots: u64,
    /// `skipped`, `coalesced` or `shifted`.
    pub outcome: &'static str,
    pub reason: String,
    pub created_at: String,
}

impl From<&SlotRow> for PassedSlot {
    fn from(row: &SlotRow) -> Self {
        let slots = &row.slots;
        Self {
            dag_id: slots.dag_id.to_string(),
            logical_date: format_utc_micros(slots.first),
            last_logical_date: format_utc_micros(slots.last),
            data_interval_start: format_utc_micros(slots.data_interval.start),
            data_interval_end: format_utc_micros(slots.data_interval.end),
            slots: slots.count,
            outcome: slots.outcome.as_str(),
            reason: slots.reason.clone(),
            created_at: format_utc_micros(row.created_at),
        }
    }
}

/// What is needed to say what the schedules call for between now and then: read, and not yet reckoned with.
pub struct Ahead {
    situation: Situation,
    dag_id: Option<DagId>,
    range: (DateTime<Utc>, DateTime<Utc>),
}

impl Ahead {
    pub async fn read(
        store: &Store,
        surroundings: &Surroundings,
        dag_id: Option<&DagId>,
        (now, until): (DateTime<Utc>, DateTime<Utc>),
    ) -> Result<Self> {
        let mut situation = Situation::new(store.clone()).with_maintenance(surroundings.maintenance.clone());
        match dag_id {
            Some(dag_id) => situation.read_dag(dag_id, ActiveScope::OfDag(dag_id)).await?,
            None => situation.read_everything().await?,
        }
        Ok(Self { situation, dag_id: dag_id.cloned(), range: (now, until) })
    }

    /// The plan, and whether there is more than `limit`. With many DAGs this takes a while and waits for nothing: not for
    /// a thread that others wait on.
    pub fn plan(&self, limit: usize) -> (Vec<PlanEntry>, bool) {
        let (found, has_more) = outlook(&self.situation.view, self.dag_id.as_ref(), self.range, limit);
        (found.iter().map(entry).collect(), has_more)
    }
}

fn entry(upcoming: &Upcoming) -> PlanEntry {
    let run = &upcoming.run;
    PlanEntry {
        dag_id: upcoming.dag_id.to_string(),
        logical_date: format_utc_micros(run.logical_date),
        data_interval_start: format_utc_micros(run.data_interval.start),
        data_interval_end: format_utc_micros(run.data_interval.end),
        run_after: format_utc_micros(run.run_after),
        outcome: upcoming.prospect.as_str(),
        starts_at: upcoming.starts_at.map(format_utc_micros),
        reason: upcoming.reason.clone(),
    }
}
