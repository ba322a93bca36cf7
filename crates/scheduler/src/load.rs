//! From rows of the store to the planner's view.

use std::collections::HashMap;
use std::sync::Arc;

use millrace_model::dag::Dag;
use millrace_planner::{DagFacts, DagVersion, InstanceSnapshot, PoolFacts, RunSnapshot, View};
use millrace_store::{ActiveRun, InstanceRow, Result, SchedulerDag, Store};

/// Versions that were read, with their graphs. They never change.
#[derive(Debug, Default)]
pub(crate) struct Versions {
    known: HashMap<i64, Arc<DagVersion>>,
}

impl Versions {
    /// None, with a warning, for a stored DAG whose tasks form a circle: no reader lets one through.
    pub fn of(&mut self, key: i64, dag: &Arc<Dag>) -> Option<Arc<DagVersion>> {
        if let Some(version) = self.known.get(&key) {
            return Some(version.clone());
        }
        match DagVersion::new(key, dag.clone()) {
            Ok(version) => Some(self.known.entry(key).or_insert(Arc::new(version)).clone()),
            Err(error) => {
                tracing::error!(dag = %dag.dag_id, version = key, %error, "a stored DAG cannot be used");
                None
            }
        }
    }

    /// Lets go of versions that nothing else holds.
    pub fn prune(&mut self) {
        self.known.retain(|_, version| Arc::strong_count(version) > 1);
    }
}

pub(crate) async fn put_dag(store: &Store, versions: &mut Versions, view: &mut View, row: SchedulerDag) -> Result<()> {
    let Some(version) = versions.of(row.version_key, &row.dag) else { return Ok(()) };
    view.put_dag(DagFacts {
        version,
        is_paused: row.is_paused,
        is_stale: row.is_stale,
        last_interval: store.last_automated_interval(&row.dag_id).await?,
        pointer: row.pointer,
    });
    Ok(())
}

/// Gives the run to the view. Returns whether it could.
pub(crate) async fn put_run(store: &Store, versions: &mut Versions, view: &mut View, run: &ActiveRun) -> Result<()> {
    let dag = store.dag_version(run.row.version_key).await?;
    let Some(version) = versions.of(run.row.version_key, &dag) else { return Ok(()) };
    view.put_run(RunSnapshot {
        dag_id: run.row.dag_id.clone(),
        facts: Arc::new(run.row.facts()),
        state: run.row.state,
        version,
        backfill_key: run.row.backfill_key,
        instances: run.instances.iter().map(instance).collect(),
    });
    Ok(())
}

fn instance(row: &InstanceRow) -> InstanceSnapshot {
    InstanceSnapshot {
        key: row.key,
        task_id: row.task_id.clone(),
        map_index: row.map_index,
        state: row.state,
        try_number: row.try_number,
        max_tries: row.max_tries,
        generation: row.generation,
        lost_workers: row.lost_workers,
        pool: row.pool.clone(),
        pool_slots: row.pool_slots,
        priority_weight: row.priority_weight,
        next_try_at: row.next_try_at,
        token: row.lease.as_ref().map(|lease| lease.token.clone()),
    }
}

pub(crate) async fn set_pools(store: &Store, view: &mut View) -> Result<()> {
    let pools = store.pools().await?;
    view.set_pools(pools.into_iter().map(|row| (row.name, PoolFacts { slots: row.slots })));
    Ok(())
}

pub(crate) async fn set_backfills(store: &Store, view: &mut View) -> Result<()> {
    let backfills = store.active_backfills().await?;
    view.set_backfills(backfills.into_iter().map(|row| (row.key, row.max_active_runs)));
    Ok(())
}
