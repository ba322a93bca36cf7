//! Callbacks: who is told how runs and tries end.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use hmac::{Hmac, KeyInit, Mac};
use millrace_testkit::wait_until_blocking;
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{PATIENCE, TestHome};

const SECRET: &str = "signing-key-of-the-hooks";

struct Request {
    headers: BTreeMap<String, String>,
    body: String,
}

/// Keeps what is posted to it; refuses the first.
struct Receiver {
    url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let url = format!("http://{}/hooks?team=data", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    stream.read_line(&mut line).unwrap();
                    if line.trim().is_empty() {
                        break;
                    }
                    lines.push(line.trim().to_owned());
                }
                let mut headers: BTreeMap<String, String> = lines[1..]
                    .iter()
                    .filter_map(|line| line.split_once(": "))
                    .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                    .collect();
                headers.insert("request".to_owned(), lines[0].clone());
                let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let mut kept = kept.lock().unwrap();
                let answer = if kept.is_empty() { "503 Later" } else { "204 Taken" };
                kept.push(Request { headers, body: String::from_utf8(body).unwrap() });
                write!(stream.get_mut(), "HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n").unwrap();
            }
        });
        Self { url, requests }
    }
}

fn signature(body: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={hex}")
}

#[test]
#[expect(clippy::too_many_lines, reason = "one life of a run, told in order")]
fn case_54_callbacks_are_told_of_each_repetition_and_of_the_final_failure_once() {
    let home = TestHome::new();
    let receiver = Receiver::start();
    let connection = json!({"conn_type": "http", "host": receiver.url, "password": SECRET}).to_string();
    home.ok(&["connections", "add", "hooks", "--conn-json", &connection]);
    let told = home.file("told");
    let command = format!("echo \"$EVENT ${{TASK_ID:-run}} ${{MILLRACE_HOME:-}}\" >> {}", told.display());
    home.write_dag(
        "d.yaml",
        &format!(
            "schedule: none\non_failure:\n  - webhook: hooks\n  - command: '{command}'\ndefault_args:\n  on_retry: {{webhook: hooks}}\n  on_failure: {{webhook: hooks}}\ntasks:\n  bad: {{operator: bash, bash_command: exit 3, retries: 2, retry_delay: 0}}\n  good:\n    operator: empty\n    on_success: [{{command: '{command}'}}, {{webhook: nowhere}}, {{command: 'echo too bad >&2; exit 9'}}]\n"
        ),
    );
    home.ok(&["dags", "unpause", "d"]);
    let _scheduler = home.scheduler();
    home.run(&["dags", "trigger", "d", "-r", "one", "--wait"]).exits(1);
    let list = |unsent: bool| {
        let command: &[&str] =
            if unsent { &["alerts", "notifications", "--unsent"] } else { &["alerts", "notifications"] };
        home.json(command).as_array().unwrap().clone()
    };
    wait_until_blocking("everybody was told who can be", PATIENCE, || list(true).len() == 2).unwrap();

    let all = list(false);
    let mut told_of: Vec<String> = all
        .iter()
        .map(|row| {
            format!(
                "{} {} {}",
                row["event"].as_str().unwrap(),
                row["task_id"].as_str().unwrap_or("run"),
                row["callback"].as_str().unwrap()
            )
        })
        .collect();
    told_of.sort();
    let expected = [
        "failure bad webhook hooks",
        "failure run command",
        "failure run webhook hooks",
        "retry bad webhook hooks",
        "retry bad webhook hooks",
        "success good command",
        "success good command",
        "success good webhook nowhere",
    ];
    assert_eq!(told_of, expected);
    wait_until_blocking("each was attempted", PATIENCE, || list(true).iter().all(|row| !row["error"].is_null()))
        .unwrap();
    let errors: Vec<String> = list(true).iter().map(|row| row["error"].as_str().unwrap().to_owned()).collect();
    assert!(errors.iter().any(|error| error.contains("there is no connection 'nowhere'")), "{errors:?}");
    assert!(errors.iter().any(|error| error.contains("too bad")), "{errors:?}");
    let refused = home.run(&["alerts", "retry", &list(true)[0]["id"].to_string()]).exits(1);
    assert!(refused.stderr.contains("none of these was given up"), "{}", refused.stderr);

    let mut lines: Vec<String> = std::fs::read_to_string(&told).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["failure run ", "success good "], "and nothing of the daemon's environment");

    let requests = receiver.requests.lock().unwrap();
    assert_eq!(requests.len(), 5, "four, and the one that was refused again");
    let mut deliveries: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for request in requests.iter() {
        assert_eq!(request.headers["request"], "POST /hooks?team=data HTTP/1.1");
        assert_eq!(request.headers["x-millrace-signature"], signature(&request.body));
        let body: Value = serde_json::from_str(&request.body).unwrap();
        assert_eq!(request.headers["x-millrace-event"], body["event"].as_str().unwrap());
        deliveries.entry(&request.headers["x-millrace-delivery"]).or_default().push(body);
    }
    assert_eq!(deliveries.len(), 4);
    assert!(deliveries.values().all(|bodies| bodies.windows(2).all(|two| two[0] == two[1])), "repeated as it was");
    let tries = |event: &str| {
        let mut tries: Vec<i64> = deliveries
            .values()
            .map(|bodies| &bodies[0])
            .filter(|body| body["event"] == event)
            .map(|body| body["try_number"].as_i64().unwrap_or(0))
            .collect();
        tries.sort_unstable();
        tries
    };
    assert_eq!((tries("retry"), tries("failure")), (vec![1, 2], vec![0, 3]), "0: the run itself");
    // What chat programs show.
    let texts: Vec<&str> = deliveries.values().map(|bodies| bodies[0]["text"].as_str().unwrap()).collect();
    assert!(texts.iter().any(|text| text.starts_with("retry: d one, task bad, try 2: ")), "{texts:?}");
    assert!(texts.iter().any(|text| text.starts_with("failure: d one: ")), "{texts:?}");
}

