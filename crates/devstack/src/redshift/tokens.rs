//! A statement as tokens with their place in the text, so that only what must change is changed and the rest, string
//! literals above all, reaches PostgreSQL as it was written.

use sqlparser::tokenizer::{Location, Token, Tokenizer, Word};

use super::answer::SqlError;
use super::dialect::StandInDialect;

/// A token that means something: neither white space nor a comment.
#[derive(Debug, Clone)]
pub(super) struct Piece {
    pub(super) token: Token,
    /// Byte offsets in the text.
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Piece {
    /// An unquoted word in lower case.
    pub(super) fn word(&self) -> Option<String> {
        match &self.token {
            Token::Word(Word { value, quote_style: None, .. }) => Some(value.to_ascii_lowercase()),
            _ => None,
        }
    }

    pub(super) fn is_word(&self, wanted: &str) -> bool {
        matches!(&self.token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(wanted))
    }

    /// The name that an identifier stands for: Redshift folds quoted identifiers to lower case too.
    pub(super) fn identifier(&self) -> Option<String> {
        match &self.token {
            Token::Word(word) => Some(word.value.to_lowercase()),
            _ => None,
        }
    }

    /// The text of a string literal as written between the quotes (no escape resolved, except doubled quotes).
    pub(super) fn string(&self) -> Option<&str> {
        match &self.token {
            Token::SingleQuotedString(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<i64> {
        match &self.token {
            Token::Number(digits, _) => digits.parse().ok(),
            _ => None,
        }
    }
}

/// Bytes of a name. PostgreSQL would cut a longer one without a word.
const LONGEST_NAME: usize = 63;

/// Splits a text into its meaningful tokens.
pub(super) fn tokenize(text: &str) -> Result<Vec<Piece>, SqlError> {
    let dialect = StandInDialect::default();
    let tokens = Tokenizer::new(&dialect, text)
        .with_unescape(false)
        .tokenize_with_location()
        .map_err(|error| SqlError::new(format!("syntax error: {}", error.message)))?;
    let mut places = Places::new(text);
    let mut pieces = Vec::with_capacity(tokens.len());
    for mut token in tokens {
        // Literals stay as they are written; names are what they mean.
        if let Token::Word(word) = &mut token.token
            && word.quote_style.is_some()
        {
            word.value = word.value.replace("\"\"", "\"");
        }
        if let Token::Word(word) = &token.token
            && word.value.len() > LONGEST_NAME
        {
            return Err(SqlError::new(format!(
                "the name \"{}\" is {} bytes long: Redshift keeps 127, the stand-in {LONGEST_NAME}",
                word.value,
                word.value.len()
            )));
        }
        let start = places.offset(token.span.start);
        let end = places.offset(token.span.end);
        if !matches!(token.token, Token::Whitespace(_) | Token::EOF) {
            pieces.push(Piece { token: token.token, start, end });
        }
    }
    Ok(pieces)
}

/// Turns ascending line and column numbers into byte offsets in one pass.
struct Places<'a> {
    text: &'a str,
    offset: usize,
    line: u64,
    column: u64,
}

impl<'a> Places<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, offset: 0, line: 1, column: 1 }
    }

    fn offset(&mut self, location: Location) -> usize {
        for character in self.text[self.offset..].chars() {
            if (self.line, self.column) >= (location.line, location.column) {
                break;
            }
            self.offset += character.len_utf8();
            if character == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.offset
    }
}

/// A reader over pieces, for the small grammars that are read by hand.
#[derive(Debug, Clone)]
pub(super) struct Cursor<'a> {
    pieces: &'a [Piece],
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(pieces: &'a [Piece]) -> Self {
        Self { pieces, at: 0 }
    }

    pub(super) fn peek(&self) -> Option<&'a Piece> {
        self.pieces.get(self.at)
    }

