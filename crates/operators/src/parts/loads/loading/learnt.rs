//! How the objects of a load are written: what the options leave open is taken from what is known of the objects, and where
//! the two disagree so that rows would be lost or changed, the load is refused.

use millrace_operator_api::ports::{CsvFormat, FileKind, ObjectInfo};
use millrace_operator_api::{TaskContext, TaskError};

use super::Loading;
use crate::parts::files::mark::{Compression, FileShape, Format, Marks};

/// Options of COPY that change what a field holds.
const OF_VALUES: [&str; 2] = ["ESCAPE", "REMOVEQUOTES"];
/// Those that say how a file is compressed and have no field of [`CsvFormat`].
const OF_BYTES: [&str; 2] = ["BZIP2", "LZOP"];

/// As the writer says it.
struct Written<'a> {
    format: CsvFormat,
    /// Of the objects the one whose message it is.
    url: &'a str,
    /// Of our own files: '' has quotes and NULL has none.
    has_quoted_empty: bool,
}

/// Rows in the files' own format.
pub fn format(
    context: &TaskContext,
    engine: &str,
    loading: &Loading,
    objects: &[ObjectInfo],
    marks: &[Marks],
) -> Result<CsvFormat, TaskError> {
    let given = loading.options.format.clone();
    let urls: Vec<String> = objects.iter().map(ObjectInfo::url).collect();
    let shapes: Vec<Option<&FileShape>> = marks.iter().map(|marks| marks.shape.as_ref()).collect();
    let of_task = loading.handed.as_ref().and_then(|handed| handed.options.as_ref());
    let written = match shapes.iter().enumerate().find_map(|(at, shape)| shape.map(|shape| (at, shape))) {
        Some((at, shape)) => {
            // A file that says nothing of itself may be written in any way.
            let differing = shapes
                .iter()
                .position(|other| other.is_none_or(|other| other.without_columns() != shape.without_columns()));
            if let Some(index) = differing {
                return Err(TaskError::Fail(format!(
                    "{} and {} are written differently (NULL marker, header, delimiter or compression), and one load reads all \
                     files in one way; load them by two tasks",
                    urls[at], urls[index]
                )));
            }
            Written { format: of_shape(shape), url: &urls[at], has_quoted_empty: engine != "redshift" }
        }
        None => match of_task {
            Some(options) => Written {
                format: options.format.clone(),
                url: urls.first().map_or("", String::as_str),
                has_quoted_empty: false,
            },
            None => return Ok(given),
        },
    };
    settle(context, engine, loading.options.says_header, given, &written)
}

fn of_shape(shape: &FileShape) -> CsvFormat {
    if shape.format == Format::Parquet {
        return CsvFormat { kind: FileKind::Parquet, ..CsvFormat::default() };
    }
    CsvFormat {
        delimiter: Some(shape.delimiter).filter(|delimiter| *delimiter != ','),
        ignore_header: u32::from(shape.header),
        null_as: Some(shape.null_marker.clone()),
        gzip: shape.compression == Compression::Gzip,
        zstd: shape.compression == Compression::Zstd,
        ..CsvFormat::default()
    }
}

fn settle(
    context: &TaskContext,
    engine: &str,
    says_header: bool,
    given: CsvFormat,
    written: &Written<'_>,
) -> Result<CsvFormat, TaskError> {
    let (of_file, url) = (&written.format, written.url);
    if of_file.kind == FileKind::Parquet {
        // The file knows its columns, its NULLs and its compression itself.
        return Ok(CsvFormat { kind: FileKind::Parquet, ..given });
    }
    let mut format = given;
    // CSV is what is said when nothing is said.
    if format.kind != of_file.kind && format.kind != FileKind::Csv {
        let kind = match &of_file.kind {
            FileKind::Csv => "CSV",
            FileKind::Delimited => "text with a delimiter",
            FileKind::Parquet => "Parquet",
            FileKind::Other(name) => name.split(' ').next().unwrap_or_default(),
        };
        return Err(TaskError::Fail(format!(
            "{url} was written as {kind}, but copy_options name another format; {}",
            if of_file.kind == FileKind::Csv { "write csv" } else { "leave them out, the task that wrote it says it" }
        )));
    }
    format.null_as = null_marker(context, engine, &format, written)?;
    if !says_header {
        format.ignore_header = of_file.ignore_header;
    } else if format.ignore_header != of_file.ignore_header {
        return Err(TaskError::Fail(format!(
            "copy_options say ignoreheader {}, but {url} was written with {} header lines: rows would be lost or a header \
             loaded; leave ignoreheader out, the file says it itself",
            format.ignore_header, of_file.ignore_header
        )));
    }
    let delimiter = of_file.delimiter.unwrap_or(',');
    if format.delimiter.is_some_and(|given| given != delimiter) {
        return Err(TaskError::Fail(format!(
            "copy_options say delimiter '{}', but {url} was written with '{delimiter}'",
            format.delimiter.unwrap_or(','),
        )));
    }
    format.delimiter = format.delimiter.or(of_file.delimiter);
    if let Some(given) = format.quote.filter(|given| *given != '"') {
        return Err(TaskError::Fail(format!(
            "copy_options say quote as '{given}', but {url} was written with '\"': its quotes would be loaded as parts of the \
             values; leave quote out"
        )));
    }
    format.kind = of_file.kind.clone();
    let has = |format: &CsvFormat, option: &str| format.other.iter().any(|other| other == option);
    if let Some(option) = OF_VALUES.iter().find(|option| has(&format, option) && !has(of_file, option)) {
        return Err(TaskError::Fail(format!(
            "copy_options say {0}, but {url} was written without it, and characters of its values would be lost; leave {0} out",
            option.to_ascii_lowercase()
        )));
    }
    (format.gzip, format.zstd) = (of_file.gzip, of_file.zstd);
    format.other.retain(|option| !OF_BYTES.contains(&option.as_str()));
    let missing: Vec<String> = of_file.other.iter().filter(|option| !has(&format, option)).cloned().collect();
    format.other.extend(missing);
    Ok(format)
}

/// What stands for NULL in the files, if that is known, and else what the options say.
fn null_marker(
    context: &TaskContext,
    engine: &str,
    given: &CsvFormat,
    written: &Written<'_>,
) -> Result<Option<String>, TaskError> {
    let Some(marker) = &written.format.null_as else { return Ok(given.null_as.clone()) };
    let url = written.url;
    let said = if marker.is_empty() { "an empty field".to_owned() } else { format!("'{marker}'") };
    match &given.null_as {
        // The one is the other, and may be.
        None if marker.is_empty() && !written.has_quoted_empty && given.empty_as_null => Ok(None),
        None if marker.is_empty() && !written.has_quoted_empty => {
            let reader = if engine == "redshift" { "Redshift" } else { "a load" };
            Err(TaskError::Fail(format!(
                "{url} was written with an empty field for NULL, which {reader} cannot tell from an empty text; write it \
                 with a null_marker (null as, for unload), or say emptyasnull in copy_options if empty texts may become NULL"
            )))
        }
        None => {
            context.info(format!("the file says that {said} stands for NULL"));
            Ok(Some(marker.clone()))
        }
        Some(given) if given != marker => Err(TaskError::Fail(format!(
            "copy_options say null as '{given}', but {url} was written with {said} for NULL: NULL would be loaded as text, and \
             the text '{given}' as NULL; leave null as out, the file says it itself"
        ))),
        Some(given) => Ok(Some(given.clone())),
    }
}
