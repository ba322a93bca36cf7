//! What a list can be asked for: each filter that it declares is obeyed, or the value is refused.

use std::collections::BTreeSet;

use millrace_model::alert::{Alert, AlertKind};
use millrace_model::asset::AssetName;
use millrace_model::change::Batch;
use millrace_model::ids::DagId;
use millrace_model::state::TaskState;
use millrace_store::NewJob;
use serde_json::{Value, json};

use crate::doors::address;
use crate::plant::dag;
use crate::site::{FAILED_RUN, RUNNING_RUN, Site, now};

/// None: the answer is no list.
fn rows(answer: &Value) -> Option<usize> {
    answer.as_object()?.values().find_map(Value::as_array).map(Vec::len)
}

/// A row or more in the lists that have none.
fn fill(site: &Site) {
    site.send("POST", "/api/v1/variables", &json!({"key": "region", "value": "seoul"})).is(201);
    site.send("POST", "/api/v1/connections", &json!({"connection_id": "x", "conn_type": "sqlite"})).is(201);
    let backfill = json!({"dag_id": "copy_orders", "from_date": "2024-01-03", "to_date": "2024-01-04"});
    site.send("POST", "/api/v1/backfills", &backfill).is(200);
    site.token_of("ada", "viewer");
    site.send("POST", "/api/v1/tokens", &json!({"label": "laptop"})).is(201);
    site.send("POST", "/api/v1/grants", &json!({"username": "ada", "tag": "nightly", "role": "operator"})).is(201);
    site.send("POST", "/api/v1/webhooks", &json!({"name": "hook", "dag_id": "copy_orders"})).is(201);
    let alert = Alert {
        dag_id: DagId::new_unchecked("copy_orders"),
        run: site.running,
        kind: AlertKind::Deadline,
        message: "late".to_owned(),
        at: now(),
    };
    let mut poolless = dag("poolless", "none", "UTC", &[], &[("a", "empty", &[], 0)]);
    "nowhere".clone_into(&mut poolless.tasks[0].pool);
    poolless.tasks[0].outlets = vec![AssetName::new_unchecked("orders")];
    let job = NewJob { kind: "scheduler".to_owned(), hostname: "h".to_owned(), pid: 1 };
    site.runtime.block_on(async {
        let store = &site.plant.store;
        store.commit_unled(&Batch { alerts: vec![alert], ..Batch::default() }, now()).await.unwrap();
        site.plant.sync(poolless, true, now()).await;
        store.register_job(&job, now()).await.unwrap();
        let running = store.instances(site.running).await.unwrap();
        let load = running.iter().find(|it| it.state == TaskState::Running).unwrap();
        store.set_import_error("a/b.yaml", &[json!({"message": "unknown key"})], now()).await.unwrap();
        site.plant.leave(load.key, json!("left"), now()).await;
    });
    site.send("POST", "/api/v1/assets/events", &json!({"asset": "orders"})).is(201);
}

