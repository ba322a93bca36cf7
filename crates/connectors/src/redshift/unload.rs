//! Rows of a query into objects, written by Redshift itself; safe to run again after dying at any step.

mod columns;

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{TryStreamExt, stream};
use millrace_operator_api::ports::{Existing, ObjectInfo, PutOptions, UnloadReport, UnloadRequest};
use millrace_operator_api::{PortError, PortErrorKind};
use sha2::{Digest, Sha256};

use super::load::remote_ids;
use super::plan::escaped;
use crate::parts::failure::{data, invalid, while_doing};
use crate::parts::session::Session;
use crate::parts::sql::scalar_number;

/// What the note of a work says of itself.
const STATEMENT: &str = "millrace-statement";
const ROWS: &str = "millrace-rows";

/// By what Redshift reaches the bucket. Never shown.
pub struct Authorization<'a> {
    pub credentials: &'a str,
    pub symmetric_key: Option<&'a str>,
    pub region: Option<&'a str>,
}

/// UNLOAD leaves nothing in the database that would tell whether it was done, and its objects carry no mark. So before the
/// first one a note is written beside them, and afterwards how many rows there were.
/// `reading` writes nothing down of what it asks.
pub async fn unload(
    (session, reading): (&dyn Session, &dyn Session),
    authorization: &Authorization<'_>,
    request: &UnloadRequest,
) -> Result<UnloadReport, PortError> {
    let attempted = format!("unloading into {}", request.to.url());
    run((session, reading), authorization, request).await.map_err(|error| while_doing(&attempted, error))
}

async fn run(
    (session, reading): (&dyn Session, &dyn Session),
    authorization: &Authorization<'_>,
    request: &UnloadRequest,
) -> Result<UnloadReport, PortError> {
    let asked = columns::Asked::of(reading, request).await?;
    let mut statements = vec![
        statement(authorization, request),
        "SELECT pg_last_query_id()".to_owned(),
        "SELECT pg_last_unload_count()".to_owned(),
    ];
    let guard = asked.guard();
    let own = usize::from(guard.is_some());
    statements.splice(..0, guard);
    // What an earlier try's statement has written, or writes still, is what was asked for: nothing of it may be removed.
    let taken_up = session.take_up("unload", &statements).await;
    let results = match asked.explain(reading, taken_up).await? {
        Some(results) => results,
        None => {
            session.await_earlier().await?;
            if request.existing == Existing::Refuse
                && let Some(rows) = prepare(request).await?
            {
                let objects = written(request).await?;
                return Ok(UnloadReport {
                    rows: Some(rows),
                    objects,
                    columns: asked.names(),
                    was_unloaded_before: true,
                    ..UnloadReport::default()
                });
            }
            let results = session.run("unload", statements).await;
            asked.explain(reading, results).await?
        }
    };
    let rows = results.get(own + 2).and_then(scalar_number);
    let objects = written(request).await?;
    if let (Some(1..), true) = (rows, objects.is_empty()) {
        return Err(data(format!(
            "Redshift says that it wrote {} rows, but there are no objects; see whether something removes them, or whether \
             the connection for S3 leads to another bucket of that name, and run the task again",
            rows.unwrap_or_default()
        )));
    }
    if let (Existing::Refuse, Some(rows)) = (request.existing, rows) {
        note(request, Some(rows)).await?;
    }
    let mut ids = remote_ids(&[&results]);
    ids.extend(results.get(own + 1).and_then(scalar_number).map(|id| format!("query:{id}")));
    Ok(UnloadReport { rows, objects, columns: asked.names(), was_unloaded_before: false, remote_ids: ids })
}

fn statement(authorization: &Authorization<'_>, request: &UnloadRequest) -> String {
    let has = |word: &str| request.options.iter().any(|option| option.split(' ').next() == Some(word));
    let mut parts = vec![
        format!("UNLOAD ({})", escaped(&request.query)),
        format!("TO {}", escaped(&request.to.url())),
        authorization.credentials.to_owned(),
    ];
    if let Some(key) = authorization.symmetric_key.filter(|_| has("ENCRYPTED") && !has("KMS_KEY_ID")) {
        parts.push(format!("MASTER_SYMMETRIC_KEY {}", escaped(key)));
    }
    if let Some(region) = authorization.region.filter(|_| !has("REGION")) {
        parts.push(format!("REGION {}", escaped(region)));
    }
    parts.extend(request.options.iter().cloned());
    match request.existing {
        Existing::Refuse => {}
        Existing::Overwrite => parts.push("ALLOWOVERWRITE".to_owned()),
        Existing::Remove => parts.push("CLEANPATH".to_owned()),
    }
    parts.join(" ")
}

