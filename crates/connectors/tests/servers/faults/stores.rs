//! The object store refuses, breaks off, forgets and stalls.

use std::time::Duration;

use anyhow::{Context, Result};
use millrace_devstack::Fault;
use millrace_testkit::wait_until;
use serde_json::{Value, json};

use crate::copies::databases::Kind;
use crate::tasks::{METHODS, PATIENCE, Target, extract, impatient, may_try_again, no_upload_is_left, patient, source};
use crate::world::World;

struct Way {
    table: &'static str,
    more: Value,
    /// Objects that are written.
    objects: usize,
    faults: Vec<(&'static str, Fault)>,
}

fn ways() -> [Way; 3] {
    let whole = || {
        vec![
            ("HeadObject", Fault::InternalError),
            ("PutObject", Fault::InternalError),
            ("PutObject", Fault::Throttle),
            ("PutObject", Fault::CutConnection),
            ("PutObject", Fault::LoseAnswer),
            ("PutObject", Fault::ExpiredCredentials),
        ]
    };
    let in_parts = vec![
        ("CreateMultipartUpload", Fault::InternalError),
        ("CreateMultipartUpload", Fault::CutConnection),
        ("UploadPart", Fault::Throttle),
        ("UploadPart", Fault::CutConnection),
        ("UploadPart", Fault::LoseAnswer),
        ("UploadPart", Fault::LosePart),
        ("UploadPart", Fault::ExpiredCredentials),
        ("CompleteMultipartUpload", Fault::InternalError),
        ("CompleteMultipartUpload", Fault::CutConnection),
        ("CompleteMultipartUpload", Fault::LoseAnswer),
    ];
    [
        Way { table: "small", more: json!({}), objects: 1, faults: whole() },
        Way { table: "small", more: json!({"max_rows_per_file": 7}), objects: 4, faults: whole() },
        Way { table: "large", more: json!({}), objects: 1, faults: in_parts },
    ]
}

async fn the_store_fails(which: usize) -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    for (number, way) in ways().into_iter().enumerate().skip(which).take(1) {
        for (operation, fault) in way.faults {
            let told = format!("{} {}: {operation} {fault:?}", way.table, way.more);
            let key = format!("{number}/{operation}/{fault:?}").replace(' ', "");
            let task = extract(&world, &source, way.table, &key, way.more.clone());
            world.s3.faults().inject(operation, fault, 1);
            impatient(&world, "s3");
            let message = may_try_again(task.run(1).await).context(told.clone())?;
            patient(&world, "s3");
            assert!(message.contains("s3://lake/"), "{told}: {message}");
            assert_eq!(world.s3.faults().pending(), 0, "{told}");
            no_upload_is_left(&world).await?;
            let said = task.run(2).await.context(told.clone())?;
            let rows = if way.table == "small" { 20 } else { 10 };
            assert_eq!(said["rows"], json!(rows), "{told}");
            assert_eq!(world.keys(&key).await?.len(), way.objects, "{told}: {:?}", world.keys(&key).await?);
            no_upload_is_left(&world).await?;
        }
    }
    Ok(())
}

#[tokio::test]
async fn an_extract_that_the_store_fails_is_whole_at_its_next_try() -> Result<()> {
    the_store_fails(0).await
}

#[tokio::test]
async fn an_extract_in_files_that_the_store_fails_is_whole_at_its_next_try() -> Result<()> {
    the_store_fails(1).await
}

#[tokio::test]
async fn a_large_extract_that_the_store_fails_is_whole_at_its_next_try() -> Result<()> {
    the_store_fails(2).await
}

#[tokio::test]
async fn an_extract_killed_after_any_request_is_done_once() -> Result<()> {
    killed_after_any_request(0).await
}

#[tokio::test]
async fn an_extract_in_files_killed_after_any_request_is_done_once() -> Result<()> {
    killed_after_any_request(1).await
}

#[tokio::test]
async fn a_large_extract_killed_after_any_request_is_done_once() -> Result<()> {
    killed_after_any_request(2).await
}

