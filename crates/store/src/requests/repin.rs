//! A run is pinned to the version it began with; here it is given to another.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use millrace_model::change::{InstanceKey, NewInstance, RunKey};
use millrace_model::dag::Dag;
use millrace_model::ids::TaskId;
use millrace_model::mapping::have_only_moved;
use millrace_model::state::TaskState;
use serde_json::json;

use crate::commit::moves::close_open_tries;
use crate::commit::new_runs::{INSTANCE_COLUMNS, instance_row};
use crate::processes::changes;
use crate::requests::clear::{TouchedRun, next_generation, queue_again};
use crate::requests::scope::{RunChoice, Which, instances_of, runs_of};
use crate::sql::{Kind, values};
use crate::{AuditRow, InstanceRow, Result, RunRow, SignalKind, Store, StoreError, Tx, sql};

/// The version that runs are given to, and the instances that its tasks begin with.
#[derive(Debug, Clone, PartialEq)]
pub struct NewestVersion {
    pub version_key: i64,
    pub tasks: Vec<NewInstance>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct RepinRequest {
    pub runs: RunChoice,
    /// Only those that are queued or running.
    pub only_active: bool,
    pub newest: NewestVersion,
    /// Changes nothing, and reports what it would change.
    pub dry_run: bool,
    pub actor: String,
}

/// What a run's new version did to its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repinned {
    pub run: TouchedRun,
    /// They have an instance now.
    pub added: Vec<TaskId>,
    /// Gone from the DAG.
    pub removed: Vec<TaskId>,
    /// Had been removed, or had ended for another item of a list in the file, and wait again.
    pub restored: Vec<TaskId>,
}

impl Store {
    /// Runs that have this version already are left out, and so are those of a backfill that runs some of its DAG's tasks
    /// only. A finished run with tasks that now wait is queued again.
    pub async fn repin_runs(&self, request: &RepinRequest, now: DateTime<Utc>) -> Result<Vec<Repinned>> {
        let tx = self.begin_in_turn("give runs another version").await?;
        let mut report = Vec::new();
        let which = if request.only_active { Which::Active } else { Which::Any };
        let mut rows = runs_of(&tx, &request.runs, (false, false), which).await?;
        rows.retain(|row| !request.only_active || !row.state.is_finished());
        for (before, runs) in by_version(&rows) {
            if is_partial(&tx, before).await? {
                if let RunChoice::One(_) = request.runs {
                    let reason = "its backfill runs some of the DAG's tasks only".to_owned();
                    return Err(StoreError::Refused { attempted: "give the run another version", reason });
                }
            } else if before != request.newest.version_key {
                report.extend(repin(&tx, before, &runs, request, now).await?);
            }
        }
        if request.dry_run || report.is_empty() {
            return Ok(report);
        }
        report.sort_by_key(|it| it.run.logical_date);
        let touched: Vec<RunKey> = report.iter().map(|it| it.run.run).collect();
        changes::collect(&tx, &touched, &[]).await?;
        tx.commit().await?;
        Ok(report)
    }
}

/// Runs by the version that they have.
pub(crate) fn by_version(rows: &[RunRow]) -> BTreeMap<i64, Vec<&RunRow>> {
    let mut found: BTreeMap<i64, Vec<&RunRow>> = BTreeMap::new();
    for row in rows {
        found.entry(row.version_key).or_default().push(row);
    }
    found
}

/// The runs have had one version, `before`.
async fn repin(
    tx: &Tx,
    before: i64,
    runs: &[&RunRow],
    request: &RepinRequest,
    now: DateTime<Utc>,
) -> Result<Vec<Repinned>> {
    let mut repinned = pin_all(tx, before, runs, &request.newest, Gone::Removed, now).await?;
    let waits = |it: &&Repinned| !it.added.is_empty() || !it.restored.is_empty();
    let waiting: Vec<RunKey> = repinned.iter().filter(waits).map(|it| it.run.run).collect();
    let queued: HashSet<RunKey> = queue_again(tx, &waiting, now).await?.into_iter().collect();
    let names = |list: &[TaskId]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let told = |version_key| Some(json!({ "version_key": version_key }));
    for (it, row) in repinned.iter_mut().zip(runs) {
        it.run.queued = queued.contains(&row.key);
        let details =
            json!({ "added": names(&it.added), "removed": names(&it.removed), "restored": names(&it.restored) });
        let audit = AuditRow::new(&request.actor, "repin", details, now)
            .with_change(told(before), told(request.newest.version_key));
        tx.audit(&audit.on_run(row.dag_id.as_str(), row.run_id.as_str())).await?;
    }
    tx.signal_runs(SignalKind::RunChanged, runs.iter().map(|row| (&row.dag_id, row.key)), now).await?;
    Ok(repinned)
}

