//! Two people, or two browsers, change the same thing.

use std::sync::Barrier;

use serde_json::{Value, json};

use crate::site::{ADMIN, Answer, FAILED_RUN, Site, call_at};

/// Both at the same moment.
fn at_once(site: &Site, requests: [(&str, &str, Value); 2]) -> [Answer; 2] {
    let start = Barrier::new(2);
    let send = |(method, path, body): &(&str, &str, Value)| {
        start.wait();
        site.send(method, path, body)
    };
    std::thread::scope(|scope| {
        let both = requests.each_ref().map(|request| scope.spawn(move || send(request)));
        both.map(|one| one.join().unwrap())
    })
}

fn statuses(answers: &[Answer; 2]) -> [u16; 2] {
    let mut both = answers.each_ref().map(|answer| answer.status);
    both.sort_unstable();
    both
}

#[test]
fn of_two_who_make_the_same_thing_one_is_told() {
    let site = Site::start();
    for round in 0..5 {
        let date = format!("2024-02-0{}", round + 1);
        let run = json!({"dag_run_id": format!("mine-{round}"), "logical_date": date});
        let path = "/api/v1/dags/copy_orders/dagRuns";
        let both = at_once(&site, [("POST", path, run.clone()), ("POST", path, run)]);
        assert_eq!(statuses(&both), [200, 409]);
        let refused = both.iter().find(|answer| answer.status == 409).unwrap().json();
        assert_eq!(refused["existing_run"]["dag_run_id"], format!("mine-{round}"));

        for (path, body) in [
            ("/api/v1/pools", json!({"name": format!("pool-{round}"), "slots": 1})),
            ("/api/v1/variables", json!({"key": format!("variable-{round}"), "value": "1"})),
            ("/api/v1/connections", json!({"connection_id": format!("connection-{round}"), "conn_type": "http"})),
        ] {
            let both = at_once(&site, [("POST", path, body.clone()), ("POST", path, body.clone())]);
            assert_eq!(statuses(&both), [201, 409], "{path}");
            let bulk = json!({"actions": [{"action": "create", "entities": [body]}]});
            let both = at_once(&site, [("PATCH", path, bulk.clone()), ("PATCH", path, bulk)]);
            assert!(both.iter().all(|answer| answer.json()["create"]["success"] == json!([])), "{path}");
        }
        let pool = json!({"name": format!("pool-many-{round}"), "slots": 1});
        let bulk = json!({"actions": [{"action": "create", "entities": [pool]}]});
        let both = at_once(&site, [("PATCH", "/api/v1/pools", bulk.clone()), ("PATCH", "/api/v1/pools", bulk)]);
        let made = both.iter().filter(|answer| answer.json()["create"]["errors"] == json!([])).count();
        assert_eq!(made, 1, "{} {}", both[0].body, both[1].body);

        let user = |word: &str| json!({"username": format!("user-{round}"), "password": format!("{word} password"), "role": "viewer"});
        let both = at_once(&site, [("POST", "/api/v1/users", user("one")), ("POST", "/api/v1/users", user("two"))]);
        assert_eq!(statuses(&both), [201, 409]);

        let gone = format!("/api/v1/pools/pool-{round}");
        let both = at_once(&site, [("DELETE", &gone, json!({})), ("DELETE", &gone, json!({}))]);
        assert_eq!(statuses(&both), [204, 404]);
    }
}

#[test]
fn what_both_change_is_what_one_of_them_wanted() {
    let site = Site::start();
    let path = "/api/v1/dags/copy_orders";
    for round in 0..5 {
        let pause = |is_paused: bool| ("PATCH", path, json!({"is_paused": is_paused}));
        let both = at_once(&site, [pause(round % 2 == 0), pause(round % 2 == 1)]);
        assert_eq!(statuses(&both), [200, 200]);
        // The audit log's last word is how it is.
        let is_paused = site.get(path).json()["is_paused"].as_bool().unwrap();
        let last = site.audit().into_iter().find(|row| row.action == "pause" || row.action == "unpause");
        assert!(last.is_none_or(|row| (row.action == "pause") == is_paused), "{is_paused}");
    }
    let run = format!("{path}/dagRuns/{}", FAILED_RUN.replace(':', "%3A").replace('+', "%2B"));
    let (clear, mark) = (format!("{run}/clear"), run.clone());
    for _ in 0..5 {
        let both = at_once(
            &site,
            [("POST", &clear, json!({"dry_run": false})), ("PATCH", &mark, json!({"state": "success"}))],
        );
        assert_eq!(statuses(&both), [200, 200], "{} {}", both[0].body, both[1].body);
        let state = site.get(&run).json()["state"].clone();
        assert!(["queued", "running", "success"].iter().any(|one| state == *one), "{state}");
    }
    let last = ["set-role", "delete"];
    // Of the last two admins, both cannot go.
    for word in last {
        let name = format!("second-{word}");
        let user = json!({"username": name, "password": "long enough", "role": "admin"});
        site.send("POST", "/api/v1/users", &user).is(201);
    }
    let both = at_once(
        &site,
        [
            ("PATCH", "/api/v1/users/second-set-role", json!({"role": "viewer"})),
            ("DELETE", "/api/v1/users/second-delete", json!({})),
        ],
    );
    assert!(statuses(&both)[1] < 300, "a third one stays: {:?}", statuses(&both));
}

