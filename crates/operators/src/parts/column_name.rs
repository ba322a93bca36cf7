//! Which column a name means.

use millrace_operator_api::TaskError;
use millrace_operator_api::ports::{Column, SourceColumn};

pub trait Named {
    fn name(&self) -> &str;
}

impl Named for SourceColumn {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for Column {
    fn name(&self) -> &str {
        &self.name
    }
}

impl Named for String {
    fn name(&self) -> &str {
        self
    }
}

/// Where the column is that is called so, or else the only one that is called so but for upper and lower case. Of several
/// that differ in nothing else, none is meant.
pub fn position(columns: &[impl Named], name: &str) -> Option<usize> {
    if let Some(exact) = columns.iter().position(|column| column.name() == name) {
        return Some(exact);
    }
    let mut alike = (0..columns.len()).filter(|at| columns[*at].name().eq_ignore_ascii_case(name));
    alike.next().filter(|_| alike.next().is_none())
}

/// As [`position`]: the column itself.
pub fn find<'c, T: Named>(columns: &'c [T], name: &str) -> Option<&'c T> {
    position(columns, name).map(|at| &columns[at])
}

/// Of a table's columns the one that a column which comes in by this name goes into. One that has its exact namesake among
/// `incoming` is that one's.
pub fn counterpart<'c, T: Named>(table: &'c [T], name: &str, incoming: &[impl Named]) -> Option<&'c T> {
    let is_taken = |known: &T| known.name() != name && incoming.iter().any(|other| other.name() == known.name());
    find(table, name).filter(|known| !is_taken(known))
}

/// Refuses columns of one name: wherever they go, they go by their names. `whose` are they, for people.
pub fn require_apart(columns: &[impl Named], whose: &str) -> Result<(), TaskError> {
    let is_double = |(at, column): &(usize, _)| columns[..*at].iter().any(|other| other.name() == Named::name(*column));
    let mut doubles: Vec<&str> =
        columns.iter().enumerate().filter(is_double).map(|(_, column)| column.name()).collect();
    doubles.sort_unstable();
    doubles.dedup();
    if doubles.is_empty() {
        return Ok(());
    }
    // What has no name of its own is called by what it is, or `?column?`.
    let is_plain = |name: &&&str| {
        name.starts_with(|first: char| first.is_alphabetic() || first == '_')
            && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_')
    };
    let example = match doubles.iter().find(is_plain) {
        Some(name) => format!("SELECT a.{name}, b.{name} AS other_{name}"),
        None => "SELECT 1 AS one, 2 AS two".to_owned(),
    };
    Err(TaskError::Fail(format!(
        "several columns of {whose} are called {}, and columns go by their names: give each a name of its own ({example}) or leave \
         out all but one; nothing was written",
        doubles.join(", ")
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exact_name_goes_before_one_of_other_case() {
        let columns = ["Id", "id", "Email", "A", "a"].map(str::to_owned);
        assert_eq!(position(&columns, "id"), Some(1));
        assert_eq!(position(&columns, "Id"), Some(0));
        assert_eq!(position(&columns, "EMAIL"), Some(2));
        assert_eq!(position(&columns, "ID"), None, "either could be meant");
        assert_eq!(position(&columns, "name"), None);
    }

    #[test]
    fn two_columns_never_go_into_one() {
        let (table, incoming) = (["id".to_owned()], ["Id", "id"].map(str::to_owned));
        assert_eq!(counterpart(&table, "id", &incoming), Some(&table[0]));
        assert_eq!(counterpart(&table, "Id", &incoming), None);
        assert_eq!(counterpart(&table, "ID", &incoming[..1]), Some(&table[0]));
    }
    #[test]
    fn columns_of_one_name_are_told() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert!(require_apart(&names(&["id", "Id", "v"]), "the query").is_ok());
        let error = require_apart(&names(&["v", "id", "id", "v", "v"]), "the query").unwrap_err().to_string();
        assert!(error.contains("several columns of the query are called id, v,"), "{error}");
        assert!(error.contains("b.id AS other_id"), "{error}");
        for unnamed in [&["?column?", "?column?"][..], &["1", "1"], &["COUNT(*)", "COUNT(*)"], &["", ""]] {
            let error = require_apart(&names(unnamed), "the query").unwrap_err().to_string();
            assert!(error.contains("(SELECT 1 AS one, 2 AS two)"), "{error}");
        }
        let error =
            require_apart(&names(&["?column?", "?column?", "주문", "주문"]), "the query").unwrap_err().to_string();
        assert!(error.contains("(SELECT a.주문, b.주문 AS other_주문)"), "{error}");
    }
}
