//! What the API says of itself is whole and true.

use millrace_server::doors;
use serde_json::{Value, json};

use crate::site::{FAILED_RUN, RUNNING_RUN, Site, VIEWER};

const RUN: &str = "/api/v1/dags/copy_orders/dagRuns";

fn quoted(run: &str) -> String {
    run.replace(':', "%3A").replace('+', "%2B")
}

#[test]
fn every_address_of_the_api_is_in_the_document() {
    let site = Site::start();
    let document = site.call("GET", "/api/v1/openapi.json", &[("authorization", VIEWER)], None).is(200).json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut ids = std::collections::BTreeSet::new();
    let mut count = 0;
    for door in doors().iter().filter(|door| door.path.starts_with("/api/")) {
        let operation = &document["paths"][&door.path][door.method.as_str().to_lowercase()];
        let line = format!("{} {}", door.method, door.path);
        assert!(operation["summary"].as_str().is_some_and(|text| text.len() > 5), "{line} says what it does");
        assert!(ids.insert(operation["operationId"].to_string()), "{line}: its id is another's too");
        let names = door.path.split('{').skip(1).filter_map(|rest| rest.split('}').next());
        for name in names {
            let parameters = operation["parameters"].as_array().unwrap();
            assert!(parameters.iter().any(|one| one["name"] == name && one["in"] == "path"), "{line}: {name}");
        }
        let answers = operation["responses"].as_object().unwrap();
        assert!(answers.keys().any(|status| status.starts_with('2')), "{line}");
        assert!(answers.contains_key("5XX") && !answers.contains_key("default"), "{line}");
        let takes_body = door.method == "POST" || door.method == "PATCH";
        assert_eq!(operation.get("requestBody").is_some(), takes_body, "{line}");
        count += 1;
    }
    assert!(count > 90, "{count}");
    // Every reference leads somewhere.
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
}

#[test]
fn the_document_says_what_can_be_sent_beside_an_address() {
    let site = Site::start();
    let document = site.get("/api/v1/openapi.json").json();
    let parameter = |path: &str, method: &str, name: &str| {
        let all = document["paths"][path][method]["parameters"].as_array().cloned().unwrap_or_default();
        all.into_iter().find(|one| one["name"] == name).unwrap_or_default()
    };
    let tags = parameter("/api/v1/dags", "get", "tags");
    assert_eq!((&tags["schema"]["type"], &tags["explode"]), (&json!("array"), &json!(true)));
    let states = parameter("/api/v1/dags/{dag_id}/dagRuns", "get", "state");
    assert_eq!(states["schema"]["items"]["enum"], json!(["queued", "running", "success", "failed"]));
    assert_eq!(parameter("/api/v1/dags", "get", "paused")["schema"], json!({"type": "boolean"}));
    for (method, header) in [("get", "If-None-Match"), ("patch", "If-Match"), ("delete", "If-Match")] {
        assert_eq!(parameter("/api/v1/pools/{name}", method, header)["in"], "header");
    }
    assert_eq!(parameter("/api/v1/events", "get", "If-None-Match"), Value::Null, "a stream has no version");
    let answer = &document["paths"]["/api/v1/pools/{name}"]["get"]["responses"]["200"];
    assert_eq!(answer["headers"]["ETag"]["schema"]["type"], "string");
}

#[test]
fn the_head_of_an_answer_has_its_version() {
    let site = Site::start();
    let path = "/api/v1/pools/default_pool";
    let (whole, head) = (site.get(path).is(200), site.call("HEAD", path, &[("authorization", VIEWER)], None).is(200));
    assert_eq!((head.header("etag"), head.body.as_str()), (whole.header("etag"), ""));
    let known = [("authorization", VIEWER), ("if-none-match", whole.header("etag"))];
    site.call("HEAD", path, &known, None).is(304);
}

