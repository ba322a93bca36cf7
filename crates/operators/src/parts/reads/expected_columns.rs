//! The columns that whoever reads an extract counts on, and what is done when the source has others.

use std::collections::BTreeMap;

use millrace_operator_api::ports::{RowStream, SourceColumn};
use millrace_operator_api::{Problems, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parts::column_name::counterpart;
use crate::parts::reads::treatment::{Personal, Rendered, Treatment, Treatments, ZeroDates};

/// Columns that are expected of a query.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExpectedColumns {
    /// Their names.
    columns: Vec<String>,
    /// A column comes that is not among them: `keep` it (default), `drop` it, or `fail`. The first two are told in the log.
    #[serde(default)]
    added: Added,
    /// One of them does not come: `fail` (default), or `ignore` it with a warning.
    #[serde(default)]
    removed: Removed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Added {
    #[default]
    Keep,
    Drop,
    Fail,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Removed {
    #[default]
    Fail,
    Ignore,
}

pub fn check(expected: Option<&ExpectedColumns>, problems: &mut Problems) {
    if expected.is_some_and(|expected| expected.columns.is_empty()) {
        problems.add("expected_columns.columns", "no column is expected; leave expected_columns out");
    }
}

impl ExpectedColumns {
    /// The streams of one query without the columns that are to go; and those, each with what became of it.
    pub fn apply(
        &self,
        context: &TaskContext,
        streams: Vec<RowStream>,
    ) -> Result<(Vec<RowStream>, Treatments), TaskError> {
        let dropped = match streams.first() {
            Some(rows) => self.compare(context, &rows.columns)?,
            None => Treatments::new(),
        };
        if dropped.is_empty() {
            return Ok((streams, dropped));
        }
        let (streams, _) = Rendered::new(&dropped, None, None, ZeroDates::Keep).apply_all(streams)?;
        Ok((streams, dropped))
    }

    fn compare(&self, context: &TaskContext, found: &[SourceColumn]) -> Result<Treatments, TaskError> {
        let is_expected = |name: &str| counterpart(&self.columns, name, found).is_some();
        let added: Vec<&SourceColumn> = found.iter().filter(|column| !is_expected(&column.name)).collect();
        let removed: Vec<&str> = self
            .columns
            .iter()
            .filter(|name| counterpart(found, name, &self.columns).is_none())
            .map(String::as_str)
            .collect();
        let mut failures = Vec::new();
        if !added.is_empty() {
            let names: Vec<String> = added.iter().map(|column| format!("{} ({})", column.name, column.value)).collect();
            let message = format!("{} came to the source and is not expected", names.join(", "));
            match self.added {
                Added::Fail => failures.push(message),
                Added::Keep => context.warning(format!("columns: {message}: it is written too")),
                Added::Drop => context.warning(format!("columns: {message}: it is left out")),
            }
        }
        if !removed.is_empty() {
            let message = format!("{} is expected and does not come any more", removed.join(", "));
            match self.removed {
                Removed::Fail => failures.push(message),
                Removed::Ignore => context.warning(format!("columns: {message}")),
            }
        }
        if !failures.is_empty() {
            return Err(TaskError::Fail(format!(
                "the columns of the source are not those of expected_columns: {}; nothing was written",
                failures.join("; ")
            )));
        }
        let drop = |column: &&SourceColumn| (column.name.clone(), Treatment::Personal(Personal::Drop));
        Ok(if self.added == Added::Drop { added.iter().map(drop).collect() } else { BTreeMap::new() })
    }
}
