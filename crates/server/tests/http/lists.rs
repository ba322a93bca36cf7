//! Lists in an order that is asked for, and parts of lists.

use std::cmp::Ordering;

use millrace_model::alert::{Alert, AlertKind};
use millrace_model::change::{Batch, DagPause};
use millrace_model::ids::DagId;
use serde_json::{Value, json};

use crate::doors::address;
use crate::site::{ADMIN, Site, now};

/// The members of that name, of the list that is in the answer; a list of names is its own members.
fn members(answer: &Value, name: &str) -> Vec<Value> {
    let list = answer.as_object().unwrap().values().find_map(Value::as_array).unwrap();
    list.iter().map(|row| if row.is_string() { row.clone() } else { row[name].clone() }).collect()
}

fn compared(one: &Value, other: &Value) -> Ordering {
    let key = |value: &Value| (value.as_f64(), value.as_str().map(str::to_owned));
    key(one).partial_cmp(&key(other)).unwrap()
}

#[test]
fn a_list_with_a_mistyped_date_is_its_page_with_what_is_wrong_at_the_field() {
    let site = Site::start();
    for path in ["/runs", "/dags/copy_orders/runs"] {
        let page = |query: &str| {
            site.call("GET", &format!("{path}?{query}"), &[("authorization", ADMIN), ("accept", "text/html")], None)
        };
        let wrong = page("from=2024-13-01&to=2024-02-01&state=failed").is(422).body;
        let field = wrong.split("name=\"from\"").nth(1).unwrap().split("</span>").next().unwrap();
        assert!(field.contains("value=\"2024-13-01\"") && field.contains("aria-invalid"), "{path}: {field}");
        assert!(field.contains("there is no such day"), "{path}: {field}");
        assert!(wrong.contains("value=\"2024-02-01\"") && !wrong.contains("to-says"), "{path}: the other one stays");
        assert!(!wrong.contains("No run is"), "{path}: nobody has looked");
        page("from=2024-01-01").is(200);
    }
    let of_dag = site.get("/runs?dag=copy_orders").is(200).body;
    assert!(of_dag.contains("copy_orders&#x2f;runs&#x2f;") && of_dag.contains("name=\"dag\" value=\"copy_orders\""));
    let none = site.get("/runs?dag=nothing").is(200).body;
    assert!(!none.contains("&#x2f;dags&#x2f;copy_orders"), "{none}");
}

#[test]
fn every_list_comes_in_every_order_that_it_names_and_refuses_others() {
    let site = Site::start();
    for name in ["b", "c", "a"] {
        site.send("POST", "/api/v1/variables", &json!({"key": name, "value": "1"})).is(201);
        site.send("POST", "/api/v1/pools", &json!({"name": name, "slots": name.len()})).is(201);
        let connection = json!({"connection_id": name, "conn_type": "sqlite", "schema": "/tmp/x"});
        site.send("POST", "/api/v1/connections", &connection).is(201);
        site.token_of(name, "viewer");
    }
    let mut told = Vec::new();
    for door in millrace_server::doors().iter().filter(|door| door.method == "GET") {
        let document = site.get("/api/v1/openapi.json").json();
        let parameters = &document["paths"][&door.path]["get"]["parameters"];
        let order = parameters.as_array().and_then(|all| all.iter().find(|it| it["name"] == "order_by"));
        let Some(order) = order else { continue };
        let here = address(door);
        // Of everybody.
        let here = if here.ends_with("/tokens") { format!("{here}?username=~&") } else { format!("{here}?") };
        let refused = site.get(&format!("{here}order_by=nonsense")).is(422).json();
        for name in order["schema"]["enum"].as_array().unwrap() {
            let name = name.as_str().unwrap();
            let answer = site.get(&format!("{here}order_by={name}")).is(200).json();
            let (plain, is_descending) = name.strip_prefix('-').map_or((name, false), |name| (name, true));
            assert!(refused["detail"].as_str().unwrap().contains(plain), "{here}: {refused}");
            let mut values = members(&answer, plain);
            // Numbers that are written as texts.
            if plain == "id" && values.first().is_some_and(Value::is_string) {
                values = values.iter().map(|id| json!(id.as_str().unwrap().parse::<u64>().unwrap_or(0))).collect();
            }
            if is_descending {
                values.reverse();
            }
            let in_order = values.is_sorted_by(|one, other| compared(one, other) != Ordering::Greater);
            assert!(in_order, "{here}order_by={name}: {values:?}");
            if values.first() != values.last() {
                told.push(door.path.clone());
            }
        }
    }
    told.dedup();
    // Where there was something to bring into an order.
    assert!(told.len() >= 10, "{told:?}");
}

