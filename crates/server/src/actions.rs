//! What a person changes: a run is triggered, a DAG paused. Used by REST and pages alike.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::error_code::ErrorCode;
use millrace_model::ids::RunId;
use millrace_model::instant::parse_instant;
use millrace_planner::{DagVersion, ManualRun, RequestError, manual_run};
use millrace_store::{DagRow, RunRequest, RunRow};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::changes::checked_note;
use crate::password::keyed_digest;
use crate::person::Person;
use crate::problem::{Answer, Problem};
use crate::server::Server;

/// As Airflow's clients send it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TriggerBody {
    #[serde(default)]
    pub dag_run_id: Option<String>,
    #[serde(default)]
    pub logical_date: Option<String>,
    #[serde(default)]
    pub conf: Option<Value>,
    #[serde(default)]
    pub note: Option<String>,
}

/// Runs that were triggered under an `Idempotency-Key`, for a day.
#[derive(Default)]
pub(crate) struct TriggerKeys {
    seen: Mutex<HashMap<(String, String), Seen>>,
}

#[derive(Clone)]
struct Seen {
    at: DateTime<Utc>,
    body: [u8; 32],
    run: (String, RunId),
}

const KEPT: TimeDelta = TimeDelta::days(1);
const MOST_KEPT: usize = 10_000;

impl TriggerKeys {
    fn find(&self, person: &str, key: &str, now: DateTime<Utc>) -> Option<Seen> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(&(person.to_owned(), key.to_owned())).filter(|seen| now < seen.at + KEPT).cloned()
    }

    fn keep(&self, person: &str, key: &str, entry: Seen) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_KEPT {
            let now = entry.at;
            seen.retain(|_, seen| now < seen.at + KEPT);
        }
        if seen.len() < MOST_KEPT {
            seen.insert((person.to_owned(), key.to_owned()), entry);
        }
    }
}

impl Server {
    pub async fn dag_row(&self, dag_id: &str, last_runs: u32) -> Answer<DagRow> {
        self.store().dag(dag_id, last_runs).await?.ok_or_else(|| Problem::no_dag(dag_id))
    }

    pub async fn run_row(&self, dag_id: &str, run_id: &str) -> Answer<RunRow> {
        match self.store().run(dag_id, run_id).await? {
            Some(run) => Ok(run),
            // Which of the two is missing?
            None => self.dag_row(dag_id, 0).await.and_then(|_| Err(Problem::no_run(dag_id, run_id))),
        }
    }

    /// Queues a run. With the `Idempotency-Key` of an earlier, equal request: that one's run.
    pub async fn trigger(
        &self,
        person: &Person,
        dag_id: &str,
        body: TriggerBody,
        idempotency_key: Option<&str>,
    ) -> Answer<(RunRow, DagRow)> {
        let dag = self.dag_row(dag_id, 0).await?;
        let now = self.now();
        let digest = keyed_digest(&self.secret, &[dag_id.as_bytes(), format!("{body:?}").as_bytes()]);
        if let Some(key) = idempotency_key
            && let Some(seen) = self.trigger_keys.find(&person.name, key, now)
        {
            if seen.body != digest {
                return Err(Problem::invalid("this Idempotency-Key was used for another request"));
            }
            return Ok((self.run_row(&seen.run.0, seen.run.1.as_str()).await?, dag));
        }
        if dag.is_stale {
            let text = format!("the file {} of DAG {dag_id} is gone; put it back, then trigger", dag.file_path);
            return Err(Problem::new(ErrorCode::CONFLICT, text));
        }
        let request = run_request(person, &dag, body, now)?;
        let run_id = request.run.run_id.clone();
        self.store().create_run(&request, now).await?;
        self.store().wake().await;
        if let Some(key) = idempotency_key {
            let seen = Seen { at: now, body: digest, run: (dag_id.to_owned(), run_id.clone()) };
            self.trigger_keys.keep(&person.name, key, seen);
        }
        Ok((self.run_row(dag_id, run_id.as_str()).await?, dag))
    }

    pub async fn set_paused(&self, person: &Person, dag_id: &str, is_paused: bool) -> Answer<DagRow> {
        let dag = self.dag_row(dag_id, 0).await?;
        self.store().set_paused(&dag.dag_id, is_paused, &person.actor(), self.now()).await?;
        self.store().wake().await;
        self.dag_row(dag_id, 0).await
    }
}

fn run_request(person: &Person, dag: &DagRow, body: TriggerBody, now: DateTime<Utc>) -> Answer<RunRequest> {
    let conf = match body.conf {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(conf)) => conf,
        Some(_) => return Err(Problem::invalid("'conf' must be a JSON object").with("path", "conf".into())),
    };
    let zone = dag.dag.timetable.timezone;
    let logical_date = body
        .logical_date
        .filter(|text| !text.trim().is_empty())
        .map(|text| parse_instant(&text, zone))
        .transpose()
        .map_err(|error| Problem::invalid(format!("'logical_date': {error}")).with("path", "logical_date".into()))?;
    let note = checked_note(body.note)?;
    let version = DagVersion::new(dag.version_key, dag.dag.clone()).map_err(|error| Problem::internal(&error))?;
    let run_id = body.dag_run_id.as_deref().filter(|text| !text.is_empty());
    let request = ManualRun { version: &version, run_id, logical_date, conf, triggered_by: person.actor() };
    let run = manual_run(request, now).map_err(|error| {
        let path = if matches!(error, RequestError::RunId(_)) { "dag_run_id" } else { "logical_date" };
        Problem::invalid(error.to_string()).with("path", path.into())
    })?;
    Ok(RunRequest { run, note, actor: person.actor() })
}
