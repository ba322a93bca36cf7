//! The object store against the S3 stand-in.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use millrace_connectors::Connectors;
use millrace_devstack::Fault;
use millrace_operator_api::ports::{ByteStream, CopyRequest, ObjectPlace, Ports, PutOptions};
use millrace_operator_api::{PortError, PortErrorKind};
use millrace_testkit::wait_until;
use serde_json::json;

use crate::world::{World, connection, extra, refused};

const MIB: usize = 1024 * 1024;

/// `chunks` chunks of 1 MiB, each of one letter.
fn body(chunks: u8) -> ByteStream {
    stream::iter((0..chunks).map(|n| Ok(Bytes::from(vec![b'a' + n % 26; MIB])))).boxed()
}

fn text(text: &str) -> ByteStream {
    stream::iter([Ok(Bytes::from(text.to_owned()))]).boxed()
}

/// Uploads in parts that were begun and neither completed nor dropped.
pub fn unfinished(world: &World) -> Result<usize> {
    let folder = world.folder.path().join("s3/buckets/lake/uploads");
    Ok(std::fs::read_dir(&folder)?.count())
}

#[tokio::test]
async fn objects_of_any_size_come_back_whole_with_their_metadata() -> Result<()> {
    let world = World::start().await?;
    let store = world.store().await?;
    let metadata: BTreeMap<String, String> = [("dag".to_owned(), "nightly".to_owned())].into();
    for chunks in [0_u8, 1, 8, 9, 25] {
        let key = format!("size/{chunks}");
        let options =
            PutOptions { metadata: metadata.clone(), content_type: Some("text/csv".into()), only_if_absent: false };
        let put = store.put("lake", &key, body(chunks), options).await?;
        assert_eq!(put.size, u64::from(chunks) * MIB as u64);
        let head = store.head("lake", &key).await?.context("it is there")?;
        assert_eq!((head.size, &head.metadata, &head.etag), (put.size, &metadata, &put.etag));
        let back: Vec<Bytes> = store.get("lake", &key).await?.try_collect().await?;
        let back = back.concat();
        assert_eq!(back.len() as u64, put.size);
        assert!(
            back.chunks(MIB)
                .enumerate()
                .all(|(n, part)| part.iter().all(|byte| usize::from(*byte) == usize::from(b'a') + n % 26))
        );
    }
    assert_eq!(store.head("lake", "missing").await?, None);
    assert_eq!(refused(store.get("lake", "missing").await.map(|_| ()))?.kind, PortErrorKind::NotFound);
    assert_eq!(
        refused(store.put("nowhere", "k", text("a"), PutOptions::default()).await)?.kind,
        PortErrorKind::NotFound
    );
    Ok(())
}

#[tokio::test]
async fn only_if_absent_is_decided_by_the_store() -> Result<()> {
    let world = World::start().await?;
    let store = world.store().await?;
    let careful = || PutOptions { only_if_absent: true, ..PutOptions::default() };
    for (key, chunks) in [("small", 1), ("large", 10)] {
        store.put("lake", key, body(chunks), careful()).await?;
        let error = refused(store.put("lake", key, body(chunks), careful()).await)?;
        assert_eq!(error.kind, PortErrorKind::AlreadyExists, "{}", error.message);
        store.put("lake", key, body(chunks), PutOptions::default()).await?;
    }
    assert_eq!(unfinished(&world)?, 0);
    Ok(())
}

#[tokio::test]
async fn a_failed_or_dropped_upload_leaves_nothing() -> Result<()> {
    let world = World::start().await?;
    let store = world.store().await?;
    let broken =
        body(20).chain(stream::iter([Err(PortError::new(PortErrorKind::Unavailable, "the source broke"))])).boxed();
    let error = refused(store.put("lake", "k", broken, PutOptions::default()).await)?;
    assert_eq!(error.message, "the source broke");
    assert_eq!(unfinished(&world)?, 0);

    let endless = body(20).chain(stream::pending()).boxed();
    let mut put = store.put("lake", "k", endless, PutOptions::default());
    let world_ref = &world;
    tokio::select! {
        _ = &mut put => anyhow::bail!("an endless upload ended"),
        seen = wait_until("parts have arrived", Duration::from_secs(20), async || unfinished(world_ref).is_ok_and(|count| count > 0)) => seen?,
    }
    drop(put);
    wait_until("the dropped upload is gone", Duration::from_secs(20), async || {
        unfinished(world_ref).is_ok_and(|count| count == 0)
    })
    .await?;
    assert_eq!(store.head("lake", "k").await?, None);
    Ok(())
}

