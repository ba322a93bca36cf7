//! Runs and their task instances over REST.

use millrace_logs::TryId;
use millrace_model::asset::AssetName;
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use serde_json::{Value, json};

use crate::plant::dag;
use crate::site::{ADMIN, FAILED_RUN, RUNNING_RUN, Site, VIEWER, now};

const RUNS: &str = "/api/v1/dags/copy_orders/dagRuns";

#[test]
fn runs_are_listed_newest_first() {
    let site = Site::start();
    let all = site.get(RUNS).is(200).json();
    assert_eq!(all["total_entries"], 2);
    let run = &all["dag_runs"][1];
    assert_eq!(run["dag_run_id"], FAILED_RUN);
    assert_eq!(run["state"], "failed");
    assert_eq!(run["run_type"], "scheduled");
    assert_eq!(run["logical_date"], "2024-03-01T00:00:00.000000Z");
    assert_eq!(run["data_interval_end"], "2024-03-02T00:00:00.000000Z");
    assert_eq!(run["start_date"], "2024-03-02T00:00:00.000000Z");
    assert_eq!(run["duration"], json!(260.0));
    assert_eq!(run["conf"], json!({}));
    assert_eq!(site.get(&format!("{RUNS}?state=failed")).json()["total_entries"], 1);
    assert_eq!(
        site.get(&format!("{RUNS}?state=failed&state=running&limit=1")).json()["dag_runs"].as_array().unwrap().len(),
        1
    );
    assert_eq!(site.get(&format!("{RUNS}?run_type=manual")).json()["total_entries"], 0);
    assert_eq!(site.get("/api/v1/dags/~/dagRuns").json()["total_entries"], 2);
    site.get(&format!("{RUNS}?state=green")).is(422);
    assert_eq!(site.get("/api/v1/dags/nothing/dagRuns").is(404).json()["code"], "dag_not_found");
    assert_eq!(site.get(&format!("{RUNS}/{FAILED_RUN}")).is(200).json()["dag_run_id"], FAILED_RUN);
    assert_eq!(site.get(&format!("{RUNS}/nothing")).is(404).json()["code"], "run_not_found");
    assert_eq!(site.get("/api/v1/dags/nothing/dagRuns/x").is(404).json()["code"], "dag_not_found");
}

#[test]
fn a_trigger_queues_a_run() {
    let site = Site::start();
    let body =
        json!({"dag_run_id": "by-hand", "logical_date": "2024-02-01T00:00:00Z", "conf": {"a": 1}, "note": "why"});
    let run = site.send("POST", RUNS, &body).is(200).json();
    assert_eq!(run["dag_run_id"], "by-hand");
    assert_eq!((run["state"].as_str(), run["run_type"].as_str()), (Some("queued"), Some("manual")));
    assert_eq!(run["logical_date"], "2024-02-01T00:00:00.000000Z");
    assert_eq!((&run["conf"], &run["note"]), (&json!({"a": 1}), &json!("why")));
    assert_eq!(run["triggered_by"], "rest:admin");
    assert!(run.get("notice").is_none());
    let early = site.send("POST", RUNS, &json!({"logical_date": "2023-12-31T23:59:59Z"})).is(422).json();
    assert_eq!(early["path"], "logical_date");
    assert!(early["detail"].as_str().unwrap().contains("start_date 2024-01-01T00:00:00"), "{early}");
    let later = json!({"dag_run_id": "later", "logical_date": "2024-03-09T00:00:00Z"});
    let later = site.send("POST", RUNS, &later).is(200).json();
    assert_eq!(later["run_after"], later["logical_date"], "its date is waited for");
    let plain = site.send("POST", RUNS, &json!({})).is(200).json();
    assert_eq!(plain["dag_run_id"], "manual__2024-03-03T06:00:00+00:00");
    assert_eq!(plain["data_interval_start"], "2024-03-02T00:00:00.000000Z");
    let rows = site.audit();
    assert!(rows.iter().any(|row| row.run_id.as_deref() == Some("by-hand") && row.actor == "rest:admin"), "{rows:?}");
}