/// As far as the schemas of the answers go: what must be there is there, and nothing else is.
#[test]
fn answers_are_what_the_document_says() {
    let site = Site::start();
    let document = site.get("/api/v1/openapi.json").json();
    site.send("POST", "/api/v1/variables", &json!({"key": "region", "value": "seoul"})).is(201);
    site.send("POST", "/api/v1/connections", &json!({"connection_id": "x", "conn_type": "sqlite"})).is(201);
    let run = format!("{RUN}/{}", quoted(FAILED_RUN));
    let cases = [
        ("/api/v1/health", "/api/v1/health".to_owned()),
        ("/api/v1/dags", "/api/v1/dags".to_owned()),
        ("/api/v1/dags/{dag_id}", "/api/v1/dags/copy_orders".to_owned()),
        ("/api/v1/dags/{dag_id}/tasks", "/api/v1/dags/copy_orders/tasks".to_owned()),
        ("/api/v1/dags/{dag_id}/dagVersions", "/api/v1/dags/copy_orders/dagVersions".to_owned()),
        ("/api/v1/dags/{dag_id}/dagRuns", RUN.to_owned()),
        ("/api/v1/dags/{dag_id}/dagRuns/{run_id}", run.clone()),
        ("/api/v1/dags/{dag_id}/dagRuns/{run_id}/taskInstances", format!("{run}/taskInstances")),
        ("/api/v1/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}", format!("{run}/taskInstances/load")),
        (
            "/api/v1/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/tries",
            format!("{run}/taskInstances/load/tries"),
        ),
        ("/api/v1/pools", "/api/v1/pools".to_owned()),
        ("/api/v1/notifications", "/api/v1/notifications".to_owned()),
        ("/api/v1/jobs", "/api/v1/jobs".to_owned()),
        ("/api/v1/ledger", "/api/v1/ledger".to_owned()),
        ("/api/v1/users", "/api/v1/users".to_owned()),
        ("/api/v1/variables", "/api/v1/variables".to_owned()),
        ("/api/v1/connections", "/api/v1/connections".to_owned()),
        ("/api/v1/eventLogs", "/api/v1/eventLogs".to_owned()),
        ("/api/v1/dagStats", "/api/v1/dagStats".to_owned()),
        ("/api/v1/dagTags", "/api/v1/dagTags".to_owned()),
    ];
    for (declared, path) in cases {
        let schema = &document["paths"][declared]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        assert!(!schema.is_null(), "{declared}");
        fits(&document, schema, &site.get(&path).is(200).json(), &path);
    }
}

fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    }
}

fn fits(document: &Value, schema: &Value, value: &Value, place: &str) {
    let schema = resolved(document, schema);
    if let Some(choices) = schema["anyOf"].as_array() {
        let other = choices.iter().find(|choice| choice["type"] != "null");
        if let (false, Some(other)) = (value.is_null(), other) {
            fits(document, other, value, place);
        }
        return;
    }
    match value {
        Value::Object(members) => {
            let Some(known) = schema["properties"].as_object() else { return };
            for needed in schema["required"].as_array().into_iter().flatten() {
                assert!(members.contains_key(needed.as_str().unwrap()), "{place} lacks {needed}");
            }
            for (name, value) in members {
                let schema = known.get(name).unwrap_or_else(|| panic!("{place}: nothing is said of {name}"));
                fits(document, schema, value, &format!("{place}.{name}"));
            }
        }
        Value::Array(items) => items.iter().for_each(|item| fits(document, &schema["items"], item, place)),
        _ => {
            let kind = match value {
                Value::String(_) => "string",
                Value::Bool(_) => "boolean",
                Value::Null => "null",
                Value::Number(number) if number.is_f64() => "number",
                _ => "integer",
            };
            let allowed: Vec<&str> = match &schema["type"] {
                Value::String(one) => vec![one.as_str()],
                Value::Array(many) => many.iter().filter_map(Value::as_str).collect(),
                _ => return,
            };
            assert!(
                allowed.contains(&kind) || (kind == "integer" && allowed.contains(&"number")),
                "{place}: {value} is no {allowed:?}"
            );
        }
    }
}

