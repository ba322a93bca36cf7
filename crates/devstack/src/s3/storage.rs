//! The file-backed store.
//!
//! ```text
//! root/lock                                  one process at a time
//! root/tmp/…                                 bodies and records being written; emptied at start
//! root/data/<uuid>                           data files, immutable
//! root/buckets/<bucket>/objects/ab/<sha256 of the key>.json
//! root/buckets/<bucket>/uploads/<upload id>/upload.json, part-00001.json …
//! ```
//!
//! A name on disk never holds a key, so no key can point out of the folder and `a` and `a/b` can both exist. A change
//! becomes visible by the rename of one small record; a process killed before it leaves only files that the next start
//! sweeps. (Files are not fsynced: the store survives a killed process, not a power cut.) The keys are also held in
//! memory, in order, for listings.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::blob::Blob;
use super::record::{BlobName, Checksums, Headers, Object, ObjectRecord};
use super::transfer::Received;
use super::upload::Upload;
use crate::error::DevstackError;

/// What the store refused or failed to do.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Not a name that S3 takes for a bucket.
    #[error("the specified bucket is not valid: {name}")]
    BucketName {
        /// The name.
        name: String,
    },
    /// No such bucket.
    #[error("the specified bucket does not exist: {bucket}")]
    NoSuchBucket {
        /// The bucket.
        bucket: String,
    },
    /// The bucket is there already.
    #[error("the bucket exists already and is yours: {bucket}")]
    BucketExists {
        /// The bucket.
        bucket: String,
    },
    /// Only an empty bucket can be deleted.
    #[error("the bucket you tried to delete is not empty: {bucket}")]
    BucketNotEmpty {
        /// The bucket.
        bucket: String,
    },
    /// No such object.
    #[error("the specified key does not exist: {key}")]
    NoSuchKey {
        /// The key.
        key: String,
    },
    /// No such multipart upload: it was completed, aborted or never there.
    #[error("the specified multipart upload does not exist: {upload}")]
    NoSuchUpload {
        /// The upload id.
        upload: String,
    },
    /// `If-None-Match` or `If-Match` did not hold.
    #[error("at least one of the pre-conditions you specified did not hold: {condition}")]
    Precondition {
        /// The header's name.
        condition: &'static str,
    },
    /// A part named at completion was not uploaded or has another ETag.
    #[error("part {number} was not uploaded, or its ETag is another one")]
    InvalidPart {
        /// The part number.
        number: i32,
    },
    /// Parts must be named in ascending order.
    #[error("the list of parts was not in ascending order")]
    InvalidPartOrder,
    /// Every part but the last must have 5 MiB.
    #[error("part {number} has {size} bytes; every part but the last must have at least 5242880")]
    EntityTooSmall {
        /// The part number.
        number: i32,
        /// Its bytes.
        size: u64,
    },
    /// The body does not match a checksum that came with it.
    #[error("the {algorithm} you specified did not match what we received")]
    BadDigest {
        /// Which checksum.
        algorithm: &'static str,
    },
    /// The body ended early.
    #[error(
        "you did not provide the number of bytes specified by Content-Length: {expected} announced, {received} received"
    )]
    IncompleteBody {
        /// Bytes announced.
        expected: u64,
        /// Bytes received.
        received: u64,
    },
    /// The client went away while it sent the body.
    #[error("the request body could not be read")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The disk failed.
    #[error("the store could not use {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

impl StorageError {
    pub(super) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// What must hold for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Always.
    None,
    /// `If-None-Match: *`
    Absent,
    /// `If-Match: "etag"`; `None` is `*`.
    Match(Option<String>),
}

/// Objects and uploads of one bucket.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) objects: BTreeMap<String, Arc<Object>>,
    pub(super) uploads: BTreeMap<String, Upload>,
}

#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) folder: PathBuf,
    created: DateTime<Utc>,
    contents: Mutex<Contents>,
}

impl Bucket {
    /// Locked only for short, synchronous work: the record's write belongs to it, the body's never.
    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn object_path(&self, key: &str) -> PathBuf {
        let name = hex::encode(Sha256::digest(key.as_bytes()));
        self.folder.join("objects").join(&name[..2]).join(format!("{name}.json"))
    }
}

/// How an object was asked to be encrypted: its key, the kind of encryption, and the KMS key.
pub type Encrypted = (String, Option<String>, Option<String>);

