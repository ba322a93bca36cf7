//! The S3 operations: from the protocol's types to the store and back.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use s3s::dto::*;
use s3s::{S3, S3Error, S3ErrorCode, S3Request, S3Response, S3Result};

use super::access::{CutBody, LosePart, SlowBody};
use super::claims::Claims;
use super::conditions;
use super::listing::{self, Query};
use super::record::{Checksums, Headers};
use super::storage::{Condition, Storage, StorageError};
use super::transfer::{self, Algorithms};
use super::upload::WantedPart;
use super::wording::{
    check_part_number, content_type, copied_range, cut_range, listed, quoted, timestamp, unsupported,
    without_aws_chunked,
};

/// S3's limit for one page and for one DeleteObjects.
const LARGEST_PAGE: i32 = 1000;
/// S3's limit for one CopyObject: 5 GiB.
const LARGEST_COPY: u64 = 5 * 1024 * 1024 * 1024;

pub(super) struct Service {
    storage: Arc<Storage>,
}

impl Service {
    pub(super) fn new(storage: Arc<Storage>) -> Self {
        Self { storage }
    }
}

impl From<StorageError> for S3Error {
    fn from(error: StorageError) -> Self {
        let code = match &error {
            StorageError::BucketName { .. } => S3ErrorCode::InvalidBucketName,
            StorageError::NoSuchBucket { .. } => S3ErrorCode::NoSuchBucket,
            StorageError::BucketExists { .. } => S3ErrorCode::BucketAlreadyOwnedByYou,
            StorageError::BucketNotEmpty { .. } => S3ErrorCode::BucketNotEmpty,
            StorageError::NoSuchKey { .. } => S3ErrorCode::NoSuchKey,
            StorageError::NoSuchUpload { .. } => S3ErrorCode::NoSuchUpload,
            StorageError::Precondition { .. } => S3ErrorCode::PreconditionFailed,
            StorageError::InvalidPart { .. } => S3ErrorCode::InvalidPart,
            StorageError::InvalidPartOrder => S3ErrorCode::InvalidPartOrder,
            StorageError::EntityTooSmall { .. } => S3ErrorCode::EntityTooSmall,
            StorageError::BadDigest { .. } => S3ErrorCode::BadDigest,
            StorageError::IncompleteBody { .. } | StorageError::Body(_) => S3ErrorCode::IncompleteBody,
            StorageError::Io { .. } => S3ErrorCode::InternalError,
        };
        if let StorageError::Io { source, .. } = &error {
            tracing::error!(%error, cause = %source, "the S3 stand-in could not use its storage");
        }
        Self::with_message(code, error.to_string())
    }
}

#[async_trait::async_trait]
impl S3 for Service {
    async fn create_bucket(&self, request: S3Request<CreateBucketInput>) -> S3Result<S3Response<CreateBucketOutput>> {
        self.storage.create_bucket(&request.input.bucket)?;
        let location = Some(format!("/{}", request.input.bucket));
        Ok(S3Response::new(CreateBucketOutput { location }))
    }

    async fn head_bucket(&self, request: S3Request<HeadBucketInput>) -> S3Result<S3Response<HeadBucketOutput>> {
        self.storage.bucket(&request.input.bucket)?;
        Ok(S3Response::new(HeadBucketOutput::default()))
    }

    async fn get_bucket_location(
        &self,
        request: S3Request<GetBucketLocationInput>,
    ) -> S3Result<S3Response<GetBucketLocationOutput>> {
        self.storage.bucket(&request.input.bucket)?;
        Ok(S3Response::new(GetBucketLocationOutput::default()))
    }

    async fn list_buckets(&self, _request: S3Request<ListBucketsInput>) -> S3Result<S3Response<ListBucketsOutput>> {
        let buckets = self.storage.list_buckets().into_iter().map(|(name, created)| Bucket {
            name: Some(name),
            creation_date: Some(timestamp(created)),
            ..Default::default()
        });
        Ok(S3Response::new(ListBucketsOutput { buckets: Some(buckets.collect()), ..Default::default() }))
    }

