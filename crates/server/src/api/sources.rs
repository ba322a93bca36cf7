//! The texts of DAG files, version by version.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use millrace_model::error_code::ErrorCode;
use millrace_store::DagVersionRow;
use schemars::JsonSchema;
use serde::Serialize;

use super::logs::wants_text;
use super::{Instant, instant, listed, paged, uuid};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::{Server, Shared};

listed!(DagVersions { dag_versions: DagVersion });

#[derive(Serialize, JsonSchema)]
pub(crate) struct DagVersion {
    id: String,
    version_number: u32,
    dag_id: String,
    dag_display_name: String,
    fileloc: String,
    content_hash: String,
    created_at: Instant,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct DagSource {
    dag_id: String,
    dag_display_name: String,
    version_number: u32,
    /// The file's text; secrets that stand in it masked.
    content: String,
}

fn version(dag_id: &str, row: &DagVersionRow) -> DagVersion {
    DagVersion {
        id: uuid(row.version_key),
        version_number: row.number,
        dag_id: dag_id.to_owned(),
        dag_display_name: dag_id.to_owned(),
        fileloc: row.file_path.clone(),
        content_hash: row.content_hash.clone(),
        created_at: instant(row.created_at),
    }
}

pub(super) async fn versions(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    parameters: Parameters,
) -> Answer<Json<DagVersions>> {
    server.dag_row(&dag_id, 0).await?;
    let rows = server.store().dag_versions(&dag_id).await?;
    let all = rows.iter().map(|row| version(&dag_id, row)).collect();
    let (dag_versions, total_entries) = paged(all, &parameters, ORDERS)?;
    Ok(Json(DagVersions { dag_versions, total_entries }))
}

pub(super) const ORDERS: &[&str] = &["id", "version_number", "created_at"];

pub(super) async fn get_version(
    State(server): State<Shared>,
    Path((dag_id, number)): Path<(String, u32)>,
) -> Answer<Json<DagVersion>> {
    Ok(Json(version(&dag_id, &server.version_row(&dag_id, Some(number)).await?)))
}

pub(super) async fn source(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
) -> Answer<Response> {
    let row = server.version_row(&dag_id, parameters.number("version_number")?).await?;
    let content = server.shown_source(row.version_key).await?;
    if wants_text(&headers) {
        return Ok(content.into_response());
    }
    Ok(Json(DagSource { dag_display_name: dag_id.clone(), dag_id, version_number: row.number, content })
        .into_response())
}

impl Server {
    /// The text of a version's file: secrets that are known are masked, and those among its DAG's params.
    pub async fn shown_source(&self, version_key: i64) -> Answer<String> {
        let masker = self.masker_of_version(version_key).await?;
        Ok(masker.mask(&self.store().dag_version_source(version_key).await?))
    }

    /// The newest, unless a number says which.
    async fn version_row(&self, dag_id: &str, number: Option<u32>) -> Answer<DagVersionRow> {
        self.dag_row(dag_id, 0).await?;
        let mut rows = self.store().dag_versions(dag_id).await?.into_iter();
        let found = rows.find(|row| number.is_none_or(|number| row.number == number));
        let which = number.map_or_else(|| "no version".to_owned(), |number| format!("no version {number}"));
        found.ok_or_else(|| Problem::new(ErrorCode::NOT_FOUND, format!("DAG {dag_id} has {which}")))
    }
}
