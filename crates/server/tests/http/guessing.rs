//! Whoever guesses passwords is slowed down, however it is done.

use std::thread;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::TimeDelta;

use crate::site::{ADMIN, Site, VIEWER};

fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

/// The statuses of these credentials, all sent at once, sorted.
fn all_at_once(site: &Site, credentials: &[String]) -> Vec<u16> {
    let mut statuses: Vec<u16> = thread::scope(|scope| {
        let ask = |one: &String| {
            let one = one.clone();
            scope.spawn(move || site.call("GET", "/api/v1/version", &[("authorization", &one)], None).status)
        };
        let asked: Vec<_> = credentials.iter().map(ask).collect();
        asked.into_iter().map(|one| one.join().unwrap()).collect()
    });
    statuses.sort_unstable();
    statuses
}

#[test]
fn guesses_sent_at_once_are_counted_before_they_are_tried() {
    let site = Site::start();
    let guesses: Vec<String> = (0..30).map(|n| basic("admin", &format!("guess {n}"))).collect();
    let statuses = all_at_once(&site, &guesses);
    assert_eq!(statuses.iter().filter(|status| **status == 401).count(), 10, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 429).count(), 20, "{statuses:?}");
    // Not even the right one now; another person is let in.
    site.get("/api/v1/version").is(429);
    site.call("GET", "/api/v1/version", &[("authorization", VIEWER)], None).is(200);
    let failed: Vec<_> = site.audit().into_iter().filter(|row| row.action == "sign_in_failed").collect();
    assert_eq!(failed.len(), 10);
    assert_eq!((&failed[0].details["name"], failed[0].actor.as_str()), (&"admin".into(), "address:127.0.0.1"));
    site.advance(TimeDelta::minutes(1));
    site.get("/api/v1/version").is(200);
}

#[test]
fn one_address_tries_no_more_names_than_passwords() {
    let site = Site::start();
    let guesses: Vec<String> = (0..60).map(|n| basic(&format!("name-{n}"), "summer of 24")).collect();
    for (place, guess) in guesses.iter().enumerate() {
        let status = site.call("GET", "/api/v1/version", &[("authorization", guess)], None).status;
        assert_eq!(status, if place < 50 { 401 } else { 429 }, "guess {place}");
    }
    let failed = site.audit().into_iter().find(|row| row.action == "sign_in_failed").unwrap();
    assert_eq!(failed.details["name"], "(unknown)", "it may have been a password in the wrong place");
}

#[test]
fn a_program_that_begins_with_many_requests_is_let_in() {
    let site = Site::start();
    let statuses = all_at_once(&site, &vec![ADMIN.to_owned(); 40]);
    assert_eq!(statuses, [200; 40]);
}

/// From twelve addresses, which anybody with a proxy's list has.
#[test]
fn who_guesses_from_everywhere_does_not_shut_out_the_right_person() {
    let site = Site::start_with(|options| options.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()]);
    let ask = |from: &str, credentials: &str| {
        let headers = [("authorization", credentials), ("x-forwarded-for", from)];
        site.call("GET", "/api/v1/version", &headers, None).status
    };
    assert_eq!(ask("10.0.0.1", &basic("guest", "looking only")), 200);
    // What was right a moment ago is remembered, and counts as no guess.
    site.send("PATCH", "/api/v1/users/guest", &serde_json::json!({"password": "looking twice"})).is(200);
    for address in 0..12 {
        for guess in 0..10 {
            ask(&format!("10.9.9.{address}"), &basic("guest", &format!("guess {address} {guess}")));
        }
    }
    let right = basic("guest", "looking twice");
    assert_eq!((ask("10.0.0.1", &right), ask("10.0.0.2", &right)), (200, 200), "it is remembered now");
    site.send("PATCH", "/api/v1/users/guest", &serde_json::json!({"password": "looking again"})).is(200);
    let right = basic("guest", "looking again");
    assert_eq!((ask("10.0.0.3", &right), ask("10.0.0.1", &right)), (429, 200));
}

#[test]
fn an_endless_password_is_not_hashed() {
    let site = Site::start();
    let body = format!("{{\"username\": \"admin\", \"password\": \"{}\"}}", "x".repeat(500_000));
    site.call("POST", "/api/v1/auth/token", &[("content-type", "application/json")], Some(&body)).is(401);
    site.call("GET", "/api/v1/version", &[("authorization", &basic("ad\0min", "x"))], None).is(401);
}
