//! `sql`: statements on a database.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use millrace_operator_api::ports::SmallResult;
use millrace_operator_api::{BoxFuture, Operator, OperatorEntry, Outcome, Problems, TaskContext, TaskError};
use millrace_template::Template;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::parts::change::{self, Done};
use crate::parts::parameter::{OneOrMany, is_blank, rendered, rendered_text, written};
use crate::parts::report::{ledger_entry, query_label, while_doing};
use crate::parts::script::{notices, undone};

pub const ENTRY: OperatorEntry = OperatorEntry::of::<Sql>("sql", "runs SQL statements, by default in one transaction")
    .aliases(&["SQLExecuteQueryOperator", "PostgresOperator", "MySqlOperator", "RedshiftSQLOperator"])
    .parameter_aliases(&[
        ("conn_id", "sql_conn_id"),
        ("warehouse_conn_id", "sql_conn_id"),
        ("redshift_conn_id", "sql_conn_id"),
        ("mysql_conn_id", "sql_conn_id"),
        ("postgres_conn_id", "sql_conn_id"),
    ]);

/// Rows that a result holds at most; a result is for handing over a few values, not tables.
const RESULT_ROWS: usize = 1_000;

/// Runs SQL statements on a warehouse or a source, by default all in one transaction: an error rolls everything back and
/// fails the task with the database's own words.
///
/// A script is one session. Its own BEGIN changes nothing while a transaction is open; its own COMMIT ends the transaction,
/// and the rest runs in the next one. Both are told in the log.
///
/// Each INSERT, UPDATE, DELETE, MERGE and CREATE TABLE … AS is a line of the ledger (stage `sql`) with the rows that the
/// database counted, unless the script took it back. Only PostgreSQL counts those of CREATE TABLE … AS. A script that
/// failed, or was stopped, has those that it had committed; of a COMMIT whose answer was lost nobody knows.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of parameters are the field's standard ones")]
pub struct Sql {
    /// The connection to run on.
    sql_conn_id: Template<String>,
    /// A statement, a script of several, or a list of these.
    sql: Template<OneOrMany>,
    /// Commit each statement by itself.
    #[serde(default)]
    autocommit: bool,
    /// Make the rows of the last statement that returns some the task's result, as a list of objects with texts (1,000 rows at most).
    #[serde(default)]
    return_rows: bool,
}

impl Operator for Sql {
    fn check(&self, problems: &mut Problems) {
        if is_blank(&self.sql_conn_id) {
            problems.add("sql_conn_id", "sql_conn_id is empty");
        }
        if let Some(OneOrMany(scripts)) = written(&self.sql)
            && scripts.iter().all(|script| script.trim().is_empty())
        {
            problems.add("sql", "sql is empty");
        }
    }

    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>> {
        Box::pin(self.execute(context))
    }
}

/// What came of a script's statements, by their place in it.
type Results = BTreeMap<usize, SmallResult>;

