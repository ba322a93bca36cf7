//! Backfills over REST, and the pages that change what has run.

use chrono_tz::Tz;
use millrace_model::maintenance::MaintenanceWindow;
use serde_json::{Value, json};

use crate::forms::Browser;
use crate::plant::dag;
use crate::site::{FAILED_RUN, RUNNING_RUN, Site, VIEWER, now};

const BACKFILLS: &str = "/api/v1/backfills";

#[test]
fn case_43_a_dry_run_lists_what_a_real_one_makes() {
    let site = Site::start();
    let wish = json!({"dag_id": "copy_orders", "from_date": "2024-02-27", "to_date": "2024-03-03",
        "reprocess_behavior": "failed", "max_active_runs": 2, "dag_run_conf": {"full": true}});
    let plan = site.send("POST", &format!("{BACKFILLS}/dry_run"), &wish).is(200).json();
    let outcomes: Vec<(&str, &str)> = plan["backfills"]
        .as_array()
        .unwrap()
        .iter()
        .map(|date| (&date["logical_date"].as_str().unwrap()[5..10], date["outcome"].as_str().unwrap()))
        .collect();
    let expected = [
        ("02-27", "new run"),
        ("02-28", "new run"),
        ("02-29", "new run"),
        ("03-01", "run again"),
        ("03-02", "left alone"),
    ];
    assert_eq!(outcomes, expected);
    assert_eq!((&plan["backfills"][4]["reason"], &plan["runs"]), (&json!("in flight"), &json!(4)));
    assert_eq!(site.get(BACKFILLS).json()["total_entries"], 0, "a dry run creates nothing");

    let made = site.send("POST", BACKFILLS, &wish).is(200).json();
    assert_eq!(made["dates"].as_array().unwrap().len(), 5);
    assert_eq!(
        made["dates"].as_array().unwrap().iter().map(|it| &it["logical_date"]).collect::<Vec<_>>(),
        plan["backfills"].as_array().unwrap().iter().map(|it| &it["logical_date"]).collect::<Vec<_>>()
    );
    assert_eq!(
        (&made["runs"]["total"], &made["runs"]["queued"], &made["dag_run_conf"]["full"]),
        (&json!(4), &json!(4), &json!(true))
    );
    let refused = site.send("POST", BACKFILLS, &wish).is(409).json();
    assert!(refused["detail"].as_str().unwrap().contains("already has an active backfill"), "{refused}");

    let one = format!("{BACKFILLS}/{}", made["id"]);
    assert_eq!(site.send("PUT", &format!("{one}/pause"), &Value::Null).is(200).json()["is_paused"], true);
    assert_eq!(site.send("PUT", &format!("{one}/unpause"), &Value::Null).is(200).json()["is_paused"], false);
    site.send_as(VIEWER, "PUT", &format!("{one}/cancel"), &Value::Null).is(403);
    let cancelled = site.send("PUT", &format!("{one}/cancel"), &Value::Null).is(200).json();
    assert_eq!((&cancelled["state"], &cancelled["runs"]["failed"]), (&json!("cancelled"), &json!(4)));
    site.send("PUT", &format!("{one}/pause"), &Value::Null).is(409);
    assert_eq!(site.get(&format!("{BACKFILLS}?dag_id=copy_orders&active=false")).json()["total_entries"], 1);
    site.get(&format!("{BACKFILLS}/99")).is(404);
    let of_none = site.get(&format!("{BACKFILLS}?dag_id=nothing&order_by=-created_at")).is(200).json();
    assert_eq!(of_none["total_entries"], 0, "a filter that fits nothing");
    let done = json!({"dag_id": "copy_orders", "from_date": "2024-02-27", "to_date": "2024-02-28"});
    let refused = site.send("POST", BACKFILLS, &done).is(409).json();
    assert!(refused["detail"].as_str().unwrap().starts_with("nothing to backfill: each of the 1 dates"), "{refused}");
    assert_eq!(site.get(BACKFILLS).json()["total_entries"], 1, "none was made");
    let actions: Vec<String> = site.audit().into_iter().map(|row| row.action).collect();
    for action in ["backfill", "backfill_paused", "backfill_unpaused", "backfill_cancelled"] {
        assert!(actions.iter().any(|it| it == action), "{action} in {actions:?}");
    }
}

