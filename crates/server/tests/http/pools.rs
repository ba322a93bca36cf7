//! Pools and jobs over REST.

use chrono::TimeDelta;
use millrace_store::NewJob;
use serde_json::json;

use crate::site::{ADMIN, Site, USER, now};

const ALL: &str = "/api/v1/pools";

#[test]
fn pools_are_made_changed_and_deleted() {
    let site = Site::start();
    let made = site.send("POST", ALL, &json!({"name": "etl", "slots": 3, "description": "loads"})).is(201).json();
    assert_eq!((&made["open_slots"], &made["occupied_slots"]), (&json!(3), &json!(0)));
    site.send("POST", ALL, &json!({"name": "etl", "slots": 3})).is(409);
    let etl = format!("{ALL}/etl");
    let changed = site.send("PATCH", &etl, &json!({"slots": -1})).is(200).json();
    assert_eq!((&changed["slots"], &changed["open_slots"]), (&json!(-1), &json!(-1)));
    assert_eq!(changed["description"], "loads");
    for bad in [json!({"slots": -2}), json!({"name": "other"}), json!({"size": 3})] {
        site.send("PATCH", &etl, &bad).is(422);
    }
    site.send("POST", ALL, &json!({"name": " ", "slots": 3})).is(422);
    let all = site.get(ALL).is(200).json();
    assert_eq!(all["total_entries"], 2);
    assert_eq!(all["pools"][0]["name"], "default_pool");
    site.send("DELETE", &etl, &json!({})).is(204);
    site.get(&etl).is(404);
    site.send("DELETE", &etl, &json!({})).is(404);
    site.send("DELETE", &format!("{ALL}/default_pool"), &json!({})).is(409);
    let actions: Vec<String> = site.audit().into_iter().map(|row| row.action).collect();
    for action in ["pool_added", "pool_changed", "pool_deleted"] {
        assert!(actions.iter().any(|done| done == action), "{actions:?}");
    }
}

#[test]
fn jobs_are_listed_with_whether_they_live() {
    let site = Site::start();
    let job = NewJob { kind: "task_run".to_owned(), hostname: "here".to_owned(), pid: 7 };
    let register = |at| site.runtime.block_on(site.plant.store.register_job(&job, at)).unwrap();
    register(now() - TimeDelta::seconds(5));
    register(now() - TimeDelta::seconds(60));
    let jobs = site.get("/api/v1/jobs?job_type=task_run").is(200).json();
    let states: Vec<&str> = jobs["jobs"].as_array().unwrap().iter().map(|job| job["state"].as_str().unwrap()).collect();
    assert_eq!((states, &jobs["total_entries"]), (vec!["running", "lost"], &json!(2)));
    let alive = site.get("/api/v1/jobs?job_type=task_run&is_alive=true").is(200).json();
    assert_eq!((&alive["total_entries"], &alive["jobs"][0]["hostname"]), (&json!(1), &json!("here")));
    assert_eq!(site.get("/api/v1/jobs?job_type=server").is(200).json()["jobs"], json!([]));
}

#[test]
fn case_71_a_task_that_can_never_run_is_named_on_its_dags_page() {
    let site = Site::start();
    let none = site.get("/api/v1/dagWarnings").is(200).json();
    assert_eq!(none, json!({"dag_warnings": [], "total_entries": 0}));
    assert!(!site.get("/dags/copy_orders").is(200).body.contains("never runs"));
    site.send("PATCH", &format!("{ALL}/default_pool"), &json!({"slots": 0})).is(200);
    let page = site.get("/dags/copy_orders").is(200).body;
    assert!(page.contains("never runs") && page.contains("it needs 1 slots"), "{page}");
    let found = site.get("/api/v1/dagWarnings?dag_id=copy_orders&limit=2").is(200).json();
    assert_eq!((&found["total_entries"], &found["dag_warnings"][0]["task_id"]), (&json!(3), &json!("extract")));
    assert_eq!(found["dag_warnings"][0]["warning_type"], "pool too small");
    let other = site.get("/api/v1/dagWarnings?warning_type=non-existent%20pool").is(200).json();
    assert_eq!(other["total_entries"], 0);
}

#[test]
fn pools_are_changed_on_their_page_by_who_may() {
    let site = Site::start();
    let form = |who: &str, path: &str, body: &str| {
        let csrf = site.call("GET", "/pools", &[("authorization", who)], None).is(200).body;
        let csrf = csrf.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let headers = [("authorization", who), ("content-type", "application/x-www-form-urlencoded")];
        site.call("POST", path, &headers, Some(&format!("csrf_token={csrf}&{body}")))
    };
    form(ADMIN, "/pools", "name=etl&slots=3&include_deferred=yes&description=loads").is(303);
    let made = site.get(&format!("{ALL}/etl")).is(200).json();
    assert_eq!(
        (&made["slots"], &made["include_deferred"], &made["description"]),
        (&json!(3), &json!(true), &json!("loads"))
    );
    form(ADMIN, "/pools", "name=etl&slots=many").is(422);
    form(USER, "/pools", "name=etl&slots=9").is(403);
    form(USER, "/pools/delete/etl", "").is(403);
    let seen = site.call("GET", "/pools", &[("authorization", USER)], None).is(200).body;
    assert!(seen.contains("etl") && !seen.contains("New pool"), "{seen}");
    form(ADMIN, "/pools/delete/etl", "").is(303);
    site.get(&format!("{ALL}/etl")).is(404);
}
