//! The main job, end to end: `prod.nps` of a real MariaDB, over S3, into a warehouse that speaks the Redshift Data API,
//! by the example DAGs of this repository, unchanged, through the scheduler.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use std::fs;
use std::time::Duration;

use millrace_devstack::Fault;
use millrace_testkit::{Daemon, Postgres, wait_until_blocking};
use support::{Comparison, PATIENCE, Source, TestHome, Warehouse, repository};

const TASKS_PER_RUN: usize = 2;

struct Pipeline {
    home: TestHome,
    source: Source,
    warehouse: Warehouse,
}

impl Pipeline {
    /// A home with the three examples and their connections, and the empty target.
    fn new() -> Self {
        Self::in_home(TestHome::new())
    }

    fn in_home(mut home: TestHome) -> Self {
        let source = Source::shared();
        let warehouse = Warehouse::start();
        for example in ["nps_full_refresh.yaml", "nps_incremental.yaml", "nps_summary.yaml", "sql/nps_by_day.sql"] {
            home.copy_example(example);
        }
        home.ok(&["db", "migrate"]);
        home.run_with_input(&["connections", "add", "mysql_prod", "--conn-json", "-"], &source.connection()).exits(0);
        warehouse.connect(&mut home);
        Warehouse::create_tables(&home);
        Self { home, source, warehouse }
    }

    /// Triggers and waits; the exit code is the run's result.
    fn trigger(&self, dag_id: &str, run_id: &str, code: i32) {
        self.home.run(&["dags", "trigger", dag_id, "--run-id", run_id, "--wait"]).exits(code);
    }

    fn backfill(&self, more: &[&str]) -> support::Output {
        let command = ["dags", "backfill", "nps_incremental", "-s", "2024-03-01", "-e", "2024-03-31"];
        self.home.ok(&[&command[..], more].concat())
    }

    /// No run of the DAG is left that could still write.
    fn wait_until_quiet(&self, dag_id: &str) {
        let is_over = |state: &String| state == "success" || state == "failed";
        wait_until_blocking("all runs end", PATIENCE, || self.home.run_states(dag_id).values().all(is_over)).unwrap();
    }

    fn successes(&self) -> usize {
        self.home.run_states("nps_incremental").values().filter(|state| *state == "success").count()
    }
}

#[test]
fn a_full_refresh_leaves_exactly_the_source_rows_twice() {
    let pipeline = Pipeline::new();
    let _scheduler = pipeline.home.scheduler();
    // What stands there goes.
    pipeline.warehouse.query("INSERT INTO analytics.nps VALUES (-1, '2020-01-01', 0), (1, '2020-01-01', 0)");
    pipeline.home.ok(&["dags", "unpause", "nps_full_refresh"]);
    let source = pipeline.source.rows_where("TRUE");
    assert!(
        source.len() >= 200_000
            && source.iter().any(|row| row[1] == "NULL")
            && source.iter().any(|row| row[2] == "NULL")
    );
    for run_id in ["first", "second"] {
        pipeline.trigger("nps_full_refresh", run_id, 0);
        pipeline.wait_until_quiet("nps_full_refresh");
        Comparison::assert_equal(&source, &pipeline.warehouse.rows());
        let tasks = pipeline.home.task_states("nps_full_refresh", run_id);
        assert_eq!(tasks.len(), 3);
        assert!(tasks.values().all(|state| state == "success"), "{tasks:?}");
        pipeline.warehouse.query("DELETE FROM analytics.nps WHERE id % 1000 = 0");
    }
}