    async fn delete_bucket(&self, request: S3Request<DeleteBucketInput>) -> S3Result<S3Response<DeleteBucketOutput>> {
        self.storage.delete_bucket(&request.input.bucket)?;
        Ok(S3Response::new(DeleteBucketOutput::default()))
    }

    async fn put_object(&self, request: S3Request<PutObjectInput>) -> S3Result<S3Response<PutObjectOutput>> {
        let trailers = request.trailing_headers;
        let input = request.input;
        // Asked first: a body for a bucket that is not there need not arrive.
        self.storage.bucket(&input.bucket)?;
        let condition = conditions::on_write(input.if_none_match.as_ref(), input.if_match.as_ref())?;
        let checksums = Checksums {
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
            composite: false,
        };
        let claims = Claims::new(&request.headers, input.checksum_algorithm.as_ref(), input.content_md5, checksums);
        let algorithms = Algorithms { md5: true, ..claims.algorithms };
        let received = self.storage.receive(input.body, algorithms).await?;
        claims.check(&received, trailers.as_ref())?;
        let headers = Headers {
            content_type: input.content_type,
            content_encoding: without_aws_chunked(input.content_encoding),
            content_language: input.content_language,
            content_disposition: input.content_disposition,
            cache_control: input.cache_control,
            metadata: Headers::metadata_of(input.metadata),
            encryption: input.server_side_encryption.map(|kind| kind.as_str().to_owned()),
            kms_key: input.ssekms_key_id,
        };
        let object = self.storage.put_object(&input.bucket, &input.key, headers, received, &condition)?;
        let checksums = object.checksums.clone();
        Ok(S3Response::new(PutObjectOutput {
            e_tag: Some(object.etag()),
            checksum_type: checksums.kind(),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            ..Default::default()
        }))
    }

    async fn get_object(&self, request: S3Request<GetObjectInput>) -> S3Result<S3Response<GetObjectOutput>> {
        let input = request.input;
        if input.part_number.is_some() {
            return Err(unsupported("GetObject by part number"));
        }
        let object = self.storage.object(&input.bucket, &input.key)?;
        conditions::check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let (range, content_range) = cut_range(&object, input.range.as_ref())?;
        let wants_checksum =
            content_range.is_none() && input.checksum_mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
        let checksums = if wants_checksum { object.checksums.clone() } else { Checksums::default() };
        let cut = request.extensions.get::<CutBody>().map(|cut| cut.after);
        let length = range.end - range.start;
        let body = transfer::read(Arc::clone(&object), range, cut);
        let body = match request.extensions.get::<SlowBody>() {
            Some(slow) => StreamingBlob::wrap(transfer::slowly(body, slow.bytes, slow.every)),
            None => StreamingBlob::wrap(body),
        };
        Ok(S3Response::new(GetObjectOutput {
            body: Some(body),
            content_length: Some(length as i64),
            content_range,
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(object.etag()),
            last_modified: Some(object.modified()),
            content_type: Some(content_type(&object)),
            content_encoding: object.headers.content_encoding.clone(),
            content_language: object.headers.content_language.clone(),
            content_disposition: object.headers.content_disposition.clone(),
            cache_control: object.headers.cache_control.clone(),
            metadata: object.headers.metadata(),
            server_side_encryption: object.headers.encryption.clone().map(ServerSideEncryption::from),
            ssekms_key_id: object.headers.kms_key.clone(),
            checksum_type: checksums.kind(),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            ..Default::default()
        }))
    }

