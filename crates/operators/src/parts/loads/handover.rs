//! What a task tells the next one through its result.

use std::collections::BTreeMap;

use millrace_operator_api::ports::ValueType;
use millrace_operator_api::{TaskContext, TaskError};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::parts::files::mark::FileShape;
use crate::parts::files::type_codes;
use crate::parts::reads::incremental::Since;
use crate::parts::reads::longest::LongTexts;
use crate::parts::reads::treatment::Personal;

/// The result of `extract`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFile {
    /// Its name in the run's scratch folder.
    pub file: String,
    pub rows: u64,
    pub bytes: u64,
    /// `sha256:<hex>`.
    pub checksum: String,
    pub shape: FileShape,
    /// Columns with times that stand in an hour which their clocks skipped: two of them may have become one moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// The longest text of each column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub longest: LongTexts,
    /// With `lookback`, where the interval began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

/// The result of `upload`, `sql_to_s3`, `s3_put` and `unload`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenObject {
    pub bucket: String,
    pub key: String,
    /// `s3://bucket/key`.
    pub url: String,
    /// `None` when the object came from a file of which only the bytes are known.
    pub rows: Option<u64>,
    pub bytes: u64,
    /// `sha256:<hex>`; `None` when there are several parts.
    pub checksum: Option<String>,
    /// How many objects hold the rows, when the key is that of their list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parts: Option<usize>,
    /// What the store calls these bytes (without quotes): another object at the key has another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// The names of the columns, in the order of the fields; empty where they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Options by which COPY reads the objects, where these don't say it themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copy_options: Vec<String>,
    /// What their values are; empty where that is not known.
    #[serde(default, with = "type_codes", skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<ValueType>,
    /// Columns of the source whose values were not written as they are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub personal: BTreeMap<String, Personal>,
    /// As in [`WrittenFile`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<String>,
    /// As in [`WrittenFile`].
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub longest: LongTexts,
    /// As in [`WrittenFile`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Since>,
}

impl WrittenFile {
    pub async fn pull(context: &TaskContext, task_id: &str) -> Result<Self, TaskError> {
        pull(context, task_id, "extract").await
    }
}

impl WrittenObject {
    pub async fn pull(context: &TaskContext, task_id: &str) -> Result<Self, TaskError> {
        pull(context, task_id, "sql_to_s3, upload or unload").await
    }
}

async fn pull<T: DeserializeOwned>(context: &TaskContext, task_id: &str, operators: &str) -> Result<T, TaskError> {
    let found = context.results.pull(task_id, "return_value").await?;
    let value = found.ok_or_else(|| {
        TaskError::Fail(format!(
            "from_task: task '{task_id}' has no result in this run; name a task with {operators}, and add it to depends_on"
        ))
    })?;
    serde_json::from_value(value).map_err(|error| {
        TaskError::Fail(format!("from_task: the result of task '{task_id}' is not that of {operators} ({error})"))
    })
}
