//! How a DAG stands, as its pages say it: its file, its latest run, its dates, and in whose time.

use chrono::TimeDelta;
use millrace_model::alert::{Deadline, DeadlineReference};
use millrace_model::asset::{AssetCondition, AssetName};
use millrace_model::calendar::{Calendar, CalendarRule, Shift};
use millrace_model::dag::{Dag, Task};
use millrace_model::duration::Span;
use millrace_model::execution::KeyLimit;
use millrace_model::ids::TaskId;
use millrace_model::maintenance::MaintenanceWindow;
use millrace_model::notice::{Callback, Callbacks};
use millrace_model::schedule::{Misfire, Schedule, Timetable};
use millrace_model::state::{RunState, TaskState};
use millrace_store::NewJob;
use serde_json::json;

use crate::plant::{Part, dag};
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

#[test]
fn a_date_that_failed_needs_somebody_though_a_later_one_succeeded() {
    let site = Site::start();
    let lines = [("load", "bash", &[][..], 0)];
    site.runtime.block_on(async {
        let version = site.plant.sync(dag("mixed", "@daily", "UTC", &[], &lines), false, now()).await;
        for (back, state, end) in [
            (4, TaskState::Failed, RunState::Failed),
            (3, TaskState::Failed, RunState::Failed),
            (2, TaskState::Success, RunState::Success),
        ] {
            let part = Part { error: Some("no such table"), ..Part::new("load", state, 60) };
            let date = now() - TimeDelta::days(back);
            site.plant.run(&version, date, now() - TimeDelta::hours(back), Some(end), &[part]).await;
        }
    });
    let needs = page(&site, "/", &[("x-part", "needs")]);
    let of_dag = needs.split("/dags/mixed/runs").nth(1).unwrap();
    assert!(needs.contains("no such table") && of_dag.contains("mixed"), "{needs}");
    assert!(needs.contains("/dags/mixed/runs?state=failed\">1 other run failed</a>"), "{needs}");

    // What is run again is nobody's care until it fails again.
    let all = json!({"dry_run": false, "only_failed": true, "reset_dag_runs": true});
    site.send("POST", "/api/v1/dags/mixed/clearTaskInstances", &all).is(200);
    assert!(!page(&site, "/", &[("x-part", "needs")]).contains("mixed"));
}

#[test]
fn a_task_that_failed_needs_somebody_though_its_run_goes_on() {
    let site = Site::start();
    let lines = [("slow", "bash", &[][..], 0), ("red", "bash", &[][..], 0), ("after", "bash", &["red"][..], 0)];
    let parts = [
        Part::new("slow", TaskState::Running, 0),
        Part { error: Some("no such table"), ..Part::new("red", TaskState::Failed, 60) },
        Part::new("after", TaskState::UpstreamFailed, 0),
    ];
    site.runtime.block_on(async {
        let version = site.plant.sync(dag("mixed", "@daily", "UTC", &[], &lines), false, now()).await;
        let ended = [Part { error: Some("disk full"), ..Part::new("red", TaskState::Failed, 60) }];
        let (date, start) = (now() - TimeDelta::days(2), now() - TimeDelta::hours(3));
        site.plant.run(&version, date, start, Some(RunState::Failed), &ended).await;
        site.plant.run(&version, now() - TimeDelta::days(1), now() - TimeDelta::hours(1), None, &parts).await;
    });
    let needs = page(&site, "/", &[("x-part", "needs")]);
    let of_dag = needs.split("/dags/mixed/runs").nth(1).unwrap();
    assert!(of_dag.contains("mixed") && !needs.contains("disk full"), "{needs}");
    for told in ["no such table", "its run goes on", "1 never started", "1 other run failed"] {
        assert!(needs.contains(told), "{told}: {needs}");
    }
    // The list of DAGs calls the same failed.
    site.runtime.block_on(async {
        let version = site.plant.sync(dag("first", "@daily", "UTC", &[], &lines), false, now()).await;
        site.plant.run(&version, now() - TimeDelta::days(1), now() - TimeDelta::hours(1), None, &parts).await;
    });
    let failed = page(&site, "/dags?state=failed", &[]);
    assert!(failed.contains("id=\"row-first\"") && failed.contains("id=\"row-mixed\""), "{failed}");
    assert!(!failed.contains("id=\"row-quiet\""), "{failed}");
}

