//! CREATE TABLE: the columns by `sqlparser`, the table's attributes (DISTKEY and the like) by hand.

use sqlparser::ast::{ColumnDef, ColumnOption, CreateTable, Expr, ObjectName, TableConstraint};
use sqlparser::parser::{Parser, ParserError, ParserOptions};
use sqlparser::tokenizer::Token;

use super::answer::SqlError;
use super::dialect::StandInDialect;
use super::plan::{Plan, Run, adopt};
use super::rewrite::{closing, rewrite};
use super::source::Source;
use super::tokens::{Cursor, Name, Piece, quote_identifier, quote_literal, tokenize};
use super::types::column_type;

/// Reserved in Redshift but not in PostgreSQL: as a column they need quotes.
const RESERVED: &[&str] = &[
    "aes128",
    "aes256",
    "allowoverwrite",
    "backup",
    "blanksasnull",
    "bytedict",
    "bzip2",
    "credentials",
    "current_user_id",
    "deflate",
    "defrag",
    "delta",
    "delta32k",
    "disable",
    "emptyasnull",
    "enable",
    "encode",
    "encrypt",
    "encryption",
    "explicit",
    "globaldict256",
    "globaldict64k",
    "gzip",
    "identity",
    "ignore",
    "lun",
    "luns",
    "lzo",
    "lzop",
    "minus",
    "mostly13",
    "mostly32",
    "mostly8",
    "new",
    "nulls",
    "off",
    "offline",
    "offset",
    "oid",
    "old",
    "open",
    "parallel",
    "partition",
    "percent",
    "permissions",
    "raw",
    "readratio",
    "recover",
    "rejectlog",
    "resort",
    "respect",
    "restore",
    "snapshot",
    "sysdate",
    "system",
    "tag",
    "tdes",
    "text255",
    "text32k",
    "top",
    "truncatecolumns",
    "wallet",
    "without",
];

/// How a table is spread and sorted: kept, without effect.
#[derive(Debug, Default)]
struct Attributes {
    diststyle: Option<String>,
    distkey: Option<String>,
    sortkey: Vec<String>,
    encodings: serde_json::Map<String, serde_json::Value>,
}

/// A declared key.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) kind: char,
    pub(super) name: Option<String>,
    pub(super) columns: Vec<String>,
}

impl Key {
    pub(super) fn declare(&self, table: &Name) -> String {
        let suffix = match self.kind {
            'p' => "pkey".to_owned(),
            'u' => format!("{}_key", self.columns.join("_")),
            _ => format!("{}_fkey", self.columns.join("_")),
        };
        let name = self.name.clone().unwrap_or_else(|| format!("{}_{suffix}", table.table()));
        let columns: Vec<String> = self.columns.iter().map(|column| quote_literal(column)).collect();
        format!(
            "SELECT redshift_stand_in.declare_key({}::regclass, {}, '{}', ARRAY[{}]::text[])",
            quote_literal(&table.quoted()),
            quote_literal(&name),
            self.kind,
            columns.join(", ")
        )
    }
}

