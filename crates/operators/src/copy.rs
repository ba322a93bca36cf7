//! `copy`: loads objects from S3 into a warehouse table.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::loads::load_parameters::{ALIASES, LoadParameters};
use crate::parts::loads::loading::load;

pub const ENTRY: OperatorEntry = OperatorEntry::of::<Copy>("copy", "loads objects from S3 into a warehouse table")
    .aliases(&["s3_to_redshift", "S3ToRedshiftOperator"])
    .parameter_aliases(ALIASES);

/// Loads objects from S3 into a table of the warehouse, in one transaction: readers see the rows of before or those of
/// after, and a try that died after the commit is not loaded twice.
///
/// `s3_key` names one object exactly; with `prefix: true` it is the beginning of the keys. What the file remembers of its
/// writing (NULL marker, header, delimiter, compression, names of columns) is used wherever `copy_options` and `columns`
/// say nothing; columns go by name.
///
/// `append` adds the rows: neither does it look for duplicates, nor does it empty the table. `replace` leaves exactly the
/// incoming rows. `swap` does the same by a table that is filled beside the live one and takes its place. `upsert` updates
/// rows with equal keys and inserts the others; of several rows with one key the one with the highest `order_key` stays,
/// wherever it comes from, and without one rows that differ and come in with one key are refused.
///
/// In PostgreSQL, all methods but `append` are refused where policies may hide rows of the table from the role that loads (row
/// level security): they could not be replaced, and their keys would be inserted again. An upsert by a column that was
/// masked when it was extracted is refused everywhere.
///
/// In PostgreSQL and SQLite, `replace` and `swap` are refused while the table has rows and a foreign key of another table
/// refers to it with ON DELETE CASCADE, SET NULL or SET DEFAULT: deleting the rows would delete or unlink those of the other
/// table too. `upsert` deletes no row.
///
/// Loads into one table take turns; what another transaction did to this one is tried again. Credentials come from the
/// connection and are never shown.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Copy(LoadParameters);

impl Operator for Copy {
    fn check(&self, problems: &mut Problems) {
        self.0.check(None, problems);
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(async move { load(context, self.0.rendered(None, context).await?).await })
    }
}
