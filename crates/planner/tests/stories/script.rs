//! Planner stories as text: the set-up, then each step behind a `>`, below it what was decided because of it.
//!
//! ```text
//! dag d none
//! - a
//! - b after a
//! > at 2024-01-02
//! > trigger d
//! run d/2024-01-02 running
//! d/2024-01-02/a try 1
//! > ok d 2024-01-02 a
//! d/2024-01-02/a success
//! d/2024-01-02/b try 1
//! > why d 2024-01-02 b
//! yes, try 1 is running
//! ```
//!
//! What may stand in the set-up and behind a `>`:
//!
//! ```text
//! dag d @daily from 2024-01-01 catchup runs 1 tasks 16     (also: paused, every 6h, cron 0_3,16_*_*_*, until DATE,
//!                                                          misfire none, misfire within:6h,max:10)
//!   a
//!   (a DAG also: fail_fast; a task also: setup, teardown, fails_run, past, past_and_downstream, skips_late)
//!   b after a,c retries 2 delay 300s rule all_done pool p slots 2 weight 5 inline
//!   c backoff 2 at_most 30m rule_of_weight absolute per_dag 1 per_run 1 key eu:2 (with DATE for the run's date)
//! dag d none tells             its callbacks are told, and of a task `a tells` too
//! dag d none timeout 10m       its runs may take so long
//! pool p 2          executor 4          backfill d 7 runs 2 2024-01-05 2024-01-06
//! at 2024-01-04T00:00          trigger d       pause d       unpause d
//! ok d 2024-01-01 a follow b,c (or skip_children, skip_descendants: what the task chose)
//! ok d 2024-01-01 a            fail, fail! (no retry), skip, lost, later MOMENT (looks again), stop REASON: a running try ends
//! ok d 2024-01-01 a = [1,2]    with a result; b over a, b over [1,2]: mapped; dag d none group g a: its tasks `in g` too
//! out d 2024-01-01 a           it waits outside, without a slot; back: and wants one again
//! why d 2024-01-01 a           the first condition that is not met
//! change d @daily from DATE    another version of the DAG, with the same tasks
//! next d                       the same for the DAG's next scheduled run
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use millrace_model::alert::{Deadline, DeadlineReference, LongerThanUsual};
use millrace_model::asset::{AssetCondition, AssetEvent, AssetName};
use millrace_model::calendar::{Calendar, CalendarRule, Compare, NamedDays, Shift};
use millrace_model::change::{Batch, Completion, Expansion, InstanceKey, NewInstance, NewRun, RunKey, TryOutcome};
use millrace_model::choice::Choice;
use millrace_model::dag::{DEFAULT_POOL, Dag, Task};
use millrace_model::duration::parse_duration;
use millrace_model::execution::KeyLimit;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::instant::parse_instant;
use millrace_model::maintenance::Maintenance;
use millrace_model::mapping::{Expand, Items, NamedItems, TaskGroup};
use millrace_model::notice::{Callback, Callbacks};
use millrace_model::schedule::{DataInterval, Misfire, Schedule};
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_model::trigger_rule::TriggerRule;
use millrace_planner::{
    DagFacts, DagVersion, KeyFacts, Limits, ManualRun, PastRun, Plan, PoolFacts, View, explain, explain_instance,
    explain_schedule, manual_run, outlook, plan,
};
use serde_json::json;

/// Plays the steps of a story and compares what was decided with what the story says, blank lines and indentation aside.
#[track_caller]
pub fn check(story: &str) {
    let told = play(story);
    let story: Vec<&str> = story.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(told.trim_end(), story.join("\n"), "\n--- what happened ---\n{told}");
}

/// The story as it really goes: its set-up and its steps, each with what was decided.
pub fn play(story: &str) -> String {
    Stage::play(story)
}

