//! Backfills: what is asked for, looked at, made. Used by REST and pages alike.

use millrace_model::instant::{InstantError, parse_included_end, parse_instant};
use millrace_model::selection::{TaskChoice, TaskPattern, TaskSelection};
use millrace_settings::mask::check_own_secrets;
use millrace_situation::{BackfillRequest, PreparedBackfill, prepare_backfill};
use millrace_store::{BackfillDate, BackfillReport, BackfillRow, DateOutcome, Reprocess};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::access::permission::Act;
use crate::access::person::Person;
use crate::deeds::actions::with_secrets;
use crate::problem::{Answer, Problem};
use crate::server::Server;
use crate::words::said;

/// As Airflow's clients send it, and what we have besides.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is a choice of its own")]
pub(crate) struct BackfillBody {
    pub dag_id: String,
    pub from_date: String,
    pub to_date: String,
    /// Run the end date too; one without a time of day is all of that day in the DAG's zone.
    #[serde(default)]
    pub to_inclusive: bool,
    #[serde(default)]
    pub run_backwards: bool,
    #[serde(default)]
    pub dag_run_conf: Option<Map<String, Value>>,
    /// `none`, `failed` or `completed`.
    #[serde(default)]
    pub reprocess_behavior: Option<String>,
    /// Runs at the same time; left out: the DAG's `max_active_runs`.
    #[serde(default)]
    pub max_active_runs: Option<u32>,
    /// Only tasks in whose id this regular expression is found.
    #[serde(default)]
    pub tasks: Option<String>,
    #[serde(default)]
    pub include_upstream: bool,
    #[serde(default)]
    pub include_downstream: bool,
    /// Also dates outside of the DAG's start and end.
    #[serde(default)]
    pub ignore_bounds: bool,
    /// What Airflow's clients send: new runs have the newest version, those that run again keep theirs. True is refused
    /// where runs are to run again.
    #[serde(default)]
    pub run_on_latest_version: Option<bool>,
}

impl Server {
    /// What a backfill would do; nothing is changed.
    pub async fn look_at_backfill(
        &self,
        person: &Person,
        body: BackfillBody,
    ) -> Answer<(PreparedBackfill, BackfillReport)> {
        self.require_on(person, Act::Backfill, &body.dag_id).await?;
        let prepared = self.prepare(person, body, true).await?;
        let report = self.store().create_backfill(&prepared.new, self.now()).await?;
        Ok((prepared, report))
    }

    /// With its number. 409 when it would run nothing.
    pub async fn create_backfill(
        &self,
        person: &Person,
        body: BackfillBody,
    ) -> Answer<(i64, PreparedBackfill, BackfillReport)> {
        self.require_on(person, Act::Backfill, &body.dag_id).await?;
        let prepared = self.prepare(person, body, false).await?;
        let report = self.store().create_backfill(&prepared.new, self.now()).await?;
        let Some(key) = report.backfill_key else {
            let text = format!(
                "nothing to backfill: each of the {} dates has a run; 'reprocess_behavior' failed or completed runs \
                 finished ones again",
                report.dates.len()
            );
            return Err(Problem::new(millrace_model::error_code::ErrorCode::CONFLICT, text));
        };
        Ok((key, prepared, report))
    }

    async fn prepare(&self, person: &Person, body: BackfillBody, dry_run: bool) -> Answer<PreparedBackfill> {
        let dag = self.dag_row(&body.dag_id, 0).await?;
        let invalid = |name: &str, text: String| Problem::invalid(text).with("path", name.into());
        let zone = dag.dag.timetable.timezone;
        let refused = |name: &'static str| move |error: InstantError| invalid(name, format!("'{name}': {error}"));
        let from = parse_instant(&body.from_date, zone).map_err(refused("from_date"))?;
        let (to, includes_end) = if body.to_inclusive {
            parse_included_end(&body.to_date, zone).map_err(refused("to_date"))?
        } else {
            (parse_instant(&body.to_date, zone).map_err(refused("to_date"))?, false)
        };
        let word = body.reprocess_behavior.as_deref().unwrap_or("none");
        let reprocess = Reprocess::parse(word).ok_or_else(|| {
            invalid(
                "reprocess_behavior",
                format!("'reprocess_behavior' must be none, failed or completed, not '{word}'"),
            )
        })?;
        if body.run_on_latest_version == Some(true) && reprocess != Reprocess::None {
            let text = "a run that runs again keeps its version of the DAG; clear them with 'run_on_latest_version', or leave \
                        it out here";
            return Err(invalid("run_on_latest_version", text.to_owned()));
        }
        if body.max_active_runs == Some(0) {
            return Err(invalid("max_active_runs", "'max_active_runs' must be at least 1".to_owned()));
        }
        let tasks = match body.tasks.as_deref().filter(|text| !text.trim().is_empty()) {
            None => None,
            Some(text) => {
                let pattern = TaskPattern::parse(text).map_err(|error| invalid("tasks", error.to_string()))?;
                let (upstream, downstream) = (body.include_upstream, body.include_downstream);
                Some(TaskSelection { tasks: TaskChoice::Pattern(pattern), upstream, downstream })
            }
        };
        let conf = body.dag_run_conf.unwrap_or_default();
        let conf = with_secrets(&dag, conf, "dag_run_conf", self.options.vault.masker())?;
        check_own_secrets(&conf).map_err(|error| invalid("dag_run_conf", format!("'dag_run_conf': {error}")))?;
        let request = BackfillRequest {
            from,
            to,
            includes_end,
            is_reversed: body.run_backwards,
            ignores_bounds: body.ignore_bounds,
            reprocess,
            max_active_runs: body.max_active_runs,
            conf,
            tasks,
            actor: person.actor(),
            dry_run,
        };
        Ok(prepare_backfill(self.store(), &dag, request, self.now()).await?)
    }

    pub async fn backfill_row(&self, key: i64) -> Answer<BackfillRow> {
        let row = self.store().backfill(key).await?;
        row.ok_or_else(|| {
            Problem::new(millrace_model::error_code::ErrorCode::NOT_FOUND, format!("there is no backfill {key}"))
        })
    }

    /// 409 when it has ended.
    pub async fn pause_backfill(&self, person: &Person, key: i64, paused: bool) -> Answer<BackfillRow> {
        self.check_active(person, key).await?;
        self.store().set_backfill_paused(key, paused, &person.actor(), self.now()).await?;
        self.backfill_row(key).await
    }

    /// 409 when it has ended.
    pub async fn cancel_backfill(&self, person: &Person, key: i64) -> Answer<BackfillRow> {
        self.check_active(person, key).await?;
        self.store().cancel_backfill(key, &person.actor(), self.now()).await?;
        self.backfill_row(key).await
    }

    async fn check_active(&self, person: &Person, key: i64) -> Answer<()> {
        let row = self.backfill_row(key).await?;
        self.require_on(person, Act::Backfill, row.dag_id.as_str()).await?;
        if row.completed_at.is_none() {
            return Ok(());
        }
        let text = format!("backfill {key} has ended: it is {}", row.state.as_str());
        Err(Problem::new(millrace_model::error_code::ErrorCode::CONFLICT, text))
    }
}

/// `new run`, `run again`, or why not.
pub(crate) fn outcome(date: &BackfillDate) -> (&'static str, Option<&str>) {
    match &date.outcome {
        DateOutcome::Created => (said!("new run"), None),
        DateOutcome::Cleared => (said!("run again"), None),
        DateOutcome::Skipped { reason } => (said!("left alone"), Some(reason)),
    }
}