#[test]
fn case_99_twice_is_a_conflict_that_names_the_first() {
    let site = Site::start();
    let body = json!({"dag_run_id": "once", "logical_date": "2024-02-01T00:00:00Z"});
    site.send("POST", RUNS, &body).is(200);
    let again =
        site.send("POST", RUNS, &json!({"dag_run_id": "once", "logical_date": "2024-02-02T00:00:00Z"})).is(409).json();
    assert_eq!(again["code"], "run_exists");
    assert_eq!(again["existing_run"]["href"], "/api/v1/dags/copy_orders/dagRuns/once");
    site.get(again["existing_run"]["href"].as_str().unwrap()).is(200);
    let same_date =
        site.send("POST", RUNS, &json!({"dag_run_id": "other", "logical_date": "2024-02-01T00:00:00Z"})).is(409).json();
    assert_eq!(same_date["existing_run"]["dag_run_id"], "once");
    assert_eq!(site.get(RUNS).json()["total_entries"], 3);
}

#[test]
fn case_99_an_idempotency_key_gives_the_same_answer() {
    let site = Site::start();
    let headers = [("authorization", ADMIN), ("content-type", "application/json"), ("idempotency-key", "k1")];
    let post = |body: &str| site.call("POST", RUNS, &headers, Some(body));
    let first = post("{\"note\": \"a\"}").is(200).json();
    site.advance(chrono::TimeDelta::seconds(5));
    assert_eq!(post("{\"note\": \"a\"}").is(200).json(), first);
    post("{\"note\": \"b\"}").is(422);
    assert_eq!(site.get(RUNS).json()["total_entries"], 3);
}

#[test]
fn case_99_bad_requests_say_what_is_wrong() {
    let site = Site::start();
    for (body, path) in [
        (json!({"conf": [1]}), "conf"),
        (json!({"conf": "text"}), "conf"),
        (json!({"logical_date": "yesterday"}), "logical_date"),
        (json!({"dag_run_id": "scheduled__2024-01-01"}), "dag_run_id"),
        (json!({"dag_run_id": "../../etc"}), "dag_run_id"),
        (json!({"note": "x".repeat(1001)}), "note"),
    ] {
        let answer = site.send("POST", RUNS, &body).is(422).json();
        assert_eq!(answer["path"], path, "{answer}");
    }
    site.send("POST", RUNS, &json!({"unknown": 1})).is(422);
    let json_headers = [("authorization", ADMIN), ("content-type", "application/json")];
    site.call("POST", RUNS, &json_headers, Some("{")).is(400);
    site.call("POST", RUNS, &[("authorization", ADMIN), ("content-type", "text/plain")], Some("{}")).is(400);
    assert!(site.raw(&format!("POST {RUNS} HTTP/1.1\r\nHost: x\r\nAuthorization: {ADMIN}\r\nContent-Type: application/json\r\nContent-Length: 1100000\r\n\r\n")).starts_with("HTTP/1.1 413 "));
    site.send("POST", "/api/v1/dags/nothing/dagRuns", &json!({})).is(404);
    assert_eq!(site.get(RUNS).json()["total_entries"], 2);
}

#[test]
fn case_99_a_paused_dag_queues_and_says_so() {
    let site = Site::start();
    let run = site.send("POST", "/api/v1/dags/quiet/dagRuns", &json!({})).is(200).json();
    assert_eq!(run["state"], "queued");
    assert!(run["notice"].as_str().unwrap().contains("paused"), "{run}");
}

