//! What a request may not do: come from another site, be slow, ask for too much, learn too much.

use std::io::{Read, Write};
use std::time::Duration;

use millrace_server::Patience;
use serde_json::json;

use crate::plant::dag;
use crate::site::{ADMIN, Site};

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn basic_credentials_of_a_browser_change_nothing_without_a_pages_token() {
    let site = Site::start();
    site.send("POST", "/api/v1/connections", &json!({"connection_id": "x", "conn_type": "sqlite"})).is(201);
    let kinds: [&[(&str, &str)]; 4] = [
        &[],
        &[("content-type", FORM)],
        &[("content-type", "text/plain")],
        &[("content-type", "multipart/form-data; boundary=x")],
    ];
    for path in [
        "/connections/delete/x",
        "/pools/delete/x",
        "/alerts/1/seen",
        "/dags/copy_orders/backfills/1/cancel",
        "/dags/copy_orders/pause",
        "/sign-out",
        "/api/v1/alerts/seen",
        "/api/v1/dags/copy_orders/dagRuns",
    ] {
        for kind in kinds {
            let headers = [&[("authorization", ADMIN)], kind].concat();
            let answer = site.call("POST", path, &headers, Some(""));
            let (status, text) =
                if path.starts_with("/api/") { (400, "send the body as JSON") } else { (403, "lacks the token") };
            assert!(answer.status == status && answer.body.contains(text), "{path}: {}", answer.body);
        }
    }
    site.get("/api/v1/connections/x").is(200);
    // What a page of another site cannot send without asking first needs none.
    site.send("POST", "/api/v1/dags/copy_orders/dagRuns", &json!({})).is(200);
    site.call("DELETE", "/api/v1/connections/x", &[("authorization", ADMIN)], None).is(204);
}

#[test]
fn sums_with_any_offset_stay_in_range() {
    let site = Site::start();
    let most = u64::MAX;
    for path in ["/", "/runs", "/api/v1/dags", "/api/v1/dags/~/dagRuns", "/api/v1/pools", "/api/v1/backfills"] {
        site.get(&format!("{path}?offset={most}")).is(200);
    }
    let log = "/api/v1/dags/copy_orders/dagRuns/scheduled__2024-03-01T00:00:00+00:00/taskInstances/load/logs/1";
    site.get(&format!("{log}?token={most}")).is(200);
}

#[test]
fn a_backfill_of_two_thousand_years_of_minutes_is_refused_at_once() {
    let site = Site::start();
    let minutely = dag("minutely", "* * * * *", "UTC", &[], &[("only", "empty", &[], 0)]);
    site.runtime.block_on(site.plant.sync(minutely, true, crate::site::now()));
    let wish = json!({"dag_id": "minutely", "from_date": "0001-01-01", "to_date": "2024-01-01", "ignore_bounds": true});
    for path in ["/api/v1/backfills/dry_run", "/api/v1/backfills"] {
        let refused = site.send("POST", path, &wish).is(422).json();
        assert!(refused["detail"].as_str().unwrap().contains("more than 20000 dates"), "{refused}");
    }
}

#[test]
fn the_open_health_tells_no_reasons() {
    let site = Site::start();
    let reason = "error returned from database: permission denied for table dag_run of 10.1.2.3".to_owned();
    site.plant.store.set_trouble("scheduler", Some(reason));
    let health = site.call("GET", "/api/v1/health", &[], None).is(200);
    assert_eq!(health.json()["scheduler"]["status"], "degraded");
    assert!(!health.body.contains("permission") && !health.body.contains("10.1"), "{}", health.body);
    assert!(health.json()["scheduler"]["problem"].as_str().unwrap().contains("trouble with: scheduler"));
}

