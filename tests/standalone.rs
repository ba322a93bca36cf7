//! The first command of a newcomer: `millrace standalone --demo` in a home that does not exist yet.

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_testkit::{Daemon, Postgres, wait_until_blocking};
use serde_json::Value;
use support::{PATIENCE, TestHome};

struct Standalone {
    daemon: Daemon,
    address: String,
}

fn start(home: &TestHome) -> Standalone {
    let mut daemon = home.daemon(&["standalone", "--demo", "--port", "0"]);
    let line = daemon.wait_for_line("address   http://127.0.0.1:", PATIENCE).unwrap();
    let address = line.trim().strip_prefix("address").unwrap().trim().to_owned();
    Standalone { daemon, address }
}

impl Standalone {
    /// Status and JSON of a GET.
    fn get(&self, path: &str, sign_in: Option<(&str, &str)>) -> (u16, Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = agent.get(format!("{}{path}", self.address));
        if let Some((name, password)) = sign_in {
            request =
                request.header("Authorization", format!("Basic {}", STANDARD.encode(format!("{name}:{password}"))));
        }
        let mut answer = request.call().unwrap();
        (answer.status().as_u16(), answer.body_mut().read_json().unwrap_or(Value::Null))
    }
}

fn password(home: &TestHome) -> String {
    fs::read_to_string(home.file("admin_password")).unwrap()
}

fn demo_runs(standalone: &Standalone, home: &TestHome) -> Vec<Value> {
    let (status, answer) = standalone.get("/api/v1/dags/demo_orders/dagRuns", Some(("admin", &password(home))));
    assert_eq!(status, 200, "{answer}");
    answer["dag_runs"].as_array().unwrap().clone()
}

#[test]
fn one_command_shows_the_whole_pipeline_and_goes_on_after_every_end() {
    let home = TestHome::new();
    // As a newcomer has it: no folder at all.
    fs::remove_dir(home.file("dags")).unwrap();
    let mut standalone = start(&home);

    let (status, health) = standalone.get("/api/v1/health", None);
    assert_eq!(status, 200, "{health}");
    let password_before = password(&home);
    assert!(password_before.len() >= 20 && !password_before.contains(char::is_whitespace), "only the password");
    for path in ["/api/v1/dags", "/api/v1/dags/demo_orders/dagRuns"] {
        assert_eq!(standalone.get(path, None).0, 401, "{path}");
        assert_eq!(standalone.get(path, Some(("admin", "wrong"))).0, 401, "{path}");
        assert_eq!(standalone.get(path, Some(("admin", &password_before))).0, 200, "{path}");
    }
    let (_, dags) = standalone.get("/api/v1/dags", Some(("admin", &password_before)));
    assert_eq!(dags["total_entries"], 2, "{dags}");
    for file in ["encryption_key", "admin_password", "s3_keys"] {
        assert_eq!(fs::metadata(home.file(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }

    let is_green = |run: &Value| run["state"] == "success";
    wait_until_blocking("the demo run succeeds", PATIENCE, || {
        let runs = demo_runs(&standalone, &home);
        assert!(!runs.iter().any(|run| run["state"] == "failed"), "{runs:?}\n{}", standalone.daemon.stderr());
        !runs.is_empty() && runs.iter().all(is_green)
    })
    .unwrap();
    let runs = demo_runs(&standalone, &home);
    let run_id = runs[0]["dag_run_id"].as_str().unwrap();
    let (_, tasks) = standalone.get(
        &format!("/api/v1/dags/demo_orders/dagRuns/{}/taskInstances", run_id.replace('+', "%2B")),
        Some(("admin", &password_before)),
    );
    assert_eq!(tasks["total_entries"], 5, "{tasks}");
    assert!(tasks["task_instances"].as_array().unwrap().iter().all(|task| task["state"] == "success"), "{tasks}");
    assert_eq!(demo_rows(&home), (20_000, 20_000), "every order, and every order counted");

    // Ctrl-C, and again.
    assert!(standalone.daemon.interrupt(Duration::from_secs(10)).unwrap().success());
    let mut standalone = start(&home);
    assert!(standalone.daemon.stderr().contains("is here from before"), "{}", standalone.daemon.stderr());
    // Whoever starts it twice is told so, and not of ports and files.
    let second = home.run(&["standalone", "--port", "0"]).exits(1);
    let first = format!("another Millrace (pid {}) serves the home", standalone.daemon.pid());
    assert!(second.stderr.contains(&first) && !second.stderr.contains("another port"), "{}", second.stderr);
    assert_eq!(password(&home), password_before);
    assert!(
        demo_runs(&standalone, &home).iter().filter(|run| run["dag_run_id"] == run_id).all(is_green),
        "the history stays"
    );
    home.ok(&["dags", "trigger", "demo_orders", "--run-id", "again", "--wait"]);

    // Killed in the middle of a run, and again: the run is finished.
    home.ok(&["dags", "trigger", "demo_orders", "--run-id", "interrupted"]);
    standalone.daemon.kill().unwrap();
    let mut standalone = start(&home);
    wait_until_blocking("the interrupted run succeeds", PATIENCE, || {
        home.ok(&["dags", "state", "demo_orders", "interrupted"]).stdout == "success\n"
    })
    .unwrap();
    assert_eq!(demo_rows(&home), (20_000, 20_000));
    assert!(standalone.daemon.terminate(Duration::from_secs(10)).unwrap().success());
}

/// Rows of the demo warehouse: orders, and the sum of the summary's counts.
fn demo_rows(home: &TestHome) -> (i64, i64) {
    let file = home.file("demo/warehouse.db");
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file).read_only(true);
        let mut database = sqlx::ConnectOptions::connect(&options).await.unwrap();
        sqlx::query_as::<_, (i64, i64)>("SELECT (SELECT COUNT(*) FROM orders), (SELECT SUM(orders) FROM orders_by_day)")
            .fetch_one(&mut database)
            .await
            .unwrap()
    })
}