/// `cursor` stands behind CREATE [TEMP] TABLE.
pub(super) fn create_table(source: &Source<'_>, cursor: &mut Cursor<'_>, temporary: bool) -> Result<Plan, SqlError> {
    let if_not_exists = cursor.take_words(&["if", "not", "exists"]);
    let name_at = cursor.position();
    let name = cursor.expect_name()?;
    let temporary = temporary || name.is_temporary();
    let head = format!("CREATE {}TABLE {}", if temporary { "TEMP " } else { "" }, name.quoted());
    let mut attributes = Attributes::default();
    take_attributes(cursor, &mut attributes)?;

    let open = cursor.position();
    let mut body = None;
    if cursor.peek().is_some_and(|piece| piece.token == Token::LParen) {
        let close = closing(source.pieces, open).ok_or_else(|| SqlError::syntax("("))?;
        while cursor.position() <= close {
            cursor.next();
        }
        body = Some((open, close));
    }
    take_attributes(cursor, &mut attributes)?;
    let mut run = Run { unless_exists: if_not_exists.then(|| name.clone()), ..Run::default() };

    if cursor.take_words(&["as"]) {
        let columns = match body {
            Some((open, close)) => source.rewritten_range(open, close + 1)?,
            None => String::new(),
        };
        let query = source.rewritten_range(cursor.position(), source.pieces.len())?;
        run.sql = format!("{head} {columns} AS {query}");
        run.after = vec![adopt(&name), attributes.record(&name)];
        return Ok(Plan::Run(run));
    }
    if cursor.peek().is_some() {
        return Err(cursor.unexpected());
    }
    let (open, close) = body.ok_or_else(|| cursor.unexpected())?;
    if source.pieces[open + 1].is_word("like") {
        return like(&mut Cursor::new(&source.pieces[open + 2..close]), &head, &name, run);
    }

    let text = &source.text[source.pieces[name_at].start..source.pieces[close].end];
    let parsed = parse(&format!("CREATE TABLE {text}"))?;
    refuse_reserved(&source.pieces[open..close])?;
    let mut lines = Vec::new();
    let mut keys = Vec::new();
    for column in &parsed.columns {
        lines.push(column_line(column, &mut attributes, &mut keys)?);
    }
    let mut references = Vec::new();
    for constraint in &parsed.constraints {
        keys.push(table_key(constraint, &mut references)?);
    }
    if keys.iter().filter(|key| key.kind == 'p').count() > 1 {
        return Err(SqlError::new(format!("multiple primary keys for table \"{}\" are not allowed", name.table())));
    }
    run.sql = format!("{head} ({})", lines.join(", "));
    run.after = vec![adopt(&name)];
    run.after.extend(keys.iter().map(|key| key.declare(&name)));
    run.after.extend(references.iter().map(|table| format!("SELECT {}::regclass", quote_literal(table))));
    run.after.push(attributes.record(&name));
    Ok(Plan::Run(run))
}

/// (LIKE other [INCLUDING DEFAULTS]): columns, NOT NULL, distribution and order come along; keys, owner and grants do not.
fn like(cursor: &mut Cursor<'_>, head: &str, name: &Name, mut run: Run) -> Result<Plan, SqlError> {
    let other = cursor.expect_name()?;
    let defaults = cursor.take_words(&["including", "defaults"]);
    if !defaults {
        cursor.take_words(&["excluding", "defaults"]);
    }
    if cursor.peek().is_some() {
        return Err(cursor.unexpected());
    }
    run.sql = format!("{head} (LIKE {}{})", other.quoted(), if defaults { " INCLUDING DEFAULTS" } else { "" });
    let copy_attributes = format!(
        "INSERT INTO redshift_stand_in.table_attributes SELECT {}::regclass, diststyle, distkey, sortkey, encodings \
         FROM redshift_stand_in.table_attributes WHERE relid = {}::regclass",
        quote_literal(&name.quoted()),
        quote_literal(&other.quoted())
    );
    run.after = vec![adopt(name), copy_attributes];
    Ok(Plan::Run(run))
}

/// Takes what may stand in front of AS or at the end, in any order.
fn take_attributes(cursor: &mut Cursor<'_>, attributes: &mut Attributes) -> Result<(), SqlError> {
    loop {
        if cursor.take_words(&["backup"]) {
            if !cursor.take_words(&["yes"]) {
                cursor.expect_word("no")?;
            }
        } else if cursor.take_words(&["diststyle"]) {
            let style = cursor.next().and_then(Piece::word).unwrap_or_default();
            if !matches!(style.as_str(), "auto" | "even" | "key" | "all") {
                return Err(SqlError::syntax(&style));
            }
            attributes.diststyle = Some(style);
        } else if cursor.take_words(&["distkey"]) {
            let columns = cursor.expect_columns()?;
            attributes.distkey = columns.into_iter().next();
        } else if cursor.take_words(&["sortkey", "auto"]) || cursor.take_words(&["encode", "auto"]) {
        } else if cursor.take_words(&["compound", "sortkey"])
            || cursor.take_words(&["interleaved", "sortkey"])
            || cursor.take_words(&["sortkey"])
        {
            attributes.sortkey = cursor.expect_columns()?;
        } else {
            return Ok(());
        }
    }
}

