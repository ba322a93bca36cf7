//! DAG files as commands meet them: brought into the store before it is read, checked by `validate`, searched by
//! `tasks test`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use millrace_dagfile::{
    Defaults, Diagnostic, KnownConnection, LintOptions, ReadResult, Severity, lint, read_dag, render_all,
};
use millrace_model::dag::Dag;
use millrace_model::duration::Span;
use millrace_model::pool::PoolSizes;
use millrace_model::schedule::parse_zone;
use millrace_operators::catalogue;
use millrace_scheduler::{FolderOptions, dag_file_paths, double, doubles, sync_folder};
use millrace_store::Store;
use millrace_vault::NamedConnection;
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

/// The connections, if it can be known which there are.
pub async fn connections(app: &App) -> Option<BTreeMap<String, KnownConnection>> {
    let store = app.store_read_only().await.ok()??;
    let named = app.vault_read_only(Some(store)).ok()?.connections().await.ok()?;
    let known = |connection: &NamedConnection| KnownConnection {
        has_source_timezone: connection.form.extra.contains_key("source_timezone"),
    };
    Some(named.into_iter().map(|connection| (connection.conn_id.clone(), known(&connection))).collect())
}

pub async fn lint_options(app: &App, pools: Option<PoolSizes>) -> LintOptions {
    let connections = connections(app).await;
    LintOptions { pools, connections, worker_slots: Some(app.config.core.parallelism), ..LintOptions::new(app.now()) }
}

/// A file and what was found in it.
pub struct Checked {
    /// How it is read: in the DAGs folder, or in the folder that it was found in.
    folder: FolderOptions,
    /// Relative to that folder.
    name: String,
    /// As it was asked for.
    path: PathBuf,
    source: String,
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
        let found = self.folder.reading(&self.name, None, |read| lint(&self.result.dags, &self.source, read, options));
        self.result.diagnostics.extend(found);
        self.result.diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    }

    /// Adds what is wrong with it in environments that are not the configured one. Pools are those of this one.
    pub fn look_at_overlays(&mut self) {
        let own = self.folder.defaults.environment.clone();
        let others = self.result.environments.iter().filter(|name| Some(*name) != own.as_ref());
        let mut found: Vec<Diagnostic> = Vec::new();
        for name in others {
            let mut folder = self.folder.clone();
            folder.defaults.environment = Some(name.clone());
            let result = folder.reading(&self.name, None, |options| read_dag(&self.source, options));
            let is_new = |it: &Diagnostic| !self.result.diagnostics.contains(it);
            found.extend(result.diagnostics.into_iter().filter(is_new).map(|it| {
                let message = format!("in the environment '{name}': {}", it.message);
                Diagnostic { message, ..it }
            }));
        }
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
    let options = folder_options(app)?;
    let given: Vec<PathBuf> = if paths.is_empty() { vec![options.folder.clone()] } else { paths.to_vec() };
    let mut checked = Vec::new();
    for path in given {
        for found in found_at(&options, path)? {
            let Found { folder, name, path } = found;
            let read = folder.read_file(&name, pools).with_context(|| format!("could not read {}", path.display()))?;
            let (bytes, result) = read;
            checked.push(Checked { folder, name, path, source: String::from_utf8_lossy(&bytes).into_owned(), result });
        }
    }
    report_doubles(&mut checked);
    Ok(checked)
}

/// A file that is to be read.
struct Found {
    folder: FolderOptions,
    name: String,
    path: PathBuf,
}

/// What lies in the DAGs folder, however its path is written, is read as the scheduler reads it; of another folder, that one
/// is taken for the DAGs folder.
fn found_at(options: &FolderOptions, path: PathBuf) -> anyhow::Result<Vec<Found>> {
    let failed = || format!("could not read {}", path.display());
    let is_folder = std::fs::metadata(&path).with_context(failed)?.is_dir();
    // Of a file only its folder: what a link stands for is read under the link's name.
    let (within, file) = match path.file_name().filter(|_| !is_folder) {
        Some(name) => (path.parent().filter(|parent| *parent != Path::new("")), Some(Path::new(name))),
        None => (Some(path.as_path()), None),
    };
    let within = within.unwrap_or(Path::new("."));
    let real = within.canonicalize().with_context(failed)?;
    let in_folder =
        options.folder.canonicalize().ok().and_then(|inside| Some(real.strip_prefix(inside).ok()?.to_owned()));
    let (folder, prefix) = match in_folder {
        Some(prefix) => (options.clone(), prefix),
        None => (FolderOptions { folder: within.to_owned(), ..options.clone() }, PathBuf::new()),
    };
    let text = |name: &Path| name.to_string_lossy().into_owned();
    if let Some(file) = file {
        let name = text(&prefix.join(file));
        return Ok(vec![Found { folder, name, path }]);
    }
    let found = dag_file_paths(&folder.folder).with_context(failed)?;
    let mut unreadable = found.unreadable.into_iter().filter(|(name, _)| name.starts_with(&prefix));
    if let Some((name, error)) = unreadable.next() {
        return Err(error).with_context(|| format!("could not read {}", folder.folder.join(name).display()));
    }
    let below = found.paths.iter().filter_map(|name| Some((name, name.strip_prefix(&prefix).ok()?)));
    Ok(below.map(|(name, rest)| Found { folder: folder.clone(), name: text(name), path: path.join(rest) }).collect())
}

/// Files that give one DAG: all of them are wrong.
fn report_doubles(checked: &mut [Checked]) {
    let ids = |file: &Checked| file.path.display().to_string();
    let doubles =
        doubles(checked.iter().map(|file| (ids(file), file.result.dags.iter().map(|dag| &dag.dag_id).collect())));
    for file in checked {
        let own = file.result.dags.iter().filter_map(|dag| Some(double(&dag.dag_id, doubles.get(&dag.dag_id)?)));
        let own: Vec<Diagnostic> = own.collect();
        file.result.diagnostics.extend(own);
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
