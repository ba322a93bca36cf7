//! Pages for people.

mod assets;
mod backfills;
mod calendars;
mod change;
mod connections;
mod dag;
mod dags;
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

use crate::doors::Doors;
use crate::permission::{Access, Act};

pub(crate) fn doors() -> Doors {
    use Act::{
        Backfill, ChangeRuns, OwnAccount, PauseDags, ReadConnections, ReadDags, ReadLogs, ReadSystem, SeeAlerts,
        TriggerRuns, WriteConnections, WritePools,
    };
    Doors::new()
        .get("/", ReadDags, home::page)
        .get("/dags", ReadDags, dags::page)
        .post("/dags/{dag_id}/favourite", OwnAccount, dags::favour)
        .get("/dags/{dag_id}", ReadDags, dag::page)
        .post("/dags/{dag_id}/pause", PauseDags, dag::pause)
        .post("/dags/{dag_id}/trigger", TriggerRuns, dag::trigger)
        .get("/dags/{dag_id}/rerun-failed", ChangeRuns, change::rerun_page)
        .post("/dags/{dag_id}/rerun-failed", ChangeRuns, change::rerun)
        .get("/dags/{dag_id}/backfills", ReadDags, backfills::page)
        .post("/dags/{dag_id}/backfills", Backfill, backfills::create)
        // The number decides which DAG it is.
        .post("/dags/{dag_id}/backfills/{key}/{action}", Access::OfSomeDag(Backfill), backfills::act)
        .get("/dags/{dag_id}/runs/{run_id}", ReadDags, run::page)
        .get("/dags/{dag_id}/runs/{run_id}/change", ChangeRuns, change::page)
        .post("/dags/{dag_id}/runs/{run_id}/change", ChangeRuns, change::apply)
        .post("/dags/{dag_id}/runs/{run_id}/note", ChangeRuns, change::note)
        .get("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", ReadLogs, task::page)
        .get("/runs", ReadDags, runs::page)
        .get("/connections", ReadConnections, connections::list)
        .post("/connections", WriteConnections, connections::save)
        .get("/connections/new", WriteConnections, connections::add)
        .get("/connections/edit/{conn_id}", WriteConnections, connections::edit)
        .post("/connections/delete/{conn_id}", WriteConnections, connections::delete)
        .post("/alerts/{id}/seen", SeeAlerts, home::see_alert)
        .get("/assets", ReadSystem, assets::page)
        .get("/pools", ReadSystem, pools::page)
        .post("/pools", WritePools, pools::save)
        .post("/pools/delete/{name}", WritePools, pools::delete)
        .get("/calendars", ReadSystem, calendars::page)
        .get("/jobs", ReadSystem, jobs::page)
        .get("/legend", ReadSystem, legend::page)
}
