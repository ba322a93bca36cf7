//! How a DAG stands, as its pages say it: its file, its latest run, its dates, and in whose time.

use millrace_model::dag::{Dag, Task};
use millrace_model::ids::TaskId;
use millrace_model::schedule::{Schedule, Timetable};
use serde_json::json;

use crate::plant::dag;
use crate::site::{ADMIN, FAILED_RUN, Site, VIEWER, now};

fn page(site: &Site, path: &str, headers: &[(&str, &str)]) -> String {
    let all: Vec<(&str, &str)> = [("authorization", ADMIN)].into_iter().chain(headers.iter().copied()).collect();
    site.call("GET", path, &all, None).is(200).body.replace("&#x2f;", "/")
}

fn plant(site: &Site, dag: Dag) {
    site.runtime.block_on(site.plant.sync(dag, false, now()));
}

#[test]
fn a_dag_without_a_file_is_found_and_offers_nothing_that_would_be_refused() {
    let site = Site::start();
    assert!(!page(&site, "/dags", &[]).contains("File gone"), "while there is none");
    site.runtime.block_on(site.plant.store.mark_stale(&[], &[], now())).unwrap();
    let list = page(&site, "/dags", &[]);
    assert!(list.contains("File gone <span class=\"muted\">") && !list.contains("id=\"row-quiet\""), "{list}");
    let gone = page(&site, "/dags?state=gone", &[]);
    assert!(gone.contains("id=\"row-quiet\"") && !gone.contains("data-trigger="), "{gone}");
    let quiet = page(&site, "/dags/quiet", &[]);
    assert!(quiet.contains("none: its file is gone") && quiet.contains("millrace dags delete quiet"), "{quiet}");
    assert!(!quiet.contains("data-trigger=") && !quiet.contains(">Backfill<"), "{quiet}");
    assert!(quiet.contains("the DAG&#x27;s file is gone"), "{quiet}");
}

#[test]
fn a_run_that_waits_for_its_date_does_not_hide_the_latest_one() {
    let site = Site::start();
    let before = page(&site, "/dags", &[]);
    site.send("POST", "/api/v1/dags/copy_orders/dagRuns", &json!({"logical_date": "2030-01-01T01:00:00Z"})).is(200);
    let after = page(&site, "/dags", &[]);
    let last = |list: &str| {
        let row = list.split("id=\"row-copy_orders\"").nth(1).unwrap();
        row.split("c-last").nth(1).unwrap().split("</td>").next().unwrap().split("<time").next().unwrap().to_owned()
    };
    assert_eq!(last(&before), last(&after));
}

#[test]
fn a_task_that_can_never_run_needs_somebody() {
    let site = Site::start();
    assert!(page(&site, "/import-errors", &[]).contains("Every DAG file can be read"));
    let wide = Task { pool: "nowhere".to_owned(), ..Task::new(TaskId::new_unchecked("wide"), "empty") };
    plant(&site, Dag { tasks: vec![wide], ..dag("hopeless", "none", "UTC", &[], &[]) });
    for path in ["/", "/import-errors"] {
        let told = page(&site, path, &[]);
        assert!(told.contains("<code>millrace pools set nowhere SLOTS</code> makes it"), "{path}: {told}");
    }
}

#[test]
fn dates_and_the_lines_of_a_log_are_in_the_viewer_s_zone() {
    let site = Site::start();
    let seoul = ("cookie", "millrace_zone=Asia/Seoul");
    let path = format!("/dags/copy_orders/runs/{FAILED_RUN}/tasks/load");
    let times = |text: &str| -> Vec<String> {
        let lines = text.split("<time>").skip(1);
        lines.map(|line| line.split("</time>").next().unwrap().to_owned()).collect()
    };
    let (there, here) = (page(&site, &path, &[]), page(&site, &path, &[seoul]));
    assert!(here.contains("<h3>Log</h3> <span class=\"muted\">Asia/Seoul</span>"), "{here}");
    let (there, here) = (times(&there), times(&here));
    assert!(!there.is_empty());
    for (there, here) in there.iter().zip(&here) {
        let hour = |text: &str| text[..2].parse::<u32>().unwrap();
        assert_eq!(((hour(there) + 9) % 24, &there[2..]), (hour(here), &here[2..]));
    }
    // A date at midnight in Seoul is another day in UTC.
    let schedule = Schedule::from_value(&json!("30 9 * * *")).unwrap();
    let timetable = Timetable::interval(schedule, chrono_tz::Tz::Asia__Seoul);
    let start_date = Some("2024-02-20T15:00:00Z".parse().unwrap());
    plant(&site, Dag { timetable, start_date, ..dag("morning", "none", "UTC", &[], &[("only", "empty", &[], 0)]) });
    assert!(page(&site, "/dags/morning/details", &[]).contains("<dd>2024-02-21 00:00 Asia/Seoul</dd>"));
    let listed = page(&site, "/dags/morning/backfills?from=2024-02-22&to=2024-02-23", &[]);
    assert!(listed.contains("<td class=\"mono\">2024-02-22 09:30 Asia/Seoul</td>"), "{listed}");
    let early = page(&site, "/dags/morning/backfills?from=2024-02-23&to=2024-02-22", &[]);
    assert!(early.contains("2024-02-22 15:00 UTC") && !early.contains(".000000Z"), "{early}");
}

#[test]
fn who_may_not_is_told_by_the_name_that_they_have() {
    let site = Site::start();
    let refused = site.call("GET", "/users", &[("authorization", VIEWER), ("accept", "text/html")], None).is(403).body;
    let wanted = "The user guest has the role viewer; what was asked for (manage users, their roles and grants, and \
                  everybody&#x27;s tokens) takes the role admin";
    assert!(refused.contains(wanted), "{refused}");
}
