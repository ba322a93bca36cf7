//! What a person changes: a run is triggered, a DAG paused. Used by REST and pages alike.

use chrono::{DateTime, Utc};
use http::HeaderName;
use millrace_model::error_code::ErrorCode;
use millrace_model::param::{self, ParamFault};
use millrace_model::schedule::DataInterval;
use millrace_planner::{DagVersion, ManualRun, NamedDate, RequestError, manual_run};
use millrace_settings::Masker;
use millrace_settings::kept::{UnknownSecret, keep_secrets};
use millrace_settings::mask::{MASK, check_own_secrets};
use millrace_store::{DagRow, Keyed, RequestKey, RunRequest, RunRow};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::access::permission::Act;
use crate::access::person::{Person, Via};
use crate::access::sessions::token_hash;
use crate::deeds::changes::checked_note;
use crate::problem::{Answer, Problem};
use crate::server::{KEYS_KEPT, Server};

/// As Airflow's clients send it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
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

impl Server {
    pub async fn dag_row(&self, dag_id: &str, last_runs: u32) -> Answer<DagRow> {
        if let Some(row) = self.store().dag(dag_id, last_runs).await? {
            return Ok(row);
        }
        let unusable = self.store().left_out_because(dag_id).await?;
        Err(unusable.map_or_else(|| Problem::no_dag(dag_id), |reason| Problem::unusable_dag(dag_id, &reason)))
    }

    pub async fn run_row(&self, dag_id: &str, run_id: &str) -> Answer<RunRow> {
        match self.store().run(dag_id, run_id).await? {
            Some(run) => Ok(run),
            // Which of the two is missing?
            None => self.dag_row(dag_id, 0).await.and_then(|_| Err(Problem::no_run(dag_id, run_id))),
        }
    }

    /// Queues a run. With the `Idempotency-Key` of an earlier, equal request: that one's run, and true.
    pub async fn trigger(
        &self,
        person: &Person,
        dag_id: &str,
        body: TriggerBody,
        idempotency_key: Option<&str>,
    ) -> Answer<(RunRow, DagRow, bool)> {
        self.require_on(person, Act::TriggerRuns, dag_id).await?;
        let dag = self.dag_row(dag_id, 0).await?;
        let now = self.now();
        if dag.is_stale {
            let text = format!("the file {} of DAG {dag_id} is gone; put it back, then trigger", dag.file_path);
            return Err(Problem::new(ErrorCode::CONFLICT, text));
        }
        let key = idempotency_key.map(|key| request_key(person, dag_id, key, &body)).transpose()?;
        let last_interval = self.store().last_automated_interval(&dag.dag_id).await?;
        let request = run_request(person, (&dag, last_interval), body, self.options.vault.masker(), now)?;
        let run_id = match key {
            None => self.store().create_run(&request, now).await.map(|_| request.run.run_id)?,
            Some(key) => match self.store().create_run_once(&request, &key, now - KEYS_KEPT, now).await? {
                Keyed::Created(run_id) => run_id,
                Keyed::Known(run_id) => match self.store().run(dag_id, run_id.as_str()).await? {
                    Some(run) => return Ok((run, dag, true)),
                    None => {
                        let text = format!(
                            "the run {run_id} of this Idempotency-Key was deleted; send another key for a new run"
                        );
                        return Err(Problem::new(ErrorCode::CONFLICT, text));
                    }
                },
                Keyed::Another => return Err(Problem::invalid("this Idempotency-Key was used for another request")),
            },
        };
        Ok((self.run_row(dag_id, run_id.as_str()).await?, dag, false))
    }

    pub async fn set_paused(&self, person: &Person, dag_id: &str, is_paused: bool) -> Answer<DagRow> {
        self.require_on(person, Act::PauseDags, dag_id).await?;
        let dag = self.dag_row(dag_id, 0).await?;
        self.store().set_paused(&dag.dag_id, is_paused, &person.actor(), self.now()).await?;
        self.dag_row(dag_id, 0).await
    }
}

const LONGEST_KEY: usize = 255;

