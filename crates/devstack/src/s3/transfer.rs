//! Bodies: from the network into a file with all digests in one pass, and from data files back.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use s3s::checksum::ChecksumHasher;
use s3s::crypto::{Checksum as _, Crc32, Crc32c, Crc64Nvme, Md5, Sha1, Sha256};
use s3s::dto::StreamingBlob;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::record::{Checksums, Object};
use super::storage::{Storage, StorageError};

/// Read and sent at a time.
const CHUNK: usize = 256 * 1024;
/// Chunks that wait for a slow reader.
const CHUNKS_AHEAD: usize = 4;

/// A body on disk that belongs to nothing yet. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Received {
    path: PathBuf,
    kept: bool,
    pub(super) size: u64,
    /// The MD5 in hexadecimal where that was made, else a name that says nothing of the bytes.
    pub(super) etag: String,
    pub(super) md5: Option<[u8; 16]>,
    pub(super) checksums: Checksums,
}

impl Received {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The file was moved away.
    pub(super) fn forget(mut self) {
        self.kept = true;
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(path = %self.path.display(), %error, "a temporary file could not be removed");
        }
    }
}

/// Which checksums to make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Algorithms {
    /// Becomes the ETag, as of an object that S3 gets whole. Parts have a mere name for one, as S3 gives to what KMS
    /// encrypts: nobody may rely on more, and MD5 takes longer than all else that is done to a part.
    pub(super) md5: bool,
    pub(super) crc32: bool,
    pub(super) crc32c: bool,
    pub(super) crc64nvme: bool,
    pub(super) sha1: bool,
    pub(super) sha256: bool,
}

impl Algorithms {
    /// What an object that is put whole has.
    pub(super) const OF_AN_OBJECT: Self =
        Self { md5: true, crc32: false, crc32c: false, crc64nvme: false, sha1: false, sha256: false };

    fn hasher(self) -> ChecksumHasher {
        ChecksumHasher {
            crc32: self.crc32.then(Crc32::new),
            crc32c: self.crc32c.then(Crc32c::new),
            sha1: self.sha1.then(Sha1::new),
            sha256: self.sha256.then(Sha256::new),
            crc64nvme: self.crc64nvme.then(Crc64Nvme::new),
        }
    }
}

impl Storage {
    /// Writes a body into a temporary file.
    pub(super) async fn receive(
        &self,
        body: Option<StreamingBlob>,
        algorithms: Algorithms,
    ) -> Result<Received, StorageError> {
        match body {
            Some(body) => self.receive_stream(body, algorithms).await,
            None => self.receive_stream(futures::stream::empty::<Result<Bytes, std::io::Error>>(), algorithms).await,
        }
    }

    /// The same for a body from inside.
    pub(super) async fn receive_stream<E>(
        &self,
        mut body: impl Stream<Item = Result<Bytes, E>> + Unpin,
        algorithms: Algorithms,
    ) -> Result<Received, StorageError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let path = self.new_temporary();
        let mut received =
            Received { path, kept: false, size: 0, etag: String::new(), md5: None, checksums: Checksums::default() };
        let mut file = tokio::fs::File::create(&received.path).await.map_err(StorageError::io(&received.path))?;
        let mut md5 = algorithms.md5.then(Md5::new);
        let mut hasher = algorithms.hasher();
        while let Some(chunk) = body.next().await {
            let chunk = chunk.map_err(|error| StorageError::Body(error.into()))?;
            if let Some(md5) = &mut md5 {
                md5.update(&chunk);
            }
            hasher.update(&chunk);
            received.size += chunk.len() as u64;
            file.write_all(&chunk).await.map_err(StorageError::io(&received.path))?;
        }
        file.flush().await.map_err(StorageError::io(&received.path))?;
        received.md5 = md5.map(Md5::finalize);
        received.etag = received.md5.map_or_else(|| uuid::Uuid::new_v4().simple().to_string(), hex::encode);
        received.checksums = hasher.finalize().into();
        Ok(received)
    }
}

/// Bytes of an object that arrive over a bounded channel: the file is read while the client reads.
pub(super) struct Body {
    chunks: mpsc::Receiver<Result<Bytes, std::io::Error>>,
}

impl Stream for Body {
    type Item = Result<Bytes, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll_recv(context)
    }
}

/// Reads `range` of an object; after `cut` bytes the stream fails.
pub(super) fn read(object: Arc<Object>, range: std::ops::Range<u64>, cut: Option<u64>) -> Body {
    let (sender, chunks) = mpsc::channel(CHUNKS_AHEAD);
    tokio::spawn(async move {
        if let Err(error) = send(&object, range, cut, &sender).await {
            // Nobody listens any more when this fails.
            sender.send(Err(error)).await.ok();
        }
    });
    Body { chunks }
}

/// The same bytes, `piece` at a time with a pause before each.
pub(super) fn slowly(
    body: Body,
    piece: u64,
    pause: Duration,
) -> Pin<Box<dyn Stream<Item = Result<Bytes, std::io::Error>> + Send + Sync>> {
    let state = (body, Bytes::new());
    Box::pin(futures::stream::unfold(state, move |(mut body, mut rest)| async move {
        if rest.is_empty() {
            match body.chunks.recv().await? {
                Ok(chunk) => rest = chunk,
                Err(error) => return Some((Err(error), (body, rest))),
            }
        }
        tokio::time::sleep(pause).await;
        let next = rest.split_to(rest.len().min(piece.max(1) as usize));
        Some((Ok(next), (body, rest)))
    }))
}

async fn send(
    object: &Object,
    range: std::ops::Range<u64>,
    cut: Option<u64>,
    sender: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> std::io::Result<()> {
    let mut start_of_blob = 0;
    let mut until_cut = cut;
    for blob in &object.blobs {
        let end_of_blob = start_of_blob + blob.size();
        let from = range.start.max(start_of_blob);
        let mut left = range.end.min(end_of_blob).saturating_sub(from);
        if left > 0 {
            let mut file = tokio::fs::File::open(blob.path()).await?;
            file.seek(std::io::SeekFrom::Start(from - start_of_blob)).await?;
            while left > 0 {
                let mut chunk = vec![0; left.min(CHUNK as u64).min(until_cut.unwrap_or(u64::MAX)) as usize];
                if chunk.is_empty() {
                    return Err(std::io::Error::other("the body was cut on purpose"));
                }
                file.read_exact(&mut chunk).await?;
                left -= chunk.len() as u64;
                until_cut = until_cut.map(|bytes| bytes - chunk.len() as u64);
                if sender.send(Ok(chunk.into())).await.is_err() {
                    return Ok(());
                }
            }
        }
        start_of_blob = end_of_blob;
    }
    Ok(())
}
