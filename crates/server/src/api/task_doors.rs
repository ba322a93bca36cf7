//! The addresses of task instances.

use axum::extract::{Path, State};
use serde_json::Value;

use super::{Given, bulk, explain, instances, logs, tries, xcoms};
use crate::access::permission::{Access, Act};
use crate::access::person::Person;
use crate::deeds::changes::{ClearBody, MarkBody, Touched};
use crate::doors::Doors;
use crate::openapi::{Kind, op};
use crate::query::Parameters;
use crate::server::Shared;

const LIST: &str = "list";

#[expect(clippy::too_many_lines, reason = "a table: an entry for each address")]
pub(super) fn doors() -> Doors {
    use Act::{ChangeRuns, ReadDags, ReadLogs};
    let mapped = |summary| op(summary).query("map_index", Kind::Number, "Of a mapped task, counted from 0");
    super::under()
        .post("/dags/{dag_id}/clearTaskInstances", ChangeRuns, instances::clear)
        .does(op("Run tasks again; a dry run lists them").takes::<ClearBody>().gives::<Touched>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances", ReadDags, instances::list)
        .does(
            instances::filtered(op("List the task instances of a run; ~ for every run, or every DAG and run, newest first"))
                .many("task_id", Kind::Text, "Of this task; may be repeated")
                .many("dag_ids", Kind::Text, "Of this DAG, where the address says ~; may be repeated")
                .many("dag_run_ids", Kind::Text, "Of the run of this name, where the address says ~; may be repeated")
                .gives::<instances::TaskInstances>(),
        )
        .patch("/dags/{dag_id}/dagRuns/{run_id}/taskInstances", Access::OfSomeDag(ChangeRuns), bulk::instances)
        .does(
            op("Give many tasks of a run a state; ~ for those of several runs, or DAGs")
                .takes::<bulk::BulkBody<bulk::InstanceEntity>>()
                .gives::<bulk::BulkAnswer>(),
        )
        .post("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/list", ReadDags, instances::list_asked)
        .does(
            op("List task instances, newest first, with many names to choose by; ~ for every run, or every DAG and run")
                .takes::<instances::ListBody>()
                .gives::<instances::TaskInstances>(),
        )
        // The address of listing is also that of a task which is named so.
        .get(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/list",
            ReadDags,
            async |server: State<Shared>, Path((dag_id, run_id)): Path<(String, String)>, query: Parameters| {
                instances::get(server, Path((dag_id, run_id, LIST.to_owned())), query).await
            },
        )
        .does(mapped("Show an instance of the task named list").gives::<instances::TaskInstance>())
        .patch(
            "/dags/{dag_id}/dagRuns/{run_id}/taskInstances/list",
            ChangeRuns,
            async |server: State<Shared>,
                   Path((dag_id, run_id)): Path<(String, String)>,
                   query: Parameters,
                   person: Person,
                   given: Given<MarkBody>| {
                instances::patch(server, Path((dag_id, run_id, LIST.to_owned())), query, person, given).await
            },
        )
        .does(mapped("Give the task named list a state").takes::<MarkBody>().gives::<Touched>())
        .patch("/dags/{dag_id}/dagRuns/{run_id}/taskGroupInstances/{group_id}", ChangeRuns, instances::patch_group)
        .does(op("Give the tasks of a group a state").takes::<MarkBody>().gives::<Touched>())
        .patch(
            "/dags/{dag_id}/dagRuns/{run_id}/taskGroupInstances/{group_id}/dry_run",
            ChangeRuns,
            instances::patch_group_dry_run,
        )
        .does(op("List what giving the tasks of a group a state would touch").takes::<MarkBody>().gives::<Touched>())
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
                .query("format", Kind::Words(logs::FORMATS), "As plain text, to be saved; so does Accept: text/plain")
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
        .does(mapped("List what a task left for others; ~ for every DAG, run or task, newest first")
                .page()
                .query("xcom_key", Kind::Text, "Under this key")
                .gives::<xcoms::XcomEntries>())
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{xcom_key}", ReadLogs, xcoms::get)
        .does(mapped("Show one of them").gives::<xcoms::XcomEntry>())
        // Of a mapped task: as the addresses without the index take `?map_index=`.
        .get("/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/listMapped", ReadDags, instances::list_mapped)
        .does(
            instances::filtered(op("List the instances of a mapped task")).gives::<instances::TaskInstances>(),
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
