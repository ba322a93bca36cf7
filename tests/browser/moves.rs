//! How pages are looked at: the graph moved and made larger, the grid by keys, back and forward, a theme and a zone that stay.

use std::fs;

use millrace_testkit::wait_until;
use serde_json::json;

use crate::driver::{Browser, SHOWS};
use crate::support::TestHome;
use crate::{fragile, standalone};

async fn signed_in(home: &TestHome, address: String, path: &str) -> Browser {
    home.ok(&["dags", "unpause", "fragile"]);
    home.run(&["dags", "trigger", "fragile", "--run-id", "red", "--wait"]).exits(1);
    let browser = Browser::open(address).await;
    browser.goto(path).await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser
}

/// A key, for whatever has the focus at that moment: a live page may draw it anew between a look and a key.
async fn strike(browser: &Browser, key: &str) {
    let code = if key == "Enter" { 13 } else { 0 };
    let text = if key == "Enter" { "\r" } else { "" };
    for kind in ["keyDown", "keyUp"] {
        let params = json!({"type": kind, "key": key, "windowsVirtualKeyCode": code, "text": text});
        browser.devtools(json!({"cmd": "Input.dispatchKeyEvent", "params": params})).await;
    }
}

/// Left, top, width and height of what is seen of the graph, in tenths.
async fn seen(browser: &Browser) -> [i64; 4] {
    let script = "return document.querySelector('[data-graph]').getAttribute('viewBox').split(' ').map((n) => Math.round(n * 10))";
    serde_json::from_value(browser.run(script).await).unwrap()
}

