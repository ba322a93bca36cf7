//! A real browser opens a page and goes away afterwards.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use millrace_testkit::Chromium;
use serde_json::{Value, json};

fn post(url: &str, body: &Value) -> Value {
    let mut response = ureq::post(url).send_json(body).unwrap();
    response.body_mut().read_json().unwrap()
}

#[test]
fn a_page_is_opened_and_read() {
    let chromium = Chromium::start().unwrap();
    let driver = chromium.webdriver_url();
    let wanted = json!({"capabilities": {"alwaysMatch": chromium.capabilities()}});
    let answer = post(&format!("{driver}/session"), &wanted);
    let session = answer["value"]["sessionId"].as_str().unwrap();
    let page = "data:text/html,<title>Mill</title><h1>Race</h1>";
    post(&format!("{driver}/session/{session}/url"), &json!({"url": page}));
    let mut title = ureq::get(format!("{driver}/session/{session}/title")).call().unwrap();
    assert_eq!(title.body_mut().read_json::<Value>().unwrap()["value"], "Mill");

    let profile = chromium.capabilities()["goog:chromeOptions"]["args"].as_array().unwrap().last().unwrap().to_string();
    let profile = profile.trim_matches('"').to_owned();
    assert!(!browsers_with(&profile).is_empty(), "no browser runs with {profile}");
    drop(chromium);
    let patience = std::time::Duration::from_secs(30);
    millrace_testkit::wait_until_blocking("the browser is gone", patience, || browsers_with(&profile).is_empty())
        .unwrap();
}

/// Processes whose command line has this argument.
fn browsers_with(argument: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let commands = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    commands
        .map(|command| String::from_utf8_lossy(&command).replace('\0', " "))
        .filter(|command| command.split(' ').any(|word| word == argument))
        .collect()
}
