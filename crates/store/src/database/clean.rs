//! Deleting what is old: finished runs with all that hangs on them, and rows of logs. In small transactions, so that a
//! scheduler goes on beside it.
//!
//! Never touched: unfinished runs, runs of an unfinished backfill, runs with a try that somebody holds, and of each DAG
//! the newest run and the newest that its schedule made (what comes next is reckoned from it).

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use millrace_model::ids::DagId;
use sea_orm::Value;
use serde_json::Value as Json;

use crate::database::tables::{Table, quote, tables};
use crate::sql::{column, micros, values};
use crate::{AuditRow, Result, SignalKind, Store, StoreError, Tx, sql};

/// What can be cleaned, in the order in which it is: the table of runs, and others by a column with their age.
pub const CLEANED: &[&str] = &[
    "dag_run",
    "backfill",
    "dag_version",
    "schedule_slot",
    "asset_event",
    "alert",
    "notification",
    "job",
    "audit_log",
];

/// Tables whose rows belong to a run although no constraint says so.
const OF_RUN: &[&str] = &["alert", "signal"];

#[derive(Debug, Clone)]
pub struct CleanRequest {
    /// Older than this.
    pub before: DateTime<Utc>,
    /// Of [`CLEANED`]; empty: all of them.
    pub tables: Vec<String>,
    /// Only runs of these DAGs, and no table without a DAG; empty: of all.
    pub dag_ids: Vec<String>,
    /// Runs, or rows of other tables, that one transaction deletes.
    pub batch: u32,
    pub actor: String,
}

/// Rows that are about to be deleted: they are, once this has returned without an error and the transaction is committed.
pub trait Archive: Send {
    fn keep(&mut self, table: &str, columns: &[&str], rows: &[Vec<Json>]) -> Result<()>;
    /// Before the commit: what was kept must be durable now.
    fn seal(&mut self) -> Result<()>;
}

/// Keeps nothing.
#[derive(Debug, Default)]
pub struct NoArchive;

impl Archive for NoArchive {
    fn keep(&mut self, _: &str, _: &[&str], _: &[Vec<Json>]) -> Result<()> {
        Ok(())
    }

    fn seal(&mut self) -> Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CleanReport {
    /// Table and rows, in the order in which they were deleted.
    pub rows: Vec<(String, u64)>,
    /// DAG and run ids of the deleted runs: their logs may go too.
    pub runs: Vec<(String, String)>,
}

impl CleanReport {
    fn add(&mut self, table: &str, rows: u64) {
        match self.rows.iter_mut().find(|(known, _)| known == table) {
            Some((_, count)) => *count += rows,
            None => self.rows.push((table.to_owned(), rows)),
        }
    }

