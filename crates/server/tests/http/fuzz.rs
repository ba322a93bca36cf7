//! Bodies that no client of ours would send, to every address that takes one: never a 5xx, and each refusal says which.

use millrace_server::doors;
use millrace_testkit::Fuzz;
use serde_json::Value;

use crate::site::{FAILED_RUN, Site};

const BODIES: &[&str] = &[
    r#"{"conf": {"limit": 1}, "logical_date": "2024-03-02T00:00:00Z", "dag_run_id": "manual", "note": "x"}"#,
    r#"{"connection_id": "c", "conn_type": "postgres", "host": "h", "port": 5432, "password": "***", "extra": "{\"a\": 1}"}"#,
    r#"{"key": "k", "value": "v", "description": null}"#,
    r#"{"name": "p", "slots": 3, "description": "d", "include_deferred": true}"#,
    r#"{"dag_id": "copy_orders", "from_date": "2024-01-01", "to_date": "2024-01-05", "max_active_runs": 2, "reprocess_behavior": "none"}"#,
    r#"{"dry_run": true, "task_ids": ["load"], "include_downstream": true, "only_failed": true, "dag_run_id": "scheduled__2024-03-01T00:00:00+00:00"}"#,
    r#"{"new_state": "success", "state": "failed", "note": null, "is_paused": true}"#,
    r#"{"username": "n", "password": "long enough 1", "role": "viewer", "is_disabled": false}"#,
    r#"{"label": "l", "scope": "viewer runs:trigger", "expires_in_days": 30}"#,
    r#"{"username": "guest", "dag_id": null, "tag": "finance", "role": "operator"}"#,
    r#"{"old_password": "a", "new_password": "b"}"#,
    r#"{"dag_ids": ["copy_orders"], "states": ["failed"], "page_limit": 5, "page_offset": 0, "order_by": "-start_date", "execution_date_gte": "2024-01-01"}"#,
    r#"{"actions": [{"action": "create", "entities": [{"key": "a", "value": "b"}], "action_on_existence": "overwrite"}]}"#,
    r#"{"text": "tasks: {a: {operator: bash}}", "asset_uri": "s3://a/b", "extra": {}}"#,
];

#[test]
fn fuzz_bodies() {
    let site = Site::start();
    let run = FAILED_RUN.replace(':', "%3A").replace('+', "%2B");
    let paths: Vec<(String, String)> = doors()
        .iter()
        .filter(|door| door.path.starts_with("/api/") && ["POST", "PATCH", "PUT"].contains(&door.method.as_str()))
        // The tests of signing in have their own, and a new password would end this one's.
        .filter(|door| !door.path.contains("auth/token") && !door.path.contains("password"))
        .map(|door| {
            let path =
                door.path.replace("{dag_id}", "copy_orders").replace("{dag_run_id}", &run).replace("{run_id}", &run);
            let path = path.replace("{task_id}", "load").replace("{map_index}", "-1").replace("{username}", "guest");
            let path = path.split('/').map(|part| if part.starts_with('{') { "1" } else { part }).collect::<Vec<_>>();
            (door.method.to_string(), path.join("/"))
        })
        .collect();
    assert!(paths.len() > 30, "{}", paths.len());
    let words = [
        "null",
        "{}",
        "[]",
        "\"\"",
        "-1",
        "1e99",
        "true",
        "\"~\"",
        "\\u0000",
        "\\ud800",
        "{\"",
        "\":",
        "2024-13-01",
        "0001-01-01T00:00:00Z",
        "\"dry_run\": false",
        "admin",
        "***",
        "\"9999-12-31\"",
        "[[[[[[[[[[[[[[[[",
    ];
    let next = std::cell::Cell::new(0_usize);
    Fuzz::new("bodies", 900).seeds(BODIES).words(&words).run(|bytes| {
        let (method, path) = &paths[next.replace(next.get() + 1) % paths.len()];
        let answer = site.bytes(method, path, &[("content-type", "application/json")], bytes);
        assert!(answer.status < 500, "{method} {path}: {} {}", answer.status, answer.body);
        let mut code = String::new();
        if answer.status >= 400 {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}: {}", answer.body);
            let problem: Value = serde_json::from_str(&answer.body).unwrap();
            assert!(!problem["detail"].as_str().unwrap().is_empty(), "{method} {path}: {problem}");
            code = problem["code"].as_str().unwrap().to_owned();
        }
        (path.clone(), answer.status, code)
    });
}
