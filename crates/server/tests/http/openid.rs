//! Signing in with a provider of identities, which is a process's own and speaks HTTP.

use std::net::SocketAddr;
use std::sync::Arc;

use chrono::TimeDelta;
use millrace_devstack::{Mistake, OpenIdConfig, RunningOpenId, serve_openid};
use millrace_server::{OidcOptions, Web, WebAnswer, WebRequest};
use millrace_settings::{Home, Keyring};
use serde_json::{Value, json};

use crate::site::{Answer, Site, now};

const PUBLIC: &str = "https://millrace.example";

struct Provided {
    site: Site,
    provider: RunningOpenId,
    /// Where the provider runs.
    _runtime: tokio::runtime::Runtime,
    _folder: tempfile::TempDir,
}

fn web() -> Web {
    Arc::new(|request: WebRequest| {
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || {
                let mut built = http::Request::builder().method(request.method).uri(&request.url);
                for (name, value) in &request.headers {
                    built = built.header(*name, value);
                }
                let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build();
                let agent = ureq::Agent::new_with_config(config);
                let answer = if request.body.is_empty() {
                    agent.run(built.body(()).unwrap())
                } else {
                    agent.run(built.body(request.body).unwrap())
                };
                let mut answer = answer.map_err(|error| error.to_string())?;
                let status = answer.status().as_u16();
                Ok(WebAnswer { status, body: answer.body_mut().read_to_vec().map_err(|error| error.to_string())? })
            });
            asked.await.unwrap()
        })
    })
}

impl Provided {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut OidcOptions)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let provider = runtime
            .block_on(serve_openid(OpenIdConfig {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                client_id: "millrace".to_owned(),
                client_secret: "secretOfTheClient1".to_owned(),
                redirect_uri: format!("{PUBLIC}/sign-in/oidc/callback"),
                now: Arc::new(now),
            }))
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut options = OidcOptions {
            issuer: provider.issuer(),
            client_id: "millrace".to_owned(),
            client_secret: "secretOfTheClient1".to_owned().into(),
            label: "Our <Login>".to_owned(),
            scopes: "openid profile".to_owned(),
            groups_claim: "realm_access.roles".to_owned(),
            roles: "data=editor, people=admin, staff=viewer".parse().unwrap(),
            allowed_domains: Vec::new(),
            public_url: PUBLIC.to_owned(),
            keyring: Arc::new(Keyring::open_or_create(&Home::at(folder.path()).unwrap()).unwrap()),
            web: web(),
        };
        change(&mut options);
        let site = Site::start_with(|all| all.oidc = Some(options));
        let provided = Self { site, provider, _runtime: runtime, _folder: folder };
        provided.be(json!({"sub": "0001", "preferred_username": "ada", "realm_access": {"roles": ["data"]}}));
        provided
    }

    fn be(&self, claims: Value) {
        self.provider.become_person(claims);
    }

    /// The cookie with which somebody leaves, and the address at the provider.
    fn leave(&self) -> (String, String) {
        let answer = self.site.call("GET", "/sign-in/oidc?next=/runs", &[], None).is(303);
        let cookie = answer.header("set-cookie");
        assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax") && cookie.contains("Path=/sign-in"));
        (cookie.split(';').next().unwrap().to_owned(), answer.header("location").to_owned())
    }

    /// Path and query of where the provider sends the browser back to.
    fn at_the_provider(address: &str) -> String {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent = ureq::Agent::new_with_config(config.max_redirects_will_error(false).build());
        let mut answer = agent.get(address).call().unwrap();
        let body = answer.body_mut().read_to_string().unwrap();
        let location = answer.headers().get("location").unwrap_or_else(|| panic!("{body}")).to_str().unwrap();
        location.strip_prefix(PUBLIC).unwrap().to_owned()
    }

    fn come_back(&self, cookie: &str, path: &str) -> Answer {
        self.site.call("GET", path, &[("cookie", cookie)], None)
    }

    fn sign_in(&self) -> Answer {
        let (cookie, address) = self.leave();
        self.come_back(&cookie, &Self::at_the_provider(&address))
    }

    fn account(&self, entered: &Answer) -> Value {
        let cookies = entered.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap());
        let session = cookies.filter(|it| it.starts_with("millrace_session=")).find_map(|it| it.split(';').next());
        let headers = [("cookie", session.unwrap())];
        self.site.call("GET", "/api/v1/account", &headers, None).is(200).json()
    }
}

