//! The browser, and what is asked of the page that it shows.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use millrace_testkit::{Chromium, wait_until};
use serde_json::{Value, json};

/// A page that was opened shows what is asked for.
pub const SHOWS: Duration = Duration::from_secs(30);

pub struct Browser {
    pub client: Client,
    chromium: Chromium,
    address: String,
}

impl Browser {
    pub async fn open(address: String) -> Self {
        let chromium = Chromium::start().unwrap();
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(chromium.capabilities())
            .connect(&chromium.webdriver_url())
            .await
            .unwrap();
        Self { client, chromium, address }
    }

    pub async fn goto(&self, path: &str) {
        self.client.goto(&format!("{}{path}", self.address)).await.unwrap();
    }

    pub async fn find(&self, selector: &str) -> Element {
        let found = self.client.wait().at_most(SHOWS).for_element(Locator::Css(selector)).await;
        match found {
            Ok(element) => element,
            Err(error) => panic!("{selector} at {}: {error}\n{}", self.path().await, self.text().await),
        }
    }

    /// What is there at that moment: a live page may draw it anew between the look and the click.
    pub async fn click(&self, selector: &str) {
        let clicked = wait_until(selector, SHOWS, async || match self.find(selector).await.click().await {
            Ok(()) => true,
            Err(error) if error.is_stale_element_reference() => false,
            Err(error) => panic!("{selector}: {error}"),
        });
        clicked.await.unwrap();
    }

    pub async fn path(&self) -> String {
        self.client.current_url().await.unwrap().path().to_owned()
    }

    pub async fn text(&self) -> String {
        self.run("return document.body ? document.body.innerText : ''").await.as_str().unwrap_or_default().to_owned()
    }

    pub async fn run(&self, script: &str) -> Value {
        self.client.execute(script, vec![]).await.unwrap()
    }

    pub async fn shows(&self, wanted: &str) {
        let shown = wait_until(wanted, SHOWS, async || self.text().await.contains(wanted)).await;
        assert!(shown.is_ok(), "{wanted:?} is not at {}:\n{}", self.path().await, self.text().await);
    }

    pub async fn sign_in(&self, password: &str) {
        self.find("input[name=username]").await.send_keys("admin").await.unwrap();
        self.find("input[name=password]").await.send_keys(password).await.unwrap();
        self.click("main form button").await;
    }

