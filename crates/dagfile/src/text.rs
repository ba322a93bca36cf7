//! The bytes of a file as text.

use crate::diagnostic::Diagnostic;
use crate::source::MAX_FILE_SIZE;

/// The text of the bytes of a file, if they are text and not too many.
pub fn decode(bytes: &[u8]) -> Result<&str, Box<Diagnostic>> {
    if bytes.len() > MAX_FILE_SIZE {
        return Err(Box::new(too_large(bytes.len())));
    }
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.split(|byte| *byte == b'\n').count();
        let line_start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[line_start..]).chars().count() + 1;
        Box::new(Diagnostic::at_line("not-text", line, column, "the file is not text in UTF-8".to_owned()))
    })
}

pub fn too_large(size: usize) -> Diagnostic {
    let limit = MAX_FILE_SIZE / 1024;
    Diagnostic::at_line("too-large", 1, 1, format!("the file has {size} bytes; at most {limit} KiB are read"))
}
