//! `.sql` and `.sh` files: a template that is the name of one stands for its text. The text becomes part of the DAG and of
//! its version.

use std::rc::Rc;

use crate::fields::Reader;
use crate::source::MAX_FILE_SIZE;
use crate::tree::{Node, NodeKind};

const ENDINGS: [&str; 2] = [".sql", ".sh"];

/// Why a path is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path is absolute")]
    Absolute,
    #[error("the path leads out of the dags folder")]
    Outside,
}

/// Whether the path stays inside the dags folder, by its text alone.
pub fn check_path(path: &str) -> Result<(), PathError> {
    let is_drive = path.as_bytes().get(1) == Some(&b':');
    if path.starts_with(['/', '\\', '~']) || is_drive {
        return Err(PathError::Absolute);
    }
    if path.split(['/', '\\']).any(|part| part == "..") || path.contains('\0') {
        return Err(PathError::Outside);
    }
    Ok(())
}

/// Puts the file's text in the place of its name. `is_sql` says that the parameter is SQL, where a name that is no file
/// can only be a mistake; a command may well be named `run.sh`.
pub(crate) fn resolve(reader: &mut Reader<'_>, node: &mut Node, is_sql: bool) {
    let Some(path) = node.as_text().map(str::trim) else { return };
    let looks_like_file = ENDINGS.iter().any(|ending| path.ends_with(ending))
        && path.len() <= 500
        && !path.contains(char::is_whitespace)
        && !path.contains("{{")
        && !path.contains("://");
    if !looks_like_file {
        return;
    }
    let is_sql_file = is_sql && path.strip_suffix(".sql").is_some();
    let path = path.to_owned();
    if let Err(error) = check_path(&path) {
        if is_sql_file {
            let hint = "put the file into the dags folder and write its path from there".to_owned();
            reader.error_with_hint("bad-file", node.span, format!("'{path}' can't be read: {error}"), hint);
        }
        return;
    }
    let relative = path.strip_prefix("./").unwrap_or(&path);
    reader.files.insert(relative.to_owned());
    match (reader.options.files)(relative) {
        Some(text) if text.len() > MAX_FILE_SIZE => {
            let message = format!("'{path}' has {} bytes; at most {} KiB are read", text.len(), MAX_FILE_SIZE / 1024);
            reader.error("too-large", node.span, message);
        }
        Some(text) => {
            node.kind = NodeKind::Text(text);
            node.file = Some(Rc::from(relative));
        }
        None if is_sql_file => {
            let hint = "its path counts from the dags folder".to_owned();
            reader.error_with_hint("bad-file", node.span, format!("there is no file '{path}'"), hint);
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside() {
        for good in ["a.sql", "sql/a.sql", "./a.sh", "..a/b.sql"] {
            assert_eq!(check_path(good), Ok(()), "{good}");
        }
        for absolute in ["/etc/x.sql", "~/x.sql", "\\\\host\\x.sql", "C:\\x.sql"] {
            assert_eq!(check_path(absolute), Err(PathError::Absolute), "{absolute}");
        }
        for outside in ["../x.sql", "a/../../x.sql", "a\\..\\x.sql"] {
            assert_eq!(check_path(outside), Err(PathError::Outside), "{outside}");
        }
    }
}
