//! `millrace tasks …`: looking at tasks. Running one is in `attempt`.

use anyhow::{Context, bail};
use futures::StreamExt;
use millrace_logs::{Level, LogLine, LogPage, TryId};
use millrace_model::graph::Graph;
use millrace_model::instant::format_utc_micros;
use millrace_model::ledger::Checkpoint;
use millrace_model::state::TaskState;
use millrace_store::{InstanceRow, Store};
use serde::Serialize;

use crate::app::App;
use crate::args::TasksCommand;
use crate::commands::attempt::Ignored;
use crate::commands::{attempt, changes, dags, explain};
use crate::failure::usage;
use crate::lookup::{self, optional_time};
use crate::output::{Format, notice, print_list, print_one, print_text};

pub async fn run(app: &App, command: TasksCommand) -> anyhow::Result<()> {
    match command {
        TasksCommand::Clear(args) => changes::clear_tasks(app, args).await,
        TasksCommand::Mark(args) => changes::mark_tasks(app, args).await,
        TasksCommand::List { dag_id, tree } => list(app, &dag_id, tree).await,
        TasksCommand::Test { dag_id, task_id, date, params, map_index } => {
            attempt::test(app, (&dag_id, &task_id, map_index), &date, params.as_deref()).await
        }
        TasksCommand::Run {
            dag_id,
            task_id,
            date,
            ignore_dependencies,
            ignore_depends_on_past,
            ignore_all_dependencies,
            force,
            map_index,
        } => {
            let ignored = match (ignore_all_dependencies, ignore_dependencies, ignore_depends_on_past) {
                (true, ..) => Ignored::Everything,
                (_, true, _) => Ignored::Dependencies,
                (_, _, true) => Ignored::Past,
                _ => Ignored::Nothing,
            };
            let options = attempt::RunOptions { dag_id, task_id, date, ignored, force, map_index };
            attempt::run(app, options).await
        }
        TasksCommand::Logs { dag_id, task_id, run, try_number, map_index, follow } => {
            let wanted = Wanted { dag_id, task_id, run, map_index };
            logs(app, wanted, try_number, follow).await
        }
        TasksCommand::Explain { dag_id, task_id, run, map_index } => {
            explain::task(app, &dag_id, &task_id, &run, map_index).await
        }
        TasksCommand::State { dag_id, task_id, run, map_index } => {
            let store = app.store().await?;
            let (_, instance) = find(app, &store, &Wanted { dag_id, task_id, run, map_index }).await?;
            match app.format {
                Format::Table | Format::Plain => print_text(instance.state.as_str()),
                _ => print_one(app.format, &StateView::of(&instance)),
            }
        }
        TasksCommand::StatesForDagRun { dag_id, run } => {
            let store = app.store().await?;
            let row = lookup::dag(app, &store, &dag_id).await?;
            let run = lookup::run(&store, &row.dag, &run).await?;
            let views: Vec<StateView> = store.instances(run.key).await?.iter().map(StateView::of).collect();
            let is_mapped = views.iter().any(|view| view.map_index >= 0);
            let columns: &[&str] = if is_mapped {
                &[
                    "task_id",
                    "map_index",
                    "rendered_map_index",
                    "state",
                    "start_date",
                    "end_date",
                    "try_number",
                    "state_reason",
                ]
            } else {
                &["task_id", "state", "start_date", "end_date", "try_number", "state_reason"]
            };
            print_list(app.format, columns, &views)
        }
        TasksCommand::Render { dag_id, task_id, date, map_index } => {
            attempt::render(app, (&dag_id, &task_id, map_index), &date).await
        }
    }
}

#[derive(Serialize)]
struct TaskView {
    task_id: String,
    operator: String,
    depends_on: Vec<String>,
    trigger_rule: &'static str,
    retries: u32,
    pool: String,
}

async fn list(app: &App, dag_id: &str, tree: bool) -> anyhow::Result<()> {
    let store = app.store().await?;
    let row = lookup::dag(app, &store, dag_id).await?;
    // For programs the list says it all: what each depends on.
    if tree && matches!(app.format, Format::Table | Format::Plain) {
        return print_text(&dags::tree(&row.dag)?);
    }
    let graph = Graph::of(&row.dag)?;
    let views: Vec<TaskView> = graph
        .order
        .iter()
        .map(|index| &row.dag.tasks[*index])
        .map(|task| TaskView {
            task_id: task.task_id.to_string(),
            operator: task.operator.clone(),
            depends_on: task.depends_on.iter().map(ToString::to_string).collect(),
            trigger_rule: task.trigger_rule.as_str(),
            retries: task.retries,
            pool: task.pool.clone(),
        })
        .collect();
    print_list(app.format, &["task_id", "operator", "depends_on", "retries"], &views)
}

#[derive(Serialize)]
struct StateView {
    task_id: String,
    state: TaskState,
    start_date: Option<String>,
    end_date: Option<String>,
    try_number: u32,
    map_index: i32,
    rendered_map_index: Option<String>,
    state_reason: Option<String>,
}

