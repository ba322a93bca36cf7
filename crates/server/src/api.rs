//! REST under `/api/v1`: Airflow's names and envelopes, times in RFC 3339 UTC with microseconds.

#![allow(clippy::struct_field_names, reason = "fields are called as Airflow's clients know them")]

mod alerts;
mod asked;
mod asset_events;
mod assets;
mod audit;
mod backfills;
mod body;
mod bulk;
mod calendars;
mod config;
mod connections;
mod dag_files;
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
mod operators;
mod people;
mod plan;
mod pools;
mod run_doors;
mod runs;
mod sources;
mod stats;
mod task_doors;
mod tasks;
mod tokens;
mod tries;
mod update_mask;
mod variables;
mod wait;
mod webhooks;
mod xcoms;

use axum::Json;
use chrono::{DateTime, Utc};
use millrace_model::instant::format_utc_micros;
use millrace_model::ledger::LedgerEntry;
use millrace_settings::mask::without_escapes;
use millrace_store::LedgerRow;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use crate::access::permission::{Access, Act};
use crate::access::sign_in;
use crate::calendars::NamedCalendar;
use crate::doors::Doors;
use crate::openapi::{Kind, Operation, op};
use crate::problem::Answer;
use crate::query::Parameters;
use update_mask::masked;

pub(crate) fn doors() -> Doors {
    people_doors()
        .merge(webhooks::doors())
        .merge(dag_doors())
        .merge(import_errors::doors())
        .merge(dag_files::doors())
        .merge(run_doors::doors())
        .merge(task_doors::doors())
        .merge(asset_events::doors())
        .merge(assets::doors())
        .merge(system_doors())
        .merge(alerts::doors())
        .merge(notifications::doors())
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
        .does(op("List users").page().ordered(people::ORDERS).gives::<people::Users>())
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
                .ordered(tokens::ORDERS)
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
                .query("task_id", Kind::Text, "Of this task")
                .many("included_events", Kind::Text, "What; may be repeated")
                .many("excluded_events", Kind::Text, "What is left out; may be repeated")
                .query("after", Kind::Instant, "From then on")
                .query("before", Kind::Instant, "Before then")
                .ordered(audit::ORDERS)
                .gives::<audit::EventLogs>(),
        )
        .get("/eventLogs/{id}", ReadAudit, audit::get)
        .does(op("Show one event").gives::<audit::EventLog>())
}

fn dag_doors() -> Doors {
    use Act::{DeleteHistory, PauseDags, ReadDags};
    let filtered = |summary| {
        op(summary)
            .query("dag_id_pattern", Kind::Text, "A part of the id")
            .many("tags", Kind::Text, "With this tag; may be repeated")
            .query("paused", Kind::Flag, "Only paused ones, or only others")
    };
    under()
        .get("/dags", ReadDags, dags::list)
        .does(
            filtered("List DAGs")
                .page()
                .query("exclude_stale", Kind::Flag, "Without those whose file is gone")
                .query("tags_match_mode", Kind::Words(&["any", "all"]), "Of several tags, any of them or all")
                .many("owners", Kind::Text, "Of this owner; may be repeated")
                .query("dag_display_name_pattern", Kind::Text, "A part of the id, which is what is shown of a DAG")
                .query("has_import_errors", Kind::Flag, "Only those whose file cannot be read now, or only others")
                .many("last_dag_run_state", Kind::Text, "Whose newest run is in this state; may be repeated")
                .ordered(dags::ORDERS)
                .gives::<dags::Dags>(),
        )
        .patch("/dags", Access::OfSomeDag(PauseDags), bulk::pause)
        .does(masked(filtered("Pause or unpause many")).takes::<dags::PatchBody>().gives::<bulk::PausedDags>())
        .get("/dags/{dag_id}", ReadDags, dags::get)
        .does(op("Show a DAG").gives::<dags::Dag>())
        .get("/dags/{dag_id}/details", ReadDags, dags::get)
        .does(op("Show a DAG").gives::<dags::Dag>())
        .patch("/dags/{dag_id}", PauseDags, dags::patch)
        .does(masked(op("Pause or unpause a DAG")).takes::<dags::PatchBody>().gives::<dags::Dag>())
        .delete("/dags/{dag_id}", DeleteHistory, dags::delete)
        .does(op("Delete a DAG whose file is gone, with its runs").gives_nothing())
        .get("/dags/{dag_id}/explain", ReadDags, explain::dag)
        .does(op("Say why its next run has not begun").gives::<Value>())
        .get("/dags/{dag_id}/tasks", ReadDags, tasks::list)
        .does(op("List the tasks of a DAG").page().ordered(tasks::ORDERS).gives::<tasks::Tasks>())
        .get("/dags/{dag_id}/tasks/{task_id}", ReadDags, tasks::get)
        .does(op("Show a task").gives::<tasks::Task>())
        .get("/dags/{dag_id}/dagVersions", ReadDags, sources::versions)
        .does(
            op("List the versions of a DAG, newest first")
                .page()
                .ordered(sources::ORDERS)
                .gives::<sources::DagVersions>(),
        )
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
            op("List tags")
                .page()
                .query("tag_name_pattern", Kind::Text, "A part of the tag")
                .ordered(stats::TAG_ORDERS)
                .gives::<stats::DagTags>(),
        )
        .get("/dagStats", ReadDags, stats::runs)
        .does(
            op("Count runs by state")
                .page()
                .many("dag_ids", Kind::Text, "Of this DAG; may be repeated")
                .gives::<stats::DagStats>(),
        )
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

