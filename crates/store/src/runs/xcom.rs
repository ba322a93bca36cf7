//! Results that tasks leave for others. Written by commits; gone when the instance starts again, or ends without a start.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::ids::{DagId, TaskId};
use millrace_model::mapping::ResultDigests;
use serde_json::Value;

use crate::conditions::{Conditions, count_to};
use crate::sql::{Kind, micros, values};
use crate::{Result, Store, Tx, sql};

/// The length of a task's own result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListLength {
    pub task_id: TaskId,
    pub map_index: i32,
    /// `None`: it is not a list.
    pub length: Option<u32>,
    pub digests: ResultDigests,
}

/// A result and whose it is.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedXcom {
    pub run: RunKey,
    pub task_id: TaskId,
    pub map_index: i32,
    pub key: String,
    /// When it was left.
    pub at: DateTime<Utc>,
    /// As it may be shown.
    pub value: Value,
}

/// None means "any".
#[derive(Debug, Clone, Default)]
pub struct XcomFilter {
    pub dag_id: Option<String>,
    pub run_id: Option<String>,
    pub task_id: Option<String>,
    /// -1: of a task that is not mapped.
    pub map_index: Option<i32>,
    pub key: Option<String>,
    pub limit: u64,
    pub offset: u64,
}

const FROM: &str = "xcom x JOIN task_instance i ON i.id = x.instance_id JOIN dag_run r ON r.id = i.run_id";

impl XcomFilter {
    fn conditions(&self) -> Conditions {
        let mut conditions = Conditions::default();
        let texts = [
            ("r.dag_id", &self.dag_id),
            ("r.run_id", &self.run_id),
            ("i.task_id", &self.task_id),
            ("x.key", &self.key),
        ];
        for (column, text) in texts {
            if let Some(text) = text {
                conditions.compare(column, "=", text.as_str());
            }
        }
        if let Some(index) = self.map_index {
            conditions.compare("i.map_index", "=", index);
        }
        conditions
    }
}

impl Store {
    /// How many the filter chooses, counted to `most`.
    pub async fn count_xcoms(&self, filter: &XcomFilter, most: u64) -> Result<u64> {
        let conditions = filter.conditions();
        let count = count_to(most, &format!("{FROM}{}", conditions.clause()));
        self.count_rows("count results", count, conditions.values).await
    }

    /// Those of the newest instances first, to be shown as [`Self::xcoms`].
    pub async fn list_xcoms(&self, filter: &XcomFilter) -> Result<Vec<ListedXcom>> {
        let conditions = filter.conditions();
        let (clause, mut values) = (conditions.clause(), conditions.values);
        let (limit, offset) = (values.len() + 1, values.len() + 2);
        let sql = format!(
            "SELECT i.run_id, i.task_id, i.map_index, x.key, x.created_at, COALESCE(x.shown, x.value) AS value FROM {FROM}{clause} \
             ORDER BY x.instance_id DESC, x.key LIMIT ${limit} OFFSET ${offset}"
        );
        values.extend(values![
            i64::try_from(filter.limit).unwrap_or(i64::MAX),
            i64::try_from(filter.offset).unwrap_or(i64::MAX)
        ]);
        let rows = sql::all(self.reader(), "list results", sql, values).await?;
        rows.iter()
            .map(|row| {
                Ok(ListedXcom {
                    run: row.int("run_id")?,
                    task_id: TaskId::new_unchecked(row.text("task_id")?),
                    map_index: row.small("map_index")?,
                    key: row.text("key")?,
                    at: row.instant("created_at")?,
                    value: row.json("value")?,
                })
            })
            .collect()
    }

