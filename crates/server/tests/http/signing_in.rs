//! Who gets in, and what they may.

use chrono::TimeDelta;
use serde_json::json;

use crate::site::{ADMIN, Site, USER, VIEWER};

const RUNS: &str = "/api/v1/dags/copy_orders/dagRuns";

#[test]
fn health_is_open_and_nothing_else() {
    let site = Site::start();
    let health = site.call("GET", "/api/v1/health", &[], None).is(200).json();
    assert_eq!(health["metadatabase"]["status"], "healthy");
    assert_eq!(health["scheduler"]["status"], "unhealthy");
    assert_eq!(health["scheduler"]["latest_scheduler_heartbeat"], json!(null));
    for path in [
        "/api/v1/dags",
        "/api/v1/dags/copy_orders",
        RUNS,
        "/api/v1/importErrors",
        "/api/v1/connections",
        "/api/v1/version",
        "/api/v1/nothing",
    ] {
        let answer = site.call("GET", path, &[], None).is(401);
        assert!(answer.header("www-authenticate").starts_with("Basic realm="), "{path}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["code"], "unauthenticated", "{path}");
    }
    for path in ["/", "/dags/copy_orders", "/connections", "/events", "/nowhere"] {
        let answer = site.call("GET", path, &[], None).is(303);
        assert!(answer.header("location").starts_with("/sign-in?next=%2F"), "{path}: {}", answer.header("location"));
    }
    site.call("POST", RUNS, &[("content-type", "application/json")], Some("{}")).is(401);
}

#[test]
fn health_knows_a_scheduler_that_beats() {
    let site = Site::start();
    let job = millrace_store::NewJob { kind: "scheduler".to_owned(), hostname: "here".to_owned(), pid: 7 };
    site.runtime.block_on(site.plant.store.register_job(&job, crate::site::now())).unwrap();
    let health = site.call("GET", "/api/v1/health", &[], None).is(200).json();
    assert_eq!(
        health["scheduler"],
        json!({"status": "healthy", "latest_scheduler_heartbeat": "2024-03-03T06:00:00.000000Z"})
    );
    site.advance(TimeDelta::seconds(31));
    assert_eq!(site.call("GET", "/api/v1/health", &[], None).json()["scheduler"]["status"], "unhealthy");
}

#[test]
fn wrong_credentials_are_refused_and_slowed_down() {
    let site = Site::start();
    // admin:wrong, nobody:wrong
    for wrong in ["Basic YWRtaW46d3Jvbmc=", "Basic bm9ib2R5Ondyb25n", "Basic !", "Bearer nonsense", "Digest x"] {
        site.call("GET", "/api/v1/dags", &[("authorization", wrong)], None).is(401);
    }
    for _ in 0..9 {
        site.call("GET", "/api/v1/dags", &[("authorization", "Basic YWRtaW46d3Jvbmc=")], None).is(401);
    }
    let slowed = site.call("GET", "/api/v1/dags", &[("authorization", "Basic YWRtaW46d3Jvbmc=")], None).is(429);
    assert_eq!(slowed.header("retry-after"), "60");
    site.call("GET", "/api/v1/dags", &[("authorization", VIEWER)], None).is(200);
    site.advance(TimeDelta::minutes(1));
    site.get("/api/v1/dags").is(200);
}

#[test]
fn a_token_is_a_bearer_token_until_it_ends() {
    let site = Site::start();
    let wrong = json!({"username": "admin", "password": "wrong"}).to_string();
    let json_body = [("content-type", "application/json")];
    site.call("POST", "/api/v1/auth/token", &json_body, Some(&wrong)).is(401);
    site.call("POST", "/api/v1/auth/token", &json_body, Some("{")).is(400);
    let right = json!({"username": "admin", "password": "open sesame"}).to_string();
    let token = site.call("POST", "/api/v1/auth/token", &json_body, Some(&right)).is(201).json();
    assert_eq!(token["token_type"], "bearer");
    assert_eq!(token["expires_at"], "2024-03-03T18:00:00.000000Z");
    let bearer = format!("Bearer {}", token["access_token"].as_str().unwrap());
    site.call("GET", "/api/v1/dags", &[("authorization", &bearer)], None).is(200);
    site.send_as(&bearer, "POST", RUNS, &json!({})).is(200);
    let as_cookie = format!("millrace_session={}", token["access_token"].as_str().unwrap());
    site.call("GET", "/api/v1/dags", &[("cookie", &as_cookie)], None).is(401);
    site.advance(TimeDelta::hours(13));
    site.call("GET", "/api/v1/dags", &[("authorization", &bearer)], None).is(401);
}

#[test]
fn a_session_needs_a_page_token_to_change_anything() {
    let site = Site::start();
    let cookie = site.sign_in();
    let page = site.call("GET", "/", &[("cookie", &cookie)], None).is(200);
    let token = page.body.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let form = "application/x-www-form-urlencoded";
    let post = |extra: &[(&str, &str)], body: &str| {
        let headers = [&[("cookie", cookie.as_str()), ("content-type", form)], extra].concat();
        site.call("POST", "/dags/copy_orders/pause", &headers, Some(body)).status
    };
    assert_eq!(post(&[], "is_paused=true"), 403);
    assert_eq!(post(&[], "is_paused=true&csrf_token=AAAA"), 403);
    let good = format!("is_paused=true&csrf_token={token}");
    assert_eq!(post(&[("origin", "http://evil.example")], &good), 403);
    assert_eq!(post(&[("sec-fetch-site", "cross-site")], &good), 403);
    assert_eq!(site.get("/api/v1/dags/copy_orders").json()["is_paused"], false);
    assert_eq!(post(&[], &good), 303);
    assert_eq!(site.get("/api/v1/dags/copy_orders").json()["is_paused"], true);
    let json_headers = [("cookie", cookie.as_str()), ("content-type", "application/json")];
    site.call("PATCH", "/api/v1/dags/copy_orders", &json_headers, Some("{\"is_paused\": false}")).is(403);
    let with_token = [json_headers.as_slice(), &[("x-csrf-token", token.as_str())]].concat();
    site.call("PATCH", "/api/v1/dags/copy_orders", &with_token, Some("{\"is_paused\": false}")).is(200);
    let paused: Vec<_> = site.audit().into_iter().filter(|row| row.dag_id.is_some()).collect();
    assert!(paused.iter().all(|row| row.actor == "web:admin"), "{paused:?}");
    assert_eq!(paused.len(), 2);

    // Basic credentials are sent by browsers too: a form with them needs the token as well.
    let basic = [("authorization", ADMIN), ("content-type", form)];
    site.call("POST", "/dags/copy_orders/pause", &basic, Some("is_paused=true")).is(403);

    let out = [("cookie", cookie.as_str()), ("content-type", form)];
    site.call("POST", "/sign-out", &out, Some(&format!("csrf_token={token}"))).is(303);
    site.call("GET", "/", &[("cookie", &cookie)], None).is(303);
}

#[test]
fn a_session_ends_with_its_hours() {
    let site = Site::start();
    let cookie = site.sign_in();
    site.call("GET", "/runs", &[("cookie", &cookie)], None).is(200);
    site.advance(TimeDelta::hours(13));
    site.call("GET", "/runs", &[("cookie", &cookie)], None).is(303);
}

#[test]
fn the_form_says_so_and_sends_nobody_elsewhere() {
    let site = Site::start();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let wrong = site.call("POST", "/sign-in", &form, Some("username=%3Cb%3E&password=x")).is(401);
    assert!(wrong.body.contains("do not fit together") && wrong.body.contains("&lt;b&gt;"), "{}", wrong.body);
    let elsewhere = "username=admin&password=open+sesame&next=//evil.example";
    assert_eq!(site.call("POST", "/sign-in", &form, Some(elsewhere)).is(303).header("location"), "/");
}

#[test]
fn case_100_viewers_look_and_change_nothing() {
    let site = Site::start();
    site.call("GET", "/api/v1/dags", &[("authorization", VIEWER)], None).is(200);
    let before = site.audit().len();
    for (method, path, body) in [
        ("POST", RUNS, json!({})),
        ("PATCH", "/api/v1/dags/copy_orders", json!({"is_paused": true})),
        ("POST", "/api/v1/connections", json!({"connection_id": "x", "conn_type": "sqlite"})),
        ("POST", "/api/v1/connections/test", json!({"connection_id": "from_env"})),
        ("DELETE", "/api/v1/connections/x", json!({})),
    ] {
        let answer = site.send_as(VIEWER, method, path, &body).is(403).json();
        assert_eq!(answer["code"], "forbidden", "{method} {path}");
    }
    for path in ["/api/v1/connections", "/api/v1/connections/from_env", "/connections"] {
        site.call("GET", path, &[("authorization", VIEWER)], None).is(403);
    }
    assert_eq!(site.audit().len(), before);
    let page = site.call("GET", "/", &[("authorization", VIEWER)], None).is(200).body;
    assert!(!page.contains("data-trigger") && !page.contains("href=\"/connections\""));

    site.send_as(USER, "POST", RUNS, &json!({})).is(200);
    site.send_as(USER, "POST", "/api/v1/connections", &json!({"connection_id": "x", "conn_type": "sqlite"})).is(403);
    // A user may test what is stored, but send a stored password nowhere else.
    site.send_as(USER, "POST", "/api/v1/connections/test", &json!({"connection_id": "from_env"})).is(200);
    let elsewhere = json!({"connection_id": "from_env", "conn_type": "postgres", "host": "evil", "password": "***"});
    site.send_as(USER, "POST", "/api/v1/connections/test", &elsewhere).is(403);
    let rows = site.audit();
    assert!(
        rows.iter().any(|row| row.actor == "rest:clerk" && row.dag_id.as_deref() == Some("copy_orders")),
        "{rows:?}"
    );
}