/// Each names what they change: nobody's change is gone.
#[test]
fn of_two_who_change_different_members_both_have_their_way() {
    let mut site = Site::start();
    let other = site.start_another();
    site.send("POST", "/api/v1/pools", &json!({"name": "it", "slots": 1})).is(201);
    site.send("POST", "/api/v1/variables", &json!({"key": "it", "value": "0"})).is(201);
    site.send("POST", "/api/v1/connections", &json!({"connection_id": "it", "conn_type": "http"})).is(201);
    let headers = [("authorization", ADMIN), ("content-type", "application/json")];
    for round in 1..=10 {
        for (path, one, two) in [
            ("/api/v1/pools/it", json!({"slots": round}), json!({"include_deferred": round % 2 == 0})),
            (
                "/api/v1/variables/it",
                json!({"value": round.to_string()}),
                json!({"description": format!("of {round}")}),
            ),
            ("/api/v1/connections/it", json!({"host": format!("h{round}")}), json!({"login": format!("l{round}")})),
        ] {
            let start = Barrier::new(2);
            let send = |base: Option<&str>, body: &Value| {
                let body = body.to_string();
                start.wait();
                match base {
                    Some(base) => call_at(base, "PATCH", path, &headers, Some(&body)),
                    None => site.call("PATCH", path, &headers, Some(&body)),
                }
            };
            std::thread::scope(|scope| {
                let first = scope.spawn(|| send(None, &one));
                let second = scope.spawn(|| send((round % 2 == 0).then_some(&other), &two));
                [first, second].map(|one| one.join().unwrap().is(200))
            });
            let now = site.get(path).json();
            for (name, value) in [&one, &two].into_iter().flat_map(|wanted| wanted.as_object().unwrap()) {
                assert_eq!(&now[name], value, "{path} {name}: {now}");
            }
        }
    }
}

/// `If-Match` is how a client says "only if it is as I saw it".
#[test]
fn a_change_can_be_made_to_hold_for_what_was_seen() {
    let site = Site::start();
    let pool = json!({"name": "etl", "slots": 4, "description": "first"});
    site.send("POST", "/api/v1/pools", &pool).is(201);
    let path = "/api/v1/pools/etl";
    let seen = site.get(path).is(200).header("etag").to_owned();
    assert!(seen.starts_with('"') && seen.len() > 10, "{seen}");
    let unchanged = [("authorization", ADMIN), ("if-none-match", seen.as_str())];
    assert_eq!(site.call("GET", path, &unchanged, None).is(304).body, "");
    let start = Barrier::new(2);
    let patch = |slots: u32| {
        start.wait();
        let headers = [("authorization", ADMIN), ("content-type", "application/json"), ("if-match", seen.as_str())];
        site.call("PATCH", path, &headers, Some(&json!({"slots": slots}).to_string()))
    };
    let both =
        std::thread::scope(|scope| [scope.spawn(|| patch(7)), scope.spawn(|| patch(9))].map(|one| one.join().unwrap()));
    assert_eq!(statuses(&both), [200, 412]);
    let refused = both.iter().find(|answer| answer.status == 412).unwrap();
    assert_eq!(refused.json()["code"], "precondition_failed");
    let now = site.get(path);
    assert_eq!(refused.header("etag"), now.header("etag"), "the refusal says what to compare with");
    let won = both.iter().find(|answer| answer.status == 200).unwrap().json();
    assert_eq!(now.json()["slots"], won["slots"]);
    // Whoever asks for what is not to be seen changes nothing.
    let blind = [("authorization", ADMIN), ("content-type", "application/json"), ("if-match", "*")];
    site.call("PATCH", "/api/v1/pools/none", &blind, Some("{\"slots\": 1}")).is(412);
    site.call("GET", path, &unchanged, None).is(200);
}

