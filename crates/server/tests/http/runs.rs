//! Runs and their task instances over REST.

use std::pin::Pin;

use millrace_logs::TryId;
use millrace_model::asset::{AssetCondition, AssetName};
use millrace_model::dag::Dag;
use millrace_model::ids::DagId;
use millrace_operator_api::context::TaskContext;
use millrace_operator_api::entry::{Operator, OperatorEntry};
use millrace_operator_api::error::{Outcome, TaskError};
use millrace_store::SignalKind;
use serde_json::{Value, json};

use crate::plant::dag;
use crate::site::{ADMIN, FAILED_RUN, RUNNING_RUN, Site, VIEWER, now};

const RUNS: &str = "/api/v1/dags/copy_orders/dagRuns";

#[test]
fn runs_are_listed_newest_first() {
    let site = Site::start();
    let all = site.get(RUNS).is(200).json();
    assert_eq!(all["total_entries"], 2);
    let run = &all["dag_runs"][1];
    assert_eq!(run["dag_run_id"], FAILED_RUN);
    assert_eq!(run["state"], "failed");
    assert_eq!(run["run_type"], "scheduled");
    assert_eq!(run["logical_date"], "2024-03-01T00:00:00.000000Z");
    assert_eq!(run["data_interval_end"], "2024-03-02T00:00:00.000000Z");
    assert_eq!(run["start_date"], "2024-03-02T00:00:00.000000Z");
    assert_eq!(run["duration"], json!(260.0));
    assert_eq!(run["conf"], json!({}));
    assert_eq!(site.get(&format!("{RUNS}?state=failed")).json()["total_entries"], 1);
    assert_eq!(
        site.get(&format!("{RUNS}?state=failed&state=running&limit=1")).json()["dag_runs"].as_array().unwrap().len(),
        1
    );
    assert_eq!(site.get(&format!("{RUNS}?run_type=manual")).json()["total_entries"], 0);
    let ids = |query: &str| -> Vec<String> {
        let found = site.get(&format!("{RUNS}?{query}")).is(200).json();
        found["dag_runs"].as_array().unwrap().iter().map(|run| run["dag_run_id"].as_str().unwrap().to_owned()).collect()
    };
    let all = ids("order_by=id");
    let named = ids("order_by=id&run_id_pattern=%25SCHEDULED__2024-03-01%25");
    assert_eq!(named, all.iter().filter(|id| id.contains("2024-03-01")).cloned().collect::<Vec<_>>());
    assert!(!named.is_empty() && named.len() < all.len());
    // One that goes on has taken no time yet.
    let (short, long) = (ids("duration_lte=60"), ids("duration_gte=60.001"));
    let ended = ids("state=success&state=failed");
    assert_eq!(short.len() + long.len(), ended.len());
    assert!(short.iter().chain(&long).all(|id| ended.contains(id)) && ended.len() < all.len());
    site.get(&format!("{RUNS}?duration_gte=long")).is(422);
    assert_eq!(site.get("/api/v1/dags/~/dagRuns").json()["total_entries"], 2);
    site.get(&format!("{RUNS}?state=green")).is(422);
    assert_eq!(site.get("/api/v1/dags/nothing/dagRuns").is(404).json()["code"], "dag_not_found");
    assert_eq!(site.get(&format!("{RUNS}/{FAILED_RUN}")).is(200).json()["dag_run_id"], FAILED_RUN);
    assert_eq!(site.get(&format!("{RUNS}/nothing")).is(404).json()["code"], "run_not_found");
    assert_eq!(site.get("/api/v1/dags/nothing/dagRuns/x").is(404).json()["code"], "dag_not_found");
}

