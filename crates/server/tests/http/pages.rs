//! Pages: that they are there, escape what they show, and lead to the failed log.

use millrace_model::asset::{AssetEvent, AssetName};
use millrace_model::change::{Batch, Completion, Finish, NewRun, TryOutcome};
use millrace_model::dag::{Dag, Task};
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::schedule::DataInterval;
use millrace_model::state::{RunState, RunType, TaskState};
use serde_json::json;

use crate::plant::dag;
use crate::site::{ADMIN, EVIL, FAILED_RUN, RUNNING_RUN, Site, now};

fn task(run: &str, task: &str) -> String {
    format!("/dags/copy_orders/runs/{run}/tasks/{task}")
}

#[test]
fn every_page_is_there_and_safe() {
    let site = Site::start();
    site.send("POST", "/api/v1/dags/quiet/dagRuns", &json!({"note": EVIL, "conf": {"k": EVIL}, "dag_run_id": "evil"}))
        .is(200);
    let pages = [
        "/".to_owned(),
        "/dags".to_owned(),
        "/dags?q=%3Cscript%3Ealert(1)%3C/script%3E".to_owned(),
        "/dags/copy_orders".to_owned(),
        "/dags/quiet".to_owned(),
        "/dags/quiet/runs/evil".to_owned(),
        format!("/dags/copy_orders/runs/{FAILED_RUN}"),
        task(FAILED_RUN, "extract"),
        task(FAILED_RUN, "load"),
        format!("{}?try=1", task(FAILED_RUN, "load")),
        task(FAILED_RUN, "notify"),
        task(RUNNING_RUN, "load"),
        task(RUNNING_RUN, "notify"),
        "/runs".to_owned(),
        "/runs?state=failed".to_owned(),
        "/connections".to_owned(),
        "/connections/new".to_owned(),
        "/legend".to_owned(),
        "/pools".to_owned(),
        "/jobs".to_owned(),
        "/calendars?year=2024".to_owned(),
        "/dags/copy_orders/graph".to_owned(),
        format!("/dags/copy_orders/graph?run={}", RUNNING_RUN.replace('+', "%2B")),
        "/dags/copy_orders/gantt".to_owned(),
        format!("/dags/copy_orders/gantt?run={}", FAILED_RUN.replace('+', "%2B")),
        "/dags/copy_orders/calendar".to_owned(),
        "/dags/copy_orders/calendar?year=2024".to_owned(),
        "/dags/copy_orders/runs?state=failed".to_owned(),
        "/dags/copy_orders/data".to_owned(),
        "/dags/copy_orders/code".to_owned(),
        "/dags/copy_orders/details".to_owned(),
        "/dags/copy_orders/trigger".to_owned(),
        "/dags/copy_orders/backfills".to_owned(),
        "/backfills".to_owned(),
        "/dags/quiet/graph".to_owned(),
        "/dags/quiet/gantt".to_owned(),
        "/dags/quiet/data".to_owned(),
        "/task-instances".to_owned(),
        "/task-instances?state=failed&dag=copy_orders".to_owned(),
        "/results".to_owned(),
        "/results?dag=copy_orders&key=return_value".to_owned(),
        "/audit".to_owned(),
        "/operators".to_owned(),
        "/configuration".to_owned(),
        "/variables".to_owned(),
        "/webhooks".to_owned(),
        "/users".to_owned(),
        "/tokens".to_owned(),
        "/roles".to_owned(),
        "/account".to_owned(),
    ];
    for path in pages {
        let page = site.get(&path).is(200);
        assert_eq!(page.header("content-type"), "text/html; charset=utf-8", "{path}");
        let policy = page.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert_eq!((page.header("x-content-type-options"), page.header("cache-control")), ("nosniff", "no-store"));
        assert!(!page.body.contains("<script>"), "{path} lets markup through");
        assert!(
            !page.body.contains(" style=") && !page.body.contains(" onclick="),
            "{path} has what the policy forbids"
        );
    }
}

#[test]
fn from_the_list_to_the_failed_log_in_one_click() {
    let site = Site::start();
    let home = site.get("/").is(200).body;
    let needs = home.split("id=\"needs\"").nth(1).unwrap().split("</section>").next().unwrap();
    assert!(
        needs.contains("value &#x27;n&#x2f;a&#x27; is not an INTEGER") || needs.contains("is not an INTEGER"),
        "{needs}"
    );
    assert!(!needs.contains("second line"));
    let href = needs.split("class=\"button\" href=\"").nth(1).unwrap().split('"').next().unwrap();
    let href = href.replace("&#x2f;", "/");
    let page = site.get(&href).is(200).body;
    assert!(page.contains("id=\"log\"") && page.contains("l-error") && page.contains("second line"), "{page}");
    assert!(page.contains("Try 1") && page.contains("Try 2"), "{page}");
}