    pub fn total(&self) -> u64 {
        self.rows.iter().map(|(_, rows)| rows).sum()
    }
}

/// Which rows of `table` are old, as a condition, with its parameters; `None` when the table is unknown.
fn old(table: &Table, request: &CleanRequest) -> Option<(String, Vec<Value>)> {
    let before = micros(request.before);
    let only = column(request.dag_ids.iter().map(String::as_str));
    let all_dags = request.dag_ids.is_empty();
    let by_age =
        |column: &str| (table.has(column) && all_dags).then(|| (format!("{} < $1", quote(column)), values![before]));
    match table.name.as_str() {
        "dag_run" => {
            let newest = "SELECT n.id FROM dag_run n WHERE n.dag_id = dag_run.dag_id";
            let mut text = format!(
                "state IN ('success', 'failed') AND COALESCE(end_date, run_after) < $1 \
                 AND NOT EXISTS (SELECT 1 FROM task_instance i WHERE i.run_id = dag_run.id AND i.lease_owner IS NOT NULL) \
                 AND id <> ({newest} ORDER BY n.run_after DESC, n.id DESC LIMIT 1) \
                 AND NOT (made_by_schedule AND id = ({newest} AND n.made_by_schedule ORDER BY n.data_interval_end DESC LIMIT 1)) \
                 AND (backfill_id IS NULL OR EXISTS (SELECT 1 FROM backfill b WHERE b.id = backfill_id AND b.completed_at IS NOT NULL))"
            );
            let mut values = values![before];
            if !all_dags {
                text.push_str(" AND dag_id IN (SELECT x_dag FROM {dags})");
                values.push(only);
            }
            Some((text, values))
        }
        "backfill" if all_dags => Some((
            "completed_at < $1 AND NOT EXISTS (SELECT 1 FROM dag_run r WHERE r.backfill_id = backfill.id)".to_owned(),
            values![before],
        )),
        "dag_version" if all_dags => {
            // The newest of all stays: SQLite would give its number to the next one, and who has read it goes on with it.
            let mut text = "created_at < $1 AND id <> (SELECT MAX(m.id) FROM dag_version m) \
                            AND NOT EXISTS (SELECT 1 FROM dag d WHERE d.version_id = dag_version.id) \
                            AND NOT EXISTS (SELECT 1 FROM dag_run r WHERE r.version_id = dag_version.id)"
                .to_owned();
            if table.has("part_of") {
                text.push_str(" AND NOT EXISTS (SELECT 1 FROM dag_version p WHERE p.part_of = dag_version.id)");
            }
            Some((text, values![before]))
        }
        "asset_event" if all_dags => Some((
            "at < $1 AND NOT EXISTS (SELECT 1 FROM asset_queue q WHERE q.event_id = asset_event.id)".to_owned(),
            values![before],
        )),
        "job" if all_dags => Some((
            "heartbeat_at < $1 AND NOT EXISTS (SELECT 1 FROM task_instance i WHERE i.lease_owner = job.id)".to_owned(),
            values![before],
        )),
        "schedule_slot" => by_age("created_at"),
        "alert" | "notification" | "audit_log" => by_age("at"),
        _ => None,
    }
}

impl Store {
    /// How many rows of each table are old; those that hang on runs are not counted.
    pub async fn count_old(&self, request: &CleanRequest) -> Result<CleanReport> {
        let mut report = CleanReport::default();
        let connection = self.reader();
        for table in Self::to_clean(&tables(connection).await?, request)? {
            let Some((condition, values)) = old(&table, request) else { continue };
            let sql = format!("SELECT COUNT(*) AS n FROM {} WHERE {condition}", table.quoted());
            let row = sql::one(connection, "count old rows", self.with_dags(sql), values).await?;
            let count = row.map(|row| row.int("n")).transpose()?.unwrap_or(0);
            report.add(&table.name, u64::try_from(count).unwrap_or(0));
        }
        Ok(report)
    }

    /// Deletes what is old, one small transaction after the other; `done` is told after each what it deleted.
    pub async fn clean(
        &self,
        request: &CleanRequest,
        archive: &mut dyn Archive,
        done: &mut (dyn FnMut(&CleanReport) + Send),
        now: DateTime<Utc>,
    ) -> Result<CleanReport> {
        let all = tables(self.reader()).await?;
        let mut report = CleanReport::default();
        for table in Self::to_clean(&all, request)? {
            let Some(condition) = old(&table, request) else { continue };
            let mut after: Option<Vec<Json>> = None;
            loop {
                let tx = self.begin_in_turn("delete old rows").await?;
                let condition = (self.with_dags(condition.0.clone()), condition.1.clone());
                let rows =
                    table.page(&tx.inner, (&condition.0, condition.1), after.as_deref(), request.batch.max(1).into());
                let rows = rows.await?;
                let Some(last) = rows.last().cloned() else { break };
                let part = delete(&tx, &all, &table, &rows, archive).await?;
                // Other runs may have waited for one of these.
                for dag_id in part.runs.iter().map(|(dag_id, _)| dag_id).collect::<BTreeSet<_>>() {
                    let dag_id = DagId::new_unchecked(dag_id);
                    tx.signal(SignalKind::DagChanged, Some(&dag_id), None, now).await?;
                }
                archive.seal()?;
                tx.commit().await?;
                for (name, count) in &part.rows {
                    report.add(name, *count);
                }
                done(&part);
                report.runs.extend(part.runs);
                after = Some(last);
            }
        }
        if report.total() > 0 {
            let tx = self.begin("note the cleaning").await?;
            let rows: serde_json::Map<String, Json> =
                report.rows.iter().map(|(table, rows)| (table.clone(), (*rows).into())).collect();
            tx.audit(&AuditRow::new(&request.actor, "database_cleaned", Json::Object(rows), now)).await?;
            tx.commit().await?;
        }
        Ok(report)
    }