#[test]
fn whoever_the_provider_vouches_for_comes_in_with_the_role_of_the_groups() {
    let provided = Provided::start();
    let page = provided.site.call("GET", "/sign-in?next=/runs", &[], None).is(200).body;
    assert!(page.contains("Our &lt;Login&gt;") && page.contains("/sign-in/oidc?next="), "{page}");

    let entered = provided.sign_in().is(303);
    assert_eq!(entered.header("location"), "/runs");
    let account = provided.account(&entered);
    assert_eq!((&account["username"], &account["role"]), (&json!("ada"), &json!("editor")), "{account}");

    // Nobody is led to another house.
    for next in ["//evil.example", "https://evil.example", "/%5Cevil.example"] {
        let left = provided.site.call("GET", &format!("/sign-in/oidc?next={next}"), &[], None).is(303);
        let cookie = left.header("set-cookie").split(';').next().unwrap().to_owned();
        let entered = provided.come_back(&cookie, &Provided::at_the_provider(left.header("location"))).is(303);
        assert_eq!(entered.header("location"), "/", "{next}");
    }

    // Another name, other groups, another kind of key; the same subject: the same person.
    provided.be(
        json!({"sub": "0001", "preferred_username": "ada.l", "alg": "ES256", "realm_access": {"roles": ["staff"]}}),
    );
    let account = provided.account(&provided.sign_in().is(303));
    assert_eq!((&account["username"], &account["role"]), (&json!("ada"), &json!("viewer")), "{account}");

    // Another subject with the same name is somebody else, who gets nothing of hers.
    provided.be(json!({"sub": "0002", "preferred_username": "ada", "realm_access": {"roles": ["people"]}}));
    let refused = provided.sign_in().is(403).body;
    assert!(refused.contains("millrace users link ada SUBJECT"), "{refused}");
    provided.be(json!({"sub": "0003", "preferred_username": "admin", "realm_access": {"roles": ["staff"]}}));
    provided.sign_in().is(403);
    let store = &provided.site.plant.store;
    provided
        .site
        .runtime
        .block_on(store.link_identity(&provided.provider.issuer(), "0003", "admin", "test", now()))
        .unwrap();
    let account = provided.account(&provided.sign_in().is(303));
    assert_eq!(
        (&account["username"], &account["role"]),
        (&json!("admin"), &json!("admin")),
        "the last admin stays one"
    );

    // No password fits a person who has none.
    for password in ["", "nobody's password"] {
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let body = format!("username=ada&password={}", password.replace(' ', "+"));
        provided.site.call("POST", "/sign-in", &form, Some(&body)).is(401);
    }
    let who = provided.site.audit().into_iter().filter(|row| row.action == "sign_in").map(|row| row.actor);
    assert_eq!(who.filter(|actor| actor == "web:ada").count(), 5);
}

