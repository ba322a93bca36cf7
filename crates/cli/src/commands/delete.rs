//! `millrace dags delete`: a run that has ended, or a DAG that is no more.

use millrace_store::{Gone, RunFilter, Store};

use super::changes::{counted, may_go_on};
use crate::app::App;
use crate::args::CareArgs;
use crate::lookup;
use crate::output::notice;

/// A run, or the DAG with all of them; their logs go too.
pub async fn run(app: &App, store: &Store, (dag_id, run): (&str, Option<&str>), care: &CareArgs) -> anyhow::Result<()> {
    let row = lookup::stored_dag(app, store, dag_id).await?;
    let run = match run {
        None => None,
        Some(run) => Some(lookup::run(store, &row.dag, run).await?),
    };
    let what = match &run {
        Some(run) => format!("the run {} of {dag_id}", run.run_id),
        None => {
            let filter = RunFilter { dag_ids: vec![row.dag_id.clone()], limit: 1, ..RunFilter::default() };
            format!("the DAG {dag_id} and {}", counted(store.runs(&filter).await?.total as usize, "run"))
        }
    };
    if care.dry_run {
        notice(format!("would delete {what}, with tasks, results, ledger and logs; nothing was changed"));
        return Ok(());
    }
    if !may_go_on(care, &format!("Delete {what}, with tasks, results, ledger and logs?"))? {
        return Ok(());
    }
    let logs = app.logs();
    let remove = |run_id: &str| {
        if let Err(error) = logs.remove_run(dag_id, run_id) {
            tracing::warn!(dag_id, run_id, %error, "the logs of a deleted run could not be removed");
        }
    };
    match &run {
        Some(run) => {
            store.delete_run(run.key, "cli", app.now()).await?;
            remove(run.run_id.as_str());
        }
        None => {
            let tell = |gone: Gone<'_>| match gone {
                Gone::Runs(runs) => runs.iter().for_each(|run_id| remove(run_id)),
                Gone::EveryRun => {
                    if let Err(error) = logs.remove_dag(dag_id) {
                        tracing::warn!(dag_id, %error, "the logs of a deleted DAG could not be removed");
                    }
                }
            };
            store.delete_dag(&row.dag_id, "cli", app.now(), tell).await?;
        }
    }
    notice(format!("deleted {what}"));
    Ok(())
}
