//! Clearing, marking and noting over REST.

use millrace_model::dag::Task;
use millrace_model::ids::TaskId;
use serde_json::{Value, json};

use crate::plant::dag;
use crate::site::{ADMIN, FAILED_RUN, RUNNING_RUN, Site, VIEWER, now};

const DAG: &str = "/api/v1/dags/copy_orders";

fn touched(answer: &Value) -> Vec<(String, Value, Value)> {
    let rows = answer["task_instances"].as_array().unwrap().iter();
    rows.map(|row| (row["task_id"].as_str().unwrap().to_owned(), row["state"].clone(), row["new_state"].clone()))
        .collect()
}

fn states(site: &Site, run: &str) -> Vec<Value> {
    let answer = site.get(&format!("{DAG}/dagRuns/{run}/taskInstances")).is(200).json();
    answer["task_instances"].as_array().unwrap().iter().map(|row| row["state"].clone()).collect()
}

#[test]
fn tasks_are_cleared_as_airflow_clears_them() {
    let site = Site::start();
    let clear = format!("{DAG}/clearTaskInstances");
    // Its defaults: a dry run of what has failed, in all runs.
    let plan = site.send("POST", &clear, &json!({})).is(200).json();
    assert_eq!(plan["total_entries"], 2);
    assert_eq!(touched(&plan)[0], ("load".to_owned(), json!("failed"), Value::Null));
    assert_eq!(plan["task_instances"][0]["dag_run_id"], FAILED_RUN);
    assert_eq!(states(&site, FAILED_RUN), ["success", "failed", "upstream_failed"]);

    let wanted = json!({"dag_run_id": RUNNING_RUN, "task_ids": ["load"], "include_past": true,
        "include_upstream": true, "only_failed": false});
    let plan = site.send("POST", &clear, &wanted).is(200).json();
    assert_eq!(plan["total_entries"], 4);
    assert_eq!(touched(&plan)[3], ("load".to_owned(), json!("running"), json!("restarting")));
    let careful = json!({"dag_run_id": RUNNING_RUN, "only_failed": false, "prevent_running_task": true});
    let refused = site.send("POST", &clear, &careful).is(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("load is running"), "{refused}");

    let later =
        json!({"dag_run_id": FAILED_RUN, "task_ids": ["extract"], "include_future": true, "only_failed": false});
    let plan = site.send("POST", &clear, &later).is(200).json();
    let runs: Vec<&Value> = plan["task_instances"].as_array().unwrap().iter().map(|row| &row["dag_run_id"]).collect();
    assert_eq!(runs, [FAILED_RUN, RUNNING_RUN]);
    let running = json!({"start_date": "2024-03-01", "only_running": true, "only_failed": false});
    let plan = site.send("POST", &clear, &running).is(200).json();
    assert_eq!(touched(&plan), [("load".to_owned(), json!("running"), json!("restarting"))]);
    let kept = json!({"dag_run_id": FAILED_RUN, "task_ids": ["notify"], "reset_dag_runs": false, "dry_run": false});
    site.send("POST", &clear, &kept).is(200);
    assert_eq!(site.get(&format!("{DAG}/dagRuns/{FAILED_RUN}")).json()["state"], "failed");
    assert_eq!(states(&site, FAILED_RUN), [json!("success"), json!("failed"), Value::Null]);

    let range =
        json!({"start_date": "2024-03-01", "end_date": "2024-03-01T00:00:00Z", "dry_run": false, "note": "again"});
    assert_eq!(site.send("POST", &clear, &range).is(200).json()["total_entries"], 1);
    assert_eq!(states(&site, FAILED_RUN), [json!("success"), Value::Null, Value::Null]);
    let run = site.get(&format!("{DAG}/dagRuns/{FAILED_RUN}")).json();
    assert_eq!((&run["state"], &run["start_date"], &run["note"]), (&json!("queued"), &Value::Null, &json!("again")));
    assert_eq!(run["clear_number"], 1);
    assert!(site.audit().iter().any(|row| row.action == "clear" && row.actor == "rest:admin"));

    site.send("POST", &clear, &json!({"task_ids": ["lode"], "dag_run_id": FAILED_RUN})).is(404);
    site.send("POST", &clear, &json!({"dag_run_id": "nothing"})).is(404);
    site.send("POST", &clear, &json!({"start_date": "soon"})).is(422);
    site.send("POST", &clear, &json!({"colour": 1})).is(422);
    site.send_as(VIEWER, "POST", &clear, &json!({})).is(403);
}

