//! Changing by hand what has run: clear, rerun, mark, note, repin.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{IsTerminal, Write};

use anyhow::bail;
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::instant::{after_included_end, format_utc_micros, parse_instant};
use millrace_model::selection::{TaskChoice, TaskPattern};
use millrace_model::state::{RunState, TaskState};
use millrace_situation::clear_warnings;
use millrace_store::{
    AuditFilter, AuditRow, ClearReport, ClearRequest, ClearedInstance, DagFilter, DagRow, MarkReport, MarkRequest,
    MarkRunRequest, NewestVersion, RepinRequest, RunChoice, Selection, Store, TouchedRun,
};
use serde::Serialize;
use serde_json::json;

use crate::app::App;
use crate::args::{
    CareArgs, ClearOptions, DagsClearArgs, DagsMarkArgs, MarkedRun, MarkedTask, NoteArgs, RelativesArgs, RepinArgs,
    RerunFailedArgs, RunsArgs, TasksClearArgs, TasksMarkArgs,
};
use crate::failure::usage;
use crate::lookup;
use crate::output::{Format, notice, print_list, print_one, print_text};

/// For the audit log.
const ACTOR: &str = "cli";

#[derive(Serialize)]
struct TouchedView {
    dag_id: String,
    run_id: String,
    logical_date: String,
    task_id: String,
    map_index: i32,
    state: TaskState,
    becomes: TaskState,
}

fn views(dag_id: &str, changed: &[ClearedInstance], runs: &[TouchedRun]) -> Vec<TouchedView> {
    let runs: HashMap<i64, &TouchedRun> = runs.iter().map(|run| (run.run, run)).collect();
    let view = |it: &ClearedInstance| {
        let run = runs.get(&it.run)?;
        Some(TouchedView {
            dag_id: dag_id.to_owned(),
            run_id: run.run_id.to_string(),
            logical_date: format_utc_micros(run.logical_date),
            task_id: it.task_id.to_string(),
            map_index: it.map_index,
            state: it.from,
            becomes: it.to,
        })
    };
    changed.iter().filter_map(view).collect()
}

fn print_touched(app: &App, views: &[TouchedView]) -> anyhow::Result<()> {
    let is_mapped = views.iter().any(|view| view.map_index >= 0);
    let several = views.iter().any(|view| view.dag_id != views[0].dag_id);
    let columns = ["dag_id", "run_id", "task_id", "map_index", "state", "becomes"];
    let shown: Vec<&str> = columns
        .into_iter()
        .filter(|name| (several || *name != "dag_id") && (is_mapped || *name != "map_index"))
        .collect();
    print_list(app.format, &shown, views)
}

pub(super) fn counted(count: usize, what: &str) -> String {
    if count == 1 { format!("1 {what}") } else { format!("{count} {what}s") }
}

/// Asks a person; a script must have said `-y`.
pub(super) fn may_go_on(care: &CareArgs, question: &str) -> anyhow::Result<bool> {
    if care.yes {
        return Ok(true);
    }
    if !std::io::stdin().is_terminal() {
        return Err(usage(format!("{question} Nobody is here to be asked: give -y, or --dry-run to look only")));
    }
    let mut err = std::io::stderr().lock();
    write!(err, "{question} [y/N] ")?;
    err.flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    let is_yes = matches!(answer.trim().to_lowercase().as_str(), "y" | "yes");
    if !is_yes {
        notice("nothing was changed");
    }
    Ok(is_yes)
}

/// Half-open; an end that is not there is open.
type DateRange = (Option<DateTime<Utc>>, Option<DateTime<Utc>>);

fn dates(zone: Tz, start: Option<&str>, end: Option<&str>, end_inclusive: bool) -> anyhow::Result<DateRange> {
    let read = |text: &str| parse_instant(text, zone);
    let from = start.map(read).transpose()?;
    let to = end.map(|end| if end_inclusive { after_included_end(end, zone) } else { read(end) }).transpose()?;
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        return Err(usage("the range of dates is empty: it ends where it starts, or before"));
    }
    Ok((from, to))
}

