//! SQL text that every engine here reads the same way.

use millrace_operator_api::ports::{SmallResult, TableName};

/// `"name"`, for PostgreSQL, Redshift and SQLite.
pub fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

pub fn table(name: &TableName) -> String {
    match &name.schema {
        Some(schema) => format!("{}.{}", quote(schema), quote(&name.name)),
        None => quote(&name.name),
    }
}

/// A table beside another one, in its schema.
pub fn beside(name: &TableName, other: &str) -> TableName {
    TableName { schema: name.schema.clone(), name: other.to_owned() }
}

/// `'text'`. Redshift takes a backslash for an escape and PostgreSQL does not, so neither sees one: another character stands
/// for it, or, in a text that has all of these, the pieces between are joined. Thousands of joins are more than a parser
/// takes, and each is seventeen times as long as what it stands for.
pub fn literal(text: &str) -> String {
    const OTHERS: &[char] = &['~', '^', '|', '`', '#', '@', '\u{1}', '\u{2}', '\u{3}', '\u{4}', '\u{5}'];
    let quoted = format!("'{}'", text.replace('\'', "''"));
    if !text.contains('\\') {
        return quoted;
    }
    match OTHERS.iter().find(|other| !text.contains(**other)) {
        Some(other) => format!("replace({}, '{other}', chr(92))", quoted.replace('\\', &other.to_string())),
        None => format!("({})", quoted.replace('\\', "' || chr(92) || '")),
    }
}

pub fn list<'a>(names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| quote(name)).collect::<Vec<_>>().join(", ")
}

/// `prefix."a", prefix."b"`
pub fn list_of<'a>(prefix: &str, names: impl IntoIterator<Item = &'a String>) -> String {
    names.into_iter().map(|name| format!("{prefix}.{}", quote(name))).collect::<Vec<_>>().join(", ")
}

/// `a."k" = b."k" AND …`
pub fn same_keys(a: &str, b: &str, keys: &[String]) -> String {
    keys.iter().map(|key| format!("{a}.{0} = {b}.{0}", quote(key))).collect::<Vec<_>>().join(" AND ")
}

/// `a."k" IS NOT NULL AND …`
pub fn keys_not_null(a: &str, keys: &[String]) -> String {
    keys.iter().map(|key| format!("{a}.{} IS NOT NULL", quote(key))).collect::<Vec<_>>().join(" AND ")
}

/// A SELECT without the semicolon that may end it.
pub fn without_semicolon(sql: &str) -> &str {
    sql.trim_end().trim_end_matches(';').trim_end()
}

/// A name of at most 63 bytes (PostgreSQL's limit; Redshift's is 127) that begins as `base` does.
pub fn name_with_suffix(base: &str, suffix: &str) -> String {
    let mut end = base.len().min(63 - suffix.len());
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

/// The first cell of the first row.
pub fn scalar(result: &SmallResult) -> Option<&str> {
    result.rows.first()?.first()?.as_deref()
}

pub fn scalar_number(result: &SmallResult) -> Option<u64> {
    scalar(result)?.trim().parse().ok()
}

/// SQL's idea of true, in any engine's text form.
pub fn is_true(cell: Option<&str>) -> bool {
    match cell.map(str::trim) {
        None | Some("" | "0" | "f" | "false" | "False" | "FALSE" | "n" | "no") => false,
        Some(text) => text.parse::<f64>().map(|number| number != 0.0).unwrap_or(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_and_cut_at_characters() {
        let name = TableName { schema: Some("a\"b".into()), name: "주문".into() };
        assert_eq!(table(&name), "\"a\"\"b\".\"주문\"");
        let long = "주".repeat(30);
        let cut = name_with_suffix(&long, "__build_0123456789abcdef");
        assert!(cut.len() <= 63 && cut.ends_with("__build_0123456789abcdef"));
    }

    #[test]
    fn no_literal_has_a_backslash() {
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("C:\\dir"), "replace('C:~dir', '~', chr(92))");
        assert_eq!(literal("~\\^"), "replace('~|^', '|', chr(92))");
        let all = "\\~^|`#@\u{1}\u{2}\u{3}\u{4}\u{5}";
        assert_eq!(literal(all), format!("('' || chr(92) || '{}')", &all[1..]));
        assert!(literal(&"\\".repeat(90_000)).len() < 90_100);
    }

    #[test]
    fn truth_is_read_from_text() {
        assert!(is_true(Some("t")) && is_true(Some("1")) && is_true(Some("0.5")));
        assert!(!is_true(None) && !is_true(Some("0")) && !is_true(Some("f")) && !is_true(Some("0.0")));
    }
}
