//! Uploads in bounded memory: one request when small, parts when large. The object appears whole or not at all.

use std::sync::{Arc, Mutex, PoisonError};

use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream as SdkBody;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use futures::stream::{FuturesUnordered, StreamExt};
use millrace_operator_api::ports::{ByteStream, PutOptions};
use millrace_operator_api::{PortError, PortErrorKind};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use super::carrying::GivenUp;
use super::failure::explain;
use super::protection::Protection;
use crate::parts::failure::invalid;
use crate::parts::farewell::farewell;

const FIRST_PART: usize = 8 * 1024 * 1024;
const MIB: usize = 1024 * 1024;
/// Of S3.
const MOST_PARTS: i32 = 10_000;

/// Parts of one upload that are on their way while the next is filled.
const IN_FLIGHT: usize = 2;

/// What all uploads of one task hold together, in MiB, however many they are: as much as one upload alone makes use of.
const BUFFERS: usize = 24;

/// Room for the parts of all uploads of a task, and the memory of parts that were sent. It is used again instead of given
/// back: an allocator that gets such blocks from one thread and gives them to another soon keeps twice as much.
#[derive(Clone)]
pub struct Buffers {
    room: Arc<Semaphore>,
    free: Arc<Mutex<Vec<BytesMut>>>,
}

impl Buffers {
    pub fn new() -> Self {
        Self { room: Arc::new(Semaphore::new(BUFFERS)), free: Arc::default() }
    }

    /// Waits until there is room for a part of so many bytes.
    async fn take(&self, size: usize) -> Result<(BytesMut, OwnedSemaphorePermit), PortError> {
        let room = u32::try_from((size / MIB).min(BUFFERS)).unwrap_or(1);
        let room = Arc::clone(&self.room).acquire_many_owned(room).await;
        let room = room.map_err(|error| PortError::new(PortErrorKind::Other, error.to_string()))?;
        let used = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        // Memory that is not written to costs nothing; a part that grows is copied over and over.
        Ok((used.unwrap_or_else(|| BytesMut::with_capacity(FIRST_PART)), room))
    }

    /// Nobody may look at the bytes any more; whoever still does keeps them.
    fn give_back(&self, part: Part) {
        let Part { bytes, room } = part;
        if let Ok(mut buffer) = bytes.try_into_mut()
            && buffer.capacity() <= FIRST_PART
        {
            buffer.clear();
            self.free.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
        drop(room);
    }
}

/// Parts grow as the object does, and only where S3 leaves no choice, for 10,000 parts must reach 5 TiB: 6,500 parts of
/// 8 MiB, of which two travel while a third is filled, 1,000 of 64, then 2064 MiB each, one at a time. Up to 50 GiB that is
/// within what uploads may hold; what is larger is better split.
fn part_size(number: i32) -> usize {
    match number {
        ..=6500 => FIRST_PART,
        6501..=7500 => 64 * MIB,
        _ => 2064 * MIB,
    }
}

/// A part in memory, and the room that it takes.
struct Part {
    bytes: Bytes,
    room: OwnedSemaphorePermit,
}

pub struct Upload<'a> {
    pub conn_id: &'a str,
    pub client: &'a Client,
    pub protection: &'a Protection,
    pub bucket: &'a str,
    pub key: &'a str,
    pub options: PutOptions,
    /// Whether nothing can happen on the way to what is sent: a SHA-256 of each part costs as much as the file's own.
    pub is_untouched: bool,
    pub buffers: &'a Buffers,
    pub given_up: &'a GivenUp,
}

