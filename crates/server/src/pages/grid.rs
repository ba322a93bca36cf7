//! Runs as columns, tasks and their groups as rows.

mod rows;

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::asset::AssetEvent;
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::graph::Graph;
use millrace_model::ids::TaskId;
use millrace_store::{DagRow, InstanceRow, LedgerRow, RunFilter, RunRow};
use serde::Serialize;

pub(super) use self::rows::GridView;
use self::rows::{Row, Window, window};
use super::instances::{counts, most_urgent, urgency};
use super::strip::{height, title};
use crate::api::rows_moved;
use crate::format::{When, count, length, span, words};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::query::FARTHEST;
use crate::server::Server;
use crate::viewer::zone_for;
use crate::words::{fill, t};

const USUAL_RUNS: u64 = 25;
pub(super) const MOST_RUNS: u64 = 100;
/// Instances that are read for a grid: of a DAG with very many tasks fewer runs are shown.
const MOST_READ: usize = 60_000;
const FEWEST_RUNS: u64 = 3;

#[derive(Serialize, Default)]
pub(super) struct Grid {
    pub runs: Vec<Column>,
    pub tasks: Vec<Line>,
    pub total: u64,
    /// Of very many rows, which are shown.
    pub window: Option<Window>,
    /// What of the grid stands behind an address.
    pub query: String,
    /// Behind an address: more runs.
    pub more: Option<(u64, String)>,
    /// Behind an address: the runs before these, and those after them.
    pub older: Option<String>,
    pub newer: Option<String>,
    /// The longest run, as the scale of the bars.
    pub longest: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Column {
    run_id: String,
    href: String,
    state: &'static str,
    run_type: &'static str,
    height: i64,
    title: String,
    /// The day or the time of day, above every fifth.
    label: Option<String>,
    is_selected: bool,
}

#[derive(Serialize)]
pub(super) struct Line {
    /// Of a task or a group.
    name: String,
    /// The operator, or how many tasks there are.
    what: String,
    /// For the indentation.
    depth: usize,
    /// Of a group: whether the rows in it follow, and behind an address what turns that round.
    is_open: Option<bool>,
    turn: Option<String>,
    is_removed: bool,
    is_selected: bool,
    cells: Vec<Cell>,
}

#[derive(Serialize)]
pub(super) struct Cell {
    /// None: the run's version had no such task.
    href: Option<String>,
    run_id: String,
    state: &'static str,
    title: String,
    is_selected: bool,
}

/// What the address selects.
#[derive(Default, Clone, Copy)]
pub(super) struct Selected<'a> {
    pub run: Option<&'a RunRow>,
    pub task: Option<&'a str>,
}

impl Server {
    pub(super) async fn grid(&self, row: &DagRow, selected: Selected<'_>, view: &GridView) -> Answer<Grid> {
        let most = (MOST_READ / row.dag.tasks.len().max(1)) as u64;
        let most = MOST_RUNS.min(most.max(FEWEST_RUNS));
        let limit = view.runs.unwrap_or(USUAL_RUNS).clamp(1, most);
        let past = view.past.unwrap_or_default().min(FARTHEST);
        let filter = RunFilter { dag_ids: vec![row.dag_id.clone()], limit, offset: past, ..RunFilter::default() };
        let page = self.store().runs(&filter).await?;
        let mut runs = page.rows;
        runs.reverse();
        let older = past.saturating_add(limit);
        let has_older = page.total > older;
        // One that is too old for the grid stands first in it while it is looked at, one that is too new last.
        if let Some(run) = selected.run
            && !runs.iter().any(|shown| shown.key == run.key)
        {
            let is_newer = runs.last().is_some_and(|last| last.run_after < run.run_after);
            runs.insert(if is_newer { runs.len() } else { 0 }, run.clone());
        }
        let keys: Vec<RunKey> = runs.iter().map(|run| run.key).collect();
        let instances = if keys.is_empty() { Vec::new() } else { self.store().instances_of_runs(&keys).await? };
        let ledger = if keys.is_empty() { Vec::new() } else { self.store().ledger_of_runs(&keys).await? };
        let mut moved: HashMap<InstanceKey, Vec<LedgerRow>> = HashMap::new();
        for (_, row) in ledger {
            moved.entry(row.instance).or_default().push(row);
        }
        let moved = moved.iter().filter_map(|(key, rows)| Some((*key, rows_moved(rows)?))).collect();
        let graph = Graph::of(&row.dag).map_err(|error| Problem::internal(&error))?;
        let has_more = limit < most && has_older;
        Ok(Grid {
            total: page.total,
            query: view.query(),
            older: has_older.then(|| view.with_past(older).query()),
            newer: (past > 0).then(|| view.with_past(past.saturating_sub(limit)).query()),
            more: has_more.then(|| (most, view.with_runs(most).query())),
            ..draw((row, &graph), &runs, (&instances, &moved), (selected, view), self.now())
        })
    }
}