#[test]
fn task_instances_of_every_run_come_by_their_start() {
    let site = Site::start();
    let of = |query: &str| {
        let answer = site.get(&format!("/api/v1/dags/~/dagRuns/~/taskInstances?{query}")).is(200).json();
        members(&answer, "start_date")
    };
    let (up, down) = (of("order_by=start_date"), of("order_by=-start_date"));
    assert!(up.len() > 3 && up[0].is_null() && down[0].is_string(), "{up:?} {down:?}");
    assert_eq!(up, down.into_iter().rev().collect::<Vec<_>>());
    assert_eq!(of("order_by=-start_date&limit=1"), of("order_by=-start_date")[..1]);
}

#[test]
fn events_are_found_by_time_task_and_what_they_are() {
    let site = Site::start();
    site.send("PATCH", "/api/v1/dags/quiet", &json!({"is_paused": false})).is(200);
    site.advance(chrono::TimeDelta::hours(1));
    site.send("PATCH", "/api/v1/dags/quiet", &json!({"is_paused": true})).is(200);
    let events =
        |query: &str| members(&site.get(&format!("/api/v1/eventLogs?dag_id=quiet&{query}")).is(200).json(), "event");
    assert_eq!(events("included_events=pause&included_events=unpause"), ["pause", "unpause"]);
    assert_eq!(events("included_events=pause&included_events=unpause&order_by=when"), ["unpause", "pause"]);
    assert!(!events("excluded_events=pause").contains(&json!("pause")));
    assert_eq!(events("after=2024-03-03T06:30:00Z"), ["pause"]);
    assert!(!events("before=2024-03-03T06:30:00Z").contains(&json!("pause")));
    assert!(events("task_id=nothing").is_empty());
    site.get("/api/v1/eventLogs?after=yesterday").is(422);
}

#[test]
fn alerts_are_counted_and_found_by_dag_and_kind() {
    let site = Site::start();
    let alert = |kind| Alert {
        dag_id: DagId::new_unchecked("copy_orders"),
        run: site.running,
        kind,
        message: format!("told of {kind}"),
        at: now(),
    };
    // That it was paused is told only of a DAG that is paused with it.
    let dag_id = DagId::new_unchecked("copy_orders");
    let pauses = vec![DagPause { dag_id, run: site.running, failures: 0, reason: "2 runs failed".to_owned() }];
    let alerts = AlertKind::ALL.iter().map(|kind| alert(*kind)).collect();
    let batch = Batch { alerts, pauses, ..Batch::default() };
    site.runtime.block_on(site.plant.store.commit_unled(&batch, now())).unwrap();
    let kinds = |query: &str| {
        let answer = site.get(&format!("/api/v1/alerts?{query}")).is(200).json();
        (answer["total_entries"].as_u64().unwrap(), members(&answer, "kind"))
    };
    assert_eq!(kinds("limit=1&offset=1"), (5, vec![json!("import_error")]));
    assert_eq!(kinds("kind=deadline&dag_id=copy_orders"), (1, vec![json!("deadline")]));
    assert_eq!(kinds("dag_id=quiet"), (0, vec![]));
    assert!(site.get("/api/v1/alerts?kind=nonsense").is(422).body.contains("auto_paused"));
}

