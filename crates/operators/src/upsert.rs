//! `upsert`: objects from S3 into a table, by key.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::load_target::Target;
use crate::parts::loading::load;
use crate::parts::parameter::{OneOrMany, aws_default};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<Upsert>("upsert", "loads CSV objects from S3 into a table: updates by key, inserts the rest")
        .aliases(&["s3_upsert_redshift"])
        .parameter_aliases(&[
            ("redshift_conn_id", "warehouse_conn_id"),
            ("primary_key", "upsert_keys"),
            ("column_list", "columns"),
        ]);

/// Loads CSV objects from S3 into a table of the warehouse and keeps one row per key: `copy` with `method: upsert`.
///
/// Rows with equal keys are updated, others inserted, in one transaction. Of several rows with one key, in the table or
/// coming in, the one with the highest `order_key` stays, so an older row never overwrites a newer one; NULL is lowest, and
/// in a tie the incoming row wins. The same file twice leaves the same table, but for rows with NULL in their key: they equal
/// no other row, so each load adds them.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of parameters are the field's standard ones")]
pub struct Upsert {
    /// The connection to the warehouse.
    warehouse_conn_id: Template<String>,
    /// The connection to S3.
    #[serde(default = "aws_default")]
    aws_conn_id: Template<String>,
    /// The bucket of the objects. Left out with `from_task`.
    #[serde(default)]
    s3_bucket: Option<Template<String>>,
    /// The object's key, exactly, or with `prefix` the beginning of keys. Left out with `from_task`.
    #[serde(default)]
    s3_key: Option<Template<String>>,
    /// The task with `sql_to_s3` or `upload` that wrote the object: gives bucket and key, and the rows it wrote must be the
    /// rows that are read.
    #[serde(default)]
    from_task: Option<Template<String>>,
    /// Load every object whose key begins with `s3_key`.
    #[serde(default)]
    prefix: bool,
    /// The table's schema. Left out: the connection's own search path.
    #[serde(default)]
    schema: Option<Template<String>>,
    /// The table's name, without schema.
    table: Template<String>,
    /// The names of the file's columns, in the file's order. Left out: the names that the file remembers, or else all
    /// columns of the table in their order.
    #[serde(default)]
    columns: Option<Template<Vec<String>>>,
    /// The key by which rows are equal: a column or a list of columns.
    upsert_keys: Template<OneOrMany>,
    /// The column by which one row is chosen among those with one key: the highest stays, NULL is lowest.
    #[serde(default)]
    order_key: Option<Template<String>>,
    /// Options of COPY: `csv`, `gzip`, `ignoreheader 1`, `delimiter ';'`, `null as '\N'`, `emptyasnull`, `maxerror 10`, ….
    #[serde(default = "csv")]
    copy_options: Template<OneOrMany>,
}

fn csv() -> Template<OneOrMany> {
    "csv".into()
}

impl Upsert {
    fn target(&self) -> Target<'_> {
        Target {
            warehouse_conn_id: &self.warehouse_conn_id,
            aws_conn_id: &self.aws_conn_id,
            s3_bucket: self.s3_bucket.as_ref(),
            s3_key: self.s3_key.as_ref(),
            from_task: self.from_task.as_ref(),
            prefix: self.prefix,
            schema: self.schema.as_ref(),
            table: &self.table,
            columns: self.columns.as_ref(),
            copy_options: &self.copy_options,
        }
    }
}

impl Operator for Upsert {
    fn check(&self, problems: &mut Problems) {
        self.target().check(problems);
        Target::check_keys(&self.upsert_keys, self.order_key.as_ref(), problems);
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(async move {
            let method = Target::rendered_upsert(&self.upsert_keys, self.order_key.as_ref())?;
            load(context, self.target().rendered(context, method).await?).await
        })
    }
}
