//! Running one task from the command line: `tasks test` (nothing is recorded), `tasks run` (recorded), `tasks render`.

use std::io::Write;
use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::{DateTime, TimeDelta, Utc};
use millrace_logs::TryId;
use millrace_model::asset::AssetName;
use millrace_model::change::{Assignment, Completion, Finish, NewRun, RunFacts, TryOutcome};
use millrace_model::dag::Dag;
use millrace_model::ids::{RunId, TaskId};
use millrace_model::instant::{format_run_id_instant, format_utc_micros};
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_operator_api::context::{LogLevel, NoRuns, NoTriggers, OwnSlot, Results, Runs, StatementJournal};
use millrace_planner::{About, DagVersion};
use millrace_store::{DagRow, InstanceRow, NewJob, RunRow, Store, TakeRequest, Taken, TakenFrom};
use millrace_worker::{
    AttemptIo, AttemptLog, Cancel, LogSink, MemoryJournal, NoResults, Note, Notebook, StoreJournal, StoreResults,
    StoreRuns, StoreTriggers, run_until_ended,
};
use serde_json::{Map, Value};
use tokio::runtime::Handle;

use crate::app::App;
use crate::commands::runs::conf_argument;
use crate::output::{notice, print_one};
use crate::signals::Signals;
use crate::{dag_files, lookup, wiring};

/// Lines to standard output; checkpoints as lines.
struct Printed;

impl LogSink for Printed {
    fn line(&self, at: DateTime<Utc>, level: LogLevel, text: &str) {
        let level = match level {
            LogLevel::Debug => "DEBUG",
            LogLevel::Info => "INFO",
            LogLevel::Warning => "WARNING",
            LogLevel::Error => "ERROR",
        };
        // Nobody may be reading any more; the task goes on.
        let _ = writeln!(std::io::stdout().lock(), "{} {level} {text}", format_utc_micros(at));
    }

    fn note(&self, note: Note) {
        if let Note::Checkpoint(checkpoint) = note {
            self.line(checkpoint.at, LogLevel::Info, &format!("[{}] {}", checkpoint.name, checkpoint.message));
        }
    }

    fn flush(&self) {}
}

/// To standard output and to the log of the recorded try.
struct Both(AttemptLog);

impl LogSink for Both {
    fn line(&self, at: DateTime<Utc>, level: LogLevel, text: &str) {
        Printed.line(at, level, text);
        self.0.line(at, level, text);
    }

    fn note(&self, note: Note) {
        Printed.note(note.clone());
        self.0.note(note);
    }

    fn flush(&self) {
        self.0.flush();
    }
}

/// An attempt that belongs to no recorded run.
fn unrecorded(
    dag: Arc<Dag>,
    (task_id, map_index): (&str, i32),
    (date, now): (&str, DateTime<Utc>),
    conf: Map<String, Value>,
) -> anyhow::Result<Assignment> {
    let task_index = lookup::task_index(&dag, task_id)?;
    let planned = lookup::tried_run(&dag, date)?;
    let run = RunFacts {
        run_key: 0,
        run_id: RunId::new_unchecked(format!("test__{}", format_run_id_instant(planned.logical_date))),
        run_type: RunType::Manual,
        logical_date: planned.logical_date,
        data_interval: planned.data_interval,
        run_after: planned.run_after,
        created_at: now,
        start_date: None,
        conf,
        asset_events: Vec::new(),
    };
    let max_tries = dag.tasks[task_index].retries;
    Ok(Assignment {
        instance: 0,
        token: "test".to_owned(),
        dag,
        task_index,
        run: Arc::new(run),
        map_index,
        try_number: 1,
        max_tries,
        generation: 0,
        put_offs: None,
    })
}

pub async fn test(
    app: &App,
    (dag_id, task_id, map_index): (&str, &str, i32),
    date: &str,
    params: Option<&str>,
) -> anyhow::Result<()> {
    let dag = Arc::new(dag_files::find_in_files(app, dag_id)?);
    let conf = conf_argument(params, "--task-params")?;
    let assignment = unrecorded(dag, (task_id, map_index), (date, app.now()), conf)?;
    let store = app.store_read_only().await?;
    let runs: Arc<dyn Runs> = match &store {
        Some(store) => Arc::new(StoreRuns { store: store.clone() }),
        None => Arc::new(NoRuns),
    };
    let vault = app.vault_read_only(store)?;
    // Effects outside are real; a name of its own keeps them apart from those of recorded runs.
    let mut equipment = wiring::equipment(app, &vault, None, format!("test-{}", std::process::id()));
    equipment.is_test = true;
    let cancel = Cancel::new();
    stop_on_signal(&cancel)?;
    let io = AttemptIo {
        log: Arc::new(Printed),
        journal: Arc::new(MemoryJournal::default()),
        results: Arc::new(NoResults),
        runs,
        triggers: Arc::new(NoTriggers),
        slot: Arc::new(OwnSlot),
        cancel,
    };
    conclude(&run_until_ended(Arc::new(equipment), assignment, io).await)
}

