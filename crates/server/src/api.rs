//! REST under `/api/v1`: Airflow's names and envelopes, times in RFC 3339 UTC with microseconds.

#![allow(clippy::struct_field_names, reason = "fields are called as Airflow's clients know them")]

mod alerts;
mod assets;
mod audit;
mod backfills;
mod body;
mod bulk;
mod calendars;
mod config;
mod connections;
mod dags;
mod explain;
mod grants;
mod health;
mod import_errors;
pub(crate) mod instances;
mod jobs;
pub(crate) mod ledger;
mod logs;
mod notifications;
mod people;
mod plan;
mod pools;
mod runs;
mod sources;
mod stats;
mod tasks;
mod tokens;
mod tries;
mod variables;
mod wait;
mod webhooks;
mod xcoms;

use axum::Json;
use chrono::{DateTime, Utc};
use millrace_model::instant::format_utc_micros;
use millrace_model::ledger::LedgerEntry;
use millrace_store::LedgerRow;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::actions::TriggerBody;
use crate::backfills::BackfillBody;
use crate::calendars::NamedCalendar;
use crate::changes::{ClearBody, ClearRunBody, MarkBody, PatchRunBody, Touched};
use crate::doors::Doors;
use crate::openapi::{Kind, Operation, op};
use crate::permission::{Access, Act};
use crate::sign_in;

pub(crate) fn doors() -> Doors {
    people_doors()
        .merge(webhooks::doors())
        .merge(dag_doors())
        .merge(run_doors())
        .merge(task_doors())
        .merge(system_doors())
        .merge(secret_doors())
}

fn under() -> Doors {
    Doors::under("/api/v1")
}

/// The programs that are here.
#[derive(Serialize, JsonSchema)]
struct Version {
    version: &'static str,
    git_version: Option<&'static str>,
}

async fn version() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION"), git_version: None })
}

fn people_doors() -> Doors {
    use Act::{ManagePeople, OwnAccount, ReadAudit, ReadSystem};
    under()
        .get("/health", Access::Open, health::health)
        .does(op("Say whether database and scheduler are alive").gives::<health::Health>())
        // Airflow's name.
        .get("/monitor/health", Access::Open, health::health)
        .does(op("Say whether database and scheduler are alive").gives::<health::Health>())
        .get("/version", ReadSystem, version)
        .does(op("Say which version this is").gives::<Version>())
        .post("/auth/token", Access::Open, sign_in::token)
        .does(op("Get a token for a password").takes::<sign_in::Credentials>().creates::<sign_in::AccessToken>())
        .get("/account", OwnAccount, people::account)
        .does(op("Say who asks, and what they may").gives::<people::Account>())
        .post("/account/password", OwnAccount, people::change_own_password)
        .does(op("Change one's own password").takes::<people::PasswordBody>().gives_nothing())
        .get("/users", ManagePeople, people::list)
        .does(op("List users").page().gives::<people::Users>())
        .post("/users", ManagePeople, people::create)
        .does(op("Add a user").takes::<people::CreateBody>().creates::<people::User>())
        .get("/users/{username}", ManagePeople, people::get)
        .does(op("Show a user").gives::<people::User>())
        .patch("/users/{username}", ManagePeople, people::patch)
        .does(op("Change a user").takes::<people::PatchBody>().gives::<people::User>())
        .delete("/users/{username}", ManagePeople, people::delete)
        .does(op("Delete a user").gives_nothing())
        .get("/grants", ManagePeople, grants::list)
        .does(op("List grants").page().query("username", Kind::Text, "Only this user's").gives::<grants::Grants>())
        .post("/grants", ManagePeople, grants::create)
        .does(op("Give a role for a DAG or a tag").takes::<grants::CreateBody>().creates::<grants::Grant>())
        .delete("/grants/{id}", ManagePeople, grants::delete)
        .does(op("Take a grant back").gives_nothing())
        .get("/tokens", OwnAccount, tokens::list)
        .does(
            op("List API tokens")
                .page()
                .query("username", Kind::Text, "Somebody else's, or ~ for everybody's")
                .gives::<tokens::Tokens>(),
        )
        .post("/tokens", OwnAccount, tokens::create)
        .does(op("Make an API token; it is told once").takes::<tokens::CreateBody>().creates::<tokens::Token>())
        .delete("/tokens/{id}", OwnAccount, tokens::revoke)
        .does(op("End an API token").gives_nothing())
        .get("/eventLogs", ReadAudit, audit::list)
        .does(
            op("List the audit log, newest first")
                .page()
                .query("owner", Kind::Text, "Who")
                .query("event", Kind::Text, "What")
                .query("dag_id", Kind::Text, "Of this DAG")
                .query("run_id", Kind::Text, "Of this run")
                .gives::<audit::EventLogs>(),
        )
        .get("/eventLogs/{id}", ReadAudit, audit::get)
        .does(op("Show one event").gives::<audit::EventLog>())
}

