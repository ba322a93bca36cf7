//! Whether a query gives the same rows each time it is asked: every reader asks the whole of it for its range.

use crate::parts::one_select::skipped;

/// What of a query may choose other rows the next time; `None` where nothing is seen.
pub fn unsteady(query: &str) -> Option<String> {
    let mut rest = query;
    let mut is_offset = false;
    while let Some(character) = rest.chars().next() {
        let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if length > 0 {
            let word = rest[..length].to_ascii_uppercase();
            rest = &rest[length..];
            let is_call = rest.trim_start().starts_with('(');
            match word.as_str() {
                "LIMIT" | "FETCH" | "TABLESAMPLE" => return Some(word),
                "RANDOM" | "RAND" if is_call => return Some(format!("{word}()")),
                // Elsewhere it may be a column's name.
                number if is_offset && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                    return Some("OFFSET".to_owned());
                }
                _ => is_offset = word == "OFFSET",
            }
            continue;
        }
        let in_quotes = match character {
            '`' => rest[1..].find('`').map(|at| at + 2),
            _ => skipped(rest).ok(),
        };
        if in_quotes.is_some_and(|length| length > 0) || !character.is_whitespace() {
            is_offset = false;
        }
        rest = &rest[in_quotes.filter(|length| *length > 0).unwrap_or(character.len_utf8())..];
    }
    None
}

/// What is wrong with a query that `split_by` is to cut into ranges.
pub fn refusal(query: &str) -> Option<String> {
    unsteady(query).map(|word| {
        format!(
            "split_by: the query has {word}, and each reader asks the whole query for its range: rows would be missing or come \
             twice where the answers differ; write a condition instead, or leave split_by out"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::unsteady;

    #[test]
    fn a_query_that_may_answer_differently_is_seen() {
        for (query, word) in [
            ("select id from t limit 10", "LIMIT"),
            ("select * from (select id from t\nLimit(5)) x", "LIMIT"),
            ("select id from t order by id fetch first 5 rows only", "FETCH"),
            ("select id from t tablesample system (1)", "TABLESAMPLE"),
            ("select id from t order by random ()", "RANDOM()"),
            ("select id from t where rand() < 0.1", "RAND()"),
            ("select id from t offset 10", "OFFSET"),
            ("select 'C:\\' as path, id from t limit 1", "LIMIT"),
        ] {
            assert_eq!(unsteady(query).as_deref(), Some(word), "{query}");
        }
        for query in [
            "select id, \"limit\", `fetch`, 'limit 5' from t -- limit 5",
            "select t.offset, random, limits from t /* random() */ where offset > 5",
            "select id, offset from t1",
        ] {
            assert_eq!(unsteady(query), None, "{query}");
        }
    }
}
