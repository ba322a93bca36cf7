//! Commands that stay.

use std::fs;
use std::time::Duration;

use millrace_testkit::{Postgres, wait_until_blocking};

use crate::support::{PATIENCE, TestHome};
use crate::{HELLO, home_with_hello};

#[test]
fn an_edited_file_is_picked_up_without_waiting_for_the_scan() {
    let home = TestHome::new();
    let said = home.file("said");
    let says = |word: &str| {
        format!(
            "schedule: none\ntasks:\n  say:\n    operator: bash\n    bash_command: echo {word} >> {}\n",
            said.display()
        )
    };
    home.write_dag("says.yaml", &says("one"));
    let _scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "says"]);
    // The metadata database, straight: every command would read the changed files itself.
    let versions = || {
        let file = home.file("millrace.db");
        tokio::runtime::Runtime::new().unwrap().block_on(async {
            let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
            let mut database = sqlx::ConnectOptions::connect(&options).await.unwrap();
            sqlx::query_scalar::<_, i64>("SELECT COUNT(*) FROM dag_version").fetch_one(&mut database).await.unwrap()
        })
    };
    assert_eq!(versions(), 1);
    home.write_dag("says.yaml", &says("two"));
    wait_until_blocking("the scheduler reads the edited file", PATIENCE, || versions() == 2).unwrap();
    home.write_dag("new.yaml", HELLO);
    wait_until_blocking("the scheduler reads the new file", PATIENCE, || versions() == 3).unwrap();
    home.ok(&["dags", "trigger", "says", "--wait"]);
    assert_eq!(fs::read_to_string(&said).unwrap(), "two\n");

    home.write_dag("says.yaml", "schedule: none\ntasks: 7\n");
    home.ok(&["dags", "trigger", "says", "--wait"]);
    assert_eq!(fs::read_to_string(&said).unwrap(), "two\ntwo\n", "a broken file leaves the last good version");
    fs::remove_file(home.file("dags/says.yaml")).unwrap();
    home.run(&["dags", "trigger", "says", "--wait"]).exits(1);
    assert_eq!(home.json(&["dags", "list-runs", "says"]).as_array().unwrap().len(), 2, "the history stays");
}

#[test]
fn terminated_it_stops_in_time_and_loses_no_result() {
    let home = TestHome::new();
    let (quick, slow) = (home.file("quick"), home.file("slow"));
    home.write_dag(
        "works.yaml",
        &format!(
            "schedule: none\ntasks:\n  quick:\n    operator: bash\n    bash_command: echo x >> {quick}\n  slow:\n    operator: bash\n    bash_command: |\n      echo x >> {slow}\n      test $(wc -l < {slow}) -gt 1 || exec sleep 600\n",
            quick = quick.display(),
            slow = slow.display(),
        ),
    );
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "works"]);
    home.ok(&["dags", "trigger", "works", "--run-id", "r"]);
    let lines = |file| fs::read_to_string(file).unwrap_or_default().lines().count();
    wait_until_blocking("both tasks have begun", PATIENCE, || lines(&quick) == 1 && lines(&slow) == 1).unwrap();
    let status = scheduler.terminate(Duration::from_secs(10)).unwrap();
    assert!(status.success(), "{status}\n{}", scheduler.stderr());
    let tasks = home.task_states("works", "r");
    assert_eq!(tasks["quick"], "success", "its result was kept");
    assert_ne!(tasks["slow"], "failed");

    let mut scheduler = home.scheduler();
    wait_until_blocking("the run ends", PATIENCE, || home.ok(&["dags", "state", "works", "r"]).stdout == "success\n")
        .unwrap();
    assert_eq!((lines(&quick), lines(&slow)), (1, 2), "only what was interrupted ran again");
    scheduler.interrupt(Duration::from_secs(10)).unwrap();
}

#[test]
fn the_log_of_a_try_whose_daemon_was_killed_says_so() {
    let home = TestHome::new();
    home.write_dag(
        "works.yaml",
        "schedule: none\ntasks:\n  slow: {operator: bash, bash_command: echo begun; exec sleep 600}\n",
    );
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "works"]);
    home.ok(&["dags", "trigger", "works", "--run-id", "r"]);
    let log = || home.run(&["tasks", "logs", "works", "slow", "r", "--try", "1"]).stdout;
    wait_until_blocking("the task has begun", PATIENCE, || log().contains("begun")).unwrap();
    let told = format!("the worker of this try is gone (process {} on ", scheduler.pid());
    scheduler.kill().unwrap();
    let _next = home.scheduler();
    wait_until_blocking("its log ends with that", PATIENCE, || {
        log()
            .lines()
            .last()
            .is_some_and(|line| line.contains(&told) && line.contains("after its last sign of life at "))
    })
    .unwrap();
}

#[test]
fn a_second_scheduler_stands_by_and_takes_over() {
    let home = home_with_hello();
    let mut first = home.scheduler();
    let mut second = home.daemon(&["scheduler"]);
    second.wait_for_line("standing by", PATIENCE).unwrap();
    first.kill().unwrap();
    second.wait_for_line("this scheduler leads", PATIENCE).unwrap();
    home.ok(&["dags", "backfill", "hello", "-s", "2024-01-01", "-e", "2024-01-03", "--wait"]);
}

#[test]
fn the_stand_ins_start_and_stop() {
    let home = TestHome::new();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let url = database.url();
    let mut devstack = home.daemon(&["devstack", "--s3-port", "0", "--redshift-port", "0", "--redshift-over", &url]);
    let line = devstack.wait_for_line("Redshift Data API at http://127.0.0.1:", PATIENCE).unwrap();
    assert!(line.contains("database dev"), "{line}");
    devstack.wait_for_line("S3 at http://127.0.0.1:", PATIENCE).unwrap();
    assert!(devstack.terminate(Duration::from_secs(10)).unwrap().success());
}

#[test]
fn a_proxy_that_nobody_named_is_told_of_once() {
    let mut home = TestHome::new();
    let ask = |home: &TestHome| {
        let mut daemon = home.daemon(&["standalone", "--port", "0"]);
        let line = daemon.wait_for_line("address   http://", PATIENCE).unwrap();
        let address = line.split("http://").nth(1).unwrap().trim().to_owned();
        for client in ["9.9.9.1", "9.9.9.2"] {
            let asked = ureq::get(format!("http://{address}/api/v1/health")).header("x-forwarded-for", client);
            asked.call().unwrap();
        }
        daemon.terminate(PATIENCE).unwrap();
        (daemon.stdout() + &daemon.stderr()).matches("server.trusted_proxies does not name").count()
    };
    assert_eq!(ask(&home), 1);
    home.set("MILLRACE__SERVER__TRUSTED_PROXIES", "127.0.0.1");
    assert_eq!(ask(&home), 0);
}
