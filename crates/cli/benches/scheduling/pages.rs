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

/// What stands for the names in a page's address.
const NAMES: &[(&str, &str)] = &[
    ("{dag_id}", "dag_0500"),
    ("{run_id}", "past__200"),
    ("{task_id}", "t2"),
    ("/operators/{name}", "/operators/copy"),
];
/// Pages of their own cost for what is asked of them.
const FILTERED: &[&str] = &[
    "/dags?q=dag_05",
    "/dags?state=failed",
    "/runs?state=failed",
    "/runs?state=running",
    "/task-instances?state=failed",
];

/// Every page but those of things that are not here: connections.
fn pages() -> Vec<String> {
    let filled = |page: String| NAMES.iter().fold(page, |page, (name, value)| page.replace(name, value));
    let whole = millrace_server::page_addresses().into_iter().map(filled).filter(|page| !page.contains('{'));
    // A change is asked for by what it is.
    let whole = whole.map(|page| if page.ends_with("/change") { format!("{page}?action=clear") } else { page });
    whole.chain(FILTERED.iter().map(|page| (*page).to_owned())).collect()
}

pub fn measure(home: &mut Home, figures: &mut Figures) {
    home.run(&["dags", "list", "-o", "plain"]);
    history::add_to_every_dag(home);
    add_person(home);
    home.start(&["server", "--port", "0"]);
    let line = home.daemon().wait_for_line("serving http://127.0.0.1:", PATIENCE).unwrap();
    let base = line.trim().trim_start_matches("serving ").split(';').next().unwrap_or_default().to_owned();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(true).build().into();
    let who = format!("Basic {}", BASE64_STANDARD.encode(format!("reader:{PASSWORD}")));
    for page in pages() {
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
