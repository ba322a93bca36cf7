//! DAGs and their versions, as everybody reads them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use millrace_model::change::NextRun;
use millrace_model::dag::{Dag, DagHead};
use millrace_model::ids::{DagId, RunId};
use millrace_model::state::RunState;

use crate::runs::active::{DAG_COLUMNS, DAG_SELECT, IMPORT_ERRORS, read_pointer};
use crate::sql::{Kind, Row, values};
use crate::{Backend, Page, Result, RunSummary, Store, StoreError, sql};

#[derive(Debug, Clone)]
pub struct DagRow {
    pub dag_id: DagId,
    pub file_path: String,
    pub is_paused: bool,
    pub is_stale: bool,
    pub has_import_error: bool,
    pub version_key: i64,
    /// Counts from 1.
    pub version_number: u32,
    pub dag: Arc<Dag>,
    pub next: Option<NextRun>,
    pub first_seen_at: DateTime<Utc>,
    pub last_changed_at: DateTime<Utc>,
    /// Newest first, as many as were asked for.
    pub last_runs: Vec<RunSummary>,
}

/// A DAG as a list shows it.
#[derive(Debug, Clone)]
pub struct DagListRow {
    pub dag_id: DagId,
    pub file_path: String,
    pub is_paused: bool,
    /// Its file is gone.
    pub is_stale: bool,
    pub has_import_error: bool,
    pub version_key: i64,
    pub head: DagHead,
    pub next: Option<NextRun>,
    pub last_run: Option<RunSummary>,
}

/// Empty or `None` means "any".
#[derive(Debug, Clone, Default)]
pub struct DagFilter {
    /// Part of the id, any case.
    pub search: Option<String>,
    pub tag: Option<String>,
    pub is_paused: Option<bool>,
    pub include_stale: bool,
    /// How many runs each row carries.
    pub last_runs: u32,
    /// 0: all.
    pub limit: u64,
    pub offset: u64,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DagVersionRow {
    pub version_key: i64,
    pub number: u32,
    pub content_hash: String,
    pub file_path: String,
    pub created_at: DateTime<Utc>,
}

/// So many may wait for a date to come before the latest run is not found behind them.
const LATEST_AMONG: u32 = 8;

const LIST_COLUMNS: [&str; 11] = [
    "dag_id",
    "file_path",
    "is_paused",
    "is_stale",
    "version_id",
    "head",
    "errors",
    "next_logical_date",
    "next_interval_start",
    "next_interval_end",
    "next_run_after",
];

impl Store {
    /// By id. One whose stored form cannot be used is left out, with a warning.
    pub async fn dags(&self, filter: &DagFilter) -> Result<Page<DagRow>> {
        let sql = format!("{DAG_SELECT} ORDER BY d.dag_id");
        let rows = sql::all_at_once(self.reader(), "list DAGs", &DAG_COLUMNS, &sql, vec![]).await?;
        self.load_versions(&rows).await?;
        let search = filter.search.as_deref().map(str::to_lowercase);
        let mut found = Vec::new();
        for row in &rows {
            // Tags and owners are in the stored form, so filtering happens here; DAGs are few next to runs.
            if let Some(dag) = self.read_dag(row).await?
                && (filter.include_stale || !dag.is_stale)
                && filter.is_paused.is_none_or(|paused| paused == dag.is_paused)
                && filter.tag.as_ref().is_none_or(|tag| dag.dag.tags.contains(tag))
                && search.as_ref().is_none_or(|part| dag.dag_id.as_str().to_lowercase().contains(part))
            {
                found.push(dag);
            }
        }
        let total = found.len() as u64;
        let limit = if filter.limit == 0 { usize::MAX } else { usize::try_from(filter.limit).unwrap_or(usize::MAX) };
        let offset = usize::try_from(filter.offset).unwrap_or(usize::MAX);
        let mut page: Vec<DagRow> = found.into_iter().skip(offset).take(limit).collect();
        self.add_last_runs(&mut page, filter.last_runs).await?;
        Ok(Page { rows: page, total })
    }

    /// Every DAG by id, each with its latest run. No stored form is read, so one that cannot be used
    /// is here too.
    pub async fn dag_list(&self) -> Result<Vec<DagListRow>> {
        let sql = format!("SELECT {}, {IMPORT_ERRORS} FROM dag d ORDER BY d.dag_id", {
            let own = LIST_COLUMNS.iter().filter(|column| **column != "errors");
            own.map(|column| format!("d.{column}")).collect::<Vec<_>>().join(", ")
        });
        let rows = sql::all_at_once(self.reader(), "list DAGs", &LIST_COLUMNS, &sql, vec![]).await?;
        let mut list = Vec::with_capacity(rows.len());
        for row in &rows {
            let (dag_id, version_key) = (row.text("dag_id")?, row.int("version_id")?);
            let head = match row.opt_json("head")? {
                Some(head) => head,
                None => match self.usable_version(&dag_id, version_key).await? {
                    Some(dag) => dag.head(),
                    None => continue,
                },
            };
            list.push(DagListRow {
                dag_id: DagId::new_unchecked(dag_id),
                file_path: row.text("file_path")?,
                is_paused: row.flag("is_paused")?,
                is_stale: row.flag("is_stale")?,
                has_import_error: row.int("errors")? > 0,
                version_key,
                head,
                next: read_pointer(row)?,
                last_run: None,
            });
        }
        let mut newest: HashMap<String, Vec<RunSummary>> = HashMap::new();
        for (dag_id, run) in self.newest_runs(list.iter().map(|row| row.dag_id.as_str()), LATEST_AMONG).await? {
            newest.entry(dag_id).or_default().push(run);
        }
        for row in &mut list {
            row.last_run = newest.get(row.dag_id.as_str()).and_then(|runs| RunSummary::latest(runs).cloned());
        }
        Ok(list)
    }