const DAG_FILTERS: [(&str, Kind, &str); 3] = [
    ("dag_id_pattern", Kind::Text, "A part of the id"),
    ("tags", Kind::Text, "With this tag"),
    ("paused", Kind::Flag, "Only paused ones, or only others"),
];

fn dag_doors() -> Doors {
    use Act::{DeleteHistory, PauseDags, ReadDags};
    let filtered =
        |summary| DAG_FILTERS.into_iter().fold(op(summary), |op, (name, kind, text)| op.query(name, kind, text));
    under()
        .get("/importErrors", ReadDags, import_errors::list)
        .does(op("List DAG files that cannot be read").page().gives::<import_errors::ImportErrors>())
        .get("/importErrors/{id}", ReadDags, import_errors::get)
        .does(op("Show one, by its place in the list").gives::<import_errors::ImportError>())
        .get("/dagWarnings", ReadDags, import_errors::warnings)
        .does(
            op("List what is wrong with DAGs that can be read")
                .page()
                .query("dag_id", Kind::Text, "Of this DAG")
                .query("warning_type", Kind::Text, "Of this kind")
                .gives::<import_errors::DagWarnings>(),
        )
        .get("/dags", ReadDags, dags::list)
        .does(
            filtered("List DAGs")
                .page()
                .query("exclude_stale", Kind::Flag, "Without those whose file is gone")
                .query("order_by", Kind::Words(&["dag_id", "-dag_id"]), "- for the other direction")
                .gives::<dags::Dags>(),
        )
        .patch("/dags", Access::OfSomeDag(PauseDags), bulk::pause)
        .does(filtered("Pause or unpause many").takes::<dags::PatchBody>().gives::<bulk::PausedDags>())
        .get("/dags/{dag_id}", ReadDags, dags::get)
        .does(op("Show a DAG").gives::<dags::Dag>())
        .get("/dags/{dag_id}/details", ReadDags, dags::get)
        .does(op("Show a DAG").gives::<dags::Dag>())
        .patch("/dags/{dag_id}", PauseDags, dags::patch)
        .does(op("Pause or unpause a DAG").takes::<dags::PatchBody>().gives::<dags::Dag>())
        .delete("/dags/{dag_id}", DeleteHistory, dags::delete)
        .does(op("Delete a DAG whose file is gone, with its runs").gives_nothing())
        .get("/dags/{dag_id}/explain", ReadDags, explain::dag)
        .does(op("Say why its next run has not begun").gives::<Value>())
        .get("/dags/{dag_id}/tasks", ReadDags, tasks::list)
        .does(op("List the tasks of a DAG").page().gives::<tasks::Tasks>())
        .get("/dags/{dag_id}/tasks/{task_id}", ReadDags, tasks::get)
        .does(op("Show a task").gives::<tasks::Task>())
        .get("/dags/{dag_id}/dagVersions", ReadDags, sources::versions)
        .does(op("List the versions of a DAG, newest first").page().gives::<sources::DagVersions>())
        .get("/dags/{dag_id}/dagVersions/{version_number}", ReadDags, sources::get_version)
        .does(op("Show a version").gives::<sources::DagVersion>())
        .get("/dagSources/{dag_id}", ReadDags, sources::source)
        .does(
            op("Show the text of a DAG's file")
                .query("version_number", Kind::Number, "Of this version, not the newest")
                .gives::<sources::DagSource>()
                .gives_text("text/plain"),
        )
        .get("/dagTags", ReadDags, stats::tags)
        .does(
            op("List tags").page().query("tag_name_pattern", Kind::Text, "A part of the tag").gives::<stats::DagTags>(),
        )
        .get("/dagStats", ReadDags, stats::runs)
        .does(op("Count runs by state").page().query("dag_ids", Kind::Text, "Of these").gives::<stats::DagStats>())
        .get("/plan", ReadDags, plan::all)
        .does(plan_of("List what will run"))
        .get("/dags/{dag_id}/plan", ReadDags, plan::dag)
        .does(plan_of("List what of a DAG will run"))
        .get("/dags/{dag_id}/slots", ReadDags, plan::slots)
        .does(op("List due dates that became no run").page().gives::<plan::Slots>())
}

