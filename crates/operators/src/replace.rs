//! `replace`: loads objects from S3 into a table in place of its rows.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::loads::load_parameters::{ALIASES_WITHOUT_KEYS, LoadParameters, Method, of_method};
use crate::parts::loads::loading::load;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<Replace>("replace", "loads objects from S3 into a table in place of its rows")
        .parameter_aliases(ALIASES_WITHOUT_KEYS);

/// Loads objects from S3 into a table of the warehouse, which holds exactly these rows afterwards: `copy` with
/// `method: replace`.
///
/// The rows are staged first, then exchanged in one short transaction: readers see the old rows or the new ones, and a load
/// that fails leaves the old ones.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = of_method(Method::Replace))]
pub struct Replace(LoadParameters);

impl Operator for Replace {
    fn check(&self, problems: &mut Problems) {
        self.0.check(Some(Method::Replace), problems);
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(async move { load(context, self.0.rendered(Some(Method::Replace), context).await?).await })
    }
}
