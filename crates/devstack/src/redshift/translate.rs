//! From Redshift's SQL to what PostgreSQL is asked to do. What Redshift refuses is refused here.

use sqlparser::tokenizer::Token;

use super::alter;
use super::answer::SqlError;
use super::copy_options::parse_copy;
use super::plan::{Plan, Run, adopt};
use super::rewrite::{refuse, refuse_provisioned};
use super::source::Source;
use super::table;
use super::tokens::{Cursor, Edits, Name, Piece, quote_identifier, quote_literal, tokenize};
use super::unload::parse_unload;

/// A statement with its parameters put in.
#[derive(Debug)]
pub(super) struct Statement {
    /// The first word in upper case, for planned failures.
    pub(super) verb: String,
    pub(super) plan: Plan,
}

/// A named parameter (`:name`).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) value: String,
}

/// Reads one statement.
pub(super) fn translate(text: &str, parameters: &[Parameter], serverless: bool) -> Result<Statement, SqlError> {
    let bound = bind(text, parameters)?;
    let mut pieces = tokenize(&bound)?;
    if pieces.last().is_some_and(|piece| piece.token == Token::SemiColon) {
        pieces.pop();
    }
    if pieces.iter().any(|piece| piece.token == Token::SemiColon) {
        return Err(SqlError::new("cannot insert multiple commands into a prepared statement"));
    }
    let Some(first) = pieces.first() else {
        return Err(SqlError::new("syntax error at end of input"));
    };
    let verb = first.word().unwrap_or_default();
    let source = Source { text: &bound, pieces: &pieces };
    let plan = match verb.as_str() {
        "copy" => Plan::Copy(Box::new(parse_copy(&source)?)),
        "unload" => Plan::Unload(Box::new(parse_unload(&source)?)),
        _ => {
            refuse(&pieces)?;
            if serverless {
                refuse_provisioned(&pieces)?;
            }
            plan(&verb, &source)?
        }
    };
    Ok(Statement { verb: verb.to_ascii_uppercase(), plan })
}

fn plan(verb: &str, source: &Source<'_>) -> Result<Plan, SqlError> {
    let mut cursor = Cursor::new(source.pieces);
    let pass = || Ok(Plan::run(source.rewritten()?));
    if source.pieces[0].token == Token::LParen {
        return pass();
    }
    cursor.next();
    match verb {
        "select" | "with" => select(source),
        "explain" | "grant" | "revoke" | "comment" => pass(),
        "show" => show(&mut cursor),
        "insert" => {
            cursor.expect_word("into")?;
            write(source, &cursor.expect_name()?)
        }
        "update" => write(source, &cursor.expect_name()?),
        "delete" => {
            // Redshift takes DELETE without FROM, PostgreSQL does not.
            let has_from = cursor.take_words(&["from"]);
            let name = cursor.expect_name()?;
            let mut sql = source.rewritten()?;
            if !has_from {
                sql.insert_str("delete".len(), " FROM");
            }
            Ok(Plan::Run(Run { lock: Some(name), sql, ..Run::default() }))
        }
        "merge" => merge(source, &mut cursor),
        "create" => create(source, &mut cursor),
        "drop" => drop(source, &cursor),
        "alter" => alter::alter(source, &mut cursor),
        "truncate" => {
            cursor.take_words(&["table"]);
            let name = cursor.expect_name()?;
            end(&cursor)?;
            Ok(Plan::Truncate { sql: format!("TRUNCATE TABLE {}", name.quoted()) })
        }
        "vacuum" => vacuum(&mut cursor),
        "analyze" | "analyse" => analyze(source, &mut cursor),
        "lock" => lock(&mut cursor),
        "set" => set(&mut cursor, source),
        "reset" => {
            let name = cursor.expect_name()?;
            end(&cursor)?;
            Ok(Plan::run(format!("RESET {}", setting(name.table()))))
        }
        "begin" | "start" => Ok(Plan::Begin),
        "commit" | "end" => Ok(Plan::Commit),
        "rollback" | "abort" => Ok(Plan::Rollback),
        "call" | "declare" | "fetch" | "close" | "prepare" | "execute" | "deallocate" | "refresh" | "cancel" => {
            Err(SqlError::not_emulated(&verb.to_ascii_uppercase()))
        }
        _ => Err(Cursor::new(source.pieces).unexpected()),
    }
}

