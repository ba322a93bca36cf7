//! Logs over REST.

use serde_json::json;

use crate::site::{ADMIN, EVIL, FAILED_RUN, RUNNING_RUN, Site};

fn path(run: &str, task: &str, number: &str) -> String {
    format!("/api/v1/dags/copy_orders/dagRuns/{run}/taskInstances/{task}/logs/{number}")
}

#[test]
fn a_log_as_json_and_as_text() {
    let site = Site::start();
    let log = site.get(&path(FAILED_RUN, "load", "1")).is(200).json();
    assert_eq!(log["content"][0]["event"], "begin");
    assert_eq!(log["content"][0]["level"], "info");
    assert_eq!(log["content"][1]["event"], EVIL);
    assert_eq!(log["continuation_token"], json!(null));
    let headers = [("authorization", ADMIN), ("accept", "text/plain")];
    let text = site.call("GET", &path(FAILED_RUN, "load", "2"), &headers, None).is(200);
    assert_eq!(text.header("content-type"), "text/plain; charset=utf-8");
    assert_eq!(text.header("x-content-type-options"), "nosniff");
    assert!(text.body.lines().next().unwrap().ends_with(" INFO begin"), "{}", text.body);
    assert_eq!(text.body.lines().count(), 2);
}

#[test]
fn a_running_log_goes_on_where_it_was() {
    let site = Site::start();
    let log = site.get(&path(RUNNING_RUN, "load", "1")).is(200).json();
    assert_eq!(log["content"].as_array().unwrap().len(), 2);
    let token = log["continuation_token"].as_str().unwrap();
    let rest = site.get(&format!("{}?token={token}", path(RUNNING_RUN, "load", "1"))).is(200).json();
    assert_eq!(rest["content"], json!([]));
    assert_eq!(rest["continuation_token"], token);
}

#[test]
fn what_is_not_there_is_said() {
    let site = Site::start();
    let code = |path: &str, status| site.get(path).is(status).json()["code"].clone();
    assert_eq!(code(&path(FAILED_RUN, "load", "7"), 404), "log_not_found");
    assert_eq!(code(&path(FAILED_RUN, "notify", "1"), 404), "log_not_found");
    assert_eq!(code(&path(FAILED_RUN, "..%2F..%2Fload", "1"), 404), "task_not_found");
    assert_eq!(code(&path("..%2F..%2F..%2Fetc", "passwd", "1"), 404), "run_not_found");
    site.get(&path(FAILED_RUN, "load", "one")).is(400);
    site.get(&format!("{}?token=x", path(FAILED_RUN, "load", "1"))).is(422);
}
