//! Single runs: a chain, a fan-out, ten thousand tasks that do nothing, backfills.

use std::sync::atomic::{AtomicU64, Ordering};

use chrono::{DateTime, Days, NaiveDate, TimeDelta, Utc};

use crate::figure::{Figures, Target, median};
use crate::home::{Home, timed};
use crate::machine;

const REPEATS: usize = 5;
const CHAIN: u32 = 40;
const FAN: u32 = 200;
const SLOTS: u32 = 16;

/// A finished run.
struct Ran {
    /// Start and end of each task, by start.
    tasks: Vec<(DateTime<Utc>, DateTime<Utc>)>,
    /// From its start to its end.
    whole: f64,
    /// From its being asked for by a command, which has a connection to open first, to its start.
    wait: f64,
}

impl Ran {
    /// Milliseconds from each task's end to the next one's start.
    fn gaps(&self) -> impl Iterator<Item = f64> {
        self.tasks.windows(2).map(|pair| seconds(pair[1].0 - pair[0].1) * 1000.0)
    }

    /// From the first task's start to the last one's end.
    fn working(&self) -> f64 {
        let last = self.tasks.iter().map(|(_, end)| *end).max().unwrap();
        seconds(last - self.tasks[0].0)
    }
}

fn seconds(delta: TimeDelta) -> f64 {
    delta.num_microseconds().unwrap() as f64 / 1e6
}

pub fn measure(home: &Home, figures: &mut Figures) {
    let is_postgres = home.url.starts_with("postgres");
    chain(home, figures, if is_postgres { 4.0 } else { 2.0 });
    fan_out(home, figures);
    noops(home, figures, if is_postgres { 3_000.0 } else { 5_000.0 });
    backfill(home, figures, 60, 1.0);
    backfill(home, figures, 365, 5.0);
}

fn triggered(home: &Home, dag: &str) -> Ran {
    let run_id = format!("bench-{}", Utc::now().timestamp_micros());
    home.run(&["dags", "trigger", dag, "--run-id", &run_id, "--wait"]);
    home.ask(async |store| {
        let run = store.run(dag, &run_id).await.unwrap().unwrap();
        let instances = store.instances(run.key).await.unwrap();
        let mut tasks: Vec<_> = instances.iter().map(|it| (it.start_date.unwrap(), it.end_date.unwrap())).collect();
        tasks.sort();
        let (start, end) = (run.start_date.unwrap(), run.end_date.unwrap());
        Ran { tasks, whole: seconds(end - start), wait: seconds(start - run.created_at) }
    })
}

/// The baseline is measured before each run, so that what else the machine does hits both.
fn beside(baseline: impl Fn() -> f64, run: impl Fn() -> Ran) -> (f64, Vec<Ran>) {
    let pairs: Vec<(f64, Ran)> = (0..REPEATS).map(|_| (baseline(), run())).collect();
    let (baselines, runs): (Vec<f64>, Vec<Ran>) = pairs.into_iter().unzip();
    (median(baselines), runs)
}

fn chain(home: &Home, figures: &mut Figures, target: f64) {
    let (baseline, runs) = beside(|| machine::shells(CHAIN), || triggered(home, "chain"));
    let gap = median(runs.iter().flat_map(Ran::gaps).collect());
    figures.say("chain of 40 shells, median gap", gap, "ms", None, Target::AtMost(target));
    let whole = median(runs.iter().map(|run| run.whole).collect());
    figures.say("chain of 40 shells, whole run", whole, "s", Some(baseline), Target::AtMost(baseline * 2.0));
    let wait = median(runs.iter().map(|run| run.wait).collect());
    figures.say("chain of 40 shells, from the command to the run's start", wait, "s", None, None);
}

fn fan_out(home: &Home, figures: &mut Figures) {
    let (baseline, runs) = beside(|| machine::shells_abreast(FAN, SLOTS), || triggered(home, "fan"));
    let whole = median(runs.iter().map(|run| run.whole).collect());
    figures.say("fan-out of 200 shells at 16 slots", whole, "s", Some(baseline), Target::AtMost(baseline * 2.0));
}

fn noops(home: &Home, figures: &mut Figures, target: f64) {
    let commits = machine::commits(home);
    let rates = (0..3).map(|_| triggered(home, "noops")).map(|run| run.tasks.len() as f64 / run.working());
    let rate = median(rates.collect());
    figures.say("10,000 noop tasks", rate, "tasks/s", Some(commits), Target::AtLeast(target));
}

fn backfill(home: &Home, figures: &mut Figures, runs: u32, target: f64) {
    // Each time dates that have no run yet.
    static USED: AtomicU64 = AtomicU64::new(0);
    let first: NaiveDate = "1990-01-01".parse().unwrap();
    let all = (0..3).map(|_| {
        let start = first + Days::new(USED.fetch_add(u64::from(runs), Ordering::Relaxed));
        let (from, to) = (start.to_string(), (start + Days::new(u64::from(runs) - 1)).to_string());
        let range = ["-s", &from, "-e", &to, "--max-active-runs", "16", "--ignore-bounds", "--end-inclusive"];
        let arguments = [&["dags", "backfill", "backfilled"][..], &range, &["--wait"]].concat();
        timed(|| drop(home.run(&arguments)))
    });
    let whole = median(all.collect());
    let baseline = machine::shells_abreast(runs * 3, SLOTS);
    let name = format!("backfill of {runs} runs x 3 shells");
    figures.say(&name, whole, "s", Some(baseline), Target::AtMost(target));
}
