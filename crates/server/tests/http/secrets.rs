//! What is secret is shown to nobody, wherever it stands.

use chrono::TimeDelta;
use millrace_model::ids::TaskId;
use millrace_model::mapping::TaskGroup;
use millrace_model::state::{RunState, TaskState};
use millrace_settings::{Home, Keyring, Masker};
use millrace_store::SyncDag;
use millrace_vault::Vault;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::doors::address;
use crate::plant::{Part, dag};
use crate::site::{ADMIN, FAILED_RUN, RUNNING_RUN, Site, USER, VIEWER, now};

const SECRETS: [&str; 5] = ["params-hidden", "conf-hidden", "address-hidden", "nested-hidden", "variable-hidden"];

/// A DAG with secrets among its params, and a run with secrets in its conf and its note.
fn with_secrets(site: &Site) {
    let mut dag = dag("guarded", "none", "UTC", &[], &[("only", "empty", &[], 0)]);
    dag.params.insert("db_pwd".to_owned(), json!("params-hidden"));
    dag.params.insert("region".to_owned(), json!("seoul"));
    site.runtime.block_on(site.plant.sync(dag, true, now()));
    let body = json!({
        "dag_run_id": "first", "note": "look at https://me:address-hidden@host/x",
        "conf": {"api_token": "conf-hidden", "deep": [[[[[[{"sas": "nested-hidden"}]]]]]], "pass": 987_654_321_012_u64, "from": "ftp://u:address-hidden@h", "day": 7},
    });
    site.send("POST", "/api/v1/dags/guarded/dagRuns", &body).is(200);
    let backfill = json!({
        "dag_id": "copy_orders", "from_date": "2024-02-01", "to_date": "2024-02-03",
        "dag_run_conf": {"password": "conf-hidden"},
    });
    site.send("POST", "/api/v1/backfills", &backfill).is(200);
}

#[test]
fn conf_params_and_notes_are_masked_on_every_face() {
    let site = Site::start();
    with_secrets(&site);
    let addresses = [
        "/api/v1/dags",
        "/api/v1/dags/guarded",
        "/api/v1/dags/~/dagRuns",
        "/api/v1/dags/guarded/dagRuns/first",
        "/api/v1/dags/guarded/dagRuns/first/taskInstances/only",
        "/api/v1/backfills",
        "/",
        "/runs",
        "/dags/guarded",
        "/dags/guarded/runs/first",
        "/dags/guarded/runs/first/tasks/only",
        "/dags/copy_orders/backfills",
    ];
    for address in addresses {
        let answer = site.call("GET", address, &[("authorization", VIEWER)], None).is(200);
        for secret in SECRETS {
            assert!(!answer.body.contains(secret), "{address} tells {secret}: {}", answer.body);
        }
    }
    let run = site.get("/api/v1/dags/guarded/dagRuns/first").json();
    let conf = json!({"api_token": "***", "deep": [[[[[[{"sas": "***"}]]]]]], "pass": "***", "from": "ftp://u:***@h", "day": 7});
    assert_eq!(run["conf"], conf, "what is no secret stays");
    assert_eq!(run["note"], "look at https://me:***@host/x");
    assert_eq!(site.get("/api/v1/dags/guarded").json()["params"], json!({"db_pwd": "***", "region": "seoul"}));
    let log = site.get("/api/v1/eventLogs?limit=100").is(200);
    assert!(
        log.body.contains("\"trigger\"") && !SECRETS.iter().any(|secret| log.body.contains(secret)),
        "{}",
        log.body
    );
}

