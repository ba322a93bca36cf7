//! The Jinja of DAG files: which fields are templates ([`Template`]), and the environment that renders them.
//!
//! Invariants:
//! - Strict: an undefined name is an error that says its name.
//! - Pure: rendering reads nothing but the context that it is given.
//! - Only fields that an operator declares as [`Template`] are rendered; everything else is taken as it stands.

mod field;

pub use field::{Template, TEMPLATE_MARKER, TemplateValueError};
