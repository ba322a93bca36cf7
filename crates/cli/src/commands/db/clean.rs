//! `millrace db clean`: what is old goes, into an archive and out of the database.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use millrace_logs::LogFolder;
use millrace_model::duration::parse_duration;
use millrace_model::instant::{format_utc_micros, parse_instant};
use millrace_settings::home::{create_private_file, create_private_folder};
use millrace_store::{Archive, CleanReport, CleanRequest, NoArchive, Store, StoreError};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::task::spawn_blocking;

use super::confirm;
use crate::app::App;
use crate::args::CleanArgs;
use crate::failure::usage;
use crate::output::{counted, notice, print_list};

#[derive(Serialize)]
struct Row {
    table: String,
    rows: u64,
}

fn rows(report: &CleanReport) -> Vec<Row> {
    report.rows.iter().map(|(table, rows)| Row { table: table.clone(), rows: *rows }).collect()
}

/// One file of JSON objects for each table.
pub struct FolderArchive {
    folder: PathBuf,
    files: BTreeMap<String, BufWriter<File>>,
}

impl FolderArchive {
    /// Nothing is made before there is something to keep.
    pub fn new(root: &Path, now: DateTime<Utc>) -> Self {
        Self { folder: root.join(now.format("%Y-%m-%dT%H%M%SZ").to_string()), files: BTreeMap::new() }
    }

    fn file(&mut self, table: &str) -> anyhow::Result<&mut BufWriter<File>> {
        if !self.files.contains_key(table) {
            create_private_folder(&self.folder)?;
            let path = self.folder.join(format!("{table}.jsonl"));
            create_private_file(&path, b"")?;
            let file = File::options().append(true).open(&path).with_context(|| path.display().to_string())?;
            self.files.insert(table.to_owned(), BufWriter::new(file));
        }
        self.files.get_mut(table).context("it was just put there")
    }

    fn write(&mut self, table: &str, columns: &[&str], rows: &[Vec<Value>]) -> anyhow::Result<()> {
        let file = self.file(table)?;
        for row in rows {
            let object: Map<String, Value> =
                columns.iter().map(|name| (*name).to_owned()).zip(row.iter().cloned()).collect();
            writeln!(file, "{}", Value::Object(object))?;
        }
        Ok(())
    }

    fn sync(&mut self) -> anyhow::Result<()> {
        for file in self.files.values_mut() {
            file.flush()?;
            file.get_ref().sync_all()?;
        }
        Ok(())
    }

    pub fn folder(&self) -> Option<&Path> {
        (!self.files.is_empty()).then_some(self.folder.as_path())
    }
}

fn failed(error: &anyhow::Error) -> StoreError {
    StoreError::Refused { attempted: "archive what is deleted", reason: crate::chain(error) }
}

impl Archive for FolderArchive {
    fn keep(&mut self, table: &str, columns: &[&str], rows: &[Vec<Value>]) -> Result<(), StoreError> {
        self.write(table, columns, rows).map_err(|error| failed(&error))
    }

    fn seal(&mut self) -> Result<(), StoreError> {
        self.sync().map_err(|error| failed(&error))
    }
}

pub async fn run(app: &App, args: CleanArgs) -> anyhow::Result<()> {
    let request = CleanRequest {
        before: before(app, &args)?,
        tables: args.tables,
        dag_ids: args.dag_ids,
        batch: args.batch_size,
        actor: "cli".to_owned(),
    };
    let store = app.store().await?;
    let old = store.count_old(&request).await?;
    if args.dry_run {
        print_list(app.format, &["table", "rows"], &rows(&old))?;
        notice(format!(
            "before {}; with each run go its tasks, tries, results and log; nothing was deleted",
            format_utc_micros(request.before)
        ));
        return Ok(());
    }
    if old.total() == 0 {
        notice(format!("nothing is older than {}", format_utc_micros(request.before)));
        return Ok(());
    }
    let runs = old.rows.iter().find(|(table, _)| table == "dag_run").map_or(0, |(_, rows)| *rows);
    confirm(
        app,
        args.yes,
        &format!(
            "delete {} and {}, and what hangs on them,",
            counted(runs, "run"),
            counted(old.total() - runs, "other row")
        ),
    )?;
    let logs = (!args.keep_logs).then(|| app.logs());
    let mut archive = (!args.skip_archive).then(|| FolderArchive::new(&app.home.archive_folder(), app.now()));
    let report = clean(&store, &request, archive.as_mut(), logs.as_ref(), app.now()).await?;
    print_list(app.format, &["table", "rows"], &rows(&report))?;
    if let Some(folder) = archive.as_ref().and_then(FolderArchive::folder) {
        notice(format!("what was deleted is in {}", folder.display()));
    }
    Ok(())
}

