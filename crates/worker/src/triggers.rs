//! Runs that a task asks for, through the metadata database.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::FutureExt;
use futures::future::BoxFuture;
use millrace_model::change::{Assignment, RunKey};
use millrace_model::instant::format_run_id_instant;
use millrace_model::schedule::DataInterval;
use millrace_model::selection::TaskChoice;
use millrace_model::state::RunState;
use millrace_operator_api::context::{AskedRun, Clock, RunWish, Triggers};
use millrace_operator_api::{PortError, PortErrorKind};
use millrace_planner::{DagVersion, ManualRun, NamedDate, SHUTDOWN_REASON, manual_run};
use millrace_settings::mask::check_own_secrets;
use millrace_store::{
    AskingTry, Change, ClearRequest, DagRow, MarkRunRequest, RunRequest, RunRow, Selection, Store, StoreError,
};
use tokio::sync::broadcast::error::RecvError;

/// Between two looks at a run whose end another process may commit; what this one commits is seen at once.
const LOOK: Duration = Duration::from_secs(2);
/// Logical dates that are tried when several tasks ask for a run at one moment.
const MOMENTS: i64 = 1_000;

/// In the name of one try.
pub struct StoreTriggers {
    store: Store,
    clock: Arc<dyn Clock>,
    asking: AskingTry,
    /// `task:DAG/RUN/TASK`: who asked, for people.
    actor: String,
}

fn port_error(attempted: &str, error: &StoreError) -> PortError {
    let kind = match error {
        StoreError::RunExists { .. } | StoreError::LogicalDateExists { .. } => PortErrorKind::AlreadyExists,
        StoreError::NotFound { .. } => PortErrorKind::NotFound,
        error if error.is_transient() => PortErrorKind::Unavailable,
        _ => PortErrorKind::Other,
    };
    PortError::new(kind, format!("could not {attempted}: {error}"))
}

fn invalid(error: impl std::fmt::Display) -> PortError {
    PortError::new(PortErrorKind::Invalid, error.to_string())
}

fn asked(row: RunRow, was_there: bool, is_held: bool) -> AskedRun {
    AskedRun {
        key: row.key,
        run_id: row.run_id.to_string(),
        logical_date: row.logical_date,
        state: row.state,
        reason: row.state_reason,
        was_there,
        is_held,
    }
}

impl StoreTriggers {
    pub fn new(store: Store, clock: Arc<dyn Clock>, assignment: &Assignment) -> Self {
        let Assignment { instance, generation, token, dag, run, map_index, .. } = assignment;
        let asking = AskingTry { instance: *instance, generation: *generation, token: token.clone() };
        let index = if *map_index < 0 { String::new() } else { format!("/{map_index}") };
        let actor = format!("task:{}/{}/{}{index}", dag.dag_id, run.run_id, assignment.task().task_id);
        Self { store, clock, asking, actor }
    }

