//! The objects of a load: what they were when the load began, they must be when they are read.

use futures::stream::{self, TryStreamExt};
use millrace_operator_api::ports::{ByteStream, ObjectInfo, ObjectRows};
use millrace_operator_api::{PortError, PortErrorKind};

/// Objects asked about at one time.
const HEADS_AT_ONCE: usize = 16;

pub fn changed(url: &str) -> PortError {
    PortError::new(
        PortErrorKind::Unavailable,
        format!("{url} is not the file any more that was there when the load began"),
    )
}

/// Opens the object if it still is what the request says.
pub async fn open_unchanged(files: &ObjectRows, object: &ObjectInfo) -> Result<ByteStream, PortError> {
    files.store.get_same(object, None).await
}

/// For a warehouse that reads the objects by itself, by their keys alone: asked after it has read them, before the rows
/// are seen by anybody.
pub async fn require_unchanged(files: &ObjectRows) -> Result<(), PortError> {
    let known: Vec<Result<&ObjectInfo, PortError>> =
        files.objects.iter().filter(|object| object.etag.is_some()).map(Ok).collect();
    stream::iter(known)
        .try_for_each_concurrent(HEADS_AT_ONCE, |object| async move {
            let now = files.store.head(&object.bucket, &object.key).await?;
            if now.is_some_and(|now| now.etag == object.etag) { Ok(()) } else { Err(changed(&object.url())) }
        })
        .await
}
