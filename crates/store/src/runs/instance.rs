//! Task instances, as everybody reads them.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, PutOffs, RunKey};
use millrace_model::choice::Choice;
use millrace_model::ids::{DagId, RunId, TaskId};
use millrace_model::state::TaskState;

use crate::sql::{Kind, Row, values};
use crate::{Result, Store, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The job that runs the try.
    pub owner: String,
    pub token: String,
    pub expires_at: DateTime<Utc>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct InstanceRow {
    pub key: InstanceKey,
    pub run: RunKey,
    pub task_id: TaskId,
    /// -1 for a task that is not mapped.
    pub map_index: i32,
    /// What people call an instance of a mapped task; known when its first try has ended.
    pub rendered_map_index: Option<String>,
    pub operator: String,
    pub state: TaskState,
    pub state_reason: Option<String>,
    /// Tries that counted so far, the running one included. The next claim's number is this plus one.
    pub try_number: u32,
    /// The try number after which a failure is final is `max_tries + 1`.
    pub max_tries: u32,
    /// How often it was cleared.
    pub generation: u32,
    /// Workers lost in this generation; they cost no try.
    pub lost_workers: u32,
    pub pool: String,
    pub pool_slots: u32,
    pub priority_weight: i32,
    pub queued_at: Option<DateTime<Utc>>,
    /// Of the latest try.
    pub start_date: Option<DateTime<Utc>>,
    pub end_date: Option<DateTime<Utc>>,
    /// Set while `up_for_retry` and `up_for_reschedule`.
    pub next_try_at: Option<DateTime<Utc>>,
    /// Set when the latest try was put off and goes on.
    pub put_offs: Option<PutOffs>,
    pub lease: Option<Lease>,
    /// What it decided about the tasks after it, when it has ended.
    pub choice: Option<Choice>,
    /// Skipped because its run was given up (a timeout, `fail_fast`, a mark, a cancelled backfill).
    pub given_up: bool,
    /// Of one whose try has not stopped yet: the version that its run had when the try began, if it was given another
    /// since.
    pub begun_with: Option<i64>,
    /// Of one whose try has not stopped yet: it waits outside of any worker, also when it was cleared or marked since.
    pub is_outside: bool,
    /// Of a mapped task: by what the item is known that its last try was for.
    pub item: Option<i64>,
}

/// On `task_instance i`: [`InstanceRow::has_failed`].
pub(crate) const HAS_FAILED: &str =
    "(i.state IN ('failed', 'upstream_failed') OR (i.state = 'skipped' AND i.given_up))";

impl InstanceRow {
    /// Failed, or never got its chance: because of a failure before it, or because its run was given up.
    pub fn has_failed(&self) -> bool {
        self.state.is_failure() || self.given_up
    }
}

/// An instance that a worker holds, found again after a crash.
#[derive(Debug, Clone, PartialEq)]
pub struct RunningInstance {
    pub dag_id: DagId,
    pub run_id: RunId,
    /// Its lease is set.
    pub row: InstanceRow,
}

pub(crate) const INSTANCE_SELECT: &str = "SELECT i.* FROM task_instance i";

pub(crate) fn read_instance(row: &Row) -> Result<InstanceRow> {
    let lease = match (row.opt_text("lease_owner")?, row.opt_text("lease_token")?, row.opt_instant("lease_expires_at")?)
    {
        (Some(owner), Some(token), Some(expires_at)) => Some(Lease { owner, token, expires_at }),
        _ => None,
    };
    let state = row.word("state", TaskState::parse)?;
    Ok(InstanceRow {
        key: row.int("id")?,
        run: row.int("run_id")?,
        task_id: TaskId::new_unchecked(row.text("task_id")?),
        map_index: row.small("map_index")?,
        rendered_map_index: row.opt_text("rendered_map_index")?,
        operator: row.text("operator")?,
        state,
        state_reason: row.opt_text("state_reason")?,
        try_number: row.count("try_number")?,
        max_tries: row.count("max_tries")?,
        generation: row.count("generation")?,
        lost_workers: row.count("lost_workers")?,
        pool: row.text("pool")?,
        pool_slots: row.count("pool_slots")?,
        priority_weight: row.small("priority_weight")?,
        queued_at: row.opt_instant("queued_at")?,
        start_date: row.opt_instant("start_date")?,
        end_date: row.opt_instant("end_date")?,
        next_try_at: row.opt_instant("next_try_at")?,
        put_offs: match row.opt_instant("first_start")? {
            Some(first_start) => Some(PutOffs { first_start, count: row.count("put_offs")? }),
            None => None,
        },
        begun_with: if lease.is_some() { row.opt_int("departed_from")? } else { None },
        is_outside: lease.is_some() && row.flag("is_outside")?,
        lease,
        item: row.opt_int("item_digest")?,
        choice: match row.opt_text("choice")? {
            Some(_) => Some(row.json("choice")?),
            None => None,
        },
        given_up: row.flag("given_up")? && state == TaskState::Skipped,
    })
}

/// The instances of a mapped task stand together, by map index, where the first of them was made.
fn in_order(mut rows: Vec<InstanceRow>) -> Vec<InstanceRow> {
    if rows.iter().all(|row| row.map_index < 0) {
        return rows;
    }
    let mut firsts: HashMap<(RunKey, TaskId), usize> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        firsts.entry((row.run, row.task_id.clone())).or_insert(place);
    }
    rows.sort_by_cached_key(|row| (firsts.get(&(row.run, row.task_id.clone())).copied(), row.map_index));
    rows
}

