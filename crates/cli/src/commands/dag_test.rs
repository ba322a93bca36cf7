//! `millrace dags test`: a whole run in this process, decided by the real planner and worked off by the real worker, on a
//! metadata database of its own that is gone afterwards. The home's database is only read, for connections and variables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use chrono::TimeDelta;
use futures::StreamExt;
use millrace_connectors::FolderScratch;
use millrace_logs::{LogFolder, LogPage, TryId};
use millrace_model::change::{Executor, Report, RunKey};
use millrace_model::dag::Dag;
use millrace_model::duration::Span;
use millrace_model::ids::RunId;
use millrace_model::instant::{format_run_id_instant, format_utc_micros};
use millrace_model::schedule::Schedule;
use millrace_model::state::RunState;
use millrace_operator_api::context::{NoRuns, Runs};
use millrace_planner::{DagVersion, ManualRun, manual_run};
use millrace_scheduler::{Engine, EngineOptions};
use millrace_settings::home::create_private_folder;
use millrace_settings::keyring::random_bytes;
use millrace_store::{InstanceRow, NewJob, PoolRow, RunRequest, Store, StoreOptions, SyncDag, schema};
use millrace_worker::{LocalExecutor, LocalExecutorOptions, StoreRuns};
use serde::Serialize;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use crate::app::App;
use crate::args::DagTestArgs;
use crate::commands::runs::conf_argument;
use crate::lookup::{self, optional_time};
use crate::output::{Format, notice, print_list, print_text};
use crate::signals::Signals;
use crate::{dag_files, wiring};

/// Who asks, in the audit log of a database that nobody reads.
const ACTOR: &str = "dags test";
/// The longest time between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Removed with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> anyhow::Result<Self> {
        let name = u64::from_be_bytes(random_bytes::<8>()?);
        let path = std::env::temp_dir().join(format!("millrace-test-{name:016x}"));
        create_private_folder(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            notice(format!("{} could not be removed: {error}", self.0.display()));
        }
    }
}

#[derive(Serialize)]
struct TaskView {
    task_id: String,
    map_index: i32,
    state: &'static str,
    tries: u32,
    /// Seconds from its first start to its end.
    duration: Option<f64>,
    start_date: Option<String>,
    end_date: Option<String>,
    state_reason: Option<String>,
}

impl TaskView {
    fn of(row: &InstanceRow) -> Self {
        let took = row.start_date.zip(row.end_date).map(|(start, end)| end - start);
        Self {
            task_id: row.task_id.to_string(),
            map_index: row.map_index,
            state: row.state.as_str(),
            tries: row.try_number,
            duration: took.map(|took| took.num_milliseconds() as f64 / 1000.0),
            start_date: optional_time(row.start_date),
            end_date: optional_time(row.end_date),
            state_reason: row.state_reason.clone(),
        }
    }
}

pub async fn run(app: &App, args: DagTestArgs) -> anyhow::Result<()> {
    let dag = prepared(dag_files::find_in_files(app, &args.dag_id)?);
    let folder = Folder::new()?;
    let stage = Stage::build(app, &folder.0, &dag, &args).await?;
    let run = stage.play(app).await?;
    let rows = stage.store.instances(stage.run).await?;
    stage.store.close().await;
    let scratch = FolderScratch::new(app.home.scratch_folder());
    if let Err(error) = scratch.remove_run(dag.dag_id.as_str(), stage.run_id.as_str()).await {
        notice(format!("the run's scratch files could not be removed: {error}"));
    }
    let views: Vec<TaskView> = rows.iter().map(TaskView::of).collect();
    let is_mapped = views.iter().any(|view| view.map_index >= 0);
    let columns: &[&str] = if is_mapped {
        &["task_id", "map_index", "state", "tries", "duration", "state_reason"]
    } else {
        &["task_id", "state", "tries", "duration", "state_reason"]
    };
    print_list(app.format, columns, &views)?;
    match run {
        RunState::Success => {
            notice(format!("the run of {} succeeded; nothing was recorded", dag.dag_id));
            Ok(())
        }
        state => bail!("the run of {} ended as {state}; nothing was recorded", dag.dag_id),
    }
}

/// Runs only because it is asked to, and repeats without waiting.
fn prepared(mut dag: Dag) -> Dag {
    dag.timetable.schedule = Schedule::None;
    dag.catchup = false;
    (dag.assets, dag.calendar, dag.misfire) = (None, None, None);
    for task in &mut dag.tasks {
        task.retry_delay = Span::from_seconds(0);
    }
    dag
}

