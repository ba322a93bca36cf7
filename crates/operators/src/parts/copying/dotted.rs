//! `schema.table` in one text.

use millrace_operator_api::ports::TableName;

/// Reads a name with exactly one dot outside of quotes. Names are taken as they are written, in quotes (`"`, `` ` `` or
/// `[]`) or not: Korean, reserved words, upper case.
pub fn parse(text: &str) -> Result<TableName, String> {
    match <[String; 2]>::try_from(names(text)?) {
        Ok([schema, name]) => Ok(TableName { schema: Some(schema), name }),
        Err(names) if names.len() == 1 => Err(refused(text, "has no dot in it")),
        Err(names) => Err(refused(text, &format!("has {} dots in it", names.len() - 1))),
    }
}

/// The same, where a name without a dot is that of a table in `schema`.
pub fn parse_beside(text: &str, schema: Option<&str>) -> Result<TableName, String> {
    match names(text)?.as_mut_slice() {
        [name] => Ok(TableName { schema: schema.map(ToOwned::to_owned), name: std::mem::take(name) }),
        _ => parse(text),
    }
}

fn refused(text: &str, why: &str) -> String {
    format!("'{text}' {why}; write schema.table, with one dot between the two names")
}

fn names(text: &str) -> Result<Vec<String>, String> {
    let refused = |why: &str| refused(text, why);
    let mut names: Vec<String> = Vec::new();
    let mut rest = text.trim();
    loop {
        let (name, after) = match rest.chars().next() {
            None => return Err(refused("lacks a name")),
            Some(open @ ('"' | '`' | '[')) => {
                let close = if open == '[' { ']' } else { open };
                quoted(&rest[1..], close).ok_or_else(|| refused("has a quote that is not closed"))?
            }
            Some(_) => {
                let end = rest.find('.').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        if name.is_empty() {
            return Err(refused("lacks a name"));
        }
        names.push(name);
        rest = match after.trim_start().strip_prefix('.') {
            Some(more) => more.trim_start(),
            None if after.trim().is_empty() => return Ok(names),
            None => return Err(refused("goes on after a closing quote")),
        };
    }
}

/// The name up to the closing quote, and what follows; a doubled quote is one of the name.
fn quoted(text: &str, close: char) -> Option<(String, &str)> {
    let mut name = String::new();
    let mut letters = text.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter != close {
            name.push(letter);
        } else if letters.next_if(|(_, next)| *next == close).is_some() {
            name.push(close);
        } else {
            return Some((name, &text[at + close.len_utf8()..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn names_have_exactly_one_dot() {
        let cases = [
            ("public.orders", ("public", "orders")),
            (" 판매 . 주문 내역 ", ("판매", "주문 내역")),
            ("\"a.b\".\"say \"\"hi\"\"\"", ("a.b", "say \"hi\"")),
            ("`prod`.`order`", ("prod", "order")),
            ("[dbo].[select]", ("dbo", "select")),
            ("prod.\"Mixed\"", ("prod", "Mixed")),
        ];
        for (text, (schema, name)) in cases {
            let found = parse(text).expect(text);
            assert_eq!((found.schema.as_deref(), found.name.as_str()), (Some(schema), name), "{text}");
        }
        for (text, why) in [
            ("orders", "no dot"),
            ("a.b.c", "2 dots"),
            (".orders", "lacks a name"),
            ("a.", "lacks a name"),
            ("\"a.b", "not closed"),
            ("\"a\"b.c", "goes on"),
            ("", "lacks a name"),
            ("\"a.b\"", "no dot"),
        ] {
            assert!(parse(text).is_err_and(|error| error.contains(why)), "{text}: {:?}", parse(text));
        }
    }
}