impl Sql {
    async fn execute(&self, context: &TaskContext) -> Result<Outcome, TaskError> {
        let conn_id = rendered_text("sql_conn_id", &self.sql_conn_id)?;
        let OneOrMany(scripts) = rendered("sql", &self.sql)?;
        let database = context.ports.warehouse(context, &conn_id).await?;
        let mut statements = Vec::new();
        for script in &scripts {
            statements.extend(database.split(script)?);
        }
        if statements.is_empty() {
            return Err(TaskError::Fail("parameter sql holds no statement after rendering".to_owned()));
        }
        for notice in notices(&statements, self.autocommit) {
            context.warning(notice);
        }
        if context.cancel.is_cancelled() {
            return Err(TaskError::Cancelled(context.cancel.cancelled().await));
        }
        let kind = if self.autocommit { ", each committed by itself" } else { " in one transaction" };
        context.info(format!("running {} statements on {conn_id}{kind}", statements.len()));
        let started_at = context.clock.now();
        let ended: Mutex<Results> = Mutex::default();
        let note = |index, result: &SmallResult| {
            ended.lock().unwrap_or_else(PoisonError::into_inner).insert(index, result.clone());
        };
        let outcome = database.execute_telling(&statements, self.autocommit, &context.work, &note).await;
        let (results, failure) = match outcome {
            Ok(results) => (results.into_iter().enumerate().collect(), None),
            Err(error) => (ended.into_inner().unwrap_or_else(PoisonError::into_inner), Some(error)),
        };
        for (index, result) in &results {
            tell(context, index + 1, result);
        }
        self.note_changes(context, &conn_id, started_at, (&statements, &results), database.engine() == "postgres");
        if let Some(error) = failure {
            return Err(while_doing(&format!("running SQL on {conn_id}"), error));
        }
        context.checkpoint("sql", format!("{} statements done", statements.len()));
        match results.values().rev().find(|result| !result.columns.is_empty()) {
            Some(result) if self.return_rows => Ok(Outcome::with(rows_of(context, result))),
            _ => Ok(Outcome::default()),
        }
    }

    /// A line of the ledger for each statement that changed rows.
    fn note_changes(
        &self,
        context: &TaskContext,
        conn_id: &str,
        started_at: DateTime<Utc>,
        (statements, results): (&[String], &Results),
        is_postgres: bool,
    ) {
        // One process of PostgreSQL serves the whole script, and is told once.
        let process = results.values().find_map(|result| result.remote_id.clone()).filter(|_| is_postgres);
        // Without a COMMIT of its own each statement that has ended is committed, and none after it was run.
        let reached = results.keys().next_back().map_or(0, |last| last + 1);
        let undone = undone(if self.autocommit { &statements[..reached] } else { statements }, self.autocommit);
        for (index, result) in results.iter().filter(|(index, _)| !undone[**index]) {
            let statement = &statements[*index];
            let Some(change) = change::of(statement) else { continue };
            let target = change.table.map_or_else(|| conn_id.to_owned(), |table| format!("{conn_id}: {table}"));
            let mut entry = ledger_entry(context, "sql", query_label(conn_id, statement), target, started_at);
            // With RETURNING there are rows as well.
            let rows = result.rows_affected.or((!result.columns.is_empty()).then_some(result.rows.len() as u64));
            match change.done {
                Done::Inserted => (entry.rows_inserted, entry.rows_written) = (rows, rows),
                Done::Updated => (entry.rows_updated, entry.rows_written) = (rows, rows),
                Done::Deleted => entry.rows_deleted = rows,
                Done::Written => entry.rows_written = rows,
                Done::Made if is_postgres => (entry.rows_inserted, entry.rows_written) = (rows, rows),
                Done::Made => {}
            }
            entry.remote_ids.extend(result.remote_id.clone().or_else(|| process.clone()));
            context.reporter.ledger(entry);
        }
    }
}

fn tell(context: &TaskContext, number: usize, result: &SmallResult) {
    let what = match result.rows_affected {
        _ if !result.columns.is_empty() => format!("{} rows returned", result.rows.len()),
        Some(rows) => format!("{rows} rows changed"),
        None => "done".to_owned(),
    };
    let remote = result.remote_id.as_ref().map(|id| format!(" (id {id})")).unwrap_or_default();
    context.info(format!("statement {number}: {what}{remote}"));
}

fn rows_of(context: &TaskContext, result: &SmallResult) -> Value {
    if result.rows.len() > RESULT_ROWS {
        context.warning(format!("the result holds the first {RESULT_ROWS} of {} rows", result.rows.len()));
    }
    let rows = result.rows.iter().take(RESULT_ROWS).map(|row| {
        let cells = result.columns.iter().zip(row).map(|(name, cell)| (name.clone(), json!(cell)));
        Value::Object(cells.collect::<Map<String, Value>>())
    });
    rows.collect()
}
