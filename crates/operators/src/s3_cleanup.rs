//! `s3_cleanup`: removes objects.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use futures::stream::{self, StreamExt, TryStreamExt};
use millrace_model::instant::parse_instant;
use millrace_operator_api::ports::{ByteStream, ObjectInfo, ObjectStore};
use millrace_operator_api::{
    BoxFuture, Operator, OperatorEntry, Outcome, PortErrorKind, Problems, TaskContext, TaskError,
};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::parts::files::manifest;
use crate::parts::parameter::{OneOrMany, aws_default, is_blank, rendered, rendered_option, rendered_text, written};
use crate::parts::report::{ledger_entry, unless_cancelled, while_doing};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<S3Cleanup>("s3_cleanup", "removes objects from S3")
    .aliases(&["s3_delete", "S3DeleteObjectsOperator"])
    .parameter_aliases(&[("s3_bucket", "bucket"), ("s3_keys", "keys"), ("s3_key", "keys"), ("s3_prefix", "prefix")]);

/// Keys in one request.
const BATCH: usize = 1_000;
const HEADS_AT_ONCE: usize = 8;

/// Removes objects from S3: those of `keys`, or those under `prefix` and last modified from `from_datetime` until before
/// `to_datetime`; one kind or the other.
///
/// A key or prefix that renders to nothing is refused, since an empty prefix is the whole bucket. Removing what is not
/// there is a success, so that a first run passes, unless `on_missing` is `error`. With the key of a list that `sql_to_s3`
/// wrote its parts go, too.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3Cleanup {
    /// The bucket to remove from.
    bucket: Template<String>,
    /// A key or a list of keys.
    #[serde(default)]
    keys: Option<Template<OneOrMany>>,
    /// The beginning of keys.
    #[serde(default)]
    prefix: Option<Template<String>>,
    /// Only what was last modified at this time or later. A date, or a date and time (UTC without an offset).
    #[serde(default)]
    from_datetime: Option<Template<String>>,
    /// Only what was last modified before this time.
    #[serde(default)]
    to_datetime: Option<Template<String>>,
    /// What to do when a key of `keys` does not exist: `ignore` (default), or `error`, which then removes nothing at all.
    #[serde(default)]
    on_missing: OnMissing,
    /// The connection to S3.
    #[serde(default = "aws_default")]
    aws_conn_id: Template<String>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum OnMissing {
    #[default]
    Ignore,
    Error,
}

/// What to remove, rendered.
enum Selection {
    Keys(Vec<String>),
    Matching { prefix: String, from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>> },
}