#[test]
fn a_trigger_queues_a_run() {
    let site = Site::start();
    let body =
        json!({"dag_run_id": "by-hand", "logical_date": "2024-02-01T00:00:00Z", "conf": {"a": 1}, "note": "why"});
    let run = site.send("POST", RUNS, &body).is(200).json();
    assert_eq!(run["dag_run_id"], "by-hand");
    assert_eq!((run["state"].as_str(), run["run_type"].as_str()), (Some("queued"), Some("manual")));
    assert_eq!(run["logical_date"], "2024-02-01T00:00:00.000000Z");
    assert_eq!((&run["conf"], &run["note"]), (&json!({"a": 1}), &json!("why")));
    assert_eq!((&run["triggered_by"], &run["triggering_user_name"]), (&json!("rest_api"), &json!("admin")));
    assert!(run.get("notice").is_none());
    let early = site.send("POST", RUNS, &json!({"logical_date": "2023-12-31T23:59:59Z"})).is(422).json();
    assert_eq!(early["path"], "logical_date");
    assert!(early["detail"].as_str().unwrap().contains("start_date 2024-01-01T00:00:00"), "{early}");
    assert_eq!(run["data_interval_end"], "2024-02-02T00:00:00.000000Z", "what the schedule's run of the date covers");
    let early = site.send("POST", RUNS, &json!({"logical_date": "2024-03-03"})).is(422).json();
    assert!(early["detail"].as_str().unwrap().contains("ends at 2024-03-04T00:00:00.000000Z only"), "{early}");
    let later = json!({"dag_run_id": "later", "logical_date": "2024-03-09T05:00:00Z"});
    let later = site.send("POST", RUNS, &later).is(200).json();
    assert_eq!(later["run_after"], later["logical_date"], "its date is waited for");
    let plain = site.send("POST", RUNS, &json!({})).is(200).json();
    assert_eq!(plain["dag_run_id"], "manual__2024-03-03T06:00:00+00:00");
    assert_eq!(plain["data_interval_start"], "2024-03-02T00:00:00.000000Z");
    let rows = site.audit();
    assert!(rows.iter().any(|row| row.run_id.as_deref() == Some("by-hand") && row.actor == "rest:admin"), "{rows:?}");
}

#[test]
fn case_99_twice_is_a_conflict_that_names_the_first() {
    let site = Site::start();
    let body = json!({"dag_run_id": "once", "logical_date": "2024-02-01T00:00:00Z"});
    site.send("POST", RUNS, &body).is(200);
    let again =
        site.send("POST", RUNS, &json!({"dag_run_id": "once", "logical_date": "2024-02-02T00:00:00Z"})).is(409).json();
    assert_eq!(again["code"], "run_exists");
    assert_eq!(again["existing_run"]["href"], "/api/v1/dags/copy_orders/dagRuns/once");
    site.get(again["existing_run"]["href"].as_str().unwrap()).is(200);
    let same_date =
        site.send("POST", RUNS, &json!({"dag_run_id": "other", "logical_date": "2024-02-01T00:00:00Z"})).is(409).json();
    assert_eq!(same_date["existing_run"]["dag_run_id"], "once");
    assert_eq!(site.get(RUNS).json()["total_entries"], 3);
}

#[test]
fn case_99_an_idempotency_key_gives_the_same_answer() {
    let site = Site::start();
    let headers = [("authorization", ADMIN), ("content-type", "application/json"), ("idempotency-key", "k1")];
    let post = |body: &str| site.call("POST", RUNS, &headers, Some(body));
    let first = post("{\"note\": \"a\"}").is(200).json();
    site.advance(chrono::TimeDelta::seconds(5));
    assert_eq!(post("{\"note\": \"a\"}").is(200).json(), first);
    post("{\"note\": \"b\"}").is(422);
    assert_eq!(site.get(RUNS).json()["total_entries"], 3);
    let run = first["dag_run_id"].as_str().unwrap().replace(':', "%3A").replace('+', "%2B");
    site.send("PATCH", &format!("{RUNS}/{run}"), &json!({"state": "success"})).is(200);
    site.send("DELETE", &format!("{RUNS}/{run}"), &json!({})).is(204);
    let gone = post("{\"note\": \"a\"}").is(409);
    assert!(gone.body.contains("was deleted; send another key"), "{}", gone.body);
}