fn conclude(completion: &Completion) -> anyhow::Result<()> {
    match &completion.outcome {
        TryOutcome::Success | TryOutcome::Skipped { .. } => Ok(()),
        _ => bail!("the task failed: {}", completion.error.as_deref().unwrap_or("no reason was given")),
    }
}

fn stop_on_signal(cancel: &Cancel) -> std::io::Result<()> {
    let cancel = cancel.clone();
    let mut signals = Signals::listen()?;
    tokio::spawn(async move {
        let which = signals.next().await;
        notice("stopping; once more stops at once");
        cancel.fire(which);
        cancel.cut_off(signals.next().await, tokio::time::Instant::now());
    });
    Ok(())
}

pub async fn render(app: &App, (dag_id, task_id, map_index): (&str, &str, i32), date: &str) -> anyhow::Result<()> {
    let store = app.store().await?;
    let row = lookup::dag(app, &store, dag_id).await?;
    let vault = app.vault(&store)?;
    let assignment = match lookup::find_run(&store, &row.dag, date).await? {
        Some(run) => {
            let dag = lookup::pinned(&store, &run).await?;
            let max_tries = dag.tasks[lookup::task_index(&dag, task_id)?].retries;
            Assignment {
                task_index: lookup::task_index(&dag, task_id)?,
                run: Arc::new(run.facts()),
                dag,
                instance: 0,
                token: String::new(),
                map_index,
                try_number: 1,
                max_tries,
                generation: 0,
                put_offs: None,
            }
        }
        None => unrecorded(row.dag.clone(), (task_id, map_index), (date, app.now()), Map::new())?,
    };
    let equipment = Arc::new(wiring::equipment(app, &vault, Some(store), String::new()));
    let rendered = millrace_worker::render(&equipment, &assignment).await.map_err(|e| anyhow::anyhow!("{e}"))?;
    print_one(app.format, &millrace_worker::masker(&equipment, &assignment).mask_value(&rendered.parameters))
}

/// What `tasks run` does not look at. Whatever is chosen, it asks for no worker slot, and neither a pause, a maintenance
/// window nor `max_active_runs` holds it up: a person wants the task now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    Nothing,
    Past,
    /// Also what the tasks before it came to, and the wait before a retry.
    Dependencies,
    /// Also pools and other limits.
    Everything,
}

impl Ignored {
    fn lets(self, about: About) -> bool {
        match about {
            About::Done | About::Start | About::Slots => true,
            About::Past => self != Self::Nothing,
            About::Upstream | About::Retry => matches!(self, Self::Dependencies | Self::Everything),
            About::Room => self == Self::Everything,
        }
    }

    /// What would leave this condition out.
    fn flag(about: About) -> &'static str {
        match about {
            About::Past => "--ignore-depends-on-past",
            About::Room => "--ignore-all-dependencies",
            _ => "--ignore-dependencies",
        }
    }
}

pub struct RunOptions {
    pub dag_id: String,
    pub task_id: String,
    pub date: String,
    pub ignored: Ignored,
    pub force: bool,
    pub map_index: i32,
}

/// Claims, runs and finishes one task of the dated run as a worker would, in this process.
pub async fn run(app: &App, options: RunOptions) -> anyhow::Result<()> {
    let store = app.store().await?;
    let row = lookup::dag(app, &store, &options.dag_id).await?;
    lookup::task_index(&row.dag, &options.task_id)?;
    let from = match lookup::find_run(&store, &row.dag, &options.date).await? {
        Some(run) => {
            may_start(app, &store, &run, &options).await?;
            TakenFrom::Run(run.key)
        }
        None => TakenFrom::New(Box::new(new_run(app, &store, &row, &options).await?)),
    };
    let job = NewJob { kind: "task_run".to_owned(), hostname: wiring::hostname(), pid: std::process::id() };
    let owner = store.register_job(&job, app.now()).await?;
    let request = TakeRequest {
        from,
        task_id: TaskId::new_unchecked(&options.task_id),
        map_index: options.map_index,
        owner: owner.clone(),
        lease_expires_at: lease(app),
        actor: "cli".to_owned(),
    };
    let Some(Taken { run, instance }) = store.take(&request, app.now()).await? else {
        store.end_job(&owner, app.now()).await?;
        bail!("{} was taken by another process in this moment; try again", options.task_id);
    };
    let dag = lookup::pinned(&store, &run).await?;
    let assignment = Assignment {
        instance: instance.key,
        token: instance.lease.map(|lease| lease.token).unwrap_or_default(),
        task_index: lookup::task_index(&dag, &options.task_id)?,
        run: Arc::new(run.facts()),
        map_index: instance.map_index,
        try_number: instance.try_number,
        max_tries: instance.max_tries,
        generation: instance.generation,
        put_offs: instance.put_offs,
        dag: dag.clone(),
    };
    let outlets = assignment.task().outlets.clone();
    // Nothing but the database may stand between the work that is done and what is written of it.
    let version = DagVersion::new(run.version_key, dag).context("the stored DAG can't be used")?;
    let completion = attempt(app, &store, assignment, &owner).await?;
    finish(app, &store, &run, version, &completion, outlets).await?;
    store.end_job(&owner, app.now()).await?;
    store.wake().await;
    conclude(&completion)
}

