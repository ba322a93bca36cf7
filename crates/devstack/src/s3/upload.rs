//! Multipart uploads. A part is a data file with a record; completion writes one object record that names the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use s3s::crypto::{Checksum as _, Md5};
use serde::{Deserialize, Serialize};

use super::blob::Blob;
use super::record::{BlobName, Checksums, Headers, Object};
use super::storage::{Condition, Storage, StorageError, composite, read_folder, read_record};
use super::transfer::Received;
use crate::error::DevstackError;

/// Every part but the last must have this many bytes.
const SMALLEST_PART: u64 = 5 * 1024 * 1024;

#[derive(Debug, Serialize, Deserialize)]
struct UploadRecord {
    key: String,
    initiated: DateTime<Utc>,
    headers: Headers,
}

#[derive(Debug, Serialize, Deserialize)]
struct PartRecord {
    number: i32,
    etag: String,
    modified: DateTime<Utc>,
    checksums: Checksums,
    blob: BlobName,
}

/// One uploaded part.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub(super) etag: String,
    pub(super) modified: DateTime<Utc>,
    pub(super) checksums: Checksums,
    pub(super) blob: Arc<Blob>,
}

/// An upload that is neither completed nor aborted.
#[derive(Debug)]
pub(super) struct Upload {
    pub(super) key: String,
    pub(super) initiated: DateTime<Utc>,
    pub(super) headers: Headers,
    pub(super) parts: BTreeMap<i32, Part>,
}

impl Upload {
    /// `None` for a folder that a killed process was about to remove or had just made.
    pub(super) fn load(
        id: &str,
        folder: &Path,
        blob_of: &mut impl FnMut(&BlobName) -> Arc<Blob>,
    ) -> Result<Option<Self>, DevstackError> {
        let head = folder.join("upload.json");
        if !head.exists() {
            tracing::debug!(upload = id, "removing the rest of a finished upload");
            fs::remove_dir_all(folder).map_err(|source| DevstackError::Storage { path: folder.to_owned(), source })?;
            return Ok(None);
        }
        let record: UploadRecord = read_record(&head)?;
        let mut parts = BTreeMap::new();
        for (_, path) in read_folder(folder)? {
            if path != head {
                let part: PartRecord = read_record(&path)?;
                let blob = blob_of(&part.blob);
                let loaded = Part { etag: part.etag, modified: part.modified, checksums: part.checksums, blob };
                parts.insert(part.number, loaded);
            }
        }
        Ok(Some(Self { key: record.key, initiated: record.initiated, headers: record.headers, parts }))
    }

    pub(super) fn unlink(&self) {
        self.parts.values().for_each(|part| part.blob.unlink());
    }
}

/// A part as the client names it at completion.
#[derive(Debug, Clone)]
pub(super) struct WantedPart {
    pub(super) number: i32,
    pub(super) etag: Option<String>,
}

impl Storage {
    /// Starts an upload and returns its id.
    pub(super) fn create_upload(&self, bucket: &str, key: &str, headers: Headers) -> Result<String, StorageError> {
        let bucket = self.bucket(bucket)?;
        let id = uuid::Uuid::now_v7().simple().to_string();
        let record = UploadRecord { key: key.to_owned(), initiated: Utc::now(), headers };
        let mut contents = bucket.contents();
        self.write_record(&bucket.folder.join("uploads").join(&id).join("upload.json"), &record)?;
        let upload =
            Upload { key: record.key, initiated: record.initiated, headers: record.headers, parts: BTreeMap::new() };
        contents.uploads.insert(id.clone(), upload);
        Ok(id)
    }

    /// Fails when `upload` is not an open upload of `key`: asked before a body is received.
    pub(super) fn check_upload(&self, bucket: &str, key: &str, upload: &str) -> Result<(), StorageError> {
        let bucket = self.bucket(bucket)?;
        let contents = bucket.contents();
        match contents.uploads.get(upload) {
            Some(open) if open.key == key => Ok(()),
            _ => Err(StorageError::NoSuchUpload { upload: upload.to_owned() }),
        }
    }