/// It is a part of its DAG.
pub(crate) async fn is_partial(tx: &Tx, version_key: i64) -> Result<bool> {
    let sql = "SELECT part_of FROM dag_version WHERE id = $1";
    let row = sql::one(&tx.inner, "read a DAG version", sql, values![version_key]).await?;
    Ok(row.map(|row| row.opt_int("part_of")).transpose()?.flatten().is_some())
}

/// What becomes of instances whose task the version does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gone {
    Removed,
    /// The version is a part of the DAG.
    Left,
}

/// Tasks that are new get an instance, or one for each item of a list in the file; those that are gone become `removed`,
/// those that are back or have ended for another item of that list wait again, and the others take over what the new version
/// says of them. The runs have had one version, `before`.
pub(crate) async fn pin_all(
    tx: &Tx,
    before: i64,
    runs: &[&RunRow],
    newest: &NewestVersion,
    when_gone: Gone,
    now: DateTime<Utc>,
) -> Result<Vec<Repinned>> {
    let keys: Vec<RunKey> = runs.iter().map(|run| run.key).collect();
    let all = instances_of(tx, &keys).await?;
    let dag = tx.store.dag_version_in(&tx.inner, newest.version_key).await?;
    let (mut repinned, mut changes) = (Vec::with_capacity(runs.len()), Changes::default());
    for run in runs {
        let instances = all.get(&run.key).map_or(&[][..], Vec::as_slice);
        let wanted = Wanted::of(&dag, newest, instances);
        let shifted = wanted.shifted(instances);
        let is_gone = |it: &&InstanceRow| {
            it.state != TaskState::Removed && !wanted.keeps(it) && (when_gone == Gone::Removed || wanted.knows(it))
        };
        let is_back = |it: &&InstanceRow| match it.state {
            TaskState::Removed => wanted.restores(it),
            _ => shifted.contains(&it.task_id) && wanted.other_item(it).is_some(),
        };
        let (gone, back): (Vec<&InstanceRow>, Vec<&InstanceRow>) =
            (instances.iter().filter(is_gone).collect(), instances.iter().filter(is_back).collect());
        let added: Vec<&NewInstance> = newest.tasks.iter().filter(|task| wanted.lacks(task)).collect();
        repinned.push(Repinned {
            run: TouchedRun::of(run, false),
            added: once(added.iter().map(|task| &task.task_id)),
            removed: once(gone.iter().map(|it| &it.task_id)),
            restored: once(back.iter().map(|it| &it.task_id)),
        });
        changes.added.extend(added.into_iter().map(|task| (run.key, task)));
        changes.gone.extend(gone);
        changes.back.extend(back);
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    let sql = format!("UPDATE dag_run SET version_id = $2 WHERE id IN (SELECT x_id FROM {source})");
    let values = vec![sql::column(keys.iter().copied()), newest.version_key.into()];
    sql::run(&tx.inner, "give runs another version", sql, values).await?;
    // First, for those that are added know of no other version.
    take_over(tx, &keys, before, newest).await?;
    add(tx, &changes.added).await?;
    remove(tx, &changes.gone, now).await?;
    restore(tx, &changes.back, newest, now).await?;
    Ok(repinned)
}

/// What another version makes of the instances of runs.
#[derive(Default)]
struct Changes<'a> {
    added: Vec<(RunKey, &'a NewInstance)>,
    gone: Vec<&'a InstanceRow>,
    back: Vec<&'a InstanceRow>,
}

/// A mapped task has several instances, and is named once.
fn once<'a>(names: impl Iterator<Item = &'a TaskId>) -> Vec<TaskId> {
    let mut seen = HashSet::new();
    names.filter(|name| seen.insert(*name)).cloned().collect()
}

