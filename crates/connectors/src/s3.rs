//! S3, and whatever speaks its protocol.

mod carrying;
mod copying;
mod failure;
mod protection;
mod upload;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sdk_s3::types::{Delete, ObjectIdentifier};
use chrono::{DateTime, Utc};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use millrace_operator_api::connection::Connection;
use millrace_operator_api::ports::{
    ByteStream, CopyRequest, DeleteReport, ObjectInfo, ObjectPlace, ObjectStore, PutOptions,
};
use millrace_operator_api::{PortError, PortErrorKind};
use tokio_util::io::ReaderStream;

use carrying::GivenUp;
use copying::Copying;
use failure::explain;
use protection::Protection;

const KEYS_PER_DELETE: usize = 1000;
const READ_BUFFER: usize = 128 * 1024;

/// An object store behind the AWS SDK. Cheap to clone.
#[derive(Clone)]
pub struct S3Store {
    conn_id: String,
    client: Client,
    protection: Protection,
    /// Whether nothing can happen on the way to what is sent: then a part needs no SHA-256 of its own.
    is_untouched: bool,
    /// Of all uploads through this store, that is of one task.
    buffers: upload::Buffers,
    given_up: GivenUp,
}

/// Of a store on this machine. Over any network S3 compares each part with its SHA-256, TLS or not.
fn is_untouched(endpoint: &str) -> bool {
    let Ok(uri) = endpoint.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

impl S3Store {
    pub async fn open(connection: &Connection) -> Result<Self, PortError> {
        let shared = crate::aws::config(connection, true).await?;
        let has_endpoint = shared.endpoint_url().is_some();
        let is_untouched = shared.endpoint_url().is_some_and(is_untouched);
        let config = aws_sdk_s3::config::Builder::from(&shared)
            // A bucket is no host name on most endpoints but Amazon's own.
            .force_path_style(has_endpoint)
            // Other implementations don't know the newer checksums; where they are required the SDK sends them anyway.
            .request_checksum_calculation(aws_sdk_s3::config::RequestChecksumCalculation::WhenRequired)
            .response_checksum_validation(aws_sdk_s3::config::ResponseChecksumValidation::WhenRequired)
            .build();
        let protection = Protection::of(connection)?;
        let buffers = upload::Buffers::new();
        let client = Client::from_conf(config);
        let conn_id = connection.conn_id.clone();
        Ok(Self { conn_id, client, protection, is_untouched, buffers, given_up: GivenUp::default() })
    }

    pub async fn ping(&self) -> Result<String, PortError> {
        let answer = self
            .client
            .list_buckets()
            .send()
            .await
            .map_err(|error| explain(&self.conn_id, "list the buckets", "s3:ListAllMyBuckets", &error))?;
        Ok(format!("S3 with {} buckets", answer.buckets().len()))
    }

    /// Asks for one key under the prefix; none is an answer too.
    pub async fn list_one(&self, bucket: &str, prefix: &str) -> Result<(), PortError> {
        let asked = self
            .client
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .max_keys(1)
            .set_expected_bucket_owner(self.protection.owner());
        let what = format!("list s3://{bucket}/{prefix}");
        asked.send().await.map_err(|error| explain(&self.conn_id, &what, "s3:ListBucket", &error))?;
        Ok(())
    }

    async fn head(&self, bucket: &str, key: &str) -> Result<Option<ObjectInfo>, PortError> {
        match self
            .client
            .head_object()
            .bucket(bucket)
            .key(key)
            .set_expected_bucket_owner(self.protection.owner())
            .send()
            .await
        {
            Ok(head) => Ok(Some(ObjectInfo {
                bucket: bucket.to_owned(),
                key: key.to_owned(),
                size: u64::try_from(head.content_length().unwrap_or(0)).unwrap_or(0),
                etag: head.e_tag().map(bare),
                last_modified: head.last_modified().and_then(instant),
                metadata: head
                    .metadata()
                    .into_iter()
                    .flatten()
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
            })),
            Err(error) => {
                let said = explain(&self.conn_id, &format!("look at s3://{bucket}/{key}"), "s3:GetObject", &error);
                if said.kind == PortErrorKind::NotFound && said.code.as_deref() != Some("NoSuchBucket") {
                    Ok(None)
                } else {
                    Err(said)
                }
            }
        }
    }

    async fn get(
        &self,
        bucket: &str,
        key: &str,
        etag: Option<&str>,
        range: Option<Range<u64>>,
    ) -> Result<ByteStream, PortError> {
        let what = format!("read s3://{bucket}/{key}");
        let answer = self
            .client
            .get_object()
            .bucket(bucket)
            .key(key)
            .set_if_match(etag.map(|etag| format!("\"{etag}\"")))
            // Both ends are bytes that are wanted.
            .set_range(range.map(|range| format!("bytes={}-{}", range.start, range.end.saturating_sub(1))))
            .set_expected_bucket_owner(self.protection.owner())
            .send()
            .await
            .map_err(|error| {
                let said = explain(&self.conn_id, &what, "s3:GetObject", &error);
                // A read that has a condition can only fail it because the object was replaced.
                let is_other = said.kind == PortErrorKind::AlreadyExists && etag.is_some();
                if is_other { crate::parts::files::changed(&format!("s3://{bucket}/{key}")) } else { said }
            })?;
        let conn_id = self.conn_id.clone();
        let expected = answer.content_length().and_then(|length| u64::try_from(length).ok());
        let short =
            PortError::new(PortErrorKind::Unavailable, format!("connection {conn_id:?}: cannot {what}: it broke off"));
        let bytes = ReaderStream::with_capacity(answer.body.into_async_read(), READ_BUFFER).map_err(move |error| {
            PortError::new(PortErrorKind::Unavailable, format!("connection {conn_id:?}: cannot {what}: {error}"))
        });
        // A connection that closes early may look like the end.
        let checked = stream::unfold((Box::pin(bytes), 0_u64, short), move |(mut bytes, seen, short)| async move {
            match bytes.next().await {
                Some(Ok(chunk)) => {
                    let seen = seen + chunk.len() as u64;
                    Some((Ok(chunk), (bytes, seen, short)))
                }
                Some(Err(error)) => Some((Err(error), (bytes, u64::MAX, short))),
                None if seen != u64::MAX && expected.is_some_and(|expected| expected != seen) => {
                    Some((Err(short.clone()), (bytes, u64::MAX, short)))
                }
                None => None,
            }
        });
        Ok(checked.boxed())
    }

    async fn delete(&self, bucket: &str, keys: Vec<String>) -> Result<DeleteReport, PortError> {
        self.given_up.settled().await;
        let mut report = DeleteReport::default();
        for keys in keys.chunks(KEYS_PER_DELETE) {
            let mut batch = Delete::builder().quiet(true);
            for key in keys {
                let object = ObjectIdentifier::builder().key(key).build();
                batch = batch.objects(object.map_err(|error| crate::parts::failure::invalid(error.to_string()))?);
            }
            let batch = batch.build().map_err(|error| crate::parts::failure::invalid(error.to_string()))?;
            let answer = self
                .client
                .delete_objects()
                .bucket(bucket)
                .delete(batch)
                .set_expected_bucket_owner(self.protection.owner())
                .send()
                .await
                .map_err(|error| {
                    explain(&self.conn_id, &format!("delete objects in s3://{bucket}"), "s3:DeleteObject", &error)
                })?;
            report.requests += 1;
            report.deleted += (keys.len() - answer.errors().len().min(keys.len())) as u64;
            report.errors.extend(answer.errors().iter().map(|error| {
                let message =
                    format!("{}: {}", error.code().unwrap_or("error"), error.message().unwrap_or("no message"));
                (error.key().unwrap_or_default().to_owned(), message)
            }));
        }
        Ok(report)
    }
}

fn bare(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

fn instant(time: &aws_smithy_types::DateTime) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.secs(), time.subsec_nanos())
}

