//! Whether a text is one SELECT whose rows Redshift can unload.

/// The query without what ends it, or what is wrong with it.
pub fn one_select(text: &str) -> Result<&str, String> {
    let mut depth = 0_usize;
    let mut word = String::new();
    let mut first = String::new();
    let mut end = None;
    let mut rest = text;
    loop {
        let character = rest.chars().next();
        match character {
            Some(c) if c.is_alphanumeric() || c == '_' || c == '$' && skipped(rest) == Ok(0) => {
                if end.is_some() {
                    return Err("one SELECT is wanted, and there are several statements".to_owned());
                }
                word.push(c);
                rest = &rest[c.len_utf8()..];
                continue;
            }
            _ => {}
        }
        if !word.is_empty() {
            if first.is_empty() {
                first = word.to_ascii_uppercase();
            }
            if depth == 0 && word.eq_ignore_ascii_case("limit") {
                return Err("an UNLOAD takes no LIMIT in its outer SELECT; put the query into another one: \
                            select * from (select … limit 10)"
                    .to_owned());
            }
            word.clear();
        }
        let Some(character) = character else { break };
        let skipped = skipped(rest)?;
        if skipped > 0 {
            rest = &rest[skipped..];
            continue;
        }
        match character {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ';' => end = end.or(Some(text.len() - rest.len())),
            _ => {}
        }
        rest = &rest[character.len_utf8()..];
    }
    if first != "SELECT" && first != "WITH" {
        return Err("one SELECT is wanted".to_owned());
    }
    Ok(text[..end.unwrap_or(text.len())].trim())
}

/// The length of the quoted text or the comment that begins here.
pub fn skipped(rest: &str) -> Result<usize, String> {
    let (opening, closing) = match rest.as_bytes() {
        [b'\'', ..] => return quoted(rest),
        [b'"', ..] => (1, "\""),
        [b'$', ..] => return dollar_quoted(rest),
        [b'-', b'-', ..] => return Ok(rest.find('\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => (2, "*/"),
        _ => return Ok(0),
    };
    let found = rest[opening..].find(closing).map(|at| opening + at + closing.len());
    found.ok_or_else(|| format!("the query is not closed: {closing} is missing"))
}

/// `$$ … $$` or `$tag$ … $tag$`; 0 where the `$` is something else.
fn dollar_quoted(rest: &str) -> Result<usize, String> {
    let Some(at) = rest[1..].find(|c: char| !(c.is_alphanumeric() || c == '_')) else { return Ok(0) };
    let (tag, inside) = rest.split_at(1 + at + 1);
    if !tag.ends_with('$') || tag[1..].starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(0);
    }
    let found = inside.find(tag).map(|at| tag.len() + at + tag.len());
    found.ok_or_else(|| format!("the query is not closed: {tag} is missing"))
}

/// A query without the semicolon that ends it, and what stands behind that; whole where a second statement follows.
pub fn without_end(text: &str) -> &str {
    let (mut rest, mut end) = (text, None);
    while let Some(character) = rest.chars().next() {
        let is_comment = rest.starts_with("--") || rest.starts_with("/*");
        let length = skipped(rest).ok().filter(|length| *length > 0).unwrap_or(character.len_utf8());
        match character {
            ';' => end = end.or(Some(text.len() - rest.len())),
            _ if is_comment || character.is_whitespace() => {}
            _ => end = None,
        }
        rest = &rest[length..];
    }
    text[..end.unwrap_or(text.len())].trim()
}

/// Doubled quotes are two texts to this, which makes no difference; a backslash takes the next character with it.
fn quoted(rest: &str) -> Result<usize, String> {
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                characters.next();
            }
            '\'' => return Ok(at + 1),
            _ => {}
        }
    }
    Err("the query is not closed: ' is missing".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{one_select, without_end};

    #[test]
    fn what_stands_behind_the_end_is_left_out() {
        for (text, expected) in [
            (" select 1 ; -- done\n", "select 1"),
            ("select ';' -- ; no end", "select ';' -- ; no end"),
            ("select 1; /* a; b */ ;", "select 1"),
            ("select 1 --5", "select 1 --5"),
            ("select 1; select 2", "select 1; select 2"),
            ("select $t$ ; $t$;", "select $t$ ; $t$"),
        ] {
            assert_eq!(without_end(text), expected);
        }
    }

    #[test]
    fn only_an_outer_limit_is_refused() {
        for (text, expected) in [
            (" select 1 ; ", "select 1"),
            ("with a as (select 1 limit 1) select * from a", "with a as (select 1 limit 1) select * from a"),
            (
                "select 'it''s; limit', \"limit\", limit_a -- limit\n from t",
                "select 'it''s; limit', \"limit\", limit_a -- limit\n from t",
            ),
            ("/* limit */ select '\\' limit'", "/* limit */ select '\\' limit'"),
        ] {
            assert_eq!(one_select(text).unwrap(), expected);
        }
        for (text, expected) in [
            ("select 1 limit 1", "no LIMIT in its outer SELECT"),
            ("select * from (select 1)limit(1)", "no LIMIT in its outer SELECT"),
            ("select 1; select 2", "several statements"),
            ("delete from t", "one SELECT is wanted"),
            ("", "one SELECT is wanted"),
            ("select 'x", "' is missing"),
            ("select /* x", "*/ is missing"),
        ] {
            let problem = one_select(text).unwrap_err();
            assert!(problem.contains(expected), "{text}: {problem}");
        }
    }
}
