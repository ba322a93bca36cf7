//! What a page costs: 1,000 DAGs, 200 runs of each, five tasks a run.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use crate::figure::{Figures, Target, percentile};
use crate::history;
use crate::home::{BINARY, Home};

const PASSWORD: &str = "as fast as it can be";
/// Looks at a page; the first is not counted.
const LOOKS: usize = 40;
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes over the wire, compressed.
const LARGEST: f64 = 100_000.0;

const PAGES: &[&str] = &[
    "/",
    "/dags",
    "/dags?q=dag_05",
    "/dags?state=failed",
    "/runs",
    "/runs?state=failed",
    "/runs?state=running",
    "/task-instances",
    "/task-instances?state=failed",
    "/assets",
    "/import-errors",
    "/connections",
    "/variables",
    "/pools",
    "/calendars",
    "/jobs",
    "/users",
    "/audit",
    "/operators",
    "/operators/copy",
    "/configuration",
    "/legend",
    "/account",
    "/api",
    "/dags/dag_0500",
    "/dags/dag_0500/graph",
    "/dags/dag_0500/gantt",
    "/dags/dag_0500/calendar",
    "/dags/dag_0500/runs",
    "/dags/dag_0500/backfills",
    "/dags/dag_0500/data",
    "/dags/dag_0500/code",
    "/dags/dag_0500/details",
    "/dags/dag_0500/trigger",
    "/dags/dag_0500/rerun-failed",
    "/dags/dag_0500/runs/past__200",
    "/dags/dag_0500/runs/past__200/change?action=clear",
    "/dags/dag_0500/runs/past__200/tasks/t2",
];

pub fn measure(home: &mut Home, figures: &mut Figures) {
    home.run(&["dags", "list", "-o", "plain"]);
    history::add_to_every_dag(home);
    add_person(home);
    home.start(&["server", "--port", "0"]);
    let line = home.daemon().wait_for_line("serving http://127.0.0.1:", PATIENCE).unwrap();
    let base = line.trim().trim_start_matches("serving ").split(';').next().unwrap_or_default().to_owned();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(true).build().into();
    let who = format!("Basic {}", BASE64_STANDARD.encode(format!("reader:{PASSWORD}")));
    for page in PAGES {
        let mut took = Vec::with_capacity(LOOKS);
        let mut bytes = 0;
        for look in 0..=LOOKS {
            let begin = Instant::now();
            let request = agent.get(format!("{base}{page}")).header("authorization", &who);
            let mut answer = request.header("accept-encoding", "gzip").call().unwrap();
            bytes = answer.body_mut().read_to_vec().unwrap().len();
            if look > 0 {
                took.push(begin.elapsed().as_secs_f64() * 1000.0);
            }
        }
        figures.say(&format!("page {page}, p95"), percentile(took, 0.95), "ms", None, Target::AtMost(50.0));
        figures.say(&format!("page {page}, size"), bytes as f64, "bytes", None, Target::AtMost(LARGEST));
    }
    home.stop();
}

fn add_person(home: &Home) {
    let command = ["users", "create", "reader", "--role", "admin", "--home"];
    let mut adding = Command::new(BINARY)
        .args(command)
        .arg(home.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    adding.stdin.take().unwrap().write_all(format!("{PASSWORD}\n").as_bytes()).unwrap();
    assert!(adding.wait().unwrap().success());
}
