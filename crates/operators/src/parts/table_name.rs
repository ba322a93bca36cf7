//! A table as two parameters: `schema` and `table`.

use millrace_operator_api::ports::TableName;
use millrace_operator_api::{Problems, TaskError};
use millrace_template::Template;

use crate::parts::parameter::{is_blank, rendered_text, written};

/// `schema.table` in one parameter would be ambiguous (names may hold dots), so it is refused with the way out.
pub fn check(schema: Option<&Template<String>>, table: &Template<String>, problems: &mut Problems) {
    if schema.is_some_and(is_blank) {
        problems.add("schema", "schema is empty; leave it out to use the connection's own search path");
    }
    match written(table) {
        Some(name) if name.trim().is_empty() => problems.add("table", "table is empty"),
        Some(name) if schema.is_none() && name.contains('.') => {
            let (first, rest) = name.split_once('.').unwrap_or_default();
            problems.add(
                "table",
                format!("'{name}' has a dot in it; write the schema by itself: schema: {first} and table: {rest}"),
            );
        }
        _ => {}
    }
}

pub fn rendered(schema: Option<&Template<String>>, table: &Template<String>) -> Result<TableName, TaskError> {
    let schema = schema.map(|field| rendered_text("schema", field)).transpose()?;
    let name = rendered_text("table", table)?;
    if schema.is_none() && name.contains('.') {
        return Err(TaskError::Fail(format!(
            "table '{name}' has a dot in it; write the schema as a parameter by itself"
        )));
    }
    Ok(TableName { schema, name })
}