fn before(app: &App, args: &CleanArgs) -> anyhow::Result<DateTime<Utc>> {
    if let Some(text) = &args.before {
        return Ok(parse_instant(text, Tz::UTC)?);
    }
    let text = args.keep.as_deref().unwrap_or_default();
    let kept = parse_duration(text).map_err(|error| usage(format!("--keep {text}: {error}")))?;
    app.now().checked_sub_signed(kept.as_delta()).with_context(|| format!("--keep {text} is longer than time itself"))
}

/// Deletes, and the logs of deleted runs with them.
pub async fn clean(
    store: &Store,
    request: &CleanRequest,
    archive: Option<&mut FolderArchive>,
    logs: Option<&LogFolder>,
    now: DateTime<Utc>,
) -> anyhow::Result<CleanReport> {
    let mut nothing = NoArchive;
    let archive: &mut dyn Archive = match archive {
        Some(archive) => archive,
        None => &mut nothing,
    };
    let mut done = |part: &CleanReport| {
        for (dag, run) in &part.runs {
            if let Some(Err(error)) = logs.map(|logs| logs.remove_run(dag, run)) {
                tracing::warn!(dag, run, %error, "the logs of a deleted run could not be removed");
            }
        }
    };
    let report = store.clean(request, archive, &mut done, now).await?;
    let asks_for_runs = request.tables.is_empty() || request.tables.iter().any(|table| table == "dag_run");
    if let Some(logs) = logs.filter(|_| asks_for_runs && request.dag_ids.is_empty()) {
        match remove_orphans(store, logs, now).await {
            Ok(0) => {}
            Ok(folders) => tracing::info!(folders, "removed logs of runs that had been deleted"),
            Err(error) => {
                tracing::warn!(error = crate::chain(&error), "logs of deleted runs could not all be removed");
            }
        }
    }
    Ok(report)
}

/// A run whose deletion was cut off after its rows and before its logs left a folder. What changed within a day is left for
/// the next time, and all of it where the folder was not this installation's from its beginning. Returns how many folders
/// went.
async fn remove_orphans(store: &Store, logs: &LogFolder, now: DateTime<Utc>) -> anyhow::Result<usize> {
    if !logs.is_of(&store.installation_id().await?) {
        return Ok(0);
    }
    let before = SystemTime::from(now - TimeDelta::days(1));
    // The folders are listed before the database is asked: a run is there before its folder.
    let listing = logs.clone();
    let folders = spawn_blocking(move || listing.dag_folders()).await??;
    let dags: HashMap<OsString, String> =
        store.all_dag_ids().await?.into_iter().map(|id| (LogFolder::dag_folder_name(&id), id)).collect();
    let mut removed = 0;
    for folder in folders {
        let logs = logs.clone();
        let Some(dag_id) = dags.get(&folder) else {
            removed += usize::from(spawn_blocking(move || logs.remove_dag_folder(&folder, before)).await??);
            continue;
        };
        let (listing, name) = (logs.clone(), folder.clone());
        let listed = spawn_blocking(move || listing.run_folders(&name)).await??;
        let runs = store.all_run_ids(dag_id).await?;
        let remove = move || logs.remove_run_folders(&folder, &listed, runs.iter().map(String::as_str), before);
        removed += spawn_blocking(remove).await??;
    }
    Ok(removed)
}
