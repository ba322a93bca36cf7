//! A fresh database of either kind, a sample DAG, and the short words that tests are written in.

use anyhow::{Context, Result};
use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::change::{
    Batch, Claim, Completion, Finish, InstanceKey, NewInstance, NewRun, RunKey, RunMove, TaskMove, TryOutcome,
};
use millrace_model::dag::{Dag, Task};
use millrace_model::duration::Span;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::schedule::DataInterval;
use millrace_model::state::{RunState, RunType, TaskState};
use millrace_store::{
    CommitReport, CreatedRun, Leadership, NewestVersion, RepinRequest, RunChoice, Store, StoreOptions, SyncDag, schema,
};
use millrace_testkit::{Postgres, TestDatabase};
use serde_json::Map;
use sqlx::{AssertSqlSafe, Connection, Row, SqliteConnection};
use tempfile::TempDir;

pub struct Bench {
    pub home: TempDir,
    pub url: String,
    postgres: Option<TestDatabase>,
}

impl Bench {
    pub fn sqlite() -> Result<Self> {
        let home = tempfile::tempdir()?;
        let url = format!("sqlite://{}/millrace.db", home.path().display());
        Ok(Self { home, url, postgres: None })
    }

    pub fn postgres() -> Result<Self> {
        let database = Postgres::shared()?.create_database()?;
        Ok(Self { home: tempfile::tempdir()?, url: database.url(), postgres: Some(database) })
    }

    pub fn is_postgres(&self) -> bool {
        self.postgres.is_some()
    }

    pub fn options(&self) -> StoreOptions {
        StoreOptions { url: self.url.clone(), max_connections: 4, home: Some(self.home.path().to_owned()) }
    }

    /// Migrated.
    pub async fn store(&self) -> Result<Store> {
        schema::migrate(&self.url, true, at(0)).await?;
        self.again().await
    }

    /// As another process would open it.
    pub async fn again(&self) -> Result<Store> {
        Ok(Store::open(&self.options()).await?)
    }

    /// A store with the sample DAG and the lead.
    pub async fn led(&self) -> Result<World> {
        let store = self.store().await?;
        let version = store.sync_dag(sync(&sample()), at(0)).await?.version_key;
        let lead = store.try_lead("job-1", at(0)).await?.context("nobody else leads")?;
        Ok(World { store, lead, version })
    }

    /// The rows of a query, each value as text.
    pub async fn query(&self, sql: &str) -> Result<Vec<Vec<String>>> {
        if let Some(database) = &self.postgres {
            let rows = database.query(sql)?;
            return Ok(rows.into_iter().map(|row| row.into_iter().map(Option::unwrap_or_default).collect()).collect());
        }
        let mut connection = SqliteConnection::connect(&self.url).await?;
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut connection).await;
        let rows = rows.with_context(|| sql.to_owned())?;
        connection.close().await?;
        rows.iter()
            .map(|row| {
                (0..row.len())
                    .map(|column| {
                        let text = row.try_get_unchecked::<Option<String>, _>(column)?;
                        Ok(text.unwrap_or_default())
                    })
                    .collect()
            })
            .collect()
    }

    pub async fn number(&self, sql: &str) -> Result<i64> {
        Ok(self.query(sql).await?[0][0].parse()?)
    }
}

pub struct World {
    pub store: Store,
    pub lead: Leadership,
    pub version: i64,
}

impl World {
    pub async fn commit(&self, batch: &Batch, now: DateTime<Utc>) -> Result<CommitReport> {
        Ok(self.store.commit(batch, self.lead.epoch, now).await?)
    }

    /// A run of the sample DAG, running.
    pub async fn running_run(&self, day: i64) -> Result<CreatedRun> {
        let new = NewRun { state: RunState::Running, ..new_run(self.version, day) };
        let report = self.commit(&Batch { new_runs: vec![new], ..Batch::default() }, at(0)).await?;
        report.created.into_iter().flatten().next().context("the run is new")
    }

    /// The same whose first task is a setup and whose last is a teardown.
    pub async fn running_run_that_cleans_up(&self) -> Result<CreatedRun> {
        let run = self.running_run(0).await?;
        let mut dag = sample();
        (dag.tasks[0].is_setup, dag.tasks[2].is_teardown) = (true, true);
        self.repin(run.run, &dag).await?;
        self.commit(&Batch { signals_handled: self.signals().await?, ..Batch::default() }, at(3)).await?;
        Ok(run)
    }

    /// The DAG's newest version is this one, and the run is given to it.
    pub async fn repin(&self, run: RunKey, dag: &Dag) -> Result<()> {
        let version_key = self.store.sync_dag(sync(dag), at(1)).await?.version_key;
        let newest = NewestVersion { version_key, tasks: dag.tasks.iter().map(NewInstance::of).collect() };
        let runs = RunChoice::One(run);
        let repin = RepinRequest { runs, only_active: false, newest, dry_run: false, actor: "cli".to_owned() };
        self.store.repin_runs(&repin, at(2)).await?;
        Ok(())
    }

