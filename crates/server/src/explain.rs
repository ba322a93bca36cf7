//! Why is this task not running: the planner's own conditions, over a view read from the store.

use chrono::TimeDelta;
use millrace_model::change::RunKey;
use millrace_planner::{Condition, Limits, explain};
use millrace_situation::Situation;

use crate::problem::Answer;
use crate::server::Server;

impl Server {
    /// Empty when the run has ended.
    pub async fn why(&self, run: RunKey, task_id: &str) -> Answer<Vec<Condition>> {
        let now = self.now();
        let view = Situation::read(self.store().clone(), now).await?.view;
        let used = view.occupied_slots() as usize;
        let limits = Limits {
            free_slots: self.options.parallelism.saturating_sub(used),
            owner: String::new(),
            lease_ttl: TimeDelta::zero(),
            is_draining: false,
        };
        Ok(explain(&view, run, task_id, now, &limits))
    }
}