#[test]
fn an_incremental_backfill_fills_30_days_and_runs_again_without_doubles() {
    let pipeline = Pipeline::new();
    let _scheduler = pipeline.home.scheduler();
    let source = pipeline.source.days("2024-03-01", "2024-03-31");
    assert!(source.iter().any(|row| row[1] == "2024-03-01 00:00:00.000000"), "a row at the very beginning");

    // Also on a paused DAG.
    pipeline.backfill(&["--wait"]);
    Comparison::assert_equal(&source, &pipeline.warehouse.rows());
    let runs = pipeline.home.run_states("nps_incremental");
    assert_eq!(runs.len(), 30);
    assert_eq!(runs.keys().next().unwrap(), "2024-03-01T00:00:00.000000Z");
    assert_eq!(runs.keys().last().unwrap(), "2024-03-30T00:00:00.000000Z");

    // Damage shows whether a run did anything.
    pipeline.warehouse.query("DELETE FROM analytics.nps WHERE id % 10 = 0");
    pipeline.warehouse.query("UPDATE analytics.nps SET score = 77 WHERE id % 10 = 1");
    let damaged = pipeline.warehouse.rows();
    let again = ["dags", "backfill", "nps_incremental", "-s", "2024-03-01", "-e", "2024-03-31", "--wait"];
    let output = pipeline.home.run(&again).exits(1);
    assert!(output.stderr.contains("nothing to backfill: every date has a run"), "{}", output.stderr);
    Comparison::assert_equal(&damaged, &pipeline.warehouse.rows());

    pipeline.backfill(&["--reprocess", "completed", "--wait"]);
    Comparison::assert_equal(&source, &pipeline.warehouse.rows());
    let runs = pipeline.home.json(&["dags", "list-runs", "nps_incremental"]);
    assert_eq!(runs.as_array().unwrap().len(), 30);
    for run in runs.as_array().unwrap() {
        assert_eq!((&run["state"], &run["run_type"]), (&"success".into(), &"backfill".into()));
        let run_id = run["run_id"].as_str().unwrap();
        let tasks = pipeline.home.json(&["tasks", "states-for-dag-run", "nps_incremental", run_id]);
        for task in tasks.as_array().unwrap() {
            assert_eq!((&task["state"], &task["try_number"]), (&"success".into(), &2.into()), "{run_id}: {task}");
        }
    }
}

#[test]
fn a_summary_is_swapped_in_only_when_its_checks_pass() {
    let pipeline = Pipeline::new();
    let home = &pipeline.home;
    let summary = fs::read_to_string(repository().join("dags/nps_summary.yaml")).unwrap();
    // The same, with a check that cannot pass; one try, because the example waits three minutes for its second.
    let strict = summary.replace("retries: 1", "retries: 0") + "        never_true: SELECT COUNT(*) < 0 FROM {table}\n";
    home.write_dag("nps_summary_strict.yaml", &strict);
    let _scheduler = home.scheduler();
    for dag_id in ["nps_summary", "nps_summary_strict"] {
        // From now on only by hand: what the schedule makes would come in between.
        home.write_dag(
            &format!("{dag_id}.yaml"),
            &fs::read_to_string(home.file(&format!("dags/{dag_id}.yaml")))
                .unwrap()
                .replace("schedule: \"0 3 * * *\"", "schedule: none"),
        );
        home.ok(&["dags", "unpause", dag_id]);
    }
    home.ok(&["dags", "backfill", "nps_incremental", "-s", "2024-03-01", "-e", "2024-03-04", "--wait"]);

    pipeline.trigger("nps_summary", "first", 0);
    let live = || {
        pipeline.warehouse.query("SELECT to_char(day, 'YYYY-MM-DD'), answers, promoters, detractors, nps FROM analytics.nps_by_day ORDER BY day")
    };
    let expected = |until: &str| {
        pipeline.source.query(&format!(
            "SELECT DATE(created_at), COUNT(*), SUM(IF(score >= 9, 1, 0)), SUM(IF(score <= 6, 1, 0)),
                    100 * (SUM(IF(score >= 9, 1, 0)) - SUM(IF(score <= 6, 1, 0))) DIV COUNT(*)
             FROM prod.nps WHERE created_at >= '2024-03-01' AND created_at < '{until}' GROUP BY DATE(created_at) ORDER BY 1"
        ))
    };
    let three_days = expected("2024-03-04");
    assert_eq!(three_days.len(), 3);
    Comparison::assert_equal(&three_days, &live());

    // A day more: what is built now differs from what is live.
    home.ok(&["dags", "backfill", "nps_incremental", "-s", "2024-03-04", "-e", "2024-03-05", "--wait"]);
    pipeline.trigger("nps_summary_strict", "refused", 1);
    let tasks = home.task_states("nps_summary_strict", "refused");
    assert_eq!((&*tasks["check_nps"], &*tasks["build_nps_by_day"]), ("success", "failed"));
    let log = home.ok(&["tasks", "logs", "nps_summary_strict", "build_nps_by_day", "refused"]).stdout;
    assert!(log.contains("never_true") && log.contains("untouched"), "{log}");
    Comparison::assert_equal(&three_days, &live());

    // A double in what it is made of: the check before it fails, and the build never gets its chance.
    pipeline.warehouse.query("INSERT INTO analytics.nps SELECT * FROM analytics.nps ORDER BY id LIMIT 1");
    pipeline.trigger("nps_summary_strict", "doubled", 1);
    let tasks = home.task_states("nps_summary_strict", "doubled");
    assert_eq!((&*tasks["check_nps"], &*tasks["build_nps_by_day"]), ("failed", "upstream_failed"));
    Comparison::assert_equal(&three_days, &live());

    pipeline.warehouse.query("TRUNCATE analytics.nps");
    home.ok(&[
        "dags",
        "backfill",
        "nps_incremental",
        "-s",
        "2024-03-01",
        "-e",
        "2024-03-05",
        "--reprocess",
        "completed",
        "--wait",
    ]);
    pipeline.trigger("nps_summary", "second", 0);
    Comparison::assert_equal(&expected("2024-03-05"), &live());
}