#[test]
fn tokens_that_are_not_right_let_nobody_in() {
    let provided = Provided::start();
    let cases = [
        (Mistake::Nonce, "it belongs to another sign-in"),
        (Mistake::NoNonce, "it belongs to another sign-in"),
        (Mistake::Audience, "it was made for another client"),
        (Mistake::AuthorizedParty, "it was given to another client"),
        (Mistake::Issuer, "it comes from another issuer"),
        (Mistake::Expired, "it has ended"),
        (Mistake::NoExpiry, "it does not say when it ends"),
        (Mistake::NotYet, "it is not good yet"),
        (Mistake::NoSubject, "it does not say who it is of"),
        (Mistake::Signature, "its signature is wrong"),
        (Mistake::UnknownKey, "the provider has no such key"),
        (Mistake::Unsigned, "not signed by an algorithm that is accepted"),
        (Mistake::SharedSecret, "not signed by an algorithm that is accepted"),
        (Mistake::NoToken, "there is none"),
    ];
    for (number, (mistake, expected)) in cases.into_iter().enumerate() {
        // Wrong ones are counted, as wrong passwords are: ten in a minute.
        if number % 7 == 6 {
            provided.site.advance(TimeDelta::minutes(1));
        }
        provided.provider.make_mistake(Some(mistake));
        let refused = provided.sign_in().is(401);
        assert!(refused.body.contains(expected), "{mistake:?}: {}", refused.body);
        let cookies: Vec<_> = refused.headers.get_all("set-cookie").iter().collect();
        assert!(cookies.iter().all(|it| !it.to_str().unwrap().starts_with("millrace_session")), "{cookies:?}");
    }
    provided.provider.make_mistake(None);
    provided.site.advance(TimeDelta::minutes(1));
    assert!(provided.site.audit().iter().any(|row| row.action == "sign_in_failed"));
    // Further on than the token's time.
    provided.site.advance(TimeDelta::minutes(10));
    assert!(provided.sign_in().is(401).body.contains("it has ended"));
}

#[test]
fn a_sign_in_is_its_browsers_own_and_good_once_and_for_ten_minutes() {
    let provided = Provided::start();
    let (cookie, address) = provided.leave();
    let path = Provided::at_the_provider(&address);
    let stale = "was not begun in this browser";
    // In another browser, with another's state, without any.
    assert!(provided.come_back("a=b", &path).is(401).body.contains(stale));
    let (other, _) = provided.leave();
    assert!(provided.come_back(&other, &path).is(401).body.contains(stale));
    assert!(provided.come_back(&cookie, "/sign-in/oidc/callback?code=x").is(401).body.contains(stale));
    let bent = cookie.replace("v1:", "v1:x");
    assert!(provided.come_back(&bent, &path).is(401).body.contains(stale));
    let elsewhere = format!("{path}&iss=https%3A%2F%2Felsewhere.example");
    assert!(provided.come_back(&cookie, &elsewhere).is(401).body.contains("another issuer"));
    provided.come_back(&cookie, &path).is(303);
    // The provider gives no second token for a code.
    let again = provided.come_back(&cookie, &path).is(502).body;
    assert!(again.contains("invalid_grant"), "{again}");

    let (cookie, address) = provided.leave();
    let path = Provided::at_the_provider(&address);
    provided.site.advance(TimeDelta::minutes(11));
    assert!(provided.come_back(&cookie, &path).is(401).body.contains(stale));

    provided.be(json!({}));
    let refused = provided.sign_in().is(401).body;
    assert!(refused.contains("access_denied") && !refused.contains("nobody is here"), "{refused}");

    // Whoever asks has written it: what is masked of it would say which of their guesses is a secret.
    let variable = json!({"key": "my_password", "value": "k3y-of-the-kingdom"});
    provided.site.send("POST", "/api/v1/variables", &variable).is(201);
    let (cookie, address) = provided.leave();
    let path = Provided::at_the_provider(&address);
    let guess = "guess+k3y-of-the-kingdom+end";
    let state = path.split(['?', '&']).find(|part| part.starts_with("state=")).unwrap();
    let path = format!("/sign-in/oidc/callback?{state}&error={guess}&error_description={guess}");
    let refused = provided.come_back(&cookie, &path).is(401).body;
    assert!(refused.contains("for no known reason"), "{refused}");
    assert!(!refused.contains("***") && !refused.contains("guess"), "{refused}");
}

#[test]
fn keys_that_the_provider_changes_are_read_again() {
    let provided = Provided::start();
    provided.provider.change_key();
    // Read for the first time now.
    provided.sign_in().is(303);
}

