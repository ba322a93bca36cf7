//! `extract`: a query's rows into a file of the run.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::csv::DEFAULT_NULL_MARKER;
use crate::parts::encoding::{announce_columns, encode_rows};
use crate::parts::expected_columns::{self, ExpectedColumns};
use crate::parts::handover::WrittenFile;
use crate::parts::incremental::{self, Incremental};
use crate::parts::mark::{Compression, Format};
use crate::parts::parameter::{is_blank, rendered_option, rendered_text, written};
use crate::parts::publishing::record_extract;
use crate::parts::reading::{self, Asked, Opened};
use crate::parts::report::{Expected, Meter, Progress, guessing, query_label, unless_cancelled, while_doing};
use crate::parts::scratch_name::name_problem;
use crate::parts::shape::{ShapeParameters, check_shape, rendered_shape};
use crate::parts::treatment::{self, Treating, Treatments, ZeroDates};

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<Extract>("extract", "writes the rows of a query to a CSV or Parquet file of the run")
        .parameter_aliases(&[
            ("mysql_conn_id", "sql_conn_id"),
            ("postgres_conn_id", "sql_conn_id"),
            ("sql", "query"),
            ("file_format", "format"),
        ]);

/// Reads the rows of a query into a file that later tasks of the same run can take, `upload` first of all. The file
/// goes away with the run.
///
/// CSV without a header, quoted as RFC 4180 says, UTF-8, lines end in LF. NULL is written as `null_marker` and '' as `""`.
/// With `format: parquet` each column has the type that the source's catalogue gives it (see `docs/source-types.md`).
/// The rows stream: a table of any size needs the same memory. The result holds the file's name, rows, bytes and checksum.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    /// The connection to read from: MySQL, MariaDB, PostgreSQL or SQLite.
    sql_conn_id: Template<String>,
    /// One SELECT.
    query: Template<String>,
    /// Read only what has changed in the run's data interval: `modified_field`, `created_field`, `deleted_field`, `lookback`,
    /// `source_timezone`, `max_replica_lag`.
    #[serde(default)]
    incremental: Option<Incremental>,
    /// The file's name in the run's scratch folder. Default: the task's id and `.csv` (`.csv.gz`, `.csv.zst`,
    /// `.parquet`).
    #[serde(default)]
    file: Option<Template<String>>,
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
}

fn comma() -> Template<String> {
    ",".into()
}

fn null_marker() -> Template<String> {
    DEFAULT_NULL_MARKER.into()
}

impl Operator for Extract {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [("sql_conn_id", &self.sql_conn_id), ("query", &self.query)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        if let Some(name) = self.file.as_ref().and_then(written)
            && let Some(problem) = name_problem(&name)
        {
            problems.add("file", problem);
        }
        incremental::check(self.incremental.as_ref(), problems);
        expected_columns::check(self.expected_columns.as_ref(), problems);
        check_shape(self.shape(), problems);
        let zone = self.source_timezone.as_ref().and_then(written);
        treatment::check(&self.columns, self.hash_conn_id.is_some(), zone.as_deref(), problems);
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl Extract {
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

    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let query = rendered_text("query", &self.query)?;
        let mut shape = rendered_shape(self.shape())?;
        let file = rendered_option("file", self.file.as_ref())?
            .unwrap_or_else(|| format!("{}{}", context.work.task_id, shape.extension()));
        if let Some(problem) = name_problem(&file) {
            return Err(TaskError::Fail(format!("parameter file: {problem}")));
        }
        let label = query_label(&conn_id, &query);
        let source = context.ports.source(context, &conn_id).await?;
        let treating = self.treating().rendered(context, source.as_ref()).await?;
        let scratch = context.ports.scratch();
        let asked = Asked {
            conn_id,
            source: &source,
            label: &label,
            query: &query,
            incremental: self.incremental.as_ref(),
            expected_columns: self.expected_columns.as_ref(),
            treating: &treating,
            split: None,
        };
        let Opened { narrowed, mut streams, leaps, read } = reading::open(context, asked).await?;
        let rows = streams.pop().ok_or_else(|| TaskError::Fail("the source gave no answer".to_owned()))?;
        let (written, totals) = unless_cancelled(context, async {
            announce_columns(context, &rows, &mut shape);
            let expected = Expected::default();
            let meter = Meter::new(Progress::start(context, "extract", expected.clone()));
            let (body, tally) = encode_rows(rows, &shape, meter.clone())?;
            let writing = scratch.write(&context.work, &file, body);
            let written = guessing(&*source, narrowed.query(), &expected, writing).await;
            let written = written.map_err(|error| match tally.error() {
                Some(cause) => while_doing(&format!("reading {label}"), cause),
                None => while_doing(&format!("writing the file {file}"), error),
            })?;
            meter.finish();
            leaps.tell(context);
            Ok((written, tally.totals()))
        })
        .await?;
        let Some(checksum) = totals.checksum.clone().filter(|_| written.size == totals.bytes) else {
            return Err(TaskError::Retry(format!(
                "the file {file} holds {} bytes, but {} were written; it is not trusted",
                written.size, totals.bytes
            )));
        };
        record_extract(context, &label, read, &format!("file {file}"), started_at, &totals);
        narrowed.tell(context, &label, started_at);
        context.info(format!("{} rows, {} bytes in {file}", totals.rows, totals.bytes));
        if totals.rows == 0 {
            context.info("the answer was empty: what was written holds no rows");
        }
        let result = WrittenFile { file, rows: totals.rows, bytes: totals.bytes, checksum, shape };
        serde_json::to_value(result).map(Outcome::with).map_err(|error| TaskError::Fail(error.to_string()))
    }
}