/// Who writes a file copies into it what stands before them.
#[test]
fn a_secret_in_any_text_of_a_file_is_masked_on_every_face() {
    let secret = "supersecretvalue";
    let said = || Some(format!("with {secret} in it"));
    let site = Site::start();
    site.send("POST", "/api/v1/variables", &json!({"key": "my_api_key", "value": secret})).is(201);
    let mut leak = dag("leak", "none", "UTC", &[], &[("only", "empty", &[], 0)]);
    (leak.description, leak.owner) = (said(), said());
    leak.tags = said().into_iter().collect();
    let region = json!({"type": "string", "default": "seoul", "title": said(), "description": said(), "enum": ["seoul", said()]});
    leak.params.insert("region".to_owned(), region);
    leak.params.insert("table".to_owned(), json!({"default": 1, "type": "integer", "examples": [said()]}));
    let group = TaskId::new_unchecked("grouped");
    leak.groups = vec![TaskGroup { group_id: group.clone(), parent: None, description: said(), expand: None }];
    let task = &mut leak.tasks[0];
    (task.description, task.owner, task.group) = (said(), said(), Some(group));
    site.runtime.block_on(site.plant.sync(leak, true, now()));
    site.send("POST", "/api/v1/dags/leak/dagRuns", &json!({"dag_run_id": "sec"})).is(200);
    let run = RUNNING_RUN.replace(':', "%3A").replace('+', "%2B");
    let mut shown = 0;
    for door in millrace_server::doors().iter().filter(|door| door.method == "GET") {
        let is_stream = door.path.ends_with("events") && !door.path.contains("assets");
        if is_stream || door.path.contains("{*") {
            continue;
        }
        let path = address(door).replace("copy_orders", "leak").replace(&run, "sec").replace("/load", "/only");
        let answer = site.get(&path);
        assert!(!answer.body.contains(secret), "{path}: {}", answer.body);
        shown += usize::from(answer.status == 200 && answer.body.contains("with ***"));
    }
    assert!(shown > 8, "{shown}");
}

/// The daemon that ran a task knew the secret; a web server of its own has opened nothing yet.
#[test]
fn secrets_that_another_process_wrote_are_masked() {
    let mut folder = None;
    let site = Site::start_with(|options| {
        let home = tempfile::tempdir().unwrap();
        let keyring = Arc::new(Keyring::open_or_create(&Home::at(home.path()).unwrap()).unwrap());
        options.vault =
            Vault::new(Some(options.store.clone()), Some(keyring.clone()), Masker::new(), BTreeMap::default());
        let other = Vault::new(Some(options.store.clone()), Some(keyring), Masker::new(), BTreeMap::default());
        let store = options.store.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let value = json!({"host": "h", "password": "variable-hidden"}).to_string();
                    other.put_variable("target", &value, None, "cli", now()).await.unwrap();
                    let run = store.run("copy_orders", FAILED_RUN).await.unwrap().unwrap();
                    store.set_note(run.key, Some("it was variable-hidden"), "cli", now()).await.unwrap();
                });
            });
        });
        folder = Some(home);
    });
    let run = FAILED_RUN.replace(':', "%3A").replace('+', "%2B");
    let value: Value = site.get(&format!("/api/v1/dags/copy_orders/dagRuns/{run}")).is(200).json();
    assert_eq!(value["note"], "it was ***");
}

/// Results are kept as they are, for the tasks that work with them.
#[test]
fn a_secret_in_a_result_is_shown_to_nobody() {
    let site = Site::start();
    site.send(
        "POST",
        "/api/v1/variables",
        &json!({"key": "api_secret", "value": "{\"a\": \"variable-hidden\", \"n\": 88776655}"}),
    )
    .is(201);
    let task = site.runtime.block_on(async {
        let instances = site.plant.store.instances(site.running).await.unwrap();
        let running = instances.iter().find(|instance| instance.state == TaskState::Running).unwrap();
        let result = json!([{"table": "customers", "said": "variable-hidden", "n": 88_776_655}]);
        site.plant.leave(running.key, result.clone(), now()).await;
        let kept = site.plant.store.xcoms(running.key).await.unwrap();
        assert_eq!(kept, [("return_value".to_owned(), result)]);
        running.task_id.to_string()
    });
    let run = RUNNING_RUN.replace(':', "%3A").replace('+', "%2B");
    let address = format!("/api/v1/dags/copy_orders/dagRuns/{run}/taskInstances/{task}/xcomEntries/return_value");
    let shown = json!([{"table": "customers", "said": "***", "n": "***"}]);
    assert_eq!(site.get(&address).is(200).json()["value"], shown);
    // Of every run, as Airflow's address has it.
    let all = site.get("/api/v1/dags/~/dagRuns/~/taskInstances/~/xcomEntries").is(200).json();
    let entry = json!([all["total_entries"], all["xcom_entries"][0]["value"], all["xcom_entries"][0]["task_id"]]);
    assert_eq!(entry, json!([1, shown, task]), "{all}");
    for (query, count) in [("?xcom_key=return_value", 1), ("?xcom_key=other", 0), ("?limit=1&offset=1", 0)] {
        let path = format!("/api/v1/dags/copy_orders/dagRuns/~/taskInstances/{task}/xcomEntries{query}");
        assert_eq!(site.get(&path).is(200).json()["xcom_entries"].as_array().map(Vec::len), Some(count), "{query}");
    }
    site.get("/api/v1/dags/nothing/dagRuns/~/taskInstances/~/xcomEntries").is(404);
    let list = site.get(&format!("/results?dag=copy_orders&task={task}&key=return_value")).is(200).body;
    assert!(list.contains("customers") && !list.contains("variable-hidden") && !list.contains("88776655"), "{list}");
    assert!(site.get("/results?key=other").is(200).body.contains("No result matches"));
    let page = site.get(&format!("/dags/copy_orders/runs/{run}/tasks/{task}")).is(200);
    assert!(
        page.body.contains("customers") && !page.body.contains("variable-hidden") && !page.body.contains("88776655")
    );
}

