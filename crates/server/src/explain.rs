//! Why is this not running: the planner's own conditions, over a view read from the store.

use millrace_situation::{Asked, Explanation, explain};

use crate::problem::Answer;
use crate::server::Server;

impl Server {
    /// As it may be shown: it tells what tries have failed of.
    pub async fn explain(&self, asked: Asked<'_>) -> Answer<Explanation> {
        let masker = match asked {
            Asked::Dag(row) => self.masker_of_dag(&row.dag),
            Asked::Run(run) | Asked::Task(run, _) => {
                self.masker_of_run(&*self.store().dag_version(run.version_key).await?, run)
            }
        };
        let mut told = explain(self.store(), asked, &self.surroundings().await?, self.now()).await?;
        told.texts().for_each(|text| *text = masker.mask(text));
        Ok(told)
    }
}