impl Operator for S3Cleanup {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [("bucket", &self.bucket), ("aws_conn_id", &self.aws_conn_id)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        let has_window = self.from_datetime.is_some() || self.to_datetime.is_some();
        match (&self.keys, self.prefix.is_some() || has_window) {
            (Some(_), true) => {
                problems.add("keys", "keys excludes prefix, from_datetime and to_datetime; use one kind");
            }
            (None, false) => problems.add("", "say what to remove: keys, or prefix, or from_datetime and to_datetime"),
            _ => {}
        }
        if let Some(OneOrMany(keys)) = self.keys.as_ref().and_then(written)
            && (keys.is_empty() || keys.iter().any(|key| key.trim().is_empty()))
        {
            problems.add("keys", "a key is empty");
        }
        if self.prefix.as_ref().is_some_and(is_blank) {
            problems.add("prefix", "an empty prefix is the whole bucket, which is never removed");
        }
        if self.keys.is_none() && self.prefix.is_none() && self.from_datetime.is_some() != self.to_datetime.is_some() {
            problems.add("", "without a prefix both from_datetime and to_datetime are needed");
        }
        for (name, field) in [("from_datetime", &self.from_datetime), ("to_datetime", &self.to_datetime)] {
            if let Some(text) = field.as_ref().and_then(written)
                && let Err(error) = parse_instant(&text, Tz::UTC)
            {
                problems.add(name, error.to_string());
            }
        }
        if self.on_missing == OnMissing::Error && self.keys.is_none() {
            problems.add("on_missing", "on_missing has a meaning with keys only: a prefix may match nothing");
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

impl S3Cleanup {
    fn selection(&self) -> Result<Selection, TaskError> {
        if let Some(keys) = &self.keys {
            let OneOrMany(keys) = rendered("keys", keys)?;
            if keys.is_empty() || keys.iter().any(|key| key.trim().is_empty()) {
                return Err(TaskError::Fail(
                    "parameter keys: a key is empty after rendering; nothing was removed".to_owned(),
                ));
            }
            return Ok(Selection::Keys(keys));
        }
        let prefix = rendered_option("prefix", self.prefix.as_ref())?;
        if prefix.as_ref().is_some_and(|prefix| prefix.trim().is_empty()) {
            return Err(TaskError::Fail(
                "parameter prefix is empty after rendering, which is the whole bucket; nothing was removed".to_owned(),
            ));
        }
        let instant = |name: &str, field: Option<&Template<String>>| match field {
            None => Ok(None),
            Some(field) => parse_instant(&rendered_text(name, field)?, Tz::UTC)
                .map(Some)
                .map_err(|error| TaskError::Fail(format!("parameter {name}: {error}"))),
        };
        let from = instant("from_datetime", self.from_datetime.as_ref())?;
        let to = instant("to_datetime", self.to_datetime.as_ref())?;
        if prefix.is_none() && (from.is_none() || to.is_none()) {
            return Err(TaskError::Fail("without a prefix both from_datetime and to_datetime are needed".to_owned()));
        }
        Ok(Selection::Matching { prefix: prefix.unwrap_or_default(), from, to })
    }

    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let started_at = context.clock.now();
        let bucket = rendered_text("bucket", &self.bucket)?;
        let selection = self.selection()?;
        let store = context.ports.objects(context, &rendered_text("aws_conn_id", &self.aws_conn_id)?).await?;
        let mut removal =
            Removal { context, store: store.as_ref(), bucket: &bucket, requested: 0, deleted: 0, requests: 0 };
        let label = match &selection {
            Selection::Keys(keys) => match keys.as_slice() {
                [only] => format!("s3://{bucket}/{only}"),
                several => format!("{} keys in s3://{bucket}", several.len()),
            },
            Selection::Matching { prefix, .. } => format!("s3://{bucket}/{prefix}*"),
        };
        let done = unless_cancelled(context, async {
            match selection {
                Selection::Keys(keys) => {
                    if self.on_missing == OnMissing::Error {
                        require_all(context, store.as_ref(), &bucket, &keys).await?;
                    }
                    removal.remove_parts(&keys).await?;
                    for batch in keys.chunks(BATCH) {
                        removal.remove(batch.to_vec()).await?;
                    }
                }
                Selection::Matching { prefix, from, to } => removal.remove_matching(&prefix, from, to).await?,
            }
            Ok(())
        })
        .await;
        let (requested, deleted, requests) = (removal.requested, removal.deleted, removal.requests);
        context.reporter.ledger(ledger_entry(context, "delete", &label, &label, started_at));
        done?;
        context.info(format!("removed {label}: {requested} keys asked for in {requests} requests"));
        Ok(Outcome::with(json!({ "requested": requested, "deleted": deleted, "requests": requests })))
    }
}

struct Removal<'a> {
    context: &'a TaskContext,
    store: &'a dyn ObjectStore,
    bucket: &'a str,
    requested: u64,
    deleted: u64,
    requests: u64,
}

impl Removal<'_> {
    async fn remove(&mut self, keys: Vec<String>) -> Result<(), TaskError> {
        if keys.is_empty() {
            return Ok(());
        }
        self.requested += keys.len() as u64;
        let attempted = format!("removing objects from s3://{}", self.bucket);
        let report = self.store.delete(self.bucket, keys).await.map_err(|error| while_doing(&attempted, error))?;
        self.deleted += report.deleted;
        self.requests += report.requests;
        self.context.checkpoint("delete", format!("{} keys in {} requests", self.requested, self.requests));
        if report.errors.is_empty() {
            return Ok(());
        }
        let shown: Vec<String> =
            report.errors.iter().take(5).map(|(key, message)| format!("{key}: {message}")).collect();
        Err(TaskError::Retry(format!(
            "{attempted}: {} keys were not removed; {}",
            report.errors.len(),
            shown.join("; ")
        )))
    }

