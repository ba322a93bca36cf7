//! The way in: text to DAG.

use millrace_model::dag::Dag;

use crate::dag;
use crate::diagnostic::{Diagnostic, Severity};
use crate::fields::Reader;
use crate::options::ReadOptions;
use crate::source::{MAX_FILE_SIZE, Source, decode, too_large};
use crate::tree;

/// Problems of one file that are reported; more help nobody.
const MAX_DIAGNOSTICS: usize = 100;

/// What became of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadResult {
    /// There when no diagnostic is an error.
    pub dag: Option<Dag>,
    /// In the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The `.sql` and `.sh` files that are part of the DAG, and those it looks for in vain: when one changes or appears,
    /// read again. Sorted.
    pub files: Vec<String>,
}

impl ReadResult {
    fn refused(diagnostics: Vec<Diagnostic>) -> Self {
        Self { dag: None, diagnostics, files: Vec::new() }
    }

    pub fn has_errors(&self) -> bool {
        self.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error)
    }
}

/// Reads the bytes of a file; what is not UTF-8 or is too large becomes a diagnostic.
pub fn read_dag_bytes(bytes: &[u8], options: &ReadOptions<'_>) -> ReadResult {
    match decode(bytes) {
        Ok(text) => read_dag(text, options),
        Err(diagnostic) => ReadResult::refused(vec![*diagnostic]),
    }
}

/// Reads the text of a file.
pub fn read_dag(text: &str, options: &ReadOptions<'_>) -> ReadResult {
    if text.len() > MAX_FILE_SIZE {
        return ReadResult::refused(vec![too_large(text.len())]);
    }
    let source = Source::new(text);
    let mut diagnostics = Vec::new();
    let tree = match tree::build(&source, &mut diagnostics) {
        Ok(tree) => tree,
        Err(fatal) => {
            diagnostics.push(*fatal);
            return ReadResult::refused(in_order(diagnostics));
        }
    };
    let mut reader = Reader::new(&source, options, diagnostics);
    let dag = dag::read(&mut reader, &tree);
    let files = reader.files.into_iter().collect();
    let mut result = ReadResult { dag, diagnostics: in_order(reader.diagnostics), files };
    if result.has_errors() {
        result.dag = None;
    }
    result
}

fn in_order(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    // Stable, so that what was found first comes first at one place.
    diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
    // A problem in default_args is found once for each task that inherits it.
    let mut seen = std::collections::HashSet::new();
    diagnostics.retain(|diagnostic| seen.insert((diagnostic.line, diagnostic.column, diagnostic.message.clone())));
    if diagnostics.len() > MAX_DIAGNOSTICS {
        // An error must not be cut off behind warnings.
        let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
        diagnostics.sort_by_key(|diagnostic| !is_error(diagnostic));
        let rest = diagnostics.len() - MAX_DIAGNOSTICS;
        diagnostics.truncate(MAX_DIAGNOSTICS);
        diagnostics.sort_by_key(|diagnostic| (diagnostic.line, diagnostic.column));
        if let Some(last) = diagnostics.last_mut() {
            last.message.push_str(&format!(" (and {rest} more problems)"));
        }
    }
    diagnostics
}
