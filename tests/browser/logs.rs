//! The tools above a log.

use std::fs;

use fantoccini::key::Key;
use millrace_testkit::wait_until;

use crate::driver::{Browser, SHOWS};
use crate::standalone;
use crate::support::TestHome;

/// Lines that are seen.
async fn seen(browser: &Browser) -> Vec<String> {
    let script = "return [...document.querySelectorAll('#log .line')].filter((line) => line.offsetParent).map((line) => line.innerText)";
    let lines = browser.run(script).await;
    lines.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_sifted_searched_and_taken_home() {
    let home = TestHome::new();
    home.write_dag(
        "fruit.yaml",
        "schedule: none\ntasks:\n  pick:\n    operator: bash\n    bash_command: |\n      for n in $(seq 200); do echo apple $n; done\n      echo a pear\n      exit 1\n",
    );
    let (_daemon, address) = standalone(&home);
    home.ok(&["dags", "unpause", "fruit"]);
    home.run(&["dags", "trigger", "fruit", "--run-id", "r", "--wait"]).exits(1);
    let browser = Browser::open(address).await;
    browser.goto("/dags/fruit/runs/r/tasks/pick").await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser.shows("a pear").await;
    let all = seen(&browser).await.len();
    assert!(all > 200, "{all}");

    browser.find("[data-level]").await.select_by_value("error").await.unwrap();
    let errors = seen(&browser).await;
    assert!(
        !errors.is_empty() && errors.len() < 30 && !errors.iter().any(|line| line.ends_with("apple 5")),
        "{errors:?}"
    );
    browser.find("[data-level]").await.select_by_value("").await.unwrap();
    assert_eq!(seen(&browser).await.len(), all);

    browser.find("[data-log-search]").await.send_keys("PEAR").await.unwrap();
    assert!(seen(&browser).await.iter().all(|line| line.contains("pear")), "{:?}", seen(&browser).await);
    assert_ne!(browser.run("return document.querySelector('[data-found]').innerText").await, "");
    browser.picture("log-found").await;
    browser.find("[data-log-search]").await.send_keys(&Key::Backspace.to_string().repeat(4)).await.unwrap();
    assert_eq!(seen(&browser).await.len(), all);

    let error_is_seen = "const box = document.querySelector('#log .lines').getBoundingClientRect(); const line = document.querySelector('#log .l-error').getBoundingClientRect(); return line.top >= box.top && line.bottom <= box.bottom";
    browser.run("document.querySelector('#log .lines').scrollTop = 0").await;
    assert_eq!(browser.run(error_is_seen).await, false);
    browser.click("[data-first-error]").await;
    let seen_now = wait_until("the error is seen", SHOWS, async || browser.run(error_is_seen).await == true).await;
    seen_now.unwrap();
    browser.click("[data-wrap]").await;
    browser.find("#log .lines:not(.wrap)").await;
    browser.click("[data-expand]").await;
    browser.find(".split.wide").await;

    // What the browser would write to the disk.
    browser.run("fetch(document.querySelector('[data-raw]').href).then(async (answer) => { window.kept = answer.headers.get('content-disposition'); window.taken = await answer.text(); })").await;
    let taken = wait_until("the log is taken home", SHOWS, async || {
        browser.run("return window.taken ?? ''").await.as_str().unwrap().contains("exited with code 1")
    });
    taken.await.unwrap();
    let kept = browser.run("return window.kept").await;
    assert!(
        kept.as_str().unwrap().starts_with("attachment; filename=\"") && kept.as_str().unwrap().ends_with(".1.log\""),
        "{kept}"
    );
    let text = browser.run("return window.taken").await;
    let text = text.as_str().unwrap();
    assert!((1..=200).all(|n| text.contains(&format!(" apple {n}\n"))), "{text}");

    // A refusal is said, and not saved as the log.
    browser
        .run("const raw = document.querySelector('[data-raw]'); raw.href = raw.href.replace('/logs/1', '/logs/99')")
        .await;
    browser.click("[data-raw]").await;
    let refused = wait_until("the refusal is said", SHOWS, async || {
        browser
            .run("const said = document.querySelector('#offline'); return said.hidden ? '' : said.textContent")
            .await
            .as_str()
            .unwrap()
            .contains("try 99")
    });
    refused.await.unwrap();

    // Single keys lead to the search of the page.
    browser.find("body").await.send_keys("/").await.unwrap();
    assert_eq!(browser.run("return document.activeElement.matches('[data-search]')").await, true);
    browser.close().await;
}

/// More lines than a page holds: what is looked for stands at the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_a_long_log_is_seen() {
    let home = TestHome::new();
    home.write_dag(
        "big.yaml",
        "schedule: none\ntasks:\n  big:\n    operator: bash\n    bash_command: |\n      seq 1 30000\n      exit 1\n",
    );
    let (_daemon, address) = standalone(&home);
    home.ok(&["dags", "unpause", "big"]);
    home.run(&["dags", "trigger", "big", "--run-id", "r", "--wait"]).exits(1);
    let browser = Browser::open(address).await;
    browser.goto("/dags/big/runs/r/tasks/big").await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    let ends = "return [...document.querySelectorAll('#log .l-error')].some((line) => line.textContent.includes('exited with code 1'))";
    wait_until("the last line is there", SHOWS, async || browser.run(ends).await == true).await.unwrap();
    let left = browser.run("return document.querySelector('#log .gap')?.textContent ?? ''").await;
    assert!(left.as_str().unwrap().contains("lines are left out here"), "{left}");
    let count = browser.run("return document.querySelectorAll('#log .line').length").await;
    assert!(count.as_u64().unwrap() <= 20_001, "{count}");
    assert_eq!(browser.run("return document.querySelector('[data-first-error]').hidden").await, false);
    browser.picture("log-end").await;
    browser.close().await;
}
