//! A query around another one: what its columns are, only the one inside says.
//!
//! The server calls every column of `(SELECT …) AS x` an expression, though it is a column of a table.

use sqlparser::dialect::MySqlDialect;
use sqlparser::tokenizer::{Token, TokenWithSpan, Tokenizer};

use crate::parts::script::Places;

/// The query within `SELECT * FROM (…) AS x`, or within one that gives some of its columns by their names; its rows may be
/// fewer, in another order. `None` of every other query.
pub fn inside(sql: &str) -> Option<&str> {
    let tokens = Tokenizer::new(&MySqlDialect {}, sql).tokenize_with_location().ok()?;
    let tokens: Vec<TokenWithSpan> =
        tokens.into_iter().filter(|token| !matches!(token.token, Token::Whitespace(_) | Token::EOF)).collect();
    let from = tokens.iter().position(|token| is_word(token, "FROM"))?;
    let (select, list) = tokens[..from].split_first()?;
    let opening = from + 1;
    if !is_word(select, "SELECT") || !is_plain_list(list) || tokens.get(opening)?.token != Token::LParen {
        return None;
    }
    let closing = opening + closing(&tokens[opening..])?;
    if !keeps_columns(&tokens[closing + 1..]) {
        return None;
    }
    let mut places = Places::of(sql);
    let start = places.byte_of(tokens[opening].span.end);
    let end = places.byte_of(tokens[closing].span.start);
    Some(&sql[start..end])
}

fn is_word(token: &TokenWithSpan, word: &str) -> bool {
    matches!(&token.token, Token::Word(found) if found.quote_style.is_none() && found.value.eq_ignore_ascii_case(word))
}

fn is_plain_list(list: &[TokenWithSpan]) -> bool {
    if let [only] = list
        && only.token == Token::Mul
    {
        return true;
    }
    !list.is_empty()
        && list.iter().enumerate().all(|(at, token)| match &token.token {
            Token::Word(_) => at % 2 == 0,
            Token::Comma => at % 2 == 1,
            _ => false,
        })
}

/// Where the parenthesis that the first token opens is closed.
fn closing(tokens: &[TokenWithSpan]) -> Option<usize> {
    let mut depth = 0_usize;
    tokens.iter().position(|token| {
        match token.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        depth == 0
    })
}

/// Whether what follows is a name, and then nothing that adds columns or rows of other tables.
fn keeps_columns(tail: &[TokenWithSpan]) -> bool {
    let tail = if tail.first().is_some_and(|token| is_word(token, "AS")) { &tail[1..] } else { tail };
    let Some((name, rest)) = tail.split_first() else { return false };
    let is_any = |token: &TokenWithSpan, words: &[&str]| words.iter().any(|word| is_word(token, word));
    matches!(name.token, Token::Word(_))
        && rest.first().is_none_or(|first| is_any(first, &["WHERE", "ORDER", "LIMIT"]))
        && !rest.iter().any(|token| is_any(token, &["UNION", "EXCEPT", "INTERSECT", "MINUS"]))
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn only_a_query_that_adds_nothing_is_looked_into() {
        for (sql, expected) in [
            ("SELECT * FROM (\nSELECT a FROM t -- )\n) AS s WHERE a >= '('", Some("\nSELECT a FROM t -- )\n")),
            ("select * from (select 1 `)`) q", Some("select 1 `)`")),
            (
                "SELECT `a`, b FROM (SELECT '주문 \\')' AS a, (1) AS b) x ORDER BY a LIMIT 1",
                Some("SELECT '주문 \\')' AS a, (1) AS b"),
            ),
            ("SELECT * FROM (SELECT * FROM (SELECT 1) x) y", Some("SELECT * FROM (SELECT 1) x")),
            ("SELECT a b FROM (SELECT 1 a) x", None),
            ("SELECT a + 1 FROM (SELECT 1 a) x", None),
            ("SELECT * FROM (SELECT 1) x, t", None),
            ("SELECT * FROM (SELECT 1) x JOIN t", None),
            ("SELECT * FROM (SELECT 1 a) x UNION SELECT 2", None),
            ("SELECT * FROM (SELECT 1 a) x WHERE a = 1 UNION SELECT 2", None),
            ("SELECT * FROM t", None),
            ("SELECT 1", None),
            ("SELECT * FROM (SELECT 'x", None),
            ("", None),
        ] {
            assert_eq!(inside(sql), expected, "{sql}");
        }
    }
}
