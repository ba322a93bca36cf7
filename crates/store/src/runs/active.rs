//! What the scheduler reads: at start, and again for a run when a guard missed or a signal says so.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::{NextRun, RunKey};
use millrace_model::dag::{DAG_SCHEMA_VERSION, Dag};
use millrace_model::ids::{DagId, RunId};
use millrace_model::schedule::DataInterval;
use millrace_model::state::RunState;
use sea_orm::ConnectionTrait;

use crate::runs::instance::{INSTANCE_SELECT, read_instance};
use crate::runs::run::{RUN_SELECT, read_run};
use crate::sql::{Row, values};
use crate::{InstanceRow, Result, RunRow, RunningInstance, Store, StoreError, sql};

/// An unfinished run with all of its task instances, finished ones too.
#[derive(Debug, Clone, PartialEq)]
pub struct ActiveRun {
    pub row: RunRow,
    pub instances: Vec<InstanceRow>,
}

#[derive(Debug, Clone)]
pub struct SchedulerDag {
    pub dag_id: DagId,
    pub is_paused: bool,
    /// Its file is gone: nothing new is created, what runs goes on.
    pub is_stale: bool,
    pub has_import_error: bool,
    /// The newest version, which new runs are pinned to.
    pub version_key: i64,
    pub dag: Arc<Dag>,
    pub pointer: Option<NextRun>,
    /// As [`Store::last_automated_interval`].
    pub last_interval: Option<DataInterval>,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinishedRun {
    pub run: RunKey,
    pub run_after: DateTime<Utc>,
    pub state: RunState,
}

/// The runs of the DAG `$1` that have ended, newest first, those of backfills left out.
pub(crate) const LATEST_ENDS: &str = "FROM dag_run WHERE dag_id = $1 AND state IN ('success', 'failed') \
    AND backfill_ordinal IS NULL ORDER BY run_after DESC, id DESC";

pub(crate) const ACTIVE_RUNS: &str = "state IN ('queued', 'running')";

/// Which of the active runs are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActiveScope<'a> {
    All,
    /// Those of one DAG.
    OfDag(&'a DagId),
    /// Those of one DAG, and of the others whatever runs: it may hold workers' slots, a pool's or a key.
    OfDagAndHolders(&'a DagId),
}

impl ActiveScope<'_> {
    /// The condition on `dag_run r`, and the DAG that it names.
    fn condition(self) -> (String, Vec<sea_orm::Value>) {
        match self {
            Self::All => (format!("r.{ACTIVE_RUNS}"), vec![]),
            Self::OfDag(dag_id) => (format!("r.dag_id = $1 AND r.{ACTIVE_RUNS}"), values![dag_id.as_str()]),
            Self::OfDagAndHolders(dag_id) => {
                (format!("r.{ACTIVE_RUNS} AND (r.dag_id = $1 OR r.state = 'running')"), values![dag_id.as_str()])
            }
        }
    }
}

impl Store {
    /// Every queued or running run, the one that may start first coming first.
    pub async fn active_runs(&self) -> Result<Vec<ActiveRun>> {
        self.active_runs_in(ActiveScope::All).await
    }

    /// The states of all active runs, without their instances.
    pub async fn active_run_states(&self) -> Result<Vec<(RunKey, RunState)>> {
        let sql = format!("SELECT id, state FROM dag_run WHERE {ACTIVE_RUNS}");
        let rows = sql::all(self.reader(), "read the states of active runs", sql, vec![]).await?;
        rows.iter().map(|row| Ok((row.int("id")?, row.word("state", RunState::parse)?))).collect()
    }

