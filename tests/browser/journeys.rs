//! From one page to the next, to get something done.

use std::fs;

use millrace_testkit::wait_until;

use crate::driver::{Browser, SHOWS};
use crate::standalone;
use crate::support::{PATIENCE, TestHome};

async fn signed_in(home: &TestHome, address: String, path: &str) -> Browser {
    let browser = Browser::open(address).await;
    browser.goto(path).await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser
}

async fn type_into(browser: &Browser, selector: &str, text: &str) {
    let field = browser.find(selector).await;
    field.clear().await.unwrap();
    field.send_keys(text).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_is_added_tested_mended_and_tested_again() {
    let home = TestHome::new();
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address, "/connections").await;
    browser.click("main a[href='/connections/new']").await;
    type_into(&browser, "[name=connection_id]", "books").await;
    browser.find("[name=conn_type]").await.select_by_value("sqlite").await.unwrap();
    type_into(&browser, "[name=schema]", "/nowhere/books.db").await;
    browser.click("[data-test-form]").await;
    browser.find("#connection-form .test-result.bad").await;
    browser.picture("connection-bad").await;

    // Mended, it works before it is saved.
    let beside = tempfile::tempdir().unwrap();
    let file = beside.path().join("books.db");
    fs::write(&file, "").unwrap();
    type_into(&browser, "[name=schema]", &file.display().to_string()).await;
    browser.click("[data-test-form]").await;
    browser.find("#connection-form .test-result.ok").await;
    browser.picture("connection-good").await;
    browser.click("#connection-form button.primary").await;
    let there = wait_until("back on the list", SHOWS, async || browser.path().await == "/connections").await;
    there.unwrap();
    browser.shows("books").await;
    browser.click("[data-test='books']").await;
    browser.find(".test-result.ok").await;
    assert!(home.ok(&["connections", "list"]).stdout.contains("books"));
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_week_is_backfilled() {
    let home = TestHome::new();
    home.write_dag(
        "daily.yaml",
        "schedule: \"@daily\"\nstart_date: 2024-01-01\ncatchup: false\ntasks:\n  copy: {operator: bash, bash_command: \"echo {{ ds }}\"}\n",
    );
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address, "/dags/daily/backfills").await;
    type_into(&browser, "[name=from]", "2024-03-04").await;
    type_into(&browser, "[name=to]", "2024-03-11").await;
    type_into(&browser, "[name=runs]", "3").await;
    // Counted while it is typed.
    browser.shows("Of these dates, 7 of 7 would run, 3 at a time").await;
    assert_eq!(browser.client.current_url().await.unwrap().query(), None);
    browser.click("form.backfill button.primary").await;
    // Every date is listed before anything runs.
    browser.shows("Run 7 dates").await;
    let text = browser.text().await;
    for day in 4..=10 {
        assert!(text.contains(&format!("2024-03-{day:02}")), "{text}");
    }
    assert!(!text.contains("2024-03-11") && home.run_states("daily").is_empty(), "{text}");
    browser.picture("backfill-dates").await;
    browser.click("form.sure button.primary").await;
    // Nobody reloads the page. That the DAG is paused holds back its schedule, not what somebody asks for.
    browser.shows("7 of 7").await;
    browser.picture("backfill").await;
    let done = wait_until("the week has run", PATIENCE, async || {
        let states = home.run_states("daily");
        states.len() == 7 && states.values().all(|state| state == "success")
    });
    done.await.unwrap();
    browser.goto("/dags/daily").await;
    browser.shows("Mar 10").await;
    browser.picture("backfill-grid").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folded_group_stays_folded_while_another_task_is_looked_at() {
    let home = TestHome::new();
    home.write_dag(
        "grouped.yaml",
        "schedule: none\ntasks:\n  extract: {operator: bash, bash_command: \"true\"}\ngroups:\n  load:\n    \
         depends_on: [extract]\n    tasks:\n      orders: {operator: bash, bash_command: \"true\"}\n      \
         check: {operator: bash, bash_command: \"exit 1\", depends_on: [orders]}\n",
    );
    let (_daemon, address) = standalone(&home);
    home.ok(&["dags", "unpause", "grouped"]);
    home.run(&["dags", "trigger", "grouped", "--run-id", "r", "--wait"]).exits(1);
    let browser = signed_in(&home, address, "/dags/grouped").await;
    let rows = async || {
        browser.run("return [...document.querySelectorAll('#grid tbody th')].map((row) => row.innerText)").await
    };
    browser.find("#grid a.fold[aria-expanded='true']").await;
    assert_eq!(rows().await, serde_json::json!(["extract", "load", "load.orders", "load.check"]));
    browser.picture("grid-groups").await;
    assert_eq!(browser.barriers().await, Vec::<String>::new());
    browser.click("#grid a.fold").await;
    browser.find("#grid a.fold[aria-expanded='false']").await;
    assert_eq!(rows().await, serde_json::json!(["extract", "load"]));
    // What the group says is the worst that is in it.
    browser.find("#grid a.cell.s-failed[title^='load: 1 failed, 1 success']").await;
    browser.picture("grid-folded").await;
    browser.click("#grid a.cell.s-success").await;
    browser.shows("bash try 1 of 1").await;
    assert_eq!(browser.path().await, "/dags/grouped/runs/r/tasks/extract");
    assert_eq!(browser.client.current_url().await.unwrap().query(), Some("shut=load"));
    assert_eq!(rows().await, serde_json::json!(["extract", "load"]));
    browser.goto("/dags/grouped/runs/r/tasks/load.check").await;
    browser.find("#grid a.fold[aria-expanded='true']").await;

    // In the graph its tasks stand within it, and one box for them all where it is folded.
    browser.goto("/dags/grouped/graph?run=r").await;
    let drawn = "const box = (one) => document.querySelector(one).getBoundingClientRect();\
        const [frame, one] = [box('.frame .around'), box('[data-cell$=\"load.check\"] .box')];\
        return one.left > frame.left && one.right < frame.right && one.top > frame.top && one.bottom < frame.bottom";
    assert_eq!(browser.run(drawn).await, true);
    browser.picture("graph-groups").await;
    assert_eq!(browser.barriers().await, Vec::<String>::new());
    browser.click(".frame a.turn").await;
    browser.find("a.node.s-failed[aria-expanded='false']").await;
    assert_eq!(browser.run("return document.querySelector('a.node .small').textContent").await, "1 of 2 failed");
    browser.picture("graph-folded").await;
    assert_eq!(browser.barriers().await, Vec::<String>::new());
    browser.close().await;
}
