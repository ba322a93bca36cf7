//! DAGs.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use millrace_store::{DagFilter, DagRow};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{body, instant, optional};
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PatchBody {
    is_paused: bool,
}

pub(crate) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let tags = parameters.all("tags");
    if tags.len() > 1 {
        return Err(Problem::invalid("parameter 'tags' may be given once"));
    }
    let filter = DagFilter {
        // Airflow's pattern is SQL's; here any part of the id does.
        search: parameters.text("dag_id_pattern").map(|text| text.trim_matches('%').to_owned()),
        tag: tags.first().map(|tag| (*tag).to_owned()),
        is_paused: parameters.flag("paused")?,
        include_stale: !parameters.flag("exclude_stale")?.unwrap_or(true),
        last_runs: 0,
        // 0 means "all" to the store.
        limit: limit.max(1),
        offset,
    };
    let page = server.store().dags(&filter).await?;
    let shown = if limit == 0 { 0 } else { page.rows.len() };
    let dags: Vec<Value> = page.rows.iter().take(shown).map(dag_value).collect();
    Ok(Json(json!({"dags": dags, "total_entries": page.total})))
}

pub(crate) async fn get(State(server): State<Shared>, Path(dag_id): Path<String>) -> Answer<Json<Value>> {
    Ok(Json(dag_value(&server.dag_row(&dag_id, 0).await?)))
}

pub(crate) async fn patch(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    person: Person,
    given: Result<Json<PatchBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    let PatchBody { is_paused } = body(given)?;
    Ok(Json(dag_value(&server.set_paused(&person, &dag_id, is_paused).await?)))
}

fn dag_value(row: &DagRow) -> Value {
    let dag = &row.dag;
    let tags: Vec<Value> = dag.tags.iter().map(|tag| json!({"name": tag, "dag_id": row.dag_id})).collect();
    let next = row.next.as_ref();
    json!({
        "dag_id": row.dag_id,
        "dag_display_name": row.dag_id,
        "description": dag.description,
        "is_paused": row.is_paused,
        "is_stale": row.is_stale,
        "has_import_errors": row.has_import_error,
        "fileloc": row.file_path,
        "relative_fileloc": row.file_path,
        "tags": tags,
        "owners": dag.owner.iter().collect::<Vec<_>>(),
        "timetable_summary": dag.schedule_text(),
        "timetable_description": dag.describe_schedule(),
        "timezone": dag.timetable.timezone.name(),
        "start_date": optional(dag.start_date),
        "end_date": optional(dag.end_date),
        "catchup": dag.catchup,
        "max_active_runs": dag.max_active_runs,
        "max_active_tasks": dag.max_active_tasks,
        "params": dag.params,
        "version_number": row.version_number,
        "last_parsed_time": instant(row.last_changed_at),
        "next_dagrun_logical_date": optional(next.map(|next| next.logical_date)),
        "next_dagrun_data_interval_start": optional(next.map(|next| next.data_interval.start)),
        "next_dagrun_data_interval_end": optional(next.map(|next| next.data_interval.end)),
        "next_dagrun_run_after": optional(next.map(|next| next.run_after)),
    })
}
