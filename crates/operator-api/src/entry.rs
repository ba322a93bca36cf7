//! An operator and its line in the table of operators. Validation, JSON Schema, documentation and forms are derived
//! from the entry.

use futures::future::BoxFuture;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::context::TaskContext;
use crate::error::{Outcome, TaskError};

/// Mistakes that an operator finds in its own parameters when the file is read.
#[derive(Debug, Default)]
pub struct Problems {
    items: Vec<(String, String)>,
}

impl Problems {
    /// `field` is the parameter's name (nested ones with dots), or empty for the task as a whole.
    pub fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.items.push((field.into(), message.into()));
    }

    pub fn into_items(self) -> Vec<(String, String)> {
        self.items
    }

    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

/// A kind of work. The implementing struct *is* the parameters: `Deserialize`, `deny_unknown_fields`, `JsonSchema`; its
/// doc comment is the user's page.
pub trait Operator: Send + Sync {
    /// Finds mistakes that the types can't express. Templates are not rendered yet. Pure.
    fn check(&self, problems: &mut Problems) {
        let _ = problems;
    }

    /// Tasks directly after this one that the parameters name: the parameter (nested ones with dots), and the name. Only
    /// for operators whose entry [`chooses`](OperatorEntry::chooses).
    fn follows(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    /// Does the work, with rendered parameters. Must be safe to run again after dying at any point.
    fn run<'a>(&'a self, context: &'a TaskContext) -> BoxFuture<'a, Result<Outcome, TaskError>>;
}

/// One line of the table of operators.
#[derive(Clone, Copy)]
pub struct OperatorEntry {
    /// The canonical name in DAG files.
    pub name: &'static str,
    /// Other names it answers to: the user's documents', Airflow's.
    pub aliases: &'static [&'static str],
    /// Old name -> canonical name of parameters.
    pub parameter_aliases: &'static [(&'static str, &'static str)],
    /// One line for lists.
    pub summary: &'static str,
    /// Never reaches a worker: the scheduler ends it itself.
    pub is_inline: bool,
    /// Its parameters name tasks that come directly after it.
    pub chooses: bool,
    pub schema: fn() -> Schema,
    /// Reads the parameters (canonical names). The message names the field.
    pub parse: fn(Value) -> Result<Box<dyn Operator>, String>,
}

impl std::fmt::Debug for OperatorEntry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OperatorEntry").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OperatorEntry {
    pub const fn of<O: Operator + DeserializeOwned + JsonSchema + 'static>(
        name: &'static str,
        summary: &'static str,
    ) -> Self {
        Self {
            name,
            aliases: &[],
            parameter_aliases: &[],
            summary,
            is_inline: false,
            chooses: false,
            schema: schema_of::<O>,
            parse: parse::<O>,
        }
    }

    #[must_use]
    pub const fn aliases(mut self, aliases: &'static [&'static str]) -> Self {
        self.aliases = aliases;
        self
    }

    #[must_use]
    pub const fn parameter_aliases(mut self, aliases: &'static [(&'static str, &'static str)]) -> Self {
        self.parameter_aliases = aliases;
        self
    }

    #[must_use]
    pub const fn inline(mut self) -> Self {
        self.is_inline = true;
        self
    }

    #[must_use]
    pub const fn chooses(mut self) -> Self {
        self.chooses = true;
        self
    }

    pub fn answers_to(&self, name: &str) -> bool {
        self.name == name || self.aliases.contains(&name)
    }
}

/// The operators a program knows; what `dagfile` and the worker are given.
pub type Catalogue = &'static [OperatorEntry];

/// The entry that answers to `name` (canonical or alias).
pub fn find(catalogue: Catalogue, name: &str) -> Option<&'static OperatorEntry> {
    catalogue.iter().find(|entry| entry.answers_to(name))
}

/// Without `$ref`, so that whoever walks the schema needs no resolver.
fn schema_of<O: JsonSchema>() -> Schema {
    let mut settings = SchemaSettings::draft2020_12();
    settings.inline_subschemas = true;
    settings.into_generator().into_root_schema_for::<O>()
}

fn parse<O: Operator + DeserializeOwned + 'static>(value: Value) -> Result<Box<dyn Operator>, String> {
    serde_json::from_value::<O>(value)
        .map(|operator| Box::new(operator) as Box<dyn Operator>)
        .map_err(|e| e.to_string())
}
