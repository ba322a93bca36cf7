//! One task in a run: what it does, how its tries went, its log, what it moved, why it waits.

use std::collections::BTreeMap;

use axum::extract::{Path, State};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use http::HeaderMap;
use millrace_logs::{LogPage, TryId};
use millrace_model::change::InstanceKey;
use millrace_model::dag::Task;
use millrace_settings::mask::without_escapes;
use millrace_situation::Asked;
use millrace_store::{CheckpointRow, DagRow, InstanceRow, LedgerRow, TryRow};
use serde::Serialize;
use serde_json::Value;

use super::dag::Place;
use super::grid::{GridView, Selected, run_facts};
use super::instances;
use crate::access::person::Person;
use crate::events::may_still_write;
use crate::format::{When, clock, count, length, size, span};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::rendering::{Wishes, values};
use crate::server::{Server, Shared};
use crate::viewer::zone_for;

#[derive(Serialize)]
struct TryTab {
    number: u32,
    href: String,
    state: &'static str,
    took: Option<String>,
    is_shown: bool,
}

#[derive(Serialize)]
struct Progress {
    name: String,
    message: String,
    rows: Option<String>,
    bytes: Option<String>,
    /// Rows a second since the checkpoint before.
    rate: Option<String>,
    left: Option<String>,
    /// For the bar.
    done: Option<u64>,
    total: Option<u64>,
    at: String,
}