impl Attributes {
    fn record(&self, table: &Name) -> String {
        let optional = |text: &Option<String>| text.as_ref().map_or("NULL".to_owned(), |text| quote_literal(text));
        let sortkey: Vec<String> = self.sortkey.iter().map(|column| quote_literal(column)).collect();
        format!(
            "INSERT INTO redshift_stand_in.table_attributes VALUES ({}::regclass, {}, {}, ARRAY[{}]::text[], {}::jsonb) \
             ON CONFLICT (relid) DO UPDATE SET diststyle = excluded.diststyle, distkey = excluded.distkey, \
             sortkey = excluded.sortkey, encodings = excluded.encodings",
            quote_literal(&table.quoted()),
            optional(&self.diststyle),
            optional(&self.distkey),
            sortkey.join(", "),
            quote_literal(&serde_json::Value::Object(self.encodings.clone()).to_string())
        )
    }
}

/// Parses a CREATE TABLE whose literals are kept as written.
pub(super) fn parse(sql: &str) -> Result<CreateTable, SqlError> {
    let dialect = StandInDialect::default();
    let parsed = Parser::new(&dialect)
        .with_options(ParserOptions::new().with_unescape(false))
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_statement());
    match parsed {
        Ok(sqlparser::ast::Statement::CreateTable(table)) => Ok(table),
        Ok(_) => Err(SqlError::syntax("table")),
        Err(ParserError::ParserError(message) | ParserError::TokenizerError(message)) => Err(found(&message)),
        Err(error) => Err(SqlError::new(error.to_string())),
    }
}

/// `Expected: …, found: X at Line: …` names the token.
fn found(message: &str) -> SqlError {
    let near = message.split("found: ").nth(1).and_then(|rest| rest.split(" at Line").next());
    match near {
        Some("EOF") => SqlError::new("syntax error at end of input"),
        Some(near) => SqlError::syntax(near),
        None => SqlError::new(format!("syntax error: {message}")),
    }
}

/// A column's name is the first word behind `(` or a comma of the outermost list.
fn refuse_reserved(pieces: &[Piece]) -> Result<(), SqlError> {
    let mut depth = 0;
    for (at, piece) in pieces.iter().enumerate() {
        match piece.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ => {}
        }
        let starts = (piece.token == Token::LParen && at == 0) || (piece.token == Token::Comma && depth == 1);
        if starts && let Some(word) = pieces.get(at + 1).and_then(Piece::word) {
            refuse_reserved_word(&word)?;
        }
    }
    Ok(())
}

pub(super) fn refuse_reserved_word(word: &str) -> Result<(), SqlError> {
    if RESERVED.contains(&word) { Err(SqlError::syntax(word)) } else { Ok(()) }
}

