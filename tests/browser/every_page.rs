//! Every page: on a telephone, by keys, in both themes and languages, and for people who do not see it.

use std::fs;

use millrace_testkit::wait_until;
use serde_json::json;

use crate::driver::{Browser, SHOWS};
use crate::support::TestHome;
use crate::{fragile, standalone};

const PAGES: &[&str] = &[
    "/",
    "/dags",
    "/runs",
    "/task-instances",
    "/backfills",
    "/results",
    "/data",
    "/assets",
    "/import-errors",
    "/connections",
    "/connections/new",
    "/connections/edit/demo_s3",
    "/variables",
    "/pools",
    "/webhooks",
    "/calendars",
    "/jobs",
    "/users",
    "/tokens",
    "/roles",
    "/audit",
    "/operators",
    "/operators/copy",
    "/configuration",
    "/legend",
    "/account",
    "/api",
    "/dags/fragile",
    "/dags/fragile/graph",
    "/dags/fragile/gantt",
    "/dags/fragile/calendar",
    "/dags/fragile/runs",
    "/dags/fragile/backfills",
    "/dags/demo_orders/data",
    "/dags/fragile/code",
    "/dags/fragile/details",
    "/dags/fragile/trigger",
    "/dags/fragile/rerun-failed",
    "/dags/fragile/runs/red",
    "/dags/fragile/runs/red/change?action=clear",
    "/dags/fragile/runs/red/tasks/mended",
    "/dags/nothing",
];

/// Names as long as nobody would write them by hand, and as programs make them.
const LONG_DAG: &str =
    "copy_of_every_order_of_the_shop_in_seoul_into_the_warehouse_of_the_company_for_the_report_of_the_month_v2_final";
const LONG_TASK: &str = "extraction_of_every_order_of_the_shop_in_seoul_that_was_placed_since_the_last_time_it_ran";
const LONG_TAG: &str = "a_tag_that_somebody_made_of_the_name_of_a_department_and_of_its_cost_centre";

/// What a page shows of a busy house and an empty one does not: its address, and words that tell that it is there.
fn situations() -> Vec<(String, &'static str)> {
    let mut all: Vec<(String, &str)> = [
        ("/", "cannot be read"),
        ("/dags", LONG_TAG),
        ("/runs?offset=50", "Newer"),
        ("/runs?state=queued", "No run is"),
        ("/import-errors", "broken.yaml"),
        ("/dags/many", "Older"),
        ("/dags/waits/runs/waiting", "Why it has not ended"),
        ("/dags/waits/runs/waiting/tasks/second", "Why it is not running"),
    ]
    .map(|(path, words)| (path.to_owned(), words))
    .into();
    let pages = [
        "",
        "/graph",
        "/gantt",
        "/calendar",
        "/runs",
        "/backfills",
        "/data",
        "/code",
        "/details",
        "/trigger",
        "/rerun-failed",
        "/runs/long",
        "/runs/long/change?action=clear",
    ];
    all.extend(pages.map(|page| (format!("/dags/{LONG_DAG}{page}"), LONG_DAG)));
    let of_task = [format!("/change?action=clear&task={LONG_TASK}"), format!("/tasks/{LONG_TASK}")];
    all.extend(of_task.map(|page| (format!("/dags/{LONG_DAG}/runs/long{page}"), LONG_TASK)));
    all
}

fn walked() -> Vec<(String, &'static str)> {
    let pages = PAGES.iter().map(|path| ((*path).to_owned(), ""));
    pages.chain(situations()).collect()
}

fn furnish(home: &TestHome) {
    home.write_dag("fragile.yaml", &fragile(&home.file("flag")));
    home.write_dag(
        "long.yaml",
        &format!(
            "dag_id: {LONG_DAG}\nschedule: none\ntags: [{LONG_TAG}]\ntasks:\n  {LONG_TASK}: {{operator: bash, bash_command: \"exit 1\"}}\n  \
             {LONG_TASK}_again: {{operator: bash, bash_command: echo, depends_on: [{LONG_TASK}]}}\n"
        ),
    );
    home.write_dag(
        "many.yaml",
        "schedule: \"@daily\"\nstart_date: 2024-01-01\ncatchup: false\ntasks:\n  only: {operator: empty}\n",
    );
    home.write_dag(
        "waits.yaml",
        "schedule: none\ntasks:\n  first: {operator: bash, bash_command: sleep 900}\n  \
         second: {operator: bash, bash_command: echo, depends_on: [first]}\n",
    );
    // A name that is no wider than what is beside it.
    home.write_dag("hr.yaml", "schedule: none\ntasks:\n  only: {operator: empty}\n");
    home.write_dag("broken.yaml", "schedule: none\ntasks:\n  one: {operator: bsh}\n");
}

#[test]
fn no_page_is_forgotten() {
    let segments = |path: &str| path.split('?').next().unwrap().split('/').map(str::to_owned).collect::<Vec<_>>();
    let fits = |pattern: &str, path: &str| {
        let (pattern, path) = (segments(pattern), segments(path));
        let same = |(one, other): (&String, &String)| one == other || (one.starts_with('{') && !other.is_empty());
        pattern.len() == path.len() && pattern.iter().zip(&path).all(same)
    };
    let pages = millrace_server::page_addresses();
    let forgotten: Vec<&String> =
        pages.iter().filter(|pattern| !PAGES.iter().any(|path| fits(pattern, path))).collect();
    assert!(forgotten.is_empty(), "add them to PAGES: {forgotten:?}");
}

