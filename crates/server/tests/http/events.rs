//! Live updates.

use std::time::Duration;

use millrace_model::change::{Batch, Completion, Finish, RunMove, TryOutcome};
use millrace_model::state::{RunState, TaskState};
use millrace_store::{Store, StoreOptions};
use serde_json::json;

use crate::site::{RUNNING_RUN, Site, now};

fn finish(site: &Site, store: &Store) {
    let instance = site.runtime.block_on(store.instance(site.running, "load", -1)).unwrap().unwrap();
    let finish = Finish {
        completion: Completion::new(
            instance.key,
            1,
            instance.lease.unwrap().token,
            TryOutcome::Success,
            (now(), now()),
        ),
        to: TaskState::Success,
        reason: None,
        next_try_at: None,
        counts_try: true,
        asset_events: Vec::new(),
    };
    let batch = Batch { finishes: vec![finish], ..Batch::default() };
    let report = site.runtime.block_on(store.commit_unled(&batch, now())).unwrap();
    assert_eq!(report.stale_count(), 0);
}

fn tells(seen: &[String], task: &str, state: &str) -> bool {
    let wanted = json!({"dag": "copy_orders", "run": RUNNING_RUN, "task": task, "state": state});
    seen.iter().filter_map(|line| line.strip_prefix("data: ")).any(|data| {
        serde_json::from_str::<serde_json::Value>(data)
            .is_ok_and(|told| told.as_array().is_some_and(|all| all.contains(&wanted)))
    })
}

#[test]
fn a_commit_is_told_to_whoever_watches() {
    let site = Site::start();
    let seen = site.stream(
        "/events?dag=copy_orders",
        || finish(&site, &site.plant.store),
        |seen| tells(seen, "load", "success") || seen.len() > 200,
    );
    assert!(tells(&seen, "load", "success"), "{seen:?}");
}

#[test]
fn so_is_what_another_process_commits() {
    let site = Site::start();
    let file = site.plant.logs.root().parent().unwrap().join("millrace.db");
    let options = StoreOptions { url: format!("sqlite://{}", file.display()), max_connections: 1, home: None };
    let other = site.runtime.block_on(Store::open(&options)).unwrap();
    let end = || {
        finish(&site, &other);
        let step = RunMove { run: site.running, from: RunState::Running, to: RunState::Failed, reason: None };
        let batch = Batch { run_moves: vec![step], ..Batch::default() };
        site.runtime.block_on(other.commit_unled(&batch, now())).unwrap();
    };
    let seen = site.stream("/events", end, |seen| tells(seen, "load", "success") || seen.len() > 200);
    assert!(tells(&seen, "load", "success"), "{seen:?}");
}

#[test]
fn changes_of_other_dags_are_not_told() {
    let site = Site::start();
    let pause = |dag: &str, is_paused| {
        let dag = millrace_model::ids::DagId::new_unchecked(dag);
        site.runtime.block_on(site.plant.store.set_paused(&dag, is_paused, "test", now())).unwrap();
    };
    let change = || {
        pause("copy_orders", true);
        pause("quiet", false);
    };
    let seen = site.stream("/events?dag=quiet", change, |seen| seen.iter().any(|line| line.starts_with("data: [")));
    let text = seen.join("\n");
    assert!(text.contains("\"quiet\"") && text.contains("unpaused") && !text.contains("copy_orders"), "{text}");
}

#[test]
fn a_log_is_followed_to_its_end() {
    let site = Site::start();
    let path = format!("/dags/copy_orders/runs/{RUNNING_RUN}/tasks/load/log-events?try=1");
    let seen = site.stream(
        &path,
        || {
            let id = millrace_logs::TryId {
                dag_id: "copy_orders".to_owned(),
                run_id: RUNNING_RUN.to_owned(),
                task_id: "load".to_owned(),
                map_index: -1,
                try_number: 1,
            };
            let log = site.plant.logs.open(&id, std::sync::Arc::new(str::to_owned));
            log.write(now(), millrace_logs::Level::Error, "row 3");
            finish(&site, &site.plant.store);
        },
        |seen| seen.iter().any(|line| line == "event: end") || seen.len() > 200,
    );
    let text = seen.join("\n");
    assert!(text.contains("row 1") && text.contains("row 3") && text.contains("event: end"), "{text}");
    let missing = site.get("/dags/copy_orders/runs/x/tasks/load/log-events");
    assert_eq!(missing.status, 404);
}

/// What a command printed and its worker did not know to be a secret then.
#[test]
fn a_secret_with_a_colour_within_is_masked_on_every_face() {
    let site = Site::start();
    site.send("POST", "/api/v1/variables", &json!({"key": "my_api_key", "value": "supersecretvalue"})).is(201);
    let id = millrace_logs::TryId {
        dag_id: "copy_orders".to_owned(),
        run_id: RUNNING_RUN.to_owned(),
        task_id: "load".to_owned(),
        map_index: -1,
        try_number: 1,
    };
    let log = site.plant.logs.open(&id, std::sync::Arc::new(str::to_owned));
    log.write(now(), millrace_logs::Level::Info, "got <super\u{1b}[31msecretvalue\u{1b}[0m>");
    let live = site.stream(
        &format!("/dags/copy_orders/runs/{RUNNING_RUN}/tasks/load/log-events?try=1"),
        || (),
        |seen| seen.iter().any(|line| line.contains("got <")) || seen.len() > 200,
    );
    let rest = format!("/api/v1/dags/copy_orders/dagRuns/{RUNNING_RUN}/taskInstances/load/logs/1");
    let headers = [("authorization", crate::site::ADMIN), ("accept", "text/plain")];
    for text in [
        live.join("\n"),
        site.get(&rest).is(200).json()["content"].to_string(),
        site.call("GET", &rest, &headers, None).is(200).body,
        site.get(&format!("/dags/copy_orders/runs/{RUNNING_RUN}/tasks/load")).is(200).body,
    ] {
        assert!(text.contains("***") && !text.contains("secretvalue"), "{text}");
    }
}

