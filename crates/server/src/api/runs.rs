//! Runs of a DAG.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use http::HeaderMap;
use millrace_store::{RunFilter, RunRow};
use serde_json::{Value, json};

use super::{body, duration, instant, optional};
use crate::actions::TriggerBody;
use crate::changes::{ClearRunBody, PatchRunBody, touched_value};
use crate::links;
use crate::person::Person;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::Shared;

pub(crate) async fn list(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    // As in Airflow, `~` means the runs of every DAG.
    let dag_id = match dag_id.as_str() {
        "~" => None,
        _ => Some(server.dag_row(&dag_id, 0).await?.dag_id),
    };
    let filter = RunFilter {
        dag_id,
        states: parameters.run_states()?,
        run_type: parameters.run_type()?,
        limit,
        offset,
        ..RunFilter::default()
    };
    let page = server.store().runs(&filter).await?;
    let runs: Vec<Value> = page.rows.iter().map(run_value).collect();
    Ok(Json(json!({"dag_runs": runs, "total_entries": page.total})))
}

pub(crate) async fn get(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    Ok(Json(run_value(&server.run_row(&dag_id, &run_id).await?)))
}

pub(crate) async fn trigger(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    person: Person,
    headers: HeaderMap,
    given: Result<Json<TriggerBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let (run, dag) = server.trigger(&person, &dag_id, body(given)?, key).await?;
    let mut value = run_value(&run);
    if dag.is_paused
        && let Value::Object(fields) = &mut value
    {
        let text = format!("DAG {dag_id} is paused; the run is queued and starts once the DAG is unpaused");
        fields.insert("notice".to_owned(), Value::String(text));
    }
    Ok(Json(value))
}

pub(crate) async fn patch(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
    person: Person,
    given: Result<Json<PatchRunBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    Ok(Json(run_value(&server.patch_run(&person, &dag_id, &run_id, body(given)?).await?)))
}

/// A dry run lists what would be cleared; otherwise the answer is the run as it is then.
pub(crate) async fn clear(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
    person: Person,
    given: Result<Json<ClearRunBody>, JsonRejection>,
) -> Answer<Json<Value>> {
    let body = body(given)?;
    let dry_run = body.dry_run;
    let report = server.clear_run(&person, &dag_id, &run_id, body).await?;
    if dry_run {
        return Ok(Json(touched_value(&dag_id, &report.cleared, &report.runs)));
    }
    Ok(Json(run_value(&server.run_row(&dag_id, &run_id).await?)))
}

fn run_value(run: &RunRow) -> Value {
    let (dag_id, run_id) = (run.dag_id.as_str(), run.run_id.as_str());
    json!({
        "dag_run_id": run_id,
        "dag_id": dag_id,
        "dag_display_name": dag_id,
        "run_type": run.run_type.as_str(),
        "state": run.state.as_str(),
        "state_reason": run.state_reason,
        "logical_date": instant(run.logical_date),
        "data_interval_start": instant(run.data_interval.start),
        "data_interval_end": instant(run.data_interval.end),
        "run_after": instant(run.run_after),
        "queued_at": optional(run.queued_at),
        "start_date": optional(run.start_date),
        "end_date": optional(run.end_date),
        "duration": duration(run.start_date, run.end_date),
        "triggered_by": run.triggered_by,
        "conf": run.conf,
        "note": run.note,
        "clear_number": run.clear_number,
        "href": links::api_run(dag_id, run_id),
        "page": links::run(dag_id, run_id),
    })
}