fn end(cursor: &Cursor<'_>) -> Result<(), SqlError> {
    match cursor.peek() {
        None => Ok(()),
        Some(_) => Err(cursor.unexpected()),
    }
}

fn write(source: &Source<'_>, table: &Name) -> Result<Plan, SqlError> {
    Ok(Plan::Run(Run { lock: Some(table.clone()), sql: source.rewritten()?, ..Run::default() }))
}

/// SELECT … INTO makes a table.
fn select(source: &Source<'_>) -> Result<Plan, SqlError> {
    let mut depth = 0;
    for (at, piece) in source.pieces.iter().enumerate() {
        match piece.token {
            Token::LParen => depth += 1,
            Token::RParen => depth -= 1,
            _ if depth == 0 && piece.is_word("into") => {
                let mut cursor = Cursor::new(&source.pieces[at + 1..]);
                let temporary = cursor.take_words(&["temp"]) || cursor.take_words(&["temporary"]);
                cursor.take_words(&["table"]);
                let name_at = at + 1 + cursor.position();
                let name = cursor.expect_name()?;
                let mut sql = source.rewritten_range(0, at + 1)?;
                let temporary = if temporary || name.is_temporary() { "TEMP " } else { "" };
                sql.push_str(&format!(" {temporary}TABLE {} ", name.quoted()));
                let after_name = at + 1 + cursor.position();
                debug_assert!(after_name > name_at, "a name has at least one token");
                sql.push_str(&source.rewritten_range(after_name, source.pieces.len())?);
                return Ok(Plan::Run(Run { sql, after: vec![adopt(&name)], ..Run::default() }));
            }
            _ => {}
        }
    }
    Ok(Plan::run(source.rewritten()?))
}

fn show(cursor: &mut Cursor<'_>) -> Result<Plan, SqlError> {
    let name = cursor.expect_name()?;
    end(cursor)?;
    match setting(name.table()) {
        own if own.starts_with("redshift_stand_in.") => Ok(Plan::run(format!(
            "SELECT COALESCE(current_setting({}, true), 'unset') AS {}",
            quote_literal(&own),
            quote_identifier(name.table())
        ))),
        shared => Ok(Plan::run(format!("SHOW {shared}"))),
    }
}

/// MERGE INTO target USING source ON … : the source must be a table, and the target has no alias.
fn merge(source: &Source<'_>, cursor: &mut Cursor<'_>) -> Result<Plan, SqlError> {
    cursor.expect_word("into")?;
    let target = cursor.expect_name()?;
    if !cursor.take_words(&["using"]) {
        return Err(cursor.unexpected());
    }
    if cursor.peek().is_some_and(|piece| piece.token == Token::LParen) {
        return Err(SqlError::new("MERGE source must be a table, not a view or a subquery"));
    }
    let from = cursor.expect_name()?;
    let words: Vec<String> = source.pieces.iter().filter_map(Piece::word).collect();
    if words.windows(2).any(|pair| pair[0] == "remove" && pair[1] == "duplicates") {
        return Err(SqlError::not_emulated("MERGE … REMOVE DUPLICATES"));
    }
    // At most one WHEN MATCHED, at most one WHEN NOT MATCHED, no further condition.
    let count = |pattern: &[&str]| words.windows(pattern.len()).filter(|window| window.iter().eq(pattern)).count();
    if count(&["when", "matched"]) != 1 || count(&["when", "not", "matched"]) != 1 {
        return Err(SqlError::syntax("WHEN"));
    }
    if count(&["matched", "and"]) > 0 || count(&["matched", "by"]) > 0 {
        return Err(SqlError::syntax("AND"));
    }
    if count(&["do", "nothing"]) > 0 {
        return Err(SqlError::syntax("DO"));
    }
    Ok(Plan::Run(Run {
        lock: Some(target),
        // A view as source is refused when the statement runs: only the catalogue knows.
        sql: source.rewritten()?,
        unless_exists: None,
        after: vec![format!("SELECT redshift_stand_in.require_table({}::regclass)", quote_literal(&from.quoted()))],
    }))
}