#[test]
fn groups_and_domains_decide_who_comes_in() {
    let provided = Provided::start_with(|options| options.allowed_domains = vec!["ours.example".to_owned()]);
    let person = |email: &str, verified: Value, groups: Value| {
        provided
            .be(json!({"sub": email, "email": email, "email_verified": verified, "realm_access": {"roles": groups}}));
        provided.sign_in()
    };
    let staff = || json!(["staff"]);
    assert!(person("a@ours.example", json!(false), staff()).is(403).body.contains("told no verified e-mail address"));
    provided.be(json!({"sub": "silent", "realm_access": {"roles": ["staff"]}}));
    assert!(provided.sign_in().is(403).body.contains("told no e-mail address"));
    person("a@ours.example.evil.example", json!(true), staff()).is(403);
    person("a@evil.example", json!(true), staff()).is(403);
    assert!(person("b@ours.example", json!(true), json!(["others"])).is(403).body.contains("oidc.roles"));
    let account = provided.account(&person("c@OURS.example", json!(true), staff()).is(303));
    assert_eq!(account["username"], "c@OURS.example");
}

#[test]
fn whoever_has_neither_name_nor_address_is_called_by_the_subject() {
    let provided = Provided::start();
    let silent = |subject: &str| {
        provided.be(json!({"sub": subject, "email": "", "realm_access": {"roles": ["staff"]}}));
        provided.account(&provided.sign_in().is(303))["username"].as_str().unwrap().to_owned()
    };
    let name = silent("4711");
    assert!(name.starts_with("oidc-") && name.len() == 15, "{name}");
    assert_eq!(silent("4711"), name, "the same person the next time");
    assert_ne!(silent("4712"), name);
}

#[test]
fn signing_out_offers_the_providers_end_too() {
    let provided = Provided::start();
    let entered = provided.sign_in().is(303);
    let cookies = entered.headers.get_all("set-cookie").iter().map(|it| it.to_str().unwrap());
    let session = cookies.filter(|it| it.starts_with("millrace_session=")).find_map(|it| it.split(';').next()).unwrap();
    let page = provided.site.call("GET", "/", &[("cookie", session)], None).is(200).body;
    let token = page.split("name=\"csrf_token\" value=\"").nth(1).unwrap().split('"').next().unwrap();
    let headers = [("cookie", session), ("content-type", "application/x-www-form-urlencoded")];
    let left = provided.site.call("POST", "/sign-out", &headers, Some(&format!("csrf_token={token}"))).is(303);
    assert_eq!(left.header("location"), "/sign-in?signed_out=1");
    let page = provided.site.call("GET", "/sign-in?signed_out=1", &[], None).is(200).body;
    let end = format!("{}/sign-out?client_id=millrace", provided.provider.issuer());
    assert!(page.replace("&#x2f;", "/").replace("&amp;", "&").contains(&end), "{page}");
    provided.site.call("GET", "/api/v1/account", &[("cookie", session)], None).is(401);
}

#[test]
fn a_provider_that_is_away_or_another_is_said_on_the_page() {
    let provided = Provided::start_with(|options| options.issuer = "http://127.0.0.1:9".to_owned());
    let page = provided.site.call("GET", "/sign-in/oidc", &[], None).is(502).body;
    assert!(page.contains("the provider cannot be reached"), "{page}");
    // Nobody makes this server ask, and write it down, without end.
    let ask = || provided.site.call("GET", "/sign-in/oidc", &[], None).status;
    assert!((0..20).any(|_| ask() == 429));
    let provided = Provided::start_with(|options| options.issuer.push('/'));
    let page = provided.site.call("GET", "/sign-in/oidc", &[], None).is(502).body;
    assert!(page.contains("it calls itself"), "{page}");
    let provided = Provided::start_with(|options| options.issuer = "http://login.example".to_owned());
    assert!(provided.site.call("GET", "/sign-in/oidc", &[], None).is(502).body.contains("must begin with https:"));
    let without = Site::start();
    without.call("GET", "/sign-in/oidc", &[], None).is(404);
    assert!(!without.call("GET", "/sign-in", &[], None).is(200).body.contains("oidc"));
}
