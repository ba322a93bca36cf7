//! UNLOAD by the Data API, against the stand-in on a real PostgreSQL.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::TryStreamExt;
use millrace_devstack::Fault;
use millrace_operator_api::PortErrorKind;
use millrace_operator_api::ports::{Existing, ObjectPlace, UnloadRequest};

use millrace_testkit::wait_until;

use crate::redshift::{start, subject};
use crate::world::{World, refused, work};

async fn request(world: &World, query: &str, options: &[&str]) -> Result<UnloadRequest> {
    Ok(UnloadRequest {
        query: query.to_owned(),
        to: ObjectPlace { bucket: "lake".to_owned(), key: "out/nps_".to_owned() },
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        existing: Existing::Refuse,
        null_marker: Some("\\N".to_owned()),
        store: world.store().await?,
        note_prefix: "_millrace/w/".to_owned(),
        work: work(0),
    })
}

async fn body(world: &World, key: &str) -> Result<String> {
    let chunks: Vec<Bytes> = world.store().await?.get("lake", key).await?.try_collect().await?;
    Ok(String::from_utf8(chunks.concat())?)
}

const QUERY: &str = r"SELECT 1 AS id, 'it''s a\\b' AS note UNION ALL SELECT 2, NULL ORDER BY 1";

#[tokio::test]
async fn rows_go_to_the_bucket_once_and_strangers_are_left_alone() -> Result<()> {
    let (stand, first) = start(&[]).await?;
    let options = ["FORMAT AS CSV", "HEADER", r"NULL AS '\\N'", "MANIFEST"];
    let wanted = request(&stand.world, QUERY, &options).await?;
    let report = first.warehouse.unload(wanted.clone()).await?;
    assert_eq!((report.rows, report.was_unloaded_before), (Some(2), false));
    assert!(report.remote_ids.iter().any(|id| id.starts_with("query:")), "{:?}", report.remote_ids);
    assert_eq!(report.columns, ["id", "note"]);
    let keys = ["out/nps_0000_part_00", "out/nps_manifest"];
    assert_eq!(report.objects.iter().map(|object| object.key.as_str()).collect::<Vec<_>>(), keys);
    let text = body(&stand.world, keys[0]).await?;
    assert!(text.starts_with("id,note\n1,it's a") && text.ends_with("\n2,\\N\n"), "{text}");

    // Whose key only begins alike is none of it.
    stand.world.put("out/nps_old/2023.csv", b"precious".to_vec()).await?;
    // A try that follows one that died after all was done.
    let second = subject(&stand, 2).await?;
    let again = second.warehouse.unload(wanted.clone()).await?;
    assert_eq!((again.rows, again.was_unloaded_before, again.objects.len()), (Some(2), true, 2));
    assert_eq!(again.columns, report.columns);

    // One that died in the middle: the note is there without the number of rows.
    let note = stand.world.keys("_millrace/").await?;
    let [note] = &note[..] else { panic!("one note: {note:?}") };
    let store = stand.world.store().await?;
    store.delete("lake", keys.iter().map(|key| (*key).to_owned()).collect()).await?;
    stand.world.put(note, b"begun".to_vec()).await?;
    stand.world.put("out/nps_0001_part_00", b"half".to_vec()).await?;
    let third = subject(&stand, 3).await?;
    stand.world.put("out/nps_old/2023.csv", b"precious, and newer".to_vec()).await?;
    let error = refused(third.warehouse.unload(wanted.clone()).await)?;
    assert!(error.kind == PortErrorKind::AlreadyExists && error.message.contains("out/nps_old/2023.csv"), "{error}");
    assert_eq!(body(&stand.world, "out/nps_old/2023.csv").await?, "precious, and newer");
    store.delete("lake", vec!["out/nps_old/2023.csv".to_owned()]).await?;
    let redone = third.warehouse.unload(wanted.clone()).await?;
    assert_eq!((redone.rows, redone.was_unloaded_before), (Some(2), false));
    assert_eq!(stand.world.keys("out/").await?, keys, "what was half written is gone");

    // Another work finds objects that are not its own.
    let foreign = UnloadRequest { note_prefix: "_millrace/other/".to_owned(), ..wanted.clone() };
    let error = refused(third.warehouse.unload(foreign.clone()).await)?;
    assert_eq!(error.kind, PortErrorKind::AlreadyExists);
    assert!(error.message.contains("s3://lake/out/nps_") && error.message.contains("allowoverwrite"), "{error}");
    let over = UnloadRequest { existing: Existing::Overwrite, ..foreign };
    assert_eq!(subject(&stand, 4).await?.warehouse.unload(over).await?.rows, Some(2));
    Ok(())
}

