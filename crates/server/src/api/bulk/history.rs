//! Many runs and task instances at once.

use axum::Json;
use axum::extract::{Path, State};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{BulkAnswer, BulkBody, BulkError, Entity, MOST, What};
use crate::access::permission::Act;
use crate::access::person::Person;
use crate::api::update_mask::UpdateMask;
use crate::api::{Given, Whole, body, instances};
use crate::deeds::changes::{ClearRunBody, Cleared, MarkBody, PatchRunBody};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

/// A task of a run, and what it is to be.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BulkTaskInstance")]
#[expect(clippy::struct_excessive_bools, reason = "the names are Airflow's")]
pub(crate) struct InstanceEntity {
    task_id: String,
    /// Where the address says `~`: whose task it is.
    #[serde(default)]
    dag_id: Option<String>,
    /// Where the address says `~`: of which run.
    #[serde(default)]
    dag_run_id: Option<String>,
    /// Of a mapped task; all of them unless told.
    #[serde(default)]
    map_index: Option<i32>,
    new_state: String,
    #[serde(default)]
    note: Option<String>,
    #[serde(default)]
    include_upstream: bool,
    #[serde(default)]
    include_downstream: bool,
    #[serde(default)]
    include_past: bool,
    #[serde(default)]
    include_future: bool,
}

/// Marks tasks of runs; making and deleting instances is the scheduler's.
pub(crate) async fn instances(
    State(server): State<Shared>,
    person: Person,
    Path((dag_id, run_id)): Path<(String, String)>,
    given: Given<BulkBody<InstanceEntity>>,
) -> Answer<Json<BulkAnswer>> {
    let bulk = body(given)?;
    bulk.check_count()?;
    if dag_id != "~" {
        server.require_on(&person, Act::ChangeRuns, &dag_id).await?;
        server.dag_row(&dag_id, 0).await?;
        if run_id != "~" {
            server.run_row(&dag_id, &run_id).await?;
        }
    }
    let mut answer = BulkAnswer::default();
    for Whole(action) in bulk.actions {
        if !matches!(action.action, What::Update) {
            return Err(Problem::invalid(
                "the action for task instances is 'update'; nothing was changed by this one or later",
            ));
        }
        if action.update_mask.is_some_and(|names| !names.is_empty()) {
            return Err(Problem::invalid(
                "'update_mask' is for other things than task instances; nothing was changed by this one or later",
            ));
        }
        for entity in action.entities {
            let Entity::Whole(Whole(entity)) = entity else {
                return Err(Problem::invalid("send each task with its 'new_state', not only its name"));
            };
            let name = entity.task_id.clone();
            let done = change_instance(&server, &person, (&dag_id, &run_id), entity).await;
            answer.update.note(name, done.map(|()| true));
        }
    }
    Ok(Json(answer))
}

async fn change_instance(
    server: &Shared,
    person: &Person,
    (dag_id, run_id): (&str, &str),
    entity: InstanceEntity,
) -> Answer<()> {
    let dag_id = named("dag_id", dag_id, entity.dag_id)?;
    let run_id = named("dag_run_id", run_id, entity.dag_run_id)?;
    server.require_on(person, Act::ChangeRuns, &dag_id).await?;
    let parameters: Vec<_> = entity.map_index.map(|at| ("map_index".to_owned(), at.to_string())).into_iter().collect();
    let mark = MarkBody {
        new_state: Some(entity.new_state),
        include_upstream: entity.include_upstream,
        include_downstream: entity.include_downstream,
        include_past: entity.include_past,
        include_future: entity.include_future,
        note: entity.note,
    };
    let names = (dag_id, run_id, entity.task_id);
    instances::mark(server, names, &Parameters(parameters), person, mark, false).await.map(|_| ())
}

/// What the address names, or, where that says `~`, the entity.
fn named(member: &str, in_address: &str, in_entity: Option<String>) -> Answer<String> {
    match (in_address, in_entity) {
        ("~", None) => Err(Problem::invalid(format!("say '{member}' in each entity, as the address says '~'"))),
        ("~", Some(named)) => Ok(named),
        (address, Some(named)) if named != address => {
            Err(Problem::invalid(format!("'{member}' is {named}, and the address is that of {address}")))
        }
        (address, _) => Ok(address.to_owned()),
    }
}

/// A run, and what is to become of it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "BulkDagRun")]
pub(crate) struct RunEntity {
    dag_run_id: String,
    /// Where the address says `~`: whose run it is.
    #[serde(default)]
    dag_id: Option<String>,
    /// queued (run again what has failed), success or failed
    #[serde(default)]
    state: Option<String>,
    #[serde(default)]
    note: Option<String>,
}