    pub(super) fn peek_at(&self, ahead: usize) -> Option<&'a Piece> {
        self.pieces.get(self.at + ahead)
    }

    pub(super) fn next(&mut self) -> Option<&'a Piece> {
        let piece = self.pieces.get(self.at)?;
        self.at += 1;
        Some(piece)
    }

    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Takes the words when they come next.
    pub(super) fn take_words(&mut self, words: &[&str]) -> bool {
        let all =
            words.iter().enumerate().all(|(ahead, word)| self.peek_at(ahead).is_some_and(|piece| piece.is_word(word)));
        if all {
            self.at += words.len();
        }
        all
    }

    pub(super) fn take_token(&mut self, token: &Token) -> bool {
        let is_next = self.peek().is_some_and(|piece| piece.token == *token);
        if is_next {
            self.at += 1;
        }
        is_next
    }

    pub(super) fn expect_token(&mut self, token: &Token) -> Result<(), SqlError> {
        if self.take_token(token) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn expect_word(&mut self, word: &str) -> Result<(), SqlError> {
        if self.take_words(&[word]) { Ok(()) } else { Err(self.unexpected()) }
    }

    pub(super) fn expect_string(&mut self) -> Result<&'a str, SqlError> {
        let text = self.peek().and_then(Piece::string).ok_or_else(|| self.unexpected())?;
        self.at += 1;
        Ok(text)
    }

    pub(super) fn expect_number(&mut self) -> Result<i64, SqlError> {
        let number = self.peek().and_then(Piece::number).ok_or_else(|| self.unexpected())?;
        self.at += 1;
        Ok(number)
    }

    /// `name`, `schema.name` or `database.schema.name`; the parts in lower case.
    pub(super) fn expect_name(&mut self) -> Result<Name, SqlError> {
        let mut parts = Vec::new();
        loop {
            parts.push(self.peek().and_then(Piece::identifier).ok_or_else(|| self.unexpected())?);
            self.at += 1;
            if parts.len() == 3 || !self.take_token(&Token::Period) {
                return Ok(Name(parts));
            }
        }
    }

    /// `(a, b, c)`
    pub(super) fn expect_columns(&mut self) -> Result<Vec<String>, SqlError> {
        self.expect_token(&Token::LParen)?;
        let mut columns = Vec::new();
        loop {
            columns.push(self.peek().and_then(Piece::identifier).ok_or_else(|| self.unexpected())?);
            self.at += 1;
            if self.take_token(&Token::RParen) {
                return Ok(columns);
            }
            self.expect_token(&Token::Comma)?;
        }
    }

    /// Redshift's words for a token that cannot stand here.
    pub(super) fn unexpected(&self) -> SqlError {
        match self.peek() {
            Some(piece) => SqlError::syntax(&piece.token.to_string()),
            None => SqlError::new("syntax error at end of input"),
        }
    }
}

/// The name of a table, in lower case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name(pub(super) Vec<String>);

impl Name {
    /// Quoted for PostgreSQL. A database in front is left out: there is only one.
    pub(super) fn quoted(&self) -> String {
        let parts = &self.0[self.0.len().saturating_sub(2)..];
        parts.iter().map(|part| quote_identifier(part)).collect::<Vec<_>>().join(".")
    }

    /// Without schema.
    pub(super) fn table(&self) -> &str {
        self.0.last().map(String::as_str).unwrap_or_default()
    }

    /// `#name` is a temporary table.
    pub(super) fn is_temporary(&self) -> bool {
        self.table().starts_with('#')
    }
}

pub(super) fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// For sessions in which a backslash escapes, as in Redshift.
pub(super) fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Replacements in a text, made all at once.
#[derive(Debug, Default)]
pub(super) struct Edits(Vec<(usize, usize, String)>);

impl Edits {
    pub(super) fn replace(&mut self, start: usize, end: usize, with: impl Into<String>) {
        self.0.push((start, end, with.into()));
    }

    /// The text of `start..end` with the edits inside it.
    pub(super) fn apply(&self, text: &str, start: usize, end: usize) -> String {
        let mut edits: Vec<_> = self.0.iter().filter(|(from, to, _)| *from >= start && *to <= end).collect();
        edits.sort_by_key(|(from, _, _)| *from);
        let mut result = String::with_capacity(end - start + 64);
        let mut at = start;
        for (from, to, with) in edits {
            if *from < at {
                continue;
            }
            result.push_str(&text[at..*from]);
            result.push_str(with);
            at = *to;
        }
        result.push_str(&text[at..end]);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_byte_offsets() -> Result<(), SqlError> {
        let text = "select 'ü\\'x',\n  \"A b\" -- note\n , #tmp, :id";
        let pieces = tokenize(text)?;
        let texts: Vec<&str> = pieces.iter().map(|piece| &text[piece.start..piece.end]).collect();
        assert_eq!(texts, ["select", "'ü\\'x'", ",", "\"A b\"", ",", "#tmp", ",", ":", "id"]);
        assert_eq!(pieces[3].identifier().as_deref(), Some("a b"));
        Ok(())
    }
}