async fn signed_in(home: &TestHome, address: String) -> Browser {
    for (dag, run) in [("fragile", "red"), (LONG_DAG, "long")] {
        home.ok(&["dags", "unpause", dag]);
        home.run(&["dags", "trigger", dag, "--run-id", run, "--wait"]).exits(1);
    }
    home.ok(&["dags", "unpause", "many"]);
    let dates = ["--start-date", "2024-01-01", "--end-date", "2024-03-01", "--max-active-runs", "30", "--wait"];
    home.ok(&[&["backfills", "create", "many"], dates.as_slice()].concat());
    home.ok(&["dags", "unpause", "waits"]);
    home.ok(&["dags", "trigger", "waits", "--run-id", "waiting"]);
    // A page that changes while it is looked at has parts that nobody sees any more.
    let is_quiet = async || {
        let runs = home.json(&["dags", "list-runs", "demo_orders"]);
        let runs = runs.as_array().unwrap();
        !runs.is_empty() && runs.iter().all(|run| run["state"] == "success")
    };
    wait_until("the demo has run", SHOWS, is_quiet).await.unwrap();
    let browser = Browser::open(address).await;
    browser.goto("/").await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser.shows("Needs you").await;
    browser
}

fn name_of(path: &str) -> String {
    path.trim_matches('/').replace(LONG_DAG, "long").replace(LONG_TASK, "task").replace(['/', '?', '=', '&'], "-")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_fits_a_telephone_and_is_reached_by_keys() {
    let home = TestHome::new();
    furnish(&home);
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address).await;

    browser.find("body").await.send_keys("?").await.unwrap();
    browser.find("#keys[open]").await;
    browser.picture("keys").await;
    browser.click("#keys button").await;
    browser.find("body").await.send_keys("gd").await.unwrap();
    let there = wait_until("g d leads to the DAGs", SHOWS, async || browser.path().await == "/dags").await;
    there.unwrap();
    // The same keys of a Hangul keyboard.
    let hangul = "for (const [key, code] of [['ㅎ', 'KeyG'], ['ㄱ', 'KeyR']]) document.body.dispatchEvent(new KeyboardEvent('keydown', { key, code, bubbles: true }))";
    browser.run(hangul).await;
    let there = wait_until("g r leads to the runs", SHOWS, async || browser.path().await == "/runs").await;
    there.unwrap();

    for (path, words) in &walked() {
        let name = name_of(path);
        browser.goto(path).await;
        browser.find("main").await;
        browser.shows(words).await;
        let shift = browser.layout_shift().await;
        assert!(shift < 0.1, "{path} moves by {shift} while it is drawn");
        browser.picture(&format!("page-{name}")).await;
        browser.assert_no_sideways_scrolling().await;
        browser.narrow(true).await;
        browser.picture(&format!("narrow-{name}")).await;
        browser.assert_no_sideways_scrolling().await;
        // A tablet, and half a screen.
        for width in [768, 960] {
            browser.as_wide_as(width).await;
            browser.assert_no_sideways_scrolling().await;
        }
        browser.picture_as_it_is(&format!("half-{name}")).await;
        browser.narrow(false).await;
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

/// Level A and AA of WCAG 2.2, as far as a program can tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_is_for_everybody() {
    let home = TestHome::new();
    furnish(&home);
    let (_daemon, address) = standalone(&home);
    let browser = Browser::open(address.clone()).await;
    let mut barriers = Vec::new();
    browser.goto("/sign-in").await;
    barriers.extend(browser.barriers().await.into_iter().map(|found| format!("/sign-in: {found}")));
    browser.close().await;
    let browser = signed_in(&home, address).await;
    for (path, words) in &walked() {
        browser.goto(path).await;
        browser.find("main").await;
        browser.shows(words).await;
        for theme in ["light", "dark"] {
            browser.set_theme(theme).await;
            barriers.extend(browser.barriers().await.into_iter().map(|found| format!("{path} ({theme}): {found}")));
        }
    }
    // What opens on a page.
    browser.goto("/dags/fragile").await;
    browser.click("form[data-trigger] button").await;
    browser.find("#trigger[open] .field").await;
    barriers.extend(browser.barriers().await.into_iter().map(|found| format!("the form of a run: {found}")));
    assert!(barriers.is_empty(), "{}", barriers.join("\n"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_page_speaks_korean() {
    let home = TestHome::new();
    furnish(&home);
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address).await;
    browser.speak("ko").await;
    for (path, _) in &walked() {
        let name = name_of(path);
        browser.goto(path).await;
        browser.find("main").await;
        assert_eq!(browser.run("return document.documentElement.lang").await, "ko", "{path}");
        let is_korean = "return /[가-힣]/.test(document.querySelector('main').innerText)";
        assert_eq!(browser.run(is_korean).await, true, "{path} has no Korean word");
        browser.set_theme("light").await;
        browser.picture_as_it_is(&format!("korean-{name}")).await;
        browser.narrow(true).await;
        browser.assert_no_sideways_scrolling().await;
        browser.as_wide_as(768).await;
        browser.assert_no_sideways_scrolling().await;
        browser.narrow(true).await;
        browser.set_theme("dark").await;
        browser.picture_as_it_is(&format!("korean-narrow-{name}")).await;
        browser.narrow(false).await;
    }
    browser.close().await;
}
