//! Lists that tell of states: they move by themselves, and what takes something away asks first.

use std::fs;

use millrace_testkit::wait_until;

use crate::driver::{Browser, SHOWS};
use crate::standalone;
use crate::support::TestHome;

async fn signed_in(home: &TestHome, address: String, path: &str) -> Browser {
    let browser = Browser::open(address).await;
    browser.goto(path).await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser
}

/// What browsers call a good page moves by less.
const STILL: f64 = 0.1;

/// Whether the page is still the one that was opened.
async fn same_page(browser: &Browser) -> bool {
    browser.run("return window.notReloaded === true").await == true
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_move_by_themselves() {
    let home = TestHome::new();
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address, "/dags").await;
    browser.shows("demo_orders").await;
    browser.run("window.notReloaded = true").await;
    let go = home.file("go");
    home.write_dag(
        "late_comer.yaml",
        &format!("schedule: none\ntasks:\n  one: {{operator: bash, bash_command: \"until test -e {}; do sleep 0.1; done\"}}\n", go.display()),
    );
    browser.find("#row-late_comer").await;
    assert!(same_page(&browser).await);
    browser.click("[data-pause=late_comer] button").await;
    browser.find("[data-pause=late_comer] button[aria-checked=true]").await;

    browser.goto("/runs").await;
    browser.run("window.notReloaded = true").await;
    home.ok(&["dags", "trigger", "late_comer", "--run-id", "r"]);
    browser.find("#runs a[href$='/late_comer/runs/r']").await;
    browser.find("#runs tr:has(a[href$='/late_comer/runs/r']) .s-running").await;

    // What somebody has chosen stays chosen.
    browser.goto("/task-instances?dag=late_comer").await;
    browser.run("window.notReloaded = true").await;
    browser.find("#instances .s-running").await;
    browser.click("#instances input[name=item]").await;
    browser.run("document.querySelector('#instances').dataset.before = 'yes'").await;
    // Whoever wants nothing to move sees nothing pulse.
    let moving = async || browser.run("return document.getAnimations().length").await.as_u64().unwrap();
    assert!(moving().await > 0);
    browser.moves_little(true).await;
    assert_eq!(moving().await, 0);
    browser.moves_little(false).await;
    browser.watch_shifts().await;
    fs::write(&go, "").unwrap();
    browser.find("#instances:not([data-before]) .s-success").await;
    assert!(browser.shifted().await < STILL, "lines jump as one of them changes");
    browser.find("#instances input[name=item]:checked").await;
    assert_eq!(browser.run("return document.querySelector('[data-chosen]').innerText").await, "1");
    assert!(same_page(&browser).await);

    browser.goto("/").await;
    browser.run("window.notReloaded = true").await;
    let succeeded = async || {
        let script =
            "return Number(document.querySelector(\"#stands a[href^='/runs?state=success'] strong\").innerText)";
        browser.run(script).await.as_i64().unwrap()
    };
    let before = succeeded().await;
    assert!(before > 0);
    browser.watch_shifts().await;
    home.ok(&["dags", "trigger", "late_comer", "--run-id", "again", "--wait"]);
    let counted = wait_until("Home counts it", SHOWS, async || succeeded().await > before);
    counted.await.unwrap();
    assert!(browser.shifted().await < STILL, "Home jumps as it counts");
    assert!(same_page(&browser).await);
    browser.picture("home-counts").await;
    browser.narrow(true).await;
    browser.picture("home-counts-narrow").await;
    browser.narrow(false).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_takes_something_away_asks_first() {
    let home = TestHome::new();
    home.write_dag(
        "daily.yaml",
        "schedule: \"@daily\"\nstart_date: 2024-01-01\ncatchup: false\ntasks:\n  wait: {operator: bash, bash_command: \"sleep 60\"}\n",
    );
    let (_daemon, address) = standalone(&home);
    home.ok(&["users", "create", "ada", "--role", "viewer", "--random"]);
    home.ok(&[
        "backfills",
        "create",
        "daily",
        "--start-date",
        "2024-03-04",
        "--end-date",
        "2024-03-11",
        "--max-active-runs",
        "2",
    ]);
    let browser = signed_in(&home, address, "/dags/daily/backfills").await;
    browser.click("form[action$='/cancel'] button").await;
    browser.shows("Cancel the backfill from 2024-03-04").await;
    browser.picture("backfill-cancel").await;
    // Not yet.
    assert!(!home.run_states("daily").values().any(|state| state == "failed"));
    browser.click("#confirm [data-yes]").await;
    browser.shows("cancelled").await;

    browser.goto("/users").await;
    let row = "tr:has(form[action='/users/ada'])";
    browser.click(&format!("{row} details.note summary")).await;
    let field = browser.find(&format!("{row} input[name=of]")).await;
    field.send_keys("daily").await.unwrap();
    browser.click(&format!("{row} form:has(input[value=grant]) button")).await;
    browser.click(&format!("{row} form.grant button")).await;
    browser.shows("Take viewer of daily away from ada?").await;
    assert_eq!(browser.run("return document.querySelector('#confirm [data-yes]').innerText").await, "Take this away");
    browser.click("#confirm [data-yes]").await;
    browser.find(&format!("{row}:not(:has(form.grant))")).await;

    browser.click(&format!("{row} details.note summary")).await;
    browser.click(&format!("{row} form:has(input[value=disable]) button")).await;
    browser.shows("Shut ada out?").await;
    browser.picture("user-shut-out").await;
    browser.click("#confirm [value=cancel]").await;
    assert!(!browser.text().await.contains("shut out"));
    browser.click(&format!("{row} form:has(input[value=disable]) button")).await;
    browser.click("#confirm [data-yes]").await;
    browser.shows("shut out").await;

    browser.click(&format!("{row} details.note summary")).await;
    browser.find(&format!("{row} input[name=password]")).await.send_keys("quite another word").await.unwrap();
    browser.click(&format!("{row} form:has(input[value=password]) button")).await;
    browser.shows("Set another password for ada?").await;
    browser.click("#confirm [value=cancel]").await;
    // The page that asks where scripts do not run.
    let button = format!("{row} form:has(input[value=delete]) button");
    let lead =
        format!("const it = document.querySelector(\"{button}\"); it.form.action = it.formAction; it.form.submit()");
    browser.run(&lead).await;
    browser.find("form.sure").await;
    browser.shows("Delete the user ada?").await;
    assert_eq!(browser.path().await, "/sure");
    assert_eq!(browser.barriers().await, Vec::<String>::new());
    browser.narrow(true).await;
    browser.assert_no_sideways_scrolling().await;
    browser.picture_as_it_is("sure").await;
    browser.click("form.sure button.danger").await;
    let gone = wait_until("ada is gone", SHOWS, async || browser.path().await == "/users").await;
    gone.unwrap();
    assert!(!home.json(&["users", "list"]).to_string().contains("ada"));
    browser.close().await;
}