#[test]
fn open_pages_learn_that_the_scheduler_is_silent() {
    let site = Site::start();
    let pulse = page(&site, "/", &[("x-part", "pulse")]);
    assert!(pulse.contains("class=\"dot dead\"") && pulse.contains("No scheduler is running"), "{pulse}");
    assert!(
        pulse.contains("<code>millrace scheduler</code>")
            && !pulse.contains("title=\"No scheduler is running. Start one with `"),
        "{pulse}"
    );
    assert!(!page(&site, "/", &[]).contains("Nothing needs you"));
    let job = NewJob { kind: "scheduler".to_owned(), hostname: "here".to_owned(), pid: 7 };
    site.runtime.block_on(site.plant.store.register_job(&job, now())).unwrap();
    let pulse = page(&site, "/", &[("x-part", "pulse")]);
    assert!(pulse.contains("class=\"dot alive\"") && !pulse.contains("banner"), "{pulse}");
}

#[test]
fn a_dag_of_assets_says_which_of_them_it_waits_for() {
    let site = Site::start();
    let assets = ["orders", "prices"].map(|name| AssetCondition::Asset(AssetName::new_unchecked(name)));
    let dag = Dag {
        assets: Some(AssetCondition::All(assets.to_vec())),
        ..dag("fed", "none", "UTC", &[], &[("load", "bash", &[], 0)])
    };
    plant(&site, dag);
    let fed = page(&site, "/dags/fed", &[]);
    assert!(fed.contains("as soon as its assets have changed") && !fed.contains("it runs when triggered"), "{fed}");
    assert!(fed.contains("The next run") && fed.contains("orders") && fed.contains("prices"), "{fed}");
}

#[test]
fn details_say_what_the_file_sets_and_nothing_else() {
    let site = Site::start();
    assert!(!page(&site, "/dags/quiet/details", &[]).contains("<dt class=\"mono\">"));
    let callbacks = Callbacks {
        on_failure: vec![Callback::Webhook("team_hook".to_owned()), Callback::Command("page-somebody".to_owned())],
        ..Callbacks::default()
    };
    let holidays = Calendar {
        name: "holidays".to_owned(),
        description: None,
        days: Vec::new(),
        include: Vec::new(),
        except: Vec::new(),
    };
    let rule = CalendarRule { exclude: vec![holidays], shift: Shift::NextBusinessDay, ..CalendarRule::default() };
    plant(
        &site,
        Dag {
            misfire: Some(Misfire::Latest),
            calendar: Some(rule),
            maintenance: vec![MaintenanceWindow::parse("22:00..04:00", chrono_tz::UTC).unwrap()],
            deadline: Some(Deadline { reference: DeadlineReference::RunAfter, within: Span::from_minutes(120) }),
            concurrency: Some(KeyLimit { key: "{{ params.region }}".to_owned(), limit: 2 }),
            callbacks,
            ..dag("ruled", "@daily", "UTC", &[], &[("only", "empty", &[], 0)])
        },
    );
    let told = page(&site, "/dags/ruled/details", &[]);
    for (key, text) in [
        ("misfire", "latest"),
        ("calendar", "exclude: holidays; shift: next_business_day"),
        ("maintenance", "22:00..04:00"),
        ("deadline", "run_after + 2h"),
        ("concurrency", "{{ params.region }}: 2"),
        ("on_failure", "webhook: team_hook; command: page-somebody"),
    ] {
        let row =
            told.split(&format!("<dt class=\"mono\">{key}</dt><dd>")).nth(1).unwrap_or_else(|| panic!("{key}: {told}"));
        assert!(row.starts_with(text), "{key}: {}", &row[..80]);
    }
    assert!(!told.contains(">fail_fast<") && !told.contains(">on_success<"), "{told}");
}

#[test]
fn checks_say_how_many_of_them_passed() {
    let site = Site::start();
    for path in ["/data", "/dags/copy_orders/data"] {
        assert!(page(&site, path, &[]).contains("1 of 1 checks passed"), "{path}");
    }
}
