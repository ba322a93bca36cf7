//! DAG files as commands meet them: brought into the store before it is read, checked by `validate`, searched by
//! `tasks test`.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use millrace_dagfile::{
    Defaults, Diagnostic, LintOptions, ReadOptions, ReadResult, Severity, lint, read_dag_bytes, render_all,
};
use millrace_model::dag::Dag;
use millrace_model::duration::Span;
use millrace_model::pool::PoolSizes;
use millrace_model::schedule::parse_zone;
use millrace_operators::catalogue;
use millrace_scheduler::{FolderOptions, calendar_names, dag_file_paths, read_bounded, read_sibling, sync_folder};
use millrace_store::Store;
use serde_json::{Value, json};

use crate::app::App;
use crate::output::notice;

pub fn defaults(app: &App) -> anyhow::Result<Defaults> {
    let core = &app.config.core;
    Ok(Defaults {
        timezone: parse_zone(&core.default_timezone).context("core.default_timezone")?,
        environment: Some(core.environment.clone()).filter(|name| !name.is_empty()),
        max_map_length: core.max_map_length,
        max_active_runs: core.max_active_runs_per_dag,
        max_active_tasks: core.max_active_tasks_per_dag,
        retries: core.default_task_retries,
        retry_delay: Span::from_seconds(u32::try_from(core.default_task_retry_delay).unwrap_or(u32::MAX)),
        ..Defaults::default()
    })
}

pub fn folder_options(app: &App) -> anyhow::Result<FolderOptions> {
    Ok(FolderOptions {
        folder: app.dags_folder(),
        catalogue: catalogue(),
        defaults: defaults(app)?,
        paused_at_creation: app.config.core.dags_are_paused_at_creation,
    })
}

/// Reads what changed in the folder since it was last read, so that no daemon is needed to see it.
pub async fn sync(app: &App, store: &Store) -> anyhow::Result<()> {
    sync_folder(store, &folder_options(app)?, app.now()).await.context("could not read the DAGs folder")?;
    Ok(())
}

/// The pools of the metadata database, if there is one that can be read.
pub async fn pools(app: &App) -> Option<PoolSizes> {
    let pools = match app.store_read_only().await {
        Ok(Some(store)) => store.pool_sizes().await.map(Some).map_err(anyhow::Error::from),
        Ok(None) => Ok(None),
        Err(error) => Err(error),
    };
    pools.unwrap_or_else(|error| {
        notice(format!("the tasks' pools are not checked: {}", crate::chain(&error)));
        None
    })
}

/// The ids of the connections, if it can be known which there are.
pub async fn connections(app: &App) -> Option<BTreeSet<String>> {
    let store = app.store_read_only().await.ok()??;
    let named = app.vault_read_only(Some(store)).ok()?.connections().await.ok()?;
    Some(named.into_iter().map(|connection| connection.conn_id).collect())
}

pub async fn lint_options(app: &App, pools: Option<PoolSizes>) -> LintOptions {
    let connections = connections(app).await;
    LintOptions { pools, connections, worker_slots: Some(app.config.core.parallelism), ..LintOptions::new(app.now()) }
}

/// A file and what was found in it.
pub struct Checked {
    /// Where the files that it includes are looked for.
    base: PathBuf,
    path: PathBuf,
    source: String,
    defaults: Defaults,
    result: ReadResult,
}

impl Checked {
    pub fn has_errors(&self) -> bool {
        self.result.has_errors()
    }

    pub fn dags(&self) -> &[Dag] {
        &self.result.dags
    }

    pub fn warnings(&self) -> usize {
        self.result.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Warning).count()
    }

    pub fn diagnostics(&self) -> &[Diagnostic] {
        &self.result.diagnostics
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds what is allowed and seldom meant.
    pub fn lint(&mut self, options: &LintOptions) {
        let found = with_read_options(&self.base, &self.path, &self.defaults, None, |read| {
            lint(&self.result.dags, &self.source, read, options)
        });
        self.result.diagnostics.extend(found);
        self.result.diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    }

    /// What the file's DAGs were read from, with everything that became part of it.
    pub fn expanded(&self) -> &[Value] {
        &self.result.expanded
    }

    /// Every problem with its place and the line, as text.
    pub fn render(&self) -> String {
        render_all(&self.result.diagnostics, &self.path.display().to_string(), &self.source)
    }

    pub fn view(&self) -> Value {
        json!({
            "file": self.path,
            "dag_id": self.result.dags.first().map(|dag| dag.dag_id.as_str()),
            "dag_ids": self.result.dags.iter().map(|dag| dag.dag_id.as_str()).collect::<Vec<_>>(),
            "diagnostics": self.result.diagnostics,
        })
    }
}