    /// As the machine's setting would.
    pub async fn set_theme(&self, theme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": theme}]);
        self.devtools(json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}})).await;
    }

    /// Saves what is seen, in both themes, for a person to look at.
    pub async fn picture(&self, name: &str) {
        for theme in ["light", "dark"] {
            self.set_theme(theme).await;
            self.picture_as_it_is(&format!("{name}-{theme}")).await;
        }
    }

    pub async fn picture_as_it_is(&self, name: &str) {
        let png = self.client.screenshot().await.unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        fs::write(pictures().join(format!("{name}.png")), png).unwrap();
    }

    /// As on a telephone, or again as before.
    pub async fn narrow(&self, is_narrow: bool) {
        if is_narrow {
            self.as_wide_as(360).await;
        } else {
            self.devtools(json!({"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}})).await;
        }
    }

    pub async fn as_wide_as(&self, width: u32) {
        let params = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": false});
        self.devtools(json!({"cmd": "Emulation.setDeviceMetricsOverride", "params": params})).await;
    }

    /// By a cookie, as the menu sets it.
    pub async fn speak(&self, language: &str) {
        let cookie = format!("document.cookie = 'millrace_language={language}; path=/; samesite=lax'");
        self.run(&cookie).await;
    }

    /// How far what was seen has moved by itself since the page was opened, as browsers reckon it.
    pub async fn layout_shift(&self) -> f64 {
        let script = "const done = arguments[arguments.length - 1];\
            let sum = 0;\
            const add = (all) => all.forEach((it) => { if (!it.hadRecentInput) sum += it.value; });\
            const watch = new PerformanceObserver((list) => add(list.getEntries()));\
            watch.observe({ type: 'layout-shift', buffered: true });\
            requestAnimationFrame(() => requestAnimationFrame(() => { add(watch.takeRecords()); done(sum); }))";
        self.client.execute_async(script, vec![]).await.unwrap().as_f64().unwrap()
    }

    /// From here on.
    pub async fn watch_shifts(&self) {
        let script = "window.shifted = 0;\
            new PerformanceObserver((list) => list.getEntries().forEach((it) => { window.shifted += it.value; }))\
            .observe({ type: 'layout-shift' })";
        self.run(script).await;
    }

    /// How far what was seen has moved since it is watched, also right after a press.
    pub async fn shifted(&self) -> f64 {
        let script = "const done = arguments[arguments.length - 1];\
            requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(() => done(window.shifted))))";
        self.client.execute_async(script, vec![]).await.unwrap().as_f64().unwrap()
    }

    /// As the machine of a person is set who wants no motion.
    pub async fn moves_little(&self, is_so: bool) {
        let value = if is_so { "reduce" } else { "no-preference" };
        let features = json!([{"name": "prefers-reduced-motion", "value": value}]);
        self.devtools(json!({"cmd": "Emulation.setEmulatedMedia", "params": {"features": features}})).await;
    }

    pub async fn assert_no_sideways_scrolling(&self) {
        let wider = self.run("return document.documentElement.scrollWidth - window.innerWidth").await;
        let window = self.run("return window.innerWidth").await;
        let path = self.path().await;
        assert!(wider.as_i64().unwrap() <= 0, "{path} is {wider} px wider than the window of {window} px");
    }

    /// What the page breaks of WCAG 2.2, levels A and AA: the rule, what it is about, and where.
    ///
    /// The cells of grids, strips and charts and the numbers of log lines may be small (criterion 2.5.8): lists of the same
    /// runs and tasks have targets of full size, and a chart's dense arrangement is what it is for.
    pub async fn barriers(&self) -> Vec<String> {
        if self.run("return typeof axe === 'object'").await != true {
            self.run(axe()).await;
        }
        let script = "const done = arguments[arguments.length - 1];\
            const dense = '.strip, #grid, .lines, #calendar, .graphbox, .ganttbox';\
            axe.run(document, { resultTypes: ['violations'],\
              runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'] })\
            .then((found) => done(found.violations.map((it) => it.id !== 'target-size' ? it : ({ id: it.id,\
              nodes: it.nodes.filter((node) => !document.querySelector(node.target[0])?.closest(dense))\
              })).filter((it) => it.nodes.length).map((it) => it.id + ': ' + it.nodes.slice(0, 3)\
              .map((node) => node.html.slice(0, 200) + ' | ' + node.any.concat(node.all, node.none)\
              .map((check) => check.message).join(' ')).join(' || '))), (error) => done([String(error)]))";
        let found = self.client.execute_async(script, vec![]).await.unwrap();
        found.as_array().into_iter().flatten().map(|text| text.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// A command of the browser's own protocol, which WebDriver does not have.
    pub async fn devtools(&self, command: Value) {
        let session = self.client.session_id().await.unwrap().unwrap();
        let url = format!("{}/session/{session}/goog/cdp/execute", self.chromium.webdriver_url());
        let answer = tokio::task::spawn_blocking(move || ureq::post(url).send_json(command).map(|_| ())).await.unwrap();
        answer.unwrap();
    }

    pub async fn close(self) {
        self.client.close().await.unwrap();
    }
}

/// `target/screenshots`.
fn pictures() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).with_file_name("screenshots");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The rules, as `tests/setup.sh` has installed them.
fn axe() -> &'static str {
    static AXE: OnceLock<String> = OnceLock::new();
    AXE.get_or_init(|| {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/accessibility/node_modules/axe-core/axe.min.js");
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}; run tests/setup.sh"))
    })
}
