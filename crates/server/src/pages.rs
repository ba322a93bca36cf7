//! Pages for people.

pub(crate) mod api;
mod asset_graph;
mod assets;
mod audit;
mod backfills;
mod calendars;
mod change;
mod code;
mod configuration;
mod connections;
mod dag;
mod dag_calendar;
mod dags;
mod data;
mod details;
mod folds;
mod gantt;
mod graph;
mod grid;
#[cfg(test)]
mod grouped;
mod head;
mod home;
mod import_errors;
mod instances;
mod jobs;
mod legend;
mod movements;
mod operators;
mod paging;
mod params;
mod people;
mod pools;
mod results;
mod run;
mod runs;
mod seen;
mod strip;
mod sure;
mod task;
mod tasks;
mod trigger;
mod variables;
mod webhooks;

use crate::access::permission::{Access, Act};
use crate::doors::Doors;

pub(crate) fn doors() -> Doors {
    use Act::{
        Backfill, ChangeRuns, ManagePeople, OwnAccount, PauseDags, ReadAudit, ReadConnections, ReadDags, ReadLogs,
        ReadSystem, ReadVariables, SeeAlerts, TestConnections, TriggerRuns, WriteConnections, WritePools,
        WriteVariables, WriteWebhooks,
    };
    Doors::new()
        .get("/", ReadDags, home::page)
        .get("/dags", ReadDags, dags::page)
        .post("/dags/{dag_id}/favourite", OwnAccount, dags::favour)
        .get("/data", ReadDags, movements::page)
        .get("/dags/{dag_id}", ReadDags, dag::page)
        .post("/dags/{dag_id}/pause", PauseDags, dag::pause)
        .post("/dags/{dag_id}/trigger", TriggerRuns, trigger::trigger)
        .get("/dags/{dag_id}/rerun-failed", ChangeRuns, change::rerun_page)
        .post("/dags/{dag_id}/rerun-failed", ChangeRuns, change::rerun)
        .get("/backfills", ReadDags, backfills::all::page)
        .get("/dags/{dag_id}/backfills", ReadDags, backfills::page)
        .post("/dags/{dag_id}/backfills", Backfill, backfills::create)
        // The number decides which DAG it is.
        .post("/dags/{dag_id}/backfills/{key}/{action}", Access::OfSomeDag(Backfill), backfills::act)
        .get("/dags/{dag_id}/runs/{run_id}", ReadDags, run::page)
        .get("/dags/{dag_id}/runs/{run_id}/change", ChangeRuns, change::page)
        .post("/dags/{dag_id}/runs/{run_id}/change", ChangeRuns, change::apply)
        .post("/dags/{dag_id}/runs/{run_id}/note", ChangeRuns, change::note)
        .post("/dags/{dag_id}/runs/{run_id}/repin", ChangeRuns, change::repin)
        .get("/dags/{dag_id}/runs/{run_id}/tasks/{task_id}", ReadLogs, task::page)
        .get("/dags/{dag_id}/graph", ReadDags, graph::page)
        .get("/dags/{dag_id}/gantt", ReadDags, gantt::page)
        .get("/dags/{dag_id}/calendar", ReadDags, dag_calendar::page)
        .get("/dags/{dag_id}/runs", ReadDags, runs::of_dag)
        .get("/dags/{dag_id}/data", ReadDags, data::page)
        .get("/dags/{dag_id}/code", ReadDags, code::page)
        .get("/dags/{dag_id}/details", ReadDags, details::page)
        .get("/dags/{dag_id}/trigger", TriggerRuns, trigger::page)
        .get("/runs", ReadDags, runs::page)
        .get("/task-instances", ReadDags, tasks::page)
        // Each item names its DAG.
        .post("/task-instances/change", Access::OfSomeDag(ChangeRuns), tasks::change)
        .get("/results", ReadLogs, results::page)
        .get("/audit", ReadAudit, audit::page)
        .get("/variables", ReadVariables, variables::page)
        .post("/variables", WriteVariables, variables::save)
        .post("/variables/delete/{key}", WriteVariables, variables::delete)
        .get("/users", ManagePeople, people::users)
        .post("/users", ManagePeople, people::add_user)
        .post("/users/{username}", ManagePeople, people::change_user)
        .get("/tokens", ManagePeople, people::tokens)
        .post("/tokens/delete/{id}", ManagePeople, people::revoke_token)
        .get("/roles", ManagePeople, people::roles)
        .get("/account", OwnAccount, people::account)
        .post("/account", OwnAccount, people::change_account)
        .get("/connections", ReadConnections, connections::list)
        .post("/connections", WriteConnections, connections::save)
        .get("/connections/new", WriteConnections, connections::add)
        .get("/connections/edit/{conn_id}", WriteConnections, connections::edit)
        .post("/connections/test", TestConnections, connections::test)
        .post("/connections/delete/{conn_id}", WriteConnections, connections::delete)
        .post("/alerts/{id}/seen", SeeAlerts, home::see_alert)
        .post("/notifications/retry", SeeAlerts, home::tell_again)
        .get("/assets", ReadSystem, assets::page)
        .get("/import-errors", ReadDags, import_errors::page)
        .get("/pools", ReadSystem, pools::page)
        .post("/pools", WritePools, pools::save)
        .post("/pools/delete/{name}", WritePools, pools::delete)
        .get("/webhooks", WriteWebhooks, webhooks::page)
        .post("/webhooks", WriteWebhooks, webhooks::add)
        .post("/webhooks/delete/{name}", WriteWebhooks, webhooks::revoke)
        .get("/calendars", ReadSystem, calendars::page)
        .get("/jobs", ReadSystem, jobs::page)
        .get("/legend", ReadSystem, legend::page)
        .get("/operators", ReadSystem, operators::list)
        .get("/operators/{name}", ReadSystem, operators::one)
        // It tells where everything is.
        .get("/configuration", ReadAudit, configuration::page)
        .post("/sure", OwnAccount, sure::page)
        .get("/api", ReadSystem, api::page)
}
