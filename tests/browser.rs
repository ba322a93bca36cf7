//! What a person does on the pages, in a real browser.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use millrace_testkit::{Chromium, Daemon, wait_until};
use serde_json::{Value, json};
use support::{PATIENCE, TestHome};

/// A page that was opened shows what is asked for.
const SHOWS: Duration = Duration::from_secs(30);

struct Browser {
    client: Client,
    chromium: Chromium,
    address: String,
}

impl Browser {
    async fn open(address: String) -> Self {
        let chromium = Chromium::start().unwrap();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(chromium.capabilities())
            .connect(&chromium.webdriver_url())
            .await
            .unwrap();
        Self { client, chromium, address }
    }

    async fn goto(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.address)).await.unwrap();
    }

    async fn find(&self, selector: &str) -> Element {
        let found = self.client.wait().at_most(SHOWS).for_element(Locator::Css(selector)).await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("{selector} at {}: {error}\n{}", self.path().await, self.text().await),
        }
    }

    /// What is there at that moment: a live page may draw it anew between the look and the click.
    async fn click(&self, selector: &str) {
        let clicked = wait_until(selector, SHOWS, async || match self.find(selector).await.click().await {
            Ok(()) => true,
            Err(error) if error.is_stale_element_reference() => false,
            Err(error) => panic!("{selector}: {error}"),
        });
        clicked.await.unwrap();
    }

    async fn path(&self) -> String {
        self.client.current_url().await.unwrap().path().to_owned()
    }

    async fn text(&self) -> String {
        self.run("return document.body ? document.body.innerText : ''").await.as_str().unwrap_or_default().to_owned()
    }

    async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    async fn shows(&self, wanted: &str) {
        let shown = wait_until(wanted, SHOWS, async || self.text().await.contains(wanted)).await;
        assert!(shown.is_ok(), "{wanted:?} is not at {}:\n{}", self.path().await, self.text().await);
    }

    async fn sign_in(&self, password: &str) {
        self.find("input[name=username]").await.send_keys("admin").await.unwrap();
        self.find("input[name=password]").await.send_keys(password).await.unwrap();
        self.click("main form button").await;
    }

    /// Saves what is seen, in both themes, for a person to look at.
    async fn picture(&self, name: &str) {
        let folder = pictures();
        for theme in ["light", "dark"] {
            let features = json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": [{"name": "prefers-color-scheme", "value": theme}]}});
            self.devtools(features).await;
            let png = self.client.screenshot().await.unwrap();
            assert!(png.starts_with(b"\x89PNG"));
            fs::write(folder.join(format!("{name}-{theme}.png")), png).unwrap();
        }
    }

    /// A command of the browser's own protocol, which WebDriver does not have.
    async fn devtools(&self, command: Value) {
        let session = self.client.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/goog/cdp/execute", self.chromium.webdriver_url());
        let answer = tokio::task::spawn_blocking(move || ureq::post(url).send_json(command).map(|_| ())).await.unwrap();
        answer.unwrap();
    }

    async fn close(self) {
        self.client.close().await.unwrap();
    }
}