fn create(source: &Source<'_>, cursor: &mut Cursor<'_>) -> Result<Plan, SqlError> {
    let or_replace = cursor.take_words(&["or", "replace"]);
    if cursor.take_words(&["view"]) {
        let words: Vec<String> = source.pieces.iter().filter_map(Piece::word).collect();
        if words.ends_with(&["with".to_owned(), "no".to_owned(), "schema".to_owned(), "binding".to_owned()]) {
            return Err(SqlError::not_emulated("views WITH NO SCHEMA BINDING"));
        }
        return Ok(Plan::run(source.rewritten()?));
    }
    if or_replace {
        return Err(cursor.unexpected());
    }
    let local = cursor.take_words(&["local"]);
    let temporary = cursor.take_words(&["temp"]) || cursor.take_words(&["temporary"]);
    if cursor.take_words(&["table"]) {
        return table::create_table(source, cursor, temporary);
    }
    if local || temporary {
        return Err(cursor.unexpected());
    }
    match cursor.peek().and_then(Piece::word).unwrap_or_default().as_str() {
        "schema" | "group" | "role" => Ok(Plan::run(source.rewritten()?)),
        "index" | "unique" => Err(SqlError::new("SQL command \"CREATE INDEX\" not supported on Redshift tables.")),
        what @ ("user" | "materialized" | "function" | "procedure" | "library" | "external" | "datashare" | "model"
        | "database" | "masking" | "rls") => {
            Err(SqlError::not_emulated(&format!("CREATE {}", what.to_ascii_uppercase())))
        }
        _ => Err(cursor.unexpected()),
    }
}

fn drop(source: &Source<'_>, cursor: &Cursor<'_>) -> Result<Plan, SqlError> {
    match cursor.peek().and_then(Piece::word).unwrap_or_default().as_str() {
        "table" | "view" | "schema" | "group" | "role" => Ok(Plan::run(source.rewritten()?)),
        what @ ("user" | "materialized" | "function" | "procedure" | "library" | "external" | "datashare" | "model"
        | "database") => Err(SqlError::not_emulated(&format!("DROP {}", what.to_ascii_uppercase()))),
        _ => Err(cursor.unexpected()),
    }
}

fn vacuum(cursor: &mut Cursor<'_>) -> Result<Plan, SqlError> {
    let _ = cursor.take_words(&["full"])
        || cursor.take_words(&["sort", "only"])
        || cursor.take_words(&["delete", "only"])
        || cursor.take_words(&["reindex"])
        || cursor.take_words(&["recluster"]);
    let table = match cursor.peek() {
        Some(_) => cursor.expect_name()?.quoted(),
        None => String::new(),
    };
    if cursor.take_words(&["to"]) {
        cursor.expect_number()?;
        cursor.expect_word("percent")?;
    }
    cursor.take_words(&["boost"]);
    end(cursor)?;
    Ok(Plan::Alone { word: "VACUUM", sql: vec![format!("VACUUM {table}")] })
}

fn analyze(source: &Source<'_>, cursor: &mut Cursor<'_>) -> Result<Plan, SqlError> {
    if cursor.take_words(&["compression"]) {
        return Err(SqlError::not_emulated("ANALYZE COMPRESSION"));
    }
    cursor.take_words(&["verbose"]);
    if cursor.peek().is_none() {
        return Ok(Plan::run("ANALYZE".to_owned()));
    }
    let from = cursor.position();
    cursor.expect_name()?;
    if cursor.peek().is_some_and(|piece| piece.token == Token::LParen) {
        cursor.expect_columns()?;
    }
    let to = cursor.position();
    let _ = cursor.take_words(&["predicate", "columns"]) || cursor.take_words(&["all", "columns"]);
    end(cursor)?;
    Ok(Plan::run(format!("ANALYZE {}", source.rewritten_range(from, to)?)))
}

/// LOCK keeps everybody else out, readers too, until the end of the transaction.
fn lock(cursor: &mut Cursor<'_>) -> Result<Plan, SqlError> {
    cursor.take_words(&["table"]);
    let mut tables = vec![cursor.expect_name()?.quoted()];
    while cursor.take_token(&Token::Comma) {
        tables.push(cursor.expect_name()?.quoted());
    }
    end(cursor)?;
    Ok(Plan::run(format!("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "))))
}