    /// As [`Store::active_runs`], those that the scope names.
    pub async fn active_runs_in(&self, scope: ActiveScope<'_>) -> Result<Vec<ActiveRun>> {
        let snapshot = self.snapshot("read active runs").await?;
        let (condition, values) = scope.condition();
        let sql = format!("{RUN_SELECT} WHERE {condition} ORDER BY r.run_after, r.id");
        let rows = sql::all(&snapshot, "read active runs", sql, values.clone()).await?;
        let runs: Vec<RunRow> = rows.iter().filter_map(|row| usable(read_run(row))).collect();
        // Found by the same condition, not by ids: the ids could be too many to list.
        let sql = format!(
            "{INSTANCE_SELECT} WHERE i.run_id IN (SELECT r.id FROM dag_run r WHERE {condition}) ORDER BY i.run_id, i.id"
        );
        let rows = sql::all(&snapshot, "read the instances of active runs", sql, values).await?;
        let mut instances: HashMap<RunKey, Vec<InstanceRow>> = HashMap::with_capacity(runs.len());
        let mut damaged = HashSet::new();
        for row in &rows {
            match usable(read_instance(row)) {
                Some(instance) => instances.entry(instance.run).or_default().push(instance),
                None => damaged.extend(row.int("run_id").ok()),
            }
        }
        Ok(runs
            .into_iter()
            .filter(|row| !damaged.contains(&row.key))
            .map(|row| ActiveRun { instances: instances.remove(&row.key).unwrap_or_default(), row })
            .collect())
    }

    /// One run with its instances, whatever its state.
    pub async fn active_run(&self, run: RunKey) -> Result<Option<ActiveRun>> {
        let snapshot = self.snapshot("read a run").await?;
        let Some(row) =
            sql::one(&snapshot, "read a run", format!("{RUN_SELECT} WHERE r.id = $1"), values![run]).await?
        else {
            return Ok(None);
        };
        let sql = format!("{INSTANCE_SELECT} WHERE i.run_id = $1 ORDER BY i.id");
        let rows = sql::all(&snapshot, "read the instances of a run", sql, values![run]).await?;
        let instances = rows.iter().map(read_instance).collect::<Result<Vec<_>>>()?;
        Ok(Some(ActiveRun { row: read_run(&row)?, instances }))
    }

    /// The interval of the last date that the schedule dealt with: of its newest run (even if a backfill has taken it
    /// over since), or of a later date that was passed over.
    pub async fn last_automated_interval(&self, dag_id: &DagId) -> Result<Option<DataInterval>> {
        let sql = format!("{} WHERE d.dag_id = $1", schedule_progress());
        let row = sql::one(self.reader(), "read how far the schedule has come", sql, values![dag_id.as_str()]).await?;
        row.as_ref().map_or(Ok(None), read_progress)
    }

    /// [`Store::last_automated_interval`] of every DAG that has one, in one query.
    pub async fn last_automated_intervals(&self) -> Result<HashMap<DagId, DataInterval>> {
        let columns = ["dag_id", "run_start", "run_end", "passed_start", "passed_end"];
        let (attempted, sql) = ("read how far schedules have come", schedule_progress());
        let rows = sql::all_at_once(self.reader(), attempted, &columns, &sql, vec![]).await?;
        let mut intervals = HashMap::with_capacity(rows.len());
        for row in &rows {
            if let Some(interval) = read_progress(row)? {
                intervals.insert(DagId::new_unchecked(row.text("dag_id")?), interval);
            }
        }
        Ok(intervals)
    }

    /// Every DAG whose stored form can be read. One whose stored form is another DAG's is left out, with a warning.
    pub async fn scheduler_dags(&self) -> Result<Vec<SchedulerDag>> {
        let sql = format!("{DAG_SELECT} ORDER BY d.dag_id");
        let rows = sql::all_at_once(self.reader(), "read DAGs", &DAG_COLUMNS, &sql, vec![]).await?;
        self.load_versions(&rows).await?;
        let mut intervals = self.last_automated_intervals().await?;
        let mut dags = Vec::with_capacity(rows.len());
        for row in &rows {
            if let Some(mut dag) = self.read_scheduler_dag(row).await? {
                dag.last_interval = intervals.remove(&dag.dag_id);
                dags.push(dag);
            }
        }
        Ok(dags)
    }