/// A digest stands for the request: the same key with another one is a mistake.
fn request_key(person: &Person, dag_id: &str, key: &str, body: &TriggerBody) -> Answer<RequestKey> {
    key_of(person, key, &json!([dag_id, body.dag_run_id, body.logical_date, body.conf, body.note]))
}

pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(crate) fn key_of(person: &Person, key: &str, asked: &Value) -> Answer<RequestKey> {
    if key.is_empty() || key.len() > LONGEST_KEY {
        return Err(Problem::invalid(format!("an Idempotency-Key has 1 to {LONGEST_KEY} characters")));
    }
    Ok(RequestKey { person: person.name.clone(), key: key.to_owned(), body_hash: token_hash(&asked.to_string()) })
}

/// A conf that was shown, and comes back: a param that is as it was shown, or `***`, is what the DAG has for it, as if
/// nothing had been sent. 422 where `***` stands for a secret in anything else: put in its place, it would be shown, for a
/// conf is searched for no secrets but its own.
pub(crate) fn with_secrets(
    dag: &DagRow,
    mut conf: Map<String, Value>,
    place: &str,
    masker: &Masker,
) -> Answer<Map<String, Value>> {
    let defaults = param::defaults(&dag.dag.params);
    let masker = masker.beside(&[&defaults]);
    let defaults = Value::Object(defaults);
    let shown = masker.mask_value(&defaults);
    conf.retain(|name, value| match (defaults.get(name), shown.get(name)) {
        (Some(default), Some(shown)) => value == default || (value != MASK && value != shown),
        _ => true,
    });
    let mut kept = Value::Object(conf.clone());
    keep_secrets(&mut kept, Some(&defaults), place, &masker)
        .and_then(|()| match conf.iter().find(|(name, value)| kept.get(*name) != Some(value)) {
            None => Ok(()),
            Some((name, _)) => Err(UnknownSecret { place: format!("{place}.{name}") }),
        })
        .map_err(|error| Problem::invalid(error.to_string()).with("path", place.into()))?;
    Ok(conf)
}

/// What of a conf does not suit the DAG's params, one by one.
pub(crate) fn refused(error: &RequestError) -> Problem {
    let problem = Problem::invalid(error.to_string());
    let RequestError::Params { faults, .. } = error else { return problem };
    let one = |fault: &ParamFault| json!({ "name": fault.name, "message": fault.breach.to_string() });
    problem.with("errors", faults.iter().map(one).collect())
}

fn run_request(
    person: &Person,
    (dag, last_interval): (&DagRow, Option<DataInterval>),
    body: TriggerBody,
    masker: &Masker,
    now: DateTime<Utc>,
) -> Answer<RunRequest> {
    let conf = match body.conf {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(conf)) => conf,
        Some(_) => return Err(Problem::invalid("'conf' must be a JSON object").with("path", "conf".into())),
    };
    // Another system sends what it has: `***` there is its own, and none that was shown here.
    let conf = match person.via {
        Via::Webhook(_) => conf,
        _ => with_secrets(dag, conf, "conf", masker)?,
    };
    check_own_secrets(&conf)
        .map_err(|error| Problem::invalid(format!("'conf': {error}")).with("path", "conf".into()))?;
    let logical_date = body
        .logical_date
        .filter(|text| !text.trim().is_empty())
        .map(|text| NamedDate::read(&dag.dag, last_interval, &text))
        .transpose()
        .map_err(|error| Problem::invalid(format!("'logical_date': {error}")).with("path", "logical_date".into()))?;
    let note = checked_note(body.note, &masker.beside(&[&param::defaults(&dag.dag.params), &conf]))?;
    let version = DagVersion::new(dag.version_key, dag.dag.clone()).map_err(|error| Problem::internal(&error))?;
    let run_id = body.dag_run_id.as_deref().filter(|text| !text.is_empty());
    let request = ManualRun { version: &version, run_id, logical_date, conf, triggered_by: person.actor() };
    let run = manual_run(request, now).map_err(|error| {
        let path = match &error {
            RequestError::RunId(_) => "dag_run_id",
            RequestError::Params { .. } => "conf",
            _ => "logical_date",
        };
        refused(&error).with("path", path.into())
    })?;
    Ok(RunRequest { run, note, actor: person.actor() })
}
