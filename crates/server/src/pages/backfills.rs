//! The backfills of a DAG: those there were, how far they are, and a form that lists its dates before it makes one.

pub(super) mod all;
mod lines;

use axum::Form;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Redirect};
use chrono::{DateTime, Utc};
use http::HeaderMap;
use millrace_situation::PreparedBackfill;
use millrace_store::BackfillReport;
use serde::Serialize;
use serde_json::{Map, Value};

use self::lines::lines;
use super::head::Tab;
use crate::access::person::Person;
use crate::deeds::backfills::{BackfillBody, outcome};
use crate::format::{When, sentence};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::Shared;
use crate::words::say;

/// Dates that the page lists.
const MOST_LISTED: usize = 400;

#[derive(Serialize)]
struct Date {
    day: String,
    outcome: &'static str,
    reason: Option<String>,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let row = server.dag_row(&dag_id, 0).await?;
    let (now, zone) = (server.now(), row.dag.timetable.timezone);
    let rows = server.store().backfills(Some(&row.dag_id)).await?;
    let is_asked = parameters.text("from").is_some() && parameters.text("to").is_some();
    // What is wrong with the wish is said beside the form, which keeps what was typed.
    let plan = if is_asked {
        Some(match asked(&dag_id, &parameters) {
            Ok(body) => server.look_at_backfill(&person, body).await,
            Err(problem) => Err(problem),
        })
    } else {
        None
    };
    let (plan, problem) = match plan {
        None => (None, None),
        Some(Ok(plan)) => (Some(plan), None),
        Some(Err(problem)) => (None, Some(sentence(&say(&problem.detail)))),
    };
    let (prepared, report) = plan.unzip();
    let warnings = prepared.as_ref().map(|it| it.warnings.iter().map(|text| sentence(&say(text))).collect::<Vec<_>>());
    let text = |name: &str| parameters.owned(name).unwrap_or_default();
    let on = |name: &str| parameters.text(name).is_some();
    let values = values! {
        dag => server.dag_head(&row, Tab::Backfills),
        dag_id,
        dag_href => links::dag(&dag_id),
        href => links::backfills(&dag_id),
        schedule => say(&row.dag.describe_schedule()),
        lines => lines(&server, &rows, zone).await?,
        problem,
        dates => report.as_ref().map(|report| dates(report, |at| When::new(at, now, zone).local)),
        more => report.as_ref().map_or(0, |report| report.dates.len().saturating_sub(MOST_LISTED)),
        warnings => warnings.unwrap_or_default(),
        only => prepared.as_ref().and_then(PreparedBackfill::task_ids),
        run_count => report.as_ref().map_or(0, BackfillReport::run_count),
        form => values! {
            from => text("from"), to => text("to"), end => on("end"),
            reprocess => parameters.text("reprocess").unwrap_or("none"),
            runs => parameters.text("runs").map_or_else(|| row.dag.max_active_runs.to_string(), str::to_owned),
            tasks => text("tasks"), upstream => on("upstream"), downstream => on("downstream"),
            reverse => on("reverse"), conf => text("conf"), bounds => on("bounds"),
        },
    };
    let wishes = Wishes::of(&headers);
    let template = if wishes.wants("backfills") {
        "parts/backfills.html"
    } else if wishes.wants("count") {
        "parts/backfill_count.html"
    } else {
        "backfills.html"
    };
    server.page(template, Some(&person), &wishes, values).await
}

pub(super) async fn create(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    Form(parameters): Form<Vec<(String, String)>>,
) -> Answer {
    let body = asked(&dag_id, &Parameters(parameters))?;
    server.create_backfill(&person, body).await?;
    Ok(Redirect::to(&links::backfills(&dag_id)).into_response())
}

pub(super) async fn act(
    State(server): State<Shared>,
    person: Person,
    Path((dag_id, key, action)): Path<(String, i64, String)>,
    Form(fields): Form<Vec<(String, String)>>,
) -> Answer {
    if server.backfill_row(key).await?.dag_id.as_str() != dag_id {
        return Err(Problem::invalid(format!("backfill {key} is not one of {dag_id}")));
    }
    match action.as_str() {
        "pause" => server.pause_backfill(&person, key, true).await?,
        "unpause" => server.pause_backfill(&person, key, false).await?,
        "cancel" => server.cancel_backfill(&person, key).await?,
        other => return Err(Problem::invalid(format!("a backfill is paused, unpaused or cancelled, not '{other}'"))),
    };
    let is_of_all = Parameters(fields).text("of") == Some("all");
    let back = if is_of_all { "/backfills".to_owned() } else { links::backfills(&dag_id) };
    Ok(Redirect::to(&back).into_response())
}

fn dates(report: &BackfillReport, local: impl Fn(DateTime<Utc>) -> String) -> Vec<Date> {
    let date = |date: &millrace_store::BackfillDate| {
        let (outcome, reason) = outcome(date);
        Date { day: local(date.logical_date), outcome, reason: reason.map(str::to_owned) }
    };
    report.dates.iter().take(MOST_LISTED).map(date).collect()
}

fn asked(dag_id: &str, parameters: &Parameters) -> Answer<BackfillBody> {
    let on = |name: &str| parameters.text(name).is_some();
    let conf: Option<Map<String, Value>> = match parameters.owned("conf").filter(|text| !text.trim().is_empty()) {
        None => None,
        Some(text) => Some(serde_json::from_str(&text).map_err(|error| {
            Problem::invalid(format!("the configuration must be a JSON object like {{\"key\": \"value\"}}: {error}"))
        })?),
    };
    Ok(BackfillBody {
        dag_id: dag_id.to_owned(),
        from_date: parameters.owned("from").unwrap_or_default(),
        to_date: parameters.owned("to").unwrap_or_default(),
        to_inclusive: on("end"),
        run_backwards: on("reverse"),
        dag_run_conf: conf,
        reprocess_behavior: parameters.owned("reprocess"),
        max_active_runs: parameters.filled_number("runs")?,
        tasks: parameters.owned("tasks"),
        include_upstream: on("upstream"),
        include_downstream: on("downstream"),
        ignore_bounds: on("bounds"),
        run_on_latest_version: None,
    })
}
