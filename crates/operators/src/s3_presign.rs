//! `s3_presign`: a URL that lets others read an object for a while.

use chrono::TimeDelta;
use millrace_model::instant::format_utc_micros;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use crate::parts::files::place::PlaceFields;
use crate::parts::parameter::{aws_default, is_blank, rendered_text};
use crate::parts::report::{unless_cancelled, while_doing};
use crate::parts::sensor::Length;

pub const ENTRY: OperatorEntry =
    OperatorEntry::of::<S3Presign>("s3_presign", "makes a URL under which an object can be read for a while")
        .aliases(&["s3_presigned_url"])
        .parameter_aliases(&[("bucket", "s3_bucket"), ("key", "s3_key"), ("expires_in", "expires")]);

/// Makes a URL under which anybody may read the object until it expires, without a key of their own.
///
/// Whoever has the URL can read the object, so it stands in the result (`url`, `expires_at`) and in no log. It ends
/// sooner when the credentials that signed it do: those of a role last an hour or a few. The object must exist.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Presign {
    /// The bucket of the object. Left out when `s3_key` is an `s3://` address.
    #[serde(default)]
    s3_bucket: Option<Template<String>>,
    /// The exact key.
    s3_key: Template<String>,
    /// How long the URL is good for, at most 7 days: `3600` (seconds), `15m`, `2h`.
    #[serde(default = "an_hour")]
    expires: Length,
    /// The connection to S3.
    #[serde(default = "aws_default")]
    aws_conn_id: Template<String>,
}

fn an_hour() -> Length {
    Length::from_seconds(3600)
}

impl Operator for S3Presign {
    fn check(&self, problems: &mut Problems) {
        self.place().check(problems);
        if is_blank(&self.aws_conn_id) {
            problems.add("aws_conn_id", "aws_conn_id is empty");
        }
        let expires = self.expires.0.as_delta();
        if expires < TimeDelta::seconds(1) || expires > TimeDelta::days(7) {
            problems.add("expires", "expires must be from 1 second to 7 days");
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl S3Presign {
    fn place(&self) -> PlaceFields<'_> {
        PlaceFields { bucket: ("s3_bucket", self.s3_bucket.as_ref()), key: ("s3_key", &self.s3_key) }
    }

    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let place = self.place().rendered()?;
        let store = context.ports.objects(context, &rendered_text("aws_conn_id", &self.aws_conn_id)?).await?;
        let url = unless_cancelled(context, async {
            let attempted = format!("signing a URL of {}", place.url());
            let found = store.head(&place.bucket, &place.key).await.map_err(|e| while_doing(&attempted, e))?;
            if found.is_none() {
                return Err(TaskError::Retry(format!("{} does not exist", place.url())));
            }
            store.presign(&place, self.expires.0.as_std()).await.map_err(|e| while_doing(&attempted, e))
        })
        .await?;
        let expires_at = format_utc_micros(context.clock.now() + self.expires.0.as_delta());
        context.info(format!("a URL of {} is good until {expires_at}", place.url()));
        Ok(Outcome::with(json!({ "url": url, "expires_at": expires_at })))
    }
}
