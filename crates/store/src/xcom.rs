//! Results that tasks leave for others. Written by commits; cleared when the instance starts again.

use millrace_model::change::{InstanceKey, RunKey};
use serde_json::Value;

use crate::{Result, Store};

impl Store {
    /// The value that a task of the run left under `key`; its own result is `return_value`.
    pub async fn xcom(&self, run: RunKey, task_id: &str, map_index: i32, key: &str) -> Result<Option<Value>> {
        todo!("{run} {task_id} {map_index} {key}")
    }

    /// All of an instance, by key.
    pub async fn xcoms(&self, instance: InstanceKey) -> Result<Vec<(String, Value)>> {
        todo!("{instance}")
    }
}
