//! Runs of a DAG.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::{HeaderMap, StatusCode};
use millrace_model::ids::DagId;
use millrace_model::state::RunType;
use millrace_store::{RunFilter, RunOrder, RunRow};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::asked::asked;
use super::sources::DagVersion;
use super::update_mask::UpdateMask;
use super::{Given, Instant, body, duration, instant, listed, optional};
use crate::access::person::Person;
use crate::deeds::actions::{IDEMPOTENCY_KEY, TriggerBody};
use crate::deeds::changes::{ClearRunBody, PatchRunBody, RepinBody, RepinnedRun};
use crate::intake;
use crate::links;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::{Server, Shared};

pub(crate) async fn list(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    parameters: Parameters,
) -> Answer<Json<DagRuns>> {
    listed_runs(&server, &dag_id, &parameters).await.map(Json)
}

asked! {
    /// As Airflow's clients send it. Dates are in RFC 3339; what is left out asks for nothing.
    ListBody as "DagRunsBatch" {
        dag_ids: Vec<String>,
        /// queued, running, success, failed
        #[serde(rename(serialize = "state"))]
        states: Vec<String>,
        run_type: String,
    }
}

pub(crate) async fn list_asked(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    given: Given<ListBody>,
) -> Answer<Json<DagRuns>> {
    listed_runs(&server, &dag_id, &Parameters::of_body(&body(given)?)).await.map(Json)
}

/// As in Airflow, `~` means the runs of every DAG, or of those that `dag_ids` names.
async fn listed_runs(server: &Server, dag_id: &str, parameters: &Parameters) -> Answer<DagRuns> {
    let (limit, offset) = parameters.page()?;
    if dag_id != "~" {
        server.dag_row(dag_id, 0).await?;
    }
    let dag_ids = parameters.named_or("dag_ids", dag_id)?.into_iter().map(DagId::new_unchecked).collect();
    let (order, ascending) = order(parameters)?;
    let filter = RunFilter {
        dag_ids,
        id_part: parameters.part("run_id_pattern"),
        states: parameters.run_states()?,
        run_type: parameters.run_type()?,
        logical_date: parameters.span("logical_date")?,
        run_after: parameters.span("run_after")?,
        start_date: parameters.span("start_date")?,
        end_date: parameters.span("end_date")?,
        duration_from: parameters.length("duration_gte")?,
        duration_to: parameters.length("duration_lte")?,
        order,
        ascending,
        limit,
        offset,
        ..RunFilter::default()
    };
    let page = server.store().runs(&filter).await?;
    let dag_runs = page.rows.iter().map(|run| run_value(server, run)).collect();
    Ok(DagRuns { dag_runs, total_entries: page.total })
}

/// By what runs are asked for, and whether the least comes first; unless told, the newest does.
pub(crate) fn order(parameters: &Parameters) -> Answer<(RunOrder, bool)> {
    Ok(match parameters.order(ORDERS)? {
        None => (RunOrder::default(), false),
        Some((name, is_descending)) => (RunOrder::parse(name).unwrap_or_default(), !is_descending),
    })
}

/// What runs can be ordered by.
pub(super) const ORDERS: &[&str] = RunOrder::NAMES;

listed!(DagRuns { dag_runs: DagRun });

#[derive(Serialize, JsonSchema)]
pub(crate) struct DagRun {
    dag_run_id: String,
    dag_id: String,
    dag_display_name: String,
    run_type: &'static str,
    state: &'static str,
    state_reason: Option<String>,
    logical_date: Instant,
    data_interval_start: Instant,
    data_interval_end: Instant,
    run_after: Instant,
    queued_at: Option<Instant>,
    start_date: Option<Instant>,
    end_date: Option<Instant>,
    /// Seconds.
    duration: Option<f64>,
    /// timetable, asset, backfill, cli, ui, rest_api (webhooks, too), operator (by a task)
    triggered_by: &'static str,
    /// Who or what that was: a person's name, `webhook:` and its name, or the task.
    triggering_user_name: Option<String>,
    /// Always empty; `dagVersions` lists those of the DAG.
    dag_versions: Vec<DagVersion>,
    /// Secrets masked.
    conf: Value,
    note: Option<String>,
    clear_number: u32,
    href: String,
    page: String,
    /// Why it does not begin at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    notice: Option<String>,
}