struct Stage {
    store: Store,
    logs: LogFolder,
    run: RunKey,
    run_id: RunId,
    dag_id: String,
}

impl Stage {
    async fn build(app: &App, folder: &Path, dag: &Dag, args: &DagTestArgs) -> anyhow::Result<Self> {
        let url = format!("sqlite://{}/test.db", folder.display());
        schema::migrate(&url, true, app.now()).await?;
        let store = Store::open(&StoreOptions { url, max_connections: 4, home: Some(folder.to_owned()) }).await?;
        copy_pools(app, &store, dag).await?;
        let file = SyncDag { dag, file_path: "test.yaml", source: "", paused_at_creation: false };
        let stored = store.sync_dag(file, app.now()).await?;
        let version = DagVersion::new(stored.version_key, Arc::new(dag.clone())).context("the DAG can't be used")?;
        // Dates come from the schedule as it is written, not from that of the copy.
        let planned = match &args.date {
            Some(date) => lookup::tried_run(&dag_files::find_in_files(app, &args.dag_id)?, date)?,
            None => dag_files::find_in_files(app, &args.dag_id)?.timetable.manual_run(app.now()),
        };
        let run_id = RunId::new_unchecked(format!("test__{}", format_run_id_instant(planned.logical_date)));
        let asked = ManualRun {
            version: &version,
            run_id: None,
            logical_date: None,
            conf: conf_argument(args.conf.as_deref(), "--conf")?,
            triggered_by: ACTOR.to_owned(),
        };
        let mut new = manual_run(asked, app.now())?;
        // Set here: a test may be of any date, also of one that the DAG does not run for.
        (new.run_id, new.logical_date) = (run_id.clone(), planned.logical_date);
        new.data_interval = planned.data_interval;
        // A date in the future is run now all the same.
        new.run_after = planned.run_after.min(app.now());
        let created =
            store.create_run(&RunRequest { run: new, note: None, actor: ACTOR.to_owned() }, app.now()).await?;
        let logs = LogFolder::new(folder.join("logs"));
        Ok(Self { store, logs, run: created.run, run_id, dag_id: dag.dag_id.to_string() })
    }

    /// To the end of the run; a signal stops what runs, and the run fails. A second one leaves no time for it.
    async fn play(&self, app: &App) -> anyhow::Result<RunState> {
        let job = NewJob { kind: "scheduler".to_owned(), hostname: wiring::hostname(), pid: std::process::id() };
        let job_id = self.store.register_job(&job, app.now()).await?;
        let lead = self.store.try_lead(&job_id, app.now()).await?.context("a database of one's own has no leader")?;
        let real = app.store_read_only().await?;
        let vault = app.vault_read_only(real.clone())?;
        // What waits for another DAG waits for its recorded runs.
        let runs: Arc<dyn Runs> = match real {
            Some(store) => Arc::new(StoreRuns { store }),
            None => Arc::new(NoRuns),
        };
        let mut equipment =
            wiring::equipment(app, &vault, Some(self.store.clone()), format!("test-{}", std::process::id()));
        equipment.is_test = true;
        let (sender, completions) = unbounded_channel();
        let executor = Arc::new(LocalExecutor::new(LocalExecutorOptions {
            equipment: Arc::new(equipment),
            store: self.store.clone(),
            logs: self.logs.clone(),
            runs,
            slots: app.config.core.parallelism,
            completions: sender,
        }));
        let options = EngineOptions {
            job_id,
            epoch: lead.epoch,
            previous_owner_is_dead: true,
            // Nobody else could take anything.
            maintenance: Arc::default(),
            max_map_length: app.config.core.max_map_length,
            lease_ttl: TimeDelta::days(365),
        };
        let engine = Engine::new(self.store.clone(), executor.clone(), options);
        self.work(app, engine, &*executor, completions).await
    }