#[test]
fn a_whole_run_is_cleared() {
    let site = Site::start();
    let clear = format!("{DAG}/dagRuns/{FAILED_RUN}/clear");
    assert_eq!(site.send("POST", &clear, &json!({})).is(200).json()["total_entries"], 3);
    let failed = json!({"only_failed": true});
    assert_eq!(site.send("POST", &clear, &failed).is(200).json()["total_entries"], 2);
    let run = site.send("POST", &clear, &json!({"dry_run": false})).is(200).json();
    assert_eq!((&run["dag_run_id"], &run["state"]), (&json!(FAILED_RUN), &json!("queued")));
    assert_eq!(states(&site, FAILED_RUN), [Value::Null, Value::Null, Value::Null]);
}

#[test]
fn tasks_and_runs_are_marked() {
    let site = Site::start();
    let load = format!("{DAG}/dagRuns/{FAILED_RUN}/taskInstances/load");
    let wanted = json!({"new_state": "success"});
    let plan = site.send("PATCH", &format!("{load}/dry_run"), &wanted).is(200).json();
    let expected = [
        ("load".to_owned(), json!("failed"), json!("success")),
        ("notify".to_owned(), json!("upstream_failed"), Value::Null),
    ];
    assert_eq!(touched(&plan), expected);
    assert_eq!(states(&site, FAILED_RUN), ["success", "failed", "upstream_failed"]);
    assert_eq!(touched(&site.send("PATCH", &load, &wanted).is(200).json()), expected);
    assert_eq!(states(&site, FAILED_RUN), [json!("success"), json!("success"), Value::Null]);
    site.send("PATCH", &load, &json!({"new_state": "running"})).is(422);
    site.send("PATCH", &load, &json!({})).is(422);
    site.send("PATCH", &format!("{DAG}/dagRuns/{FAILED_RUN}/taskInstances/lode"), &wanted).is(404);

    let run = format!("{DAG}/dagRuns/{RUNNING_RUN}");
    let marked = site.send("PATCH", &run, &json!({"state": "failed", "note": "given up"})).is(200).json();
    assert_eq!((&marked["state"], &marked["note"]), (&json!("failed"), &json!("given up")));
    assert_eq!(states(&site, RUNNING_RUN), ["success", "failed", "skipped"]);
    let marked = site.send("PATCH", &run, &json!({"note": ""})).is(200).json();
    assert_eq!((&marked["state"], &marked["note"]), (&json!("failed"), &Value::Null));
    let again = site.send("PATCH", &run, &json!({"state": "queued"})).is(200).json();
    assert_eq!(again["state"], "queued");
    site.send("PATCH", &run, &json!({"state": "running"})).is(422);
    site.send("PATCH", &run, &json!({"note": "x".repeat(1001)})).is(422);
    site.send_as(VIEWER, "PATCH", &run, &json!({"state": "success"})).is(403);
}

