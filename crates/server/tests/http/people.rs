//! Users, passwords, tokens, grants, and what of them the audit log keeps.

use chrono::TimeDelta;
use serde_json::{Value, json};

use crate::site::{ADMIN, FAILED_RUN, Site, USER, VIEWER};

const RUNS: &str = "/api/v1/dags/copy_orders/dagRuns";
/// `ada:correct horse`
const ADA: &str = "Basic YWRhOmNvcnJlY3QgaG9yc2U=";
/// `ada:battery staple`
const ADA_AGAIN: &str = "Basic YWRhOmJhdHRlcnkgc3RhcGxl";

fn with_ada(role: &str) -> Site {
    let site = Site::start();
    let ada = json!({"username": "ada", "password": "correct horse", "role": role});
    let made = site.send("POST", "/api/v1/users", &ada).is(201);
    assert!(!made.body.contains("argon2") && !made.body.contains("horse"), "{}", made.body);
    assert_eq!(made.json()["role"], role);
    site
}

fn look(site: &Site, who: &str) -> u16 {
    site.call("GET", "/api/v1/version", &[("authorization", who)], None).status
}

#[test]
fn an_admin_makes_users_who_can_sign_in() {
    let site = with_ada("editor");
    assert_eq!(look(&site, ADA), 200);
    site.send_as(ADA, "POST", "/api/v1/pools", &json!({"name": "etl", "slots": 2})).is(201);
    site.send("POST", "/api/v1/users", &json!({"username": "ada", "password": "correct horse", "role": "viewer"}))
        .is(409);
    for bad in [
        json!({"username": "a:b", "password": "correct horse", "role": "viewer"}),
        json!({"username": "bob", "password": "short", "role": "viewer"}),
        json!({"username": "bob", "password": "correct horse", "role": "root"}),
        json!({"username": "bob", "password": "correct horse"}),
    ] {
        site.send("POST", "/api/v1/users", &bad).is(422);
    }
    let names: Vec<Value> = site.get("/api/v1/users").json()["users"].as_array().unwrap().clone();
    assert_eq!(
        names.iter().map(|it| it["username"].as_str().unwrap()).collect::<Vec<_>>(),
        ["ada", "admin", "clerk", "guest"]
    );
    assert_eq!(names[2]["role"], "operator", "the old word");
    site.get("/api/v1/users/nobody").is(404);
    site.call("DELETE", "/api/v1/users/admin", &[("authorization", ADMIN)], None).is(409);
    site.call("DELETE", "/api/v1/users/ada", &[("authorization", ADMIN)], None).is(204);
    assert_eq!(look(&site, ADA), 401);
}

#[test]
fn a_new_password_ends_every_session_and_token() {
    let site = with_ada("operator");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let sign_in = |site: &Site| {
        let answer = site.call("POST", "/sign-in", &form, Some("username=ada&password=correct+horse")).is(303);
        answer.header("set-cookie").split(';').next().unwrap().to_owned()
    };
    let cookie = sign_in(&site);
    let made = site.send_as(ADA, "POST", "/api/v1/tokens", &json!({"label": "laptop"})).is(201).json();
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let in_session = |site: &Site| site.call("GET", "/runs", &[("cookie", &cookie)], None).status;
    assert_eq!((look(&site, &bearer), in_session(&site)), (200, 200));

    let wrong = json!({"old_password": "not this", "new_password": "battery staple"});
    site.send_as(ADA, "POST", "/api/v1/account/password", &wrong).is(422);
    let right = json!({"old_password": "correct horse", "new_password": "battery staple"});
    site.send_as(&bearer, "POST", "/api/v1/account/password", &right).is(204);
    assert_eq!(
        (look(&site, &bearer), in_session(&site), look(&site, ADA), look(&site, ADA_AGAIN)),
        (401, 303, 401, 200)
    );

    // By an admin, and by shutting the person out.
    let made = site.send_as(ADA_AGAIN, "POST", "/api/v1/tokens", &json!({"label": "laptop"})).is(201).json();
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    site.send("PATCH", "/api/v1/users/ada", &json!({"password": "correct horse"})).is(200);
    assert_eq!((look(&site, &bearer), look(&site, ADA)), (401, 200));
    let cookie = sign_in(&site);
    site.send("PATCH", "/api/v1/users/ada", &json!({"is_disabled": true})).is(200);
    assert_eq!(look(&site, ADA), 401);
    site.call("GET", "/runs", &[("cookie", &cookie)], None).is(303);
    site.call("POST", "/sign-in", &form, Some("username=ada&password=correct+horse")).is(401);
    site.send("PATCH", "/api/v1/users/ada", &json!({"is_disabled": false})).is(200);
    assert_eq!(look(&site, ADA), 200);
}