/// The process is gone after any request to the store: nobody tidies up after it.
async fn killed_after_any_request(which: usize) -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let target = Target::start(&world, Kind::Lite).await?;
    for (number, way) in ways().into_iter().enumerate().skip(which).take(1) {
        let mut deaths = 0;
        for request in 0.. {
            let key = format!("killed/{number}/{request}");
            let task = extract(&world, &source, way.table, &key, way.more.clone());
            world.s3.faults().inject("*", Fault::Delay(Duration::ZERO), request);
            world.s3.faults().inject("*", Fault::Delay(Duration::from_hours(1)), 1);
            let mut first = Box::pin(task.run(1));
            let is_dead = tokio::select! {
                ended = &mut first => {
                    ended?;
                    false
                }
                waited = wait_until("the request is there", PATIENCE, async || world.s3.faults().pending() == 0) => {
                    waited?;
                    true
                }
            };
            if !is_dead {
                world.s3.faults().clear();
                break;
            }
            std::mem::forget(first);
            deaths += 1;
            let said = task.run(2).await?;
            let objects = world.keys(&key).await?;
            assert_eq!(objects.len(), way.objects, "{key}: {objects:?}");
            if way.table == "small" {
                target.fill().await?;
                target.load(&world, "replace", &said, json!({})).run(1).await?;
                assert_eq!(target.rows().await?, Target::after("replace"), "{key}");
            } else {
                let found = world.store().await?.head("lake", &key).await?.context("it was written")?;
                assert_eq!((&said["rows"], &said["bytes"]), (&json!(10), &json!(found.size)), "{key}");
            }
        }
        // A look and a write at least; parts and their list, or parts of one object, are more.
        assert!(deaths >= 2 + 2 * number.min(1), "{deaths} deaths");
    }
    Ok(())
}

async fn loads_hold(kind: Kind) -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let target = Target::start(&world, kind).await?;
    let said = extract(&world, &source, "small", "in.csv", json!({"max_rows_per_file": 7})).run(1).await?;
    for method in METHODS {
        for (operation, fault) in [
            ("HeadObject", Fault::InternalError),
            ("GetObject", Fault::InternalError),
            ("GetObject", Fault::CutConnection),
            ("GetObject", Fault::CutBody { after: 10 }),
            ("GetObject", Fault::ExpiredCredentials),
        ] {
            let told = format!("{method}: {operation} {fault:?}");
            target.fill().await?;
            let load = target.load(&world, method, &said, json!({}));
            world.s3.faults().inject(operation, fault, 1);
            impatient(&world, "s3");
            may_try_again(load.run(1).await).context(told.clone())?;
            patient(&world, "s3");
            assert_eq!(world.s3.faults().pending(), 0, "{told}");
            assert_eq!(target.rows().await?, Target::before(), "{told}");
            load.run(2).await.context(told.clone())?;
            assert_eq!(target.rows().await?, Target::after(method), "{told}");
            // A third try, after a death that lost the answer of the second.
            assert_eq!(load.run(3).await?["was_loaded_before"], json!(true), "{told}");
            assert_eq!(target.rows().await?, Target::after(method), "{told}");
            assert!(target.leftovers()?.is_empty(), "{told}: {:?}", target.leftovers()?);
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_load_into_postgres_that_the_store_fails_changes_nothing_and_its_next_try_everything() -> Result<()> {
    loads_hold(Kind::Postgres).await
}

#[tokio::test]
async fn a_load_into_sqlite_that_the_store_fails_changes_nothing_and_its_next_try_everything() -> Result<()> {
    loads_hold(Kind::Lite).await
}

/// A store that takes a request and never answers is given up; one that answers slowly is not.
#[tokio::test]
async fn a_store_that_does_not_answer_is_asked_again_and_slow_bytes_arrive() -> Result<()> {
    let world = World::start().await?;
    let source = source(&world).await?;
    let target = Target::start(&world, Kind::Lite).await?;
    let said = extract(&world, &source, "small", "in.csv", json!({})).run(1).await?;
    let silent = Fault::Delay(Duration::from_hours(1));
    let settings = |attempts: u32| json!({"read_timeout": 0.3, "retries": {"total_max_attempts": attempts}});
    let set = |attempts| {
        world.change("s3", |connection| {
            connection.extra.0.insert("config_kwargs".to_owned(), settings(attempts));
        });
    };
    set(1);
    let load = target.load(&world, "replace", &said, json!({}));
    world.s3.faults().inject("GetObject", silent.clone(), 1);
    may_try_again(load.run(1).await)?;
    assert_eq!(target.rows().await?, Target::before());
    set(2);
    world.s3.faults().inject("GetObject", silent, 1);
    world.s3.faults().inject("GetObject", Fault::SlowBody { bytes: 7, every: Duration::from_millis(1) }, 1);
    load.run(2).await?;
    assert_eq!(world.s3.faults().pending(), 0);
    assert_eq!(target.rows().await?, Target::after("replace"));
    Ok(())
}
