//! Tries that ended. Guarded by the lease's token: a worker that lost its lease changes nothing.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use millrace_model::change::{Completion, Finish, Release, TryOutcome};
use millrace_model::state::TaskState;
use serde_json::{Value, json};

use super::{CommitReport, Touched, waves};
use crate::sql::{Kind, micros, opt_micros};
use crate::{Backend, Result, Tx, sql};

pub(super) async fn apply(
    tx: &Tx,
    finishes: &[Finish],
    now: DateTime<Utc>,
    report: &mut CommitReport,
    touched: &mut Touched,
) -> Result<()> {
    for wave in waves(finishes, |finish| finish.completion.instance) {
        let mut applied = Vec::with_capacity(wave.len());
        let states = close(tx, finishes, &wave).await?;
        for index in wave {
            let finish = &finishes[index];
            match states.get(&finish.completion.instance) {
                None => report.stale_finishes.push(index),
                Some(state) => {
                    if *state != finish.to {
                        report.cleared_finishes.push(index);
                    }
                    touched.instances.push(finish.completion.instance);
                    applied.push((finish, *state));
                }
            }
        }
        put_results(tx, &applied, now).await?;
        write_ledger(tx, &applied).await?;
        super::assets::emit(tx, &applied, now, report).await?;
    }
    // What counts for nothing any more has ended all the same.
    let refused: Vec<Release> =
        report.stale_finishes.iter().map(|index| released(&finishes[*index].completion)).collect();
    release(tx, &refused).await
}

fn released(completion: &Completion) -> Release {
    Release { instance: completion.instance, token: completion.token.clone() }
}

/// Tries that were taken from their instances by hand have stopped. An instance that was cleared meanwhile waits from
/// now on.
pub(super) async fn release(tx: &Tx, releases: &[Release]) -> Result<()> {
    if releases.is_empty() {
        return Ok(());
    }
    let source = sql::source(tx.dialect(), 1, &[("x_id", Kind::Int), ("x_token", Kind::Text)]);
    let unless_cleared =
        |column: &str| format!("{column} = CASE WHEN state = 'restarting' THEN NULL ELSE {column} END");
    let sql = format!(
        "UPDATE task_instance SET state = CASE WHEN state = 'restarting' THEN 'none' ELSE state END, {}, {}, \
         lease_owner = NULL, lease_token = NULL, lease_expires_at = NULL FROM {source} \
         WHERE task_instance.id = x_id AND lease_token = x_token AND state NOT IN ('running', 'deferred')",
        unless_cleared("start_date"),
        unless_cleared("end_date"),
    );
    let rows = sql::rows(releases.iter().map(|it| vec![json!(it.instance), json!(it.token)]));
    sql::run(&tx.inner, "release instances", sql, vec![rows]).await.map(|_| ())
}

const COLUMNS: &[(&str, Kind)] = &[
    ("x_id", Kind::Int),
    ("x_token", Kind::Text),
    ("x_to", Kind::Text),
    ("x_reason", Kind::Text),
    ("x_next", Kind::Int),
    ("x_try", Kind::Int),
    ("x_free", Kind::Int),
    ("x_lost", Kind::Int),
    ("x_start", Kind::Int),
    ("x_end", Kind::Int),
    ("x_name", Kind::Text),
    ("x_choice", Kind::Text),
    ("x_ended_as", Kind::Text),
    ("x_error", Kind::Text),
    ("x_rendered", Kind::Text),
];

/// A try of an instance that was cleared while it ran does not go on, whatever was planned.
const ENDED_AS: &str =
    "CASE WHEN task_instance.state = 'none' AND x_ended_as = 'up_for_reschedule' THEN 'failed' ELSE x_ended_as END";

/// `became`: what the instance is then.
fn row(finish: &Finish, became: TaskState) -> Vec<Value> {
    let done = &finish.completion;
    let choice = done.choice.as_ref().filter(|_| finish.to == TaskState::Success);
    vec![
        json!(done.instance),
        json!(done.token),
        json!(finish.to.as_str()),
        json!(finish.reason),
        json!(opt_micros(finish.next_try_at)),
        json!(done.try_number),
        json!(i64::from(!finish.counts_try)),
        json!(i64::from(done.outcome == TryOutcome::LostWorker)),
        json!(micros(done.started_at)),
        json!(micros(done.ended_at)),
        json!(done.rendered_map_index),
        json!(choice.map(|choice| json!(choice).to_string())),
        json!(try_state(finish, became).as_str()),
        json!(done.error),
        json!(done.rendered.as_ref().map(Value::to_string)),
    ]
}

