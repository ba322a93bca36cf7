//! `If-Match` and `If-None-Match`, on writes and on reads.

use s3s::dto::{ETag, IfMatch, IfNoneMatch};
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::record::Object;
use super::storage::{Condition, StorageError};
use super::wording::unsupported;

pub(super) fn on_write(if_none_match: Option<&IfNoneMatch>, if_match: Option<&IfMatch>) -> S3Result<Condition> {
    match (if_none_match, if_match) {
        (None, None) => Ok(Condition::None),
        (Some(IfNoneMatch::Any), None) => Ok(Condition::Absent),
        (None, Some(IfMatch::Any)) => Ok(Condition::Match(None)),
        (None, Some(IfMatch::ETag(etag))) => Ok(Condition::Match(Some(etag.value().to_owned()))),
        _ => Err(unsupported("If-None-Match with an ETag on a write")),
    }
}

/// `x-amz-copy-source-if-match`.
pub(super) fn on_copy_source(source: &Object, if_match: Option<&IfMatch>) -> S3Result<()> {
    match if_match {
        Some(IfMatch::ETag(etag)) if etag.value() != source.etag => {
            Err(StorageError::Precondition { condition: "x-amz-copy-source-If-Match" }.into())
        }
        _ => Ok(()),
    }
}

/// `If-Match` and the like on reads.
pub(super) fn check_read(
    object: &Object,
    if_match: Option<&IfMatch>,
    if_none_match: Option<&IfNoneMatch>,
) -> S3Result<()> {
    let same = |etag: &ETag| etag.value() == object.etag;
    if let Some(IfMatch::ETag(etag)) = if_match
        && !same(etag)
    {
        return Err(StorageError::Precondition { condition: "If-Match" }.into());
    }
    let not_modified = match if_none_match {
        None => false,
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::ETag(etag)) => same(etag),
    };
    if not_modified {
        return Err(S3Error::new(S3ErrorCode::NotModified));
    }
    Ok(())
}
