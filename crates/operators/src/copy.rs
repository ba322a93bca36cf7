//! `copy`: objects from S3 into a table.

use millrace_operator_api::ports::LoadMethod;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parts::load_target::Target;
use crate::parts::loading::load;
use crate::parts::parameter::{OneOrMany, aws_default};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<Copy>("copy", "loads CSV objects from S3 into a warehouse table")
    .aliases(&["s3_to_redshift", "S3ToRedshiftOperator"])
    .parameter_aliases(&[
        ("redshift_conn_id", "warehouse_conn_id"),
        ("primary_key", "upsert_keys"),
        ("column_list", "columns"),
    ]);

/// Loads CSV objects from S3 into a table of the warehouse, in one transaction: readers see the rows of before or those of
/// after, and a try that died after the commit is not loaded twice.
///
/// `s3_key` names one object exactly; with `prefix: true` it is the beginning of the keys. What the file remembers of its
/// writing (NULL marker, header, delimiter, compression, names of columns) is used wherever `copy_options` and `columns`
/// say nothing; columns go by name.
///
/// `append` adds the rows: neither does it look for duplicates, nor does it empty the table. `replace` leaves exactly the
/// incoming rows. `upsert` updates rows with equal keys and inserts the others; of several rows with one key the one with
/// the highest `order_key` stays, wherever it comes from.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of parameters are the field's standard ones")]
pub struct Copy {
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
    /// `append` (default), `replace` or `upsert`.
    #[serde(default)]
    method: Option<Method>,
    /// `true` means `method: replace`.
    #[serde(default)]
    truncate_table: Option<bool>,
    /// The key by which `upsert` finds equal rows: a column or a list of columns.
    #[serde(default)]
    upsert_keys: Option<Template<OneOrMany>>,
    /// The column by which `upsert` chooses among rows with one key: the highest stays, NULL is lowest.
    #[serde(default)]
    order_key: Option<Template<String>>,
    /// Options of COPY: `csv`, `gzip`, `ignoreheader 1`, `delimiter ';'`, `null as '\N'`, `emptyasnull`, `maxerror 10`, ….
    #[serde(default = "csv")]
    copy_options: Template<OneOrMany>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Method {
    Append,
    Replace,
    Upsert,
}

fn csv() -> Template<OneOrMany> {
    "csv".into()
}

impl Copy {
    fn method(&self) -> Method {
        match (self.method, self.truncate_table) {
            (Some(method), _) => method,
            (None, Some(true)) => Method::Replace,
            (None, _) => Method::Append,
        }
    }

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

impl Operator for Copy {
    fn check(&self, problems: &mut Problems) {
        self.target().check(problems);
        if self.truncate_table == Some(true) && self.method.is_some_and(|method| method != Method::Replace) {
            problems.add(
                "truncate_table",
                "truncate_table: true means method: replace, but method says otherwise; keep one",
            );
        }
        if self.method() == Method::Upsert {
            match &self.upsert_keys {
                None => {
                    problems
                        .add("upsert_keys", "method: upsert needs upsert_keys, the columns by which rows are equal");
                }
                Some(keys) => Target::check_keys(keys, self.order_key.as_ref(), problems),
            }
        } else {
            for (name, is_there) in
                [("upsert_keys", self.upsert_keys.is_some()), ("order_key", self.order_key.is_some())]
            {
                if is_there {
                    problems.add(name, format!("{name} has a meaning with method: upsert only"));
                }
            }
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(async move {
            let method = match (self.method(), &self.upsert_keys) {
                (Method::Append, _) => LoadMethod::Append,
                (Method::Replace, _) => LoadMethod::Replace,
                (Method::Upsert, Some(keys)) => Target::rendered_upsert(keys, self.order_key.as_ref())?,
                (Method::Upsert, None) => return Err(TaskError::Fail("method: upsert needs upsert_keys".to_owned())),
            };
            load(context, self.target().rendered(context, method).await?).await
        })
    }
}
