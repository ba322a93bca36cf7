//! Why is this not running: the planner's own conditions, over a view read from the store.

use millrace_situation::{Asked, Explanation, explain};

use crate::problem::Answer;
use crate::server::Server;

impl Server {
    pub async fn explain(&self, asked: Asked<'_>) -> Answer<Explanation> {
        Ok(explain(self.store(), asked, &self.surroundings(), self.now()).await?)
    }
}