impl Store {
    /// The instances of one run, in the order of the DAG's tasks.
    pub async fn instances(&self, run: RunKey) -> Result<Vec<InstanceRow>> {
        let sql = format!("{INSTANCE_SELECT} WHERE i.run_id = $1 ORDER BY i.id");
        let rows = sql::all(self.reader(), "read task instances", sql, values![run]).await?;
        rows.iter().map(read_instance).collect::<Result<_>>().map(in_order)
    }

    /// All instances of several runs in one query: a grid. In the order of the runs' keys, then of the tasks.
    pub async fn instances_of_runs(&self, runs: &[RunKey]) -> Result<Vec<InstanceRow>> {
        let source = sql::source(self.dialect(), 1, &[("x_id", Kind::Int)]);
        let sql = format!(
            "SELECT i.* FROM {source} CROSS JOIN task_instance i WHERE i.run_id = x_id ORDER BY i.run_id, i.id"
        );
        let values = vec![sql::column(runs.iter().copied())];
        let rows = sql::all(self.reader(), "read task instances", sql, values).await?;
        rows.iter().map(read_instance).collect::<Result<_>>().map(in_order)
    }

    /// Those of the keys that are there.
    pub async fn instances_by_key(&self, keys: &[InstanceKey]) -> Result<Vec<InstanceRow>> {
        let source = sql::source(self.dialect(), 1, &[("x_id", Kind::Int)]);
        let sql = format!("SELECT i.* FROM {source} CROSS JOIN task_instance i WHERE i.id = x_id");
        let values = vec![sql::column(keys.iter().copied())];
        let rows = sql::all(self.reader(), "read task instances", sql, values).await?;
        rows.iter().map(read_instance).collect()
    }

    pub async fn instance(&self, run: RunKey, task_id: &str, map_index: i32) -> Result<Option<InstanceRow>> {
        let sql = format!("{INSTANCE_SELECT} WHERE i.run_id = $1 AND i.task_id = $2 AND i.map_index = $3");
        let values = values![run, task_id, i64::from(map_index)];
        let row = sql::one(self.reader(), "read a task instance", sql, values).await?;
        row.as_ref().map(read_instance).transpose()
    }

    pub async fn instance_by_key(&self, key: InstanceKey) -> Result<Option<InstanceRow>> {
        let sql = format!("{INSTANCE_SELECT} WHERE i.id = $1");
        let row = sql::one(self.reader(), "read a task instance", sql, values![key]).await?;
        row.as_ref().map(read_instance).transpose()
    }
}
