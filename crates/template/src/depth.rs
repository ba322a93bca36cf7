//! How long a chain of operations may be.
//!
//! The engine walks `a.b.c…` and `1 + 1 + …` by recursion, and a chain of some hundred would fill the stack, which ends the
//! whole process. Its own limit counts brackets only. This one is against mistakes: who writes DAGs may run what they like.

use minijinja::{Error, ErrorKind};

/// Operations in one `{{ … }}` or `{% … %}`, and `elif`s of a text.
const MOST: usize = 100;

fn too_long() -> Error {
    Error::new(
        ErrorKind::SyntaxError,
        format!("more than {MOST} operations in one expression; set some aside with `set`"),
    )
}

/// The tags of a text.
pub(crate) fn check(text: &str) -> Result<(), Error> {
    if text.matches("elif").count() > MOST {
        return Err(too_long());
    }
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        rest = &rest[start + 1..];
        if rest.starts_with(['{', '%']) {
            rest = &rest[1..];
            rest = &rest[check_until(rest, &["}}", "%}"])?..];
        }
    }
    Ok(())
}

/// One expression.
pub(crate) fn check_expression(text: &str) -> Result<(), Error> {
    check_until(text, &[]).map(drop)
}

/// Up to one of `ends` outside of quotes; where that is.
fn check_until(text: &str, ends: &[&str]) -> Result<usize, Error> {
    let (mut count, mut quote, mut is_escaped, mut word) = (0, None, false, 0);
    for (place, letter) in text.char_indices() {
        if let Some(open) = quote {
            if is_escaped {
                is_escaped = false;
            } else if letter == '\\' {
                is_escaped = true;
            } else if letter == open {
                quote = None;
            }
            continue;
        }
        if ends.iter().any(|end| text[place..].starts_with(end)) {
            return Ok(place);
        }
        let is_word = letter.is_alphanumeric() || letter == '_';
        if !is_word {
            let operators = ["and", "or", "not", "in", "is", "if", "else"];
            count += usize::from(operators.contains(&&text[word..place]));
            word = place + letter.len_utf8();
        }
        match letter {
            '"' | '\'' => quote = Some(letter),
            '.' | '(' | '[' | '{' | '|' | '+' | '-' | '*' | '/' | '~' | '%' | '<' | '>' | '=' | '!' => count += 1,
            _ => {}
        }
        if count > MOST {
            return Err(too_long());
        }
    }
    Ok(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_chains_are_refused_and_long_texts_are_not() {
        let chain = |link: &str, times: usize| format!("{{{{ x{} }}}}", link.repeat(times));
        for link in [".a", "|upper", "['a']", " + 1", " and y", "('.')", ".f('.f(')", " is y", "~z"] {
            assert!(check(&chain(link, 5_000)).is_err(), "{link}");
            assert!(check(&chain(link, 20)).is_ok(), "{link}");
        }
        assert!(check(&"{% if a %}{% elif b %}".repeat(200)).is_err());
        assert!(check(&"{{ a.b + c }} it is, and if not. ".repeat(2_000)).is_ok());
        assert!(check(&format!("{{{{ '{}' }}}}", "a.b + ".repeat(500))).is_ok(), "a text in quotes is one thing");
        assert!(check(&format!("{{% set x = [{}] %}}", "1, ".repeat(2_000))).is_ok());
        assert!(
            check(&format!("{{{{ '\\\\'{} }}}}", ".a".repeat(200))).is_err(),
            "an escaped backslash ends no escape"
        );
        assert!(check_expression(&"a.".repeat(300)).is_err());
    }
}
