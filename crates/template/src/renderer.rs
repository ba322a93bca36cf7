//! The environment, and one text at a time.

use std::io;
use std::sync::OnceLock;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::ValueKind;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, escape_formatter};

use crate::context::RenderContext;
use crate::depth;
use crate::error::TemplateError;
use crate::names::{closest, is_known_name, is_template, unknown_name_hint};
use crate::{macros, methods};

/// Steps of one rendering; a plain expression takes a handful.
const FUEL: u64 = 2_000_000;
/// Depth of macros that call each other.
const RECURSION_LIMIT: usize = 100;
/// Bytes that one text may render to.
pub(crate) const OUTPUT_LIMIT: usize = 16 * 1024 * 1024;

/// The one environment: it holds no state, so all renderings share it.
pub(crate) fn environment() -> &'static Environment<'static> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    ENVIRONMENT.get_or_init(|| {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment.set_recursion_limit(RECURSION_LIMIT);
        // SQL and shell, never HTML.
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        if let Ok(syntax) = SyntaxConfig::builder().keep_trailing_newline(true).build() {
            environment.set_syntax(syntax);
        }
        environment.set_unknown_method_callback(methods::call);
        // Lists and maps as JSON: what a typed parameter can read again. Everything else as Jinja2 prints it.
        environment.set_formatter(|out, state, value| match value.kind() {
            ValueKind::Seq | ValueKind::Map => match serde_json::to_string(value) {
                Ok(json) => out.write_str(&json).map_err(Error::from),
                Err(error) => Err(Error::new(ErrorKind::BadSerialization, error.to_string())),
            },
            _ => escape_formatter(out, state, value),
        });
        macros::add_filters(&mut environment);
        methods::add_filters(&mut environment);
        // Would print everything that a template can see.
        environment.remove_global("debug");
        environment
    })
}

/// Renders the templates of one try.
#[derive(Debug, Clone)]
pub struct Renderer {
    context: RenderContext,
}

impl Renderer {
    pub fn new(context: RenderContext) -> Self {
        Self { context }
    }

    /// A text without Jinja comes back unchanged.
    pub fn render_text(&self, text: &str) -> Result<String, TemplateError> {
        if !is_template(text) {
            return Ok(text.to_owned());
        }
        let mut output = Limited(Vec::with_capacity(text.len()));
        let rendered = depth::check(text)
            .and_then(|()| environment().template_from_str(text))
            .and_then(|template| template.render_captured_to(self.context.root.clone(), &mut output).map(drop));
        match rendered {
            Ok(()) => String::from_utf8(output.0)
                .map_err(|_| TemplateError { message: "the result is not text".to_owned(), line: None }),
            Err(error) => Err(TemplateError { message: self.explain(&error, text), line: error.line() }),
        }
    }

    fn explain(&self, error: &Error, text: &str) -> String {
        let expression = error.range().and_then(|range| text.get(range)).map(str::trim).unwrap_or_default();
        match error.kind() {
            ErrorKind::UndefinedError => self.explain_undefined(expression, error),
            ErrorKind::OutOfFuel => "the template takes too many steps; shorten its loops".to_owned(),
            ErrorKind::WriteFailure => format!("the template renders to more than {} MiB", OUTPUT_LIMIT / 1024 / 1024),
            ErrorKind::TemplateNotFound => "include, import and extends are not offered in templates".to_owned(),
            kind => {
                let detail = error.detail().map_or_else(|| kind.to_string(), str::to_owned);
                let place = if expression.is_empty() { String::new() } else { format!(" in '{expression}'") };
                let hint = if detail.contains("operator on unsupported types") && detail.contains("plain object") {
                    "; to move a date write .add(days=1) or .subtract(hours=2)"
                } else {
                    ""
                };
                format!("{detail}{place}{hint}")
            }
        }
    }

    fn explain_undefined(&self, expression: &str, error: &Error) -> String {
        // The engine quotes what it knows of the origin; that says more than the expression it was used in.
        let origin = error.detail().and_then(|detail| detail.split('`').nth(1)).filter(|origin| !origin.is_empty());
        let expression = origin.unwrap_or(expression);
        let path: String =
            expression.chars().take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '.' | '-')).collect();
        if let Some(at) = expression.find("xcom_pull(") {
            return format!("there is no result for {}; its task must have ended with one", &expression[at..]);
        }
        let mut parts = path.split('.');
        let name = parts.next().unwrap_or_default();
        if name.is_empty() {
            return error.detail().map_or_else(|| format!("'{expression}' is not defined"), str::to_owned);
        }
        if !is_known_name(name) {
            let hint = unknown_name_hint(name).map(|hint| format!("; {hint}")).unwrap_or_default();
            return format!("'{name}' is not defined{hint}");
        }
        match (name, parts.next(), parts.next()) {
            ("var", Some(kind @ ("value" | "json")), Some(key)) => {
                format!("there is no variable '{key}'; add it, or write var.{kind}.get('{key}', 'a default')")
            }
            ("conn", Some(conn_id), _) => format!("there is no connection '{conn_id}'"),
            ("params", Some(key), None) => {
                let known = &self.context.params;
                let hint = match closest(key, known.iter().map(String::as_str)) {
                    Some(near) => format!("; did you mean '{near}'?"),
                    None if known.is_empty() => "; the DAG declares no params".to_owned(),
                    None => format!("; there are: {}", known.join(", ")),
                };
                format!("params has no '{key}'{hint}")
            }
            _ => format!("'{expression}' is not defined"),
        }
    }
}

/// Takes so much and no more.
struct Limited(Vec<u8>);

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > OUTPUT_LIMIT {
            return Err(io::Error::other("too much output"));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
