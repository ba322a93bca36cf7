//! What must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use millrace_model::calendar::Fate;
use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::dag::Dag;
use millrace_model::ids::TaskId;
use millrace_model::schedule::PlannedRun;
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_planner::{explain_instance, explain_run};
use millrace_situation::Situation;
use millrace_store::{InstanceRow, RunRow, RunningInstance};

use super::World;
use super::random::{POOL, limit_of_key};

impl World {
    pub(super) async fn check(&mut self) {
        let place = self.place();
        let runs = self.stage.runs().await;
        let keys: Vec<RunKey> = runs.iter().map(|run| run.key).collect();
        let rows = self.stage.store.instances_of_runs(&keys).await.unwrap();
        if std::env::var_os("MILLRACE_WORLD_TRACE").is_some() {
            let states: Vec<String> = runs.iter().map(|run| format!("{}:{}", run.key, run.state)).collect();
            let tasks: Vec<String> =
                rows.iter().map(|row| format!("{}:{}#{}", row.key, row.state, row.try_number)).collect();
            eprintln!("{:?}: {states:?} {tasks:?} calm {}", self.log.last(), self.is_calm);
        }
        one_run_for_a_date(&runs, &place);
        what_has_ended_is_whole(&runs, &rows, &place);
        self.calendars_are_kept(&runs, &place);
        self.dependencies_are_kept(&runs, &rows, &place);
        self.nothing_begins_that_is_held(&runs, &rows, &place).await;
        self.limits_are_kept(&runs, &rows, &place).await;
        self.each_try_runs_once(&rows, &place);
        self.alerts_are_right(&runs, &place).await;
        self.dates_are_accounted_for(&runs, &place).await;
        for row in rows.iter().filter(|row| self.succeeded.contains(&row.key)) {
            assert_eq!(row.state, TaskState::Success, "{place}: a success was lost: {row:?}");
        }
        if self.is_calm && self.late.is_none() {
            self.what_waits_is_explained(&place).await;
        }
    }

    /// What is paused or in a maintenance window goes on, and begins nothing.
    async fn nothing_begins_that_is_held(&mut self, runs: &[RunRow], rows: &[InstanceRow], place: &str) {
        let now = self.stage.now();
        let stored = self.stage.store.scheduler_dags().await.unwrap();
        // Time may have passed since.
        let held = |run: &RunRow, began: Option<DateTime<Utc>>| {
            let row = stored.iter().find(|row| row.dag_id == run.dag_id)?;
            let is_own = run.runs_for_backfill().is_none();
            let began = began.unwrap_or(now);
            let window = row.dag.maintenance.iter().find(|window| window.open_until(began).is_some());
            // One that a turn pauses may have begun something in it before that.
            let was_paused = self.before.paused.contains(run.dag_id.as_str());
            let paused = (row.is_paused && was_paused && is_own).then(|| "its DAG is paused".to_owned());
            paused.or_else(|| Some(format!("the window {} is open", window?)))
        };
        let of_run: BTreeMap<RunKey, &RunRow> = runs.iter().map(|run| (run.key, run)).collect();
        let tokens = rows.iter().filter_map(|row| Some((row.lease.as_ref()?.token.clone(), row)));
        let begun: BTreeMap<String, &InstanceRow> = tokens.collect();
        for (_, row) in begun.iter().filter(|(token, _)| !self.begun.contains(*token)) {
            let why = held(of_run[&row.run], row.queued_at);
            assert!(why.is_none(), "{place}: a try began while {why:?}: {row:?}");
        }
        let running = runs.iter().filter(|run| run.state == RunState::Running);
        let running: BTreeSet<RunKey> = running.map(|run| run.key).collect();
        let backfills = self.stage.store.active_backfills().await.unwrap();
        let paused: BTreeSet<i64> = backfills.iter().filter(|row| row.is_paused).map(|row| row.key).collect();
        for key in running.difference(&self.running) {
            let is_paused = of_run[key].runs_for_backfill().is_some_and(|backfill| paused.contains(&backfill));
            let why = held(of_run[key], of_run[key].start_date)
                .or_else(|| is_paused.then(|| "its backfill is paused".to_owned()));
            assert!(why.is_none(), "{place}: a run began while {why:?}: {:?}", of_run[key]);
        }
        backfills_keep_their_order(runs, &self.running, &self.waiting, place);
        let waiting = runs.iter().filter(|run| run.state == RunState::Queued);
        self.waiting = waiting.map(|run| run.key).collect();
        self.begun = begun.into_keys().collect();
        self.running = running;
    }

