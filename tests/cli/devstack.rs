//! The stand-ins are told to fail, as a person does who rehearses a bad night.

use std::fs;

use millrace_testkit::{Daemon, Postgres};
use serde_json::{Value, json};

use crate::support::{PATIENCE, TestHome, repository};

struct Stand {
    home: TestHome,
    faults: String,
    _devstack: Daemon,
}

/// The address behind these words of a line.
fn address(devstack: &mut Daemon, words: &str) -> String {
    let line = devstack.wait_for_line(words, PATIENCE).unwrap();
    let rest = line.split_once(words).unwrap().1.trim_start();
    rest.split([' ', '(']).next().unwrap().to_owned()
}

impl Stand {
    /// With the connections `lake` and `rs` of docs/connections.md, and the SQLite source `shop`.
    fn start(over: Option<&str>) -> Self {
        let home = TestHome::new();
        let mut arguments = vec!["devstack", "--s3-port", "0", "--redshift-port", "0", "--faults-port", "0"];
        arguments.extend(over.iter().flat_map(|url| ["--redshift-over", url]));
        let mut devstack = home.daemon(&arguments);
        let faults = address(&mut devstack, "failures to come are taken at");
        let s3 = address(&mut devstack, "S3 at");
        let keys = fs::read_to_string(home.file("s3_keys")).unwrap();
        let (login, password) = keys.trim().split_once(':').unwrap();
        let mut connections = json!({
            "lake": {"conn_type": "aws", "login": login, "password": password,
                     "extra": {"endpoint_url": s3, "region_name": "us-east-1"}},
            "shop": {"conn_type": "sqlite", "schema": home.file("shop.db")},
        });
        if over.is_some() {
            connections["rs"] = json!({
                "conn_type": "redshift", "schema": "dev",
                "extra": {"workgroup_name": "any", "endpoint_url": address(&mut devstack, "Redshift Data API at"),
                          "region_name": "us-east-1", "aws_access_key_id": login, "aws_secret_access_key": password},
            });
        }
        fs::write(home.file("shop.db"), "").unwrap();
        fs::write(home.file("connections.json"), connections.to_string()).unwrap();
        home.ok(&["db", "migrate"]);
        home.ok(&["connections", "import", "connections.json"]);
        Self { home, faults, _devstack: devstack }
    }

    fn tell(&self, place: &str, wish: &Value) -> (u16, Value) {
        let request = ureq::post(format!("{}/{place}", self.faults)).config().http_status_as_error(false).build();
        let mut answer = request.send_json(wish).unwrap();
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    fn planned(&self) -> Value {
        ureq::get(&self.faults).call().unwrap().body_mut().read_json().unwrap()
    }
}

const EXTRACT: &str = "
schedule: none
tasks:
  extract: {operator: sql_to_s3, sql_conn_id: shop, query: SELECT 1 AS id, s3_bucket: warehouse-landing, s3_key: one.csv, aws_conn_id: lake}
";

#[test]
fn a_store_fails_as_often_as_it_was_told() {
    let stand = Stand::start(None);
    stand.home.write_dag("night.yaml", EXTRACT);
    let wish = json!({"operation": "PutObject", "fault": "expired_credentials", "times": 2});
    let planned = json!({"s3": [wish], "redshift": null});
    assert_eq!(stand.tell("s3", &wish), (200, planned.clone()));
    assert_eq!(stand.planned(), planned);
    let extract = || stand.home.run(&["tasks", "test", "night", "extract", "2024-01-01"]);
    for left in [1, 0] {
        let failed = extract();
        let said = format!("{}{}", failed.stdout, failed.stderr);
        assert!(failed.code != 0 && said.contains("expired") && said.contains("s3://warehouse-landing/"), "{said}");
        let still: u64 = stand.planned()["s3"].as_array().unwrap().iter().filter_map(|one| one["times"].as_u64()).sum();
        assert_eq!(still, left);
    }
    extract().exits(0);

    // After so many uses that go well.
    let later = json!({"operation": "PutObject", "fault": {"delay": 0.001}, "after": 1, "times": 3});
    let (_, planned) = stand.tell("s3", &later);
    let list = [
        json!({"operation": "PutObject", "fault": {"delay": 0.0}, "times": 1}),
        json!({"operation": "PutObject", "fault": {"delay": 0.001}, "times": 3}),
    ];
    assert_eq!(planned["s3"], json!(list));
    ureq::delete(&stand.faults).call().unwrap();
    assert_eq!(stand.planned(), json!({"s3": [], "redshift": null}));
}

#[test]
fn statements_fail_as_they_were_told() {
    let database = Postgres::shared().unwrap().create_database().unwrap();
    let stand = Stand::start(Some(&database.url()));
    let dag = "schedule: none\ntasks:\n  make: {operator: sql, sql_conn_id: rs, sql: CREATE TABLE one (id int)}\n";
    stand.home.write_dag("night.yaml", dag);
    let text = "ERROR: 1023 DETAIL: Serializable isolation violation on table - 100";
    let wish = json!({"operation": "CREATE", "fault": {"fail_statement": text}});
    assert_eq!(stand.tell("redshift", &wish).0, 200);
    let failed = stand.home.run(&["tasks", "test", "night", "make", "2024-01-01"]);
    let said = format!("{}{}", failed.stdout, failed.stderr);
    assert!(failed.code != 0 && said.contains(text), "{said}");
    stand.home.ok(&["tasks", "test", "night", "make", "2024-01-01"]);

    // Every example of the page, and nothing that would never happen.
    let page = fs::read_to_string(repository().join("docs/operations.md")).unwrap();
    let rehearsal = page.split_once("## Rehearsing a bad night").unwrap().1.split("\n## ").next().unwrap();
    let examples: Vec<(&str, &str)> = rehearsal
        .lines()
        .filter_map(|line| line.strip_prefix("fail ")?.trim_end_matches('\'').split_once(" '"))
        .collect();
    assert!(examples.len() > 5, "{rehearsal}");
    for (place, wish) in examples {
        let (status, answer) = stand.tell(place, &serde_json::from_str(wish).unwrap());
        assert_eq!(status, 200, "{place} {wish}: {answer}");
    }
    for (place, wish, why) in [
        ("s3", json!({"operation": "putObject", "fault": "throttle"}), "is no operation of S3 that is known here"),
        ("s3", json!({"operation": "PutObject", "fault": "lose_part"}), "only UploadPart fails that way"),
        ("s3", json!({"operation": "PutObject", "fault": "abort_statement"}), "only statements of Redshift"),
        ("s3", json!({"operation": "PutObject", "fault": "throttle", "times": 0}), "times is a number from 1"),
        ("s3", json!({"operation": "PutObject", "fault": "throttle", "time": 3}), "unknown field `time`"),
        ("s3", json!({"operation": "PutObject", "fault": {"delay": -1}}), "-1 is no number of seconds"),
        ("redshift", json!({"operation": "PutObject", "fault": "throttle"}), "neither an operation of the Data API"),
        ("redshift", json!({"operation": "COPY", "fault": "throttle"}), "a statement can fail_statement"),
        ("redshift", json!({"operation": "*", "fault": "abort_statement"}), "by its first word"),
        ("redshift", json!({"operation": "COPY", "fault": {"cut_body": {"after": 1}}}), "only S3 fails that way"),
    ] {
        let (status, answer) = stand.tell(place, &wish);
        assert!(status == 422 && answer.to_string().contains(why), "{wish}: {status} {answer}");
    }
}
