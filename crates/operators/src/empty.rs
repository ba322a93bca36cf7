//! `empty`: a knot in the graph.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::Deserialize;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<Empty>("empty", "does nothing and takes no worker: joins and splits branches of the graph")
        .aliases(&["dummy", "EmptyOperator", "DummyOperator"])
        .inline();

/// Does nothing and never reaches a worker: it is done as soon as its dependencies are. For joining and splitting
/// branches of the graph.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

impl Operator for Empty {
    fn run<'a>(&'a self, _: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(async { Ok(Outcome::default()) })
    }
}
