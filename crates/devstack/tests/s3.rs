//! The S3 stand-in through the real AWS SDK client.

use std::path::Path;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier};
use millrace_devstack::{Fault, RunningS3, S3Config, serve_s3};

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

const PART: usize = 5 * 1024 * 1024;

async fn start(root: &Path) -> Result<RunningS3> {
    let config = S3Config {
        root: root.to_owned(),
        access_key: "standin".to_owned(),
        secret_key: "standin-secret".to_owned(),
        listen: "127.0.0.1:0".parse()?,
        buckets: vec!["lake".to_owned()],
    };
    Ok(serve_s3(config).await?)
}

fn client_with(server: &RunningS3, secret: &str) -> Client {
    let config = aws_sdk_s3::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-west-1"))
        .credentials_provider(Credentials::new("standin", secret, None, None, "test"))
        .endpoint_url(server.endpoint_url())
        .force_path_style(true)
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .build();
    Client::from_conf(config)
}

fn client(server: &RunningS3) -> Client {
    client_with(server, "standin-secret")
}

fn code<E: ProvideErrorMetadata, R>(error: &SdkError<E, R>) -> Option<&str> {
    error.as_service_error().and_then(|error| error.code())
}

async fn body(client: &Client, key: &str) -> Result<Vec<u8>> {
    let object = client.get_object().bucket("lake").key(key).send().await?;
    Ok(object.body.collect().await?.to_vec())
}

async fn put(client: &Client, key: &str, bytes: impl Into<Vec<u8>>) -> Result {
    client.put_object().bucket("lake").key(key).body(ByteStream::from(bytes.into())).send().await?;
    Ok(())
}

/// A reader that has sent its last byte may hold a file a moment longer than its client needs it.
async fn data_files_become(folder: &Path, count: usize) -> Result {
    let data = folder.join("data");
    let description = format!("{count} data files");
    let is_so = async || files_in(&data).is_ok_and(|found| found == count);
    Ok(millrace_testkit::wait_until(&description, std::time::Duration::from_secs(10), is_so).await?)
}

fn files_in(folder: &Path) -> Result<usize> {
    Ok(std::fs::read_dir(folder)?.count())
}

#[tokio::test]
async fn an_object_comes_back_with_its_metadata_and_ranges() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let client = client(&server);

    let put = client
        .put_object()
        .bucket("lake")
        .key("a/b c+ü/../d.csv")
        .content_type("text/csv")
        .metadata("dag", "nightly")
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await?;
    assert_eq!(put.e_tag(), Some("\"5d41402abc4b2a76b9719d911017c592\""));
    assert!(put.checksum_crc32().is_some(), "the client's default checksum was not taken from the trailer");

    let head = client.head_object().bucket("lake").key("a/b c+ü/../d.csv").send().await?;
    assert_eq!(head.content_length(), Some(5));
    assert_eq!(head.content_type(), Some("text/csv"));
    assert_eq!(head.metadata().and_then(|all| all.get("dag")).map(String::as_str), Some("nightly"));

    let part = client.get_object().bucket("lake").key("a/b c+ü/../d.csv").range("bytes=1-3").send().await?;
    assert_eq!(part.content_range(), Some("bytes 1-3/5"));
    assert_eq!(part.body.collect().await?.to_vec(), b"ell");
    let beyond = client.get_object().bucket("lake").key("a/b c+ü/../d.csv").range("bytes=9-").send().await;
    assert_eq!(beyond.err().as_ref().and_then(code), Some("InvalidRange"));

    let missing = client.get_object().bucket("lake").key("missing").send().await;
    assert_eq!(missing.err().as_ref().and_then(code), Some("NoSuchKey"));
    let missing = client.head_object().bucket("lake").key("missing").send().await;
    assert!(missing.err().and_then(|error| error.into_service_error().is_not_found().then_some(())).is_some());
    server.shutdown().await;
    Ok(())
}

