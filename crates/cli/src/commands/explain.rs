//! `millrace tasks explain`, `millrace dags explain`: why is this not running?

use anyhow::Context;
use millrace_situation::{Asked, Explanation, explain};

use crate::app::App;
use crate::lookup;
use crate::output::{Format, print_one, print_text};

pub async fn task(app: &App, dag_id: &str, task_id: &str, run: &str, map_index: i32) -> anyhow::Result<()> {
    let store = app.store().await?;
    let row = lookup::dag(app, &store, dag_id).await?;
    let run = lookup::run(&store, &row.dag, run).await?;
    let instance = store.instance(run.key, task_id, map_index).await?.with_context(|| {
        let index = if map_index < 0 { String::new() } else { format!(" with map index {map_index}") };
        format!(
            "the run {} has no task '{task_id}'{index}; `millrace tasks states-for-dag-run {dag_id} {}` lists those it has",
            run.run_id, run.run_id
        )
    })?;
    let asked = Asked::Task(&run, &instance);
    print(app, &explain(&store, asked, &app.surroundings()?, app.now()).await?)
}

/// A run, or the DAG's next one.
pub async fn dag(app: &App, dag_id: &str, run: Option<&str>) -> anyhow::Result<()> {
    let store = app.store().await?;
    let row = lookup::dag(app, &store, dag_id).await?;
    let explanation = match run {
        None => explain(&store, Asked::Dag(&row), &app.surroundings()?, app.now()).await?,
        Some(text) => {
            let run = lookup::run(&store, &row.dag, text).await?;
            explain(&store, Asked::Run(&run), &app.surroundings()?, app.now()).await?
        }
    };
    print(app, &explanation)
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
        let index = if task.map_index < 0 { String::new() } else { format!("[{}]", task.map_index) };
        text.push_str(&format!("{}{index} ({}): {}\n", task.task_id, task.state, task.answer));
    }
    text
}