    /// Claims and finishes one instance.
    pub async fn work(&self, instance: InstanceKey, outcome: TryOutcome, to: TaskState) -> Result<()> {
        let row = self.store.instance_by_key(instance).await?.context("it exists")?;
        let claim = claim(instance, row.state, row.try_number + 1);
        let report = self.commit(&Batch { claims: vec![claim.clone()], ..Batch::default() }, at(10)).await?;
        anyhow::ensure!(report.stale_count() == 0, "the claim of {instance} is stale");
        let finish = finish(&claim, outcome, to);
        let report = self.commit(&Batch { finishes: vec![finish], ..Batch::default() }, at(20)).await?;
        anyhow::ensure!(report.stale_count() == 0, "the finish of {instance} is stale");
        Ok(())
    }

    pub async fn end_run(&self, run: RunKey, to: RunState) -> Result<CommitReport> {
        let step = RunMove { run, from: RunState::Running, to, reason: None };
        let report = self.commit(&Batch { run_moves: vec![step], ..Batch::default() }, at(30)).await?;
        anyhow::ensure!(report.stale_count() == 0, "the run {run} is not running");
        Ok(report)
    }

    /// What a scheduler that has read everything names as handled.
    pub async fn signals(&self) -> Result<Vec<i64>> {
        Ok(self.store.signals().await?.into_iter().map(|signal| signal.id).collect())
    }

    pub async fn states(&self, run: RunKey) -> Result<String> {
        let instances = self.store.instances(run).await?;
        Ok(instances.iter().map(|it| it.state.to_string()).collect::<Vec<_>>().join(" "))
    }
}

/// Seconds after the tests' beginning.
pub fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_700_000_000_123_456).unwrap_or_default() + TimeDelta::seconds(seconds)
}

pub fn day(day: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_704_067_200, 0).unwrap_or_default() + TimeDelta::days(day)
}

pub fn task(task_id: &str, depends_on: &[&str], retries: u32) -> Task {
    Task {
        depends_on: depends_on.iter().map(|id| TaskId::new_unchecked(*id)).collect(),
        retries,
        retry_delay: Span::from_seconds(60),
        ..Task::new(TaskId::new_unchecked(task_id), "noop")
    }
}

/// extract -> load -> check
pub fn sample() -> Dag {
    dag("daily", vec![task("extract", &[], 1), task("load", &["extract"], 2), task("check", &["load"], 0)])
}

pub fn dag(dag_id: &str, tasks: Vec<Task>) -> Dag {
    Dag { tags: vec!["nightly".to_owned()], tasks, ..Dag::new(DagId::new_unchecked(dag_id)) }
}

pub fn sync(dag: &Dag) -> SyncDag<'_> {
    SyncDag { dag, file_path: "daily.yaml", source: "dag_id: daily", paused_at_creation: false }
}

/// A scheduled run of the sample DAG, queued.
pub fn new_run(version_key: i64, which: i64) -> NewRun {
    let logical_date = day(which);
    NewRun {
        dag_id: DagId::new_unchecked("daily"),
        run_id: RunId::new_unchecked(format!("scheduled__{}", logical_date.to_rfc3339())),
        run_type: RunType::Scheduled,
        state: RunState::Queued,
        logical_date,
        data_interval: DataInterval { start: logical_date, end: day(which + 1) },
        run_after: day(which + 1),
        conf: Map::new(),
        version_key,
        backfill_key: None,
        triggered_by: "scheduler".to_owned(),
        tasks: sample().tasks.iter().map(NewInstance::of).collect(),
        asset_events: Vec::new(),
    }
}

pub fn claim(instance: InstanceKey, from: TaskState, try_number: u32) -> Claim {
    Claim {
        instance,
        from,
        try_number,
        owner: "job-1".to_owned(),
        token: format!("token-{instance}-{try_number}"),
        lease_expires_at: at(300),
        queued_at: at(9),
        item: None,
    }
}

pub fn finish(claim: &Claim, outcome: TryOutcome, to: TaskState) -> Finish {
    let is_lost = outcome == TryOutcome::LostWorker;
    Finish {
        completion: Completion::new(claim.instance, claim.try_number, claim.token.clone(), outcome, (at(11), at(19))),
        to,
        reason: is_lost.then(|| "lost_worker".to_owned()),
        next_try_at: (to == TaskState::UpForRetry).then(|| at(79)),
        counts_try: !is_lost,
        asset_events: Vec::new(),
    }
}

pub fn step(instance: InstanceKey, from: TaskState, to: TaskState) -> TaskMove {
    TaskMove { instance, from, to, reason: None, counts_try: false, given_up: false }
}

pub fn failed(retry: bool) -> TryOutcome {
    TryOutcome::Failed { reason: "broken".to_owned(), retry }
}

pub fn tasks(ids: &[&str]) -> Vec<TaskId> {
    ids.iter().map(|id| TaskId::new_unchecked(*id)).collect()
}
