//! Splits SQL scripts into statements, as the engine's own lexer would see them.

use millrace_operator_api::PortError;
use sqlparser::dialect::Dialect;
use sqlparser::tokenizer::{Location, Token, Tokenizer};

use crate::parts::failure::invalid;

/// The statements of a script without their semicolons; empty ones and mere comments fall away.
pub fn split(dialect: &dyn Dialect, script: &str) -> Result<Vec<String>, PortError> {
    let tokens = Tokenizer::new(dialect, script)
        .tokenize_with_location()
        .map_err(|error| invalid(format!("the SQL script cannot be split into statements: {error}")))?;
    let mut places = Places::of(script);
    let mut statements = Vec::new();
    let mut start = 0;
    let mut shape = Shape::default();
    for token in &tokens {
        match &token.token {
            Token::SemiColon if !shape.is_inside_body() => {
                let end = places.byte_of(token.span.start);
                if shape.has_words {
                    statements.push(script[start..end].trim().to_owned());
                }
                start = end + 1;
                shape = Shape::default();
            }
            Token::Whitespace(_) | Token::EOF => {}
            Token::Word(word) if word.quote_style.is_none() => shape.word(&word.value),
            _ => shape.has_words = true,
        }
    }
    if shape.has_words {
        statements.push(script[start..].trim().to_owned());
    }
    Ok(statements)
}

/// Knows bodies that hold semicolons of their own: triggers, and functions that `BEGIN ATOMIC`.
#[derive(Default)]
struct Shape {
    has_words: bool,
    words: usize,
    is_create: bool,
    has_body: bool,
    depth: usize,
    last: String,
}

impl Shape {
    fn word(&mut self, word: &str) {
        let word = word.to_ascii_uppercase();
        self.has_words = true;
        self.words += 1;
        if self.words == 1 {
            self.is_create = word == "CREATE";
        }
        if self.is_create {
            match word.as_str() {
                "TRIGGER" if self.words <= 5 => self.has_body = true,
                "ATOMIC" if self.last == "BEGIN" => {
                    self.has_body = true;
                    self.depth = self.depth.max(1);
                }
                "BEGIN" | "CASE" if self.has_body => self.depth += 1,
                "END" if self.has_body => self.depth = self.depth.saturating_sub(1),
                _ => {}
            }
        }
        self.last = word;
    }

    fn is_inside_body(&self) -> bool {
        self.has_body && self.depth > 0
    }
}

/// Turns the tokenizer's lines and columns (counted in characters) into bytes, going forward only.
pub(crate) struct Places<'a> {
    text: &'a str,
    byte: usize,
    line: u64,
    column: u64,
}

impl<'a> Places<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        Self { text, byte: 0, line: 1, column: 1 }
    }

    pub(crate) fn byte_of(&mut self, place: Location) -> usize {
        while (self.line, self.column) < (place.line, place.column) {
            let Some(next) = self.text[self.byte..].chars().next() else { break };
            self.byte += next.len_utf8();
            if next == '\n' {
                self.line += 1;
                self.column = 1;
            } else {
                self.column += 1;
            }
        }
        self.byte
    }
}

/// What a statement does to the transaction around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Control {
    Begin,
    Commit,
    Rollback,
    None,
}

/// Reads the first words of a statement, past comments.
pub fn control(statement: &str) -> Control {
    let mut words = without_comments(statement).split_whitespace().map(|word| word.to_ascii_uppercase());
    let first = words.next().unwrap_or_default();
    let second = words.next().unwrap_or_default();
    match first.as_str() {
        "BEGIN" => Control::Begin,
        "START" if second == "TRANSACTION" => Control::Begin,
        "COMMIT" | "END" => Control::Commit,
        // ROLLBACK TO SAVEPOINT goes on inside of the transaction.
        "ROLLBACK" if second == "TO" => Control::None,
        "ROLLBACK" | "ABORT" => Control::Rollback,
        _ => Control::None,
    }
}

fn without_comments(mut text: &str) -> &str {
    loop {
        text = text.trim_start();
        if let Some(rest) = text.strip_prefix("--") {
            text = rest.split_once('\n').map_or("", |(_, rest)| rest);
        } else if let Some(rest) = text.strip_prefix("/*") {
            text = rest.split_once("*/").map_or("", |(_, rest)| rest);
        } else {
            return text;
        }
    }
}

/// One step of a script run in transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unit {
    /// Number of each statement in the script, from 1, and its text.
    pub statements: Vec<(usize, String)>,
    pub is_rolled_back: bool,
}

/// Cuts a script at its own COMMITs and ROLLBACKs: each unit is one transaction. A BEGIN inside of one changes nothing.
pub fn units(statements: &[String]) -> Vec<Unit> {
    let mut units = Vec::new();
    let mut current = Vec::new();
    for (index, statement) in statements.iter().enumerate() {
        match control(statement) {
            Control::Begin => {}
            ending @ (Control::Commit | Control::Rollback) => {
                if !current.is_empty() {
                    let is_rolled_back = ending == Control::Rollback;
                    units.push(Unit { statements: std::mem::take(&mut current), is_rolled_back });
                }
            }
            Control::None => current.push((index + 1, statement.clone())),
        }
    }
    if !current.is_empty() {
        units.push(Unit { statements: current, is_rolled_back: false });
    }
    units
}

#[cfg(test)]
mod tests {
    use sqlparser::dialect::{PostgreSqlDialect, RedshiftSqlDialect, SQLiteDialect};

    use super::*;

    #[test]
    fn semicolons_in_strings_comments_and_bodies_do_not_split() {
        let script = "-- a; comment\nSELECT ';', \"a;b\" /* ; */;\n\nCREATE FUNCTION f() RETURNS int AS $$ SELECT 1; $$ LANGUAGE sql;;\n SELECT '주;문'; SELECT 2 -- end";
        let parts = split(&PostgreSqlDialect {}, script).expect("splits");
        assert_eq!(parts.len(), 4);
        assert_eq!(parts[0], "-- a; comment\nSELECT ';', \"a;b\" /* ; */");
        assert!(parts[1].contains("SELECT 1; $$"));
        assert_eq!(parts[2], "SELECT '주;문'");
        assert_eq!(parts[3], "SELECT 2 -- end");
        assert!(split(&PostgreSqlDialect {}, " -- nothing\n;;").expect("splits").is_empty());
        assert_eq!(
            split(&RedshiftSqlDialect {}, "CREATE TABLE #t (a int encode az64);\nSELECT 1").expect("splits").len(),
            2
        );
    }

    #[test]
    fn a_trigger_is_one_statement() {
        let script = "CREATE TRIGGER t AFTER INSERT ON a BEGIN UPDATE b SET c = CASE WHEN 1 THEN 2 END; DELETE FROM d; END; SELECT 1";
        assert_eq!(split(&SQLiteDialect {}, script).expect("splits").len(), 2);
    }

    #[test]
    fn own_transactions_cut_the_script() {
        let script: Vec<String> =
            ["BEGIN", "a", "/* x */ COMMIT", "b", "ROLLBACK", "c"].into_iter().map(String::from).collect();
        let units = units(&script);
        let shape: Vec<(Vec<usize>, bool)> =
            units.iter().map(|unit| (unit.statements.iter().map(|(n, _)| *n).collect(), unit.is_rolled_back)).collect();
        assert_eq!(shape, [(vec![2], false), (vec![4], true), (vec![6], false)]);
        assert_eq!(control("rollback to savepoint a"), Control::None);
    }

    #[test]
    fn broken_quotes_are_an_error() {
        assert!(split(&PostgreSqlDialect {}, "SELECT 'a").is_err());
    }
}