#[tokio::test]
async fn many_objects_are_listed_in_pages_and_deleted_in_batches() -> Result<()> {
    let world = World::start().await?;
    let store = world.store().await?;
    let keys: Vec<String> = (0..1500).map(|n| format!("many/{n:04}")).collect();
    stream::iter(&keys)
        .map(|key| store.put("lake", key, text("x"), PutOptions::default()))
        .buffer_unordered(16)
        .try_for_each(|_| async { Ok(()) })
        .await?;
    assert_eq!(world.keys("many/").await?, keys);
    let mut doomed = keys.clone();
    doomed.push("many/never-there".to_owned());
    let report = store.delete("lake", doomed).await?;
    assert_eq!((report.deleted, report.requests, report.errors.len()), (1501, 2, 0));
    assert!(world.keys("many/").await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn troubles_are_named_and_passing_ones_are_tried_again() -> Result<()> {
    let world = World::start().await?;
    let store = world.store().await?;
    world.s3.faults().inject("PutObject", Fault::InternalError, 2);
    store.put("lake", "k", text("abc"), PutOptions::default()).await?;
    world.s3.faults().inject("GetObject", Fault::CutBody { after: 1 }, 1);
    let cut: Result<Vec<Bytes>, PortError> = store.get("lake", "k").await?.try_collect().await;
    assert_eq!(refused(cut)?.kind, PortErrorKind::Unavailable, "a body that breaks off is an error");

    let mut wrong = connection("s3", "aws");
    wrong.login = Some("standin".into());
    wrong.password = Some("not-the-secret".to_owned().into());
    wrong.extra = extra(json!({"endpoint_url": world.s3.endpoint_url()}));
    let error = refused(Connectors::test(&wrong).await)?;
    assert_eq!(error.kind, PortErrorKind::Denied, "{}", error.message);
    assert!(
        error.message.contains("s3:ListAllMyBuckets") && !error.message.contains("not-the-secret"),
        "{}",
        error.message
    );
    wrong.password = Some("standin-secret".to_owned().into());
    assert!(Connectors::test(&wrong).await?.contains("1 buckets"));
    Ok(())
}

#[tokio::test]
async fn scratch_files_appear_whole_and_stay_in_their_run() -> Result<()> {
    let world = World::start().await?;
    let scratch = world.connectors.scratch();
    let work = crate::world::work(0);
    let file = scratch.write(&work, "a.csv", text("abc")).await?;
    assert_eq!(file.size, 3);
    let (_, body) = scratch.read(&work, "a.csv").await?;
    assert_eq!(body.try_collect::<Vec<_>>().await?.concat(), b"abc");
    let broken = stream::iter([Ok(Bytes::from("new")), Err(PortError::new(PortErrorKind::Other, "broke"))]).boxed();
    refused(scratch.write(&work, "a.csv", broken).await)?;
    assert_eq!(std::fs::read(&file.path)?, b"abc", "the old file stays until the new one is whole");
    assert_eq!(std::fs::read_dir(file.path.parent().context("a folder")?)?.count(), 1, "no leftovers");
    assert_eq!(refused(scratch.read(&work, "../a.csv").await.map(|_| ()))?.kind, PortErrorKind::Invalid);
    let mut other = work.clone();
    other.run_id = "another".into();
    assert_eq!(refused(scratch.read(&other, "a.csv").await.map(|_| ()))?.kind, PortErrorKind::NotFound);
    scratch.remove(&work, "a.csv").await?;
    scratch.remove(&work, "a.csv").await?;
    assert!(!file.path.exists());
    Ok(())
}

#[tokio::test]
async fn copies_are_made_by_the_store_at_once_and_in_parts() -> Result<()> {
    let world = World::start().await?;
    world.add(millrace_operator_api::connection::Connection {
        login: Some("standin".to_owned()),
        password: Some("standin-secret".into()),
        extra: extra(json!({"endpoint_url": world.s3.endpoint_url(), "multipart_copy_mib": 5})),
        ..connection("small_copies", "aws")
    });
    let context = world.context(1);
    let in_parts = world.connectors.objects(&context, "small_copies").await?;
    let at_once = world.store().await?;
    let metadata: BTreeMap<String, String> = [("dag".to_owned(), "nightly".to_owned())].into();
    let options = PutOptions { metadata, content_type: Some("text/csv".into()), only_if_absent: false };
    let put = at_once.put("lake", "from here/매출+1.csv", body(12), options).await?;
    let place = |key: &str| ObjectPlace { bucket: "lake".to_owned(), key: key.to_owned() };
    let request = |to: &str| CopyRequest {
        from: place("from here/매출+1.csv"),
        to: place(to),
        only_if_etag: put.etag.clone(),
        metadata: [("task".to_owned(), "copy".to_owned())].into(),
        only_if_absent: true,
    };
    for (store, key) in [(&at_once, "whole"), (&in_parts, "parts")] {
        let copied = store.copy(request(key)).await?;
        let head = store.head("lake", key).await?.context("it is there")?;
        assert_eq!((head.size, &head.etag), (12 * MIB as u64, &copied.etag));
        assert_eq!(head.metadata.keys().collect::<Vec<_>>(), ["dag", "task"]);
        let back: Vec<Bytes> = store.get("lake", key).await?.try_collect().await?;
        assert!(back.concat().chunks(MIB).enumerate().all(|(n, part)| part.iter().all(|b| usize::from(*b) == 97 + n)));
        let again = refused(store.copy(request(key)).await)?;
        assert_eq!(again.kind, PortErrorKind::AlreadyExists, "{}", again.message);
        // Another object at the source is not what was meant.
        let other = CopyRequest { only_if_etag: Some("0cc175b9c0f1b6a831c399e269772661".to_owned()), ..request("no") };
        assert_eq!(refused(store.copy(other).await)?.kind, PortErrorKind::Unavailable);
        let missing = CopyRequest { from: place("none"), only_if_etag: None, ..request("no") };
        assert_eq!(refused(store.copy(missing).await)?.kind, PortErrorKind::NotFound);
    }
    assert_eq!(unfinished(&world)?, 0);
    Ok(())
}

#[tokio::test]
async fn a_signed_url_reads_one_object_without_a_key() -> Result<()> {
    let world = World::start().await?;
    let store = world.store().await?;
    store.put("lake", "report 1.csv", text("a,b"), PutOptions::default()).await?;
    let place = ObjectPlace { bucket: "lake".to_owned(), key: "report 1.csv".to_owned() };
    let url = store.presign(&place, Duration::from_mins(5)).await?;
    assert!(url.contains("X-Amz-Expires=300") && !url.contains("standin-secret"), "{url}");
    // The body too is read beside this thread, which the stand-in answers on.
    let read = |url: String| tokio::task::spawn_blocking(move || ureq::get(&url).call()?.body_mut().read_to_string());
    assert_eq!(read(url.clone()).await??, "a,b");
    let other = url.replace("report%201", "report%202");
    assert!(read(other).await?.is_err(), "the signature is for that object only");
    let year = refused(store.presign(&place, Duration::from_hours(24 * 365)).await)?;
    assert_eq!(year.kind, PortErrorKind::Invalid, "{}", year.message);
    Ok(())
}

#[tokio::test]
async fn the_key_and_the_owner_go_with_every_write() -> Result<()> {
    let world = World::start().await?;
    let add = |conn_id: &str, owner: &str| {
        world.add(millrace_operator_api::connection::Connection {
            login: Some("standin".to_owned()),
            password: Some("standin-secret".into()),
            extra: extra(json!({
                "endpoint_url": world.s3.endpoint_url(), "multipart_copy_mib": 5, "expected_bucket_owner": owner,
                "kms_key_id": "alias/lake",
            })),
            ..connection(conn_id, "aws")
        });
    };
    add("ours", "000000000000");
    add("theirs", "123456789012");
    let context = world.context(1);
    let (ours, theirs) =
        (world.connectors.objects(&context, "ours").await?, world.connectors.objects(&context, "theirs").await?);
    for (key, chunks) in [("small", 1), ("large", 12)] {
        let error = refused(theirs.put("lake", key, body(chunks), PutOptions::default()).await)?;
        assert_eq!(error.kind, PortErrorKind::Denied, "{}", error.message);
        assert_eq!(ours.head("lake", key).await?, None);
        ours.put("lake", key, body(chunks), PutOptions::default()).await?;
        let to = ObjectPlace { bucket: "lake".to_owned(), key: format!("{key}-copy") };
        let from = ObjectPlace { bucket: "lake".to_owned(), key: key.to_owned() };
        let request = CopyRequest { from, to, only_if_etag: None, metadata: BTreeMap::new(), only_if_absent: false };
        assert_eq!(refused(theirs.copy(request.clone()).await)?.kind, PortErrorKind::Denied);
        ours.copy(request).await?;
    }
    let encrypted = world.s3.storage().encryption("lake")?;
    assert_eq!(encrypted.len(), 4);
    for (key, kind, kms_key) in encrypted {
        assert_eq!((kind.as_deref(), kms_key.as_deref()), (Some("aws:kms"), Some("alias/lake")), "{key}");
    }
    Ok(())
}

#[tokio::test]
async fn encryption_without_a_key_of_ones_own_goes_with_every_write() -> Result<()> {
    let world = World::start().await?;
    for (conn_id, kind) in [("plain", "AES256"), ("managed", "aws:kms"), ("double", "aws:kms:dsse")] {
        world.add(millrace_operator_api::connection::Connection {
            login: Some("standin".to_owned()),
            password: Some("standin-secret".into()),
            extra: extra(json!({
                "endpoint_url": world.s3.endpoint_url(), "multipart_copy_mib": 5, "server_side_encryption": kind,
            })),
            ..connection(conn_id, "aws")
        });
        let store = world.connectors.objects(&world.context(1), conn_id).await?;
        for (size, chunks) in [("small", 1), ("large", 12)] {
            let key = format!("{conn_id}-{size}");
            store.put("lake", &key, body(chunks), PutOptions::default()).await?;
            let to = ObjectPlace { bucket: "lake".to_owned(), key: format!("{key}-copy") };
            let from = ObjectPlace { bucket: "lake".to_owned(), key };
            let request =
                CopyRequest { from, to, only_if_etag: None, metadata: BTreeMap::new(), only_if_absent: false };
            store.copy(request).await?;
        }
        let encrypted = world.s3.storage().encryption("lake")?;
        let ours: Vec<_> = encrypted.into_iter().filter(|(key, ..)| key.starts_with(conn_id)).collect();
        assert_eq!(ours.len(), 4, "{ours:?}");
        for (key, found, kms_key) in ours {
            assert_eq!((found.as_deref(), kms_key), (Some(kind), None), "{key}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_lost_part_an_expired_token_and_slow_bytes() -> Result<()> {
    let world = World::start().await?;
    let store = world.store().await?;
    world.s3.faults().inject("UploadPart", Fault::LosePart, 1);
    let error = refused(store.put("lake", "k", body(20), PutOptions::default()).await)?;
    assert!(error.message.contains("InvalidPart"), "{}", error.message);
    assert_eq!(error.kind, PortErrorKind::Unavailable, "another try sends every part again");
    assert_eq!((unfinished(&world)?, store.head("lake", "k").await?), (0, None));
    store.put("lake", "k", body(20), PutOptions::default()).await?;

    world.s3.faults().inject("PutObject", Fault::ExpiredCredentials, 1);
    let error = refused(store.put("lake", "e", text("x"), PutOptions::default()).await)?;
    assert_eq!((error.kind, error.code.as_deref()), (PortErrorKind::Denied, Some("ExpiredToken")), "{}", error.message);
    assert!(error.message.contains("expired"), "{}", error.message);

    store.put("lake", "slow", text("0123456789"), PutOptions::default()).await?;
    world.s3.faults().inject("GetObject", Fault::SlowBody { bytes: 3, every: Duration::from_millis(1) }, 1);
    let pieces: Vec<Bytes> = store.get("lake", "slow").await?.try_collect().await?;
    assert_eq!(pieces.concat(), b"0123456789");
    Ok(())
}

#[tokio::test]
async fn an_object_is_read_as_the_one_that_was_seen_or_not_at_all() -> Result<()> {
    let world = World::start().await?;
    let store = world.store().await?;
    let seen = world.put("k", b"0123456789".to_vec()).await?;
    let read = async |range| {
        let pieces: Vec<Bytes> = store.get_same(&seen, range).await?.try_collect().await?;
        Ok::<_, PortError>(pieces.concat())
    };
    assert_eq!(read(None).await?, b"0123456789");
    assert_eq!(read(Some(3..5)).await?, b"34");
    world.put("k", b"9876543210".to_vec()).await?;
    for range in [None, Some(0..1)] {
        let error = refused(read(range).await)?;
        assert_eq!(error.kind, PortErrorKind::Unavailable, "{}", error.message);
        assert!(error.message.contains("s3://lake/k is not the file any more"), "{}", error.message);
    }
    store.delete("lake", vec!["k".to_owned()]).await?;
    assert_eq!(refused(read(None).await)?.kind, PortErrorKind::NotFound);
    Ok(())
}
