//! Pages for people.

mod assets;
mod backfills;
mod calendars;
mod change;
mod connections;
mod dag;
mod grid;
mod home;
mod instances;
mod jobs;
mod legend;
mod pools;
mod run;
mod runs;
mod strip;
mod task;

use axum::Router;
use axum::routing::{get, post};

use crate::server::Shared;

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(home::page))
        .route("/dags", get(home::page))
        .route("/dags/{dag_id}", get(dag::page))
        .route("/dags/{dag_id}/pause", post(dag::pause))
        .route("/dags/{dag_id}/trigger", post(dag::trigger))
        .route("/dags/{dag_id}/rerun-failed", get(change::rerun_page).post(change::rerun))
        .route("/dags/{dag_id}/backfills", get(backfills::page).post(backfills::create))
        .route("/dags/{dag_id}/backfills/{key}/{action}", post(backfills::act))
        .route("/dags/{dag_id}/runs/{run_id}", get(run::page))
        .route("/dags/{dag_id}/runs/{run_id}/change", get(change::page).post(change::apply))
        .route("/dags/{dag_id}/runs/{run_id}/note", post(change::note))
        .route("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", get(task::page))
        .route("/runs", get(runs::page))
        .route("/connections", get(connections::list).post(connections::save))
        .route("/connections/new", get(connections::add))
        .route("/connections/edit/{conn_id}", get(connections::edit))
        .route("/connections/delete/{conn_id}", post(connections::delete))
        .route("/alerts/{id}/seen", post(home::see_alert))
        .route("/assets", get(assets::page))
        .route("/pools", get(pools::page).post(pools::save))
        .route("/pools/delete/{name}", post(pools::delete))
        .route("/calendars", get(calendars::page))
        .route("/jobs", get(jobs::page))
        .route("/legend", get(legend::page))
}