    /// Adds a part, or replaces the one of the same number.
    pub(super) fn put_part(
        &self,
        bucket: &str,
        upload_id: &str,
        number: i32,
        received: Received,
    ) -> Result<Part, StorageError> {
        let bucket = self.bucket(bucket)?;
        let etag = received.etag.clone();
        let checksums = received.checksums.clone();
        let blob = self.keep(received)?;
        let part = Part { etag, modified: Utc::now(), checksums, blob };
        let record = PartRecord {
            number,
            etag: part.etag.clone(),
            modified: part.modified,
            checksums: part.checksums.clone(),
            blob: BlobName { name: part.blob.name().to_owned(), size: part.blob.size() },
        };

        let mut contents = bucket.contents();
        // It may have been aborted while the body was arriving.
        let upload = contents
            .uploads
            .get_mut(upload_id)
            .ok_or_else(|| StorageError::NoSuchUpload { upload: upload_id.to_owned() })?;
        let path = bucket.folder.join("uploads").join(upload_id).join(format!("part-{number:05}.json"));
        self.write_record(&path, &record)?;
        part.blob.link();
        if let Some(older) = upload.parts.insert(number, part.clone()) {
            older.blob.unlink();
        }
        Ok(part)
    }

    /// Turns the named parts into an object; no byte is copied.
    pub(super) fn complete_upload(
        &self,
        bucket: &str,
        key: &str,
        upload_id: &str,
        wanted: &[WantedPart],
        condition: &Condition,
    ) -> Result<Arc<Object>, StorageError> {
        let bucket = self.bucket(bucket)?;
        let mut contents = bucket.contents();
        let upload = contents
            .uploads
            .get(upload_id)
            .filter(|upload| upload.key == key)
            .ok_or_else(|| StorageError::NoSuchUpload { upload: upload_id.to_owned() })?;

        let mut parts = Vec::with_capacity(wanted.len());
        let mut before = 0;
        for part in wanted {
            if part.number <= before {
                return Err(StorageError::InvalidPartOrder);
            }
            before = part.number;
            let found = upload
                .parts
                .get(&part.number)
                .filter(|found| part.etag.as_ref().is_none_or(|etag| *etag == found.etag))
                .ok_or(StorageError::InvalidPart { number: part.number })?;
            parts.push(found);
        }
        let all_but_last = parts.iter().zip(wanted).take(parts.len().saturating_sub(1));
        for (part, wanted) in all_but_last {
            if part.blob.size() < SMALLEST_PART {
                return Err(StorageError::EntityTooSmall { number: wanted.number, size: part.blob.size() });
            }
        }
        if parts.is_empty() {
            return Err(StorageError::InvalidPart { number: 1 });
        }

        let checksums: Vec<&Checksums> = parts.iter().map(|part| &part.checksums).collect();
        let object = Object {
            key: key.to_owned(),
            size: parts.iter().map(|part| part.blob.size()).sum(),
            etag: multipart_etag(parts.iter().map(|part| part.etag.as_str())),
            modified: Utc::now(),
            headers: upload.headers.clone(),
            checksums: composite(&checksums),
            parts: parts.len() as u32,
            blobs: parts.iter().map(|part| Arc::clone(&part.blob)).collect(),
        };
        let object = self.commit(&bucket, &mut contents, object, condition)?;
        Self::forget_upload(&bucket.folder, upload_id);
        if let Some(upload) = contents.uploads.remove(upload_id) {
            upload.unlink();
        }
        Ok(object)
    }

    /// Throws an upload and its parts away.
    pub(super) fn abort_upload(&self, bucket: &str, key: &str, upload_id: &str) -> Result<(), StorageError> {
        self.check_upload(bucket, key, upload_id)?;
        let bucket = self.bucket(bucket)?;
        let mut contents = bucket.contents();
        Self::forget_upload(&bucket.folder, upload_id);
        if let Some(upload) = contents.uploads.remove(upload_id) {
            upload.unlink();
        }
        Ok(())
    }

    /// The head goes first: a folder without it is what the next start removes.
    fn forget_upload(bucket_folder: &Path, upload_id: &str) {
        let folder = bucket_folder.join("uploads").join(upload_id);
        let removed = fs::remove_file(folder.join("upload.json")).and_then(|()| fs::remove_dir_all(&folder));
        if let Err(error) = removed {
            tracing::warn!(upload = upload_id, %error, "the records of a finished upload could not be removed");
        }
    }
}

/// The MD5 of the parts' ETags, and how many there are.
fn multipart_etag<'a>(etags: impl Iterator<Item = &'a str>) -> String {
    let mut digest = Md5::new();
    let mut count = 0;
    for etag in etags {
        digest.update(&hex::decode(etag).unwrap_or_default());
        count += 1;
    }
    format!("{}-{count}", hex::encode(digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_etag_of_a_multipart_object_is_the_md5_of_the_md5s() {
        // `printf` of the two digests of "a" and "b" as bytes, through md5sum.
        let a = "0cc175b9c0f1b6a831c399e269772661";
        let b = "92eb5ffee6ae2fec3ad71c777531578f";
        assert_eq!(multipart_etag([a, b].into_iter()), "96e024ba2074fe77e8e965ba43a704be-2");
    }
}