async fn run_choice(store: &Store, row: &DagRow, args: &RunsArgs) -> anyhow::Result<RunChoice> {
    if let Some(text) = &args.run_id {
        return Ok(RunChoice::One(lookup::run(store, &row.dag, text).await?.key));
    }
    if args.start_date.is_none() && args.end_date.is_none() {
        return Err(usage("say which runs: --run-id RUN, or --start-date DATE and --end-date DATE"));
    }
    let zone = row.dag.timetable.timezone;
    let (from, to) = dates(zone, args.start_date.as_deref(), args.end_date.as_deref(), args.end_inclusive)?;
    Ok(RunChoice::Between { dag_id: row.dag_id.clone(), from, to })
}

fn with_relatives(mut selection: Selection, relatives: RelativesArgs) -> anyhow::Result<Selection> {
    if (relatives.past || relatives.future) && !matches!(selection.runs, RunChoice::One(_)) {
        return Err(usage("--past and --future go with --run-id; a range of dates names its runs itself"));
    }
    (selection.past, selection.future) = (relatives.past, relatives.future);
    (selection.tasks.upstream, selection.tasks.downstream) = (relatives.upstream, relatives.downstream);
    Ok(selection)
}

pub fn newest(row: &DagRow) -> anyhow::Result<NewestVersion> {
    Ok(NewestVersion { version_key: row.version_key, tasks: lookup::version(row)?.new_instances() })
}

fn clear_request(selection: Selection, row: &DagRow, options: &ClearOptions) -> anyhow::Result<ClearRequest> {
    let mut request = ClearRequest::new(selection, ACTOR);
    request.selection.only_failed = options.only_failed;
    request.selection.only_running = options.only_running;
    request.keeps_run_state = options.leave_run_state;
    request.refuses_running = options.prevent_running_task;
    request.newest = options.latest_version.then(|| newest(row)).transpose()?;
    Ok(request)
}

pub async fn clear_tasks(app: &App, args: TasksClearArgs) -> anyhow::Result<()> {
    let store = app.store().await?;
    let row = lookup::dag(app, &store, &args.dag_id).await?;
    let tasks = task_choice(&row.dag, &args)?;
    let selection = Selection::of(run_choice(&store, &row, &args.runs).await?, tasks);
    let request = clear_request(with_relatives(selection, args.relatives)?, &row, &args.options)?;
    if let TaskChoice::Pattern(pattern) = &request.selection.tasks.tasks
        && !row.dag.tasks.iter().any(|task| pattern.matches(&task.task_id))
    {
        // A run of an earlier version may have such a task.
        let dry = ClearRequest { dry_run: true, ..request.clone() };
        if store.clear_instances(&dry, app.now()).await?.cleared.is_empty() {
            let (dag_id, text) = (&args.dag_id, args.task_regex.as_deref().unwrap_or_default());
            return Err(usage(format!(
                "no task of {dag_id} has '{text}' in its id; `millrace tasks list {dag_id}` lists them"
            )));
        }
    }
    clear(app, &store, vec![(row, request)], &args.care).await
}

fn task_choice(dag: &Dag, args: &TasksClearArgs) -> anyhow::Result<TaskChoice> {
    let pattern = args.task_regex.as_deref().map(TaskPattern::parse).transpose();
    let pattern = pattern.map_err(|error| usage(error.to_string()))?;
    if args.group.is_none() && args.map_index.is_empty() {
        return Ok(pattern.map_or(TaskChoice::All, TaskChoice::Pattern));
    }
    let tasks: Vec<TaskId> = match &args.group {
        Some(group) => {
            let found = dag.tasks_in(group);
            if found.is_empty() {
                let known: Vec<&str> = dag.groups.iter().map(|group| group.group_id.as_str()).collect();
                bail!("{} has no group '{group}'; it has {}", dag.dag_id, listed(&known));
            }
            found
        }
        None => {
            let is_meant = |id: &TaskId| pattern.as_ref().is_none_or(|pattern| pattern.matches(id));
            // An index means nothing to a task that is not mapped.
            let mapped = dag.tasks.iter().filter(|task| dag.expand_of(task).is_some());
            let found: Vec<TaskId> = mapped.map(|task| task.task_id.clone()).filter(is_meant).collect();
            if found.is_empty() {
                bail!("{} has no such mapped task; --map-index is for mapped ones", dag.dag_id);
            }
            found
        }
    };
    if args.map_index.is_empty() {
        return Ok(TaskChoice::tasks(tasks));
    }
    let each = |task: &TaskId| args.map_index.iter().map(|index| (task.clone(), Some(*index))).collect::<Vec<_>>();
    Ok(TaskChoice::Named(tasks.iter().flat_map(each).collect()))
}

