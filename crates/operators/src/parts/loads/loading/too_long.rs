//! Texts that do not fit their columns, known by what the task said that wrote them: Redshift reads the files by itself, and says
//! of such a one neither how long it is nor what helps.

use millrace_operator_api::ports::{CsvFormat, ValueType, Warehouse};
use millrace_operator_api::{TaskContext, TaskError};

use super::Loading;
use crate::parts::column_name::find;
use crate::parts::loads::drift::{Settled, described, is_text_type};
use crate::parts::report::unless_cancelled;

/// Bytes of the longest VARCHAR.
const LONGEST: u64 = 65_535;

/// Refuses them before anything is sent.
pub async fn check(
    context: &TaskContext,
    warehouse: &dyn Warehouse,
    loading: &Loading,
    format: &CsvFormat,
    settled: Option<&Settled>,
) -> Result<(), TaskError> {
    let (Some(handed), Some(settled)) = (&loading.handed, settled) else { return Ok(()) };
    let (object, task) = (&handed.object, &handed.task);
    // What COPY may cut or refuse is asked for.
    let is_wanted = warehouse.engine() == "redshift" && !format.truncate_columns && format.max_error == 0;
    if !is_wanted || object.longest.is_empty() || object.columns.len() != settled.columns.len() {
        return Ok(());
    }
    let table = unless_cancelled(context, described(warehouse, &loading.target, &[])).await?;
    let too_long: Vec<String> = object
        .columns
        .iter()
        .zip(&settled.columns)
        .filter(|(_, column)| !settled.ignored.contains(column))
        .filter_map(|(written, name)| {
            let longest = object.longest.get(written)?;
            let column = find(&table, name).filter(|column| holds_text(&column.type_name))?;
            let value = ValueType::Text { max_chars: None, max_bytes: Some(longest.bytes) };
            let fits = longest.bytes <= LONGEST && warehouse.holds(&column.type_name, &value);
            let row = longest.row.map(|row| format!(", in row {row} of its query")).unwrap_or_default();
            (!fits).then(|| {
                let (name, bytes) = (&column.name, longest.bytes);
                format!("column {name} is {}, and the longest value has {bytes} bytes{row}", column.type_name)
            })
        })
        .collect();
    if too_long.is_empty() {
        return Ok(());
    }
    Err(TaskError::Fail(format!(
        "what task '{task}' wrote does not fit {} (VARCHAR counts bytes, not characters): {}; nothing was loaded. A wider column \
         takes it, up to varchar(65535), which schema_drift: {{widened: widen}} makes; truncatecolumns in copy_options cuts it; \
         for_table in '{task}' stops there, and names the row by its key",
        loading.target,
        too_long.join("; "),
    )))
}

/// Blanks at the end of a CHAR are not counted.
fn holds_text(type_name: &str) -> bool {
    is_text_type(type_name) && type_name.to_ascii_lowercase().contains("var")
}
