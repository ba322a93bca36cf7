//! The audit log, under Airflow's name and with its fields.

use axum::Json;
use axum::extract::{Query, State};
use millrace_store::{AuditFilter, AuditRow};
use serde_json::{Value, json};

use super::instant;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::Shared;

pub(super) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let text = |name: &str| parameters.text(name).map(str::to_owned);
    let filter = AuditFilter {
        dag_id: text("dag_id"),
        run_id: text("run_id"),
        actor: text("owner"),
        action: text("event"),
        limit,
        offset,
    };
    let page = server.store().audit_log(&filter).await?;
    let masker = server.options.vault.masker();
    let value = |row: &AuditRow| {
        json!({
            "event_log_id": row.id,
            "when": instant(row.at),
            "owner": row.actor,
            "event": row.action,
            "dag_id": row.dag_id,
            "run_id": row.run_id,
            "task_id": row.task_id,
            "extra": masker.mask_value(&row.details),
            "before": row.before.as_ref().map(|before| masker.mask_value(before)),
            "after": row.after.as_ref().map(|after| masker.mask_value(after)),
        })
    };
    Ok(Json(json!({"event_logs": page.rows.iter().map(value).collect::<Vec<_>>(), "total_entries": page.total})))
}
