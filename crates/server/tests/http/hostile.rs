//! What somebody sends who means harm: nothing breaks (no 5xx), every refusal is one of ours, and nothing comes back
//! unescaped.

use std::io::{Read, Write};

use millrace_logs::Level;
use millrace_model::state::{RunState, TaskState};
use millrace_server::{Access, Act, Door, doors};
use millrace_store::NewAssetEvent;
use serde_json::{Value, json};

use crate::doors::address;
use crate::plant::{Part, dag};
use crate::site::{ADMIN, Answer, Site, now};

/// Begins every text that must not come back as markup.
const MARK: &str = "<b id=evil";

/// Ways out of a text, of an attribute, of a script, of a comment, of a template.
const MARKUP: &[&str] = &[
    "<b id=evil>",
    "\"><b id=evil onclick=alert(1)>",
    "'><b id=evil onload=alert(1)//",
    "</textarea><b id=evil>",
    "</title></style></script><b id=evil>",
    "--><b id=evil>",
    "]]><b id=evil>",
    "<b id=evil\n>",
    "<b id=evil \u{202e}>",
    "{{ '<b id=evil>' | safe }}",
    "{% raw %}<b id=evil>{% endraw %}",
    "`${alert(1)}`<b id=evil>",
];

/// Out of a folder, or to where no address leads.
const PATHS: &[&str] = &[
    "..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2f%2e%2e%2f%2e%2e%2fetc%2fpasswd",
    "..%5c..%5c..%5cetc%5cpasswd",
    "%252e%252e%252fetc%252fpasswd",
    "%2fetc%2fpasswd",
    "%00",
    "a%00b",
    "..%00%2fx",
    "%ff%fe",
    "%c0%ae%c0%ae%2fetc%2fpasswd",
    "....%2f%2f....%2f%2fetc%2fpasswd",
    "file:%2f%2f%2fetc%2fpasswd",
    "%0d%0aset-cookie:%20a=b",
    "%e2%80%ae",
    "~",
    "*",
    "%25",
    "%7B%7B7*7%7D%7D",
    "%27%20OR%201=1--",
    "%22%3B%20DROP%20TABLE%20dag_run%3B--",
    "-1",
    "18446744073709551616",
];

/// Values of any parameter of a list.
const QUERIES: &[&str] = &[
    "limit=-1",
    "limit=99999999999999999999999",
    "limit=1e3",
    "limit=0&offset=0",
    "limit=%00",
    "offset=-9223372036854775808",
    "offset=18446744073709551615",
    "order_by=%22%3B%20DROP%20TABLE%20dag_run",
    "order_by=-",
    "state=%3Cscript%3E",
    "map_index=99999999999",
    "map_index=-2147483648",
    "token=-1",
    "token=18446744073709551615",
    "year=999999999",
    "year=-262145",
    "hours=4294967295",
    "since=yesterday&until=%F0%9F%92%A9",
    "since=-262144-01-01&until=262143-12-31",
    "from=0000-00-00&to=9999-99-99&end=%00",
    "dag_id=%00&run_id=%00&task_id=%00",
    "dag_id_pattern=%25%25%25_%5c%27%22",
    "tags=a&tags=b",
    "search=%5B%28%2A&q=%28",
    "runs=18446744073709551615",
    "try=4294967296",
    "a%5b%5d=1&%ff=2&=&&=3",
    "timeout=1e999",
];

fn bodies() -> Vec<Vec<u8>> {
    let deep = [vec![b'['; 20_000], vec![b']'; 20_000]].concat();
    let nested = format!("{}1{}", "{\"conf\":".repeat(500), "}".repeat(500));
    let texts = [
        "",
        "{",
        "null",
        "[]",
        "\"text\"",
        "1e999",
        "{\"a\":}",
        "{} {}",
        "{\"dag_id\": \"copy_orders\", \"dag_id\": 1}",
        "{\"conf\": [1], \"note\": {}, \"logical_date\": 5, \"dag_run_id\": []}",
        "{\"name\": null, \"slots\": 1e400}",
        "{\"name\": \"\\u0000\", \"slots\": -9223372036854775808}",
        "{\"username\": \"\\ud800\"}",
        "{\"connection_id\": \"\\u0000\", \"conn_type\": \"\\u0000\", \"extra\": \"{\"}",
        "{\"connection_id\": \"../x\", \"conn_type\": \"sqlite\", \"port\": 99999999}",
        "{\"key\": \"\\u0000\", \"value\": \"\\u0000\"}",
        "{\"asset\": \"\\u0000\"}",
        "{\"dag_id\": \"\\u0000\", \"from_date\": \"0000-00-00\", \"to_date\": \"+999999-01-01\"}",
        "{\"dag_id\": \"copy_orders\", \"from_date\": \"-262143-01-01\", \"to_date\": \"+262142-12-31\", \"ignore_bounds\": true}",
        "{\"dag_id\": \"copy_orders\", \"from_date\": \"2024-01-01\", \"to_date\": \"2024-01-02\", \"tasks\": \"((((((((((a*)*)*)*)*)*)*)*)*)*\"}",
        "{\"dag_run_id\": \"../../x\\u0000\", \"logical_date\": \"9999-12-31T23:59:60Z\"}",
        "{\"start_date\": \"-262144-01-01\", \"end_date\": \"+262143-12-31T23:59:59.999999Z\", \"dry_run\": true}",
        "{\"task_ids\": [[\"load\", 2147483648]], \"dry_run\": true}",
        "{\"ids\": [9223372036854775807, -1]}",
        "{\"expires_in_days\": 4294967295, \"label\": \"x\"}",
        "{\"username\": \"x\", \"role\": \"admin\\u0000\", \"tag\": \"\\u0000\"}",
        &nested,
    ];
    let mut bodies: Vec<Vec<u8>> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    bodies.extend([deep, vec![0xff, 0xfe, 0x00], b"{\"note\": \"\xc3\x28\"}".to_vec()]);
    bodies
}

