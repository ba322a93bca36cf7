//! What PostgreSQL says about a row of a COPY, in words that show no value.

use tokio_postgres::error::DbError;

use millrace_operator_api::ports::TableName;

use crate::parts::dialect::Dialect;
use crate::parts::exact::{CUT, WIDER};
use crate::parts::rows::{LoadColumn, Refusal};
use crate::parts::session::picks;
use crate::parts::sql::literal;

#[derive(Debug, PartialEq, Eq)]
pub struct CopyPlace {
    /// Of the COPY, from 1.
    pub row: u64,
    pub column: Option<String>,
    pub value: Option<String>,
}

/// Reads `COPY t, line 3, column score: "x"`.
pub fn copy_place(context: &str) -> Option<CopyPlace> {
    let rest = context.lines().find_map(|line| line.strip_prefix("COPY ")?.split_once(", line "))?.1;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let row = rest[..digits].parse().ok()?;
    let mut place = CopyPlace { row, column: None, value: None };
    if let Some(rest) = rest[digits..].strip_prefix(", column ") {
        let (column, value) = rest.split_once(": ").map_or((rest, None), |(column, value)| (column, Some(value)));
        place.column = Some(column.to_owned());
        place.value = value
            .map(|value| value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value).to_owned());
    }
    Some(place)
}

/// To whom a rule belongs that a row of a load breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleOf {
    /// The table itself, or a partition of it.
    Target,
    /// A table that refers to it, whose rows hold on to a value.
    Referring,
}

impl RuleOf {
    const TARGET: &str = "target";

    /// Reads what [`BrokenRule::select_owner`] found.
    pub fn read(cell: &str) -> Self {
        if cell == Self::TARGET { Self::Target } else { Self::Referring }
    }
}

/// The rule of a table that a statement broke, as far as the server names it.
#[derive(Debug, Clone, Default)]
pub struct BrokenRule {
    pub schema: Option<String>,
    pub table: Option<String>,
    /// Or the index.
    pub constraint: Option<String>,
    pub column: Option<String>,
}

impl BrokenRule {
    pub fn of(error: &DbError) -> Self {
        let owned = |name: Option<&str>| name.map(ToOwned::to_owned);
        Self {
            schema: owned(error.schema()),
            table: owned(error.table()),
            constraint: owned(error.constraint()),
            column: owned(error.column()),
        }
    }

    /// Asks what the rule's table is to `target`: nothing comes where it is neither, as of a table that a trigger writes to.
    /// `None` where no table is named.
    pub fn select_owner(&self, target: &TableName) -> Option<String> {
        let (schema, table) = (literal(self.schema.as_deref()?), literal(self.table.as_deref()?));
        let picked = picks(target, Dialect::Postgres);
        let from = "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace";
        let own = format!(
            "SELECT '{}' {from} WHERE {picked} AND (n.nspname = {schema} AND c.relname = {table} OR EXISTS \
             (SELECT 1 FROM pg_partition_tree(c.oid) t JOIN pg_class p ON p.oid = t.relid \
             JOIN pg_namespace s ON s.oid = p.relnamespace WHERE s.nspname = {schema} AND p.relname = {table}))",
            RuleOf::TARGET
        );
        let Some(constraint) = self.constraint.as_deref().map(literal) else { return Some(own) };
        Some(format!(
            "{own} UNION ALL SELECT 'referring' {from} JOIN pg_constraint k ON k.contype = 'f' AND (k.confrelid = c.oid \
             OR k.confrelid IN (SELECT relid FROM pg_partition_tree(c.oid))) JOIN pg_class r ON r.oid = k.conrelid \
             JOIN pg_namespace s ON s.oid = r.relnamespace WHERE {picked} AND k.conname = {constraint} \
             AND s.nspname = {schema} AND r.relname = {table} LIMIT 1"
        ))
    }