/// The leading daemon dies in the middle of the backfill, twice, and another goes on.
fn survives_being_killed(pipeline: &Pipeline) {
    let home = &pipeline.home;
    // Slow enough that there is a middle.
    pipeline.warehouse.faults().inject("COPY", Fault::Delay(Duration::from_millis(200)), 1_000);
    let mut scheduler = home.scheduler();
    pipeline.backfill(&["--max-active-runs", "3"]);
    for wanted in [6, 15] {
        let enough = || {
            assert!(scheduler.is_running(), "the scheduler ended by itself:\n{}", scheduler.stderr());
            pipeline.successes() >= wanted
        };
        wait_until_blocking("some runs succeed", PATIENCE, enough).unwrap();
        scheduler.kill().unwrap();
        let done = pipeline.successes();
        assert!(done < 30, "the backfill was over before the daemon was killed");
        scheduler = home.scheduler();
    }
    wait_until_blocking("all runs succeed", PATIENCE, || {
        let states = home.run_states("nps_incremental");
        assert!(!states.values().any(|state| state == "failed"), "{states:?}\n{}", scheduler.stderr());
        assert_eq!(states.len(), 30);
        states.values().all(|state| state == "success")
    })
    .unwrap();
    Comparison::assert_equal(&pipeline.source.days("2024-03-01", "2024-03-31"), &pipeline.warehouse.rows());
    scheduler.terminate(Duration::from_secs(10)).unwrap();
}

/// What `TRIES_PER_TASK` must answer: every task of every run, with exactly one try that succeeded and none left open.
fn assert_one_success_each(rows: &[(i64, i64, i64)]) {
    assert_eq!(rows.len(), 30 * TASKS_PER_RUN);
    assert!(rows.iter().all(|(_, successes, unfinished)| (*successes, *unfinished) == (1, 0)), "{rows:?}");
    let lost: i64 = rows.iter().map(|(lost, ..)| lost).sum();
    assert!(lost > 0, "no task was running when the daemon was killed: the test proves nothing");
}

const TRIES_PER_TASK: &str = "
    SELECT MAX(task_instance.lost_workers),
           CAST(COALESCE(SUM(CASE WHEN task_try.state = 'success' THEN 1 ELSE 0 END), 0) AS BIGINT),
           CAST(COALESCE(SUM(CASE WHEN task_try.end_date IS NULL THEN 1 ELSE 0 END), 0) AS BIGINT)
    FROM task_instance JOIN dag_run ON dag_run.id = task_instance.run_id
    LEFT JOIN task_try ON task_try.instance_id = task_instance.id
    WHERE dag_run.dag_id = 'nps_incremental'
    GROUP BY task_instance.id";

#[test]
fn a_killed_daemon_loses_and_doubles_nothing_on_sqlite() {
    let pipeline = Pipeline::new();
    survives_being_killed(&pipeline);
    let file = pipeline.home.file("millrace.db");
    let rows = tokio::runtime::Runtime::new().unwrap().block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
        let mut database = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query_as::<_, (i64, i64, i64)>(TRIES_PER_TASK).fetch_all(&mut database).await.unwrap()
    });
    assert_one_success_each(&rows);
}

