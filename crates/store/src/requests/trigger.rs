//! Requests that people make of a DAG: run it, pause it.

use chrono::{DateTime, Utc};
use millrace_model::change::NewRun;
use millrace_model::ids::{DagId, RunId};
use serde_json::{Value, json};

use crate::commit::new_runs;
use crate::processes::changes;
use crate::runs::run::{RUN_SELECT, read_run};
use crate::sql::{micros, values};
use crate::{AuditRow, Change, Counted, CreatedRun, Result, SignalKind, Store, StoreError, Tx, sql};

/// A run that a person asks for.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRequest {
    /// Its state is `Queued`; the scheduler starts it.
    pub run: NewRun,
    pub note: Option<String>,
    /// `cli`, `rest:<user>`: for the audit log.
    pub actor: String,
}

/// Under which a program may send the same request again: it gets the run that the first one made.
#[derive(Debug, Clone)]
pub struct RequestKey {
    pub person: String,
    pub key: String,
    /// A digest of what was asked for.
    pub body_hash: String,
}

/// What came of a request with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyed<New, Seen = New> {
    Created(New),
    /// By an equal request before.
    Known(Seen),
    /// The key was used for another request.
    Another,
}

impl Store {
    /// As [`Store::create_run`], once for a key that was used `since` then: looking and creating are one transaction.
    pub async fn create_run_once(
        &self,
        request: &RunRequest,
        key: &RequestKey,
        since: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> Result<Keyed<RunId>> {
        let tx = self.begin_in_turn("create a run").await?;
        let run = &request.run;
        if let Some(seen) = take_key(&tx, key, (run.dag_id.as_str(), run.run_id.as_str()), since, now).await? {
            return Ok(seen.map_or(Keyed::Another, |run_id| Keyed::Known(RunId::new_unchecked(run_id))));
        }
        create_in(&tx, request, now).await?;
        tx.commit().await?;
        self.count(Counted::RunsMade, &[run.run_type.as_str()], 1);
        Ok(Keyed::Created(run.run_id.clone()))
    }

    /// Errors: `RunExists`, `LogicalDateExists` (both name the run that is there).
    pub async fn create_run(&self, request: &RunRequest, now: DateTime<Utc>) -> Result<CreatedRun> {
        let tx = self.begin_in_turn("create a run").await?;
        let created = create_in(&tx, request, now).await?;
        tx.commit().await?;
        self.count(Counted::RunsMade, &[request.run.run_type.as_str()], 1);
        Ok(created)
    }

    /// Returns whether anything changed.
    pub async fn set_paused(&self, dag_id: &DagId, paused: bool, actor: &str, now: DateTime<Utc>) -> Result<bool> {
        let tx = self.begin("pause or unpause a DAG").await?;
        let sql = "SELECT is_paused FROM dag WHERE dag_id = $1";
        let row = sql::one(&tx.inner, "read a DAG", sql, values![dag_id.as_str()]).await?;
        let row = row.ok_or_else(|| StoreError::NotFound { kind: "DAG", name: dag_id.to_string() })?;
        if row.flag("is_paused")? == paused {
            return Ok(false);
        }
        let sql = "UPDATE dag SET is_paused = $2, last_changed_at = $3 WHERE dag_id = $1";
        sql::run(&tx.inner, "pause or unpause a DAG", sql, values![dag_id.as_str(), paused, micros(now)]).await?;
        let action = if paused { "pause" } else { "unpause" };
        let told = |is_paused| Some(json!({ "is_paused": is_paused }));
        let audit = AuditRow::new(actor, action, json!({}), now).with_change(told(!paused), told(paused));
        tx.audit(&audit.on_dag(dag_id.as_str())).await?;
        tx.signal(SignalKind::DagChanged, Some(dag_id), None, now).await?;
        tx.tell(Change::of_dag(dag_id, if paused { "paused" } else { "unpaused" }));
        tx.commit().await?;
        Ok(true)
    }
}

/// Takes a key that was not used `since` then, for a run if it is for one. A key that was used is left alone: gives the
/// run of an equal request, or nothing if it was for another.
pub(crate) async fn take_key(
    tx: &Tx,
    key: &RequestKey,
    (dag_id, run_id): (&str, &str),
    since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<Option<Option<String>>> {
    let attempted = "look for the key of a request";
    let sql = "DELETE FROM idempotency_key WHERE person = $1 AND key = $2 AND at < $3";
    let name = || values![key.person.as_str(), key.key.as_str()];
    sql::run(&tx.inner, attempted, sql, [name(), values![micros(since)]].concat()).await?;
    let sql = "SELECT body_hash, run_id FROM idempotency_key WHERE person = $1 AND key = $2";
    if let Some(seen) = sql::one(&tx.inner, attempted, sql, name()).await? {
        let is_same = seen.text("body_hash")? == key.body_hash;
        return Ok(Some(is_same.then(|| seen.text("run_id")).transpose()?));
    }
    let sql =
        "INSERT INTO idempotency_key (person, key, body_hash, dag_id, run_id, at) VALUES ($1, $2, $3, $4, $5, $6)";
    let rest = values![key.body_hash.as_str(), dag_id, run_id, micros(now)];
    sql::run(&tx.inner, attempted, sql, [name(), rest].concat()).await?;
    Ok(None)
}

pub(crate) async fn create_in(tx: &Tx, request: &RunRequest, now: DateTime<Utc>) -> Result<CreatedRun> {
    let run = &request.run;
    let created = new_runs::insert(tx, std::slice::from_ref(run), false, now).await?;
    let Some(created) = created.into_iter().flatten().next() else {
        return Err(why_not_created(tx, run).await?);
    };
    if let Some(note) = &request.note {
        let sql = "UPDATE dag_run SET note = $2 WHERE id = $1";
        sql::run(&tx.inner, "note why a run was asked for", sql, values![created.run, note.as_str()]).await?;
    }
    let details = json!({
        "logical_date": run.logical_date,
        "conf": Value::Object(run.conf.clone()),
        "note": request.note,
    });
    let row = AuditRow::new(&request.actor, "trigger", details, now);
    let row = row.with_change(None, Some(json!({ "state": run.state.as_str() })));
    tx.audit(&row.on_run(run.dag_id.as_str(), run.run_id.as_str())).await?;
    tx.signal(SignalKind::RunCreated, Some(&run.dag_id), Some(created.run), now).await?;
    changes::collect(tx, &[created.run], &[]).await?;
    Ok(created)
}

async fn why_not_created(tx: &Tx, run: &NewRun) -> Result<StoreError> {
    let sql = format!(
        "{RUN_SELECT} WHERE r.dag_id = $1 AND (r.run_id = $2 OR r.logical_date = $3) \
         ORDER BY CASE WHEN r.run_id = $2 THEN 0 ELSE 1 END LIMIT 1"
    );
    let values = values![run.dag_id.as_str(), run.run_id.as_str(), micros(run.logical_date)];
    let row = sql::one(&tx.inner, "read the run that is there", sql, values).await?;
    let Some(there) = row.as_ref().map(read_run).transpose()? else {
        let reason = "the database took it for a repetition, and shows no run like it".to_owned();
        return Ok(StoreError::Refused { attempted: "create a run", reason });
    };
    let dag_id = there.dag_id;
    if there.run_id == run.run_id {
        return Ok(StoreError::RunExists { dag_id, run_id: there.run_id });
    }
    let logical_date = run.logical_date.to_rfc3339_opts(chrono::SecondsFormat::Micros, true);
    Ok(StoreError::LogicalDateExists { dag_id, run_id: there.run_id, logical_date })
}
