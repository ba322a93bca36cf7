//! DAGs.

use axum::Json;
use axum::extract::{Path, Query, State};
use http::StatusCode;
use millrace_store::{DagFilter, DagRow, Page};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Given, Instant, body, instant, listed, optional};
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DagPatch")]
pub(crate) struct PatchBody {
    pub is_paused: bool,
}

pub(crate) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Dags>> {
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
    let is_descending = parameters.order(&["dag_id"])?.is_some_and(|(_, is_descending)| is_descending);
    let page = if is_descending { server.dags_backwards(filter).await? } else { server.store().dags(&filter).await? };
    let shown = if limit == 0 { 0 } else { page.rows.len() };
    let dags = page.rows.iter().take(shown).map(|row| dag_value(&server, row)).collect();
    Ok(Json(Dags { dags, total_entries: page.total }))
}

pub(crate) async fn get(State(server): State<Shared>, Path(dag_id): Path<String>) -> Answer<Json<Dag>> {
    Ok(Json(dag_value(&server, &server.dag_row(&dag_id, 0).await?)))
}

pub(crate) async fn delete(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    person: Person,
) -> Answer<StatusCode> {
    server.delete_dag(&person, &dag_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(crate) async fn patch(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    person: Person,
    given: Given<PatchBody>,
) -> Answer<Json<Dag>> {
    let PatchBody { is_paused } = body(given)?;
    Ok(Json(dag_value(&server, &server.set_paused(&person, &dag_id, is_paused).await?)))
}

impl Server {
    /// They are few, and the store has them by id.
    async fn dags_backwards(&self, filter: DagFilter) -> Answer<Page<DagRow>> {
        let all = self.store().dags(&DagFilter { limit: 0, offset: 0, ..filter.clone() }).await?;
        let rows = all.rows.into_iter().rev().skip(filter.offset as usize).take(filter.limit as usize).collect();
        Ok(Page { rows, total: all.total })
    }
}

listed!(Dags { dags: Dag });

#[derive(Serialize, JsonSchema)]
pub(super) struct DagTag {
    name: String,
    dag_id: String,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Dag {
    dag_id: String,
    dag_display_name: String,
    description: Option<String>,
    is_paused: bool,
    is_stale: bool,
    has_import_errors: bool,
    fileloc: String,
    relative_fileloc: String,
    /// For `PUT /parseDagFile/{file_token}`.
    file_token: String,
    tags: Vec<DagTag>,
    owners: Vec<String>,
    timetable_summary: Value,
    timetable_description: String,
    timezone: String,
    start_date: Option<Instant>,
    end_date: Option<Instant>,
    catchup: bool,
    max_active_runs: u32,
    max_active_tasks: u32,
    /// Defaults, secrets masked.
    params: Value,
    version_number: u32,
    last_parsed_time: Instant,
    next_dagrun_logical_date: Option<Instant>,
    next_dagrun_data_interval_start: Option<Instant>,
    next_dagrun_data_interval_end: Option<Instant>,
    next_dagrun_run_after: Option<Instant>,
}

pub(super) fn dag_value(server: &Server, row: &DagRow) -> Dag {
    let dag = &row.dag;
    let dag_id = row.dag_id.to_string();
    let masker = server.masker_of_dag(dag);
    let tags = dag.tags.iter().map(|tag| DagTag { name: masker.mask(tag), dag_id: dag_id.clone() }).collect();
    let next = row.next.as_ref();
    Dag {
        dag_display_name: dag_id.clone(),
        dag_id,
        description: dag.description.as_deref().map(|text| masker.mask(text)),
        is_paused: row.is_paused,
        is_stale: row.is_stale,
        has_import_errors: row.has_import_error,
        fileloc: row.file_path.clone(),
        relative_fileloc: row.file_path.clone(),
        file_token: row.file_path.clone(),
        tags,
        owners: dag.owner.iter().cloned().collect(),
        timetable_summary: serde_json::json!(dag.schedule_text()),
        timetable_description: dag.describe_schedule(),
        timezone: dag.timetable.timezone.name().to_owned(),
        start_date: optional(dag.start_date),
        end_date: optional(dag.end_date),
        catchup: dag.catchup,
        max_active_runs: dag.max_active_runs,
        max_active_tasks: dag.max_active_tasks,
        params: server.masked_members(&dag.params),
        version_number: row.version_number,
        last_parsed_time: instant(row.last_changed_at),
        next_dagrun_logical_date: optional(next.map(|next| next.logical_date)),
        next_dagrun_data_interval_start: optional(next.map(|next| next.data_interval.start)),
        next_dagrun_data_interval_end: optional(next.map(|next| next.data_interval.end)),
        next_dagrun_run_after: optional(next.map(|next| next.run_after)),
    }
}