/// Reads files, or every DAG file of folders; without paths, the DAGs folder. Stores nothing. Without `pools` it is not
/// looked whether there are those that tasks name.
pub fn check(app: &App, paths: &[PathBuf], pools: Option<&PoolSizes>) -> anyhow::Result<Vec<Checked>> {
    let folder = app.dags_folder();
    let given: Vec<PathBuf> = if paths.is_empty() { vec![folder.clone()] } else { paths.to_vec() };
    let mut files = Vec::new();
    for path in given {
        let kind = std::fs::metadata(&path).with_context(|| format!("could not read {}", path.display()))?;
        if kind.is_dir() {
            let base = path.clone();
            let found = dag_file_paths(&path)?;
            if let Some((folder, error)) = found.unreadable.into_iter().next() {
                return Err(error).with_context(|| format!("could not read {}", base.join(folder).display()));
            }
            files.extend(found.paths.into_iter().map(|file| (base.clone(), base.join(file))));
        } else {
            // Files that it includes are looked for in the DAGs folder if it is in there, else beside it.
            let base = if path.starts_with(&folder) {
                folder.clone()
            } else {
                path.parent().unwrap_or(Path::new(".")).to_owned()
            };
            files.push((base, path));
        }
    }
    let defaults = defaults(app)?;
    let mut checked = Vec::with_capacity(files.len());
    for (base, path) in files {
        let bytes = read_bounded(&path).with_context(|| format!("could not read {}", path.display()))?;
        checked.push(read_one(base, path, &bytes, defaults.clone(), pools));
    }
    report_doubles(&mut checked);
    Ok(checked)
}

fn read_one(base: PathBuf, path: PathBuf, bytes: &[u8], defaults: Defaults, pools: Option<&PoolSizes>) -> Checked {
    let result = with_read_options(&base, &path, &defaults, pools, |options| read_dag_bytes(bytes, options));
    Checked { base, path, source: String::from_utf8_lossy(bytes).into_owned(), defaults, result }
}

fn with_read_options<T>(
    base: &Path,
    path: &Path,
    defaults: &Defaults,
    pools: Option<&PoolSizes>,
    read: impl FnOnce(&ReadOptions<'_>) -> T,
) -> T {
    let name = path.strip_prefix(base).unwrap_or(path).to_string_lossy().into_owned();
    let files = |relative: &str| read_sibling(base, relative);
    let calendars = || calendar_names(base);
    read(&ReadOptions {
        defaults: defaults.clone(),
        files: &files,
        calendars: &calendars,
        pools,
        ..ReadOptions::new(&name, catalogue())
    })
}

/// Two files that give one DAG: both are wrong.
fn report_doubles(checked: &mut [Checked]) {
    let mut files: HashMap<String, Vec<usize>> = HashMap::new();
    for (place, file) in checked.iter().enumerate() {
        for dag in &file.result.dags {
            files.entry(dag.dag_id.to_string()).or_default().push(place);
        }
    }
    for (id, places) in files {
        for place in &places {
            let Some(other) = places.iter().find(|other| *other != place) else { continue };
            let message = format!("the DAG '{id}' is also defined in {}", checked[*other].path.display());
            let hint = Some("give one of them another dag_id".to_owned());
            checked[*place].result.diagnostics.push(Diagnostic::of_file("duplicate-dag", message, hint));
        }
    }
}

/// The DAG with this id, read from its file; the database is not asked.
pub fn find_in_files(app: &App, dag_id: &str) -> anyhow::Result<Dag> {
    let checked = check(app, &[], None)?;
    let mut broken = Vec::new();
    for file in checked {
        let stem = file.path.file_stem().is_some_and(|stem| stem == dag_id);
        if file.result.has_errors() && (stem || file.source.contains(dag_id)) {
            broken.push(render_all(&file.result.diagnostics, &file.path.display().to_string(), &file.source));
        }
        if let Some(dag) = file.result.dags.into_iter().find(|dag| dag.dag_id.as_str() == dag_id) {
            return Ok(dag);
        }
    }
    if broken.is_empty() {
        bail!("no file in {} defines a DAG '{dag_id}'", app.dags_folder().display());
    }
    bail!("the DAG '{dag_id}' can't be read:\n{}", broken.join("\n"))
}
