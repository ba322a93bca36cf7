//! Checks on tables: the SQL that counts what is wrong, and the words for what was found.

use chrono::{DateTime, Utc};
use millrace_operator_api::ports::{CheckResult, SmallResult, TableCheck};

use crate::parts::sql::{is_true, list, literal, quote, scalar_number, without_semicolon};

pub fn name(check: &TableCheck) -> String {
    match check {
        TableCheck::MinRows(least) => format!("rows >= {least}"),
        TableCheck::Unique(keys) => format!("unique({})", keys.join(", ")),
        TableCheck::NotNull(columns) => format!("not_null({})", columns.join(", ")),
        TableCheck::Accepted { column, values } => format!("accepted({column}: {})", values.join(", ")),
        TableCheck::Fresh { column, not_before } => format!("max({column}) >= {}", moment(*not_before)),
        TableCheck::Sql { name, .. } => name.clone(),
    }
}

/// One SELECT for the check; `table` is quoted. NULL keys equal nothing, so they never make a key occur twice.
pub fn statement(check: &TableCheck, table: &str) -> String {
    match check {
        TableCheck::MinRows(_) => format!("SELECT COUNT(*) FROM {table}"),
        TableCheck::Unique(keys) => {
            let complete: Vec<String> = keys.iter().map(|key| format!("{} IS NOT NULL", quote(key))).collect();
            format!(
                "SELECT {keys}, millrace_count, millrace_total FROM (SELECT {keys}, COUNT(*) AS millrace_count, COUNT(*) OVER () \
                 AS millrace_total FROM {table} WHERE {} GROUP BY {keys} HAVING COUNT(*) > 1) AS doubles ORDER BY {keys} LIMIT 1",
                complete.join(" AND "),
                keys = list(keys)
            )
        }
        TableCheck::NotNull(columns) => {
            let counts: Vec<String> = columns
                .iter()
                .map(|column| format!("SUM(CASE WHEN {} IS NULL THEN 1 ELSE 0 END)", quote(column)))
                .collect();
            format!("SELECT {} FROM {table}", counts.join(", "))
        }
        TableCheck::Accepted { column, values } => {
            let values: Vec<String> = values.iter().map(|value| plain_literal(value)).collect();
            format!(
                "SELECT {column}, COUNT(*) FROM {table} WHERE {column} NOT IN ({}) GROUP BY {column} ORDER BY 2 DESC LIMIT 3",
                values.join(", "),
                column = quote(column)
            )
        }
        TableCheck::Fresh { column, not_before } => {
            let newest = format!("MAX({})", quote(column));
            format!(
                "SELECT CASE WHEN {newest} >= {} THEN 1 ELSE 0 END, {newest} FROM {table}",
                plain_literal(&moment(*not_before))
            )
        }
        TableCheck::Sql { sql, .. } => without_semicolon(sql).replace("{table}", table),
    }
}

pub fn judge(check: &TableCheck, answer: &SmallResult) -> CheckResult {
    let (passed, found) = match check {
        TableCheck::MinRows(least) => {
            let rows = scalar_number(answer).unwrap_or(0);
            (rows >= *least, format!("{rows} rows"))
        }
        TableCheck::Unique(keys) => match answer.rows.first() {
            None => (true, "no key occurs more than once".to_owned()),
            Some(row) => {
                let example: Vec<String> = keys
                    .iter()
                    .zip(row)
                    .map(|(key, value)| format!("{key}={}", value.as_deref().unwrap_or("NULL")))
                    .collect();
                let total = row.last().and_then(Option::as_deref).unwrap_or("some");
                (false, format!("{total} keys occur more than once, for example {}", example.join(", ")))
            }
        },
        TableCheck::NotNull(columns) => {
            let counts = answer.rows.first().map(Vec::as_slice).unwrap_or_default();
            let bad: Vec<String> = columns
                .iter()
                .zip(counts)
                // SUM over no rows is NULL.
                .filter_map(|(column, count)| {
                    count.as_deref().filter(|count| *count != "0").map(|count| format!("{count} NULLs in {column}"))
                })
                .collect();
            if bad.is_empty() { (true, "no NULLs".to_owned()) } else { (false, bad.join(", ")) }
        }
        TableCheck::Accepted { .. } if answer.rows.is_empty() => (true, "no other value".to_owned()),
        TableCheck::Accepted { .. } => {
            let others: Vec<String> = answer
                .rows
                .iter()
                .map(|row| {
                    let cell = |index: usize| row.get(index).cloned().flatten().unwrap_or_default();
                    format!("{:?} ({} rows)", cell(0), cell(1))
                })
                .collect();
            (false, format!("other values: {}", others.join(", ")))
        }
        TableCheck::Fresh { .. } => {
            let row = answer.rows.first().map(Vec::as_slice).unwrap_or_default();
            let newest = row.get(1).and_then(Option::as_deref);
            let passed = newest.is_some() && is_true(row.first().and_then(Option::as_deref));
            (passed, newest.map_or_else(|| "no value".to_owned(), |newest| format!("the newest is {newest}")))
        }
        TableCheck::Sql { .. } => judge_rows(answer),
    };
    CheckResult { name: name(check), passed, found }
}

fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Every engine finds its own type for a plain literal beside a column.
fn plain_literal(text: &str) -> String {
    if text.contains('\\') { literal(text) } else { format!("'{}'", text.replace('\'', "''")) }
}

fn judge_rows(answer: &SmallResult) -> (bool, String) {
    if answer.rows.is_empty() {
        return (false, "no row came back".to_owned());
    }
    let first = |row: &Vec<Option<String>>| row.first().cloned().flatten();
    match answer.rows.iter().find(|row| !is_true(first(row).as_deref())) {
        Some(row) => {
            let shown: Vec<&str> = row.iter().map(|cell| cell.as_deref().unwrap_or("NULL")).collect();
            (false, format!("the row ({})", shown.join(", ")))
        }
        None => (true, format!("{} rows, all true", answer.rows.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(rows: &[&[Option<&str>]]) -> SmallResult {
        let rows = rows.iter().map(|row| row.iter().map(|cell| cell.map(ToOwned::to_owned)).collect()).collect();
        SmallResult { rows, ..SmallResult::default() }
    }

    #[test]
    fn findings_are_said_in_words() {
        let unique = TableCheck::Unique(vec!["id".into()]);
        let result = judge(&unique, &answer(&[&[Some("7"), Some("2"), Some("3")]]));
        assert_eq!((result.passed, result.found.as_str()), (false, "3 keys occur more than once, for example id=7"));
        assert!(judge(&unique, &answer(&[])).passed);
        let rows = judge(&TableCheck::MinRows(1), &answer(&[&[Some("0")]]));
        assert_eq!((rows.name.as_str(), rows.passed, rows.found.as_str()), ("rows >= 1", false, "0 rows"));
        assert!(judge(&TableCheck::NotNull(vec!["a".into()]), &answer(&[&[None]])).passed, "no rows, no NULLs");
        let sql = TableCheck::Sql { name: "positive".into(), sql: "SELECT …".into() };
        assert!(!judge(&sql, &answer(&[])).passed);
        assert!(!judge(&sql, &answer(&[&[Some("t")], &[Some("f")]])).passed);
        assert!(judge(&sql, &answer(&[&[Some("1")], &[Some("true")]])).passed);
    }

    #[test]
    fn values_and_freshness_are_judged() {
        let accepted = TableCheck::Accepted { column: "st".into(), values: vec!["new".into(), "it's".into()] };
        assert_eq!(
            statement(&accepted, "t"),
            "SELECT \"st\", COUNT(*) FROM t WHERE \"st\" NOT IN ('new', 'it''s') GROUP BY \"st\" ORDER BY 2 DESC LIMIT 3"
        );
        assert!(judge(&accepted, &answer(&[])).passed);
        let other = judge(&accepted, &answer(&[&[Some("old"), Some("3")]]));
        assert_eq!((other.passed, other.found.as_str()), (false, "other values: \"old\" (3 rows)"));
        let fresh = TableCheck::Fresh { column: "at".into(), not_before: DateTime::UNIX_EPOCH };
        assert_eq!(name(&fresh), "max(at) >= 1970-01-01 00:00:00");
        assert!(judge(&fresh, &answer(&[&[Some("1"), Some("2024-01-01")]])).passed);
        assert!(!judge(&fresh, &answer(&[&[Some("0"), None]])).passed, "an empty table is not fresh");
    }

    #[test]
    fn the_table_stands_where_the_words_say() {
        let sql = TableCheck::Sql { name: "n".into(), sql: "SELECT COUNT(*) > 0 FROM {table};".into() };
        assert_eq!(statement(&sql, "\"a\".\"b\""), "SELECT COUNT(*) > 0 FROM \"a\".\"b\"");
    }
}
