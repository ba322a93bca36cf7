//! Why is this task not running: the planner's own conditions, over a view read from the store.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::TimeDelta;
use millrace_model::change::RunKey;
use millrace_planner::{
    Condition, DagFacts, DagVersion, InstanceSnapshot, Limits, PoolFacts, RunSnapshot, View, explain,
};
use millrace_store::{ActiveRun, InstanceRow};

use crate::problem::{Answer, Problem};
use crate::server::Server;

impl Server {
    /// Empty when the run has ended.
    pub async fn why(&self, run: RunKey, task_id: &str) -> Answer<Vec<Condition>> {
        let (store, now) = (self.store(), self.now());
        let mut view = View::new();
        let pools = store.pools().await?;
        view.set_pools(pools.into_iter().map(|pool| (pool.name, PoolFacts { slots: pool.slots })));
        let active = store.active_runs(now).await?;
        let Some(wanted) = active.iter().find(|active| active.row.key == run) else { return Ok(Vec::new()) };
        let dag_id = wanted.row.dag_id.clone();
        let mut versions = HashMap::new();
        if let Some(dag) = store.scheduler_dag(&dag_id).await? {
            let version = Arc::new(self.version(dag.version_key).await?);
            versions.insert(dag.version_key, version.clone());
            view.put_dag(DagFacts {
                version,
                is_paused: dag.is_paused,
                is_stale: dag.is_stale,
                last_interval: None,
                pointer: dag.pointer,
            });
        }
        for active in active {
            let key = active.row.version_key;
            let version = match versions.get(&key) {
                Some(version) => Arc::clone(version),
                None => {
                    let version = Arc::new(self.version(key).await?);
                    versions.insert(key, version.clone());
                    version
                }
            };
            view.put_run(snapshot(active, version));
        }
        let used = view.occupied_slots() as usize;
        let limits = Limits {
            free_slots: self.options.parallelism.saturating_sub(used),
            owner: String::new(),
            lease_ttl: TimeDelta::zero(),
            is_draining: false,
        };
        Ok(explain(&view, run, task_id, now, &limits))
    }

    async fn version(&self, key: i64) -> Answer<DagVersion> {
        let dag = self.store().dag_version(key).await?;
        DagVersion::new(key, dag).map_err(|error| Problem::internal(&error))
    }
}

fn snapshot(active: ActiveRun, version: Arc<DagVersion>) -> RunSnapshot {
    let facts = Arc::new(active.row.facts());
    let instance = |row: InstanceRow| InstanceSnapshot {
        key: row.key,
        task_id: row.task_id,
        map_index: row.map_index,
        state: row.state,
        try_number: row.try_number,
        max_tries: row.max_tries,
        generation: row.generation,
        lost_workers: row.lost_workers,
        pool: row.pool,
        pool_slots: row.pool_slots,
        priority_weight: row.priority_weight,
        next_try_at: row.next_try_at,
        token: row.lease.map(|lease| lease.token),
    };
    RunSnapshot {
        dag_id: active.row.dag_id,
        facts,
        state: active.row.state,
        version,
        backfill_key: active.row.backfill_key,
        instances: active.instances.into_iter().map(instance).collect(),
    }
}