fn plan_of(summary: &'static str) -> Operation {
    op(summary)
        .query("limit", Kind::Number, "How many, 100 at the most")
        .query("hours", Kind::Number, "How far to look ahead, 24 unless told")
        .gives::<plan::Plan>()
}

fn run_doors() -> Doors {
    use Act::{Backfill, ChangeRuns, DeleteHistory, ReadDags, TriggerRuns};
    under()
        .get("/dags/{dag_id}/dagRuns", ReadDags, runs::list)
        .does(
            op("List runs, newest first; ~ for those of every DAG")
                .page()
                .query(
                    "state",
                    Kind::Words(&["queued", "running", "success", "failed"]),
                    "In this state; may be repeated",
                )
                .query("run_type", Kind::Text, "scheduled, manual, backfill or asset_triggered")
                .query("logical_date_gte", Kind::Instant, "From this date on")
                .query("logical_date_lt", Kind::Instant, "Before this date")
                .query(
                    "order_by",
                    Kind::Text,
                    "run_after, logical_date, start_date, end_date or id; - for the other direction",
                )
                .gives::<runs::DagRuns>(),
        )
        .post("/dags/{dag_id}/dagRuns", TriggerRuns, runs::trigger)
        .does(
            op("Start a run")
                .header("Idempotency-Key", "The same key and body within a day: the same run")
                .takes::<TriggerBody>()
                .gives::<runs::DagRun>(),
        )
        .post("/dags/{dag_id}/clearDagRuns", ChangeRuns, bulk::clear_runs)
        .does(op("Run many runs again").takes::<bulk::ClearRunsBody>().gives::<bulk::ClearedRuns>())
        .get("/backfills", ReadDags, backfills::list)
        .does(
            op("List backfills")
                .page()
                .query("dag_id", Kind::Text, "Of this DAG")
                .query("active", Kind::Flag, "Only those that go on, or only others")
                .gives::<backfills::Backfills>(),
        )
        .post("/backfills", Access::OfSomeDag(Backfill), backfills::create)
        .does(op("Run past dates").takes::<BackfillBody>().gives::<backfills::Backfill>())
        .post("/backfills/dry_run", Access::OfSomeDag(Backfill), backfills::dry_run)
        .does(
            op("List the dates that a backfill would run").takes::<BackfillBody>().gives::<backfills::BackfillDates>(),
        )
        .get("/backfills/{key}", ReadDags, backfills::get)
        .does(op("Show a backfill").gives::<backfills::Backfill>())
        .put("/backfills/{key}/pause", Access::OfSomeDag(Backfill), backfills::pause)
        .does(op("Pause a backfill").gives::<backfills::Backfill>())
        .put("/backfills/{key}/unpause", Access::OfSomeDag(Backfill), backfills::unpause)
        .does(op("Let a backfill go on").gives::<backfills::Backfill>())
        .put("/backfills/{key}/cancel", Access::OfSomeDag(Backfill), backfills::cancel)
        .does(op("Cancel a backfill").gives::<backfills::Backfill>())
        .get("/dags/{dag_id}/dagRuns/{run_id}", ReadDags, runs::get)
        .does(op("Show a run").gives::<runs::DagRun>())
        .patch("/dags/{dag_id}/dagRuns/{run_id}", ChangeRuns, runs::patch)
        .does(op("Give a run a state or a note").takes::<PatchRunBody>().gives::<runs::DagRun>())
        .delete("/dags/{dag_id}/dagRuns/{run_id}", DeleteHistory, runs::delete)
        .does(op("Delete a run that has ended, with all that belongs to it").gives_nothing())
        .post("/dags/{dag_id}/dagRuns/{run_id}/clear", ChangeRuns, runs::clear)
        .does(
            op("Run a run again; a dry run lists what it would touch").takes::<ClearRunBody>().gives::<RunOrTouched>(),
        )
        .get("/dags/{dag_id}/dagRuns/{run_id}/wait", ReadDags, wait::run)
        .does(
            op("Wait for a run to end; a stream of lines says what it is whenever that changes")
                .query("timeout", Kind::Number, "Seconds, 30 unless told, 55 at the most; of a stream, a day")
                .gives::<runs::DagRun>()
                .gives_text(wait::LINES),
        )
        .get("/dags/{dag_id}/dagRuns/{run_id}/explain", ReadDags, explain::run)
        .does(op("Say why a run waits").gives::<Value>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/upstreamAssetEvents", ReadDags, assets::of_run)
        .does(op("List the asset events that made a run").gives::<assets::AssetEvents>())
}

/// A run, or what clearing it would touch.
#[derive(JsonSchema)]
#[serde(untagged)]
#[expect(clippy::large_enum_variant, reason = "never made")]
#[expect(dead_code, reason = "the handler answers with one of them; this describes both")]
enum RunOrTouched {
    Run(runs::DagRun),
    Touched(Touched),
}

fn task_doors() -> Doors {
    use Act::{ChangeRuns, ReadDags, ReadLogs};
    const STATE: &str = "In this state; may be repeated";
    const ORDER: &str = "task_id, start_date, end_date, duration, state or map_index; - for the other direction";
    let mapped = |summary| op(summary).query("map_index", Kind::Number, "Of a mapped task, counted from 0");
    under()
        .post("/dags/{dag_id}/clearTaskInstances", ChangeRuns, instances::clear)
        .does(op("Run tasks again; a dry run lists them").takes::<ClearBody>().gives::<Touched>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances", ReadDags, instances::list)
        .does(
            op("List the task instances of a run; ~ for every run, or every DAG and run, newest first")
                .page()
                .query("state", Kind::Text, "In this state; of one run, may be repeated")
                .query("task_id", Kind::Text, "Of this task")
                .query("operator", Kind::Text, "With this operator; of every run only")
                .query("pool", Kind::Text, "In this pool; of every run only")
                .query(
                    "order_by",
                    Kind::Text,
                    "Of one run: task_id, start_date, end_date, duration, state or map_index",
                )
                .gives::<instances::TaskInstances>(),
        )
        .patch("/dags/{dag_id}/dagRuns/{run_id}/taskInstances", ChangeRuns, bulk::instances)
        .does(
            op("Give many tasks of a run a state")
                .takes::<bulk::BulkBody<bulk::InstanceEntity>>()
                .gives::<bulk::BulkAnswer>(),
        )
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", ReadDags, instances::get)
        .does(mapped("Show a task instance").gives::<instances::TaskInstance>())
        .patch("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", ChangeRuns, instances::patch)
        .does(mapped("Give a task a state").takes::<MarkBody>().gives::<Touched>())
        .patch("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/dry_run", ChangeRuns, instances::patch_dry_run)
        .does(mapped("List what giving a task a state would touch").takes::<MarkBody>().gives::<Touched>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/explain", ReadDags, explain::task)
        .does(mapped("Say why a task waits").gives::<Value>())
        // Airflow's name.
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/dependencies", ReadDags, explain::task)
        .does(mapped("Say why a task waits").gives::<Value>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}", ReadLogs, logs::get)
        .does(
            mapped("Read the log of a try")
                .query("token", Kind::Text, "The continuation_token of the answer before")
                .gives::<logs::Log>()
                .gives_text("text/plain"),
        )
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/tries", ReadLogs, tries::list)
        .does(mapped("List the tries of a task").gives::<tries::Tries>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/tries/{try_number}", ReadLogs, tries::get)
        .does(mapped("Show a try").gives::<tries::Try>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/tries", ReadLogs, tries::list_mapped)
        .does(op("List the tries of one of a mapped task").gives::<tries::Tries>())
        .get(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/tries/{try_number}",
            ReadLogs,
            tries::get_mapped,
        )
        .does(op("Show a try of one of a mapped task").gives::<tries::Try>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries", ReadLogs, xcoms::list)
        .does(mapped("List what a task left for others").page().gives::<xcoms::XcomEntries>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}", ReadLogs, xcoms::get)
        .does(mapped("Show one of them").gives::<xcoms::XcomEntry>())
        // Of a mapped task: as the addresses without the index take `?map_index=`.
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/listMapped", ReadDags, instances::list_mapped)
        .does(
            op("List the instances of a mapped task")
                .page()
                .query("state", Kind::Text, STATE)
                .query("order_by", Kind::Text, ORDER)
                .gives::<instances::TaskInstances>(),
        )
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}", ReadDags, instances::get_mapped)
        .does(op("Show one of a mapped task").gives::<instances::TaskInstance>())
        .patch(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}",
            ChangeRuns,
            instances::patch_mapped,
        )
        .does(op("Give one of a mapped task a state").takes::<MarkBody>().gives::<Touched>())
        .patch(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/dry_run",
            ChangeRuns,
            instances::patch_mapped_dry_run,
        )
        .does(op("List what that would touch").takes::<MarkBody>().gives::<Touched>())
        .get(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/dependencies",
            ReadDags,
            explain::mapped,
        )
        .does(op("Say why one of a mapped task waits").gives::<Value>())
}

fn system_doors() -> Doors {
    use Act::{ReadAudit, ReadDags, ReadSystem, RecordAssets, SeeAlerts, TriggerRuns, WritePools};
    under()
        .get("/calendars", ReadSystem, calendars::list)
        .does(op("List calendars").page().query("year", Kind::Number, "Whose days").gives::<calendars::Calendars>())
        .get("/calendars/{name}", ReadSystem, calendars::get)
        .does(op("Show a calendar").query("year", Kind::Number, "Whose days").gives::<NamedCalendar>())
        .get("/pools", ReadSystem, pools::list)
        .does(op("List pools and how full they are").page().gives::<pools::Pools>())
        .post("/pools", WritePools, pools::create)
        .does(op("Add a pool").takes::<pools::CreateBody>().creates::<pools::Pool>())
        .patch("/pools", WritePools, bulk::pools)
        .does(
            op("Make, change and delete pools")
                .takes::<bulk::BulkBody<pools::CreateBody>>()
                .gives::<bulk::BulkAnswer>(),
        )
        .get("/pools/{name}", ReadSystem, pools::get)
        .does(op("Show a pool").gives::<pools::Pool>())
        .patch("/pools/{name}", WritePools, pools::patch)
        .does(op("Change a pool").takes::<pools::PatchBody>().gives::<pools::Pool>())
        .delete("/pools/{name}", WritePools, pools::delete)
        .does(op("Delete a pool").gives_nothing())
        .get("/jobs", ReadSystem, jobs::list)
        .does(
            op("List schedulers and other processes")
                .page()
                .query("job_type", Kind::Text, "Of this kind")
                .query("is_alive", Kind::Flag, "Only the living, or only others")
                .gives::<jobs::Jobs>(),
        )
        .get("/ledger", ReadDags, ledger::list)
        .does(
            op("List what was moved, newest first")
                .page()
                .query("dag_id", Kind::Text, "By this DAG")
                .query("run_id", Kind::Text, "By this run")
                .query("task_id", Kind::Text, "By this task")
                .query("stage", Kind::Text, "extract, upload, load …")
                .query("target", Kind::Text, "To this place")
                .query("since", Kind::Instant, "From then on")
                .query("until", Kind::Instant, "Before then")
                .gives::<ledger::Ledger>(),
        )
        .get("/dags/{dag_id}/assets/queuedEvents", ReadDags, assets::queued)
        .does(op("List the asset events that a DAG has waiting").gives::<assets::QueuedEvents>())
        .get("/assets", ReadSystem, assets::list)
        .does(op("List assets").page().gives::<assets::Assets>())
        .get("/assets/events", ReadSystem, assets::events)
        .does(
            op("List what happened to assets")
                .page()
                .query("asset", Kind::Text, "To this one")
                .gives::<assets::Events>(),
        )
        .post("/assets/events", RecordAssets, assets::record)
        .does(op("Say that an asset is up to date").takes::<assets::EventBody>().creates::<assets::Event>())
        .post("/assets/materialize", Access::OfSomeDag(TriggerRuns), assets::materialize)
        .does(op("Start the DAG that brings an asset up to date").takes::<assets::EventBody>().gives::<runs::DagRun>())
        .get("/config", ReadAudit, config::list)
        .does(
            op("List what the server was started with, secrets masked")
                .query("section", Kind::Text, "Of this section only")
                .gives::<config::Config>(),
        )
        .get("/alerts", ReadSystem, alerts::list)
        .does(
            op("List what people are told of")
                .query("limit", Kind::Number, "How many, 100 at the most")
                .query("seen", Kind::Flag, "Also what was seen")
                .gives::<alerts::Alerts>(),
        )
        .post("/alerts/seen", SeeAlerts, alerts::see)
        .does(op("Note that alerts were seen").takes::<alerts::SeenBody>().gives::<alerts::Seen>())
        .get("/notifications", ReadSystem, notifications::list)
        .does(
            op("List what callbacks were told, newest first")
                .query("limit", Kind::Number, "How many, 100 at the most")
                .query("unsent", Kind::Flag, "Only what was not sent yet, or has been given up")
                .gives::<notifications::Notifications>(),
        )
        .post("/notifications/retry", SeeAlerts, notifications::retry)
        .does(
            op("Tell callbacks again what was given up")
                .takes::<notifications::RetryBody>()
                .gives::<notifications::Retried>(),
        )
        .get("/openapi.json", ReadSystem, crate::pages::api::document)
        .does(op("This document").gives::<Value>())
}

fn secret_doors() -> Doors {
    use Act::{ReadVariables, WriteVariables};
    connections::doors().merge(
        under()
            .get("/variables", ReadVariables, variables::list)
            .does(
                op("List variables, secrets masked")
                    .page()
                    .query("variable_key_pattern", Kind::Text, "A part of the key")
                    .gives::<variables::Variables>(),
            )
            .post("/variables", WriteVariables, variables::create)
            .does(op("Add a variable").takes::<variables::VariableBody>().creates::<variables::Variable>())
            .patch("/variables", WriteVariables, bulk::variables)
            .does(
                op("Make, change and delete variables")
                    .takes::<bulk::BulkBody<variables::VariableBody>>()
                    .gives::<bulk::BulkAnswer>(),
            )
            .get("/variables/{variable_key}", ReadVariables, variables::get)
            .does(op("Show a variable, secrets masked").gives::<variables::Variable>())
            .patch("/variables/{variable_key}", WriteVariables, variables::patch)
            .does(op("Change a variable").takes::<variables::VariablePatch>().gives::<variables::Variable>())
            .delete("/variables/{variable_key}", WriteVariables, variables::delete)
            .does(op("Delete a variable").gives_nothing()),
    )
}

/// In UTC, with microseconds: `2024-03-01T00:00:00.000000Z`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("format" = "date-time"))]
pub(crate) struct Instant(String);

impl Instant {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

pub(crate) fn instant(at: DateTime<Utc>) -> Instant {
    Instant(format_utc_micros(at))
}

fn optional(at: Option<DateTime<Utc>>) -> Option<Instant> {
    at.map(instant)
}

/// Seconds.
fn duration(start: Option<DateTime<Utc>>, end: Option<DateTime<Utc>>) -> Option<f64> {
    Some((end? - start?).num_microseconds().unwrap_or(0) as f64 / 1e6)
}

/// A part of a list in its envelope, with how many there are in all.
macro_rules! listed {
    ($(#[doc = $text:literal])* $list:ident { $rows:ident: $row:ty }) => {
        $(#[doc = $text])*
        #[derive(serde::Serialize, schemars::JsonSchema)]
        pub(crate) struct $list {
            pub $rows: Vec<$row>,
            pub total_entries: u64,
        }
    };
}
use listed;

/// The rows of a page, of a list that was read whole.
fn cut<T>(rows: Vec<T>, (limit, offset): (u64, u64)) -> (Vec<T>, u64) {
    let total = rows.len() as u64;
    (rows.into_iter().skip(offset as usize).take(limit as usize).collect(), total)
}

use body::body;
pub(crate) use body::{Given, Whole};
pub(crate) use connections::form_of;
pub(crate) use health::SILENT_AFTER;
pub(crate) use import_errors::place as import_place;
pub(crate) use variables::VariableBody;
pub(crate) use wait::LINES;

/// The first line of an error that says something. One that announces what a program printed has the last of that behind it.
pub(crate) fn first_line(text: &str) -> String {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().unwrap_or_default();
    match lines.next_back().filter(|_| first.ends_with(':')) {
        Some(last) => format!("{first} {last}").chars().take(300).collect(),
        None => first.chars().take(300).collect(),
    }
}

/// What a run or task moved: the rows that were loaded, or else those that were written or read.
pub(crate) fn rows_moved(ledger: &[LedgerRow]) -> Option<u64> {
    let sum = |stage: &str, rows: fn(&LedgerEntry) -> Option<u64>| {
        ledger.iter().filter(|row| row.entry.stage == stage).filter_map(|row| rows(&row.entry)).reduce(|a, b| a + b)
    };
    let written = |entry: &LedgerEntry| entry.rows_written.or(entry.rows_inserted).or(entry.rows_read);
    ["load", "upload", "extract"].into_iter().find_map(|stage| sum(stage, written))
}