/// Closes the instances whose token holds, and their tries. An instance that was cleared while it ran becomes `none`,
/// whatever the scheduler, which may not have heard of it yet, planned. Returns the new state of each.
async fn close(tx: &Tx, finishes: &[Finish], wave: &[usize]) -> Result<HashMap<i64, TaskState>> {
    let instances = format!(
        "UPDATE task_instance SET \
         state = CASE WHEN state = 'restarting' THEN 'none' ELSE x_to END, \
         state_reason = CASE WHEN state = 'restarting' THEN 'cleared' ELSE x_reason END, \
         next_try_at = CASE WHEN state = 'restarting' THEN NULL ELSE x_next END, \
         try_number = x_try, \
         max_tries = CASE WHEN state = 'restarting' THEN max_tries ELSE max_tries + x_free END, \
         lost_workers = CASE WHEN state = 'restarting' THEN 0 ELSE lost_workers + x_lost END, \
         first_start = CASE WHEN state <> 'restarting' AND x_to = 'up_for_reschedule' \
         THEN COALESCE(first_start, x_start) ELSE NULL END, \
         put_offs = CASE WHEN state <> 'restarting' AND x_to = 'up_for_reschedule' THEN put_offs + 1 ELSE 0 END, \
         choice = CASE WHEN state = 'restarting' THEN NULL ELSE x_choice END, \
         start_date = CASE WHEN state = 'restarting' OR x_to = 'none' THEN NULL ELSE x_start END, \
         end_date = CASE WHEN state = 'restarting' OR x_to = 'none' THEN NULL ELSE x_end END, \
         rendered_map_index = COALESCE(x_name, rendered_map_index), \
         lease_owner = NULL, lease_token = NULL, lease_expires_at = NULL \
         FROM {} WHERE task_instance.id = x_id AND lease_token = x_token \
         AND state IN ('running', 'restarting', 'deferred') RETURNING id, state",
        sql::source(tx.dialect(), 1, COLUMNS)
    );
    let rows = sql::rows(wave.iter().map(|index| row(&finishes[*index], finishes[*index].to)));
    let attempted = "finish tries";
    let states = |rows: Vec<sql::Row>| -> Result<HashMap<i64, TaskState>> {
        rows.iter().map(|row| Ok((row.int("id")?, row.word("state", TaskState::parse)?))).collect()
    };
    match tx.store.backend() {
        // One round trip.
        Backend::Postgres => {
            let tries = close_tries("closed");
            let sql = format!(
                "WITH closed AS ({instances}, x_id, x_try, {ENDED_AS} AS x_ended_as, x_reason, x_start, x_end, x_error, \
                 x_rendered), \
                 tries AS ({tries}) SELECT id, state FROM closed"
            );
            states(sql::all(&tx.inner, attempted, sql, vec![rows]).await?)
        }
        Backend::Sqlite => {
            let states = states(sql::all(&tx.inner, attempted, instances, vec![rows]).await?)?;
            let closed = |index: &usize| {
                let finish = &finishes[*index];
                states.get(&finish.completion.instance).map(|became| row(finish, *became))
            };
            let closed: Vec<Vec<Value>> = wave.iter().filter_map(closed).collect();
            if !closed.is_empty() {
                let tries = close_tries(&sql::source(tx.dialect(), 1, COLUMNS));
                sql::run(&tx.inner, "close tries", tries, vec![sql::rows(closed)]).await?;
            }
            Ok(states)
        }
    }
}

/// Of the instances that were closed.
fn close_tries(closed: &str) -> String {
    format!(
        "UPDATE task_try SET state = x_ended_as, state_reason = x_reason, start_date = x_start, \
         end_date = CASE WHEN x_ended_as = 'up_for_reschedule' THEN NULL ELSE x_end END, \
         error = x_error, rendered = COALESCE(x_rendered, rendered) \
         FROM {closed} WHERE task_try.instance_id = x_id AND task_try.try_number = x_try"
    )
}

/// How the try itself ended; the instance may go on (retry, restart).
fn try_state(finish: &Finish, became: TaskState) -> TaskState {
    if finish.to == TaskState::UpForReschedule && became == finish.to {
        return became;
    }
    match &finish.completion.outcome {
        TryOutcome::Success => TaskState::Success,
        TryOutcome::Skipped { .. } => TaskState::Skipped,
        // One that is put off and does not look again was stopped.
        TryOutcome::PutOff { .. }
        | TryOutcome::Failed { .. }
        | TryOutcome::Cancelled { .. }
        | TryOutcome::LostWorker => TaskState::Failed,
    }
}

