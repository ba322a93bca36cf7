//! Spans, as a collector of OpenTelemetry receives them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use millrace_testkit::wait_until_blocking;
use serde_json::Value;

use crate::support::{PATIENCE, TestHome};

/// Takes what is posted to `/v1/traces`: one request for each connection, as our exporter sends them.
struct Collector {
    address: String,
    received: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Collector {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let received = Arc::new(Mutex::new(Vec::new()));
        let store = received.clone();
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let mut socket = socket.unwrap();
                let mut reader = BufReader::new(socket.try_clone().unwrap());
                let (mut head, mut line) = (String::new(), String::new());
                while reader.read_line(&mut line).unwrap() > 2 {
                    head.push_str(&std::mem::take(&mut line).to_lowercase());
                }
                let length =
                    head.split("content-length: ").nth(1).unwrap().split('\r').next().unwrap().parse().unwrap();
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                store.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap()));
                socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}").unwrap();
            }
        });
        Self { address, received }
    }

    fn spans(&self) -> Vec<Value> {
        let received = self.received.lock().unwrap();
        let documents = received.iter().flat_map(|(_, document)| document["resourceSpans"].as_array().unwrap());
        let scopes = documents.flat_map(|resource| resource["scopeSpans"].as_array().unwrap());
        scopes.flat_map(|scope| scope["spans"].as_array().unwrap()).cloned().collect()
    }
}

fn attributes(span: &Value) -> BTreeMap<String, Value> {
    let pairs = span["attributes"].as_array().unwrap().iter();
    pairs.map(|pair| (pair["key"].as_str().unwrap().to_owned(), pair["value"].clone())).collect()
}

#[test]
fn runs_tries_commits_and_requests_are_spans() {
    let collector = Collector::start();
    let mut home = TestHome::new();
    home.set("MILLRACE__TRACES__ENDPOINT", format!("http://mill:p%40ss-of-it@{}", collector.address));
    home.set("MILLRACE__TRACES__HEADERS", "X-Team=secret-of-the-team");
    home.write_dag(
        "two.yaml",
        "schedule: none\ntasks:\n  good: {operator: bash, bash_command: 'true'}\n  bad: {operator: bash, bash_command: 'exit 3', depends_on: [good]}\n",
    );
    let mut daemon = home.daemon(&["standalone", "--port", "0"]);
    let line = daemon.wait_for_line("address   http://", PATIENCE).unwrap();
    let address = line.split("http://").nth(1).unwrap().trim().to_owned();
    daemon.wait_for_line("this scheduler leads", PATIENCE).unwrap();
    home.ok(&["dags", "unpause", "two"]);
    home.ok(&["dags", "trigger", "two", "--run-id", "r"]);
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mut answer = ureq::get(format!("http://{address}/api/v1/health")).header("traceparent", parent).call().unwrap();
    assert!(answer.body_mut().read_to_string().unwrap().contains("metadatabase"));

    let named = |name: &str| collector.spans().into_iter().filter(|span| span["name"] == name).collect::<Vec<_>>();
    wait_until_blocking("the run's span", PATIENCE, || named("run").len() == 1 && named("try").len() == 2).unwrap();
    let run = named("run").remove(0);
    assert_eq!(attributes(&run)["millrace.dag"]["stringValue"], "two");
    assert_eq!(run["status"]["code"], 2, "{run}");
    let tries = named("try");
    for attempt in &tries {
        assert_eq!((&attempt["traceId"], &attempt["parentSpanId"]), (&run["traceId"], &run["spanId"]), "{attempt}");
        let time = |span: &Value, name: &str| span[name].as_str().unwrap().parse::<u128>().unwrap();
        assert!(time(attempt, "startTimeUnixNano") >= time(&run, "startTimeUnixNano"), "{attempt} within {run}");
        assert!(time(attempt, "endTimeUnixNano") >= time(attempt, "startTimeUnixNano"), "{attempt}");
        assert_eq!(attributes(attempt)["millrace.operator"]["stringValue"], "bash");
    }
    assert!(tries.iter().any(|attempt| attempt["status"]["code"] == 2), "{tries:?}");
    assert!(!named("commit").is_empty());
    let is_health =
        |span: &Value| attributes(span).get("http.route").is_some_and(|it| it["stringValue"] == "/api/v1/health");
    wait_until_blocking("the request's span", PATIENCE, || collector.spans().iter().any(is_health)).unwrap();
    let request = collector.spans().into_iter().find(is_health).unwrap();
    assert_eq!(request["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!((&request["parentSpanId"], &request["kind"]), (&Value::from("00f067aa0ba902b7"), &Value::from(2)));
    assert_eq!(attributes(&request)["http.response.status_code"]["intValue"], "200");
    // The same is counted.
    let password = std::fs::read_to_string(home.file("admin_password")).unwrap();
    let credentials = format!("Basic {}", STANDARD.encode(format!("admin:{}", password.trim())));
    let metrics = ureq::get(format!("http://{address}/metrics")).header("authorization", credentials).call();
    let metrics = metrics.unwrap().body_mut().read_to_string().unwrap();
    for line in [
        "millrace_task_tries_total{operator=\"bash\",outcome=\"failed\"} 1\n",
        "millrace_task_tries_total{operator=\"bash\",outcome=\"success\"} 1\n",
        "millrace_runs_ended_total{state=\"failed\"} 1\n",
        "millrace_task_tries_lost_total 0\n",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(!metrics.contains("scheduler_turn_seconds_count 0\n"), "{metrics}");
    daemon.terminate(Duration::from_secs(20)).unwrap();

    let (head, document) = collector.received.lock().unwrap()[0].clone();
    assert!(head.starts_with("post /v1/traces ") && head.contains("x-team: secret-of-the-team"), "{head}");
    let basic = format!("authorization: basic {}\r", STANDARD.encode("mill:p@ss-of-it")).to_lowercase();
    assert!(head.contains(&basic) && head.contains(&format!("host: {}\r", collector.address)), "{head}");
    let resource = attributes(&document["resourceSpans"][0]["resource"]);
    assert_eq!(resource["service.name"]["stringValue"], "millrace");
    // Spans are no lines of the log, and neither the header nor the password is shown anywhere.
    assert!(!daemon.stderr().contains("millrace_spans"), "{}", daemon.stderr());
    let listed = home.ok(&["config", "list"]).stdout;
    assert!(!listed.contains("secret-of-the-team") && listed.contains("traces.headers"), "{listed}");
    assert!(!listed.contains("ss-of-it") && listed.contains("http://mill:***@"), "{listed}");
}

#[test]
fn a_collector_that_is_away_holds_nothing_up() {
    let mut home = TestHome::new();
    home.set("MILLRACE__TRACES__ENDPOINT", "http://127.0.0.1:9");
    home.write_dag("one.yaml", "schedule: none\ntasks:\n  good: {operator: bash, bash_command: 'true'}\n");
    let mut scheduler = home.scheduler();
    home.ok(&["dags", "unpause", "one"]);
    home.ok(&["dags", "trigger", "one", "--run-id", "r"]);
    wait_until_blocking("the run ends", PATIENCE, || home.ok(&["dags", "state", "one", "r"]).stdout == "success\n")
        .unwrap();
    scheduler.wait_for_line("spans could not be sent", PATIENCE).unwrap();
    scheduler.terminate(Duration::from_secs(20)).unwrap();
    home.set("MILLRACE__TRACES__ENDPOINT", "collector:4318");
    let refused = home.run(&["scheduler"]).exits(2);
    assert!(refused.stderr.contains("traces.endpoint"), "{}", refused.stderr);
}
