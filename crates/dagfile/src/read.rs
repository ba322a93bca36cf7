//! The way in: text to DAG.

use std::collections::BTreeSet;

use millrace_model::dag::Dag;
use serde_json::Value;

use crate::compose::{Composed, compose};
use crate::dag;
use crate::diagnostic::{Diagnostic, Severity};
use crate::fields::Reader;
use crate::options::ReadOptions;
use crate::source::{MAX_FILE_SIZE, Source, Sources};
use crate::text::{decode, too_large};
use crate::tree::{self, Node};

/// Problems of one file that are reported; more help nobody.
const MAX_DIAGNOSTICS: usize = 100;

/// Codes of what a file lacks: not told of one whose parts could not all be had.
const LACKS: [&str; 3] = ["empty", "missing-key", "unknown-task"];

/// What became of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct ReadResult {
    /// One, or as many as its `for_each` says; none when a diagnostic is an error.
    pub dags: Vec<Dag>,
    /// What the DAGs were read from: the file with everything that became part of it.
    pub expanded: Vec<Value>,
    /// The environments that the file has overlays for.
    pub environments: Vec<String>,
    /// In the order of the file.
    pub diagnostics: Vec<Diagnostic>,
    /// The files that are part of the DAG (`.sql`, `.sh`, included, defaults), and those it looks for in vain: when one changes or appears,
    /// read again. Sorted.
    pub files: Vec<String>,
}

impl ReadResult {
    fn refused(diagnostics: Vec<Diagnostic>) -> Self {
        Self { dags: Vec::new(), expanded: Vec::new(), environments: Vec::new(), diagnostics, files: Vec::new() }
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
    let mut sources = Sources::new(source);
    let mut files = BTreeSet::new();
    let Composed { roots, overlays, is_whole } = compose(tree, &mut sources, options, &mut diagnostics, &mut files);
    let told = diagnostics.len();
    let mut reader = Reader::new(&sources, options, diagnostics);
    reader.files = files;
    reader.is_whole = is_whole;
    let mut dags: Vec<Dag> = Vec::with_capacity(roots.len());
    for root in &roots {
        let Some(dag) = dag::read(&mut reader, root) else { continue };
        if dags.iter().any(|other| other.dag_id == dag.dag_id) {
            let span = root.get("dag_id").map_or(root.span, |entry| entry.value.span);
            reader.error("duplicate-dag", span, format!("this file makes two DAGs '{}'", dag.dag_id));
        }
        dags.push(dag);
    }
    if !is_whole {
        let found = reader.diagnostics.split_off(told);
        reader.diagnostics.extend(found.into_iter().filter(|it| !LACKS.contains(&it.code.as_ref())));
    }
    let files = reader.files.into_iter().collect();
    let environments = overlays.into_iter().map(|(name, _)| name).collect();
    let expanded = roots.iter().map(Node::to_value).collect();
    let mut result = ReadResult { dags, expanded, environments, diagnostics: in_order(reader.diagnostics), files };
    if result.has_errors() {
        result.dags = Vec::new();
    }
    result
}

fn in_order(mut diagnostics: Vec<Diagnostic>) -> Vec<Diagnostic> {
    // Stable, so that what was found first comes first at one place.
    diagnostics.sort_by_key(place);
    // A problem in default_args is found once for each task that inherits it.
    let mut seen = std::collections::HashSet::new();
    diagnostics.retain(|diagnostic| seen.insert((place(diagnostic), diagnostic.message.clone())));
    if diagnostics.len() > MAX_DIAGNOSTICS {
        // An error must not be cut off behind warnings.
        let is_error = |diagnostic: &Diagnostic| diagnostic.severity == Severity::Error;
        diagnostics.sort_by_key(|diagnostic| !is_error(diagnostic));
        let rest = diagnostics.len() - MAX_DIAGNOSTICS;
        diagnostics.truncate(MAX_DIAGNOSTICS);
        diagnostics.sort_by_key(place);
        if let Some(last) = diagnostics.last_mut() {
            last.message.push_str(&format!(" (and {rest} more problems)"));
        }
    }
    diagnostics
}

/// The DAG file itself comes first, then the files that it is made of.
fn place(diagnostic: &Diagnostic) -> (Option<String>, usize, usize) {
    (diagnostic.file.clone(), diagnostic.line, diagnostic.column)
}