/// Settings that mean the same in PostgreSQL keep their name, the others go where nothing reads them.
fn setting(name: &str) -> String {
    match name {
        "search_path" | "statement_timeout" | "timezone" | "datestyle" | "application_name" | "server_version"
        | "extra_float_digits" => name.to_owned(),
        other => format!("redshift_stand_in.{}", other.replace(|c: char| !c.is_ascii_alphanumeric() && c != '_', "_")),
    }
}

fn set(cursor: &mut Cursor<'_>, source: &Source<'_>) -> Result<Plan, SqlError> {
    let local = cursor.take_words(&["local"]);
    let _ = !local && cursor.take_words(&["session"]);
    let name = cursor.expect_name()?;
    if !cursor.take_words(&["to"]) && !cursor.take_token(&Token::Eq) {
        return Err(cursor.unexpected());
    }
    let name = name.table();
    match name {
        "query_group"
        | "wlm_query_slot_count"
        | "enable_result_cache_for_session"
        | "search_path"
        | "statement_timeout"
        | "timezone"
        | "datestyle"
        | "application_name"
        | "analyze_threshold_percent"
        | "error_on_nondeterministic_update"
        | "use_fips_ssl"
        | "json_parse_truncate_strings"
        | "cast_super_null_on_error"
        | "enable_case_sensitive_identifier" => {}
        "extra_float_digits" => {
            let value = source.rewritten_range(cursor.position(), source.pieces.len())?;
            let digits = value.trim().trim_matches('\'').parse::<i32>().ok();
            if !value.trim().eq_ignore_ascii_case("default")
                && !digits.is_some_and(|digits| (-15..=2).contains(&digits))
            {
                return Err(SqlError::new(format!(
                    "{} is outside the valid range for parameter \"extra_float_digits\" (-15 .. 2)",
                    value.trim()
                )));
            }
        }
        "standard_conforming_strings" | "client_encoding" => {
            return Err(SqlError::not_emulated(&format!("SET {name}")));
        }
        other => return Err(SqlError::new(format!("unrecognized configuration parameter \"{other}\""))),
    }
    let value = source.rewritten_range(cursor.position(), source.pieces.len())?;
    let value = value.trim();
    if value.is_empty() {
        return Err(SqlError::new("syntax error at end of input"));
    }
    if name == "enable_case_sensitive_identifier" && !matches!(value, "false" | "off" | "'false'" | "'off'") {
        return Err(SqlError::not_emulated("case-sensitive identifiers"));
    }
    let scope = if local { "LOCAL " } else { "" };
    // The stand-in's own functions and views must stay in reach.
    let rest = if name == "search_path" { ", redshift_stand_in, pg_catalog" } else { "" };
    Ok(Plan::run(format!("SET {scope}{} TO {value}{rest}", setting(name))))
}

/// Puts the values of `:name` into the text. They are always strings: PostgreSQL finds the type from where they stand, as Redshift does.
fn bind(text: &str, parameters: &[Parameter]) -> Result<String, SqlError> {
    if parameters.is_empty() {
        return Ok(text.to_owned());
    }
    let pieces = tokenize(text)?;
    let mut edits = Edits::default();
    let mut used = vec![false; parameters.len()];
    for pair in pieces.windows(2) {
        let [colon, word] = pair else { continue };
        if colon.token != Token::Colon || colon.end != word.start {
            continue;
        }
        let Token::Word(name) = &word.token else { continue };
        let Some(position) = parameters.iter().position(|parameter| parameter.name == name.value) else {
            return Err(SqlError::new(format!("there is no parameter named :{}", name.value)));
        };
        used[position] = true;
        edits.replace(colon.start, word.end, quote_literal(&parameters[position].value));
    }
    match used.iter().position(|used| !used) {
        Some(position) => {
            Err(SqlError::new(format!("parameter :{} is not used in the statement", parameters[position].name)))
        }
        None => Ok(edits.apply(text, 0, text.len())),
    }
}
