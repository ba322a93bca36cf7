//! The operators: what a task can do. One file per operator, and [`ALL`], the one table that lists them.
//!
//! Invariants:
//! - Operators see ports only: no driver, no tokio, no metadata database, no environment, no clock but the context's.
//! - Every movement of rows streams in bounded memory and writes its ledger; numbers that disagree fail the task.
//! - Every outside effect carries the task instance's work id. A try that follows one that died finds what that one did
//!   and neither repeats nor refuses it.
//! - A stop asked for through the context drops the streams, so that nothing half-made is published.
//! - A parameter has one name. Old names are aliases in the table, and only the reader of DAG files knows them.
//!
//! What several operators are made of lives in [`parts`]. May import `operator-api`, `model` and `template` only.

pub mod parts;
pub mod permissions;

mod bash;
mod branch;
mod copy;
mod empty;
mod extract;
mod noop;
mod replace;
mod s3_cleanup;
mod s3_copy;
mod s3_get;
mod s3_head;
mod s3_list;
mod s3_move;
mod s3_presign;
mod s3_put;
mod short_circuit;
mod sql;
mod sql_check;
mod sql_column_check;
mod sql_interval_check;
mod sql_table_check;
mod sql_threshold_check;
mod sql_to_s3;
mod sql_value_check;
mod summary_check;
mod summary_table;
mod swap;
mod table_copy;
mod trigger_dag;
mod unload;
mod upload;
mod upsert;
mod wait_for_file;
mod wait_for_key;
mod wait_for_sql;
mod wait_for_task;
mod wait_for_time;

use millrace_operator_api::OperatorEntry;
use millrace_operator_api::entry::Catalogue;

/// Every operator, by name.
pub static ALL: &[OperatorEntry] = &[
    bash::ENTRY,
    branch::ENTRY,
    copy::ENTRY,
    empty::ENTRY,
    extract::ENTRY,
    noop::ENTRY,
    replace::ENTRY,
    s3_cleanup::ENTRY,
    s3_copy::ENTRY,
    s3_get::ENTRY,
    s3_head::ENTRY,
    s3_list::ENTRY,
    s3_move::ENTRY,
    s3_presign::ENTRY,
    s3_put::ENTRY,
    short_circuit::ENTRY,
    sql::ENTRY,
    sql_check::ENTRY,
    sql_column_check::ENTRY,
    sql_interval_check::ENTRY,
    sql_table_check::ENTRY,
    sql_threshold_check::ENTRY,
    sql_to_s3::ENTRY,
    sql_value_check::ENTRY,
    summary_check::ENTRY,
    summary_table::ENTRY,
    swap::ENTRY,
    table_copy::ENTRY,
    trigger_dag::ENTRY,
    unload::ENTRY,
    upload::ENTRY,
    upsert::ENTRY,
    wait_for_file::ENTRY,
    wait_for_key::ENTRY,
    wait_for_sql::ENTRY,
    wait_for_task::ENTRY,
    wait_for_time::ENTRY,
];

/// What the reader of DAG files and the worker are given.
pub fn catalogue() -> Catalogue {
    ALL
}
