//! DAGs.

use std::cmp::Ordering;

use axum::Json;
use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use http::StatusCode;
use millrace_model::schedule::Schedule;
use millrace_model::state::RunState;
use millrace_store::{DagFilter, DagRow, RunSummary};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::update_mask::UpdateMask;
use super::{Given, Instant, body, cut, instant, listed, optional};
use crate::access::person::Person;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "DagPatch")]
pub(crate) struct PatchBody {
    pub is_paused: bool,
}

/// The members of a body.
pub(super) const MEMBERS: &[&str] = &["is_paused"];

pub(crate) const ORDERS: &[&str] = &["dag_id", "next_dagrun", "last_run_state", "last_run_start_date"];

pub(crate) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Dags>> {
    let page = parameters.page()?;
    let choice = Choice::of(&parameters)?;
    let filter = DagFilter {
        search: parameters.part("dag_id_pattern"),
        is_paused: parameters.flag("paused")?,
        include_stale: !parameters.flag("exclude_stale")?.unwrap_or(true),
        last_runs: u32::from(choice.looks_at_runs()),
        ..DagFilter::default()
    };
    // They are few.
    let mut rows = server.store().dags(&filter).await?.rows;
    rows.retain(|row| choice.has(row));
    if let Some(order) = choice.order {
        // Of equal ones the order of the ids stays.
        rows.sort_by(|one, other| compare(order, one, other));
    }
    let (rows, total_entries) = cut(rows, page);
    let dags = rows.iter().map(|row| dag_value(&server, row)).collect();
    Ok(Json(Dags { dags, total_entries }))
}

/// Which DAGs, beside what the store chooses by, and in which order.
struct Choice {
    tags: Vec<String>,
    with_all_tags: bool,
    owners: Vec<String>,
    states: Vec<RunState>,
    /// A DAG is shown by its id.
    name_part: Option<String>,
    has_import_errors: Option<bool>,
    order: Option<(&'static str, bool)>,
}

impl Choice {
    fn of(parameters: &Parameters) -> Answer<Self> {
        let texts = |name: &str| parameters.all(name).into_iter().map(str::to_owned).collect();
        let with_all_tags = match parameters.text("tags_match_mode") {
            None | Some("any") => false,
            Some("all") => true,
            Some(text) => {
                let text: String = text.chars().take(40).collect();
                return Err(Problem::invalid(format!("parameter 'tags_match_mode' must be any or all, not '{text}'")));
            }
        };
        Ok(Self {
            tags: texts("tags"),
            with_all_tags,
            owners: texts("owners"),
            states: parameters.run_states_of("last_dag_run_state")?,
            name_part: parameters.part("dag_display_name_pattern").map(|part| part.to_lowercase()),
            has_import_errors: parameters.flag("has_import_errors")?,
            order: parameters.order(ORDERS)?,
        })
    }

    fn looks_at_runs(&self) -> bool {
        !self.states.is_empty() || self.order.is_some_and(|(name, _)| name.starts_with("last_run"))
    }

    fn has(&self, row: &DagRow) -> bool {
        let has_tag = |tag: &String| row.dag.tags.contains(tag);
        let tagged = if self.with_all_tags { self.tags.iter().all(has_tag) } else { self.tags.iter().any(has_tag) };
        let owned = row.dag.owner.as_ref().is_some_and(|owner| self.owners.contains(owner));
        let last = RunSummary::latest(&row.last_runs).is_some_and(|run| self.states.contains(&run.state));
        let named = self.name_part.as_ref().is_none_or(|part| row.dag_id.as_str().to_lowercase().contains(part));
        let broken = self.has_import_errors.is_none_or(|wanted| wanted == row.has_import_error);
        (self.tags.is_empty() || tagged)
            && named
            && broken
            && (self.owners.is_empty() || owned)
            && (self.states.is_empty() || last)
    }
}

/// Two DAGs by one of [`ORDERS`], and whether it goes down. What has none comes first.
pub(crate) fn compare((name, is_descending): (&str, bool), one: &DagRow, other: &DagRow) -> Ordering {
    fn next(row: &DagRow) -> Option<DateTime<Utc>> {
        row.next.as_ref().map(|next| next.run_after)
    }
    fn last(row: &DagRow) -> Option<&RunSummary> {
        RunSummary::latest(&row.last_runs)
    }
    let state = |row| last(row).map(|run| run.state.as_str());
    let start = |row| last(row).and_then(|run| run.start_date);
    let order = match name {
        "next_dagrun" => next(one).cmp(&next(other)),
        "last_run_state" => state(one).cmp(&state(other)),
        "last_run_start_date" => start(one).cmp(&start(other)),
        _ => one.dag_id.as_str().cmp(other.dag_id.as_str()),
    };
    if is_descending { order.reverse() } else { order }
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
    parameters: Parameters,
    given: Given<PatchBody>,
) -> Answer<Json<Dag>> {
    let PatchBody { is_paused } = body(given)?;
    UpdateMask::of(&parameters, MEMBERS)?;
    Ok(Json(dag_value(&server, &server.set_paused(&person, &dag_id, is_paused).await?)))
}

listed!(Dags { dags: Dag });

#[derive(Serialize, JsonSchema)]
pub(super) struct DagTag {
    name: String,
    dag_id: String,
    dag_display_name: String,
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
    /// The same, as Airflow's details have it.
    concurrency: u32,
    /// 0: it is not paused by itself.
    max_consecutive_failed_dag_runs: u32,
    has_task_concurrency_limits: bool,
    /// It has a schedule with dates in the past.
    is_backfillable: bool,
    timetable_periodic: bool,
    /// Never: Airflow has it.
    timetable_partitioned: bool,
    /// Never: Airflow has it.
    render_template_as_native_obj: bool,
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
    let tag =
        |tag: &String| DagTag { name: masker.mask(tag), dag_id: dag_id.clone(), dag_display_name: dag_id.clone() };
    let tags = dag.tags.iter().map(tag).collect();
    let timetable_periodic = matches!(dag.timetable.schedule, Schedule::Cron { .. } | Schedule::Delta(_));
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
        owners: dag.owner.iter().map(|owner| masker.mask(owner)).collect(),
        timetable_summary: serde_json::json!(dag.schedule_text()),
        timetable_description: dag.describe_schedule(),
        timezone: dag.timetable.timezone.name().to_owned(),
        start_date: optional(dag.start_date),
        end_date: optional(dag.end_date),
        catchup: dag.catchup,
        max_active_runs: dag.max_active_runs,
        max_active_tasks: dag.max_active_tasks,
        concurrency: dag.max_active_tasks,
        max_consecutive_failed_dag_runs: dag.max_consecutive_failed_dag_runs,
        has_task_concurrency_limits: dag
            .tasks
            .iter()
            .any(|task| task.max_active_tis_per_dag.is_some() || task.max_active_tis_per_dagrun.is_some()),
        is_backfillable: timetable_periodic || matches!(dag.timetable.schedule, Schedule::Events(_)),
        timetable_periodic,
        timetable_partitioned: false,
        render_template_as_native_obj: false,
        params: server.masked_members(&dag.params),
        version_number: row.version_number,
        last_parsed_time: instant(row.last_changed_at),
        next_dagrun_logical_date: optional(next.map(|next| next.logical_date)),
        next_dagrun_data_interval_start: optional(next.map(|next| next.data_interval.start)),
        next_dagrun_data_interval_end: optional(next.map(|next| next.data_interval.end)),
        next_dagrun_run_after: optional(next.map(|next| next.run_after)),
    }
}