/// The instances that a version calls for in a run.
struct Wanted<'a> {
    named: HashSet<(&'a TaskId, i32)>,
    tasks: HashSet<&'a TaskId>,
    /// Mapped over a list that is not in the file: how many instances they have is known when they run.
    open: HashSet<&'a TaskId>,
    there: HashSet<(&'a TaskId, i32)>,
    /// They have an instance that is not removed.
    live: HashSet<&'a TaskId>,
    /// Of those that are mapped over a list in the file: by what the items are known.
    items: HashMap<&'a TaskId, Vec<i64>>,
}

impl<'a> Wanted<'a> {
    fn of(dag: &Dag, newest: &'a NewestVersion, instances: &'a [InstanceRow]) -> Self {
        let is_open = |id: &&TaskId| {
            let expand = dag.task(id.as_str()).and_then(|task| dag.expand_of(task));
            expand.is_some_and(|expand| expand.literal_count().is_none())
        };
        let tasks: HashSet<&TaskId> = newest.tasks.iter().map(|task| &task.task_id).collect();
        let items = |id: &&'a TaskId| {
            let expand = dag.task(id.as_str()).and_then(|task| dag.expand_of(task))?;
            Some((*id, expand.digests(&BTreeMap::new())?))
        };
        Self {
            items: tasks.iter().filter_map(items).collect(),
            named: newest.tasks.iter().map(|task| (&task.task_id, task.map_index)).collect(),
            open: tasks.iter().copied().filter(is_open).collect(),
            tasks,
            there: instances.iter().map(|it| (&it.task_id, it.map_index)).collect(),
            live: instances.iter().filter(|it| it.state != TaskState::Removed).map(|it| &it.task_id).collect(),
        }
    }

    fn knows(&self, it: &InstanceRow) -> bool {
        self.tasks.contains(&it.task_id)
    }

    fn keeps(&self, it: &InstanceRow) -> bool {
        self.open.contains(&it.task_id) || self.named.contains(&(&it.task_id, it.map_index))
    }

    /// What it has ended for, and what stands in its place now, where that is another.
    fn other_item(&self, it: &InstanceRow) -> Option<(i64, i64)> {
        let place = usize::try_from(it.map_index).ok()?;
        let (item, now) = (it.item?, *self.items.get(&it.task_id)?.get(place)?);
        (item != now && it.state.is_finished() && it.state != TaskState::Removed && self.keeps(it))
            .then_some((item, now))
    }

    /// Tasks that have ended for other items than those of the list, not only in another order.
    fn shifted<'b>(&self, instances: &'b [InstanceRow]) -> HashSet<&'b TaskId> {
        let mut others: HashMap<&TaskId, Vec<(i64, i64)>> = HashMap::new();
        for (it, items) in instances.iter().filter_map(|it| Some((it, self.other_item(it)?))) {
            others.entry(&it.task_id).or_default().push(items);
        }
        others.into_iter().filter(|(_, items)| !have_only_moved(items.iter().copied())).map(|(task, _)| task).collect()
    }

    /// Of a task that is mapped over what another leaves, those without an item are not missed.
    fn restores(&self, it: &InstanceRow) -> bool {
        if self.open.contains(&it.task_id) {
            return !self.live.contains(&it.task_id);
        }
        self.named.contains(&(&it.task_id, it.map_index))
    }

    fn lacks(&self, task: &NewInstance) -> bool {
        if self.open.contains(&task.task_id) {
            return !self.there.iter().any(|(id, _)| **id == task.task_id);
        }
        !self.there.contains(&(&task.task_id, task.map_index))
    }
}

async fn add(tx: &Tx, added: &[(RunKey, &NewInstance)]) -> Result<()> {
    if added.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO task_instance (run_id, task_id, map_index, operator, max_tries, pool, pool_slots, \
         priority_weight, state) SELECT x.*, 'none' FROM {}",
        sql::source(tx.dialect(), 1, INSTANCE_COLUMNS)
    );
    let rows = sql::rows(added.iter().map(|(run, task)| instance_row(*run, task, task.map_index.into())));
    sql::run(&tx.inner, "add the tasks of another version", sql, vec![rows]).await.map(|_| ())
}

