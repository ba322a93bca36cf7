//! What a load did not take, within what is allowed: told in the log.

use millrace_operator_api::TaskContext;
use millrace_operator_api::ports::{LoadReport, TableName};

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
