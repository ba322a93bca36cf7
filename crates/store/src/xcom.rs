//! Results that tasks leave for others. Written by commits; cleared when the instance starts again.

use millrace_model::change::{InstanceKey, RunKey};
use serde_json::Value;

use crate::sql::values;
use crate::{Result, Store, sql};

impl Store {
    /// The value that a task of the run left under `key`; its own result is `return_value`.
    pub async fn xcom(&self, run: RunKey, task_id: &str, map_index: i32, key: &str) -> Result<Option<Value>> {
        let sql = "SELECT x.value FROM task_instance i JOIN xcom x ON x.instance_id = i.id \
                   WHERE i.run_id = $1 AND i.task_id = $2 AND i.map_index = $3 AND x.key = $4";
        let values = values![run, task_id, i64::from(map_index), key];
        let row = sql::one(self.reader(), "read a task's result", sql, values).await?;
        row.map(|row| row.json("value")).transpose()
    }

    /// All of an instance, by key.
    pub async fn xcoms(&self, instance: InstanceKey) -> Result<Vec<(String, Value)>> {
        let sql = "SELECT key, value FROM xcom WHERE instance_id = $1 ORDER BY key";
        let rows = sql::all(self.reader(), "read a task's results", sql, values![instance]).await?;
        rows.iter().map(|row| Ok((row.text("key")?, row.json("value")?))).collect()
    }

    /// Every result of a run, for templates: task, map index, key, value.
    pub async fn xcoms_of_run(&self, run: RunKey) -> Result<Vec<(String, i32, String, Value)>> {
        let sql = "SELECT i.task_id, i.map_index, x.key, x.value FROM task_instance i \
                   JOIN xcom x ON x.instance_id = i.id WHERE i.run_id = $1 ORDER BY i.id, x.key";
        let rows = sql::all(self.reader(), "read a run's results", sql, values![run]).await?;
        rows.iter()
            .map(|row| Ok((row.text("task_id")?, row.small("map_index")?, row.text("key")?, row.json("value")?)))
            .collect()
    }
}