    async fn head_object(&self, request: S3Request<HeadObjectInput>) -> S3Result<S3Response<HeadObjectOutput>> {
        let input = request.input;
        let object = self.storage.object(&input.bucket, &input.key)?;
        conditions::check_read(&object, input.if_match.as_ref(), input.if_none_match.as_ref())?;
        let wants_checksum = input.checksum_mode.is_some_and(|mode| mode.as_str() == ChecksumMode::ENABLED);
        let checksums = if wants_checksum { object.checksums.clone() } else { Checksums::default() };
        Ok(S3Response::new(HeadObjectOutput {
            content_length: Some(object.size as i64),
            accept_ranges: Some("bytes".to_owned()),
            e_tag: Some(object.etag()),
            last_modified: Some(object.modified()),
            content_type: Some(content_type(&object)),
            content_encoding: object.headers.content_encoding.clone(),
            content_language: object.headers.content_language.clone(),
            content_disposition: object.headers.content_disposition.clone(),
            cache_control: object.headers.cache_control.clone(),
            metadata: object.headers.metadata(),
            server_side_encryption: object.headers.encryption.clone().map(ServerSideEncryption::from),
            ssekms_key_id: object.headers.kms_key.clone(),
            checksum_type: checksums.kind(),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            ..Default::default()
        }))
    }

    async fn delete_object(&self, request: S3Request<DeleteObjectInput>) -> S3Result<S3Response<DeleteObjectOutput>> {
        self.storage.delete_object(&request.input.bucket, &request.input.key)?;
        Ok(S3Response::new(DeleteObjectOutput::default()))
    }

    async fn delete_objects(
        &self,
        request: S3Request<DeleteObjectsInput>,
    ) -> S3Result<S3Response<DeleteObjectsOutput>> {
        let input = request.input;
        self.storage.bucket(&input.bucket)?;
        if input.delete.objects.is_empty() || input.delete.objects.len() > LARGEST_PAGE as usize {
            return Err(S3Error::with_message(S3ErrorCode::MalformedXML, "name between 1 and 1000 objects"));
        }
        let quiet = input.delete.quiet.unwrap_or(false);
        let (mut deleted, mut errors) = (Vec::new(), Vec::new());
        for object in input.delete.objects {
            match self.storage.delete_object(&input.bucket, &object.key) {
                Ok(()) if quiet => {}
                Ok(()) => deleted.push(DeletedObject { key: Some(object.key), ..Default::default() }),
                Err(error) => {
                    let message = Some(error.to_string());
                    let code = Some(S3Error::from(error).code().as_str().to_owned());
                    errors.push(Error { code, key: Some(object.key), message, ..Default::default() });
                }
            }
        }
        Ok(S3Response::new(DeleteObjectsOutput { deleted: Some(deleted), errors: Some(errors), ..Default::default() }))
    }

