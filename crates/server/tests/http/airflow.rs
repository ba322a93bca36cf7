//! What Airflow's own client must find in an answer, or else it reads none of it: the members that its models (3.3) call
//! required, with their types.

use millrace_model::asset::{AssetCondition, AssetName};
use millrace_model::change::{Batch, NewRun};
use millrace_model::dag::Dag;
use millrace_model::ids::{DagId, RunId};
use millrace_model::state::{RunState, RunType};
use millrace_store::NewAssetEvent;
use serde_json::{Value, json};

use crate::plant::dag;
use crate::site::{FAILED_RUN, RUNNING_RUN, Site, now};

/// Address, where the object stands in the answer, and its members by type.
fn cases() -> Vec<(String, &'static str, &'static str)> {
    let run = format!("/api/v1/dags/copy_orders/dagRuns/{}", FAILED_RUN.replace('+', "%2B"));
    let dag = "text dag_id dag_display_name file_token fileloc; flag has_import_errors has_task_concurrency_limits \
               is_backfillable is_paused is_stale timetable_partitioned timetable_periodic; \
               number max_active_tasks max_consecutive_failed_dag_runs; list owners tags";
    let instance = "text dag_id dag_display_name dag_run_id executor_config pool task_id task_display_name; uuid id; \
                    number map_index max_tries pool_slots try_number; date run_after";
    let xcom =
        "text dag_id dag_display_name key run_id task_id task_display_name; number map_index; date run_after timestamp";
    vec![
        ("/api/v1/dags".to_owned(), "/dags/0", dag),
        ("/api/v1/dags".to_owned(), "/dags/0/tags/0", "text name dag_id dag_display_name"),
        ("/api/v1/dags/copy_orders/details".to_owned(), "", dag),
        (
            "/api/v1/dags/copy_orders/details".to_owned(),
            "",
            "number concurrency; flag catchup render_template_as_native_obj",
        ),
        (run.clone(), "", "text dag_run_id dag_id dag_display_name run_type state; list dag_versions; date run_after"),
        (format!("{run}/taskInstances"), "/task_instances/0", instance),
        (format!("{run}/taskInstances/load"), "", instance),
        (
            format!("{run}/taskInstances/load/tries"),
            "/task_instances/0",
            "text dag_id dag_display_name dag_run_id executor_config pool task_id task_display_name; \
             number map_index max_tries pool_slots try_number",
        ),
        (
            "/api/v1/dags/copy_orders/tasks".to_owned(),
            "/tasks/0",
            "flag depends_on_past wait_for_downstream; list extra_links; number retry_exponential_backoff",
        ),
        (
            "/api/v1/dags/copy_orders/tasks".to_owned(),
            "/tasks/0/retry_delay",
            "text __type; number days seconds microseconds",
        ),
        ("/api/v1/variables".to_owned(), "/variables/0", "text key value; flag is_encrypted"),
        ("/api/v1/dags/~/dagRuns/~/taskInstances/~/xcomEntries".to_owned(), "/xcom_entries/0", xcom),
        (
            format!(
                "/api/v1/dags/copy_orders/dagRuns/{}/taskInstances/load/xcomEntries/return_value",
                RUNNING_RUN.replace('+', "%2B")
            ),
            "",
            xcom,
        ),
        ("/api/v1/dagStats".to_owned(), "/dags/0", "text dag_id dag_display_name; list stats"),
        ("/api/v1/dagSources/copy_orders".to_owned(), "", "text dag_id dag_display_name"),
        (
            "/api/v1/dags/copy_orders/dagVersions".to_owned(),
            "/dag_versions/0",
            "uuid id; text dag_id dag_display_name; number version_number; date created_at",
        ),
        ("/api/v1/monitor/health".to_owned(), "", "object metadatabase scheduler triggerer"),
        (
            "/api/v1/pools".to_owned(),
            "/pools/0",
            "text name; flag include_deferred; number deferred_slots occupied_slots open_slots queued_slots running_slots \
             scheduled_slots slots",
        ),
    ]
}

