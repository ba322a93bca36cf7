//! Runs and task instances that go from one state to another without a worker.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, Utc};
use millrace_model::change::{RunEnding, RunMove, TaskMove};
use millrace_model::state::{RunState, RunType, TaskState};
use serde_json::json;

use super::{CommitReport, Touched, waves};
use crate::requests::backfill;
use crate::runs::xcom;
use crate::sql::{Kind, micros};
use crate::{Result, Tx, sql};

/// Notes why runs wind down; the first reason stays.
pub(super) async fn wind_down(
    tx: &Tx,
    endings: &[RunEnding],
    report: &mut CommitReport,
    touched: &mut Touched,
) -> Result<()> {
    if endings.is_empty() {
        return Ok(());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int), ("x_reason", Kind::Text)]);
    let sql = format!(
        "UPDATE dag_run SET ending = x_reason FROM {source} \
         WHERE dag_run.id = x_id AND state = 'running' AND ending IS NULL{} RETURNING id",
        touched.unless_changed("dag_run.id")
    );
    for wave in waves(endings, |ending| ending.run) {
        let rows = sql::rows(wave.iter().map(|index| vec![json!(endings[*index].run), json!(endings[*index].reason)]));
        let noted = sql::ids(&tx.inner, "wind runs down", sql.as_str(), vec![rows]).await?;
        let noted: HashSet<i64> = noted.into_iter().collect();
        for index in wave {
            if noted.contains(&endings[index].run) {
                touched.runs.push(endings[index].run);
            } else {
                report.stale_endings.push(index);
            }
        }
    }
    Ok(())
}

pub(super) async fn apply_to_runs(
    tx: &Tx,
    (moves, which): (&[RunMove], &[usize]),
    now: DateTime<Utc>,
    report: &mut CommitReport,
    touched: &mut Touched,
) -> Result<()> {
    let source = sql::source(
        tx.dialect(),
        1,
        &[("x_id", Kind::Int), ("x_from", Kind::Text), ("x_to", Kind::Text), ("x_reason", Kind::Text)],
    );
    let sql = format!(
        "UPDATE dag_run SET \
         state = CASE WHEN x_to IN ('success', 'failed') THEN COALESCE(marked_state, x_to) ELSE x_to END, \
         state_reason = CASE WHEN x_to <> COALESCE(marked_state, x_to) THEN 'marked ' || marked_state ELSE x_reason END, \
         queued_at = CASE WHEN x_to = 'queued' THEN $2 ELSE queued_at END, \
         ending = CASE WHEN x_to = 'queued' THEN NULL ELSE ending END, \
         start_date = CASE x_to WHEN 'queued' THEN NULL WHEN 'running' THEN COALESCE(start_date, $2) \
         ELSE start_date END, \
         end_date = CASE WHEN x_to IN ('success', 'failed') THEN $2 ELSE NULL END \
         FROM {source} WHERE dag_run.id = x_id AND state = x_from{} RETURNING id, state, run_type, start_date, run_after",
        touched.unless_changed("dag_run.id")
    );
    let mut finished = false;
    for wave in waves(which, |index| moves[*index].run) {
        let (legal, illegal): (Vec<usize>, Vec<usize>) = wave
            .into_iter()
            .map(|index| which[index])
            .partition(|index| moves[*index].from.may_become(moves[*index].to));
        for index in illegal {
            let step = &moves[index];
            tracing::error!(run = step.run, from = %step.from, to = %step.to, "not a legal step of a run; left out");
            report.stale_runs.push(index);
        }
        let rows = sql::rows(legal.iter().map(|index| {
            let step = &moves[*index];
            vec![json!(step.run), json!(step.from.as_str()), json!(step.to.as_str()), json!(step.reason)]
        }));
        let values = vec![rows, micros(now).into()];
        let mut moved = HashMap::new();
        for row in sql::all(&tx.inner, "move runs", sql.as_str(), values).await? {
            let state = row.word("state", RunState::parse)?;
            moved.insert(row.int("id")?, state);
            let Some(start) = row.opt_instant("start_date")? else { continue };
            if state.is_finished() {
                touched.times.ended.push((state, now - start));
            } else if start == now && row.word("run_type", RunType::parse)? == RunType::Scheduled {
                touched.times.started.push(now - row.instant("run_after")?);
            }
        }
        for index in legal {
            let step = &moves[index];
            let Some(state) = moved.get(&step.run) else {
                report.stale_runs.push(index);
                continue;
            };
            finished |= step.to.is_finished();
            touched.runs.push(step.run);
            if *state != step.to {
                report.marked_runs.push((index, *state));
            }
        }
    }
    if finished {
        report.finished_backfills.extend(backfill::finish_completed(tx, now).await?);
    }
    Ok(())
}

