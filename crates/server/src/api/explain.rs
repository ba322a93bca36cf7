//! Why is this not running: of a DAG its next run, of a run and of a task.

use axum::Json;
use axum::extract::{Path, State};
use millrace_situation::{Asked, Explanation};

use super::instances::{at_index, instance_of};
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::Shared;

pub(crate) async fn dag(State(server): State<Shared>, Path(dag_id): Path<String>) -> Answer<Json<Explanation>> {
    let row = server.dag_row(&dag_id, 0).await?;
    Ok(Json(server.explain(Asked::Dag(&row)).await?))
}

pub(crate) async fn run(
    State(server): State<Shared>,
    Path((dag_id, run_id)): Path<(String, String)>,
) -> Answer<Json<Explanation>> {
    let run = server.run_row(&dag_id, &run_id).await?;
    Ok(Json(server.explain(Asked::Run(&run)).await?))
}

pub(crate) async fn task(
    State(server): State<Shared>,
    Path((dag_id, run_id, task_id)): Path<(String, String, String)>,
    parameters: Parameters,
) -> Answer<Json<Explanation>> {
    let map_index = parameters.number::<i32>("map_index")?.unwrap_or(-1);
    let (run, instance) = instance_of(&server, &dag_id, &run_id, &task_id, map_index).await?;
    Ok(Json(server.explain(Asked::Task(&run, &instance)).await?))
}

pub(crate) async fn mapped(
    server: State<Shared>,
    Path((dag_id, run_id, task_id, index)): Path<(String, String, String, i32)>,
) -> Answer<Json<Explanation>> {
    task(server, Path((dag_id, run_id, task_id)), at_index(index)).await
}