#[test]
fn case_99_bad_requests_say_what_is_wrong() {
    let site = Site::start();
    for (body, path) in [
        (json!({"conf": [1]}), "conf"),
        (json!({"conf": "text"}), "conf"),
        (json!({"logical_date": "yesterday"}), "logical_date"),
        (json!({"dag_run_id": "scheduled__2024-01-01"}), "dag_run_id"),
        (json!({"dag_run_id": "../../etc"}), "dag_run_id"),
        (json!({"note": "x".repeat(1001)}), "note"),
    ] {
        let answer = site.send("POST", RUNS, &body).is(422).json();
        assert_eq!(answer["path"], path, "{answer}");
    }
    site.send("POST", RUNS, &json!({"unknown": 1})).is(422);
    let json_headers = [("authorization", ADMIN), ("content-type", "application/json")];
    site.call("POST", RUNS, &json_headers, Some("{")).is(400);
    site.call("POST", RUNS, &[("authorization", ADMIN), ("content-type", "text/plain")], Some("{}")).is(400);
    assert!(site.raw(&format!("POST {RUNS} HTTP/1.1\r\nHost: x\r\nAuthorization: {ADMIN}\r\nContent-Type: application/json\r\nContent-Length: 1100000\r\n\r\n")).starts_with("HTTP/1.1 413 "));
    site.send("POST", "/api/v1/dags/nothing/dagRuns", &json!({})).is(404);
    assert_eq!(site.get(RUNS).json()["total_entries"], 2);
}

#[test]
fn case_99_a_paused_dag_queues_and_says_so() {
    let site = Site::start();
    let run = site.send("POST", "/api/v1/dags/quiet/dagRuns", &json!({})).is(200).json();
    assert_eq!(run["state"], "queued");
    assert!(run["notice"].as_str().unwrap().contains("paused"), "{run}");
}

#[test]
fn instances_of_a_run() {
    let site = Site::start();
    let all = site.get(&format!("{RUNS}/{FAILED_RUN}/taskInstances")).is(200).json();
    assert_eq!(all["total_entries"], 3);
    let load = &all["task_instances"][1];
    assert_eq!((load["task_id"].as_str(), load["state"].as_str()), (Some("load"), Some("failed")));
    assert_eq!((&load["try_number"], &load["max_tries"], &load["map_index"]), (&json!(2), &json!(1), &json!(-1)));
    assert_eq!(load["duration"], json!(30.0));
    assert_eq!(all["task_instances"][2]["state"], "upstream_failed");
    let failed = site.get(&format!("{RUNS}/{FAILED_RUN}/taskInstances?state=failed")).json();
    assert_eq!(failed["total_entries"], 1);
    let waiting = site.get(&format!("{RUNS}/{RUNNING_RUN}/taskInstances/notify")).is(200).json();
    assert_eq!(waiting["state"], json!(null));
    let one = site.get(&format!("{RUNS}/{FAILED_RUN}/taskInstances/load")).is(200).json();
    assert_eq!(one["rendered_fields"]["s3_bucket"], "warehouse-landing");
    assert_eq!(site.get(&format!("{RUNS}/{FAILED_RUN}/taskInstances/x")).is(404).json()["code"], "task_not_found");
    assert_eq!(site.get(&format!("{RUNS}/x/taskInstances/load")).is(404).json()["code"], "run_not_found");
    site.get(&format!("{RUNS}/x/taskInstances")).is(404);
}

#[test]
fn runs_and_dags_are_deleted_once_nothing_needs_them() {
    let site = Site::start();
    let run = |id: &str| format!("/api/v1/dags/copy_orders/dagRuns/{id}");
    let refused = site.send("DELETE", &run(RUNNING_RUN), &Value::Null).is(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("mark it failed first"), "{refused}");
    site.send_as(VIEWER, "DELETE", &run(FAILED_RUN), &Value::Null).is(403);
    let log = site.plant.logs.path(&TryId {
        dag_id: "copy_orders".to_owned(),
        run_id: FAILED_RUN.to_owned(),
        task_id: "load".to_owned(),
        map_index: -1,
        try_number: 1,
    });
    assert!(log.exists());
    site.send("DELETE", &run(FAILED_RUN), &Value::Null).is(204);
    site.get(&run(FAILED_RUN)).is(404);
    assert!(!log.exists(), "its logs went too");
    assert!(site.audit().iter().any(|row| row.action == "run_deleted" && row.actor == "rest:admin"));
    site.send("DELETE", &run(FAILED_RUN), &Value::Null).is(404);

    let refused = site.send("DELETE", "/api/v1/dags/quiet", &Value::Null).is(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("would bring it back"), "{refused}");
    let present = [DagId::new_unchecked("copy_orders")];
    site.runtime.block_on(site.plant.store.mark_stale(&present, &[], now())).unwrap();
    site.send_as(VIEWER, "DELETE", "/api/v1/dags/quiet", &Value::Null).is(403);
    site.send("DELETE", "/api/v1/dags/quiet", &Value::Null).is(204);
    site.get("/api/v1/dags/quiet").is(404);
    site.send("DELETE", "/api/v1/dags/quiet", &Value::Null).is(404);
}