pub(crate) async fn get(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
) -> Answer<Json<DagRun>> {
    Ok(Json(run_value(&server, &server.run_row(&dag_id, &run_id).await?)))
}

pub(crate) async fn trigger(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    person: Person,
    headers: HeaderMap,
    given: Given<TriggerBody>,
) -> Answer<Json<DagRun>> {
    let key = intake::text(&headers, &IDEMPOTENCY_KEY)?;
    let (run, dag, _) = server.trigger(&person, &dag_id, body(given)?, key).await?;
    let mut value = run_value(&server, &run);
    if dag.is_paused {
        value.notice = Some(format!("DAG {dag_id} is paused; the run is queued and starts once the DAG is unpaused"));
    }
    Ok(Json(value))
}

pub(crate) async fn patch(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
    person: Person,
    parameters: Parameters,
    given: Given<PatchRunBody>,
) -> Answer<Json<DagRun>> {
    let (given, mask) = (body(given)?, UpdateMask::of(&parameters, &["state", "note"])?);
    let given = PatchRunBody { state: mask.kept("state", given.state), note: mask.kept("note", given.note) };
    Ok(Json(run_value(&server, &server.patch_run(&person, &dag_id, &run_id, given).await?)))
}

pub(crate) async fn delete(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
    person: Person,
) -> Answer<StatusCode> {
    server.delete_run(&person, &dag_id, &run_id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A dry run lists what would be cleared; otherwise the answer is the run as it is then.
pub(crate) async fn clear(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
    person: Person,
    given: Given<ClearRunBody>,
) -> Answer {
    let body = body(given)?;
    let dry_run = body.dry_run;
    let cleared = server.clear_run(&person, &dag_id, &run_id, body).await?;
    if dry_run {
        return Ok(Json(server.cleared(&dag_id, cleared).await?).into_response());
    }
    Ok(Json(run_value(&server, &server.run_row(&dag_id, &run_id).await?)).into_response())
}

pub(crate) async fn repin(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
    person: Person,
    given: Given<RepinBody>,
) -> Answer<Json<RepinnedRun>> {
    Ok(Json(server.repin(&person, &dag_id, &run_id, body(given)?.dry_run).await?))
}

/// In Airflow's words, which say how; who it was stands beside.
fn trigger_of(run: &RunRow) -> (&'static str, Option<String>) {
    let (how, who) = match run.triggered_by.split_once(':') {
        Some((how, who)) => (how, Some(who.to_owned())),
        None => (run.triggered_by.as_str(), None),
    };
    match (run.run_type, how) {
        (RunType::Scheduled, "scheduler") => ("timetable", None),
        (RunType::AssetTriggered, _) => ("asset", None),
        (RunType::Backfill, _) => ("backfill", who),
        (_, "web") => ("ui", who),
        (_, "rest") => ("rest_api", who),
        (_, "webhook") => ("rest_api", Some(run.triggered_by.clone())),
        (_, "cli" | "demo") => ("cli", who),
        _ => ("operator", Some(run.triggered_by.clone())),
    }
}

pub(super) fn run_value(server: &Server, run: &RunRow) -> DagRun {
    let (dag_id, run_id) = (run.dag_id.as_str(), run.run_id.as_str());
    let (triggered_by, triggering_user_name) = trigger_of(run);
    DagRun {
        dag_run_id: run_id.to_owned(),
        dag_id: dag_id.to_owned(),
        dag_display_name: dag_id.to_owned(),
        run_type: run.run_type.as_str(),
        state: run.state.as_str(),
        state_reason: run.state_reason.clone(),
        logical_date: instant(run.logical_date),
        data_interval_start: instant(run.data_interval.start),
        data_interval_end: instant(run.data_interval.end),
        run_after: instant(run.run_after),
        queued_at: optional(run.queued_at),
        start_date: optional(run.start_date),
        end_date: optional(run.end_date),
        duration: duration(run.start_date, run.end_date),
        triggered_by,
        triggering_user_name,
        dag_versions: Vec::new(),
        conf: server.masked_conf(&run.conf, &run.triggered_by),
        note: server.note_of(run),
        clear_number: run.clear_number,
        href: links::api_run(dag_id, run_id),
        page: links::run(dag_id, run_id),
        notice: None,
    }
}
