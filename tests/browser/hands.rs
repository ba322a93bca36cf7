//! What a person has in hand, by the keyboard alone: pages that draw themselves anew leave it there.

use std::fs;

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::key::Key;
use millrace_testkit::wait_until;
use serde_json::json;

use crate::driver::{Browser, SHOWS};
use crate::support::TestHome;
use crate::{fragile, standalone};

async fn signed_in(home: &TestHome, address: String, path: &str) -> Browser {
    let browser = Browser::open(address).await;
    browser.goto(path).await;
    browser.sign_in(&fs::read_to_string(home.file("admin_password")).unwrap()).await;
    browser
}

/// Does something that the page shows, and waits until this part of it is another one.
async fn drawn_anew(browser: &Browser, part: &str, change: impl AsyncFnOnce()) {
    browser.find(part).await;
    browser.run(&format!("document.querySelector(\"{part}\").dataset.before = 'yes'")).await;
    change().await;
    let is_new =
        format!("const part = document.querySelector(\"{part}\"); return Boolean(part && !part.dataset.before)");
    let drawn = wait_until("it is drawn anew", SHOWS, async || browser.run(&is_new).await == true).await;
    let page =
        "return [document.hidden, document.activeElement.outerHTML, document.querySelector('#offline').outerHTML]";
    assert!(drawn.is_ok(), "{part} at {}: {}", browser.path().await, browser.run(page).await);
}

async fn focus(browser: &Browser, selector: &str) {
    browser.find(selector).await;
    browser.run(&format!("document.querySelector(\"{selector}\").focus()")).await;
    assert!(has_focus(browser, selector).await, "{selector}");
}

async fn has_focus(browser: &Browser, selector: &str) -> bool {
    browser.run(&format!("return document.activeElement.matches(\"{selector}\")")).await == true
}

