//! Copies that the store makes by itself: one request up to 5 GiB, parts beyond.

use std::collections::HashMap;

use aws_sdk_s3::Client;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, MetadataDirective};
use futures::{StreamExt, TryStreamExt, stream};
use millrace_operator_api::ports::{CopyRequest, ObjectInfo, ObjectPlace};
use millrace_operator_api::{PortError, PortErrorKind};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::failure::explain;
use super::protection::Protection;
use super::upload::Unfinished;
use super::{bare, instant};

const MIB: u64 = 1024 * 1024;
/// The store does the work, so parts may be large.
const PART: u64 = 512 * MIB;
/// Of S3.
const MOST_PARTS: u64 = 10_000;
const IN_FLIGHT: usize = 4;

/// Characters that stay as they are in `x-amz-copy-source`.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'~');

pub struct Copying<'a> {
    pub conn_id: &'a str,
    pub client: &'a Client,
    pub protection: &'a Protection,
    pub request: CopyRequest,
}

/// The source as it was looked at: every request afterwards demands this very object.
struct Source {
    path: String,
    size: u64,
    etag: Option<String>,
    head: HeadObjectOutput,
}

impl Copying<'_> {
    pub async fn run(self) -> Result<ObjectInfo, PortError> {
        let source = self.look().await?;
        let metadata: HashMap<String, String> = source
            .head
            .metadata()
            .into_iter()
            .flatten()
            .map(|(name, value)| (name.clone(), value.clone()))
            .chain(self.request.metadata.clone())
            .collect();
        let etag = if source.size > self.protection.largest_copy {
            self.in_parts(&source, metadata.clone()).await?
        } else {
            self.at_once(&source, metadata.clone()).await?
        };
        let ObjectPlace { bucket, key } = self.request.to.clone();
        let last_modified = source.head.last_modified().and_then(instant);
        Ok(ObjectInfo { bucket, key, size: source.size, etag, last_modified, metadata: metadata.into_iter().collect() })
    }

    fn what(&self) -> String {
        format!("copy {} to {}", self.request.from.url(), self.request.to.url())
    }

    async fn look(&self) -> Result<Source, PortError> {
        let ObjectPlace { bucket, key } = &self.request.from;
        let head = self
            .client
            .head_object()
            .bucket(bucket)
            .key(key)
            .set_expected_bucket_owner(self.protection.owner())
            .send()
            .await
            .map_err(|error| {
                explain(self.conn_id, &format!("look at {}", self.request.from.url()), "s3:GetObject", &error)
            })?;
        let etag = head.e_tag().map(ToOwned::to_owned);
        let wanted = self.request.only_if_etag.as_deref();
        if wanted.is_some_and(|wanted| etag.as_deref().map(bare).as_deref() != Some(wanted)) {
            return Err(self.changed());
        }
        let size = u64::try_from(head.content_length().unwrap_or(0)).unwrap_or(0);
        let path = format!("{}/{}", bucket, utf8_percent_encode(key, IN_PATH));
        Ok(Source { path, size, etag, head })
    }

    fn changed(&self) -> PortError {
        PortError::new(
            PortErrorKind::Unavailable,
            format!(
                "connection {:?}: cannot {}: the source was replaced by another object meanwhile",
                self.conn_id,
                self.what()
            ),
        )
    }

    /// The same code says that the source is another one and that the target is taken; which one it is decides what helps.
    async fn refused(&self, source: &Source, error: PortError) -> PortError {
        if error.code.as_deref() != Some("PreconditionFailed") {
            return error;
        }
        let ObjectPlace { bucket, key } = &self.request.from;
        let now = self.client.head_object().bucket(bucket).key(key).send().await;
        let is_same = now.is_ok_and(|head| head.e_tag() == source.etag.as_deref());
        if is_same { error } else { self.changed() }
    }

    async fn at_once(&self, source: &Source, metadata: HashMap<String, String>) -> Result<Option<String>, PortError> {
        let (head, to) = (&source.head, &self.request.to);
        let mut request = self
            .client
            .copy_object()
            .bucket(&to.bucket)
            .key(&to.key)
            .copy_source(&source.path)
            .set_copy_source_if_match(source.etag.clone())
            .metadata_directive(MetadataDirective::Replace)
            .set_metadata(Some(metadata))
            .set_content_type(head.content_type().map(ToOwned::to_owned))
            .set_content_encoding(head.content_encoding().map(ToOwned::to_owned))
            .set_content_language(head.content_language().map(ToOwned::to_owned))
            .set_content_disposition(head.content_disposition().map(ToOwned::to_owned))
            .set_cache_control(head.cache_control().map(ToOwned::to_owned))
            .set_server_side_encryption(self.protection.encryption())
            .set_ssekms_key_id(self.protection.kms_key())
            .set_expected_bucket_owner(self.protection.owner())
            .set_expected_source_bucket_owner(self.protection.owner());
        if self.request.only_if_absent {
            request = request.if_none_match("*");
        }
        match request.send().await {
            Ok(answer) => Ok(answer.copy_object_result().and_then(|result| result.e_tag()).map(bare)),
            Err(error) => {
                let error = explain(self.conn_id, &self.what(), "s3:PutObject", &error);
                Err(self.refused(source, error).await)
            }
        }
    }

    async fn in_parts(&self, source: &Source, metadata: HashMap<String, String>) -> Result<Option<String>, PortError> {
        let (head, to) = (&source.head, &self.request.to);
        let created = self
            .client
            .create_multipart_upload()
            .bucket(&to.bucket)
            .key(&to.key)
            .set_metadata(Some(metadata))
            .set_content_type(head.content_type().map(ToOwned::to_owned))
            .set_content_encoding(head.content_encoding().map(ToOwned::to_owned))
            .set_content_language(head.content_language().map(ToOwned::to_owned))
            .set_content_disposition(head.content_disposition().map(ToOwned::to_owned))
            .set_cache_control(head.cache_control().map(ToOwned::to_owned))
            .set_server_side_encryption(self.protection.encryption())
            .set_ssekms_key_id(self.protection.kms_key())
            .set_expected_bucket_owner(self.protection.owner())
            .send()
            .await
            .map_err(|error| explain(self.conn_id, &self.what(), "s3:PutObject", &error))?;
        let id = created.upload_id().unwrap_or_default().to_owned();
        let mut unfinished = Unfinished::new(self.client, &to.bucket, &to.key, &id);
        match self.copy_parts(source, &id).await {
            Ok(etag) => {
                unfinished.finish();
                Ok(etag)
            }
            Err(error) => {
                unfinished.abort().await;
                Err(self.refused(source, error).await)
            }
        }
    }

    async fn copy_parts(&self, source: &Source, id: &str) -> Result<Option<String>, PortError> {
        let to = &self.request.to;
        let size = PART.min(self.protection.largest_copy).max(source.size.div_ceil(MOST_PARTS));
        let ranges = (0..source.size).step_by(size as usize).map(|from| (from, (from + size).min(source.size) - 1));
        let mut parts: Vec<CompletedPart> = stream::iter((1..).zip(ranges))
            .map(|(number, (from, last))| async move {
                let answer = self
                    .client
                    .upload_part_copy()
                    .bucket(&to.bucket)
                    .key(&to.key)
                    .upload_id(id)
                    .part_number(number)
                    .copy_source(&source.path)
                    .copy_source_range(format!("bytes={from}-{last}"))
                    .set_copy_source_if_match(source.etag.clone())
                    .set_expected_bucket_owner(self.protection.owner())
                    .set_expected_source_bucket_owner(self.protection.owner())
                    .send()
                    .await
                    .map_err(|error| explain(self.conn_id, &self.what(), "s3:PutObject", &error))?;
                let etag = answer.copy_part_result().and_then(|part| part.e_tag()).map(ToOwned::to_owned);
                Ok::<_, PortError>(CompletedPart::builder().part_number(number).set_e_tag(etag).build())
            })
            .buffer_unordered(IN_FLIGHT)
            .try_collect()
            .await?;
        parts.sort_by_key(CompletedPart::part_number);
        let mut request = self
            .client
            .complete_multipart_upload()
            .bucket(&to.bucket)
            .key(&to.key)
            .upload_id(id)
            .set_expected_bucket_owner(self.protection.owner())
            .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build());
        if self.request.only_if_absent {
            request = request.if_none_match("*");
        }
        let answer =
            request.send().await.map_err(|error| explain(self.conn_id, &self.what(), "s3:PutObject", &error))?;
        Ok(answer.e_tag().map(bare))
    }
}
