//! The Jinja of DAG files: which fields are templates ([`Template`]), and the environment that renders them.
//!
//! Invariants:
//! - Strict: an undefined name is an error that says its name.
//! - Pure: rendering reads nothing but the [`RenderContext`] and the [`Lookup`] in it. There is no clock and no random
//!   number, so a retry renders what the first try rendered.
//! - Bounded: so many steps, so much output; a template can't keep a worker busy for ever.
//! - Only fields that an operator declares as [`Template`] are rendered; everything else is taken as it stands.
//!
//! May import `model` only.

mod context;
mod depth;
mod error;
mod field;
mod lookup;
mod macros;
mod methods;
mod moment;
mod names;
mod parameters;
mod renderer;
mod substitution;

pub use context::{RenderContext, RenderFacts};
pub use error::{RenderError, SyntaxError, TemplateError};
pub use field::{TEMPLATE_MARKER, TEMPLATE_PATTERN, Template, TemplateValueError};
pub use lookup::{ConnView, Lookup, NoLookup, PreviousSuccess};
pub use names::{
    check_syntax, is_known_name, is_mapped_name, is_template, known_names, referenced_names, unknown_name_hint,
};
pub use parameters::{is_marked, render_parameters};
pub use renderer::Renderer;
pub use substitution::{SubstitutionError, has_substitution, substitute};