    /// Those that are active, with how many of their runs may run at a time.
    async fn active_backfills(&self) -> BTreeMap<i64, usize> {
        let rows = self.stage.store.active_backfills().await.unwrap();
        rows.into_iter().map(|row| (row.key, row.max_active_runs as usize)).collect()
    }

    /// Runs of a DAG that count against its own limit: also those that were ended while a try of theirs still stops.
    pub(super) async fn running_normally(&self, dag_id: &str) -> usize {
        let normal = |run: &&RunRow| run.runs_for_backfill().is_none();
        let held = self.stage.store.running_instances().await.unwrap();
        let held: BTreeSet<RunKey> = held.iter().map(|it| it.row.run).collect();
        let runs = self.stage.runs().await;
        let counts = |run: &&RunRow| run.state == RunState::Running || held.contains(&run.key);
        runs.iter().filter(|run| run.dag_id.as_str() == dag_id).filter(counts).filter(normal).count()
    }

    async fn limits_are_kept(&mut self, runs: &[RunRow], rows: &[InstanceRow], place: &str) {
        for (dag_id, dag) in &self.dags {
            let count = self.running_normally(dag_id).await;
            let limit = dag.max_active_runs as usize;
            let allowed = self.runs_allowed.get(dag_id).copied().unwrap_or(0).min(count).max(limit);
            let running = || runs.iter().filter(|run| run.state == RunState::Running && run.dag_id == dag.dag_id);
            assert!(
                count <= allowed,
                "{place}: {count} of {limit} runs of {dag_id} are running: {:?}",
                running().collect::<Vec<_>>()
            );
            self.runs_allowed.insert(dag_id.clone(), allowed);
        }
        for (backfill, limit) in self.active_backfills().await {
            let of_backfill = runs.iter().filter(|run| run.runs_for_backfill() == Some(backfill));
            let count = of_backfill.filter(|run| run.state == RunState::Running).count();
            assert!(count <= limit, "{place}: {count} runs of a backfill are running");
        }
        self.runs_have_no_more_tasks_than_they_may(runs, rows, place);
        let mut of_key: BTreeMap<&str, u32> = BTreeMap::new();
        let version_of: BTreeMap<RunKey, &Dag> = runs.iter().map(|run| (run.key, self.version_of(run))).collect();
        let stopping: BTreeSet<RunKey> = rows.iter().filter(|row| row.lease.is_some()).map(|row| row.run).collect();
        for run in runs.iter().filter(|run| run.state == RunState::Running || stopping.contains(&run.key)) {
            if let Some(concurrency) = &version_of[&run.key].concurrency {
                *of_key.entry(&concurrency.key).or_default() += 1;
            }
        }
        let mut of_task: BTreeMap<(&str, &TaskId), u32> = BTreeMap::new();
        let mut in_run: BTreeMap<(RunKey, &TaskId), u32> = BTreeMap::new();
        for row in rows {
            // Also one that waits outside.
            if holds_slot(row) || row.is_outside {
                let dag = version_of[&row.run];
                *of_task.entry((dag.dag_id.as_str(), &row.task_id)).or_default() += 1;
                *in_run.entry((row.run, &row.task_id)).or_default() += 1;
                // What a try began with counts until it has stopped.
                let begun_with = row.begun_with.and_then(|version| self.versions.get(&version)).unwrap_or(dag);
                let task = begun_with.task(row.task_id.as_str());
                if let Some(concurrency) = task.and_then(|task| task.concurrency.as_ref()) {
                    *of_key.entry(&concurrency.key).or_default() += 1;
                }
            }
        }
        // Those of tasks are the same in every version.
        for ((dag_id, task_id), count) in of_task {
            let limit = self.whole[dag_id].task(task_id.as_str()).and_then(|task| task.max_active_tis_per_dag);
            assert!(limit.is_none_or(|limit| count <= limit), "{place}: {count} tries of {dag_id}.{task_id} at a time");
        }
        for ((run, task_id), count) in in_run {
            let task = version_of[&run].task(task_id.as_str());
            let limit = task.and_then(|task| task.max_active_tis_per_dagrun);
            assert!(limit.is_none_or(|limit| count <= limit), "{place}: {count} tries of {task_id} in run {run}");
        }
        for (key, count) in of_key {
            assert!(count <= limit_of_key(key), "{place}: {count} hold the key {key}");
        }
        let used = self.pool_used().await;
        self.pool_allowed = self.pool_allowed.min(used);
        assert!(used <= self.pool_slots.max(self.pool_allowed), "{place}: {used} slots of the pool are in use");
    }