#[test]
fn a_run_that_is_queued_again_keeps_what_has_succeeded() {
    let site = Site::start();
    let failed = format!("{DAG}/dagRuns/{FAILED_RUN}");
    let tries = |run: &str| {
        let answer = site.get(&format!("{DAG}/dagRuns/{run}/taskInstances")).is(200).json();
        answer["task_instances"].as_array().unwrap().iter().map(|row| row["try_number"].clone()).collect::<Vec<_>>()
    };
    let before = tries(FAILED_RUN);
    assert_eq!(site.send("PATCH", &failed, &json!({"state": "queued"})).is(200).json()["state"], "queued");
    assert_eq!(states(&site, FAILED_RUN), [json!("success"), Value::Null, Value::Null]);
    assert_eq!(tries(FAILED_RUN), before, "the tries count on");
    site.send("PATCH", &failed, &json!({"state": "queued", "note": "still"})).is(200);

    // Of one that runs nothing is stopped.
    let running = format!("{DAG}/dagRuns/{RUNNING_RUN}");
    let before = states(&site, RUNNING_RUN);
    let refused = site.send("PATCH", &running, &json!({"state": "queued"})).is(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("/clear runs it again as a whole"), "{refused}");
    assert_eq!(states(&site, RUNNING_RUN), before);
    assert!(before.contains(&json!("running")), "{before:?}");

    // Many at once mean the same.
    site.send("PATCH", &failed, &json!({"state": "failed"})).is(200);
    let again = json!([{"dag_run_id": FAILED_RUN, "state": "queued"}, {"dag_run_id": RUNNING_RUN, "state": "queued"}]);
    let bulk = json!({"actions": [{"action": "update", "entities": again}]});
    let done = site.send("PATCH", &format!("{DAG}/dagRuns"), &bulk).is(200).json();
    assert_eq!(done["update"]["success"], json!([FAILED_RUN]));
    assert_eq!(done["update"]["errors"][0]["status_code"], 409, "{done}");
    assert_eq!(states(&site, FAILED_RUN), [json!("success"), Value::Null, Value::Null]);
    assert_eq!(states(&site, RUNNING_RUN), before);
}

#[test]
fn whoever_clears_a_load_that_appends_is_told_before() {
    let site = Site::start();
    let mut adds = dag("adds", "none", "UTC", &[], &[("load", "copy", &[], 0), ("after", "bash", &["load"], 0)]);
    adds.tasks[0].parameters = json!({"table": "t", "s3_key": "k"});
    site.runtime.block_on(site.plant.sync(adds, true, now()));
    site.send("POST", "/api/v1/dags/adds/dagRuns", &json!({"dag_run_id": "r"})).is(200);
    let instance = "/api/v1/dags/adds/dagRuns/r/taskInstances/load";
    let clear = |dry_run: bool| {
        let body = json!({"dag_run_id": "r", "only_failed": false, "dry_run": dry_run});
        site.send("POST", "/api/v1/dags/adds/clearTaskInstances", &body).is(200).json()["warnings"].clone()
    };
    assert_eq!(clear(true), json!([]), "it has loaded nothing yet");
    site.send("PATCH", instance, &json!({"new_state": "success"})).is(200);
    let told = "task 'load' appends, and has loaded already: its rows will be there twice; \
                use method: upsert with upsert_keys, or method: replace";
    assert_eq!(clear(true), json!([told]));
    let whole = site.send("POST", "/api/v1/dags/adds/dagRuns/r/clear", &json!({})).is(200).json();
    assert_eq!(whole["warnings"], json!([told]));
    let page = |language: &str| {
        let headers = [("authorization", ADMIN), ("accept-language", language)];
        site.call("GET", "/dags/adds/runs/r/change?action=clear", &headers, None).is(200).body
    };
    assert!(page("en").contains("Task &#x27;load&#x27; appends, and has loaded already"), "{}", page("en"));
    assert!(page("ko").contains("행이 두 번 들어갑니다"), "{}", page("ko"));
    assert_eq!(clear(false), json!([told]), "also as it is done");
}

