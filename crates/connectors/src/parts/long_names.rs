//! Names that an engine would cut without a word: two of them could become one, and what was meant for the one would meet
//! the other.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{Alteration, NewColumn, TableName};

use crate::parts::dialect::Dialect;
use crate::parts::failure::invalid;

/// Bytes, not characters.
fn longest(dialect: Dialect) -> (usize, &'static str) {
    match dialect {
        Dialect::Postgres => (63, "PostgreSQL"),
        Dialect::Redshift => (127, "Redshift"),
    }
}

fn refusal(dialect: Dialect, table: &TableName, what: &str, name: &str, mend: &str) -> PortError {
    let (most, engine) = longest(dialect);
    invalid(format!(
        "table {table}: the {what} {name:?} is {} bytes long, and {engine} keeps {most} (it counts bytes: a letter of Korean \
         has three) and would cut off the rest without a word; {mend}",
        name.len()
    ))
}

/// Names of a table that this engine does not keep whole.
pub fn check_table(dialect: Dialect, table: &TableName) -> Result<(), PortError> {
    let most = longest(dialect).0;
    let named = [("schema's name", table.schema.as_deref()), ("name", Some(&*table.name))];
    match named.into_iter().find_map(|(what, name)| Some((what, name.filter(|name| name.len() > most)?))) {
        Some((what, name)) => Err(refusal(dialect, table, what, name, "give it a shorter one")),
        None => Ok(()),
    }
}

/// Names of columns that are to be made.
fn check_columns<'a>(
    dialect: Dialect,
    table: &TableName,
    mut columns: impl Iterator<Item = &'a NewColumn>,
) -> Result<(), PortError> {
    match columns.find(|column| column.name.len() > longest(dialect).0) {
        Some(column) => Err(refusal(
            dialect,
            table,
            "column's name",
            &column.name,
            "give the column a shorter one in the SELECT that reads it (column AS shorter_name), or leave it out",
        )),
        None => Ok(()),
    }
}

pub fn check_new(dialect: Dialect, table: &TableName, columns: &[NewColumn]) -> Result<(), PortError> {
    check_table(dialect, table)?;
    check_columns(dialect, table, columns.iter())
}

pub fn check_altered(dialect: Dialect, table: &TableName, alterations: &[Alteration]) -> Result<(), PortError> {
    let added = alterations.iter().filter_map(|alteration| match alteration {
        Alteration::Add(column) => Some(column),
        Alteration::Widen { .. } => None,
    });
    check_columns(dialect, table, added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_in_bytes() {
        let table = |name: &str| TableName { schema: Some("dw".to_owned()), name: name.to_owned() };
        let column = |name: &str| NewColumn { name: name.to_owned(), type_name: "text".to_owned(), is_nullable: true };
        let fits = |dialect, name: &str| check_new(dialect, &table("t"), &[column("id"), column(name)]);
        assert!(fits(Dialect::Postgres, &"주".repeat(21)).is_ok());
        assert!(fits(Dialect::Redshift, &"a".repeat(127)).is_ok());
        let error = fits(Dialect::Postgres, &"주".repeat(22)).unwrap_err().message;
        for part in ["table dw.t", &"주".repeat(22), "66 bytes", "PostgreSQL keeps 63", "AS shorter_name"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let error = fits(Dialect::Redshift, &"주".repeat(43)).unwrap_err().message;
        assert!(error.contains("129 bytes") && error.contains("Redshift keeps 127"), "{error}");
        let error = check_table(Dialect::Postgres, &table(&"t".repeat(64))).unwrap_err().message;
        assert!(error.contains("64 bytes"), "{error}");
        let schema = TableName { schema: Some("s".repeat(64)), name: "t".to_owned() };
        assert!(check_table(Dialect::Postgres, &schema).unwrap_err().message.contains("schema's name"));
        let added = [Alteration::Add(column(&"주".repeat(22)))];
        assert!(check_altered(Dialect::Postgres, &table("t"), &added).is_err());
        assert!(check_altered(Dialect::Redshift, &table("t"), &added).is_ok());
    }
}