#[test]
fn a_task_page_says_what_moved_and_why_it_waits() {
    let site = Site::start();
    let moved = site.get(&task(FAILED_RUN, "extract")).is(200).body;
    assert!(moved.contains("1,234,567"), "{moved}");
    let waiting = site.get(&task(RUNNING_RUN, "notify")).is(200).body;
    assert!(waiting.contains("Why it is not running") && waiting.contains("load is running"), "{waiting}");
    let never = site.get(&task(FAILED_RUN, "notify")).is(200).body;
    assert!(never.contains("a task before it failed"), "{never}");
    let running = site.get(&task(RUNNING_RUN, "load")).is(200).body;
    assert!(running.contains("data-following") && running.contains("row 2"), "{running}");
}

#[test]
fn a_task_that_waits_for_its_next_try_says_when() {
    let site = Site::start();
    let store = &site.plant.store;
    let instance = site.runtime.block_on(store.instance(site.running, "load", -1)).unwrap().unwrap();
    let finish = Finish {
        completion: Completion {
            error: Some("deadlock".to_owned()),
            ..Completion::new(
                instance.key,
                1,
                instance.lease.unwrap().token,
                TryOutcome::Failed { reason: "error".to_owned(), retry: true },
                (now(), now()),
            )
        },
        to: TaskState::UpForRetry,
        reason: None,
        next_try_at: Some(now() + chrono::TimeDelta::minutes(3)),
        counts_try: true,
        asset_events: Vec::new(),
    };
    let batch = Batch { finishes: vec![finish], ..Batch::default() };
    site.runtime.block_on(store.commit_unled(&batch, now())).unwrap();
    let page = site.get(&task(RUNNING_RUN, "load")).is(200).body;
    assert!(page.contains("try 2 may start after") && page.contains("in 3 min"), "{page}");
}

#[test]
fn what_is_missing_is_a_page_that_says_so() {
    let site = Site::start();
    for path in
        ["/dags/nothing", "/dags/copy_orders/runs/x", "/nowhere", "/connections/edit/x", &task(FAILED_RUN, "..%2F..")]
    {
        let page = site.get(path).is(404);
        assert!(page.header("content-type").starts_with("text/html"), "{path}");
        assert!(page.body.contains("Back to the DAGs"), "{path}");
    }
    let script = site.get("/dags/%3Cscript%3Ealert(1)%3C%2Fscript%3E").is(404);
    assert!(!script.body.contains("<script>"));
    site.get("/runs?state=green").is(422);
}

#[test]
fn parts_are_drawn_alone() {
    let site = Site::start();
    let part = |path: &str, part: &str| {
        site.call("GET", path, &[("authorization", ADMIN), ("x-part", part), ("x-millrace-page", "1")], None)
            .is(200)
            .body
    };
    for (path, name, begins) in [
        ("/".to_owned(), "needs", "<section id=\"needs\""),
        ("/dags/copy_orders".to_owned(), "row", "<tr id=\"row-copy_orders\""),
        ("/dags/copy_orders".to_owned(), "grid", "<section id=\"grid\""),
        (task(FAILED_RUN, "load"), "panel", "<section id=\"panel\""),
        (format!("/dags/copy_orders/runs/{FAILED_RUN}"), "grid", "<section id=\"grid\""),
    ] {
        let body = part(&path, name);
        assert!(body.trim_start().starts_with(begins), "{path} {name}: {body}");
        assert!(!body.contains("<html"), "{path} {name}");
    }
}

#[test]
fn the_grid_shows_states_by_class_mark_and_title() {
    let site = Site::start();
    let page = site.get("/dags/copy_orders").is(200).body;
    let cells = page.matches("class=\"cell s-").count();
    assert_eq!(cells, 6, "{page}");
    assert_eq!(page.matches("class=\"cell s-upstream_failed\"").count(), 1);
    assert!(page.contains("load: failed, try 2 of 2, 30s"), "{page}");
    assert!(page.contains("#upstream_failed"), "{page}");
}

#[test]
fn static_files_are_cached_by_their_content() {
    let site = Site::start();
    for (name, kind) in [
        ("app.css", "text/css"),
        ("app.js", "text/javascript"),
        ("icons.svg", "image/svg+xml"),
        ("mark.svg", "image/svg+xml"),
    ] {
        let file = site.call("GET", &format!("/static/{name}"), &[], None).is(200);
        assert!(file.header("content-type").starts_with(kind), "{name}");
        let tag = file.header("etag").to_owned();
        site.call("GET", &format!("/static/{name}"), &[("if-none-match", &tag)], None).is(304);
    }
    for missing in ["nothing.js", "..%2Ftemplates%2Fbase.html", "../../Cargo.toml", "%2Fetc%2Fpasswd"] {
        let status = site.call("GET", &format!("/static/{missing}"), &[], None).status;
        assert!(status == 404 || status == 303, "{missing}: {status}");
    }
}