fn system_doors() -> Doors {
    use Act::{ReadAudit, ReadDags, ReadSystem, WritePools};
    under()
        .get("/calendars", ReadSystem, calendars::list)
        .does(op("List calendars").page().query("year", Kind::Number, "Whose days").gives::<calendars::Calendars>())
        .get("/calendars/{name}", ReadSystem, calendars::get)
        .does(op("Show a calendar").query("year", Kind::Number, "Whose days").gives::<NamedCalendar>())
        .get("/operators", ReadSystem, operators::list)
        .does(op("List operators with their parameters, as JSON Schema").page().gives::<operators::Operators>())
        .get("/operators/{name}", ReadSystem, operators::get)
        .does(op("Show an operator, by its name or another that it answers to").gives::<operators::Operator>())
        .get("/pools", ReadSystem, pools::list)
        .does(
            op("List pools and how full they are")
                .page()
                .query("pool_name_pattern", Kind::Text, "A part of the name")
                .ordered(pools::ORDERS)
                .gives::<pools::Pools>(),
        )
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
        .does(masked(op("Change a pool")).takes::<pools::PatchBody>().gives::<pools::Pool>())
        .delete("/pools/{name}", WritePools, pools::delete)
        .does(op("Delete a pool").gives_nothing())
        .get("/jobs", ReadSystem, jobs::list)
        .does(
            op("List schedulers and other processes")
                .page()
                .query(
                    "job_type",
                    Kind::Words(jobs::TYPES),
                    "Of this kind; SchedulerJob is what Airflow calls the scheduler",
                )
                .query("is_alive", Kind::Flag, "Only the living, or only others")
                .ordered(jobs::ORDERS)
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
        .get("/config", ReadAudit, config::list)
        .does(
            op("List the configuration in force, secrets masked")
                .query("section", Kind::Text, "Of this section only")
                .gives::<config::Config>(),
        )
        .get("/config/section/{section}/option/{option}", ReadAudit, config::get)
        .does(op("Show one setting, secrets masked").gives::<config::Config>())
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
                    .ordered(variables::ORDERS)
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
            .does(masked(op("Change a variable")).takes::<variables::VariablePatch>().gives::<variables::Variable>())
            .delete("/variables/{variable_key}", WriteVariables, variables::delete)
            .does(op("Delete a variable").gives_nothing()),
    )
}

/// In UTC, with microseconds: `2024-03-01T00:00:00.000000Z`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(transparent)]
#[schemars(extend("format" = "date-time"))]
pub(crate) struct Instant(String);

pub(crate) fn instant(at: DateTime<Utc>) -> Instant {
    Instant(format_utc_micros(at))
}

fn optional(at: Option<DateTime<Utc>>) -> Option<Instant> {
    at.map(instant)
}

