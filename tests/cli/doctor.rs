//! `millrace doctor`.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use millrace_testkit::Postgres;
use serde_json::Value;

use super::pools::sqlite;
use crate::home_with_hello;
use crate::support::TestHome;

/// What it says of an area with this status.
fn said(report: &Value, area: &str, status: &str) -> Vec<String> {
    let checks = report.as_array().unwrap().iter();
    let of = checks.filter(|check| check["area"] == area && check["status"] == status);
    of.map(|check| format!("{} -> {}", check["what"].as_str().unwrap(), check["mend"].as_str().unwrap_or_default()))
        .collect()
}

#[test]
fn a_sound_home_is_fine_and_nothing_is_written() {
    let home = home_with_hello();
    home.json(&["dags", "list"]);
    let scheduler = home.scheduler();
    let names =
        |home: &TestHome| home.files().into_keys().filter(|name| !name.contains("millrace.db")).collect::<Vec<_>>();
    let before = names(&home);
    let report = home.json(&["doctor", "--connections"]);
    assert_eq!(names(&home), before);
    let fails = report.as_array().unwrap().iter().filter(|check| check["status"] == "fail").count();
    assert_eq!(fails, 0, "{report}");
    for (area, part) in [
        ("home", "secrets are readable for their owner only"),
        ("database", "has this version's schema"),
        ("scheduler", "one is running"),
        ("dags folder", "1 file can be read"),
        ("dags", "1 are stored"),
        ("pools", "large enough"),
        ("time zones", "the default is UTC"),
        ("clock", "UTC"),
    ] {
        assert!(said(&report, area, "ok").iter().any(|text| text.contains(part)), "{area}: {part}\n{report}");
    }
    drop(scheduler);
}

/// A disk is known by its device, wherever it is mounted.
#[test]
fn logs_on_another_disk_below_the_home_are_looked_at() {
    let home = home_with_hello();
    let looks = || {
        let report = home.run(&["doctor", "-o", "json"]).json();
        report.as_array().unwrap().iter().any(|check| check["area"] == "logs")
    };
    fs::create_dir_all(home.file("logs")).unwrap();
    assert!(!looks(), "it is the disk of the home");
    fs::remove_dir_all(home.file("logs")).unwrap();
    let elsewhere = tempfile::tempdir_in("/dev/shm").unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), home.file("logs")).unwrap();
    assert!(looks());
}

#[test]
fn case_95_a_stored_dag_that_is_another_one_is_skipped_and_counted() {
    let home = home_with_hello();
    home.write_dag("other.yaml", "schedule: none\ntasks: {a: {operator: empty}}\n");
    home.json(&["dags", "list"]);
    sqlite(
        &home,
        "UPDATE dag_version SET data = REPLACE(data, '\"dag_id\":\"other\"', '\"dag_id\":\"stranger\"') WHERE dag_id = 'other'",
    );
    let output = home.run(&["doctor", "-o", "json"]).exits(1);
    let report = output.json();
    let dags = said(&report, "dags", "fail");
    assert!(dags[0].starts_with("what is stored of other can't be used, so it is left out"), "{report}");
    assert!(dags[0].contains("it holds DAG stranger, not other"), "{report}");
    let refused = home.run(&["dags", "trigger", "other"]).exits(1);
    assert!(refused.stderr.contains("what is stored of DAG other can't be used"), "{}", refused.stderr);
    let mut scheduler = home.scheduler();
    scheduler.wait_for_line("the stored DAG", crate::support::PATIENCE).unwrap();
    home.ok(&["dags", "unpause", "hello"]);
    home.ok(&["dags", "trigger", "hello", "--wait"]);

    home.run_with_input(&["users", "create", "ada", "--role", "admin"], "battery staple").exits(0);
    let token = home.json(&["tokens", "create", "ada", "ci"])["token"].as_str().unwrap().to_owned();
    let mut server = home.daemon(&["server", "--port", "0"]);
    let line = server.wait_for_line("serving http://", crate::support::PATIENCE).unwrap();
    let address =
        line.split_whitespace().find(|word| word.starts_with("http://")).unwrap().trim_end_matches(';').to_owned();
    let get = |path: &str| {
        let request = ureq::get(format!("{address}{path}")).header("authorization", format!("Bearer {token}"));
        let mut answer = request.config().http_status_as_error(false).build().call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_to_string().unwrap())
    };
    let (_, metrics) = get("/metrics");
    for line in ["millrace_dags{state=\"left_out\"} 1", "millrace_dags{state=\"active\"} 1"] {
        assert!(metrics.lines().any(|it| it == line), "{line}\n{metrics}");
    }
    let (status, refused) = get("/api/v1/dags/other");
    assert_eq!(status, 404);
    assert!(refused.contains("what is stored of DAG other can't be used: "), "{refused}");
    assert!(refused.contains("`millrace doctor` says how to mend it"), "{refused}");
    let warnings: Value = serde_json::from_str(&get("/api/v1/dagWarnings").1).unwrap();
    assert_eq!(warnings["total_entries"], 1, "{warnings}");
    assert_eq!(warnings["dag_warnings"][0]["warning_type"], "stored form unusable");
    let (_, listed) = get("/api/v1/dags");
    assert!(listed.contains("\"hello\"") && !listed.contains("\"other\""), "{listed}");
}

