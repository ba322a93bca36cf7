//! Connections over REST and on pages.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace_store::Told;
use serde_json::{Value, json};

use crate::site::{ADMIN, Answer, Site, now};

const ALL: &str = "/api/v1/connections";

fn add(site: &Site) {
    let body = json!({
        "connection_id": "warehouse", "conn_type": "postgres", "host": "db.internal", "port": 5432, "login": "etl",
        "password": "correct horse", "schema": "app", "extra": "{\"sslmode\": \"require\", \"api_token\": \"staple battery\"}",
    });
    let answer = site.send("POST", ALL, &body).is(201).json();
    assert_eq!(answer["password"], "***");
}

#[test]
fn secrets_are_never_shown() {
    let site = Site::start();
    add(&site);
    let all = site.get(ALL).is(200);
    assert_eq!(all.json()["total_entries"], 2);
    assert_eq!(all.json()["connections"][0]["origin"], "environment");
    let one = site.get(&format!("{ALL}/warehouse")).is(200);
    assert_eq!(one.json()["extra"], "{\"api_token\":\"***\",\"sslmode\":\"require\"}");
    let (list, edit) = (site.get("/connections").is(200), site.get("/connections/edit/warehouse").is(200));
    for answer in [all, one, list, edit] {
        for secret in ["correct horse", "staple battery", "environment-secret"] {
            assert!(!answer.body.contains(secret), "{}", answer.body);
        }
    }
    let rows = site.audit();
    assert!(
        rows.iter().any(|row| row.actor == "rest:admin" && row.details.to_string().contains("warehouse")),
        "{rows:?}"
    );
    assert!(!format!("{rows:?}").contains("correct horse"));
}

/// A connection whose description was changed had lost its password.
#[test]
fn a_change_of_many_leaves_what_it_does_not_name() {
    let site = Site::start();
    add(&site);
    let pool = json!({"name": "etl", "slots": 4, "description": "of the night", "include_deferred": true});
    site.send("POST", "/api/v1/pools", &pool).is(201);
    let variable = json!({"key": "region", "value": "seoul", "description": "where"});
    site.send("POST", "/api/v1/variables", &variable).is(201);
    for (list, name, entity) in [
        (ALL, "warehouse", json!({"connection_id": "warehouse", "description": "d"})),
        (ALL, "warehouse", json!({"connection_id": "warehouse", "conn_type": "postgres", "port": 5433})),
        ("/api/v1/pools", "etl", json!({"name": "etl", "slots": 7})),
        ("/api/v1/pools", "etl", json!({"name": "etl", "slots": 7, "description": null})),
        ("/api/v1/variables", "region", json!({"key": "region", "value": "busan"})),
    ] {
        let path = format!("{list}/{name}");
        let mut wanted = site.get(&path).is(200).json();
        wanted.as_object_mut().unwrap().extend(entity.as_object().unwrap().clone());
        let many = json!({"actions": [{"action": "update", "entities": [entity]}]});
        let done = site.send("PATCH", list, &many).is(200).json();
        assert_eq!(done["update"]["success"], json!([name]), "{done}");
        let mut is = site.get(&path).is(200).json();
        for answer in [&mut wanted, &mut is] {
            answer.as_object_mut().unwrap().remove("open_slots");
        }
        assert_eq!(is, wanted, "{entity}");
    }
    let tried = site.send("POST", &format!("{ALL}/test"), &json!({"connection_id": "warehouse"})).is(200).json();
    assert_eq!(tried["message"], "answers, password of 13 letters");
    // Who makes it anew replaces it.
    let anew = json!({"actions": [{"action": "create", "action_on_existence": "overwrite", "entities": [
        {"connection_id": "warehouse", "conn_type": "postgres"}]}]});
    site.send("PATCH", ALL, &anew).is(200);
    assert_eq!(site.get(&format!("{ALL}/warehouse")).json()["password"], Value::Null);
}

