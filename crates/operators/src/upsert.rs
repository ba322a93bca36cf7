//! `upsert`: loads objects from S3 into a table: updates by key, inserts the rest.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::loads::load_parameters::{ALIASES, LoadParameters, Method, of_method};
use crate::parts::loads::loading::load;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<Upsert>("upsert", "loads objects from S3 into a table: updates by key, inserts the rest")
        .aliases(&["s3_upsert_redshift"])
        .parameter_aliases(ALIASES);

/// Loads objects from S3 into a table of the warehouse and keeps one row per key: `copy` with `method: upsert`.
///
/// Rows with equal keys are updated, others inserted, in one transaction. Of several rows with one key, in the table or
/// coming in, the one with the highest `order_key` stays, so an older row never overwrites a newer one; NULL is lowest, and
/// in a tie the incoming row wins, of several the last of the files (Redshift, which reads them side by side, refuses such).
/// Without an `order_key`, rows that differ and come in with one key are refused: which is to stay can't be told. A row that
/// is refused within what `maxerror` allows is as one that did not come: the next best of its key goes in.
///
/// The same file twice leaves the same table, but for rows with NULL in their key: they equal no other row, so each load
/// adds them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(transform = of_method(Method::Upsert))]
pub struct Upsert(LoadParameters);

impl Operator for Upsert {
    fn check(&self, problems: &mut Problems) {
        self.0.check(Some(Method::Upsert), problems);
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(async move { load(context, self.0.rendered(Some(Method::Upsert), context).await?).await })
    }
}
