//! Putting an object where it belongs, once.

use millrace_model::ledger::RowsRead;
use millrace_operator_api::ports::{ByteStream, ObjectInfo, ObjectStore, PutOptions};
use millrace_operator_api::{PortErrorKind, TaskContext, TaskError};

use crate::parts::files::manifest;
use crate::parts::files::mark::{self, FileShape};
use crate::parts::proof::verifying::{Tally, Totals};
use crate::parts::report::{ledger_entry, unless_cancelled, while_doing};

/// Where an object goes.
pub struct Destination<'a> {
    pub store: &'a dyn ObjectStore,
    pub bucket: String,
    pub key: String,
    pub replace: bool,
}

impl Destination<'_> {
    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

/// A place that something may be written to.
#[derive(Debug, Clone, Default)]
pub struct Claim {
    /// The place was empty, and must still be when the object is published.
    pub only_if_absent: bool,
    /// Bucket and key of the parts that the list of parts there names, if it is one.
    pub listed: Vec<(String, String)>,
}

/// Whether something may be written there, found out before any work is done.
pub async fn claim(context: &TaskContext, to: &Destination<'_>) -> Result<Claim, TaskError> {
    if to.key.starts_with('/') {
        context.warning(format!("the key '{}' begins with '/', which S3 takes as part of the name", to.key));
    }
    let existing = to.store.head(&to.bucket, &to.key).await;
    match existing.map_err(|error| while_doing(&format!("looking for {}", to.url()), error))? {
        None => Ok(Claim { only_if_absent: !to.replace, listed: Vec::new() }),
        Some(object) if to.replace => taken_over(to, &object).await,
        Some(object) if mark::is_of_instance(context, &object) => {
            let when = if mark::is_own(context, &object) {
                "by an earlier try of this task"
            } else {
                "by this task before it was cleared"
            };
            context.info(format!("{} was written {when}: it is replaced", to.url()));
            taken_over(to, &object).await
        }
        Some(object) => Err(already_exists(to, Some(&object))),
    }
}

async fn taken_over(to: &Destination<'_>, object: &ObjectInfo) -> Result<Claim, TaskError> {
    let listed = if mark::is_manifest(object) { manifest::places(to.store, object).await? } else { Vec::new() };
    Ok(Claim { only_if_absent: false, listed })
}

pub(super) fn already_exists(to: &Destination<'_>, object: Option<&ObjectInfo>) -> TaskError {
    let size = object.map(|object| format!(" ({} bytes)", object.size)).unwrap_or_default();
    TaskError::Fail(format!(
        "key {} in bucket {} already exists{size}, and nothing was changed; set replace: true to overwrite it, or remove it \
         first with s3_cleanup",
        to.key, to.bucket
    ))
}

/// What is known about the body before it is sent.
#[derive(Default)]
pub struct Known<'a> {
    pub shape: Option<&'a FileShape>,
    pub rows: Option<u64>,
    pub checksum: Option<&'a str>,
}

/// Streams the body to its place and compares what arrived with what was sent.
pub async fn publish(
    context: &TaskContext,
    to: &Destination<'_>,
    only_if_absent: bool,
    (body, tally): (ByteStream, Tally),
    known: Known<'_>,
) -> Result<(ObjectInfo, Totals), TaskError> {
    let options = PutOptions {
        metadata: mark::metadata(context, known.shape, known.rows, known.checksum),
        content_type: known.shape.map(|shape| shape.content_type().to_owned()),
        only_if_absent,
    };
    let attempted = format!("writing {}", to.url());
    let object = unless_cancelled(context, async {
        match to.store.put(&to.bucket, &to.key, body, options).await {
            Ok(object) => Ok(object),
            Err(error) => {
                if let Some(cause) = tally.error() {
                    return Err(while_doing(&attempted, cause));
                }
                if error.kind != PortErrorKind::AlreadyExists {
                    return Err(while_doing(&attempted, error));
                }
                // The answer to our own publishing may have been lost, and the repetition refused.
                let found = to.store.head(&to.bucket, &to.key).await.map_err(|e| while_doing(&attempted, e))?;
                match found {
                    Some(object) if mark::is_of_this_try(context, &object) => Ok(object),
                    other => Err(already_exists(to, other.as_ref())),
                }
            }
        }
    })
    .await?;
    let totals = tally.totals();
    if object.size != totals.bytes || totals.checksum.is_none() {
        return Err(TaskError::Retry(format!(
            "{} holds {} bytes, but {} were sent; the upload is not trusted",
            to.url(),
            object.size,
            totals.bytes
        )));
    }
    Ok((object, totals))
}

/// Writes an extract that ended into the ledger: the query as it was sent, and how the source is called.
pub fn record_extract(
    context: &TaskContext,
    label: &str,
    read: RowsRead,
    target: &str,
    started_at: chrono::DateTime<chrono::Utc>,
    totals: &Totals,
) {
    let mut entry = ledger_entry(context, "extract", label, target, started_at);
    entry.read = Some(RowsRead { fingerprint: totals.fingerprint.map(|it| it.to_string()), ..read });
    entry.rows_read = Some(totals.rows);
    entry.rows_written = Some(totals.rows);
    entry.bytes = Some(totals.bytes);
    entry.checksum.clone_from(&totals.checksum);
    context.reporter.ledger(entry);
}
