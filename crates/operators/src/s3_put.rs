//! `s3_put`: a text into an object.

use bytes::Bytes;
use futures::stream;
use millrace_operator_api::ports::ByteStream;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use crate::parts::files::place::PlaceFields;
use crate::parts::files::publishing::{Destination, Known, claim, publish};
use crate::parts::loads::handover::WrittenObject;
use crate::parts::parameter::{aws_default, is_blank, rendered, rendered_text};
use crate::parts::proof::verifying::verify_bytes;
use crate::parts::report::{ledger_entry, unless_cancelled, while_doing};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<S3Put>("s3_put", "writes a text or a file into S3")
    .aliases(&["S3CreateObjectOperator"])
    .parameter_aliases(&[("data", "text"), ("bucket", "s3_bucket"), ("key", "s3_key")]);

/// Writes a text into an object: a marker, a list, a small JSON document. Or a file, which stays where it is; `upload`
/// takes the file of an `extract` along with its checksum and removes it.
///
/// When the key is taken already, the task fails and changes nothing, unless `replace` is true or the same task of the
/// same run wrote it, in an earlier try or before it was cleared.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Put {
    /// The bucket to write to. Left out when `s3_key` is an `s3://` address.
    #[serde(default)]
    s3_bucket: Option<Template<String>>,
    /// The key to write, taken as it is.
    s3_key: Template<String>,
    /// What to write. A list or a mapping is written as JSON. Either this or `file`.
    #[serde(default)]
    text: Option<Template<Value>>,
    /// A file of the run by its name, or any file by its absolute path.
    #[serde(default)]
    file: Option<Template<String>>,
    /// Overwrite what is at the key.
    #[serde(default)]
    replace: bool,
    /// The connection to S3.
    #[serde(default = "aws_default")]
    aws_conn_id: Template<String>,
}

impl Operator for S3Put {
    fn check(&self, problems: &mut Problems) {
        self.place().check(problems);
        if is_blank(&self.aws_conn_id) {
            problems.add("aws_conn_id", "aws_conn_id is empty");
        }
        match (&self.text, &self.file) {
            (None, None) => problems.add("", "say what to write: text or file"),
            (Some(_), Some(_)) => problems.add("file", "text and file exclude each other"),
            _ => {}
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl S3Put {
    fn place(&self) -> PlaceFields<'_> {
        PlaceFields { bucket: ("s3_bucket", self.s3_bucket.as_ref()), key: ("s3_key", &self.s3_key) }
    }

    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let place = self.place().rendered()?;
        let (source, body) = self.body(context).await?;
        let store = context.ports.objects(context, &rendered_text("aws_conn_id", &self.aws_conn_id)?).await?;
        let to = Destination { store: store.as_ref(), bucket: place.bucket, key: place.key, replace: self.replace };
        let claim = unless_cancelled(context, claim(context, &to)).await?;
        let (object, totals) =
            publish(context, &to, claim.only_if_absent, verify_bytes(body, None, None), Known::default()).await?;
        let mut entry = ledger_entry(context, "put", source, object.url(), started_at);
        entry.bytes = Some(totals.bytes);
        entry.checksum.clone_from(&totals.checksum);
        context.reporter.ledger(entry);
        context.info(format!("{} bytes in {}", totals.bytes, object.url()));
        let result = WrittenObject {
            url: object.url(),
            bucket: to.bucket,
            key: to.key,
            rows: None,
            bytes: totals.bytes,
            checksum: totals.checksum,
            parts: None,
            etag: object.etag,
            columns: Vec::new(),
            copy_options: Vec::new(),
            types: Vec::new(),
            personal: std::collections::BTreeMap::new(),
            skipped: Vec::new(),
            longest: std::collections::BTreeMap::new(),
            since: None,
        };
        serde_json::to_value(result).map(Outcome::with).map_err(|error| TaskError::Fail(error.to_string()))
    }

    async fn body(&self, context: &TaskContext) -> Result<(String, ByteStream), TaskError> {
        if let Some(file) = &self.file {
            let name = rendered_text("file", file)?;
            let opened = crate::upload::open(context, &name).await;
            let (_, body) = opened.map_err(|error| while_doing(&format!("opening the file {name}"), error))?;
            return Ok((format!("file {name}"), body));
        }
        let Some(text) = &self.text else { return Err(TaskError::Fail("say what to write: text or file".to_owned())) };
        let bytes = match rendered("text", text)? {
            Value::String(text) => Bytes::from(text),
            value => Bytes::from(value.to_string()),
        };
        Ok(("text".to_owned(), Box::pin(stream::once(async move { Ok(bytes) }))))
    }
}