    /// One DAG as [`Store::scheduler_dags`] gives it.
    pub async fn scheduler_dag(&self, dag_id: &DagId) -> Result<Option<SchedulerDag>> {
        let sql = format!("{DAG_SELECT} WHERE d.dag_id = $1");
        match sql::one(self.reader(), "read a DAG", sql, values![dag_id.as_str()]).await? {
            Some(row) => {
                let mut dag = self.read_scheduler_dag(&row).await?;
                if let Some(dag) = &mut dag {
                    dag.last_interval = self.last_automated_interval(dag_id).await?;
                }
                Ok(dag)
            }
            None => Ok(None),
        }
    }

    /// The DAGs that every reading leaves out, by id, each with why: its stored form cannot be read, or is another DAG's.
    pub async fn left_out_dags(&self) -> Result<Vec<(DagId, String)>> {
        let sql = format!("{DAG_SELECT} ORDER BY d.dag_id");
        let rows = sql::all_at_once(self.reader(), "read DAGs", &DAG_COLUMNS, &sql, vec![]).await?;
        self.load_versions(&rows).await?;
        let mut left_out = Vec::new();
        for row in &rows {
            let (dag_id, version_key) = (row.text("dag_id")?, row.int("version_id")?);
            if let Err(reason) = self.stored_form(&dag_id, version_key).await? {
                left_out.push((DagId::new_unchecked(dag_id), reason));
            }
        }
        Ok(left_out)
    }

    /// Why this DAG is left out, if it is stored and is.
    pub async fn left_out_because(&self, dag_id: &str) -> Result<Option<String>> {
        let sql = format!("{DAG_SELECT} WHERE d.dag_id = $1");
        let Some(row) = sql::one(self.reader(), "read a DAG", sql, values![dag_id]).await? else { return Ok(None) };
        Ok(self.stored_form(dag_id, row.int("version_id")?).await?.err())
    }

    /// The version that this one is a part of, if it is.
    pub async fn whole_version(&self, version_key: i64) -> Result<Option<i64>> {
        let sql = "SELECT part_of FROM dag_version WHERE id = $1";
        let row = sql::one(self.reader(), "read a DAG version", sql, values![version_key]).await?;
        Ok(row.map(|row| row.opt_int("part_of")).transpose()?.flatten())
    }

    /// A stored version, from memory when it was read before (versions never change).
    pub async fn dag_version(&self, version_key: i64) -> Result<Arc<Dag>> {
        self.dag_version_in(self.reader(), version_key).await
    }

    pub(crate) async fn dag_version_in(&self, connection: &impl ConnectionTrait, version_key: i64) -> Result<Arc<Dag>> {
        if let Some(dag) = self.known_version(version_key) {
            return Ok(dag);
        }
        let sql = "SELECT id, dag_id, data FROM dag_version WHERE id = $1";
        let row = sql::one(connection, "read a DAG version", sql, values![version_key]).await?;
        let row = row.ok_or_else(|| StoreError::NotFound { kind: "DAG version", name: version_key.to_string() })?;
        self.keep_version(&row)
    }

    fn known_version(&self, version_key: i64) -> Option<Arc<Dag>> {
        self.inner.versions.get(version_key)
    }

    fn keep_version(&self, row: &Row) -> Result<Arc<Dag>> {
        let (key, dag_id) = (row.int("id")?, row.text("dag_id")?);
        let dag: Dag = row.json("data")?;
        if dag.dag_id.as_str() != dag_id {
            return Err(row.corrupt("data", format!("it holds DAG {}, not {dag_id}", dag.dag_id)));
        }
        if dag.schema_version > DAG_SCHEMA_VERSION {
            return Err(row.corrupt("data", format!("form {} is newer than this program", dag.schema_version)));
        }
        let dag = Arc::new(dag);
        self.inner.versions.put(key, Arc::clone(&dag));
        Ok(dag)
    }