#[tokio::test]
async fn a_key_and_a_key_below_it_both_exist_and_survive_a_restart() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let s3 = client(&server);
    put(&s3, "a", "one").await?;
    put(&s3, "a/b", "two").await?;
    put(&s3, "a/b", "three").await?;
    server.shutdown().await;

    // What a killed process would leave: a body without a record.
    std::fs::write(folder.path().join("tmp/left"), "half")?;
    std::fs::write(folder.path().join("data/left"), "half")?;
    let server = start(folder.path()).await?;
    let s3 = client(&server);
    assert_eq!(body(&s3, "a").await?, b"one");
    assert_eq!(body(&s3, "a/b").await?, b"three");
    assert_eq!(files_in(&folder.path().join("data"))?, 2, "the replaced body and the leftovers are gone");
    assert_eq!(files_in(&folder.path().join("tmp"))?, 0);

    let second = start(folder.path()).await;
    assert!(second.is_err(), "two stand-ins must not share a folder");
    Ok(())
}

#[tokio::test]
async fn parts_become_an_object_without_being_copied() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let s3 = client(&server);
    let upload = s3.create_multipart_upload().bucket("lake").key("big").metadata("run", "r1").send().await?;
    let id = upload.upload_id().ok_or("no upload id")?;
    let bodies = [vec![b'x'; PART], vec![b'y'; PART], b"tail".to_vec()];
    let mut parts = Vec::new();
    for (number, bytes) in (1..).zip(&bodies) {
        let part = s3
            .upload_part()
            .bucket("lake")
            .key("big")
            .upload_id(id)
            .part_number(number)
            .body(ByteStream::from(bytes.clone()))
            .send()
            .await?;
        let done =
            CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).set_checksum_crc32(part.checksum_crc32);
        parts.push(done.build());
    }
    let listed = s3.list_parts().bucket("lake").key("big").upload_id(id).send().await?;
    assert_eq!(listed.parts().len(), 3);
    let open = s3.list_multipart_uploads().bucket("lake").send().await?;
    assert_eq!(open.uploads().len(), 1);
    assert!(s3.head_object().bucket("lake").key("big").send().await.is_err(), "visible before it was completed");

    let done = s3
        .complete_multipart_upload()
        .bucket("lake")
        .key("big")
        .upload_id(id)
        .multipart_upload(CompletedMultipartUpload::builder().set_parts(Some(parts)).build())
        .if_none_match("*")
        .send()
        .await?;
    assert!(done.e_tag().is_some_and(|etag| etag.ends_with("-3\"")));
    assert_eq!(body(&s3, "big").await?, bodies.concat());
    let across =
        s3.get_object().bucket("lake").key("big").range(format!("bytes={}-{}", PART - 2, PART + 1)).send().await?;
    assert_eq!(across.body.collect().await?.to_vec(), b"xxyy");
    assert_eq!(files_in(&folder.path().join("data"))?, 3, "an object of three parts is three files");
    assert!(s3.list_multipart_uploads().bucket("lake").send().await?.uploads().is_empty());

    s3.copy_object().bucket("lake").key("copy").copy_source("lake/big").send().await?;
    s3.delete_object().bucket("lake").key("big").send().await?;
    assert_eq!(body(&s3, "copy").await?, bodies.concat());
    assert_eq!(files_in(&folder.path().join("data"))?, 3, "a copy shares the files");
    s3.delete_object().bucket("lake").key("copy").send().await?;
    data_files_become(folder.path(), 0).await?;
    Ok(())
}

