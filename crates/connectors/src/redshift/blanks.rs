//! Redshift passes over the blanks at the end of a VARCHAR when it compares (`=`, GROUP BY, PARTITION BY, DISTINCT) and counts
//! them in its length. So values are the same where they are equal and of one length: a plain comparison takes two rows of a
//! source for one, and one of them is lost.

use millrace_operator_api::ports::Column;

use crate::parts::sql::quote;
use crate::redshift::limits::Limit;

/// Whether values of the type are compared without the blanks at their end, and have them. CHAR has none.
pub fn are_passed_over(type_name: &str) -> bool {
    matches!(Limit::of(type_name), Limit::Varchar(_))
}

/// The columns of a table, which say what is a text.
#[derive(Clone, Copy)]
pub struct Blanks<'a>(pub &'a [Column]);

impl Blanks<'_> {
    fn texts(self, names: &[String]) -> impl Iterator<Item = &String> {
        let is_text = move |name: &&String| {
            self.0.iter().any(|column| column.name == **name && are_passed_over(&column.type_name))
        };
        names.iter().filter(is_text)
    }

    /// `p."id", p."k", LENGTH(p."k")`: what tells values of these columns apart. `prefix` is empty, or ends in a point.
    pub fn told_apart(self, prefix: &str, names: &[String]) -> String {
        let plain = names.iter().map(|name| format!("{prefix}{}", quote(name)));
        let lengths = self.texts(names).map(|name| format!("LENGTH({prefix}{})", quote(name)));
        plain.chain(lengths).collect::<Vec<_>>().join(", ")
    }

    /// `a."id" = b."id" AND a."k" = b."k" AND LENGTH(a."k") = LENGTH(b."k")`
    pub fn same(self, a: &str, b: &str, names: &[String]) -> String {
        let plain = names.iter().map(|name| format!("{a}.{0} = {b}.{0}", quote(name)));
        let lengths = self.texts(names).map(|name| format!("LENGTH({a}.{0}) = LENGTH({b}.{0})", quote(name)));
        plain.chain(lengths).collect::<Vec<_>>().join(" AND ")
    }

    /// One text for the lengths of all texts of a row, for a DISTINCT beside them; `None` where there is none. A statement has
    /// an end: of very many columns those of the key alone.
    pub fn lengths(self, prefix: &str, names: &[String], keys: &[String]) -> Option<String> {
        const LONGEST: usize = 30_000;
        let of = |names: &[String]| {
            let cells: Vec<String> = self
                .texts(names)
                .map(|name| format!("COALESCE(CAST(LENGTH({prefix}{}) AS varchar), '')", quote(name)))
                .collect();
            cells.join(" || ',' || ")
        };
        let text = Some(of(names)).filter(|text| text.len() <= LONGEST).unwrap_or_else(|| of(keys));
        (!text.is_empty()).then_some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_told_apart_by_their_lengths_too() {
        let column = |name: &str, type_name: &str| Column {
            name: name.into(),
            type_name: type_name.into(),
            base_type: None,
            is_nullable: false,
            default: None,
        };
        let columns = [column("id", "bigint"), column("k", "character varying(8)"), column("c", "character(3)")];
        let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
        let blanks = Blanks(&columns);
        assert_eq!(blanks.told_apart("s.", &names), "s.\"id\", s.\"k\", s.\"c\", LENGTH(s.\"k\")");
        assert_eq!(
            blanks.same("a", "b", &names[..2]),
            "a.\"id\" = b.\"id\" AND a.\"k\" = b.\"k\" AND LENGTH(a.\"k\") = LENGTH(b.\"k\")"
        );
        assert_eq!(
            blanks.lengths("s.", &names, &[]).as_deref(),
            Some("COALESCE(CAST(LENGTH(s.\"k\") AS varchar), '')")
        );
        assert_eq!(blanks.lengths("s.", &names[..1], &[]), None);
        let many: Vec<String> = (0..1000).map(|at| format!("column_number_{at}")).collect();
        let texts: Vec<Column> = many.iter().map(|name| column(name, "varchar(9)")).collect();
        let said = Blanks(&texts).lengths("s.", &many, &many[..1]).unwrap_or_default();
        assert_eq!(said, "COALESCE(CAST(LENGTH(s.\"column_number_0\") AS varchar), '')");
    }
}