#[test]
fn the_audit_log_tells_what_a_connection_was_and_is() {
    let site = Site::start();
    let connection = json!({
        "connection_id": "lake", "conn_type": "aws", "login": "key", "password": "conf-hidden",
        "extra": "{\"region_name\": \"eu-north-1\", \"api_token\": \"nested-hidden\"}",
    });
    site.send("POST", "/api/v1/connections", &connection).is(201);
    site.send("PATCH", "/api/v1/connections/lake", &json!({"password": "another-hidden", "host": "h"})).is(200);
    site.send("POST", "/api/v1/connections/test", &json!({"connection_id": "lake"})).is(200);
    site.send("DELETE", "/api/v1/connections/lake", &json!({})).is(204);
    let log = site.get("/api/v1/eventLogs?limit=100").is(200);
    assert!(!log.body.contains("hidden"), "{}", log.body);
    let rows = log.json()["event_logs"].as_array().unwrap().clone();
    let of = |event: &str| rows.iter().find(|row| row["event"] == event).cloned().unwrap_or_default();
    let (added, changed, deleted) = (of("connection_added"), of("connection_changed"), of("connection_deleted"));
    assert_eq!((&added["before"], &added["after"]["password"]), (&Value::Null, &json!("***")), "{added}");
    assert_eq!((&changed["before"]["host"], &changed["after"]["host"]), (&Value::Null, &json!("h")), "{changed}");
    assert_eq!(changed["after"]["extra"], json!({"api_token": "***", "region_name": "eu-north-1"}));
    assert_eq!(deleted["before"]["host"], "h");
    assert_eq!(of("connection_tested")["extra"]["answered"], true);
}

/// Whether one of the secrets of these tests stands in it.
fn tells(body: &str) -> bool {
    body.replace("aria-hidden", "").contains("-hidden")
}

#[test]
fn passwords_in_addresses_are_hidden_in_the_list_of_connections() {
    let site = Site::start();
    let with_address = |id: &str, fields: Value| {
        let mut body = json!({"connection_id": id, "conn_type": "http"});
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        site.send("POST", "/api/v1/connections", &body).is(201);
    };
    with_address(
        "a",
        json!({"host": "https://bob:first-hidden@example.com/s", "description": "x://u:second-hidden@h"}),
    );
    with_address(
        "b",
        json!({"login": "ftp://k:third-hidden@h", "extra": {"endpoint_url": "https://k:fourth-hidden@s3"}}),
    );
    let page = site.call("GET", "/connections", &[("authorization", USER)], None).is(200).body;
    assert!(page.contains("bob:***@example.com") && page.contains("k:***@s3"), "{page}");
    assert!(!tells(&page), "{page}");
}