async fn until(browser: &Browser, what: &str, is_so: impl Fn([i64; 4]) -> bool) {
    let shown = wait_until(what, SHOWS, async || is_so(seen(browser).await)).await;
    assert!(shown.is_ok(), "{what}: {:?}", seen(browser).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_graph_is_made_larger_and_moved() {
    let home = TestHome::new();
    home.write_dag("fragile.yaml", &fragile(&home.file("flag")));
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address, "/dags/fragile/graph").await;
    browser.find("[data-zoom]:not([hidden])").await;
    let whole = seen(&browser).await;
    browser.click("[data-zoom-by='0.8']").await;
    until(&browser, "larger by its button", |now| now[2] < whole[2]).await;
    browser.click("[data-zoom-by='0']").await;
    until(&browser, "whole by its button", |now| now == whole).await;

    // What is drawn anew keeps the focus.
    browser.run("document.querySelector('[data-graph]').focus()").await;
    strike(&browser, "-").await;
    until(&browser, "smaller by its key", |now| now[2] > whole[2]).await;
    strike(&browser, "0").await;
    until(&browser, "whole by its key", |now| now == whole).await;
    strike(&browser, "ArrowRight").await;
    until(&browser, "moved by an arrow", |now| now[0] > whole[0] && now[2] == whole[2]).await;
    strike(&browser, "0").await;
    until(&browser, "whole again", |now| now == whole).await;

    // By the wheel, where the pointer is: its place stays.
    let mouse = |kind: &str, x: f64, y: f64, more: serde_json::Value| {
        let mut params = json!({"type": kind, "x": x, "y": y});
        params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"cmd": "Input.dispatchMouseEvent", "params": params})
    };
    let corner = browser
        .run("const box = document.querySelector('[data-graph]').getBoundingClientRect(); return [box.left, box.top]")
        .await;
    let (left, top) = (corner[0].as_f64().unwrap() + 5.0, corner[1].as_f64().unwrap() + 5.0);
    browser.devtools(mouse("mouseWheel", left, top, json!({"deltaX": 0, "deltaY": -120}))).await;
    until(&browser, "larger by the wheel", |now| now[2] < whole[2]).await;
    assert_eq!(browser.run("return scrollY").await, 0, "the page does not scroll with it");

    let before = seen(&browser).await;
    let held = json!({"button": "left", "buttons": 1, "clickCount": 1});
    browser.devtools(mouse("mousePressed", left, top, held.clone())).await;
    for step in 1..=4 {
        browser.devtools(mouse("mouseMoved", left + 10.0 * f64::from(step), top, held.clone())).await;
    }
    let let_go = json!({"button": "left", "buttons": 0, "clickCount": 1});
    browser.devtools(mouse("mouseReleased", left + 40.0, top, let_go)).await;
    until(&browser, "moved by hand", |now| now[0] < before[0] && now[2] == before[2]).await;
    assert_eq!(browser.path().await, "/dags/fragile/graph", "a box under the hand is not opened");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_of_many_tasks_begins_where_it_failed_and_can_be_read() {
    let home = TestHome::new();
    let task = |n: usize| match n {
        0 => "  t0: {operator: empty}\n".to_owned(),
        97 => "  t97: {operator: bash, bash_command: exit 1, depends_on: [t93]}\n".to_owned(),
        n => format!("  t{n}: {{operator: empty, depends_on: [t{}]}}\n", n.saturating_sub(4)),
    };
    let tasks: String = (0..120).map(task).collect();
    home.write_dag("fragile.yaml", &format!("schedule: none\ntasks:\n{tasks}"));
    let within: String = (0..4).map(|n| format!("      t{n}: {{operator: empty}}\n")).collect();
    let groups: String = (0..40).map(|n| format!("  g{n}:\n    tasks:\n{within}")).collect();
    home.write_dag("grouped.yaml", &format!("schedule: none\ngroups:\n{groups}"));
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address, "/dags/fragile/graph").await;
    browser.find("[data-zoom]:not([hidden])").await;
    for width in [1280, 360] {
        browser.as_wide_as(width).await;
        browser.goto("/dags/fragile/graph").await;
        browser.find("[data-zoom]:not([hidden])").await;
        let letters = "return 12 * document.querySelector('[data-graph]').getScreenCTM().a";
        assert!(browser.run(letters).await.as_f64().unwrap() > 9.7, "{width}: {:?}", seen(&browser).await);
        let in_sight = "const [graph, node] = ['[data-graph]', '.node.s-failed'].map((one) =>\
            document.querySelector(one).getBoundingClientRect());\
            return node.left >= graph.left && node.right <= graph.right && node.top >= graph.top && node.bottom <= graph.bottom";
        assert_eq!(browser.run(in_sight).await, true, "{width}: {:?}", seen(&browser).await);
        browser.picture(&format!("graph-of-many-{width}")).await;
        let part = seen(&browser).await;
        browser.click("[data-zoom-by='0']").await;
        until(&browser, "whole by its button", |now| now[2] > part[2] || now[3] > part[3]).await;
    }
    // Where a group was unfolded, it begins there.
    browser.goto("/dags/grouped/graph?open=g37#group-g37").await;
    browser.find("[data-zoom]:not([hidden])").await;
    let in_sight = "const [graph, frame] = ['[data-graph]', '.frame .around'].map((one) =>\
        document.querySelector(one).getBoundingClientRect());\
        return frame.left < graph.right && frame.right > graph.left && frame.top < graph.bottom && frame.bottom > graph.top";
    assert_eq!(browser.run(in_sight).await, true, "{:?}", seen(&browser).await);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_grid_is_walked_by_keys_and_back_leads_back() {
    let home = TestHome::new();
    home.write_dag("fragile.yaml", &fragile(&home.file("flag")));
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address, "/dags/fragile").await;
    home.run(&["dags", "trigger", "fragile", "--run-id", "redder", "--wait"]).exits(1);
    browser.goto("/dags/fragile").await;
    let at = async || browser.run("return document.activeElement.dataset.cell ?? ''").await;
    browser.find("#grid [data-cell='red|before']").await;
    browser.run("document.querySelector(\"#grid [data-cell='red|before']\").focus()").await;
    strike(&browser, "ArrowRight").await;
    assert_eq!(at().await, "redder|before");
    strike(&browser, "ArrowDown").await;
    assert_eq!(at().await, "redder|mended");
    strike(&browser, "ArrowDown").await;
    assert_eq!(at().await, "redder|mended", "there is nothing below");
    strike(&browser, "ArrowLeft").await;
    assert_eq!(at().await, "red|mended");
    strike(&browser, "ArrowUp").await;
    strike(&browser, "ArrowUp").await;
    assert_eq!(at().await, "red|", "the run itself");
    strike(&browser, "ArrowDown").await;
    browser.run("window.notReloaded = true").await;
    strike(&browser, "Enter").await;

    let first = "/dags/fragile/runs/red/tasks/before";
    let second = "/dags/fragile/runs/red/tasks/mended";
    let is_at = async |path: &str| {
        let name = path.rsplit('/').next().unwrap();
        let script = format!("return document.querySelector('#grid .cell.on')?.dataset.cell === 'red|{name}'");
        let there =
            wait_until(path, SHOWS, async || browser.path().await == path && browser.run(&script).await == true);
        assert!(there.await.is_ok(), "{path}: {}", browser.path().await);
    };
    is_at(first).await;
    browser.click("#grid [data-cell='red|mended']").await;
    is_at(second).await;
    browser.shows("it is not there").await;
    browser.client.back().await.unwrap();
    is_at(first).await;
    browser.shows("fine").await;
    assert!(!browser.text().await.contains("it is not there"), "{}", browser.text().await);
    browser.run("history.forward()").await;
    is_at(second).await;
    browser.shows("it is not there").await;
    assert_eq!(browser.run("return window.notReloaded === true").await, true);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_theme_and_a_zone_of_one_s_own_stay() {
    let home = TestHome::new();
    home.write_dag("fragile.yaml", &fragile(&home.file("flag")));
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address, "/dags/fragile/runs/red").await;
    let theme = async || browser.run("return document.documentElement.dataset.theme ?? ''").await;
    let ground = async || browser.run("return getComputedStyle(document.documentElement).backgroundColor").await;
    browser.set_theme("light").await;
    assert_eq!(theme().await, "");
    let light = ground().await;
    browser.click("[data-theme-switch]").await;
    assert_eq!(theme().await, "dark");
    assert_ne!(ground().await, light);
    // Drawn so by the server, whatever the machine is set to.
    browser.goto("/runs").await;
    assert_eq!(theme().await, "dark");
    browser.click("[data-theme-switch]").await;
    browser.goto("/dags/fragile/runs/red").await;
    assert_eq!((theme().await, ground().await), (json!("light"), light));

    let times = async || {
        let script = "return [...document.querySelectorAll('main time[title]')].map((time) => time.title)";
        serde_json::from_value::<Vec<String>>(browser.run(script).await).unwrap()
    };
    assert!(
        times().await.iter().all(|title| title.ends_with(" UTC") && !title.contains("Seoul")),
        "{:?}",
        times().await
    );
    let seoul = json!({"cmd": "Emulation.setTimezoneOverride", "params": {"timezoneId": "Asia/Seoul"}});
    browser.devtools(seoul).await;
    browser.goto("/dags/fragile/runs/red").await;
    browser.click("details.view summary").await;
    browser.find("[data-my-zone]:not([hidden])").await;
    browser.shows("Asia/Seoul").await;
    browser.click("[data-my-zone]").await;
    browser.find("main time[title*='Asia/Seoul']").await;
    browser.goto("/runs").await;
    let shown = times().await;
    assert!(!shown.is_empty() && shown.iter().all(|title| title.contains("Asia/Seoul (")), "{shown:?}");
    browser.click("details.view summary").await;
    browser.find("[data-my-zone][aria-pressed=true]").await;
    browser.picture("my-zone").await;
    browser.close().await;
}

/// A browser keeps six connections to one server, and a page that is seen holds one: those behind it give theirs back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nine_tabs_are_open_and_the_one_that_is_seen_is_live() {
    let home = TestHome::new();
    home.write_dag("fragile.yaml", &fragile(&home.file("flag")));
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address, "/dags/fragile").await;
    let first = browser.client.window().await.unwrap();
    for _ in 0..8 {
        let tab = browser.client.new_window(true).await.unwrap();
        browser.client.switch_to_window(tab.handle).await.unwrap();
        browser.goto("/dags/fragile").await;
        browser.find("#grid [data-cell='red|mended']").await;
    }
    fs::write(home.file("flag"), "").unwrap();
    home.run(&["dags", "trigger", "fragile", "--run-id", "green", "--wait"]).exits(0);
    browser.find("#grid [data-cell='green|mended'].s-success").await;
    // And the first, once it is seen again.
    browser.client.switch_to_window(first).await.unwrap();
    browser.find("#grid [data-cell='green|mended'].s-success").await;
    browser.close().await;
}
