//! DAG files that are to be read again at once.

use axum::Json;
use axum::extract::{Path, State};
use http::StatusCode;
use millrace_model::error_code::ErrorCode;
use millrace_store::DagFilter;
use schemars::JsonSchema;
use serde::Serialize;

use crate::access::permission::{Access, Act};
use crate::access::person::Person;
use crate::doors::Doors;
use crate::openapi::op;
use crate::problem::{Answer, Problem};
use crate::server::Shared;

pub(super) fn doors() -> Doors {
    super::under()
        // What the token of a file is, each DAG and each import error says.
        .put("/parseDagFile/{file_token}", Access::OfSomeDag(Act::PauseDags), parse)
        .does(op("Have a DAG file read again at once, whatever its time and size say").creates::<AskedFile>())
        .put("/dags/{dag_id}/reparse", Act::PauseDags, parse_dag)
        .does(op("Have the file of a DAG read again at once").creates::<AskedFile>())
}

/// The leading scheduler reads it next.
#[derive(Serialize, JsonSchema)]
pub(crate) struct AskedFile {
    relative_fileloc: String,
}

async fn parse(
    State(server): State<Shared>,
    Path(file): Path<String>,
    person: Person,
) -> Answer<(StatusCode, Json<AskedFile>)> {
    let rows = server.store().dags(&DagFilter { include_stale: true, ..DagFilter::default() }).await?.rows;
    let dags: Vec<_> = rows.iter().filter(|row| row.file_path == file).collect();
    let is_broken = server.store().import_errors().await?.iter().any(|row| row.file_path == file);
    if dags.is_empty() {
        person.require(Act::PauseDags)?;
        if !is_broken {
            let text = format!("no DAG and no import error comes from a file '{file}'; name it as `file_token` has it");
            return Err(Problem::new(ErrorCode::NOT_FOUND, text));
        }
    }
    for dag in &dags {
        server.require_on(&person, Act::PauseDags, dag.dag_id.as_str()).await?;
    }
    let dag_id = dags.first().map(|dag| &dag.dag_id);
    server.store().ask_for_files(&file, dag_id, &person.actor(), server.now()).await?;
    Ok((StatusCode::CREATED, Json(AskedFile { relative_fileloc: file })))
}

async fn parse_dag(
    State(server): State<Shared>,
    Path(dag_id): Path<String>,
    person: Person,
) -> Answer<(StatusCode, Json<AskedFile>)> {
    let dag = server.dag_row(&dag_id, 0).await?;
    server.store().ask_for_files(&dag.file_path, Some(&dag.dag_id), &person.actor(), server.now()).await?;
    Ok((StatusCode::CREATED, Json(AskedFile { relative_fileloc: dag.file_path })))
}
