//! Whether texts of an incremental field can be compared with the watermark: only those that are in the order of their
//! moments can, and of any other newer rows would be passed over for ever.

use millrace_operator_api::ports::{SourceColumn, SqlSource, ValueType};
use millrace_operator_api::{TaskContext, TaskError};

use super::config::{FieldType, TablePlan};
use super::select::Question;
use crate::parts::asking::ask;
use crate::parts::files::parquet::looks;

/// Whether the source compares the column's values as texts.
pub fn is_written(source: &dyn SqlSource, column: &SourceColumn) -> bool {
    match &column.value {
        ValueType::Text { .. } => true,
        // SQLite has texts whatever was declared.
        ValueType::Date | ValueType::Timestamp { .. } | ValueType::Other => !source.has_dates(),
        _ => false,
    }
}

/// Asks the source for a text that is not written as the field's type says. `column` is the field's, as it is read.
pub async fn check(
    context: &TaskContext,
    (conn_id, source): (&str, &dyn SqlSource),
    plan: &TablePlan,
    column: &SourceColumn,
) -> Result<(), TaskError> {
    if !is_written(source, column) {
        return Ok(());
    }
    let field = source.quote(&column.name);
    let Some(fits) = fits(plan.incremental_field_type, &format!("RTRIM({field})")) else { return Ok(()) };
    // Dates of eight digits are numbers where SQLite is free to make numbers of them, on both sides of the comparison.
    let may_be_number = plan.incremental_field_type == FieldType::Yyyymmdd && !column.value.is_text();
    let is_text =
        if source.has_dates() || may_be_number { String::new() } else { format!("typeof({field}) = 'text' AND ") };
    // An empty text says as little as NULL.
    let other = format!("{field} IS NOT NULL AND RTRIM({field}) <> '' AND NOT ({is_text}({fits}))");
    let question = Question { window: vec![other], ..Question::default() };
    let answer = ask(context, conn_id, &question.figure(source, plan, &format!("MIN({field})"))).await?;
    match answer.rows.into_iter().next().and_then(|row| row.into_iter().next()?) {
        None => Ok(()),
        Some(text) => Err(TaskError::Fail(refusal(source, plan.incremental_field_type, &column.name, &text))),
    }
}

/// A condition that holds for texts whose order is that of what they mean, in the SQL that all sources share. `None`: the
/// field is compared as a number.
fn fits(kind: FieldType, text: &str) -> Option<String> {
    let rest = (0..10).fold(text.to_owned(), |rest, digit| format!("REPLACE({rest}, '{digit}', '')"));
    if kind == FieldType::Integer {
        return None;
    }
    if kind == FieldType::Yyyymmdd {
        return Some(format!("LENGTH({text}) IN (8, 14) AND {rest} = ''"));
    }
    let mut forms = vec![format!("({text} LIKE '____-__-__' AND {rest} = '--')")];
    // Targets keep microseconds. An offset other than that of UTC would make a text of the evening before one of today.
    for (end, longest) in [("", 26), ("Z", 27), ("+00", 29), ("+00:00", 32)] {
        let signs = end.replace('0', "");
        let rests = ["-- ::", "-- ::.", "--T::", "--T::."].map(|rest| format!("'{rest}{signs}'")).join(", ");
        forms.push(format!(
            "({text} LIKE '____-__-_____:__:__%{end}' AND LENGTH({text}) <= {longest} AND {rest} IN ({rests}))"
        ));
    }
    Some(forms.join(" OR "))
}

fn refusal(source: &dyn SqlSource, kind: FieldType, name: &str, text: &str) -> String {
    let digits = text.trim_end();
    let is_number = digits.bytes().all(|digit| digit.is_ascii_digit()) && matches!(digits.len(), 8 | 14);
    if kind == FieldType::Yyyymmdd && !source.has_dates() && is_number {
        return format!(
            "incremental_field: {name} is an expression, which SQLite compares with the watermark as a text, and holds whole \
             numbers, which to it are below every text: newer rows would be passed over; make texts of them in custom_select, by \
             CAST({name} AS TEXT) AS {name}"
        );
    }
    let form = match kind {
        FieldType::Yyyymmdd => "as 20240131",
        _ => "as 2024-01-31 or 2024-01-31 10:00:00, in UTC where it says an offset",
    };
    let cast = if source.has_dates() {
        format!(
            "make a timestamp of it in custom_select, as by CAST({name} AS timestamp) AS changed_at, or in MySQL and MariaDB \
             STR_TO_DATE({name}, '%d.%m.%Y %H:%i:%s'), by the form that its texts have"
        )
    } else {
        match kind {
            FieldType::Yyyymmdd => {
                format!("write it so in custom_select, as by strftime('%Y%m%d', {name}) AS changed_at")
            }
            _ => format!(
                "make UTC of it in custom_select, as by datetime({name}) AS changed_at, or datetime({name}, 'unixepoch')"
            ),
        }
    };
    format!(
        "incremental_field: {name} is compared with the watermark as a text, and holds one that looks like {} (9 is any digit, x \
         any letter), which is not written {form}: newer rows would be passed over; {cast}, and name that as incremental_field",
        looks(text.as_bytes())
    )
}