fn column_line(column: &ColumnDef, attributes: &mut Attributes, keys: &mut Vec<Key>) -> Result<String, SqlError> {
    let name = column.name.value.replace("\"\"", "\"").to_lowercase();
    let mut line = column_definition(column)?;
    for option in &column.options {
        let key_name = option.name.as_ref().map(|name| name.value.to_lowercase());
        match &option.option {
            ColumnOption::Null => {}
            ColumnOption::NotNull => line.push_str(" NOT NULL"),
            ColumnOption::Default(expression) => line.push_str(&default_clause(expression)?),
            ColumnOption::PrimaryKey(_) => keys.push(Key { kind: 'p', name: key_name, columns: vec![name.clone()] }),
            ColumnOption::Unique(_) => keys.push(Key { kind: 'u', name: key_name, columns: vec![name.clone()] }),
            ColumnOption::ForeignKey(_) => keys.push(Key { kind: 'f', name: key_name, columns: vec![name.clone()] }),
            ColumnOption::DialectSpecific(tokens) => match tokens.as_slice() {
                [word, encoding] if is_word(word, "ENCODE") => {
                    let encoding = encoding.to_string().to_ascii_lowercase();
                    attributes.encodings.insert(name.clone(), encoding.into());
                }
                [word] if is_word(word, "DISTKEY") => attributes.distkey = Some(name.clone()),
                [word] if is_word(word, "SORTKEY") => attributes.sortkey = vec![name.clone()],
                [word, seed, step] => {
                    let when = if is_word(word, "GENERATED") { "BY DEFAULT" } else { "ALWAYS" };
                    let clause = format!(" GENERATED {when} AS IDENTITY (START WITH {seed} INCREMENT BY {step}");
                    // PostgreSQL wants to be told how far down it may count.
                    let floor = if step.to_string().starts_with('-') { " MINVALUE -9223372036854775808)" } else { ")" };
                    line.push_str(&clause);
                    line.push_str(floor);
                }
                _ => return Err(SqlError::syntax(&option.option.to_string())),
            },
            ColumnOption::Collation(collation) if last_part(collation) == "case_sensitive" => {}
            ColumnOption::Collation(collation) => {
                return Err(SqlError::not_emulated(&format!("COLLATE {collation}")));
            }
            other => {
                let text = other.to_string();
                return Err(SqlError::syntax(text.split([' ', '(']).next().unwrap_or_default()));
            }
        }
    }
    Ok(line)
}

/// Name and type of a column, for PostgreSQL.
pub(super) fn column_definition(column: &ColumnDef) -> Result<String, SqlError> {
    let name = column.name.value.replace("\"\"", "\"").to_lowercase();
    let kind = column_type(&column.data_type.to_string(), &name)?;
    Ok(format!("{} {kind}", quote_identifier(&name)))
}

pub(super) fn default_clause(expression: &Expr) -> Result<String, SqlError> {
    let text = expression.to_string();
    let edits = rewrite(&tokenize(&text)?, &text)?;
    Ok(format!(" DEFAULT {}", edits.apply(&text, 0, text.len())))
}

fn is_word(token: &Token, wanted: &str) -> bool {
    matches!(token, Token::Word(word) if word.value.eq_ignore_ascii_case(wanted))
}

fn last_part(name: &ObjectName) -> String {
    name.0.last().map(|part| part.to_string().to_lowercase()).unwrap_or_default()
}

/// A key of the table; the tables that it refers to must be there.
pub(super) fn table_key(constraint: &TableConstraint, references: &mut Vec<String>) -> Result<Key, SqlError> {
    let text_of = |columns: &[sqlparser::ast::IndexColumn]| -> Vec<String> {
        columns.iter().map(|column| column.column.expr.to_string().trim_matches('"').to_lowercase()).collect()
    };
    match constraint {
        TableConstraint::PrimaryKey(key) => Ok(Key {
            kind: 'p',
            name: key.name.as_ref().map(|name| name.value.to_lowercase()),
            columns: text_of(&key.columns),
        }),
        TableConstraint::Unique(key) => Ok(Key {
            kind: 'u',
            name: key.name.as_ref().map(|name| name.value.to_lowercase()),
            columns: text_of(&key.columns),
        }),
        TableConstraint::ForeignKey(key) => {
            let parts: Vec<String> = key
                .foreign_table
                .0
                .iter()
                .map(|part| quote_identifier(&part.to_string().trim_matches('"').to_lowercase()))
                .collect();
            references.push(parts.join("."));
            Ok(Key {
                kind: 'f',
                name: key.name.as_ref().map(|name| name.value.to_lowercase()),
                columns: key.columns.iter().map(|column| column.value.to_lowercase()).collect(),
            })
        }
        other => {
            let text = other.to_string();
            Err(SqlError::syntax(text.split([' ', '(']).next().unwrap_or_default()))
        }
    }
}
