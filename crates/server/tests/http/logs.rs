//! Logs over REST.

use std::io::{Read, Write};

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

/// As every browser asks for it.
#[test]
fn a_compressed_log_comes_to_its_end() {
    let site = Site::start();
    let mut socket = site.connect();
    let path = path(FAILED_RUN, "load", "1");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {ADMIN}\r\naccept: text/plain\r\naccept-encoding: gzip\r\n\r\n"
    );
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    let head = String::from_utf8_lossy(&answer).to_lowercase();
    assert!(head.starts_with("http/1.1 200") && head.contains("content-encoding: gzip"), "{head}");
    assert!(answer.ends_with(b"\r\n0\r\n\r\n"), "the last chunk is missing: {head}");
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
    site.get(&path(FAILED_RUN, "load", "one")).is(404);
    site.get(&format!("{}?token=x", path(FAILED_RUN, "load", "1"))).is(422);
}
