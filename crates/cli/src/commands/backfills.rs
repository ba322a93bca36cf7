//! `dags backfill` and `backfills …`: many past dates of one DAG.

use anyhow::{Context, bail};
use millrace_model::dag::Dag;
use millrace_model::instant::{format_utc_micros, parse_included_end, parse_instant};
use millrace_model::selection::{TaskChoice, TaskPattern, TaskSelection};
use millrace_model::state::RunState;
use millrace_situation::{BackfillError, BackfillRequest, PreparedBackfill, prepare_backfill};
use millrace_store::{
    BackfillDate, BackfillProgress, BackfillRow, DateOutcome, Reprocess as StoredReprocess, RunFilter, Store,
};
use serde::Serialize;
use serde_json::Value;

use crate::app::App;
use crate::args::{BackfillArgs, BackfillsCommand, Reprocess};
use crate::commands::runs::{conf_argument, why_failed};
use crate::commands::waiting::Looks;
use crate::failure::usage;
use crate::lookup::{self, optional_time};
use crate::output::{counted, notice, print_list, print_one};

pub async fn run(app: &App, command: BackfillsCommand) -> anyhow::Result<()> {
    let store = app.store().await?;
    match command {
        BackfillsCommand::Create(args) => create(app, &store, args).await,
        BackfillsCommand::List { dag_id } => list(app, &store, dag_id.as_deref()).await,
        BackfillsCommand::Show { backfill } => {
            let row = find(&store, backfill).await?;
            let progress = store.backfill_progress(&[backfill]).await?;
            app.learn_secrets(&store).await?;
            print_one(app.format, &BackfillView::of(app, &row, progress.get(&backfill).copied().unwrap_or_default()))
        }
        BackfillsCommand::Pause { backfill } => set_paused(app, &store, backfill, true).await,
        BackfillsCommand::Unpause { backfill } => set_paused(app, &store, backfill, false).await,
        BackfillsCommand::Cancel { backfill } => {
            still_active(&store, backfill).await?;
            let failed = store.cancel_backfill(backfill, "cli", app.now()).await?;
            notice(format!("cancelled backfill {backfill}: {} queued runs failed; what runs goes on", failed.len()));
            Ok(())
        }
    }
}

async fn find(store: &Store, key: i64) -> anyhow::Result<BackfillRow> {
    let row = store.backfill(key).await?;
    row.with_context(|| format!("there is no backfill {key}; `millrace backfills list` shows those that exist"))
}

async fn still_active(store: &Store, key: i64) -> anyhow::Result<()> {
    let row = find(store, key).await?;
    if row.completed_at.is_some() {
        bail!("backfill {key} has ended: it is {}", row.state.as_str());
    }
    Ok(())
}

#[derive(Serialize)]
struct BackfillView {
    backfill: i64,
    dag_id: String,
    state: &'static str,
    is_paused: bool,
    /// Ended runs of all runs.
    progress: String,
    /// Dates whose runs a later backfill has taken over, or that were deleted.
    gone: u64,
    /// `30 by backfill 4`: those of `gone` that a later one has.
    taken_over: Option<String>,
    failed: u64,
    from_date: String,
    to_date: String,
    reprocess: &'static str,
    max_active_runs: u32,
    reversed: bool,
    tasks: Option<String>,
    /// Secrets masked.
    conf: Value,
    queued: u64,
    running: u64,
    success: u64,
    created_by: String,
    created_at: String,
    completed_at: Option<String>,
}

