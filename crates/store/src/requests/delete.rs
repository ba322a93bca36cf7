//! Deleting a run, or a DAG whose file is gone, with all that hangs on them.

use chrono::{DateTime, Utc};
use millrace_model::change::RunKey;
use millrace_model::ids::DagId;
use serde_json::json;

use crate::database::clean;
use crate::database::tables::{Table, quote, tables};
use crate::sql::{micros, values};
use crate::{AuditRow, Change, NoArchive, Result, SignalKind, Store, StoreError, Tx, sql};

/// Runs that one transaction deletes: a scheduler goes on beside it.
const AT_ONCE: u64 = 50;
/// What stays of a deleted DAG: who did what, what happened to assets that others wait for, and the versions, which go when
/// they are old. The DAG's own row goes last.
const KEPT: &[&str] = &["audit_log", "asset_event", "dag_version", "dag_run", "dag"];
const OF_RUN: &str = "delete a run";
const OF_DAG: &str = "delete a DAG";

/// Why the run `r` must stay at the moment `$2`, in a word. One that the schedule made of a date to come, as a clock was ahead,
/// may go: the schedule would stand still until then.
const STANDING: &str = "CASE WHEN r.state NOT IN ('success', 'failed') THEN 'unfinished' \
     WHEN EXISTS (SELECT 1 FROM task_instance i WHERE i.run_id = r.id AND i.lease_owner IS NOT NULL) THEN 'held' \
     WHEN EXISTS (SELECT 1 FROM backfill b WHERE b.id = r.backfill_id AND b.completed_at IS NULL) THEN 'backfilled' \
     WHEN r.made_by_schedule AND r.data_interval_end <= $2 AND r.id = (SELECT n.id FROM dag_run n WHERE n.dag_id = r.dag_id AND n.made_by_schedule \
     ORDER BY n.data_interval_end DESC LIMIT 1) THEN 'last' ELSE 'free' END AS standing";

/// What has gone of a DAG that is being deleted, told while it goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gone<'a> {
    /// These runs, for good.
    Runs(&'a [String]),
    /// All of them: the DAG itself goes next.
    EveryRun,
}

fn refused(attempted: &'static str, reason: impl Into<String>) -> StoreError {
    StoreError::Refused { attempted, reason: reason.into() }
}

impl Store {
    /// Deletes a run that has ended, with its tasks, their tries, results, checkpoints and lines of the ledger. Its logs
    /// are the caller's. Errors: `NotFound`; `Refused` while something goes on in it, and for the newest run of the
    /// schedule, from which the next one is reckoned, unless its interval has not ended yet.
    pub async fn delete_run(&self, run: RunKey, actor: &str, now: DateTime<Utc>) -> Result<()> {
        let tx = self.begin_in_turn(OF_RUN).await?;
        let sql = format!(
            "SELECT r.dag_id, r.run_id, r.run_type, r.state, r.logical_date, {STANDING} FROM dag_run r WHERE r.id = $1"
        );
        let row = sql::one(&tx.inner, OF_RUN, sql, values![run, micros(now)]).await?;
        let row = row.ok_or_else(|| StoreError::NotFound { kind: "run", name: run.to_string() })?;
        let (dag_id, run_id) = (DagId::new_unchecked(row.text("dag_id")?), row.text("run_id")?);
        let state = row.text("state")?;
        let reason = match row.text("standing")?.as_str() {
            "free" => None,
            "unfinished" => Some(format!("it is {state}; mark it failed first, or wait for its end")),
            "held" => Some("a task of it is still being stopped; try again in a moment".to_owned()),
            "backfilled" => Some("its backfill goes on; cancel that, or wait for its end".to_owned()),
            _ => Some(
                "it is the newest of the schedule, from which the next one is reckoned; clear it instead".to_owned(),
            ),
        };
        if let Some(reason) = reason {
            return Err(refused(OF_RUN, reason));
        }
        let all = tables(&tx.inner).await?;
        let runs = table(&all, "dag_run", OF_RUN)?;
        let rows = runs.page(&tx.inner, ("id = $1", values![run]), None, 1).await?;
        let report = clean::delete(&tx, &all, runs, &rows, &mut NoArchive).await?;
        let before = json!({
            "state": state, "run_type": row.text("run_type")?, "logical_date": row.instant("logical_date")?,
        });
        let audit = AuditRow::new(actor, "run_deleted", json!({ "rows": report.total() }), now);
        let audit = audit.with_change(Some(before), None);
        tx.audit(&audit.on_run(dag_id.as_str(), &run_id)).await?;
        forget_dates_to_come(&tx, &dag_id, now).await?;
        tx.signal(SignalKind::DagChanged, Some(&dag_id), None, now).await?;
        tx.tell(Change::of_dag(&dag_id, "run_deleted"));
        tx.commit().await
    }

    /// Of all DAGs, those that cannot be read and those whose file is gone among them.
    pub async fn all_dag_ids(&self) -> Result<Vec<String>> {
        let sql = "SELECT dag_id FROM dag";
        let rows = sql::all_at_once(self.reader(), "list the ids of DAGs", &["dag_id"], sql, vec![]).await?;
        rows.iter().map(|row| row.text("dag_id")).collect()
    }

