//! Starting runs: `dags trigger`, and waiting for them.

use std::collections::HashMap;

use anyhow::{Context, bail};
use millrace_model::change::RunKey;
use millrace_model::instant::format_utc_micros;
use millrace_model::json_text::flaw;
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_planner::{ManualRun, NamedDate, manual_run};
use millrace_settings::mask::check_own_secrets;
use millrace_situation::first_line;
use millrace_store::{RunRequest, RunRow, Store};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::app::App;
use crate::args::TriggerArgs;
use crate::commands::waiting::Looks;
use crate::failure::usage;
use crate::lookup::{self, optional_time};
use crate::output::{notice, print_one};

#[derive(Serialize)]
pub struct RunView {
    pub dag_id: String,
    pub run_id: String,
    pub run_type: RunType,
    pub state: RunState,
    pub logical_date: String,
    pub start_date: Option<String>,
    pub end_date: Option<String>,
    pub data_interval_start: String,
    pub data_interval_end: String,
    pub state_reason: Option<String>,
    /// Secrets masked.
    pub conf: Value,
}

impl RunView {
    pub fn of(app: &App, run: &RunRow) -> Self {
        Self {
            dag_id: run.dag_id.to_string(),
            run_id: run.run_id.to_string(),
            run_type: run.run_type,
            state: run.state,
            logical_date: format_utc_micros(run.logical_date),
            start_date: optional_time(run.start_date),
            end_date: optional_time(run.end_date),
            data_interval_start: format_utc_micros(run.data_interval.start),
            data_interval_end: format_utc_micros(run.data_interval.end),
            state_reason: run.state_reason.clone(),
            conf: app.masked_members(&run.conf),
        }
    }
}

/// A JSON object given on the command line.
pub fn conf_argument(text: Option<&str>, option: &str) -> anyhow::Result<Map<String, Value>> {
    let Some(text) = text else { return Ok(Map::new()) };
    if let Some(flaw) = flaw(text.as_bytes()) {
        return Err(usage(format!("{option}: {flaw}")));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => match check_own_secrets(&map) {
            Ok(()) => Ok(map),
            Err(error) => Err(usage(format!("{option}: {error}"))),
        },
        Ok(other) => Err(usage(format!("{option} must be a JSON object like {{\"key\": \"value\"}}, got {other}"))),
        Err(error) => Err(usage(format!("{option} is not JSON: {error}"))),
    }
}

pub async fn trigger(app: &App, store: &Store, args: TriggerArgs) -> anyhow::Result<()> {
    let row = lookup::runnable(app, store, &args.dag_id).await?;
    let conf = conf_argument(args.conf.as_deref(), "--conf")?;
    let logical_date = match &args.logical_date {
        Some(text) => {
            let last_interval = store.last_automated_interval(&row.dag_id).await?;
            Some(NamedDate::read(&row.dag, last_interval, text)?)
        }
        None => None,
    };
    if row.is_paused {
        let hint = format!("{} is paused: its runs wait until `millrace dags unpause {}`", row.dag_id, row.dag_id);
        if args.wait {
            bail!("{hint}; nothing was started");
        }
        notice(hint);
    }
    if !app.check_scheduler(store).await? && args.wait {
        bail!("nothing was started, because nobody would run it");
    }
    let version = lookup::version(&row)?;
    let new = manual_run(
        ManualRun {
            version: &version,
            run_id: args.run_id.as_deref(),
            logical_date,
            conf,
            triggered_by: "cli".to_owned(),
        },
        app.now(),
    )?;
    let request = RunRequest { run: new, note: None, actor: "cli".to_owned() };
    let created = store.create_run(&request, app.now()).await?;
    app.learn_secrets(store).await?;
    if args.wait {
        let run = wait_for_run(app, store, created.run).await?;
        print_one(app.format, &RunView::of(app, &run))?;
        if run.state != RunState::Success {
            let why = why_failed(store, run.key).await?.map(|why| format!(": {why}")).unwrap_or_default();
            bail!("the run {} {}{why}", run.run_id, failure(&run));
        }
        return Ok(());
    }
    let run = store.run_by_key(created.run).await?.context("the run that was just made is gone")?;
    print_one(app.format, &RunView::of(app, &run))
}

fn failure(run: &RunRow) -> String {
    match &run.state_reason {
        Some(reason) => format!("failed ({reason})"),
        None => "failed".to_owned(),
    }
}

/// The task of a run that failed first, and what its last try said, in one line.
pub async fn why_failed(store: &Store, run: RunKey) -> anyhow::Result<Option<String>> {
    let instances = store.instances(run).await?;
    let failed = instances.iter().filter(|instance| instance.state == TaskState::Failed);
    let Some(first) = failed.min_by_key(|instance| instance.end_date) else { return Ok(None) };
    let said = store.tries(first.key).await?.pop().and_then(|last| last.error).or_else(|| first.state_reason.clone());
    let line: String = first_line(said.as_deref().unwrap_or("it failed")).chars().take(300).collect();
    Ok(Some(format!("task {}: {line}", first.task_id)))
}

/// Prints every change of a task to standard error until the run ends, and why there is none.
async fn wait_for_run(app: &App, store: &Store, key: i64) -> anyhow::Result<RunRow> {
    let mut seen: HashMap<i64, TaskState> = HashMap::new();
    let mut looks = Looks::default();
    loop {
        looks.begin();
        let run = store.run_by_key(key).await?.context("the run was deleted")?;
        for instance in store.instances(key).await? {
            let before = seen.insert(instance.key, instance.state);
            if before != Some(instance.state) {
                looks.note_change();
            }
            if before != Some(instance.state) && instance.state != TaskState::None {
                notice(format!(
                    "{}  {}  {}",
                    optional_time(instance.end_date.or(instance.start_date)).unwrap_or_else(|| " ".repeat(27)),
                    instance.task_id,
                    instance.state
                ));
            }
        }
        if run.state.is_finished() {
            return Ok(run);
        }
        if looks.are_silent() {
            looks.explain(app, store, &run).await?;
        }
        looks.pause(store).await?;
    }
}