impl ObjectStore for S3Store {
    fn head<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<ObjectInfo>, PortError>> {
        Box::pin(S3Store::head(self, bucket, key))
    }

    fn put<'a>(
        &'a self,
        bucket: &'a str,
        key: &'a str,
        body: ByteStream,
        options: PutOptions,
    ) -> BoxFuture<'a, Result<ObjectInfo, PortError>> {
        Box::pin(async move {
            let metadata: BTreeMap<String, String> = options.metadata.clone();
            let upload = upload::Upload {
                conn_id: &self.conn_id,
                client: &self.client,
                protection: &self.protection,
                bucket,
                key,
                options,
                is_untouched: self.is_untouched,
                buffers: &self.buffers,
                given_up: &self.given_up,
            };
            let (size, etag) = upload.run(body).await?;
            let etag = etag.as_deref().map(bare);
            Ok(ObjectInfo { bucket: bucket.to_owned(), key: key.to_owned(), size, etag, last_modified: None, metadata })
        })
    }

    fn get<'a>(&'a self, bucket: &'a str, key: &'a str) -> BoxFuture<'a, Result<ByteStream, PortError>> {
        Box::pin(S3Store::get(self, bucket, key, None, None))
    }

    fn get_same<'a>(
        &'a self,
        object: &'a ObjectInfo,
        range: Option<Range<u64>>,
    ) -> BoxFuture<'a, Result<ByteStream, PortError>> {
        Box::pin(S3Store::get(self, &object.bucket, &object.key, object.etag.as_deref(), range))
    }

    fn list<'a>(&'a self, bucket: &'a str, prefix: &'a str) -> BoxStream<'a, Result<ObjectInfo, PortError>> {
        let pages = stream::try_unfold(Some(None::<String>), move |token| async move {
            let Some(token) = token else { return Ok::<_, PortError>(None) };
            if token.is_none() {
                self.given_up.settled().await;
            }
            let what = format!("list s3://{bucket}/{prefix}");
            let page = self
                .client
                .list_objects_v2()
                .bucket(bucket)
                .prefix(prefix)
                .set_continuation_token(token)
                .set_expected_bucket_owner(self.protection.owner())
                .send()
                .await
                .map_err(|error| explain(&self.conn_id, &what, "s3:ListBucket", &error))?;
            let objects: Vec<Result<ObjectInfo, PortError>> = page
                .contents()
                .iter()
                .map(|object| {
                    Ok(ObjectInfo {
                        bucket: bucket.to_owned(),
                        key: object.key().unwrap_or_default().to_owned(),
                        size: u64::try_from(object.size().unwrap_or(0)).unwrap_or(0),
                        etag: object.e_tag().map(bare),
                        last_modified: object.last_modified().and_then(instant),
                        metadata: BTreeMap::new(),
                    })
                })
                .collect();
            let next = page.next_continuation_token().filter(|_| page.is_truncated().unwrap_or(false));
            Ok(Some((stream::iter(objects), next.map(|token| Some(token.to_owned())))))
        });
        pages.try_flatten().boxed()
    }

    fn delete<'a>(&'a self, bucket: &'a str, keys: Vec<String>) -> BoxFuture<'a, Result<DeleteReport, PortError>> {
        Box::pin(S3Store::delete(self, bucket, keys))
    }

    fn copy<'a>(&'a self, request: CopyRequest) -> BoxFuture<'a, Result<ObjectInfo, PortError>> {
        Box::pin(async move {
            let copying =
                Copying { conn_id: &self.conn_id, client: &self.client, protection: &self.protection, request };
            copying.run().await
        })
    }

    fn presign<'a>(&'a self, place: &'a ObjectPlace, valid: Duration) -> BoxFuture<'a, Result<String, PortError>> {
        Box::pin(async move {
            let config = PresigningConfig::expires_in(valid).map_err(|error| {
                crate::parts::failure::invalid(format!("{} seconds is no validity for a URL: {error}", valid.as_secs()))
            })?;
            let what = format!("sign a URL of {}", place.url());
            let request = self.client.get_object().bucket(&place.bucket).key(&place.key).presigned(config).await;
            let signed = request.map_err(|error| explain(&self.conn_id, &what, "s3:GetObject", &error))?;
            Ok(signed.uri().to_owned())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::is_untouched;

    #[test]
    fn only_a_store_on_this_machine_gets_parts_without_a_sum_of_their_own() {
        for endpoint in ["http://127.0.0.1:9000", "http://localhost:9000/", "http://[::1]:9000", "https://127.3.2.1"] {
            assert!(is_untouched(endpoint), "{endpoint}");
        }
        for endpoint in
            ["https://s3.eu-west-1.amazonaws.com", "http://minio:9000", "http://10.0.0.7", "127.0.0.1.example", ""]
        {
            assert!(!is_untouched(endpoint), "{endpoint}");
        }
    }
}
