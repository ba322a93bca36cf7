//! ALTER TABLE and its relatives.

use sqlparser::tokenizer::Token;

use super::answer::SqlError;
use super::plan::{Plan, Run, adopt};
use super::source::Source;
use super::table::{Key, column_definition, default_clause, parse, refuse_reserved_word};
use super::tokens::{Cursor, Name, Piece, quote_identifier, quote_literal};

/// `cursor` stands behind ALTER.
pub(super) fn alter(source: &Source<'_>, cursor: &mut Cursor<'_>) -> Result<Plan, SqlError> {
    if cursor.take_words(&["table"]) {
        return alter_table(source, cursor);
    }
    match cursor.peek().and_then(Piece::word).unwrap_or_default().as_str() {
        "schema" | "group" | "role" => run(source.rewritten()?),
        what @ ("user" | "materialized" | "function" | "procedure" | "external" | "datashare" | "database"
        | "default" | "view") => Err(SqlError::not_emulated(&format!("ALTER {}", what.to_ascii_uppercase()))),
        _ => Err(cursor.unexpected()),
    }
}

#[expect(clippy::unnecessary_wraps, reason = "every caller returns it as its own result")]
fn run(sql: String) -> Result<Plan, SqlError> {
    Ok(Plan::Run(Run { sql, ..Run::default() }))
}

fn end(cursor: &Cursor<'_>) -> Result<(), SqlError> {
    if cursor.peek().is_none() { Ok(()) } else { Err(cursor.unexpected()) }
}

fn alter_table(source: &Source<'_>, cursor: &mut Cursor<'_>) -> Result<Plan, SqlError> {
    let table = cursor.expect_name()?;
    let head = format!("ALTER TABLE {}", table.quoted());
    if cursor.take_words(&["append", "from"]) {
        return append(cursor, &table);
    }
    if cursor.take_words(&["rename"]) {
        if cursor.take_words(&["to"]) {
            let name = cursor.expect_name()?;
            end(cursor)?;
            if name.0.len() > 1 {
                return Err(SqlError::syntax("."));
            }
            return run(format!("{head} RENAME TO {}", name.quoted()));
        }
        cursor.take_words(&["column"]);
        let from = cursor.expect_name()?;
        cursor.expect_word("to")?;
        let to = cursor.expect_name()?;
        end(cursor)?;
        return run(format!("{head} RENAME COLUMN {} TO {}", from.quoted(), to.quoted()));
    }
    if cursor.take_words(&["owner", "to"]) || cursor.take_words(&["set", "schema"]) {
        return run(source.rewritten()?);
    }
    if cursor.take_words(&["add"]) {
        return add(source, cursor, &table);
    }
    if cursor.take_words(&["drop"]) {
        return drop(cursor, &table);
    }
    if cursor.take_words(&["alter"]) {
        return alter_column(source, cursor, &table);
    }
    Err(cursor.unexpected())
}

/// Moves all rows. Can neither run in a transaction nor be rolled back.
fn append(cursor: &mut Cursor<'_>, target: &Name) -> Result<Plan, SqlError> {
    let from = cursor.expect_name()?;
    if cursor.take_words(&["ignoreextra"]) || cursor.take_words(&["fillextra"]) || cursor.take_words(&["filltarget"]) {
        return Err(SqlError::not_emulated("ALTER TABLE APPEND with IGNOREEXTRA or FILLTARGET"));
    }
    end(cursor)?;
    let sql = vec![format!(
        "SELECT redshift_stand_in.append({}::regclass, {}::regclass)",
        quote_literal(&target.quoted()),
        quote_literal(&from.quoted())
    )];
    Ok(Plan::Alone { word: "ALTER TABLE APPEND", sql })
}