fn cases_of_assets() -> Vec<(String, &'static str, &'static str)> {
    vec![
        (
            "/api/v1/assets".to_owned(),
            "/assets/0",
            "text name uri group; number id; date created_at updated_at; \
             list producing_tasks scheduled_dags consuming_tasks aliases watchers; object extra",
        ),
        ("/api/v1/assets".to_owned(), "/assets/0/producing_tasks/0", "text dag_id task_id; date created_at updated_at"),
        ("/api/v1/assets".to_owned(), "/assets/0/scheduled_dags/0", "text dag_id; date created_at updated_at"),
        ("/api/v1/assets".to_owned(), "/assets/0/last_asset_event", "number id; date timestamp"),
        ("/api/v1/assets/events".to_owned(), "", "number total_entries"),
        (
            "/api/v1/assets/events".to_owned(),
            "/asset_events/0",
            "text name uri group; number id asset_id source_map_index; date timestamp; list created_dagruns; object extra",
        ),
        (
            "/api/v1/assets/events".to_owned(),
            "/asset_events/0/created_dagruns/0",
            "text dag_id run_id state; date start_date logical_date; flag triggering",
        ),
        (
            "/api/v1/assets/orders/queuedEvents".to_owned(),
            "/queued_events/0",
            "text dag_id dag_display_name; number asset_id; date created_at",
        ),
    ]
}

fn is(kind: &str, value: &Value) -> bool {
    let text = value.as_str();
    match kind {
        "text" => text.is_some(),
        "number" => value.is_number(),
        "flag" => value.is_boolean(),
        "list" => value.is_array(),
        "object" => value.is_object(),
        "date" => text.is_some_and(|text| text.parse::<chrono::DateTime<chrono::Utc>>().is_ok()),
        "uuid" => text.is_some_and(|text| {
            let parts: Vec<usize> = text.split('-').map(str::len).collect();
            parts == [8, 4, 4, 4, 12] && text.chars().all(|letter| letter == '-' || letter.is_ascii_hexdigit())
        }),
        other => panic!("no kind {other}"),
    }
}

fn holds(object: &Value, members: &str, place: &str) {
    for group in members.split(';') {
        let mut words = group.split_whitespace();
        let kind = words.next().unwrap();
        for name in words {
            assert!(is(kind, &object[name]), "{place}: {name} is no {kind}: {object}");
        }
    }
}

/// One task makes an asset, two DAGs wait for it, and one of them has run for it.
async fn lead_by_assets(site: &Site) {
    let orders = AssetName::new_unchecked("orders");
    let mut maker = dag("maker", "none", "UTC", &[], &[("make", "bash", &[], 0)]);
    maker.tasks[0].outlets = vec![orders.clone()];
    site.plant.sync(maker, false, now()).await;
    let reader = |name: &str| Dag {
        assets: Some(AssetCondition::Asset(orders.clone())),
        ..dag(name, "none", "UTC", &[], &[("use", "bash", &[], 0)])
    };
    let version = site.plant.sync(reader("reads"), false, now()).await;
    site.plant.sync(reader("waits"), false, now()).await;
    let event = site.plant.store.record_asset_event(NewAssetEvent::of("orders"), "ada", now()).await.unwrap();
    let run = NewRun {
        dag_id: DagId::new_unchecked("reads"),
        run_id: RunId::new_unchecked("asset_triggered__1"),
        run_type: RunType::AssetTriggered,
        state: RunState::Running,
        logical_date: now(),
        data_interval: event.data_interval,
        run_after: now(),
        conf: serde_json::Map::new(),
        version_key: version.key,
        asset_events: vec![event],
        backfill_key: None,
        triggered_by: "asset".to_owned(),
        tasks: version.new_instances(),
    };
    site.plant.store.commit_unled(&Batch { new_runs: vec![run], ..Batch::default() }, now()).await.unwrap();
}

#[test]
fn answers_have_what_airflows_client_must_find() {
    let site = Site::start();
    site.send("POST", "/api/v1/variables", &json!({"key": "region", "value": "seoul"})).is(201);
    site.runtime.block_on(async {
        let running = site.plant.store.instances(site.running).await.unwrap();
        let load = running.iter().find(|it| it.task_id.as_str() == "load").unwrap();
        site.plant.leave(load.key, json!(1), now()).await;
        lead_by_assets(&site).await;
    });
    for (path, place, members) in cases().into_iter().chain(cases_of_assets()) {
        let answer = site.get(&path).is(200).json();
        let object = answer.pointer(place).unwrap_or_else(|| panic!("{path}: nothing at {place}: {answer}"));
        holds(object, members, &path);
    }
    // What was or would be cleared and marked is read as task instances.
    let instance = cases().into_iter().find(|(_, place, _)| *place == "/task_instances/0").unwrap().2;
    let clear = json!({"dag_run_id": FAILED_RUN});
    let cleared = site.send("POST", "/api/v1/dags/copy_orders/clearTaskInstances", &clear).is(200).json();
    assert_eq!(
        (&cleared["task_instances"][0]["state"], &cleared["task_instances"][0]["try_number"]),
        (&json!("failed"), &json!(2))
    );
    holds(&cleared["task_instances"][0], instance, "clear");
}

