//! `millrace dags …`: looking at DAGs and their runs. Starting runs is in `runs`.

use std::collections::HashMap;

use millrace_dagfile::{Diagnostic, Severity};
use millrace_model::dag::Dag;
use millrace_model::graph::Graph;
use millrace_model::instant::format_utc_micros;
use millrace_model::param;
use millrace_model::pool::PoolFault;
use millrace_model::schedule::PlannedRun;
use millrace_model::state::RunState;
use millrace_planner::next_runs;
use millrace_store::{DagFilter, DagListRow, DagRow, RunFilter, Store};
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::args::{DagsCommand, ListDagsArgs, ManyDagsArgs};
use crate::commands::{backfills, changes, dag_test, delete, explain, plan, runs};
use crate::dag_files;
use crate::failure::usage;
use crate::lookup::{self, optional_time};
use crate::output::{Format, counted, listed, notice, print_list, print_one, print_text};

pub async fn run(app: &App, command: DagsCommand) -> anyhow::Result<()> {
    // A test makes no database.
    let command = match command {
        DagsCommand::Test(args) => return Box::pin(dag_test::run(app, args)).await,
        other => other,
    };
    let store = app.store().await?;
    match command {
        DagsCommand::Test(_) => Ok(()),
        DagsCommand::List(wanted) => list(app, &store, &wanted).await,
        DagsCommand::Show { dag_id } => show(app, &store, &lookup::dag(app, &store, &dag_id).await?).await,
        DagsCommand::Trigger(args) => runs::trigger(app, &store, args).await,
        DagsCommand::Backfill(args) => backfills::create(app, &store, args).await,
        DagsCommand::Clear(args) => changes::clear_runs(app, &store, args).await,
        DagsCommand::RerunFailed(args) => changes::rerun_failed(app, &store, args).await,
        DagsCommand::Mark(args) => changes::mark_run(app, &store, args).await,
        DagsCommand::Note(args) => changes::note(app, &store, args).await,
        DagsCommand::Repin(args) => changes::repin(app, &store, args).await,
        DagsCommand::Pause(dags) => set_paused(app, &store, &dags, true).await,
        DagsCommand::Unpause(dags) => set_paused(app, &store, &dags, false).await,
        DagsCommand::Delete { dag_id, run_id, care } => {
            delete::run(app, &store, (&dag_id, run_id.as_deref()), &care).await
        }
        DagsCommand::ListRuns { dag_id, state, limit } => list_runs(app, &store, dag_id.as_deref(), state, limit).await,
        DagsCommand::State { dag_id, run } => {
            let row = lookup::dag(app, &store, &dag_id).await?;
            let run = lookup::run(&store, &row.dag, &run).await?;
            match app.format {
                Format::Table | Format::Plain => print_text(run.state.as_str()),
                _ => {
                    app.learn_secrets(&store).await?;
                    print_one(app.format, &runs::RunView::of(app, &run))
                }
            }
        }
        DagsCommand::NextExecution { dag_id, num_executions, from } => {
            let row = lookup::dag(app, &store, &dag_id).await?;
            plan::next_execution(app, &store, &row, num_executions, from.as_deref()).await
        }
        DagsCommand::Explain { dag_id, run } => explain::dag(app, &dag_id, run.as_deref()).await,
        DagsCommand::Plan { dag_id, hours, limit } => plan::plan(app, &store, dag_id.as_deref(), hours, limit).await,
        DagsCommand::Slots { dag_id, limit } => plan::slots(app, &store, &dag_id, limit).await,
        DagsCommand::ListImportErrors => list_import_errors(app, &store).await,
    }
}

#[derive(Serialize)]
struct DagView {
    dag_id: String,
    fileloc: String,
    owner: Option<String>,
    is_paused: bool,
    has_import_errors: bool,
    /// Its file is gone.
    is_stale: bool,
    schedule: String,
    timezone: String,
    tags: Vec<String>,
    /// When the next run may start; nothing while paused.
    next_run: Option<String>,
    next_logical_date: Option<String>,
    last_run_state: Option<RunState>,
    description: Option<String>,
}