#[test]
fn instances_of_a_run() {
    let site = Site::start();
    let all = site.get(&format!("{RUNS}/{FAILED_RUN}/taskInstances")).is(200).json();
    assert_eq!(all["total_entries"], 3);
    let load = &all["task_instances"][1];
    assert_eq!((load["task_id"].as_str(), load["state"].as_str()), (Some("load"), Some("failed")));
    assert_eq!((&load["try_number"], &load["max_tries"], &load["map_index"]), (&json!(2), &json!(1), &json!(-1)));
    assert_eq!(load["duration"], json!(30.0));
    assert_eq!(all["task_instances"][2]["state"], "upstream_failed");
    let failed = site.get(&format!("{RUNS}/{FAILED_RUN}/taskInstances?state=failed")).json();
    assert_eq!(failed["total_entries"], 1);
    let waiting = site.get(&format!("{RUNS}/{RUNNING_RUN}/taskInstances/notify")).is(200).json();
    assert_eq!(waiting["state"], json!(null));
    let one = site.get(&format!("{RUNS}/{FAILED_RUN}/taskInstances/load")).is(200).json();
    assert_eq!(one["rendered_fields"]["s3_bucket"], "warehouse-landing");
    assert_eq!(site.get(&format!("{RUNS}/{FAILED_RUN}/taskInstances/x")).is(404).json()["code"], "task_not_found");
    assert_eq!(site.get(&format!("{RUNS}/x/taskInstances/load")).is(404).json()["code"], "run_not_found");
    site.get(&format!("{RUNS}/x/taskInstances")).is(404);
}

#[test]
fn runs_and_dags_are_deleted_once_nothing_needs_them() {
    let site = Site::start();
    let run = |id: &str| format!("/api/v1/dags/copy_orders/dagRuns/{id}");
    let refused = site.send("DELETE", &run(RUNNING_RUN), &Value::Null).is(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("mark it failed first"), "{refused}");
    site.send_as(VIEWER, "DELETE", &run(FAILED_RUN), &Value::Null).is(403);
    let log = site.plant.logs.path(&TryId {
        dag_id: "copy_orders".to_owned(),
        run_id: FAILED_RUN.to_owned(),
        task_id: "load".to_owned(),
        map_index: -1,
        try_number: 1,
    });
    assert!(log.exists());
    site.send("DELETE", &run(FAILED_RUN), &Value::Null).is(204);
    site.get(&run(FAILED_RUN)).is(404);
    assert!(!log.exists(), "its logs went too");
    assert!(site.audit().iter().any(|row| row.action == "run_deleted" && row.actor == "rest:admin"));
    site.send("DELETE", &run(FAILED_RUN), &Value::Null).is(404);

    let refused = site.send("DELETE", "/api/v1/dags/quiet", &Value::Null).is(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("would bring it back"), "{refused}");
    let present = [DagId::new_unchecked("copy_orders")];
    site.runtime.block_on(site.plant.store.mark_stale(&present, &[], now())).unwrap();
    site.send_as(VIEWER, "DELETE", "/api/v1/dags/quiet", &Value::Null).is(403);
    site.send("DELETE", "/api/v1/dags/quiet", &Value::Null).is(204);
    site.get("/api/v1/dags/quiet").is(404);
    site.send("DELETE", "/api/v1/dags/quiet", &Value::Null).is(404);
}

#[test]
fn task_instances_of_every_run_are_browsed() {
    let site = Site::start();
    let list = |path: &str| site.get(&format!("/api/v1/dags/{path}")).is(200).json();
    let all = list("~/dagRuns/~/taskInstances?limit=2");
    assert_eq!(all["task_instances"].as_array().unwrap().len(), 2);
    assert_eq!(all["total_entries"], 3, "one more than there are on it: another page follows");
    assert_eq!(all["task_instances"][0]["dag_run_id"], RUNNING_RUN, "the newest first");
    let failed = list("copy_orders/dagRuns/~/taskInstances?state=failed");
    assert_eq!(failed["total_entries"], 1);
    assert_eq!(failed["task_instances"][0]["task_id"], "load");
    assert_eq!(list("~/dagRuns/~/taskInstances?task_id=notify&pool=default_pool&offset=1")["total_entries"], 2);
    assert_eq!(list("quiet/dagRuns/~/taskInstances")["total_entries"], 0);
    let one = list(&format!("copy_orders/dagRuns/{FAILED_RUN}/taskInstances?task_id=load"));
    assert_eq!(one["total_entries"], 1);
    for (path, status) in [
        ("nothing/dagRuns/~/taskInstances", 404),
        ("~/dagRuns/~/taskInstances?state=tired", 422),
        ("~/dagRuns/~/taskInstances?state=failed&state=success", 422),
        ("~/dagRuns/~/taskInstances?order_by=state", 422),
    ] {
        site.get(&format!("/api/v1/dags/{path}")).is(status);
    }
}

