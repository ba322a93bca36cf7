//! Every change leaves a row in the audit log, with what was before and what is after: all addresses are walked.

use std::collections::BTreeSet;

use millrace_model::alert::{Alert, AlertKind};
use millrace_model::asset::{AssetCondition, AssetName};
use millrace_model::change::Batch;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::notice::{Callback, Notice, NoticeEvent};
use millrace_server::doors;
use serde_json::{Value, json};

use crate::plant::dag;
use crate::site::{ADMIN, Site, now};

/// What the rows of an act must have.
#[derive(Clone, Copy, PartialEq)]
enum Tells {
    After,
    Before,
    Both,
}
use Tells::{After, Before, Both};

/// These change nothing that anybody else sees, or nothing at all.
const WITHOUT: [&str; 17] = [
    // Lists that are asked for with a body, and what only looks.
    "POST /api/v1/dags/{dag_id}/dagRuns/list",
    "POST /api/v1/dags/{dag_id}/dagRuns/{run_id}/taskInstances/list",
    "POST /api/v1/backfills/dry_run",
    "PATCH /api/v1/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/dry_run",
    "PATCH /api/v1/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/{map_index}/dry_run",
    "PATCH /api/v1/dags/{dag_id}/dagRuns/{run_id}/taskGroupInstances/{group_id}/dry_run",
    "POST /api/v1/connections/test",
    "POST /connections/test",
    // It asks whether one is sure.
    "POST /sure",
    // What is asked for is done by the scheduler: the audit log says who asked.
    "PUT /api/v1/parseDagFile/{file_token}",
    "PUT /api/v1/dags/{dag_id}/reparse",
    // Cookies of one browser.
    "POST /dags/{dag_id}/favourite",
    "POST /view",
    // Who comes and goes.
    "POST /api/v1/auth/token",
    "POST /sign-in",
    "POST /sign-out",
    // Deliveries start what the webhook is for, as its own tests say.
    "POST /api/v1/webhooks/{name}",
];

struct Walk {
    site: Site,
    csrf: String,
    walked: BTreeSet<String>,
    troubles: Vec<String>,
}

impl Walk {
    fn new() -> Self {
        let site = Site::start();
        site.runtime.block_on(plant(&site));
        let page = site.get("/account").is(200).body;
        let csrf = page.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        Self { site, csrf, walked: BTreeSet::new(), troubles: Vec::new() }
    }

    /// Goes through a door: of the API with JSON, of the pages with the fields of a form. Gives what is answered.
    fn through(&mut self, door: &str, names: &[(&str, &str)], body: &Value, tells: Tells) -> Value {
        let (method, declared) = door.split_once(' ').unwrap();
        let path = names.iter().fold(declared.to_owned(), |path, (name, value)| {
            path.replace(&format!("{{{name}}}"), &value.replace(':', "%3A").replace('+', "%2B"))
        });
        assert!(!path.contains('{'), "{path}");
        // No two runs have one logical date.
        self.site.advance(chrono::TimeDelta::seconds(1));
        let newest = self.site.audit()[0].id;
        let (kind, text) = match body {
            Value::String(fields) => ("application/x-www-form-urlencoded", fields.clone()),
            body => ("application/json", body.to_string()),
        };
        let headers = [("authorization", ADMIN), ("content-type", kind), ("x-csrf-token", self.csrf.as_str())];
        let answer = self.site.call(method, &path, &headers, Some(&text));
        self.walked.insert(door.split('?').next().unwrap().to_owned());
        if !(200..400).contains(&answer.status) {
            let text: String = answer.body.chars().take(300).collect();
            self.troubles.push(format!("{door} {path}: {} {text}", answer.status));
            return Value::Null;
        }
        let rows: Vec<_> = self.site.audit().into_iter().filter(|row| row.id > newest).collect();
        if rows.is_empty() {
            self.troubles.push(format!("{door} leaves no row: {}", answer.body));
        }
        for row in rows {
            let is_told = (row.before.is_some() || tells == After) && (row.after.is_some() || tells == Before);
            if !is_told || !row.actor.ends_with(":admin") {
                self.troubles.push(format!("{door} does not tell what was or is: {row:?}"));
            }
        }
        serde_json::from_str(&answer.body).unwrap_or_default()
    }

