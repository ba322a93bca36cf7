//! `make bench`: what scheduling costs, on SQLite and on PostgreSQL, one JSON line per figure, each beside a baseline
//! measured in the same run. Durability is on: SQLite `synchronous=FULL`, PostgreSQL `synchronous_commit=on`.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and fails by panicking")]

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use millrace_testkit::{Daemon, Postgres, PrivatePostgres};
use serde_json::{Value, json};

const BINARY: &str = env!("CARGO_BIN_EXE_millrace");

fn main() {
    let shells = baseline("40 shells one after another", "sh", &["-c", "for i in $(seq 40); do sh -c true; done"]);
    let fan = baseline("200 shells, 16 at a time", "sh", &["-c", "seq 200 | xargs -P16 -I{} sh -c true"]);
    for database in ["sqlite", "postgres"] {
        let server: Option<PrivatePostgres> = (database == "postgres").then(|| Postgres::private().unwrap());
        let bench = Bench::start(database, server.as_ref());
        bench.chain(shells);
        bench.fan_out(fan);
        bench.noops();
        bench.backfill(60, 1.0);
        bench.backfill(365, 5.0);
        bench.start_up();
    }
}

/// Seconds of the best of three.
fn baseline(what: &str, program: &str, args: &[&str]) -> f64 {
    let seconds = (0..3)
        .map(|_| {
            let begin = Instant::now();
            assert!(Command::new(program).args(args).status().unwrap().success(), "{what}");
            begin.elapsed().as_secs_f64()
        })
        .fold(f64::INFINITY, f64::min);
    println!("{}", json!({"figure": what, "seconds": seconds, "kind": "baseline"}));
    seconds
}

/// Start and end of each task, by start.
type Spans = Vec<(DateTime<Utc>, DateTime<Utc>)>;

struct Bench<'a> {
    database: &'a str,
    daemon: Daemon,
}

impl<'a> Bench<'a> {
    fn start(database: &'a str, server: Option<&PrivatePostgres>) -> Self {
        let home = tempfile::tempdir().unwrap().keep();
        let dags = home.join("dags");
        std::fs::create_dir_all(&dags).unwrap();
        for (name, text) in dag_files() {
            std::fs::write(dags.join(name), text).unwrap();
        }
        let mut config = "dags_are_paused_at_creation = false\n[core]\nparallelism = 16\n".to_owned();
        if let Some(server) = server {
            let database = server.create_database().unwrap();
            writeln!(config, "[database]\nurl = \"{}\"", database.url()).unwrap();
            // The server goes away as a whole.
            std::mem::forget(database);
        }
        std::fs::write(home.join("millrace.toml"), config).unwrap();
        run(&home, &["db", "migrate"]);
        let daemon = Daemon::builder(BINARY).args(["scheduler"]).home(&home).spawn().unwrap();
        let bench = Self { database, daemon };
        bench.wait_until_led();
        bench
    }

    fn home(&self) -> &Path {
        self.daemon.home()
    }