    /// Requests begin nothing: what there is too much of now was within its limit before a pool was made smaller, a version
    /// changed or a backfill cancelled.
    pub(super) async fn allow_what_is_there(&mut self) {
        let keys: Vec<RunKey> = self.stage.runs().await.iter().map(|run| run.key).collect();
        let rows = self.stage.store.instances_of_runs(&keys).await.unwrap();
        self.tasks_allowed = active_in(&rows);
        for dag_id in self.dags.keys().cloned().collect::<Vec<_>>() {
            let running = self.running_normally(&dag_id).await;
            self.runs_allowed.insert(dag_id, running);
        }
        self.pool_allowed = self.pool_used().await;
    }

    fn runs_have_no_more_tasks_than_they_may(&mut self, runs: &[RunRow], rows: &[InstanceRow], place: &str) {
        let limits: BTreeMap<RunKey, u32> =
            runs.iter().map(|run| (run.key, self.version_of(run).max_active_tasks)).collect();
        for (run, count) in active_in(rows) {
            let allowed = self.tasks_allowed.get(&run).copied().unwrap_or(0).min(count).max(limits[&run]);
            assert!(count <= allowed, "{place}: {count} tasks of run {run} are active");
            self.tasks_allowed.insert(run, allowed);
        }
    }

    pub(super) fn version_of(&self, run: &RunRow) -> &Dag {
        self.versions.get(&run.version_key).unwrap_or_else(|| panic!("{}: {run:?} has no version", self.place()))
    }

    pub(super) async fn pool_used(&self) -> i64 {
        let held = self.stage.store.running_instances().await.unwrap();
        let counts = |row: &InstanceRow| holds_slot(row) || (self.counts_deferred && row.is_outside);
        // A try holds what it was given when it began.
        let slots = |it: &RunningInstance| {
            let begun_with = it.row.begun_with.and_then(|version| self.versions.get(&version));
            let task = begun_with.and_then(|dag| dag.task(it.row.task_id.as_str()));
            let begun = task.map(|task| (task.pool.as_str(), task.pool_slots));
            let (pool, slots) = begun.unwrap_or((it.row.pool.as_str(), it.row.pool_slots));
            if pool == POOL { i64::from(slots) } else { 0 }
        };
        let used = held.iter().filter(|it| counts(&it.row)).map(slots).sum();
        let told = self.stage.store.pool_use().await.unwrap().remove(POOL).unwrap_or_default();
        assert_eq!(told.occupied(&self.pool_row(0)), used, "{}: what people are told of the pool", self.place());
        used
    }

