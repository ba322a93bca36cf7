//! What a person deletes: runs, and DAGs that are no more. Used by REST.
//!
//! What has begun goes on when the person who asked has hung up: a run without its logs, or logs without their run, would
//! be left else.

use std::sync::Arc;

use millrace_logs::LogFolder;
use millrace_store::{Gone, StoreError};
use tokio::runtime::Handle;

use crate::access::permission::Act;
use crate::access::person::Person;
use crate::problem::{Answer, Problem};
use crate::server::Server;

impl Server {
    pub async fn delete_run(self: &Arc<Self>, person: &Person, dag_id: &str, run_id: &str) -> Answer<()> {
        self.require_on(person, Act::DeleteHistory, dag_id).await?;
        let run = self.run_row(dag_id, run_id).await?;
        let actor = person.actor();
        self.to_the_end(async move |server: &Self| {
            server.store().delete_run(run.key, &actor, server.now()).await?;
            remove_run(&server.options.logs, run.dag_id.as_str(), run.run_id.as_str());
            Ok(())
        })
        .await
    }

    pub async fn delete_dag(self: &Arc<Self>, person: &Person, dag_id: &str) -> Answer<()> {
        self.require_on(person, Act::DeleteHistory, dag_id).await?;
        let dag_id = self.dag_row(dag_id, 0).await?.dag_id;
        let actor = person.actor();
        self.to_the_end(async move |server: &Self| {
            let logs = &server.options.logs;
            let tell = |gone: Gone<'_>| remove_logs(logs, dag_id.as_str(), gone);
            server.store().delete_dag(&dag_id, &actor, server.now(), tell).await?;
            Ok(())
        })
        .await
    }

    /// On a thread of its own, where folders may be removed.
    async fn to_the_end(
        self: &Arc<Self>,
        work: impl AsyncFnOnce(&Self) -> Result<(), StoreError> + Send + 'static,
    ) -> Answer<()> {
        let server = self.clone();
        let done = tokio::task::spawn_blocking(move || Handle::current().block_on(work(&server))).await;
        Ok(done.map_err(|panic| Problem::internal(&panic))??)
    }
}

fn remove_logs(logs: &LogFolder, dag_id: &str, gone: Gone<'_>) {
    match gone {
        Gone::Runs(runs) => runs.iter().for_each(|run_id| remove_run(logs, dag_id, run_id)),
        Gone::EveryRun => {
            if let Err(error) = logs.remove_dag(dag_id) {
                tracing::warn!(dag_id, %error, "the logs of a deleted DAG could not be removed");
            }
        }
    }
}

/// What cannot be removed is said in the daemon's log: the run is gone all the same.
fn remove_run(logs: &LogFolder, dag_id: &str, run_id: &str) {
    if let Err(error) = logs.remove_run(dag_id, run_id) {
        tracing::warn!(dag_id, run_id, %error, "the logs of a deleted run could not be removed");
    }
}
