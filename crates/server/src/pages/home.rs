//! What needs a person now, and the list of DAGs.

use axum::extract::{Path, Query, State};
use axum::response::Redirect;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use millrace_model::change::RunKey;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{AlertRow, DagFilter, DagRow, InstanceRow};
use serde::Serialize;
use serde_json::Value;

use super::strip::{Bar, bars};
use crate::api::{first_line, rows_moved};
use crate::format::{When, count, length, span};
use crate::links;
use crate::person::Person;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};

const STRIP: u32 = 14;
const MOST_DAGS: u64 = 200;
const MOST_FAILURES: usize = 8;
const MOST_ALERTS: u64 = 8;
/// A run that should have been created this long ago is late.
const LATE: TimeDelta = TimeDelta::minutes(2);

#[derive(Serialize)]
pub(super) struct Line {
    dag_id: String,
    href: String,
    description: Option<String>,
    tags: Vec<String>,
    is_paused: bool,
    is_stale: bool,
    has_import_error: bool,
    schedule: String,
    strip: Vec<Bar>,
    last: Option<Last>,
    next: Option<When>,
    is_late: bool,
    rows: Option<String>,
}

#[derive(Serialize)]
struct Last {
    href: String,
    state: &'static str,
    when: Option<When>,
    took: Option<String>,
}

#[derive(Serialize)]
struct Failure {
    dag_id: String,
    run_id: String,
    run_href: String,
    task_id: Option<String>,
    href: String,
    error: String,
    when: Option<When>,
    tries: u32,
    /// Others of the run that failed too.
    more: usize,
    waiting: usize,
}

#[derive(Serialize)]
struct AlertLine {
    id: i64,
    dag_id: String,
    href: String,
    kind: &'static str,
    message: String,
    when: Option<When>,
}