fn listed(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

pub async fn clear_runs(app: &App, store: &Store, args: DagsClearArgs) -> anyhow::Result<()> {
    let row = lookup::dag(app, store, &args.dag_id).await?;
    let selection = Selection::of(run_choice(store, &row, &args.runs).await?, TaskChoice::All);
    let request = clear_request(selection, &row, &args.options)?;
    clear(app, store, vec![(row, request)], &args.care).await
}

/// What failed or never got its chance, in all runs of the range.
pub async fn rerun_failed(app: &App, store: &Store, args: RerunFailedArgs) -> anyhow::Result<()> {
    let rows = match &args.dag_id {
        Some(dag_id) => vec![lookup::dag(app, store, dag_id).await?],
        None => store.dags(&DagFilter { include_stale: false, ..DagFilter::default() }).await?.rows,
    };
    let mut requests = Vec::with_capacity(rows.len());
    for row in rows {
        let zone = row.dag.timetable.timezone;
        let (from, to) = dates(zone, args.start_date.as_deref(), args.end_date.as_deref(), args.end_inclusive)?;
        let runs = RunChoice::Between { dag_id: row.dag_id.clone(), from, to };
        let mut request = ClearRequest::new(Selection::of(runs, TaskChoice::All), ACTOR);
        request.selection.only_failed = true;
        request.newest = args.latest_version.then(|| newest(&row)).transpose()?;
        requests.push((row, request));
    }
    clear(app, store, requests, &args.care).await
}

async fn clear(app: &App, store: &Store, requests: Vec<(DagRow, ClearRequest)>, care: &CareArgs) -> anyhow::Result<()> {
    let (mut listed, mut runs) = (Vec::new(), 0);
    let mut wanted = Vec::with_capacity(requests.len());
    let (mut remarks, mut waiting) = (Vec::new(), Vec::new());
    for (row, request) in requests {
        let dry = ClearRequest { dry_run: true, ..request.clone() };
        let plan = store.clear_instances(&dry, app.now()).await?;
        listed.extend(views(row.dag_id.as_str(), &plan.cleared, &plan.runs));
        runs += plan.runs.len();
        remarks.extend(remarks_on(store, &row, &plan).await?);
        waiting.extend(plan.waiting.iter().map(|run_id| (row.dag_id.clone(), run_id.clone())));
        remarks.extend(clear_warnings(&row.dag, &plan.cleared).into_iter().map(|text| format!("warning: {text}")));
        if !plan.runs.is_empty() {
            wanted.push(request);
        }
    }
    print_touched(app, &listed)?;
    let what = format!("{} in {}", counted(listed.len(), "task instance"), counted(runs, "run"));
    if runs == 0 {
        notice(nothing_to_clear(store, &waiting).await?);
        return Ok(());
    }
    for remark in &remarks {
        notice(remark);
    }
    if care.dry_run {
        notice(format!("{what} would be cleared; nothing was changed"));
        return Ok(());
    }
    if !may_go_on(care, &format!("Clear {what}?"))? {
        return Ok(());
    }
    let mut done = ClearReport::default();
    for request in wanted {
        let report = store.clear_instances(&request, app.now()).await?;
        done.cleared.extend(report.cleared);
        done.runs.extend(report.runs);
    }
    let queued = counted(done.queued(), "run");
    notice(format!("cleared {}; {queued} queued again", counted(done.cleared.len(), "task instance")));
    app.check_scheduler(store).await?;
    Ok(())
}

/// Of two who clear the same, the second is told that the first did.
async fn nothing_to_clear(store: &Store, waiting: &[(DagId, RunId)]) -> anyhow::Result<String> {
    let Some((dag_id, run_id)) = waiting.first() else { return Ok("there is nothing to clear".to_owned()) };
    let filter = AuditFilter {
        dag_id: Some(dag_id.to_string()),
        action: Some("clear".to_owned()),
        limit: 20,
        ..AuditFilter::default()
    };
    let names_it = |row: &AuditRow| {
        let listed = row.details["runs"].as_array().is_some_and(|runs| runs.iter().any(|run| *run == run_id.as_str()));
        listed || row.run_id.as_deref() == Some(run_id.as_str())
    };
    let last = store.audit_log(&filter).await?.rows.into_iter().find(names_it);
    let by = last.map(|row| format!(" (cleared by {} at {})", row.actor, format_utc_micros(row.at)));
    let runs = counted(waiting.len(), "run");
    Ok(format!("there is nothing to clear: it waits to run already, in {runs}{}", by.unwrap_or_default()))
}

/// Why what is cleared may not do what was meant: it goes by an older version of the DAG, or waits.
async fn remarks_on(store: &Store, row: &DagRow, plan: &ClearReport) -> anyhow::Result<Vec<String>> {
    let mut remarks = Vec::new();
    let mut behind: BTreeMap<u32, usize> = BTreeMap::new();
    if plan.runs.iter().any(|run| run.version_key != row.version_key) {
        let versions = store.dag_versions(row.dag_id.as_str()).await?;
        for run in plan.runs.iter().filter(|run| run.version_key != row.version_key) {
            // A version of some tasks only has no number of its own.
            if let Some(version) = versions.iter().find(|version| version.version_key == run.version_key) {
                *behind.entry(version.number).or_default() += 1;
            }
        }
    }
    for (number, count) in behind {
        let keeps = if count == 1 { "keeps" } else { "keep" };
        remarks.push(format!(
            "{} {keeps} version {number} of {}, whose newest is {}: --latest-version takes that",
            counted(count, "run"),
            row.dag_id,
            row.version_number
        ));
    }
    remarks.extend(pauses(store, row, plan).await?);
    Ok(remarks)
}

/// What a run of a backfill waits for is the pause of that, as long as it goes on, and else that of its DAG.
async fn pauses(store: &Store, row: &DagRow, plan: &ClearReport) -> anyhow::Result<Vec<String>> {
    let is_of_one = plan.runs.iter().any(|run| run.backfill_key.is_some());
    let active = if is_of_one { store.active_backfills().await? } else { Vec::new() };
    let backfill = |run: &TouchedRun| active.iter().find(|backfill| Some(backfill.key) == run.backfill_key);
    let mut said = Vec::new();
    if row.is_paused && plan.runs.iter().any(|run| backfill(run).is_none()) {
        said.push(format!("{0} is paused: what is cleared waits until `millrace dags unpause {0}`", row.dag_id));
    }
    // What runs of it goes on.
    let is_queued = |run: &&TouchedRun| run.queued || run.from == RunState::Queued;
    let of_paused = plan.runs.iter().filter(is_queued).filter_map(backfill).filter(|backfill| backfill.is_paused);
    for key in of_paused.map(|backfill| backfill.key).collect::<BTreeSet<_>>() {
        said.push(format!(
            "backfill {key} is paused: what is cleared of its runs waits until `millrace backfills unpause {key}`"
        ));
    }
    Ok(said)
}

pub async fn mark_tasks(app: &App, args: TasksMarkArgs) -> anyhow::Result<()> {
    let store = app.store().await?;
    let row = lookup::dag(app, &store, &args.dag_id).await?;
    let run = lookup::run(&store, &row.dag, &args.run).await?;
    let members = if row.dag.task(&args.task_id).is_none() { row.dag.tasks_in(&args.task_id) } else { Vec::new() };
    let is_group = !members.is_empty();
    let named = if is_group { members } else { vec![TaskId::new_unchecked(&args.task_id)] };
    let tasks = TaskChoice::Named(named.into_iter().map(|task| (task, args.map_index)).collect());
    let selection = with_relatives(Selection::of_run(run.key, tasks), args.relatives)?;
    let to = match args.state {
        MarkedTask::Success => TaskState::Success,
        MarkedTask::Failed => TaskState::Failed,
        MarkedTask::Skipped => TaskState::Skipped,
    };
    let request = MarkRequest { selection, to, note: args.note, dry_run: true, actor: ACTOR.to_owned() };
    let plan = store.mark_instances(&request, app.now()).await?;
    print_marked(app, &args.dag_id, &plan)?;
    if plan.marked.is_empty() {
        notice(format!("there is nothing to mark: it is {to} already, or cannot become it"));
        return Ok(());
    }
    if args.care.dry_run {
        notice("nothing was changed");
        return Ok(());
    }
    let RelativesArgs { upstream, downstream, past, future } = args.relatives;
    let is_wide = is_group || upstream || downstream || past || future;
    let question = format!("Mark {} {to}?", counted(plan.marked.len(), "task instance"));
    if is_wide && !may_go_on(&args.care, &question)? {
        return Ok(());
    }
    let report = store.mark_instances(&MarkRequest { dry_run: false, ..request }, app.now()).await?;
    let cleared = counted(report.cleared.len(), "task instance");
    notice(format!("marked {} {to}; {cleared} after them cleared", counted(report.marked.len(), "task instance")));
    app.check_scheduler(&store).await?;
    Ok(())
}

fn print_marked(app: &App, dag_id: &str, plan: &MarkReport) -> anyhow::Result<()> {
    let changed: Vec<ClearedInstance> = plan.marked.iter().chain(&plan.cleared).cloned().collect();
    print_touched(app, &views(dag_id, &changed, &plan.runs))
}

pub async fn mark_run(app: &App, store: &Store, args: DagsMarkArgs) -> anyhow::Result<()> {
    let row = lookup::dag(app, store, &args.dag_id).await?;
    let run = lookup::run(store, &row.dag, &args.run).await?;
    let to = match args.state {
        MarkedRun::Success => RunState::Success,
        MarkedRun::Failed => RunState::Failed,
    };
    let request = MarkRunRequest { run: run.key, to, note: args.note, dry_run: args.dry_run, actor: ACTOR.to_owned() };
    let report = store.mark_run(&request, app.now()).await?;
    print_marked(app, &args.dag_id, &report)?;
    if report.runs.is_empty() {
        notice(format!("the run {} is {to} already", run.run_id));
    } else if args.dry_run {
        notice(format!("the run {} would be marked {to}; nothing was changed", run.run_id));
    } else {
        notice(format!("marked the run {} {to}", run.run_id));
    }
    Ok(())
}

pub async fn note(app: &App, store: &Store, args: NoteArgs) -> anyhow::Result<()> {
    let row = lookup::dag(app, store, &args.dag_id).await?;
    let run = lookup::run(store, &row.dag, &args.run).await?;
    match args.text {
        None if matches!(app.format, Format::Json | Format::Yaml) => {
            let note = run.note.as_ref();
            print_one(app.format, &json!({ "dag_id": run.dag_id, "dag_run_id": run.run_id, "note": note }))
        }
        None => match &run.note {
            Some(note) => print_text(note),
            None => {
                notice(format!("the run {} has no note", run.run_id));
                Ok(())
            }
        },
        Some(text) => {
            let row = store.set_note(run.key, Some(&text), ACTOR, app.now()).await?;
            notice(match row.note {
                Some(_) => format!("noted on the run {}", row.run_id),
                None => format!("the run {} has no note now", row.run_id),
            });
            Ok(())
        }
    }
}

#[derive(Serialize)]
struct RepinnedView {
    run_id: String,
    state: RunState,
    added: Vec<String>,
    removed: Vec<String>,
    restored: Vec<String>,
    queued: bool,
}

pub async fn repin(app: &App, store: &Store, args: RepinArgs) -> anyhow::Result<()> {
    let row = lookup::runnable(app, store, &args.dag_id).await?;
    let runs = match &args.run {
        Some(text) => RunChoice::One(lookup::run(store, &row.dag, text).await?.key),
        None => RunChoice::Between { dag_id: row.dag_id.clone(), from: None, to: None },
    };
    let request = RepinRequest {
        runs,
        only_active: args.all_active,
        newest: newest(&row)?,
        dry_run: args.dry_run,
        actor: ACTOR.to_owned(),
    };
    let names = |list: &[TaskId]| list.iter().map(ToString::to_string).collect();
    let report = store.repin_runs(&request, app.now()).await?;
    let views: Vec<RepinnedView> = report
        .iter()
        .map(|it| RepinnedView {
            run_id: it.run.run_id.to_string(),
            state: it.run.from,
            added: names(&it.added),
            removed: names(&it.removed),
            restored: names(&it.restored),
            queued: it.run.queued,
        })
        .collect();
    if let ([view], Some(_)) = (views.as_slice(), &args.run) {
        print_one(app.format, view)?;
    } else {
        print_list(app.format, &["run_id", "state", "added", "removed", "restored"], &views)?;
    }
    let what = format!("{} to version {}", counted(report.len(), "run"), row.version_number);
    match (report.is_empty(), args.dry_run) {
        (true, _) if args.all_active => {
            notice(format!("every active run has version {} already", row.version_number));
        }
        (true, _) => bail!("the run has version {} already", row.version_number),
        (false, true) => notice(format!("would move {what}; nothing was changed")),
        (false, false) => {
            notice(format!("moved {what}"));
        }
    }
    Ok(())
}
