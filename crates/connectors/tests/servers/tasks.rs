//! Tasks as the worker runs them: an operator with its parameters, its tries, and a switch of its own to stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use futures::future::BoxFuture;
use millrace_model::ids::TaskId;
use millrace_operator_api::context::{CancelSignal, Results, StatementJournal, WorkId};
use millrace_operator_api::entry::find;
use millrace_operator_api::{PortError, Problems, TaskError};
use millrace_testkit::wait_until;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::copies::databases::{Database, Kind};
use crate::s3::unfinished;
use crate::world::{Journal, Switch, World, work};

/// Far longer than anything here takes.
pub const PATIENCE: Duration = Duration::from_mins(2);

pub struct Task<'a> {
    world: &'a World,
    operator: &'static str,
    parameters: Value,
    work: WorkId,
    said: Option<Value>,
    journal: Arc<Journal>,
    pub cancel: CancellationToken,
}

impl<'a> Task<'a> {
    pub fn new(world: &'a World, operator: &'static str, parameters: Value) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let task_id = TaskId::new_unchecked(format!("{operator}_{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        Self {
            world,
            operator,
            parameters,
            work: WorkId { task_id, ..work(0) },
            said: None,
            journal: Arc::default(),
            cancel: CancellationToken::new(),
        }
    }

    /// What the task before it said, whichever it asks.
    pub fn after(self, said: &Value) -> Self {
        Self { said: Some(said.clone()), ..self }
    }

    pub async fn run(&self, try_number: u32) -> Result<Value, TaskError> {
        let fail = TaskError::Fail;
        let entry = find(millrace_operators::catalogue(), self.operator).ok_or_else(|| fail("none".to_owned()))?;
        let operator = (entry.parse)(self.parameters.clone()).map_err(fail)?;
        let mut problems = Problems::default();
        operator.check(&mut problems);
        if !problems.is_empty() {
            return Err(fail(format!("{:?}", problems.into_items())));
        }
        let mut context = self.world.context(try_number);
        context.work = self.work.clone();
        context.journal = Arc::clone(&self.journal) as Arc<dyn StatementJournal>;
        context.cancel = Arc::new(Switch(self.cancel.clone())) as Arc<dyn CancelSignal>;
        context.results = Arc::new(Said(self.said.clone())) as Arc<dyn Results>;
        let outcome = operator.run(&context).await?;
        outcome.result.ok_or_else(|| fail("no result".to_owned()))
    }

    /// Runs it; the process is gone at its `number`-th write into the journal, before it or just after.
    pub async fn run_and_die(&self, try_number: u32, number: usize, after: bool) -> Result<Value, TaskError> {
        self.journal.die_at(number, after);
        let mut running = Box::pin(self.run(try_number));
        let result = tokio::select! {
            result = &mut running => Some(result),
            () = self.journal.died.notified() => None,
        };
        if let Some(result) = result {
            self.journal.lives();
            return result;
        }
        // Nobody tidies up after it.
        std::mem::forget(running);
        Err(TaskError::Retry("the process is gone".to_owned()))
    }

    /// Runs it, and stops it as soon as `condition` holds; it may end sooner.
    pub async fn run_until(
        &self,
        said: &str,
        condition: impl AsyncFnMut() -> bool,
    ) -> Result<Result<Value, TaskError>> {
        let mut running = Box::pin(self.run(1));
        tokio::select! {
            result = &mut running => return Ok(result),
            seen = wait_until(said, PATIENCE, condition) => seen?,
        }
        self.cancel.cancel();
        Ok(running.await)
    }
}

/// Runs an operator as the worker does; each generation is another piece of work.
pub async fn operate(world: &World, generation: u32, operator: &str, parameters: Value) -> Result<Value> {
    let fail = |text: String| anyhow!("{operator}: {text}");
    let entry = find(millrace_operators::catalogue(), operator).context("no operator")?;
    let operator = (entry.parse)(parameters).map_err(fail)?;
    let mut problems = Problems::default();
    operator.check(&mut problems);
    if !problems.is_empty() {
        return Err(fail(format!("{:?}", problems.into_items())));
    }
    let mut context = world.context(1);
    context.work = work(generation);
    let outcome = operator.run(&context).await.map_err(|error: TaskError| fail(error.to_string()))?;
    outcome.result.context("no result")
}

struct Said(Option<Value>);

impl Results for Said {
    fn pull<'a>(&'a self, _: &'a str, _: &'a str) -> BoxFuture<'a, Result<Option<Value>, PortError>> {
        Box::pin(async { Ok(self.0.clone()) })
    }
}

/// The reason why a task failed that may be tried again.
pub fn may_try_again(result: Result<Value, TaskError>) -> Result<String> {
    match result {
        Err(TaskError::Retry(message)) => Ok(message),
        other => bail!("it should have failed for now: {other:?}"),
    }
}

/// One attempt at a request: what fails once fails the task.
pub fn impatient(world: &World, conn_id: &str) {
    world.change(conn_id, |connection| {
        connection.extra.0.insert("config_kwargs".to_owned(), json!({"retries": {"total_max_attempts": 1}}));
    });
}

