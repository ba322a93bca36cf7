//! When the columns that come in are not those of the table: what is done about it, and what is said.

use millrace_operator_api::ports::{Alteration, Column, NO_SCHEMA, NewColumn, TableName, ValueType, Warehouse};
use millrace_operator_api::{PortErrorKind, TaskContext, TaskError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::parts::column_name::{Named, counterpart};
use crate::parts::report::while_doing;

/// What a load does when the columns of its rows are not those of the table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchemaDrift {
    /// A column comes in that the table does not have: `add` it to the table, `ignore` it (default), or `fail`.
    pub added: Added,
    /// A column's type, as the source's catalogue has it, does not fit the table's any more: `widen` the table's column,
    /// `ignore` it (default: the values are loaded, and one that does not fit is refused), or `fail`.
    pub widened: Widened,
    /// A column of the table does not come in: `ignore` it (default; new rows get its default value, rows that are
    /// updated keep what they have), or `fail`.
    pub removed: Removed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Added {
    Add,
    #[default]
    Ignore,
    Fail,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Widened {
    Widen,
    #[default]
    Ignore,
    Fail,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Removed {
    #[default]
    Ignore,
    Fail,
}

/// A column that comes in. Its type is `None` where only the name is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    pub name: String,
    pub value: Option<ValueType>,
}

impl Named for Incoming {
    fn name(&self) -> &str {
        &self.name
    }
}

/// The columns of the rows as a load takes them, and what was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settled {
    /// In the order of the rows, in the table's spelling where the table has them.
    pub columns: Vec<String>,
    /// Those of them that are passed over.
    pub ignored: Vec<String>,
    /// What the values of `columns` are; empty where that is not known of each.
    pub types: Vec<ValueType>,
    /// Columns of bytes that go into columns of bytes.
    pub bytes: Vec<String>,
    /// The differences in words, with what was done about each.
    pub differences: Vec<String>,
}

impl Settled {
    /// The columns that the table gets values for.
    pub fn taken(&self) -> Vec<String> {
        self.columns.iter().filter(|name| !self.ignored.contains(name)).cloned().collect()
    }
}

#[derive(Debug, Default)]
struct Comparison {
    settled: Settled,
    alterations: Vec<Alteration>,
    failures: Vec<String>,
    /// What is to be known and changes nothing, often on purpose: what does not come in, what may not fit.
    notes: Vec<String>,
}

/// Compares with the table as it was described, changes it where the policy says so, and tells the differences. Done twice,
/// or by two tasks at one time, it does no harm.
pub async fn settle(
    context: &TaskContext,
    warehouse: &dyn Warehouse,
    (target, mut table): (&TableName, Vec<Column>),
    incoming: &[Incoming],
    policy: SchemaDrift,
) -> Result<Settled, TaskError> {
    let mut was_altered = false;
    loop {
        let found = compare(warehouse, &table, incoming, policy);
        if !found.failures.is_empty() {
            return Err(TaskError::Fail(format!(
                "the columns do not fit table {target}: {}; change the table, or say in schema_drift what shall be done",
                found.failures.join("; ")
            )));
        }
        if !found.alterations.is_empty() {
            match warehouse.alter_table(target, &found.alterations).await {
                Ok(()) => {}
                // Another load of the same table has done it in between.
                Err(error) if !was_altered && error.kind != PortErrorKind::Cancelled => {
                    let now = warehouse.describe(target).await.map_err(|e| while_doing("looking again", e))?;
                    if now == table {
                        return Err(while_doing(&format!("changing table {target}"), error));
                    }
                    was_altered = true;
                    table = now;
                    continue;
                }
                Err(error) => return Err(while_doing(&format!("changing table {target}"), error)),
            }
        }
        for difference in &found.settled.differences {
            context.warning(format!("schema of {target}: {difference}"));
        }
        for note in &found.notes {
            context.info(format!("schema of {target}: {note}"));
        }
        let mut settled = found.settled;
        settled.types = incoming.iter().map(|column| column.value.clone()).collect::<Option<_>>().unwrap_or_default();
        settled.differences.extend(found.notes);
        return Ok(settled);
    }
}

/// The table's columns, or how it is made for such rows.
pub async fn described(
    warehouse: &dyn Warehouse,
    target: &TableName,
    incoming: &[Incoming],
) -> Result<Vec<Column>, TaskError> {
    warehouse.describe(target).await.map_err(|mut error| {
        if error.kind == PortErrorKind::NotFound && error.code.as_deref() != Some(NO_SCHEMA) {
            error.message.push_str(&fitting_table(warehouse, target, incoming));
        }
        while_doing(&format!("looking at table {target}"), error)
    })
}

/// How a table for such rows is made, behind an error that there is none.
fn fitting_table(warehouse: &dyn Warehouse, target: &TableName, incoming: &[Incoming]) -> String {
    let column = |column: &Incoming| {
        let type_name = warehouse.column_type(column.value.as_ref()?);
        Some(format!("{} {type_name}", warehouse.quote(&column.name)))
    };
    let columns: Option<Vec<String>> = incoming.iter().map(column).collect();
    let such = match columns.filter(|columns| !columns.is_empty()) {
        Some(columns) => format!(": CREATE TABLE {} ({})", warehouse.table_sql(target), columns.join(", ")),
        None => String::new(),
    };
    format!("; loads go into tables that are there (table_copy makes its own): make it first{such}")
}

fn compare(warehouse: &dyn Warehouse, table: &[Column], incoming: &[Incoming], policy: SchemaDrift) -> Comparison {
    let mut found = Comparison::default();
    for column in incoming {
        match counterpart(table, &column.name, incoming) {
            Some(known) if found.settled.columns.contains(&known.name) => found.failures.push(format!(
                "column {} comes in under two names that differ in upper and lower case only",
                known.name
            )),
            Some(known) => {
                found.settled.columns.push(known.name.clone());
                if matches!(column.value, Some(ValueType::Bytes { .. })) && !is_text_type(known.held_type()) {
                    found.settled.bytes.push(known.name.clone());
                }
                fits(warehouse, known, column, policy, &mut found);
            }
            None => added(warehouse, column, policy, &mut found),
        }
    }
    let missing = table.iter().filter(|known| !found.settled.columns.contains(&known.name)).collect::<Vec<_>>();
    if let Some(message) = not_coming(&missing) {
        match policy.removed {
            Removed::Fail => found.failures.push(message),
            Removed::Ignore => {
                let defaults: Vec<String> = missing
                    .iter()
                    .filter_map(|column| Some(format!("{} {}", column.name, column.default.as_ref()?)))
                    .collect();
                let value = match defaults.as_slice() {
                    [] => "NULL".to_owned(),
                    some if some.len() == missing.len() => format!("their default ({})", some.join(", ")),
                    some => format!("NULL or their default ({})", some.join(", ")),
                };
                found.notes.push(format!("{message}: new rows get {value}, rows that are updated keep what they have"));
            }
        }
    }
    found
}

fn not_coming(missing: &[&Column]) -> Option<String> {
    let names: Vec<&str> = missing.iter().map(|column| column.name.as_str()).collect();
    match names.as_slice() {
        [] => None,
        [only] => Some(format!("column {only} of the table does not come in")),
        several => Some(format!("{} columns of the table do not come in ({})", several.len(), several.join(", "))),
    }
}

fn fits(warehouse: &dyn Warehouse, known: &Column, column: &Incoming, policy: SchemaDrift, found: &mut Comparison) {
    let Some(value) = column.value.as_ref().filter(|value| !warehouse.holds(known.held_type(), value)) else { return };
    let message = too_narrow(known, value);
    match policy.widened {
        Widened::Fail => found.failures.push(message),
        Widened::Ignore => found.notes.push(format!("{message}: a value that it does not hold is refused")),
        // Texts are read as what the table wants, and one that is nothing of the kind is refused by itself.
        Widened::Widen if value.is_text() && !is_text_type(known.held_type()) => {
            found
                .notes
                .push(format!("{message}: it was not made a column of texts, and a value that is none is refused"));
        }
        Widened::Widen if known.base_type.is_some() => {
            found.notes.push(format!(
                "{message}: a domain, whose rules would be gone, was not widened, and a value that it does not hold is refused"
            ));
        }
        Widened::Widen => {
            let Some(type_name) = warehouse.widened(known.held_type(), value) else {
                found.notes.push(format!(
                    "{message}: no type holds that and what is there, so it was not widened, and a value that it does not hold \
                     is refused"
                ));
                return;
            };
            found.settled.differences.push(format!("{message}: it was widened to {type_name}"));
            found.alterations.push(Alteration::Widen { column: known.name.clone(), type_name });
        }
    }
}

/// How a column that does not hold every value of the source's is told.
pub fn too_narrow(known: &Column, value: &ValueType) -> String {
    let of_domain = known.base_type.as_ref().map(|base| format!(" ({base})")).unwrap_or_default();
    format!("column {} is {value} in the source, and {}{of_domain} may not hold it", known.name, known.type_name)
}

/// Whether a column of that type holds texts, in any engine's words.
pub fn is_text_type(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    ["char", "text", "clob"].iter().any(|part| name.contains(part))
}

fn added(warehouse: &dyn Warehouse, column: &Incoming, policy: SchemaDrift, found: &mut Comparison) {
    let message = format!("column {} comes in, and the table does not have it", column.name);
    match policy.added {
        Added::Fail => found.failures.push(message),
        Added::Ignore => {
            found.settled.differences.push(format!("{message}: it is passed over"));
            found.settled.ignored.push(column.name.clone());
            found.settled.columns.push(column.name.clone());
        }
        Added::Add => {
            let type_name = warehouse.column_type(column.value.as_ref().unwrap_or(&ValueType::TEXT));
            found.settled.differences.push(format!(
                "{message}: it was added as {type_name}, and rows that are there are NULL in it until they come in again"
            ));
            found.alterations.push(Alteration::Add(NewColumn {
                name: column.name.clone(),
                type_name,
                is_nullable: true,
            }));
            found.settled.columns.push(column.name.clone());
        }
    }
}
