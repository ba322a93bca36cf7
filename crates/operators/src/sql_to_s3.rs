//! `sql_to_s3`: a query's rows into an object, in one stream.

use std::num::NonZeroU64;

use millrace_operator_api::ports::{ObjectInfo, RowStream};
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::parts::csv::DEFAULT_NULL_MARKER;
use crate::parts::encoding::{Files, Limits, announce_columns, encode_rows};
use crate::parts::expected_columns::{self, ExpectedColumns};
use crate::parts::handover::WrittenObject;
use crate::parts::incremental::{self, Incremental};
use crate::parts::mark::{Compression, FileShape, Format};
use crate::parts::parameter::{aws_default, is_blank, rendered_option, rendered_text, written};
use crate::parts::publishing::{Claim, Destination, Known, claim, publish, record_extract};
use crate::parts::reading::{self, Asked, Opened};
use crate::parts::report::{Expected, Meter, Progress, guessing, query_label, unless_cancelled};
use crate::parts::shape::{ShapeParameters, check_shape, rendered_shape};
use crate::parts::size::ByteSize;
use crate::parts::splitting::{Published, publish_parts, remove_replaced_parts};
use crate::parts::treatment::{self, Treating, Treatments, ZeroDates};
use crate::parts::verifying::Totals;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<SqlToS3>("sql_to_s3", "streams the rows of a query into CSV or Parquet objects in S3")
        .aliases(&["mysql_to_s3", "SqlToS3Operator", "MySQLToS3Operator"])
        .parameter_aliases(&[
            ("mysql_conn_id", "sql_conn_id"),
            ("postgres_conn_id", "sql_conn_id"),
            ("sql", "query"),
            ("file_format", "format"),
        ]);

/// Streams the rows of a query into S3: a table of any size needs the same memory, and no disk.
///
/// CSV without a header, quoted as RFC 4180 says, UTF-8, lines end in LF. NULL is written as `null_marker` and '' as `""`.
/// With `format: parquet` each column has the type that the source's catalogue gives it (see `docs/source-types.md`).
/// The object remembers in its metadata how it was written and by whose work, and `copy` reads it there.
///
/// The object appears whole or not at all, also when no row was found. When the key is taken already, the task fails and
/// changes nothing, unless `replace` is true or an earlier try of the same task wrote it.
///
/// `split_size`, `max_rows_per_file` or `split_by` make several objects of the rows, for a warehouse that loads them side by side. The
/// key then holds their list (a manifest as COPY reads it), which appears last; the parts are beside it under
/// `<key>.parts/`. `copy` takes the key of a list like that of an object.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlToS3 {
    /// The connection to read from: MySQL, MariaDB, PostgreSQL or SQLite.
    sql_conn_id: Template<String>,
    /// One SELECT.
    query: Template<String>,
    /// Read only what has changed in the run's data interval: `modified_field`, `created_field`, `deleted_field`, `lookback`,
    /// `source_timezone`, `max_replica_lag`.
    #[serde(default)]
    incremental: Option<Incremental>,
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
    /// The columns that are counted on, and what is done when the query gives others: `{columns: [id, name], added: keep,
    /// removed: fail}`. `SELECT *` follows the source otherwise, whatever it becomes.
    #[serde(default)]
    expected_columns: Option<ExpectedColumns>,
    /// What happens to single columns: `{email: hash, ssn: drop, phone: mask, created_at: {timezone: Asia/Seoul}}`. `hash`
    /// is HMAC-SHA256 with the key of `hash_conn_id`, `mask` puts `***` in a value's place, `drop` leaves the column out;
    /// NULL stays NULL. `timezone` says which clocks a timestamp without a zone was read from; it is written in UTC.
    #[serde(default)]
    columns: Treatments,
    /// The connection whose password is the key of `hash`.
    #[serde(default)]
    hash_conn_id: Option<Template<String>>,
    /// The zone of every timestamp without one that `columns` does not name. Left out: what the connection says (extra:
    /// `source_timezone`), or else such timestamps stay as they are.
    #[serde(default)]
    source_timezone: Option<Template<String>>,
    /// What becomes of dates with a zero for year, month or day (MySQL's `0000-00-00`): `error`, `null`, or `keep`.
    #[serde(default)]
    zero_dates: ZeroDates,
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
    /// `csv` or `parquet`.
    #[serde(default)]
    format: Format,
    /// `none`, `gzip` or `zstd`: the whole file of CSV, the pages of Parquet.
    #[serde(default)]
    compression: Compression,
    /// Begin another object when one has reached this size, as it is stored: `64MiB`.
    #[serde(default)]
    split_size: Option<ByteSize>,
    /// Begin another object after so many rows.
    #[serde(default)]
    max_rows_per_file: Option<NonZeroU64>,
    /// A whole-number column of the query, best an indexed one: the rows are read in ranges of it by several connections
    /// that see the same moment, each writing parts of its own. MySQL and MariaDB can do that only by stopping all writers for
    /// a moment, which the connection has to allow (extra: `flush_tables: true`); otherwise one connection reads.
    #[serde(default)]
    split_by: Option<Template<String>>,
    /// How many connections read with `split_by`: 1 to 32.
    #[serde(default = "four")]
    readers: u8,
    /// Add `.csv` (`.csv.gz`, `.csv.zst`, `.parquet`; `.manifest` for a list) to the key when it does not end so.
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

