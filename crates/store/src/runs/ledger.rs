//! The ledger of data movements. Written by commits, with the try that moved the data.

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::ledger::{LedgerEntry, RowsRead};

use crate::sql::{Kind, Row, micros, values};
use crate::{Page, Result, Store, sql};

#[derive(Debug, Clone, PartialEq)]
pub struct LedgerRow {
    pub id: i64,
    pub instance: InstanceKey,
    pub try_number: u32,
    pub entry: LedgerEntry,
}

/// A movement and whose it was.
#[derive(Debug, Clone, PartialEq)]
pub struct LedgerLine {
    pub dag_id: DagId,
    pub run_id: RunId,
    pub logical_date: DateTime<Utc>,
    pub task_id: TaskId,
    /// -1 for a task that is not mapped.
    pub map_index: i32,
    pub row: LedgerRow,
}

/// Empty or `None` means "any".
#[derive(Debug, Clone, Default)]
pub struct LedgerFilter {
    pub dag_id: Option<DagId>,
    pub run_id: Option<String>,
    pub task_id: Option<String>,
    pub stage: Option<String>,
    /// Movements that ended then or later.
    pub since: Option<DateTime<Utc>>,
    /// Movements that ended before.
    pub until: Option<DateTime<Utc>>,
    /// What was written to: the whole target (`pg_dw: public.nps`, `s3://bucket/key`), or its table with or without the
    /// schema.
    pub target: Option<String>,
    /// 0 gives none, and still the total.
    pub limit: u64,
    pub offset: u64,
}

impl LedgerFilter {
    fn conditions(&self) -> (String, Vec<sea_orm::Value>) {
        let mut conditions = vec!["1 = 1".to_owned()];
        let mut values: Vec<sea_orm::Value> = Vec::new();
        let mut add = |condition: &str, value: sea_orm::Value| {
            values.push(value);
            conditions.push(condition.replace('?', &format!("${}", values.len())));
        };
        if let Some(dag_id) = &self.dag_id {
            add("r.dag_id = ?", dag_id.as_str().into());
        }
        if let Some(run_id) = &self.run_id {
            add("r.run_id = ?", run_id.as_str().into());
        }
        if let Some(task_id) = &self.task_id {
            add("i.task_id = ?", task_id.as_str().into());
        }
        if let Some(since) = self.since {
            add("l.ended_at >= ?", micros(since).into());
        }
        if let Some(until) = self.until {
            add("l.ended_at < ?", micros(until).into());
        }
        if let Some(target) = &self.target {
            // The end after ': ' or '.' is the table; no pattern, because names hold '_'.
            add(
                "(l.target = ? OR SUBSTR(l.target, LENGTH(l.target) - LENGTH(?) - 1) = ': ' || ? \
                 OR SUBSTR(l.target, LENGTH(l.target) - LENGTH(?)) = '.' || ?)",
                target.as_str().into(),
            );
        }
        if let Some(stage) = &self.stage {
            add("l.stage = ?", stage.as_str().into());
        }
        (conditions.join(" AND "), values)
    }
}

fn read_entry(row: &Row) -> Result<LedgerRow> {
    Ok(LedgerRow {
        id: row.int("id")?,
        instance: row.int("instance_id")?,
        try_number: row.count("try_number")?,
        entry: LedgerEntry {
            stage: row.text("stage")?,
            source: row.text("source")?,
            target: row.text("target")?,
            rows_read: row.opt_large("rows_read")?,
            rows_written: row.opt_large("rows_written")?,
            rows_inserted: row.opt_large("rows_inserted")?,
            rows_updated: row.opt_large("rows_updated")?,
            rows_deleted: row.opt_large("rows_deleted")?,
            rows_rejected: row.opt_large("rows_rejected")?,
            bytes: row.opt_large("byte_count")?,
            checksum: row.opt_text("checksum")?,
            remote_ids: row.json("remote_ids")?,
            started_at: row.instant("started_at")?,
            ended_at: row.instant("ended_at")?,
            read: row.opt_json("rows_from")?,
            written: row.opt_json("rows_into")?,
            checks: row.opt_json("checks")?.unwrap_or_default(),
        },
    })
}

