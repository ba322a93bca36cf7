//! Runs and their task instances over REST.

use serde_json::json;

use crate::site::{ADMIN, FAILED_RUN, RUNNING_RUN, Site};

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
