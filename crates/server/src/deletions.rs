//! What a person deletes: runs, and DAGs that are no more. Used by REST.

use crate::permission::Act;
use crate::person::Person;
use crate::problem::Answer;
use crate::server::Server;

impl Server {
    pub async fn delete_run(&self, person: &Person, dag_id: &str, run_id: &str) -> Answer<()> {
        self.require_on(person, Act::DeleteHistory, dag_id).await?;
        let run = self.run_row(dag_id, run_id).await?;
        self.store().delete_run(run.key, &person.actor(), self.now()).await?;
        self.remove_logs(dag_id, vec![run_id.to_owned()]).await;
        Ok(())
    }

    pub async fn delete_dag(&self, person: &Person, dag_id: &str) -> Answer<()> {
        self.require_on(person, Act::DeleteHistory, dag_id).await?;
        let dag = self.dag_row(dag_id, 0).await?;
        let runs = self.store().delete_dag(&dag.dag_id, &person.actor(), self.now()).await?;
        self.remove_logs(dag_id, runs).await;
        Ok(())
    }

    /// What cannot be removed is said in the daemon's log: the runs are gone all the same.
    async fn remove_logs(&self, dag_id: &str, runs: Vec<String>) {
        let (logs, dag_id) = (self.options.logs.clone(), dag_id.to_owned());
        let removal = tokio::task::spawn_blocking(move || {
            for run_id in runs {
                if let Err(error) = logs.remove_run(&dag_id, &run_id) {
                    tracing::warn!(dag_id, run_id, %error, "the logs of a deleted run could not be removed");
                }
            }
        });
        if let Err(error) = removal.await {
            tracing::warn!(%error, "the logs of deleted runs were not all removed");
        }
    }
}
