//! Task instances of any DAG, as people browse them.

use chrono::{DateTime, Utc};
use millrace_model::ids::{DagId, RunId};
use millrace_model::state::TaskState;

use crate::instance::read_instance;
use crate::sql::values;
use crate::{InstanceRow, Result, Store, sql};

/// An instance and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedInstance {
    pub dag_id: DagId,
    pub run_id: RunId,
    pub logical_date: DateTime<Utc>,
    pub run_after: DateTime<Utc>,
    pub row: InstanceRow,
}

/// Empty or `None` means "any".
#[derive(Debug, Clone, Default)]
pub struct InstanceFilter {
    pub dag_id: Option<String>,
    pub task_id: Option<String>,
    pub operator: Option<String>,
    pub pool: Option<String>,
    pub state: Option<TaskState>,
    pub limit: u64,
    pub offset: u64,
}

impl Store {
    /// The newest first. Of how many there are in all nobody counts them: of a million that alone would take a while.
    pub async fn list_instances(&self, filter: &InstanceFilter) -> Result<Vec<ListedInstance>> {
        let mut conditions = Vec::new();
        let mut values: Vec<sea_orm::Value> = Vec::new();
        let wanted = [
            ("r.dag_id", &filter.dag_id),
            ("i.task_id", &filter.task_id),
            ("i.operator", &filter.operator),
            ("i.pool", &filter.pool),
        ];
        for (column, value) in wanted {
            if let Some(value) = value {
                values.push(value.as_str().into());
                conditions.push(format!("{column} = ${}", values.len()));
            }
        }
        if let Some(state) = filter.state {
            // The word is our own. With the condition of the index beside it, SQLite sees that the index serves.
            conditions.push(format!("i.state = '{state}'"));
            if HELD_READY.contains(&state) {
                conditions.push(TROUBLED.to_owned());
            }
        }
        let conditions =
            if conditions.is_empty() { String::new() } else { format!("WHERE {}", conditions.join(" AND ")) };
        let (limit, offset) = (values.len() + 1, values.len() + 2);
        let sql = format!(
            "SELECT i.*, r.dag_id, r.run_id AS run_name, r.logical_date, r.run_after FROM task_instance i \
             JOIN dag_run r ON r.id = i.run_id {conditions} ORDER BY i.id DESC LIMIT ${limit} OFFSET ${offset}"
        );
        values.extend(values![
            i64::try_from(filter.limit).unwrap_or(i64::MAX),
            i64::try_from(filter.offset).unwrap_or(i64::MAX)
        ]);
        let rows = sql::all(self.reader(), "list task instances", sql, values).await?;
        rows.iter()
            .map(|row| {
                Ok(ListedInstance {
                    dag_id: DagId::new_unchecked(row.text("dag_id")?),
                    run_id: RunId::new_unchecked(row.text("run_name")?),
                    logical_date: row.instant("logical_date")?,
                    run_after: row.instant("run_after")?,
                    row: read_instance(row)?,
                })
            })
            .collect()
    }
}

/// States that are rare among many instances, and looked for.
const HELD_READY: [TaskState; 3] = [TaskState::Failed, TaskState::UpstreamFailed, TaskState::UpForRetry];

/// As the index `task_instance_troubled` has it.
const TROUBLED: &str = "i.state IN ('failed', 'upstream_failed', 'up_for_retry')";