/// What every answer to a hostile request must be.
#[track_caller]
fn is_sound(what: &str, answer: &Answer) {
    let begin: String = answer.body.chars().take(400).collect();
    assert!(answer.status < 500, "{what}: {} {begin}", answer.status);
    assert!(!answer.body.contains("root:x:0"), "{what} shows a file");
    assert_eq!(answer.header("x-content-type-options"), "nosniff", "{what}");
    assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{what}");
    assert!(answer.headers.get("set-cookie").is_none_or(|cookie| !cookie.as_bytes().starts_with(b"a=b")), "{what}");
    let kind = answer.header("content-type");
    if kind.starts_with("text/html") {
        assert!(!answer.body.contains(MARK), "{what}: markup came back: {}", around(&answer.body, MARK));
        assert!(!answer.body.contains("<script>"), "{what}");
    }
    let is_api_refusal = answer.status >= 400 && kind.contains("json");
    assert!(!is_api_refusal || kind == "application/problem+json", "{what}: {kind} {begin}");
}

fn around(text: &str, needle: &str) -> String {
    let at = text.find(needle).unwrap_or_default();
    text[at.saturating_sub(200)..].chars().take(400).collect()
}

fn quoted(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Those that answer and end; signing out and guessing are looked at elsewhere.
fn gates() -> Vec<Door> {
    let is_left_out = |door: &Door| {
        door.path.ends_with("/log-events")
            || ["/events", "/api/v1/events"].contains(&door.path.as_str())
            || door.path == "/sign-out"
            || door.access == Access::Act(Act::OwnAccount) && door.path.ends_with("/password")
    };
    doors().into_iter().filter(|door| !is_left_out(door)).collect()
}

#[test]
fn names_in_addresses_lead_nowhere() {
    let site = Site::start();
    let mut count = 0;
    for door in gates().iter().filter(|door| door.path.contains('{')) {
        // One name at a time, the others as they should be; and all of them.
        let names: Vec<&str> = door.path.split('/').filter(|part| part.starts_with('{')).collect();
        let inputs = PATHS.iter().map(|path| (*path).to_owned()).chain(MARKUP.iter().map(|text| quoted(text)));
        for (place, input) in inputs.enumerate() {
            let name = names[place % names.len()];
            let path = address(&Door { path: door.path.replace(name, &input), ..door.clone() });
            let body = (door.method != "GET").then_some("{}");
            let headers = [("authorization", ADMIN), ("content-type", "application/json")];
            let answer = site.call(door.method.as_str(), &path, &headers, body);
            is_sound(&format!("{} {path}", door.method), &answer);
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}

#[test]
fn parameters_of_every_address_are_checked() {
    let site = Site::start();
    let mut count = 0;
    for door in gates().iter().filter(|door| door.method == "GET") {
        for query in QUERIES {
            let path = format!("{}?{query}", address(door));
            is_sound(&path, &site.get(&path));
            count += 1;
        }
    }
    assert!(count > 200, "{count}");
}

#[test]
fn bodies_of_every_address_are_checked() {
    let site = Site::start();
    let bodies = bodies();
    let mut count = 0;
    for door in gates().iter().filter(|door| door.method != "GET" && door.path.starts_with("/api/")) {
        let path = address(door);
        for body in &bodies {
            let answer = site.bytes(door.method.as_str(), &path, &[("content-type", "application/json")], body);
            let begin = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
            is_sound(&format!("{} {path} {begin:?}", door.method), &answer);
            count += 1;
        }
        for kind in ["text/plain", "application/xml", "application/json; charset=utf-16", "multipart/form-data", ";"] {
            let answer = site.bytes(door.method.as_str(), &path, &[("content-type", kind)], b"{}");
            is_sound(&format!("{} {path} as {kind}", door.method), &answer);
        }
        // Said to be too large: refused before a byte of it is read.
        let head = format!("{} {path} HTTP/1.1\r\nhost: x\r\nauthorization: {ADMIN}\r\n", door.method);
        let kind = "content-type: application/json\r\nconnection: close\r\ncontent-length: 1100000\r\n\r\n";
        let first = site.raw(&format!("{head}{kind}"));
        assert!(first.contains(" 413 "), "{} {path}: {first}", door.method);
    }
    assert!(count > 200, "{count}");
}

/// A DAG, runs, connections and people whose every text is markup.
fn fill(site: &Site) {
    let texts = || MARKUP.iter().enumerate();
    for (number, text) in texts() {
        let id = format!("evil{number}{text}");
        let mut evil = dag(&id, "none", "UTC", &[text], &[("only", text, &[], 0)]);
        evil.description = Some((*text).to_owned());
        evil.owner = Some((*text).to_owned());
        evil.params.insert((*text).to_owned(), json!(text));
        evil.tasks[0].description = Some((*text).to_owned());
        evil.tasks[0].pool = format!("pool {text}");
        let error: &'static str = text;
        let part = Part::new("only", TaskState::Failed, 3).error(error).line(Level::Error, *text).rows(3);
        site.runtime.block_on(async {
            let version = site.plant.sync(evil, false, now()).await;
            site.plant.run(&version, now(), now(), Some(RunState::Failed), &[part]).await;
            let problem = json!({"message": text, "line": 1, "column": 1, "hint": text, "snippet": text});
            site.plant.store.set_import_error(&format!("{text}.yaml"), &[problem], now()).await.unwrap();
            site.plant.store.record_asset_event(NewAssetEvent::of(&format!("asset {text}")), text, now()).await.ok();
        });
        let run = json!({"dag_run_id": format!("run-{number}"), "logical_date": "2024-02-10", "conf": {(*text): text}, "note": text});
        site.send("POST", &format!("/api/v1/dags/{}/dagRuns", quoted(&id)), &run).is(200);
        let name = format!("pool {text}");
        site.send("POST", "/api/v1/pools", &json!({"name": name.replace('\n', " "), "slots": 0, "description": text}));
        let mut connection = json!({
            "connection_id": format!("evil{number}"), "conn_type": text, "host": text, "login": text, "schema": text,
            "description": text, "extra": {(*text): text},
        });
        site.send("POST", "/api/v1/connections", &connection).is(422);
        connection["conn_type"] = "http".into();
        site.send("POST", "/api/v1/connections", &connection).is(201);
        site.send("POST", "/api/v1/variables", &json!({"key": format!("evil{number}{text}"), "value": text}));
        site.send("POST", "/api/v1/tokens", &json!({"label": format!("evil {text}")}));
    }
}

#[test]
fn markup_that_is_kept_comes_back_as_text() {
    let site = Site::start();
    fill(&site);
    let pages = ["/", "/dags", "/runs", "/connections", "/pools", "/assets", "/jobs", "/calendars", "/legend"];
    let mut paths: Vec<String> = pages.iter().map(|page| (*page).to_owned()).collect();
    paths.extend(
        gates().iter().filter(|door| door.method == "GET" && !door.path.contains('{')).map(|door| door.path.clone()),
    );
    let run = quoted("scheduled__2024-03-03T06:00:00+00:00");
    for (number, text) in MARKUP.iter().enumerate() {
        let id = quoted(&format!("evil{number}{text}"));
        for door in gates().iter().filter(|door| door.method == "GET" && door.path.contains("{dag_id}")) {
            let path = door.path.replace("{dag_id}", &id).replace("{run_id}", &run).replace("{task_id}", "only");
            paths.push(address(&Door { path, ..door.clone() }));
        }
        paths.push(format!("/connections/edit/evil{number}"));
        // What was typed comes back with the form, and in what is said of it.
        paths.push(format!("/?search={0}&tag={0}&q={0}", quoted(text)));
        paths.push(format!("/runs?state={0}&dag_id={0}", quoted(text)));
        paths.push(format!("/dags/copy_orders/backfills?from={0}&to={0}&tasks={0}&conf={0}", quoted(text)));
        paths.push(format!("/{}", quoted(text)));
        paths.push(format!("/sign-in?next={}", quoted(text)));
    }
    let mut shown = 0;
    for path in &paths {
        let answer = site.get(path);
        is_sound(path, &answer);
        shown += usize::from(answer.body.contains("&lt;b id=evil"));
    }
    assert!(paths.len() > 200, "{}", paths.len());
    assert!(shown > 40, "the texts are on the pages, as texts: {shown}");
}

#[test]
fn heads_that_are_no_heads_are_refused() {
    let site = Site::start();
    let ask = |lines: &str| site.raw(&format!("GET / HTTP/1.1\r\nhost: x\r\n{lines}connection: close\r\n\r\n"));
    let long = "a".repeat(600_000);
    let heads = [
        format!("x-long: {long}\r\n"),
        "x-many: 1\r\n".repeat(5_000),
        "authorization: Basic !!!\r\n".to_owned(),
        format!("authorization: Bearer {}\r\n", "b".repeat(50_000)),
        "authorization: \u{1}\r\n".to_owned(),
        "cookie: millrace_session=; millrace_session==;;;=\r\n".to_owned(),
        format!("cookie: {}\r\n", "a=b; ".repeat(5_000)),
        "content-length: 5\r\ntransfer-encoding: chunked\r\n".to_owned(),
        "content-length: -1\r\n".to_owned(),
        "content-length: 99999999999999999999\r\n".to_owned(),
        "host: two\r\n".to_owned(),
        "x-forwarded-for: not-an-address\r\nx-forwarded-proto: https\r\n".to_owned(),
        "x-part: <b id=evil>\r\naccept: \u{7f}\r\n".to_owned(),
        "range: bytes=0-99999999999999999999\r\n".to_owned(),
        "if-match: \"\r\nif-none-match: W/,,\r\n".to_owned(),
        "accept-encoding: gzip;q=NaN, *;q=-1\r\n".to_owned(),
        "origin: http://x\r\nsec-fetch-site: \r\n".to_owned(),
    ];
    for lines in &heads {
        let first = ask(lines);
        assert!(first.is_empty() || !first.starts_with("HTTP/1.1 5"), "{first} to {lines:.60}");
    }
    let lines =
        ["", "GARBAGE\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\u{0}\u{0}\u{0}", "PRI * HTTP/2.0\r\n\r\n"];
    for line in lines {
        let mut socket = site.connect();
        socket.write_all(line.as_bytes()).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = String::new();
        // A reset is an answer too.
        let _ = socket.read_to_string(&mut answer);
        assert!(!answer.starts_with("HTTP/1.1 5"), "{answer} to {line:?}");
    }
    for path in ["//etc/passwd", "/static/../../Cargo.toml", "/static/..%2f..%2fCargo.toml", "/./x", "http://evil/"] {
        let first = site.raw(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"));
        assert!(!first.contains(" 200 ") && !first.contains(" 5"), "{first} to {path}");
    }
    site.get("/api/v1/version").is(200);
}

/// Where a sign-in leads to is a place of ours.
#[test]
fn nobody_is_sent_elsewhere() {
    let site = Site::start();
    for next in
        ["//evil.example", "https://evil.example", "/\\evil.example", "javascript:alert(1)", "\\\\evil", "/%0d%0ax: y"]
    {
        let form = format!("username=admin&password=open+sesame&next={}", quoted(next));
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        let answer = site.call("POST", "/sign-in", &kind, Some(&form)).is(303);
        let to = answer.header("location");
        assert!(to.starts_with('/') && !to.starts_with("//") && !to.starts_with("/\\"), "{next} leads to {to}");
        assert!(answer.headers.get("x").is_none());
    }
}

#[test]
fn every_refusal_is_a_problem_of_ours() {
    let site = Site::start();
    let admin = [("authorization", ADMIN), ("content-type", "application/json")];
    let cases: [(&str, &str, Option<&str>, u16); 8] = [
        ("GET", "/api/v1/nothing", None, 404),
        ("PUT", "/api/v1/dags", Some("{}"), 405),
        ("GET", "/api/v1/backfills/seven", None, 404),
        ("GET", "/api/v1/dags/%ff", None, 400),
        ("GET", "/api/v1/dags?limit=x", None, 422),
        ("POST", "/api/v1/pools", Some("{"), 400),
        ("POST", "/api/v1/pools", Some("{\"slots\": 1}"), 422),
        ("PATCH", "/api/v1/dags/none", Some("{\"is_paused\": true}"), 404),
    ];
    for (method, path, body, status) in cases {
        let answer = site.call(method, path, &admin, body).is(status);
        assert_eq!(answer.header("content-type"), "application/problem+json", "{method} {path}");
        let problem: Value = answer.json();
        for member in ["type", "title", "status", "detail", "code"] {
            assert!(!problem[member].is_null(), "{method} {path}: {problem}");
        }
    }
}
