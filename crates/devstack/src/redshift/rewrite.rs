//! Words that stand for something else in PostgreSQL, and what PostgreSQL knows but Redshift does not.

use sqlparser::tokenizer::{Token, Word};

use super::answer::SqlError;
use super::tokens::{Edits, Piece, quote_identifier, quote_literal};

/// System tables of Redshift that live in the stand-in's own schema.
const OWN_TABLES: &[&str] = &[
    "pg_attrdef",
    "pg_constraint",
    "pg_table_def",
    "pg_class_info",
    "svv_tables",
    "svv_columns",
    "stl_load_errors",
    "sys_load_error_detail",
    "sys_load_history",
];

/// Views of the information schema that must show declared keys.
const OWN_INFORMATION: &[&str] = &["table_constraints", "key_column_usage"];

/// Functions of PostgreSQL that Redshift does not have and that people reach for.
const FOREIGN_FUNCTIONS: &[&str] = &[
    "string_agg",
    "array_agg",
    "json_agg",
    "jsonb_agg",
    "json_build_object",
    "jsonb_build_object",
    "to_json",
    "to_jsonb",
    "row_to_json",
    "gen_random_uuid",
    "make_date",
    "make_timestamp",
    "make_interval",
    "age",
    "format",
    "num_nulls",
    "num_nonnulls",
    "unnest",
];

/// Types of PostgreSQL that Redshift does not have, in casts.
const FOREIGN_TYPES: &[&str] = &[
    "json",
    "jsonb",
    "uuid",
    "bytea",
    "xml",
    "money",
    "inet",
    "cidr",
    "tsvector",
    "hstore",
    "citext",
    "serial",
    "bigserial",
];

/// Fails on what Redshift does not take, wherever it stands in a statement.
pub(super) fn refuse(pieces: &[Piece]) -> Result<(), SqlError> {
    for (at, piece) in pieces.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| pieces.get(at));
        let after = pieces.get(at + 1);
        let next_is = |word: &str| after.is_some_and(|piece| piece.is_word(word));
        let opens = after.is_some_and(|piece| piece.token == Token::LParen);
        let Some(word) = piece.word() else {
            if piece.token == Token::LBracket && before.is_some_and(|piece| piece.is_word("array")) {
                return Err(SqlError::syntax("["));
            }
            continue;
        };
        let refused = match word.as_str() {
            "on" if next_is("conflict") => Some("conflict"),
            // A column may be called so when it is qualified or quoted.
            "returning" if before.is_none_or(|piece| piece.token != Token::Period) => Some("returning"),
            "tablesample" => Some("tablesample"),
            "is" if next_is("distinct") => Some("distinct"),
            "not" if next_is("distinct") => Some("distinct"),
            "filter" if opens && before.is_some_and(|piece| piece.token == Token::RParen) => Some("("),
            "values" if before.is_some_and(|piece| piece.token == Token::LParen) => Some("values"),
            "unlogged" => Some("unlogged"),
            _ => None,
        };
        if let Some(near) = refused {
            return Err(SqlError::syntax(near));
        }
        if word == "distinct" && next_is("on") {
            return Err(SqlError::new("SELECT DISTINCT ON is not supported"));
        }
        if word == "for" && (next_is("update") || next_is("share")) {
            return Err(SqlError::new("SELECT FOR UPDATE/SHARE is not supported"));
        }
        if (word == "except" || word == "intersect") && next_is("all") {
            return Err(SqlError::new(format!("{} ALL is not supported", word.to_ascii_uppercase())));
        }
        if opens
            && FOREIGN_FUNCTIONS.contains(&word.as_str())
            && before.is_none_or(|piece| piece.token != Token::Period)
        {
            return Err(SqlError::new(format!("function {word}(...) does not exist")));
        }
        let is_cast = before.is_some_and(|piece| piece.token == Token::DoubleColon);
        if is_cast && FOREIGN_TYPES.contains(&word.as_str()) {
            return Err(SqlError::new(format!("type \"{word}\" does not exist")));
        }
    }
    Ok(())
}

/// The STL tables are those of a provisioned cluster: a workgroup has the SYS views.
pub(super) fn refuse_provisioned(pieces: &[Piece]) -> Result<(), SqlError> {
    match pieces.iter().filter_map(Piece::word).find(|word| word.starts_with("stl_")) {
        Some(table) => Err(SqlError::new(format!("relation \"{table}\" does not exist"))),
        None => Ok(()),
    }
}