fn four() -> u8 {
    4
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
        incremental::check(self.incremental.as_ref(), problems);
        expected_columns::check(self.expected_columns.as_ref(), problems);
        check_shape(self.shape(), problems);
        if !(1..=32).contains(&self.readers) {
            problems.add("readers", "readers is a number from 1 to 32");
        }
        let zone = self.source_timezone.as_ref().and_then(written);
        treatment::check(&self.columns, self.hash_conn_id.is_some(), zone.as_deref(), problems);
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl SqlToS3 {
    fn treating(&self) -> Treating<'_> {
        Treating {
            columns: &self.columns,
            hash_conn_id: self.hash_conn_id.as_ref(),
            source_timezone: self.source_timezone.as_ref(),
            zero_dates: self.zero_dates,
        }
    }

    fn shape(&self) -> ShapeParameters<'_> {
        ShapeParameters {
            format: self.format,
            delimiter: &self.delimiter,
            null_marker: &self.null_marker,
            header: self.header,
            compression: self.compression,
        }
    }

    fn limits(&self) -> Option<Limits> {
        let limits =
            Limits { rows: self.max_rows_per_file.map(NonZeroU64::get), bytes: self.split_size.map(|size| size.0) };
        (limits != Limits::default() || self.split_by.is_some()).then_some(limits)
    }

    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let aws_conn_id = rendered_text("aws_conn_id", &self.aws_conn_id)?;
        let query = rendered_text("query", &self.query)?;
        let mut shape = rendered_shape(self.shape())?;
        if self.verify.is_some() {
            context.warning(format!("verify is not used here: set it in the extra of connection {aws_conn_id}"));
        }
        let mut key = rendered_text("s3_key", &self.s3_key)?;
        let extension = if self.limits().is_some() { ".manifest" } else { shape.extension() };
        if self.append_extension && !key.ends_with(extension) {
            key.push_str(extension);
        }
        let store = context.ports.objects(context, &aws_conn_id).await?;
        let to = Destination {
            store: store.as_ref(),
            bucket: rendered_text("s3_bucket", &self.s3_bucket)?,
            key,
            replace: self.replace,
        };
        // Before the query, so that a taken key costs the source nothing.
        let claim = unless_cancelled(context, claim(context, &to)).await?;
        let label = query_label(&conn_id, &query);
        let source = context.ports.source(context, &conn_id).await?;
        let treating = self.treating().rendered(context, source.as_ref()).await?;
        let split_by = rendered_option("split_by", self.split_by.as_ref())?;
        let asked = Asked {
            conn_id,
            source: &source,
            label: &label,
            query: &query,
            incremental: self.incremental.as_ref(),
            expected_columns: self.expected_columns.as_ref(),
            treating: &treating,
            split: split_by.as_deref().map(|column| (column, self.readers.into())),
        };
        let Opened { narrowed, mut streams, leaps, read } = reading::open(context, asked).await?;
        if let Some(first) = streams.first() {
            announce_columns(context, first, &mut shape);
        }
        let expected = Expected::default();
        let meter = Meter::new(Progress::start(context, "sql_to_s3", expected.clone()));
        let writing = async {
            match self.limits() {
                None => {
                    let rows = streams.pop().ok_or_else(|| TaskError::Fail("the source gave no answer".to_owned()))?;
                    let (object, totals) = write_whole(context, &to, &claim, rows, &shape, &meter).await?;
                    Ok((totals, object.etag, None))
                }
                Some(limits) => {
                    let beside = streams.len();
                    let files = |rows| Files::new(rows, &shape, limits, meter.clone(), beside);
                    let readers = streams.into_iter().map(files).collect();
                    let Published { totals, keys, etag } = publish_parts(context, &to, &claim, readers, &shape).await?;
                    Ok::<_, TaskError>((totals, etag, Some(keys.len())))
                }
            }
        };
        let (totals, etag, parts) = guessing(&*source, narrowed.query(), &expected, writing).await?;
        meter.finish();
        leaps.tell(context);

        record_extract(context, &label, read, &to.url(), started_at, &totals);
        narrowed.tell(context, &label, started_at);
        let parts_said = parts.map(|parts| format!(" ({parts} parts)")).unwrap_or_default();
        context.info(format!("{} rows, {} bytes in {}{parts_said}", totals.rows, totals.bytes, to.url()));
        if totals.rows == 0 {
            context.info("the answer was empty: what was written holds no rows");
        }
        let result = WrittenObject {
            url: to.url(),
            bucket: to.bucket,
            key: to.key,
            rows: Some(totals.rows),
            bytes: totals.bytes,
            checksum: totals.checksum,
            parts,
            etag,
            columns: shape.columns,
            types: shape.types,
        };
        serde_json::to_value(result).map(Outcome::with).map_err(|error| TaskError::Fail(error.to_string()))
    }
}

async fn write_whole(
    context: &TaskContext,
    to: &Destination<'_>,
    claim: &Claim,
    rows: RowStream,
    shape: &FileShape,
    meter: &Meter,
) -> Result<(ObjectInfo, Totals), TaskError> {
    let stream = encode_rows(rows, shape, meter.clone())?;
    let known = Known { shape: Some(shape), ..Known::default() };
    let written = publish(context, to, claim.only_if_absent, stream, known).await?;
    remove_replaced_parts(context, to, claim).await;
    Ok(written)
}
