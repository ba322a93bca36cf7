//! How other runs are getting on, as tasks that wait for them see it.

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_operator_api::context::{Runs, SeenRun};
use millrace_operator_api::{PortError, PortErrorKind};
use millrace_store::{Store, StoreError};

use crate::patience::ask;

/// From the metadata database.
pub struct StoreRuns {
    pub store: Store,
}

fn port_error(error: &StoreError) -> PortError {
    PortError::new(PortErrorKind::Unavailable, format!("could not see how a run is getting on: {error}"))
}

impl Runs for StoreRuns {
    fn at<'a>(
        &'a self,
        dag_id: &'a str,
        logical_date: DateTime<Utc>,
        task_ids: &'a [String],
    ) -> BoxFuture<'a, Result<Option<SeenRun>, PortError>> {
        async move {
            let found = ask(|| self.store.run_at(dag_id, logical_date)).await.map_err(|e| port_error(&e))?;
            let Some(run) = found else { return Ok(None) };
            let mut tasks = vec![Vec::new(); task_ids.len()];
            if !task_ids.is_empty() {
                for instance in ask(|| self.store.instances(run.key)).await.map_err(|e| port_error(&e))? {
                    if let Some(place) = task_ids.iter().position(|id| *id == instance.task_id.as_str()) {
                        tasks[place].push(instance.state);
                    }
                }
            }
            Ok(Some(SeenRun { run_id: run.run_id.to_string(), state: run.state, tasks }))
        }
        .boxed()
    }
}