fn add(source: &Source<'_>, cursor: &mut Cursor<'_>, table: &Name) -> Result<Plan, SqlError> {
    let mut name = None;
    let named = cursor.take_words(&["constraint"]);
    if named {
        name = Some(cursor.expect_name()?.table().to_owned());
    }
    let kind = if cursor.take_words(&["primary", "key"]) {
        Some('p')
    } else if cursor.take_words(&["unique"]) {
        Some('u')
    } else if cursor.take_words(&["foreign", "key"]) {
        Some('f')
    } else if named {
        return Err(cursor.unexpected());
    } else {
        None
    };
    if let Some(kind) = kind {
        let columns = cursor.expect_columns()?;
        let key = Key { kind, name, columns };
        return run(key.declare(table));
    }

    cursor.take_words(&["column"]);
    if let Some(word) = cursor.peek().and_then(Piece::word) {
        refuse_reserved_word(&word)?;
    }
    let from = cursor.peek().ok_or_else(|| cursor.unexpected())?.start;
    let to = source.pieces.last().map_or(from, |piece| piece.end);
    let parsed = parse(&format!("CREATE TABLE t ({})", &source.text[from..to]))?;
    let [column] = parsed.columns.as_slice() else {
        // Redshift adds one column at a time.
        return Err(SqlError::syntax(","));
    };
    let mut sql = format!("ALTER TABLE {} ADD COLUMN {}", table.quoted(), column_definition(column)?);
    for option in &column.options {
        match &option.option {
            sqlparser::ast::ColumnOption::Null => {}
            sqlparser::ast::ColumnOption::NotNull => sql.push_str(" NOT NULL"),
            sqlparser::ast::ColumnOption::Default(expression) => sql.push_str(&default_clause(expression)?),
            sqlparser::ast::ColumnOption::DialectSpecific(tokens) if tokens.len() == 2 => {}
            other => {
                return Err(SqlError::new(format!("ALTER TABLE ADD COLUMN does not support {other}")));
            }
        }
    }
    Ok(Plan::Run(Run { sql, after: vec![adopt(table)], ..Run::default() }))
}

fn drop(cursor: &mut Cursor<'_>, table: &Name) -> Result<Plan, SqlError> {
    let constraint = cursor.take_words(&["constraint"]);
    if !constraint {
        cursor.take_words(&["column"]);
    }
    let name = cursor.expect_name()?;
    let behaviour = if cursor.take_words(&["cascade"]) {
        " CASCADE"
    } else {
        cursor.take_words(&["restrict"]);
        ""
    };
    end(cursor)?;
    if constraint {
        return run(format!(
            "DELETE FROM redshift_stand_in.declared_keys WHERE relid = {}::regclass AND key_name = {}",
            quote_literal(&table.quoted()),
            quote_literal(name.table())
        ));
    }
    run(format!("ALTER TABLE {} DROP COLUMN {}{behaviour}", table.quoted(), quote_identifier(name.table())))
}

/// ALTER [COLUMN] c TYPE varchar(n), and the changes of distribution, order and encoding that change nothing here.
fn alter_column(source: &Source<'_>, cursor: &mut Cursor<'_>, table: &Name) -> Result<Plan, SqlError> {
    let touch = || run(format!("SELECT {}::regclass", quote_literal(&table.quoted())));
    let next = cursor.peek().and_then(Piece::word).unwrap_or_default();
    if matches!(next.as_str(), "diststyle" | "distkey" | "sortkey" | "compound" | "encode") {
        return touch();
    }
    cursor.take_words(&["column"]);
    let column = cursor.expect_name()?;
    if cursor.take_words(&["encode"]) {
        return touch();
    }
    cursor.expect_word("type")?;
    let from = cursor.peek().ok_or_else(|| cursor.unexpected())?.start;
    let is_varchar = cursor.peek().is_some_and(|piece| piece.is_word("varchar") || piece.is_word("character"));
    if !is_varchar {
        return Err(SqlError::new("ALTER COLUMN TYPE is supported for VARCHAR columns only"));
    }
    if source.pieces.iter().any(|piece| piece.token == Token::Comma) {
        return Err(SqlError::syntax(","));
    }
    let to = source.pieces.last().map_or(from, |piece| piece.end);
    let parsed = parse(&format!("CREATE TABLE t (c {})", &source.text[from..to]))?;
    let definition = parsed.columns.first().map(column_definition).transpose()?.unwrap_or_default();
    let kind = definition.trim_start_matches("\"c\" ").to_owned();
    let sql = format!("ALTER TABLE {} ALTER COLUMN {} TYPE {kind}", table.quoted(), quote_identifier(column.table()));
    Ok(Plan::Run(Run { sql, after: vec![adopt(table)], ..Run::default() }))
}