    async fn copy_object(&self, request: S3Request<CopyObjectInput>) -> S3Result<S3Response<CopyObjectOutput>> {
        let input = request.input;
        let CopySource::Bucket { bucket, key, version_id: None } = &input.copy_source else {
            return Err(unsupported("a copy source that is not bucket/key"));
        };
        let source = self.storage.object(bucket, key)?;
        conditions::on_copy_source(&source, input.copy_source_if_match.as_ref())?;
        if source.size > LARGEST_COPY {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                format!(
                    "The specified copy source is larger than the maximum allowable size for a copy source: {LARGEST_COPY}"
                ),
            ));
        }
        // The protocol crate does not know this header on copies yet.
        let condition = match request.headers.get("if-none-match").map(|value| value.as_bytes()) {
            None => Condition::None,
            Some(b"*") => Condition::Absent,
            Some(_) => return Err(unsupported("If-None-Match with an ETag on a write")),
        };
        let replaces =
            input.metadata_directive.as_ref().is_some_and(|directive| directive.as_str() == MetadataDirective::REPLACE);
        if !replaces && **bucket == *input.bucket && **key == *input.key {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidRequest,
                "This copy request is illegal because it is trying to copy an object to itself without changing its metadata",
            ));
        }
        // Encryption is of the request, never of the source.
        let encryption = Headers {
            encryption: input.server_side_encryption.map(|kind| kind.as_str().to_owned()),
            kms_key: input.ssekms_key_id,
            ..Headers::default()
        };
        let headers = if replaces {
            Headers {
                content_type: input.content_type,
                content_encoding: input.content_encoding,
                content_language: input.content_language,
                content_disposition: input.content_disposition,
                cache_control: input.cache_control,
                metadata: Headers::metadata_of(input.metadata),
                ..encryption
            }
        } else {
            Headers { encryption: encryption.encryption, kms_key: encryption.kms_key, ..source.headers.clone() }
        };
        let object = self.storage.copy_object(&source, (&input.bucket, &input.key), headers, &condition)?;
        let result = CopyObjectResult {
            e_tag: Some(object.etag()),
            last_modified: Some(object.modified()),
            ..Default::default()
        };
        Ok(S3Response::new(CopyObjectOutput { copy_object_result: Some(result), ..Default::default() }))
    }

    async fn list_objects_v2(
        &self,
        request: S3Request<ListObjectsV2Input>,
    ) -> S3Result<S3Response<ListObjectsV2Output>> {
        let input = request.input;
        let max_keys = input.max_keys.unwrap_or(LARGEST_PAGE);
        if max_keys < 0 {
            return Err(S3Error::with_message(S3ErrorCode::InvalidArgument, "max-keys must not be negative"));
        }
        let continued = match &input.continuation_token {
            None => None,
            Some(token) => {
                let key = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                let wrong = || {
                    S3Error::with_message(S3ErrorCode::InvalidArgument, "The continuation token provided is incorrect")
                };
                Some(key.ok_or_else(wrong)?)
            }
        };
        let query = Query {
            prefix: input.prefix.as_deref().unwrap_or_default(),
            delimiter: input.delimiter.as_deref(),
            after: continued.as_deref().or(input.start_after.as_deref()),
            limit: max_keys.min(LARGEST_PAGE) as usize,
        };
        let page = {
            let bucket = self.storage.bucket(&input.bucket)?;
            let contents = bucket.contents();
            listing::page(&contents.objects, query)
        };
        let contents: Vec<_> = page.objects.iter().map(|object| listed(object)).collect();
        let prefixes: Vec<_> = page.prefixes.into_iter().map(|prefix| CommonPrefix { prefix: Some(prefix) }).collect();
        Ok(S3Response::new(ListObjectsV2Output {
            name: Some(input.bucket),
            key_count: Some((contents.len() + prefixes.len()) as i32),
            max_keys: Some(max_keys),
            is_truncated: Some(page.next.is_some()),
            next_continuation_token: page.next.map(|key| URL_SAFE_NO_PAD.encode(key)),
            continuation_token: input.continuation_token,
            prefix: input.prefix,
            delimiter: input.delimiter,
            start_after: input.start_after,
            contents: Some(contents),
            common_prefixes: Some(prefixes),
            ..Default::default()
        }))
    }

    async fn create_multipart_upload(
        &self,
        request: S3Request<CreateMultipartUploadInput>,
    ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
        let input = request.input;
        let headers = Headers {
            content_type: input.content_type,
            content_encoding: without_aws_chunked(input.content_encoding),
            content_language: input.content_language,
            content_disposition: input.content_disposition,
            cache_control: input.cache_control,
            metadata: Headers::metadata_of(input.metadata),
            encryption: input.server_side_encryption.map(|kind| kind.as_str().to_owned()),
            kms_key: input.ssekms_key_id,
        };
        let upload = self.storage.create_upload(&input.bucket, &input.key, headers)?;
        Ok(S3Response::new(CreateMultipartUploadOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(upload),
            checksum_algorithm: input.checksum_algorithm,
            checksum_type: input.checksum_type,
            ..Default::default()
        }))
    }

    async fn upload_part(&self, request: S3Request<UploadPartInput>) -> S3Result<S3Response<UploadPartOutput>> {
        let trailers = request.trailing_headers;
        let input = request.input;
        check_part_number(input.part_number)?;
        self.storage.check_upload(&input.bucket, &input.key, &input.upload_id)?;
        let checksums = Checksums {
            crc32: input.checksum_crc32,
            crc32c: input.checksum_crc32c,
            crc64nvme: input.checksum_crc64nvme,
            sha1: input.checksum_sha1,
            sha256: input.checksum_sha256,
            composite: false,
        };
        let claims = Claims::new(&request.headers, input.checksum_algorithm.as_ref(), input.content_md5, checksums);
        let received = self.storage.receive(input.body, claims.algorithms).await?;
        claims.check(&received, trailers.as_ref())?;
        if request.extensions.get::<LosePart>().is_some() {
            let e_tag = Some(quoted(&received.etag));
            return Ok(S3Response::new(UploadPartOutput { e_tag, ..Default::default() }));
        }
        let part = self.storage.put_part(&input.bucket, &input.upload_id, input.part_number, received)?;
        Ok(S3Response::new(UploadPartOutput {
            e_tag: Some(quoted(&part.etag)),
            checksum_crc32: part.checksums.crc32,
            checksum_crc32c: part.checksums.crc32c,
            checksum_crc64nvme: part.checksums.crc64nvme,
            checksum_sha1: part.checksums.sha1,
            checksum_sha256: part.checksums.sha256,
            ..Default::default()
        }))
    }

    async fn upload_part_copy(
        &self,
        request: S3Request<UploadPartCopyInput>,
    ) -> S3Result<S3Response<UploadPartCopyOutput>> {
        let input = request.input;
        check_part_number(input.part_number)?;
        self.storage.check_upload(&input.bucket, &input.key, &input.upload_id)?;
        let CopySource::Bucket { bucket, key, version_id: None } = &input.copy_source else {
            return Err(unsupported("a copy source that is not bucket/key"));
        };
        let source = self.storage.object(bucket, key)?;
        conditions::on_copy_source(&source, input.copy_source_if_match.as_ref())?;
        let range = copied_range(&source, input.copy_source_range.as_deref())?;
        if range.end - range.start > LARGEST_COPY {
            return Err(S3Error::with_message(S3ErrorCode::EntityTooLarge, "a part is at most 5 GiB"));
        }
        let body = transfer::read(source, range, None);
        let received = self.storage.receive_stream(body, Algorithms::default()).await?;
        let part = self.storage.put_part(&input.bucket, &input.upload_id, input.part_number, received)?;
        let result = CopyPartResult {
            e_tag: Some(quoted(&part.etag)),
            last_modified: Some(timestamp(part.modified)),
            ..Default::default()
        };
        Ok(S3Response::new(UploadPartCopyOutput { copy_part_result: Some(result), ..Default::default() }))
    }

    async fn complete_multipart_upload(
        &self,
        request: S3Request<CompleteMultipartUploadInput>,
    ) -> S3Result<S3Response<CompleteMultipartUploadOutput>> {
        let input = request.input;
        let condition = conditions::on_write(input.if_none_match.as_ref(), input.if_match.as_ref())?;
        let mut wanted = Vec::new();
        for part in input.multipart_upload.and_then(|upload| upload.parts).unwrap_or_default() {
            let number = part
                .part_number
                .ok_or_else(|| S3Error::with_message(S3ErrorCode::MalformedXML, "a part without PartNumber"))?;
            wanted.push(WantedPart { number, etag: part.e_tag.map(|etag| etag.value().to_owned()) });
        }
        let object = self.storage.complete_upload(&input.bucket, &input.key, &input.upload_id, &wanted, &condition)?;
        let checksums = object.checksums.clone();
        Ok(S3Response::new(CompleteMultipartUploadOutput {
            location: Some(format!("/{}/{}", input.bucket, input.key)),
            bucket: Some(input.bucket),
            key: Some(input.key),
            e_tag: Some(object.etag()),
            checksum_type: checksums.kind(),
            checksum_crc32: checksums.crc32,
            checksum_crc32c: checksums.crc32c,
            checksum_crc64nvme: checksums.crc64nvme,
            checksum_sha1: checksums.sha1,
            checksum_sha256: checksums.sha256,
            ..Default::default()
        }))
    }

    async fn abort_multipart_upload(
        &self,
        request: S3Request<AbortMultipartUploadInput>,
    ) -> S3Result<S3Response<AbortMultipartUploadOutput>> {
        let input = request.input;
        self.storage.abort_upload(&input.bucket, &input.key, &input.upload_id)?;
        Ok(S3Response::new(AbortMultipartUploadOutput::default()))
    }

    async fn list_multipart_uploads(
        &self,
        request: S3Request<ListMultipartUploadsInput>,
    ) -> S3Result<S3Response<ListMultipartUploadsOutput>> {
        let input = request.input;
        if input.delimiter.is_some() {
            return Err(unsupported("a delimiter in ListMultipartUploads"));
        }
        let limit = input.max_uploads.unwrap_or(LARGEST_PAGE).clamp(0, LARGEST_PAGE) as usize;
        let prefix = input.prefix.as_deref().unwrap_or_default();
        let bucket = self.storage.bucket(&input.bucket)?;
        let contents = bucket.contents();
        // In order of key, and of age within a key: upload ids begin with the time.
        let mut uploads: Vec<_> =
            contents.uploads.iter().map(|(id, upload)| (upload.key.as_str(), id.as_str(), upload.initiated)).collect();
        uploads.sort_unstable();
        uploads.retain(|(key, id, _)| {
            let after = match (&input.key_marker, &input.upload_id_marker) {
                (None, _) => true,
                (Some(marker), None) => *key > marker.as_str(),
                (Some(marker), Some(last)) => (*key, *id) > (marker.as_str(), last.as_str()),
            };
            after && key.starts_with(prefix)
        });
        let truncated = uploads.len() > limit;
        uploads.truncate(limit);
        let last = uploads.last().filter(|_| truncated);
        let output = ListMultipartUploadsOutput {
            bucket: Some(input.bucket),
            is_truncated: Some(truncated),
            max_uploads: Some(limit as i32),
            next_key_marker: last.map(|(key, _, _)| (*key).to_owned()),
            next_upload_id_marker: last.map(|(_, id, _)| (*id).to_owned()),
            key_marker: input.key_marker,
            upload_id_marker: input.upload_id_marker,
            prefix: input.prefix.clone(),
            uploads: Some(
                uploads
                    .iter()
                    .map(|(key, id, initiated)| MultipartUpload {
                        key: Some((*key).to_owned()),
                        upload_id: Some((*id).to_owned()),
                        initiated: Some(timestamp(*initiated)),
                        ..Default::default()
                    })
                    .collect(),
            ),
            ..Default::default()
        };
        Ok(S3Response::new(output))
    }

    async fn list_parts(&self, request: S3Request<ListPartsInput>) -> S3Result<S3Response<ListPartsOutput>> {
        let input = request.input;
        self.storage.check_upload(&input.bucket, &input.key, &input.upload_id)?;
        let limit = input.max_parts.unwrap_or(LARGEST_PAGE).clamp(0, LARGEST_PAGE) as usize;
        let after = input.part_number_marker.unwrap_or(0);
        let bucket = self.storage.bucket(&input.bucket)?;
        let contents = bucket.contents();
        let mut parts: Vec<Part> = contents
            .uploads
            .get(&input.upload_id)
            .into_iter()
            .flat_map(|upload| upload.parts.range(after + 1..))
            .map(|(number, part)| Part {
                part_number: Some(*number),
                size: Some(part.blob.size() as i64),
                e_tag: Some(quoted(&part.etag)),
                last_modified: Some(timestamp(part.modified)),
                checksum_crc32: part.checksums.crc32.clone(),
                checksum_crc32c: part.checksums.crc32c.clone(),
                checksum_crc64nvme: part.checksums.crc64nvme.clone(),
                checksum_sha1: part.checksums.sha1.clone(),
                checksum_sha256: part.checksums.sha256.clone(),
            })
            .collect();
        let truncated = parts.len() > limit;
        parts.truncate(limit);
        Ok(S3Response::new(ListPartsOutput {
            bucket: Some(input.bucket),
            key: Some(input.key),
            upload_id: Some(input.upload_id),
            is_truncated: Some(truncated),
            max_parts: Some(limit as i32),
            part_number_marker: Some(after),
            next_part_number_marker: parts.last().filter(|_| truncated).and_then(|part| part.part_number),
            parts: Some(parts),
            ..Default::default()
        }))
    }
}