/// A column for each run, and how long the longest took.
fn columns(
    row: &DagRow,
    runs: &[RunRow],
    selected: Selected<'_>,
    now: DateTime<Utc>,
) -> (Vec<Column>, Option<TimeDelta>) {
    let zone = zone_for(row.dag.timetable.timezone);
    let spans: Vec<_> = runs.iter().map(|run| span(run.start_date, run.end_date, now)).collect();
    let longest = spans.iter().flatten().max().copied();
    let selected_run = selected.run.map(|run| run.key);
    let count = runs.len();
    // Days, unless there are several runs a day.
    let is_daily =
        runs.windows(2).all(|pair| (pair[1].logical_date - pair[0].logical_date).abs() >= TimeDelta::hours(20));
    let label = if is_daily { t("%b %-d") } else { "%H:%M" };
    let column = |(place, (run, span)): (usize, (&RunRow, &Option<TimeDelta>))| Column {
        run_id: run.run_id.to_string(),
        href: links::run(row.dag_id.as_str(), run.run_id.as_str()),
        state: run.state.as_str(),
        run_type: run.run_type.as_str(),
        height: height(*span, longest.unwrap_or_default()),
        title: title(run.run_id.as_str(), run.state, *span),
        label: (count - 1 - place)
            .is_multiple_of(5)
            .then(|| run.logical_date.with_timezone(&zone).format(label).to_string()),
        is_selected: selected_run == Some(run.key) && selected.task.is_none(),
    };
    (runs.iter().zip(&spans).enumerate().map(column).collect(), longest)
}