#[test]
fn a_mark_tells_nobody_and_bad_callbacks_are_refused() {
    let home = TestHome::new();
    home.write_dag(
        "d.yaml",
        "schedule: none\non_failure: {command: 'true'}\ntasks: {a: {operator: noop, on_failure: {command: 'true'}}}\n",
    );
    home.ok(&["dags", "trigger", "d", "-r", "one"]);
    home.ok(&["tasks", "mark", "d", "a", "one", "--state", "failed"]);
    home.ok(&["dags", "mark", "d", "one", "--state", "failed"]);
    assert_eq!(home.json(&["alerts", "notifications"]), json!([]));
    for (text, message) in [
        ("on_failure: mail", "must be {webhook"),
        ("on_failure: {webhook: a, command: b}", "either a webhook or a command"),
        ("on_failure: [{webhok: a}]", "did you mean 'webhook'"),
        ("on_retry: {command: a}", "on_retry"),
        ("default_args: {on_alert: {command: a}}", "on_alert"),
    ] {
        home.write_dag("bad.yaml", &format!("schedule: none\n{text}\ntasks: {{a: {{operator: noop}}}}\n"));
        let said = home.run(&["validate"]).exits(1).stdout;
        assert!(said.contains(message), "{text}: {said}");
    }
}

#[test]
fn a_task_tells_when_a_try_begins_and_when_it_skips_itself() {
    let home = TestHome::new();
    let told = home.file("told");
    let command = format!("{{command: 'echo \"$EVENT $TASK_ID $TRY_NUMBER $REASON\" >> {}'}}", told.display());
    home.write_dag(
        "d.yaml",
        &format!(
            "schedule: none\ndefault_args:\n  on_execute: {command}\n  on_skipped: {command}\ntasks:\n  a: {{operator: bash, bash_command: exit 99}}\n  b: {{operator: empty, depends_on: [a]}}\n"
        ),
    );
    home.ok(&["dags", "unpause", "d"]);
    let _scheduler = home.scheduler();
    home.ok(&["dags", "trigger", "d", "-r", "one", "--wait"]);
    let lines = || -> Vec<String> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    wait_until_blocking("both were told of", PATIENCE, || lines().len() == 2).unwrap();
    let lines = lines();
    assert_eq!(lines[0].trim(), "execute a 1");
    assert!(lines[1].starts_with("skipped a 1 ") && lines[1].contains("99"), "{lines:?}");
    let all = home.json(&["alerts", "notifications"]);
    assert_eq!(all.as_array().unwrap().len(), 2, "what is skipped because of a tells nobody: {all}");
}