impl DagView {
    fn of(row: DagListRow, next: Option<PlannedRun>) -> Self {
        Self {
            dag_id: row.dag_id.to_string(),
            fileloc: row.file_path,
            owner: row.head.owner,
            is_paused: row.is_paused,
            has_import_errors: row.has_import_error,
            is_stale: row.is_stale,
            schedule: row.head.schedule,
            timezone: row.head.timezone,
            tags: row.head.tags,
            next_run: next.map(|run| format_utc_micros(run.run_after)),
            next_logical_date: next.map(|run| format_utc_micros(run.logical_date)),
            last_run_state: row.last_run.map(|run| run.state),
            description: row.head.description,
        }
    }
}

fn is_wanted(row: &DagListRow, wanted: &ListDagsArgs) -> bool {
    let part = wanted.search.as_ref().map(|search| search.to_lowercase());
    part.is_none_or(|part| row.dag_id.as_str().to_lowercase().contains(&part))
        && wanted.tag.as_ref().is_none_or(|tag| row.head.tags.contains(tag))
        && (row.is_paused || !wanted.paused)
        && (!row.is_paused || !wanted.unpaused)
}

async fn list(app: &App, store: &Store, wanted: &ListDagsArgs) -> anyhow::Result<()> {
    dag_files::sync(app, store).await?;
    let now = app.now();
    let mut rows = store.dag_list().await?;
    rows.retain(|row| is_wanted(row, wanted));
    // Those that would run by themselves, and do not any more.
    let ends = |row: &&DagListRow| row.is_stale && !row.is_paused && row.head.has_timetable;
    let gone: Vec<String> = rows.iter().filter(ends).map(|row| row.dag_id.to_string()).collect();
    if !gone.is_empty() && !wanted.all {
        notice(format!(
            "scheduled, but their files are gone: {}; put the files back, or pause them (`--all` lists them, too)",
            listed(&gone)
        ));
    }
    rows.retain(|row| wanted.all || !row.is_stale);
    // Only when a DAG has no stored pointer, so hardly ever.
    let needs_intervals = rows.iter().any(asks_timetable);
    let previous = if needs_intervals { store.last_automated_intervals().await? } else { HashMap::default() };
    let mut views = Vec::with_capacity(rows.len());
    for row in rows {
        let next = if asks_timetable(&row) {
            let dag = store.dag_version(row.version_key).await?;
            next_runs(&dag, previous.get(&row.dag_id), now).next()
        } else {
            row.next.filter(|_| !row.is_paused && !row.is_stale)
        };
        views.push(DagView::of(row, next));
    }
    let broken = store.import_errors().await?.len();
    if broken > 0 {
        notice(format!("{} could not be read: `millrace dags list-import-errors`", counted(broken, "DAG file")));
    }
    let mut columns = vec!["dag_id", "fileloc", "owner", "is_paused", "schedule", "next_run", "last_run_state"];
    if wanted.all {
        columns.insert(4, "is_stale");
    }
    print_list(app.format, &columns, &views)
}

/// Whether no scheduler has said yet when it runs next.
fn asks_timetable(row: &DagListRow) -> bool {
    !row.is_paused && row.next.is_none() && row.head.has_timetable
}

async fn show(app: &App, store: &Store, row: &DagRow) -> anyhow::Result<()> {
    let dag = &row.dag;
    app.learn_secrets(store).await?;
    let masker = app.masker.beside(&[&param::defaults(&dag.params)]);
    if matches!(app.format, Format::Json | Format::Yaml) {
        let shown =
            json!({"dag": &**dag, "version": row.version_number, "is_paused": row.is_paused, "fileloc": row.file_path});
        return print_one(app.format, &masker.mask_value(&shown));
    }
    let mut text = format!("{} (version {}, {})\n", dag.dag_id, row.version_number, row.file_path);
    if let Some(description) = &dag.description {
        text.push_str(&format!("{}\n", masker.mask(description)));
    }
    let paused = if row.is_paused { ", paused" } else { "" };
    text.push_str(&format!(
        "runs {}{paused}; catchup {}, max_active_runs {}\n",
        dag.describe_schedule(),
        dag.catchup,
        dag.max_active_runs
    ));
    text.push_str(&tree(dag)?);
    print_text(&text)
}