/// The store of the S3 stand-in.
#[derive(Debug)]
pub struct Storage {
    root: PathBuf,
    buckets: RwLock<BTreeMap<String, Arc<Bucket>>>,
    /// Held open: the lock goes with the process.
    _lock: fs::File,
}

impl Storage {
    /// Opens or makes the store in `root`, and sweeps what a killed process left.
    pub fn open(root: &Path) -> Result<Self, DevstackError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| DevstackError::Storage { path, source }
        };
        for folder in ["tmp", "data", "buckets"] {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).map_err(at(&folder))?;
        }
        let lock_path = root.join("lock");
        let lock = fs::File::create(&lock_path).map_err(at(&lock_path))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => DevstackError::InUse { folder: root.to_owned() },
            fs::TryLockError::Error(source) => DevstackError::Storage { path: lock_path, source },
        })?;

        let mut blobs = HashMap::new();
        let mut buckets = BTreeMap::new();
        for (name, folder) in read_folder(&root.join("buckets"))? {
            buckets.insert(name, Arc::new(load_bucket(root, folder, &mut blobs)?));
        }
        let known: HashSet<String> = blobs.into_keys().collect();
        for (_, path) in read_folder(&root.join("tmp"))? {
            fs::remove_file(&path).map_err(at(&path))?;
        }
        for (name, path) in read_folder(&root.join("data"))? {
            if !known.contains(&name) {
                fs::remove_file(&path).map_err(at(&path))?;
            }
        }
        Ok(Self { root: root.to_owned(), buckets: RwLock::new(buckets), _lock: lock })
    }

    /// Makes an empty bucket.
    pub fn create_bucket(&self, name: &str) -> Result<(), StorageError> {
        if !s3s::path::check_bucket_name(name) || name.contains("..") {
            return Err(StorageError::BucketName { name: name.to_owned() });
        }
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        if buckets.contains_key(name) {
            return Err(StorageError::BucketExists { bucket: name.to_owned() });
        }
        let folder = self.root.join("buckets").join(name);
        fs::create_dir_all(folder.join("objects")).map_err(StorageError::io(&folder))?;
        fs::create_dir_all(folder.join("uploads")).map_err(StorageError::io(&folder))?;
        let bucket = Bucket { folder, created: Utc::now(), contents: Mutex::default() };
        buckets.insert(name.to_owned(), Arc::new(bucket));
        Ok(())
    }

    /// Removes an empty bucket; its unfinished uploads go with it.
    pub fn delete_bucket(&self, name: &str) -> Result<(), StorageError> {
        let mut buckets = self.buckets.write().unwrap_or_else(PoisonError::into_inner);
        let bucket = buckets.get(name).ok_or_else(|| StorageError::NoSuchBucket { bucket: name.to_owned() })?;
        let mut contents = bucket.contents();
        if !contents.objects.is_empty() {
            return Err(StorageError::BucketNotEmpty { bucket: name.to_owned() });
        }
        fs::remove_dir_all(&bucket.folder).map_err(StorageError::io(&bucket.folder))?;
        for upload in std::mem::take(&mut contents.uploads).into_values() {
            upload.unlink();
        }
        drop(contents);
        buckets.remove(name);
        Ok(())
    }

    /// Names and ages of all buckets.
    pub fn list_buckets(&self) -> Vec<(String, DateTime<Utc>)> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.iter().map(|(name, bucket)| (name.clone(), bucket.created)).collect()
    }

    pub(super) fn bucket(&self, name: &str) -> Result<Arc<Bucket>, StorageError> {
        let buckets = self.buckets.read().unwrap_or_else(PoisonError::into_inner);
        buckets.get(name).cloned().ok_or_else(|| StorageError::NoSuchBucket { bucket: name.to_owned() })
    }

    pub(super) fn object(&self, bucket: &str, key: &str) -> Result<Arc<Object>, StorageError> {
        let bucket = self.bucket(bucket)?;
        let contents = bucket.contents();
        contents.objects.get(key).cloned().ok_or_else(|| StorageError::NoSuchKey { key: key.to_owned() })
    }

    /// Every object whose key starts with `prefix`, in key order.
    pub(super) fn objects(&self, bucket: &str, prefix: &str) -> Result<Vec<Arc<Object>>, StorageError> {
        let bucket = self.bucket(bucket)?;
        let contents = bucket.contents();
        let from_prefix = contents.objects.range(prefix.to_owned()..);
        Ok(from_prefix.take_while(|(key, _)| key.starts_with(prefix)).map(|(_, object)| Arc::clone(object)).collect())
    }

    /// Makes a received body the object of `key`.
    pub(super) fn put_object(
        &self,
        bucket: &str,
        key: &str,
        headers: Headers,
        received: Received,
        condition: &Condition,
    ) -> Result<Arc<Object>, StorageError> {
        let bucket = self.bucket(bucket)?;
        let etag = received.etag.clone();
        let checksums = received.checksums.clone();
        let blob = self.keep(received)?;
        let object = Object {
            key: key.to_owned(),
            size: blob.size(),
            etag,
            modified: Utc::now(),
            headers,
            checksums,
            parts: 0,
            blobs: vec![blob],
        };
        let mut contents = bucket.contents();
        self.commit(&bucket, &mut contents, object, condition)
    }

    /// Gives `key` the bytes of `source` without copying them.
    pub(super) fn copy_object(
        &self,
        source: &Object,
        (bucket, key): (&str, &str),
        headers: Headers,
        condition: &Condition,
    ) -> Result<Arc<Object>, StorageError> {
        let bucket = self.bucket(bucket)?;
        let object = Object {
            key: key.to_owned(),
            size: source.size,
            etag: source.etag.clone(),
            modified: Utc::now(),
            headers,
            checksums: source.checksums.clone(),
            parts: source.parts,
            blobs: source.blobs.clone(),
        };
        let mut contents = bucket.contents();
        self.commit(&bucket, &mut contents, object, condition)
    }

    /// How each object of a bucket was asked to be encrypted.
    pub fn encryption(&self, bucket: &str) -> Result<Vec<Encrypted>, StorageError> {
        let bucket = self.bucket(bucket)?;
        let contents = bucket.contents();
        let of = |object: &Arc<Object>| {
            (object.key.clone(), object.headers.encryption.clone(), object.headers.kms_key.clone())
        };
        Ok(contents.objects.values().map(of).collect())
    }

    /// The one place where an object becomes visible.
    pub(super) fn commit(
        &self,
        bucket: &Bucket,
        contents: &mut Contents,
        object: Object,
        condition: &Condition,
    ) -> Result<Arc<Object>, StorageError> {
        let older = contents.objects.get(&object.key);
        match condition {
            Condition::None => {}
            Condition::Absent if older.is_none() => {}
            Condition::Absent => return Err(StorageError::Precondition { condition: "If-None-Match" }),
            Condition::Match(wanted) => match (older, wanted) {
                (None, _) => return Err(StorageError::NoSuchKey { key: object.key }),
                (Some(_), None) => {}
                (Some(older), Some(wanted)) if older.etag == *wanted => {}
                _ => return Err(StorageError::Precondition { condition: "If-Match" }),
            },
        }
        let object = Arc::new(object);
        // Linked before the record is visible, so that no reader that drops an old object can remove a shared file.
        object.blobs.iter().for_each(|blob| blob.link());
        if let Err(error) = self.write_record(&bucket.object_path(&object.key), &object.record()) {
            object.blobs.iter().for_each(|blob| blob.unlink());
            return Err(error);
        }
        if let Some(older) = contents.objects.insert(object.key.clone(), Arc::clone(&object)) {
            older.blobs.iter().for_each(|blob| blob.unlink());
        }
        Ok(object)
    }

    /// Removes an object; as in S3 it is no error when there is none.
    pub(super) fn delete_object(&self, bucket: &str, key: &str) -> Result<(), StorageError> {
        let bucket = self.bucket(bucket)?;
        let mut contents = bucket.contents();
        if !contents.objects.contains_key(key) {
            return Ok(());
        }
        let path = bucket.object_path(key);
        fs::remove_file(&path).map_err(StorageError::io(&path))?;
        if let Some(object) = contents.objects.remove(key) {
            object.blobs.iter().for_each(|blob| blob.unlink());
        }
        Ok(())
    }

    /// Moves a received body among the data files. Until a record links it, dropping it removes it.
    pub(super) fn keep(&self, received: Received) -> Result<Arc<Blob>, StorageError> {
        let name = uuid::Uuid::now_v7().simple().to_string();
        let blob = Arc::new(Blob::new(&self.root.join("data"), name, received.size));
        fs::rename(received.path(), blob.path()).map_err(StorageError::io(blob.path()))?;
        received.forget();
        Ok(blob)
    }

    pub(super) fn new_temporary(&self) -> PathBuf {
        self.root.join("tmp").join(uuid::Uuid::now_v7().simple().to_string())
    }

    /// Writes a record so that it is there whole or not at all.
    pub(super) fn write_record(&self, path: &Path, record: &impl Serialize) -> Result<(), StorageError> {
        let temporary = self.new_temporary();
        let write = || -> std::io::Result<()> {
            if let Some(folder) = path.parent() {
                fs::create_dir_all(folder)?;
            }
            fs::write(&temporary, serde_json::to_vec(record)?)?;
            fs::rename(&temporary, path)
        };
        write().map_err(StorageError::io(path))
    }
}