#[derive(Serialize)]
struct Movement {
    stage: String,
    source: String,
    target: String,
    rows: Vec<(&'static str, String)>,
    bytes: Option<String>,
    took: String,
    checksum: Option<String>,
    remote: Vec<String>,
}

#[derive(Serialize)]
struct Line {
    number: usize,
    at: String,
    level: &'static str,
    text: String,
}

pub(super) async fn page(
    State(server): State<Shared>,
    person: Person,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    headers: HeaderMap,
    parameters: Parameters,
) -> Answer {
    let wishes = Wishes::of(&headers);
    let run = server.run_row(&dag_id, &run_id).await?;
    let of_task: Vec<InstanceRow> = server.store().instances(run.key).await?;
    let of_task: Vec<InstanceRow> = of_task.into_iter().filter(|it| it.task_id.as_str() == task_id).collect();
    let instance = chosen(&of_task, parameters.number("map_index")?);
    let instance = instance.cloned().ok_or_else(|| Problem::no_task(&dag_id, &task_id))?;
    let index = if instance.map_index < 0 { String::new() } else { format!("&map_index={}", instance.map_index) };
    let row = server.dag_row(&dag_id, 0).await?;
    let (store, now, zone) = (server.store(), server.now(), zone_for(row.dag.timetable.timezone));
    let tries = store.tries(instance.key).await?;
    let newest = tries.last().map_or(instance.try_number, |last| last.try_number);
    let shown = parameters.number::<u32>("try")?.unwrap_or(newest);
    let this = tries.iter().find(|one| one.try_number == shown);
    let id = TryId {
        dag_id: dag_id.clone(),
        run_id: run_id.clone(),
        task_id: task_id.clone(),
        map_index: instance.map_index,
        try_number: shown,
    };
    let (is_live, href) = (shown == newest && may_still_write(instance.state), links::task(&dag_id, &run_id, &task_id));
    let log = server.options.logs.read_page(&id, 0, !is_live).await.map_err(|error| Problem::internal(&error))?;
    let ledger = movements(&server, instance.key, shown).await?;
    let version = store.dag_version(run.version_key).await?;
    let masker = server.masker_of_run(&version, &run);
    let task = version.task(&task_id);
    let waits = !instance.state.is_finished() && !may_still_write(instance.state);
    let why = if waits { Some(server.explain(Asked::Task(&run, &instance)).await?) } else { None };
    let triggered = store.triggered_by(run.key).await?.remove(&instance.key);
    let values = values! {
        kind => "task",
        triggered => triggered.map(|child| values! {
            dag_id => child.dag_id.as_str(),
            run_id => child.run_id.as_str(),
            href => links::run(child.dag_id.as_str(), child.run_id.as_str()),
            state => child.state.as_str(),
        }),
        run => run_facts(&server, &row, &run),
        task => values! {
            task_id,
            href,
            change => links::change(&dag_id, &run_id, &task_id),
            index,
            map_name => (instance.map_index >= 0).then(|| instances::name(&instance)),
            operator => instance.operator,
            state => instance.state.as_str(),
            reason => instance.state_reason,
            try_number => instance.try_number,
            tries => instance.max_tries + 1,
            pool => instance.pool,
            description => task.and_then(|task| task.description.as_deref()).map(|text| masker.mask(&without_escapes(text))),
            depends_on => task.map(|task| upstream(task, &dag_id, &run_id)).unwrap_or_default(),
            trigger_rule => task.map(|task| task.trigger_rule.as_str()),
            next_try => instance.next_try_at.map(|at| When::new(at, now, row.dag.timetable.timezone)),
        },
        attempt => facts(&row, &instance, this, now),
        siblings => siblings(&of_task, &instance, &href, now),
        sibling_counts => instances::counts(&of_task),
        tabs => tabs(&tries, shown, (&href, &index), now),
        shown,
        // Whoever looks at the newest try goes on to the one after it.
        is_earlier => shown != newest,
        error => this.and_then(|one| one.error.as_deref()).map(|text| masker.mask(text)),
        checkpoints => progress(&store.checkpoints(instance.key, Some(shown)).await?, zone),
        ledger,
        results => results(&store.xcoms(instance.key).await?, |value| masker.mask_value(value)),
        rendered => this.and_then(|one| one.rendered.as_ref()).map(|value| rendered(&masker.mask_value(value))),
        why,
        log => log.as_ref().map(|page| lines(page, zone, |text| masker.mask(text))),
        log_zone => zone.name(),
        log_events => format!("{href}/log-events?try={shown}{index}"),
        log_offset => log.as_ref().map_or(0, |page| page.next_offset),
        log_goes_on => is_live || log.as_ref().is_some_and(|page| !page.is_at_end),
        download => download(&id, &index),
        is_live,
    };
    let selected = Selected { run: Some(&run), task: Some(&task_id) };
    server.dag_page(&person, &wishes, Place { row: &row, selected, view: GridView::of(&parameters)? }, values).await
}

/// Of a mapped task, the instance that was asked for, or the one that says most.
fn chosen(of_task: &[InstanceRow], map_index: Option<i32>) -> Option<&InstanceRow> {
    match map_index {
        Some(index) => of_task.iter().find(|it| it.map_index == index),
        None => instances::most_urgent(of_task),
    }
}

/// What a try moved.
async fn movements(server: &Server, instance: InstanceKey, shown: u32) -> Answer<Vec<Movement>> {
    let ledger = server.store().ledger(instance).await?;
    Ok(ledger.iter().filter(|row| row.try_number == shown).map(|row| movement(server, row)).collect())
}

/// The tasks before it, with their addresses.
fn upstream(task: &Task, dag_id: &str, run_id: &str) -> Vec<(String, String)> {
    task.depends_on.iter().map(|id| (id.to_string(), links::task(dag_id, run_id, id.as_str()))).collect()
}

/// Where a try's log is had as a file.
fn download(id: &TryId, index: &str) -> String {
    format!(
        "/api/v1/dags/{}/dagRuns/{}/taskInstances/{}/logs/{}?format=text{}",
        links::segment(&id.dag_id),
        links::segment(&id.run_id),
        links::segment(&id.task_id),
        id.try_number,
        index
    )
}

/// Another instance of the same mapped task.
#[derive(Serialize)]
struct Sibling {
    name: String,
    href: String,
    state: &'static str,
    reason: Option<String>,
    took: Option<String>,
    is_shown: bool,
}

#[derive(Serialize)]
struct Attempt {
    state: &'static str,
    reason: Option<String>,
    queued: Option<When>,
    started: Option<When>,
    ended: Option<When>,
    took: Option<String>,
    owner: Option<String>,
}

fn facts(row: &DagRow, instance: &InstanceRow, this: Option<&TryRow>, now: DateTime<Utc>) -> Attempt {
    let when = |at| When::new(at, now, row.dag.timetable.timezone);
    match this {
        Some(one) => Attempt {
            state: one.state.as_str(),
            reason: one.state_reason.clone(),
            queued: Some(when(one.queued_at)),
            started: one.start_date.map(when),
            ended: one.end_date.map(when),
            took: span(one.start_date, one.end_date, now).map(length),
            owner: Some(one.owner.clone()),
        },
        None => Attempt {
            state: instance.state.as_str(),
            reason: instance.state_reason.clone(),
            queued: instance.queued_at.map(when),
            // One that never ran has no start.
            started: None,
            ended: instance.end_date.map(when),
            took: None,
            owner: None,
        },
    }
}

/// The instances of a mapped task; none of another.
fn siblings(of_task: &[InstanceRow], shown: &InstanceRow, href: &str, now: DateTime<Utc>) -> Vec<Sibling> {
    let line = |row: &InstanceRow| Sibling {
        name: instances::name(row),
        href: format!("{href}?map_index={}", row.map_index),
        state: row.state.as_str(),
        reason: row.state_reason.clone(),
        took: span(row.start_date, row.end_date, now).filter(|_| row.try_number > 0).map(length),
        is_shown: row.key == shown.key,
    };
    if of_task.iter().all(|row| row.map_index < 0) { Vec::new() } else { of_task.iter().map(line).collect() }
}

fn tabs(tries: &[TryRow], shown: u32, (href, index): (&str, &str), now: DateTime<Utc>) -> Vec<TryTab> {
    // A lost worker's try is given again under its number, and writes the same log: one tab.
    let mut newest: BTreeMap<u32, &TryRow> = BTreeMap::new();
    newest.extend(tries.iter().map(|one| (one.try_number, one)));
    newest
        .into_values()
        .map(|one| TryTab {
            number: one.try_number,
            href: format!("{href}?try={}{index}", one.try_number),
            state: one.state.as_str(),
            took: span(one.start_date, one.end_date, now).map(length),
            is_shown: one.try_number == shown,
        })
        .collect()
}

fn progress(rows: &[CheckpointRow], zone: Tz) -> Vec<Progress> {
    let mut before: BTreeMap<&str, &CheckpointRow> = BTreeMap::new();
    let mut shown: Vec<Progress> = Vec::new();
    for row in rows {
        let point = &row.checkpoint;
        let since = before.insert(&point.name, row);
        let per_second = since.and_then(|since| {
            let seconds = (point.at - since.checkpoint.at).num_milliseconds() as f64 / 1000.0;
            let rows = point.rows?.checked_sub(since.checkpoint.rows?)?;
            (seconds > 0.0 && rows > 0).then_some(rows as f64 / seconds)
        });
        let left = match (per_second, point.rows, point.total_rows) {
            (Some(rate), Some(rows), Some(total)) if total > rows => {
                Some(length(chrono::TimeDelta::seconds(((total - rows) as f64 / rate) as i64)))
            }
            _ => None,
        };
        let next = Progress {
            name: point.name.clone(),
            message: point.message.clone(),
            rows: point.rows.map(count),
            bytes: point.bytes.map(size),
            rate: per_second.map(|rate| count(rate as u64)),
            left,
            done: point.rows.filter(|_| point.total_rows.is_some()),
            total: point.total_rows,
            at: clock(point.at, zone),
        };
        // The newest of a name stands for those before it.
        match shown.iter_mut().find(|shown| shown.name == next.name) {
            Some(old) => *old = next,
            None => shown.push(next),
        }
    }
    shown
}

fn movement(server: &Server, row: &LedgerRow) -> Movement {
    let entry = &row.entry;
    let rows = [
        ("read", entry.rows_read),
        ("written", entry.rows_written),
        ("inserted", entry.rows_inserted),
        ("updated", entry.rows_updated),
        ("unchanged", entry.rows_unchanged()),
        ("deleted", entry.rows_deleted),
        ("rejected", entry.rows_rejected),
    ];
    Movement {
        stage: entry.stage.clone(),
        source: server.masked_text(&entry.source),
        target: server.masked_text(&entry.target),
        rows: rows.into_iter().filter_map(|(name, rows)| Some((name, count(rows?)))).collect(),
        bytes: entry.bytes.map(size),
        took: length(entry.ended_at - entry.started_at),
        checksum: entry.checksum.clone(),
        remote: entry.remote_ids.clone(),
    }
}

/// A longer one is cut off: the API has the whole.
const LONGEST_RESULT: usize = 10_000;

/// Key and text of what the task handed on to others.
fn results(rows: &[(String, Value)], mask: impl Fn(&Value) -> Value) -> Vec<(String, String)> {
    let text = |value: &Value| {
        let text = serde_json::to_string_pretty(&mask(value)).unwrap_or_default();
        match text.char_indices().nth(LONGEST_RESULT) {
            Some((end, _)) => format!("{} …", &text[..end]),
            None => text,
        }
    };
    rows.iter().map(|(key, value)| (key.clone(), text(value))).collect()
}

/// Name and text of each parameter.
fn rendered(value: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => serde_json::to_string_pretty(other).unwrap_or_default(),
    };
    match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
        other => vec![("parameters".to_owned(), text(other))],
    }
}

fn lines(page: &LogPage, zone: Tz, mask: impl Fn(&str) -> String) -> Vec<Line> {
    let level = |level| match level {
        millrace_logs::Level::Debug => "debug",
        millrace_logs::Level::Info => "info",
        millrace_logs::Level::Warning => "warning",
        millrace_logs::Level::Error => "error",
    };
    page.lines
        .iter()
        .enumerate()
        .map(|(place, line)| Line {
            number: place + 1,
            at: line.at.map(|at| clock(at, zone)).unwrap_or_default(),
            level: level(line.level),
            text: mask(&without_escapes(&line.text)),
        })
        .collect()
}
