//! Clearing, marking and noting over REST.

use serde_json::{Value, json};

use crate::site::{FAILED_RUN, RUNNING_RUN, Site, VIEWER};

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

    let range =
        json!({"start_date": "2024-03-01", "end_date": "2024-03-01T00:00:00Z", "dry_run": false, "note": "again"});
    assert_eq!(site.send("POST", &clear, &range).is(200).json()["total_entries"], 2);
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
    assert_eq!(site.send("PATCH", &load, &wanted).is(200).json(), plan);
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
