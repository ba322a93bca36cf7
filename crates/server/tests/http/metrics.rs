//! The metrics, as Prometheus reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::TimeDelta;
use millrace_model::state::TaskState;
use millrace_store::Counted;
use serde_json::json;

use crate::plant::{Part, dag};
use crate::site::{Site, now};

#[test]
#[expect(clippy::too_many_lines, reason = "one life of a daemon, told in order")]
fn what_was_counted_is_told_by_the_rules_of_prometheus() {
    let site = Site::start();
    let store = &site.plant.store;
    store.count(Counted::Tries, &["sql_to_s3", "success"], 4);
    store.count(Counted::Tries, &["odd \"name\"", "failed"], 1);
    store.count(Counted::TryTime, &["sql_to_s3"], 2_500_000);
    store.count(Counted::Runs, &["success"], 2);
    store.count(Counted::Rows, &["load", "inserted"], 1000);
    store.count(Counted::Bytes, &["upload"], 4096);
    store.count(Counted::RunsMade, &["asset_triggered"], 3);
    store.count(Counted::AssetEvents, &["task"], 5);
    store.count(Counted::FilesRead, &[], 7);
    store.count(Counted::ReadTime, &[], 1_500_000);
    store.count(Counted::RunLengths, &["success", "0"], 2);
    store.count(Counted::RunLengths, &["success", "2"], 1);
    store.count(Counted::RunTime, &["success"], 1_250_000);
    store.count(Counted::LogLinesLost, &[], 6);
    store.count(Counted::RunDelays, &["0"], 2);
    store.count(Counted::RunDelays, &["3"], 1);
    store.count(Counted::RunDelayTime, &[], 4_500_000);
    let an_hour_ago = now() - TimeDelta::hours(1);
    store.mark(Counted::Loaded, &["copy_orders", "load", "dwh: orders"], an_hour_ago);
    store.mark(Counted::LoadedUpTo, &["copy_orders", "load", "dwh: orders"], an_hour_ago - TimeDelta::hours(2));
    store.mark(Counted::Loaded, &["gone", "load", "dwh: orders"], an_hour_ago);
    store.mark(Counted::FolderSeen, &[], now() - TimeDelta::seconds(30));
    store.count_turn(Duration::from_millis(3));
    store.count_plan(Duration::from_millis(250));
    store.count_return(Duration::from_secs(7));
    site.runtime.block_on(store.write_counts()).unwrap();
    // A mark is not added up, neither in memory nor in the database; one that comes late changes nothing.
    store.mark(Counted::FolderSeen, &[], now() - TimeDelta::seconds(20));
    site.runtime.block_on(store.write_counts()).unwrap();
    store.mark(Counted::FolderSeen, &[], now() - TimeDelta::seconds(40));
    store.count_turn(Duration::from_mins(1));
    let page = site.get("/metrics").is(200);
    assert!(page.header("content-type").starts_with("text/plain; version=0.0.4"));
    for line in [
        "millrace_task_tries_total{operator=\"sql_to_s3\",outcome=\"success\"} 4",
        "millrace_task_tries_total{operator=\"odd \\\"name\\\"\",outcome=\"failed\"} 1",
        "millrace_task_try_seconds_total{operator=\"sql_to_s3\"} 2.5",
        "millrace_task_tries_lost_total 0",
        "millrace_runs_ended_total{state=\"success\"} 2",
        "millrace_moved_rows_total{stage=\"load\",rows=\"inserted\"} 1000",
        "millrace_moved_bytes_total{stage=\"upload\"} 4096",
        "millrace_runs_created_total{run_type=\"asset_triggered\"} 3",
        "millrace_asset_events_total{by=\"task\"} 5",
        "millrace_dag_files_read_total 7",
        "millrace_dag_file_read_seconds_total 1.5",
        "millrace_database_connections{for=\"write\",state=\"in_use\"} 0",
        "millrace_worker_slots{state=\"in_use\"} 1",
        "millrace_worker_slots{state=\"open\"} 31",
        "millrace_log_lines_lost_total 6",
        "millrace_plans_total 1",
        "millrace_plan_seconds_total 0.25",
        "millrace_task_return_wait_seconds_bucket{le=\"5\"} 0",
        "millrace_task_return_wait_seconds_bucket{le=\"10\"} 1",
        "millrace_task_return_wait_seconds_sum 7",
        "millrace_dag_files_age_seconds 20",
        "millrace_load_age_seconds{dag=\"copy_orders\",task=\"load\",target=\"dwh: orders\"} 3600",
        "millrace_load_lag_seconds{dag=\"copy_orders\",task=\"load\",target=\"dwh: orders\"} 10800",
        "millrace_run_seconds_bucket{state=\"success\",le=\"10\"} 2",
        "millrace_run_seconds_bucket{state=\"success\",le=\"60\"} 3",
        "millrace_run_seconds_bucket{state=\"success\",le=\"+Inf\"} 3",
        "millrace_run_seconds_sum{state=\"success\"} 1.25",
        "millrace_run_seconds_count{state=\"success\"} 3",
        "millrace_run_delay_seconds_bucket{le=\"0.1\"} 2",
        "millrace_run_delay_seconds_bucket{le=\"1\"} 2",
        "millrace_run_delay_seconds_bucket{le=\"5\"} 3",
        "millrace_run_delay_seconds_sum 4.5",
        "millrace_run_delay_seconds_count 3",
        "millrace_scheduler_turn_seconds_bucket{le=\"0.001\"} 0",
        "millrace_scheduler_turn_seconds_bucket{le=\"0.005\"} 1",
        "millrace_scheduler_turn_seconds_bucket{le=\"5\"} 1",
        "millrace_scheduler_turn_seconds_bucket{le=\"+Inf\"} 2",
        "millrace_scheduler_turn_seconds_sum 60.003",
        "millrace_scheduler_turn_seconds_count 2",
    ] {
        assert!(page.body.lines().any(|found| found == line), "{line} is not in\n{}", page.body);
    }
    assert!(!page.body.contains("dag=\"gone\""), "{}", page.body);
    // Each is described once, before its lines; counters say that they are some.
    let mut kinds = BTreeMap::new();
    let mut last = String::new();
    for line in page.body.lines() {
        if let Some(about) = line.strip_prefix("# TYPE ") {
            let (name, kind) = about.split_once(' ').unwrap();
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} is described twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name} is a {kind}");
            name.clone_into(&mut last);
        } else if !line.starts_with('#') {
            let name = line.split(['{', ' ']).next().unwrap();
            let parts = ["_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
            assert!(name == last || parts.into_iter().any(|part| part == last), "{line} stands under {last}");
            assert!(line.rsplit(' ').next().unwrap().parse::<f64>().is_ok(), "{line}");
        }
    }
}