#[test]
fn many_tasks_are_marked_in_one_request() {
    let site = Site::start();
    let path = format!("/api/v1/dags/copy_orders/dagRuns/{FAILED_RUN}/taskInstances");
    let entities = json!([{"task_id": "load", "new_state": "success"}, {"task_id": "lode", "new_state": "success"},
        {"task_id": "notify", "new_state": "tired"}]);
    let answer = site.send("PATCH", &path, &json!({"actions": [{"action": "update", "entities": entities}]}));
    let answer = answer.is(200).json();
    assert_eq!(answer["update"]["success"], json!(["load"]));
    let errors = answer["update"]["errors"].as_array().unwrap();
    assert_eq!((&errors[0]["status_code"], &errors[1]["status_code"]), (&json!(404), &json!(422)));
    assert_eq!(site.get(&format!("{path}/load")).is(200).json()["state"], "success");
    let delete = json!({"actions": [{"action": "delete", "entities": ["load"]}]});
    site.send("PATCH", &path, &delete).is(422);
    site.send_as(VIEWER, "PATCH", &path, &delete).is(403);
}

#[test]
fn an_asset_is_materialized_by_the_dag_that_makes_it() {
    let site = Site::start();
    let unknown = site.send("POST", "/api/v1/assets/materialize", &json!({"asset": "s3://nowhere"})).is(404).json();
    assert!(unknown["detail"].as_str().unwrap().contains("no task brings the asset"), "{unknown}");
    let mut maker = dag("maker", "none", "UTC", &[], &[("make", "bash", &[], 0)]);
    maker.tasks[0].outlets = vec![AssetName::new_unchecked("orders")];
    site.runtime.block_on(site.plant.sync(maker.clone(), false, now()));
    let run = site.send("POST", "/api/v1/assets/materialize", &json!({"asset": "orders"})).is(200).json();
    assert_eq!((&run["dag_id"], &run["run_type"]), (&json!("maker"), &json!("manual")));
    let other = Dag { dag_id: DagId::new_unchecked("other"), ..maker };
    site.runtime.block_on(site.plant.sync(other, false, now()));
    let several = site.send("POST", "/api/v1/assets/materialize", &json!({"asset": "orders"})).is(409).json();
    assert!(several["detail"].as_str().unwrap().contains("maker, other"), "{several}");
    site.send_as(VIEWER, "POST", "/api/v1/assets/materialize", &json!({"asset": "orders"})).is(403);
}

#[test]
fn the_configuration_is_listed_without_secrets() {
    let site = Site::start_with(|options| {
        options.configuration = vec![
            ("core.parallelism".to_owned(), "16".to_owned()),
            ("core.api_secret".to_owned(), "hunter2hunter2".to_owned()),
            ("server.port".to_owned(), "8080".to_owned()),
        ];
    });
    let config = site.get("/api/v1/config").is(200).json();
    assert_eq!(config["sections"][0]["options"][1], json!({"key": "api_secret", "value": "***"}));
    let server = site.get("/api/v1/config?section=server").is(200).json();
    assert_eq!(server["sections"], json!([{"name": "server", "options": [{"key": "port", "value": "8080"}]}]));
    site.send_as(VIEWER, "GET", "/api/v1/config", &Value::Null).is(403);
}
