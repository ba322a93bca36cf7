//! Types as they are declared in SQL: `decimal(38,10) unsigned`, `VARCHAR(20)`, `enum('a','b')`.

/// A declared type in its pieces.
#[derive(Debug, PartialEq, Eq)]
pub struct Declared {
    /// Lower case, one blank between words: `double precision`.
    pub name: String,
    /// What stands in the parentheses, quotes removed.
    pub arguments: Vec<String>,
    /// The words behind them, lower case.
    pub attributes: Vec<String>,
}

impl Declared {
    pub fn read(text: &str) -> Self {
        let (name, rest) = text.split_once('(').unwrap_or((text, ""));
        let mut arguments = Vec::new();
        let mut argument = String::new();
        let mut characters = rest.chars().peekable();
        let mut is_quoted = false;
        for_each_until_closed(&mut characters, |character, next| {
            match (is_quoted, character) {
                (true, '\'') if next == Some('\'') => {
                    argument.push('\'');
                    return Step::SkipNext;
                }
                (_, '\'') => is_quoted = !is_quoted,
                (false, ',') => arguments.push(std::mem::take(&mut argument)),
                (false, ')') => return Step::Stop,
                (false, blank) if blank.is_whitespace() => {}
                (_, other) => argument.push(other),
            }
            Step::Next
        });
        if text.contains('(') {
            arguments.push(argument);
        }
        let behind: String = characters.collect();
        let words = |text: &str| text.split_whitespace().map(str::to_ascii_lowercase).collect::<Vec<_>>();
        let mut names = words(name);
        let mut attributes = words(&behind);
        if !text.contains('(') {
            let known = |word: &String| matches!(word.as_str(), "unsigned" | "zerofill" | "signed");
            attributes = names.extract_if(.., |word| known(word)).collect();
        }
        Self { name: names.join(" "), arguments, attributes }
    }

    pub fn number(&self, index: usize) -> Option<u32> {
        self.arguments.get(index)?.parse().ok()
    }

    pub fn is_unsigned(&self) -> bool {
        self.attributes.iter().any(|word| word == "unsigned" || word == "zerofill")
    }

    /// Characters of the longest argument.
    pub fn longest(&self) -> Option<u64> {
        self.arguments.iter().map(|text| text.chars().count() as u64).max()
    }

    /// Characters of all arguments with commas between.
    pub fn all_joined(&self) -> Option<u64> {
        let total: u64 = self.arguments.iter().map(|text| text.chars().count() as u64 + 1).sum();
        total.checked_sub(1)
    }
}

enum Step {
    Next,
    SkipNext,
    Stop,
}

fn for_each_until_closed(
    characters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    mut take: impl FnMut(char, Option<char>) -> Step,
) {
    while let Some(character) = characters.next() {
        match take(character, characters.peek().copied()) {
            Step::Next => {}
            Step::SkipNext => drop(characters.next()),
            Step::Stop => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Declared;

    fn shown(text: &str) -> String {
        let declared = Declared::read(text);
        format!("{}|{}|{}", declared.name, declared.arguments.join("/"), declared.attributes.join(" "))
    }

    #[test]
    fn types_are_taken_apart() {
        let cases = [
            ("bigint(20) unsigned", "bigint|20|unsigned"),
            ("bigint unsigned", "bigint||unsigned"),
            ("decimal(38, 10) unsigned zerofill", "decimal|38/10|unsigned zerofill"),
            ("DOUBLE  PRECISION", "double precision||"),
            ("VARCHAR(20)", "varchar|20|"),
            ("enum('a','it''s, so','(b)')", "enum|a/it's, so/(b)|"),
            ("enum('')", "enum||"),
            ("", "||"),
            ("varchar(", "varchar||"),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text), expected, "{text}");
        }
        let set = Declared::read("set('x','주문')");
        assert_eq!((set.longest(), set.all_joined()), (Some(2), Some(4)));
        assert_eq!(Declared::read("text").all_joined(), None);
    }
}
