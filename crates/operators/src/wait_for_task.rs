//! `wait_for_task`: until another DAG's run, or tasks of it, have ended.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use millrace_model::instant::{format_utc_micros, parse_instant};
use millrace_model::state::TaskState;
use millrace_operator_api::context::SeenRun;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::parts::parameter::{OneOrMany, is_blank, rendered_option, rendered_text};
use crate::parts::report::{unless_cancelled, while_doing};
use crate::parts::sensor::{Length, Look, sensor};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<WaitForTask>("wait_for_task", "waits for another DAG's run, or for tasks of it")
        .aliases(&["wait_for_dag", "ExternalTaskSensor"])
        .parameter_aliases(&[
            ("dag_id", "external_dag_id"),
            ("external_task_id", "external_task_ids"),
            ("execution_delta", "offset"),
        ]);

sensor! {
    /// Waits until another DAG's run has ended, or tasks of that run have, without holding a slot. The result is the
    /// run's id.
    ///
    /// The run is the one with this run's logical date; `offset` goes back from it, and `logical_date` names any other. A
    /// run that is not there yet is waited for; that the other DAG's schedule never has that date, as for a run by hand, is
    /// said at the first look.
    pub struct WaitForTask {
        /// The other DAG.
        external_dag_id: Template<String>,
        /// A task of it, or a list of tasks. Left out: the whole run.
        #[serde(default)]
        external_task_ids: Option<Template<OneOrMany>>,
        /// How far back the other run's logical date lies from this run's.
        #[serde(default)]
        offset: Option<Length>,
        /// The other run's logical date, where it is neither this run's nor a fixed time before it.
        #[serde(default)]
        logical_date: Option<Template<String>>,
        /// The states that are waited for: of every instance of the tasks, or of the run. Instances that were removed are
        /// left out, unless `removed` stands here or in `failed_states`.
        #[serde(default = "success")]
        allowed_states: Vec<End>,
        /// States with which waiting has no sense any more: the task fails at once.
        #[serde(default)]
        failed_states: Vec<End>,
    }
}

/// How a task or a run may have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum End {
    Success,
    Failed,
    Skipped,
    UpstreamFailed,
    Removed,
}

impl End {
    fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::UpstreamFailed => "upstream_failed",
            Self::Removed => "removed",
        }
    }
}

fn success() -> Vec<End> {
    vec![End::Success]
}

fn names(states: &[End], state: &str) -> bool {
    states.iter().any(|end| end.as_str() == state)
}

impl Operator for WaitForTask {
    fn check(&self, problems: &mut Problems) {
        self.patience().check(problems);
        if is_blank(&self.external_dag_id) {
            problems.add("external_dag_id", "external_dag_id is empty");
        }
        if self.offset.is_some() && self.logical_date.is_some() {
            problems.add("offset", "offset and logical_date exclude each other");
        }
        if self.allowed_states.is_empty() {
            problems.add("allowed_states", "allowed_states is empty: it would wait for ever");
        }
        if let Some(both) = self.failed_states.iter().find(|state| self.allowed_states.contains(state)) {
            problems.add("failed_states", format!("{} stands in allowed_states too", both.as_str()));
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl WaitForTask {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let dag_id = rendered_text("external_dag_id", &self.external_dag_id)?;
        let tasks = rendered_option("external_task_ids", self.external_task_ids.as_ref())?.unwrap_or_default().0;
        let at = self.other_date(context)?;
        let own = context.run.logical_date;
        if dag_id == context.work.dag_id.as_str() && at == own && tasks.is_empty() {
            return Err(TaskError::Fail("the task waits for the run that it belongs to".to_owned()));
        }
        let what = format!("the run of {dag_id} for {}", format_utc_micros(at));
        let seen = unless_cancelled(context, async {
            context
                .runs
                .at(&dag_id, at, &tasks)
                .await
                .map_err(|error| while_doing(&format!("looking at {what}"), error))
        });
        let look = match seen.await? {
            Some(run) => self.judge(&what, &tasks, &run)?,
            None => Look::NotYet(
                absent(context, &dag_id, at)
                    .await
                    .map_or_else(|| format!("{what} is not there"), |why| format!("{what} is not there, and {why}")),
            ),
        };
        self.patience().decide(context, look)
    }

    fn other_date(&self, context: &TaskContext) -> Result<DateTime<Utc>, TaskError> {
        if let Some(text) = rendered_option("logical_date", self.logical_date.as_ref())? {
            return parse_instant(&text, Tz::UTC)
                .map_err(|error| TaskError::Fail(format!("parameter logical_date: {error}")));
        }
        let back = self.offset.unwrap_or(Length::from_seconds(0));
        Ok(context.run.logical_date - back.0.as_delta())
    }

    /// Else an instance that was removed is as one that never was: nothing will ever become of it.
    fn names_removed(&self) -> bool {
        self.allowed_states.contains(&End::Removed) || self.failed_states.contains(&End::Removed)
    }

    fn judge(&self, what: &str, tasks: &[String], run: &SeenRun) -> Result<Look, TaskError> {
        let mut waiting = None;
        let mut judge_one = |name: &str, state: &str| {
            if names(&self.failed_states, state) {
                return Err(TaskError::Fail(format!("{name} is {state}, which is one of failed_states")));
            }
            if !names(&self.allowed_states, state) && waiting.is_none() {
                let state = if state == TaskState::None.as_str() { "not started" } else { state };
                waiting = Some(format!("{name} is {state}"));
            }
            Ok(())
        };
        if tasks.is_empty() {
            judge_one(what, run.state.as_str())?;
        }
        for (task, states) in tasks.iter().zip(&run.tasks) {
            let name = format!("task {task} of {what}");
            let mut there =
                states.iter().filter(|state| **state != TaskState::Removed || self.names_removed()).peekable();
            if there.peek().is_none() {
                return Err(TaskError::Fail(format!("{what} has no task {task}")));
            }
            there.try_for_each(|state| judge_one(&name, state.as_str()))?;
        }
        Ok(waiting.map_or_else(|| Look::Found(Some(json!({ "run_id": run.run_id }))), Look::NotYet))
    }
}

/// Why the run will not come unless somebody does something, and what. Said aloud at the first look: the wait may last
/// for days.
async fn absent(context: &TaskContext, dag_id: &str, at: DateTime<Utc>) -> Option<String> {
    let why = context.runs.why_never(dag_id, at).await.ok().flatten()?;
    let own = &context.work.dag_id;
    let text = format!(
        "{why}; wait for another date by 'offset' or 'logical_date', or trigger {own} with a date of {dag_id} (-e DATE)"
    );
    if context.put_offs == 0 {
        context.warning(&text);
    }
    Some(text)
}