    /// No instance runs in two places, and what the database says is running is what runs.
    fn each_try_runs_once(&self, rows: &[InstanceRow], place: &str) {
        let mut tokens: BTreeSet<(InstanceKey, String)> = BTreeSet::new();
        let mut instances = BTreeSet::new();
        let mut surely = BTreeSet::new();
        for daemon in [Some(&self.leader), self.late.as_ref()].into_iter().flatten() {
            for it in daemon.executor.everything() {
                assert!(instances.insert(it.instance), "{place}: instance {} runs twice at once", it.instance);
                if daemon.executor.stopping(&it.token).is_none() {
                    surely.insert((it.instance, it.token.clone()));
                }
                tokens.insert((it.instance, it.token));
            }
        }
        if !self.is_calm || self.late.is_some() {
            return;
        }
        let ours = |row: &&InstanceRow| row.lease.as_ref().is_some_and(|lease| lease.owner == self.leader.job_id);
        let held: BTreeSet<(InstanceKey, String)> =
            rows.iter().filter(ours).map(|row| (row.key, row.lease.clone().unwrap().token)).collect();
        let ended_in_memory = self.leader.engine.in_flight() - self.leader.engine.running();
        // Of what is set aside nothing is known.
        if ended_in_memory == 0 && self.hears_everything && self.leader.engine.set_aside().is_none() {
            // One that waits for an earlier try of its instance to stop is held and does not run yet.
            let begun: BTreeSet<_> =
                held.iter().filter(|it| tokens.contains(it) || !instances.contains(&it.0)).cloned().collect();
            assert!(begun.is_subset(&tokens), "{place}: held {held:?}, running {tokens:?}");
            assert!(surely.is_subset(&held), "{place}: held {held:?}, running {surely:?}");
        }
    }

    /// A success that was reported is committed by the first turn that comes to its end.
    pub(super) async fn settle_debts(&mut self) {
        if !self.is_calm {
            return;
        }
        let place = self.place();
        for (token, instance) in self.owed.clone() {
            if !token.starts_with(&self.leader.job_id) {
                // The late one has it; once it has handed over, it counts.
                let row = self.stage.store.instance_by_key(instance).await.unwrap().unwrap();
                if row.state == TaskState::Success {
                    self.owed.remove(&token);
                    self.succeeded.insert(instance);
                } else if row.lease.is_none_or(|lease| lease.token != token) {
                    self.owed.remove(&token);
                }
                continue;
            }
            let row = self.stage.store.instance_by_key(instance).await.unwrap().unwrap();
            let run = self.stage.store.run_by_key(row.run).await.unwrap().unwrap();
            let is_set_aside = run.state_reason.as_deref().is_some_and(|reason| reason.starts_with("set aside: "));
            if row.state_reason.as_deref() == Some("unstorable_result") || is_set_aside {
                // The store refused it, and it alone: that is how it is told. Where it refused to be told that too, the run
                // has failed and says so.
                self.owed.remove(&token);
                continue;
            }
            assert_eq!(row.state, TaskState::Success, "{place}: a success was not written down: {row:?} of {run:?}");
            assert!(self.succeeded.insert(instance), "{place}: a success was repeated: {row:?}");
            self.owed.remove(&token);
        }
    }

    /// After a turn nothing waits that could begin: each of them has a condition that is not met.
    async fn what_waits_is_explained(&self, place: &str) {
        if !self.hears_everything || self.leader.engine.set_aside().is_some() {
            return;
        }
        let now = self.stage.now();
        let situation = Situation::read(self.stage.store.clone()).await.unwrap();
        let limits = self.leader.limits();
        for run in self.stage.store.active_runs().await.unwrap() {
            if run.row.state == RunState::Queued {
                let why = explain_run(&situation.view, run.row.key, now);
                assert!(why.iter().any(|it| !it.ok), "{place}: why does this run wait? {:?} {why:?}", run.row);
                continue;
            }
            for row in run.instances.iter().filter(|row| !row.state.is_finished() && !row.state.holds_limits()) {
                let why = explain_instance(&situation.view, row.key, now, &limits);
                assert!(why.iter().any(|it| !it.ok), "{place}: why does this task wait? {row:?} {why:?}");
            }
        }
    }

