//! Rows that were committed late: those of before the interval, read again by a lookback, that the table did not have.

use chrono::{DateTime, Utc};
use millrace_operator_api::TaskContext;
use millrace_operator_api::ports::LoadMethod;

use super::{Loading, target_label};
use crate::parts::report::ledger_entry;

/// Where the interval began that the rows were read for with a lookback, if the upsert goes by the column that says so.
pub fn before(loading: &Loading) -> Option<String> {
    let since = loading.handed.as_ref()?.object.since.as_ref()?;
    let LoadMethod::Upsert { order_key: Some(order_key), .. } = &loading.method else { return None };
    order_key.eq_ignore_ascii_case(&since.column).then(|| since.value.clone())
}

/// `late`: how many there were, where they were counted.
pub fn tell(context: &TaskContext, loading: &Loading, label: &str, late: Option<u64>, started_at: DateTime<Utc>) {
    let (Some(late), Some(before)) = (late, before(loading)) else { return };
    context.info(format!("{late} rows of before {before} are late: new to {}, or newer than there", loading.target));
    let mut entry = ledger_entry(context, "lookback", label, target_label(loading), started_at);
    entry.rows_written = Some(late);
    context.reporter.ledger(entry);
}
