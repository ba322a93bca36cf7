//! What came with a body and must match it: its length and checksums.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderMap;
use s3s::TrailingHeaders;
use s3s::dto::ChecksumAlgorithm;

use super::record::Checksums;
use super::storage::StorageError;
use super::transfer::{Algorithms, Received};

/// What came with a body and must match it.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) algorithms: Algorithms,
    content_md5: Option<String>,
    checksums: Checksums,
    length: Option<u64>,
}

impl Claims {
    pub(super) fn new(
        headers: &HeaderMap,
        named: Option<&ChecksumAlgorithm>,
        content_md5: Option<String>,
        checksums: Checksums,
    ) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let trailers = text("x-amz-trailer").unwrap_or_default().to_ascii_lowercase();
        let named = named.map(|named| named.as_str().to_ascii_uppercase());
        let wants = |header: &str, name: &str, value: &Option<String>| {
            value.is_some() || trailers.contains(header) || named.as_deref() == Some(name)
        };
        let algorithms = Algorithms {
            md5: content_md5.is_some(),
            // `…crc32` is also the start of `…crc32c`.
            crc32: checksums.crc32.is_some()
                || trailers.split(',').any(|trailer| trailer.trim() == "x-amz-checksum-crc32")
                || named.as_deref() == Some("CRC32"),
            crc32c: wants("x-amz-checksum-crc32c", "CRC32C", &checksums.crc32c),
            crc64nvme: wants("x-amz-checksum-crc64nvme", "CRC64NVME", &checksums.crc64nvme),
            sha1: wants("x-amz-checksum-sha1", "SHA1", &checksums.sha1),
            sha256: wants("x-amz-checksum-sha256", "SHA256", &checksums.sha256),
        };
        let length = text("x-amz-decoded-content-length").or_else(|| text("content-length"));
        Self { algorithms, content_md5, checksums, length: length.and_then(|length| length.parse().ok()) }
    }

    /// The trailers of an `aws-chunked` body are there once the body was read.
    pub(super) fn check(mut self, received: &Received, trailers: Option<&TrailingHeaders>) -> Result<(), StorageError> {
        if let Some(expected) = self.length
            && expected != received.size
        {
            return Err(StorageError::IncompleteBody { expected, received: received.size });
        }
        if let Some(trailers) = trailers {
            trailers.read(|headers| {
                let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
                self.checksums.crc32 = text("x-amz-checksum-crc32").or(self.checksums.crc32.take());
                self.checksums.crc32c = text("x-amz-checksum-crc32c").or(self.checksums.crc32c.take());
                self.checksums.crc64nvme = text("x-amz-checksum-crc64nvme").or(self.checksums.crc64nvme.take());
                self.checksums.sha1 = text("x-amz-checksum-sha1").or(self.checksums.sha1.take());
                self.checksums.sha256 = text("x-amz-checksum-sha256").or(self.checksums.sha256.take());
            });
        }
        let md5 = received.md5.map(|md5| STANDARD.encode(md5));
        let made = &received.checksums;
        for (algorithm, claimed, made) in [
            ("Content-MD5", &self.content_md5, &md5),
            ("CRC32", &self.checksums.crc32, &made.crc32),
            ("CRC32C", &self.checksums.crc32c, &made.crc32c),
            ("CRC64NVME", &self.checksums.crc64nvme, &made.crc64nvme),
            ("SHA1", &self.checksums.sha1, &made.sha1),
            ("SHA256", &self.checksums.sha256, &made.sha256),
        ] {
            if claimed.is_some() && claimed != made {
                return Err(StorageError::BadDigest { algorithm });
            }
        }
        Ok(())
    }
}