fn pictures() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pictures");
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn standalone(home: &TestHome) -> (Daemon, String) {
    let mut daemon = home.daemon(&["standalone", "--demo", "--port", "0"]);
    let line = daemon.wait_for_line("address   http://127.0.0.1:", PATIENCE).unwrap();
    let address = line.trim().strip_prefix("address").unwrap().trim().to_owned();
    (daemon, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_the_list_to_the_failed_task_s_log_in_two_clicks() {
    let home = TestHome::new();
    let (_daemon, address) = standalone(&home);
    home.ok(&["dags", "unpause", "demo_failure"]);
    home.run(&["dags", "trigger", "demo_failure", "--run-id", "red", "--wait"]).exits(1);
    wait_until("the demo run has ended", PATIENCE, async || {
        home.run_states("demo_orders").values().all(|state| state == "success")
    })
    .await
    .unwrap();

    let browser = Browser::open(address).await;
    // Without signing in there is only the sign-in page, and it leads back to where one wanted to go.
    browser.goto("/dags").await;
    assert_eq!(browser.path().await, "/sign-in");
    browser.picture("sign-in").await;
    browser.sign_in("wrong").await;
    browser.shows("do not fit").await;
    browser.goto("/dags").await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser.shows("demo_orders").await;
    assert_eq!(browser.path().await, "/dags");
    browser.shows("demo_failure").await;
    browser.picture("dags").await;

    // First click: the failed run in the DAG's row. Second: the red task.
    browser.click("a[href='/dags/demo_failure/runs/red']").await;
    browser.shows("never_runs").await;
    browser.picture("run").await;
    browser.click("a[href='/dags/demo_failure/runs/red/tasks/fails']").await;
    browser.shows("No such file or directory").await;
    browser.picture("log").await;

    browser.goto("/dags/demo_failure").await;
    browser.shows("cleans_up").await;
    browser.picture("grid").await;
    for path in ["/dags/demo_orders", "/runs", "/connections", "/legend"] {
        browser.goto(path).await;
        browser.picture(&path.trim_start_matches('/').replace('/', "-")).await;
        assert_no_sideways_scrolling(&browser).await;
    }
    browser.goto("/connections").await;
    browser.shows("demo_s3").await;
    let page = browser.client.source().await.unwrap();
    let keys = fs::read_to_string(home.file("s3_keys")).unwrap();
    assert!(!page.contains(keys.trim().split(':').nth(1).unwrap()), "a secret stands in the page");
    browser.close().await;
}

/// Fails once, and does what it should when `flag` is there.
fn fragile(flag: &std::path::Path) -> String {
    let flag = flag.display();
    format!(
        "schedule: none\nparams: {{region: eu, full: false, days: {{type: integer, default: 3, maximum: 9}}}}\ntasks:\n  before:\n    operator: bash\n    bash_command: echo fine\n  mended:\n    operator: bash\n    depends_on: [before]\n    bash_command: |\n      test -e {flag} || {{ echo it is not there; exit 1; }}\n      echo it is there now\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_red_task_is_found_read_cleared_and_turns_green() {
    let home = TestHome::new();
    let flag = home.file("flag");
    home.write_dag("fragile.yaml", &fragile(&flag));
    let (_daemon, address) = standalone(&home);
    home.ok(&["dags", "unpause", "fragile"]);
    home.run(&["dags", "trigger", "fragile", "--run-id", "red", "--wait"]).exits(1);

    let browser = Browser::open(address).await;
    browser.goto("/").await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser.shows("Needs you").await;
    browser.picture("home").await;
    // In the other language, by choice.
    browser.click("details.view summary").await;
    browser.click("button[name=language][value=ko]").await;
    browser.shows("확인이 필요합니다").await;
    browser.picture("home-korean").await;

    browser.click("#needs a.button[aria-label='fragile의 로그']").await;
    browser.shows("it is not there").await;
    browser.picture("log-korean").await;
    browser.click("details.view summary").await;
    browser.click("button[name=language][value=en]").await;
    browser.shows("Mark success").await;

    // What will be touched is listed before anything is.
    fs::write(&flag, "").unwrap();
    browser.click("#facts a.button[href*='action=clear']").await;
    browser.shows("task instance is changed").await;
    browser.picture("clear").await;
    browser.click("form.sure button.primary").await;
    browser.shows("Mark success").await;
    browser.run("window.notReloaded = true").await;
    browser.find("#facts .title .s-success").await;
    assert_eq!(browser.run("return window.notReloaded === true").await, true);
    browser.shows("it is there now").await;
    browser.picture("green").await;

    // A field for each parameter, and the run has what was typed.
    browser.goto("/dags/fragile").await;
    browser.click("form[data-trigger] button").await;
    browser.find("#trigger [data-param=region]").await.clear().await.unwrap();
    browser.find("#trigger [data-param=region]").await.send_keys("us").await.unwrap();
    browser.click("#trigger [data-param=full]").await;
    browser.click("#trigger-more summary").await;
    browser.find("#trigger input[name=dag_run_id]").await.send_keys("asked").await.unwrap();
    // What does not fit is said beside its field, and what was typed is still there.
    browser.find("#trigger [data-param=days]").await.send_keys("0").await.unwrap();
    browser.click("#trigger button.primary").await;
    browser.shows("must be at most 9").await;
    assert_eq!(browser.run("return document.activeElement.dataset.param").await, "days");
    assert_eq!(browser.run("return document.querySelector('#trigger [data-param=region]').value").await, "us");
    browser.picture("trigger-wrong").await;
    browser.find("#trigger [data-param=days]").await.clear().await.unwrap();
    browser.find("#trigger [data-param=days]").await.send_keys("9").await.unwrap();
    browser.picture("trigger").await;
    browser.click("#trigger button.primary").await;
    browser.shows("\"days\": 9").await;
    browser.shows("\"region\": \"us\"").await;
    browser.shows("\"full\": true").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_fits_a_telephone_and_is_reached_by_keys() {
    let home = TestHome::new();
    home.write_dag("fragile.yaml", &fragile(&home.file("flag")));
    let (_daemon, address) = standalone(&home);
    home.ok(&["dags", "unpause", "fragile"]);
    home.run(&["dags", "trigger", "fragile", "--run-id", "red", "--wait"]).exits(1);
    let browser = Browser::open(address).await;
    browser.goto("/").await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser.shows("Needs you").await;

    browser.find("body").await.send_keys("?").await.unwrap();
    browser.find("#keys[open]").await;
    browser.picture("keys").await;
    browser.click("#keys button").await;
    browser.find("body").await.send_keys("gd").await.unwrap();
    let there = wait_until("g d leads to the DAGs", SHOWS, async || browser.path().await == "/dags").await;
    there.unwrap();

    let pages = [
        "/",
        "/dags",
        "/runs",
        "/task-instances",
        "/assets",
        "/connections",
        "/variables",
        "/pools",
        "/calendars",
        "/jobs",
        "/users",
        "/audit",
        "/operators",
        "/operators/copy",
        "/configuration",
        "/legend",
        "/account",
        "/dags/fragile",
        "/dags/fragile/graph",
        "/dags/fragile/gantt",
        "/dags/fragile/calendar",
        "/dags/fragile/runs",
        "/dags/fragile/backfills",
        "/dags/demo_orders/data",
        "/dags/fragile/code",
        "/dags/fragile/details",
        "/dags/fragile/runs/red/tasks/mended",
    ];
    for path in pages {
        let name = path.trim_matches('/').replace('/', "-");
        browser.goto(path).await;
        browser.find("main").await;
        browser.picture(&format!("page-{name}")).await;
        assert_no_sideways_scrolling(&browser).await;
        let narrow = json!({"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        browser.devtools(json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": narrow})).await;
        browser.picture(&format!("narrow-{name}")).await;
        assert_no_sideways_scrolling(&browser).await;
        browser.devtools(json!({"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}})).await;
        // Every field and button says what it is.
        let nameless = browser
            .run(
                "return [...document.querySelectorAll('button, a, input:not([type=hidden]), select, textarea')]\
                 .filter((it) => !(it.textContent.trim() || it.ariaLabel || it.title || it.labels?.length\
                 || it.querySelector('title'))).map((it) => it.outerHTML)",
            )
            .await;
        assert_eq!(nameless, json!([]), "{path}");
    }
    browser.close().await;
}

async fn assert_no_sideways_scrolling(browser: &Browser) {
    let wider = browser.run("return document.documentElement.scrollWidth - window.innerWidth").await;
    assert!(wider.as_i64().unwrap() <= 0, "{} is {wider} px wider than the window", browser.path().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pause_switch_works_and_a_log_follows_its_task() {
    let home = TestHome::new();
    let go = home.file("go");
    home.write_dag(
        "speaks.yaml",
        &format!(
            "schedule: none\ntasks:\n  speaks:\n    operator: bash\n    bash_command: |\n      echo first words\n      until test -e {}; do sleep 0.1; done\n      echo last words\n",
            go.display()
        ),
    );
    let (_daemon, address) = standalone(&home);
    let browser = Browser::open(address).await;
    browser.goto("/dags").await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser.shows("speaks").await;
    let is_paused = || {
        let dags = home.json(&["dags", "list"]);
        let dag = dags.as_array().unwrap().iter().find(|dag| dag["dag_id"] == "speaks").unwrap().clone();
        dag["is_paused"] == true
    };
    assert!(is_paused());
    let switch = "form[action='/dags/speaks/pause'] button, form[action='/dags/speaks/pause'] input[type=checkbox]";
    browser.click(switch).await;
    wait_until("the DAG is unpaused", PATIENCE, async || !is_paused()).await.unwrap();

    home.ok(&["dags", "trigger", "speaks", "--run-id", "r"]);
    browser.goto("/dags/speaks/runs/r/tasks/speaks").await;
    browser.shows("first words").await;
    browser.picture("log-running").await;
    assert!(!browser.text().await.contains("\nlast words"), "{}", browser.text().await);
    // Nobody reloads the page.
    browser.run("window.notReloaded = true").await;
    fs::write(&go, "").unwrap();
    browser.shows("bash exited with code 0").await;
    assert_eq!(browser.run("return window.notReloaded === true").await, true);

    browser.goto("/dags").await;
    browser.click(switch).await;
    wait_until("the DAG is paused", PATIENCE, async || is_paused()).await.unwrap();
    browser.close().await;
}
