//! The elements of an array as PostgreSQL writes it: `{1,NULL,"a b"}`, `{{1},{2}}`, `[0:1]={1,2}`.

/// One after the other, whatever their depth, without those that are NULL.
pub fn elements(text: &str) -> impl Iterator<Item = String> + '_ {
    // Bounds may stand before.
    let mut characters = text[text.find('{').unwrap_or(text.len())..].chars();
    std::iter::from_fn(move || {
        let mut element = String::new();
        let (mut is_quoted, mut was_quoted) = (false, false);
        loop {
            match characters.next()? {
                '\\' => element.extend(characters.next()),
                '"' => (is_quoted, was_quoted) = (!is_quoted, true),
                '{' | '}' | ',' if !is_quoted => {
                    let is_null = !was_quoted && element.eq_ignore_ascii_case("null");
                    if was_quoted || !(element.is_empty() || is_null) {
                        return Some(element);
                    }
                    element.clear();
                    was_quoted = false;
                }
                character => element.push(character),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::elements;

    #[test]
    fn elements_are_found_at_any_depth() {
        for (text, expected) in [
            ("{}", &[][..]),
            ("{1,NULL,2}", &["1", "2"]),
            ("{{1,2},{3,4}}", &["1", "2", "3", "4"]),
            ("[0:1]={1,2}", &["1", "2"]),
            (r#"{"a,\"b\\","NULL","",c d}"#, &["a,\"b\\", "NULL", "", "c d"]),
            ("no array", &[]),
        ] {
            assert_eq!(elements(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }
}