    /// No date that its calendar leaves out became a run of the schedule.
    fn calendars_are_kept(&self, runs: &[RunRow], place: &str) {
        for run in runs.iter().filter(|run| run.run_type == RunType::Scheduled) {
            let (logical_date, data_interval) = (run.logical_date, run.data_interval);
            let slot = PlannedRun { logical_date, data_interval, run_after: data_interval.end };
            let fate = self.version_of(run).fate(&slot);
            assert!(!matches!(fate, Fate::Skip(_)), "{place}: its calendar leaves out the date of {run:?}");
        }
    }

    /// What is not finished, each with its reasons.
    pub(super) async fn what_waits(&self) -> Vec<String> {
        let now = self.stage.now();
        let situation = Situation::read(self.stage.store.clone()).await.unwrap();
        let limits = self.leader.limits();
        let mut waiting = Vec::new();
        for run in self.stage.store.active_runs().await.unwrap() {
            let why = explain_run(&situation.view, run.row.key, now);
            waiting.push(format!("{:?} {}: {why:?}", run.row, run.row.state));
            for row in run.instances.iter().filter(|row| !row.state.is_finished()) {
                let why = explain_instance(&situation.view, row.key, now, &limits);
                waiting.push(format!("{row:?}: {why:?}"));
            }
        }
        waiting
    }
}

/// Also one that was marked, or whose task the run's version does not have any more, and whose try has not stopped yet; but
/// none that waits outside, whatever was made of it since.
fn holds_slot(row: &InstanceRow) -> bool {
    !row.is_outside && (row.state.occupies_slot() || (row.state.is_finished() && row.lease.is_some()))
}

/// How many tasks of each run hold a slot.
fn active_in(rows: &[InstanceRow]) -> BTreeMap<RunKey, u32> {
    let mut active = BTreeMap::new();
    for row in rows {
        *active.entry(row.run).or_default() += u32::from(holds_slot(row));
    }
    active
}

/// Nothing of a run waits once it has ended, unless the scheduler could not go on with it.
fn what_has_ended_is_whole(runs: &[RunRow], rows: &[InstanceRow], place: &str) {
    let was_left = |run: &&RunRow| run.state_reason.as_deref().is_some_and(|reason| reason.starts_with("set aside: "));
    let ended: BTreeMap<RunKey, &RunRow> =
        runs.iter().filter(|run| run.state.is_finished() && !was_left(run)).map(|run| (run.key, run)).collect();
    for row in rows.iter().filter(|row| !row.state.is_finished()) {
        assert!(!ended.contains_key(&row.run), "{place}: {row:?} waits in {:?}", ended.get(&row.run));
    }
}

fn one_run_for_a_date(runs: &[RunRow], place: &str) {
    let mut dates = BTreeSet::new();
    for run in runs {
        assert!(dates.insert((run.dag_id.clone(), run.logical_date)), "{place}: two runs for one date");
    }
}

/// What began did not leave behind what was to run before it. Runs of one DAG share their key, if they have one.
fn backfills_keep_their_order(runs: &[RunRow], ran: &BTreeSet<RunKey>, waited: &BTreeSet<RunKey>, place: &str) {
    for begun in runs.iter().filter(|run| run.state == RunState::Running && !ran.contains(&run.key)) {
        let Some(backfill) = begun.runs_for_backfill() else { continue };
        let is_before = |run: &&RunRow| {
            let is_waiting = run.state == RunState::Queued && waited.contains(&run.key);
            is_waiting && run.runs_for_backfill() == Some(backfill) && run.backfill_ordinal < begun.backfill_ordinal
        };
        let before = runs.iter().find(is_before);
        assert!(before.is_none(), "{place}: {begun:?} began before {before:?}");
    }
}