#[tokio::test]
async fn a_completion_is_as_strict_as_s3() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let s3 = client(&server);
    let upload = s3.create_multipart_upload().bucket("lake").key("k").send().await?;
    let id = upload.upload_id().ok_or("no upload id")?;
    let mut parts = Vec::new();
    for number in 1..=2 {
        let body = ByteStream::from_static(b"small");
        let part = s3.upload_part().bucket("lake").key("k").upload_id(id).part_number(number).body(body).send().await?;
        parts.push(CompletedPart::builder().part_number(number).set_e_tag(part.e_tag).build());
    }
    let complete = |parts: Vec<CompletedPart>| {
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        s3.complete_multipart_upload().bucket("lake").key("k").upload_id(id).multipart_upload(parts)
    };
    let small = complete(parts.clone()).send().await;
    assert_eq!(small.err().as_ref().and_then(code), Some("EntityTooSmall"));
    let backwards = complete(parts.iter().rev().cloned().collect()).send().await;
    assert_eq!(backwards.err().as_ref().and_then(code), Some("InvalidPartOrder"));
    let wrong = CompletedPart::builder().part_number(1).e_tag("\"00000000000000000000000000000000\"").build();
    let wrong = complete(vec![wrong]).send().await;
    assert_eq!(wrong.err().as_ref().and_then(code), Some("InvalidPart"));

    put(&s3, "k", "somebody else's").await?;
    let taken = complete(vec![parts[0].clone()]).if_none_match("*").send().await;
    assert_eq!(taken.err().as_ref().and_then(code), Some("PreconditionFailed"));
    s3.abort_multipart_upload().bucket("lake").key("k").upload_id(id).send().await?;
    let gone = complete(parts).send().await;
    assert_eq!(gone.err().as_ref().and_then(code), Some("NoSuchUpload"));
    assert_eq!(body(&s3, "k").await?, b"somebody else's");
    Ok(())
}

#[tokio::test]
async fn an_upload_survives_a_restart_between_its_parts() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let s3 = client(&server);
    let upload = s3.create_multipart_upload().bucket("lake").key("k").content_type("text/csv").send().await?;
    let id = upload.upload_id().ok_or("no upload id")?;
    let body_of_one = ByteStream::from_static(b"whole");
    let part = s3.upload_part().bucket("lake").key("k").upload_id(id).part_number(7).body(body_of_one).send().await?;
    server.shutdown().await;

    let server = start(folder.path()).await?;
    let s3 = client(&server);
    let part = CompletedPart::builder().part_number(7).set_e_tag(part.e_tag).build();
    let parts = CompletedMultipartUpload::builder().parts(part).build();
    s3.complete_multipart_upload().bucket("lake").key("k").upload_id(id).multipart_upload(parts).send().await?;
    assert_eq!(body(&s3, "k").await?, b"whole");
    assert_eq!(s3.head_object().bucket("lake").key("k").send().await?.content_type(), Some("text/csv"));
    Ok(())
}

#[tokio::test]
async fn only_the_first_of_two_conditional_writes_wins() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let s3 = client(&server);
    let write = |text: &'static str| {
        let body = ByteStream::from_static(text.as_bytes());
        s3.put_object().bucket("lake").key("marker").if_none_match("*").body(body).send()
    };
    let (one, two) = tokio::join!(write("one"), write("two"));
    assert_eq!(usize::from(one.is_ok()) + usize::from(two.is_ok()), 1);
    let loser = one.err().or(two.err());
    assert_eq!(loser.as_ref().and_then(code), Some("PreconditionFailed"));
    Ok(())
}

#[tokio::test]
async fn listings_come_in_pages_and_folders() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let s3 = client(&server);
    for key in ["nps", "nps_old.csv", "nps/1", "nps/2", "other/1"] {
        put(&s3, key, "").await?;
    }
    let mut pages = s3.list_objects_v2().bucket("lake").prefix("nps").into_paginator().page_size(2).send();
    let mut keys = Vec::new();
    while let Some(page) = pages.next().await {
        keys.extend(page?.contents().iter().filter_map(|object| object.key().map(str::to_owned)));
    }
    assert_eq!(keys, ["nps", "nps/1", "nps/2", "nps_old.csv"]);
    let folders = s3.list_objects_v2().bucket("lake").delimiter("/").send().await?;
    let prefixes: Vec<_> = folders.common_prefixes().iter().filter_map(|prefix| prefix.prefix()).collect();
    assert_eq!(prefixes, ["nps/", "other/"]);

    let named = |key: &str| ObjectIdentifier::builder().key(key).build();
    let delete = Delete::builder().objects(named("nps")?).objects(named("nps/1")?).objects(named("never")?).build()?;
    let deleted = s3.delete_objects().bucket("lake").delete(delete).send().await?;
    assert_eq!(deleted.deleted().len(), 3, "deleting what is not there is no error");
    let left = s3.list_objects_v2().bucket("lake").send().await?;
    assert_eq!(left.key_count(), Some(3));
    Ok(())
}