#[test]
fn groups_and_single_instances_are_addressed_as_airflow_does() {
    let site = Site::start();
    let (mut each, mut one) =
        (Task::new(TaskId::new_unchecked("each"), "bash"), Task::new(TaskId::new_unchecked("g.one"), "bash"));
    each.expand = Some(serde_json::from_value(json!({"each": {"list": [1, 2, 3]}})).unwrap());
    one.group = Some(TaskId::new_unchecked("g"));
    let group = serde_json::from_value(json!({"group_id": "g"})).unwrap();
    let mut mapped = dag("mapped", "none", "UTC", &[], &[]);
    (mapped.tasks, mapped.groups) = (vec![each, one], vec![group]);
    site.runtime.block_on(site.plant.sync(mapped, true, now()));
    site.send("POST", "/api/v1/dags/mapped/dagRuns", &json!({"dag_run_id": "r"})).is(200);
    let of = "/api/v1/dags/mapped/dagRuns/r/taskInstances";
    let all = site.get(&format!("{of}/each/listMapped?limit=2")).is(200).json();
    assert_eq!((&all["total_entries"], &all["task_instances"][1]["map_index"]), (&json!(3), &json!(1)));
    assert_eq!(site.get(&format!("{of}/g.one/listMapped")).is(200).json()["total_entries"], 0);
    site.get(&format!("{of}/nothing/listMapped")).is(404);
    assert_eq!(site.get(&format!("{of}/each/2")).is(200).json()["map_index"], 2);
    site.get(&format!("{of}/each/3")).is(404);
    site.get(&format!("{of}/each/x")).is(404);
    assert!(site.get(&format!("{of}/each/2/dependencies")).is(200).json()["answer"].is_string());
    let marked = site.send("PATCH", &format!("{of}/each/1"), &json!({"new_state": "success"})).is(200).json();
    assert_eq!((&marked["total_entries"], &marked["task_instances"][0]["map_index"]), (&json!(1), &json!(1)));
    let marked = site.send("PATCH", &format!("{of}/g.one"), &json!({"new_state": "failed"})).is(200).json();
    assert_eq!(marked["total_entries"], 1);
    let marked = site.send("PATCH", &format!("{of}/g"), &json!({"new_state": "skipped"})).is(200).json();
    assert_eq!((&marked["total_entries"], &marked["task_instances"][0]["task_id"]), (&json!(1), &json!("g.one")));
    site.send("PATCH", &format!("{of}/other"), &json!({"new_state": "skipped"})).is(404);
    let groups = "/api/v1/dags/mapped/dagRuns/r/taskGroupInstances";
    let plan = site.send("PATCH", &format!("{groups}/g/dry_run"), &json!({"new_state": "success"})).is(200).json();
    assert_eq!(touched(&plan).len(), 1);
    assert_eq!(site.get(&format!("{of}/g.one")).json()["state"], "skipped", "nothing was touched yet");
    site.send("PATCH", &format!("{groups}/g"), &json!({"new_state": "success"})).is(200);
    assert_eq!(site.get(&format!("{of}/g.one")).json()["state"], "success");
    site.send("PATCH", &format!("{groups}/each"), &json!({"new_state": "success"})).is(404);
    site.send_as(VIEWER, "PATCH", &format!("{groups}/g"), &json!({"new_state": "failed"})).is(403);
    let clear = |tasks: Value| {
        let body = json!({"dag_run_id": "r", "task_ids": tasks, "only_failed": false});
        let plan = site.send("POST", "/api/v1/dags/mapped/clearTaskInstances", &body).is(200).json();
        touched(&plan).into_iter().map(|(task, ..)| task).collect::<Vec<_>>()
    };
    assert_eq!(clear(json!(["g"])), ["g.one"], "a group means its tasks");
    assert_eq!(clear(json!([["each", 1]])), ["each"]);
    let page = site.get("/dags/mapped/runs/r/change?task=each&map_index=1&action=clear").is(200).body;
    assert!(page.contains("Clear task each [1]") && page.contains("name=\"map_index\" value=\"1\""), "{page}");
    // The page of an instance marks this one, too, and no other.
    let page = site.get("/dags/mapped/runs/r/tasks/each?map_index=2").is(200).body;
    let (_, this) = page.split_once("This instance").unwrap();
    let link = this.split("href=\"").find(|link| link.contains("action=skipped")).unwrap().split('"').next().unwrap();
    let link = link.replace("&amp;", "&").replace("&#x2f;", "/");
    assert!(site.get(&link).is(200).body.contains("Mark task each [2] skipped"), "{link}");
    let state = |index: u32| site.get(&format!("{of}/each/{index}")).json()["state"].clone();
    let others = (state(0), state(1));
    let (path, fields) = link.split_once('?').unwrap();
    let token = page.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap();
    let headers =
        [("authorization", ADMIN), ("content-type", "application/x-www-form-urlencoded"), ("x-csrf-token", token)];
    site.call("POST", path, &headers, Some(fields)).is(303);
    assert_eq!((state(2), state(0), state(1)), (json!("skipped"), others.0, others.1));
}