struct Stage {
    view: View,
    now: DateTime<Utc>,
    limits: Limits,
    dags: BTreeMap<String, Dag>,
    versions: i64,
    runs: BTreeMap<RunKey, NewRun>,
    names: BTreeMap<InstanceKey, String>,
    tokens: BTreeMap<InstanceKey, (String, u32)>,
    /// As a store would have them.
    states: BTreeMap<InstanceKey, TaskState>,
    given_up: BTreeSet<InstanceKey>,
    pools: BTreeMap<String, PoolFacts>,
    dates: BTreeSet<(String, DateTime<Utc>)>,
    /// Queued, by the DAG that waits for them.
    asset_events: BTreeMap<DagId, Vec<AssetEvent>>,
    keys: i64,
    executor: usize,
    /// Tries that have ended and are not planned yet: their slots are free already.
    ended: usize,
    printed: String,
}

fn instant(text: &str) -> DateTime<Utc> {
    parse_instant(text, Tz::UTC).unwrap()
}

impl Stage {
    fn play(story: &str) -> String {
        let mut stage = Self {
            view: View::new(),
            now: instant("2024-01-01"),
            limits: Limits {
                free_slots: 100,
                owner: "job".into(),
                lease_ttl: TimeDelta::seconds(60),
                is_draining: false,
            },
            dags: BTreeMap::new(),
            versions: 0,
            runs: BTreeMap::new(),
            names: BTreeMap::new(),
            tokens: BTreeMap::new(),
            states: BTreeMap::new(),
            given_up: BTreeSet::new(),
            pools: BTreeMap::from([(DEFAULT_POOL.to_owned(), PoolFacts { slots: 128, include_deferred: false })]),
            dates: BTreeSet::new(),
            asset_events: BTreeMap::new(),
            keys: 0,
            executor: 100,
            ended: 0,
            printed: String::new(),
        };
        stage.view.set_pools(stage.pools.clone());
        let mut steps: Vec<(bool, &str)> = Vec::new();
        for line in story.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.strip_prefix("> ") {
                Some(step) => steps.push((true, step)),
                None if steps.iter().all(|(is_step, _)| !is_step) => steps.push((false, line)),
                // It says what follows from the step.
                None => {}
            }
        }
        let mut at = 0;
        while at < steps.len() {
            let tasks = steps[at + 1..].iter().take_while(|(_, line)| line.starts_with("- ")).count();
            let tasks = &steps[at + 1..=at + tasks];
            for (is_step, line) in &steps[at..=at + tasks.len()] {
                stage.print(&if *is_step { format!("> {line}") } else { (*line).to_owned() });
            }
            let tasks: Vec<&str> = tasks.iter().map(|(_, line)| *line).collect();
            stage.step(steps[at].1, &tasks);
            at += 1 + tasks.len();
        }
        stage.printed
    }

    #[expect(clippy::too_many_lines, reason = "a table: an arm for each word")]
    fn step(&mut self, line: &str, body: &[&str]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["dag", id, options @ ..] => {
                let (dag, paused) = read_dag(id, options, body);
                self.dags.insert((*id).to_owned(), dag);
                self.versions += 1;
                self.put_dag(id, paused, true);
            }
            ["pool", name, slots, "deferred_too"] => {
                let facts = PoolFacts { slots: slots.parse().unwrap(), include_deferred: true };
                self.pools.insert((*name).to_owned(), facts);
                self.view.set_pools(self.pools.clone());
            }
            [word @ ("out" | "back"), id, date, task] => {
                let name = format!("{}/{task}", self.run_name(self.run(id, date)));
                let instance = *self.names.iter().find(|(_, known)| **known == name).unwrap().0;
                let token = self.tokens[&instance].0.clone();
                if *word == "out" {
                    self.ended += 1;
                    self.view.went_outside(instance, token);
                } else {
                    self.view.came_back(instance, token);
                }
                self.turns();
            }
            ["pool", name, slots] => {
                let facts = PoolFacts { slots: slots.parse().unwrap(), include_deferred: false };
                self.pools.insert((*name).to_owned(), facts);
                self.view.set_pools(self.pools.clone());
            }
            ["windows", windows, except_tags] => {
                let maintenance = Maintenance::parse(&windows.replace('_', " "), except_tags, Tz::UTC).unwrap();
                self.view.set_maintenance(Arc::new(maintenance));
            }
            ["executor", slots] => self.executor = slots.parse().unwrap(),
            ["at", time] => {
                self.now = instant(time);
                self.turns();
            }
            ["turn"] => self.turns(),
            ["trigger", id] => {
                let version = self.view.dag(&DagId::new_unchecked(*id)).unwrap().version.clone();
                let request = ManualRun {
                    version: &version,
                    run_id: None,
                    logical_date: None,
                    conf: Default::default(),
                    triggered_by: "cli".into(),
                };
                let run = manual_run(request, self.now).unwrap();
                self.created(run);
                self.turns();
            }
            ["backfill", id, key, "runs", limit, dates @ ..] => {
                let version = self.view.dag(&DagId::new_unchecked(*id)).unwrap().version.clone();
                let facts =
                    millrace_planner::BackfillFacts { max_active_runs: limit.parse().unwrap(), is_paused: false };
                self.view.set_backfills([(key.parse().unwrap(), facts)]);
                for date in dates {
                    let (from, to) = (instant(date), instant(date) + TimeDelta::seconds(1));
                    let range = millrace_planner::BackfillRange {
                        version: &version,
                        from,
                        to,
                        includes_end: false,
                        ignores_bounds: false,
                        last_interval: None,
                        conf: Default::default(),
                    };
                    for run in millrace_planner::backfill_runs(&range, self.now).unwrap() {
                        self.created(NewRun { backfill_key: Some(key.parse().unwrap()), ..run });
                    }
                }
                self.turns();
            }
            [word @ ("pause" | "unpause"), id] => {
                self.put_dag(id, *word == "pause", false);
                self.turns();
            }
            ["change", id, options @ ..] => {
                let (read, paused) = read_dag(id, options, &[]);
                let tasks = std::mem::take(&mut self.dags.get_mut(*id).unwrap().tasks);
                self.dags.insert((*id).to_owned(), Dag { tasks, ..read });
                self.put_dag(id, paused, true);
                self.turns();
            }
            ["why", id, date, task] => {
                let run = self.run(id, date);
                let limits = self.limits_now();
                let conditions = if task.ends_with(']') {
                    let name = format!("{}/{task}", self.run_name(run));
                    let instance = *self.names.iter().find(|(_, known)| **known == name).unwrap().0;
                    explain_instance(&self.view, instance, self.now, &limits)
                } else {
                    explain(&self.view, run, task, self.now, &limits)
                };
                self.explained(&conditions);
            }
            ["plan", hours] => {
                let until = self.now + TimeDelta::hours(hours.parse().unwrap());
                let (found, has_more) = outlook(&self.view, None, (self.now, until), 8);
                for it in found {
                    let date = it.run.logical_date.format("%m-%dT%H:%M");
                    let starts = it.starts_at.map_or("never".to_owned(), |at| at.format("%m-%dT%H:%M").to_string());
                    let reason = it.reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
                    self.print(&format!("{} {date} {} {starts}{reason}", it.dag_id, it.prospect.as_str()));
                }
                if has_more {
                    self.print("and more");
                }
            }
            ["next", id] => {
                let conditions = explain_schedule(&self.view, &DagId::new_unchecked(*id), self.now);
                self.explained(&conditions);
            }
            [word @ ("ok" | "fail" | "fail!" | "skip" | "lost" | "later" | "stop"), id, date, task, rest @ ..] => {
                let outcome = match *word {
                    "ok" => TryOutcome::Success,
                    "fail" => TryOutcome::Failed { reason: "boom".into(), retry: true },
                    "fail!" => TryOutcome::Failed { reason: "boom".into(), retry: false },
                    "skip" => TryOutcome::Skipped { reason: "exit code 99".into() },
                    "lost" => TryOutcome::LostWorker,
                    "later" => TryOutcome::PutOff { until: instant(rest[0]), reason: "not there".into() },
                    _ => TryOutcome::Cancelled { reason: rest.join(" ") },
                };
                let name = format!("{}/{task}", self.run_name(self.run(id, date)));
                let instance = *self.names.iter().find(|(_, known)| **known == name).unwrap().0;
                let (token, try_number) = self.tokens[&instance].clone();
                let (started_at, ended_at) = (self.now, self.now);
                self.ended += 1;
                let mut completion = Completion::new(instance, try_number, token, outcome, (started_at, ended_at));
                if let ["=", value] = rest {
                    let value = serde_json::from_str(value).unwrap();
                    completion.results.push(("return_value".to_owned(), value));
                }
                completion.choice = match rest {
                    ["follow", names] => Some(Choice::Follow(names.split(',').map(str::to_owned).collect())),
                    [choice @ ("skip_children" | "skip_descendants")] => serde_json::from_value(json!(choice)).ok(),
                    _ => None,
                };
                self.view.complete(completion);
                self.turns();
            }
            _ => panic!("unknown line in a script: {line}"),
        }
    }

    fn explained(&mut self, conditions: &[millrace_planner::Condition]) {
        let first = conditions.iter().find(|condition| !condition.ok).or(conditions.last());
        let mark = if conditions.iter().all(|condition| condition.ok) { "yes" } else { "no" };
        self.print(&format!("{mark}, {}", first.map_or("nothing known", |condition| &condition.text)));
    }

    fn limits_now(&self) -> Limits {
        Limits {
            free_slots: (self.executor + self.ended).saturating_sub(self.view.occupied_slots() as usize),
            ..self.limits.clone()
        }
    }

    /// Plans until nothing follows, creating the runs in between as a store would.
    fn turns(&mut self) {
        loop {
            self.read_pasts();
            let limits = self.limits_now();
            let Plan { batch, cancels, wake_at, refused, unknown, .. } = plan(&mut self.view, self.now, &limits);
            self.ended = 0;
            for completion in &refused {
                self.print(&format!("refused {}", completion.token));
            }
            for completion in &unknown {
                self.print(&format!("unknown {}", completion.token));
            }
            let new_runs = batch.new_runs.clone();
            self.show(&batch);
            for cancel in &cancels {
                self.print(&format!("stop {} ({})", self.names[&cancel.instance], cancel.reason));
            }
            let is_told = self.tell_of_assets(&batch);
            for expansion in &batch.expansions {
                self.expanded(expansion);
            }
            if new_runs.is_empty() && !is_told && batch.expansions.is_empty() {
                if self.view.wanted_pasts().next().is_some() {
                    continue;
                }
                if let Some(at) = wake_at {
                    self.print(&format!("wake {}", at.format("%Y-%m-%dT%H:%M:%S%.f")));
                }
                return;
            }
            for run in new_runs {
                let dag_id = run.dag_id.clone();
                if !self.dates.contains(&(dag_id.to_string(), run.logical_date)) {
                    self.created(run);
                    continue;
                }
                self.view.creation_refused(&run);
                self.print(&format!("refused {}", run.run_id));
                if !run.asset_events.is_empty() {
                    self.asset_events.insert(dag_id.clone(), run.asset_events.clone());
                    self.view.set_asset_events(&dag_id, run.asset_events);
                }
            }
        }
    }

    /// As the store does: an event goes to each DAG that waits for it and is not paused.
    fn tell_of_assets(&mut self, batch: &Batch) -> bool {
        let mut is_told = false;
        for name in batch.finishes.iter().flat_map(|finish| &finish.asset_events) {
            self.print(&format!("event {name}"));
            self.keys += 1;
            let event = AssetEvent {
                id: self.keys,
                asset: name.clone(),
                dag_id: None,
                run_id: None,
                task_id: None,
                map_index: -1,
                data_interval: DataInterval { start: self.now, end: self.now },
                at: self.now,
                extra: serde_json::Map::new(),
            };
            let waiting = self.view.dags().filter(|facts| {
                !facts.is_paused && facts.version.dag.assets.as_ref().is_some_and(|it| it.names().contains(name))
            });
            let waiting: Vec<DagId> = waiting.map(|facts| facts.version.dag.dag_id.clone()).collect();
            for dag_id in waiting {
                let queued = self.asset_events.entry(dag_id.clone()).or_default();
                queued.push(event.clone());
                self.view.set_asset_events(&dag_id, queued.clone());
                is_told = true;
            }
        }
        is_told
    }

    /// Answers from all runs that there ever were.
    fn read_pasts(&mut self) {
        for key in self.view.wanted_pasts().collect::<Vec<_>>() {
            let asked = self.view.past_question(key).unwrap();
            let before = |run: &NewRun| run.dag_id == asked.dag_id && run.logical_date < asked.logical_date;
            let earlier = self.runs.iter().filter(|(_, run)| before(run));
            let counted = earlier.clone().filter(|(_, run)| !asked.without_manual || run.run_type != RunType::Manual);
            let past = counted.max_by_key(|(_, run)| run.logical_date).map(|(past, run)| {
                let keys = (0..).map(|at| past * 1_000 + at);
                let state = |instance| vec![self.states.get(&instance).copied().unwrap_or(TaskState::None)];
                let states: BTreeMap<TaskId, Vec<TaskState>> = run
                    .tasks
                    .iter()
                    .zip(keys)
                    .map(|(task, instance)| (task.task_id.clone(), state(instance)))
                    .collect();
                let older = earlier.clone().filter(|(key, _)| *key != past);
                let ran = older.flat_map(|(_, run)| run.tasks.iter().map(|task| task.task_id.clone()));
                let ran_earlier = ran.filter(|task| !states.contains_key(task)).collect();
                let given_up = run.tasks.iter().zip((0..).map(|at| past * 1_000 + at));
                let given_up = given_up.filter(|(_, instance)| self.given_up.contains(instance));
                let given_up = given_up.map(|(task, _)| task.task_id.clone()).collect();
                PastRun { run: *past, logical_date: run.logical_date, states, given_up, ran_earlier }
            });
            self.view.put_past(key, past);
        }
    }

    fn created(&mut self, run: NewRun) {
        self.keys += 1;
        let key = self.keys;
        self.dates.insert((run.dag_id.to_string(), run.logical_date));
        self.runs.insert(key, run.clone());
        let keys: Vec<InstanceKey> = (0..run.tasks.len() as i64).map(|at| key * 1_000 + at).collect();
        for (instance, task) in keys.iter().zip(&run.tasks) {
            self.name(*instance, key, task, task.map_index);
        }
        assert!(self.view.put_created(&run, key, &keys, self.now));
    }

    fn name(&mut self, instance: InstanceKey, run: RunKey, task: &NewInstance, map_index: i32) {
        let index = if map_index < 0 { String::new() } else { format!("[{map_index}]") };
        self.names.insert(instance, format!("{}/{}{index}", self.run_name(run), task.task_id));
    }

    /// As a store does it, for an expansion of what was one instance.
    fn expanded(&mut self, expansion: &Expansion) {
        let Expansion { run, count, like } = expansion;
        let name = format!("{}/{}", self.run_name(*run), like.task_id);
        let first = *self.names.iter().find(|(_, known)| **known == name).unwrap().0;
        let mut keys = vec![first];
        for _ in 1..*count {
            self.keys += 1;
            keys.push(1_000_000 + self.keys);
        }
        for (map_index, key) in (0..).zip(&keys) {
            self.name(*key, *run, like, map_index);
        }
        self.view.put_expanded(expansion, &keys);
    }

    fn show(&mut self, batch: &Batch) {
        for finish in &batch.finishes {
            self.states.insert(finish.completion.instance, finish.to);
            let mut line = format!("{} {}", self.names[&finish.completion.instance], finish.to);
            if let Some(at) = finish.next_try_at {
                line.push_str(&format!(" until {}", at.format("%H:%M:%S")));
            }
            if !finish.counts_try {
                line.push_str(&format!(" uncounted ({})", finish.reason.as_deref().unwrap_or("")));
            }
            if let Some(error) = &finish.completion.error {
                line.push_str(&format!(": {error}"));
            }
            self.print(&line);
        }
        for ending in &batch.endings {
            self.print(&format!("run {} winds down ({})", self.run_name(ending.run), ending.reason));
        }
        for expansion in &batch.expansions {
            let Expansion { run, count, like } = expansion;
            self.print(&format!("{}/{} x {count}", self.run_name(*run), like.task_id));
        }
        for moved in &batch.run_moves {
            let reason = moved.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            self.print(&format!("run {} {}{reason}", self.run_name(moved.run), moved.to));
            if moved.to == RunState::Running {
                continue;
            }
            self.runs.get_mut(&moved.run).unwrap().state = moved.to;
        }
        for pause in &batch.pauses {
            self.print(&format!("pause {} ({})", pause.dag_id, pause.reason));
        }
        for notice in &batch.notices {
            let of_try = notice.of_try.as_ref().map(|it| format!("/{} try {}", it.task_id, it.try_number));
            let reason = notice.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            let (run, of_try) = (self.run_name(notice.run), of_try.unwrap_or_default());
            self.print(&format!("tell of {} of {run}{of_try}{reason}", notice.event));
        }
        for alert in &batch.alerts {
            self.print(&format!("alert {} {}: {}", self.run_name(alert.run), alert.kind, alert.message));
        }
        for run in &batch.new_runs {
            let events = match run.asset_events.len() {
                0 => String::new(),
                count => {
                    self.asset_events.remove(&run.dag_id);
                    format!(" for {count} events")
                }
            };
            self.print(&format!("create {} {} {}{events}", run.dag_id, run.run_id, run.state));
        }
        for passed in &batch.passed_slots {
            let short = |at: DateTime<Utc>| at.format("%Y-%m-%dT%H:%M").to_string();
            let (first, last) = (short(passed.first), short(passed.last));
            let dates = if passed.count == 1 { first } else { format!("{first}..{last} x{}", passed.count) };
            self.print(&format!("{} {} {dates} ({})", passed.outcome.as_str(), passed.dag_id, passed.reason));
        }
        for moved in &batch.task_moves {
            self.states.insert(moved.instance, moved.to);
            if moved.given_up {
                self.given_up.insert(moved.instance);
            }
            let reason = moved.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            self.print(&format!("{} {}{reason}", self.names[&moved.instance], moved.to));
        }
        for claim in &batch.claims {
            self.print(&format!("{} try {}", self.names[&claim.instance], claim.try_number));
            self.states.insert(claim.instance, TaskState::Running);
            self.tokens.insert(claim.instance, (claim.token.clone(), claim.try_number));
        }
    }

    fn put_dag(&mut self, id: &str, is_paused: bool, is_new: bool) {
        let dag = self.dags[id].clone();
        let known = self.view.dag(&DagId::new_unchecked(id));
        let version = match known.filter(|_| !is_new) {
            Some(facts) => facts.version.clone(),
            None => Arc::new(DagVersion::new(self.versions, Arc::new(dag)).unwrap().with_key_renderer(render_key)),
        };
        let (last_interval, pointer) = known.map_or((None, None), |facts| (facts.last_interval, facts.pointer));
        self.view.put_dag(DagFacts {
            version,
            is_paused,
            is_stale: false,
            last_interval,
            pointer,
            recent: Default::default(),
        });
    }

    fn run(&self, id: &str, date: &str) -> RunKey {
        let wanted = instant(date);
        let is_it = |run: &NewRun| run.dag_id.as_str() == id && run.logical_date == wanted;
        *self
            .runs
            .iter()
            .find(|(_, run)| is_it(run))
            .unwrap_or_else(|| panic!("no run {id} {date}\n{}", self.printed))
            .0
    }

    fn run_name(&self, key: RunKey) -> String {
        let run = &self.runs[&key];
        let date = run.logical_date.format("%Y-%m-%dT%H:%M").to_string();
        format!("{}/{}", run.dag_id, date.strip_suffix("T00:00").unwrap_or(&date))
    }

    fn print(&mut self, line: &str) {
        self.printed.push_str(line);
        self.printed.push('\n');
    }
}