    fn to_clean(all: &[Table], request: &CleanRequest) -> Result<Vec<Table>> {
        if let Some(unknown) = request.tables.iter().find(|name| !CLEANED.contains(&name.as_str())) {
            let reason = format!("there is no such table as '{unknown}' to clean; there are {}", CLEANED.join(", "));
            return Err(StoreError::Refused { attempted: "delete old rows", reason });
        }
        let is_asked = |name: &&&str| request.tables.is_empty() || request.tables.iter().any(|asked| asked == **name);
        let find = |name: &&str| all.iter().find(|table| table.name == *name).cloned();
        Ok(CLEANED.iter().filter(is_asked).filter_map(find).collect())
    }

    fn with_dags(&self, text: String) -> String {
        text.replace("{dags}", &sql::source(self.dialect(), 2, &[("x_dag", sql::Kind::Text)]))
    }
}

/// Deletes these rows and everything that refers to them, children first.
pub(crate) async fn delete(
    tx: &Tx,
    all: &[Table],
    table: &Table,
    rows: &[Vec<Json>],
    archive: &mut dyn Archive,
) -> Result<CleanReport> {
    let mut report = CleanReport::default();
    let key = table.key.first().copied().unwrap_or(0);
    let kind = table.columns[key].kind;
    let ids = column(rows.iter().map(|row| row[key].clone()));
    let chosen = format!(
        "{} IN (SELECT x_key FROM {})",
        quote(&table.columns[key].name),
        sql::source(tx.dialect(), 1, &[("x_key", kind)])
    );
    // Children of children before children: the deepest first.
    let mut found = vec![(table.clone(), chosen)];
    let mut next = 0;
    while let Some((parent, condition)) = found.get(next).cloned() {
        for child in all.iter().filter(|child| child.name != parent.name) {
            let of_run = parent.name == "dag_run" && OF_RUN.contains(&child.name.as_str()) && child.has("run_id");
            let implied = of_run.then(|| ("run_id".to_owned(), "id".to_owned()));
            let declared = child.references.iter().filter(|reference| reference.table == parent.name);
            for (column, target) in
                declared.map(|reference| (reference.column.clone(), reference.target.clone())).chain(implied)
            {
                let condition = format!(
                    "{} IN (SELECT {} FROM {} WHERE {condition})",
                    quote(&column),
                    quote(&target),
                    parent.quoted()
                );
                found.push((child.clone(), condition));
            }
        }
        next += 1;
    }
    for (table, condition) in found.into_iter().rev() {
        report.add(&table.name, 0);
        let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
        let mut after: Option<Vec<Json>> = None;
        loop {
            let page = table.page(&tx.inner, (&condition, vec![ids.clone()]), after.as_deref(), 1000).await?;
            let Some(last) = page.last().cloned() else { break };
            archive.keep(&table.name, &names, &page)?;
            after = Some(last);
        }
        let sql = format!("DELETE FROM {} WHERE {condition}", table.quoted());
        let count = sql::run(&tx.inner, "delete old rows", sql, vec![ids.clone()]).await?;
        report.add(&table.name, count);
    }
    if table.name == "dag_run" {
        let place = |name: &str| table.columns.iter().position(|column| column.name == name);
        if let (Some(dag), Some(run)) = (place("dag_id"), place("run_id")) {
            let text = |cell: &Json| cell.as_str().unwrap_or_default().to_owned();
            report.runs = rows.iter().map(|row| (text(&row[dag]), text(&row[run]))).collect();
        }
    }
    report.rows.retain(|(_, rows)| *rows > 0);
    Ok(report)
}
