//! Templates before there is a run: can they be read, and do the names in them exist?

use millrace_template::{
    check_syntax, is_known_name, is_mapped_name, is_template, referenced_names, unknown_name_hint,
};

use crate::fields::Reader;
use crate::source::Span;
use crate::tree::Node;

pub(crate) fn check(reader: &mut Reader<'_>, node: &Node) {
    let Some(text) = node.as_text().filter(|text| is_template(text) && !reader.is_flooded()) else { return };
    if let Err(error) = check_syntax(text) {
        let (span, place) = locate(reader, node, text, error.line, error.column);
        reader.error("template-syntax", span, format!("{}{place}", error.message));
        return;
    }
    // A name that the template itself asks about may be missing.
    if text.contains("is defined") || text.contains("is not defined") || text.contains("default") {
        return;
    }
    let names: std::collections::BTreeSet<String> =
        referenced_names(text).iter().map(|name| name.split('.').next().unwrap_or_default().to_owned()).collect();
    let is_mapped = reader.is_mapped;
    for name in names.iter().filter(|name| !(is_known_name(name) || is_mapped && is_mapped_name(name))) {
        let (line, column) = find_word(text, name).unwrap_or((1, 1));
        let (span, place) = locate(reader, node, text, line, column);
        let span =
            if node.file.is_none() && reader.sources.of(span).text[span.start.offset..].starts_with(name.as_str()) {
                Span { item: span.item, ..reader.sources.of(span).span(span.start.offset, name.len()) }
            } else {
                span
            };
        let message = format!("the template uses '{name}', which does not exist{place}");
        reader.error_with_hint("template-name", span, message, unknown_name_hint(name));
    }
}

/// Line and column of the first use of `word` as a whole word inside Jinja.
fn find_word(text: &str, word: &str) -> Option<(usize, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let first_jinja = text.find("{{").into_iter().chain(text.find("{%")).min()?;
    let is_whole = |at: usize| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        at > first_jinja && !before.is_some_and(|c| is_word(c) || c == '.') && !after.is_some_and(is_word)
    };
    let at = text.match_indices(word).map(|(at, _)| at).find(|at| is_whole(*at))?;
    let line_start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    Some((text[..at].matches('\n').count() + 1, text[line_start..at].chars().count() + 1))
}

/// The place in the DAG file of a place in a template, and words that say more when that is only the whole value.
fn locate(reader: &Reader<'_>, node: &Node, text: &str, line: usize, column: usize) -> (Span, String) {
    if let Some(file) = &node.file {
        return (node.span, format!(" ({file}:{line}:{column})"));
    }
    let wanted = text.lines().nth(line - 1).unwrap_or_default();
    let written = reader.sources.of(node.span).slice(node.span);
    // The value may be folded or escaped; then its line does not stand in the file as it is.
    let found = match written.match_indices(wanted).collect::<Vec<_>>().as_slice() {
        _ if wanted.trim().is_empty() => None,
        [(at, _)] => Some(*at),
        several => several.iter().map(|(at, _)| *at).find(|at| written[..*at].matches('\n').count() + 1 >= line),
    };
    match found {
        Some(at) => {
            let inside: usize = wanted.chars().take(column - 1).map(char::len_utf8).sum();
            (
                Span {
                    item: node.span.item,
                    ..reader.sources.of(node.span).span(node.span.start.offset + at + inside, 1)
                },
                String::new(),
            )
        }
        None if line > 1 => (node.span, format!(" (line {line} of the template)")),
        None => (node.span, String::new()),
    }
}