/// A filter that is passed over chooses everything, and whoever asked takes that for what was chosen.
#[test]
fn every_filter_of_every_list_narrows_it_or_is_refused() {
    let site = Site::start();
    fill(&site);
    let document = site.get("/api/v1/openapi.json").json();
    let run = RUNNING_RUN.replace(':', "%3A").replace('+', "%2B");
    let (mut ignored, mut empty, mut looked_at) = (Vec::new(), BTreeSet::new(), 0);
    for door in millrace_server::doors().iter().filter(|door| door.method == "GET" && door.path.starts_with("/api/")) {
        let Some(parameters) = document["paths"][&door.path]["get"]["parameters"].as_array() else { continue };
        // What goes on, or says how much and from where on; and what leaves out nothing where there is nothing of that name.
        let others = ["limit", "offset", "order_by", "token", "timeout", "interval", "excluded_events"];
        let names = parameters.iter().filter(|one| one["in"] == "query").filter_map(|one| one["name"].as_str());
        let names: Vec<&str> = names.filter(|name| !others.contains(name)).collect();
        if names.is_empty() || door.path.ends_with("/events") && !door.path.contains("assets") {
            continue;
        }
        let here = address(door);
        let everywhere = here.replace(&run, "~").replace("/load/", "/~/").replace("/copy_orders/", "/~/");
        for here in BTreeSet::from([here, everywhere]) {
            let answer = site.get(&here);
            let Some(whole) = (answer.status == 200).then(|| rows(&answer.json())).flatten() else { continue };
            for name in &names {
                let ends = |all: &[&str]| all.iter().any(|end| name.ends_with(end));
                let far = match () {
                    () if ends(&["_gte", "_gt", "since", "after"]) => "2099-01-01",
                    () if ends(&["_lte", "_lt", "until", "before"]) => "1990-01-01",
                    () => "zzz",
                };
                for value in BTreeSet::from(["zzz", far]) {
                    let sign = if here.contains('?') { '&' } else { '?' };
                    let path = format!("{here}{sign}{name}={value}");
                    let answer = site.get(&path);
                    looked_at += 1;
                    match answer.status {
                        422 | 404 => {}
                        200 if whole == 0 => drop(empty.insert(door.path.clone())),
                        200 if rows(&answer.json()).unwrap() < whole => {}
                        _ => ignored.push(format!("{} {path}: {}", answer.status, answer.body)),
                    }
                }
            }
        }
    }
    assert!(ignored.is_empty(), "{}", ignored.join("\n"));
    assert!(looked_at > 200, "{looked_at}");
    // Of a mapped task they are chosen as those of a run; what is sent is chosen where it is sent.
    empty.retain(|path| !path.ends_with("/listMapped") && !path.ends_with("/notifications"));
    assert!(empty.is_empty(), "there is nothing to choose from: {empty:?}");
}

/// Each parameter of a query that the document declares for this door: its name, and whether it is a list.
fn declared(document: &Value, door: &millrace_server::Door) -> Vec<(String, bool)> {
    let parameters = &document["paths"][&door.path][door.method.as_str().to_lowercase()]["parameters"];
    let of_query = parameters.as_array().into_iter().flatten().filter(|one| one["in"] == "query");
    of_query.map(|one| (one["name"].as_str().unwrap().to_owned(), one["schema"]["type"] == "array")).collect()
}

/// The second would be left out of what is chosen, without a word.
#[test]
fn a_second_value_is_taken_where_the_document_says_so_and_refused_elsewhere() {
    let site = Site::start();
    let document = site.get("/api/v1/openapi.json").json();
    let (mut ones, mut lists) = (0, 0);
    for door in millrace_server::doors().iter().filter(|door| door.path.starts_with("/api/")) {
        for (name, is_list) in declared(&document, door) {
            let here = address(door);
            let sign = if here.contains('?') { '&' } else { '?' };
            let path = format!("{here}{sign}{name}=1&{name}=2");
            let is_refused = |body: &str| body.contains(&format!("'{name}' is here more than once"));
            if !is_list {
                let answer = site.send(door.method.as_str(), &path, &json!({}));
                assert!(answer.status == 422 && is_refused(&answer.body), "{path}: {}", answer.body);
                ones += 1;
            } else if door.method == "GET" {
                assert!(!is_refused(&site.get(&path).body), "{path}");
                lists += 1;
            }
        }
    }
    assert!(ones > 150 && lists > 20, "{ones} {lists}");
    let runs = "/api/v1/dags/~/dagRuns";
    let all = |query: &str| site.get(&format!("{runs}?{query}")).is(200).json()["total_entries"].clone();
    assert_eq!((all("state=failed"), all("state=failed&state=running")), (json!(1), json!(2)));
    // No name of the document's; of a page's form it says that nothing was chosen.
    site.get(&format!("{runs}?order_by=")).is(422);
    site.get("/runs?order_by=").is(200);
}