#[test]
fn task_instances_of_every_run_are_browsed() {
    let site = Site::start();
    let list = |path: &str| site.get(&format!("/api/v1/dags/{path}")).is(200).json();
    let all = list("~/dagRuns/~/taskInstances?limit=2");
    assert_eq!(all["task_instances"].as_array().unwrap().len(), 2);
    assert_eq!(all["total_entries"], 6);
    assert_eq!(all["task_instances"][0]["dag_run_id"], RUNNING_RUN, "the newest first");
    let failed = list("copy_orders/dagRuns/~/taskInstances?state=failed");
    assert_eq!(failed["total_entries"], 1);
    assert_eq!(failed["task_instances"][0]["task_id"], "load");
    assert_eq!(list("~/dagRuns/~/taskInstances?task_id=notify&pool=default_pool&offset=1")["total_entries"], 2);
    assert_eq!(list("quiet/dagRuns/~/taskInstances")["total_entries"], 0);
    let one = list(&format!("copy_orders/dagRuns/{FAILED_RUN}/taskInstances?task_id=load"));
    assert_eq!(one["total_entries"], 1);
    for (path, status) in [
        ("nothing/dagRuns/~/taskInstances", 404),
        ("~/dagRuns/~/taskInstances?state=tired", 422),
        ("~/dagRuns/~/taskInstances?state=failed&state=success", 200),
        ("~/dagRuns/~/taskInstances?order_by=tired", 422),
    ] {
        site.get(&format!("/api/v1/dags/{path}")).is(status);
    }
}

#[test]
fn many_tasks_are_marked_in_one_request() {
    let site = Site::start();
    let path = format!("/api/v1/dags/copy_orders/dagRuns/{FAILED_RUN}/taskInstances");
    let entities = json!([{"task_id": "load", "new_state": "success"}, {"task_id": "lode", "new_state": "success"},
        {"task_id": "notify", "new_state": "tired"}]);
    let answer = site.send("PATCH", &path, &json!({"actions": [{"action": "update", "entities": entities}]}));
    let answer = answer.is(200).json();
    assert_eq!(answer["update"]["success"], json!(["load"]));
    let errors = answer["update"]["errors"].as_array().unwrap();
    assert_eq!((&errors[0]["status_code"], &errors[1]["status_code"]), (&json!(404), &json!(422)));
    assert_eq!(site.get(&format!("{path}/load")).is(200).json()["state"], "success");
    // Where the address says so, each entity names its own run.
    let all = "/api/v1/dags/~/dagRuns/~/taskInstances";
    let entities = json!([{"dag_id": "copy_orders", "dag_run_id": FAILED_RUN, "task_id": "load", "new_state": "failed"},
        {"dag_id": "copy_orders", "task_id": "load", "new_state": "failed"}]);
    let answer = site.send("PATCH", all, &json!({"actions": [{"action": "update", "entities": entities}]}));
    let answer = answer.is(200).json();
    assert_eq!(answer["update"]["success"], json!(["load"]));
    assert!(answer["update"]["errors"][0]["error"].as_str().unwrap().contains("'dag_run_id'"), "{answer}");
    let delete = json!({"actions": [{"action": "delete", "entities": ["load"]}]});
    site.send("PATCH", &path, &delete).is(422);
    site.send_as(VIEWER, "PATCH", &path, &delete).is(403);
}

