//! A real browser, driven over WebDriver.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::daemon::status_of;
use crate::{Daemon, binaries, free_port};

const START_TIMEOUT: Duration = Duration::from_mins(1);
const START_ATTEMPTS: u32 = 5;

/// A running chromedriver. The browsers that sessions open end with it.
///
/// With fantoccini:
/// `ClientBuilder::new(HttpConnector::new()).capabilities(chromium.capabilities()).connect(chromium.webdriver_url())`.
#[derive(Debug)]
pub struct Chromium {
    driver: Daemon,
    port: u16,
    browser: String,
    profile: TempDir,
}

impl Chromium {
    /// Starts a chromedriver of the test's own and waits until it is ready.
    pub fn start() -> Result<Self> {
        let driver = binaries::find("chromedriver", &[], "chromium-driver")?;
        let browser = binaries::find("chromium", &[], "chromium")?.to_string_lossy().into_owned();
        let profile = tempfile::Builder::new().prefix("millrace-chromium-").tempdir();
        let profile = profile.context("cannot create a folder for the browser's profile")?;
        let mut problem = None;
        for _ in 0..START_ATTEMPTS {
            let port = free_port()?;
            let mut driver = Daemon::builder(&driver)
                .args([format!("--port={port}")])
                // Caches and settings belong into the profile, not into the home of the person.
                .env("HOME", profile.path())
                .spawn()?;
            match driver.wait_for_url(&format!("http://127.0.0.1:{port}/status"), START_TIMEOUT) {
                Ok(()) => return Ok(Self { driver, port, browser, profile }),
                // Somebody took the port in between, most likely.
                Err(error) if !driver.is_running() => problem = Some(error),
                Err(error) => return Err(error).context("chromedriver does not get ready"),
            }
        }
        Err(problem.unwrap_or_else(|| anyhow::anyhow!("no attempt was made"))).context("cannot start chromedriver")
    }

    /// Where a WebDriver client connects: `http://127.0.0.1:PORT`.
    pub fn webdriver_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What a session asks for: a headless Chromium with a fresh profile that talks to nobody but the test's pages. One
    /// session at a time: two cannot share the profile.
    pub fn capabilities(&self) -> Map<String, Value> {
        let profile = format!("--user-data-dir={}", self.profile.path().join("profile").display());
        let arguments = json!([
            "--headless=new",
            // The sandbox does not start as root nor in most containers, and only our own pages are opened.
            "--no-sandbox",
            // /dev/shm is small in containers.
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--disable-quic",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--disable-extensions",
            "--no-first-run",
            "--no-default-browser-check",
            "--window-size=1280,900",
            profile,
        ]);
        let mut capabilities = Map::new();
        capabilities.insert("browserName".to_owned(), json!("chrome"));
        capabilities.insert("goog:chromeOptions".to_owned(), json!({"binary": self.browser, "args": arguments}));
        capabilities
    }

    /// What chromedriver has to say, for a failing test's message.
    pub fn log(&self) -> String {
        self.driver.stdout() + &self.driver.stderr()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Asked politely it closes its browsers, some of whose processes leave the process group.
        if status_of(&format!("{}/shutdown", self.webdriver_url())).is_some() {
            let _ = self.driver.wait(Duration::from_secs(10));
        }
    }
}