#[test]
fn tokens_do_no_more_than_their_scope_and_end() {
    let site = with_ada("operator");
    let wish = json!({"label": "ci", "scope": "viewer runs:trigger", "expires_in_days": 2});
    let made = site.send_as(ADA, "POST", "/api/v1/tokens", &wish).is(201).json();
    let token = made["token"].as_str().unwrap();
    assert!(token.starts_with("mrt_"));
    assert_eq!((&made["expires_at"], &made["last_used_at"]), (&json!("2024-03-05T06:00:00.000000Z"), &Value::Null));
    let bearer = format!("Bearer {token}");
    site.send_as(&bearer, "POST", RUNS, &json!({})).is(200);
    let refused =
        site.send_as(&bearer, "PATCH", "/api/v1/dags/copy_orders", &json!({"is_paused": true})).is(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("scope does not allow dags:pause"), "{refused}");
    site.send_as(&bearer, "POST", "/api/v1/tokens", &json!({"label": "wider"})).is(403);
    let password = json!({"old_password": "correct horse", "new_password": "battery staple"});
    site.send_as(&bearer, "POST", "/api/v1/account/password", &password).is(403);
    // Nor does it end others, and lock the programs of its person out.
    let other = site.send_as(ADA, "POST", "/api/v1/tokens", &json!({"label": "other"})).is(201).json();
    let other = format!("/api/v1/tokens/{}", other["id"]);
    site.call("DELETE", &other, &[("authorization", &bearer)], None).is(403);
    site.call("DELETE", &other, &[("authorization", ADA)], None).is(204);

    for bad in [
        json!({"label": "x", "scope": "everything"}),
        json!({"label": "x", "expires_in_days": 0}),
        json!({"label": "x", "expires_in_days": 4000}),
        json!({"label": " "}),
    ] {
        site.send_as(ADA, "POST", "/api/v1/tokens", &bad).is(422);
    }
    site.send_as(ADA, "POST", "/api/v1/tokens", &json!({"label": "x", "username": "admin"})).is(403);
    site.call("GET", "/api/v1/tokens?username=~", &[("authorization", ADA)], None).is(403);

    let mine = site.call("GET", "/api/v1/tokens", &[("authorization", ADA)], None).is(200);
    assert!(!mine.body.contains(token));
    let mine = mine.json();
    assert_eq!((&mine["total_entries"], &mine["tokens"][0]["scope"]), (&json!(1), &json!("viewer runs:trigger")));
    assert_eq!(mine["tokens"][0]["last_used_at"], "2024-03-03T06:00:00.000000Z");
    assert_eq!(site.get("/api/v1/tokens?username=~").is(200).json()["total_entries"], 1);

    let address = format!("/api/v1/tokens/{}", made["id"]);
    site.call("DELETE", &address, &[("authorization", VIEWER)], None).is(404);
    site.advance(TimeDelta::days(2));
    assert_eq!(look(&site, &bearer), 401, "it has ended");
    site.call("DELETE", &address, &[("authorization", ADA)], None).is(204);
    site.call("DELETE", &address, &[("authorization", ADA)], None).is(404);
}

/// Whoever gets hold of a short one must not have the access for a year.
#[test]
fn a_token_makes_nothing_that_ends_after_itself() {
    let site = with_ada("operator");
    let made =
        site.send_as(ADA, "POST", "/api/v1/tokens", &json!({"label": "ci", "expires_in_days": 5})).is(201).json();
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let ask = |days: u32| json!({"label": "longer", "expires_in_days": days});
    let refused = site.send_as(&bearer, "POST", "/api/v1/tokens", &ask(6)).is(403).json();
    assert!(refused["detail"].as_str().unwrap().contains("2024-03-08T06:00:00"), "{refused}");
    site.send_as(&bearer, "POST", "/api/v1/tokens", &ask(5)).is(201);
    let hook = |days: u32| json!({"name": format!("h{days}"), "dag_id": "copy_orders", "expires_in_days": days});
    site.send_as(&bearer, "POST", "/api/v1/webhooks", &hook(6)).is(403);
    site.send_as(&bearer, "POST", "/api/v1/webhooks", &hook(5)).is(201);
}

