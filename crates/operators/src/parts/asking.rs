//! Questions to a database whose answers are small, and what is made of them: the check operators.

use futures::TryStreamExt;
use millrace_operator_api::ports::{CheckResult, SmallResult};
use millrace_operator_api::{Outcome, PortErrorKind, TaskContext, TaskError};
use serde_json::json;

use crate::parts::checks;
use crate::parts::report::{ledger_entry, query_label, unless_cancelled, while_doing};

/// Rows that an answer may have; whoever asks for more asks for a table.
const LARGEST: usize = 1_000;

/// Asks one question in a read-only transaction of a source, or, where rows are never read from (Redshift), of a
/// warehouse.
pub async fn ask(context: &TaskContext, conn_id: &str, sql: &str) -> Result<SmallResult, TaskError> {
    let label = query_label(conn_id, sql);
    let sql = sql.trim().trim_end_matches(';').trim_end();
    let attempted = format!("asking {label}");
    unless_cancelled(context, async {
        let source = match context.ports.source(context, conn_id).await {
            Ok(source) => source,
            Err(error) if error.kind == PortErrorKind::Invalid => {
                let warehouse = context.ports.warehouse(context, conn_id).await?;
                let statements = warehouse.split(sql)?;
                if statements.len() != 1 {
                    return Err(TaskError::Fail(format!("{attempted}: one query is needed, not {}", statements.len())));
                }
                let answers = warehouse.execute(&statements, false, &context.work).await;
                let answer = answers.map_err(|error| while_doing(&attempted, error))?.pop().unwrap_or_default();
                return within_bounds(answer, &attempted);
            }
            Err(error) => return Err(error.into()),
        };
        let mut rows = source.query(sql).await.map_err(|error| while_doing(&attempted, error))?;
        let mut answer = SmallResult {
            columns: rows.columns.iter().map(|column| column.name.clone()).collect(),
            ..SmallResult::default()
        };
        while let Some(batch) = rows.batches.try_next().await.map_err(|error| while_doing(&attempted, error))? {
            for row in batch.rows() {
                answer.rows.push(row.map(|cell| cell.map(|cell| String::from_utf8_lossy(cell).into_owned())).collect());
            }
            answer = within_bounds(answer, &attempted)?;
        }
        Ok(answer)
    })
    .await
}

fn within_bounds(answer: SmallResult, attempted: &str) -> Result<SmallResult, TaskError> {
    if answer.rows.len() > LARGEST {
        return Err(TaskError::Fail(format!(
            "{attempted}: more than {LARGEST} rows came back; a check asks for a few"
        )));
    }
    Ok(answer)
}

/// SQL's idea of true, in any engine's text form.
pub fn is_true(value: &str) -> bool {
    let value = value.trim();
    !matches!(value.to_lowercase().as_str(), "" | "f" | "false") && value.parse::<f64>() != Ok(0.0)
}

/// Writes the checks down and ends the task by them. `what` was checked, by the connection `conn_id`.
pub fn conclude(
    context: &TaskContext,
    conn_id: &str,
    what: &str,
    results: &[CheckResult],
    retry_on_failure: bool,
) -> Result<Outcome, TaskError> {
    let failed = checks::tell(context, results);
    let label = query_label(conn_id, what);
    let mut entry = ledger_entry(context, "check", &label, &label, context.clock.now());
    entry.checks = checks::as_record(results);
    context.reporter.ledger(entry);
    if !failed.is_empty() {
        let text = format!("{label} did not pass: {}", failed.join("; "));
        return Err(if retry_on_failure { TaskError::Retry(text) } else { TaskError::Fail(text) });
    }
    Ok(Outcome::with(json!({
        "kind": "data_quality",
        "subject": label,
        "checked_at": millrace_model::instant::format_utc_micros(context.clock.now()),
        "checks": checks::as_json(results),
    })))
}

#[cfg(test)]
mod tests {
    use super::is_true;

    #[test]
    fn what_counts_as_true() {
        assert!(["1", "t", "yes", "0.5", "-1", "2024-01-01"].into_iter().all(is_true));
        assert!(!["0", "0.00", "", "f", "False", "-0"].into_iter().any(is_true));
    }
}
