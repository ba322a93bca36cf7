//! `trigger_dag`: a run of another DAG.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use millrace_model::instant::{format_utc_micros, parse_instant};
use millrace_model::state::RunState;
use millrace_operator_api::context::{AskedRun, RunWish};
use millrace_operator_api::{
    BoxFuture, Operator, OperatorEntry, Outcome, PortErrorKind, Problems, TaskContext, TaskError,
};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::parts::parameter::{is_blank, rendered_option, rendered_text, yes};
use crate::parts::report::{unless_cancelled, while_doing};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<TriggerDag>("trigger_dag", "starts a run of another DAG and waits for its end")
        .aliases(&["TriggerDagRunOperator", "trigger_dagrun"])
        .parameter_aliases(&[
            ("dag_id", "trigger_dag_id"),
            ("run_id", "trigger_run_id"),
            ("execution_date", "logical_date"),
            ("wait", "wait_for_completion"),
        ]);

/// Starts a run of another DAG and waits, without holding a slot, until it has ended. A run that fails fails the task.
///
/// The task asks for one run only, however often it is tried: a try that follows one that died waits for the same run,
/// and a retry after a failure lets what failed in it run again. Once the task is cleared it asks for a new one. When the
/// task is stopped (by hand, by a timeout, with its run) the run is stopped too; not when the daemon stops or restarts.
///
/// The result is `{dag_id, run_id, logical_date}`; the task's page links the run.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of parameters are the field's standard ones")]
pub struct TriggerDag {
    /// The other DAG.
    trigger_dag_id: Template<String>,
    /// The run's id. Left out: `triggered__` and its logical date.
    #[serde(default)]
    trigger_run_id: Option<Template<String>>,
    /// The run's logical date, such as `{{ ts }}`. Left out: the moment. A DAG has one run for a date.
    #[serde(default)]
    logical_date: Option<Template<String>>,
    /// The run's configuration, over the DAG's params.
    #[serde(default)]
    conf: Option<Template<Map<String, Value>>>,
    /// A note for the run.
    #[serde(default)]
    note: Option<Template<String>>,
    /// `false`: the task is done as soon as the run is queued.
    #[serde(default = "yes")]
    wait_for_completion: bool,
    /// Skip the task instead of failing it when somebody else's run has that id or date.
    #[serde(default)]
    skip_when_already_exists: bool,
}

impl Operator for TriggerDag {
    fn check(&self, problems: &mut Problems) {
        if is_blank(&self.trigger_dag_id) {
            problems.add("trigger_dag_id", "trigger_dag_id is empty");
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl TriggerDag {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let wish = self.wish()?;
        if self.wait_for_completion && wish.dag_id == context.work.dag_id.as_str() {
            let text =
                "a run that waits for another run of its own DAG may wait for ever; set wait_for_completion: false";
            return Err(TaskError::Fail(text.to_owned()));
        }
        if context.is_test {
            context.info(format!("nothing is recorded here: this would trigger {}", wish.dag_id));
            return Ok(done(&wish, "test", wish.logical_date.unwrap_or_else(|| context.clock.now())));
        }
        let run = self.ask(context, &wish).await?;
        if !self.wait_for_completion {
            return Ok(done(&wish, &run.run_id, run.logical_date));
        }
        let run = wait(context, &wish, run).await?;
        match run.state {
            RunState::Success => Ok(done(&wish, &run.run_id, run.logical_date)),
            state => {
                let reason = run.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                Err(TaskError::Retry(format!("the run {} of DAG {} is {state}{reason}", run.run_id, wish.dag_id)))
            }
        }
    }

    fn wish(&self) -> Result<RunWish, TaskError> {
        let given = |text: &String| !text.trim().is_empty();
        let logical_date = rendered_option("logical_date", self.logical_date.as_ref())?.filter(given);
        let logical_date = logical_date.map(|text| {
            parse_instant(&text, Tz::UTC).map_err(|error| TaskError::Fail(format!("parameter logical_date: {error}")))
        });
        Ok(RunWish {
            dag_id: rendered_text("trigger_dag_id", &self.trigger_dag_id)?,
            run_id: rendered_option("trigger_run_id", self.trigger_run_id.as_ref())?.filter(given),
            logical_date: logical_date.transpose()?,
            conf: rendered_option("conf", self.conf.as_ref())?.unwrap_or_default(),
            note: rendered_option("note", self.note.as_ref())?.filter(given),
        })
    }

    async fn ask(&self, context: &TaskContext, wish: &RunWish) -> Result<AskedRun, TaskError> {
        let asked = unless_cancelled(context, async { Ok(context.triggers.trigger(wish).await) }).await?;
        let run = match asked {
            Ok(run) => run,
            Err(error) if error.kind == PortErrorKind::AlreadyExists && self.skip_when_already_exists => {
                return Err(TaskError::Skip(error.message));
            }
            Err(error) => return Err(error.into()),
        };
        let what = format!("the run {} of DAG {}", run.run_id, wish.dag_id);
        if !run.was_there {
            context.info(format!("triggered {what}"));
        } else if run.state == RunState::Failed && context.try_number > 1 {
            let again = async { context.triggers.run_again(run.key).await.map_err(|e| while_doing(&what, e)) };
            unless_cancelled(context, again).await?;
            context.info(format!("what failed in {what} runs again"));
        } else {
            context.info(format!("{what} was triggered by an earlier try"));
        }
        if run.is_held {
            context.warning(format!("DAG {} is paused: its run stays queued until it is unpaused", wish.dag_id));
        }
        Ok(run)
    }
}

/// Without a slot. A task that is stopped takes the run with it.
async fn wait(context: &TaskContext, wish: &RunWish, run: AskedRun) -> Result<AskedRun, TaskError> {
    let what = format!("the run {} of DAG {}", run.run_id, wish.dag_id);
    context.checkpoint("waiting", format!("for {what}"));
    context.slot.leave();
    let ended = unless_cancelled(context, async {
        let ended = context.triggers.ended(run.key).await.map_err(|error| while_doing(&what, error));
        context.slot.take_again().await;
        ended
    });
    let ended = ended.await;
    if let Err(TaskError::Cancelled(reason)) = &ended {
        match context.triggers.stop(run.key, reason).await {
            Ok(true) => context.info(format!("stopped {what}")),
            Ok(false) => {}
            Err(error) => context.warning(format!("{what} goes on: {error}")),
        }
    }
    ended
}

fn done(wish: &RunWish, run_id: &str, logical_date: DateTime<Utc>) -> Outcome {
    Outcome::with(json!({
        "dag_id": wish.dag_id,
        "run_id": run_id,
        "logical_date": format_utc_micros(logical_date),
    }))
}