/// As many attempts as usual.
pub fn patient(world: &World, conn_id: &str) {
    world.change(conn_id, |connection| {
        connection.extra.0.remove("config_kwargs");
    });
}

pub async fn no_upload_is_left(world: &World) -> Result<()> {
    wait_until("no upload in parts is left", PATIENCE, async || unfinished(world).is_ok_and(|count| count == 0)).await
}

/// `dw.moved` or `moved`, and what loads make of it.
pub struct Target {
    pub database: Database,
}

pub const METHODS: [&str; 4] = ["append", "replace", "swap", "upsert"];
/// Rows that are loaded: ids from 1.
pub const ROWS: usize = 20;

pub type Rows = Vec<(i64, String)>;

impl Target {
    pub async fn start(world: &World, kind: Kind) -> Result<Self> {
        Self::of(Database::start(world, kind, "target").await?).await
    }

    pub async fn of(database: Database) -> Result<Self> {
        let target = Self { database };
        target.make().await?;
        Ok(target)
    }

    pub fn place(&self) -> String {
        self.database.place("moved")
    }

    async fn make(&self) -> Result<()> {
        let note = if self.database.kind == Kind::Redshift { "varchar(65535)" } else { "text" };
        self.database.run(&format!("CREATE TABLE {} (id bigint, note {note})", self.place())).await?;
        self.fill().await
    }

    /// As it is before each load.
    pub async fn fill(&self) -> Result<()> {
        self.database.run(&format!("DELETE FROM {}", self.place())).await?;
        self.database.run(&format!("INSERT INTO {} VALUES (1, 'old'), (100, 'kept')", self.place())).await
    }

    pub fn before() -> Rows {
        vec![(1, "old".to_owned()), (100, "kept".to_owned())]
    }

    pub fn after(method: &str) -> Rows {
        let new = (1..).take(ROWS).map(|id| (id, format!("row {id}")));
        let mut rows: Rows = match method {
            "append" => Self::before().into_iter().chain(new).collect(),
            "upsert" => new.chain([(100, "kept".to_owned())]).collect(),
            _ => new.collect(),
        };
        rows.sort();
        rows
    }

    pub async fn rows(&self) -> Result<Rows> {
        let cells = self.database.rows(&format!("SELECT id, note FROM {}", self.place())).await?;
        let row = |row: &Vec<Option<String>>| -> Option<(i64, String)> {
            Some((row[0].as_deref()?.parse().ok()?, row[1].clone().unwrap_or_else(|| "NULL".to_owned())))
        };
        let mut rows: Rows = cells.iter().filter_map(row).collect();
        rows.sort();
        anyhow::ensure!(rows.len() == cells.len(), "rows without an id");
        Ok(rows)
    }

    /// Tables of ours that should be gone.
    pub fn leftovers(&self) -> Result<Vec<String>> {
        let statement = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace <> 'pg_catalog'::regnamespace \
             AND (relname LIKE 'millrace%' AND relname <> 'millrace_load_marker' OR relname LIKE 'moved\\_\\_%')";
        match self.database.kind {
            Kind::Lite => Ok(Vec::new()),
            _ => Ok(self.database.postgres()?.query(statement)?.into_iter().flatten().flatten().collect()),
        }
    }

    /// A load of what `sql_to_s3` or `upload` wrote.
    pub fn load<'a>(&self, world: &'a World, method: &str, said: &Value, more: Value) -> Task<'a> {
        let mut load = json!({
            "warehouse_conn_id": self.database.conn_id, "from_task": "before", "aws_conn_id": "s3", "table": "moved",
            "method": method, "show_values": true,
        });
        if self.database.schema == "dw" {
            load["schema"] = json!("dw");
        }
        if method == "upsert" {
            load["upsert_keys"] = json!("id");
        }
        if let (Some(load), Some(more)) = (load.as_object_mut(), more.as_object()) {
            load.extend(more.clone());
        }
        Task::new(world, "copy", load).after(said)
    }
}

/// A source with the tables `small` (20 rows) and `large` (10 rows of a million characters).
pub async fn source(world: &World) -> Result<Database> {
    let source = Database::start(world, Kind::Lite, "source").await?;
    let numbers = |most| format!("WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {most})");
    source.run(&format!("CREATE TABLE small AS {} SELECT n AS id, 'row ' || n AS note FROM s", numbers(ROWS))).await?;
    let note = "replace(hex(zeroblob(500000)), '0', 'x')";
    source.run(&format!("CREATE TABLE large AS {} SELECT n AS id, {note} AS note FROM s", numbers(10))).await?;
    Ok(source)
}

/// An extract of `table` into `key`.
pub fn extract<'a>(world: &'a World, source: &Database, table: &str, key: &str, more: Value) -> Task<'a> {
    let mut extract = json!({
        "sql_conn_id": source.conn_id, "query": format!("SELECT id, note FROM {table}"), "s3_bucket": "lake",
        "s3_key": key, "aws_conn_id": "s3",
    });
    if let (Some(extract), Some(more)) = (extract.as_object_mut(), more.as_object()) {
        extract.extend(more.clone());
    }
    Task::new(world, "sql_to_s3", extract)
}