/// Of everything.
fn tells() -> Callbacks {
    let one = || vec![Callback::Command("tell".to_owned())];
    Callbacks {
        on_failure: one(),
        on_success: one(),
        on_retry: one(),
        on_execute: one(),
        on_skipped: one(),
        on_alert: one(),
    }
}

fn read_dag(id: &str, options: &[&str], body: &[&str]) -> (Dag, bool) {
    let mut dag =
        Dag { tasks: body.iter().map(|line| read_task(line)).collect(), ..Dag::new(DagId::new_unchecked(id)) };
    let mut paused = false;
    let mut words = options.iter();
    while let Some(word) = words.next() {
        match *word {
            "paused" => paused = true,
            "catchup" => dag.catchup = true,
            "fail_fast" => dag.fail_fast = true,
            "tells" => dag.callbacks = tells(),
            "from" => dag.start_date = words.next().map(|text| instant(text)),
            "until" => dag.end_date = words.next().map(|text| instant(text)),
            "runs" => dag.max_active_runs = words.next().unwrap().parse().unwrap(),
            "assets" => {
                let words = words.next().unwrap();
                let names = |words: &str, by: char| -> Vec<AssetCondition> {
                    words.split(by).map(|name| AssetCondition::Asset(AssetName::parse(name).unwrap())).collect()
                };
                let all = |words: &str| {
                    if words.contains('+') {
                        AssetCondition::All(names(words, '+'))
                    } else {
                        names(words, '+').remove(0)
                    }
                };
                dag.assets = Some(if words.contains('|') {
                    AssetCondition::Any(words.split('|').map(all).collect())
                } else {
                    AssetCondition::All(names(words, '+'))
                });
            }
            "deadline" => {
                let text = words.next().unwrap();
                let (reference, within) = text.split_once(':').unwrap_or(("run_after", text));
                let reference: DeadlineReference = serde_json::from_value(json!(reference)).unwrap();
                dag.deadline = Some(Deadline { reference, within: parse_duration(within).unwrap() });
            }
            "usual" => dag.longer_than_usual = Some(LongerThanUsual { percent: 200, min_runs: 1 }),
            // The key may be made of the run's date, as a task's.
            "key" => dag.concurrency = Some(read_key(words.next().unwrap())),
            "failures" => dag.max_consecutive_failed_dag_runs = words.next().unwrap().parse().unwrap(),
            "timeout" => dag.dagrun_timeout = Some(parse_duration(words.next().unwrap()).unwrap()),
            "tasks" => dag.max_active_tasks = words.next().unwrap().parse().unwrap(),
            "misfire" => dag.misfire = Some(read_misfire(words.next().unwrap())),
            "window" => dag.maintenance.push(words.next().unwrap().replace('_', " ").parse().unwrap()),
            "tag" => dag.tags.push((*words.next().unwrap()).to_owned()),
            "calendar" => dag.calendar = Some(read_calendar(words.next().unwrap())),
            "every" => dag.timetable.schedule = Schedule::from_value(&json!({"every": words.next()})).unwrap(),
            "group" => dag.groups.push(read_group(words.next().unwrap(), words.next().unwrap())),
            "cron" => {
                dag.timetable.schedule = Schedule::from_value(&json!(words.next().unwrap().replace('_', " "))).unwrap();
            }
            preset => dag.timetable.schedule = Schedule::from_value(&json!(preset)).unwrap(),
        }
    }
    (dag, paused)
}

