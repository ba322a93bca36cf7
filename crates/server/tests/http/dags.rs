//! DAGs over REST.

use millrace_model::change::{Batch, PassedSlots, SlotOutcome};
use millrace_model::ids::DagId;
use millrace_model::schedule::DataInterval;
use millrace_server::{Access, doors};
use serde_json::{Value, json};

use crate::doors::address;
use crate::plant::dag;
use crate::site::{ADMIN, FAILED_RUN, Site, now};

#[test]
fn dags_come_in_an_envelope() {
    let site = Site::start();
    let all = site.get("/api/v1/dags").is(200).json();
    assert_eq!(all["total_entries"], 2);
    let first = &all["dags"][0];
    assert_eq!(first["dag_id"], "copy_orders");
    assert_eq!(first["is_paused"], false);
    assert_eq!(first["tags"], json!([{"name": "nightly", "dag_id": "copy_orders", "dag_display_name": "copy_orders"}]));
    assert_eq!(first["timetable_summary"], "@daily");
    assert_eq!(first["max_active_runs"], 4);
    assert_eq!(first["next_dagrun_run_after"], "2024-03-04T00:00:00.000000Z");
    let ids = |path: &str| -> Vec<String> {
        let answer = site.get(path).is(200).json();
        answer["dags"].as_array().unwrap().iter().map(|dag| dag["dag_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(ids("/api/v1/dags?dag_id_pattern=%25QUI%25"), ["quiet"]);
    assert_eq!(ids("/api/v1/dags?paused=true"), ["quiet"]);
    assert_eq!(ids("/api/v1/dags?tags=nightly"), ["copy_orders"]);
    assert_eq!(ids("/api/v1/dags?limit=1&offset=1"), ["quiet"]);
    assert_eq!(ids("/api/v1/dags?limit=0"), [""; 0]);
    for bad in ["limit=x", "limit=-1", "offset=1.5", "paused=perhaps", "tags_match_mode=some"] {
        let answer = site.get(&format!("/api/v1/dags?{bad}")).is(422).json();
        assert_eq!(answer["code"], "invalid", "{bad}");
    }
}

#[test]
fn case_100_a_page_has_a_hundred_rows_at_the_most() {
    let site = Site::start();
    for number in 0..120 {
        let many = dag(&format!("many_{number:03}"), "none", "UTC", &[], &[("one", "empty", &[], 0)]);
        site.runtime.block_on(site.plant.sync(many, true, now()));
    }
    let answer = site.get("/api/v1/dags?limit=5000").is(200).json();
    assert_eq!(answer["dags"].as_array().unwrap().len(), 100);
    assert_eq!(answer["total_entries"], 122);
}

#[test]
fn what_will_run_and_what_did_not() {
    let site = Site::start();
    let plan = site.get("/api/v1/plan?hours=48").is(200).json();
    let all = plan["plan"].as_array().unwrap();
    assert!(!all.is_empty() && plan["has_more"] == false, "{plan}");
    let of_one = site.get("/api/v1/dags/copy_orders/plan?hours=48").is(200).json();
    let dates = of_one["plan"].as_array().unwrap();
    assert!(!dates.is_empty() && dates.iter().all(|date| date["dag_id"] == "copy_orders"), "{of_one}");
    for key in
        ["logical_date", "data_interval_start", "data_interval_end", "run_after", "outcome", "starts_at", "reason"]
    {
        assert!(dates[0].get(key).is_some(), "{key}: {of_one}");
    }
    assert_eq!(site.get("/api/v1/plan?hours=48&limit=1").is(200).json()["has_more"], all.len() > 1);
    site.get("/api/v1/plan?hours=many").is(422);
    site.get("/api/v1/plan?hours=10000000").is(422);
    site.get("/api/v1/dags/nothing/plan").is(404);

    assert_eq!(site.get("/api/v1/dags/copy_orders/slots").is(200).json(), json!({"slots": [], "total_entries": 0}));
    let at = |text: &str| text.parse().unwrap();
    let slots = PassedSlots {
        dag_id: DagId::new_unchecked("copy_orders"),
        first: at("2024-02-27T00:00:00Z"),
        last: at("2024-02-28T00:00:00Z"),
        data_interval: DataInterval::new(at("2024-02-27T00:00:00Z"), at("2024-02-29T00:00:00Z")),
        count: 2,
        outcome: SlotOutcome::Skipped,
        reason: "calendar <fairs>: 2024-02-28 Fair".to_owned(),
    };
    let batch = Batch { passed_slots: vec![slots], ..Batch::default() };
    site.runtime.block_on(site.plant.store.commit_unled(&batch, now())).unwrap();
    let found = site.get("/api/v1/dags/copy_orders/slots").is(200).json();
    assert_eq!(found["total_entries"], 1);
    let slot = &found["slots"][0];
    assert_eq!((&slot["slots"], &slot["outcome"]), (&json!(2), &json!("skipped")), "{slot}");
    assert_eq!(slot["last_logical_date"], "2024-02-28T00:00:00.000000Z");
    site.get("/api/v1/dags/nothing/slots").is(404);
    let page = site.get("/dags/copy_orders").is(200).body;
    assert!(page.contains("calendar &lt;fairs&gt;: 2024-02-28 Fair") && page.contains("2 dates"), "{page}");
}

#[test]
fn one_dag_or_404() {
    let site = Site::start();
    assert_eq!(site.get("/api/v1/dags/quiet").is(200).json()["is_paused"], true);
    for missing in ["nothing", "..%2F..%2Fetc", "copy_orders'--", "%3Cscript%3E"] {
        let answer = site.get(&format!("/api/v1/dags/{missing}")).is(404).json();
        assert_eq!(answer["code"], "dag_not_found", "{missing}");
        assert_eq!(answer["status"], 404);
    }
    assert_eq!(site.get("/api/v1/whatever").is(404).json()["code"], "not_found");
    assert_eq!(site.send("PUT", "/api/v1/dags/quiet", &json!({})).is(405).json()["code"], "method_not_allowed");
}

#[test]
fn pausing_is_written_down() {
    let site = Site::start();
    let answer = site.send("PATCH", "/api/v1/dags/quiet", &json!({"is_paused": false})).is(200).json();
    assert_eq!(answer["is_paused"], false);
    assert_eq!(site.get("/api/v1/dags/quiet").json()["is_paused"], false);
    let row = &site.audit()[0];
    assert_eq!((row.actor.as_str(), row.dag_id.as_deref()), ("rest:admin", Some("quiet")));
    site.send("PATCH", "/api/v1/dags/quiet", &json!({"is_paused": "yes"})).is(422);
    site.send("PATCH", "/api/v1/dags/quiet", &json!({"colour": "red"})).is(422);
    site.send("PATCH", "/api/v1/dags/nothing", &json!({"is_paused": true})).is(404);
}

#[test]
fn import_errors_say_where() {
    let site = Site::start();
    let diagnostic = json!({"severity": "error", "message": "unknown key", "line": 3, "column": 1});
    site.runtime.block_on(site.plant.store.set_import_error("a/b.yaml", &[diagnostic], now())).unwrap();
    let answer = site.get("/api/v1/importErrors").is(200).json();
    assert_eq!(answer["total_entries"], 1);
    assert_eq!(answer["import_errors"][0]["filename"], "a/b.yaml");
    assert_eq!(answer["import_errors"][0]["stack_trace"], "a/b.yaml:3:1: unknown key");
    let home = site.get("/").is(200).body;
    assert!(home.contains("a/b.yaml:3:1") || home.contains("a&#x2f;b.yaml:3:1"), "{home}");
}

#[test]
fn the_version_is_told() {
    let site = Site::start();
    assert_eq!(site.get("/api/v1/version").is(200).json()["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn dags_are_chosen_by_owner_tags_and_the_state_of_their_newest_run() {
    let site = Site::start();
    site.runtime.block_on(async {
        let mut other = dag("other", "none", "UTC", &["nightly", "money"], &[("only", "empty", &[], 0)]);
        other.owner = Some("ada".to_owned());
        site.plant.sync(other, false, now()).await;
    });
    let ids = |query: &str| {
        let found = site.get(&format!("/api/v1/dags?{query}")).is(200).json();
        let rows = found["dags"].as_array().unwrap();
        assert_eq!(found["total_entries"], rows.len(), "{query}");
        rows.iter().map(|row| row["dag_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("owners=ada"), ["other"]);
    assert_eq!(ids("owners=ada&owners=data"), ["copy_orders", "other", "quiet"]);
    assert_eq!(ids("last_dag_run_state=running"), ["copy_orders"]);
    assert!(ids("last_dag_run_state=failed").is_empty());
    assert_eq!(ids("tags=nightly&tags=money"), ["copy_orders", "other"]);
    assert_eq!(ids("tags=nightly&tags=money&tags_match_mode=all"), ["other"]);
    assert_eq!(ids("order_by=-dag_id"), ["quiet", "other", "copy_orders"]);
    assert_eq!(ids("order_by=-next_dagrun")[0], "copy_orders");
    assert_eq!(ids("order_by=last_run_state"), ["other", "quiet", "copy_orders"]);
    site.get("/api/v1/dags?last_dag_run_state=fine").is(422);
    site.get("/api/v1/dags?tags_match_mode=some").is(422);
}

/// What is not known chooses nothing, and all would be answered for.
#[test]
fn a_filter_that_is_not_known_is_refused() {
    let site = Site::start();
    for (method, path) in [
        ("GET", "/api/v1/dags?owner=ada"),
        ("GET", "/api/v1/dags/~/dagRuns?stat=failed"),
        ("GET", "/api/v1/variables?sort=key"),
        ("PATCH", "/api/v1/dags?tag=nightly"),
    ] {
        let body = (method == "PATCH").then_some("{\"is_paused\": true}");
        let headers = [("authorization", ADMIN), ("content-type", "application/json")];
        let refused = site.call(method, path, &headers, body).is(422);
        assert!(refused.body.contains("there is no parameter"), "{path}: {}", refused.body);
    }
    assert_eq!(site.get("/api/v1/dags/copy_orders").json()["is_paused"], false);
}

/// Also where nothing may stand behind the address: a change that is only to be tried would be made.
#[test]
fn no_address_takes_a_parameter_that_it_does_not_know() {
    let site = Site::start();
    let variable = "/api/v1/variables/region";
    site.send("POST", "/api/v1/variables", &json!({"key": "region", "value": "seoul"})).is(201);
    site.send("DELETE", &format!("{variable}?dry_run=true"), &json!({})).is(422);
    site.get(variable).is(200);
    let mut asked = 0;
    for door in doors().iter().filter(|door| door.path.starts_with("/api/") && door.access != Access::Open) {
        let path = address(door);
        let path = format!("{path}{}bogus=1", if path.contains('?') { "&" } else { "?" });
        let refused = site.send(door.method.as_str(), &path, &json!({})).is(422);
        assert!(refused.body.contains("there is no parameter 'bogus' here"), "{path}: {}", refused.body);
        asked += 1;
    }
    assert!(asked > 120, "{asked}");
}

#[test]
fn a_change_goes_as_far_as_its_mask() {
    let site = Site::start();
    let change = |path: &str, body: Value| site.send("PATCH", path, &body);
    site.send("POST", "/api/v1/variables", &json!({"key": "region", "value": "seoul", "description": "old"})).is(201);
    let body = json!({"key": "region", "value": "busan", "description": "new"});
    let region = "/api/v1/variables/region";
    let changed = change(&format!("{region}?update_mask=description"), body.clone()).is(200).json();
    assert_eq!((&changed["value"], &changed["description"]), (&json!("seoul"), &json!("new")));
    let changed = change(&format!("{region}?update_mask=value&update_mask=key"), body).is(200).json();
    assert_eq!(changed["value"], "busan");

    let whole = json!({"connection_id": "cx", "conn_type": "postgres", "host": "one", "login": "ada", "port": 5432,
        "password": "hidden", "extra": "{\"a\": 1}"});
    site.send("POST", "/api/v1/connections", &whole).is(201);
    let body = json!({"connection_id": "cx", "conn_type": "mysql", "host": "two", "login": null, "password": null,
        "extra": null, "port": null});
    let changed = change("/api/v1/connections/cx?update_mask=host", body).is(200).json();
    let of = |name: &str| changed[name].clone();
    assert_eq!((of("host"), of("conn_type"), of("login")), (json!("two"), json!("postgres"), json!("ada")));
    assert_eq!((of("password"), of("port"), of("extra")), (json!("***"), json!(5432), json!("{\"a\":1}")));

    let pool = "/api/v1/pools/default_pool";
    let slots = site.get(pool).json()["slots"].clone();
    let changed = change(&format!("{pool}?update_mask=description"), json!({"slots": 7, "description": "d"}));
    assert_eq!((&changed.json()["slots"], &changed.json()["description"]), (&slots, &json!("d")));
    let run = format!("/api/v1/dags/copy_orders/dagRuns/{FAILED_RUN}");
    let changed = change(&format!("{run}?update_mask=note"), json!({"state": "success", "note": "n"})).is(200).json();
    assert_eq!((&changed["state"], &changed["note"]), (&json!("failed"), &json!("n")));
    change("/api/v1/dags/copy_orders?update_mask=is_paused", json!({"is_paused": true})).is(200);
    for (path, body) in [
        (region, json!({"value": "x"})),
        ("/api/v1/connections/cx", json!({"host": "x"})),
        (pool, json!({"slots": 7})),
        (run.as_str(), json!({"note": "x"})),
        ("/api/v1/dags/copy_orders", json!({"is_paused": false})),
        ("/api/v1/dags?dag_id_pattern=~", json!({"is_paused": false})),
    ] {
        let mask = if path.contains('?') { "&update_mask=colour" } else { "?update_mask=colour" };
        let refused = change(&format!("{path}{mask}"), body).is(422).json();
        assert!(refused["detail"].as_str().unwrap().contains("'update_mask' must be one of"), "{refused}");
    }
    assert_eq!(site.get("/api/v1/dags/copy_orders").json()["is_paused"], true);
}

#[test]
fn changes_of_many_go_as_far_as_their_masks() {
    let site = Site::start();
    let update = |path: &str, mask: &[&str], entity: Value| {
        let action = json!({"action": "update", "entities": [entity], "update_mask": mask});
        site.send("PATCH", path, &json!({"actions": [action]}))
    };
    let done = |path: &str, mask: &[&str], entity: Value| {
        let answer = update(path, mask, entity).is(200).json();
        assert_eq!(answer["update"]["success"].as_array().unwrap().len(), 1, "{answer}");
    };
    let variables = "/api/v1/variables";
    site.send("POST", variables, &json!({"key": "region", "value": "seoul", "description": "old"})).is(201);
    let one = || site.get("/api/v1/variables/region").json();
    done(variables, &["description"], json!({"key": "region", "value": "busan", "description": "new"}));
    assert_eq!((&one()["value"], &one()["description"]), (&json!("seoul"), &json!("new")));
    done(variables, &["value"], json!({"key": "region", "value": "busan", "description": "newer"}));
    assert_eq!((&one()["value"], &one()["description"]), (&json!("busan"), &json!("new")));

    let connections = "/api/v1/connections";
    let whole =
        json!({"connection_id": "cx", "conn_type": "postgres", "host": "one", "login": "ada", "password": "hidden"});
    site.send("POST", connections, &whole).is(201);
    done(connections, &["host"], json!({"connection_id": "cx", "conn_type": "mysql", "host": "two", "password": null}));
    let one = site.get("/api/v1/connections/cx").json();
    assert_eq!((&one["host"], &one["conn_type"], &one["login"]), (&json!("two"), &json!("postgres"), &json!("ada")));
    assert_eq!(one["password"], "***", "it was kept");

    let pools = "/api/v1/pools";
    site.send("POST", pools, &json!({"name": "etl", "slots": 3, "description": "old", "include_deferred": true}))
        .is(201);
    done(pools, &["slots"], json!({"name": "etl", "slots": 4, "description": "new"}));
    let one = site.get("/api/v1/pools/etl").json();
    assert_eq!(
        (&one["slots"], &one["description"], &one["include_deferred"]),
        (&json!(4), &json!("old"), &json!(true))
    );

    let runs = "/api/v1/dags/copy_orders/dagRuns";
    done(runs, &["note"], json!({"dag_run_id": FAILED_RUN, "state": "success", "note": "n"}));
    let one = site.get(&format!("{runs}/{FAILED_RUN}")).json();
    assert_eq!((&one["state"], &one["note"]), (&json!("failed"), &json!("n")));

    for (path, entity) in [
        (variables, json!({"key": "region", "value": "x"})),
        (connections, whole),
        (pools, json!({"name": "etl", "slots": 1})),
        (runs, json!({"dag_run_id": FAILED_RUN, "note": "x"})),
    ] {
        let refused = update(path, &["colour"], entity).is(422).json();
        assert!(refused["detail"].as_str().unwrap().contains("'update_mask' must be one of"), "{refused}");
    }
    let instances = format!("{runs}/{FAILED_RUN}/taskInstances");
    update(&instances, &["new_state"], json!({"task_id": "load", "new_state": "success"})).is(422);
}
