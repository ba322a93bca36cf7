//! What callbacks were told, over REST.

use millrace_model::change::Batch;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::notice::{Callback, Notice, NoticeEvent, NoticeTry};
use serde_json::{Value, json};

use crate::site::{Site, VIEWER, now};

const ADDRESS: &str = "/api/v1/notifications";

/// Of a task to a webhook, which was given up, and of its run to a command, which waits.
fn with_notifications(site: &Site) -> i64 {
    let notice = |of_try, callback| Notice {
        run: site.running,
        dag_id: DagId::new_unchecked("copy_orders"),
        run_id: RunId::new_unchecked("one"),
        logical_date: now(),
        of_try,
        event: NoticeEvent::Failure,
        reason: Some("cannot reach mysql://me:pass-hidden@db/shop".to_owned()),
        callback,
        at: now(),
    };
    let of_try = NoticeTry { instance: 1, task_id: TaskId::new_unchecked("load"), map_index: -1, try_number: 2 };
    let notices = vec![
        notice(Some(of_try), Callback::Webhook("hooks".to_owned())),
        notice(None, Callback::Command("curl -d secret-text example.invalid".to_owned())),
    ];
    site.runtime.block_on(async {
        let store = &site.plant.store;
        store.commit_unled(&Batch { notices, ..Batch::default() }, now()).await.unwrap();
        let first = store.take_notifications(1, now(), now()).await.unwrap().remove(0);
        store.settle_notification(first.id, Some(("404 Not Found", None)), now()).await.unwrap();
        first.id
    })
}

#[test]
fn notifications_are_listed_with_their_state_and_sent_again_on_request() {
    let site = Site::start();
    let given_up = with_notifications(&site);
    let list = |address: &str| site.call("GET", address, &[("authorization", VIEWER)], None).is(200).json();
    let told = list(ADDRESS);
    let rows = told["notifications"].as_array().unwrap();
    assert_eq!(rows.len(), 2);
    assert!(!told.to_string().contains("hidden") && !told.to_string().contains("secret-text"), "{told}");
    let (run, task) = (&rows[0], &rows[1]);
    assert_eq!((&run["state"], &run["callback"], &run["task_id"]), (&json!("waits"), &json!("command"), &Value::Null));
    assert_eq!((&task["state"], &task["callback"]), (&json!("given up"), &json!("webhook hooks")));
    assert_eq!(
        (&task["error"], &task["try_number"], &task["id"]),
        (&json!("404 Not Found"), &json!(2), &json!(given_up))
    );
    assert_eq!(list(&format!("{ADDRESS}?limit=1"))["notifications"].as_array().unwrap().len(), 1);

    let home = site.get("/").is(200).body;
    assert!(home.contains("webhook hooks was not told of failure") && home.contains("404 Not Found"), "{home}");
    assert!(home.contains("/notifications/retry"), "{home}");

    let retry = format!("{ADDRESS}/retry");
    site.send_as(VIEWER, "POST", &retry, &json!({})).is(403);
    site.send("POST", &retry, &json!({"colour": 1})).is(422);
    assert_eq!(site.send("POST", &retry, &json!({"ids": [given_up + 1, 99]})).is(200).json()["retried"], 0);
    assert_eq!(site.send("POST", &retry, &json!({"ids": [given_up]})).is(200).json()["retried"], 1);
    let states: Vec<Value> = list(&format!("{ADDRESS}?unsent=true"))["notifications"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["state"].clone())
        .collect();
    assert_eq!(states, ["waits", "waits"]);
    assert!(site.audit().iter().any(|row| row.action == "notifications_retried"));
}
