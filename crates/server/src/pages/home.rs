//! What needs a person now, over every DAG; then whether all is well, and what comes next.

use std::collections::HashMap;

use axum::extract::{Path, State};
use axum::response::Redirect;
use chrono::{DateTime, TimeDelta, Utc};
use http::HeaderMap;
use millrace_model::alert::AlertKind;
use millrace_model::change::RunKey;
use millrace_model::ids::{DagId, RunId};
use millrace_model::schedule::Schedule;
use millrace_model::state::{RunState, TaskState};
use millrace_store::{AlertFilter, AlertRow, DagRow, DateSpan, InstanceRow, NotificationFilter, RunFilter, RunRow};
use serde::Serialize;
use serde_json::Value;

use super::dags::due_since;
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::api::{SILENT_AFTER, first_line};
use crate::format::{When, count};
use crate::links;
use crate::problem::Answer;
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};
use crate::words::say;

const MOST_FAILURES: usize = 12;
/// Runs that failed lately, of all DAGs.
const MOST_FAILED_RUNS: u64 = 1000;
const MOST_LATE: usize = 8;
const MOST_NEVER: usize = 5;
const MOST_COMING: usize = 10;
const MOST_ALERTS: u64 = 8;
const MOST_JOBS: u64 = 50;
/// A process that vanished longer ago is of no concern any more.
const LOST_LATELY: TimeDelta = TimeDelta::days(1);

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
    /// It has not ended, and may still take long.
    goes_on: bool,
    /// Others of the run that failed too.
    more: usize,
    /// Other runs that failed lately.
    more_runs: usize,
    runs_href: String,
    waiting: usize,
    /// Where it is cleared, by who may.
    change_href: Option<String>,
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

/// A DAG whose next run should have been made by now, or will be within the hour.
#[derive(Serialize)]
struct Coming {
    dag_id: String,
    href: String,
    when: When,
}

/// A DAG that somebody counts on, and that no file gives any more.
#[derive(Serialize)]
struct Gone {
    dag_id: String,
    href: String,
    file: String,
    /// A run of it has not ended.
    goes_on: bool,
}

#[derive(Serialize)]
struct FullPool {
    name: String,
    slots: i64,
    waiting: String,
}

/// Callbacks that were not told.
#[derive(Serialize)]
struct Untold {
    total: u64,
    dag_id: String,
    href: String,
    callee: String,
    event: String,
    error: String,
    when: When,
}

#[derive(Serialize)]
struct Lost {
    kind: String,
    hostname: String,
    pid: u32,
    heard: When,
}

pub(super) async fn page(State(server): State<Shared>, person: Person, headers: HeaderMap) -> Answer {
    let wishes = Wishes::of(&headers);
    if wishes.wants("pulse") {
        return server.page("parts/pulse.html", Some(&person), &wishes, minijinja::context! {}).await;
    }
    let store = server.store();
    let (all, at_work) = server.dags_and_newest().await?;
    let (orphans, dags): (Vec<DagRow>, Vec<DagRow>) = all.into_iter().partition(|row| row.is_stale);
    let gone: Vec<Gone> = orphans.iter().filter_map(gone).collect();
    let now = server.now();
    let lately = now - TimeDelta::hours(24);
    let (failures, failed) = failures(&server, &person, &dags, lately).await?;
    let broken: Vec<Broken> =
        server.import_errors().await?.iter().map(|row| broken(&row.file_path, &row.diagnostics)).collect();
    let alerts = alerts(&server).await?;
    let mut late: Vec<(DateTime<Utc>, &DagRow)> =
        dags.iter().filter_map(|row| Some((due_since(row, &at_work, now)?, row))).collect();
    late.sort_by_key(|(at, _)| *at);
    let late_count = late.len();
    let coming_line = |(at, row): &(DateTime<Utc>, &DagRow)| Coming {
        dag_id: row.dag_id.to_string(),
        href: links::dag(row.dag_id.as_str()),
        when: When::new(*at, now, row.dag.timetable.timezone),
    };
    let late: Vec<Coming> = late.iter().take(MOST_LATE).map(coming_line).collect();
    let (pools, slots_used) = full_pools(&server).await?;
    let lost = lost(&server).await?;
    let untold = untold(&server, lately).await?;
    let mut never = server.never_runs(&dags).await?;
    let never_count = never.len();
    never.truncate(MOST_NEVER);
    let others =
        alerts.len() + late_count + pools.len() + lost.len() + never_count + gone.len() + untold.iter().count();
    let needs = failed + broken.len() + others;
    let needs = values! { failures, failed, broken, alerts, late, late_count, pools, lost, untold, never, never_count, gone, needs };
    if wishes.wants("needs") {
        return server.page("parts/needs.html", Some(&person), &wishes, needs).await;
    }
    let mut coming: Vec<(DateTime<Utc>, &DagRow)> = dags
        .iter()
        .filter(|row| !row.is_paused)
        .filter_map(|row| Some((row.next.as_ref()?.run_after, row)))
        .filter(|(at, _)| *at > now && *at <= now + TimeDelta::hours(1))
        .collect();
    coming.sort_by_key(|(at, _)| *at);
    let coming_count = coming.len();
    let runs_in = async |state: RunState| -> Answer<u64> {
        // Those that have ended are ever more: the ones that ended lately are counted.
        let end_date = DateSpan { from: state.is_finished().then_some(lately), before: None };
        let filter = RunFilter { states: vec![state], end_date, limit: 0, ..RunFilter::default() };
        Ok(store.runs(&filter).await?.total)
    };
    let counts = values! {
        dags => dags.len(),
        paused => dags.iter().filter(|row| row.is_paused).count(),
        running_runs => runs_in(RunState::Running).await?,
        queued_runs => runs_in(RunState::Queued).await?,
        success_runs => runs_in(RunState::Success).await?,
        failed_runs => runs_in(RunState::Failed).await?,
        lately => millrace_model::instant::format_utc_micros(lately),
        running_tasks => slots_used.0,
        waiting_tasks => slots_used.1,
    };
    let page = values! {
        counts,
        coming => coming.iter().take(MOST_COMING).map(coming_line).collect::<Vec<_>>(),
        coming_more => coming_count.saturating_sub(MOST_COMING),
        is_empty => dags.is_empty(),
    };
    server.page("home.html", Some(&person), &wishes, crate::rendering::merged(page, needs)).await
}