/// The file cannot be read: nobody knows its params.
#[test]
fn what_is_wrong_with_a_file_tells_no_secret_of_it() {
    let site = Site::start();
    let variable = json!({"key": "my_api_key", "value": "variable-hidden"});
    site.send("POST", "/api/v1/variables", &variable).is(201);
    let diagnostic = json!({
        "severity": "error", "code": "unknown-key", "message": "unknown key 'variable-hidden'", "line": 3, "column": 5,
        "length": 9, "text": "params-hidden", "source_line": "db_password: params-hidden", "hint": "not variable-hidden",
    });
    site.runtime.block_on(site.plant.store.set_import_error("a.yaml", &[diagnostic], now())).unwrap();
    for address in ["/", "/import-errors", "/api/v1/importErrors"] {
        let answer = site.call("GET", address, &[("authorization", VIEWER)], None).is(200);
        assert!(answer.body.contains("a.yaml:3:5") && answer.body.contains("***"), "{address}: {}", answer.body);
        assert!(!tells(&answer.body), "{address}: {}", answer.body);
    }
    let one = site.get("/api/v1/importErrors").json()["import_errors"][0].clone();
    // Another file, before this one in the list, takes no number from it.
    let other = json!({"message": "no", "line": 1, "column": 1});
    site.runtime.block_on(site.plant.store.set_import_error("0.yaml", &[other], now())).unwrap();
    let one = site.get(&format!("/api/v1/importErrors/{}", one["import_error_id"])).is(200);
    assert_eq!(one.json()["diagnostics"][0]["message"], "unknown key '***'");
    assert!(!tells(&one.body), "{}", one.body);
}

#[test]
fn the_text_of_a_file_hides_what_its_params_hide() {
    let site = Site::start();
    for secret in ["first-hidden", "second-hidden"] {
        let mut dag = dag("guarded", "none", "UTC", &[], &[("only", "empty", &[], 0)]);
        dag.params.insert("api_token".to_owned(), json!(secret));
        let source = format!("dag_id: guarded\nparams: {{api_token: {secret}}}\n");
        let file = SyncDag { dag: &dag, file_path: "guarded.yaml", source: &source, paused_at_creation: true };
        site.runtime.block_on(site.plant.store.sync_dag(file, now())).unwrap();
    }
    for address in [
        "/dags/guarded/code",
        "/dags/guarded/code?version=1",
        "/dags/guarded/code?version=2&against=1",
        "/api/v1/dagSources/guarded",
        "/api/v1/dagSources/guarded?version_number=1",
    ] {
        let answer = site.call("GET", address, &[("authorization", VIEWER)], None).is(200);
        assert!(!tells(&answer.body), "{address}: {}", answer.body);
    }
    let shown = site.get("/dags/guarded/code").body;
    assert!(shown.contains("params: {api_token: ***}"), "{shown}");
}

/// Three stars kept for a password would be known to nobody.
#[test]
fn what_is_edited_around_three_stars_is_refused() {
    let site = Site::start();
    let variables = "/api/v1/variables";
    for (key, value) in
        [("my_api_key", "variable-hidden"), ("place", "see https://u:pw-hidden@h/db or variable-hidden")]
    {
        site.send("POST", variables, &json!({"key": key, "value": value})).is(201);
    }
    let place = format!("{variables}/place");
    let shown = site.get(&place).json()["value"].as_str().unwrap().to_owned();
    assert_eq!(shown, "see https://u:***@h/db or ***");
    // As it was shown, with another description: it stays what it is.
    site.send("PATCH", &place, &json!({"value": shown, "description": "where"})).is(200);
    let stored = || {
        let variable = site.runtime.block_on(site.vault().variable("place")).unwrap().unwrap();
        secrecy::ExposeSecret::expose_secret(&variable.value).to_owned()
    };
    assert_eq!(stored(), "see https://u:pw-hidden@h/db or variable-hidden");
    for edited in ["see https://u:***@h2/db", "see https://u:***@h/db or *** more", "https://new:***@h"] {
        let refused = site.send("PATCH", &place, &json!({"value": edited})).is(422);
        assert!(refused.body.contains("enter the secret itself"), "{}", refused.body);
    }
    assert_eq!(stored(), "see https://u:pw-hidden@h/db or variable-hidden");
    site.send("POST", variables, &json!({"key": "new_token", "value": "***"})).is(422);

    let connections = "/api/v1/connections";
    let lake =
        json!({"connection_id": "lake", "conn_type": "http", "host": "https://bob:pw-hidden@h", "password": "p1"});
    site.send("POST", connections, &lake).is(201);
    let lake = format!("{connections}/lake");
    for edited in [
        json!({"host": "https://bob:***@evil.example"}),
        json!({"extra": {"api_token": "***"}}),
        json!({"extra": {"url": ["https://a:***@h"]}}),
    ] {
        site.send("PATCH", &lake, &edited).is(422);
        let mut tried = json!({"connection_id": "lake", "conn_type": "http"});
        tried.as_object_mut().unwrap().extend(edited.as_object().unwrap().clone());
        site.send("POST", "/api/v1/connections/test", &tried).is(422);
    }
    site.send("PATCH", &lake, &json!({"host": "https://bob:***@h", "login": "b", "password": "***"})).is(200);
    let nothing = json!({"connection_id": "other", "conn_type": "http", "password": "***"});
    site.send("POST", connections, &nothing).is(422);
}