pub(super) async fn apply_to_tasks(
    tx: &Tx,
    moves: &[TaskMove],
    now: DateTime<Utc>,
    report: &mut CommitReport,
    touched: &mut Touched,
) -> Result<()> {
    let source = sql::source(
        tx.dialect(),
        1,
        &[
            ("x_id", Kind::Int),
            ("x_from", Kind::Text),
            ("x_to", Kind::Text),
            ("x_reason", Kind::Text),
            ("x_counts", Kind::Int),
            ("x_given_up", Kind::Bool),
        ],
    );
    let sql = format!(
        "UPDATE task_instance SET state = x_to, state_reason = x_reason, given_up = x_given_up, try_number = try_number + x_counts, \
         start_date = CASE WHEN x_to IN ('success', 'failed', 'upstream_failed', 'skipped', 'removed') \
         THEN COALESCE(start_date, $2) WHEN x_to = 'none' THEN NULL ELSE start_date END, \
         end_date = CASE WHEN x_to IN ('success', 'failed', 'upstream_failed', 'skipped', 'removed') THEN $2 \
         WHEN x_to = 'none' THEN NULL ELSE end_date END, \
         next_try_at = CASE WHEN x_to = 'up_for_retry' THEN next_try_at ELSE NULL END, \
         is_outside = (x_to = 'deferred' OR (x_to = 'restarting' AND is_outside)), \
         lease_owner = CASE WHEN x_to IN ('restarting', 'deferred', 'running') THEN lease_owner ELSE NULL END, \
         lease_token = CASE WHEN x_to IN ('restarting', 'deferred', 'running') THEN lease_token ELSE NULL END, \
         lease_expires_at = CASE WHEN x_to IN ('restarting', 'deferred', 'running') THEN lease_expires_at ELSE NULL END \
         FROM {source} WHERE task_instance.id = x_id AND state = x_from{} RETURNING id",
        touched.unless_changed("task_instance.run_id")
    );
    for wave in waves(moves, |step| step.instance) {
        let (legal, illegal): (Vec<usize>, Vec<usize>) =
            wave.into_iter().partition(|index| moves[*index].from.may_become(moves[*index].to));
        for index in illegal {
            let step = &moves[index];
            tracing::error!(
                instance = step.instance, from = %step.from, to = %step.to,
                "not a legal step of a task instance; left out"
            );
            report.stale_moves.push(index);
        }
        let rows = sql::rows(legal.iter().map(|index| {
            let step = &moves[*index];
            vec![
                json!(step.instance),
                json!(step.from.as_str()),
                json!(step.to.as_str()),
                json!(step.reason),
                json!(i64::from(step.counts_try)),
                json!(step.given_up),
            ]
        }));
        let values = vec![rows, micros(now).into()];
        let moved = sql::ids(&tx.inner, "move task instances", sql.as_str(), values).await?;
        let moved: HashSet<i64> = moved.into_iter().collect();
        let (mut taken_from_workers, mut without_try) = (Vec::new(), Vec::new());
        for index in legal {
            let step = &moves[index];
            if !moved.contains(&step.instance) {
                report.stale_moves.push(index);
                continue;
            }
            touched.instances.push(step.instance);
            let is_held = |state| matches!(state, TaskState::Running | TaskState::Restarting | TaskState::Deferred);
            if is_held(step.from) && !is_held(step.to) {
                taken_from_workers.push((step.instance, step.to));
            }
            if matches!(step.to, TaskState::Skipped | TaskState::UpstreamFailed | TaskState::Removed) {
                without_try.push(step.instance);
            }
        }
        close_open_tries(tx, &taken_from_workers, now).await?;
        // It may have run before it was cleared. Whoever comes after it now would take that for today's.
        xcom::forget(tx, &without_try).await?;
    }
    Ok(())
}

/// The tries of instances that were taken from their workers: what they still send is refused.
pub(crate) async fn close_open_tries(tx: &Tx, taken: &[(i64, TaskState)], now: DateTime<Utc>) -> Result<()> {
    if taken.is_empty() {
        return Ok(());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int), ("x_state", Kind::Text)]);
    let sql = format!(
        "UPDATE task_try SET state = x_state, end_date = CASE WHEN start_date > $2 THEN start_date ELSE $2 END, \
         state_reason = (SELECT i.state_reason FROM task_instance i WHERE i.id = task_try.instance_id) \
         FROM {source} WHERE task_try.instance_id = x_id AND task_try.end_date IS NULL \
         AND task_try.try_number = (SELECT i.try_number FROM task_instance i WHERE i.id = x_id)"
    );
    let rows = sql::rows(taken.iter().map(|(instance, to)| {
        let state = if to.is_finished() { *to } else { TaskState::Failed };
        vec![json!(instance), json!(state.as_str())]
    }));
    sql::run(&tx.inner, "close tries", sql, vec![rows, micros(now).into()]).await.map(|_| ())
}
