//! `noop`: nothing, through the whole queue.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::Deserialize;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<Noop>("noop", "does nothing, in the worker: is queued, claimed and finished like real work");

/// Does nothing, and takes the whole way there: it waits for a slot, is claimed by a worker and reports its end. For
/// measuring and trying out. `empty` is the one for drawing graphs.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Noop {}

impl Operator for Noop {
    fn run<'a>(&'a self, _: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(async { Ok(Outcome::default()) })
    }
}
