//! The end of a world: everything that can end does.

use chrono::TimeDelta;
use millrace_model::change::TryOutcome;
use millrace_model::ids::{DagId, TaskId};
use millrace_model::schedule::Schedule;
use millrace_model::state::TaskState;
use millrace_planner::explain_instance;
use millrace_situation::Situation;
use millrace_store::{InstanceRow, RunRow};

use super::World;
use super::requests::mark_request;

/// Turns until every run must have ended.
const ROUNDS: usize = 3_000;

impl World {
    pub(super) async fn settle(&mut self) {
        self.note("settling");
        self.faults.clear();
        self.odds.interruptions = None;
        let names: Vec<String> = self.dags.keys().cloned().collect();
        for name in names {
            let dag_id = DagId::new_unchecked(name.clone());
            self.stage.store.set_paused(&dag_id, false, "world", self.stage.now()).await.unwrap();
            if self.dags[&name].timetable.schedule == Schedule::Continuous {
                self.take_schedule(&name).await;
            }
        }
        for backfill in self.stage.store.active_backfills().await.unwrap() {
            self.stage.store.set_backfill_paused(backfill.key, false, "world", self.stage.now()).await.unwrap();
        }
        self.pool_slots = 4;
        self.stage.store.put_pool(&self.pool_row(4), "world", self.stage.now()).await.unwrap();
        self.allow_what_is_there().await;
        self.look().await;
        while self.late.is_some() {
            self.late_one_acts().await;
        }
        self.turn().await;
        self.check().await;
        let last = self.stage.runs().await.iter().map(|run| run.key).max().unwrap_or(0);
        for round in 0..ROUNDS {
            if round % 50 == 49 && self.has_past_dependence() {
                self.forgive_the_past().await;
            }
            self.go_on().await;
            self.check().await;
            let active = self.stage.store.active_runs().await.unwrap();
            if active.iter().all(|run| run.row.key > last) {
                return;
            }
        }
        panic!("{}: runs that never end: {:#?}", self.place(), self.what_waits().await);
    }

    async fn go_on(&mut self) {
        let executor = self.leader.executor.clone();
        if let Some(running) = executor.running().first() {
            return self.end(false, running.instance, TryOutcome::Success).await;
        }
        if let Some(stopped) = executor.outside().iter().find(|it| executor.stopping(&it.token).is_some()) {
            let reason = executor.stopping(&stopped.token).unwrap_or_default();
            return self.end(false, stopped.instance, TryOutcome::Cancelled { reason }).await;
        }
        if let Some(waiting) = executor.outside().iter().find(|it| !self.asked_back.contains(&it.token)) {
            self.step_one(false, waiting.instance, &waiting.token, true);
            return self.turn().await;
        }
        // What has failed too often goes on when somebody lets it.
        for row in self.stage.store.scheduler_dags().await.unwrap().iter().filter(|row| row.is_paused) {
            self.stage.store.set_paused(&row.dag_id, false, "world", self.stage.now()).await.unwrap();
        }
        self.look().await;
        // Only retries, leases, windows and schedules are left to wait for.
        self.stage.clock.advance(TimeDelta::minutes(5));
        self.beat().await;
        self.turn().await;
    }

    fn has_past_dependence(&self) -> bool {
        let looks_back = |dag: &millrace_model::dag::Dag| {
            dag.tasks.iter().any(|task| task.depends_on_past || task.wait_for_downstream)
        };
        self.whole.values().any(looks_back)
    }

    /// A task that waits for the one before it waits for as long as that one has failed, or never ran because its run was
    /// set aside: only a person can say that it may go on.
    async fn forgive_the_past(&mut self) {
        let past = |run: &RunRow| {
            let tasks = &self.whole[run.dag_id.as_str()].tasks;
            tasks.iter().any(|task| task.depends_on_past || task.wait_for_downstream)
        };
        let failed: Vec<RunRow> =
            self.stage.runs().await.into_iter().filter(|run| run.state.is_finished() && past(run)).collect();
        for run in failed {
            let rows = self.stage.store.instances(run.key).await.unwrap();
            let is_bad = |state: TaskState| !matches!(state, TaskState::Success | TaskState::Removed);
            let task_ids = rows.iter().filter(|row| is_bad(row.state)).map(|row| row.task_id.clone()).collect();
            let request = mark_request(run.key, task_ids, TaskState::Success);
            self.stage.store.mark_instances(&request, self.stage.now()).await.unwrap();
        }
        self.forgive_what_is_not_there().await;
        self.allow_what_is_there().await;
        self.look().await;
    }

    /// The file had lost a task for a while: nobody but a person can say that it may go on without the runs of that time.
    async fn forgive_what_is_not_there(&mut self) {
        let now = self.stage.now();
        let situation = Situation::read(self.stage.store.clone()).await.unwrap();
        let limits = self.leader.limits();
        for run in self.stage.store.active_runs().await.unwrap() {
            let lacks_past = |row: &&InstanceRow| {
                let why = explain_instance(&situation.view, row.key, now, &limits);
                let is_gone = |text: &str| text.contains(", which ran before it") || text.ends_with(" is removed");
                !row.state.is_finished() && why.iter().any(|it| !it.ok && is_gone(&it.text))
            };
            let task_ids: Vec<TaskId> =
                run.instances.iter().filter(lacks_past).map(|row| row.task_id.clone()).collect();
            if !task_ids.is_empty() {
                let request = mark_request(run.row.key, task_ids, TaskState::Success);
                self.stage.store.mark_instances(&request, now).await.unwrap();
            }
        }
    }
}
