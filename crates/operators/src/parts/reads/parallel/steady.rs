//! Whether a query gives the same rows each time it is asked: every reader asks the whole of it for its range.

use crate::parts::one_select::skipped;

/// A query, or one in brackets within it.
#[derive(Clone, Copy, Default)]
struct Level {
    /// Which rows there are does not hang on it: it gives a value, or says whether there is any.
    gives_no_rows: bool,
    /// Between SELECT and FROM.
    in_list: bool,
}

/// What of a query may choose other rows the next time; `None` where nothing is seen.
pub fn unsteady(query: &str) -> Option<String> {
    let mut rest = query;
    let (mut levels, mut level) = (Vec::new(), Level::default());
    // The word before, or the character where it was none.
    let mut before = String::new();
    while let Some(character) = rest.chars().next() {
        let length = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
        if length > 0 {
            let word = rest[..length].to_ascii_uppercase();
            rest = &rest[length..];
            let next = rest.trim_start();
            let is_name = matches!(before.as_str(), "." | "AS") || next.starts_with('.');
            match word.as_str() {
                _ if is_name => {}
                "LIMIT" if next.get(..3).is_some_and(|all| all.eq_ignore_ascii_case("all")) => {}
                "LIMIT" | "FETCH" if !level.gives_no_rows => return Some(word),
                "TABLESAMPLE" => return Some(word),
                "RANDOM" | "RAND" if next.starts_with('(') => return Some(format!("{word}()")),
                // Elsewhere it may be a column's name.
                number
                    if before == "OFFSET"
                        && !level.gives_no_rows
                        && number.bytes().all(|byte| byte.is_ascii_digit()) =>
                {
                    return Some("OFFSET".to_owned());
                }
                "SELECT" => level.in_list = true,
                "FROM" => level.in_list = false,
                _ => {}
            }
            before = word;
            continue;
        }
        let in_quotes = match character {
            '`' => rest[1..].find('`').map(|at| at + 2),
            _ => skipped(rest).ok(),
        };
        match character {
            '(' => {
                levels.push(level);
                let gives_no_rows =
                    level.gives_no_rows || level.in_list || matches!(before.as_str(), "EXISTS" | "LATERAL");
                level = Level { gives_no_rows, in_list: false };
            }
            ')' => level = levels.pop().unwrap_or_default(),
            _ => {}
        }
        if !character.is_whitespace() && !rest.starts_with("--") && !rest.starts_with("/*") {
            before = character.to_string();
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
            ("with some as (select id from t limit 5) select * from some", "LIMIT"),
            ("select id from t where id in (select id from u limit 5)", "LIMIT"),
            ("select id from t where n > (select n from u limit 1)", "LIMIT"),
            ("select 1, (select 2) from a, (select id from t limit 5) b", "LIMIT"),
        ] {
            assert_eq!(unsteady(query).as_deref(), Some(word), "{query}");
        }
        for query in [
            "select id, \"limit\", `fetch`, 'limit 5' from t -- limit 5",
            "select t.offset, random, limits from t /* random() */ where offset > 5",
            "select id, offset from t1",
            "select s1.limit, \"limit\" as limit, s1.a as fetch, limit.x from t limit all",
            "select id, (select n from u order by n limit 1) as n from t where exists (select 1 from u limit 1)",
            "select t.id, u.n from t join lateral (select n from u where u.id = t.id order by n limit 1) u on true",
            "select id, $q$limit 5$q$ from t",
        ] {
            assert_eq!(unsteady(query), None, "{query}");
        }
    }
}