impl StateView {
    fn of(instance: &InstanceRow) -> Self {
        Self {
            task_id: instance.task_id.to_string(),
            state: instance.state,
            start_date: optional_time(instance.start_date),
            end_date: optional_time(instance.end_date),
            try_number: instance.try_number,
            map_index: instance.map_index,
            rendered_map_index: instance.rendered_map_index.clone(),
            state_reason: instance.state_reason.clone(),
        }
    }
}

struct Wanted {
    dag_id: String,
    task_id: String,
    run: String,
    map_index: i32,
}

async fn find(app: &App, store: &Store, wanted: &Wanted) -> anyhow::Result<(String, InstanceRow)> {
    let row = lookup::dag(app, store, &wanted.dag_id).await?;
    let run = lookup::run(store, &row.dag, &wanted.run).await?;
    let instance = store.instance(run.key, &wanted.task_id, wanted.map_index).await?;
    let instance = match instance {
        None => {
            let rows = store.instances(run.key).await?;
            let indexes: Vec<i32> =
                rows.iter().filter(|row| row.task_id.as_str() == wanted.task_id).map(|row| row.map_index).collect();
            if let (Some(first), Some(last)) = (indexes.iter().min(), indexes.iter().max()) {
                bail!(
                    "task '{}' has no instance {} in the run {}: its map indexes go from {first} to {last}; choose one with --map-index",
                    wanted.task_id,
                    wanted.map_index,
                    run.run_id
                );
            }
            None
        }
        found => found,
    };
    let instance = instance.with_context(|| {
        format!(
            "the run {} has no task '{}'; `millrace tasks states-for-dag-run {} {}` lists those it has",
            run.run_id, wanted.task_id, wanted.dag_id, run.run_id
        )
    })?;
    Ok((run.run_id.to_string(), instance))
}

async fn logs(app: &App, wanted: Wanted, try_number: Option<u32>, follow: bool) -> anyhow::Result<()> {
    let store = app.store().await?;
    let (run_id, instance) = find(app, &store, &wanted).await?;
    let last = store.tries(instance.key).await?.last().map(|row| row.try_number);
    let Some(number) = try_number.or(last) else {
        bail!("the task {} has not been tried yet (it is {}); there is no log", wanted.task_id, instance.state);
    };
    let had = last.unwrap_or(0);
    if number > had && !follow {
        bail!("the last try of {} in the run {run_id} is number {had}; there is no try {number}", wanted.task_id);
    }
    let id = TryId {
        dag_id: wanted.dag_id.clone(),
        run_id,
        task_id: wanted.task_id.clone(),
        map_index: wanted.map_index,
        try_number: number,
    };
    if !follow {
        match app.logs().read_text(&id).await? {
            None => notice(format!("try {number} of {} wrote no log", wanted.task_id)),
            Some(text) if app.format == Format::Table => print_text(&text)?,
            Some(text) => {
                let lines: Vec<LineView> =
                    text.lines().map(|line| LineView::of(LogLine::parse(line), number)).collect();
                print_list(app.format, &LineView::COLUMNS, &lines)?;
            }
        }
        let points = store.checkpoints(instance.key, Some(number)).await?;
        points
            .iter()
            .filter(|row| row.checkpoint.name == Checkpoint::LOG)
            .for_each(|row| notice(&row.checkpoint.message));
        return Ok(());
    }
    if matches!(app.format, Format::Yaml | Format::Plain) {
        return Err(usage("--follow gives lines as they come: as text, or with -o json an object a line"));
    }
    let (asked, key) = (store.clone(), instance.key);
    let pages = app.logs().follow(id, 0, move || {
        let store = asked.clone();
        async move {
            let tries = store.tries(key).await.unwrap_or_default();
            // A database that does not answer ends nothing.
            tries.iter().find(|row| row.try_number == number).is_some_and(|row| row.end_date.is_some())
        }
    });
    let mut pages = std::pin::pin!(pages);
    while let Some(page) = pages.next().await {
        let page = page?;
        if app.format == Format::Json {
            for line in page.lines {
                print_text(&serde_json::to_string(&LineView::of(line, number))?)?;
            }
        } else {
            print_page(&page)?;
        }
    }
    Ok(())
}

/// A line for programs, by the names that REST gives.
#[derive(Serialize)]
struct LineView {
    /// None: a task printed it past its log.
    timestamp: Option<String>,
    level: Level,
    event: String,
    try_number: u32,
}

impl LineView {
    const COLUMNS: [&str; 4] = ["try_number", "timestamp", "level", "event"];

    fn of(line: LogLine, try_number: u32) -> Self {
        Self { timestamp: line.at.map(format_utc_micros), level: line.level, event: line.text, try_number }
    }
}

fn print_page(page: &LogPage) -> anyhow::Result<()> {
    let mut text = String::new();
    for line in &page.lines {
        let at = line.at.map(format_utc_micros).unwrap_or_default();
        text.push_str(&format!("{at} {} {}\n", line.level.as_str(), line.text));
    }
    if text.is_empty() { Ok(()) } else { print_text(&text) }
}
