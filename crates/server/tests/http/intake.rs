//! What is refused before anything is done with it.

use std::io::{BufRead, BufReader, Write};

use serde_json::json;

use crate::site::{ADMIN, Site};

const RUNS: &str = "/api/v1/dags/quiet/dagRuns";

#[test]
fn no_address_and_no_body_brings_a_nul() {
    let site = Site::start();
    let addresses = [
        "/api/v1/dags/a%00b",
        "/api/v1/dags?dag_id_pattern=a%00b",
        "/api/v1/dags/%00/dagRuns/%00",
        "/api/v1/variables/%00",
        "/api/v1/events?dag=%00",
        "/dags/quiet?runs=%00",
        "/dags/copy_orders/runs/x/tasks/%00/log-events",
        "/runs?dag=%00",
        "/%00",
    ];
    for address in addresses {
        assert_eq!(site.get(address).status, 400, "{address}");
    }
    let bodies = [
        (RUNS, json!({"note": "a\0b"})),
        (RUNS, json!({"conf": {"a\0": 1}})),
        (RUNS, json!({"dag_run_id": "\0"})),
        ("/api/v1/variables", json!({"key": "a\0b", "value": "1"})),
        ("/api/v1/pools", json!({"name": "a\0b", "slots": 1})),
    ];
    for (address, body) in bodies {
        let answer = site.send("POST", address, &body).is(422);
        assert!(answer.body.contains("NUL"), "{}", answer.body);
    }
    let form = [("content-type", "application/x-www-form-urlencoded")];
    site.call("POST", "/sign-in", &form, Some("username=a%00b&password=x&next=/")).is(422);
    // A backslash before it makes it six harmless characters.
    let harmless = [("authorization", ADMIN), ("content-type", "application/json")];
    site.call("POST", RUNS, &harmless, Some(r#"{"note": "\\u0000"}"#)).is(200);
}

#[test]
fn whole_numbers_are_kept_exactly_or_refused() {
    let site = Site::start();
    let headers = [("authorization", ADMIN), ("content-type", "application/json")];
    let trigger = |number: &str| {
        let body = format!(r#"{{"dag_run_id": "n{}", "conf": {{"n": {number}}}}}"#, number.len());
        site.call("POST", RUNS, &headers, Some(&body))
    };
    assert_eq!(trigger("18446744073709551615").is(200).json()["conf"]["n"], u64::MAX);
    assert_eq!(trigger("-9223372036854775808").status, 409, "the id is as long as the one before");
    for number in ["18446744073709551616", "-9223372036854775809", "1000000000000000000000000"] {
        let refused = trigger(number).is(422);
        assert!(refused.body.contains(&format!("the number {number} cannot be kept exactly")), "{}", refused.body);
    }
}

/// A condition that nobody can read is not as good as none.
#[test]
fn conditions_that_cannot_be_read_are_refused() {
    let site = Site::start();
    site.send("POST", "/api/v1/pools", &json!({"name": "etl", "slots": 4})).is(201);
    let json = [("authorization", ADMIN), ("content-type", "application/json")];
    let with = |name: &'static str, value: &[u8]| {
        let value = http::HeaderValue::from_bytes(value).unwrap();
        let text = String::from_utf8(value.as_bytes().to_vec()).unwrap();
        (name, text)
    };
    let (name, value) = with("if-match", "\"ä\"".as_bytes());
    let headers = [json[0], json[1], (name, value.as_str())];
    let refused = site.call("PATCH", "/api/v1/pools/etl", &headers, Some("{\"slots\": 9}")).is(400);
    assert!(refused.body.contains("if-match"), "{}", refused.body);
    assert_eq!(site.get("/api/v1/pools/etl").json()["slots"], 4);

    let (name, value) = with("idempotency-key", "kä".as_bytes());
    let headers = [json[0], json[1], (name, value.as_str())];
    site.call("POST", RUNS, &headers, Some("{}")).is(400);
    let headers = [json[0], json[1], ("idempotency-key", "one"), ("idempotency-key", "two")];
    let refused = site.call("POST", RUNS, &headers, Some("{}")).is(400);
    assert!(refused.body.contains("sent 2 times"), "{}", refused.body);
    assert_eq!(site.get(RUNS).json()["total_entries"], 0);
}

#[test]
fn a_slow_sender_holds_up_nobody() {
    let site = Site::start();
    site.send("POST", "/api/v1/pools", &json!({"name": "etl", "slots": 4})).is(201);
    let begin = |body: &str| {
        let mut socket = site.connect();
        let head = format!(
            "PATCH /api/v1/pools/etl HTTP/1.1\r\nhost: x\r\nauthorization: {ADMIN}\r\nif-match: *\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        // The server asks for the body: it has come as far as that.
        let mut line = String::new();
        BufReader::new(socket.try_clone().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("100"), "{line}");
        socket
    };
    let body = "{\"slots\": 7}";
    let mut slow = begin(body);
    let headers = [("authorization", ADMIN), ("content-type", "application/json"), ("if-match", "*")];
    let quick = site.call("PATCH", "/api/v1/pools/etl", &headers, Some("{\"slots\": 9}")).is(200);
    assert_eq!(quick.json()["slots"], 9);
    slow.write_all(body.as_bytes()).unwrap();
    let mut answer = BufReader::new(slow).lines().map_while(Result::ok);
    assert!(answer.any(|line| line.starts_with("HTTP/1.1 200")), "it is answered in the end");
}

#[test]
fn names_of_runs_mean_themselves_in_an_address() {
    let site = Site::start();
    for id in ["~", ".", ".."] {
        let refused = site.send("POST", RUNS, &json!({"dag_run_id": id})).is(422);
        assert!(refused.body.contains("means something else"), "{}", refused.body);
    }
    site.send("POST", RUNS, &json!({"logical_date": "0001-01-01T00:00:00+14:00"})).is(422);
    site.send("POST", RUNS, &json!({"logical_date": "9999-12-31T23:00:00-02:00"})).is(422);
}
