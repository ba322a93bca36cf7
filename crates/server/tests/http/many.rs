//! Many runs and tasks at once: listed by a body, changed by a body.

use serde_json::{Value, json};

use crate::plant::dag;
use crate::site::{FAILED_RUN, RUNNING_RUN, Site, VIEWER, now};

const RUNS: &str = "/api/v1/dags/~/dagRuns/list";
const TASKS: &str = "/api/v1/dags/~/dagRuns/~/taskInstances/list";

fn names(answer: &Value, list: &str, name: &str) -> Vec<String> {
    answer[list].as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
}

#[test]
fn runs_are_listed_by_what_a_body_says() {
    let site = Site::start();
    site.send("POST", "/api/v1/dags/quiet/dagRuns", &json!({"dag_run_id": "list"})).is(200);
    // Whoever may look may ask with a body, too.
    let asked =
        |body: Value| names(&site.send_as(VIEWER, "POST", RUNS, &body).is(200).json(), "dag_runs", "dag_run_id");
    assert_eq!(asked(json!({})).len(), 3);
    assert_eq!(asked(json!({"dag_ids": ["copy_orders"]})), [RUNNING_RUN, FAILED_RUN]);
    assert_eq!(asked(json!({"dag_ids": ["copy_orders", "quiet"], "states": ["failed", "queued"]})).len(), 2);
    assert_eq!(asked(json!({"logical_date_lte": "2024-03-01T00:00:00Z"})), [FAILED_RUN]);
    assert_eq!(asked(json!({"logical_date_gt": "2024-03-01T00:00:00Z", "dag_ids": ["copy_orders"]})), [RUNNING_RUN]);
    assert_eq!(asked(json!({"end_date_gte": "2024-03-02T00:00:00Z"})), [FAILED_RUN], "one that goes on has no end");
    assert_eq!(asked(json!({"order_by": "logical_date", "page_limit": 1, "page_offset": 1})), [RUNNING_RUN]);
    let here = site.send("POST", "/api/v1/dags/quiet/dagRuns/list", &json!({})).is(200).json();
    assert_eq!((&here["total_entries"], &here["dag_runs"][0]["dag_id"]), (&json!(1), &json!("quiet")));
    // The address means the same ends of dates.
    let path = "/api/v1/dags/~/dagRuns?start_date_lt=2024-03-03T00:00:00Z&run_after_lte=2024-03-02";
    assert_eq!(names(&site.get(path).is(200).json(), "dag_runs", "dag_run_id"), [FAILED_RUN]);
    for wrong in [json!({"states": ["green"]}), json!({"dags": []}), json!({"end_date_lt": "soon"})] {
        site.send("POST", RUNS, &wrong).is(422);
    }
    site.send("POST", "/api/v1/dags/nothing/dagRuns/list", &json!({})).is(404);

    // The run of that name is a run like others.
    let list = "/api/v1/dags/quiet/dagRuns/list";
    assert_eq!(site.get(list).is(200).json()["dag_run_id"], "list");
    assert_eq!(site.send("PATCH", list, &json!({"state": "failed", "note": "n"})).is(200).json()["note"], "n");
    site.send("DELETE", list, &json!({})).is(204);
    site.get(list).is(404);
}