#[tokio::test]
async fn buckets_are_made_listed_and_deleted_when_empty() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let s3 = client(&server);
    s3.create_bucket().bucket("second-one").send().await?;
    let again = s3.create_bucket().bucket("second-one").send().await;
    assert_eq!(again.err().as_ref().and_then(code), Some("BucketAlreadyOwnedByYou"));
    let names: Vec<_> = s3
        .list_buckets()
        .send()
        .await?
        .buckets()
        .iter()
        .filter_map(|bucket| bucket.name().map(str::to_owned))
        .collect();
    assert_eq!(names, ["lake", "second-one"]);
    s3.head_bucket().bucket("lake").send().await?;
    s3.delete_bucket().bucket("second-one").send().await?;
    assert!(s3.head_bucket().bucket("second-one").send().await.is_err());
    put(&s3, "k", "v").await?;
    let full = s3.delete_bucket().bucket("lake").send().await;
    assert_eq!(full.err().as_ref().and_then(code), Some("BucketNotEmpty"));
    let nowhere = s3.put_object().bucket("second-one").key("k").body(ByteStream::from_static(b"x")).send().await;
    assert_eq!(nowhere.err().as_ref().and_then(code), Some("NoSuchBucket"));
    Ok(())
}

#[tokio::test]
async fn a_wrong_secret_is_refused() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let refused = client_with(&server, "another").list_buckets().send().await;
    assert_eq!(refused.err().as_ref().and_then(code), Some("SignatureDoesNotMatch"));
    Ok(())
}

#[tokio::test]
async fn a_wrong_checksum_is_refused_and_leaves_nothing() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let s3 = client(&server);
    let wrong = s3
        .put_object()
        .bucket("lake")
        .key("k")
        .checksum_crc32("AAAAAA==")
        .body(ByteStream::from_static(b"hello"))
        .send()
        .await;
    assert_eq!(wrong.err().as_ref().and_then(code), Some("BadDigest"));
    assert_eq!(files_in(&folder.path().join("tmp"))?, 0);
    data_files_become(folder.path(), 0).await?;
    Ok(())
}

#[tokio::test]
async fn planned_failures_happen() -> Result {
    let folder = tempfile::tempdir()?;
    let server = start(folder.path()).await?;
    let s3 = client(&server);
    // The client retries twice by itself.
    server.faults().inject("PutObject", Fault::Throttle, 1);
    server.faults().inject("PutObject", Fault::InternalError, 1);
    put(&s3, "k", "value").await?;
    assert_eq!(server.faults().pending(), 0);

    server.faults().inject("HeadObject", Fault::InternalError, 3);
    assert!(s3.head_object().bucket("lake").key("k").send().await.is_err());

    server.faults().inject("PutObject", Fault::LoseAnswer, 3);
    let lost = s3.put_object().bucket("lake").key("lost").body(ByteStream::from_static(b"x")).send().await;
    assert!(matches!(lost, Err(SdkError::DispatchFailure(_))), "the connection was not cut: {lost:?}");
    assert_eq!(body(&s3, "lost").await?, b"x", "the work behind a lost answer was done");

    server.faults().inject("GetObject", Fault::CutBody { after: 2 }, 1);
    let object = s3.get_object().bucket("lake").key("k").send().await?;
    assert!(object.body.collect().await.is_err());
    assert_eq!(body(&s3, "k").await?, b"value");
    Ok(())
}