/// A number in the form of an id that Airflow's clients can read: `00000000-0000-0000-0000-000000000012`.
fn uuid(key: i64) -> String {
    format!("00000000-0000-0000-0000-{key:012x}")
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

/// The rows of a page, of a list that was made whole, in the order of `order_by`: by the member of that name. What has
/// none comes first; of equal ones the order stays.
fn paged<T: Serialize>(rows: Vec<T>, parameters: &Parameters, orders: &[&str]) -> Answer<(Vec<T>, u64)> {
    let page = parameters.page()?;
    let Some((name, is_descending)) = parameters.order(orders)? else { return Ok(cut(rows, page)) };
    let key = |row: &T| match serde_json::to_value(row) {
        // Of a list of names.
        Ok(Value::String(text)) => (None, Some(text)),
        Ok(row) => match &row[name] {
            Value::Number(number) => (number.as_f64(), None),
            Value::Bool(flag) => (Some(f64::from(u8::from(*flag))), None),
            member => (None, member.as_str().map(str::to_owned)),
        },
        Err(_) => (None, None),
    };
    let mut keyed: Vec<_> = rows.into_iter().map(|row| (key(&row), row)).collect();
    keyed.sort_by(|(one, _), (other, _)| {
        let order = one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal);
        if is_descending { order.reverse() } else { order }
    });
    Ok(cut(keyed.into_iter().map(|(_, row)| row).collect(), page))
}

/// The rows of a page, of a list that was read whole.
fn cut<T>(rows: Vec<T>, (limit, offset): (u64, u64)) -> (Vec<T>, u64) {
    let total = rows.len() as u64;
    (rows.into_iter().skip(offset as usize).take(limit as usize).collect(), total)
}

pub(crate) use asked::MOST_COUNTED;
pub(crate) use body::{Given, Whole};
use body::{body, emptied};
pub(crate) use connections::{ConnectionAnswer, form_of, try_connection};
pub(crate) use dags::{ORDERS as DAG_ORDERS, compare as compare_dags};
pub(crate) use health::SILENT_AFTER;
pub(crate) use import_errors::place as import_place;
pub(crate) use runs::order as run_order;
pub(crate) use variables::VariableBody;
pub(crate) use wait::LINES;
pub(crate) use xcoms::found as found_results;

/// Characters.
const LONGEST_FIRST_LINE: usize = 300;

/// The first line of an error, which is masked already, as short as it is in lists.
pub(crate) fn first_line(text: &str) -> String {
    let line = millrace_situation::first_line(&without_escapes(text));
    match line.char_indices().nth(LONGEST_FIRST_LINE) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}

/// What a run or task moved: the rows that came into tables, or else those that were written or read.
pub(crate) fn rows_moved(ledger: &[LedgerRow]) -> Option<u64> {
    let sum = |stages: &[&str], rows: fn(&LedgerEntry) -> Option<u64>| {
        ledger
            .iter()
            .filter(|row| stages.contains(&row.entry.stage.as_str()))
            .filter_map(|row| rows(&row.entry))
            .reduce(|a, b| a + b)
    };
    let written = |entry: &LedgerEntry| entry.rows_written.or(entry.rows_inserted).or(entry.rows_read);
    [&["load", "copy", "build"][..], &["sql"], &["upload"], &["extract"]]
        .into_iter()
        .find_map(|stages| sum(stages, written))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rows_that_came_into_tables_are_added_up_whichever_task_moved_them() {
        let row = |stage: &str, inserted: u64| {
            let entry = json!({"stage": stage, "source": "a", "target": "b", "rows_inserted": inserted, "remote_ids": [],
                "started_at": "2024-01-01T00:00:00Z", "ended_at": "2024-01-01T00:00:00Z"});
            let entry = serde_json::from_value(entry).unwrap();
            LedgerRow { id: 1, instance: 1, try_number: 1, entry }
        };
        assert_eq!(rows_moved(&[row("extract", 7), row("upload", 7), row("load", 5), row("copy", 500)]), Some(505));
        assert_eq!(rows_moved(&[row("extract", 7), row("build", 3)]), Some(3));
        assert_eq!(rows_moved(&[row("extract", 7), row("upload", 6)]), Some(6));
        assert_eq!(rows_moved(&[row("check", 7)]), None);
    }
}