#[test]
fn a_killed_daemon_loses_and_doubles_nothing_on_postgresql() {
    let metadata = Postgres::shared().unwrap().create_database().unwrap();
    let mut home = TestHome::new();
    home.set("MILLRACE__DATABASE__URL", metadata.url());
    // Without a file lock a dead daemon is known by its silence.
    home.set("MILLRACE__SCHEDULER__HEARTBEAT_INTERVAL", "1").set("MILLRACE__SCHEDULER__LEASE_TIMEOUT", "5");
    let pipeline = Pipeline::in_home(home);
    survives_being_killed(&pipeline);
    assert!(!pipeline.home.file("millrace.db").exists(), "the metadata is in PostgreSQL");
    let number = |value: &Option<String>| value.as_ref().unwrap().parse::<i64>().unwrap();
    let rows = metadata.query(TRIES_PER_TASK).unwrap();
    assert_one_success_each(
        &rows.iter().map(|row| (number(&row[0]), number(&row[1]), number(&row[2]))).collect::<Vec<_>>(),
    );
}

#[test]
fn no_secret_of_a_connection_is_ever_written_or_printed() {
    let pipeline = Pipeline::new();
    let home = &pipeline.home;
    let mut scheduler: Daemon = home.scheduler();
    home.ok(&["dags", "backfill", "nps_incremental", "-s", "2024-03-01", "-e", "2024-03-02", "--wait"]);
    // One that fails at S3, with all that the driver has to say.
    home.write_dag(
        "wrong_bucket.yaml",
        "schedule: none\ntasks:\n  copy:\n    operator: sql_to_s3\n    sql_conn_id: mysql_prod\n    aws_conn_id: aws_default\n    query: SELECT 1 AS one\n    s3_bucket: no-such-bucket\n    s3_key: x.csv\n",
    );
    home.ok(&["dags", "unpause", "wrong_bucket"]);
    pipeline.trigger("wrong_bucket", "r", 1);
    home.ok(&["tasks", "logs", "wrong_bucket", "copy", "r"]);
    for arguments in [
        &["connections", "list"][..],
        &["connections", "get", "redshift_dev"],
        &["connections", "get", "aws_default"],
        &["connections", "export", "-"],
    ] {
        let shown = home.json(arguments);
        assert!(shown.to_string().contains("***"), "{shown}");
    }
    scheduler.terminate(Duration::from_secs(10)).unwrap();
    let mut seen = home.files();
    seen.insert("printed by commands".to_owned(), home.printed().into_bytes());
    seen.insert("printed by the daemon".to_owned(), (scheduler.stdout() + &scheduler.stderr()).into_bytes());
    for secret in [pipeline.source.password(), support::SECRET_KEY.to_owned()] {
        for (place, bytes) in &seen {
            assert!(!String::from_utf8_lossy(bytes).contains(&secret), "a secret stands in: {place}");
        }
    }
}

#[test]
fn a_statement_that_runs_in_the_warehouse_holds_no_worker_slot() {
    let warehouse = Warehouse::start();
    let mut home = TestHome::new();
    home.set("MILLRACE__CORE__PARALLELISM", "1");
    warehouse.connect(&mut home);
    home.write_dag(
        "shares.yaml",
        "schedule: none\ntasks:\n  long:\n    operator: sql\n    priority_weight: 9\n    sql_conn_id: redshift_dev\n    sql: CREATE TABLE long_one (id INT)\n  short:\n    operator: bash\n    bash_command: 'true'\n",
    );
    warehouse.faults().inject("CREATE", Fault::Delay(Duration::from_secs(10)), 1);
    let _scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "shares"]);
    home.ok(&["dags", "trigger", "shares", "--run-id", "r"]);
    wait_until_blocking("it waits for the statement", PATIENCE, || {
        home.task_states("shares", "r")["long"] == "deferred"
    })
    .unwrap();
    wait_until_blocking("the run ends", PATIENCE, || home.ok(&["dags", "state", "shares", "r"]).stdout == "success\n")
        .unwrap();
    let tasks = home.json(&["tasks", "states-for-dag-run", "shares", "r"]);
    let find = |task_id: &str| tasks.as_array().unwrap().iter().find(|it| it["task_id"] == task_id).unwrap().clone();
    let (long, short) = (find("long"), find("short"));
    let at = |task: &serde_json::Value, key: &str| task[key].as_str().unwrap().to_owned();
    assert!(at(&long, "start_date") < at(&short, "start_date"), "{tasks}");
    assert!(at(&short, "end_date") < at(&long, "end_date"), "the only slot was given on meanwhile: {tasks}");
    assert_eq!(long["try_number"], 1);
}
