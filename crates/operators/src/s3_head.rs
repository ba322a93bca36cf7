//! `s3_head`: what is known of an object, without reading it.

use millrace_model::instant::format_utc_micros;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::parts::files::place::PlaceFields;
use crate::parts::parameter::{aws_default, is_blank, rendered_text, yes};
use crate::parts::report::{unless_cancelled, while_doing};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<S3Head>(
    "s3_head",
    "looks at an object in S3: whether it is there, its size, ETag and metadata",
)
.aliases(&["s3_head_object"])
.parameter_aliases(&[("bucket", "s3_bucket"), ("key", "s3_key")]);

/// Looks at an object in S3 without reading it. The result holds `exists` and `url`, and of one that is there `size` in
/// bytes, `etag`, `last_modified` (UTC) and the `metadata` that was put with it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Head {
    /// The bucket of the object. Left out when `s3_key` is an `s3://` address.
    #[serde(default)]
    s3_bucket: Option<Template<String>>,
    /// The exact key.
    s3_key: Template<String>,
    /// Fail, to be tried again, when there is no such object; otherwise `exists` says so.
    #[serde(default = "yes")]
    must_exist: bool,
    /// The connection to S3.
    #[serde(default = "aws_default")]
    aws_conn_id: Template<String>,
}

impl Operator for S3Head {
    fn check(&self, problems: &mut Problems) {
        self.place().check(problems);
        if is_blank(&self.aws_conn_id) {
            problems.add("aws_conn_id", "aws_conn_id is empty");
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl S3Head {
    fn place(&self) -> PlaceFields<'_> {
        PlaceFields { bucket: ("s3_bucket", self.s3_bucket.as_ref()), key: ("s3_key", &self.s3_key) }
    }

    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let place = self.place().rendered()?;
        let store = context.ports.objects(context, &rendered_text("aws_conn_id", &self.aws_conn_id)?).await?;
        let found = unless_cancelled(context, async {
            let found = store.head(&place.bucket, &place.key).await;
            found.map_err(|error| while_doing(&format!("looking for {}", place.url()), error))
        });
        let Some(object) = found.await? else {
            let missing = format!("{} does not exist", place.url());
            if self.must_exist {
                return Err(TaskError::Retry(missing));
            }
            context.info(missing);
            return Ok(Outcome::with(json!({ "exists": false, "url": place.url() })));
        };
        context.info(format!("{} has {} bytes", place.url(), object.size));
        Ok(Outcome::with(json!({
            "exists": true,
            "url": place.url(),
            "size": object.size,
            "etag": object.etag,
            "last_modified": object.last_modified.map(format_utc_micros),
            "metadata": object.metadata,
        })))
    }
}
