//! `wait_for_key`: until an object is there.

use futures::TryStreamExt;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use serde_json::json;

use crate::parts::parameter::{aws_default, is_blank, rendered_option, rendered_text};
use crate::parts::report::{unless_cancelled, while_doing};
use crate::parts::sensor::{Look, sensor};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<WaitForKey>("wait_for_key", "waits until an object is in S3")
    .aliases(&["S3KeySensor", "S3PrefixSensor"])
    .parameter_aliases(&[("bucket_name", "s3_bucket"), ("bucket_key", "s3_key"), ("prefix", "s3_prefix")]);

sensor! {
    /// Waits until an object is in S3, without holding a slot. The result is its URL and size.
    ///
    /// Give either `s3_key`, the exact key, or `s3_prefix`: then any object under it will do, and the first one is the
    /// result.
    pub struct WaitForKey {
        /// The bucket to look into.
        s3_bucket: Template<String>,
        /// The exact key.
        #[serde(default)]
        s3_key: Option<Template<String>>,
        /// What the key begins with.
        #[serde(default)]
        s3_prefix: Option<Template<String>>,
        /// The connection to S3.
        #[serde(default = "aws_default")]
        aws_conn_id: Template<String>,
    }
}

impl Operator for WaitForKey {
    fn check(&self, problems: &mut Problems) {
        self.patience().check(problems);
        if is_blank(&self.s3_bucket) {
            problems.add("s3_bucket", "s3_bucket is empty");
        }
        match (&self.s3_key, &self.s3_prefix) {
            (None, None) => problems.add("", "say for what: s3_key or s3_prefix"),
            (Some(_), Some(_)) => problems.add("s3_prefix", "s3_key and s3_prefix exclude each other"),
            (Some(key), None) if is_blank(key) => problems.add("s3_key", "s3_key is empty"),
            _ => {}
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl WaitForKey {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let bucket = rendered_text("s3_bucket", &self.s3_bucket)?;
        let key = rendered_option("s3_key", self.s3_key.as_ref())?;
        let prefix = rendered_option("s3_prefix", self.s3_prefix.as_ref())?.unwrap_or_default();
        let objects = context.ports.objects(context, &rendered_text("aws_conn_id", &self.aws_conn_id)?).await?;
        let what = format!("s3://{bucket}/{}", key.as_deref().unwrap_or(&prefix));
        let found = unless_cancelled(context, async {
            let found = match &key {
                Some(key) => objects.head(&bucket, key).await,
                None => objects.list(&bucket, &prefix).try_next().await,
            };
            found.map_err(|error| while_doing(&format!("looking for {what}"), error))
        });
        let look = match found.await? {
            Some(object) => Look::Found(Some(json!({ "url": object.url(), "size": object.size }))),
            None if key.is_some() => Look::NotYet(format!("{what} is not there")),
            None => Look::NotYet(format!("there is nothing under {what}")),
        };
        self.patience().decide(context, look)
    }
}
