//! What was moved: from where to where, how many rows, with which checksum.

use axum::Json;
use axum::extract::{Query, State};
use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use millrace_model::ids::DagId;
use millrace_model::instant::parse_instant;
use millrace_store::{LedgerFilter, LedgerLine};
use serde_json::{Value, json};

use super::{duration, instant};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

pub(super) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let filter = filter(&Parameters(parameters))?;
    let page = server.store().ledger_lines(&filter).await?;
    let masker = server.options.vault.masker();
    let lines: Vec<Value> = page.rows.iter().map(line).map(|line| masker.mask_value(&line)).collect();
    Ok(Json(json!({"ledger": lines, "total_entries": page.total})))
}

/// From the parameters of an address.
pub(crate) fn filter(parameters: &Parameters) -> Answer<LedgerFilter> {
    let (limit, offset) = parameters.page()?;
    let text = |name: &str| parameters.text(name).map(str::to_owned);
    Ok(LedgerFilter {
        dag_id: text("dag_id").map(DagId::new_unchecked),
        run_id: text("dag_run_id").or_else(|| text("run_id")),
        task_id: text("task_id"),
        stage: text("stage"),
        since: moment(parameters, "since")?,
        until: moment(parameters, "until")?,
        target: text("target"),
        limit,
        offset,
    })
}

fn moment(parameters: &Parameters, name: &str) -> Answer<Option<DateTime<Utc>>> {
    let read =
        |text| parse_instant(text, Tz::UTC).map_err(|error| Problem::invalid(format!("parameter '{name}': {error}")));
    parameters.text(name).map(read).transpose()
}

fn line(line: &LedgerLine) -> Value {
    let entry = &line.row.entry;
    json!({
        "id": line.row.id,
        "dag_id": line.dag_id,
        "dag_run_id": line.run_id,
        "logical_date": instant(line.logical_date),
        "task_id": line.task_id,
        "map_index": line.map_index,
        "try_number": line.row.try_number,
        "stage": entry.stage,
        "source": entry.source,
        "target": entry.target,
        "rows_read": entry.rows_read,
        "rows_written": entry.rows_written,
        "rows_inserted": entry.rows_inserted,
        "rows_updated": entry.rows_updated,
        "rows_unchanged": entry.rows_unchanged(),
        "rows_deleted": entry.rows_deleted,
        "rows_rejected": entry.rows_rejected,
        "bytes": entry.bytes,
        "checksum": entry.checksum,
        "remote_ids": entry.remote_ids,
        "start_date": instant(entry.started_at),
        "end_date": instant(entry.ended_at),
        "duration": duration(Some(entry.started_at), Some(entry.ended_at)),
    })
}