#[test]
fn calendars_that_dags_name_are_listed_with_their_days() {
    let site = Site::start();
    let mut kept = dag("kept", "@daily", "UTC", &[], &[("a", "empty", &[], 0)]);
    kept.calendar = Some(
        serde_json::from_value(
            json!({"exclude": [{"name": "feasts", "days": [{"rule": "12-25", "name": "Christmas"}]}]}),
        )
        .unwrap(),
    );
    site.runtime.block_on(site.plant.sync(kept, true, now()));
    let all = site.get("/api/v1/calendars?year=2025").is(200).json();
    assert_eq!((&all["total_entries"], &all["calendars"][0]["dag_ids"]), (&json!(1), &json!(["kept"])));
    let one = site.get("/api/v1/calendars/feasts").is(200).json();
    assert_eq!(one["days"], json!([{"date": "2024-12-25", "weekday": "Wed", "name": "Christmas"}]));
    site.get("/api/v1/calendars/other").is(404);
    assert!(site.get("/calendars").is(200).body.contains("Christmas"));
}

#[test]
fn a_run_is_given_the_newest_version_by_who_may() {
    let site = Site::start();
    let repin = format!("{DAG}/dagRuns/{FAILED_RUN}/repin");
    let page = format!("/dags/copy_orders/runs/{FAILED_RUN}").replace(':', "%3A").replace('+', "%2B");
    let same = site.send("POST", &repin, &json!({})).is(409).json();
    assert!(same["detail"].as_str().unwrap().contains("has version 1 already"), "{same}");
    assert!(!site.get(&page).is(200).body.contains("Give it version"));

    let tasks =
        [("extract", "sql_to_s3", &[][..], 0), ("load", "copy", &["extract"][..], 0), ("publish", "empty", &[][..], 0)];
    site.runtime.block_on(site.plant.sync(dag("copy_orders", "@daily", "UTC", &["nightly"], &tasks), false, now()));
    let told = |answer: &Value| {
        json!([answer["version_number"], answer["added"], answer["removed"], answer["queued"], answer["dry_run"]])
    };
    let plan = site.send("POST", &repin, &json!({})).is(200).json();
    assert_eq!(told(&plan), json!([2, ["publish"], ["notify"], true, true]));
    assert_eq!(states(&site, FAILED_RUN), ["success", "failed", "upstream_failed"], "a dry run changes nothing");
    assert!(site.get(&page).is(200).body.contains("Give it version 2"));
    let viewers = site.call("GET", &page, &[("authorization", VIEWER)], None).is(200);
    assert!(!viewers.body.contains("Give it version 2"));

    site.send_as(VIEWER, "POST", &repin, &json!({"dry_run": false})).is(403);
    site.send("POST", &repin, &json!({"dry_run": false, "colour": 1})).is(422);
    site.send("POST", &format!("{DAG}/dagRuns/nothing/repin"), &json!({})).is(404);
    let done = site.send("POST", &repin, &json!({"dry_run": false})).is(200).json();
    assert_eq!(told(&done), json!([2, ["publish"], ["notify"], true, false]));
    assert_eq!(states(&site, FAILED_RUN), [json!("success"), json!("failed"), json!("removed"), Value::Null]);
    assert_eq!(site.get(&format!("{DAG}/dagRuns/{FAILED_RUN}")).json()["state"], "queued");
    assert!(site.audit().iter().any(|row| row.action == "repin" && row.actor == "rest:admin"));
    assert!(!site.get(&page).is(200).body.contains("Give it version"));

    // The other run, by the button of its page.
    let page = page.replace("2024-03-01", "2024-03-02");
    let drawn = site.call("GET", &page, &[("authorization", ADMIN)], None).is(200).body;
    assert!(drawn.contains("repin\" data-confirm=\"Give the run version 2 of its DAG?\""), "{drawn}");
    let csrf = drawn.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let headers = [("authorization", ADMIN), ("content-type", "application/x-www-form-urlencoded")];
    site.call("POST", &format!("{page}/repin"), &headers, Some(&format!("csrf_token={csrf}"))).is(303);
    assert!(states(&site, RUNNING_RUN).contains(&json!("removed")));
    site.runtime.block_on(site.plant.store.mark_stale(&[], &[], now())).unwrap();
    let gone = site.send("POST", &repin, &json!({})).is(409).json();
    assert!(gone["detail"].as_str().unwrap().contains("is gone"), "{gone}");
}
