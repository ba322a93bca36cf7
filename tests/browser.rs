//! What a person does on the pages, in a real browser. What was seen is kept in `target/screenshots`.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

#[path = "browser/doors.rs"]
mod doors;
#[path = "browser/driver.rs"]
mod driver;
#[path = "browser/every_page.rs"]
mod every_page;
#[path = "browser/hands.rs"]
mod hands;
#[path = "browser/journeys.rs"]
mod journeys;
#[path = "browser/lists.rs"]
mod lists;
#[path = "browser/logs.rs"]
mod logs;
#[path = "browser/moves.rs"]
mod moves;
#[path = "browser/rare.rs"]
mod rare;
mod support;

use std::fs;

use driver::Browser;
use millrace_testkit::{Daemon, wait_until};
use support::{PATIENCE, TestHome};

pub fn standalone(home: &TestHome) -> (Daemon, String) {
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
        browser.assert_no_sideways_scrolling().await;
    }
    browser.goto("/connections").await;
    browser.shows("demo_s3").await;
    let page = browser.client.source().await.unwrap();
    let keys = fs::read_to_string(home.file("s3_keys")).unwrap();
    assert!(!page.contains(keys.trim().split(':').nth(1).unwrap()), "a secret stands in the page");
    browser.close().await;
}

/// Fails once, and does what it should when `flag` is there.
pub fn fragile(flag: &std::path::Path) -> String {
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