/// The tasks in the order in which they may run, each with those it waits for; a group stands where its first task may
/// run, with its tasks under it.
pub fn tree(dag: &Dag) -> anyhow::Result<String> {
    let graph = Graph::of(dag)?;
    let mut text = String::new();
    branch(dag, &graph, None, 1, &mut text);
    Ok(text)
}

/// What stands directly in `within`: a task, or a group of it.
fn place_of<'d>(dag: &'d Dag, task: usize, within: Option<&str>) -> &'d str {
    let task = &dag.tasks[task];
    let inner = dag.groups_of(task).take_while(|group| within.is_none_or(|id| group.group_id.as_str() != id)).last();
    inner.map_or(task.task_id.as_str(), |group| group.group_id.as_str())
}

/// The tasks and groups that stand directly in `within`, each one step further in than what it waits for there.
fn branch(dag: &Dag, graph: &Graph, within: Option<&str>, indent: usize, text: &mut String) {
    let is_within = |task: &usize| {
        within.is_none_or(|id| dag.groups_of(&dag.tasks[*task]).any(|group| group.group_id.as_str() == id))
    };
    let members: Vec<usize> = graph.order.iter().copied().filter(is_within).collect();
    let mut depth: HashMap<&str, usize> = HashMap::new();
    for task in &members {
        let place = place_of(dag, *task, within);
        let before = graph.upstream[*task].iter().filter(|parent| is_within(parent));
        let before = before.map(|parent| place_of(dag, *parent, within)).filter(|parent| *parent != place);
        let own = before.filter_map(|parent| depth.get(parent)).max().map_or(0, |most| most + 1);
        let known = depth.entry(place).or_default();
        *known = own.max(*known);
    }
    let mut shown: Vec<&str> = Vec::new();
    for index in &members {
        let (task, place) = (&dag.tasks[*index], place_of(dag, *index, within));
        let indent = indent + depth[place];
        if let Some(group) = dag.groups_of(task).find(|group| group.group_id.as_str() == place) {
            if !shown.contains(&place) {
                shown.push(place);
                let about = group.description.as_ref().map(|about| format!(": {about}")).unwrap_or_default();
                let mapped = if group.expand.is_some() { ", mapped" } else { "" };
                text.push_str(&format!("{}[{place}] (group{mapped}){about}\n", "  ".repeat(indent)));
                branch(dag, graph, Some(place), indent + 1, text);
            }
            continue;
        }
        let after: Vec<&str> = task.depends_on.iter().map(|id| id.as_str()).collect();
        let after = if after.is_empty() { String::new() } else { format!(" after {}", after.join(", ")) };
        let mapped = if task.expand.is_some() { ", mapped" } else { "" };
        text.push_str(&format!("{}{} ({}{mapped}){after}\n", "  ".repeat(indent), task.task_id, task.operator));
    }
}

