//! What tasks left for others, under Airflow's name.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use axum::Json;
use axum::extract::{Path, State};
use millrace_model::change::RunKey;
use millrace_model::error_code::ErrorCode;
use millrace_settings::Masker;
use millrace_store::{RunRow, XcomFilter};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::asked::{MOST_COUNTED, in_all};
use super::instances::instance_of;
use super::{Instant, instant, listed};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

listed! {
    /// Counted to 10,000: `total_entries` says of more that another page follows.
    XcomEntries { xcom_entries: XcomEntry }
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct XcomEntry {
    pub key: String,
    pub dag_id: String,
    dag_display_name: String,
    pub dag_run_id: String,
    /// The same, under Airflow's name.
    run_id: String,
    pub task_id: String,
    task_display_name: String,
    pub map_index: i32,
    logical_date: Instant,
    run_after: Instant,
    /// When it was left.
    timestamp: Instant,
    /// Secrets masked.
    pub value: Value,
}

type Names = (String, String, String);

/// Of every DAG, run or task that `~` stands for; the newest first.
pub(super) async fn list(
    State(server): State<Shared>,
    Path(names): Path<Names>,
    parameters: Parameters,
) -> Answer<Json<XcomEntries>> {
    let (limit, offset) = parameters.page()?;
    let mut map_index = parameters.number::<i32>("map_index")?;
    if ![&names.0, &names.1, &names.2].contains(&&"~".to_owned()) {
        let index = *map_index.get_or_insert(-1);
        instance_of(&server, &names.0, &names.1, &names.2, index).await?;
    }
    let given = |name: &String| Some(name.clone()).filter(|name| name != "~");
    let filter = XcomFilter {
        dag_id: given(&names.0),
        run_id: given(&names.1),
        task_id: given(&names.2),
        map_index,
        key: parameters.owned("xcom_key"),
        limit: limit + 1,
        offset,
    };
    if let Some(dag_id) = &filter.dag_id {
        server.dag_row(dag_id, 0).await?;
    }
    let mut xcom_entries = found(&server, &filter).await?;
    let counted = server.store().count_xcoms(&filter, MOST_COUNTED).await?;
    let total_entries = in_all(counted, offset, xcom_entries.len());
    xcom_entries.truncate(limit as usize);
    Ok(Json(XcomEntries { xcom_entries, total_entries }))
}

/// Whatever matches, secrets masked.
pub(crate) async fn found(server: &Server, filter: &XcomFilter) -> Answer<Vec<XcomEntry>> {
    let mut runs: HashMap<RunKey, (RunRow, Masker)> = HashMap::new();
    let mut entries = Vec::new();
    for it in server.store().list_xcoms(filter).await? {
        let (run, masker) = match runs.entry(it.run) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                // Deleted meanwhile.
                let Some(run) = server.store().run_by_key(it.run).await? else { continue };
                let masker = server.masker_of_run(&*server.store().dag_version(run.version_key).await?, &run);
                place.insert((run, masker))
            }
        };
        entries.push(XcomEntry {
            key: it.key,
            dag_id: run.dag_id.to_string(),
            dag_display_name: run.dag_id.to_string(),
            dag_run_id: run.run_id.to_string(),
            run_id: run.run_id.to_string(),
            task_id: it.task_id.to_string(),
            task_display_name: it.task_id.to_string(),
            map_index: it.map_index,
            logical_date: instant(run.logical_date),
            run_after: instant(run.run_after),
            timestamp: instant(it.at),
            value: masker.mask_value(&it.value),
        });
    }
    Ok(entries)
}

pub(super) async fn get(
    State(server): State<Shared>,
    Path((dag_id, run_id, task_id, key)): Path<(String, String, String, String)>,
    parameters: Parameters,
) -> Answer<Json<XcomEntry>> {
    let map_index = parameters.number::<i32>("map_index")?.unwrap_or(-1);
    instance_of(&server, &dag_id, &run_id, &task_id, map_index).await?;
    let filter = XcomFilter {
        dag_id: Some(dag_id),
        run_id: Some(run_id),
        task_id: Some(task_id.clone()),
        map_index: Some(map_index),
        key: Some(key.clone()),
        limit: 1,
        ..XcomFilter::default()
    };
    let missing = || Problem::new(ErrorCode::NOT_FOUND, format!("task {task_id} left nothing under '{key}'"));
    Ok(Json(found(&server, &filter).await?.pop().ok_or_else(missing)?))
}