#[test]
fn a_stream_ends_before_rights_are_stale() {
    let site = Site::start_with(|options| options.patience.stream = Duration::from_millis(300));
    let log = format!("/dags/copy_orders/runs/{RUNNING_RUN}/tasks/load/log-events?try=1");
    for path in ["/api/v1/events", log.as_str()] {
        let seen = site.stream(path, || (), |_| false);
        assert!(!seen.is_empty() && !seen.contains(&"event: end".to_owned()), "its task still runs: {seen:?}");
    }
}

#[test]
fn who_comes_again_is_told_what_was_missed() {
    let site = Site::start();
    let path = "/api/v1/events?dag=copy_orders";
    let begun = site.stream(path, || (), |seen| seen.iter().any(String::is_empty));
    assert!(begun.contains(&"event: begin".to_owned()), "{begun:?}");
    let mark = begun.iter().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    // Nobody is there.
    finish(&site, &site.plant.store);
    let again = |mark: &str| {
        let headers = [("accept", "text/event-stream"), ("last-event-id", mark)];
        site.stream_of(path, &headers, || (), |seen| seen.iter().any(String::is_empty))
    };
    let missed = again(&mark);
    assert!(tells(&missed, "load", "success"), "{missed:?}");
    let later = missed.iter().find_map(|line| line.strip_prefix("id: ")).unwrap();
    assert_ne!(later, mark);
    assert!(again(later).contains(&"event: begin".to_owned()), "there is nothing new");
    for strange in ["1-1", "nonsense"] {
        assert!(again(strange).contains(&"event: refresh".to_owned()), "nobody knows what was missed since {strange}");
    }
}

#[test]
fn a_run_is_waited_for_line_by_line() {
    let site = Site::start();
    let run = format!("/api/v1/dags/copy_orders/dagRuns/{}", RUNNING_RUN.replace(':', "%3A").replace('+', "%2B"));
    let accept = [("accept", "application/x-ndjson")];
    let end = || {
        site.send("PATCH", &run, &json!({"state": "failed"})).is(200);
    };
    let lines = site.stream_of(&format!("{run}/wait"), &accept, end, |_| false);
    let states: Vec<String> = lines
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["state"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(states.last().map(String::as_str), Some("failed"), "{lines:?}");
    assert!(states.len() <= 3 && states[..states.len() - 1].iter().all(|state| state == "running"), "{lines:?}");
    assert_eq!(site.stream_of(&format!("{run}/wait"), &accept, || (), |_| false).len(), 1, "it has ended");
    let none = [("authorization", crate::site::ADMIN), accept[0]];
    site.call("GET", "/api/v1/dags/copy_orders/dagRuns/none/wait", &none, None).is(404);
    site.call("GET", &format!("{run}/wait?timeout=86401"), &none, None).is(422);
}

#[test]
fn a_stream_ends_with_the_rights_of_who_reads_it() {
    let longest = Duration::from_mins(1);
    let site = Site::start_with(|options| options.patience.stream = longest);
    for (name, change) in [("ada", json!({"is_disabled": true})), ("eve", json!({"password": "quite another one"}))] {
        let token = site.token_of(name, "viewer");
        let shut_out = || drop(site.send("PATCH", &format!("/api/v1/users/{name}"), &change).is(200));
        let headers = [("accept", "text/event-stream"), ("authorization", token.as_str())];
        let begun = std::time::Instant::now();
        let seen = site.stream_of("/events", &headers, shut_out, |_| false);
        assert!(seen.contains(&"event: begin".to_owned()), "{seen:?}");
        assert!(begun.elapsed() < longest, "it ended by itself");
    }
}

#[test]
fn who_waits_for_a_run_learns_nothing_once_shut_out() {
    let site = Site::start();
    let run = format!("/api/v1/dags/copy_orders/dagRuns/{}", RUNNING_RUN.replace(':', "%3A").replace('+', "%2B"));
    let note = |text: &str| drop(site.send("PATCH", &run, &json!({"note": text})).is(200));
    let wait = |name: &str, end: &dyn Fn()| {
        let token = site.token_of(name, "viewer");
        let headers = [("accept", "application/x-ndjson"), ("authorization", token.as_str())];
        let change = || {
            end();
            note(&format!("not for {name}"));
        };
        let is_told = |seen: &[String]| seen.iter().any(|line| line.contains(&format!("not for {name}")));
        let lines = site.stream_of(&format!("{run}/wait"), &headers, change, is_told);
        assert!(!lines.is_empty());
        is_told(&lines)
    };
    assert!(wait("ada", &|| ()), "who may is told");
    assert!(!wait("bob", &|| drop(site.send("DELETE", "/api/v1/users/bob", &json!({})).is(204))));
    let revoke = || {
        let all = site.get("/api/v1/tokens?username=eve").is(200).json();
        let id = &all["tokens"][0]["id"];
        site.send("DELETE", &format!("/api/v1/tokens/{id}"), &json!({})).is(204);
    };
    assert!(!wait("eve", &revoke));
}