#[test]
fn a_grant_reaches_its_dags_and_no_other() {
    let site = with_ada("viewer");
    let trigger = |dag: &str| site.send_as(ADA, "POST", &format!("/api/v1/dags/{dag}/dagRuns"), &json!({})).status;
    assert_eq!((trigger("copy_orders"), trigger("quiet")), (403, 403));
    let grant = json!({"username": "ada", "tag": "nightly", "role": "operator"});
    let grant = site.send("POST", "/api/v1/grants", &grant).is(201).json();
    assert_eq!((trigger("copy_orders"), trigger("quiet"), trigger("nothing")), (200, 403, 403));
    // Many at once, of several DAGs: each is asked for.
    let noted = |dag: &str| json!({"dag_id": dag, "dag_run_id": FAILED_RUN, "note": "seen"});
    let many = json!({"actions": [{"action": "update", "entities": [noted("copy_orders"), noted("quiet")]}]});
    let done = site.send_as(ADA, "PATCH", "/api/v1/dags/~/dagRuns", &many).is(200).json();
    assert_eq!(done["update"]["success"], json!([FAILED_RUN]), "{done}");
    assert_eq!(done["update"]["errors"][0]["status_code"], 403, "{done}");
    site.send_as(ADA, "PATCH", "/api/v1/dags/quiet/dagRuns", &many).is(403);
    // Pages show buttons for these DAGs alone.
    let page = |path: &str| site.call("GET", path, &[("authorization", ADA)], None).is(200).body;
    let all = page("/dags");
    assert!(all.contains("data-trigger=\"copy_orders\"") && all.contains("data-pause=\"copy_orders\""), "{all}");
    assert!(!all.contains("data-trigger=\"quiet\"") && !all.contains("data-pause=\"quiet\""), "{all}");
    let (mine, other) = (page("/dags/copy_orders"), page("/dags/quiet"));
    assert!(mine.contains("data-trigger=") && mine.contains("/backfills\">Backfill"), "{mine}");
    assert!(!other.contains("data-trigger=") && !other.contains("data-pause="), "{other}");
    assert!(page("/").contains("Clear load of copy_orders"));
    site.send(
        "POST",
        "/api/v1/dags/quiet/dagRuns",
        &json!({"dag_run_id": "other", "logical_date": "2024-02-01T00:00:00Z"}),
    )
    .is(200);
    for (list, end) in [("/runs", "&#10;"), ("/task-instances", "\n")] {
        let shown = page(list);
        assert!(shown.contains(&format!("value=\"copy_orders{end}")) && shown.contains(">other<"), "{shown}");
        assert!(!shown.contains("value=\"quiet"), "{shown}");
    }
    let unseen = site.send_as(ADA, "PATCH", "/api/v1/dags/quiet", &json!({"is_paused": true})).is(403).json();
    assert!(unseen["detail"].as_str().unwrap().starts_with("DAG quiet: the user ada"), "{unseen}");
    // Where the DAG stands in the body or behind a number, too.
    let wish = |dag: &str| json!({"dag_id": dag, "from_date": "2024-02-20", "to_date": "2024-02-21"});
    site.send_as(ADA, "POST", "/api/v1/backfills/dry_run", &wish("quiet")).is(403);
    let made = site.send_as(ADA, "POST", "/api/v1/backfills", &wish("copy_orders")).is(200).json();
    let pause = format!("/api/v1/backfills/{}/pause", made["id"]);
    site.send_as(ADA, "PUT", &pause, &json!({})).is(200);
    let account = site.call("GET", "/api/v1/account", &[("authorization", ADA)], None).is(200).json();
    assert_eq!(account["grants"], json!([{"dag_id": null, "tag": "nightly", "role": "operator"}]));

    site.call("DELETE", &format!("/api/v1/grants/{}", grant["id"]), &[("authorization", ADMIN)], None).is(204);
    assert_eq!(trigger("copy_orders"), 403);
    site.send_as(ADA, "PUT", &pause, &json!({})).is(403);
    site.send("POST", "/api/v1/grants", &json!({"username": "ada", "dag_id": "quiet", "role": "editor"})).is(201);
    assert_eq!((trigger("copy_orders"), trigger("quiet")), (403, 200));
    site.send_as(ADA, "POST", "/api/v1/pools", &json!({"name": "etl", "slots": 2})).is(403);
    for bad in [
        json!({"username": "ada", "role": "editor"}),
        json!({"username": "ada", "dag_id": "a", "tag": "b", "role": "editor"}),
        json!({"username": "ada", "dag_id": "a", "role": "boss"}),
    ] {
        site.send("POST", "/api/v1/grants", &bad).is(422);
    }
    site.send("POST", "/api/v1/grants", &json!({"username": "nobody", "dag_id": "a", "role": "viewer"})).is(404);
}