    /// Of all runs of a DAG.
    pub async fn all_run_ids(&self, dag_id: &str) -> Result<Vec<String>> {
        let sql = "SELECT run_id FROM dag_run WHERE dag_id = $1";
        let rows = sql::all_at_once(self.reader(), "list the ids of runs", &["run_id"], sql, values![dag_id]).await?;
        rows.iter().map(|row| row.text("run_id")).collect()
    }

    /// Deletes a DAG whose file is gone, its runs a few at a time, and returns how many. What was deleted before an error
    /// stays deleted; asked again, it goes on. `tell` hears of what has gone as soon as it has, and of the end before the
    /// DAG's own row goes: whoever is stopped at any point can ask again, and clears away what was left. Errors:
    /// `NotFound`; `Refused` while its file is there or something of it goes on.
    pub async fn delete_dag(
        &self,
        dag_id: &DagId,
        actor: &str,
        now: DateTime<Utc>,
        mut tell: impl FnMut(Gone<'_>),
    ) -> Result<usize> {
        let all = tables(self.reader()).await?;
        let runs = table(&all, "dag_run", OF_DAG)?;
        let place = runs.columns.iter().position(|column| column.name == "run_id").unwrap_or_default();
        let mut deleted = 0;
        loop {
            let tx = self.begin_in_turn(OF_DAG).await?;
            check_dag(&tx, dag_id).await?;
            let rows = runs.page(&tx.inner, ("dag_id = $1", values![dag_id.as_str()]), None, AT_ONCE).await?;
            if !rows.is_empty() {
                clean::delete(&tx, &all, runs, &rows, &mut NoArchive).await?;
                tx.commit().await?;
                let ids = rows.iter().map(|row| row[place].as_str().unwrap_or_default().to_owned());
                tell(Gone::Runs(&ids.collect::<Vec<_>>()));
                deleted += rows.len();
                continue;
            }
            tell(Gone::EveryRun);
            for table in all.iter().filter(|table| table.has("dag_id") && !KEPT.contains(&table.name.as_str())) {
                let sql = format!("DELETE FROM {} WHERE {} = $1", table.quoted(), quote("dag_id"));
                sql::run(&tx.inner, OF_DAG, sql, values![dag_id.as_str()]).await?;
            }
            sql::run(&tx.inner, OF_DAG, "DELETE FROM dag WHERE dag_id = $1", values![dag_id.as_str()]).await?;
            let audit = AuditRow::new(actor, "dag_deleted", json!({ "runs": deleted }), now)
                .with_change(Some(json!({ "dag_id": dag_id.as_str() })), None);
            tx.audit(&audit.on_dag(dag_id.as_str())).await?;
            tx.signal(SignalKind::DagChanged, Some(dag_id), None, now).await?;
            tx.tell(Change::of_dag(dag_id, "deleted"));
            tx.commit().await?;
            return Ok(deleted);
        }
    }
}

/// What a clock that was ahead has dealt with is dealt with no more: the schedule goes on from its newest run.
async fn forget_dates_to_come(tx: &Tx, dag_id: &DagId, now: DateTime<Utc>) -> Result<()> {
    let values = || values![dag_id.as_str(), micros(now)];
    let sql = "UPDATE dag SET passed_start = NULL, passed_end = NULL WHERE dag_id = $1 AND passed_end > $2";
    if sql::run(&tx.inner, OF_RUN, sql, values()).await? > 0 {
        let sql = "DELETE FROM schedule_slot WHERE dag_id = $1 AND created_at > $2";
        sql::run(&tx.inner, OF_RUN, sql, values()).await?;
    }
    Ok(())
}

fn table<'t>(all: &'t [Table], name: &str, attempted: &'static str) -> Result<&'t Table> {
    all.iter().find(|table| table.name == name).ok_or_else(|| refused(attempted, format!("there is no table '{name}'")))
}

async fn check_dag(tx: &Tx, dag_id: &DagId) -> Result<()> {
    let sql = "SELECT d.is_stale, d.file_path, \
         (SELECT COUNT(*) FROM dag_run r WHERE r.dag_id = d.dag_id AND r.state NOT IN ('success', 'failed')) AS unfinished, \
         (SELECT COUNT(*) FROM task_instance i JOIN dag_run r ON r.id = i.run_id \
          WHERE r.dag_id = d.dag_id AND i.lease_owner IS NOT NULL) AS held, \
         (SELECT COUNT(*) FROM backfill b WHERE b.dag_id = d.dag_id AND b.completed_at IS NULL) AS backfills \
         FROM dag d WHERE d.dag_id = $1";
    let row = sql::one(&tx.inner, OF_DAG, sql, values![dag_id.as_str()]).await?;
    let row = row.ok_or_else(|| StoreError::NotFound { kind: "DAG", name: dag_id.to_string() })?;
    if !row.flag("is_stale")? {
        let file = row.text("file_path")?;
        let reason = format!("its file {file} would bring it back; remove that first, or pause the DAG instead");
        return Err(refused(OF_DAG, reason));
    }
    let (unfinished, held, backfills) = (row.int("unfinished")?, row.int("held")?, row.int("backfills")?);
    if unfinished > 0 {
        let reason = format!("{unfinished} of its runs have not ended; mark them failed first, or wait");
        return Err(refused(OF_DAG, reason));
    }
    if held > 0 {
        return Err(refused(OF_DAG, format!("{held} of its tasks are still being stopped; try again in a moment")));
    }
    if backfills > 0 {
        return Err(refused(OF_DAG, "a backfill of it goes on; cancel that first, or wait for its end"));
    }
    Ok(())
}
