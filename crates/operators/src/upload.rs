//! `upload`: a file into an object.

use std::path::Path;

use millrace_operator_api::ports::{ByteStream, ObjectInfo, ScratchFile};
use millrace_operator_api::{
    BoxFuture, Operator, OperatorEntry, Outcome, PortError, PortErrorKind, Problems, TaskContext, TaskError,
};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;

use crate::parts::files::mark;
use crate::parts::files::publishing::{Destination, Known, claim, publish};
use crate::parts::files::splitting::remove_replaced_parts;
use crate::parts::loads::handover::{WrittenFile, WrittenObject};
use crate::parts::parameter::{aws_default, is_blank, rendered_option, rendered_text, written};
use crate::parts::proof::verifying::{Totals, verify_bytes};
use crate::parts::report::{ledger_entry, unless_cancelled, while_doing};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<Upload>("upload", "puts a file into S3")
    .aliases(&["file_to_s3", "LocalFilesystemToS3Operator"])
    .parameter_aliases(&[("filename", "file"), ("dest_bucket", "s3_bucket"), ("dest_key", "s3_key")]);

/// Puts a file into S3: one that `extract` wrote in the same run (`from_task`, or `file` with its name), or any file of the
/// machine by its absolute path.
///
/// The bytes are compared with what `extract` reported before the object appears. Afterwards a file of the run is removed
/// (`keep_file` keeps it); a file given by its absolute path is never removed. When the key is taken already, the task
/// fails and changes nothing, unless `replace` is true or the same task of the same run wrote it, in an earlier try or
/// before it was cleared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upload {
    /// The task with `extract` whose file it is. Either this or `file`.
    #[serde(default)]
    from_task: Option<Template<String>>,
    /// A file of the run by its name, or any file by its absolute path. Either this or `from_task`.
    #[serde(default)]
    file: Option<Template<String>>,
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
    /// Keep the run's file, for another task to take.
    #[serde(default)]
    keep_file: bool,
}