    async fn work(
        &self,
        app: &App,
        mut engine: Engine,
        executor: &dyn Executor,
        mut completions: UnboundedReceiver<Report>,
    ) -> anyhow::Result<RunState> {
        let clock = app.clock();
        let now = move || clock.now();
        let mut followers = Followers::default();
        let mut is_interrupted = false;
        let mut signals = Signals::listen()?;
        let state = loop {
            let wake_at = engine.turn(&now).await?;
            followers.follow_new(self, app.format).await?;
            let run = self.store.run_by_key(self.run).await?.context("the run is gone")?;
            if run.state.is_finished() && engine.in_flight() == 0 {
                break run.state;
            }
            if is_interrupted && engine.running() == 0 {
                break RunState::Failed;
            }
            let until = wake_at.map(|at| (at - app.now()).to_std().unwrap_or(Duration::ZERO));
            tokio::select! {
                Some(report) = completions.recv() => engine.complete(report),
                () = tokio::time::sleep(until.unwrap_or(LOOK).min(LOOK)) => {}
                which = signals.next() => {
                    if is_interrupted {
                        executor.fence(which, Duration::ZERO);
                    } else {
                        notice("stopping what runs; once more stops at once");
                        is_interrupted = true;
                        engine.drain();
                        engine.cancel_all(which);
                    }
                }
            }
            while let Ok(report) = completions.try_recv() {
                engine.complete(report);
            }
            // What another process could ask for (more of a mapped task, a wait that is over) comes as a signal.
            engine.take_signals(app.now()).await?;
        };
        followers.end().await;
        Ok(state)
    }
}

/// One for each try, printing its log as it grows.
#[derive(Default)]
struct Followers {
    seen: BTreeSet<(i64, u32)>,
    tasks: JoinSet<()>,
    names: BTreeMap<i64, String>,
}

impl Followers {
    async fn follow_new(&mut self, stage: &Stage, format: Format) -> anyhow::Result<()> {
        for row in stage.store.instances(stage.run).await? {
            for one in stage.store.tries(row.key).await? {
                if self.seen.insert((row.key, one.try_number)) {
                    self.follow(stage, &row, one.try_number, format);
                }
            }
        }
        Ok(())
    }

    fn follow(&mut self, stage: &Stage, row: &InstanceRow, try_number: u32, format: Format) {
        let name = self.names.entry(row.key).or_insert_with(|| match row.map_index {
            index if index < 0 => row.task_id.to_string(),
            index => format!("{}[{index}]", row.task_id),
        });
        let label = if try_number > 1 { format!("{name} (try {try_number})") } else { name.clone() };
        let id = TryId {
            dag_id: stage.dag_id.clone(),
            run_id: stage.run_id.to_string(),
            task_id: row.task_id.to_string(),
            map_index: row.map_index,
            try_number,
        };
        let (store, key) = (stage.store.clone(), row.key);
        let pages = stage.logs.clone().follow(id, 0, move || {
            let store = store.clone();
            async move {
                let tries = store.tries(key).await.unwrap_or_default();
                tries.iter().find(|one| one.try_number == try_number).is_none_or(|one| one.end_date.is_some())
            }
        });
        self.tasks.spawn(async move {
            let mut pages = std::pin::pin!(pages);
            while let Some(page) = pages.next().await {
                match page {
                    Ok(page) => print_page(&label, &page, format),
                    Err(error) => notice(format!("the log of {label} can't be read: {error}")),
                }
            }
        });
    }

    async fn end(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Whoever reads JSON wants nothing else on standard output.
fn print_page(label: &str, page: &LogPage, format: Format) {
    let mut text = String::new();
    for line in &page.lines {
        let at = line.at.map(format_utc_micros).unwrap_or_default();
        text.push_str(&format!("[{label}] {at} {} {}\n", line.level.as_str(), line.text));
    }
    if text.is_empty() {
        return;
    }
    match format {
        // A closed pipe is told by the list at the end.
        Format::Table | Format::Plain => drop(print_text(&text)),
        Format::Json | Format::Yaml => notice(text.trim_end()),
    }
}

/// The slots of the home's pools. A pool that does not exist there would keep its tasks waiting for ever.
async fn copy_pools(app: &App, store: &Store, dag: &Dag) -> anyhow::Result<()> {
    let known = match app.store_read_only().await? {
        Some(real) => real.pools().await?,
        None => Vec::new(),
    };
    let named: BTreeSet<&str> = dag.tasks.iter().map(|task| task.pool.as_str()).collect();
    let present: BTreeSet<String> = store.pools().await?.into_iter().map(|row| row.name).collect();
    for name in named {
        let row = known.iter().find(|row| row.name == name).cloned();
        if row.is_none() && present.contains(name) {
            continue;
        }
        let row = row.unwrap_or_else(|| {
            notice(format!("there is no pool '{name}' yet: `millrace pools set {name} SLOTS` makes it; the test goes on without a limit"));
            PoolRow { name: name.to_owned(), slots: -1, description: None, include_deferred: false }
        });
        store.put_pool(&row, ACTOR, app.now()).await?;
    }
    Ok(())
}
