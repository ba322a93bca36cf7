//! A store with DAGs and runs in it, made by the same calls that the scheduler makes.

use std::path::Path;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_logs::{Level, LogFolder, TryId};
use millrace_model::change::{
    Batch, Claim, Completion, Finish, InstanceKey, NewRun, RunKey, RunMove, SchedulePointer, TaskMove, TryOutcome,
};
use millrace_model::dag::{Dag, Task};
use millrace_model::duration::Span;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::ledger::{Checked, LedgerEntry};
use millrace_model::schedule::{Schedule, Timetable, parse_zone};
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_planner::{DagVersion, scheduled_run_id};
use millrace_store::{Store, StoreOptions, SyncDag, schema};
use serde_json::{Map, Value, json};

pub struct Plant {
    pub store: Store,
    pub logs: LogFolder,
    /// Up to when the schedule has made its runs.
    pub until: DateTime<Utc>,
}

/// Id, operator, the tasks before it, retries.
pub type TaskLine<'a> = (&'a str, &'a str, &'a [&'a str], u32);

/// What becomes of one task of a run.
#[derive(Clone)]
pub struct Part {
    pub task: &'static str,
    /// Where it ends, or stands now.
    pub state: TaskState,
    pub seconds: i64,
    pub rows: Option<u64>,
    pub error: Option<&'static str>,
    pub log: Vec<(Level, String)>,
}

impl Part {
    pub fn new(task: &'static str, state: TaskState, seconds: i64) -> Self {
        Self { task, state, seconds, rows: None, error: None, log: Vec::new() }
    }

    pub fn rows(mut self, rows: u64) -> Self {
        self.rows = Some(rows);
        self
    }

    pub fn error(mut self, error: &'static str) -> Self {
        self.error = Some(error);
        self
    }

    pub fn line(mut self, level: Level, text: impl Into<String>) -> Self {
        self.log.push((level, text.into()));
        self
    }
}

pub fn dag(id: &str, schedule: &str, zone: &str, tags: &[&str], tasks: &[TaskLine<'_>]) -> Dag {
    let task = |(id, operator, before, retries): &TaskLine<'_>| Task {
        depends_on: before.iter().map(|id| TaskId::new_unchecked(*id)).collect(),
        retries: *retries,
        retry_delay: Span::from_minutes(3),
        ..Task::new(TaskId::new_unchecked(*id), *operator)
    };
    Dag {
        timetable: Timetable::interval(Schedule::from_value(&json!(schedule)).unwrap(), parse_zone(zone).unwrap()),
        start_date: Some("2024-01-01T00:00:00Z".parse().unwrap()),
        max_active_runs: 4,
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        owner: Some("data".to_owned()),
        tasks: tasks.iter().map(task).collect(),
        ..Dag::new(DagId::new_unchecked(id))
    }
}

impl Plant {
    pub async fn new(folder: &Path, now: DateTime<Utc>, until: DateTime<Utc>) -> Self {
        let url = format!("sqlite://{}/millrace.db", folder.display());
        schema::migrate(&url, true, now).await.unwrap();
        Self { store: Self::open(folder).await, logs: LogFolder::new(folder.join("logs")), until }
    }

    pub async fn open(folder: &Path) -> Store {
        let url = format!("sqlite://{}/millrace.db", folder.display());
        let options = StoreOptions { url, max_connections: 4, home: Some(folder.to_owned()) };
        Store::open(&options).await.unwrap()
    }

    pub async fn sync(&self, dag: Dag, paused: bool, now: DateTime<Utc>) -> Arc<DagVersion> {
        let file_path = format!("{}.yaml", dag.dag_id);
        let file = SyncDag { dag: &dag, file_path: &file_path, source: "", paused_at_creation: paused };
        let outcome = self.store.sync_dag(file, now).await.unwrap();
        let last = dag.timetable.next_run(None, &dag.window(), self.until);
        let next = last.and_then(|last| dag.timetable.next_run(Some(&last.data_interval), &dag.window(), self.until));
        let pointer = SchedulePointer { dag_id: dag.dag_id.clone(), next, passed: None };
        self.commit(Batch { pointers: vec![pointer], ..Batch::default() }, now).await;
        Arc::new(DagVersion::new(outcome.version_key, Arc::new(dag)).unwrap())
    }

    async fn commit(&self, batch: Batch, now: DateTime<Utc>) -> millrace_store::CommitReport {
        let report = self.store.commit_unled(&batch, now).await.unwrap();
        assert_eq!(report.stale_count(), 0, "{batch:?}");
        report
    }

    /// A run at `logical_date` that starts at `start`; its tasks go one after the other, in the order of `parts`.
    pub async fn run(
        &self,
        version: &DagVersion,
        logical_date: DateTime<Utc>,
        start: DateTime<Utc>,
        end: Option<RunState>,
        parts: &[Part],
    ) -> RunKey {
        let dag = &version.dag;
        let interval = dag
            .timetable
            .run_at(logical_date, dag.start_date)
            .map_or_else(|| dag.timetable.manual_interval(logical_date), |planned| planned.data_interval);
        let run_id = RunId::new_unchecked(scheduled_run_id(logical_date));
        let new = NewRun {
            dag_id: dag.dag_id.clone(),
            run_id: run_id.clone(),
            run_type: RunType::Scheduled,
            state: RunState::Running,
            logical_date,
            data_interval: interval,
            run_after: interval.end,
            conf: Map::new(),
            version_key: version.key,
            backfill_key: None,
            triggered_by: "scheduler".to_owned(),
            tasks: version.new_instances(),
            asset_events: Vec::new(),
        };
        let report = self.commit(Batch { new_runs: vec![new], ..Batch::default() }, start).await;
        let created = report.created[0].clone().unwrap();
        let mut at = start;
        for part in parts {
            let task = dag.task_index(part.task).unwrap();
            let id = TryId {
                dag_id: dag.dag_id.to_string(),
                run_id: run_id.to_string(),
                task_id: part.task.to_owned(),
                map_index: -1,
                try_number: 1,
            };
            at = self.play(created.instances[task], &id, part, dag.tasks[task].retries, at).await;
        }
        if let Some(to) = end {
            let step = RunMove { run: created.run, from: RunState::Running, to, reason: None };
            self.commit(Batch { run_moves: vec![step], ..Batch::default() }, at).await;
        }
        created.run
    }

    /// The first try of a running task ends well, with this result.
    pub async fn leave(&self, instance: InstanceKey, result: Value, at: DateTime<Utc>) {
        let part = Part::new("extract", TaskState::Success, 1);
        let mut finish = finish(instance, 1, format!("{instance}-1"), &part, TaskState::Success, (at, at));
        finish.completion.results = vec![("return_value".to_owned(), result)];
        self.commit(Batch { finishes: vec![finish], ..Batch::default() }, at).await;
    }

    /// Gives when it ended.
    async fn play(
        &self,
        instance: InstanceKey,
        first: &TryId,
        part: &Part,
        retries: u32,
        start: DateTime<Utc>,
    ) -> DateTime<Utc> {
        let step =
            |to| TaskMove { instance, from: TaskState::None, to, reason: None, counts_try: false, given_up: false };
        match part.state {
            TaskState::None => return start,
            TaskState::Scheduled | TaskState::UpstreamFailed | TaskState::Skipped => {
                self.commit(Batch { task_moves: vec![step(part.state)], ..Batch::default() }, start).await;
                return start;
            }
            _ => {}
        }
        let tries = if part.state == TaskState::Failed { retries + 1 } else { 1 };
        let mut at = start;
        let mut from = TaskState::None;
        for number in 1..=tries {
            let token = format!("{instance}-{number}");
            let claim = Claim {
                instance,
                from,
                try_number: number,
                owner: "worker-1".to_owned(),
                token: token.clone(),
                lease_expires_at: at + TimeDelta::hours(1),
                queued_at: at,
                item: None,
            };
            self.commit(Batch { claims: vec![claim], ..Batch::default() }, at).await;
            let log = self.logs.open(&TryId { try_number: number, ..first.clone() }, Arc::new(str::to_owned));
            for (place, (level, text)) in part.log.iter().enumerate() {
                let share = part.seconds * 1000 * place as i64 / part.log.len() as i64;
                log.write(at + TimeDelta::milliseconds(share), *level, text);
            }
            if part.state == TaskState::Running {
                return at;
            }
            let goes_on = number < tries && part.state == TaskState::Failed;
            let to = if goes_on { TaskState::UpForRetry } else { part.state };
            let ended = at + TimeDelta::seconds(part.seconds);
            let finish = finish(instance, number, token, part, to, (at, ended));
            self.commit(Batch { finishes: vec![finish], ..Batch::default() }, ended).await;
            at = if number < tries { ended + TimeDelta::minutes(3) } else { ended };
            from = TaskState::UpForRetry;
        }
        at
    }
}

fn finish(
    instance: InstanceKey,
    try_number: u32,
    token: String,
    part: &Part,
    to: TaskState,
    (started_at, ended_at): (DateTime<Utc>, DateTime<Utc>),
) -> Finish {
    let is_failure = matches!(to, TaskState::Failed | TaskState::UpForRetry);
    let entry = part.rows.map(|rows| LedgerEntry {
        stage: if part.task.contains("redshift") || part.task.contains("load") { "load" } else { "upload" }.to_owned(),
        source: "mysql_prod: SELECT id, created_at, score FROM prod.nps".to_owned(),
        target: "s3://warehouse-landing/nps/2024-03-01.csv".to_owned(),
        rows_read: Some(rows),
        rows_written: Some(rows),
        rows_inserted: None,
        rows_updated: None,
        rows_deleted: None,
        rows_rejected: None,
        bytes: Some(rows * 37),
        checksum: Some("sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned()),
        remote_ids: Vec::new(),
        started_at,
        ended_at,
        read: None,
        written: None,
        checks: vec![Checked { name: "rows >= 1".to_owned(), passed: true, found: format!("{rows} rows") }],
    });
    Finish {
        completion: Completion {
            instance,
            try_number,
            token,
            outcome: if is_failure {
                TryOutcome::Failed { reason: "error".to_owned(), retry: true }
            } else {
                TryOutcome::Success
            },
            started_at,
            ended_at,
            error: part.error.filter(|_| is_failure).map(str::to_owned),
            results: Vec::new(),
            shown_results: Vec::new(),
            ledger: entry.into_iter().collect(),
            rendered: Some(rendered(part.task)),
            rendered_map_index: None,
            choice: None,
        },
        to,
        reason: is_failure.then(|| "error".to_owned()),
        next_try_at: (to == TaskState::UpForRetry).then(|| ended_at + TimeDelta::minutes(3)),
        counts_try: true,
        asset_events: Vec::new(),
    }
}

fn rendered(task: &str) -> Value {
    json!({"s3_bucket": "warehouse-landing", "s3_key": "nps/2024-03-01.csv", "task": task})
}