#[test]
fn case_98_three_stars_keep_what_is_there() {
    let site = Site::start();
    add(&site);
    let test = |body: &serde_json::Value| site.send("POST", &format!("{ALL}/test"), body).is(200).json();
    let stored = json!({"connection_id": "warehouse"});
    assert_eq!(test(&stored), json!({"status": true, "message": "answers, password of 13 letters"}));
    let changed = site.send("PATCH", &format!("{ALL}/warehouse"), &json!({"host": "new.internal"})).is(200).json();
    assert_eq!((&changed["host"], &changed["login"]), (&json!("new.internal"), &json!("etl")));
    assert_eq!(test(&stored)["message"], "answers, password of 13 letters");
    site.send("PATCH", &format!("{ALL}/warehouse"), &json!({"password": "***", "port": 5433})).is(200);
    assert_eq!(test(&stored)["message"], "answers, password of 13 letters");
    site.send("PATCH", &format!("{ALL}/warehouse"), &json!({"password": "seven77"})).is(200);
    assert_eq!(test(&stored)["message"], "answers, password of 7 letters");
    // What fails says so without the secret.
    let broken =
        json!({"connection_id": "warehouse", "conn_type": "postgres", "host": "broken", "password": "seven77"});
    assert_eq!(test(&broken), json!({"status": false, "message": "refused with ***"}));
}

#[test]
fn a_stored_secret_is_tried_only_where_it_is_stored_for() {
    let site = Site::start();
    add(&site);
    let test = |change: &Value| {
        let mut body = json!({
            "connection_id": "warehouse", "conn_type": "postgres", "host": "db.internal", "port": 5432, "login": "etl",
            "password": "***", "schema": "app", "extra": {"sslmode": "require", "api_token": "***"},
        });
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        site.send("POST", &format!("{ALL}/test"), &body)
    };
    assert_eq!(test(&json!({"login": "other"})).is(200).json()["message"], "answers, password of 13 letters");
    for elsewhere in [
        json!({"host": "127.0.0.1"}),
        json!({"port": 18977}),
        json!({"port": null}),
        json!({"conn_type": "mysql"}),
        json!({"schema": "other"}),
        json!({"extra": {"sslmode": "disable", "api_token": "***"}}),
        json!({"extra": {}}),
        // Of the two, one is known.
        json!({"host": "127.0.0.1", "password": "typed in"}),
    ] {
        let refused = test(&elsewhere).is(422).json();
        assert!(refused["detail"].as_str().unwrap().contains("enter the secret itself"), "{elsewhere}: {refused}");
    }
    let typed = json!({"host": "127.0.0.1", "port": 18977, "password": "typed in", "extra": {}});
    assert_eq!(test(&typed).is(200).json()["message"], "answers, password of 8 letters");
    // Nor those that nobody here may change.
    let environment = json!({"connection_id": "from_env", "conn_type": "postgres", "host": "h", "password": "***"});
    site.send("POST", &format!("{ALL}/test"), &environment).is(422);

    let rows: Vec<_> = site.audit().into_iter().filter(|row| row.action == "connection_tested").collect();
    assert_eq!(rows.len(), 2, "{rows:?}");
    let told = &rows[0].details;
    assert_eq!(
        (&told["conn_id"], &told["host"], &told["port"]),
        (&json!("warehouse"), &json!("127.0.0.1"), &json!(18977))
    );
    assert!(!format!("{rows:?}").contains("typed in"));
}

