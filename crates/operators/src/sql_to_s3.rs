//! `sql_to_s3`: a query's rows into an object, in one stream.

use std::num::NonZeroU64;

use millrace_operator_api::ports::{ByteStream, ObjectInfo};
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::parts::files::encoding::{Files, Limits, announce_columns, encode_rows};
use crate::parts::files::mark::FileShape;
use crate::parts::files::publishing::{Claim, Destination, Known, claim, publish, record_extract};
use crate::parts::files::size::ByteSize;
use crate::parts::files::splitting::{Published, publish_parts, remove_replaced_parts};
use crate::parts::loads::handover::WrittenObject;
use crate::parts::parameter::{aws_default, is_blank, rendered_option, rendered_text};
use crate::parts::proof::verifying::{Tally, Totals};
use crate::parts::reads::parallel::steady;
use crate::parts::reads::reading::Opened;
use crate::parts::reads::reading::parameters::{ALIASES, Read, ReadParameters};
use crate::parts::reads::treatment::personal_columns;
use crate::parts::report::{Expected, Meter, Progress, guessing, unless_cancelled};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<SqlToS3>("sql_to_s3", "streams the rows of a query into CSV or Parquet objects in S3")
        .aliases(&["mysql_to_s3", "SqlToS3Operator", "MySQLToS3Operator"])
        .parameter_aliases(ALIASES);

/// Streams the rows of a query into S3: a table of any size needs the same memory, and no disk.
///
/// CSV without a header, quoted as RFC 4180 says, UTF-8, lines end in LF. NULL is written as `null_marker` and '' as `""`.
/// With `format: parquet` each column has the type that the source's catalogue gives it (see `docs/source-types.md`).
/// The object remembers in its metadata how it was written and by whose work, and `copy` reads it there.
///
/// The object appears whole or not at all, also when no row was found. When the key is taken already, the task fails and
/// changes nothing, unless `replace` is true or the same task of the same run wrote it, in an earlier try or
/// before it was cleared.
///
/// `split_size`, `max_rows_per_file` or `split_by` make several objects of the rows, for a warehouse that loads them side by side. The
/// key then holds their list (a manifest as COPY reads it), which appears last; the parts are beside it under
/// `<key>.parts/`. `copy` takes the key of a list like that of an object.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SqlToS3 {
    #[serde(flatten)]
    read: ReadParameters,
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
    /// Begin another object when one has reached this size, as it is stored: `64MiB`.
    #[serde(default)]
    split_size: Option<ByteSize>,
    /// Begin another object after so many rows.
    #[serde(default)]
    max_rows_per_file: Option<NonZeroU64>,
    /// A whole-number column of the query, best an indexed one: the rows are read in ranges of it by several connections
    /// that see the same moment, each writing parts of its own. The query must name the same rows each time it is asked: LIMIT, OFFSET,
    /// FETCH, TABLESAMPLE and random() are refused. MySQL and MariaDB can do that only by stopping all writers for
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

fn four() -> u8 {
    4
}

impl Operator for SqlToS3 {
    fn check(&self, problems: &mut Problems) {
        self.read.check(problems);
        let places = [("s3_bucket", &self.s3_bucket), ("s3_key", &self.s3_key), ("aws_conn_id", &self.aws_conn_id)];
        for (name, field) in places {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        if !(1..=32).contains(&self.readers) {
            problems.add("readers", "readers is a number from 1 to 32");
        }
        if self.split_by.is_some()
            && let Some(problem) = self.read.written_query().as_deref().and_then(steady::refusal)
        {
            problems.add("query", problem);
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl SqlToS3 {
    fn limits(&self) -> Option<Limits> {
        let limits =
            Limits { rows: self.max_rows_per_file.map(NonZeroU64::get), bytes: self.split_size.map(|size| size.0) };
        (limits != Limits::default() || self.split_by.is_some()).then_some(limits)
    }

    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let aws_conn_id = rendered_text("aws_conn_id", &self.aws_conn_id)?;
        let mut shape = self.read.shape()?;
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
        let split_by = rendered_option("split_by", self.split_by.as_ref())?;
        let split = split_by.as_deref().map(|column| (column, self.readers.into()));
        let Read { label, source, opened } = self.read.open(context, split).await?;
        let Opened { narrowed, mut streams, leaps, longest, proof, read } = opened;
        if let Some(first) = streams.first() {
            announce_columns(context, first, &mut shape);
            shape.personal = personal_columns(&read.changed);
        }
        let expected = Expected::default();
        let meter = Meter::new(Progress::start(context, "sql_to_s3", expected.clone()));
        let writing = async {
            match self.limits() {
                None => {
                    let rows = streams.pop().ok_or_else(|| TaskError::Fail("the source gave no answer".to_owned()))?;
                    let file = encode_rows(rows, &shape, proof, meter.clone())?;
                    let (object, totals) = write_whole(context, &to, &claim, file, &shape).await?;
                    Ok((totals, object.etag, None))
                }
                Some(limits) => {
                    let beside = streams.len();
                    let files = |rows| Files::new(rows, &shape, limits, proof, meter.clone(), beside);
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
        narrowed.tell(context, &label, None, started_at);
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
            copy_options: Vec::new(),
            types: shape.types,
            personal: shape.personal,
            skipped: leaps.skipped_columns(),
            longest: longest.found(),
            since: narrowed.since(),
        };
        serde_json::to_value(result).map(Outcome::with).map_err(|error| TaskError::Fail(error.to_string()))
    }
}

async fn write_whole(
    context: &TaskContext,
    to: &Destination<'_>,
    claim: &Claim,
    file: (ByteStream, Tally),
    shape: &FileShape,
) -> Result<(ObjectInfo, Totals), TaskError> {
    let known = Known { shape: Some(shape), ..Known::default() };
    let written = publish(context, to, claim.only_if_absent, file, known).await?;
    remove_replaced_parts(context, to, claim, &[]).await;
    Ok(written)
}