    /// How long the results of these tasks of a run are, as far as they have one.
    pub async fn list_lengths(&self, run: RunKey, tasks: &[&str]) -> Result<Vec<ListLength>> {
        let source = sql::source(self.dialect(), 2, &[("x_task", Kind::Text)]);
        let sql = format!(
            "SELECT i.task_id, i.map_index, r.length, r.value FROM {source} CROSS JOIN task_instance i \
             JOIN xcom r ON r.instance_id = i.id AND r.key = 'return_value' WHERE i.run_id = $1 AND i.task_id = x_task"
        );
        let values = vec![run.into(), sql::column(tasks.iter().copied())];
        let rows = sql::all(self.reader(), "read the lengths of results", sql, values).await?;
        rows.iter()
            .map(|row| {
                Ok(ListLength {
                    task_id: TaskId::new_unchecked(row.text("task_id")?),
                    map_index: row.small("map_index")?,
                    length: row.opt_int("length")?.and_then(|length| u32::try_from(length).ok()),
                    digests: ResultDigests::of(&row.json("value")?),
                })
            })
            .collect()
    }

    /// The values that the instances of a task of the run left under `key`, by map index; -1 is that of a task that is
    /// not mapped.
    pub async fn xcoms_of_task(&self, run: RunKey, task_id: &str, key: &str) -> Result<BTreeMap<i32, Value>> {
        let sql = "SELECT i.map_index, x.value FROM task_instance i JOIN xcom x ON x.instance_id = i.id \
                   WHERE i.run_id = $1 AND i.task_id = $2 AND i.state <> 'removed' AND x.key = $3";
        let rows = sql::all(self.reader(), "read a task's results", sql, values![run, task_id, key]).await?;
        rows.iter().map(|row| Ok((row.small("map_index")?, row.json("value")?))).collect()
    }

    /// The newest run of a DAG before a logical date in which a task left something under `key`.
    pub async fn earlier_run_with_result(
        &self,
        (dag_id, before): (&DagId, DateTime<Utc>),
        task_id: &str,
        key: &str,
    ) -> Result<Option<RunKey>> {
        let sql = "SELECT r.id FROM dag_run r WHERE r.dag_id = $1 AND r.logical_date < $2 AND EXISTS (\
                   SELECT 1 FROM task_instance i JOIN xcom x ON x.instance_id = i.id WHERE i.run_id = r.id \
                   AND i.task_id = $3 AND i.state <> 'removed' AND x.key = $4) ORDER BY r.logical_date DESC LIMIT 1";
        let values = values![dag_id.as_str(), micros(before), task_id, key];
        let row = sql::one(self.reader(), "find an earlier result", sql, values).await?;
        row.map(|row| row.int("id")).transpose()
    }

    /// The value that a task of the run left under `key`; its own result is `return_value`.
    pub async fn xcom(&self, run: RunKey, task_id: &str, map_index: i32, key: &str) -> Result<Option<Value>> {
        let sql = "SELECT x.value FROM task_instance i JOIN xcom x ON x.instance_id = i.id \
                   WHERE i.run_id = $1 AND i.task_id = $2 AND i.map_index = $3 AND x.key = $4";
        let values = values![run, task_id, i64::from(map_index), key];
        let row = sql::one(self.reader(), "read a task's result", sql, values).await?;
        row.map(|row| row.json("value")).transpose()
    }

    /// All of an instance, by key, as they may be shown once they are masked by what is known to be secret now.
    pub async fn xcoms(&self, instance: InstanceKey) -> Result<Vec<(String, Value)>> {
        let sql = "SELECT key, COALESCE(shown, value) AS value FROM xcom WHERE instance_id = $1 ORDER BY key";
        let rows = sql::all(self.reader(), "read a task's results", sql, values![instance]).await?;
        rows.iter().map(|row| Ok((row.text("key")?, row.json("value")?))).collect()
    }
}

/// What earlier tries of these instances left is no result of theirs any more.
pub(crate) async fn forget(tx: &Tx, instances: &[InstanceKey]) -> Result<()> {
    if instances.is_empty() {
        return Ok(());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    let sql = format!("DELETE FROM xcom WHERE instance_id IN (SELECT x_id FROM {source})");
    let ids = sql::column(instances.iter().copied());
    sql::run(&tx.inner, "clear the results of earlier tries", sql, vec![ids]).await.map(|_| ())
}