#[test]
fn an_asset_is_materialized_by_the_dag_that_makes_it() {
    let site = Site::start();
    let unknown = site.send("POST", "/api/v1/assets/materialize", &json!({"asset": "s3://nowhere"})).is(404).json();
    assert!(unknown["detail"].as_str().unwrap().contains("there is no asset"), "{unknown}");
    let mut maker = dag("maker", "none", "UTC", &[], &[("make", "bash", &[], 0)]);
    maker.tasks[0].outlets = vec![AssetName::new_unchecked("orders")];
    site.runtime.block_on(site.plant.sync(maker.clone(), false, now()));
    let run = site.send("POST", "/api/v1/assets/materialize", &json!({"asset": "orders"})).is(200).json();
    assert_eq!((&run["dag_id"], &run["run_type"]), (&json!("maker"), &json!("manual")));
    let awaits = Some(AssetCondition::Asset(AssetName::new_unchecked("prices")));
    let reader = Dag { assets: awaits, ..dag("reader", "none", "UTC", &[], &[("use", "bash", &[], 0)]) };
    site.runtime.block_on(site.plant.sync(reader, false, now()));
    let unmade = site.send("POST", "/api/v1/assets/prices/materialize", &json!({})).is(404).json();
    assert!(unmade["detail"].as_str().unwrap().contains("no task brings the asset"), "{unmade}");
    let other = Dag { dag_id: DagId::new_unchecked("other"), ..maker };
    site.runtime.block_on(site.plant.sync(other, false, now()));
    let several = site.send("POST", "/api/v1/assets/materialize", &json!({"asset": "orders"})).is(409).json();
    assert!(several["detail"].as_str().unwrap().contains("maker, other"), "{several}");
    site.send_as(VIEWER, "POST", "/api/v1/assets/materialize", &json!({"asset": "orders"})).is(403);
    site.send("POST", "/api/v1/assets/orders/materialize", &json!({})).is(409);
}

#[test]
fn what_waits_for_a_dag_is_listed_and_forgotten() {
    let site = Site::start();
    let lake = "/api/v1/assets/s3%3A%2F%2Flake%2Forders";
    let mut maker = dag("maker", "none", "UTC", &[], &[("make", "bash", &[], 0)]);
    maker.tasks[0].outlets = ["s3://lake/orders", "clicks"].map(AssetName::new_unchecked).to_vec();
    site.runtime.block_on(site.plant.sync(maker, false, now()));
    for (name, assets) in [("both", ["s3://lake/orders", "clicks"].as_slice()), ("one", &["s3://lake/orders"])] {
        let parts = assets.iter().map(|name| AssetCondition::Asset(AssetName::new_unchecked(*name))).collect();
        let reader = Dag {
            assets: Some(AssetCondition::All(parts)),
            ..dag(name, "none", "UTC", &[], &[("use", "bash", &[], 0)])
        };
        site.runtime.block_on(site.plant.sync(reader, false, now()));
    }
    let shown = site.get(lake).is(200).json();
    assert_eq!((&shown["name"], &shown["scheduled_dags"][1]["dag_id"]), (&json!("s3://lake/orders"), &json!("one")));
    site.get("/api/v1/assets/none").is(404);
    assert_eq!(site.get("/api/v1/assets?name_pattern=lake").is(200).json()["total_entries"], 1);
    let run = site
        .send("POST", &format!("{lake}/materialize"), &json!({"dag_run_id": "made", "conf": {"a": 1}}))
        .is(200)
        .json();
    assert_eq!((&run["dag_id"], &run["dag_run_id"], &run["conf"]["a"]), (&json!("maker"), &json!("made"), &json!(1)));

    for asset in ["s3://lake/orders", "s3://lake/orders", "clicks"] {
        site.send("POST", "/api/v1/assets/events", &json!({"asset": asset})).is(201);
    }
    let waiting =
        |path: &str| site.get(&format!("{path}/queuedEvents")).is(200).json()["total_entries"].as_u64().unwrap();
    let of_both = "/api/v1/dags/both/assets";
    let counts =
        || (waiting(of_both), waiting("/api/v1/dags/one/assets"), waiting(lake), waiting("/api/v1/assets/clicks"));
    assert_eq!(counts(), (3, 2, 4, 1));
    let first = &site.get(&format!("{of_both}/clicks/queuedEvents")).is(200).json()["queued_events"][0];
    assert_eq!((&first["dag_id"], &first["asset"]), (&json!("both"), &json!("clicks")));
    let forget = |path: &str| site.send("DELETE", &format!("{path}/queuedEvents"), &json!({})).is(204);
    forget(&format!("{of_both}/s3%3A%2F%2Flake%2Forders"));
    assert_eq!(counts(), (1, 2, 2, 1));
    forget("/api/v1/assets/clicks");
    assert_eq!(counts(), (0, 2, 2, 0));
    forget("/api/v1/dags/one/assets");
    assert_eq!(counts(), (0, 0, 0, 0));
    let audit = site.audit();
    let forgotten = audit.iter().filter(|row| row.action == "asset_events_forgotten");
    assert_eq!(forgotten.map(|row| row.dag_id.as_deref().unwrap()).collect::<Vec<_>>(), ["one", "both", "both"]);
    site.send_as(VIEWER, "DELETE", "/api/v1/dags/one/assets/queuedEvents", &Value::Null).is(403);
    site.send("DELETE", "/api/v1/assets/none/queuedEvents", &json!({})).is(404);
}