#[test]
fn the_page_to_try_it_is_ours_alone() {
    let site = Site::start();
    let page = site.call("GET", "/api", &[("authorization", VIEWER)], None).is(200);
    assert!(page.body.contains("id=\"getDagsDagIdDagRuns\""), "{}", page.body);
    assert!(!page.body.contains("http://") && !page.body.contains("https://") && !page.body.contains(" style="));
    assert!(!page.body.contains("<script>") && !page.body.contains(" onclick"));
    site.get("/static/api.js").is(200);
}

#[test]
fn runs_are_waited_for() {
    let site = Site::start();
    let ended = site.get(&format!("{RUN}/{}/wait", quoted(FAILED_RUN))).is(200).json();
    assert_eq!(ended["state"], "failed");
    let running = format!("{RUN}/{}", quoted(RUNNING_RUN));
    assert_eq!(site.get(&format!("{running}/wait?timeout=0")).is(200).json()["state"], "running");
    site.get(&format!("{running}/wait?timeout=56")).is(422);
    site.get(&format!("{RUN}/none/wait?timeout=0")).is(404);
    let waited = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| site.get(&format!("{running}/wait?timeout=50")).is(200).json());
        site.send("PATCH", &running, &json!({"state": "failed"})).is(200);
        waiting.join().unwrap()
    });
    assert_eq!(waited["state"], "failed");
}

#[test]
fn variables_are_kept_and_shown_masked() {
    let site = Site::start();
    let all = "/api/v1/variables";
    site.send("POST", all, &json!({"key": "api_key", "value": "very-hidden", "description": "of the API"})).is(201);
    let target = json!({"host": "h", "password": "also-hidden"}).to_string();
    site.send("POST", all, &json!({"key": "target", "value": target})).is(201);
    site.send("POST", all, &json!({"key": "target", "value": "x"})).is(409);
    let shown = site.get(all).is(200);
    assert!(!shown.body.contains("hidden"), "{}", shown.body);
    // What is shown, sent back with another host, keeps the password.
    let masked = site.get(&format!("{all}/target")).is(200).json()["value"].as_str().unwrap().to_owned();
    let changed = masked.replace("\"h\"", "\"other\"");
    site.send("PATCH", &format!("{all}/target"), &json!({"value": changed})).is(200);
    let vault_reads = site.audit();
    assert!(!format!("{vault_reads:?}").contains("hidden"));
    assert!(vault_reads.iter().any(|row| row.action == "variable_changed" && row.before.is_some()));
    let bulk = json!({"actions": [
        {"action": "create", "entities": [{"key": "target", "value": "x"}, {"key": "new", "value": "y"}]},
        {"action": "create", "action_on_existence": "skip", "entities": [{"key": "new", "value": "z"}]},
        {"action": "update", "entities": [{"key": "none", "value": "x"}, {"key": "new", "value": "w"}]},
        {"action": "delete", "entities": ["api_key", "none"]},
    ]});
    let done = site.send("PATCH", all, &bulk).is(200).json();
    assert_eq!(done["create"]["success"], json!(["new"]));
    assert_eq!(done["create"]["errors"][0]["status_code"], 409);
    assert_eq!((&done["update"]["success"], &done["delete"]["success"]), (&json!(["new"]), &json!(["api_key"])));
    assert_eq!(site.get(&format!("{all}/new")).is(200).json()["value"], "w");
    site.send("DELETE", &format!("{all}/new"), &json!({})).is(204);
    site.get(&format!("{all}/new")).is(404);
}

