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