impl Operator for Upload {
    fn check(&self, problems: &mut Problems) {
        match (&self.from_task, &self.file) {
            (None, None) => problems.add("", "say which file: from_task (the task that wrote it) or file"),
            (Some(_), Some(_)) => {
                problems.add("file", "from_task and file exclude each other: the task knows its file");
            }
            _ => {}
        }
        for (name, field) in
            [("s3_bucket", &self.s3_bucket), ("s3_key", &self.s3_key), ("aws_conn_id", &self.aws_conn_id)]
        {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        if self.keep_file && self.file.as_ref().and_then(written).is_some_and(|name| Path::new(&name).is_absolute()) {
            problems.add("keep_file", "a file given by its absolute path is kept in any case; leave keep_file out");
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl Upload {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let aws_conn_id = rendered_text("aws_conn_id", &self.aws_conn_id)?;
        let handed = match rendered_option("from_task", self.from_task.as_ref())? {
            Some(task) => Some(WrittenFile::pull(context, &task).await?),
            None => None,
        };
        let name = match (&handed, &self.file) {
            (Some(handed), _) => handed.file.clone(),
            (None, Some(file)) => rendered_text("file", file)?,
            (None, None) => return Err(TaskError::Fail("say which file: from_task or file".to_owned())),
        };
        let store = context.ports.objects(context, &aws_conn_id).await?;
        let to = Destination {
            store: store.as_ref(),
            bucket: rendered_text("s3_bucket", &self.s3_bucket)?,
            key: rendered_text("s3_key", &self.s3_key)?,
            replace: self.replace,
        };
        let scratch = context.ports.scratch();
        let opened = unless_cancelled(context, async { Ok(open(context, &name).await) }).await?;
        let (file, body) = match opened {
            Ok(opened) => opened,
            // An earlier try may have put it there and removed the file, and died before it could say so.
            Err(error) if error.kind == PortErrorKind::NotFound => {
                return match earlier_upload(context, &to, handed.as_ref()).await? {
                    Some(result) => outcome(result),
                    None => Err(while_doing(&format!("opening the file {name}"), error)),
                };
            }
            Err(error) => return Err(while_doing(&format!("opening the file {name}"), error)),
        };
        let claim = unless_cancelled(context, claim(context, &to)).await?;
        context.checkpoint("upload", format!("{} bytes of {name} to {}", file.size, to.url()));
        let known = Known {
            shape: handed.as_ref().map(|handed| &handed.shape),
            rows: handed.as_ref().map(|handed| handed.rows),
            checksum: handed.as_ref().map(|handed| handed.checksum.as_str()),
        };
        let stream = verify_bytes(
            body,
            handed.as_ref().map(|handed| handed.checksum.clone()),
            handed.as_ref().map(|handed| handed.bytes),
        );
        let (object, totals) = publish(context, &to, claim.only_if_absent, stream, known).await?;
        remove_replaced_parts(context, &to, &claim, &[]).await;
        let result = result_of(&object, handed.as_ref(), &totals);
        let mut entry = ledger_entry(context, "upload", format!("file {name}"), object.url(), started_at);
        entry.rows_read = result.rows;
        entry.rows_written = result.rows;
        entry.bytes = Some(totals.bytes);
        entry.checksum.clone_from(&totals.checksum);
        context.reporter.ledger(entry);
        context.info(format!("{} bytes in {}", totals.bytes, object.url()));

        if !self.keep_file && !Path::new(&name).is_absolute() {
            scratch
                .remove(&context.work, &name)
                .await
                .map_err(|e| while_doing(&format!("removing the file {name}"), e))?;
        }
        outcome(result)
    }
}

/// A file of the run by its name, or any other by its absolute path.
pub(crate) async fn open(context: &TaskContext, name: &str) -> Result<(ScratchFile, ByteStream), PortError> {
    let scratch = context.ports.scratch();
    let path = Path::new(name);
    if path.is_absolute() { scratch.read_outside(path).await } else { scratch.read(&context.work, name).await }
}

/// The result, when the object is this task's own and holds what `extract` reported.
async fn earlier_upload(
    context: &TaskContext,
    to: &Destination<'_>,
    handed: Option<&WrittenFile>,
) -> Result<Option<WrittenObject>, TaskError> {
    let Some(handed) = handed else { return Ok(None) };
    let object = to.store.head(&to.bucket, &to.key).await?;
    let found = object.filter(|object| {
        mark::is_own(context, object)
            && object.size == handed.bytes
            && mark::checksum(object).as_deref() == Some(handed.checksum.as_str())
    });
    let Some(found) = found else { return Ok(None) };
    context.info(format!("an earlier try of this task had put {} to {} and removed it", handed.file, to.url()));
    let totals =
        Totals { rows: handed.rows, bytes: handed.bytes, checksum: Some(handed.checksum.clone()), fingerprint: None };
    Ok(Some(result_of(&found, Some(handed), &totals)))
}

fn result_of(object: &ObjectInfo, handed: Option<&WrittenFile>, totals: &Totals) -> WrittenObject {
    WrittenObject {
        bucket: object.bucket.clone(),
        key: object.key.clone(),
        url: object.url(),
        rows: handed.map(|handed| handed.rows),
        bytes: totals.bytes,
        checksum: totals.checksum.clone(),
        parts: None,
        etag: object.etag.clone(),
        columns: handed.map(|handed| handed.shape.columns.clone()).unwrap_or_default(),
        copy_options: Vec::new(),
        types: handed.map(|handed| handed.shape.types.clone()).unwrap_or_default(),
        personal: handed.map(|handed| handed.shape.personal.clone()).unwrap_or_default(),
        skipped: handed.map(|handed| handed.skipped.clone()).unwrap_or_default(),
        longest: handed.map(|handed| handed.longest.clone()).unwrap_or_default(),
        since: handed.and_then(|handed| handed.since.clone()),
    }
}

fn outcome(result: WrittenObject) -> Result<Outcome, TaskError> {
    serde_json::to_value(result).map(Outcome::with).map_err(|error| TaskError::Fail(error.to_string()))
}