/// The changes that make a statement PostgreSQL's.
pub(super) fn rewrite(pieces: &[Piece], text: &str) -> Result<Edits, SqlError> {
    let mut edits = Edits::default();
    for (at, piece) in pieces.iter().enumerate() {
        let Token::Word(word) = &piece.token else { continue };
        if word.quote_style.is_some() || word.value.contains('#') {
            // Quoted identifiers are folded too, and PostgreSQL takes `#name` in quotes only.
            edits.replace(piece.start, piece.end, quote_identifier(&word.value.to_lowercase()));
            continue;
        }
        let opens = pieces.get(at + 1).is_some_and(|next| next.token == Token::LParen);
        let lower = word.value.to_ascii_lowercase();
        match lower.as_str() {
            "nvl" if opens => edits.replace(piece.start, piece.end, "coalesce"),
            "sysdate" if !opens => {
                edits.replace(piece.start, piece.end, "(transaction_timestamp() AT TIME ZONE 'UTC')");
            }
            "dateadd" | "datediff" | "date_diff" | "date_add" if opens => {
                let name = if lower.contains("diff") { "datediff" } else { "dateadd" };
                edits.replace(piece.start, piece.end, name);
                if let Some(part) = pieces.get(at + 2)
                    && let Token::Word(Word { value, quote_style: None, .. }) = &part.token
                {
                    edits.replace(part.start, part.end, quote_literal(&date_part(value)));
                }
            }
            "varchar" if opens => {
                if let Some(max) = pieces.get(at + 2)
                    && max.is_word("max")
                {
                    edits.replace(max.start, max.end, "65535");
                }
            }
            "super" if at > 0 && pieces[at - 1].token == Token::DoubleColon => {
                edits.replace(piece.start, piece.end, "jsonb");
            }
            "listagg" if opens => rewrite_listagg(pieces, at, text, &mut edits)?,
            "qualify" => return Err(SqlError::not_emulated("QUALIFY")),
            "top" if at > 0 && pieces[at - 1].is_word("select") => return Err(SqlError::not_emulated("SELECT TOP")),
            schema @ ("information_schema" | "pg_catalog") => {
                let own = if schema == "pg_catalog" { OWN_TABLES } else { OWN_INFORMATION };
                let qualified = pieces.get(at + 1).is_some_and(|next| next.token == Token::Period);
                let table = pieces.get(at + 2).and_then(Piece::identifier);
                if qualified && table.is_some_and(|table| own.contains(&table.as_str())) {
                    edits.replace(piece.start, piece.end, "redshift_stand_in");
                }
            }
            _ => {}
        }
    }
    Ok(edits)
}

/// Redshift's short names of date parts.
fn date_part(name: &str) -> String {
    let lower = name.to_ascii_lowercase();
    let long = match lower.as_str() {
        "y" | "yr" | "yrs" | "years" => "year",
        "qtr" | "qtrs" | "quarters" => "quarter",
        "mon" | "mons" | "months" => "month",
        "w" | "weeks" => "week",
        "d" | "days" => "day",
        "h" | "hr" | "hrs" | "hours" => "hour",
        "m" | "min" | "mins" | "minutes" => "minute",
        "s" | "sec" | "secs" | "seconds" => "second",
        "ms" | "msec" | "msecs" | "milliseconds" => "millisecond",
        _ => return lower,
    };
    long.to_owned()
}

/// `LISTAGG(x, ',') WITHIN GROUP (ORDER BY y)` is `string_agg((x)::text, ',' ORDER BY y)`.
fn rewrite_listagg(pieces: &[Piece], at: usize, text: &str, edits: &mut Edits) -> Result<(), SqlError> {
    let close = closing(pieces, at + 1).ok_or_else(|| SqlError::syntax("listagg"))?;
    let (first, last) = (at + 2, close);
    if first == last {
        return Err(SqlError::syntax(")"));
    }
    let mut depth = 0;
    let mut comma = None;
    for (position, piece) in pieces.iter().enumerate().take(last).skip(first) {
        match piece.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            Token::Comma if depth == 0 => comma = comma.or(Some(position)),
            _ => {}
        }
    }
    let distinct = pieces[first].is_word("distinct");
    let value_from = if distinct { first + 1 } else { first };
    let value_to = comma.unwrap_or(last);
    // What is inside may need changes of its own.
    let rewritten = |from: usize, to: usize| -> Result<String, SqlError> {
        let Some((first, last)) = pieces[from..to].first().zip(pieces[from..to].last()) else {
            return Err(SqlError::syntax("listagg"));
        };
        Ok(rewrite(&pieces[from..to], text)?.apply(text, first.start, last.end))
    };
    let value = rewritten(value_from, value_to)?;
    let separator = match comma {
        Some(comma) => rewritten(comma + 1, last)?,
        None => "''".to_owned(),
    };
    let mut end = close;
    let mut order = String::new();
    let within = ["within", "group"]
        .iter()
        .enumerate()
        .all(|(ahead, word)| pieces.get(close + 1 + ahead).is_some_and(|piece| piece.is_word(word)));
    if within {
        let group_close = closing(pieces, close + 3).ok_or_else(|| SqlError::syntax("group"))?;
        order = format!(" {}", rewritten(close + 4, group_close)?);
        end = group_close;
    }
    let distinct = if distinct { "DISTINCT " } else { "" };
    edits.replace(
        pieces[at].start,
        pieces[end].end,
        format!("string_agg({distinct}({value})::text, {separator}{order})"),
    );
    Ok(())
}

/// The position of the parenthesis that closes the one at `open`.
pub(super) fn closing(pieces: &[Piece], open: usize) -> Option<usize> {
    let mut depth = 0;
    for (position, piece) in pieces.iter().enumerate().skip(open) {
        match piece.token {
            Token::LParen => depth += 1,
            Token::RParen => {
                depth -= 1;
                if depth == 0 {
                    return Some(position);
                }
            }
            _ => {}
        }
    }
    None
}