impl BackfillView {
    fn of(app: &App, row: &BackfillRow, progress: BackfillProgress) -> Self {
        Self {
            backfill: row.key,
            dag_id: row.dag_id.to_string(),
            state: row.state.as_str(),
            is_paused: row.is_paused,
            progress: format!("{} of {}", progress.ended(), progress.total()),
            gone: progress.gone,
            taken_over: (progress.taken_over > 0)
                .then(|| format!("{} by backfill {}", progress.taken_over, progress.taken_over_by)),
            failed: progress.failed,
            from_date: format_utc_micros(row.from),
            to_date: format_utc_micros(row.to),
            reprocess: row.reprocess.as_str(),
            max_active_runs: row.max_active_runs,
            reversed: row.is_reversed,
            tasks: row.selection.clone(),
            conf: app.masked_members(&row.conf),
            queued: progress.queued,
            running: progress.running,
            success: progress.success,
            created_by: row.created_by.clone(),
            created_at: format_utc_micros(row.created_at),
            completed_at: optional_time(row.completed_at),
        }
    }
}

async fn list(app: &App, store: &Store, dag_id: Option<&str>) -> anyhow::Result<()> {
    let dag_id = match dag_id {
        Some(dag_id) => Some(lookup::stored_dag(app, store, dag_id).await?.dag_id),
        None => None,
    };
    let rows = store.backfills(dag_id.as_ref()).await?;
    let progress = store.backfill_progress(&rows.iter().map(|row| row.key).collect::<Vec<_>>()).await?;
    app.learn_secrets(store).await?;
    let view = |row| BackfillView::of(app, row, progress.get(&row.key).copied().unwrap_or_default());
    let views: Vec<BackfillView> = rows.iter().map(view).collect();
    let columns = [
        "backfill",
        "dag_id",
        "state",
        "is_paused",
        "progress",
        "failed",
        "gone",
        "taken_over",
        "from_date",
        "to_date",
    ];
    print_list(app.format, &columns, &views)
}

async fn set_paused(app: &App, store: &Store, key: i64, paused: bool) -> anyhow::Result<()> {
    still_active(store, key).await?;
    let changed = store.set_backfill_paused(key, paused, "cli", app.now()).await?;
    let word = if paused { "paused" } else { "unpaused" };
    notice(if changed { format!("{word} backfill {key}") } else { format!("backfill {key} was {word} already") });
    Ok(())
}

#[derive(Serialize)]
struct DateView {
    logical_date: String,
    run_id: String,
    outcome: String,
}

impl DateView {
    fn of(date: &BackfillDate) -> Self {
        Self {
            logical_date: format_utc_micros(date.logical_date),
            run_id: date.run_id.to_string(),
            outcome: match &date.outcome {
                DateOutcome::Created => "new run".to_owned(),
                DateOutcome::Cleared => "run again".to_owned(),
                DateOutcome::Skipped { reason } => format!("left alone: {reason}"),
            },
        }
    }
}

fn selection(args: &BackfillArgs) -> anyhow::Result<Option<TaskSelection>> {
    let Some(text) = &args.tasks else { return Ok(None) };
    let pattern = TaskPattern::parse(text).map_err(|error| usage(error.to_string()))?;
    let (upstream, downstream) = (args.upstream, args.downstream);
    Ok(Some(TaskSelection { tasks: TaskChoice::Pattern(pattern), upstream, downstream }))
}

fn request(dag: &Dag, args: &BackfillArgs) -> anyhow::Result<BackfillRequest> {
    let zone = dag.timetable.timezone;
    let (to, includes_end) = if args.end_inclusive {
        parse_included_end(&args.end_date, zone)?
    } else {
        (parse_instant(&args.end_date, zone)?, false)
    };
    Ok(BackfillRequest {
        from: parse_instant(&args.start_date, zone)?,
        to,
        includes_end,
        is_reversed: args.reverse,
        ignores_bounds: args.ignore_bounds,
        reprocess: match args.reprocess {
            Reprocess::None => StoredReprocess::None,
            Reprocess::Failed => StoredReprocess::Failed,
            Reprocess::Completed => StoredReprocess::Completed,
        },
        max_active_runs: args.max_active_runs,
        conf: conf_argument(args.conf.as_deref(), "--conf")?,
        tasks: selection(args)?,
        actor: "cli".to_owned(),
        dry_run: true,
    })
}

