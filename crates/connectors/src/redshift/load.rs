//! A load into Redshift, step by step; safe to run again after dying at any of them.

use futures::stream;
use millrace_operator_api::ports::{LoadMethod, LoadReport, LoadRequest, PutOptions, SmallResult};
use millrace_operator_api::{PortError, PortErrorKind};
use sha2::{Digest, Sha256};

use super::plan::{LoadPlan, manifest};
use crate::failure::{invalid, while_doing};
use crate::postgres::check_keys;
use crate::session::{Session, describe, has_marker, marker_of};
use crate::sql::scalar_number;

pub struct Options<'a> {
    pub credentials: &'a str,
    pub region: Option<&'a str>,
}

pub async fn load(
    session: &dyn Session,
    options: &Options<'_>,
    request: &LoadRequest,
) -> Result<LoadReport, PortError> {
    let table_columns = describe(session, &request.target).await?;
    let columns = file_columns(request, &table_columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>())?;
    check_keys(request, &columns)?;
    let marker = marker_of(&request.work);
    // An earlier try's statements may still be on their way: nothing is decided before they have ended.
    session.await_earlier().await?;
    if has_marker(session, &request.target, &marker).await? {
        return Ok(LoadReport { was_loaded_before: true, ..LoadReport::default() });
    }
    if request.objects.is_empty() {
        // A manifest without entries is an error to Redshift.
        if request.method == LoadMethod::Replace {
            return Err(invalid(format!("there are no files to replace the rows of {} with", request.target)));
        }
        return Ok(LoadReport { rows_read: Some(0), rows_inserted: Some(0), ..LoadReport::default() });
    }
    let hash = fingerprint(request);
    let (bucket, prefix) = &request.manifest_prefix;
    let key = format!(
        "{}{hash}.manifest",
        if prefix.is_empty() || prefix.ends_with('/') { prefix.clone() } else { format!("{prefix}/") }
    );
    let manifest_url = format!("s3://{bucket}/{key}");
    let plan = LoadPlan {
        target: &request.target,
        table_columns: &table_columns,
        columns: &columns,
        method: &request.method,
        format: &request.format,
        manifest_url: &manifest_url,
        credentials: options.credentials,
        region: options.region,
        marker: &marker,
        hash: &hash,
    };
    write_manifest(request, bucket, &key).await?;
    let result = copy_and_publish(session, &plan, request).await;
    // The manifest has done its work in every outcome; what cannot be removed now is overwritten by the next try.
    if let Err(error) = request.store.delete(bucket, vec![key]).await {
        tracing::warn!(manifest = manifest_url, error = error.message, "the manifest could not be removed");
    }
    result.map_err(|error| while_doing(&format!("loading into {}", request.target), error))
}

async fn copy_and_publish(
    session: &dyn Session,
    plan: &LoadPlan<'_>,
    request: &LoadRequest,
) -> Result<LoadReport, PortError> {
    match copy_and_publish_as(session, plan, request, ["stage", "load"]).await {
        // A COPY that was sent before was taken for this one, but its table was dropped in the meantime.
        Err(error) if error.kind == PortErrorKind::NotFound && error.message.contains(&plan.staging().name) => {
            copy_and_publish_as(session, plan, request, ["stage-again", "load-again"]).await
        }
        other => other,
    }
}

async fn copy_and_publish_as(
    session: &dyn Session,
    plan: &LoadPlan<'_>,
    request: &LoadRequest,
    [stage, load]: [&str; 2],
) -> Result<LoadReport, PortError> {
    let staged = match session.run(stage, plan.stage()).await {
        Ok(staged) => staged,
        Err(error) => {
            drop_staging(session, plan).await;
            return Err(error);
        }
    };
    let (statements, counts) = plan.publish();
    match session.run(load, statements).await {
        Ok(done) => {
            let count = |index: Option<usize>| index.and_then(|index| done.get(index)).and_then(scalar_number);
            let rows_read = staged.get(3).and_then(scalar_number);
            Ok(LoadReport {
                rows_read,
                rows_inserted: count(counts.inserted),
                rows_updated: count(counts.updated),
                rows_deleted: count(counts.deleted),
                // With MAXERROR the number is known to the system tables only.
                rows_rejected: (request.format.max_error == 0).then_some(0),
                was_loaded_before: false,
                remote_ids: remote_ids(&[&staged, &done]),
            })
        }
        Err(error) => {
            // A statement whose answer was lost may have committed: the marker knows.
            let is_loaded =
                error.kind != PortErrorKind::Cancelled && has_marker(session, plan.target, plan.marker).await?;
            drop_staging(session, plan).await;
            if is_loaded {
                return Ok(LoadReport {
                    was_loaded_before: true,
                    remote_ids: remote_ids(&[&staged]),
                    ..LoadReport::default()
                });
            }
            Err(error)
        }
    }
}

/// In every outcome, as far as it can be done; its name is the same for the next try, which drops it first.
async fn drop_staging(session: &dyn Session, plan: &LoadPlan<'_>) {
    if let Err(error) = session.clean_up(plan.drop_staging()).await {
        tracing::warn!(table = %plan.staging(), error = error.message, "the staging table could not be dropped");
    }
}

fn remote_ids(results: &[&Vec<SmallResult>]) -> Vec<String> {
    let mut ids: Vec<String> =
        results.iter().flat_map(|results| results.iter().filter_map(|result| result.remote_id.clone())).collect();
    ids.dedup();
    ids
}

fn file_columns(request: &LoadRequest, all: &[String]) -> Result<Vec<String>, PortError> {
    let Some(names) = &request.columns else { return Ok(all.to_vec()) };
    names
        .iter()
        .map(|name| {
            // Redshift's names have no case unless the cluster is told otherwise.
            all.iter()
                .find(|known| *known == name)
                .or_else(|| all.iter().find(|known| known.eq_ignore_ascii_case(name)))
                .cloned()
                .ok_or_else(|| {
                    invalid(format!("table {} has no column {name:?}; it has {}", request.target, all.join(", ")))
                })
        })
        .collect()
}

/// Of the work and of exactly what is loaded: a try that is handed other files does not take up an earlier staging.
fn fingerprint(request: &LoadRequest) -> String {
    let mut digest = Sha256::new();
    digest.update(marker_of(&request.work));
    digest.update([0]);
    digest.update(request.target.to_string());
    for object in &request.objects {
        digest.update(format!("\0{}\0{}\0{}", object.url(), object.size, object.etag.as_deref().unwrap_or_default()));
    }
    digest.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

async fn write_manifest(request: &LoadRequest, bucket: &str, key: &str) -> Result<(), PortError> {
    let urls: Vec<(String, u64)> = request.objects.iter().map(|object| (object.url(), object.size)).collect();
    let text = manifest(urls.iter().map(|(url, size)| (url.as_str(), *size)));
    let options = PutOptions { content_type: Some("application/json".to_owned()), ..PutOptions::default() };
    let body = Box::pin(stream::iter([Ok(bytes::Bytes::from(text))]));
    request
        .store
        .put(bucket, key, body, options)
        .await
        .map(|_| ())
        .map_err(|error| while_doing("writing the manifest of the load", error))
}
