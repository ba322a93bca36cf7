//! What is secret is shown to nobody, wherever it stands.

use millrace_model::state::TaskState;
use millrace_settings::{Home, Keyring, Masker};
use millrace_vault::Vault;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plant::dag;
use crate::site::{FAILED_RUN, RUNNING_RUN, Site, VIEWER, now};

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
