//! What can go wrong with a template.

/// A template that can't be read. Line and column count from 1 inside the template's text, in characters.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column} of the template)")]
pub struct SyntaxError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// A template that can't be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// What went wrong, with the expression and a way out where one is known.
    pub message: String,
    /// From 1 inside the template's text.
    pub line: Option<usize>,
}

/// A parameter that can't be rendered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot render '{field}': {message}")]
pub struct RenderError {
    /// `query`, `keys[0]`, `options.header`.
    pub field: String,
    pub message: String,
    pub line: Option<usize>,
}
