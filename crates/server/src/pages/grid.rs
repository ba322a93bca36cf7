//! Runs as columns, tasks as rows.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::RunKey;
use millrace_model::graph::Graph;
use millrace_model::ids::TaskId;
use millrace_model::state::TaskState;
use millrace_store::{DagRow, InstanceRow, RunFilter, RunRow};
use serde::Serialize;

use super::instances::urgency;
use super::strip::{height, title};
use crate::format::{When, length, span, words};
use crate::links;
use crate::problem::{Answer, Problem};
use crate::server::Server;

const USUAL_RUNS: u64 = 25;
pub(super) const MOST_RUNS: u64 = 100;
const DEEPEST: usize = 6;

#[derive(Serialize)]
pub(super) struct Grid {
    pub runs: Vec<Column>,
    pub tasks: Vec<Line>,
    pub total: u64,
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
    task_id: String,
    operator: String,
    /// How many tasks lie before it at the least, for the indentation.
    depth: usize,
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
    /// `2/3` while it waits to be tried again.
    tries: Option<String>,
    is_selected: bool,
}

/// What the address selects.
#[derive(Default, Clone, Copy)]
pub(super) struct Selected<'a> {
    pub run: Option<&'a RunRow>,
    pub task: Option<&'a str>,
}

impl Server {
    pub(super) async fn grid(&self, row: &DagRow, selected: Selected<'_>, runs: Option<u64>) -> Answer<Grid> {
        let limit = runs.unwrap_or(USUAL_RUNS).clamp(1, MOST_RUNS);
        let filter = RunFilter { dag_ids: vec![row.dag_id.clone()], limit, ..RunFilter::default() };
        let page = self.store().runs(&filter).await?;
        let mut runs = page.rows;
        runs.reverse();
        // One that is too old for the grid stands first in it while it is looked at.
        if let Some(run) = selected.run
            && !runs.iter().any(|shown| shown.key == run.key)
        {
            runs.insert(0, run.clone());
        }
        let keys: Vec<RunKey> = runs.iter().map(|run| run.key).collect();
        let instances = if keys.is_empty() { Vec::new() } else { self.store().instances_of_runs(&keys).await? };
        let graph = Graph::of(&row.dag).map_err(|error| Problem::internal(&error))?;
        Ok(draw(row, &graph, &runs, &instances, selected, page.total, self.now()))
    }
}

fn draw(
    row: &DagRow,
    graph: &Graph,
    runs: &[RunRow],
    instances: &[InstanceRow],
    selected: Selected<'_>,
    total: u64,
    now: DateTime<Utc>,
) -> Grid {
    let zone = row.dag.timetable.timezone;
    let spans: Vec<_> = runs.iter().map(|run| span(run.start_date, run.end_date, now)).collect();
    let longest = spans.iter().flatten().max().copied();
    let selected_run = selected.run.map(|run| run.key);
    let count = runs.len();
    // Days, unless there are several runs a day.
    let is_daily =
        runs.windows(2).all(|pair| (pair[1].logical_date - pair[0].logical_date).abs() >= TimeDelta::hours(20));
    let label = if is_daily { "%b %-d" } else { "%H:%M" };
    let columns = runs
        .iter()
        .zip(&spans)
        .enumerate()
        .map(|(place, (run, span))| Column {
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
        })
        .collect();
    let mut cells: HashMap<(RunKey, &str), &InstanceRow> = HashMap::with_capacity(instances.len());
    for instance in instances {
        // Of a mapped task, the one that says most.
        let cell = cells.entry((instance.run, instance.task_id.as_str())).or_insert(instance);
        if urgency(instance.state) > urgency(cell.state) {
            *cell = instance;
        }
    }
    let depths = depths(graph);
    let known: HashSet<&TaskId> = row.dag.tasks.iter().map(|task| &task.task_id).collect();
    let mut lines: Vec<(String, String, usize, bool)> = graph
        .order
        .iter()
        .map(|index| {
            let task = &row.dag.tasks[*index];
            (task.task_id.to_string(), task.operator.clone(), depths[*index].min(DEEPEST), false)
        })
        .collect();
    let mut gone = HashSet::new();
    for instance in instances.iter().rev().filter(|instance| !known.contains(&instance.task_id)) {
        if gone.insert(&instance.task_id) {
            lines.push((instance.task_id.to_string(), instance.operator.clone(), 0, true));
        }
    }
    let cell = |run: &RunRow, task_id: &str| {
        let instance = cells.get(&(run.key, task_id));
        Cell {
            href: instance.map(|_| links::task(row.dag_id.as_str(), run.run_id.as_str(), task_id)),
            run_id: run.run_id.to_string(),
            state: instance.map_or("absent", |instance| instance.state.as_str()),
            title: instance.map(|instance| cell_title(instance, run, now)).unwrap_or_default(),
            tries: instance
                .filter(|instance| instance.state == TaskState::UpForRetry)
                .map(|instance| format!("{}/{}", instance.try_number, instance.max_tries + 1)),
            is_selected: selected_run == Some(run.key) && selected.task == Some(task_id),
        }
    };
    let tasks = lines
        .into_iter()
        .map(|(task_id, operator, depth, is_removed)| Line {
            cells: runs.iter().map(|run| cell(run, &task_id)).collect(),
            is_selected: selected.task == Some(task_id.as_str()),
            task_id,
            operator,
            depth,
            is_removed,
        })
        .collect();
    Grid { runs: columns, tasks, total, longest: longest.map(length) }
}

fn cell_title(instance: &InstanceRow, run: &RunRow, now: DateTime<Utc>) -> String {
    let mut text = format!("{}: {}", instance.task_id, words(instance.state.as_str()));
    if instance.try_number > 0 {
        text.push_str(&format!(", try {} of {}", instance.try_number, instance.max_tries + 1));
        if let Some(span) = span(instance.start_date, instance.end_date, now) {
            text.push_str(&format!(", {}", length(span)));
        }
    }
    text.push_str(&format!("\n{}", run.run_id));
    text
}

/// Of each task: the longest way to it from a task without upstreams.
fn depths(graph: &Graph) -> Vec<usize> {
    let mut depths = vec![0; graph.upstream.len()];
    for index in &graph.order {
        depths[*index] = graph.upstream[*index].iter().map(|before| depths[*before] + 1).max().unwrap_or(0);
    }
    depths
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
        conf: (!run.conf.is_empty())
            .then(|| serde_json::to_string_pretty(&server.masked_members(&run.conf)).unwrap_or_default()),
        note: server.note_of(run),
    }
}
