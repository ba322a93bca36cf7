//! How other runs are getting on, as tasks that wait for them see it.

use chrono::{DateTime, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_model::calendar::Fate;
use millrace_model::ids::DagId;
use millrace_model::ledger::RowsRead;
use millrace_operator_api::context::{Runs, SeenRun, SoughtRead};
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

    fn why_never<'a>(
        &'a self,
        dag_id: &'a str,
        logical_date: DateTime<Utc>,
    ) -> BoxFuture<'a, Result<Option<String>, PortError>> {
        async move {
            let id = DagId::new_unchecked(dag_id);
            let found = ask(|| self.store.scheduler_dag(&id)).await.map_err(|e| port_error(&e))?;
            let Some(row) = found else { return Ok(Some(format!("there is no DAG {dag_id} that can be used"))) };
            let timetable = &row.dag.timetable;
            if !timetable.is_periodic() {
                return Ok(None);
            }
            let anchor = timetable.anchor(row.dag.start_date, row.last_interval.as_ref());
            Ok(match timetable.run_at(logical_date, anchor).map(|planned| row.dag.fate(&planned)) {
                None => Some(format!("the schedule of {dag_id} ({}) has no such date", timetable.describe())),
                Some(Fate::Skip(reason)) => Some(format!("the schedule of {dag_id} leaves that date out: {reason}")),
                Some(Fate::Run | Fate::Shift(..)) => None,
            })
        }
        .boxed()
    }

    fn read_before<'a>(&'a self, sought: &'a SoughtRead<'a>) -> BoxFuture<'a, Result<Option<RowsRead>, PortError>> {
        async move {
            let task = (sought.work.dag_id.as_str(), sought.work.task_id.as_str());
            let found = ask(|| self.store.last_read(task, (sought.stage, sought.conn_id), sought.target)).await;
            found.map_err(|error| {
                let message = format!("could not see what the task read before: {error}");
                PortError::new(PortErrorKind::Unavailable, message)
            })
        }
        .boxed()
    }
}