impl Store {
    /// Oldest first.
    pub async fn ledger(&self, instance: InstanceKey) -> Result<Vec<LedgerRow>> {
        let sql = "SELECT * FROM load_ledger WHERE instance_id = $1 ORDER BY id";
        let rows = sql::all(self.reader(), "read the ledger", sql, values![instance]).await?;
        rows.iter().map(read_entry).collect()
    }

    /// Of every task of a run, oldest first.
    pub async fn ledger_of_run(&self, run: RunKey) -> Result<Vec<LedgerRow>> {
        let sql = "SELECT l.* FROM task_instance i JOIN load_ledger l ON l.instance_id = i.id \
                   WHERE i.run_id = $1 ORDER BY l.id";
        let rows = sql::all(self.reader(), "read a run's ledger", sql, values![run]).await?;
        rows.iter().map(read_entry).collect()
    }

    /// Of several runs, each movement with its run, oldest first.
    pub async fn ledger_of_runs(&self, runs: &[RunKey]) -> Result<Vec<(RunKey, LedgerRow)>> {
        let source = sql::source(self.dialect(), 1, &[("x_id", Kind::Int)]);
        let sql = format!(
            "SELECT l.*, x_id FROM {source} CROSS JOIN task_instance i JOIN load_ledger l ON l.instance_id = i.id \
             WHERE i.run_id = x_id ORDER BY l.id"
        );
        let values = vec![sql::column(runs.iter().copied())];
        let rows = sql::all(self.reader(), "read the ledger of runs", sql, values).await?;
        rows.iter().map(|row| Ok((row.int("x_id")?, read_entry(row)?))).collect()
    }

    /// What was read by the last movement that the task wrote down in the newest of the DAG's runs that has one; from a
    /// connection, and where `target` is said, into that.
    pub async fn last_read(
        &self,
        (dag_id, task_id): (&str, &str),
        (stage, conn_id): (&str, &str),
        target: Option<&str>,
    ) -> Result<Option<RowsRead>> {
        // The runs lead, newest first: the first or second of them has it.
        let sql = "SELECT l.rows_from FROM dag_run r CROSS JOIN task_instance i CROSS JOIN load_ledger l \
                   WHERE r.dag_id = $1 AND i.run_id = r.id AND i.task_id = $2 AND l.instance_id = i.id AND l.stage = $3 \
                   AND l.rows_from IS NOT NULL AND SUBSTR(l.source, 1, LENGTH($4)) = $4 AND COALESCE($5, l.target) = l.target \
                   ORDER BY r.run_after DESC, r.id DESC, l.id DESC LIMIT 1";
        let values = values![dag_id, task_id, stage, format!("{conn_id}: "), target.map(ToOwned::to_owned)];
        let row = sql::one(self.reader(), "read what a task read before", sql, values).await?;
        row.map(|row| row.json("rows_from")).transpose()
    }

    /// Of any task, newest first.
    pub async fn ledger_lines(&self, filter: &LedgerFilter) -> Result<Page<LedgerLine>> {
        const FROM: &str = "FROM load_ledger l JOIN task_instance i ON i.id = l.instance_id \
                            JOIN dag_run r ON r.id = i.run_id";
        let (conditions, values) = filter.conditions();
        let count = format!("SELECT COUNT(*) AS n {FROM} WHERE {conditions}");
        let list = format!(
            "SELECT l.*, i.task_id, i.map_index, r.dag_id, r.run_id, r.logical_date {FROM} WHERE {conditions} \
             ORDER BY l.id DESC"
        );
        let line = |row: &Row| {
            Ok(LedgerLine {
                dag_id: DagId::new_unchecked(row.text("dag_id")?),
                run_id: RunId::new_unchecked(row.text("run_id")?),
                logical_date: row.instant("logical_date")?,
                task_id: TaskId::new_unchecked(row.text("task_id")?),
                map_index: row.small("map_index")?,
                row: read_entry(row)?,
            })
        };
        self.page("list movements", (count, list), values, (filter.limit, filter.offset), line).await
    }
}