    pub async fn dag(&self, dag_id: &str, last_runs: u32) -> Result<Option<DagRow>> {
        let sql = format!("{DAG_SELECT} WHERE d.dag_id = $1");
        let Some(row) = sql::one(self.reader(), "read a DAG", sql, values![dag_id]).await? else { return Ok(None) };
        let Some(dag) = self.read_dag(&row).await? else { return Ok(None) };
        let mut rows = [dag];
        self.add_last_runs(&mut rows, last_runs).await?;
        let [dag] = rows;
        Ok(Some(dag))
    }

    async fn read_dag(&self, row: &Row) -> Result<Option<DagRow>> {
        let (dag_id, version_key) = (row.text("dag_id")?, row.int("version_id")?);
        let Some(dag) = self.usable_version(&dag_id, version_key).await? else { return Ok(None) };
        Ok(Some(DagRow {
            dag_id: DagId::new_unchecked(dag_id),
            file_path: row.text("file_path")?,
            is_paused: row.flag("is_paused")?,
            is_stale: row.flag("is_stale")?,
            has_import_error: row.int("errors")? > 0,
            version_key,
            version_number: row.count("number")?,
            dag,
            next: read_pointer(row)?,
            first_seen_at: row.instant("first_seen_at")?,
            last_changed_at: row.instant("last_changed_at")?,
            last_runs: Vec::new(),
        }))
    }

    /// Gives each its newest runs, in place of those that it has.
    pub async fn add_last_runs(&self, dags: &mut [DagRow], count: u32) -> Result<()> {
        if count == 0 || dags.is_empty() {
            return Ok(());
        }
        let newest = self.newest_runs(dags.iter().map(|dag| dag.dag_id.as_str()), count).await?;
        let places: HashMap<String, usize> =
            dags.iter().enumerate().map(|(place, dag)| (dag.dag_id.to_string(), place)).collect();
        for dag in &mut *dags {
            dag.last_runs.clear();
        }
        for (dag_id, run) in newest {
            let Some(place) = places.get(&dag_id) else { continue };
            dags[*place].last_runs.push(run);
        }
        Ok(())
    }

    /// The DAGs that have a run which has not ended.
    pub async fn dags_at_work(&self) -> Result<HashSet<String>> {
        let sql = "SELECT DISTINCT dag_id FROM dag_run WHERE state IN ('queued', 'running')";
        let rows = sql::all(self.reader(), "find the DAGs at work", sql, vec![]).await?;
        rows.iter().map(|row| row.text("dag_id")).collect()
    }

    /// The newest runs of each of these DAGs, newest first, in one query, whose cost does not grow with their history.
    async fn newest_runs(&self, dags: impl Iterator<Item = &str>, count: u32) -> Result<Vec<(String, RunSummary)>> {
        let source = sql::source(self.dialect(), 1, &[("x_dag", Kind::Text)]);
        let newest = "FROM dag_run n WHERE n.dag_id = x_dag ORDER BY n.run_after DESC, n.id DESC LIMIT $2";
        let sql = match self.backend() {
            Backend::Sqlite => format!(
                "SELECT r.* FROM {source} CROSS JOIN dag_run r WHERE r.id IN (SELECT n.id {newest}) \
                 ORDER BY r.run_after DESC, r.id DESC"
            ),
            Backend::Postgres => format!(
                "SELECT r.* FROM {source} CROSS JOIN LATERAL (SELECT n.* {newest}) AS r \
                 ORDER BY r.run_after DESC, r.id DESC"
            ),
        };
        let columns = ["id", "dag_id", "run_id", "state", "logical_date", "start_date", "end_date"];
        let values = vec![sql::column(dags), i64::from(count).into()];
        let rows = sql::all_at_once(self.reader(), "read the newest runs", &columns, &sql, values).await?;
        let read = |row: &Row| {
            let run = RunSummary {
                key: row.int("id")?,
                run_id: RunId::new_unchecked(row.text("run_id")?),
                state: row.word("state", RunState::parse)?,
                logical_date: row.instant("logical_date")?,
                start_date: row.opt_instant("start_date")?,
                end_date: row.opt_instant("end_date")?,
            };
            Ok((row.text("dag_id")?, run))
        };
        rows.iter().map(read).collect()
    }

    /// Newest first.
    pub async fn dag_versions(&self, dag_id: &str) -> Result<Vec<DagVersionRow>> {
        let sql = "SELECT id, number, content_hash, file_path, created_at FROM dag_version \
                   WHERE dag_id = $1 AND part_of IS NULL ORDER BY number DESC";
        let rows = sql::all(self.reader(), "list DAG versions", sql, values![dag_id]).await?;
        rows.iter()
            .map(|row| {
                Ok(DagVersionRow {
                    version_key: row.int("id")?,
                    number: row.count("number")?,
                    content_hash: row.text("content_hash")?,
                    file_path: row.text("file_path")?,
                    created_at: row.instant("created_at")?,
                })
            })
            .collect()
    }

    /// The text of the file that a version was read from.
    pub async fn dag_version_source(&self, version_key: i64) -> Result<String> {
        let sql = "SELECT source FROM dag_version WHERE id = $1";
        let row = sql::one(self.reader(), "read the source of a DAG", sql, values![version_key]).await?;
        row.ok_or_else(|| StoreError::NotFound { kind: "DAG version", name: version_key.to_string() })?.text("source")
    }
}