/// A run is started as another one was shown.
#[test]
fn three_stars_in_a_conf_are_what_the_dag_has() {
    let site = Site::start();
    with_secrets(&site);
    let runs = "/api/v1/dags/guarded/dagRuns";
    let shown = site.get(&format!("{runs}/first")).json()["conf"].clone();
    assert_eq!(shown["api_token"], "***");
    let refused = site.send("POST", runs, &json!({"conf": shown})).is(422).json();
    assert_eq!(refused["path"], "conf", "{refused}");
    let refused = site.send("POST", runs, &json!({"conf": {"from": "ftp://u:***@h"}})).is(422);
    assert!(refused.body.contains("conf.from"), "{}", refused.body);
    let conf = json!({"conf": {"db_pwd": "***", "day": 8}, "dag_run_id": "second", "logical_date": "2024-02-01"});
    site.send("POST", runs, &conf).is(200);
    let kept = |run: &str| site.runtime.block_on(site.plant.store.run("guarded", run)).unwrap().unwrap().conf;
    assert_eq!(Value::Object(kept("second")), json!({"day": 8}), "the DAG's own is not even repeated");
    let backfill = |conf: Value| {
        let body =
            json!({"dag_id": "copy_orders", "from_date": "2024-02-10", "to_date": "2024-02-11", "dag_run_conf": conf});
        site.send("POST", "/api/v1/backfills/dry_run", &body)
    };
    assert_eq!(backfill(json!({"password": "***"})).is(422).json()["path"], "dag_run_conf");
    site.send("POST", "/api/v1/dags/quiet/dagRuns", &json!({"conf": {"title": "***"}})).is(200);
}

/// A conf is shown as it was sent: what was put back for three stars would be shown with it.
#[test]
fn a_param_that_is_sent_as_it_was_shown_brings_no_secret_into_the_conf() {
    let site = Site::start();
    site.send("POST", "/api/v1/variables", &json!({"key": "my_api_key", "value": "variable-hidden"})).is(201);
    let mut dag = dag("guarded", "none", "UTC", &[], &[("only", "empty", &[], 0)]);
    dag.params.insert("where".to_owned(), json!("host=x pw=variable-hidden end"));
    dag.params.insert("at".to_owned(), json!({"url": "ftp://u:address-hidden@h", "said": ["variable-hidden"]}));
    dag.params.insert("db_pwd".to_owned(), json!("params-hidden"));
    dag.params.insert("line".to_owned(), json!("with params-hidden"));
    dag.params.insert("day".to_owned(), json!(7));
    site.runtime.block_on(site.plant.sync(dag, false, now()));
    for page in ["/dags/guarded/trigger", "/dags/guarded"] {
        let page = site.get(page).is(200).body;
        assert!(page.contains("host=x pw=*** end") && page.contains("with ***") && !tells(&page), "{page}");
    }
    let shown = site.get("/api/v1/dags/guarded").json()["params"].clone();
    assert_eq!(shown["where"], "host=x pw=*** end");
    let runs = "/api/v1/dags/guarded/dagRuns";
    let run = site.send("POST", runs, &json!({"conf": shown, "dag_run_id": "as_shown"})).is(200);
    assert_eq!(run.json()["conf"], json!({"day": 7}), "{}", run.body);
    let backfill = |conf: &Value| {
        let body =
            json!({"dag_id": "guarded", "from_date": "2024-02-10", "to_date": "2024-02-11", "dag_run_conf": conf});
        site.send("POST", "/api/v1/backfills/dry_run", &body)
    };
    for (edited, place) in [
        (json!({"where": "host=y pw=*** end"}), "where"),
        (json!({"at": {"url": "ftp://u:***@h", "said": []}}), "at"),
        (json!({"at": {"said": ["***"]}}), "at"),
    ] {
        for (refused, name) in
            [(site.send("POST", runs, &json!({"conf": edited})), "conf"), (backfill(&edited), "dag_run_conf")]
        {
            let refused = refused.is(422).body;
            assert!(refused.contains(&format!("'{name}.{place}")), "{edited}: {refused}");
        }
    }
    let log = site.get("/api/v1/eventLogs?event=trigger").is(200).body;
    assert!(log.contains("as_shown") && !tells(&log), "{log}");
}