    fn id(&self, path: &str, list: &str) -> String {
        self.site.get(path).is(200).json()[list][0]["id"].to_string()
    }

    /// A run of the DAG whose tasks have all been given up.
    fn failed_run(&self, name: &str) {
        self.site.advance(chrono::TimeDelta::seconds(1));
        self.site.send("POST", "/api/v1/dags/work/dagRuns", &json!({"dag_run_id": name})).is(200);
        self.site.send("PATCH", &format!("/api/v1/dags/work/dagRuns/{name}"), &json!({"state": "failed"})).is(200);
    }
}

/// `work` makes an asset, in a group and mapped; `reader` waits for it and another one; `gone` has no file any more.
async fn plant(site: &Site) {
    let lines: &[crate::plant::TaskLine<'_>] =
        &[("first", "empty", &[], 0), ("each", "empty", &[], 0), ("list", "empty", &[], 0), ("g.one", "empty", &[], 0)];
    let mut work = dag("work", "@daily", "UTC", &["shop"], lines);
    work.tasks[0].outlets = vec![AssetName::new_unchecked("orders")];
    work.tasks[1].expand = Some(serde_json::from_value(json!({"each": {"list": [1, 2]}})).unwrap());
    work.tasks[3].group = Some(TaskId::new_unchecked("g"));
    work.groups = vec![serde_json::from_value(json!({"group_id": "g"})).unwrap()];
    site.plant.sync(work, true, now()).await;
    let mut reader = dag("reader", "none", "UTC", &[], &[("use", "empty", &[], 0)]);
    let assets = ["orders", "clients"].map(|name| AssetCondition::Asset(AssetName::new_unchecked(name)));
    reader.assets = Some(AssetCondition::All(assets.to_vec()));
    site.plant.sync(reader, false, now()).await;
    let alert = |kind| Alert {
        dag_id: DagId::new_unchecked("copy_orders"),
        run: site.running,
        kind,
        message: "late".to_owned(),
        at: now(),
    };
    let notice = Notice {
        run: site.running,
        dag_id: DagId::new_unchecked("copy_orders"),
        run_id: RunId::new_unchecked("one"),
        logical_date: now(),
        of_try: None,
        event: NoticeEvent::Failure,
        reason: None,
        callback: Callback::Command("true".to_owned()),
        at: now(),
    };
    let alerts = vec![alert(AlertKind::Deadline), alert(AlertKind::LongerThanUsual)];
    let store = &site.plant.store;
    store
        .commit_unled(&Batch { alerts, notices: vec![notice.clone(), notice], ..Batch::default() }, now())
        .await
        .unwrap();
    for given_up in store.take_notifications(2, now(), now()).await.unwrap() {
        store.settle_notification(given_up.id, Some(("404", None)), now()).await.unwrap();
    }
}

fn form(text: &str) -> Value {
    Value::String(text.to_owned())
}

#[test]
fn every_change_is_written_down_with_before_and_after() {
    let mut walk = Walk::new();
    people(&mut walk);
    kept_things(&mut walk);
    dags_and_assets(&mut walk);
    runs(&mut walk);
    backfills(&mut walk);
    history(&mut walk);
    let all =
        doors().into_iter().filter(|door| door.method != "GET").map(|door| format!("{} {}", door.method, door.path));
    let left: Vec<String> =
        all.filter(|door| !walk.walked.contains(door) && !WITHOUT.contains(&door.as_str())).collect();
    assert!(walk.troubles.is_empty(), "{:#?}", walk.troubles);
    assert!(left.is_empty(), "go through them, or say why they leave nothing: {left:#?}");
}

fn people(walk: &mut Walk) {
    let user = json!({"username": "ada", "password": "correct horse", "role": "viewer"});
    walk.through("POST /api/v1/users", &[], &user, After);
    walk.through("PATCH /api/v1/users/{username}", &[("username", "ada")], &json!({"role": "editor"}), Both);
    walk.through(
        "PATCH /api/v1/users/{username}",
        &[("username", "ada")],
        &json!({"password": "battery staple"}),
        Both,
    );
    let grant = json!({"username": "ada", "role": "operator", "tag": "shop"});
    let made = walk.through("POST /api/v1/grants", &[], &grant, After);
    let id = made["id"].to_string();
    walk.through("DELETE /api/v1/grants/{id}", &[("id", &id)], &Value::Null, Before);
    let made = walk.through("POST /api/v1/tokens", &[], &json!({"label": "ci"}), After);
    let id = made["id"].to_string();
    walk.through("DELETE /api/v1/tokens/{id}", &[("id", &id)], &Value::Null, Before);
    walk.through("POST /account", &[], &form("deed=token&label=again&scope="), After);
    let id = walk.id("/api/v1/tokens", "tokens");
    walk.through("POST /tokens/delete/{id}", &[("id", &id)], &form(""), Before);
    walk.through("DELETE /api/v1/users/{username}", &[("username", "ada")], &Value::Null, Before);
    walk.through("POST /users", &[], &form("username=bob&password=correct+horse&role=viewer"), After);
    for (deed, tells) in [
        ("deed=role&role=editor", Both),
        ("deed=password&password=battery+staple", Both),
        ("deed=disable", Both),
        ("deed=enable", Both),
        ("deed=grant&role=operator&kind=dag&of=work", After),
        ("deed=grant&role=editor&kind=dag&of=work", Both),
        ("deed=delete", Before),
    ] {
        walk.through("POST /users/{username}", &[("username", "bob")], &form(deed), tells);
    }
}

fn kept_things(walk: &mut Walk) {
    let bulk = |action: &str, entity: Value| json!({"actions": [{"action": action, "entities": [entity]}]});
    for (kind, of, name, whole, other) in [
        ("pools", "name", "etl", json!({"name": "etl", "slots": 2}), json!({"slots": 3})),
        ("variables", "variable_key", "colour", json!({"key": "colour", "value": "red"}), json!({"value": "blue"})),
        (
            "connections",
            "conn_id",
            "shop",
            json!({"connection_id": "shop", "conn_type": "sqlite", "schema": "/tmp/a"}),
            json!({"schema": "/tmp/b"}),
        ),
    ] {
        let (all, one) = (format!("/api/v1/{kind}"), format!("/api/v1/{kind}/{{{of}}}"));
        walk.through(&format!("POST {all}"), &[], &whole, After);
        walk.through(&format!("PATCH {one}"), &[(of, name)], &other, Both);
        walk.through(&format!("DELETE {one}"), &[(of, name)], &Value::Null, Before);
        walk.through(&format!("PATCH {all}"), &[], &bulk("create", whole.clone()), After);
        walk.through(&format!("PATCH {all}"), &[], &bulk("update", whole), Both);
        walk.through(&format!("PATCH {all}"), &[], &bulk("delete", json!(name)), Before);
    }
    let named_so = json!({"connection_id": "test", "conn_type": "sqlite", "schema": "/tmp/a"});
    walk.through("POST /api/v1/connections", &[], &named_so, After);
    walk.through("PATCH /api/v1/connections/test", &[], &json!({"schema": "/tmp/b"}), Both);
    walk.through("DELETE /api/v1/connections/test", &[], &Value::Null, Before);
    walk.through("POST /variables", &[], &form("key=size&value=1"), After);
    walk.through("POST /variables/delete/{key}", &[("key", "size")], &form(""), Before);
    walk.through("POST /pools", &[], &form("name=small&slots=1"), After);
    walk.through("POST /pools/delete/{name}", &[("name", "small")], &form(""), Before);
    walk.through("POST /connections", &[], &form("connection_id=hook&conn_type=http&host=x"), After);
    walk.through("POST /connections/delete/{conn_id}", &[("conn_id", "hook")], &form(""), Before);
    walk.through("POST /api/v1/webhooks", &[], &json!({"name": "in", "dag_id": "work"}), After);
    walk.through("DELETE /api/v1/webhooks/{name}", &[("name", "in")], &Value::Null, Before);
    walk.through("POST /webhooks", &[], &form("name=again&kind=dag&of=work"), After);
    walk.through("POST /webhooks/delete/{name}", &[("name", "again")], &form(""), Before);
    let id = walk.id("/api/v1/alerts", "alerts");
    walk.through("POST /alerts/{id}/seen", &[("id", &id)], &form(""), Both);
    walk.through("POST /api/v1/alerts/seen", &[], &json!({}), Both);
    let id: i64 = walk.id("/api/v1/notifications", "notifications").parse().unwrap();
    walk.through("POST /api/v1/notifications/retry", &[], &json!({"ids": [id]}), Both);
    walk.through("POST /notifications/retry", &[], &form(""), Both);
}

fn dags_and_assets(walk: &mut Walk) {
    let work = &[("dag_id", "work")];
    walk.through("PATCH /api/v1/dags/{dag_id}", work, &json!({"is_paused": false}), Both);
    walk.through("PATCH /api/v1/dags?dag_id_pattern=~", &[], &json!({"is_paused": true}), Both);
    walk.through("PATCH /api/v1/dags?dag_id_pattern=~", &[], &json!({"is_paused": false}), Both);
    walk.through("POST /dags/{dag_id}/pause", work, &form("is_paused=true"), Both);
    walk.through("POST /dags/{dag_id}/pause", work, &form("is_paused=false"), Both);
    let (reader, orders) = (("dag_id", "reader"), ("asset_id", "orders"));
    let happens = json!({"asset": "orders"});
    for (door, names) in [
        ("DELETE /api/v1/dags/{dag_id}/assets/queuedEvents", vec![reader]),
        ("DELETE /api/v1/dags/{dag_id}/assets/{asset_id}/queuedEvents", vec![reader, orders]),
        ("DELETE /api/v1/assets/{asset_id}/queuedEvents", vec![orders]),
    ] {
        walk.through("POST /api/v1/assets/events", &[], &happens, After);
        walk.through(door, &names, &Value::Null, Both);
    }
    walk.through("POST /api/v1/assets/materialize", &[], &happens, After);
    walk.through("POST /api/v1/assets/{asset_id}/materialize", &[orders], &json!({}), After);
}

fn runs(walk: &mut Walk) {
    let (work, one) = (("dag_id", "work"), ("run_id", "one"));
    walk.through("POST /api/v1/dags/{dag_id}/dagRuns", &[work], &json!({"dag_run_id": "one"}), After);
    walk.through("POST /dags/{dag_id}/trigger", &[work], &form("dag_run_id=two"), After);
    let run = "/api/v1/dags/{dag_id}/dagRuns/{run_id}";
    walk.through(&format!("PATCH {run}"), &[work, one], &json!({"note": "mine"}), Both);
    let mark = json!({"new_state": "failed"});
    let tasks = format!("{run}/taskInstances");
    let first = ("task_id", "first");
    walk.through(&format!("PATCH {tasks}/{{task_id}}"), &[work, one, first], &mark, Both);
    let each = [work, one, ("task_id", "each"), ("map_index", "1")];
    walk.through(&format!("PATCH {tasks}/{{task_id}}/{{map_index}}"), &each, &mark, Both);
    walk.through(&format!("PATCH {tasks}/list"), &[work, one], &mark, Both);
    let group = [work, one, ("group_id", "g")];
    walk.through(&format!("PATCH {run}/taskGroupInstances/{{group_id}}"), &group, &mark, Both);
    let many = json!({"actions": [{"action": "update", "entities": [{"task_id": "first", "new_state": "success"}]}]});
    walk.through(&format!("PATCH {tasks}"), &[work, one], &many, Both);
    let list = [work, one];
    walk.site.send("POST", "/api/v1/dags/work/clearTaskInstances", &json!({"dry_run": true})).is(200);
    let clear = json!({"dry_run": false, "only_failed": false, "dag_run_id": "one"});
    walk.through("POST /api/v1/dags/{dag_id}/clearTaskInstances", &[work], &clear, Both);
    walk.through(&format!("PATCH {run}"), &list, &json!({"state": "failed"}), Both);
    walk.through(&format!("POST {run}/clear"), &list, &json!({"dry_run": false}), Both);
    walk.failed_run("three");
    let runs = json!({"dag_run_ids": ["three"], "dry_run": false});
    walk.through("POST /api/v1/dags/{dag_id}/clearDagRuns", &[work], &runs, Both);
    let note = json!({"actions": [{"action": "update", "entities": [{"dag_run_id": "three", "note": "n"}]}]});
    walk.through("PATCH /api/v1/dags/{dag_id}/dagRuns", &[work], &note, Both);

    let page = "/dags/{dag_id}/runs/{run_id}";
    walk.through(&format!("POST {page}/note"), &list, &form("note=ours"), Both);
    walk.through(&format!("POST {page}/change"), &list, &form("action=failed&sure=yes"), Both);
    walk.through("POST /dags/{dag_id}/rerun-failed", &[work], &form("sure=yes"), Both);
    let item = "action=failed&sure=yes&item=work%0Aone%0Afirst%0A-1";
    walk.through("POST /task-instances/change", &[], &form(item), Both);

    // Another version, which a run may be given.
    let lines: &[crate::plant::TaskLine<'_>] = &[("first", "empty", &[], 0), ("more", "empty", &[], 0)];
    walk.site.runtime.block_on(walk.site.plant.sync(dag("work", "@daily", "UTC", &["shop"], lines), false, now()));
    walk.through(&format!("POST {run}/repin"), &list, &json!({"dry_run": false}), Both);
    walk.through(&format!("POST {page}/repin"), &[work, ("run_id", "two")], &form(""), Both);
}

fn backfills(walk: &mut Walk) {
    let wish = |day: u32| json!({"dag_id": "work", "from_date": format!("2024-01-{day:02}"), "to_date": format!("2024-01-{:02}", day + 2)});
    let made = walk.through("POST /api/v1/backfills", &[], &wish(1), After);
    let key = made["id"].to_string();
    for act in ["pause", "unpause", "cancel"] {
        walk.through(&format!("PUT /api/v1/backfills/{{key}}/{act}"), &[("key", &key)], &Value::Null, Both);
    }
    let fields = form("from=2024-01-10&to=2024-01-12&sure=yes");
    walk.through("POST /dags/{dag_id}/backfills", &[("dag_id", "work")], &fields, After);
    let key = walk.id("/api/v1/backfills?active=true", "backfills");
    for act in ["pause", "unpause", "cancel"] {
        let names = [("dag_id", "work"), ("key", key.as_str()), ("action", act)];
        walk.through("POST /dags/{dag_id}/backfills/{key}/{action}", &names, &form(""), Both);
    }
}

fn history(walk: &mut Walk) {
    for name in ["list", "old"] {
        walk.failed_run(name);
        if name == "list" {
            let note = json!({"note": "mine"});
            walk.through("PATCH /api/v1/dags/{dag_id}/dagRuns/list", &[("dag_id", "work")], &note, Both);
        }
        let door = if name == "list" {
            "DELETE /api/v1/dags/{dag_id}/dagRuns/list"
        } else {
            "DELETE /api/v1/dags/{dag_id}/dagRuns/{run_id}"
        };
        walk.through(door, &[("dag_id", "work"), ("run_id", name)], &Value::Null, Before);
    }
    let quiet = walk.site.plant.store.mark_stale(&[], &[], now());
    walk.site.runtime.block_on(quiet).unwrap();
    walk.through("DELETE /api/v1/dags/{dag_id}", &[("dag_id", "quiet")], &Value::Null, Before);
    // The tokens of forms end with the old password.
    let same = json!({"old_password": "open sesame", "new_password": "open sesame"});
    walk.through("POST /api/v1/account/password", &[], &same, Both);
}
