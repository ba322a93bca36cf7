//! How people and other systems come in: the provider's button, and webhooks.

use std::net::SocketAddr;
use std::sync::Arc;

use chrono::Utc;
use millrace_devstack::{OpenIdConfig, serve_openid};
use millrace_testkit::{free_port, wait_until};
use serde_json::json;

use crate::driver::{Browser, SHOWS};
use crate::support::{PATIENCE, TestHome};
use crate::{fragile, standalone};

/// In the program's own variables only: it must not stand in a page.
const SECRET: &str = "secretOfTheClient1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_provider_s_button_leads_there_and_back_to_where_one_wanted_to_go() {
    let port = free_port().unwrap();
    let address = format!("http://127.0.0.1:{port}");
    let provider = serve_openid(OpenIdConfig {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        client_id: "millrace".to_owned(),
        client_secret: SECRET.to_owned(),
        redirect_uri: format!("{address}/sign-in/oidc/callback"),
        now: Arc::new(Utc::now),
    });
    let provider = provider.await.unwrap();
    provider.become_person(json!({"sub": "00u7", "preferred_username": "ada", "groups": ["data"]}));
    let mut home = TestHome::new();
    home.ok(&["db", "migrate"]);
    home.ok(&["variables", "set", "oidc_client_secret", SECRET]);
    home.set("MILLRACE__OIDC__ISSUER", provider.issuer());
    home.set("MILLRACE__OIDC__CLIENT_ID", "millrace");
    home.set("MILLRACE__OIDC__LABEL", "The House");
    home.set("MILLRACE__OIDC__ROLES", "data=operator");
    home.set("MILLRACE__SERVER__PUBLIC_URL", &address);
    let mut daemon = home.daemon(&["server", "--port", &port.to_string()]);
    daemon.wait_for_line("serving http://", PATIENCE).unwrap();

    let browser = Browser::open(address).await;
    browser.goto("/task-instances?state=failed").await;
    browser.shows("Sign in with The House").await;
    assert_eq!(browser.barriers().await, Vec::<String>::new());
    browser.picture("sign-in-provider").await;
    browser.narrow(true).await;
    browser.assert_no_sideways_scrolling().await;
    browser.narrow(false).await;
    browser.click("main a.button[href^='/sign-in/oidc']").await;
    browser.find("form.who a[href='/account']").await;
    assert_eq!(browser.path().await, "/task-instances");
    assert!(browser.text().await.contains("ada"), "{}", browser.text().await);

    // Gone here, she is asked whether there too.
    browser.click("form.who button").await;
    browser.shows("Sign out of The House too").await;
    browser.goto("/runs").await;
    assert_eq!(browser.path().await, "/sign-in");
    // Whoever the provider does not know is told so on a page.
    provider.become_person(json!({}));
    browser.click("main a.button[href^='/sign-in/oidc']").await;
    browser.shows("the provider refused: access_denied").await;
    browser.picture("sign-in-refused").await;
    let page = browser.client.source().await.unwrap();
    assert!(!page.contains(SECRET), "{page}");
    browser.close().await;
}

async fn type_into(browser: &Browser, selector: &str, text: &str) {
    let field = browser.find(selector).await;
    field.clear().await.unwrap();
    field.send_keys(text).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_is_made_starts_a_run_and_is_gone() {
    let home = TestHome::new();
    let flag = home.file("flag");
    home.write_dag("fragile.yaml", &fragile(&flag));
    std::fs::write(&flag, "").unwrap();
    let (_daemon, address) = standalone(&home);
    home.ok(&["dags", "unpause", "fragile"]);
    let browser = Browser::open(address.clone()).await;
    browser.goto("/webhooks").await;
    browser.sign_in(&std::fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser.shows("No webhooks yet").await;

    // What was wrong is said, and what was typed is still there.
    type_into(&browser, "form.also [name=name]", "orders-are-in").await;
    type_into(&browser, "form.also [name=of]", "nothing").await;
    browser.click("form.also button.primary").await;
    browser.find("p.problem").await;
    let typed = browser.run("return document.querySelector('form.also [name=name]').value").await;
    assert_eq!(typed, "orders-are-in");
    type_into(&browser, "form.also [name=of]", "fragile").await;
    browser.click("form.also button.primary").await;
    let secret = browser.find("#webhook-secret").await.text().await.unwrap();
    assert!(secret.starts_with("mrw_"), "{secret}");
    browser.picture("webhook-made").await;
    assert_eq!(browser.barriers().await, Vec::<String>::new());
    browser.narrow(true).await;
    browser.assert_no_sideways_scrolling().await;
    browser.picture("webhook-made-narrow").await;
    browser.narrow(false).await;

    let deliver = async || {
        let (url, secret) = (format!("{address}/api/v1/webhooks/orders-are-in"), secret.clone());
        let sent = tokio::task::spawn_blocking(move || {
            let config = ureq::Agent::config_builder().http_status_as_error(false).build();
            let request = ureq::Agent::new_with_config(config).post(&url);
            request.header("authorization", &format!("Bearer {secret}")).send("{\"region\": \"us\"}").unwrap().status()
        });
        sent.await.unwrap().as_u16()
    };
    assert_eq!(deliver().await, 200);
    let done = wait_until("the run that was started has ended", PATIENCE, async || {
        let states = home.run_states("fragile");
        states.len() == 1 && states.values().all(|state| state == "success")
    });
    done.await.unwrap();

    // Told once only.
    browser.goto("/webhooks").await;
    browser.shows("orders-are-in").await;
    assert!(!browser.client.source().await.unwrap().contains(&secret));
    browser.picture("webhooks").await;
    browser.speak("ko").await;
    browser.goto("/webhooks").await;
    browser.shows("새 웹훅").await;
    browser.picture("webhooks-korean").await;
    browser.speak("en").await;
    browser.goto("/webhooks").await;
    browser.click("form[action='/webhooks/delete/orders-are-in'] button").await;
    browser.find("#confirm[open]").await;
    browser.click("#confirm [data-yes]").await;
    let gone = wait_until("it is gone", SHOWS, async || browser.text().await.contains("No webhooks yet"));
    gone.await.unwrap();
    assert_eq!(deliver().await, 401);
    browser.close().await;
}
