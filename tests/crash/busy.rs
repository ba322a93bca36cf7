//! A home with much to do, and what must be true of it afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use millrace_model::change::RunKey;
use millrace_model::state::{RunState, TaskState};
use millrace_planner::MAX_LOST_WORKERS;
use millrace_store::{InstanceRow, RunFilter, RunRow, Store, StoreOptions};
use millrace_testkit::{Daemon, wait_until_blocking};
use tokio::runtime::Runtime;

use crate::support::{PATIENCE, TestHome};

/// Each task holds a lock of its own while it works: one that finds it taken runs beside another try of itself.
const WORK: &str = r#"flock -n -E 75 "$EFFECTS/{{ dag.dag_id }}.{{ run_id }}.{{ task.task_id }}" sh -c 'echo "begin $0" >> "$EFFECTS/log"; sleep DELAY; echo "end $0" >> "$EFFECTS/log"' "{{ dag.dag_id }}/{{ run_id }}/{{ task.task_id }}" || { code=$?; [ $code != 75 ] || echo "overlap {{ dag.dag_id }}/{{ run_id }}/{{ task.task_id }}" >> "$EFFECTS/log"; exit $code; }"#;

/// Task, what it depends on, seconds of sleep.
type TaskLine = (&'static str, &'static str, &'static str);

const CHAIN: &[TaskLine] = &[("a", "", "0.02"), ("b", "a", "0.01"), ("c", "b", "0.03"), ("d", "c", "0")];
const FAN: &[TaskLine] = &[
    ("first", "", "0.01"),
    ("w1", "first", "0.04"),
    ("w2", "first", "0.02"),
    ("w3", "first", "0"),
    ("w4", "first", "0.01"),
    ("last", "w1, w2, w3, w4", "0.01"),
];

fn dag_file(schedule: &str, tasks: &[TaskLine]) -> String {
    let mut text = format!(
        "schedule: {schedule}\nstart_date: 2024-01-01\ncatchup: false\nmax_active_runs: 4\ndefault_args: {{retries: 1, retry_delay: 0, inherit_env: true}}\ntasks:\n"
    );
    for (task_id, upstream, delay) in tasks {
        let command = WORK.replace("DELAY", delay);
        text += &format!(
            "  {task_id}:\n    operator: bash\n    depends_on: [{upstream}]\n    bash_command: |\n      {command}\n"
        );
    }
    // The first try fails, the second does its work: its number survives kills.
    text += &format!(
        "  flaky:\n    operator: bash\n    bash_command: |\n      [ {{{{ try_number }}}} -ge 2 ] || exit 1\n      {}\n",
        WORK.replace("DELAY", "0.01")
    );
    text
}

pub struct Busy {
    pub home: TestHome,
    url: String,
    runs_asked_for: usize,
}

impl Busy {
    /// `url`: of an empty PostgreSQL database; SQLite without.
    pub fn new(url: Option<String>) -> Self {
        let mut home = TestHome::new();
        let effects = home.file("effects");
        fs::create_dir(&effects).unwrap();
        fs::write(effects.join("log"), "").unwrap();
        home.set("EFFECTS", effects.to_str().unwrap());
        home.set("MILLRACE__CORE__DAGS_ARE_PAUSED_AT_CREATION", "false");
        // As a person would set them who wants lost tries back soon.
        home.set("MILLRACE__SCHEDULER__LEASE_TIMEOUT", "3");
        home.set("MILLRACE__SCHEDULER__HEARTBEAT_INTERVAL", "1");
        home.set("MILLRACE__SCHEDULER__SLOW_TICK", "1");
        let sqlite = format!("sqlite://{}", home.file("millrace.db").display());
        if let Some(url) = &url {
            home.set("MILLRACE__DATABASE__URL", url);
        }
        home.write_dag("chain.yaml", &dag_file("none", CHAIN));
        home.write_dag("fan.yaml", &dag_file("none", FAN));
        home.write_dag("past.yaml", &dag_file("'@daily'", CHAIN));
        home.ok(&["db", "migrate"]);
        // So that the DAGs are known before the first daemon.
        home.ok(&["dags", "list"]);
        Self { home, url: url.unwrap_or(sqlite), runs_asked_for: 0 }
    }

    pub fn daemon(&self) -> Daemon {
        self.home.daemon(&["scheduler"])
    }

    pub fn trigger(&mut self, dag_id: &str) {
        self.runs_asked_for += 1;
        self.home.ok(&["dags", "trigger", dag_id, "--run-id", &format!("r{}", self.runs_asked_for)]);
    }

    pub fn backfill(&self, start: &str, end: &str) {
        self.home.ok(&["dags", "backfill", "past", "-s", start, "-e", end, "--max-active-runs", "4"]);
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.home.file("effects/log")).unwrap()
    }

    /// How many lines tasks have written.
    pub fn effects(&self) -> usize {
        self.log().lines().count()
    }

    /// Waits until so many more lines were written than there are, or for a moment when nothing more is to be done.
    pub fn wait_for_effects(&self, lines: usize) {
        let before = self.effects();
        let _ = wait_until_blocking("tasks work", Duration::from_secs(5), || self.effects() >= before + lines);
    }

    /// No task has done its work more often than it was given to a worker that died with it, and once. For daemons that
    /// follow each other: one that takes over gives tries again that nobody counts.
    pub fn check_ends(&self) {
        let (log, runs) = (self.log(), self.runs());
        let mut ends: BTreeMap<&str, u32> = BTreeMap::new();
        for name in log.lines().filter_map(|line| line.strip_prefix("end ")) {
            *ends.entry(name).or_default() += 1;
        }
        let runs: BTreeMap<RunKey, &RunRow> = runs.iter().map(|run| (run.key, run)).collect();
        for row in self.instances().iter().filter(|row| row.state == TaskState::Success) {
            let run = runs[&row.run];
            let name = format!("{}/{}/{}", run.dag_id, run.run_id, row.task_id);
            let count = ends.get(name.as_str()).copied().unwrap_or_default();
            let most = 1 + row.lost_workers;
            assert!(
                (1..=most).contains(&count),
                "{name} was done {count} times, at most {most} is right: {row:#?}\n{log}"
            );
        }
    }

    fn read<T>(&self, work: impl AsyncFnOnce(Store) -> T) -> T {
        Runtime::new().unwrap().block_on(async {
            let options = StoreOptions { url: self.url.clone(), max_connections: 2, home: None };
            work(Store::open_read_only(&options).await.unwrap()).await
        })
    }

    pub fn runs(&self) -> Vec<RunRow> {
        self.read(async |store| store.runs(&RunFilter { limit: 10_000, ..RunFilter::default() }).await.unwrap().rows)
    }

    pub fn instances(&self) -> Vec<InstanceRow> {
        let keys: Vec<RunKey> = self.runs().iter().map(|run| run.key).collect();
        self.read(async |store| store.instances_of_runs(&keys).await.unwrap())
    }

    /// Waits until every run has ended.
    pub fn wait_until_all_ended(&self, daemon: &mut Daemon) {
        let ended =
            wait_until_blocking("every run ends", PATIENCE, || self.runs().iter().all(|run| run.state.is_finished()));
        let unfinished: Vec<RunRow> = self.runs().into_iter().filter(|run| !run.state.is_finished()).collect();
        assert!(ended.is_ok(), "{unfinished:#?}\n{}", daemon.stderr());
    }

    /// Every run has ended, every task has succeeded exactly once (or lost its worker once too often), and no try ran
    /// beside another of its task. Returns how many tries were lost.
    pub fn check(&self) -> u32 {
        let log = self.log();
        assert!(!log.contains("overlap"), "tries ran at the same time:\n{log}");
        let runs: BTreeMap<RunKey, RunRow> = self.runs().into_iter().map(|run| (run.key, run)).collect();
        assert!(runs.len() >= self.runs_asked_for, "a run is gone: {runs:#?}");
        let instances = self.instances();
        let mut given_up = BTreeMap::new();
        for row in instances.iter().filter(|row| row.state == TaskState::Failed) {
            assert!(row.lost_workers > MAX_LOST_WORKERS, "failed for another reason: {row:#?}");
            given_up.insert(row.run, row.task_id.clone());
        }
        for row in &instances {
            let name = format!("{}/{}/{}", runs[&row.run].dag_id, runs[&row.run].run_id, row.task_id);
            match row.state {
                TaskState::Success => {
                    let tries = self.tries_that_succeeded(row);
                    assert_eq!(tries, 1, "successes of {name}");
                    let ends = log.lines().filter(|line| *line == format!("end {name}")).count();
                    assert!(ends >= 1, "{name} is a success and did nothing:\n{log}");
                }
                TaskState::Failed | TaskState::UpstreamFailed => assert!(given_up.contains_key(&row.run), "{row:#?}"),
                _ => panic!("{name} has not ended: {row:#?}"),
            }
        }
        for run in runs.values() {
            let expected = if given_up.contains_key(&run.key) { RunState::Failed } else { RunState::Success };
            assert_eq!(run.state, expected, "{run:#?}");
        }
        instances.iter().map(|row| row.lost_workers).sum()
    }

    fn tries_that_succeeded(&self, row: &InstanceRow) -> usize {
        // One that ended with its first try, and lost no worker, has but one row.
        if row.try_number == 1 && row.lost_workers == 0 {
            return 1;
        }
        let tries = self.read(async |store| store.tries(row.key).await.unwrap());
        tries.iter().filter(|it| it.state == TaskState::Success).count()
    }
}

/// SplitMix64: the moments of a run of this test, from its seed.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }
}
