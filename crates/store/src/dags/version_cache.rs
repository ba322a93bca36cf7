//! The versions of DAGs that were read, which never change.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_model::dag::Dag;

/// As long as there are few DAGs.
const FEW: usize = 200;

/// Keeps those that are used: all of this time, and those of the time before that no one has asked for since. A new time
/// begins when one is full, so that it costs nothing that there were many versions once.
#[derive(Default)]
pub(crate) struct VersionCache {
    times: Mutex<Times>,
}

#[derive(Default)]
struct Times {
    now: HashMap<i64, Arc<Dag>>,
    before: HashMap<i64, Arc<Dag>>,
    /// The most DAGs that were wanted at once.
    wanted: usize,
}

impl VersionCache {
    fn lock(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, key: i64) -> Option<Arc<Dag>> {
        let mut times = self.lock();
        if let Some(dag) = times.now.get(&key) {
            return Some(dag.clone());
        }
        let dag = times.before.remove(&key)?;
        times.put(key, dag.clone());
        Some(dag)
    }

    pub fn put(&self, key: i64, dag: Arc<Dag>) {
        self.lock().put(key, dag);
    }

    /// There must be room for so many at once.
    pub fn want(&self, count: usize) {
        let mut times = self.lock();
        times.wanted = times.wanted.max(count);
    }
}

impl Times {
    fn put(&mut self, key: i64, dag: Arc<Dag>) {
        if self.now.len() >= FEW.max(2 * self.wanted) {
            self.before = std::mem::take(&mut self.now);
        }
        self.now.insert(key, dag);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn dag() -> Arc<Dag> {
        let dag = json!({
            "schema_version": 1, "dag_id": "d", "timetable": {"schedule": "none", "timezone": "UTC"}, "catchup": false,
            "max_active_runs": 1, "max_active_tasks": 1, "tasks": [],
        });
        Arc::new(serde_json::from_value(dag).unwrap())
    }

    fn kept(cache: &VersionCache) -> usize {
        let times = cache.lock();
        times.now.len() + times.before.len()
    }

    #[test]
    fn what_is_used_stays_and_what_was_used_once_goes() {
        let (cache, dag) = (VersionCache::default(), dag());
        for key in 0..5000 {
            cache.put(key, dag.clone());
            assert!(cache.get(0).is_some(), "it is asked for all the time ({key})");
        }
        assert!(kept(&cache) <= 2 * FEW, "{}", kept(&cache));
        assert!(cache.get(1).is_none() && cache.get(4999).is_some());
    }

    #[test]
    fn as_many_as_there_are_dags_stay() {
        let (cache, dag) = (VersionCache::default(), dag());
        cache.want(1000);
        for _ in 0..3 {
            for key in 0..1000 {
                if cache.get(key).is_none() {
                    cache.put(key, dag.clone());
                }
            }
            assert!((0..1000).all(|key| cache.get(key).is_some()));
        }
    }
}