/// A page that stands open asks for itself every few seconds.
#[test]
fn a_page_that_stands_open_keeps_no_session_alive() {
    let site = Site::start_with(|options| options.session_idle_minutes = 2);
    let cookie = site.sign_in();
    let get =
        |path: &str, header: (&str, &str)| site.call("GET", path, &[("cookie", cookie.as_str()), header], None).status;
    let by_itself = ("x-millrace-page", "itself");
    for _ in 0..7 {
        site.advance(TimeDelta::seconds(16));
        assert_eq!(get("/", by_itself), 200);
    }
    site.advance(TimeDelta::seconds(16));
    assert_eq!(get("/", by_itself), 401, "nobody was there for two minutes");
    let cookie = site.sign_in();
    for _ in 0..20 {
        site.advance(TimeDelta::seconds(16));
        let answer = site.call("GET", "/", &[("cookie", cookie.as_str()), ("x-part", "pulse")], None);
        assert_eq!(answer.status, 200, "somebody is there");
    }
}

#[test]
fn a_session_gets_a_new_token_every_hour_and_its_forms_go_on() {
    let site = Site::start_with(|options| options.session_idle_minutes = 120);
    let first = site.sign_in();
    let page = site.call("GET", "/", &[("cookie", &first)], None).is(200);
    assert_eq!(page.header("set-cookie"), "");
    let form_token = page.body.split("name=\"csrf\" content=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    site.advance(TimeDelta::minutes(61));
    let page = site.call("GET", "/", &[("cookie", &first)], None).is(200);
    let second = page.header("set-cookie").split(';').next().unwrap().to_owned();
    assert!(second.starts_with("millrace_session=") && second != first, "{second}");
    // The page that was open before: its form, under the new cookie.
    let headers = [("cookie", second.as_str()), ("content-type", "application/x-www-form-urlencoded")];
    let body = format!("is_paused=true&csrf_token={form_token}");
    site.call("POST", "/dags/copy_orders/pause", &headers, Some(&body)).is(303);
    site.advance(TimeDelta::minutes(2));
    site.call("GET", "/runs", &[("cookie", &second)], None).is(200);
    site.call("GET", "/runs", &[("cookie", &first)], None).is(303);
    site.advance(TimeDelta::minutes(121));
    site.call("GET", "/runs", &[("cookie", &second)], None).is(303);

    // A browser that signs in again has one session, not two.
    let third = site.sign_in();
    let form = [("content-type", "application/x-www-form-urlencoded"), ("cookie", third.as_str())];
    site.call("POST", "/sign-in", &form, Some("username=admin&password=open+sesame")).is(303);
    site.call("GET", "/runs", &[("cookie", &third)], None).is(303);
}

#[test]
fn the_audit_log_keeps_before_and_after_without_secrets() {
    let site = with_ada("viewer");
    site.send("PATCH", "/api/v1/users/ada", &json!({"role": "operator"})).is(200);
    let rows = site.get("/api/v1/eventLogs?event=user_changed").is(200).json();
    assert_eq!(rows["total_entries"], 1);
    let row = &rows["event_logs"][0];
    assert_eq!(
        (&row["owner"], &row["before"]["role"], &row["after"]["role"]),
        (&json!("rest:admin"), &json!("viewer"), &json!("operator"))
    );
    site.call("GET", "/api/v1/eventLogs", &[("authorization", USER)], None).is(403);
    let all = site.get("/api/v1/eventLogs?limit=100").body;
    assert!(!all.contains("argon2") && !all.contains("correct horse"), "{all}");
}

#[test]
fn everybodys_tokens_are_shown_a_page_at_a_time() {
    let site = Site::start();
    for n in 0..101 {
        site.token_of(&format!("user{n:03}"), "viewer");
    }
    let shown = |path: &str| {
        let page = site.get(path).is(200).body;
        let names = page.split("<tr><td><strong>").skip(1).map(|row| row.split('<').next().unwrap().to_owned());
        (names.collect::<Vec<_>>(), page)
    };
    let (first, page) = shown("/tokens");
    assert_eq!((first.len(), first[0].as_str(), first[99].as_str()), (100, "user000", "user099"));
    assert!(page.contains("1–100 of 101") && page.contains("href=\"/tokens?offset=100\""), "{page}");
    let (second, page) = shown("/tokens?offset=100");
    assert_eq!(second, ["user100"]);
    assert!(page.contains("href=\"/tokens?offset=0\"") && !page.contains("offset=200"), "{page}");
}