/// What a task left behind under null is not kept; nor are the results of an instance that will run again.
async fn put_results(tx: &Tx, applied: &[(&Finish, TaskState)], now: DateTime<Utc>) -> Result<()> {
    let results: Vec<Vec<Value>> = applied
        .iter()
        .filter(|(_, state)| *state != TaskState::None)
        .flat_map(|(finish, _)| finish.completion.results.iter().map(|result| (&finish.completion, result)))
        .filter(|(_, (_, value))| !value.is_null())
        .map(|(of, (key, value))| {
            let length = value.as_array().map(Vec::len);
            let shown = of.shown_results.iter().find(|(name, _)| name == key).map(|(_, shown)| shown.to_string());
            vec![json!(of.instance), json!(key), json!(value.to_string()), json!(length), json!(shown)]
        })
        .collect();
    if results.is_empty() {
        return Ok(());
    }
    let source = sql::source(
        tx.dialect(),
        1,
        &[
            ("x_id", Kind::Int),
            ("x_key", Kind::Text),
            ("x_value", Kind::Text),
            ("x_length", Kind::Int),
            ("x_shown", Kind::Text),
        ],
    );
    let sql = format!(
        "INSERT INTO xcom (instance_id, key, value, length, shown, created_at) \
         SELECT x_id, x_key, x_value, x_length, x_shown, $2 FROM {source} WHERE TRUE ON CONFLICT (instance_id, key) DO UPDATE SET value = excluded.value, \
         length = excluded.length, shown = excluded.shown, created_at = excluded.created_at"
    );
    sql::run(&tx.inner, "keep results", sql, vec![sql::rows(results), micros(now).into()]).await.map(|_| ())
}

async fn write_ledger(tx: &Tx, applied: &[(&Finish, TaskState)]) -> Result<()> {
    let entries: Vec<Vec<Value>> = applied
        .iter()
        .flat_map(|(finish, _)| finish.completion.ledger.iter().map(|entry| (&finish.completion, entry)))
        .map(|(done, entry)| {
            vec![
                json!(done.instance),
                json!(done.try_number),
                json!(entry.stage),
                json!(entry.source),
                json!(entry.target),
                json!(entry.rows_read),
                json!(entry.rows_written),
                json!(entry.rows_inserted),
                json!(entry.rows_updated),
                json!(entry.rows_deleted),
                json!(entry.rows_rejected),
                json!(entry.bytes),
                json!(entry.checksum),
                json!(json!(entry.remote_ids).to_string()),
                json!(micros(entry.started_at)),
                json!(micros(entry.ended_at)),
                json!(entry.read.as_ref().map(|read| json!(read).to_string())),
                json!(entry.written.as_ref().map(|written| json!(written).to_string())),
                json!(entry.checks_passed().map(|_| json!(entry.checks).to_string())),
            ]
        })
        .collect();
    if entries.is_empty() {
        return Ok(());
    }
    let source = sql::source(
        tx.dialect(),
        1,
        &[
            ("x_id", Kind::Int),
            ("x_try", Kind::Int),
            ("x_stage", Kind::Text),
            ("x_source", Kind::Text),
            ("x_target", Kind::Text),
            ("x_read", Kind::Int),
            ("x_written", Kind::Int),
            ("x_inserted", Kind::Int),
            ("x_updated", Kind::Int),
            ("x_deleted", Kind::Int),
            ("x_rejected", Kind::Int),
            ("x_bytes", Kind::Int),
            ("x_checksum", Kind::Text),
            ("x_remote", Kind::Text),
            ("x_start", Kind::Int),
            ("x_end", Kind::Int),
            ("x_from", Kind::Text),
            ("x_into", Kind::Text),
            ("x_checks", Kind::Text),
        ],
    );
    let sql = format!(
        "INSERT INTO load_ledger (instance_id, try_number, stage, source, target, rows_read, rows_written, \
         rows_inserted, rows_updated, rows_deleted, rows_rejected, byte_count, checksum, remote_ids, started_at, \
         ended_at, rows_from, rows_into, checks) SELECT * FROM {source}"
    );
    sql::run(&tx.inner, "write the ledger", sql, vec![sql::rows(entries)]).await.map(|_| ())
}
