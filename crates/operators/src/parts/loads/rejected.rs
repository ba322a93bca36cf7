//! What a load did not take: told in the log where it is within what is allowed, and else why it is not.

use millrace_operator_api::ports::{LoadReport, TableName};
use millrace_operator_api::{PortError, TaskContext};

/// Rejected rows that the log shows.
const SHOWN: usize = 10;

/// `allowed_by` is the parameter that allows it.
pub fn tell(context: &TaskContext, report: &LoadReport, quarantine: Option<&TableName>, allowed_by: &str) {
    if report.rows_rejected.is_none_or(|rejected| rejected == 0) {
        return;
    }
    context.warning(format!("rows were rejected, within what {allowed_by} allows"));
    for row in report.rejected.iter().take(SHOWN) {
        context.warning(format!("rejected: {row}"));
    }
    match (quarantine, report.rows_rejected, report.rows_quarantined) {
        (Some(quarantine), Some(rejected), Some(kept)) if kept < rejected => context.warning(format!(
            "{quarantine} holds the first {kept} of the {rejected} rejected rows; the others are in no table"
        )),
        (Some(quarantine), ..) => context.info(format!("the rejected rows are in {quarantine}")),
        (None, ..) => {}
    }
}

/// An error of a load that may refuse rows: why it does not count as one of them. What a row breaks by itself is found row by
/// row; other rules can be asked of all rows together alone.
pub fn of_a_rule(error: PortError, max_error: u32, allowed_by: &str) -> PortError {
    if max_error == 0 || !error.code.as_deref().is_some_and(is_rule) {
        return error;
    }
    let message = format!(
        "{}; {allowed_by} counts rows that a CHECK, a key, NOT NULL or a reference from or to another table refuses, but not what \
         a trigger or a rule that can be deferred says, nor any rule of a table with a reference to itself or with such a key: leave \
         such rows out in the query",
        error.message
    );
    PortError { message, ..error }
}

/// Of SQLSTATE the class of integrity, and of SQLite's codes the low byte.
fn is_rule(code: &str) -> bool {
    const CONSTRAINT: u32 = 19;
    match code.len() {
        5 => code.starts_with("23"),
        _ => code.parse::<u32>().is_ok_and(|code| code & 0xff == CONSTRAINT),
    }
}