/// Of two who saw the same and send changes to two servers at once, one is told.
#[test]
fn two_servers_on_one_database_keep_a_condition_together() {
    let mut home = TestHome::new();
    let database = Postgres::shared().unwrap().create_database().unwrap();
    home.set("MILLRACE__DATABASE__URL", database.url());
    home.ok(&["db", "migrate"]);
    home.ok(&["pools", "set", "etl", "3"]);
    let mut servers = [home.daemon(&["server", "--port", "0"]), home.daemon(&["server", "--port", "0"])];
    let addresses = servers.each_mut().map(|server| {
        let line = server.wait_for_line("http://127.0.0.1:", PATIENCE).unwrap();
        line[line.find("http://").unwrap()..].split(';').next().unwrap().to_owned()
    });
    let made = home.ok(&["tokens", "create", "admin", "both", "-o", "json"]).json();
    let bearer = format!("Bearer {}", made["token"].as_str().unwrap());
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let pool = |address: &str| format!("{address}/api/v1/pools/etl");
    for round in 0..8 {
        let shown = agent.get(pool(&addresses[0])).header("Authorization", &bearer).call().unwrap();
        let tag = shown.headers()["etag"].to_str().unwrap().to_owned();
        let start = std::sync::Barrier::new(2);
        let change = |address: &str, slots: u32| {
            start.wait();
            let request = agent.patch(pool(address)).header("Authorization", &bearer).header("If-Match", &tag);
            let body = format!("{{\"slots\": {slots}}}");
            request.header("Content-Type", "application/json").send(body).unwrap().status().as_u16()
        };
        let mut statuses = std::thread::scope(|scope| {
            let sent = [0, 1].map(|which| {
                let (change, address) = (&change, &addresses[which]);
                scope.spawn(move || change(address, 10 + 2 * round + u32::from(which == 1)))
            });
            sent.map(|one| one.join().unwrap())
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412], "round {round}");
    }
    for server in &mut servers {
        assert!(server.terminate(PATIENCE).unwrap().success());
    }
}

#[test]
fn a_taken_port_is_said_at_once() {
    let home = TestHome::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let output = home.run(&["standalone", "--port", &port]).exits(1);
    assert!(output.stderr.contains(&port) && output.stderr.contains("--port"), "{}", output.stderr);
}

#[test]
fn a_taken_port_of_the_stand_in_is_no_obstacle() {
    let mut home = TestHome::new();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = listener.local_addr().unwrap().port().to_string();
    home.set("MILLRACE__DEVSTACK__S3_PORT", taken.as_str());
    let port = millrace_testkit::free_port().unwrap().to_string();
    let mut daemon = home.daemon(&["standalone", "--demo", "--port", &port]);
    let line = daemon.wait_for_line("s3        http://127.0.0.1:", PATIENCE).unwrap();
    assert!(!line.ends_with(&format!(":{taken}")), "{line}");
    wait_until_blocking("the demo's run succeeds", PATIENCE, || {
        home.run_states("demo_orders").values().any(|state| state == "success")
    })
    .unwrap();
}
