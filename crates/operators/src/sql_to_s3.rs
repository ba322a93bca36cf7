//! `sql_to_s3`: a query's rows into an object, in one stream.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::parts::csv::DEFAULT_NULL_MARKER;
use crate::parts::encoding::{announce_columns, check_shape, encode_rows, rendered_shape};
use crate::parts::handover::WrittenObject;
use crate::parts::mark::Compression;
use crate::parts::parameter::{aws_default, is_blank, rendered_text};
use crate::parts::publishing::{Destination, Known, claim, publish, record};
use crate::parts::report::{Progress, query_label, unless_cancelled, while_doing};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<SqlToS3>("sql_to_s3", "streams the rows of a query into a CSV object in S3")
        .aliases(&["mysql_to_s3", "SqlToS3Operator", "MySQLToS3Operator"])
        .parameter_aliases(&[("mysql_conn_id", "sql_conn_id"), ("postgres_conn_id", "sql_conn_id"), ("sql", "query")]);

/// Streams the rows of a query into a CSV object in S3: a table of any size needs the same memory, and no disk.
///
/// CSV without a header, quoted as RFC 4180 says, UTF-8, lines end in LF. NULL is written as `null_marker` and '' as `""`.
/// The object remembers in its metadata how it was written and by whose work, and `copy` reads it there.
///
/// The object appears whole or not at all. When the key is taken already, the task fails and changes nothing, unless
/// `replace` is true or an earlier try of the same task wrote it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlToS3 {
    /// The connection to read from: MySQL, MariaDB, PostgreSQL or SQLite.
    sql_conn_id: Template<String>,
    /// One SELECT.
    query: Template<String>,
    /// The bucket to write to.
    s3_bucket: Template<String>,
    /// The key to write, taken as it is.
    s3_key: Template<String>,
    /// The connection to S3.
    #[serde(default = "aws_default")]
    aws_conn_id: Template<String>,
    /// Overwrite what is at the key.
    #[serde(default)]
    replace: bool,
    /// Write a first line with the columns' names.
    #[serde(default)]
    header: bool,
    /// One ASCII character between fields; `\t` is a tab.
    #[serde(default = "comma")]
    delimiter: Template<String>,
    /// The text that stands for NULL. A row that holds exactly this text stops the task, since the two could not be told
    /// apart. Empty: NULL is an empty field without quotes.
    #[serde(default = "null_marker")]
    null_marker: Template<String>,
    /// `none` or `gzip`.
    #[serde(default)]
    compression: Compression,
    /// Add `.csv` (`.csv.gz` when compressed) to the key when it does not end so.
    #[serde(default)]
    append_extension: bool,
    /// Kept for files written for other schedulers: whether and how a server's certificate is verified belongs to the
    /// connection (extra: `verify`). What is written here is not used, and the log says so.
    #[serde(default)]
    verify: Option<Value>,
}

fn comma() -> Template<String> {
    ",".into()
}

fn null_marker() -> Template<String> {
    DEFAULT_NULL_MARKER.into()
}

impl Operator for SqlToS3 {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [
            ("sql_conn_id", &self.sql_conn_id),
            ("query", &self.query),
            ("s3_bucket", &self.s3_bucket),
            ("s3_key", &self.s3_key),
            ("aws_conn_id", &self.aws_conn_id),
        ] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        check_shape(&self.delimiter, &self.null_marker, problems);
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl SqlToS3 {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let aws_conn_id = rendered_text("aws_conn_id", &self.aws_conn_id)?;
        let query = rendered_text("query", &self.query)?;
        let mut shape = rendered_shape(&self.delimiter, &self.null_marker, self.header, self.compression)?;
        if self.verify.is_some() {
            context.warning(format!("verify is not used here: set it in the extra of connection {aws_conn_id}"));
        }
        let mut key = rendered_text("s3_key", &self.s3_key)?;
        if self.append_extension && !key.ends_with(shape.extension()) {
            key.push_str(shape.extension());
        }
        let store = context.ports.objects(context, &aws_conn_id).await?;
        let to = Destination {
            store: store.as_ref(),
            bucket: rendered_text("s3_bucket", &self.s3_bucket)?,
            key,
            replace: self.replace,
        };
        // Before the query, so that a taken key costs the source nothing.
        let only_if_absent = unless_cancelled(context, claim(context, &to)).await?;
        let label = query_label(&conn_id, &query);
        let source = context.ports.source(context, &conn_id).await?;
        let rows = unless_cancelled(context, async {
            source.query(&query).await.map_err(|error| while_doing(&format!("reading {label}"), error))
        })
        .await?;
        shape.columns = announce_columns(context, &rows);
        let stream = encode_rows(rows, &shape, Progress::start(context, "sql_to_s3"));
        let known = Known { shape: Some(&shape), ..Known::default() };
        let (object, totals) = publish(context, &to, only_if_absent, stream, known).await?;

        record(context, "extract", &label, &object.url(), started_at, &totals);
        context.info(format!("{} rows, {} bytes in {}", totals.rows, totals.bytes, object.url()));
        let result = WrittenObject {
            url: object.url(),
            bucket: to.bucket,
            key: to.key,
            rows: Some(totals.rows),
            bytes: totals.bytes,
            checksum: totals.checksum,
        };
        serde_json::to_value(result).map(Outcome::with).map_err(|error| TaskError::Fail(error.to_string()))
    }
}