fn lease(app: &App) -> DateTime<Utc> {
    app.now() + TimeDelta::seconds(app.config.scheduler.lease_timeout as i64)
}

/// A run of the date that is made for this task; an error when something keeps it from being started.
async fn new_run(app: &App, store: &Store, row: &DagRow, options: &RunOptions) -> anyhow::Result<NewRun> {
    let last = store.last_automated_interval(&row.dag_id).await?;
    let planned = lookup::planned_run(&row.dag, last.as_ref(), &options.date)?;
    let version = lookup::version(row)?;
    let new = NewRun {
        dag_id: row.dag_id.clone(),
        run_id: RunId::new_unchecked(format!("manual__{}", format_run_id_instant(planned.logical_date))),
        run_type: RunType::Manual,
        state: RunState::Running,
        logical_date: planned.logical_date,
        data_interval: planned.data_interval,
        run_after: planned.run_after,
        conf: Map::new(),
        version_key: row.version_key,
        backfill_key: None,
        triggered_by: "cli".to_owned(),
        tasks: version.new_instances(),
        asset_events: Vec::new(),
    };
    let asked = (&new, options.task_id.as_str(), options.map_index);
    let Some(unmet) =
        millrace_situation::unmet_of_new(store, asked, &app.surroundings_in_force(store).await?, app.now()).await?
    else {
        bail!(no_instance(&new.run_id, &row.dag, options));
    };
    options.check(unmet)?;
    Ok(new)
}

fn no_instance(run_id: &RunId, dag: &Dag, RunOptions { task_id, map_index, .. }: &RunOptions) -> String {
    if dag.task(task_id).is_some_and(|task| dag.expand_of(task).is_some()) {
        format!(
            "the run {run_id} has no instance {map_index} of the mapped task '{task_id}'; choose one with --map-index"
        )
    } else {
        format!("the run {run_id} was made before the DAG had a task '{task_id}'")
    }
}

/// An error when the task of the run can't be started now.
async fn may_start(app: &App, store: &Store, run: &RunRow, options: &RunOptions) -> anyhow::Result<()> {
    let task_id = &options.task_id;
    let dag = lookup::pinned(store, run).await?;
    let Some(instance) = store.instance(run.key, task_id, options.map_index).await? else {
        bail!(no_instance(&run.run_id, &dag, options));
    };
    match instance.state {
        TaskState::Queued | TaskState::Running | TaskState::Restarting => {
            bail!("{task_id} is {} in the run {} already", instance.state, run.run_id)
        }
        TaskState::Removed => {
            let (run_id, dag_id) = (&run.run_id, &run.dag_id);
            bail!(
                "the version that the run {run_id} goes by has no task '{task_id}'; `millrace dags repin {dag_id} {run_id}` gives it the newest one"
            )
        }
        TaskState::Success if !options.force => {
            bail!("{task_id} has succeeded in the run {}; --force runs it again", run.run_id)
        }
        _ => {}
    }
    options.check(
        millrace_situation::unmet(store, (run, &instance), &app.surroundings_in_force(store).await?, app.now()).await?,
    )
}

impl RunOptions {
    /// An error for the first that holds the task up and is not to be left out.
    fn check(&self, unmet: Vec<(About, String)>) -> anyhow::Result<()> {
        match unmet.into_iter().find(|(about, _)| !self.ignored.lets(*about)) {
            Some((about, text)) => {
                bail!("{} can't run now: {text}; {} runs it all the same", self.task_id, Ignored::flag(about))
            }
            None => Ok(()),
        }
    }
}