const RUN_MEMBERS: &[&str] = &["dag_run_id", "dag_id", "state", "note"];

/// Marks, clears and annotates runs, or deletes ended ones; making one is triggering it.
pub(crate) async fn runs(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    given: Given<BulkBody<RunEntity>>,
) -> Answer<Json<BulkAnswer>> {
    let bulk = body(given)?;
    bulk.check_count()?;
    if dag_id != "~" {
        server.require_on(&person, Act::ChangeRuns, &dag_id).await?;
        server.dag_row(&dag_id, 0).await?;
    }
    if bulk.actions.iter().any(|Whole(action)| matches!(action.action, What::Create)) {
        return Err(Problem::invalid("the actions for runs are 'update' and 'delete'; a run is made by triggering it"));
    }
    let mask = |names: Option<Vec<String>>| UpdateMask::among(names.unwrap_or_default(), RUN_MEMBERS);
    for Whole(action) in &bulk.actions {
        mask(action.update_mask.clone())?;
    }
    let mut answer = BulkAnswer::default();
    for Whole(action) in bulk.actions {
        let deletes = matches!(action.action, What::Delete);
        let mask = mask(action.update_mask)?;
        for entity in action.entities {
            let entity = match entity {
                Entity::Name(dag_run_id) => RunEntity { dag_run_id, dag_id: None, state: None, note: None },
                Entity::Whole(Whole(entity)) => RunEntity {
                    state: mask.kept("state", entity.state),
                    note: mask.kept("note", entity.note),
                    ..entity
                },
            };
            let name = entity.dag_run_id.clone();
            let done = change_run(&server, &person, &dag_id, entity, deletes).await;
            let result = if deletes { &mut answer.delete } else { &mut answer.update };
            result.note(name, done.map(|()| true));
        }
    }
    Ok(Json(answer))
}

async fn change_run(server: &Shared, person: &Person, dag_id: &str, run: RunEntity, deletes: bool) -> Answer<()> {
    let dag_id = &named("dag_id", dag_id, run.dag_id)?;
    if deletes {
        return server.delete_run(person, dag_id, &run.dag_run_id).await;
    }
    if run.state.is_none() && run.note.is_none() {
        return Err(Problem::invalid("say what is to become of the run: its 'state', its 'note', or both"));
    }
    let patch = PatchRunBody { state: run.state, note: run.note };
    server.patch_run(person, dag_id, &run.dag_run_id, patch).await.map(|_| ())
}

/// Runs that are to run again.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClearRunsBody {
    dag_run_ids: Vec<String>,
    #[serde(default = "yes")]
    dry_run: bool,
    #[serde(default)]
    only_failed: bool,
    #[serde(default)]
    run_on_latest_version: bool,
    #[serde(default)]
    note: Option<String>,
}

fn yes() -> bool {
    true
}

/// How many task instances of each run were, or would be, cleared; and what could not be.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ClearedRuns {
    dag_runs: Vec<ClearedRun>,
    errors: Vec<BulkError>,
}

#[derive(Serialize, JsonSchema)]
struct ClearedRun {
    dag_run_id: String,
    task_instances: usize,
    /// What may surprise: rows that come twice.
    warnings: Vec<String>,
}

pub(crate) async fn clear_runs(
    State(server): State<Shared>,
    person: Person,
    Path(dag_id): Path<String>,
    given: Given<ClearRunsBody>,
) -> Answer<Json<ClearedRuns>> {
    let given = body(given)?;
    if given.dag_run_ids.len() > MOST {
        return Err(Problem::invalid(format!("clear {MOST} runs at the most in one request")));
    }
    server.dag_row(&dag_id, 0).await?;
    let mut answer = ClearedRuns { dag_runs: Vec::new(), errors: Vec::new() };
    for run_id in given.dag_run_ids {
        let body = ClearRunBody {
            dry_run: given.dry_run,
            only_failed: given.only_failed,
            only_new: false,
            run_on_latest_version: given.run_on_latest_version,
            note: given.note.clone(),
        };
        match server.clear_run(&person, &dag_id, &run_id, body).await {
            Ok(Cleared { report, warnings }) => {
                let task_instances = report.cleared.len();
                answer.dag_runs.push(ClearedRun { dag_run_id: run_id, task_instances, warnings });
            }
            Err(problem) => answer.errors.push(BulkError::new(run_id, problem)),
        }
    }
    Ok(Json(answer))
}
