//! What people are told of a DAG's file: that it cannot be read any more, or lacks tasks that it had.
//!
//! Such an alert belongs to no run. In the place of a run's key stands that of the version in service, negative, so that
//! of each version it is told once.

use std::collections::HashSet;

use chrono::{DateTime, Utc};
use millrace_model::alert::{Alert, AlertKind};
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, RunId};
use millrace_model::notice::{Notice, NoticeEvent};
use serde_json::Value;

use crate::alerts::{alert, notification};
use crate::sql::{Kind, micros, values};
use crate::{Result, Tx, sql};

/// Tasks that a message names; the others are counted.
const MOST_NAMED: usize = 5;

/// Raises the alert, and tells the DAG's `on_alert`.
async fn raise(
    tx: &Tx,
    (dag, version_key): (&Dag, i64),
    kind: AlertKind,
    message: String,
    now: DateTime<Utc>,
) -> Result<()> {
    let notices: Vec<Notice> = dag
        .callbacks
        .on_alert
        .iter()
        .map(|callback| Notice {
            run: -version_key,
            dag_id: dag.dag_id.clone(),
            run_id: RunId::new_unchecked(""),
            logical_date: now,
            of_try: None,
            event: NoticeEvent::Alert(kind),
            reason: Some(message.clone()),
            callback: callback.clone(),
            at: now,
        })
        .collect();
    let alert = Alert { dag_id: dag.dag_id.clone(), run: -version_key, kind, message, at: now };
    if alert::raise(tx, std::slice::from_ref(&alert), &HashSet::new()).await?.is_empty() {
        return Ok(());
    }
    tracing::warn!(dag = %dag.dag_id, %kind, message = alert.message, "a DAG's file raises an alert");
    notification::insert(tx, notices.iter()).await
}

/// The new version of a DAG lacks tasks that the one before had: whatever they did is not done any more, and its runs end
/// well without them.
pub(crate) async fn tell_of_lost_tasks(
    tx: &Tx,
    (dag, file_path): (&Dag, &str),
    (version_key, before): (i64, i64),
    now: DateTime<Utc>,
) -> Result<()> {
    // One that cannot be read had nothing that anybody could miss.
    let Ok(before) = tx.store.dag_version_in(&tx.inner, before).await else { return Ok(()) };
    let lost = before.tasks.iter().map(|task| task.task_id.as_str()).filter(|id| dag.task(id).is_none());
    let lost: Vec<&str> = lost.collect();
    let message = match lost.as_slice() {
        [] => return Ok(()),
        [only] => format!("{file_path} lacks the task {only} now, which it had before: runs end well without it"),
        [..] if lost.len() <= MOST_NAMED => {
            let names = lost.join(", ");
            format!("{file_path} lacks the tasks {names} now, which it had before: runs end well without them")
        }
        [..] => {
            let (names, more) = (lost[..MOST_NAMED].join(", "), lost.len() - MOST_NAMED);
            format!(
                "{file_path} lacks the tasks {names} and {more} more now, which it had before: runs end well without them"
            )
        }
    };
    raise(tx, (dag, version_key), AlertKind::TasksLost, message, now).await
}

/// A file that gives DAGs in service cannot be read as it is now. Nothing is told again while that lasts.
pub(crate) async fn tell_of_import_error(
    tx: &Tx,
    file_path: &str,
    diagnostics: &[Value],
    now: DateTime<Utc>,
) -> Result<()> {
    let known = "SELECT 1 AS n FROM import_error WHERE file_path = $1";
    if sql::one(&tx.inner, "look for an import error", known, values![file_path]).await?.is_some() {
        return Ok(());
    }
    let served = "SELECT d.dag_id, d.version_id, v.number FROM dag d JOIN dag_version v ON v.id = d.version_id \
                  WHERE d.file_path = $1 AND NOT d.is_stale ORDER BY d.dag_id";
    for row in sql::all(&tx.inner, "look for the DAGs of a file", served, values![file_path]).await? {
        let (dag_id, version_key) = (DagId::new_unchecked(row.text("dag_id")?), row.int("version_id")?);
        let Ok(dag) = tx.store.dag_version_in(&tx.inner, version_key).await else { continue };
        if dag.dag_id != dag_id {
            continue;
        }
        let number = row.int("number")?;
        let first = diagnostics.first().map(|first| {
            let message = first["message"].as_str().unwrap_or_default();
            let file = first["file"].as_str().map(|file| format!("{file}, ")).unwrap_or_default();
            format!(": {file}line {}: {message}", first["line"])
        });
        let message = format!(
            "{file_path} cannot be read as it is now, so its last good version ({number}) serves{}",
            first.unwrap_or_default()
        );
        raise(tx, (&dag, version_key), AlertKind::ImportError, message, now).await?;
    }
    Ok(())
}

/// The files of these DAGs can be read again, or are gone: nobody has to look at what was raised of them any more.
pub(crate) async fn end_import_errors(
    tx: &Tx,
    dag_ids: impl Iterator<Item = &DagId>,
    now: DateTime<Utc>,
) -> Result<()> {
    let source = sql::source(tx.dialect(), 2, &[("x_dag", Kind::Text)]);
    let sql = format!(
        "UPDATE alert SET seen_at = $1, seen_by = 'scheduler' \
         WHERE seen_at IS NULL AND kind = 'import_error' AND dag_id IN (SELECT x_dag FROM {source})"
    );
    let values = vec![micros(now).into(), sql::column(dag_ids.map(DagId::as_str))];
    sql::run(&tx.inner, "end alerts of import errors", sql, values).await.map(|_| ())
}