/// `all`, `latest`, `none`, `within:6h`, `max:10`, `within:6h,max:10`.
fn read_misfire(text: &str) -> Misfire {
    match text {
        "all" => Misfire::All,
        "latest" => Misfire::Latest,
        "none" => Misfire::None,
        bounds => {
            let bound = |name: &str| bounds.split(',').find_map(|bound| bound.strip_prefix(name)?.strip_prefix(':'));
            let within = bound("within").map(|text| parse_duration(text).unwrap());
            Misfire::Bounded { within, max: bound("max").map(|text| text.parse().unwrap()) }
        }
    }
}

/// `eu:2`, `eu`
fn read_key(text: &str) -> KeyLimit {
    let (key, limit) = text.split_once(':').unwrap_or((text, "1"));
    KeyLimit { key: key.into(), limit: limit.parse().unwrap() }
}

fn render_key(facts: &KeyFacts<'_>) -> Result<String, String> {
    match facts.template {
        "ERROR" => Err("params has no 'region'".into()),
        template => Ok(template.replace("DATE", &facts.run.logical_date.format("%m-%d").to_string())),
    }
}

/// `skip:sat,2024-01-02`, `shift:sat`, `only:mon`, `skip-logical:sat`: a calendar `off` (or `on`) of these days.
fn read_calendar(text: &str) -> CalendarRule {
    let (what, days) = text.split_once(':').unwrap();
    let days = days.split(',').map(|day| NamedDays { rule: day.parse().unwrap(), name: None }).collect();
    let calendar =
        |name: &str| Calendar { name: name.into(), description: None, days, include: vec![], except: vec![] };
    let mut rule = CalendarRule::default();
    match what {
        "only" => rule.include.push(calendar("on")),
        _ => rule.exclude.push(calendar("off")),
    }
    if what == "shift" {
        rule.shift = Shift::NextBusinessDay;
    }
    if what == "skip-logical" {
        rule.compare = Compare::LogicalDate;
    }
    rule
}