fn draw(
    (row, graph): (&DagRow, &Graph),
    runs: &[RunRow],
    (instances, moved): (&[InstanceRow], &HashMap<InstanceKey, u64>),
    (selected, view): (Selected<'_>, &GridView),
    now: DateTime<Utc>,
) -> Grid {
    let selected_run = selected.run.map(|run| run.key);
    let (columns, longest) = columns(row, runs, selected, now);
    let mut cells: HashMap<(RunKey, &str), &InstanceRow> = HashMap::with_capacity(instances.len());
    for instance in instances {
        // Of a mapped task, the one that says most.
        let cell = cells.entry((instance.run, instance.task_id.as_str())).or_insert(instance);
        if urgency(instance.state) > urgency(cell.state) {
            *cell = instance;
        }
    }
    let mut rows = rows::rows(&row.dag, graph, view, selected.task);
    let known: HashSet<&TaskId> = row.dag.tasks.iter().map(|task| &task.task_id).collect();
    let mut gone: HashMap<&str, &str> = HashMap::new();
    for instance in instances.iter().rev().filter(|instance| !known.contains(&instance.task_id)) {
        if gone.insert(instance.task_id.as_str(), &instance.operator).is_none() {
            let name = instance.task_id.to_string();
            rows.push(Row { name, depth: 0, is_open: None, turn: None, tasks: Vec::new() });
        }
    }
    let looked_at = selected.task.and_then(|id| rows.iter().position(|row| row.is_open.is_none() && row.name == id));
    let window = window(rows.len(), runs.len(), view, looked_at);
    if let Some(window) = &window {
        rows = rows.drain(window.first - 1..window.last).collect();
    }
    let cell = |run: &RunRow, line: &Row| {
        let of_group =
            || line.tasks.iter().filter_map(|task| cells.get(&(run.key, row.dag.tasks[*task].task_id.as_str())));
        let instance = match line.is_open {
            None => cells.get(&(run.key, line.name.as_str())).copied(),
            Some(_) => most_urgent(of_group().copied()),
        };
        let title = |instance: &InstanceRow| match line.is_open {
            None => cell_title(instance, run, moved.get(&instance.key).copied(), now),
            Some(_) => group_title(&line.name, &counts(of_group().copied()), run),
        };
        let is_task = line.is_open.is_none();
        Cell {
            // Of a group: the task in it that says most.
            href: instance.map(|it| links::task(row.dag_id.as_str(), run.run_id.as_str(), it.task_id.as_str())),
            run_id: run.run_id.to_string(),
            state: instance.map_or("absent", |instance| instance.state.as_str()),
            title: instance.map(title).unwrap_or_default(),
            is_selected: is_task && selected_run == Some(run.key) && selected.task == Some(line.name.as_str()),
        }
    };
    let what = |line: &Row| match (line.is_open, line.tasks.first()) {
        (Some(_), _) => fill("{n} tasks", &[("n", &line.tasks.len().to_string())]),
        (None, Some(task)) => row.dag.tasks[*task].operator.clone(),
        (None, None) => gone.get(line.name.as_str()).map_or_else(String::new, |operator| (*operator).to_owned()),
    };
    let tasks = rows
        .iter()
        .map(|line| Line {
            cells: runs.iter().map(|run| cell(run, line)).collect(),
            is_selected: line.is_open.is_none() && selected.task == Some(line.name.as_str()),
            what: what(line),
            name: line.name.clone(),
            depth: line.depth,
            is_open: line.is_open,
            turn: line.turn.clone(),
            is_removed: line.tasks.is_empty(),
        })
        .collect();
    Grid { runs: columns, tasks, window, longest: longest.map(length), ..Grid::default() }
}

/// `load: 12 success, 1 failed`
fn group_title(name: &str, counts: &[(&str, usize)], run: &RunRow) -> String {
    let counts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {}", words(state))).collect();
    format!("{name}: {}\n{}", counts.join(", "), run.run_id)
}

fn cell_title(instance: &InstanceRow, run: &RunRow, rows: Option<u64>, now: DateTime<Utc>) -> String {
    let mut text = format!("{}: {}", instance.task_id, words(instance.state.as_str()));
    if instance.try_number > 0 {
        text.push_str(&format!(", try {} of {}", instance.try_number, instance.max_tries + 1));
        if let Some(span) = span(instance.start_date, instance.end_date, now) {
            text.push_str(&format!(", {}", length(span)));
        }
    }
    if let Some(rows) = rows {
        text.push_str(&format!(", {}", fill("{n} rows", &[("n", &count(rows))])));
    }
    text.push_str(&format!("\n{}", run.run_id));
    text
}

/// The facts of a run that its page and its tasks' pages show.
#[derive(Serialize)]
pub(super) struct RunFacts {
    pub run_id: String,
    pub href: String,
    pub state: &'static str,
    pub reason: Option<String>,
    pub run_type: &'static str,
    pub triggered_by: String,
    pub logical_date: When,
    pub interval_start: When,
    pub interval_end: When,
    pub run_after: When,
    pub started: Option<When>,
    pub ended: Option<When>,
    pub took: Option<String>,
    pub conf: Option<String>,
    pub note: Option<String>,
    /// What called for it, the newest first.
    pub assets: Vec<AssetLine>,
    /// Of those, how many are not shown.
    pub more_assets: usize,
}

/// Something that happened to an asset.
#[derive(Serialize)]
pub(super) struct AssetLine {
    asset: String,
    at: When,
    /// The run that brought it up to date, and its DAG.
    by: Option<(String, String)>,
}

const MOST_ASSETS: usize = 10;

fn asset_line(event: &AssetEvent, when: impl Fn(DateTime<Utc>) -> When) -> AssetLine {
    let run = event.dag_id.as_ref().zip(event.run_id.as_ref());
    AssetLine {
        asset: event.asset.to_string(),
        at: when(event.at),
        by: run.map(|(dag_id, run_id)| (dag_id.to_string(), links::run(dag_id.as_str(), run_id.as_str()))),
    }
}

pub(super) fn run_facts(server: &Server, row: &DagRow, run: &RunRow) -> RunFacts {
    let (now, zone) = (server.now(), row.dag.timetable.timezone);
    let when = |at| When::new(at, now, zone);
    RunFacts {
        run_id: run.run_id.to_string(),
        href: links::run(row.dag_id.as_str(), run.run_id.as_str()),
        state: run.state.as_str(),
        reason: run.state_reason.clone(),
        run_type: run.run_type.as_str(),
        triggered_by: run.triggered_by.clone(),
        logical_date: when(run.logical_date),
        interval_start: when(run.data_interval.start),
        interval_end: when(run.data_interval.end),
        run_after: when(run.run_after),
        started: run.start_date.map(when),
        ended: run.end_date.map(when),
        took: span(run.start_date, run.end_date, now).map(length),
        conf: (!run.conf.is_empty()).then(|| {
            serde_json::to_string_pretty(&server.masked_conf(&run.conf, &run.triggered_by)).unwrap_or_default()
        }),
        note: server.note_of(run),
        assets: run.asset_events.iter().rev().take(MOST_ASSETS).map(|event| asset_line(event, when)).collect(),
        more_assets: run.asset_events.len().saturating_sub(MOST_ASSETS),
    }
}