impl Upload<'_> {
    /// Bytes and ETag.
    pub async fn run(self, mut body: ByteStream) -> Result<(u64, Option<String>), PortError> {
        let mut filler = Filler { rest: Bytes::new(), is_ended: false, buffers: self.buffers.clone() };
        let first = filler.fill(&mut body, FIRST_PART).await?;
        if filler.is_ended {
            let size = first.bytes.len() as u64;
            let etag = self.put_whole(first.bytes.clone()).await?;
            self.buffers.give_back(first);
            return Ok((size, etag));
        }
        self.put_parts(first, filler, body).await
    }

    fn what(&self) -> String {
        format!("write s3://{}/{}", self.bucket, self.key)
    }

    async fn put_whole(&self, bytes: Bytes) -> Result<Option<String>, PortError> {
        let mut request = self
            .client
            .put_object()
            .bucket(self.bucket)
            .key(self.key)
            .set_metadata(Some(self.options.metadata.clone().into_iter().collect()))
            .set_content_type(self.options.content_type.clone())
            .set_server_side_encryption(self.protection.encryption())
            .set_ssekms_key_id(self.protection.kms_key())
            .set_expected_bucket_owner(self.protection.owner())
            .body(SdkBody::from(bytes));
        if self.options.only_if_absent {
            request = request.if_none_match("*");
        }
        let is_untouched = self.is_untouched;
        let sending = async move {
            if is_untouched { request.customize().disable_payload_signing().send().await } else { request.send().await }
        };
        let sent = self.given_up.carry(sending).await?;
        let answer = sent.map_err(|error| explain(self.conn_id, &self.what(), "s3:PutObject", &error))?;
        Ok(answer.e_tag().map(ToOwned::to_owned))
    }

    async fn put_parts(
        &self,
        first: Part,
        mut filler: Filler,
        mut body: ByteStream,
    ) -> Result<(u64, Option<String>), PortError> {
        let create = self
            .client
            .create_multipart_upload()
            .bucket(self.bucket)
            .key(self.key)
            .set_metadata(Some(self.options.metadata.clone().into_iter().collect()))
            .set_content_type(self.options.content_type.clone())
            .set_server_side_encryption(self.protection.encryption())
            .set_ssekms_key_id(self.protection.kms_key())
            .set_expected_bucket_owner(self.protection.owner());
        // A stop between request and answer must not leave an upload that nobody knows.
        let (client, bucket, key) = (self.client.clone(), self.bucket.to_owned(), self.key.to_owned());
        let creating = async move {
            let created = create.send().await;
            created.map(|created| Unfinished::new(&client, &bucket, &key, created.upload_id().unwrap_or_default()))
        };
        let created = self.given_up.carry(creating).await?;
        let mut unfinished = created.map_err(|error| explain(self.conn_id, &self.what(), "s3:PutObject", &error))?;
        let id = unfinished.id.clone().unwrap_or_default();
        match self.send_parts(&id, first, &mut filler, &mut body).await {
            Ok((size, parts)) => Ok((size, self.complete(&id, unfinished, parts).await?)),
            Err(error) => {
                unfinished.abort().await;
                Err(error)
            }
        }
    }

    /// The ETag of the object.
    async fn complete(
        &self,
        id: &str,
        mut unfinished: Unfinished,
        parts: Vec<CompletedPart>,
    ) -> Result<Option<String>, PortError> {
        let mut request = self
            .client
            .complete_multipart_upload()
            .bucket(self.bucket)
            .key(self.key)
            .upload_id(id)
            .set_expected_bucket_owner(self.protection.owner())
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        if self.options.only_if_absent {
            request = request.if_none_match("*");
        }
        let completing = async move {
            let completed = request.send().await;
            match &completed {
                Ok(_) => unfinished.finish(),
                Err(_) => unfinished.abort().await,
            }
            completed
        };
        let completed = self.given_up.carry(completing).await?;
        let answer = completed.map_err(|error| explain(self.conn_id, &self.what(), "s3:PutObject", &error))?;
        Ok(answer.e_tag().map(ToOwned::to_owned))
    }

    /// Bytes and parts in the order of their numbers.
    async fn send_parts(
        &self,
        id: &str,
        first: Part,
        filler: &mut Filler,
        body: &mut ByteStream,
    ) -> Result<(u64, Vec<CompletedPart>), PortError> {
        let mut flying = FuturesUnordered::new();
        let mut parts: Vec<CompletedPart> = Vec::new();
        let (mut number, mut size, mut next) = (1, 0, first);
        loop {
            size += next.bytes.len() as u64;
            flying.push(self.send_part(id, number, next));
            if filler.is_ended {
                break;
            }
            if flying.len() >= IN_FLIGHT
                && let Some(part) = flying.next().await
            {
                parts.push(part?);
            }
            number += 1;
            if number > MOST_PARTS {
                return Err(invalid(format!(
                    "s3://{}/{} would be larger than an object may be",
                    self.bucket, self.key
                )));
            }
            // Parts travel while the next one is being filled.
            let mut filling = std::pin::pin!(filler.fill(body, part_size(number)));
            next = loop {
                tokio::select! {
                    filled = &mut filling => break filled?,
                    Some(part) = flying.next(), if !flying.is_empty() => parts.push(part?),
                }
            };
            if next.bytes.is_empty() {
                break;
            }
        }
        while let Some(part) = flying.next().await {
            parts.push(part?);
        }
        parts.sort_by_key(CompletedPart::part_number);
        Ok((size, parts))
    }

    async fn send_part(&self, id: &str, number: i32, part: Part) -> Result<CompletedPart, PortError> {
        let request = self
            .client
            .upload_part()
            .bucket(self.bucket)
            .key(self.key)
            .upload_id(id)
            .part_number(number)
            .set_expected_bucket_owner(self.protection.owner())
            .body(SdkBody::from(part.bytes.clone()));
        let sent = if self.is_untouched {
            request.customize().disable_payload_signing().send().await
        } else {
            request.send().await
        };
        let answer = sent.map_err(|error| explain(self.conn_id, &self.what(), "s3:PutObject", &error))?;
        self.buffers.give_back(part);
        Ok(CompletedPart::builder().part_number(number).set_e_tag(answer.e_tag().map(ToOwned::to_owned)).build())
    }
}

