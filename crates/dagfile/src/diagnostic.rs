//! What is wrong with a file, and where.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::source::{Source, Sources, Span};

/// Characters of a source line that are shown around the place.
const SHOWN: usize = 120;
const MAX_TEXT: usize = 80;
/// Comes before the item that a value was made for.
pub(crate) const FOR_EACH: &str = "(for_each: ";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file gives no DAG.
    Error,
    /// The file is used as it stands.
    Warning,
}

impl Severity {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One problem. Line and column count from 1; column and length are characters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    pub severity: Severity,
    /// `unknown-key`, `missing-key`, `syntax` …: stable.
    pub code: Cow<'static, str>,
    pub message: String,
    pub line: usize,
    pub column: usize,
    pub length: usize,
    /// What stands there.
    pub text: String,
    /// How to mend it.
    pub hint: Option<String>,
    /// The file it stands in, relative to the dags folder, when that is not the DAG file itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line it stands in, when that is not in the DAG file itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_line: Option<String>,
}

impl Diagnostic {
    /// An error that concerns the whole file.
    pub fn of_file(code: &'static str, message: String, hint: Option<String>) -> Self {
        Self::at_line(code, 1, 1, message).hint(hint)
    }

    pub(crate) fn at_line(code: &'static str, line: usize, column: usize, message: String) -> Self {
        Self {
            severity: Severity::Error,
            code: code.into(),
            message: printable(&message),
            line,
            column,
            length: 1,
            text: String::new(),
            hint: None,
            file: None,
            source_line: None,
        }
    }

    /// As [`Diagnostic::new`], of a value that may stand in another file or be made for an item of a `for_each`.
    pub(crate) fn of(code: &'static str, sources: &Sources<'_>, span: Span, message: String) -> Self {
        let source = sources.of(span);
        let message = match sources.item(span) {
            Some(item) => format!("{message} {FOR_EACH}{item})"),
            None => message,
        };
        let mut diagnostic = Self::new(code, source, span, message);
        if let Some(file) = sources.file(span) {
            diagnostic.file = Some(file.to_owned());
            diagnostic.source_line = Some(source.line(span.start.line).to_owned());
        }
        diagnostic
    }

    pub(crate) fn new(code: &'static str, source: &Source<'_>, span: Span, message: String) -> Self {
        let slice = source.slice(span);
        let first_line = slice.lines().next().unwrap_or_default().trim_end();
        let mut text = printable(&first_line.chars().take(MAX_TEXT).collect::<String>());
        if first_line.chars().nth(MAX_TEXT).is_some() {
            text.push('…');
        }
        let length = first_line.chars().count().max(1);
        let mut diagnostic = Self::at_line(code, span.start.line, span.start.column, message);
        diagnostic.length = length;
        diagnostic.text = text;
        diagnostic
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<Option<String>>) -> Self {
        self.hint = hint.into().map(|hint| printable(&hint));
        self
    }

    #[must_use]
    pub(crate) fn warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// One line, without the source: `dags/x.yaml:12:5: error: unknown key 'opertor'; did you mean 'operator'?`
    pub fn one_line(&self, file: &str) -> String {
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        let file = self.file.as_deref().unwrap_or(file);
        format!("{file}:{}:{}: {}: {}{hint}", self.line, self.column, self.severity.as_str(), self.message)
    }

    /// The problem with the line it stands in and a caret under the place.
    pub fn render(&self, file: &str, source: &str) -> String {
        let mut out = self.one_line(file);
        let main = Source::new(source);
        let line = self.source_line.as_deref().unwrap_or_else(|| main.line(self.line));
        if line.is_empty() {
            return out;
        }
        let skipped = if self.column > SHOWN { self.column - SHOWN / 2 } else { 0 };
        let shown: Vec<char> = line.chars().skip(skipped).take(SHOWN).collect();
        let at = self.column.saturating_sub(1).saturating_sub(skipped).min(shown.len());
        let marked = &shown[at..(at + self.length).min(shown.len())];
        let number = self.line.to_string();
        let margin = " ".repeat(number.len());
        let ellipsis = if skipped > 0 { "…" } else { "" };
        let padding = width(&shown[..at]) + ellipsis.chars().count();
        let shown = printable(&shown.iter().collect::<String>());
        out.push_str(&format!(
            "\n {number} | {ellipsis}{shown}\n {margin} | {}{}",
            " ".repeat(padding),
            "^".repeat(width(marked).max(1))
        ));
        out
    }
}

/// All problems of one file, one after the other.
pub fn render_all(diagnostics: &[Diagnostic], file: &str, source: &str) -> String {
    diagnostics.iter().map(|diagnostic| diagnostic.render(file, source)).collect::<Vec<_>>().join("\n")
}

/// Control characters of a file must not reach a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c == '\t' {
                ' '
            } else if c.is_control() {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Columns of a terminal: letters of East Asia take two.
fn width(chars: &[char]) -> usize {
    let is_wide = |c: char| matches!(u32::from(c), 0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff);
    chars.iter().map(|c| if is_wide(*c) { 2 } else { 1 }).sum()
}