async fn set_paused(app: &App, store: &Store, dags: &ManyDagsArgs, paused: bool) -> anyhow::Result<()> {
    let word = if paused { "paused" } else { "unpaused" };
    if dags.dag_ids.is_empty() {
        dag_files::sync(app, store).await?;
        let filter = DagFilter { tag: dags.tag.clone(), ..DagFilter::default() };
        let rows = store.dags(&filter).await?.rows;
        if let (Some(tag), []) = (&dags.tag, rows.as_slice()) {
            return Err(usage(format!(
                "no DAG has the tag '{tag}'; `millrace dags list -o json` shows which have what"
            )));
        }
        let mut changed = 0;
        for row in &rows {
            changed += usize::from(store.set_paused(&row.dag_id, paused, "cli", app.now()).await?);
        }
        let rest = match rows.len() - changed {
            0 => String::new(),
            1 => format!("; 1 was {word} already"),
            already => format!("; {already} were {word} already"),
        };
        notice(format!("{word} {}{rest}", counted(changed, "DAG")));
    }
    for dag_id in &dags.dag_ids {
        let row = lookup::dag(app, store, dag_id).await?;
        let changed = store.set_paused(&row.dag_id, paused, "cli", app.now()).await?;
        notice(if changed { format!("{word} {dag_id}") } else { format!("{dag_id} was {word} already") });
    }
    if !paused {
        app.check_scheduler(store).await?;
    }
    Ok(())
}

async fn list_runs(
    app: &App,
    store: &Store,
    dag_id: Option<&str>,
    state: Option<String>,
    limit: u32,
) -> anyhow::Result<()> {
    let dag_ids = match dag_id {
        None | Some("~") => Vec::new(),
        Some(dag_id) => vec![lookup::dag(app, store, dag_id).await?.dag_id],
    };
    let states = match state {
        None => Vec::new(),
        Some(text) => match RunState::parse(&text) {
            Some(state) => vec![state],
            None => {
                return Err(usage(format!(
                    "there is no run state '{text}'; known are queued, running, success, failed"
                )));
            }
        },
    };
    let filter = RunFilter { dag_ids, states, limit: limit.into(), ..RunFilter::default() };
    let page = store.runs(&filter).await?;
    app.learn_secrets(store).await?;
    let views: Vec<runs::RunView> = page.rows.iter().map(|run| runs::RunView::of(app, run)).collect();
    if page.total > views.len() as u64 {
        notice(format!("showing {} of {}; --limit shows more", views.len(), counted(page.total, "run")));
    }
    print_list(app.format, &["dag_id", "run_id", "run_type", "state", "logical_date", "start_date", "end_date"], &views)
}

#[derive(Serialize)]
struct ImportErrorView {
    fileloc: String,
    place: String,
    /// `error`: the file is not used as it is; `warning`: it is, and something in it never runs.
    severity: &'static str,
    error: String,
    first_seen: Option<String>,
    diagnostics: Vec<serde_json::Value>,
}

async fn list_import_errors(app: &App, store: &Store) -> anyhow::Result<()> {
    dag_files::sync(app, store).await?;
    let mut views = Vec::new();
    for row in store.import_errors().await? {
        for value in &row.diagnostics {
            let diagnostic: Option<Diagnostic> = serde_json::from_value(value.clone()).ok();
            let place = diagnostic.as_ref().map(|d| {
                // Of what the file includes.
                let file = d.file.as_ref().unwrap_or(&row.file_path);
                format!("{file}:{}:{}", d.line, d.column)
            });
            let is_warning = diagnostic.as_ref().is_some_and(|d| d.severity == Severity::Warning);
            let error = diagnostic.map_or_else(
                || value.to_string(),
                |d| d.hint.map_or(d.message.clone(), |hint| format!("{}; {hint}", d.message)),
            );
            views.push(ImportErrorView {
                fileloc: row.file_path.clone(),
                place: place.unwrap_or_else(|| row.file_path.clone()),
                severity: if is_warning { "warning" } else { "error" },
                error,
                first_seen: optional_time(Some(row.first_seen_at)),
                diagnostics: vec![value.clone()],
            });
        }
    }
    let pools = store.pool_sizes().await?;
    for row in store.dags(&DagFilter::default()).await?.rows {
        views.extend(PoolFault::all_of(&row.dag, &pools).iter().map(|fault| ImportErrorView {
            fileloc: row.file_path.clone(),
            place: row.file_path.clone(),
            severity: "warning",
            error: format!("{fault}; {}", fault.hint()),
            first_seen: None,
            diagnostics: Vec::new(),
        }));
    }
    print_list(app.format, &["place", "severity", "error"], &views)
}