#[test]
fn case_40_what_cannot_be_backfilled_is_refused() {
    let site = Site::start();
    let wish = |change: Value| {
        let mut wish = json!({"dag_id": "copy_orders", "from_date": "2024-02-01", "to_date": "2024-02-03"});
        wish.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        site.send("POST", &format!("{BACKFILLS}/dry_run"), &wish)
    };
    wish(json!({})).is(200);
    assert_eq!(wish(json!({"to_inclusive": true})).is(200).json()["total_entries"], 3);
    let tasks = |change: Value| {
        let mut change = change;
        change["tasks"] = json!("^load$");
        wish(change).is(200).json()["task_ids"].clone()
    };
    assert_eq!(tasks(json!({})), json!(["load"]));
    assert_eq!(tasks(json!({"include_upstream": true})), json!(["extract", "load"]));
    assert_eq!(tasks(json!({"include_downstream": true})), json!(["load", "notify"]));
    let dates = |change: Value| {
        let plan = wish(change).is(200).json();
        plan["backfills"].as_array().unwrap().iter().map(|it| it["logical_date"].clone()).collect::<Vec<_>>()
    };
    let (mut forwards, backwards) = (dates(json!({})), dates(json!({"run_backwards": true})));
    forwards.reverse();
    assert_eq!((backwards.len(), backwards), (2, forwards));
    wish(json!({"from_date": "2999-01-01", "to_date": "2999-02-01"})).is(422);
    wish(json!({"to_date": "2024-02-01"})).is(422);
    wish(json!({"dag_id": "quiet"})).is(422);
    wish(json!({"dag_id": "nothing"})).is(404);
    wish(json!({"reprocess_behavior": "all"})).is(422);
    wish(json!({"max_active_runs": 0})).is(422);
    wish(json!({"tasks": "lo("})).is(422);
    wish(json!({"tasks": "nobody"})).is(422);
    wish(json!({"colour": 1})).is(422);
}

