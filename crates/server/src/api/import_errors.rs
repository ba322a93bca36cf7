//! DAG files that could not be read.

use axum::Json;
use axum::extract::{Query, State};
use millrace_model::pool::PoolFault;
use millrace_store::DagFilter;
use serde_json::{Value, json};

use super::instant;
use crate::problem::Answer;
use crate::query::Parameters;
use crate::server::Shared;

pub(crate) async fn list(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let (limit, offset) = Parameters(parameters).page()?;
    let rows = server.store().import_errors().await?;
    let total = rows.len();
    let errors: Vec<Value> = rows
        .into_iter()
        .enumerate()
        .skip(offset as usize)
        .take(limit as usize)
        .map(|(place, row)| {
            let text: Vec<String> = row.diagnostics.iter().map(|one| described(&row.file_path, one)).collect();
            json!({
                "import_error_id": place + 1,
                "timestamp": instant(row.last_seen_at),
                "first_seen_at": instant(row.first_seen_at),
                "filename": row.file_path,
                "stack_trace": text.join("\n"),
                "diagnostics": row.diagnostics,
            })
        })
        .collect();
    Ok(Json(json!({"import_errors": errors, "total_entries": total})))
}

/// What is wrong with DAGs that can be read: tasks that can never run. Airflow's envelope.
pub(crate) async fn warnings(
    State(server): State<Shared>,
    Query(parameters): Query<Vec<(String, String)>>,
) -> Answer<Json<Value>> {
    let parameters = Parameters(parameters);
    let (limit, offset) = parameters.page()?;
    let (dag_id, kind) = (parameters.text("dag_id"), parameters.text("warning_type"));
    let pools = server.store().pool_sizes().await?;
    let rows = server.store().dags(&DagFilter::default()).await?.rows;
    let asked = rows.iter().filter(|row| dag_id.is_none_or(|id| row.dag_id.as_str() == id));
    let found: Vec<Value> = asked
        .flat_map(|row| PoolFault::all_of(&row.dag, &pools).into_iter().map(move |fault| (row, fault)))
        .filter(|(_, fault)| kind.is_none_or(|kind| fault.kind() == kind))
        .map(|(row, fault)| {
            json!({
                "dag_id": row.dag_id.as_str(),
                "task_id": fault.task_id(),
                "warning_type": fault.kind(),
                "message": format!("{fault}; {}", fault.hint()),
            })
        })
        .collect();
    let total = found.len();
    let shown: Vec<Value> = found.into_iter().skip(offset as usize).take(limit as usize).collect();
    Ok(Json(json!({"dag_warnings": shown, "total_entries": total})))
}

/// `file:line:column: message`
pub(crate) fn described(file: &str, diagnostic: &Value) -> String {
    let message = diagnostic.get("message").and_then(Value::as_str).unwrap_or("cannot be read");
    format!("{}: {message}", place(file, diagnostic))
}

pub(crate) fn place(file: &str, diagnostic: &Value) -> String {
    match (diagnostic.get("line").and_then(Value::as_u64), diagnostic.get("column").and_then(Value::as_u64)) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        (Some(line), None) => format!("{file}:{line}"),
        _ => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_diagnostic_says_where() {
        let full = json!({"line": 3, "column": 5, "message": "unknown key 'taks'"});
        assert_eq!(described("a/b.yaml", &full), "a/b.yaml:3:5: unknown key 'taks'");
        assert_eq!(described("b.yaml", &json!("text")), "b.yaml: cannot be read");
    }
}
