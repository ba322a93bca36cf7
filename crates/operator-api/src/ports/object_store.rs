//! An object store: S3 and whatever speaks its protocol.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::error::PortError;

pub type ByteStream = BoxStream<'static, Result<Bytes, PortError>>;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    pub bucket: String,
    pub key: String,
    /// Bytes.
    pub size: u64,
    /// Without quotes.
    pub etag: Option<String>,
    pub last_modified: Option<DateTime<Utc>>,
    /// User metadata; filled by `head` and `put`, empty in listings.
    pub metadata: BTreeMap<String, String>,
}

impl ObjectInfo {
    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PutOptions {
    pub metadata: BTreeMap<String, String>,
    pub content_type: Option<String>,
    /// Fail with `AlreadyExists` when there is an object at the key, checked by the store at the moment of publishing.
    pub only_if_absent: bool,
}

/// What a deletion came to. Deleting what is not there succeeds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeleteReport {
    pub deleted: u64,
    /// Requests sent (at most 1,000 keys each).
    pub requests: u64,
    /// Key and message.
    pub errors: Vec<(String, String)>,
}

/// Where an object is, or shall be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectPlace {
    pub bucket: String,
    pub key: String,
}

impl ObjectPlace {
    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.key)
    }
}

/// A copy that the store makes by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyRequest {
    pub from: ObjectPlace,
    pub to: ObjectPlace,
    /// The source must still be this one (an ETag without quotes).
    pub only_if_etag: Option<String>,
    /// Laid over the source's own metadata, which comes along.
    pub metadata: BTreeMap<String, String>,
    /// Fail with `AlreadyExists` when there is an object at `to`, checked by the store at the moment of publishing.
    pub only_if_absent: bool,
}

pub trait ObjectStore: Send + Sync {
    /// `None` when there is no such object.
    fn head<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<ObjectInfo>, PortError>>;

    /// Streams into an object in constant memory (multipart when large). The object appears whole or not at all; a
    /// failed or cancelled upload leaves no parts behind.
    fn put<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
        body: ByteStream,
        options: PutOptions,
    ) -> BoxFuture<'a, Result<ObjectInfo, PortError>>;

    fn get<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<ByteStream, PortError>>;

    /// The bytes of this very object, all of them or a range: `Unavailable` when another one has taken its place since
    /// it was seen, as far as its ETag is known. The store compares, at the moment of reading.
    fn get_same<'a>(
        &'a self,
        object: &'a ObjectInfo,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<ByteStream, PortError>>;

    /// Every object under the prefix, page by page, in key order.
    fn list<'a>(&'a self, bucket: &'a str, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, PortError>>;

    fn delete<'a>(&'a self, bucket: &'a str, keys: Vec<String>) -> BoxFuture<'a, Result<DeleteReport, PortError>>;

    /// Copies an object inside the store, whatever its size, with its headers and metadata: no byte passes through here.
    /// The copy appears whole or not at all. A source that changed meanwhile is `Unavailable`; its tags stay behind.
    fn copy<'a>(&'a self, request: CopyRequest) -> BoxFuture<'a, Result<ObjectInfo, PortError>>;

    /// A URL under which anybody may read the object for `valid` (at most 7 days, and never longer than the credentials
    /// that sign it). It is a secret. Nothing is asked of the store, so the object need not exist.
    fn presign<'a>(&'a self, place: &'a ObjectPlace, valid: Duration) -> BoxFuture<'a, Result<String, PortError>>;
}