#[test]
fn a_change_of_many_obeys_every_parameter() {
    let site = Site::start();
    let document = site.get("/api/v1/openapi.json").json();
    let body = |path: &str| match path {
        _ if path.contains("/taskInstances/") => json!({"new_state": "success"}),
        _ if path.contains("/dagRuns/") => json!({"note": "x"}),
        _ if path.contains("/dags") => json!({"is_paused": true}),
        _ if path.contains("/pools/") => json!({"slots": 7}),
        _ if path.contains("/variables/") => json!({"value": "x"}),
        _ => json!({"host": "x"}),
    };
    let mut looked_at = 0;
    for door in millrace_server::doors().iter().filter(|door| door.method == "PATCH") {
        for (name, _) in declared(&document, door) {
            let here = address(door);
            let chosen = if here.ends_with("/dags") && name != "dag_id_pattern" { "dag_id_pattern=~&" } else { "" };
            let path = format!("{here}?{chosen}{name}=nonsense");
            let answer = site.send("PATCH", &path, &body(&door.path));
            let is_refused = answer.status == 422 && answer.json()["detail"].to_string().contains(&name);
            let is_chosen_by = answer.status == 200 && answer.json()["total_entries"] == 0;
            assert!(is_refused || is_chosen_by, "{path}: {} {}", answer.status, answer.body);
            looked_at += 1;
        }
    }
    assert!(looked_at > 10, "{looked_at}");

    let mut sums = dag("sums", "none", "UTC", &[], &[("a", "empty", &[], 0)]);
    sums.tags = vec!["finance".to_owned()];
    site.runtime.block_on(site.plant.sync(sums, false, now()));
    let pause = |query: &str, is_paused: bool| {
        let done =
            site.send("PATCH", &format!("/api/v1/dags?{query}"), &json!({"is_paused": is_paused})).is(200).json();
        let names = done["dags"].as_array().unwrap().iter().map(|dag| dag["dag_id"].as_str().unwrap().to_owned());
        names.collect::<Vec<_>>()
    };
    assert_eq!(pause("dag_id_pattern=~&paused=true", true), Vec::<String>::new(), "of the paused ones");
    assert_eq!(pause("tags=nightly&tags=finance&tags=none", true), ["copy_orders", "sums"]);
    assert_eq!(pause("tags=finance&paused=true", false), ["sums"]);
    assert_eq!(pause("dag_id_pattern=~&paused=false", true), ["sums"]);
}

#[test]
fn the_instances_of_one_run_are_chosen_as_those_of_all() {
    let site = Site::start();
    let of = |run: &str, query: &str| {
        let path = format!("/api/v1/dags/copy_orders/dagRuns/{run}/taskInstances{query}").replace('+', "%2B");
        let answer = site.get(&path).is(200).json();
        let names = answer["task_instances"].as_array().unwrap().iter();
        names.map(|row| row["task_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(of(FAILED_RUN, ""), ["extract", "load", "notify"], "as they run");
    assert_eq!(of(FAILED_RUN, "?task_id=extract&task_id=notify"), ["extract", "notify"]);
    assert_eq!(of(FAILED_RUN, "?operator=copy"), ["load"]);
    assert_eq!(of(FAILED_RUN, "?task_display_name_pattern=OA"), ["load"]);
    assert_eq!(of(FAILED_RUN, "?task_display_name_pattern=_"), Vec::<String>::new());
    assert_eq!(of(FAILED_RUN, "?try_number=1&map_index=-1"), ["extract"]);
    assert_eq!(of("~", "?operator=copy"), ["load", "load"]);
}

/// How many have failed is asked with a page of one row.
#[test]
fn what_lists_of_all_runs_hold_in_all_is_counted() {
    let site = Site::start();
    let total = |path: &str| site.get(path).is(200).json()["total_entries"].clone();
    let instances = "/api/v1/dags/~/dagRuns/~/taskInstances";
    assert_eq!(total(&format!("{instances}?limit=1")), 6);
    assert_eq!(total(&format!("{instances}?limit=100")), 6);
    assert_eq!(total(&format!("{instances}?limit=1&offset=3&state=success")), 2);
    let bounded = site.runtime.block_on(async {
        site.plant.store.count_instances(&millrace_store::InstanceFilter::default(), 4).await.unwrap()
    });
    assert_eq!(bounded, 4, "no more are counted than is asked");
}

#[test]
fn airflows_question_whether_a_scheduler_lives_is_answered() {
    let site = Site::start();
    let job = NewJob { kind: "scheduler".to_owned(), hostname: "h".to_owned(), pid: 1 };
    site.runtime.block_on(site.plant.store.register_job(&job, now())).unwrap();
    let theirs = site.get("/api/v1/jobs?job_type=SchedulerJob&is_alive=true").is(200).json();
    assert_eq!((&theirs["total_entries"], &theirs["jobs"][0]["job_type"]), (&json!(1), &json!("scheduler")));
    let refused = site.get("/api/v1/jobs?job_type=TriggererJob").is(422).json();
    assert!(refused["detail"].as_str().unwrap().contains("must be one of scheduler, SchedulerJob"), "{refused}");
}
