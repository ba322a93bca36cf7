//! Signing in with a provider of identities, by configuration and the real program.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use millrace_devstack::{OpenIdConfig, serve_openid};
use millrace_testkit::free_port;
use serde_json::{Value, json};

use crate::support::{PATIENCE, TestHome};

const SECRET: &str = "secretOfTheClient1";

/// Asks without following; status, the cookie that is set under this name, where it leads, and the body.
fn ask(url: &str, cookie: &str, wanted: &str) -> (u16, String, String, String) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    let agent = ureq::Agent::new_with_config(config.max_redirects_will_error(false).build());
    let mut answer = agent.get(url).header("cookie", cookie).call().unwrap();
    let cookies = answer.headers().get_all("set-cookie").iter().filter_map(|it| it.to_str().ok());
    let pair = |it: &str| it.split(';').next().unwrap_or_default().to_owned();
    let cookie = cookies.filter(|it| it.starts_with(&format!("{wanted}="))).map(pair).next().unwrap_or_default();
    let location = answer.headers().get("location").map_or("", |it| it.to_str().unwrap()).to_owned();
    (answer.status().as_u16(), cookie, location, answer.body_mut().read_to_string().unwrap())
}

#[test]
fn a_provider_is_configured_and_people_are_linked_with_it() {
    let port = free_port().unwrap();
    let base = format!("http://127.0.0.1:{port}");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let provider = runtime
        .block_on(serve_openid(OpenIdConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            client_id: "millrace".to_owned(),
            client_secret: SECRET.to_owned(),
            redirect_uri: format!("{base}/sign-in/oidc/callback"),
            now: Arc::new(Utc::now),
        }))
        .unwrap();
    provider.become_person(json!({"sub": "00u1", "preferred_username": "admin", "groups": ["data"]}));

    let mut home = TestHome::new();
    home.ok(&["db", "migrate"]);
    home.set("MILLRACE__OIDC__ISSUER", provider.issuer());
    home.set("MILLRACE__OIDC__CLIENT_ID", "millrace");
    let port_text = port.to_string();
    let start = ["server", "--port", &port_text];
    let refused = home.run(&start).exits(2);
    assert!(refused.stderr.contains("server.public_url is not"), "{}", refused.stderr);
    home.set("MILLRACE__SERVER__PUBLIC_URL", format!("{base}/"));
    home.set("MILLRACE__OIDC__ROLES", "data=king");
    let refused = home.run(&start).exits(2);
    assert!(refused.stderr.contains("oidc.roles: 'data=king'"), "{}", refused.stderr);
    home.set("MILLRACE__OIDC__ROLES", "data=editor");
    // The secret is a variable, as other secrets are.
    home.ok(&["variables", "set", "oidc_client_secret", SECRET]);

    let mut server = home.daemon(&start);
    server.wait_for_line("serving http://", PATIENCE).unwrap();
    let sign_in = || {
        let (status, pending, to, body) = ask(&format!("{base}/sign-in/oidc?next=/runs"), "", "millrace_sign_in");
        assert_eq!(status, 303, "{body}");
        let (_, _, back, body) = ask(&to, "", "none");
        assert!(back.starts_with(&base), "{back} {body}");
        ask(&back, &pending, "millrace_session")
    };
    let (status, _, _, body) = sign_in();
    assert_eq!(status, 403, "{body}");
    assert!(body.contains("millrace users link admin SUBJECT") && body.contains("00u1"), "{body}");
    home.ok(&["users", "link", "admin", "00u1"]);
    home.run(&["users", "link", "nobody", "00u2"]).exits(1);
    let (status, session, to, body) = sign_in();
    assert_eq!((status, to.as_str()), (303, "/runs"), "{body}");
    let (_, _, _, account) = ask(&format!("{base}/api/v1/account"), &session, "none");
    let account: Value = serde_json::from_str(&account).unwrap();
    assert_eq!((&account["username"], &account["role"]), (&json!("admin"), &json!("admin")), "{account}");

    provider.become_person(json!({"sub": "00u7", "email": "ada@ours.example", "groups": ["data"]}));
    assert_eq!(sign_in().0, 303);
    let users = home.json(&["users", "list"]);
    let ada = users.as_array().unwrap().iter().find(|user| user["user"] == "ada@ours.example").unwrap();
    assert_eq!(ada["role"], "editor", "{users}");
    server.terminate(Duration::from_secs(10)).unwrap();
    assert!(!server.stderr().contains(SECRET) && !home.printed().replace(SECRET, "").is_empty());
}
