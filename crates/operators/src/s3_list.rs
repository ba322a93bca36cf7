//! `s3_list`: which objects are there.

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use futures::TryStreamExt;
use millrace_model::instant::{format_utc_micros, parse_instant};
use millrace_operator_api::ports::ObjectInfo;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::parts::parameter::{aws_default, is_blank, rendered, rendered_option, rendered_text, written};
use crate::parts::report::{unless_cancelled, while_doing};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<S3List>("s3_list", "lists objects in S3")
    .aliases(&["S3ListOperator"])
    .parameter_aliases(&[("bucket", "s3_bucket"), ("bucket_name", "s3_bucket"), ("prefix", "s3_prefix")]);

const LIMIT: usize = 10_000;

/// Lists the objects whose keys begin with `s3_prefix`. The result is the list of keys, in order: made for `expand`, which
/// makes a task for each.
///
/// More than `max_keys` objects are an error, never a shortened list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct S3List {
    /// The bucket to look into.
    s3_bucket: Template<String>,
    /// What keys begin with; everything when left out.
    #[serde(default)]
    s3_prefix: Option<Template<String>>,
    /// Only keys that match: `*` stands for any characters, `?` for one. The whole key is compared.
    #[serde(default)]
    pattern: Option<Template<String>>,
    /// Only what was last modified at this time or later. A date, or a date and time (UTC without an offset).
    #[serde(default)]
    from_datetime: Option<Template<String>>,
    /// Only what was last modified before this time.
    #[serde(default)]
    to_datetime: Option<Template<String>>,
    /// Give for each object its key, size (bytes), etag and last_modified instead of the key alone.
    #[serde(default)]
    details: bool,
    /// How many objects there may be.
    #[serde(default = "limit")]
    #[schemars(range(min = 1))]
    max_keys: usize,
    /// The connection to S3.
    #[serde(default = "aws_default")]
    aws_conn_id: Template<String>,
}

fn limit() -> usize {
    LIMIT
}

impl Operator for S3List {
    fn check(&self, problems: &mut Problems) {
        for (name, field) in [("s3_bucket", &self.s3_bucket), ("aws_conn_id", &self.aws_conn_id)] {
            if is_blank(field) {
                problems.add(name, format!("{name} is empty"));
            }
        }
        for (name, field) in [("from_datetime", &self.from_datetime), ("to_datetime", &self.to_datetime)] {
            if let Some(text) = field.as_ref().and_then(written)
                && let Err(error) = parse_instant(&text, Tz::UTC)
            {
                problems.add(name, error.to_string());
            }
        }
        if self.max_keys == 0 {
            problems.add("max_keys", "max_keys must be at least 1");
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

fn instant(name: &str, field: Option<&Template<String>>) -> Result<Option<DateTime<Utc>>, TaskError> {
    let Some(field) = field else { return Ok(None) };
    let text = rendered_text(name, field)?;
    let at = parse_instant(&text, Tz::UTC).map_err(|error| TaskError::Fail(format!("parameter {name}: {error}")))?;
    Ok(Some(at))
}

impl S3List {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let bucket = rendered_text("s3_bucket", &self.s3_bucket)?;
        let prefix =
            self.s3_prefix.as_ref().map(|prefix| rendered("s3_prefix", prefix)).transpose()?.unwrap_or_default();
        let pattern = rendered_option("pattern", self.pattern.as_ref())?;
        let from = instant("from_datetime", self.from_datetime.as_ref())?;
        let to = instant("to_datetime", self.to_datetime.as_ref())?;
        let store = context.ports.objects(context, &rendered_text("aws_conn_id", &self.aws_conn_id)?).await?;
        let is_wanted = |object: &ObjectInfo| {
            pattern.as_ref().is_none_or(|pattern| matches(pattern.as_bytes(), object.key.as_bytes()))
                && from.is_none_or(|from| object.last_modified.is_some_and(|at| at >= from))
                && to.is_none_or(|to| object.last_modified.is_some_and(|at| at < to))
        };
        let what = format!("s3://{bucket}/{prefix}");
        let found = unless_cancelled(context, async {
            let mut found: Vec<ObjectInfo> = Vec::new();
            let mut objects = store.list(&bucket, &prefix);
            loop {
                let next = objects.try_next().await.map_err(|error| while_doing(&format!("listing {what}"), error))?;
                match next {
                    None => return Ok(found),
                    Some(object) if !is_wanted(&object) => {}
                    Some(_) if found.len() >= self.max_keys => {
                        return Err(TaskError::Fail(format!(
                            "there are more than {} objects under {what}; narrow the prefix, or raise max_keys",
                            self.max_keys
                        )));
                    }
                    Some(object) => found.push(object),
                }
            }
        })
        .await?;
        let bytes: u64 = found.iter().map(|object| object.size).sum();
        context.info(format!("{} objects under {what}, {bytes} bytes", found.len()));
        let described = |object: ObjectInfo| -> Value {
            if !self.details {
                return object.key.into();
            }
            let (url, modified) = (object.url(), object.last_modified.map(format_utc_micros));
            json!({ "key": object.key, "url": url, "size": object.size, "etag": object.etag, "last_modified": modified })
        };
        Ok(Outcome::with(found.into_iter().map(described).collect()))
    }
}

/// Whether the whole of `text` is as `pattern` says. Linear but for what lies between two stars.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            // One character, which may have several bytes.
            Some(b'?') => {
                t += 1;
                while text.get(t).is_some_and(|byte| byte & 0xC0 == 0x80) {
                    t += 1;
                }
                p += 1;
            }
            Some(byte) if *byte == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    p = *at + 1;
                    t = *from;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_and_question_marks_match_the_whole_key() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("*.csv", "a/b.csv", true),
            ("*.csv", "a/b.csv.gz", false),
            ("part-?-*.csv", "part-7-x.csv", true),
            ("part-?.csv", "part-77.csv", false),
            ("part-?.csv", "part-매.csv", true),
            ("a*b*c", "a--b--b--c", true),
            ("a*b*c", "a--c--b", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }
}
