//! Options of COPY and UNLOAD as they are written: words, texts in quotes, numbers.

/// A word, or a text that stood in quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Token {
    Word(String),
    Quoted(String),
}

/// The words of one text.
pub fn tokens(text: &str) -> Result<Vec<Token>, String> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' {
            let mut quoted = String::new();
            let mut characters = rest[1..].char_indices().peekable();
            let end = loop {
                match characters.next() {
                    Some((_, '\'')) if characters.peek().is_some_and(|(_, next)| *next == '\'') => {
                        characters.next();
                        quoted.push('\'');
                    }
                    Some((at, '\'')) => break 1 + at + 1,
                    Some((_, character)) => quoted.push(character),
                    None => return Err(format!("a quote is not closed in: {}", first_word(text))),
                }
            };
            tokens.push(Token::Quoted(quoted));
            rest = rest[end..].trim_start();
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '\'').unwrap_or(rest.len());
            tokens.push(Token::Word(rest[..end].trim_end_matches([';', ',']).to_owned()));
            rest = rest[end..].trim_start();
        }
    }
    tokens.retain(|token| *token != Token::Word(String::new()));
    Ok(tokens)
}

/// What may be shown of an option: its value might be a secret in the wrong place.
fn first_word(text: &str) -> &str {
    text.split_whitespace().next().unwrap_or_default()
}

/// `id:8,name:20`
pub fn is_fixed_width(text: &str) -> bool {
    text.split(',').all(|field| {
        let Some((name, width)) = field.rsplit_once(':') else { return false };
        is_name(name.trim()) && width.trim().parse::<u32>().is_ok_and(|width| width > 0)
    })
}

pub fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '$')
}

/// The tokens of one text, read from left to right.
pub struct Cursor<'a> {
    pub tokens: &'a [Token],
    pub at: usize,
}

impl Cursor<'_> {
    pub fn word(&self) -> Option<String> {
        match self.tokens.get(self.at) {
            Some(Token::Word(word)) => Some(word.to_ascii_uppercase()),
            _ => None,
        }
    }

    pub fn skip_word(&mut self, wanted: &str) -> bool {
        let is_there = self.word().as_deref() == Some(wanted);
        self.at += usize::from(is_there);
        is_there
    }

    pub fn quoted(&mut self) -> Option<String> {
        self.skip_word("AS");
        match self.tokens.get(self.at) {
            Some(Token::Quoted(text)) => {
                self.at += 1;
                Some(text.clone())
            }
            _ => None,
        }
    }

    pub fn number(&mut self) -> Option<u32> {
        self.skip_word("AS");
        let number = self.word()?.parse().ok()?;
        self.at += 1;
        Some(number)
    }

    pub fn one_of(&mut self, words: &[&str]) -> Option<String> {
        let word = self.word().filter(|word| words.contains(&word.as_str()))?;
        self.at += 1;
        Some(word)
    }
}

/// One ASCII character, or `\t`.
pub fn one_character(text: &str) -> Option<char> {
    let mut characters = match text {
        "\\t" => "\t",
        other => other,
    }
    .chars();
    match (characters.next(), characters.next()) {
        (Some(only), None) if only.is_ascii() && !matches!(only, '\n' | '\r' | '\0') => Some(only),
        _ => None,
    }
}

/// What is said of a name that is not among the known ones, which are in capitals.
pub fn unknown(command: &str, known: &[&str], name: &str) -> String {
    let shown: String = name.chars().take(32).collect::<String>().to_ascii_lowercase();
    let close = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(name, known), *known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min();
    let hint = match close {
        Some((_, known)) => format!("did you mean '{}'?", known.to_ascii_lowercase()),
        None => format!("known are {}", known.join(", ").to_ascii_lowercase()),
    };
    format!("'{shown}' is not an option of {command}; {hint}")
}
