//! A thousand DAGs: read, listed, waited for, idle, and all due at once.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use millrace_store::RunFilter;
use millrace_testkit::free_port;

use crate::figure::{Figures, Target, median, percentile};
use crate::files::MANY;
use crate::home::{Home, timed, wait_for};

/// How long an idle daemon is looked at.
const IDLE: Duration = Duration::from_secs(20);

/// From files that nobody has read to the printed list, by one command.
pub fn first_reading(home: &Home, figures: &mut Figures) {
    let took = timed(|| assert_eq!(count(&home.run(&["dags", "list", "-o", "plain"])), MANY));
    figures.say("1,000 DAG files of 5 tasks read, checked, stored", took, "s", None, Target::AtMost(1.0));
    // So that every file is older than the moment in which it may be written twice.
    std::thread::sleep(Duration::from_secs(3));
    home.run(&["dags", "list", "-o", "plain"]);
}

fn count(list: &str) -> usize {
    list.lines().filter(|line| line.contains("dag_")).count().saturating_sub(usize::from(list.starts_with("dag_id")))
}

pub fn measure(home: &mut Home, figures: &mut Figures) {
    let starts = (0..5).map(|_| start_to_healthy(home)).collect();
    figures.say("start to healthy, 1,000 DAGs", median(starts) * 1000.0, "ms", None, Target::AtMost(300.0));
    let lists = (0..9).map(|_| timed(|| drop(home.run(&["dags", "list", "-o", "plain"])))).collect();
    let bare = (0..9).map(|_| timed(|| drop(home.run(&["version"])))).collect();
    let baseline = median(bare) * 1000.0;
    figures.say("dags list, 1,000 DAGs", median(lists) * 1000.0, "ms", Some(baseline), Target::AtMost(50.0));
    let changes = (0..5).map(|n| changed_file(home, n)).collect();
    figures.say("changed file visible", median(changes) * 1000.0, "ms", None, Target::AtMost(200.0));
    idle(home, figures, "1,000 unpaused DAGs", 60.0);
    home.stop();
}

/// Leaves the daemon running.
fn start_to_healthy(home: &mut Home) -> f64 {
    home.stop();
    let port = free_port().unwrap().to_string();
    let epoch = home.ask(async |store| store.leader().await.unwrap().epoch);
    let took = timed(|| {
        home.start(&["standalone", "--port", &port]);
        let url = format!("http://127.0.0.1:{port}/api/v1/health");
        wait_for("a healthy scheduler", || {
            let answer = ureq::get(&url).call().ok()?.body_mut().read_to_string().ok()?;
            let health: serde_json::Value = serde_json::from_str(&answer).ok()?;
            (health["scheduler"]["status"] == "healthy").then_some(())
        });
    });
    wait_for("the lead", || home.ask(async |store| (store.leader().await.unwrap().epoch > epoch).then_some(())));
    took
}

/// From the saved file to the new version that everybody sees.
fn changed_file(home: &Home, n: usize) -> f64 {
    let dag_id = format!("dag_{n:04}");
    let path = home.dags().join(format!("{dag_id}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap();
    let version = || home.ask(async |store| store.dag(&dag_id, 0).await.unwrap().unwrap().version_number);
    let before = version();
    timed(|| {
        std::fs::write(&path, format!("description: changed {}\n{text}", Utc::now())).unwrap();
        wait_for("the new version", || (version() > before).then_some(()));
        std::fs::write(&path, &text).unwrap();
    })
}

fn idle(home: &mut Home, figures: &mut Figures, what: &str, most_memory: f64) {
    // What the start and the changes set off has to settle.
    std::thread::sleep(Duration::from_secs(3));
    let pid = home.daemon().pid();
    let before = cpu_seconds(pid);
    std::thread::sleep(IDLE);
    let share = (cpu_seconds(pid) - before) / IDLE.as_secs_f64() * 100.0;
    figures.say(&format!("idle, {what}: of one core"), share, "%", None, Target::AtMost(1.0));
    figures.say(&format!("idle, {what}: memory"), resident(pid), "MiB PSS", None, Target::AtMost(most_memory));
}

pub fn idle_demo(home: &mut Home, figures: &mut Figures) {
    home.start(&["standalone", "--demo", "--port", "0"]);
    wait_for("the demo's run", || {
        home.ask(async |store| {
            let newest = RunFilter { limit: 2 * MANY as u64, ..RunFilter::default() };
            let runs = store.runs(&newest).await.unwrap().rows;
            (!runs.is_empty() && runs.iter().all(|run| run.state.is_finished())).then_some(())
        })
    });
    idle(home, figures, "demo", 30.0);
    home.stop();
}

/// All DAGs are due with the minute.
pub fn all_due(home: &mut Home, figures: &mut Figures) {
    home.run(&["dags", "list", "-o", "plain"]);
    home.start(&["scheduler"]);
    let at_ease = Instant::now();
    // A minute's turn that begins when the scheduler has been there for a while.
    let due = wait_for("the minute", || {
        let now = Utc::now();
        let next = DateTime::from_timestamp(now.timestamp().div_euclid(60) * 60 + 60, 0)?;
        let has_settled = at_ease.elapsed() > Duration::from_secs(10);
        (has_settled && next - now > TimeDelta::seconds(3)).then_some(next)
    });
    let runs = wait_for("a run of each DAG", || {
        if Utc::now() < due + TimeDelta::seconds(3) {
            std::thread::sleep(Duration::from_millis(500));
            return None;
        }
        home.ask(async |store| {
            let newest = RunFilter { limit: 2 * MANY as u64, ..RunFilter::default() };
            let runs = store.runs(&newest).await.unwrap().rows;
            let of_minute: Vec<_> = runs.into_iter().filter(|run| run.run_after == due).collect();
            let all = of_minute.len() == MANY && of_minute.iter().all(|run| run.state.is_finished());
            all.then_some(of_minute)
        })
    });
    let keys: Vec<i64> = runs.iter().map(|run| run.key).collect();
    let instances = home.ask(async |store| store.instances_of_runs(&keys).await.unwrap());
    let first = instances.iter().filter(|instance| instance.task_id.as_str() == "t0");
    let delays = first.map(|instance| (instance.start_date.unwrap() - due).num_microseconds().unwrap() as f64 / 1e6);
    let delays: Vec<f64> = delays.collect();
    assert_eq!(delays.len(), MANY);
    let name = "1,000 DAGs due at one second, p99 to the first task";
    figures.say(name, percentile(delays, 0.99), "s", None, Target::AtMost(1.0));
    home.stop();
}

/// User and system time so far.
fn cpu_seconds(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text.rsplit(") ").next().unwrap().split(' ').collect();
    // The kernel counts in hundredths.
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) / 100.0
}

/// Proportional set size in MiB.
fn resident(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}