fn load_bucket(root: &Path, folder: PathBuf, blobs: &mut HashMap<String, Arc<Blob>>) -> Result<Bucket, DevstackError> {
    let data = root.join("data");
    let mut blob_of = |name: &BlobName| {
        let blob =
            blobs.entry(name.name.clone()).or_insert_with(|| Arc::new(Blob::new(&data, name.name.clone(), name.size)));
        blob.link();
        Arc::clone(blob)
    };
    let mut contents = Contents::default();
    for (_, shard) in read_folder(&folder.join("objects"))? {
        for (_, path) in read_folder(&shard)? {
            let record: ObjectRecord = read_record(&path)?;
            let object = Object {
                key: record.key.clone(),
                size: record.blobs.iter().map(|blob| blob.size).sum(),
                etag: record.etag,
                modified: record.modified,
                headers: record.headers,
                checksums: record.checksums,
                parts: record.parts,
                blobs: record.blobs.iter().map(&mut blob_of).collect(),
            };
            contents.objects.insert(record.key, Arc::new(object));
        }
    }
    for (id, path) in read_folder(&folder.join("uploads"))? {
        if let Some(upload) = Upload::load(&id, &path, &mut blob_of)? {
            contents.uploads.insert(id, upload);
        }
    }
    let created = fs::metadata(&folder).and_then(|metadata| metadata.modified());
    let created = created.map_err(|source| DevstackError::Storage { path: folder.clone(), source })?.into();
    Ok(Bucket { folder, created, contents: Mutex::new(contents) })
}

