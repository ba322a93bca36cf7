//! `short_circuit`: goes on only when a condition is true.

use millrace_model::choice::Choice;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::parts::parameter::{rendered, yes};
use crate::parts::truth::Truth;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<ShortCircuit>("short_circuit", "skips what comes after it unless a condition is true");

/// Goes on when its condition is true. When it is not, everything after it is skipped, whatever the trigger rules there
/// say; with `ignore_downstream_trigger_rules: false` only the tasks directly after it are, and the rules decide about
/// the rest. Teardowns are never skipped.
///
/// What is true stands at `branch`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ShortCircuit {
    /// Whether the run goes on here.
    condition: Template<Truth>,
    /// Whether everything after it is skipped, or only the tasks directly after it.
    #[serde(default = "yes")]
    ignore_downstream_trigger_rules: bool,
}

impl Operator for ShortCircuit {
    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(async {
            let Truth(goes_on) = rendered("condition", &self.condition)?;
            let stops =
                if self.ignore_downstream_trigger_rules { Choice::SkipDescendants } else { Choice::SkipChildren };
            let choice = (!goes_on).then_some(stops);
            if let Some(choice) = &choice {
                let what = if *choice == Choice::SkipChildren { "the tasks directly after it" } else { "all after it" };
                context.info(format!("the condition is false: {what} are skipped"));
            }
            Ok(Outcome { result: Some(json!(goes_on)), choice })
        })
    }
}