#[test]
fn what_speaks_against_a_backfill_is_said_on_every_face() {
    let site = Site::start();
    let mut same = dag("same", "@daily", "UTC", &[], &[("load_a", "bash", &[], 0), ("load_b", "bash", &[], 0)]);
    for task in &mut same.tasks {
        task.parameters = json!({"bash_command": "echo hello"});
    }
    same.maintenance = vec![MaintenanceWindow::parse("05:00..07:30", Tz::UTC).unwrap()];
    site.runtime.block_on(site.plant.sync(same.clone(), true, now()));
    let wish = json!({"dag_id": "same", "from_date": "2024-03-01", "to_date": "2024-03-09", "tasks": "load_a"});
    let plan = site.send("POST", &format!("{BACKFILLS}/dry_run"), &wish).is(200).json();
    assert_eq!((&plan["runs"], &plan["task_ids"]), (&json!(2), &json!(["load_a"])));
    let said = [
        "no task uses the date of its run",
        "nothing starts before 2024-03-03T07:30:00.000000Z",
        "2024-03-03T00:00:00.000000Z and later dates have not ended yet",
        "no scheduler is running",
    ];
    let warnings: Vec<&str> = plan["warnings"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
    assert_eq!(warnings.len(), said.len(), "{warnings:?}");
    let cookie = site.sign_in();
    let address = "/dags/same/backfills?from=2024-03-01&to=2024-03-09&tasks=load_a";
    let page = site.call("GET", address, &[("cookie", &cookie)], None).is(200).body;
    assert!(page.contains("Of each run only <code>load_a</code>."), "{page}");
    for (text, warning) in said.iter().zip(&warnings) {
        assert!(warning.contains(text), "{warnings:?}");
        // With times as pages have them.
        let text = text.replace("T07:30:00.000000Z", " 07:30 UTC").replace("T00:00:00.000000Z", " 00:00 UTC");
        assert!(page.to_lowercase().contains(text.to_lowercase().as_str()), "{text}: {page}");
    }
    let made = site.send("POST", BACKFILLS, &wish).is(200).json();
    assert_eq!(made["warnings"], plan["warnings"]);

    // What is behind the end of the range, or of the DAG, nobody asked for.
    let past = json!({"dag_id": "copy_orders", "from_date": "2024-02-01", "to_date": "2024-02-03"});
    let plan = site.send("POST", &format!("{BACKFILLS}/dry_run"), &past).is(200).json();
    let warnings = plan["warnings"].to_string();
    assert!(!warnings.contains("have not ended"), "{warnings}");
    assert_eq!(plan["task_ids"], Value::Null);

    site.runtime.block_on(site.plant.store.mark_stale(&[], &[], now())).unwrap();
    let gone = site.send("POST", &format!("{BACKFILLS}/dry_run"), &wish).is(409).json();
    assert!(gone["detail"].as_str().unwrap().starts_with("the file of DAG same (same.yaml) is gone"), "{gone}");
}

fn token(page: &str) -> String {
    let at = page.find("name=\"csrf_token\" value=\"").unwrap() + "name=\"csrf_token\" value=\"".len();
    page[at..].split('"').next().unwrap().to_owned()
}

#[test]
fn pages_list_what_they_would_touch_and_then_do_it() {
    let site = Site::start();
    let cookie = site.sign_in();
    let get = |path: &str| site.call("GET", path, &[("cookie", &cookie)], None).is(200).body;
    let post = |path: &str, fields: &str| {
        let kind = ("content-type", "application/x-www-form-urlencoded");
        site.call("POST", path, &[("cookie", &cookie), kind], Some(fields))
    };
    let run = format!("/dags/copy_orders/runs/{FAILED_RUN}");
    let page = get(&format!("{run}/tasks/load"));
    assert!(page.contains("change?task=load&amp;action=clear&amp;downstream=yes"), "{page}");
    let change = format!("{run}/change");
    let page = get(&format!("{change}?task=load&action=clear&downstream=yes"));
    assert!(page.contains("<strong>2</strong> task instances in <strong>1</strong> run are changed"), "{page}");
    assert!(page.contains("1 finished run goes back to the queue"), "{page}");
    let wider = get(&format!("{change}?task=load&action=clear&future=yes"));
    assert!(wider.replace("<wbr>", "").contains(RUNNING_RUN), "{wider}");
    post(&change, "task=load&action=clear").is(403);
    let fields = format!("csrf_token={}&task=load&action=clear&downstream=yes", token(&page));
    let answer = post(&change, &fields).is(303);
    assert_eq!(answer.header("location"), format!("{run}/tasks/load"));
    let row = site.get(&format!("/api/v1/dags/copy_orders/dagRuns/{FAILED_RUN}")).json();
    assert_eq!(row["state"], "queued");

    let page = get(&format!("{change}?action=failed"));
    post(&change, &format!("csrf_token={}&action=failed", token(&page))).is(303);
    post(&format!("{run}/note"), &format!("csrf_token={}&note=looked+at+%3Cb%3E", token(&page))).is(303);
    let page = get(&run);
    assert!(page.contains("looked at &lt;b&gt;") && page.contains("change?action=clear"), "{page}");
    let page = get("/dags/copy_orders/rerun-failed");
    assert!(page.contains("Run again what failed in copy_orders"), "{page}");
    // A date that cannot be read is told at its field, with what was typed, whether it was looked at or done.
    let again = "/dags/copy_orders/rerun-failed";
    let looked = site.call("GET", &format!("{again}?from=soon&to=2024-03-02"), &[("cookie", &cookie)], None);
    let done = post(again, &format!("csrf_token={}&from=soon&to=2024-03-02", token(&page)));
    for answer in [looked, done] {
        let told = answer.is(422).body;
        assert!(told.contains("value=\"soon\"") && told.contains("value=\"2024-03-02\""), "{told}");
        assert!(told.contains("aria-describedby=\"from-says\"") && told.contains("must be a date"), "{told}");
        assert!(!told.contains("aria-describedby=\"to-says\"") && !told.contains("nothing to clear"), "{told}");
    }

    let page = get("/dags/copy_orders/backfills?from=2024-02-01&to=2024-02-04&reprocess=none&runs=2&tasks=lo");
    assert!(page.contains("Of these dates, <strong>3</strong> of 3 would run, 2 at a time"), "{page}");
    assert!(page.contains("2024-02-03 00:00 UTC"), "{page}");
    let wrong = get("/dags/copy_orders/backfills?from=soon&to=2024-02-04");
    assert!(wrong.contains("role=\"alert\"") && wrong.contains("value=\"soon\""), "{wrong}");
    let fields = format!("csrf_token={}&from=2024-02-01&to=2024-02-04&reprocess=none&runs=2&tasks=lo", token(&page));
    post("/dags/copy_orders/backfills", &fields).is(303);
    let page = get("/dags/copy_orders/backfills");
    assert!(page.contains("0 of 3") && page.contains("Pause"), "{page}");
    let key = site.get(BACKFILLS).json()["backfills"][0]["id"].clone();
    let fields = format!("csrf_token={}", token(&page));
    post(&format!("/dags/copy_orders/backfills/{key}/pause"), &fields).is(303);
    assert!(get("/dags/copy_orders/backfills").contains("Go on"));
    post(&format!("/dags/quiet/backfills/{key}/cancel"), &fields).is(422);
    post(&format!("/dags/copy_orders/backfills/{key}/cancel"), &fields).is(303);
    assert!(get("/dags/copy_orders/backfills").contains("3 failed"));
}

#[test]
fn the_backfills_of_every_dag_are_on_one_page() {
    let site = Site::start();
    let once = dag("once", "@daily", "UTC", &[], &[("only", "bash", &[], 0)]);
    site.runtime.block_on(site.plant.sync(once, true, now()));
    let made = |dag_id: &str| {
        let wish = json!({"dag_id": dag_id, "from_date": "2024-02-01", "to_date": "2024-02-03"});
        site.send("POST", BACKFILLS, &wish).is(200).json()["id"].as_i64().unwrap()
    };
    assert!(site.get("/backfills").is(200).body.contains("No backfills yet"));
    let (first, second) = (made("copy_orders"), made("once"));
    let page = |query: &str| site.get(&format!("/backfills{query}")).is(200).body.replace("&#x2f;", "/");
    let shows = |page: &str| {
        [("copy_orders", first), ("once", second)].map(|(dag, key)| page.contains(&format!("/{dag}/backfills/{key}/")))
    };
    let all = page("");
    assert_eq!(shows(&all), [true, true], "{all}");
    assert!(all.find("/once/backfills/") < all.find("/copy_orders/backfills/"), "the newest first");
    assert_eq!((shows(&page("?dag=once")), shows(&page("?offset=1"))), ([false, true], [true, false]));

    let browser = Browser::new(&site);
    let act = |action: &str| browser.post(&format!("/dags/once/backfills/{second}/{action}"), "of=all").is(303);
    assert_eq!(act("pause").header("location"), "/backfills");
    assert_eq!((shows(&page("?state=paused")), shows(&page("?state=running"))), ([false, true], [true, false]));
    act("cancel");
    let cancelled = page("?state=cancelled");
    assert!(cancelled.contains(">once</a>") && cancelled.contains("2 of 2"), "{cancelled}");
    assert!(page("?state=paused").contains("No backfill matches"));
    site.get("/backfills?state=green").is(422);
    // From the page of its DAG one comes back there.
    let paused = browser.post(&format!("/dags/copy_orders/backfills/{first}/pause"), "").is(303);
    assert_eq!(paused.header("location"), "/dags/copy_orders/backfills");
}