#[test]
fn task_instances_are_listed_by_what_a_body_says() {
    let site = Site::start();
    let listed = dag("lists", "none", "UTC", &[], &[("list", "empty", &[], 0)]);
    site.runtime.block_on(site.plant.sync(listed, true, now()));
    site.send("POST", "/api/v1/dags/lists/dagRuns", &json!({"dag_run_id": "r"})).is(200);
    let asked = |body: Value| {
        let answer = site.send_as(VIEWER, "POST", TASKS, &body).is(200).json();
        let mut found = names(&answer, "task_instances", "task_id");
        found.sort();
        found
    };
    assert_eq!(asked(json!({"state": ["failed", "running"]})), ["load", "load"]);
    assert_eq!(asked(json!({"state": [null], "dag_ids": ["copy_orders"]})), ["notify"]);
    assert_eq!(asked(json!({"dag_run_ids": [FAILED_RUN]})), ["extract", "load", "notify"]);
    assert_eq!(asked(json!({"task_ids": ["extract", "list"]})), ["extract", "extract", "list"]);
    assert_eq!(asked(json!({"operator": ["copy"], "pool": ["default_pool"]})), ["load", "load"]);
    assert_eq!(asked(json!({"duration_gte": 25.5})), ["load"]);
    assert_eq!(asked(json!({"duration_lte": 20, "task_ids": ["extract", "load"]})), ["extract", "extract"]);
    assert_eq!(asked(json!({"dag_ids": ["copy_orders"], "page_limit": 2})).len(), 2);
    let run = format!("/api/v1/dags/copy_orders/dagRuns/{FAILED_RUN}/taskInstances/list").replace('+', "%2B");
    assert_eq!(site.send("POST", &run, &json!({"state": ["success"]})).is(200).json()["total_entries"], 1);
    site.send("POST", "/api/v1/dags/quiet/dagRuns/none/taskInstances/list", &json!({})).is(404);
    let several = "/api/v1/dags/~/dagRuns/~/taskInstances?state=failed&state=running&start_date_gte=2024-03-03";
    assert_eq!(names(&site.get(several).is(200).json(), "task_instances", "dag_run_id"), [RUNNING_RUN]);
    for wrong in [json!({"state": ["green"]}), json!({"duration_gte": "long"}), json!({"order_by": "pages"})] {
        site.send("POST", TASKS, &wrong).is(422);
    }

    // The task of that name is a task like others.
    let list = "/api/v1/dags/lists/dagRuns/r/taskInstances/list";
    assert_eq!(site.get(list).is(200).json()["task_id"], "list");
    site.send("PATCH", list, &json!({"new_state": "success"})).is(200);
    assert_eq!(site.get(list).is(200).json()["state"], "success");
}

#[test]
fn many_runs_are_changed_and_deleted_at_once() {
    let site = Site::start();
    site.send("POST", "/api/v1/dags/quiet/dagRuns", &json!({"dag_run_id": "a"})).is(200);
    let path = "/api/v1/dags/copy_orders/dagRuns";
    let update = json!([{"dag_run_id": RUNNING_RUN, "state": "failed", "note": "given up"}, {"dag_run_id": "none", "note": ""},
        {"dag_run_id": FAILED_RUN, "state": "tired"}, {"dag_run_id": FAILED_RUN}, "named", {"dag_run_id": "x", "dag_id": "quiet", "note": "n"}]);
    let done = site.send("PATCH", path, &json!({"actions": [{"action": "update", "entities": update}]})).is(200).json();
    assert_eq!(done["update"]["success"], json!([RUNNING_RUN]));
    let codes: Vec<_> =
        done["update"]["errors"].as_array().unwrap().iter().map(|it| it["status_code"].clone()).collect();
    assert_eq!(codes, [404, 422, 422, 422, 422], "{done}");
    let run = site.get(&format!("{path}/{RUNNING_RUN}").replace('+', "%2B")).is(200).json();
    assert_eq!((&run["state"], &run["note"]), (&json!("failed"), &json!("given up")));

    let delete = json!({"actions": [{"action": "delete", "entities": [FAILED_RUN, "none"]}]});
    site.send_as(VIEWER, "PATCH", path, &delete).is(403);
    let clerk = site.token_of("clerk2", "operator");
    let refused = site.send_as(&clerk, "PATCH", path, &delete).is(200).json();
    assert_eq!(refused["delete"]["errors"][0]["status_code"], 403, "an operator deletes no history: {refused}");
    let done = site.send("PATCH", path, &delete).is(200).json();
    assert_eq!(
        (&done["delete"]["success"], &done["delete"]["errors"][0]["status_code"]),
        (&json!([FAILED_RUN]), &json!(404))
    );
    site.get(&format!("{path}/{FAILED_RUN}").replace('+', "%2B")).is(404);

    // Of several DAGs: each entity says whose run it is.
    let across = json!({"actions": [{"action": "update", "entities":
        [{"dag_id": "quiet", "dag_run_id": "a", "note": "seen"}, {"dag_run_id": "a", "note": "whose?"}]}]});
    let done = site.send("PATCH", "/api/v1/dags/~/dagRuns", &across).is(200).json();
    assert_eq!((&done["update"]["success"], &done["update"]["errors"][0]["status_code"]), (&json!(["a"]), &json!(422)));
    let create = json!({"actions": [{"action": "create", "entities": ["z"]}]});
    site.send("PATCH", path, &create).is(422);
    let actions: Vec<String> = site.audit().into_iter().map(|row| row.action).collect();
    for action in ["mark", "note", "run_deleted"] {
        assert!(actions.iter().any(|it| it == action), "{action} is not in {actions:?}");
    }
}
