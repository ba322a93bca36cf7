//! The parameters that say how rows are written in a file.

use millrace_operator_api::{Problems, TaskError};
use millrace_template::Template;

use crate::parts::files::mark::{Compression, FileShape, Format};
use crate::parts::parameter::{rendered, written};

/// As they stand in the DAG file.
#[derive(Clone, Copy)]
pub struct ShapeParameters<'a> {
    pub format: Format,
    pub delimiter: &'a Template<String>,
    pub null_marker: &'a Template<String>,
    pub header: bool,
    pub compression: Compression,
}

/// Finds mistakes in the parameters that make a [`FileShape`].
pub fn check_shape(parameters: ShapeParameters<'_>, problems: &mut Problems) {
    let ShapeParameters { format, delimiter, null_marker, header, .. } = parameters;
    if format == Format::Parquet && header {
        problems.add("header", "a Parquet file always knows its columns' names; leave header out");
    }
    if let Some(text) = written(delimiter)
        && let Err(problem) = delimiter_of(&text)
    {
        problems.add("delimiter", problem);
    }
    if let Some(text) = written(null_marker)
        && let Err(problem) = check_marker(&text, written(delimiter).as_deref())
    {
        problems.add("null_marker", problem);
    }
}

/// The shape without its columns, which only the query's answer knows.
pub fn rendered_shape(parameters: ShapeParameters<'_>) -> Result<FileShape, TaskError> {
    let ShapeParameters { format, header, compression, .. } = parameters;
    let delimiter_text = rendered("delimiter", parameters.delimiter)?;
    let null_marker = rendered("null_marker", parameters.null_marker)?;
    let delimiter = delimiter_of(&delimiter_text).map_err(|e| TaskError::Fail(format!("parameter delimiter: {e}")))?;
    check_marker(&null_marker, Some(&delimiter_text))
        .map_err(|e| TaskError::Fail(format!("parameter null_marker: {e}")))?;
    Ok(FileShape { format, delimiter, header, null_marker, compression, ..FileShape::default() })
}

fn delimiter_of(text: &str) -> Result<char, String> {
    let text = if text == "\\t" { "\t" } else { text };
    let mut characters = text.chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) if only.is_ascii() && !matches!(only, '"' | '\n' | '\r' | '\0' | '\\') => Ok(only),
        _ => Err(format!("'{text}' is not one ASCII character other than a quote, a backslash or a line end")),
    }
}

fn check_marker(text: &str, delimiter: Option<&str>) -> Result<(), String> {
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(format!("'{text}' may hold visible ASCII characters only (a load passes it on to the warehouse)"));
    }
    if text.contains(['"', '\'']) || delimiter.is_some_and(|delimiter| text.contains(delimiter)) {
        return Err(format!("'{text}' must hold neither a quote nor the delimiter"));
    }
    Ok(())
}
