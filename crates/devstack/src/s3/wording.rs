//! The store's values in the protocol's types, and the protocol's ranges in those of the store.

use std::time::SystemTime;

use s3s::dto::*;
use s3s::{S3Error, S3ErrorCode, S3Result};

use super::record::Object;

pub(super) fn unsupported(what: &str) -> S3Error {
    S3Error::with_message(S3ErrorCode::NotImplemented, format!("the S3 stand-in does not know {what}"))
}

/// Cuts a Range header to the object: what to send, and the Content-Range when it is not everything.
pub(super) fn cut_range(object: &Object, range: Option<&Range>) -> S3Result<(std::ops::Range<u64>, Option<String>)> {
    let Some(range) = range else { return Ok((0..object.size, None)) };
    let range = range
        .check(object.size)
        .map_err(|error| S3Error::with_message(S3ErrorCode::InvalidRange, error.to_string()))?;
    let header = format!("bytes {}-{}/{}", range.start, range.end.saturating_sub(1), object.size);
    Ok((range, Some(header)))
}

pub(super) fn check_part_number(number: i32) -> S3Result<()> {
    if (1..=10_000).contains(&number) {
        return Ok(());
    }
    let message = "Part number must be an integer between 1 and 10000, inclusive";
    Err(S3Error::with_message(S3ErrorCode::InvalidArgument, message))
}

/// `bytes=first-last`, both counted from 0 and included; S3 takes no other form here.
pub(super) fn copied_range(source: &Object, range: Option<&str>) -> S3Result<std::ops::Range<u64>> {
    let Some(text) = range else { return Ok(0..source.size) };
    let wrong = |message: String| S3Error::with_message(S3ErrorCode::InvalidArgument, message);
    let bounds = text.strip_prefix("bytes=").and_then(|bounds| bounds.split_once('-'));
    let parsed = bounds.and_then(|(first, last)| Some((first.parse::<u64>().ok()?, last.parse::<u64>().ok()?)));
    match parsed {
        Some((first, last)) if first <= last && last < source.size => Ok(first..last + 1),
        Some(_) => Err(wrong(format!("Range specified is not valid for source object of size: {}", source.size))),
        None => Err(wrong(
            "The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the \
             zero-based offsets of the first and last bytes to copy"
                .to_owned(),
        )),
    }
}

pub(super) fn content_type(object: &Object) -> String {
    object.headers.content_type.clone().unwrap_or_else(|| "binary/octet-stream".to_owned())
}

pub(super) fn timestamp(time: chrono::DateTime<chrono::Utc>) -> Timestamp {
    Timestamp::from(SystemTime::from(time))
}

pub(super) fn quoted(etag: &str) -> ETag {
    ETag::Strong(etag.to_owned())
}

pub(super) fn listed(object: &Object) -> s3s::dto::Object {
    s3s::dto::Object {
        key: Some(object.key.clone()),
        size: Some(object.size as i64),
        e_tag: Some(object.etag()),
        last_modified: Some(object.modified()),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    }
}

/// `aws-chunked` describes the transfer, not the object.
pub(super) fn without_aws_chunked(encoding: Option<String>) -> Option<String> {
    let encoding = encoding?;
    let rest: Vec<&str> = encoding.split(',').map(str::trim).filter(|part| *part != "aws-chunked").collect();
    (!rest.is_empty()).then(|| rest.join(","))
}