/// Makes sure that nothing but this work writes there. The rows, when an earlier try had done all of it.
async fn prepare(request: &UnloadRequest) -> Result<Option<u64>, PortError> {
    let found = objects(request).await?;
    let known = request.store.head(&request.to.bucket, &note_key(request)).await?;
    if let Some(known) = &known {
        let rows = known.metadata.get(ROWS).and_then(|rows| rows.parse().ok());
        let is_same = known.metadata.get(STATEMENT) == Some(&fingerprint(request));
        if let (Some(rows), true) = (rows, is_same && (rows == Some(0) || !found.is_empty())) {
            return Ok(Some(rows));
        }
    }
    let is_own = |object: &ObjectInfo| {
        is_written_by_unload(request, &object.key)
            && known
                .as_ref()
                .is_some_and(|known| known.last_modified.is_some() && object.last_modified >= known.last_modified)
    };
    if let Some(foreign) = found.iter().find(|object| !is_own(object)) {
        return Err(PortError::new(
            PortErrorKind::AlreadyExists,
            format!(
                "there are objects already, such as {}; choose another key, or write allowoverwrite (those of the same name are \
                 overwritten) or cleanpath (all are removed) among the options",
                foreign.url()
            ),
        ));
    }
    if known.is_none() {
        note(request, None).await?;
    }
    if !found.is_empty() {
        tracing::info!(objects = found.len(), "what an earlier try of this task had begun to write is removed");
        let keys = found.into_iter().map(|object| object.key).collect();
        let report = request.store.delete(&request.to.bucket, keys).await?;
        if let Some((key, reason)) = report.errors.first() {
            return Err(invalid(format!("an object of an earlier try could not be removed: {key}: {reason}")));
        }
    }
    Ok(None)
}

async fn objects(request: &UnloadRequest) -> Result<Vec<ObjectInfo>, PortError> {
    let note = note_key(request);
    let found: Vec<ObjectInfo> = request.store.list(&request.to.bucket, &request.to.key).try_collect().await?;
    Ok(found.into_iter().filter(|object| object.key != note).collect())
}

/// What Redshift wrote: others may keep objects whose keys begin alike.
async fn written(request: &UnloadRequest) -> Result<Vec<ObjectInfo>, PortError> {
    let found = objects(request).await?;
    Ok(found.into_iter().filter(|object| is_written_by_unload(request, &object.key)).collect())
}

/// `0000_part_00.parquet` or `000.gz` behind the key, in folders for values of partitions (`day=2024-01-31/`), or `manifest`.
fn is_written_by_unload(request: &UnloadRequest, key: &str) -> bool {
    let Some(rest) = key.strip_prefix(&request.to.key) else { return false };
    let (folders, name) = rest.rsplit_once('/').map_or((None, rest), |(folders, name)| (Some(folders), name));
    let is_number = |text: &str| text.len() >= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let stem = name.split('.').next().unwrap_or_default();
    let is_part = match stem.split_once("_part_") {
        Some((slice, part)) => is_number(slice) && is_number(part),
        None => is_number(stem),
    };
    match folders {
        None => is_part || name == "manifest",
        Some(folders) => is_part && folders.trim_start_matches('/').split('/').all(|folder| folder.contains('=')),
    }
}

async fn note(request: &UnloadRequest, rows: Option<u64>) -> Result<(), PortError> {
    let mut metadata = BTreeMap::from([(STATEMENT.to_owned(), fingerprint(request))]);
    metadata.extend(rows.map(|rows| (ROWS.to_owned(), rows.to_string())));
    let body = Box::pin(stream::iter([Ok(Bytes::from(request.work.marker()))]));
    let options = PutOptions { metadata, ..PutOptions::default() };
    let put = request.store.put(&request.to.bucket, &note_key(request), body, options).await;
    put.map(|_| ()).map_err(|error| while_doing("writing the note of this unload", error))
}

fn note_key(request: &UnloadRequest) -> String {
    format!("{}{}.unload", request.note_prefix, &digest(&[&request.to.url()])[..16])
}

fn fingerprint(request: &UnloadRequest) -> String {
    let mut parts = vec![request.query.as_str()];
    parts.extend(request.options.iter().map(String::as_str));
    digest(&parts)
}

fn digest(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}
