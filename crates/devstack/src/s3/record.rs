//! What is known about an object, as it is kept in memory and, as JSON, on disk.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use chrono::{DateTime, Utc};
use s3s::dto;
use serde::{Deserialize, Serialize};

use super::blob::Blob;

/// Headers that a client gave and gets back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Headers {
    pub(super) content_type: Option<String>,
    pub(super) content_encoding: Option<String>,
    pub(super) content_language: Option<String>,
    pub(super) content_disposition: Option<String>,
    pub(super) cache_control: Option<String>,
    /// User metadata, names without `x-amz-meta-`.
    pub(super) metadata: BTreeMap<String, String>,
    /// What a client asked for; nothing is encrypted here.
    #[serde(default)]
    pub(super) encryption: Option<String>,
    #[serde(default)]
    pub(super) kms_key: Option<String>,
}

impl Headers {
    pub(super) fn metadata_of(metadata: Option<HashMap<String, String>>) -> BTreeMap<String, String> {
        metadata.into_iter().flatten().collect()
    }

    pub(super) fn metadata(&self) -> Option<HashMap<String, String>> {
        if self.metadata.is_empty() {
            return None;
        }
        Some(self.metadata.iter().map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

/// Checksums in base64, as far as the client sent or asked for them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checksums {
    pub(super) crc32: Option<String>,
    pub(super) crc32c: Option<String>,
    pub(super) crc64nvme: Option<String>,
    pub(super) sha1: Option<String>,
    pub(super) sha256: Option<String>,
    /// A checksum of the checksums of the parts (`…-3`) instead of one over the bytes.
    #[serde(default)]
    pub(super) composite: bool,
}

impl Checksums {
    pub(super) fn is_empty(&self) -> bool {
        *self == Self { composite: self.composite, ..Self::default() }
    }

    pub(super) fn kind(&self) -> Option<dto::ChecksumType> {
        if self.is_empty() {
            return None;
        }
        let kind = if self.composite { dto::ChecksumType::COMPOSITE } else { dto::ChecksumType::FULL_OBJECT };
        Some(dto::ChecksumType::from_static(kind))
    }
}

impl From<dto::Checksum> for Checksums {
    fn from(checksum: dto::Checksum) -> Self {
        Self {
            crc32: checksum.checksum_crc32,
            crc32c: checksum.checksum_crc32c,
            crc64nvme: checksum.checksum_crc64nvme,
            sha1: checksum.checksum_sha1,
            sha256: checksum.checksum_sha256,
            composite: false,
        }
    }
}

/// One data file of an object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct BlobName {
    pub(super) name: String,
    pub(super) size: u64,
}

/// An object's record on disk.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ObjectRecord {
    pub(super) key: String,
    pub(super) etag: String,
    pub(super) modified: DateTime<Utc>,
    pub(super) headers: Headers,
    pub(super) checksums: Checksums,
    pub(super) parts: u32,
    pub(super) blobs: Vec<BlobName>,
}

/// An object in memory.
#[derive(Debug)]
pub(super) struct Object {
    pub(super) key: String,
    pub(super) size: u64,
    /// Without quotes.
    pub(super) etag: String,
    pub(super) modified: DateTime<Utc>,
    pub(super) headers: Headers,
    pub(super) checksums: Checksums,
    /// 0 for an object that was put in one piece.
    pub(super) parts: u32,
    pub(super) blobs: Vec<Arc<Blob>>,
}

impl Object {
    pub(super) fn record(&self) -> ObjectRecord {
        ObjectRecord {
            key: self.key.clone(),
            etag: self.etag.clone(),
            modified: self.modified,
            headers: self.headers.clone(),
            checksums: self.checksums.clone(),
            parts: self.parts,
            blobs: self.blobs.iter().map(|blob| BlobName { name: blob.name().to_owned(), size: blob.size() }).collect(),
        }
    }

    pub(super) fn etag(&self) -> dto::ETag {
        dto::ETag::Strong(self.etag.clone())
    }

    pub(super) fn modified(&self) -> dto::Timestamp {
        dto::Timestamp::from(SystemTime::from(self.modified))
    }
}