/// Of a pool with one slot, which a try holds: what else is ready starves; of the other pool's, all fit.
#[test]
fn what_a_pool_has_no_slots_for_starves() {
    let site = Site::start();
    site.send("POST", "/api/v1/pools", &json!({"name": "narrow", "slots": 1})).is(201);
    let mut many =
        dag("many", "@daily", "UTC", &[], &[("a", "bash", &[], 0), ("b", "bash", &[], 0), ("c", "bash", &[], 0)]);
    for task in &mut many.tasks[..2] {
        task.pool = "narrow".to_owned();
    }
    many.tasks[1].pool_slots = 3;
    site.runtime.block_on(async {
        let version = site.plant.sync(many, false, now()).await;
        let parts = [
            Part::new("a", TaskState::Running, 1),
            Part::new("b", TaskState::Scheduled, 0),
            Part::new("c", TaskState::Scheduled, 0),
        ];
        site.plant.run(&version, now() - TimeDelta::days(1), now(), None, &parts).await;
    });
    let page = site.get("/metrics").is(200).body;
    for line in [
        "millrace_pool_slots{pool=\"narrow\",for=\"starving\"} 3",
        "millrace_pool_slots{pool=\"default_pool\",for=\"starving\"} 0",
        "millrace_ready_slots{state=\"starving\"} 3",
        "millrace_ready_slots{state=\"executable\"} 1",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

/// What people who come from Airflow look for, and where it is told; all of it is on the page that documents metrics.
#[test]
fn what_airflow_measures_is_told_and_documented() {
    let documented = include_str!("../../../../docs/operations.md");
    let page = Site::start().get("/metrics").is(200).body;
    for (theirs, ours) in [
        ("scheduler_heartbeat", "scheduler_alive"),
        ("scheduler.scheduler_loop_duration", "scheduler_turn_seconds"),
        ("scheduler.critical_section_duration", "commit_seconds_total"),
        ("dagrun.schedule_delay", "run_delay_seconds"),
        ("dagrun.duration.success, failed", "run_seconds"),
        ("dagrun.dependency-check", "plan_seconds_total"),
        ("scheduler.tasks.starving, executable", "ready_slots"),
        ("pool.open_slots, queued, deferred, starving", "pool_slots"),
        ("task.queued_duration, scheduled_duration", "task_wait_seconds"),
        ("ti.start, ti.finish, operator_failures", "task_tries_total"),
        ("zombies_killed, scheduler.orphaned_tasks.cleared", "task_tries_lost_total"),
        ("scheduler.orphaned_tasks.adopted", "task_tries_adopted_total"),
        ("dag_processing.total_parse_time", "dag_file_read_seconds_total"),
        ("dag_processing.import_errors", "import_errors"),
        ("dag_processing.last_run.seconds_ago", "dag_files_age_seconds"),
        ("triggers.running, blocked_main_thread", "task_instances"),
        ("asset.updates", "asset_events_total"),
        ("asset.triggered_dagruns", "runs_created_total"),
        ("executor.open_slots, running_tasks", "worker_slots"),
        ("the database's pool", "database_connections"),
        ("logs that could not be written", "log_lines_lost_total"),
        ("rows", "moved_rows_total"),
        ("bytes", "moved_bytes_total"),
        ("watermarks", "load_lag_seconds"),
    ] {
        assert!(page.contains(&format!("# TYPE millrace_{ours} ")), "{theirs}: {ours} is not in\n{page}");
        assert!(documented.contains(&format!("`{ours}`")), "docs/operations.md does not know {ours}");
    }
}
