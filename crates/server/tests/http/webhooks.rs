//! What other systems start here.

use chrono::TimeDelta;
use hmac::{Hmac, KeyInit, Mac};
use millrace_model::asset::AssetName;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::plant::dag;
use crate::site::{Answer, Site, now};

const ALL: &str = "/api/v1/webhooks";
const ADDRESS: &str = "/api/v1/webhooks/orders-are-in";

fn make(site: &Site, more: &Value) -> String {
    let mut body = json!({"name": "orders-are-in", "dag_id": "copy_orders"});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let made = site.send("POST", ALL, &body).is(201).json();
    assert_eq!(made["href"], ADDRESS);
    made["secret"].as_str().unwrap().to_owned()
}

fn deliver(site: &Site, secret: &str, id: &str, body: &str) -> Answer {
    // No two runs of a DAG have one logical date.
    site.advance(TimeDelta::seconds(1));
    let bearer = format!("Bearer {secret}");
    site.call("POST", ADDRESS, &[("authorization", &bearer), ("x-millrace-delivery", id)], Some(body))
}

fn signed(secret: &str, body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[test]
fn a_delivery_starts_one_run_with_the_body_as_params() {
    let site = Site::start();
    let secret = make(&site, &json!({}));
    assert!(secret.starts_with("mrw_") && !site.get(ALL).is(200).body.contains(&secret), "it is told once");

    let first = deliver(&site, &secret, "1", "{\"day\": \"2024-03-01\"}").is(200).json();
    let run = site.get(first["href"].as_str().unwrap()).is(200).json();
    assert_eq!((&run["conf"]["day"], &run["triggered_by"]), (&json!("2024-03-01"), &json!("rest_api")));
    assert_eq!(run["triggering_user_name"], "webhook:orders-are-in");
    // Its answer was lost, and it comes again.
    let mut again = first.clone();
    assert_eq!(again["repeated"].take(), false);
    again["repeated"] = true.into();
    assert_eq!(deliver(&site, &secret, "1", "{\"day\": \"2024-03-01\"}").is(200).json(), again);
    deliver(&site, &secret, "1", "{\"day\": \"2024-03-02\"}").is(422);
    let signature = signed(&secret, "{}");
    site.advance(TimeDelta::seconds(1));
    let second = site.call("POST", ADDRESS, &[("x-hub-signature-256", &signature)], Some("{}")).is(200).json();
    assert_ne!(second["dag_run_id"], first["dag_run_id"]);

    let audit = site.audit();
    let triggers = audit.iter().filter(|row| row.action == "trigger" && row.actor == "webhook:orders-are-in");
    assert_eq!(triggers.count(), 2);
    assert!(audit.iter().any(|row| row.action == "webhook_added"));
    assert!(site.get(ADDRESS).is(200).json()["last_used_at"].is_string());
}

/// Whoever saw a signed delivery knows no secret, and the id of GitHub's is not signed.
#[test]
fn a_signed_delivery_that_was_seen_starts_nothing_more() {
    let site = Site::start();
    let secret = make(&site, &json!({}));
    let send = |headers: &[(&str, &str)], body: &str| {
        site.advance(TimeDelta::seconds(1));
        site.call("POST", ADDRESS, headers, Some(body))
    };
    let run_of = |answer: Answer| answer.is(200).json()["dag_run_id"].as_str().unwrap().to_owned();
    let push = "{\"after\": \"1\"}";
    let signature = signed(&secret, push);
    let github = |id| [("x-hub-signature-256", signature.as_str()), ("x-github-delivery", id)];
    let first = run_of(send(&github("d1"), push));
    // Sent again by GitHub, or by somebody else under another id, without one, or written otherwise.
    assert_eq!(run_of(send(&github("d1"), push)), first);
    assert_eq!(run_of(send(&github("d2"), push)), first);
    assert_eq!(run_of(send(&github("d2")[..1], push)), first);
    let capitals = format!("sha256={}", signature[7..].to_uppercase());
    assert_eq!(run_of(send(&[("x-millrace-signature", &capitals)], push)), first);
    let other = "{\"after\": \"2\"}";
    assert_ne!(
        run_of(send(&[("x-hub-signature-256", &signed(&secret, other)), ("x-github-delivery", "d3")], other)),
        first
    );

    // With its time and its id under the signature, the same body may come as often as its sender wants.
    let begun = (now().timestamp() + 60).to_string();
    let sign = |id: &str| signed(&secret, &format!("{begun}.{id}.{{}}"));
    let timed = |signature: &str, id: &str, at: &str| {
        let headers = [("x-millrace-signature", signature), ("x-millrace-delivery", id), ("x-millrace-timestamp", at)];
        send(&headers, "{}")
    };
    let run = run_of(timed(&sign("1"), "1", &begun));
    assert_eq!(run_of(timed(&sign("1"), "1", &begun)), run);
    assert_ne!(run_of(timed(&sign("2"), "2", &begun)), run);
    timed(&sign("1"), "2", &begun).is(401);
    timed(&sign("1"), "1", "today").is(401);
    send(&[("x-millrace-signature", &sign("1")), ("x-millrace-delivery", "1")], "{}").is(401);
    site.advance(TimeDelta::minutes(7));
    timed(&sign("1"), "1", &begun).is(401);
}

#[test]
fn a_delivery_tells_of_an_asset_once() {
    let site = Site::start();
    let mut maker = dag("maker", "none", "UTC", &[], &[("make", "bash", &[], 0)]);
    maker.tasks[0].outlets = vec![AssetName::new_unchecked("orders")];
    site.runtime.block_on(site.plant.sync(maker, false, now()));
    let made = site.send("POST", ALL, &json!({"name": "orders-are-in", "asset": "orders"})).is(201).json();
    let secret = made["secret"].as_str().unwrap();
    let first = deliver(&site, secret, "1", "{}").is(200).json();
    assert!(first["asset_event_id"].is_i64() && first["dag_run_id"].is_null(), "{first}");
    assert!(deliver(&site, secret, "1", "{}").is(200).json()["asset_event_id"].is_null(), "it was told before");
    assert!(deliver(&site, secret, "1", "{\"day\": 2}").is(422).body.contains("another delivery"));
    deliver(&site, secret, "2", "{}").is(200);
    let events = site.get("/api/v1/assets/events?asset=orders").is(200).json();
    assert_eq!(events["asset_events"].as_array().map(Vec::len), Some(2), "{events}");
    assert!(site.audit().iter().any(|row| row.action == "asset_event" && row.actor == "webhook:orders-are-in"));
}

/// Other systems hide their own secrets so.
#[test]
fn three_stars_in_a_delivery_are_what_was_sent() {
    let site = Site::start();
    let secret = make(&site, &json!({}));
    let body = json!({"repo": "x", "hook": {"config": {"secret": "***", "url": "https://u:***@h"}}});
    let made = deliver(&site, &secret, "1", &body.to_string()).is(200).json();
    let run = made["dag_run_id"].as_str().unwrap();
    let kept = site.runtime.block_on(site.plant.store.run("copy_orders", run)).unwrap().unwrap();
    assert_eq!(Value::Object(kept.conf), body);
}

#[test]
fn whoever_does_not_know_the_secret_starts_nothing() {
    let site = Site::start();
    let secret = make(&site, &json!({}));
    let unknown = site.call("POST", "/api/v1/webhooks/none", &[("authorization", "Bearer x")], Some("{}")).is(401);
    let wrong = deliver(&site, "mrw_wrong", "1", "{}").is(401);
    assert_eq!(wrong.body, unknown.body, "nobody learns which webhooks there are");
    site.call("POST", ADDRESS, &[("x-hub-signature-256", &signed(&secret, "{ }"))], Some("{}")).is(401);
    site.call("POST", ADDRESS, &[], Some("{}")).is(401);
    site.call("POST", ADDRESS, &[("authorization", crate::site::ADMIN)], Some("{}")).is(401);
    // The secret opens nothing else.
    let bearer = format!("Bearer {secret}");
    site.call("GET", "/api/v1/dags", &[("authorization", &bearer)], None).is(401);
    assert!(site.audit().iter().any(|row| row.action == "webhook_refused" && !format!("{row:?}").contains("mrw_")));
    // Whoever goes on is made to wait, and holds nobody else up.
    assert!((0..20).any(|_| deliver(&site, "mrw_wrong", "1", "{}").status == 429));
    deliver(&site, &secret, "1", "{}").is(200);
}

#[test]
fn a_webhook_ends_with_the_rights_of_its_person() {
    let site = Site::start();
    let ada = site.token_of("ada", "operator");
    let body = json!({"name": "orders-are-in", "dag_id": "copy_orders"}).to_string();
    let headers = [("authorization", ada.as_str()), ("content-type", "application/json")];
    let made = site.call("POST", ALL, &headers, Some(&body)).is(201).json();
    site.call("POST", ALL, &headers, Some(&body)).is(409);
    let secret = made["secret"].as_str().unwrap();
    deliver(&site, secret, "1", "{}").is(200);
    site.send("PATCH", "/api/v1/users/ada", &json!({"role": "viewer"})).is(200);
    deliver(&site, secret, "2", "{}").is(403);
    site.send("PATCH", "/api/v1/users/ada", &json!({"role": "operator"})).is(200);
    deliver(&site, secret, "2", "{}").is(200);
    site.send("PATCH", "/api/v1/users/ada", &json!({"is_disabled": true})).is(200);
    deliver(&site, secret, "3", "{}").is(401);
    // Somebody else's is nobody's business, and the admin's to end.
    let secret = make(&site, &json!({}));
    let bob = site.token_of("bob", "operator");
    site.call("DELETE", ADDRESS, &[("authorization", &bob)], None).is(404);
    assert_eq!(site.call("GET", ALL, &[("authorization", &bob)], None).is(200).json()["total_entries"], 0);
    site.send("DELETE", ADDRESS, &json!({})).is(204);
    deliver(&site, &secret, "4", "{}").is(401);
}

#[test]
fn what_is_no_delivery_is_refused() {
    let site = Site::start();
    let secret = make(&site, &json!({"expires_in_days": 1}));
    deliver(&site, &secret, "1", "[1]").is(422);
    deliver(&site, &secret, "1", "day=1").is(400);
    deliver(&site, &secret, "", "{}").is(422);
    deliver(&site, &secret, &"x".repeat(151), "{}").is(422);
    deliver(&site, &secret, "1", &format!("{{\"a\": \"{}\"}}", "x".repeat(256 * 1024))).is(413);
    deliver(&site, &secret, "1", "").is(200);
    for wrong in [
        json!({"name": "a b", "dag_id": "copy_orders"}),
        json!({"name": "..", "dag_id": "copy_orders"}),
        json!({"name": "both", "dag_id": "copy_orders", "asset": "x"}),
        json!({"name": "neither"}),
        json!({"name": "long", "dag_id": "copy_orders", "expires_in_days": 400}),
    ] {
        site.send("POST", ALL, &wrong).is(422);
    }
    site.send("POST", ALL, &json!({"name": "a", "dag_id": "none"})).is(404);
    site.send("POST", ALL, &json!({"name": "a", "asset": "none"})).is(404);
}

/// `curl -d` says that it sends a form.
#[test]
fn a_delivery_is_read_as_json_whatever_it_says_it_is() {
    let site = Site::start();
    let secret = make(&site, &json!({}));
    let bearer = format!("Bearer {secret}");
    let send = |kind: &str, body: &str| {
        site.advance(TimeDelta::seconds(1));
        site.call("POST", ADDRESS, &[("authorization", &bearer), ("content-type", kind)], Some(body))
    };
    for kind in ["application/x-www-form-urlencoded", "text/plain", "application/json"] {
        for body in ["{\"order_id\": 123456789012345678901}", "{\"a\": \"x\\u0000y\"}"] {
            send(kind, body).is(422);
        }
        let made = send(kind, "{\"url\": \"https://x/?q=a%00b\"}").is(200).json();
        let run = site.get(made["href"].as_str().unwrap()).is(200).json();
        assert_eq!(run["conf"]["url"], "https://x/?q=a%00b", "{kind}");
    }
}