#[test]
fn an_address_whose_number_is_none_is_not_found() {
    let site = Site::start();
    let of = "/api/v1/dags/copy_orders/dagRuns/x/taskInstances/f";
    for path in [format!("{of}/links"), "/api/v1/backfills/seven".to_owned(), "/api/v1/eventLogs/1e3".to_owned()] {
        assert_eq!(site.get(&path).is(404).json()["code"], "not_found", "{path}");
    }
    let headers = [("authorization", ADMIN), ("content-type", "application/json")];
    let empty = site.call("POST", "/api/v1/assets/x/materialize", &headers, Some("")).is(400);
    assert!(empty.body.contains("{} at the least"), "{}", empty.body);
}

/// Headings lead to what the API gives in that order, say how it is sorted, and turn it round.
#[test]
fn lists_are_sorted_by_their_headings() {
    let site = Site::start();
    let plain = |text: &str| text.replace("&#x2f;", "/").replace("&#10;", "\n").replace("&amp;", "&");
    let between = |page: &str, start: &str| -> Vec<String> {
        page.split(start).skip(1).map(|rest| plain(rest.split('"').next().unwrap())).collect()
    };
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    for (list, rest, keys, start, headings) in [
        ("/dags?tag=&state=", "/api/v1/dags?", &["dag_id"][..], "<tr id=\"row-", 3),
        ("/runs?state=", "/api/v1/dags/~/dagRuns?", &["dag_id", "dag_run_id"], "name=\"item\" value=\"", 6),
        (
            "/task-instances?state=",
            "/api/v1/dags/~/dagRuns/~/taskInstances?",
            &["dag_id", "dag_run_id", "task_id", "map_index"],
            "name=\"item\" value=\"",
            7,
        ),
    ] {
        let first = site.get(list).is(200).body;
        let links = |page: &str| -> Vec<String> {
            between(page, "aria-sort=\"none\"><a href=\"")
                .into_iter()
                .filter(|link| link.contains("order_by="))
                .collect()
        };
        assert_eq!(links(&first).len(), headings, "{list}");
        for link in links(&first) {
            let (_, order) = link.rsplit_once("order_by=").unwrap();
            let page = site.get(&link).is(200).body;
            let other = order.strip_prefix('-').map_or_else(|| format!("-{order}"), str::to_owned);
            let word = if order.starts_with('-') { "descending" } else { "ascending" };
            let back = between(&page, &format!("aria-sort=\"{word}\"><a href=\""));
            assert_eq!(back.len(), 1, "{link}");
            assert!(back[0].ends_with(&format!("order_by={other}")) && links(&page).len() == headings - 1, "{back:?}");
            // A telephone has no headings, but a choice.
            for one in [order, other.as_str()] {
                assert!(first.contains(&format!("<option value=\"{one}\">")), "{list} by {one}");
            }
            assert!(page.contains(&format!("<option value=\"{order}\" selected>")), "{link}");
            for (address, order) in [(&link, order), (&back[0], &other)] {
                let shown = between(&site.get(address).is(200).body, start);
                let answer = site.get(&format!("{rest}order_by={order}")).is(200).json();
                let columns: Vec<Vec<Value>> = keys.iter().map(|key| members(&answer, key)).collect();
                let row = |at: usize| columns.iter().map(|all| text(&all[at])).collect::<Vec<_>>().join("\n");
                let wanted: Vec<String> = (0..columns[0].len()).map(row).collect();
                assert!(!wanted.is_empty());
                assert_eq!(shown, wanted, "{address}");
            }
        }
    }
    // What is chosen beside stays so.
    let page = site.get("/runs?state=failed&dag=copy_orders&order_by=duration").is(200).body;
    assert!(plain(&page).contains("/runs?state=failed&dag=copy%5Forders&order_by=state"), "{page}");
    assert!(plain(&page).contains("/runs?state=success&dag=copy%5Forders&order_by=duration"), "{page}");
    assert!(page.contains("<option value=\"duration\" selected>"), "{page}");
    assert!(site.get("/runs?order_by=nonsense").is(422).body.contains("order_by"));
}
