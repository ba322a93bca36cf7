//! The grid of a DAG: older runs, what its cells say, and the ways from a run to its other pages.

use chrono::TimeDelta;
use millrace_model::state::{RunState, TaskState};

use crate::plant::{Part, dag};
use crate::site::{FAILED_RUN, Site, now};

#[test]
fn every_run_is_in_some_part_of_the_grid() {
    let site = Site::start();
    site.runtime.block_on(async {
        let version = site.plant.sync(dag("often", "none", "UTC", &[], &[("only", "bash", &[], 0)]), true, now()).await;
        for day in 0..25 {
            let at = now() - TimeDelta::days(25 - day);
            site.plant
                .run(&version, at, at, Some(RunState::Success), &[Part::new("only", TaskState::Success, 5)])
                .await;
        }
    });
    let shown = |query: &str| {
        let page = site.get(&format!("/dags/often{query}")).is(200).body.replace("&#x2f;", "/");
        let runs = page.matches("class=\"run ").count();
        (runs, page.contains(">Older</a>"), page.contains(">Newer</a>"), page)
    };
    let (runs, older, newer, page) = shown("?runs=10");
    assert_eq!((runs, older, newer), (10, true, false));
    assert!(page.contains("href=\"/dags/often?runs=10&amp;past=10\""));
    let (runs, older, newer, _) = shown("?runs=10&past=10");
    assert_eq!((runs, older, newer), (10, true, true));
    let (runs, older, newer, page) = shown("?runs=10&past=20");
    assert_eq!((runs, older, newer), (5, false, true));
    let oldest = (now() - TimeDelta::days(25)).format("%Y-%m-%d");
    assert!(page.contains(&format!("scheduled__{oldest}")));
    // One that is looked at is shown, also beside those of another time.
    let newest = format!("scheduled__{}T06:00:00+00:00", (now() - TimeDelta::days(1)).format("%Y-%m-%d"));
    let page = site.get(&format!("/dags/often/runs/{newest}?runs=10&past=20")).is(200).body.replace("&#x2f;", "/");
    assert_eq!(page.matches("class=\"run ").count(), 6);
    site.get("/dags/often?past=18446744073709551615").is(200);
}

#[test]
fn a_cell_says_how_many_rows_were_moved_and_the_tabs_keep_the_run() {
    let site = Site::start();
    let page = site.get(&format!("/dags/copy_orders/runs/{FAILED_RUN}/tasks/load")).is(200).body.replace("&#x2f;", "/");
    assert!(page.contains("extract: success, try 1 of 1, 20s, 1,234,567 rows"));
    for tab in ["graph", "gantt"] {
        let href = format!("href=\"/dags/copy_orders/{tab}?run=scheduled%5F%5F2024%2D03%2D01");
        assert!(page.contains(&href), "{tab}");
        let other = site
            .get(&format!("/dags/copy_orders/{tab}?run={FAILED_RUN}").replace('+', "%2B"))
            .is(200)
            .body
            .replace("&#x2f;", "/");
        for tab in ["graph", "gantt"] {
            assert!(
                other.contains(&format!("href=\"/dags/copy_orders/{tab}?run=scheduled%5F%5F2024%2D03%2D01")),
                "{tab}"
            );
        }
        let newest = site.get(&format!("/dags/copy_orders/{tab}")).is(200).body.replace("&#x2f;", "/");
        assert!(newest.contains(&format!("href=\"/dags/copy_orders/{tab}\"")));
    }
}
