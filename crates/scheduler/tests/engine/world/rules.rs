//! What must hold whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::change::{InstanceKey, RunKey};
use millrace_model::ids::TaskId;
use millrace_model::state::{RunState, TaskState};
use millrace_planner::{explain_instance, explain_run};
use millrace_situation::Situation;
use millrace_store::{InstanceRow, RunRow};

use super::World;
use super::random::POOL;

impl World {
    pub(super) async fn check(&self) {
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
        self.limits_are_kept(&runs, &rows, &place).await;
        self.each_try_runs_once(&rows, &place);
        for row in rows.iter().filter(|row| self.succeeded.contains(&row.key)) {
            assert_eq!(row.state, TaskState::Success, "{place}: a success was lost: {row:?}");
        }
        if self.is_calm && self.late.is_none() {
            self.what_waits_is_explained(&place).await;
        }
    }

    async fn limits_are_kept(&self, runs: &[RunRow], rows: &[InstanceRow], place: &str) {
        let running = |run: &&RunRow| run.state == RunState::Running;
        for (dag_id, dag) in &self.dags {
            let normal = |run: &&RunRow| run.dag_id.as_str() == dag_id && run.runs_for_backfill().is_none();
            let count = runs.iter().filter(running).filter(normal).count();
            assert!(count <= dag.max_active_runs as usize, "{place}: {count} runs of {dag_id} are running: {runs:#?}");
        }
        for backfill in self.stage.store.active_backfills().await.unwrap() {
            let count = runs.iter().filter(running).filter(|run| run.runs_for_backfill() == Some(backfill.key)).count();
            assert!(count <= backfill.max_active_runs as usize, "{place}: {count} runs of a backfill are running");
        }
        let dag_of: BTreeMap<RunKey, &str> = runs.iter().map(|run| (run.key, run.dag_id.as_str())).collect();
        let mut active: BTreeMap<RunKey, u32> = BTreeMap::new();
        let mut of_task: BTreeMap<(&str, &TaskId), u32> = BTreeMap::new();
        for row in rows.iter().filter(|row| holds_slot(row)) {
            *active.entry(row.run).or_default() += 1;
            *of_task.entry((dag_of[&row.run], &row.task_id)).or_default() += 1;
        }
        for (run, count) in active {
            let limit = self.dags[dag_of[&run]].max_active_tasks;
            assert!(count <= limit, "{place}: {count} tasks of a run are active");
        }
        for ((dag_id, task_id), count) in of_task {
            let limit = self.dags[dag_id].task(task_id.as_str()).and_then(|task| task.max_active_tis_per_dag);
            assert!(limit.is_none_or(|limit| count <= limit), "{place}: {count} tries of {dag_id}.{task_id} at a time");
        }
        let used = self.pool_used().await;
        assert!(used <= self.pool_slots.max(self.pool_allowed), "{place}: {used} slots of the pool are in use");
    }

    pub(super) async fn pool_used(&self) -> i64 {
        let held = self.stage.store.running_instances().await.unwrap();
        let in_pool = held.iter().filter(|it| it.row.pool == POOL && holds_slot(&it.row));
        in_pool.map(|it| i64::from(it.row.pool_slots)).sum()
    }

    /// No instance runs in two places, and what the database says is running is what runs.
    fn each_try_runs_once(&self, rows: &[InstanceRow], place: &str) {
        let mut tokens: BTreeSet<(InstanceKey, String)> = BTreeSet::new();
        let mut instances = BTreeSet::new();
        let mut surely = BTreeSet::new();
        for daemon in [Some(&self.leader), self.late.as_ref()].into_iter().flatten() {
            for it in daemon.executor.running() {
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
        if ended_in_memory == 0 && self.hears_everything {
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
            if row.state_reason.as_deref() == Some("unstorable_result") {
                // The store refused it, and it alone: that is how it is told.
                self.owed.remove(&token);
                continue;
            }
            assert_eq!(row.state, TaskState::Success, "{place}: a success was not written down: {row:?}");
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
        let situation = Situation::read(self.stage.store.clone(), now).await.unwrap();
        let limits = self.leader.limits();
        for run in self.stage.store.active_runs(now).await.unwrap() {
            if run.row.state == RunState::Queued {
                let why = explain_run(&situation.view, run.row.key, now);
                assert!(why.iter().any(|it| !it.ok), "{place}: why does this run wait? {:?} {why:?}", run.row);
                continue;
            }
            for row in run.instances.iter().filter(|row| !row.state.is_finished() && !row.state.occupies_slot()) {
                let why = explain_instance(&situation.view, row.key, now, &limits);
                assert!(why.iter().any(|it| !it.ok), "{place}: why does this task wait? {row:?} {why:?}");
            }
        }
    }

    /// What is not finished, each with its reasons.
    pub(super) async fn what_waits(&self) -> Vec<String> {
        let now = self.stage.now();
        let situation = Situation::read(self.stage.store.clone(), now).await.unwrap();
        let limits = self.leader.limits();
        let mut waiting = Vec::new();
        for run in self.stage.store.active_runs(now).await.unwrap() {
            let why = explain_run(&situation.view, run.row.key, now);
            waiting.push(format!("{:?} {}: {why:?}", run.row, run.row.state));
            for row in run.instances.iter().filter(|row| !row.state.is_finished()) {
                let why = explain_instance(&situation.view, row.key, now, &limits);
                waiting.push(format!("{row:?}: {why:?}"));
            }
        }
        waiting
    }

    pub(super) fn has_past_dependence(&self) -> bool {
        self.dags.values().any(|dag| dag.tasks.iter().any(|task| task.depends_on_past))
    }

    /// A task that waits for the one before it waits for as long as that one has failed, or never ran because its run was
    /// set aside: only a person can say that it may go on.
    pub(super) async fn forgive_the_past(&mut self) {
        let past = |run: &RunRow| self.dags[run.dag_id.as_str()].tasks.iter().any(|task| task.depends_on_past);
        let failed: Vec<RunRow> =
            self.stage.runs().await.into_iter().filter(|run| run.state.is_finished() && past(run)).collect();
        for run in failed {
            let rows = self.stage.store.instances(run.key).await.unwrap();
            let task_ids = rows
                .iter()
                .filter(|row| !matches!(row.state, TaskState::Success | TaskState::Skipped))
                .map(|row| row.task_id.clone())
                .collect();
            let request = super::mark_request(run.key, task_ids, TaskState::Success);
            self.stage.store.mark_instances(&request, self.stage.now()).await.unwrap();
        }
    }
}

/// Also one that was marked, and whose try has not stopped yet.
fn holds_slot(row: &InstanceRow) -> bool {
    row.state.occupies_slot() || (row.state.is_finished() && row.lease.is_some())
}

fn one_run_for_a_date(runs: &[RunRow], place: &str) {
    let mut dates = BTreeSet::new();
    for run in runs {
        assert!(dates.insert((run.dag_id.clone(), run.logical_date)), "{place}: two runs for one date");
    }
}
