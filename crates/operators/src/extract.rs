//! `extract`: a query's rows into a file of the run.

use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::files::encoding::{announce_columns, encode_rows};
use crate::parts::files::publishing::record_extract;
use crate::parts::loads::handover::WrittenFile;
use crate::parts::parameter::{rendered_option, written};
use crate::parts::reads::reading::Opened;
use crate::parts::reads::reading::parameters::{ALIASES, Read, ReadParameters};
use crate::parts::reads::treatment::personal_columns;
use crate::parts::report::{Expected, Meter, Progress, guessing, unless_cancelled, while_doing};
use crate::parts::scratch_name::name_problem;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<Extract>("extract", "writes the rows of a query to a CSV or Parquet file of the run")
        .parameter_aliases(ALIASES);

/// Reads the rows of a query into a file that later tasks of the same run can take, `upload` first of all. The file
/// goes away with the run.
///
/// CSV without a header, quoted as RFC 4180 says, UTF-8, lines end in LF. NULL is written as `null_marker` and '' as `""`.
/// With `format: parquet` each column has the type that the source's catalogue gives it (see `docs/source-types.md`).
/// The rows stream: a table of any size needs the same memory. The result holds the file's name, rows, bytes and checksum.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extract {
    #[serde(flatten)]
    read: ReadParameters,
    /// The file's name in the run's scratch folder. Default: the task's id and `.csv` (`.csv.gz`, `.csv.zst`,
    /// `.parquet`).
    #[serde(default)]
    file: Option<Template<String>>,
}

impl Operator for Extract {
    fn check(&self, problems: &mut Problems) {
        self.read.check(problems);
        if let Some(name) = self.file.as_ref().and_then(written)
            && let Some(problem) = name_problem(&name)
        {
            problems.add("file", problem);
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl Extract {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let mut shape = self.read.shape()?;
        let file = rendered_option("file", self.file.as_ref())?
            .unwrap_or_else(|| format!("{}{}", context.work.task_id, shape.extension()));
        if let Some(problem) = name_problem(&file) {
            return Err(TaskError::Fail(format!("parameter file: {problem}")));
        }
        let scratch = context.ports.scratch();
        let Read { label, source, opened } = self.read.open(context, None).await?;
        let Opened { narrowed, mut streams, leaps, longest, proof, read } = opened;
        let rows = streams.pop().ok_or_else(|| TaskError::Fail("the source gave no answer".to_owned()))?;
        let (written, totals) = unless_cancelled(context, async {
            announce_columns(context, &rows, &mut shape);
            shape.personal = personal_columns(&read.changed);
            let expected = Expected::default();
            let meter = Meter::new(Progress::start(context, "extract", expected.clone()));
            let (body, tally) = encode_rows(rows, &shape, proof, meter.clone())?;
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
        narrowed.tell(context, &label, None, started_at);
        context.info(format!("{} rows, {} bytes in {file}", totals.rows, totals.bytes));
        if totals.rows == 0 {
            context.info("the answer was empty: what was written holds no rows");
        }
        let result = WrittenFile {
            file,
            rows: totals.rows,
            bytes: totals.bytes,
            checksum,
            shape,
            skipped: leaps.skipped_columns(),
            longest: longest.found(),
            since: narrowed.since(),
        };
        serde_json::to_value(result).map(Outcome::with).map_err(|error| TaskError::Fail(error.to_string()))
    }
}