/// That it runs no more is news where it would run by itself, or runs at this moment.
fn gone(row: &DagRow) -> Option<Gone> {
    let goes_on = row.last_runs.iter().any(|run| !run.state.is_finished());
    let is_scheduled = !row.is_paused && row.dag.timetable.schedule != Schedule::None;
    (goes_on || is_scheduled).then(|| Gone {
        dag_id: row.dag_id.to_string(),
        href: links::dag(row.dag_id.as_str()),
        file: row.file_path.clone(),
        goes_on,
    })
}

/// Pools without an open slot for which something waits; and how much runs and waits in all of them.
async fn full_pools(server: &Server) -> Answer<(Vec<FullPool>, (i64, i64))> {
    let (rows, used) = (server.store().pools().await?, server.store().pool_use().await?);
    let mut full = Vec::new();
    for row in &rows {
        let used = used.get(&row.name).copied().unwrap_or_default();
        if used.scheduled > 0 && used.open_slots(row).is_some_and(|open| open <= 0) {
            full.push(FullPool {
                name: row.name.clone(),
                slots: row.slots,
                waiting: count(used.scheduled.unsigned_abs()),
            });
        }
    }
    let sums = used
        .values()
        .fold((0, 0), |(running, waiting), used| (running + used.running, waiting + used.queued + used.scheduled));
    Ok((full, sums))
}

/// Processes that went silent without saying so, unless one of their kind took their place.
async fn lost(server: &Server) -> Answer<Vec<Lost>> {
    let now = server.now();
    let rows = server.store().jobs(MOST_JOBS).await?;
    let lives = |kind: &str| rows.iter().any(|row| row.kind == kind && row.state(now, SILENT_AFTER) == "running");
    Ok(rows
        .iter()
        .filter(|row| row.state(now, SILENT_AFTER) == "lost" && now - row.heartbeat_at < LOST_LATELY)
        .filter(|row| row.kind != "task_run" && !lives(&row.kind))
        .map(|row| Lost {
            kind: row.kind.replace('_', " "),
            hostname: row.hostname.clone(),
            pid: row.pid,
            heard: When::new(row.heartbeat_at, now, chrono_tz::UTC),
        })
        .collect())
}

/// Where the run is shown, or the DAG where it is about none.
fn about(dag_id: &DagId, run_id: Option<&RunId>) -> String {
    match run_id {
        Some(run_id) => links::run(dag_id.as_str(), run_id.as_str()),
        None => links::dag(dag_id.as_str()),
    }
}

/// The newest that nobody has seen.
async fn alerts(server: &Server) -> Answer<Vec<AlertLine>> {
    let rows = server.store().alerts(&AlertFilter::unseen(MOST_ALERTS)).await?.rows;
    let line = |row: AlertRow| AlertLine {
        id: row.id,
        href: about(&row.dag_id, row.run_id.as_ref()),
        dag_id: row.dag_id.to_string(),
        kind: row.kind.as_str(),
        message: row.message,
        when: Some(When::new(row.at, server.now(), chrono_tz::UTC)),
    };
    // A file that is broken stands there by itself.
    let is_own = |row: &AlertRow| row.kind != AlertKind::ImportError;
    Ok(rows.into_iter().filter(is_own).map(line).collect())
}

/// Somebody has taken note; it is gone from the list.
pub(super) async fn see_alert(State(server): State<Shared>, person: Person, Path(id): Path<i64>) -> Answer<Redirect> {
    server.store().see_alerts(Some(&[id]), &person.actor(), server.now()).await?;
    Ok(Redirect::to("/"))
}

