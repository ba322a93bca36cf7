//! Which objects a load reads, and whether they are the ones that it means.

use futures::stream::{self, StreamExt, TryStreamExt};
use millrace_operator_api::ports::{ObjectInfo, ObjectStore};
use millrace_operator_api::{TaskContext, TaskError};

use super::{Handed, Loading, split_parts};
use crate::parts::files::manifest::{self, Listed};
use crate::parts::files::mark;
use crate::parts::loads::file_columns::FileColumns;
use crate::parts::report::while_doing;

/// Objects asked about at one time.
const HEADS_AT_ONCE: usize = 16;

/// What is to be loaded.
#[derive(Default)]
pub struct Found {
    pub objects: Vec<ObjectInfo>,
    /// The names of all the objects' columns, as their list or the task that wrote them tells.
    pub columns: FileColumns,
}

/// Exactly the objects to load, with their metadata, in key order.
pub async fn objects(context: &TaskContext, store: &dyn ObjectStore, loading: &Loading) -> Result<Found, TaskError> {
    let place = format!("s3://{}/{}", loading.bucket, loading.key);
    let attempted = format!("looking for {place}");
    if !loading.is_prefix {
        let object = store.head(&loading.bucket, &loading.key).await.map_err(|e| while_doing(&attempted, e))?;
        if let Some(object) = &object {
            match &loading.handed {
                Some(handed) => require_same(object, handed)?,
                None => require_own(context, object)?,
            }
        }
        let told = loading
            .handed
            .as_ref()
            .map(|handed| FileColumns { names: handed.object.columns.clone(), types: handed.object.types.clone() });
        let told = told.unwrap_or_default();
        return match object {
            Some(list) if mark::is_manifest(&list) || loading.options.is_manifest => {
                let Listed { objects, columns, types, missing } = manifest::objects(store, &list).await?;
                for url in missing {
                    context.warning(format!(
                        "{place} lists {url}, which is not there and not mandatory: it is passed over"
                    ));
                }
                if objects.is_empty() {
                    return Err(TaskError::Fail(format!("{place} lists no objects")));
                }
                let listed = FileColumns { names: columns, types };
                Ok(Found { objects, columns: if listed.names.is_empty() { told } else { listed } })
            }
            Some(object) => Ok(Found { objects: vec![object], columns: told }),
            None if is_bucket_missing(store, loading).await => Err(TaskError::Fail(format!(
                "there is no bucket {}, where {} was looked for ({})",
                loading.bucket, loading.key, loading.aws_conn_id
            ))),
            None => Err(loading.handed.as_ref().map_or_else(
                || {
                    TaskError::Retry(format!(
                        "there is no object {place}; s3_key names one object exactly (prefix: true loads every key that \
                         begins with it)"
                    ))
                },
                |Handed { task, .. }| {
                    TaskError::Fail(format!(
                        "task '{task}' wrote {place} in this run, and it is gone; clear '{task}' too, so that it is written \
                         again"
                    ))
                },
            )),
        };
    }
    let listed: Vec<ObjectInfo> = store
        .list(&loading.bucket, &loading.key)
        // Consoles make empty objects that stand for folders.
        .try_filter(|object| std::future::ready(!(object.size == 0 && object.key.ends_with('/'))))
        .try_collect()
        .await
        .map_err(|error| while_doing(&attempted, error))?;
    if listed.is_empty() {
        return Err(TaskError::Retry(format!("no object's key begins with {place}")));
    }
    let attempted = &attempted;
    let found: Vec<ObjectInfo> = stream::iter(listed.into_iter().map(|object| async move {
        let found = store.head(&object.bucket, &object.key).await.map_err(|e| while_doing(attempted, e))?;
        found.ok_or_else(|| TaskError::Retry(format!("{} vanished while it was looked at", object.url())))
    }))
    .buffered(HEADS_AT_ONCE)
    .try_collect()
    .await?;
    match found.iter().find(|object| mark::is_manifest(object)) {
        None => {
            split_parts::require_whole(store, &loading.key, &found).await?;
            Ok(Found { objects: found, ..Found::default() })
        }
        Some(list) => Err(TaskError::Fail(format!(
            "{} is a list of parts, which prefix: true would load as rows; name its key exactly and leave prefix out",
            list.url()
        ))),
    }
}

/// An answer about one object does not say it.
async fn is_bucket_missing(store: &dyn ObjectStore, loading: &Loading) -> bool {
    let listed = store.list(&loading.bucket, &loading.key).try_next().await;
    listed.is_err_and(|error| error.code.as_deref() == Some("NoSuchBucket"))
}

/// Another run may have written the same key in the meantime.
fn require_same(object: &ObjectInfo, handed: &Handed) -> Result<(), TaskError> {
    if handed.object.etag.is_none() || handed.object.etag == object.etag {
        return Ok(());
    }
    Err(TaskError::Fail(format!(
        "{} is not the object any more that task '{}' wrote: something else was written to the key since. Put what tells \
         the runs apart into the key (the date, say), or clear '{}' too, so that it is written again",
        object.url(),
        handed.task,
        handed.task
    )))
}

/// Runs that write to one key load what another wrote: each of them green, and the rows of some missing.
fn require_own(context: &TaskContext, object: &ObjectInfo) -> Result<(), TaskError> {
    let Some(other) = mark::other_run(context, object) else { return Ok(()) };
    Err(TaskError::Fail(format!(
        "{} was written by the run '{other}' of this DAG, not by this one: both write to the same key, or this run wrote \
         nothing to it. Put what tells the runs apart into the key (the date, say), or clear the task that writes it too",
        object.url()
    )))
}