    /// A run that is waited for can only succeed with a scheduler there.
    fn wait_until_led(&self) {
        for _ in 0..100 {
            if try_run(self.home(), &["dags", "trigger", "warm_up", "--wait"]).is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("no scheduler came up:\n{}", self.daemon.stderr());
    }

    fn say(&self, figure: &str, mut values: Value) {
        values["figure"] = json!(figure);
        values["database"] = json!(self.database);
        println!("{values}");
    }

    /// Start and end of each task of a run, by start.
    fn spans(&self, dag: &str, run_id: &str) -> Spans {
        let text = run(self.home(), &["tasks", "states-for-dag-run", dag, run_id, "-o", "json"]);
        let rows: Vec<Value> = serde_json::from_str(&text).unwrap();
        let at = |row: &Value, key: &str| row[key].as_str().unwrap().parse::<DateTime<Utc>>().unwrap();
        let mut spans: Vec<_> = rows
            .iter()
            .map(|row| {
                assert_eq!(row["state"], "success", "{row}");
                (at(row, "start_date"), at(row, "end_date"))
            })
            .collect();
        spans.sort();
        spans
    }

    fn triggered(&self, dag: &str, run_id: &str) -> (Spans, f64) {
        run(self.home(), &["dags", "trigger", dag, "--run-id", run_id, "--wait"]);
        let spans = self.spans(dag, run_id);
        let first = spans.iter().map(|(start, _)| *start).min().unwrap();
        let last = spans.iter().map(|(_, end)| *end).max().unwrap();
        (spans, seconds(last - first))
    }

    fn chain(&self, baseline: f64) {
        let (spans, whole) = self.triggered("chain", "bench-1");
        let mut gaps: Vec<f64> = spans.windows(2).map(|pair| seconds(pair[1].0 - pair[0].1) * 1000.0).collect();
        gaps.sort_by(f64::total_cmp);
        self.say(
            "chain of 40: median gap",
            json!({"milliseconds": gaps[gaps.len() / 2], "worst": gaps[gaps.len() - 1]}),
        );
        self.say("chain of 40: whole run", json!({"seconds": whole, "baseline": baseline, "ratio": whole / baseline}));
    }

    fn fan_out(&self, baseline: f64) {
        let (_, whole) = self.triggered("fan", "bench-1");
        self.say(
            "fan-out of 200 at 16 slots",
            json!({"seconds": whole, "baseline": baseline, "ratio": whole / baseline}),
        );
    }

    fn noops(&self) {
        let (spans, whole) = self.triggered("noops", "bench-1");
        self.say(
            "noop tasks",
            json!({"tasks": spans.len(), "seconds": whole, "tasks_per_second": spans.len() as f64 / whole}),
        );
    }

    fn backfill(&self, runs: u32, target: f64) {
        let dag = format!("backfill_{runs}");
        let start: chrono::NaiveDate = "2023-01-01".parse().unwrap();
        let end = start + chrono::Days::new(runs.into());
        let (start, end) = (start.to_string(), end.to_string());
        let begin = Instant::now();
        run(self.home(), &["dags", "backfill", &dag, "-s", &start, "-e", &end, "--max-active-runs", "16", "--wait"]);
        let whole = begin.elapsed().as_secs_f64();
        self.say(&format!("backfill of {runs} runs x 3"), json!({"seconds": whole, "target": target}));
    }

    fn start_up(&self) {
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let begin = Instant::now();
            run(self.home(), &["dags", "list", "-o", "json"]);
            best = best.min(begin.elapsed().as_secs_f64());
        }
        self.say("dags list", json!({"milliseconds": best * 1000.0}));
        self.say("resident memory", json!({"pss_mib": resident(self.daemon.pid())}));
    }
}

fn seconds(delta: chrono::TimeDelta) -> f64 {
    delta.num_microseconds().unwrap() as f64 / 1e6
}

/// Proportional set size in MiB.
fn resident(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

fn try_run(home: &Path, args: &[&str]) -> Option<String> {
    let output = Command::new(BINARY).args(args).arg("--home").arg(home).stderr(Stdio::piped()).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
}

fn run(home: &Path, args: &[&str]) -> String {
    let output = Command::new(BINARY).args(args).arg("--home").arg(home).output().unwrap();
    assert!(output.status.success(), "millrace {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn dag_files() -> Vec<(String, String)> {
    let dag = |schedule: &str, tasks: &str| {
        format!("schedule: {schedule}\nstart_date: 2020-01-01\nmax_active_tasks: 100000\ntasks:\n{tasks}")
    };
    let task = |name: String, operator: &str, after: Option<String>| {
        let after = after.map(|after| format!("    depends_on: [{after}]\n")).unwrap_or_default();
        let command = if operator == "bash" { "    bash_command: \"true\"\n" } else { "" };
        format!("  {name}:\n    operator: {operator}\n{command}{after}")
    };
    let many =
        |count: u32, operator: &str| (0..count).map(|n| task(format!("t{n}"), operator, None)).collect::<String>();
    let chain = |count: u32| {
        (0..count).map(|n| task(format!("t{n}"), "bash", n.checked_sub(1).map(|m| format!("t{m}")))).collect::<String>()
    };
    vec![
        ("warm_up.yaml".to_owned(), dag("none", &many(1, "noop"))),
        ("chain.yaml".to_owned(), dag("none", &chain(40))),
        ("fan.yaml".to_owned(), dag("none", &many(200, "bash"))),
        ("noops.yaml".to_owned(), dag("none", &many(10_000, "noop"))),
        ("backfill_60.yaml".to_owned(), dag("\"@daily\"", &chain(3))),
        ("backfill_365.yaml".to_owned(), dag("\"@daily\"", &chain(3))),
    ]
}
