//! The objects of a load, read as what they were when the load began.

use millrace_operator_api::ports::{ByteStream, ObjectInfo, ObjectRows};
use millrace_operator_api::{PortError, PortErrorKind};

pub fn changed(object: &ObjectInfo) -> PortError {
    PortError::new(
        PortErrorKind::Unavailable,
        format!("{} is not the file any more that was there when the load began", object.url()),
    )
}

/// Opens the object if it still is what the request says.
pub async fn open_unchanged(files: &ObjectRows, object: &ObjectInfo) -> Result<ByteStream, PortError> {
    if let Some(etag) = &object.etag {
        match files.store.head(&object.bucket, &object.key).await? {
            None => {
                return Err(PortError::new(PortErrorKind::NotFound, format!("{} is gone", object.url())));
            }
            Some(now) if now.etag.as_ref() != Some(etag) => return Err(changed(object)),
            Some(_) => {}
        }
    }
    files.store.get(&object.bucket, &object.key).await
}