#[test]
fn lists_are_ordered_as_they_are_asked_to_be() {
    let site = Site::start();
    let ids = |path: &str, list: &str, name: &str| -> Vec<String> {
        let answer = site.get(path).is(200).json();
        answer[list].as_array().unwrap().iter().map(|one| one[name].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("/api/v1/dags?order_by=-dag_id", "dags", "dag_id"), ["quiet", "copy_orders"]);
    assert_eq!(ids("/api/v1/dags?order_by=-dag_id&limit=1&offset=1", "dags", "dag_id"), ["copy_orders"]);
    let runs = |order: &str| ids(&format!("{RUN}?order_by={order}"), "dag_runs", "dag_run_id");
    assert_eq!(runs("logical_date"), [FAILED_RUN, RUNNING_RUN]);
    assert_eq!(runs("-end_date"), [FAILED_RUN, RUNNING_RUN], "one that has not ended counts as the oldest");
    assert_eq!(ids(&format!("{RUN}?logical_date_gte=2024-03-02"), "dag_runs", "dag_run_id"), [RUNNING_RUN]);
    let path = format!("{RUN}/{}/taskInstances?order_by=-task_id", quoted(FAILED_RUN));
    assert_eq!(ids(&path, "task_instances", "task_id"), ["notify", "load", "extract"]);
    let refused = site.get(&format!("{RUN}?order_by=conf")).is(422).json();
    assert!(refused["detail"].as_str().unwrap().contains("run_after, logical_date"), "{refused}");
}

#[test]
fn many_are_paused_and_cleared_at_once() {
    let site = Site::start();
    site.send("PATCH", "/api/v1/dags", &json!({"is_paused": true})).is(422);
    let paused = site.send("PATCH", "/api/v1/dags?tags=nightly", &json!({"is_paused": true})).is(200).json();
    assert_eq!((&paused["total_entries"], &paused["dags"][0]["dag_id"]), (&json!(1), &json!("copy_orders")));
    let all = site.send("PATCH", "/api/v1/dags?dag_id_pattern=~", &json!({"is_paused": false})).is(200).json();
    assert_eq!(all["total_entries"], 2);
    // Those that are to become what the filter leaves out are none, and a filter is read.
    let others = "/api/v1/dags?dag_id_pattern=~&paused=true";
    assert_eq!(site.send("PATCH", others, &json!({"is_paused": true})).is(200).json()["total_entries"], 0);
    site.send("PATCH", "/api/v1/dags?dag_id_pattern=~&paused=nonsense", &json!({"is_paused": true})).is(422);
    let tags = "/api/v1/dags?tags=none&tags=nightly";
    assert_eq!(site.send("PATCH", tags, &json!({"is_paused": true})).is(200).json()["total_entries"], 1);
    let body = json!({"dag_run_ids": [FAILED_RUN, "none"], "dry_run": false});
    let cleared = site.send("POST", "/api/v1/dags/copy_orders/clearDagRuns", &body).is(200).json();
    assert_eq!(cleared["dag_runs"][0]["task_instances"], 3);
    assert_eq!(cleared["errors"][0]["status_code"], 404);
    let stats = site.get("/api/v1/dagStats?dag_ids=copy_orders").is(200).json();
    assert_eq!(stats["dags"][0]["stats"].as_array().map(Vec::len), Some(4));
}

#[test]
fn prometheus_reads_what_is_going_on() {
    let site = Site::start();
    let nobody = site.call("GET", "/metrics", &[], None).is(401);
    assert!(nobody.header("www-authenticate").starts_with("Basic"), "{}", nobody.body);
    // A program is not led to a page that it cannot read.
    site.call("GET", "/dags", &[("authorization", "Bearer mrt_gone")], None).is(401);
    site.call("GET", "/dags", &[], None).is(303);
    let page = site.call("GET", "/metrics", &[("authorization", VIEWER)], None).is(200);
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "millrace_dags{state=\"active\"} 1",
        "millrace_dags{state=\"paused\"} 1",
        "millrace_runs{state=\"running\"} 1",
        "millrace_task_instances{state=\"running\"} 1",
        "millrace_pool_slots{pool=\"default_pool\",for=\"running\"} 1",
        "millrace_scheduler_alive 0",
        "millrace_import_errors 0",
    ] {
        assert!(page.body.lines().any(|found| found == line), "{line} is not in\n{}", page.body);
    }
    // Each sample is announced, and has a number.
    for line in page.body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
        let name = name.split('{').next().unwrap();
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let is_announced = |name: &str| page.body.contains(&format!("# TYPE {name} "));
        assert!(is_announced(name) || of_histogram.is_some_and(is_announced), "{line}");
    }
}