/// Runs it, with heartbeats, so that nobody takes it for lost.
async fn attempt(app: &App, store: &Store, assignment: Assignment, owner: &str) -> anyhow::Result<Completion> {
    let vault = app.vault(store)?;
    let installation = store.installation_id().await?;
    let logs = app.logs_of(&installation);
    let equipment = Arc::new(wiring::equipment(app, &vault, Some(store.clone()), installation));
    let id = TryId {
        dag_id: assignment.dag.dag_id.to_string(),
        run_id: assignment.run.run_id.to_string(),
        task_id: assignment.task().task_id.to_string(),
        map_index: assignment.map_index,
        try_number: assignment.try_number,
    };
    let (sender, mut notes) = tokio::sync::mpsc::unbounded_channel::<Note>();
    let log = AttemptLog::new(&logs, &id, Handle::current(), move |note| {
        // The receiver lives until the attempt is over.
        let _ = sender.send(note);
    });
    let notebook = Notebook::of(store.clone(), &assignment);
    let cancel = Cancel::new();
    stop_on_signal(&cancel)?;
    let journal: Arc<dyn StatementJournal> = Arc::new(StoreJournal {
        store: store.clone(),
        clock: app.clock(),
        instance: assignment.instance,
        generation: assignment.generation,
    });
    let results: Arc<dyn Results> = Arc::new(StoreResults::new(store.clone(), &assignment));
    let runs = Arc::new(StoreRuns { store: store.clone() });
    let triggers = Arc::new(StoreTriggers::new(store.clone(), app.clock(), &assignment));
    let slot = Arc::new(OwnSlot);
    let io = AttemptIo { log: Arc::new(Both(log)), journal, results, runs, triggers, slot, cancel };
    let mut beat =
        tokio::time::interval(std::time::Duration::from_secs(app.config.scheduler.heartbeat_interval.max(1)));
    let (ended, mut has_ended) = tokio::sync::oneshot::channel();
    let working = async {
        let completion = run_until_ended(equipment, assignment, io).await;
        // Who waits for it lives as long.
        let _ = ended.send(());
        completion
    };
    // Beside the work and not in turn with it: that may be in the middle of a transaction, and SQLite has one writer.
    let noting = async {
        loop {
            tokio::select! {
                biased;
                Some(note) = notes.recv() => notebook.try_write(&note).await,
                _ = &mut has_ended => {
                    while let Ok(note) = notes.try_recv() {
                        notebook.try_write(&note).await;
                    }
                    return;
                }
                _ = beat.tick() => {
                    if let Err(error) = store.heartbeat(owner, app.now()).await {
                        notice(format!("the heartbeat could not be written: {error}"));
                    }
                }
            }
        }
    };
    let (completion, ()) = tokio::join!(working, noting);
    Ok(completion)
}

/// The end of the try, and of the run when nothing in it is left to wait for.
async fn finish(
    app: &App,
    store: &Store,
    run: &RunRow,
    version: DagVersion,
    completion: &Completion,
    outlets: Vec<AssetName>,
) -> anyhow::Result<()> {
    let (to, reason) = match &completion.outcome {
        TryOutcome::Success => (TaskState::Success, None),
        TryOutcome::Skipped { reason } => (TaskState::Skipped, Some(reason.clone())),
        TryOutcome::Failed { reason, .. } | TryOutcome::Cancelled { reason } => {
            (TaskState::Failed, Some(reason.clone()))
        }
        TryOutcome::PutOff { reason, .. } => (TaskState::Failed, Some(reason.clone())),
        TryOutcome::LostWorker => (TaskState::Failed, Some("lost_worker".to_owned())),
    };
    let outlets = if to == TaskState::Success { outlets } else { Vec::new() };
    let finish = Finish {
        completion: completion.clone(),
        to,
        reason,
        next_try_at: None,
        counts_try: true,
        asset_events: outlets,
    };
    // If that can't be told now, the run is left to the scheduler: what the task came to is written all the same.
    let is_led = store.is_led().await.unwrap_or(true);
    let asked = completion.instance;
    // A run that the scheduler made, or that it will look after again, is ended by its rules; one that was made for one
    // task ends with that task.
    let end = move |instances: &[InstanceRow]| {
        if is_led && !instances.iter().any(InstanceRow::was_left_out) {
            return None;
        }
        let counts = |it: &&InstanceRow| it.key == asked || version.decides(it.task_id.as_str());
        let has_failed = instances.iter().filter(counts).any(InstanceRow::has_failed);
        Some(if has_failed { RunState::Failed } else { RunState::Success })
    };
    if !store.finish_taken(finish, run.key, end, app.now()).await? {
        bail!("the task was cleared or taken over while it ran; its end was not recorded");
    }
    Ok(())
}
