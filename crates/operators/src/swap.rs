//! `swap`: loads objects from S3 into a new table that takes the place of the old one.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::loads::load_parameters::{ALIASES_WITHOUT_KEYS, LoadParameters, Method, of_method};
use crate::parts::loads::loading::load;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<Swap>("swap", "loads objects from S3 into a new table that takes the place of the old one")
        .parameter_aliases(ALIASES_WITHOUT_KEYS);

/// Loads objects from S3 into a table that is made beside the live one and takes its place: `copy` with `method: swap`.
///
/// The new table has the types, defaults, grants, owner and comments of the old one; in PostgreSQL also its row level security,
/// storage options, replica identity, the names of its indexes and the positions of its sequences. Where something hangs on
/// the old table itself (views, foreign keys, triggers, policies), the old one stays and its rows are exchanged in one
/// transaction. Readers see the old rows or the new ones; behind a swap that waits for another load of the table they wait
/// two seconds at most.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = of_method(Method::Swap))]
pub struct Swap(LoadParameters);

impl Operator for Swap {
    fn check(&self, problems: &mut Problems) {
        self.0.check(Some(Method::Swap), problems);
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(async move { load(context, self.0.rendered(Some(Method::Swap), context).await?).await })
    }
}