#[test]
fn a_note_tells_the_audit_log_no_secret_of_its_run() {
    let site = Site::start();
    with_secrets(&site);
    let run = "/api/v1/dags/guarded/dagRuns/first";
    site.send("PATCH", run, &json!({"note": "it was conf-hidden"})).is(200);
    site.send("PATCH", run, &json!({"note": "no more"})).is(200);
    let second = json!({"dag_run_id": "second", "conf": {"api_token": "other-hidden"}, "note": "with other-hidden", "logical_date": "2024-02-01"});
    site.send("POST", "/api/v1/dags/guarded/dagRuns", &second).is(200);
    let addresses = ["/api/v1/eventLogs?limit=100", "/audit?dag=guarded", "/audit?dag=guarded&run=first"];
    for address in addresses {
        let log = site.get(address).is(200).body;
        assert!(log.contains("it was ***") && !tells(&log), "{address}: {log}");
        assert_eq!(log.contains("with ***"), !address.contains("run=first"), "{address}: {log}");
    }
    let rows = site.get("/api/v1/eventLogs?event=note&limit=1").json()["event_logs"][0].clone();
    assert_eq!((&rows["before"]["note"], &rows["after"]["note"]), (&json!("it was ***"), &json!("no more")), "{rows}");

    site.send("PATCH", run, &json!({"state": "failed"})).is(200);
    // Nobody knows the secrets of a run that is gone; one that took its name has others.
    site.call("DELETE", run, &[("authorization", ADMIN)], None).is(204);
    let again = |address: &str| {
        let log = site.get(address).is(200).body;
        assert!(!log.contains("it was") && !tells(&log), "{address}: {log}");
    };
    addresses.into_iter().for_each(again);
    site.advance(TimeDelta::seconds(1));
    site.send("POST", "/api/v1/dags/guarded/dagRuns", &json!({"dag_run_id": "first"})).is(200);
    addresses.into_iter().for_each(again);
    let rows = site.get("/api/v1/eventLogs?event=note&limit=1").json()["event_logs"][0].clone();
    assert_eq!((&rows["before"]["note"], &rows["extra"]), (&json!("***"), &rows["after"]), "{rows}");
}

/// What a try failed of stands behind the reason why its task waits.
#[test]
fn why_it_is_not_running_tells_no_secret() {
    let site = Site::start();
    site.send("POST", "/api/v1/variables", &json!({"key": "my_api_key", "value": "variable-hidden"})).is(201);
    let mut retried = dag("retried", "none", "UTC", &["for variable-hidden"], &[("sql", "sql", &[], 1)]);
    retried.description = Some("asks with variable-hidden".to_owned());
    retried.tasks[0].description = Some("and variable-hidden".to_owned());
    let (run, first, _leads) = site.runtime.block_on(async {
        let version = site.plant.sync(retried, false, now()).await;
        let error = "near \"variable-hidden\": syntax error";
        let part = Part::new("sql", TaskState::UpForRetry, 5).error(error);
        let waiting = site.plant.run(&version, now(), now(), None, &[part]).await;
        let failed = now() - TimeDelta::days(1);
        let part = Part::new("sql", TaskState::Failed, 5).error(error);
        let failed = site.plant.run(&version, failed, failed, Some(RunState::Failed), &[part]).await;
        let id = async |key| site.plant.store.run_by_key(key).await.unwrap().unwrap().run_id.to_string();
        let leads = site.plant.store.try_lead("scheduler-1", now()).await.unwrap().unwrap();
        (id(waiting).await.replace('+', "%2B"), id(failed).await.replace('+', "%2B"), leads)
    });
    let task = format!("/api/v1/dags/retried/dagRuns/{run}/taskInstances/sql");
    let told = [
        format!("{task}/explain"),
        format!("{task}/dependencies"),
        format!("/api/v1/dags/retried/dagRuns/{first}/explain"),
        format!("/dags/retried/runs/{run}/tasks/sql"),
        format!("/dags/retried/runs/{run}"),
    ];
    let shown = [
        "/dags",
        "/dags/retried",
        "/dags/retried/details",
        "/api/v1/dags",
        "/api/v1/dagTags",
        "/api/v1/dags/retried/tasks",
    ];
    for address in told.iter().map(String::as_str).chain(shown) {
        let answer = site.call("GET", address, &[("authorization", VIEWER)], None).is(200);
        assert!(answer.body.contains("***") && !tells(&answer.body), "{address}: {}", answer.body);
    }
}