async fn take_over(tx: &Tx, runs: &[RunKey], before: i64, newest: &NewestVersion) -> Result<()> {
    let keys = || sql::column(runs.iter().copied());
    let those = |n: usize| format!("(SELECT x_id FROM {})", sql::source(tx.dialect(), n, &[("x_id", Kind::Int)]));
    if before != newest.version_key {
        // Until it has stopped, a try that is under way holds the key that it began with.
        let sql = format!(
            "UPDATE task_instance SET departed_from = $2 \
             WHERE run_id IN {} AND lease_token IS NOT NULL AND departed_from IS NULL",
            those(1)
        );
        sql::run(&tx.inner, "note what tries began with", sql, vec![keys(), before.into()]).await?;
    }
    // A budget that a clear gave is kept, and tries that cost nothing go on costing nothing.
    let sql = format!(
        "UPDATE task_instance SET operator = x_operator, pool = x_pool, pool_slots = x_slots, \
         priority_weight = x_weight, max_tries = CASE WHEN generation > 0 THEN max_tries \
         WHEN x_before IS NULL THEN x_max ELSE max_tries + x_max - x_before END \
         FROM {} WHERE run_id IN {} AND task_id = x_task",
        sql::source(tx.dialect(), 1, &[INSTANCE_COLUMNS, &[("x_before", Kind::Int)]].concat()),
        those(2)
    );
    let before = tx.store.dag_version_in(&tx.inner, before).await?;
    let rows = sql::rows(newest.tasks.iter().map(|task| {
        // The tasks are the same in all of these runs.
        let mut row = instance_row(0, task, task.map_index.into());
        row.push(json!(before.task(task.task_id.as_str()).map(|task| task.retries)));
        row
    }));
    sql::run(&tx.inner, "change the tasks of runs", sql, vec![rows, keys()]).await.map(|_| ())
}

async fn remove(tx: &Tx, gone: &[&InstanceRow], now: DateTime<Utc>) -> Result<()> {
    if gone.is_empty() {
        return Ok(());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int)]);
    let sql = format!(
        "UPDATE task_instance SET state = 'removed', state_reason = 'gone from the DAG', next_try_at = NULL, \
         end_date = CASE WHEN start_date IS NULL THEN end_date ELSE COALESCE(end_date, $2) END \
         WHERE id IN (SELECT x_id FROM {source})"
    );
    let ids = sql::column(gone.iter().map(|it| it.key));
    sql::run(&tx.inner, "remove tasks that are gone", sql, vec![ids, sql::micros(now).into()]).await?;
    let open: Vec<(InstanceKey, TaskState)> =
        gone.iter().filter(|it| !it.state.is_finished()).map(|it| (it.key, TaskState::Failed)).collect();
    close_open_tries(tx, &open, now).await
}

/// As though they had been cleared: what they did before their task was gone is not taken for what they are to do now.
async fn restore(tx: &Tx, back: &[&InstanceRow], newest: &NewestVersion, now: DateTime<Utc>) -> Result<()> {
    if back.is_empty() {
        return Ok(());
    }
    let retries: HashMap<&TaskId, u32> = newest.tasks.iter().map(|task| (&task.task_id, task.max_tries)).collect();
    let sql = format!(
        "UPDATE task_instance SET state = CASE WHEN lease_token IS NULL THEN 'none' ELSE 'restarting' END, {}, \
         max_tries = try_number + x_retries, lost_workers = 0, next_try_at = NULL, first_start = NULL, put_offs = 0, \
         state_reason = NULL, choice = NULL, given_up = FALSE, queued_at = NULL, start_date = NULL, end_date = NULL, \
         item_digest = NULL FROM {} WHERE task_instance.id = x_id",
        next_generation(2),
        sql::source(tx.dialect(), 1, &[("x_id", Kind::Int), ("x_retries", Kind::Int)]),
    );
    let rows = sql::rows(back.iter().map(|it| vec![json!(it.key), json!(retries.get(&it.task_id))]));
    sql::run(&tx.inner, "restore tasks that are back", sql, vec![rows, now.timestamp().into()]).await.map(|_| ())
}
