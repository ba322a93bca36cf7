//! Connections over REST and on pages.

use millrace_store::Told;
use serde_json::{Value, json};

use crate::site::{Answer, Site, now};

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
    let broken = json!({"connection_id": "warehouse", "conn_type": "postgres", "host": "broken", "password": "***"});
    assert_eq!(test(&broken), json!({"status": false, "message": "refused with ***"}));
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