/// Cuts a stream of chunks of any size into parts of one size.
struct Filler {
    rest: Bytes,
    is_ended: bool,
    buffers: Buffers,
}

impl Filler {
    /// Exactly `size` bytes, or fewer at the end. Waits until there is room for them: whoever has some needs nothing that
    /// another upload of the task has, so that it gives it back.
    async fn fill(&mut self, body: &mut ByteStream, size: usize) -> Result<Part, PortError> {
        let (mut part, room) = self.buffers.take(size).await?;
        loop {
            let take = self.rest.len().min(size - part.len());
            part.extend_from_slice(&self.rest.split_to(take));
            if part.len() == size {
                return Ok(Part { bytes: part.freeze(), room });
            }
            match body.try_next().await? {
                Some(chunk) => self.rest = chunk,
                None => {
                    self.is_ended = true;
                    return Ok(Part { bytes: part.freeze(), room });
                }
            }
        }
    }
}

/// Parts that were sent cost money until they are dropped: aborted on an error, and also when the task is cancelled and
/// this is merely dropped.
pub struct Unfinished {
    client: Client,
    bucket: String,
    key: String,
    id: Option<String>,
}

impl Unfinished {
    pub fn new(client: &Client, bucket: &str, key: &str, id: &str) -> Self {
        Self { client: client.clone(), bucket: bucket.to_owned(), key: key.to_owned(), id: Some(id.to_owned()) }
    }

    /// It was completed.
    pub fn finish(&mut self) {
        self.id = None;
    }

    /// Ends by itself when the wait for it is given up: a task that fails may be stopped at the same moment.
    pub async fn abort(&mut self) {
        if let Some(aborting) = self.begin_to_abort() {
            drop(aborting.await);
        }
    }

    fn begin_to_abort(&mut self) -> Option<JoinHandle<()>> {
        let id = self.id.take()?;
        farewell(abort(self.client.clone(), self.bucket.clone(), self.key.clone(), id))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        drop(self.begin_to_abort());
    }
}

async fn abort(client: Client, bucket: String, key: String, id: String) {
    if let Err(error) = client.abort_multipart_upload().bucket(&bucket).key(&key).upload_id(id).send().await {
        tracing::warn!(
            bucket,
            key,
            error = crate::parts::failure::chain(&error),
            "an unfinished upload could not be dropped"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt;
    use millrace_operator_api::connection::{Connection, Extra};
    use tokio::io::AsyncReadExt;

    use super::*;

    #[test]
    fn ten_thousand_parts_reach_five_tebibytes() {
        let within: usize = (1..=6500).map(part_size).sum();
        let travel_together = |number| (IN_FLIGHT + 1) * part_size(number) <= BUFFERS * MIB;
        assert!((1..=6500).all(travel_together) && within >= 50 * 1024 * MIB);
        let total: u64 = (1..=MOST_PARTS).map(|number| part_size(number) as u64).sum();
        assert!(total >= 5 * 1024 * 1024 * 1024 * 1024, "{total}");
        assert!((1..=MOST_PARTS).all(|number| part_size(number) >= 5 * MIB));
    }

    /// A task that fails because its source was cut off is often stopped at that moment: the wait for the abort ends, and
    /// the abort must not.
    #[tokio::test]
    async fn an_abort_that_nobody_waits_for_any_more_is_sent() {
        let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let extra = serde_json::json!({
            "endpoint_url": format!("http://{}", server.local_addr().unwrap()), "region_name": "eu-west-1",
            "aws_access_key_id": "key", "aws_secret_access_key": "secret",
        });
        let connection = Connection {
            conn_id: "lake".to_owned(),
            conn_type: "aws".to_owned(),
            host: None,
            login: None,
            password: None,
            port: None,
            schema: None,
            extra: Extra(extra.as_object().unwrap().clone()),
        };
        let store = super::super::S3Store::open(&connection).await.unwrap();
        let mut unfinished = Unfinished::new(&store.client, "lake", "nps.csv", "7");
        assert!(unfinished.abort().now_or_never().is_none(), "nobody has answered");
        drop(unfinished);
        let received = async {
            let (mut socket, _) = server.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = socket.read(&mut head).await.unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        };
        let head = tokio::time::timeout(Duration::from_secs(20), received).await.expect("the abort is sent");
        assert!(head.starts_with("DELETE /lake/nps.csv?") && head.contains("uploadId=7"), "{head}");
    }
}
