//! `s3_get`: an object into a file of the run, or into the result.

use futures::TryStreamExt;
use millrace_operator_api::ports::{ByteStream, ObjectInfo, ObjectPlace, ObjectStore};
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::parts::files::mark;
use crate::parts::files::place::PlaceFields;
use crate::parts::parameter::{aws_default, is_blank, rendered_option, rendered_text, written};
use crate::parts::proof::verifying::verify_bytes;
use crate::parts::report::{ledger_entry, unless_cancelled, while_doing};
use crate::parts::scratch_name::name_problem;

pub const ENTRY: OperatorEntry = OperatorEntry::of::<S3Get>("s3_get", "fetches an object from S3")
    .aliases(&["s3_download"])
    .parameter_aliases(&[("bucket", "s3_bucket"), ("bucket_name", "s3_bucket"), ("key", "s3_key")]);

const LARGEST_RESULT: u64 = 64 * 1024;

/// Fetches an object into a file of the run's scratch folder, for `upload`, `bash` and others to take; or, when it is
/// small, into the result itself.
///
/// The bytes are compared with the object's size, and with its checksum when a task here wrote it. The result of a file
/// is `file`, `path`, `bytes`, `checksum` and `url`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Get {
    /// The bucket to take from. Left out when `s3_key` is an `s3://` address.
    #[serde(default)]
    s3_bucket: Option<Template<String>>,
    /// The exact key.
    s3_key: Template<String>,
    /// Where it goes: `file` (default), `text` (the result is the text) or `json` (the result is what the text says).
    #[serde(default, rename = "as")]
    form: Form,
    /// The file's name; the last part of the key when left out.
    #[serde(default)]
    file: Option<Template<String>>,
    /// How large a result may be, in bytes.
    #[serde(default = "largest_result")]
    max_bytes: u64,
    /// The connection to S3.
    #[serde(default = "aws_default")]
    aws_conn_id: Template<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Form {
    #[default]
    File,
    Text,
    Json,
}

fn largest_result() -> u64 {
    LARGEST_RESULT
}

impl Operator for S3Get {
    fn check(&self, problems: &mut Problems) {
        self.place().check(problems);
        if is_blank(&self.aws_conn_id) {
            problems.add("aws_conn_id", "aws_conn_id is empty");
        }
        if self.form != Form::File && self.file.is_some() {
            problems.add("file", "file has a meaning with as: file only");
        }
        if let Some(problem) = self.file.as_ref().and_then(written).as_deref().and_then(name_problem) {
            problems.add("file", problem);
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl S3Get {
    fn place(&self) -> PlaceFields<'_> {
        PlaceFields { bucket: ("s3_bucket", self.s3_bucket.as_ref()), key: ("s3_key", &self.s3_key) }
    }

    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let place = self.place().rendered()?;
        let store = context.ports.objects(context, &rendered_text("aws_conn_id", &self.aws_conn_id)?).await?;
        let attempted = format!("fetching {}", place.url());
        let result = unless_cancelled(context, async {
            let found = store.head(&place.bucket, &place.key).await.map_err(|e| while_doing(&attempted, e))?;
            let Some(object) = found else {
                return Err(TaskError::Retry(format!("{} does not exist", place.url())));
            };
            match self.form {
                Form::File => self.as_file(context, store.as_ref(), &place, &object).await,
                Form::Text | Form::Json => self.as_result(store.as_ref(), &place, &object).await,
            }
        });
        result.await.map(Outcome::with)
    }

    async fn as_file(
        &self,
        context: &TaskContext,
        store: &dyn ObjectStore,
        place: &ObjectPlace,
        object: &ObjectInfo,
    ) -> Result<Value, TaskError> {
        let started_at = context.clock.now();
        let last = || place.key.rsplit('/').next().unwrap_or_default().to_owned();
        let file = rendered_option("file", self.file.as_ref())?.unwrap_or_else(last);
        if let Some(problem) = name_problem(&file) {
            return Err(TaskError::Fail(format!("parameter file: {problem}")));
        }
        let attempted = format!("fetching {} into {file}", place.url());
        let body = read(store, place).await?;
        let (body, tally) = verify_bytes(body, mark::checksum(object), Some(object.size));
        let scratch = context.ports.scratch();
        let written = scratch.write(&context.work, &file, body).await.map_err(|error| {
            // The object was replaced between looking and reading, or arrived damaged: another try may see it whole.
            match tally.error() {
                Some(cause) => TaskError::Retry(format!("{attempted}: {cause}")),
                None => while_doing(&attempted, error),
            }
        })?;
        let totals = tally.totals();
        let mut entry = ledger_entry(context, "get", place.url(), format!("file {file}"), started_at);
        entry.bytes = Some(totals.bytes);
        entry.checksum.clone_from(&totals.checksum);
        context.reporter.ledger(entry);
        context.info(format!("{} bytes of {} in {file}", totals.bytes, place.url()));
        Ok(json!({
            "file": file, "path": written.path, "bytes": totals.bytes, "checksum": totals.checksum, "url": place.url(),
        }))
    }

    async fn as_result(
        &self,
        store: &dyn ObjectStore,
        place: &ObjectPlace,
        object: &ObjectInfo,
    ) -> Result<Value, TaskError> {
        let too_large = |size: u64| {
            TaskError::Fail(format!(
                "{} holds {size} bytes or more, and a result at most {} (max_bytes); fetch it as: file",
                place.url(),
                self.max_bytes
            ))
        };
        if object.size > self.max_bytes {
            return Err(too_large(object.size));
        }
        let mut body = read(store, place).await?;
        let mut bytes = Vec::new();
        while let Some(chunk) = body.try_next().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() as u64 > self.max_bytes {
                return Err(too_large(bytes.len() as u64));
            }
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            TaskError::Fail(format!("{} is no UTF-8 text ({error}); fetch it as: file", place.url()))
        })?;
        match self.form {
            Form::Json => serde_json::from_str(&text)
                .map_err(|error| TaskError::Fail(format!("{} is no JSON: {error}", place.url()))),
            _ => Ok(text.into()),
        }
    }
}

async fn read(store: &dyn ObjectStore, place: &ObjectPlace) -> Result<ByteStream, TaskError> {
    let body = store.get(&place.bucket, &place.key).await;
    body.map_err(|error| while_doing(&format!("fetching {}", place.url()), error))
}