async fn prepare(app: &App, store: &Store, args: &BackfillArgs) -> anyhow::Result<PreparedBackfill> {
    let row = lookup::stored_dag(app, store, &args.dag_id).await?;
    let request = request(&row.dag, args)?;
    prepare_backfill(store, &row, request, app.now()).await.map_err(|error| match error {
        BackfillError::Refused(refused) => refused.into(),
        BackfillError::Store(failed) => failed.into(),
        other => other.into(),
    })
}

pub async fn create(app: &App, store: &Store, args: BackfillArgs) -> anyhow::Result<()> {
    let prepared = prepare(app, store, &args).await?;
    for warning in &prepared.warnings {
        notice(format!("warning: {warning}"));
    }
    let only = prepared.task_ids();
    let mut new = prepared.new;
    // The dates are printed before anything is made.
    let plan = store.create_backfill(&new, app.now()).await?;
    let views: Vec<DateView> = plan.dates.iter().map(DateView::of).collect();
    print_list(app.format, &["logical_date", "run_id", "outcome"], &views)?;
    if let Some(only) = only {
        notice(format!("of each run only {}", only.join(", ")));
    }
    let count = plan.run_count();
    let extent = format!("{}, {} at a time", counted(count, "run"), new.max_active_runs);
    if args.dry_run {
        notice(format!("{extent}, would be started; nothing was changed"));
        return Ok(());
    }
    if count == 0 {
        bail!("nothing to backfill: every date has a run; --reprocess failed or completed runs finished ones again");
    }
    if args.wait && !store.is_led().await? {
        bail!("nothing was started, because nobody would run it");
    }
    new.dry_run = false;
    let report = store.create_backfill(&new, app.now()).await?;
    let key = report.backfill_key.context("every date was taken by another run meanwhile; nothing was started")?;
    notice(format!("backfill {key}: {}, {} at a time", counted(report.run_count(), "run"), new.max_active_runs));
    if args.wait { wait(app, store, key).await } else { Ok(()) }
}

/// Says how many have ended as they do, why the first of them failed, and why none ends.
async fn wait(app: &App, store: &Store, key: i64) -> anyhow::Result<()> {
    let (mut said, mut is_told) = (0, false);
    let failed_runs = |limit| RunFilter {
        backfill_key: Some(key),
        states: vec![RunState::Failed],
        limit,
        ascending: true,
        ..RunFilter::default()
    };
    let active_runs = RunFilter {
        backfill_key: Some(key),
        states: vec![RunState::Running, RunState::Queued],
        limit: 1,
        ascending: true,
        ..RunFilter::default()
    };
    let (mut looks, mut before) = (Looks::default(), BackfillProgress::default());
    let progress = loop {
        looks.begin();
        let progress = store.backfill_progress(&[key]).await?.remove(&key).unwrap_or_default();
        if std::mem::replace(&mut before, progress) != progress {
            looks.note_change();
        }
        if progress.ended() != said {
            said = progress.ended();
            notice(format!("{said} of {} ended, {} failed", counted(progress.total(), "run"), progress.failed));
        }
        if progress.failed > 0 && !is_told {
            is_told = true;
            for run in store.runs(&failed_runs(1)).await?.rows {
                if let Some(why) = why_failed(store, run.key).await? {
                    notice(format!("{}: {why}", run.run_id));
                }
            }
        }
        if progress.is_over() {
            break progress;
        }
        if looks.are_silent() {
            for run in store.runs(&active_runs).await?.rows {
                looks.explain(app, store, &run).await?;
            }
        }
        looks.pause(store).await?;
    };
    if progress.failed == 0 {
        notice(match progress.total() {
            1 => "the run succeeded".to_owned(),
            total => format!("all {total} runs succeeded"),
        });
        return Ok(());
    }
    let failed: Vec<String> =
        store.runs(&failed_runs(20)).await?.rows.iter().map(|run| run.run_id.to_string()).collect();
    let more = if progress.failed > 20 { ", …" } else { "" };
    bail!("{} of {} failed: {}{more}", progress.failed, counted(progress.total(), "run"), failed.join(", "))
}