/// Rows of the grid of a DAG's page.
fn grid_rows(site: &Site, path: &str) -> Vec<String> {
    let page = site.get(path).is(200).body;
    let (_, grid) = page.split_once("<section id=\"grid\"").unwrap();
    let (grid, _) = grid.split_once("</section>").unwrap();
    let rows = grid.split("<tbody>").nth(1).unwrap().split("<th class=\"").skip(1);
    let name = |row: &str| {
        let (_, text) = row.split_once(if row.contains("class=\"fold\"") { "data-view>" } else { "<span>" }).unwrap();
        text.split_once('<').unwrap().0.to_owned()
    };
    rows.map(name).collect()
}

#[test]
fn a_grid_of_very_many_tasks_is_folded_and_shown_in_parts() {
    let site = Site::start();
    let mut large = dag("large", "none", "UTC", &[], &[]);
    for group in 0..4 {
        let id = format!("g{group}");
        large.groups.push(serde_json::from_value(json!({"group_id": id})).unwrap());
        large.tasks.extend((0..1000).map(|at| Task {
            group: Some(TaskId::new_unchecked(id.as_str())),
            ..Task::new(TaskId::new_unchecked(format!("{id}.t{at:04}")), "bash")
        }));
    }
    let alone = |at| Task::new(TaskId::new_unchecked(format!("alone{at}")), "bash");
    let wide = Dag { tasks: (0..3000).map(alone).collect(), ..dag("wide", "none", "UTC", &[], &[]) };
    site.runtime.block_on(site.plant.sync(large, true, now()));
    site.runtime.block_on(site.plant.sync(wide, true, now()));
    for dag_id in ["large", "wide"] {
        site.send("POST", &format!("/api/v1/dags/{dag_id}/dagRuns"), &json!({"dag_run_id": "r"})).is(200);
    }
    assert_eq!(grid_rows(&site, "/dags/large"), ["g0", "g1", "g2", "g3"]);
    assert!(
        site.get("/dags/large").body.contains("title=\"g1: 1000 not started\nr\""),
        "{}",
        site.get("/dags/large").body
    );
    let open = grid_rows(&site, "/dags/large?open=g1");
    assert_eq!((open.len(), open[0].as_str(), open[2].as_str()), (500, "g0", "g1.t0000"));
    // The group around what is looked at is open.
    assert!(grid_rows(&site, "/dags/large/runs/r/tasks/g3.t0007").contains(&"g3.t0007".to_owned()));
    assert_eq!(grid_rows(&site, "/dags/large/runs/r/tasks/g3.t0007?shut=g3").len(), 4);
    let wide = grid_rows(&site, "/dags/wide");
    assert_eq!(wide.len(), 500);
    assert_eq!(grid_rows(&site, "/dags/wide?from=2500").len(), 500);
    assert!(site.get("/dags/wide?from=2500").body.contains("rows 2,501 to 3,000 of 3,000"));
}

#[test]
fn a_run_says_which_assets_called_for_it() {
    let site = Site::start();
    let version = site.runtime.block_on(site.plant.sync(
        dag("reader", "none", "UTC", &[], &[("use", "empty", &[], 0)]),
        false,
        now(),
    ));
    let event = |id: i64| AssetEvent {
        id,
        asset: AssetName::new_unchecked(format!("s3://lake/{id}")),
        dag_id: Some(DagId::new_unchecked("copy_orders")),
        run_id: Some(RunId::new_unchecked(FAILED_RUN)),
        task_id: Some(TaskId::new_unchecked("load")),
        map_index: -1,
        data_interval: DataInterval { start: now(), end: now() },
        at: now(),
        extra: serde_json::Map::new(),
    };
    let run = NewRun {
        dag_id: DagId::new_unchecked("reader"),
        run_id: RunId::new_unchecked("asset_triggered__1"),
        run_type: RunType::AssetTriggered,
        state: RunState::Running,
        logical_date: now(),
        data_interval: DataInterval { start: now(), end: now() },
        run_after: now(),
        conf: serde_json::Map::new(),
        version_key: version.key,
        backfill_key: None,
        triggered_by: "asset".to_owned(),
        tasks: version.new_instances(),
        asset_events: (1..=12).map(event).collect(),
    };
    let batch = Batch { new_runs: vec![run], ..Batch::default() };
    site.runtime.block_on(site.plant.store.commit_unled(&batch, now())).unwrap();
    let page = site.get("/dags/reader/runs/asset_triggered__1").is(200).body;
    assert!(page.contains("s3:&#x2f;&#x2f;lake&#x2f;12<") && page.contains("and 2 more"), "{page}");
    assert!(!page.contains("lake&#x2f;2<"), "the newest ten: {page}");
    assert!(page.contains(">copy_orders</a>"), "{page}");
    assert!(site.get("/dags/reader/details").is(200).body.contains("/audit?dag=reader"));
}