fn read_expand(value: &str) -> Expand {
    match serde_json::from_str(value) {
        Ok(list) => Expand::Each(Items::List(list)),
        // a,b: every combination of what the two leave behind.
        Err(_) if value.contains(',') => Expand::Product(
            value
                .split(',')
                .map(|id| NamedItems { name: id.to_owned(), items: Items::ResultsOf(TaskId::new_unchecked(id)) })
                .collect(),
        ),
        Err(_) => Expand::Each(Items::ResultsOf(TaskId::new_unchecked(value))),
    }
}

fn read_group(id: &str, over: &str) -> TaskGroup {
    TaskGroup { group_id: TaskId::new_unchecked(id), parent: None, description: None, expand: Some(read_expand(over)) }
}

fn read_task(line: &str) -> Task {
    let mut words = line.trim().trim_start_matches("- ").split_whitespace();
    let mut task = Task { ..Task::new(TaskId::new_unchecked(words.next().unwrap()), "noop") };
    while let Some(word) = words.next() {
        if word == "tells" {
            task.callbacks = tells();
            continue;
        }
        let flag = match word {
            "inline" => Some(&mut task.is_inline),
            "setup" => Some(&mut task.is_setup),
            "teardown" => Some(&mut task.is_teardown),
            "fails_run" => Some(&mut task.on_failure_fail_dagrun),
            "past" => Some(&mut task.depends_on_past),
            "past_and_downstream" => Some(&mut task.wait_for_downstream),
            "skips_late" => Some(&mut task.wait_for_past_depends_before_skipping),
            _ => None,
        };
        if let Some(flag) = flag {
            *flag = true;
            if word == "teardown" {
                // As the reader of DAG files does.
                task.trigger_rule = TriggerRule::AllDoneSetupSuccess;
            }
            continue;
        }
        let value = words.next().unwrap();
        match word {
            "after" => task.depends_on = value.split(',').map(TaskId::new_unchecked).collect(),
            "backoff" => task.retry_exponential_backoff = Some(value.parse().unwrap()),
            "at_most" => task.max_retry_delay = Some(parse_duration(value).unwrap()),
            "rule_of_weight" => task.weight_rule = serde_json::from_value(json!(value)).unwrap(),
            "per_dag" => task.max_active_tis_per_dag = Some(value.parse().unwrap()),
            "per_run" => task.max_active_tis_per_dagrun = Some(value.parse().unwrap()),
            // The key may be made of the run's date: DATE.
            "key" => {
                task.concurrency = Some(read_key(value));
            }
            "retries" => task.retries = value.parse().unwrap(),
            "delay" => task.retry_delay = parse_duration(value).unwrap(),
            "rule" => task.trigger_rule = serde_json::from_value(json!(value)).unwrap(),
            "over" => task.expand = Some(read_expand(value)),
            "in" => task.group = Some(TaskId::new_unchecked(value)),
            "pool" => task.pool = value.into(),
            "slots" => task.pool_slots = value.parse().unwrap(),
            "outlet" => task.outlets.push(AssetName::parse(value).unwrap()),
            "weight" => task.priority_weight = value.parse().unwrap(),
            other => panic!("unknown word in a task: {other}"),
        }
    }
    task
}