    /// Reads at once what [`Store::dag_version`] would read one by one. What cannot be read is left for it to report.
    pub(crate) async fn load_versions(&self, dags: &[Row]) -> Result<()> {
        self.inner.versions.want(dags.len());
        let mut missing = Vec::new();
        for row in dags {
            let key = row.int("version_id")?;
            if self.known_version(key).is_none() {
                missing.push(key);
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let source = sql::source(self.dialect(), 1, &[("x_id", sql::Kind::Int)]);
        let sql = format!("SELECT v.id, v.dag_id, v.data FROM {source} CROSS JOIN dag_version v WHERE v.id = x_id");
        let (columns, values) = (["id", "dag_id", "data"], vec![sql::column(missing)]);
        for row in sql::all_at_once(self.reader(), "read DAG versions", &columns, &sql, values).await? {
            let _ = self.keep_version(&row);
        }
        Ok(())
    }

    /// None, with a warning, if the stored form cannot be used.
    pub(crate) async fn usable_version(&self, dag_id: &str, version_key: i64) -> Result<Option<Arc<Dag>>> {
        let found = self.stored_form(dag_id, version_key).await?;
        Ok(found
            .inspect_err(|reason| tracing::warn!(dag = dag_id, %reason, "the stored DAG cannot be used; left out"))
            .ok())
    }

    /// The DAG, or why what is stored of it cannot be used.
    async fn stored_form(&self, dag_id: &str, version_key: i64) -> Result<std::result::Result<Arc<Dag>, String>> {
        match self.dag_version(version_key).await {
            Ok(dag) if dag.dag_id.as_str() == dag_id => Ok(Ok(dag)),
            Ok(dag) => Ok(Err(format!("version {version_key} is of the DAG {}", dag.dag_id))),
            Err(error @ (StoreError::Corrupt { .. } | StoreError::NotFound { .. })) => Ok(Err(error.to_string())),
            Err(error) => Err(error),
        }
    }

    /// Its last interval is left to the caller.
    async fn read_scheduler_dag(&self, row: &Row) -> Result<Option<SchedulerDag>> {
        let dag_id = row.text("dag_id")?;
        let version_key = row.int("version_id")?;
        let Some(dag) = self.usable_version(&dag_id, version_key).await? else { return Ok(None) };
        Ok(Some(SchedulerDag {
            dag_id: DagId::new_unchecked(dag_id),
            is_paused: row.flag("is_paused")?,
            is_stale: row.flag("is_stale")?,
            has_import_error: row.int("errors")? > 0,
            version_key,
            dag,
            pointer: read_pointer(row)?,
            last_interval: None,
        }))
    }

    /// Every instance that a worker holds, with its lease.
    pub async fn running_instances(&self) -> Result<Vec<RunningInstance>> {
        // Sorted here: asked to sort, SQLite would walk the whole table in the order of its ids.
        let sql = "SELECT i.*, r.dag_id AS dag_name, r.run_id AS run_name FROM task_instance i \
                   JOIN dag_run r ON r.id = i.run_id WHERE i.lease_owner IS NOT NULL";
        let rows = sql::all(self.reader(), "read what workers hold", sql, vec![]).await?;
        let mut running = rows
            .iter()
            .filter_map(|row| {
                usable(read_instance(row).and_then(|instance| {
                    Ok(RunningInstance {
                        dag_id: DagId::new_unchecked(row.text("dag_name")?),
                        run_id: RunId::new_unchecked(row.text("run_name")?),
                        row: instance,
                    })
                }))
            })
            .collect::<Vec<_>>();
        running.sort_by_key(|it| it.row.key);
        Ok(running)
    }

    /// Up to `limit` newest finished runs of a DAG by `run_after`, newest first, those of backfills left out.
    pub async fn last_finished_runs(&self, dag_id: &DagId, limit: u32) -> Result<Vec<FinishedRun>> {
        let sql = format!("SELECT id, run_after, state {LATEST_ENDS} LIMIT $2");
        let rows = sql::all(self.reader(), "read past runs", sql, values![dag_id.as_str(), i64::from(limit)]).await?;
        let read = |row: &Row| {
            let (run, run_after) = (row.int("id")?, row.instant("run_after")?);
            Ok(FinishedRun { run, run_after, state: row.word("state", RunState::parse)? })
        };
        rows.iter().map(read).collect()
    }

    /// How long the last successful runs took, backfills left out, newest first.
    pub async fn last_run_durations(&self, dag_id: &DagId, limit: u32) -> Result<Vec<TimeDelta>> {
        let sql = "SELECT end_date - start_date AS took FROM dag_run WHERE dag_id = $1 AND state = 'success' \
                   AND backfill_ordinal IS NULL AND start_date IS NOT NULL AND end_date IS NOT NULL \
                   ORDER BY run_after DESC, id DESC LIMIT $2";
        let rows = sql::all(self.reader(), "read past runs", sql, values![dag_id.as_str(), i64::from(limit)]).await?;
        rows.iter().map(|row| Ok(TimeDelta::microseconds(row.int("took")?))).collect()
    }
}

/// One damaged row must not hold up all the others: it is left out, with an error in the log.
fn usable<T>(read: Result<T>) -> Option<T> {
    read.inspect_err(|error| tracing::error!(%error, "a stored row cannot be used; its run is left out")).ok()
}

/// Those of [`DAG_SELECT`] that anybody reads.
pub(crate) const DAG_COLUMNS: [&str; 13] = [
    "dag_id",
    "version_id",
    "file_path",
    "is_paused",
    "is_stale",
    "errors",
    "number",
    "next_logical_date",
    "next_interval_start",
    "next_interval_end",
    "next_run_after",
    "first_seen_at",
    "last_changed_at",
];

/// How many files with an error give the DAG `d`.
pub(crate) const IMPORT_ERRORS: &str =
    "(SELECT COUNT(*) FROM import_error e WHERE e.file_path = d.file_path) AS errors";

pub(crate) const DAG_SELECT: &str = "SELECT d.*, v.number, \
    (SELECT COUNT(*) FROM import_error e WHERE e.file_path = d.file_path) AS errors \
    FROM dag d JOIN dag_version v ON v.id = d.version_id";

/// Of each DAG: its newest run by schedule, found by an index, and the last date that was passed over.
fn schedule_progress() -> String {
    let newest = |column: &str| {
        format!(
            "(SELECT n.{column} FROM dag_run n WHERE n.dag_id = d.dag_id AND n.made_by_schedule \
             ORDER BY n.data_interval_end DESC LIMIT 1)"
        )
    };
    format!(
        "SELECT d.dag_id, {} AS run_start, {} AS run_end, d.passed_start, d.passed_end FROM dag d",
        newest("data_interval_start"),
        newest("data_interval_end"),
    )
}

fn read_progress(row: &Row) -> Result<Option<DataInterval>> {
    let interval = |start: &str, end: &str| -> Result<Option<DataInterval>> {
        Ok(row.opt_instant(start)?.zip(row.opt_instant(end)?).map(|(start, end)| DataInterval { start, end }))
    };
    let found = [interval("run_start", "run_end")?, interval("passed_start", "passed_end")?];
    Ok(found.into_iter().flatten().max_by_key(|found| (found.end, found.start)))
}

pub(crate) fn read_pointer(row: &Row) -> Result<Option<NextRun>> {
    let (Some(logical_date), Some(start), Some(end), Some(run_after)) = (
        row.opt_instant("next_logical_date")?,
        row.opt_instant("next_interval_start")?,
        row.opt_instant("next_interval_end")?,
        row.opt_instant("next_run_after")?,
    ) else {
        return Ok(None);
    };
    Ok(Some(NextRun { logical_date, data_interval: DataInterval { start, end }, run_after }))
}