    /// Those of lists among the keys, while the lists are there: nobody finds them without.
    async fn remove_parts(&mut self, keys: &[String]) -> Result<(), TaskError> {
        let (store, bucket) = (self.store, self.bucket);
        let looks: Vec<_> = keys.iter().map(|key| manifest::at(store, bucket, key)).collect();
        let found: Vec<_> = stream::iter(looks).buffered(HEADS_AT_ONCE).collect().await;
        for (key, list) in keys.iter().zip(found) {
            match list {
                Ok(Some(_)) => self.remove_matching(&format!("{key}{}", manifest::FOLDER), None, None).await?,
                Ok(None) => {}
                // To remove an object nobody needs to be let to read it.
                Err(error) if error.kind == PortErrorKind::Denied => {
                    self.context
                        .info(format!("whether {key} is a list, whose parts would go with it, is not known: {error}"));
                }
                Err(error) => return Err(while_doing(&format!("looking for s3://{bucket}/{key}"), error)),
            }
        }
        Ok(())
    }

    async fn remove_matching(
        &mut self,
        prefix: &str,
        from: Option<DateTime<Utc>>,
        to: Option<DateTime<Utc>>,
    ) -> Result<(), TaskError> {
        let is_within = |object: &ObjectInfo| match object.last_modified {
            Some(at) => from.is_none_or(|from| at >= from) && to.is_none_or(|to| at < to),
            None => from.is_none() && to.is_none(),
        };
        // Pages follow the last key, so removing what was listed does not disturb what is still to come.
        let mut batches = self
            .store
            .list(self.bucket, prefix)
            .try_filter(|object| std::future::ready(is_within(object)))
            .try_chunks(BATCH);
        loop {
            let batch = batches.try_next().await;
            let listed =
                batch.map_err(|error| while_doing(&format!("listing s3://{}/{prefix}", self.bucket), error.1))?;
            match listed {
                Some(objects) => self.remove(objects.into_iter().map(|object| object.key).collect()).await?,
                None => return Ok(()),
            }
        }
    }
}

/// Fails when a key is missing, before anything is removed. That all were there is written down, so that a try after one
/// that died in the middle does not take its own removals for missing keys.
async fn require_all(
    context: &TaskContext,
    store: &dyn ObjectStore,
    bucket: &str,
    keys: &[String],
) -> Result<(), TaskError> {
    let scratch = context.ports.scratch();
    let note = format!("s3_cleanup-{}", context.work.short_hash());
    match scratch.read(&context.work, &note).await {
        Ok(_) => {
            context.info("an earlier try of this task found every key and began to remove them: it is continued");
            return Ok(());
        }
        Err(error) if error.kind == PortErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let mut missing = Vec::new();
    for key in keys {
        if store.head(bucket, key).await?.is_none() {
            missing.push(key.as_str());
        }
    }
    if !missing.is_empty() {
        let shown = missing.iter().take(5).copied().collect::<Vec<_>>().join(", ");
        return Err(TaskError::Retry(format!(
            "{} of {} keys do not exist in s3://{bucket} and on_missing is error, so nothing was removed: {shown}",
            missing.len(),
            keys.len()
        )));
    }
    let body: ByteStream =
        Box::pin(futures::stream::once(async { Ok(bytes::Bytes::from_static(b"all keys were there\n")) }));
    scratch.write(&context.work, &note, body).await?;
    Ok(())
}