#[derive(Serialize)]
struct Broken {
    place: String,
    message: String,
    hint: Option<String>,
    more: usize,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    headers: HeaderMap,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer {
    let wishes = Wishes::of(&headers);
    let parameters = Parameters(parameters);
    let (search, tag) = (parameters.text("q").unwrap_or_default(), parameters.text("tag"));
    let offset = parameters.offset()?;
    let filter = DagFilter {
        search: Some(search.to_owned()).filter(|search| !search.is_empty()),
        tag: tag.map(str::to_owned),
        last_runs: STRIP,
        limit: MOST_DAGS,
        offset,
        ..DagFilter::default()
    };
    let page = server.store().dags(&filter).await?;
    let failures = failures(&server, &page.rows).await?;
    let (failed, shown) = (failures.len(), failures.into_iter().take(MOST_FAILURES).collect::<Vec<_>>());
    let broken: Vec<Broken> =
        server.store().import_errors().await?.iter().map(|row| broken(&row.file_path, &row.diagnostics)).collect();
    let alerts = alerts(&server).await?;
    let is_empty = page.total == 0 && search.is_empty() && tag.is_none();
    let template = if wishes.wants("needs") { "parts/needs.html" } else { "home.html" };
    let lines = if wishes.wants("needs") {
        Vec::new()
    } else {
        let mut lines = Vec::with_capacity(page.rows.len());
        for row in &page.rows {
            lines.push(line(&server, row).await?);
        }
        lines
    };
    let running = page.rows.iter().flat_map(|row| &row.last_runs).filter(|run| run.state == RunState::Running).count();
    let next = Some(offset + MOST_DAGS).filter(|next| *next < page.total);
    let values = values! {
        search, tag, lines, failures => shown, failed, broken, alerts, is_empty, running,
        total => page.total, next_offset => next,
    };
    server.page(template, Some(&person), &wishes, values).await
}

/// The newest that nobody has seen.
async fn alerts(server: &Server) -> Answer<Vec<AlertLine>> {
    let rows = server.store().alerts(true, MOST_ALERTS).await?;
    let line = |row: AlertRow| AlertLine {
        id: row.id,
        href: match &row.run_id {
            Some(run_id) => links::run(row.dag_id.as_str(), run_id.as_str()),
            None => links::dag(row.dag_id.as_str()),
        },
        dag_id: row.dag_id.to_string(),
        kind: row.kind.as_str(),
        message: row.message,
        when: Some(When::new(row.at, server.now(), chrono_tz::UTC)),
    };
    Ok(rows.into_iter().map(line).collect())
}

/// Somebody has taken note; it is gone from the list.
pub(super) async fn see_alert(State(server): State<Shared>, person: Person, Path(id): Path<i64>) -> Answer<Redirect> {
    server.store().see_alerts(Some(&[id]), &person.actor(), server.now()).await?;
    Ok(Redirect::to("/"))
}

/// One row of the list.
pub(super) async fn line(server: &Server, row: &DagRow) -> Answer<Line> {
    let now = server.now();
    let zone = row.dag.timetable.timezone;
    let dag_id = row.dag_id.as_str();
    let last = row.last_runs.first();
    let rows = match last {
        Some(run) => rows_moved(&server.store().ledger_of_run(run.key).await?),
        None => None,
    };
    let next = row.next.as_ref().map(|next| next.run_after).filter(|_| !row.is_paused && !row.is_stale);
    Ok(Line {
        dag_id: dag_id.to_owned(),
        href: links::dag(dag_id),
        description: row.dag.description.clone(),
        tags: row.dag.tags.clone(),
        is_paused: row.is_paused,
        is_stale: row.is_stale,
        has_import_error: row.has_import_error,
        schedule: row.dag.describe_schedule(),
        strip: bars(dag_id, &row.last_runs, now),
        last: last.map(|run| Last {
            href: links::run(dag_id, run.run_id.as_str()),
            state: run.state.as_str(),
            when: run.end_date.or(run.start_date).map(|at| When::new(at, now, zone)),
            took: span(run.start_date, run.end_date, now).map(length),
        }),
        is_late: next.is_some_and(|at| at + LATE < now) && !has_active_run(row),
        next: next.map(|at| When::new(at, now, zone)),
        rows: rows.map(count),
    })
}

/// While one runs, the next may have to wait its turn.
fn has_active_run(row: &DagRow) -> bool {
    row.last_runs.iter().any(|run| !run.state.is_finished())
}

/// DAGs whose newest finished run failed, newest failure first.
async fn failures(server: &Server, rows: &[DagRow]) -> Answer<Vec<Failure>> {
    let mut failed: Vec<(Option<DateTime<Utc>>, &DagRow, RunKey, &str)> = Vec::new();
    for row in rows {
        if let Some(run) = row.last_runs.iter().find(|run| run.state.is_finished())
            && run.state == RunState::Failed
        {
            failed.push((run.end_date, row, run.key, run.run_id.as_str()));
        }
    }
    failed.sort_by_key(|(at, ..)| std::cmp::Reverse(*at));
    let keys: Vec<RunKey> = failed.iter().map(|(_, _, key, _)| *key).take(MOST_FAILURES).collect();
    let instances = if keys.is_empty() { Vec::new() } else { server.store().instances_of_runs(&keys).await? };
    let mut found = Vec::with_capacity(failed.len());
    for (at, row, key, run_id) in failed {
        let of_run: Vec<&InstanceRow> = instances.iter().filter(|instance| instance.run == key).collect();
        let mut culprits: Vec<&&InstanceRow> = of_run.iter().filter(|i| i.state == TaskState::Failed).collect();
        culprits.sort_by_key(|instance| instance.end_date);
        let first = culprits.first();
        let error = match first {
            Some(first) => server.store().tries(first.key).await?.pop().and_then(|last| last.error),
            None => None,
        };
        let error = error.or_else(|| first.and_then(|first| first.state_reason.clone()));
        let dag_id = row.dag_id.as_str();
        let run_href = links::run(dag_id, run_id);
        found.push(Failure {
            dag_id: dag_id.to_owned(),
            run_id: run_id.to_owned(),
            href: first.map_or_else(|| run_href.clone(), |first| links::task(dag_id, run_id, first.task_id.as_str())),
            run_href,
            task_id: first.map(|first| first.task_id.to_string()),
            error: error.map(|text| first_line(&server.options.vault.masker().mask(&text))).unwrap_or_default(),
            when: at.map(|at| When::new(at, server.now(), row.dag.timetable.timezone)),
            tries: first.map_or(0, |first| first.try_number),
            more: culprits.len().saturating_sub(1),
            waiting: of_run.iter().filter(|i| i.state == TaskState::UpstreamFailed).count(),
        });
    }
    Ok(found)
}

fn broken(file: &str, diagnostics: &[Value]) -> Broken {
    let is_error = |one: &&Value| one.get("severity").and_then(Value::as_str) != Some("warning");
    let first = diagnostics.iter().find(is_error).or(diagnostics.first()).cloned().unwrap_or_default();
    let text = |key: &str| first.get(key).and_then(Value::as_str).map(str::to_owned);
    Broken {
        place: crate::api::import_place(file, &first),
        message: text("message").unwrap_or_else(|| "it cannot be read".to_owned()),
        hint: text("hint"),
        more: diagnostics.len().saturating_sub(1),
    }
}