#[test]
fn a_run_says_in_airflows_words_what_began_it_and_who() {
    let site = Site::start();
    let began = |run: &Value| (run["triggered_by"].clone(), run["triggering_user_name"].clone());
    let scheduled = site.get(&format!("/api/v1/dags/copy_orders/dagRuns/{}", FAILED_RUN.replace('+', "%2B"))).json();
    assert_eq!(began(&scheduled), (json!("timetable"), Value::Null));
    let by_rest = site.send("POST", "/api/v1/dags/copy_orders/dagRuns", &json!({"dag_run_id": "r"})).is(200).json();
    assert_eq!(began(&by_rest), (json!("rest_api"), json!("admin")));
}

/// Bodies as its client sends them, with members that mean nothing beside the others.
#[test]
fn bodies_are_taken_as_airflows_client_sends_them() {
    let site = Site::start();
    let run = format!("/api/v1/dags/copy_orders/dagRuns/{FAILED_RUN}");
    let note = json!({"note": "seen", "include_upstream": false, "include_downstream": false, "include_future": false,
        "include_past": false});
    let load = format!("{run}/taskInstances/load");
    let touched = site.send("PATCH", &format!("{load}/dry_run"), &note).is(200).json();
    assert_eq!(
        (&touched["total_entries"], &site.get(&run.replace('+', "%2B")).json()["note"]),
        (&json!(0), &Value::Null)
    );
    site.send("PATCH", &load, &note).is(200);
    assert_eq!(site.get(&run.replace('+', "%2B")).json()["note"], "seen");
    assert_eq!(site.get(&load.replace('+', "%2B")).json()["state"], "failed");

    let clear = |only_new: bool| json!({"dry_run": true, "only_failed": true, "only_new": only_new, "run_on_latest_version": false});
    site.send("POST", &format!("{run}/clear"), &clear(false)).is(200);
    let refused = site.send("POST", &format!("{run}/clear"), &clear(true)).is(422).json();
    assert!(refused["detail"].as_str().unwrap().contains("/repin"), "{refused}");

    let object = json!({"key": "limits", "value": {"rows": 5}});
    let made = site.send("POST", "/api/v1/variables", &object).is(201).json();
    assert_eq!(made["value"], "{\"rows\":5}");
    let changed = site.send("PATCH", "/api/v1/variables/limits", &json!({"value": [1, 2]})).is(200).json();
    assert_eq!(changed["value"], "[1,2]");
    site.send("POST", "/api/v1/variables", &json!({"key": "nothing", "value": null})).is(422);

    let bulk = |missing: &str| {
        let actions = json!([{"action": "delete", "entities": ["limits", "gone"], "action_on_non_existence": missing}]);
        site.send("PATCH", "/api/v1/variables", &json!({"actions": actions})).is(200).json()["delete"].clone()
    };
    assert_eq!(bulk("skip"), json!({"success": ["limits"], "errors": []}));
    assert_eq!(bulk("fail")["errors"].as_array().unwrap().len(), 2);

    let dates = |behaviour: &str, newest: Value| {
        let body = json!({"dag_id": "copy_orders", "from_date": "2024-01-03", "to_date": "2024-01-05",
            "reprocess_behavior": behaviour, "run_on_latest_version": newest});
        site.send("POST", "/api/v1/backfills/dry_run", &body)
    };
    dates("none", json!(true)).is(200);
    dates("failed", Value::Null).is(200);
    assert!(dates("failed", json!(true)).is(422).body.contains("clear them with 'run_on_latest_version'"));
    let wait = format!("{}/wait?interval=5&timeout=0", run.replace('+', "%2B"));
    assert_eq!(site.get(&wait).is(200).json()["state"], "failed");
}
