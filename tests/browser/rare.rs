//! What a healthy demo never shows: a file that cannot be read, a task that was tried twice, assets that DAGs hand on.

use std::fs;

use millrace_testkit::wait_until;

use crate::driver::{Browser, SHOWS};
use crate::standalone;
use crate::support::{PATIENCE, TestHome};

const MAKER: &str = "schedule: none\nparams:\n  region: eu\n  days: {type: integer, description: How far back}\ntasks:\n  \
                     make:\n    operator: bash\n    bash_command: echo made\n    outlets: [orders]\n";
const REPORT: &str = "schedule: {assets: [orders]}\ntasks:\n  tell:\n    operator: bash\n    bash_command: echo told\n    \
                      outlets: [reports]\n";
const MAIL: &str = "schedule: {assets: [orders, reports]}\ntasks:\n  send: {operator: bash, bash_command: echo sent}\n";

fn twice(flag: &std::path::Path) -> String {
    let flag = flag.display();
    format!(
        "schedule: none\ntasks:\n  again:\n    operator: bash\n    retries: 1\n    retry_delay: 1s\n    bash_command: |\n      \
         test -e {flag} || {{ touch {flag}; exit 1; }}\n"
    )
}

async fn count(browser: &Browser, selector: &str) -> i64 {
    browser.run(&format!("return document.querySelectorAll(\"{selector}\").length")).await.as_i64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_file_a_second_try_and_assets_are_seen() {
    let home = TestHome::new();
    home.write_dag("maker.yaml", MAKER);
    home.write_dag("report.yaml", REPORT);
    home.write_dag("mail.yaml", MAIL);
    home.write_dag("twice.yaml", &twice(&home.file("flag")));
    let (_daemon, address) = standalone(&home);
    home.ok(&["dags", "unpause", "twice"]);
    home.ok(&["dags", "trigger", "twice", "--run-id", "second", "--wait"]);
    let browser = Browser::open(address).await;
    browser.goto("/assets").await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;

    // Three DAGs, two assets, and five arrows between them.
    browser.find("svg.graph a.node.asset[href='#asset-1']").await;
    let drawn = count(&browser, "svg.graph a.node").await;
    assert_eq!((drawn, count(&browser, "svg.graph path.edge").await), (5, 5));
    browser.picture("assets-graph").await;
    assert_eq!(browser.barriers().await, Vec::<String>::new());
    browser.narrow(true).await;
    browser.assert_no_sideways_scrolling().await;
    browser.picture("assets-graph-narrow").await;
    browser.narrow(false).await;

    browser.goto("/dags/maker").await;
    browser.shows("How far back").await;
    browser.shows("each run must say it").await;
    browser.picture("params").await;

    browser.goto("/dags/twice/gantt?run=second").await;
    browser.find(".gantt .past").await;
    browser.picture("gantt-retried").await;

    home.write_dag("maker.yaml", "schedule: none\ntasks:\n  make: {operator: bsh}\n");
    browser.goto("/import-errors").await;
    let told = wait_until("the broken file is told", PATIENCE, async || {
        browser.goto("/import-errors").await;
        browser.text().await.contains("maker.yaml")
    });
    told.await.unwrap();
    let text = browser.text().await;
    assert!(text.contains("maker.yaml:3:") && text.contains("bsh") && text.contains("bash"), "{text}");
    browser.picture("import-errors-broken").await;
    browser.assert_no_sideways_scrolling().await;
    home.write_dag("maker.yaml", MAKER);
    let mended = wait_until("the mended file is read", SHOWS, async || {
        browser.goto("/import-errors").await;
        !browser.text().await.contains("maker.yaml")
    });
    mended.await.unwrap();
    browser.close().await;
}
