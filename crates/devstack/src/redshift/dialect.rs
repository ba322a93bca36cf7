//! Redshift's dialect of `sqlparser`, with the column attributes that it does not know.

use std::any::TypeId;
use std::iter::Peekable;
use std::str::Chars;

use sqlparser::ast::ColumnOption;
use sqlparser::dialect::{Dialect, RedshiftSqlDialect};
use sqlparser::keywords::Keyword;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Token, Word};

/// Redshift plus `ENCODE x`, `IDENTITY(seed, step)`, `DISTKEY` and `SORTKEY` on a column.
#[derive(Debug, Default)]
pub(super) struct StandInDialect {
    redshift: RedshiftSqlDialect,
}

/// `sqlparser` returns "not mine", "mine, and this is it" and "mine, and wrong" in three layers.
type ParsedOption = Result<Option<Result<Option<ColumnOption>, ParserError>>, ParserError>;

#[expect(clippy::unnecessary_wraps, reason = "the layers are the trait's")]
fn mine(tokens: Vec<Token>) -> ParsedOption {
    Ok(Some(Ok(Some(ColumnOption::DialectSpecific(tokens)))))
}

fn is_word(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(Word { value, quote_style: None, .. }) if value.eq_ignore_ascii_case(wanted))
}

impl Dialect for StandInDialect {
    // Parts of the parser ask for the type: it shall take this one for Redshift.
    fn dialect(&self) -> TypeId {
        self.redshift.dialect()
    }

    fn is_identifier_start(&self, character: char) -> bool {
        self.redshift.is_identifier_start(character)
    }

    fn is_identifier_part(&self, character: char) -> bool {
        self.redshift.is_identifier_part(character)
    }

    fn is_nested_delimited_identifier_start(&self, character: char) -> bool {
        self.redshift.is_nested_delimited_identifier_start(character)
    }

    fn peek_nested_delimited_identifier_quotes(&self, chars: Peekable<Chars<'_>>) -> Option<(char, Option<char>)> {
        self.redshift.peek_nested_delimited_identifier_quotes(chars)
    }

    fn supports_string_literal_backslash_escape(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_create_table_like_parenthesized(&self) -> bool {
        true
    }

    fn is_reserved_for_identifier(&self, keyword: Keyword) -> bool {
        self.redshift.is_reserved_for_identifier(keyword)
    }

    fn parse_column_option(&self, parser: &mut Parser) -> ParsedOption {
        let next = parser.peek_token().token;
        if is_word(&next, "ENCODE") {
            parser.advance_token();
            let encoding = parser.next_token().token;
            return mine(vec![next, encoding]);
        }
        if is_word(&next, "DISTKEY") || is_word(&next, "SORTKEY") {
            parser.advance_token();
            return mine(vec![next]);
        }
        let generated = is_word(&next, "GENERATED");
        if generated {
            let words = ["GENERATED", "BY", "DEFAULT", "AS", "IDENTITY"];
            if !words.iter().enumerate().all(|(at, word)| is_word(&parser.peek_nth_token(at).token, word)) {
                return Ok(None);
            }
            for _ in 0..4 {
                parser.advance_token();
            }
        }
        if generated || is_word(&next, "IDENTITY") {
            parser.advance_token();
            parser.expect_token(&Token::LParen)?;
            let seed = signed(parser);
            parser.expect_token(&Token::Comma)?;
            let step = signed(parser);
            parser.expect_token(&Token::RParen)?;
            return mine(vec![next, seed, step]);
        }
        Ok(None)
    }
}

/// A number with or without a sign, as one token.
fn signed(parser: &mut Parser) -> Token {
    match parser.next_token().token {
        Token::Minus => Token::Number(format!("-{}", parser.next_token().token), false),
        token => token,
    }
}
