//! What processes that a task starts are told about it.

use millrace_model::change::Assignment;
use millrace_model::instant::format_utc_micros;

/// `DAG_ID`, `TASK_ID`, `RUN_ID`, `LOGICAL_DATE`, `DATA_INTERVAL_START`, `DATA_INTERVAL_END`, `TRY_NUMBER`, `MAP_INDEX`.
/// Instants are RFC 3339 in UTC.
pub fn variables(assignment: &Assignment) -> Vec<(String, String)> {
    let run = &assignment.run;
    [
        ("DAG_ID", assignment.dag.dag_id.to_string()),
        ("TASK_ID", assignment.task().task_id.to_string()),
        ("RUN_ID", run.run_id.to_string()),
        ("LOGICAL_DATE", format_utc_micros(run.logical_date)),
        ("DATA_INTERVAL_START", format_utc_micros(run.data_interval.start)),
        ("DATA_INTERVAL_END", format_utc_micros(run.data_interval.end)),
        ("TRY_NUMBER", assignment.try_number.to_string()),
        ("MAP_INDEX", assignment.map_index.to_string()),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}