/// Into whatever has the focus at each key: it may be drawn anew between two of them.
async fn press(browser: &Browser, keys: &str) {
    let strokes = keys.chars().flat_map(|value| [KeyAction::Down { value }, KeyAction::Up { value }]);
    let strokes = strokes.fold(KeyActions::new("keys".to_owned()), |all, one| all.then(one));
    browser.client.perform_actions(strokes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_focus_and_what_is_typed_outlive_a_redraw() {
    let home = TestHome::new();
    home.write_dag("quick.yaml", "schedule: none\ntasks:\n  only: {operator: bash, bash_command: \"exit 1\"}\n");
    let (_daemon, address) = standalone(&home);
    let browser = signed_in(&home, address, "/dags").await;
    focus(&browser, "[data-trigger=quick] button").await;
    drawn_anew(&browser, "#row-quick", async || drop(home.ok(&["dags", "unpause", "quick"]))).await;
    assert!(has_focus(&browser, "[data-trigger=quick] button").await, "of all buttons of the row");
    browser.find("[data-pause=quick] button[aria-checked=true]").await;
    focus(&browser, "[data-pause=quick] button").await;
    drawn_anew(&browser, "#row-quick", async || press(&browser, " ").await).await;
    // An earlier change may have been drawn once more before this one.
    let is_paused = async || has_focus(&browser, "[data-pause=quick] button[aria-checked=false]").await;
    let kept = wait_until("the switch itself has the focus", SHOWS, is_paused).await;
    let row = "return document.activeElement.outerHTML + document.querySelector('#row-quick').outerHTML";
    assert!(kept.is_ok(), "{}", browser.run(row).await);

    home.ok(&["dags", "unpause", "quick"]);
    home.run(&["dags", "trigger", "quick", "--run-id", "one", "--wait"]).exits(1);
    browser.goto("/dags/quick/runs/one").await;
    browser.click("#facts details.note summary").await;
    focus(&browser, "#facts textarea").await;
    press(&browser, "half a no").await;
    drawn_anew(&browser, "#facts", async || drop(home.ok(&["dags", "pause", "quick"]))).await;
    assert!(has_focus(&browser, "#facts details[open] textarea").await, "what was open is open");
    press(&browser, "te").await;
    let typed = browser.run("return document.querySelector('#facts textarea').value").await;
    assert_eq!(typed, "half a note");

    // What needed somebody needs nobody any more: what stands beside it has the focus, not the whole page.
    browser.goto("/").await;
    focus(&browser, "#needs a.button").await;
    let forget = async || drop(home.ok(&["dags", "mark", "quick", "one", "--state", "success"]));
    drawn_anew(&browser, "#needs", forget).await;
    let lost =
        browser.run("return document.activeElement === document.body && Boolean(document.querySelector('#needs a'))");
    assert_eq!(lost.await, false);
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn menus_close_single_keys_can_be_turned_off_and_questions_have_names() {
    let home = TestHome::new();
    let (_daemon, address) = standalone(&home);
    home.ok(&["variables", "set", "region", "eu"]);
    let browser = signed_in(&home, address, "/variables").await;
    let is_open = async || browser.run("return document.querySelector('nav details.menu').open").await == true;
    focus(&browser, "nav details.menu summary").await;
    press(&browser, &Key::Enter.to_string()).await;
    focus(&browser, "nav details.menu a[href='/pools']").await;
    assert!(is_open().await);
    press(&browser, &Key::Escape.to_string()).await;
    assert!(!is_open().await && has_focus(&browser, "nav details.menu summary").await);
    press(&browser, &Key::Enter.to_string()).await;
    assert!(is_open().await);
    focus(&browser, "[data-search]").await;
    assert!(!is_open().await, "it lies over what has the focus");

    browser.run("document.activeElement.blur()").await;
    browser.find("body").await.send_keys("?").await.unwrap();
    browser.find("#keys[open]").await;
    let listed = browser.run("return [...document.querySelectorAll('#keys dt')].map((key) => key.innerText)").await;
    for key in ["g v", "g w", "g j", "g u", "g o"] {
        assert!(listed.as_array().unwrap().contains(&json!(key)), "{key} is not in {listed}");
    }
    browser.click("[data-keys-switch]").await;
    browser.click("#keys .buttons button").await;
    for path in ["/variables", "/pools"] {
        browser.goto(path).await;
        browser.find("body").await.send_keys("?").await.unwrap();
        assert_eq!(browser.run("return document.querySelector('#keys').open").await, false, "{path}");
    }
    browser.click("[data-show-keys]").await;
    browser.find("#keys[open] [data-keys-switch]:not(:checked)").await;
    browser.click("[data-keys-switch]").await;
    browser.click("#keys .buttons button").await;
    browser.find("body").await.send_keys("gv").await.unwrap();
    let there = wait_until("g v leads to the variables", SHOWS, async || browser.path().await == "/variables").await;
    there.unwrap();

    browser.click("form[action='/variables/delete/region'] button").await;
    browser.find("#confirm[open]").await;
    browser.shows("Delete the variable region?").await;
    assert_eq!(browser.barriers().await, Vec::<String>::new());
    assert_eq!(browser.run("return document.querySelector('#confirm [data-yes]').innerText").await, "Delete");
    browser.picture("question").await;
    browser.click("#confirm [data-yes]").await;
    browser.shows("No variables yet").await;
    browser.close().await;
}

/// Presses Tab until this has the focus: nothing else moves it there.
async fn tab_to(browser: &Browser, selector: &str) {
    browser.find(selector).await;
    for _ in 0..120 {
        if has_focus(browser, selector).await {
            return;
        }
        press(browser, &Key::Tab.to_string()).await;
    }
    panic!("Tab never comes to {selector} at {}", browser.path().await);
}

async fn presses(browser: &Browser, keys: &[Key]) {
    for key in keys {
        press(browser, &key.to_string()).await;
    }
}

/// As somebody in Seoul does at night who has no mouse.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_red_task_is_found_read_and_cleared_by_keys_alone() {
    let home = TestHome::new();
    let flag = home.file("flag");
    home.write_dag("fragile.yaml", &fragile(&flag));
    let (_daemon, address) = standalone(&home);
    home.ok(&["dags", "unpause", "fragile"]);
    for run in ["red", "redder"] {
        home.run(&["dags", "trigger", "fragile", "--run-id", run, "--wait"]).exits(1);
    }
    let browser = Browser::open(address).await;
    browser.set_theme("dark").await;
    browser.goto("/dags").await;
    browser.speak("ko").await;
    browser.goto("/dags").await;
    tab_to(&browser, "input[name=username]").await;
    press(&browser, "admin").await;
    tab_to(&browser, "input[name=password]").await;
    press(&browser, fs::read_to_string(home.file("admin_password")).unwrap().trim()).await;
    press(&browser, &Key::Enter.to_string()).await;
    browser.shows("최근 런").await;

    // A strip is one stop, and so is a grid; both begin with the newest run.
    let strip = "#row-fragile .strip a";
    tab_to(&browser, strip).await;
    assert!(has_focus(&browser, "[href='/dags/fragile/runs/redder']").await);
    presses(&browser, &[Key::Left]).await;
    assert!(has_focus(&browser, "[href='/dags/fragile/runs/red']").await);
    presses(&browser, &[Key::Left]).await;
    assert!(has_focus(&browser, "[href='/dags/fragile/runs/red']").await, "there is nothing before it");
    presses(&browser, &[Key::Tab]).await;
    assert!(!has_focus(&browser, ".strip a").await);
    tab_to(&browser, "#row-fragile .c-name a").await;
    presses(&browser, &[Key::Enter]).await;
    tab_to(&browser, "#grid [data-cell]").await;
    assert!(has_focus(&browser, "[data-cell='redder|']").await);
    presses(&browser, &[Key::Tab]).await;
    assert!(!has_focus(&browser, "#grid [data-cell]").await);
    let (shift, tab) = (char::from(Key::Shift), char::from(Key::Tab));
    let down = |value| KeyAction::Down { value };
    let up = |value| KeyAction::Up { value };
    let back = [down(shift), down(tab), up(tab), up(shift)];
    let back = back.into_iter().fold(KeyActions::new("keys".to_owned()), |all, one| all.then(one));
    browser.client.perform_actions(back).await.unwrap();
    assert!(has_focus(&browser, "[data-cell='redder|']").await);
    presses(&browser, &[Key::Down, Key::Down, Key::Home]).await;
    assert!(has_focus(&browser, "[data-cell='red|mended'].s-failed").await);
    presses(&browser, &[Key::Enter]).await;
    browser.shows("it is not there").await;
    browser.picture_as_it_is("keys-korean-dark").await;

    fs::write(&flag, "").unwrap();
    tab_to(&browser, "#facts a.button[href*='action=clear']").await;
    presses(&browser, &[Key::Enter]).await;
    tab_to(&browser, "form.sure button.primary").await;
    presses(&browser, &[Key::Enter]).await;
    browser.find("#facts .title .s-success").await;
    browser.shows("it is there now").await;
    assert_eq!(browser.path().await, "/dags/fragile/runs/red/tasks/mended");
    browser.close().await;
}
