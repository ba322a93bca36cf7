//! The dates of a DAG's runs and what came of them: a year of them at once.

use chrono::{DateTime, Utc};
use millrace_model::ids::{DagId, RunId};
use millrace_model::state::RunState;

use crate::sql::{micros, values};
use crate::{Result, Store, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDate {
    pub run_id: RunId,
    pub logical_date: DateTime<Utc>,
    pub state: RunState,
}

impl Store {
    /// Runs that schedules made of dates to come, as a clock was ahead, those of each DAG the newest first: nothing of that
    /// DAG is due until then.
    pub async fn runs_to_come(&self, dag_id: Option<&DagId>, now: DateTime<Utc>) -> Result<Vec<(DagId, RunId)>> {
        let sql = "SELECT r.dag_id, r.run_id FROM dag d JOIN dag_run r ON r.dag_id = d.dag_id AND r.made_by_schedule \
                   AND r.data_interval_end > $1 WHERE ($2 IS NULL OR d.dag_id = $2) \
                   ORDER BY r.dag_id, r.data_interval_end DESC";
        let values = values![micros(now), dag_id.map(|dag_id| dag_id.as_str().to_owned())];
        let rows = sql::all(self.reader(), "find runs of dates to come", sql, values).await?;
        let read =
            |row: &sql::Row| Ok((DagId::new_unchecked(row.text("dag_id")?), RunId::new_unchecked(row.text("run_id")?)));
        rows.iter().map(read).collect()
    }

    /// Of the logical dates from `from` to before `to`, the newest first.
    pub async fn run_dates(
        &self,
        dag_id: &DagId,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        limit: u64,
    ) -> Result<Vec<RunDate>> {
        let columns = ["run_id", "logical_date", "state"];
        let sql = "SELECT run_id, logical_date, state FROM dag_run WHERE dag_id = $1 AND logical_date >= $2 AND \
                   logical_date < $3 ORDER BY logical_date DESC LIMIT $4";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let values = values![dag_id.as_str(), micros(from), micros(to), limit];
        let rows = sql::all_at_once(self.reader(), "read the dates of runs", &columns, sql, values).await?;
        rows.iter()
            .map(|row| {
                Ok(RunDate {
                    run_id: RunId::new_unchecked(row.text("run_id")?),
                    logical_date: row.instant("logical_date")?,
                    state: row.word("state", RunState::parse)?,
                })
            })
            .collect()
    }
}