/// Whoever sends a password to a listener of his own need not wait for what it says.
#[test]
fn who_hangs_up_has_tried_the_connection_all_the_same() {
    let (called, is_called) = std::sync::mpsc::channel();
    let answers = Arc::new(tokio::sync::Semaphore::new(0));
    let may_answer = answers.clone();
    let site = Site::start_with(|options| {
        options.test_connection = Arc::new(move |_| {
            let (called, may_answer) = (called.clone(), may_answer.clone());
            Box::pin(async move {
                called.send(()).unwrap();
                drop(may_answer.acquire().await);
                Ok("answers".to_owned())
            })
        });
    });
    let mut socket = site.connect();
    let body = json!({"connection_id": "x", "conn_type": "postgres", "host": "listener.example"}).to_string();
    write!(
        socket,
        "POST {ALL}/test HTTP/1.1\r\nhost: a\r\nauthorization: {ADMIN}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    is_called.recv().unwrap();
    drop(socket);
    // It has noticed by then that he is gone.
    (0..20).for_each(|_| drop(site.get("/api/v1/version").is(200)));
    answers.add_permits(1);
    let is_told = || site.audit().iter().any(|row| row.details["host"] == "listener.example");
    let until = Instant::now() + Duration::from_secs(20);
    while !is_told() {
        assert!(Instant::now() < until, "nothing tells of it");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What changes nothing is under no condition; it would keep everybody waiting who changes something.
#[test]
fn a_test_takes_no_condition() {
    let site = Site::start();
    site.send("POST", ALL, &json!({"connection_id": "test", "conn_type": "postgres", "host": "h"})).is(201);
    let headers = [("authorization", ADMIN), ("content-type", "application/json"), ("if-match", "*")];
    let body = json!({"connection_id": "test"}).to_string();
    let refused = site.call("POST", &format!("{ALL}/test"), &headers, Some(&body)).is(412);
    assert!(refused.body.contains("nothing to see"), "{}", refused.body);
    site.call("PATCH", &format!("{ALL}/test"), &headers, Some("{\"host\": \"g\"}")).is(200);
}

#[test]
fn refusals() {
    let site = Site::start();
    add(&site);
    let same = json!({"connection_id": "warehouse", "conn_type": "sqlite"});
    assert_eq!(site.send("POST", ALL, &same).is(409).json()["code"], "conflict");
    for bad in [
        json!({"conn_type": "sqlite"}),
        json!({"connection_id": "a b", "conn_type": "sqlite"}),
        json!({"connection_id": "x"}),
        json!({"connection_id": "x", "conn_type": "sqlite", "port": 99999}),
        json!({"connection_id": "x", "conn_type": "sqlite", "extra": "[1]"}),
        json!({"connection_id": "x", "conn_type": "sqlite", "colour": "red"}),
    ] {
        site.send("POST", ALL, &bad).is(422);
    }
    let environment = format!("{ALL}/from_env");
    assert_eq!(site.send("PATCH", &environment, &json!({"host": "x"})).is(409).json()["code"], "conflict");
    site.send("DELETE", &environment, &json!({})).is(409);
    assert_eq!(site.get(&format!("{ALL}/nothing")).is(404).json()["code"], "connection_not_found");
    site.send("PATCH", &format!("{ALL}/nothing"), &json!({})).is(404);
    site.send("PATCH", &format!("{ALL}/warehouse"), &json!({"connection_id": "other"})).is(422);
    site.send("DELETE", &format!("{ALL}/warehouse"), &json!({})).is(204);
    site.send("DELETE", &format!("{ALL}/warehouse"), &json!({})).is(404);
}

/// Sends forms as a person who has signed in.
fn poster(site: &Site) -> impl Fn(&str, &str) -> Answer {
    let cookie = site.sign_in();
    let page = site.call("GET", "/connections/new", &[("cookie", &cookie)], None).is(200).body;
    let token = page.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    move |path: &str, body: &str| {
        let headers = [("cookie", cookie.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        site.call("POST", path, &headers, Some(&format!("csrf_token={token}&{body}")))
    }
}

#[test]
fn the_form_adds_changes_and_deletes() {
    let site = Site::start();
    let post = poster(&site);
    post("/connections", "connection_id=shop&conn_type=mysql&host=db&port=3306&login=a&password=first+secret&extra=")
        .is(303);
    let wrong = post("/connections", "connection_id=shop2&conn_type=mysql&port=many&password=typed+in").is(422);
    assert!(wrong.body.contains("65535") && wrong.body.contains("value=\"shop2\""), "{}", wrong.body);
    assert!(!wrong.body.contains("typed in"));
    assert!(post("/connections", "connection_id=shop&conn_type=mysql").is(409).body.contains("already"));
    let form = site.get("/connections/edit/shop").is(200).body;
    let seen = form.split("name=\"seen\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let changed = format!("seen={seen}&connection_id=shop&conn_type=mysql&host=db2&password=***");
    post("/connections", &changed).is(303);
    let stored = site.send("POST", &format!("{ALL}/test"), &json!({"connection_id": "shop"})).json();
    assert_eq!(stored["message"], "answers, password of 12 letters");
    assert_eq!(site.get(&format!("{ALL}/shop")).json()["host"], "db2");
    // Without scripts it is tried all the same.
    let tried = post("/connections/test", "connection_id=shop").is(200).body;
    assert!(tried.contains("answers, password of 12 letters"), "{tried}");
    let unsaved = post("/connections/test", "connection_id=new&conn_type=mysql&password=abc").is(200).body;
    assert!(unsaved.contains("answers, password of 3 letters") && unsaved.contains("value=\"new\""), "{unsaved}");
    let wrong = post("/connections/test", "connection_id=new&conn_type=mysql&port=many").is(422).body;
    assert!(wrong.contains("65535") && wrong.contains("value=\"many\""), "{wrong}");
    post("/connections/delete/shop", "").is(303);
    site.get(&format!("{ALL}/shop")).is(404);
}

/// Its key was lost: the others are there all the same, and it is mended by entering it again.
#[test]
fn what_cannot_be_opened_is_marked_and_can_be_entered_again() {
    let site = Site::start();
    let variable = "/api/v1/variables/region";
    for (key, value) in [("region", "seoul"), ("other", "1")] {
        site.send("POST", "/api/v1/variables", &json!({"key": key, "value": value})).is(201);
    }
    site.send("POST", ALL, &json!({"connection_id": "shop", "conn_type": "mysql", "host": "h", "password": "p1"}))
        .is(201);
    site.runtime.block_on(async {
        let store = &site.plant.store;
        let lost = |sealed: String| sealed.replacen(':', ":lost", 1);
        let mut row = store.variable("region").await.unwrap().unwrap();
        row.sealed_value = lost(row.sealed_value);
        store.put_variable(&row, Told::default(), "test", now()).await.unwrap();
        let mut row = store.connection("shop").await.unwrap().unwrap();
        row.sealed_password = row.sealed_password.map(lost);
        store.put_connection(&row, Told::default(), "test", now()).await.unwrap();
    });
    let all = site.get("/api/v1/variables").is(200).json()["variables"].clone();
    let of = |key: &str| all.as_array().unwrap().iter().find(|row| row["key"] == key).unwrap().clone();
    assert_eq!((&of("other")["value"], &of("other")["problem"]), (&json!("1"), &Value::Null));
    assert!(of("region")["problem"].as_str().unwrap().contains("enter the value again"), "{all}");
    assert!(site.get(ALL).is(200).body.contains("enter the value again"));
    for page in ["/variables", "/connections"] {
        assert!(site.get(page).is(200).body.contains("unreadable"), "{page}");
    }
    assert!(site.get("/connections/edit/shop").is(200).body.contains("enter the value again"));
    // What stands for the lost value cannot be kept.
    let shop = format!("{ALL}/shop");
    assert!(site.send("PATCH", &shop, &json!({"host": "h2"})).is(500).body.contains("enter the value again"));
    site.send("PATCH", &shop, &json!({"password": "p2"})).is(200);
    site.send("PATCH", variable, &json!({"value": "busan"})).is(200);
    assert_eq!(site.get(variable).is(200).json()["value"], "busan");
    assert_eq!(site.get(&shop).is(200).json()["problem"], Value::Null);
}

#[test]
fn the_page_keeps_a_type_that_it_does_not_know() {
    let site = Site::start();
    for conn_type in ["http", "ftp"] {
        site.send("POST", ALL, &json!({"connection_id": conn_type, "conn_type": conn_type, "host": "h"})).is(201);
        let page = site.get(&format!("/connections/edit/{conn_type}")).is(200);
        assert!(page.body.contains(&format!("<option value=\"{conn_type}\" selected>")), "{}", page.body);
    }
    assert!(site.get("/connections/new").is(200).body.contains("<option value=\"http\">"));
}

#[test]
fn the_page_of_variables_keeps_the_rules_of_the_api() {
    let site = Site::start();
    let post = poster(&site);
    let refused = post("/variables", "key=a%01b&value=1&description=").is(422);
    assert!(refused.body.contains("invisible characters"), "{}", refused.body);
    post("/variables", "key=region&value=seoul&description=").is(303);
    post("/variables/delete/region", "").is(303);
    post("/variables/delete/region", "").is(404);
}
