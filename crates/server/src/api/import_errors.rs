//! DAG files that could not be read.

use axum::Json;
use axum::extract::{Path, State};
use millrace_model::error_code::ErrorCode;
use millrace_model::pool::PoolFault;
use millrace_store::{DagFilter, ImportErrorRow};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Instant, instant, listed, paged};
use crate::access::permission::Act;
use crate::doors::Doors;
use crate::openapi::{Kind, op};
use crate::problem::{Answer, Problem};
use crate::query::Parameters;
use crate::server::Shared;

pub(super) fn doors() -> Doors {
    use Act::ReadDags;
    super::under()
        .get("/importErrors", ReadDags, list)
        .does(
            op("List DAG files that cannot be read")
                .page()
                .query("filename_pattern", Kind::Text, "A part of the file's name")
                .ordered(ORDERS)
                .gives::<ImportErrors>(),
        )
        .get("/importErrors/{id}", ReadDags, get)
        .does(op("Show one, by its number").gives::<ImportError>())
        .get("/dagWarnings", ReadDags, warnings)
        .does(
            op("List what is wrong with DAGs that can be read")
                .page()
                .query("dag_id", Kind::Text, "Of this DAG")
                .query("warning_type", Kind::Text, "Of this kind")
                .ordered(WARNING_ORDERS)
                .gives::<DagWarnings>(),
        )
}

pub(crate) async fn list(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<ImportErrors>> {
    let part = parameters.part("filename_pattern").map(|part| part.to_lowercase());
    let wanted = |row: &ImportErrorRow| part.as_ref().is_none_or(|part| row.file_path.to_lowercase().contains(part));
    let import_errors = server.import_errors().await?.into_iter().filter(wanted).map(import_error).collect();
    let (import_errors, total_entries) = paged(import_errors, &parameters, ORDERS)?;
    Ok(Json(ImportErrors { import_errors, total_entries }))
}

pub(super) const ORDERS: &[&str] = &["import_error_id", "timestamp", "filename"];
pub(super) const WARNING_ORDERS: &[&str] = &["dag_id", "task_id", "warning_type", "message"];

pub(crate) async fn get(State(server): State<Shared>, Path(id): Path<i64>) -> Answer<Json<ImportError>> {
    let row = server.import_errors().await?.into_iter().find(|row| number(&row.file_path) == id);
    let row = row.ok_or_else(|| Problem::new(ErrorCode::NOT_FOUND, format!("there is no import error {id}")))?;
    Ok(Json(import_error(row)))
}

/// Airflow's clients name an error by a number: this file has the same as long as it has its name, whatever becomes of the
/// others. Every client keeps a number of 48 bits as it is.
fn number(file_path: &str) -> i64 {
    Sha256::digest(file_path.as_bytes()).iter().take(6).fold(0, |number, byte| number << 8 | i64::from(*byte))
}

listed!(ImportErrors { import_errors: ImportError });
listed!(DagWarnings { dag_warnings: DagWarning });

#[derive(Serialize, JsonSchema)]
pub(crate) struct ImportError {
    /// Of the file, as long as it has its name.
    import_error_id: i64,
    timestamp: Instant,
    first_seen_at: Instant,
    filename: String,
    /// For `PUT /parseDagFile/{file_token}`.
    file_token: String,
    /// `file:line:column: message`, one a line.
    stack_trace: String,
    diagnostics: Vec<Value>,
}

#[derive(Serialize, JsonSchema)]
pub(crate) struct DagWarning {
    dag_id: String,
    /// Absent: the whole DAG.
    task_id: Option<String>,
    warning_type: String,
    message: String,
}

fn import_error(row: ImportErrorRow) -> ImportError {
    let text: Vec<String> = row.diagnostics.iter().map(|one| described(&row.file_path, one)).collect();
    ImportError {
        import_error_id: number(&row.file_path),
        timestamp: instant(row.last_seen_at),
        first_seen_at: instant(row.first_seen_at),
        file_token: row.file_path.clone(),
        filename: row.file_path,
        stack_trace: text.join("\n"),
        diagnostics: row.diagnostics,
    }
}

/// Of a DAG whose stored form cannot be used.
const UNUSABLE: &str = "stored form unusable";

/// What is wrong with DAGs: tasks that can never run, and what is left out because it cannot be read from the database.
/// Airflow's envelope.
pub(crate) async fn warnings(State(server): State<Shared>, parameters: Parameters) -> Answer<Json<DagWarnings>> {
    let (dag_id, kind) = (parameters.text("dag_id"), parameters.text("warning_type"));
    let pools = server.store().pool_sizes().await?;
    let rows = server.store().dags(&DagFilter::default()).await?.rows;
    let asked = rows.iter().filter(|row| dag_id.is_none_or(|id| row.dag_id.as_str() == id));
    let found: Vec<DagWarning> = asked
        .flat_map(|row| PoolFault::all_of(&row.dag, &pools).into_iter().map(move |fault| (row, fault)))
        .filter(|(_, fault)| kind.is_none_or(|kind| fault.kind() == kind))
        .map(|(row, fault)| DagWarning {
            dag_id: row.dag_id.to_string(),
            task_id: Some(fault.task_id().to_string()),
            warning_type: fault.kind().to_string(),
            message: format!("{fault}; {}", fault.hint()),
        })
        .collect();
    let left_out = server.store().left_out_dags().await?.into_iter();
    let unusable = left_out.filter(|(id, _)| dag_id.is_none_or(|asked| id.as_str() == asked));
    let unusable = unusable.filter(|_| kind.is_none_or(|kind| kind == UNUSABLE)).map(|(dag_id, reason)| DagWarning {
        dag_id: dag_id.to_string(),
        task_id: None,
        warning_type: UNUSABLE.to_owned(),
        message: format!("what is stored of it can't be used, so it is left out: {reason}; change its file, so that it is stored anew"),
    });
    let (dag_warnings, total_entries) = paged(unusable.chain(found).collect(), &parameters, WARNING_ORDERS)?;
    Ok(Json(DagWarnings { dag_warnings, total_entries }))
}

/// `file:line:column: message`
pub(crate) fn described(file: &str, diagnostic: &Value) -> String {
    let message = diagnostic.get("message").and_then(Value::as_str).unwrap_or("cannot be read");
    format!("{}: {message}", place(file, diagnostic))
}

/// Where it stands, be it in a file that this one includes.
pub(crate) fn place(file: &str, diagnostic: &Value) -> String {
    let file = diagnostic.get("file").and_then(Value::as_str).unwrap_or(file);
    match (diagnostic.get("line").and_then(Value::as_u64), diagnostic.get("column").and_then(Value::as_u64)) {
        (Some(line), Some(column)) => format!("{file}:{line}:{column}"),
        (Some(line), None) => format!("{file}:{line}"),
        _ => file.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_diagnostic_says_where() {
        let full = json!({"line": 3, "column": 5, "message": "unknown key 'taks'"});
        assert_eq!(described("a/b.yaml", &full), "a/b.yaml:3:5: unknown key 'taks'");
        let included = json!({"file": "a/_tables.yaml", "line": 31, "column": 1, "message": "no end"});
        assert_eq!(described("a/b.yaml", &included), "a/_tables.yaml:31:1: no end");
        assert_eq!(described("b.yaml", &json!("text")), "b.yaml: cannot be read");
    }
}