/// The newest that were given up.
async fn untold(server: &Server, lately: DateTime<Utc>) -> Answer<Option<Untold>> {
    let at = DateSpan { from: Some(lately), before: None };
    let filter = NotificationFilter { only_given_up: true, at, limit: 1, ..NotificationFilter::default() };
    let page = server.store().notifications(&filter).await?;
    Ok(page.rows.first().map(|row| Untold {
        total: page.total,
        dag_id: row.dag_id.to_string(),
        href: about(&row.dag_id, row.run_id.as_ref()),
        callee: row.callee(),
        event: row.event.clone(),
        error: row.error.as_deref().map(|text| first_line(&server.masked_text(text))).unwrap_or_default(),
        when: When::new(row.at, server.now(), chrono_tz::UTC),
    }))
}

/// Those that were given up are told again.
pub(super) async fn tell_again(State(server): State<Shared>, person: Person) -> Answer<Redirect> {
    server.store().retry_notifications(None, &person.actor(), server.now()).await?;
    Ok(Redirect::to("/"))
}

#[derive(Clone, Copy)]
struct FailedRun<'a> {
    /// When it ended; of one that goes on, when the last of its tasks failed.
    at: Option<DateTime<Utc>>,
    key: RunKey,
    run_id: &'a str,
    goes_on: bool,
}

/// A DAG's newest failure, and how many other runs of it have failed.
struct FailedRuns<'a> {
    row: &'a DagRow,
    newest: FailedRun<'a>,
    others: usize,
}

/// DAGs with runs that failed lately and were not run again since, or whose newest finished run failed, or with a run that
/// goes on though a task of it has failed: the newest failure of each, newest first; and how many DAGs there are. That a
/// later date succeeded mends no earlier one.
async fn failures(
    server: &Server,
    person: &Person,
    rows: &[DagRow],
    lately: DateTime<Utc>,
) -> Answer<(Vec<Failure>, usize)> {
    let filter = RunFilter {
        states: vec![RunState::Failed],
        end_date: DateSpan { from: Some(lately), before: None },
        limit: MOST_FAILED_RUNS,
        ..RunFilter::default()
    };
    let recent = server.store().runs(&filter).await?.rows;
    let failing = server.store().failing_runs().await?;
    let mut runs: HashMap<&str, Vec<FailedRun>> = HashMap::new();
    let ended = recent.iter().map(|run| (run, run.end_date));
    for (run, at) in ended.chain(failing.iter().map(|(run, at)| (run, *at))) {
        runs.entry(run.dag_id.as_str()).or_default().push(failed_run(run, at));
    }
    let mut failed: Vec<FailedRuns> = Vec::new();
    for row in rows {
        let mut runs = runs.remove(row.dag_id.as_str()).unwrap_or_default();
        if let Some(run) = row.last_runs.iter().find(|run| run.state.is_finished())
            && run.state == RunState::Failed
            && !runs.iter().any(|known| known.key == run.key)
        {
            runs.push(FailedRun { at: run.end_date, key: run.key, run_id: run.run_id.as_str(), goes_on: false });
        }
        if let Some(&newest) = runs.iter().max_by_key(|run| run.at) {
            let others = runs.iter().filter(|run| run.key != newest.key && !run.goes_on).count();
            failed.push(FailedRuns { row, newest, others });
        }
    }
    failed.sort_by_key(|one| std::cmp::Reverse(one.newest.at));
    let total = failed.len();
    failed.truncate(MOST_FAILURES);
    let keys: Vec<RunKey> = failed.iter().map(|one| one.newest.key).collect();
    let instances = if keys.is_empty() { Vec::new() } else { server.store().instances_of_runs(&keys).await? };
    let mut found = Vec::with_capacity(failed.len());
    for FailedRuns { row, newest, others } in failed {
        let FailedRun { at, key, run_id, goes_on } = newest;
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
            goes_on,
            more: culprits.len().saturating_sub(1),
            more_runs: others,
            runs_href: format!("{}/runs?state=failed", links::dag(dag_id)),
            waiting: of_run.iter().filter(|i| i.state == TaskState::UpstreamFailed).count(),
            change_href: first
                .filter(|_| person.may_on(Act::ChangeRuns, dag_id, &row.dag.tags))
                .map(|first| links::change(dag_id, run_id, first.task_id.as_str())),
        });
    }
    Ok((found, total))
}

fn failed_run(run: &RunRow, at: Option<DateTime<Utc>>) -> FailedRun<'_> {
    FailedRun { at, key: run.key, run_id: run.run_id.as_str(), goes_on: !run.state.is_finished() }
}

fn broken(file: &str, diagnostics: &[Value]) -> Broken {
    let is_error = |one: &&Value| one.get("severity").and_then(Value::as_str) != Some("warning");
    let first = diagnostics.iter().find(is_error).or(diagnostics.first()).cloned().unwrap_or_default();
    let text = |key: &str| first.get(key).and_then(Value::as_str).map(say);
    Broken {
        place: crate::api::import_place(file, &first),
        message: text("message").unwrap_or_else(|| "it cannot be read".to_owned()),
        hint: text("hint"),
        more: diagnostics.len().saturating_sub(1),
    }
}