#[test]
fn what_is_wrong_is_named_with_how_to_mend_it() {
    let mut home = TestHome::new();
    home.ok(&["db", "migrate"]);
    home.write_dag("broken.yaml", "schedule: none\ntasks: 7\n");
    home.write_dag(
        "wide.yaml",
        "schedule: '@daily'\nstart_date: 2024-01-01\nmax_active_runs: 20\ntasks:\n  a: {operator: bash, bash_command: x, pool: absent}\n  b: {operator: bash, bash_command: x, pool: narrow, pool_slots: 3}\n",
    );
    home.ok(&["pools", "set", "narrow", "2"]);
    home.ok(&["pools", "set", "absent", "1"]);
    home.ok(&["connections", "add", "gone", "--conn-uri", "postgres://me:secret-word@127.0.0.1:1/x"]);
    home.ok(&["dags", "unpause", "wide"]);
    home.ok(&["dags", "trigger", "wide"]);
    home.ok(&["pools", "delete", "absent"]);
    fs::set_permissions(home.file("encryption_key"), fs::Permissions::from_mode(0o644)).unwrap();
    let output = home.run(&["doctor", "--connections", "-o", "json"]).exits(1);
    let report = output.json();
    let one = |area: &str, status: &str, part: &str| {
        assert!(
            said(&report, area, status).iter().any(|text| text.contains(part)),
            "{area} {status}: {part}\n{report}"
        );
    };
    one("home", "fail", "others on this machine may read encryption_key -> chmod 600");
    one("dags folder", "fail", "2 of 2 files can't be used: broken.yaml, wide.yaml -> millrace validate");
    one("pools", "fail", "tasks name pools that do not exist: wide.a (absent) -> millrace pools set");
    one("pools", "fail", "tasks that can never run: wide.b (narrow) needs 3 of 2");
    one("slots", "warn", "wide (40)");
    one("scheduler", "warn", "none is running");
    one("connections", "fail", "gone: ");
    assert!(!output.stdout.contains("secret-word"), "{}", output.stdout);
    // One task that took two hours, and nothing else.
    home.write_dag("long.yaml", "schedule: none\ntasks: {a: {operator: bash, bash_command: 'true'}}\n");
    home.ok(&["tasks", "run", "long", "a", "2024-01-01"]);
    sqlite(
        &home,
        "UPDATE task_instance SET start_date = end_date - 7200000000 WHERE task_id = 'a' AND state = 'success'",
    );
    let report = home.run(&["doctor", "-o", "json"]).exits(1).json();
    assert!(said(&report, "dags", "warn").iter().any(|text| text.contains("whole run: long (120 min)")), "{report}");
    // Made while the clock was ahead.
    let ahead = |report: &Value| said(report, "dags", "fail").iter().any(|text| text.contains("dates to come"));
    assert!(!ahead(&report), "{report}");
    sqlite(
        &home,
        "UPDATE dag_run SET made_by_schedule = TRUE, data_interval_end = data_interval_end + 3155760000000000 \
         WHERE dag_id = 'long'",
    );
    let report = home.run(&["doctor", "-o", "json"]).exits(1).json();
    assert!(ahead(&report), "{report}");
    // Paused with a run that waits.
    home.ok(&["dags", "pause", "wide"]);
    let report = home.run(&["doctor", "--quiet", "-o", "json"]).exits(1).json();
    assert!(said(&report, "dags", "warn").iter().any(|text| text.contains("wait: wide")), "{report}");
    assert!(report.as_array().unwrap().iter().all(|check| check["status"] != "ok"));

    home.set("MILLRACE__CORE__PARALELISM", "4");
    let output = home.run(&["doctor", "-o", "json"]).exits(1);
    assert!(said(&output.json(), "config", "fail")[0].contains("did you mean 'parallelism'"), "{}", output.stdout);
}

#[test]
fn a_home_whose_keys_open_nothing_of_the_database_is_refused() {
    let home = TestHome::new();
    home.ok(&["connections", "add", "shop", "--conn-uri", "postgres://me:secret-word@127.0.0.1:1/x"]);
    home.ok(&["variables", "set", "region", "eu"]);
    let key = fs::read(home.file("encryption_key")).unwrap();
    fs::remove_file(home.file("encryption_key")).unwrap();
    let secrets = |home: &TestHome| said(&home.run(&["doctor", "-o", "json"]).json(), "secrets", "fail");
    assert!(secrets(&home)[0].contains("copy encryption_key"), "without a key, which doctor does not make");
    // A scheduler makes a key where there is none, as that of a standby's new home.
    for daemon in [&["scheduler"][..], &["server", "--port", "0"], &["standalone", "--port", "0"]] {
        let refused = home.run(daemon).exits(1);
        assert!(refused.stderr.contains("holds 2 encrypted values, and no key of this home"), "{}", refused.stderr);
    }
    assert!(secrets(&home)[0].contains("holds 2 encrypted values"));
    fs::write(home.file("encryption_key"), key).unwrap();
    assert_eq!(secrets(&home), [""; 0]);
    drop(home.scheduler());
}

#[test]
fn a_database_without_a_schema_is_named() {
    let mut home = home_with_hello();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    home.set("MILLRACE__DATABASE__URL", database.url());
    let report = home.run(&["doctor", "-o", "json"]).exits(1).json();
    assert!(said(&report, "database", "fail")[0].contains("-> millrace db migrate"), "{report}");
    home.ok(&["db", "migrate"]);
    let report = home.json(&["doctor"]);
    assert!(said(&report, "database", "ok").iter().any(|text| text.contains("MiB")), "{report}");
}