/// What is drawn as `***` before and after is another thing all the same.
#[test]
fn a_secret_that_was_changed_is_noticed() {
    let site = Site::start();
    let connection =
        json!({"connection_id": "pg1", "conn_type": "postgres", "host": "db", "password": "the first one"});
    site.send("POST", "/api/v1/connections", &connection).is(201);
    let nested = json!({"connection_id": "api1", "conn_type": "http", "extra": {"api_key": "the first one"}});
    site.send("POST", "/api/v1/connections", &nested).is(201);
    site.send("POST", "/api/v1/variables", &json!({"key": "db_password", "value": "the first one"})).is(201);
    for (list, name, secret) in [
        ("/api/v1/connections", "pg1", json!({"password": "another one"})),
        ("/api/v1/connections", "api1", json!({"extra": {"api_key": "another one"}})),
        ("/api/v1/variables", "db_password", json!({"value": "another one"})),
    ] {
        let path = format!("{list}/{name}");
        let (seen, seen_list) = (site.get(&path).is(200), site.get(list).is(200));
        let unchanged = |path: &str, tag: &str| {
            site.call("GET", path, &[("authorization", ADMIN), ("if-none-match", tag)], None).status == 304
        };
        assert!(unchanged(&path, seen.header("etag")) && unchanged(list, seen_list.header("etag")), "{path}");
        site.send("PATCH", &path, &secret).is(200);
        assert_eq!(site.get(&path).json(), seen.json(), "it looks as before");
        assert!(!unchanged(&path, seen.header("etag")) && !unchanged(list, seen_list.header("etag")), "{path}");
        let late = |method: &str, path: &str, tag: &str, body: &Value| {
            let headers = [("authorization", ADMIN), ("content-type", "application/json"), ("if-match", tag)];
            site.call(method, path, &headers, Some(&body.to_string())).is(412)
        };
        late("PATCH", &path, seen.header("etag"), &json!({"description": "mine"}));
        late("PATCH", list, seen_list.header("etag"), &json!({"actions": []}));
        let refused = late("DELETE", &path, seen.header("etag"), &json!({}));
        assert_eq!(refused.header("etag"), site.get(&path).header("etag"));
        assert_eq!(site.get(&path).json(), seen.json(), "nothing was done");
    }
}

/// The second browser saves a form of something that the first has deleted.
#[test]
fn what_was_deleted_meanwhile_is_not_changed() {
    let site = Site::start();
    let connection = json!({"connection_id": "lake", "conn_type": "aws", "password": "open the lake"});
    site.send("POST", "/api/v1/connections", &connection).is(201);
    site.send("DELETE", "/api/v1/connections/lake", &json!({})).is(204);
    let late = site.send("PATCH", "/api/v1/connections/lake", &json!({"password": "***"})).is(404);
    assert_eq!(late.json()["code"], "connection_not_found");
    site.send("DELETE", "/api/v1/connections/lake", &json!({})).is(404);
}

/// Two servers of one home, as two processes are: neither makes a change on what the other has just changed.
#[test]
fn what_was_seen_holds_whichever_server_is_asked() {
    let mut site = Site::start();
    let other = site.start_another();
    let pool = json!({"name": "etl", "slots": 4});
    site.send("POST", "/api/v1/pools", &pool).is(201);
    let path = "/api/v1/pools/etl";
    for round in 0..10 {
        let seen = site.get(path).is(200).header("etag").to_owned();
        let headers = [("authorization", ADMIN), ("content-type", "application/json"), ("if-match", seen.as_str())];
        let start = Barrier::new(2);
        let patch = |base: Option<&str>, slots: u32| {
            let body = json!({ "slots": slots }).to_string();
            start.wait();
            match base {
                Some(base) => call_at(base, "PATCH", path, &headers, Some(&body)),
                None => site.call("PATCH", path, &headers, Some(&body)),
            }
        };
        let both = std::thread::scope(|scope| {
            let one = scope.spawn(|| patch(None, 10 + round));
            let two = scope.spawn(|| patch(Some(&other), 100 + round));
            [one, two].map(|one| one.join().unwrap())
        });
        assert_eq!(statuses(&both), [200, 412], "{} {}", both[0].body, both[1].body);
    }
}