#[test]
fn who_never_ends_a_request_is_dropped() {
    let patience = Patience { head: Duration::from_millis(200), ..Patience::default() };
    let site = Site::start_with(|options| options.patience = patience);
    for begun in ["", "GET /api/v1/health HTTP/1.1\r\nhost: a\r\nx-slow: "] {
        let mut socket = site.connect();
        socket.write_all(begun.as_bytes()).unwrap();
        let mut rest = Vec::new();
        // It ends, with a refusal or without a word; a server that waited for ever would fail the read.
        socket.read_to_end(&mut rest).unwrap();
        assert!(rest.is_empty() || rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    }
}

#[test]
fn a_person_has_only_so_many_streams() {
    let site = Site::start();
    let open = || {
        let mut socket = site.connect();
        write!(socket, "GET /events HTTP/1.1\r\nhost: a\r\nauthorization: {ADMIN}\r\n\r\n").unwrap();
        let mut begin = [0; 12];
        socket.read_exact(&mut begin).unwrap();
        (String::from_utf8(begin.to_vec()).unwrap(), socket)
    };
    let streams: Vec<_> = (0..30).map(|_| open()).collect();
    assert!(streams.iter().all(|(status, _)| status == "HTTP/1.1 200"), "{:?}", streams[29].0);
    assert_eq!(open().0, "HTTP/1.1 429");
    site.get("/api/v1/version").is(200);
}

#[test]
fn only_proxies_of_ours_say_who_the_client_is() {
    let form = [("content-type", FORM)];
    let told =
        [("x-forwarded-proto", "https"), ("x-forwarded-for", "9.9.9.9"), ("x-forwarded-host", "millrace.example")];
    let right = Some("username=admin&password=open+sesame");
    let from = |site: &Site, extra: &[(&str, &str)], body: Option<&str>| {
        site.call("POST", "/sign-in", &[form.as_slice(), told.as_slice(), extra].concat(), body)
    };
    let stranger = Site::start();
    let answer = from(&stranger, &[], right).is(303);
    assert!(!answer.header("set-cookie").contains("Secure"), "{}", answer.header("set-cookie"));
    assert_eq!(answer.header("strict-transport-security"), "");

    let site = Site::start_with(|options| options.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    let answer = from(&site, &[("origin", "https://millrace.example")], right).is(303);
    assert!(answer.header("set-cookie").ends_with("; Secure"), "{}", answer.header("set-cookie"));
    assert_eq!(answer.header("strict-transport-security"), "max-age=31536000");
    from(&site, &[("origin", "https://evil.example")], right).is(403);
    // Behind it, one who guesses shuts out himself and not the others.
    for guess in 0..12 {
        let status = from(&site, &[], Some(&format!("username=admin&password=guess+{guess}"))).status;
        assert_eq!(status, if guess < 10 { 401 } else { 429 });
    }
    let other = [form[0], ("x-forwarded-for", "8.8.8.8")];
    site.call("POST", "/sign-in", &other, right).is(303);
}

#[test]
fn every_refusal_is_a_problem() {
    let site = Site::start();
    let mut socket = site.connect();
    write!(
        socket,
        "POST /api/v1/connections HTTP/1.1\r\nhost: a\r\nauthorization: {ADMIN}\r\ncontent-length: 1048577\r\n\
         content-type: application/json\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("application/problem+json"), "{answer}");
    assert!(answer.contains("\"code\":\"body_too_large\""), "{answer}");
    for (status, code, answer) in [
        (404, "not_found", site.get("/api/v1/backfills/seven")),
        (400, "bad_request", site.get("/api/v1/dags/%ff")),
        (404, "not_found", site.get("/api/v1/nothing")),
        (405, "method_not_allowed", site.call("PUT", "/api/v1/dags", &[("authorization", ADMIN)], None)),
    ] {
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (status, "application/problem+json"),
            "{}",
            answer.body
        );
        let problem = answer.json();
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()));
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
    // A page for people, of a form that lacks a field.
    let cookie = site.sign_in();
    let page = site.call("GET", "/", &[("cookie", &cookie)], None).is(200);
    let token = page.body.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let headers = [("cookie", cookie.as_str()), ("content-type", FORM)];
    let answer = site.call("POST", "/dags/copy_orders/pause", &headers, Some(&format!("csrf_token={token}"))).is(422);
    assert!(
        answer.header("content-type").starts_with("text/html") && answer.body.contains("is_paused"),
        "{}",
        answer.body
    );
}
