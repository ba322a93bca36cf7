//! What the Redshift stand-in needs from an object store: COPY lists and reads, UNLOAD writes.

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

/// An object as a listing shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// The whole key.
    pub key: String,
    /// Bytes.
    pub size: u64,
}

/// An object could not be listed, read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The bucket does not exist.
    #[error("the specified bucket does not exist: {bucket}")]
    NoSuchBucket {
        /// The bucket.
        bucket: String,
    },
    /// The key does not exist.
    #[error("the specified key does not exist: s3://{bucket}/{key}")]
    NoSuchKey {
        /// The bucket.
        bucket: String,
        /// The key.
        key: String,
    },
    /// Reading or writing failed.
    #[error("reading or writing s3://{bucket}/{key} failed")]
    Io {
        /// The bucket.
        bucket: String,
        /// The key, or the prefix of a listing.
        key: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// The bytes of an object, in order.
pub type ObjectBytes = BoxStream<'static, Result<Bytes, std::io::Error>>;

/// An object store as COPY and UNLOAD see it.
pub trait ObjectSource: Send + Sync + 'static {
    /// Every object whose key starts with `prefix`, in key order.
    fn list<'a>(&'a self, bucket: &'a str, prefix: &'a str) -> BoxFuture<'a, Result<Vec<ObjectInfo>, ObjectError>>;

    /// The bytes of one object.
    fn open<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<ObjectBytes, ObjectError>>;

    /// Stores one object, replacing an older one of the same key.
    fn put<'a>(&'a self, bucket: &'a str, key: &'a str, body: ObjectBytes) -> BoxFuture<'a, Result<(), ObjectError>>;
}