/// As Airflow's clients know them: by numbers.
#[test]
fn assets_and_their_events_have_numbers() {
    let site = Site::start();
    let mut maker = dag("maker", "none", "UTC", &[], &[("make", "bash", &[], 0)]);
    maker.tasks[0].outlets = ["orders", "77"].map(AssetName::new_unchecked).to_vec();
    site.runtime.block_on(site.plant.sync(maker, false, now()));
    let id = site.get("/api/v1/assets/orders").is(200).json()["id"].as_i64().unwrap();
    assert_eq!(site.get(&format!("/api/v1/assets/{id}")).is(200).json()["name"], "orders");
    // One whose name is a number is not taken for the one that has it.
    site.get("/api/v1/assets/77").is(404);
    assert_eq!(
        site.get("/api/v1/assets?dag_ids=maker&dag_ids=quiet&uri_pattern=ORD").is(200).json()["total_entries"],
        1
    );
    assert_eq!(site.get("/api/v1/assets?dag_ids=quiet").is(200).json()["total_entries"], 0);
    let said = json!({"asset_id": id, "extra": {"rows": 5}});
    let event = site.send("POST", "/api/v1/assets/events", &said).is(201).json();
    assert_eq!(
        (&event["asset_id"], &event["name"], &event["extra"]["rows"]),
        (&json!(id), &json!("orders"), &json!(5))
    );
    let listed = site.get(&format!("/api/v1/assets/events?asset_id={id}&order_by=timestamp")).is(200).json();
    assert_eq!((&listed["total_entries"], &listed["asset_events"][0]), (&json!(1), &event));
    for (body, word) in [
        (json!({"asset_id": id, "asset": "orders"}), "one of them"),
        (json!({"extra": {}}), "one of them"),
        (json!({"asset_id": id, "extra": {"password": "hunter2"}}), "no secrets"),
        (json!({"asset_id": id, "extra": {"text": "x".repeat(3_000)}}), "2000 bytes"),
    ] {
        let refused = site.send("POST", "/api/v1/assets/events", &body).is(422).json();
        assert!(refused["detail"].as_str().unwrap().contains(word), "{refused}");
    }
    site.send("POST", "/api/v1/assets/events", &json!({"asset_id": 999_999})).is(404);
    assert_eq!(site.get("/api/v1/assets/events").is(200).json()["total_entries"], 1);
    let once = [("authorization", ADMIN), ("content-type", "application/json"), ("idempotency-key", "k1")];
    let say = |rows: u32| {
        let body = json!({"asset_id": id, "extra": {"rows": rows}}).to_string();
        site.call("POST", "/api/v1/assets/events", &once, Some(&body))
    };
    assert_eq!(say(1).is(201).json()["id"], say(1).is(201).json()["id"]);
    say(2).is(422);
    assert_eq!(site.get("/api/v1/assets/events").is(200).json()["total_entries"], 2);
    site.send("POST", &format!("/api/v1/assets/{}/materialize", id + 99), &json!({})).is(404);
    let once = [("authorization", ADMIN), ("content-type", "application/json"), ("idempotency-key", "k2")];
    let make = || {
        let body = json!({"asset_id": id}).to_string();
        site.call("POST", "/api/v1/assets/materialize", &once, Some(&body)).is(200).json()
    };
    assert_eq!(make()["dag_id"], "maker");
    assert_eq!(make()["dag_run_id"], make()["dag_run_id"]);
}