    /// In the place of [`reason`], of a rule that belongs to a table which refers to the one that is loaded.
    pub fn still_referred_to(&self) -> String {
        let table = [self.schema.as_deref(), self.table.as_deref()].into_iter().flatten().collect::<Vec<_>>().join(".");
        format!("takes away a value that rows of {table} still refer to")
    }

    /// Asks which columns the rule is about. `None` where it is no constraint.
    pub fn select_columns(&self) -> Option<String> {
        let named = |name: &Option<String>| name.as_deref().map(literal);
        let (schema, table, constraint) = (named(&self.schema)?, named(&self.table)?, named(&self.constraint)?);
        Some(format!(
            "SELECT a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 WHERE n.nspname = {schema} AND c.relname = {table} \
             AND (a.attnum IN (SELECT unnest(k.conkey) FROM pg_constraint k WHERE k.conrelid = c.oid AND k.conname = {constraint}) \
             OR a.attnum IN (SELECT unnest(i.indkey[0:i.indnkeyatts - 1]) FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid \
             WHERE i.indrelid = c.oid AND x.relname = {constraint})) ORDER BY a.attnum"
        ))
    }
}

pub fn refusal(error: &tokio_postgres::Error, place: CopyPlace, line: u64, columns: &[LoadColumn]) -> Refusal {
    let db = error.as_db_error();
    let code = db.map(|db| db.code().code()).unwrap_or_default();
    let column = place.column.or_else(|| db.and_then(|db| db.column()).map(ToOwned::to_owned));
    let type_name = columns
        .iter()
        .find(|known| Some(&known.name) == column.as_ref())
        .map_or_else(|| "the column".to_owned(), |column| column.type_name.clone());
    Refusal {
        line,
        column,
        value: place.value.map(String::into_bytes),
        row: None,
        reason: format!("{} ({}SQLSTATE {code})", reason(code, &type_name), named(db.and_then(|db| db.constraint()))),
    }
}

/// A constraint, in front of more.
pub fn named(constraint: Option<&str>) -> String {
    constraint.map(|name| format!("constraint {name}, ")).unwrap_or_default()
}

/// As [`reason`], of an error whose rule may belong to a table that refers to the one which is written to: PostgreSQL has one
/// code for both ends of a reference, and tells them apart in words.
pub fn reason_of(error: &DbError) -> String {
    match error.code().code() {
        "23503" if error.message().starts_with("update or delete on table") => {
            BrokenRule::of(error).still_referred_to()
        }
        code => reason(code, "the column"),
    }
}

/// PostgreSQL's own messages repeat the value.
pub fn reason(code: &str, type_name: &str) -> String {
    match code {
        "22001" => format!("is too long for {type_name}; {WIDER}; {CUT}"),
        "22003" => format!("is out of the range of {type_name}; {WIDER}"),
        "22007" | "22008" => format!("is not a date or time that {type_name} takes"),
        "22021" => "is not text in UTF-8 without NUL".to_owned(),
        "22P02" | "22P03" => format!("is not a value of {type_name}"),
        "22P04" => "is not a row of as many values as there are columns".to_owned(),
        "22P05" => format!("holds a character that {type_name} cannot hold"),
        "23502" => "is NULL, and the column takes no NULL".to_owned(),
        "23505" => "has a key that is there already".to_owned(),
        "23503" => "refers to a row that is not there".to_owned(),
        "23001" => "takes away a value that rows of another table still refer to".to_owned(),
        "23P01" => "conflicts with a row that is there".to_owned(),
        "23514" => format!("is refused by a check of {type_name}"),
        "54000" => "is too large".to_owned(),
        _ => format!("is not taken by {type_name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_error_is_read_from_its_context() {
        let place = copy_place("COPY millrace_staging, line 12, column score: \"a: b\"").expect("a place");
        assert_eq!(place, CopyPlace { row: 12, column: Some("score".into()), value: Some("a: b".into()) });
        let bare = copy_place("COPY millrace_staging, line 3: \"1\t2\"").expect("a place");
        assert_eq!((bare.row, bare.column), (3, None));
        assert_eq!(copy_place("PL/pgSQL function f() line 3"), None);
    }
}