    async fn ask(&self, wish: &RunWish) -> Result<AskedRun, PortError> {
        let attempted = format!("trigger DAG {}", wish.dag_id);
        let failed = |error: StoreError| port_error(&attempted, &error);
        let dag = self.store.dag(&wish.dag_id, 0).await.map_err(failed)?;
        let is_held = dag.as_ref().is_some_and(|dag| dag.is_paused);
        let there = self.store.triggered_run(self.asking.instance, self.asking.generation).await.map_err(failed)?;
        if let Some(row) = there {
            return Ok(asked(row, true, is_held));
        }
        let dag = dag.ok_or_else(|| {
            PortError::new(PortErrorKind::NotFound, format!("could not {attempted}: there is no such DAG"))
        })?;
        if dag.is_stale {
            return Err(PortError::new(PortErrorKind::NotFound, format!("could not {attempted}: its file is gone")));
        }
        let now = self.clock.now();
        let last_interval = self.store.last_automated_interval(&dag.dag_id).await.map_err(failed)?;
        for moment in 0..MOMENTS {
            let request = self.request(wish, &dag, last_interval, now + TimeDelta::microseconds(moment))?;
            match self.store.trigger_run(&self.asking, &request, now).await {
                Ok(row) => {
                    return Ok(asked(row, false, is_held));
                }
                // Somebody else asked at this very moment, and this run may have any other.
                Err(StoreError::RunExists { .. } | StoreError::LogicalDateExists { .. })
                    if wish.run_id.is_none() && wish.logical_date.is_none() => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Err(PortError::new(PortErrorKind::Unavailable, format!("could not {attempted}: too many runs at one moment")))
    }

    fn request(
        &self,
        wish: &RunWish,
        dag: &DagRow,
        last_interval: Option<DataInterval>,
        moment: DateTime<Utc>,
    ) -> Result<RunRequest, PortError> {
        check_own_secrets(&wish.conf).map_err(|error| invalid(format!("'conf': {error}")))?;
        let version = DagVersion::new(dag.version_key, dag.dag.clone()).map_err(invalid)?;
        let made = format!("triggered__{}", format_run_id_instant(wish.logical_date.unwrap_or(moment)));
        let request = ManualRun {
            version: &version,
            run_id: Some(wish.run_id.as_deref().unwrap_or(&made)),
            logical_date: wish.logical_date.map(|at| NamedDate { at, last_interval }),
            conf: wish.conf.clone(),
            triggered_by: self.actor.clone(),
        };
        let run = manual_run(request, moment).map_err(invalid)?;
        Ok(RunRequest { run, note: wish.note.clone(), actor: self.actor.clone() })
    }

    async fn wait(&self, run: RunKey) -> Result<AskedRun, PortError> {
        let mut changes = self.store.run_changes();
        loop {
            let row = match self.store.run_by_key(run).await {
                Ok(Some(row)) => row,
                Ok(None) => return Err(PortError::new(PortErrorKind::NotFound, "the run was deleted")),
                // The run goes on without being looked at.
                Err(error) if error.is_transient() => {
                    tokio::time::sleep(LOOK).await;
                    continue;
                }
                Err(error) => return Err(port_error("see how the run is getting on", &error)),
            };
            if row.state.is_finished() {
                return Ok(asked(row, true, false));
            }
            let is_its = |change: &Change| change.dag_id == row.dag_id && change.run_id.as_ref() == Some(&row.run_id);
            let changed = async {
                loop {
                    match changes.recv().await {
                        Ok(change) if !is_its(&change) => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => return,
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            // Whichever comes first: it is looked at again.
            let _ = tokio::time::timeout(LOOK, changed).await;
        }
    }

    async fn clear_failed(&self, run: RunKey) -> Result<(), StoreError> {
        let selection = Selection { only_failed: true, ..Selection::of_run(run, TaskChoice::All) };
        let now = self.clock.now();
        self.store.clear_instances(&ClearRequest::new(selection, &*self.actor), now).await?;
        Ok(())
    }

    /// Whether the task was really stopped, and not only its try.
    async fn is_stopped(&self, reason: &str) -> Result<bool, StoreError> {
        if reason == SHUTDOWN_REASON {
            return Ok(false);
        }
        let row = self.store.instance_by_key(self.asking.instance).await?;
        let others = row.and_then(|row| row.lease).filter(|lease| lease.token != self.asking.token);
        Ok(others.is_none())
    }

    async fn give_up(&self, run: RunKey, reason: &str) -> Result<bool, StoreError> {
        if !self.is_stopped(reason).await? {
            return Ok(false);
        }
        let request = MarkRunRequest {
            run,
            to: RunState::Failed,
            note: None,
            dry_run: false,
            actor: format!("{} ({reason})", self.actor),
        };
        let is_over = self.store.run_by_key(run).await?.is_none_or(|row| row.state.is_finished());
        if is_over {
            return Ok(false);
        }
        self.store.mark_run(&request, self.clock.now()).await?;
        Ok(true)
    }
}

impl Triggers for StoreTriggers {
    fn trigger<'a>(&'a self, wish: &'a RunWish) -> BoxFuture<'a, Result<AskedRun, PortError>> {
        self.ask(wish).boxed()
    }

    fn ended(&self, run: RunKey) -> BoxFuture<'_, Result<AskedRun, PortError>> {
        self.wait(run).boxed()
    }

    fn run_again(&self, run: RunKey) -> BoxFuture<'_, Result<(), PortError>> {
        async move { self.clear_failed(run).await.map_err(|error| port_error("run it again", &error)) }.boxed()
    }

    fn stop<'a>(&'a self, run: RunKey, reason: &'a str) -> BoxFuture<'a, Result<bool, PortError>> {
        async move { self.give_up(run, reason).await.map_err(|error| port_error("stop the run", &error)) }.boxed()
    }
}