/// Names and paths in a folder; a folder that is not there is empty.
pub(super) fn read_folder(folder: &Path) -> Result<Vec<(String, PathBuf)>, DevstackError> {
    let list = || -> std::io::Result<Vec<(String, PathBuf)>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            entries.push((entry.file_name().to_string_lossy().into_owned(), entry.path()));
        }
        entries.sort();
        Ok(entries)
    };
    match list() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        result => result.map_err(|source| DevstackError::Storage { path: folder.to_owned(), source }),
    }
}

pub(super) fn read_record<T: DeserializeOwned>(path: &Path) -> Result<T, DevstackError> {
    let bytes = fs::read(path).map_err(|source| DevstackError::Storage { path: path.to_owned(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| DevstackError::Record { path: path.to_owned(), source })
}

/// Checksums over the checksums of parts, as S3 makes them when a client asks for composite ones.
pub(super) fn composite(parts: &[&Checksums]) -> Checksums {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use s3s::crypto::{Checksum, Crc32, Crc32c, Sha1, Sha256};

    fn over<C: Checksum>(parts: &[&Checksums], of: impl Fn(&Checksums) -> Option<&String>) -> Option<String> {
        let mut digest = C::new();
        for part in parts {
            digest.update(&STANDARD.decode(of(part)?).ok()?);
        }
        Some(format!("{}-{}", STANDARD.encode(digest.finalize().as_ref()), parts.len()))
    }
    Checksums {
        crc32: over::<Crc32>(parts, |part| part.crc32.as_ref()),
        crc32c: over::<Crc32c>(parts, |part| part.crc32c.as_ref()),
        // S3 knows no composite CRC64NVME.
        crc64nvme: None,
        sha1: over::<Sha1>(parts, |part| part.sha1.as_ref()),
        sha256: over::<Sha256>(parts, |part| part.sha256.as_ref()),
        composite: true,
    }
}