/// The process is killed at each write of its journal. What Redshift has written by then, the next try does not remove.
#[tokio::test]
async fn an_unload_killed_at_any_write_is_there_once() -> Result<()> {
    for after in [false, true] {
        let mut deaths = 0;
        for number in 1.. {
            let (stand, first) = start(&[]).await?;
            let wanted = request(&stand.world, QUERY, &["FORMAT AS CSV"]).await?;
            let is_dead = stand.world.journal.kills((number, after), first.warehouse.unload(wanted.clone())).await?;
            if !is_dead {
                break;
            }
            deaths += 1;
            // The first write is the intent: nothing is sent before.
            if number > 1 {
                let is_written = async || stand.world.keys("out/").await.is_ok_and(|keys| !keys.is_empty());
                wait_until("the files were written", Duration::from_secs(20), is_written).await?;
            }
            let report = subject(&stand, 2).await?.warehouse.unload(wanted.clone()).await?;
            assert_eq!((report.rows, report.objects.len()), (Some(2), 1), "death at {number}, after: {after}");
            assert_eq!(body(&stand.world, "out/nps_0000_part_00").await?.lines().count(), 2);
            let third = subject(&stand, 3).await?.warehouse.unload(wanted).await?;
            assert_eq!((third.rows, third.was_unloaded_before), (Some(2), true));
        }
        assert_eq!(deaths, 3);
    }
    Ok(())
}

/// An earlier try's statement that cannot be asked about may be writing still.
#[tokio::test]
async fn nothing_is_removed_or_sent_anew_while_an_earlier_unload_cannot_be_asked_about() -> Result<()> {
    let (stand, first) = start(&[]).await?;
    // One that asks nothing before it.
    let wanted = UnloadRequest { null_marker: None, ..request(&stand.world, QUERY, &["FORMAT AS CSV"]).await? };
    let faults = stand.redshift.faults();
    // More than the client itself asks again.
    faults.inject("BatchExecuteStatement", Fault::LoseAnswer, 20);
    for subject in [first, subject(&stand, 2).await?] {
        let error = refused(subject.warehouse.unload(wanted.clone()).await)?;
        assert_eq!(error.kind, PortErrorKind::Unavailable, "{error}");
    }
    assert_eq!(stand.world.journal.all().len(), 1, "one statement, asked about again");
    faults.clear();
    let report = subject(&stand, 3).await?.warehouse.unload(wanted).await?;
    assert_eq!((report.rows, report.objects.len()), (Some(2), 1));
    Ok(())
}

#[tokio::test]
async fn rows_without_objects_are_an_error() -> Result<()> {
    let (stand, subject) = start(&[]).await?;
    let elsewhere = World::start().await?;
    let wanted =
        UnloadRequest { store: elsewhere.store().await?, ..request(&stand.world, QUERY, &["FORMAT AS CSV"]).await? };
    let error = refused(subject.warehouse.unload(wanted).await)?;
    assert!(error.message.contains("wrote 2 rows, but there are no objects"), "{error}");
    Ok(())
}

/// COPY takes a field for NULL by its text, quoted or not.
#[tokio::test]
async fn a_text_that_stands_for_null_is_found_before_anything_is_written() -> Result<()> {
    let statements = [
        "CREATE TABLE texts (id INT, note VARCHAR(20), code CHAR(4), day DATE, is_new BOOLEAN)",
        r"INSERT INTO texts VALUES (1, 'a', 'x', '2024-01-01', true), (2, '\\N', 'y', NULL, false), (3, NULL, NULL, NULL, NULL)",
    ];
    let (stand, subject) = start(&statements).await?;
    let wanted = request(&stand.world, "SELECT * FROM texts -- all", &["FORMAT AS CSV", r"NULL AS '\\N'"]).await?;
    let error = refused(subject.warehouse.unload(wanted.clone()).await)?;
    assert_eq!(error.kind, PortErrorKind::Data);
    assert!(error.message.contains(r"exactly '\N', in note (1), which stands for NULL"), "{error}");
    assert!(stand.world.keys("out/").await?.is_empty());
    // Another text, or none that stands for NULL alone.
    for (marker, clause) in [("~", "NULL AS '~'"), ("", "NULL AS ''")] {
        let to = ObjectPlace { bucket: "lake".to_owned(), key: format!("out/with{marker}_") };
        let options = vec!["FORMAT AS CSV".to_owned(), clause.to_owned()];
        let other = UnloadRequest { to, options, null_marker: Some(marker.to_owned()), ..wanted.clone() };
        let report = subject.warehouse.unload(other).await?;
        assert_eq!(
            (report.rows, report.columns),
            (Some(3), ["id", "note", "code", "day", "is_new"].map(str::to_owned).to_vec())
        );
    }
    // What divides by zero itself is told as that.
    let query = "SELECT 'a' AS note, 1 / id AS part FROM (SELECT 0 AS id FROM texts) AS zeros";
    let error = refused(subject.warehouse.unload(UnloadRequest { query: query.to_owned(), ..wanted.clone() }).await)?;
    assert!(error.message.contains("division by zero"), "{error}");
    let query = "SELECT id, id FROM texts".to_owned();
    let error = refused(subject.warehouse.unload(UnloadRequest { query, ..wanted }).await)?;
    assert!(error.message.contains("each column needs a name of its own"), "{error}");
    Ok(())
}

#[tokio::test]
async fn a_query_that_fails_tells_why_and_shows_no_credentials() -> Result<()> {
    let (stand, subject) = start(&[]).await?;
    let wanted = request(&stand.world, "SELECT 1 FROM nowhere", &["FORMAT AS CSV"]).await?;
    let error = refused(subject.warehouse.unload(wanted).await)?;
    assert!(error.message.contains("nowhere") && error.message.contains("s3://lake/out/nps_"), "{error}");
    assert!(!error.message.contains("arn:aws"), "{error}");
    assert!(stand.world.keys("out/").await?.is_empty());
    Ok(())
}
