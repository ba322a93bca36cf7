//! `millrace tasks explain`, `millrace dags explain`: why is this not running?

use anyhow::Context;
use millrace_model::change::RunKey;
use millrace_model::param;
use millrace_situation::{Asked, Explanation, explain};
use millrace_store::{InstanceRow, Store};

use crate::app::App;
use crate::lookup;
use crate::output::{Format, counted, notice, print_one, print_text};

pub async fn task(app: &App, dag_id: &str, task_id: &str, run: &str, map_index: i32) -> anyhow::Result<()> {
    let store = app.store().await?;
    let row = lookup::dag(app, &store, dag_id).await?;
    let run = lookup::run(&store, &row.dag, run).await?;
    let instance = match store.instance(run.key, task_id, map_index).await? {
        Some(instance) => instance,
        None => mapped(&store, run.key, task_id, map_index).await?.with_context(|| {
            let index = if map_index < 0 { String::new() } else { format!(" with map index {map_index}") };
            format!(
                "the run {} has no task '{task_id}'{index}; `millrace tasks states-for-dag-run {dag_id} {}` lists those it has",
                run.run_id, run.run_id
            )
        })?,
    };
    told(app, &store, Asked::Task(&run, &instance)).await
}

/// Of a mapped task, when none of its instances is named: the first that has not ended.
async fn mapped(store: &Store, run: RunKey, task_id: &str, map_index: i32) -> anyhow::Result<Option<InstanceRow>> {
    if map_index >= 0 {
        return Ok(None);
    }
    let instances = store.instances(run).await?;
    let mut of_task: Vec<InstanceRow> = instances.into_iter().filter(|row| row.task_id.as_str() == task_id).collect();
    of_task.sort_by_key(|row| (row.state.is_finished(), row.map_index));
    if let Some(first) = of_task.first() {
        notice(format!(
            "{task_id} has {}; this is [{}] (--map-index)",
            counted(of_task.len(), "instance"),
            first.map_index
        ));
    }
    Ok(of_task.into_iter().next())
}

/// A run, or the DAG's next one.
pub async fn dag(app: &App, dag_id: &str, run: Option<&str>) -> anyhow::Result<()> {
    let store = app.store().await?;
    let row = lookup::dag(app, &store, dag_id).await?;
    match run {
        None => told(app, &store, Asked::Dag(&row)).await,
        Some(text) => {
            let run = lookup::run(&store, &row.dag, text).await?;
            told(app, &store, Asked::Run(&run)).await
        }
    }
}

async fn told(app: &App, store: &Store, asked: Asked<'_>) -> anyhow::Result<()> {
    print(app, &explained(app, store, asked).await?)
}

/// Masked as on every other face.
pub async fn explained(app: &App, store: &Store, asked: Asked<'_>) -> anyhow::Result<Explanation> {
    app.learn_secrets(store).await?;
    let masker = match asked {
        Asked::Dag(row) => app.masker.beside(&[&param::defaults(&row.dag.params)]),
        Asked::Run(run) | Asked::Task(run, _) => {
            let dag = store.dag_version(run.version_key).await?;
            app.masker.beside(&[&param::defaults(&dag.params), &run.conf])
        }
    };
    let mut explanation = explain(store, asked, &app.surroundings_in_force(store).await?, app.now()).await?;
    explanation.texts().for_each(|text| *text = masker.mask(text));
    Ok(explanation)
}

fn print(app: &App, explanation: &Explanation) -> anyhow::Result<()> {
    match app.format {
        Format::Json | Format::Yaml => print_one(app.format, explanation),
        Format::Table | Format::Plain => print_text(&text(explanation)),
    }
}

/// The answer, then every condition, then what is left to do in a run.
fn text(explanation: &Explanation) -> String {
    let mut text = format!("{}\n", explanation.answer);
    for condition in &explanation.conditions {
        let mark = match (condition.ok, &condition.until) {
            (true, _) => "met",
            (false, Some(_)) => "not yet",
            (false, None) => "NOT MET",
        };
        text.push_str(&format!("  {mark:<8} {}\n", condition.text));
    }
    for task in &explanation.tasks {
        text.push_str(&format!("{} ({}): {}\n", task.name(), task.state, task.answer));
    }
    text
}
