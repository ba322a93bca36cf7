//! What was moved: from where to where, how many rows, with which checksum.

use axum::Json;
use axum::extract::State;
use millrace_model::ids::DagId;
use millrace_model::ledger::Checked;
use millrace_store::{LedgerFilter, LedgerLine};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Instant, duration, instant, listed};
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::{Server, Shared};

pub(super) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<Ledger>> {
    let filter = filter(&parameters)?;
    let page = server.store().ledger_lines(&filter).await?;
    let ledger = page.rows.iter().map(|row| line(&server, row)).collect();
    Ok(Json(Ledger { ledger, total_entries: page.total }))
}

/// From the parameters of an address.
pub(crate) fn filter(parameters: &Parameters) -> Answer<LedgerFilter> {
    let (limit, offset) = parameters.page()?;
    Ok(LedgerFilter {
        dag_id: parameters.owned("dag_id").map(DagId::new_unchecked),
        run_id: parameters.owned("dag_run_id").or_else(|| parameters.owned("run_id")),
        task_id: parameters.owned("task_id"),
        stage: parameters.owned("stage"),
        since: parameters.instant("since")?,
        until: parameters.instant("until")?,
        target: parameters.owned("target"),
        limit,
        offset,
    })
}

listed!(Ledger { ledger: Line });

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "LedgerLine")]
pub(crate) struct Line {
    id: i64,
    dag_id: String,
    dag_run_id: String,
    logical_date: Instant,
    task_id: String,
    map_index: i32,
    try_number: u32,
    stage: String,
    source: String,
    target: String,
    rows_read: Option<u64>,
    rows_written: Option<u64>,
    rows_inserted: Option<u64>,
    rows_updated: Option<u64>,
    rows_unchanged: Option<u64>,
    rows_deleted: Option<u64>,
    rows_rejected: Option<u64>,
    bytes: Option<u64>,
    checksum: Option<String>,
    remote_ids: Vec<String>,
    /// What was looked at: the data-quality record of a check, a copy or a table that was built.
    checks: Vec<Check>,
    start_date: Instant,
    end_date: Instant,
    /// Seconds.
    duration: Option<f64>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct Check {
    /// `rows >= 1`, `unique(id)`.
    name: String,
    passed: bool,
    /// What was found, in words.
    found: String,
}

fn check(server: &Server, checked: &Checked) -> Check {
    Check { name: server.masked_text(&checked.name), passed: checked.passed, found: server.masked_text(&checked.found) }
}

fn line(server: &Server, line: &LedgerLine) -> Line {
    let entry = &line.row.entry;
    Line {
        id: line.row.id,
        dag_id: line.dag_id.to_string(),
        dag_run_id: line.run_id.to_string(),
        logical_date: instant(line.logical_date),
        task_id: line.task_id.to_string(),
        map_index: line.map_index,
        try_number: line.row.try_number,
        stage: entry.stage.clone(),
        source: server.masked_text(&entry.source),
        target: server.masked_text(&entry.target),
        rows_read: entry.rows_read,
        rows_written: entry.rows_written,
        rows_inserted: entry.rows_inserted,
        rows_updated: entry.rows_updated,
        rows_unchanged: entry.rows_unchanged(),
        rows_deleted: entry.rows_deleted,
        rows_rejected: entry.rows_rejected,
        bytes: entry.bytes,
        checksum: entry.checksum.clone(),
        remote_ids: entry.remote_ids.clone(),
        checks: entry.checks.iter().map(|checked| check(server, checked)).collect(),
        start_date: instant(entry.started_at),
        end_date: instant(entry.ended_at),
        duration: duration(Some(entry.started_at), Some(entry.ended_at)),
    }
}