/// `***` for a word that somebody sent says that they guessed a secret.
#[test]
fn a_conf_does_not_tell_which_of_its_words_are_secrets() {
    let site = Site::start();
    site.send("POST", "/api/v1/variables", &json!({"key": "my_api_key", "value": "variable-hidden"})).is(201);
    let conf = json!({"words": ["guess", "variable-hidden"], "password": "conf-hidden"});
    let shown = json!({"words": ["guess", "variable-hidden"], "password": "***"});
    let sent = json!({"dag_run_id": "guessing", "conf": conf});
    let run = site.send("POST", "/api/v1/dags/quiet/dagRuns", &sent).is(200).json();
    assert_eq!(run["conf"], shown);
    assert_eq!(site.get("/api/v1/dags/quiet/dagRuns/guessing").json()["conf"], shown);
    let rows = site.get("/api/v1/eventLogs?event=trigger&limit=1").json()["event_logs"][0].clone();
    assert_eq!(rows["extra"]["conf"], shown, "{rows}");
}

/// Each text of the run would be searched for each line of it.
#[test]
fn a_conf_with_more_secrets_than_can_be_hidden_is_refused() {
    let site = Site::start();
    let lines: String = (0..50_000).map(|n| format!("{n:07}\n")).collect();
    let conf = json!({"password": lines});
    let refused = site.send("POST", "/api/v1/dags/quiet/dagRuns", &json!({"conf": conf})).is(422).json();
    assert_eq!(refused["path"], "conf", "{refused}");
    let body =
        json!({"dag_id": "copy_orders", "from_date": "2024-02-10", "to_date": "2024-02-11", "dag_run_conf": conf});
    let refused = site.send("POST", "/api/v1/backfills", &body).is(422).json();
    assert_eq!(refused["path"], "dag_run_conf", "{refused}");
}

#[test]
fn what_is_only_tried_is_hidden_in_no_other_text() {
    let mut masker = None;
    let site = Site::start_with(|options| masker = Some(options.vault.masker().clone()));
    let tried = json!({"connection_id": "tried", "conn_type": "http", "host": "h", "password": "success\nechoing"});
    site.send("POST", "/api/v1/connections/test", &tried).is(200);
    assert_eq!(masker.unwrap().mask("success after echoing"), "success after echoing");
}

/// What is known to be a secret today is not tomorrow, when its connection is gone.
#[test]
fn a_note_is_kept_without_what_was_a_secret_when_it_was_written() {
    let site = Site::start();
    with_secrets(&site);
    site.send("POST", "/api/v1/variables", &json!({"key": "my_api_key", "value": "variable-hidden"})).is(201);
    let run = "/api/v1/dags/guarded/dagRuns/first";
    site.send("PATCH", run, &json!({"note": "look at variable-hidden and conf-hidden"})).is(200);
    let second = json!({"dag_run_id": "second", "note": "variable-hidden", "logical_date": "2024-02-01"});
    site.send("POST", "/api/v1/dags/guarded/dagRuns", &second).is(200);
    let kept = |run: &str| site.runtime.block_on(site.plant.store.run("guarded", run)).unwrap().unwrap().note;
    assert_eq!(kept("first").as_deref(), Some("look at *** and ***"));
    assert_eq!(kept("second").as_deref(), Some("***"));
}