#[test]
fn a_file_is_asked_to_be_read_again() {
    let site = Site::start();
    let asked = site.send("PUT", "/api/v1/dags/copy_orders/reparse", &json!({})).is(201).json();
    assert_eq!(asked["relative_fileloc"], "copy_orders.yaml");
    let token = site.get("/api/v1/dags/quiet").is(200).json()["file_token"].as_str().unwrap().to_owned();
    site.send("PUT", &format!("/api/v1/parseDagFile/{token}"), &json!({})).is(201);
    let broken = [json!({"message": "no tasks", "line": 1})];
    site.runtime.block_on(site.plant.store.set_import_error("team/broken.yaml", &broken, now())).unwrap();
    let errors = site.get("/api/v1/importErrors").is(200).json();
    let token = errors["import_errors"][0]["file_token"].as_str().unwrap().replace('/', "%2F");
    site.send("PUT", &format!("/api/v1/parseDagFile/{token}"), &json!({})).is(201);
    site.send("PUT", "/api/v1/parseDagFile/none.yaml", &json!({})).is(404);
    site.send_as(VIEWER, "PUT", "/api/v1/parseDagFile/quiet.yaml", &json!({})).is(403);
    let signals = site.runtime.block_on(site.plant.store.signals()).unwrap();
    assert_eq!(signals.iter().filter(|it| it.kind == SignalKind::FilesAsked).count(), 3, "{signals:?}");
    let files: Vec<Value> =
        site.audit().into_iter().filter(|row| row.action == "reparse").map(|row| row.details["file"].clone()).collect();
    assert_eq!(files, ["team/broken.yaml", "quiet.yaml", "copy_orders.yaml"]);
}

/// Runs a line.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "nothing is run")]
struct Shell {
    /// The line.
    command: String,
}

impl Operator for Shell {
    fn run<'a>(&'a self, _: &'a TaskContext) -> Pin<Box<dyn Future<Output = Result<Outcome, TaskError>> + Send + 'a>> {
        unreachable!("it is only described")
    }
}

const OPERATORS: &[OperatorEntry] = &[
    OperatorEntry::of::<Shell>("shell", "run a line")
        .aliases(&["BashOperator"])
        .parameter_aliases(&[("line", "command")]),
    OperatorEntry::of::<Shell>("again", "run a line again"),
];

#[test]
fn operators_are_listed_with_the_schema_of_their_parameters() {
    let site = Site::start_with(|options| options.operators = OPERATORS);
    let all = site.get("/api/v1/operators?limit=1").is(200).json();
    assert_eq!((&all["total_entries"], &all["operators"][0]["name"]), (&json!(2), &json!("again")));
    let shell = site.get("/api/v1/operators/BashOperator").is(200).json();
    assert_eq!((&shell["name"], &shell["summary"]), (&json!("shell"), &json!("run a line")));
    assert_eq!(shell["parameters"]["properties"]["command"]["description"], "The line.");
    assert_eq!(shell["parameter_aliases"], json!({"line": "command"}));
    site.get("/api/v1/operators/none").is(404);
}

#[test]
fn the_configuration_is_listed_without_secrets() {
    let site = Site::start_with(|options| {
        let entries = [("core.parallelism", "16"), ("core.api_secret", "hunter2hunter2"), ("server.port", "8080")];
        let entries = entries.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        options.configuration = tokio::sync::watch::channel(entries).1;
    });
    let config = site.get("/api/v1/config").is(200).json();
    assert_eq!(config["sections"][0]["options"][1], json!({"key": "api_secret", "value": "***"}));
    let server = site.get("/api/v1/config?section=server").is(200).json();
    assert_eq!(server["sections"], json!([{"name": "server", "options": [{"key": "port", "value": "8080"}]}]));
    let one = site.get("/api/v1/config/section/core/option/parallelism").is(200).json();
    assert_eq!(one["sections"], json!([{"name": "core", "options": [{"key": "parallelism", "value": "16"}]}]));
    site.get("/api/v1/config/section/core/option/none").is(404);
    site.send_as(VIEWER, "GET", "/api/v1/config", &Value::Null).is(403);
}
