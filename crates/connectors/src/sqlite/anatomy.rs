//! What is known of a SQLite table: its columns, and what a load must know beside them.

use std::collections::BTreeMap;

use millrace_operator_api::ports::{Column, TableName};
use millrace_operator_api::{PortError, PortErrorKind};

use super::connect::{SqliteFile, literal, table};
use super::session::Session;
use crate::parts::failure::{invalid, while_doing};
use crate::parts::followers::refusal;
use crate::parts::sql::{list, quote};

pub async fn describe(file: &SqliteFile, connection: &mut Session, name: &TableName) -> Result<Vec<Column>, PortError> {
    let statement =
        format!("SELECT name, type, \"notnull\", dflt_value FROM pragma_table_info({})", literal(&name.name));
    let found = file.ask(connection, &statement).await?;
    if found.rows.is_empty() {
        return Err(PortError::new(
            PortErrorKind::NotFound,
            format!("connection {:?}: there is no table {name} in this database", file.conn_id),
        ));
    }
    Ok(found
        .rows
        .into_iter()
        .map(|row| {
            let mut cells = row.into_iter();
            let mut next = || cells.next().flatten();
            Column {
                name: next().unwrap_or_default(),
                type_name: next().unwrap_or_default().to_ascii_lowercase(),
                base_type: None,
                is_nullable: next().as_deref() != Some("1"),
                default: next(),
            }
        })
        .collect())
}

/// Refuses a view, which has no rows of its own.
pub async fn require_table(
    file: &SqliteFile,
    connection: &mut Session,
    target: &TableName,
    what: &str,
) -> Result<(), PortError> {
    let asked =
        format!("SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = {} COLLATE NOCASE", literal(&target.name));
    if file.ask(connection, &asked).await?.rows.is_empty() {
        return Ok(());
    }
    Err(invalid(format!("{target} is a view: {what} needs a table, so name the table behind it")))
}

/// What tells one row from another, in SQL: the row id, or the primary key of a table WITHOUT ROWID.
pub async fn row_address(
    file: &SqliteFile,
    connection: &mut Session,
    target: &TableName,
) -> Result<Vec<String>, PortError> {
    let name = literal(&target.name);
    let without = format!(
        "SELECT 1 FROM pragma_table_list WHERE schema = 'main' AND name = {name} COLLATE NOCASE AND type = 'table' AND wr = 1"
    );
    if !file.ask(connection, &without).await?.rows.is_empty() {
        let keys = format!("SELECT name FROM pragma_table_info({name}) WHERE pk > 0 ORDER BY pk");
        return Ok(first_cells(file, connection, &keys).await?.iter().map(|name| quote(name)).collect());
    }
    // A column of that name hides the row id.
    let taken = first_cells(file, connection, &format!("SELECT lower(name) FROM pragma_table_xinfo({name})")).await?;
    match ["rowid", "_rowid_", "oid"].into_iter().find(|alias| !taken.iter().any(|name| name == alias)) {
        Some(alias) => Ok(vec![alias.to_owned()]),
        None => Err(invalid(format!(
            "{target} has columns named rowid, _rowid_ and oid, so that nothing tells its rows apart; rename one of them"
        ))),
    }
}

pub async fn has_triggers(file: &SqliteFile, connection: &mut Session, target: &TableName) -> Result<bool, PortError> {
    let name = literal(&target.name);
    let asked =
        format!("SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND tbl_name = {name} COLLATE NOCASE LIMIT 1");
    Ok(!file.ask(connection, &asked).await?.rows.is_empty())
}

/// Whether a unique rule may be broken by two rows with different keys: one whose columns are not all of the keys and more, or
/// which compares them in another way. Not where more may happen with a row that goes than that it goes: a trigger, a reference
/// that takes other rows along or changes them, or is looked at when the transaction ends only (which only its words say).
pub async fn has_rule_beside(
    file: &SqliteFile,
    connection: &mut Session,
    target: &TableName,
    keys: &[String],
) -> Result<bool, PortError> {
    let name = literal(&target.name);
    let does_more = format!(
        "SELECT 1 FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table' \
         AND f.\"table\" = {name} COLLATE NOCASE AND (f.on_delete NOT IN ('NO ACTION', 'RESTRICT') OR m.sql LIKE '%DEFER%') \
         UNION ALL SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND tbl_name = {name} COLLATE NOCASE \
         AND sql LIKE '%DELETE%' LIMIT 1"
    );
    if !file.ask(connection, &does_more).await?.rows.is_empty() {
        return Ok(false);
    }
    // A primary key of one integer has no index.
    let columns = format!(
        "SELECT l.name, x.name, x.coll FROM pragma_index_list({name}) AS l, pragma_index_xinfo(l.name) AS x \
         WHERE l.\"unique\" = 1 AND x.key = 1 UNION ALL SELECT '', name, '' FROM pragma_table_info({name}) WHERE pk > 0"
    );
    // A name for each column, none for what is worked out, and the collation.
    let mut rules: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
    for row in file.ask(connection, &columns).await?.rows {
        let mut cells = row.into_iter();
        let mut next = || cells.next().flatten().unwrap_or_default();
        rules.entry(next()).or_default().push((next(), next()));
    }
    if rules.is_empty() {
        return Ok(false);
    }
    let collations = collations(file, connection, target, keys).await?;
    let has_key = |columns: &[(String, String)], key: &String| {
        let own = collations.iter().find(|(column, _)| column.eq_ignore_ascii_case(key)).map(|(_, own)| own);
        let is_same =
            |collation: &str| collation.is_empty() || own.is_none_or(|own| own.eq_ignore_ascii_case(collation));
        columns.iter().any(|(name, collation)| name.eq_ignore_ascii_case(key) && is_same(collation))
    };
    let is_within = |columns: &Vec<(String, String)>| keys.iter().all(|key| has_key(columns, key));
    Ok(!rules.values().all(is_within))
}

/// Whether the table has a rule of these words, by which SQLite names a check: the table's making repeats them.
pub async fn has_check(
    file: &SqliteFile,
    connection: &mut Session,
    target: &TableName,
    words: &str,
) -> Result<bool, PortError> {
    let asked = format!(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = {} COLLATE NOCASE AND instr(sql, {}) > 0",
        literal(&target.name),
        literal(words)
    );
    Ok(!file.ask(connection, &asked).await?.rows.is_empty())
}

pub async fn has_index(
    file: &SqliteFile,
    connection: &mut Session,
    target: &TableName,
    index: &str,
) -> Result<bool, PortError> {
    let asked = format!(
        "SELECT 1 FROM sqlite_master WHERE type = 'index' AND tbl_name = {} COLLATE NOCASE AND name = {} COLLATE NOCASE",
        literal(&target.name),
        literal(index)
    );
    Ok(!file.ask(connection, &asked).await?.rows.is_empty())
}

/// Whether the table refers to others, and others to it.
pub async fn references(
    file: &SqliteFile,
    connection: &mut Session,
    target: &TableName,
) -> Result<(bool, bool), PortError> {
    let name = literal(&target.name);
    let parents = format!("SELECT 1 FROM pragma_foreign_key_list({name}) LIMIT 1");
    let children = format!(
        "SELECT 1 FROM sqlite_master AS m, pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table' \
         AND f.\"table\" = {name} COLLATE NOCASE LIMIT 1"
    );
    let has_parents = !file.ask(connection, &parents).await?.rows.is_empty();
    Ok((has_parents, !file.ask(connection, &children).await?.rows.is_empty()))
}

/// A foreign key of the table names the table itself: what is to be there may come after what refers to it.
pub async fn refers_to_itself(
    file: &SqliteFile,
    connection: &mut Session,
    target: &TableName,
) -> Result<bool, PortError> {
    let name = literal(&target.name);
    let asked =
        format!("SELECT 1 FROM pragma_foreign_key_list({name}) WHERE \"table\" = {name} COLLATE NOCASE LIMIT 1");
    Ok(!file.ask(connection, &asked).await?.rows.is_empty())
}

/// Refuses when deleting the rows of the table would delete or unlink rows of other tables.
pub async fn refuse_followers(
    file: &SqliteFile,
    connection: &mut Session,
    target: &TableName,
    what: &str,
) -> Result<(), PortError> {
    let name = literal(&target.name);
    let keys = format!(
        "SELECT DISTINCT 'a foreign key of ' || m.name || ' (ON DELETE ' || f.on_delete || ')' FROM sqlite_master AS m, \
         pragma_foreign_key_list(m.name) AS f WHERE m.type = 'table' AND f.\"table\" = {name} COLLATE NOCASE \
         AND f.on_delete IN ('CASCADE', 'SET NULL', 'SET DEFAULT') AND m.name <> {name} COLLATE NOCASE ORDER BY 1"
    );
    let keys = first_cells(file, connection, &keys).await?;
    if keys.is_empty() {
        return Ok(());
    }
    Err(refusal(target, what, &keys.iter().map(String::as_str).collect::<Vec<_>>()))
}

/// Like [`refuse_followers`], for all rows: where there is none, nothing is lost.
pub async fn refuse_to_empty(file: &SqliteFile, connection: &mut Session, target: &TableName) -> Result<(), PortError> {
    if file.ask(connection, &format!("SELECT 1 FROM {} LIMIT 1", table(target))).await?.rows.is_empty() {
        return Ok(());
    }
    refuse_followers(file, connection, target, "replacing all rows").await
}

/// The collations of columns. Only an index tells them, so an empty table of the same making gets one.
pub async fn collations(
    file: &SqliteFile,
    connection: &mut Session,
    target: &TableName,
    columns: &[String],
) -> Result<Vec<(String, String)>, PortError> {
    let made = format!(
        "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = {} COLLATE NOCASE",
        literal(&target.name)
    );
    let made = first_cells(file, connection, &made).await?;
    let Some(body) = made.first().and_then(|sql| behind_name(sql)) else { return Ok(Vec::new()) };
    for statement in [
        "DROP TABLE IF EXISTS temp.millrace_twin".to_owned(),
        format!("CREATE TEMP TABLE millrace_twin {body}"),
        format!("CREATE INDEX temp.millrace_twin_all ON millrace_twin ({})", list(columns)),
    ] {
        file.run(connection, &statement)
            .await
            .map_err(|error| while_doing(&format!("asking how {target} compares texts"), error))?;
    }
    let asked = "SELECT name, coll FROM pragma_index_xinfo('millrace_twin_all') WHERE key = 1 AND name IS NOT NULL";
    let found = file.ask(connection, asked).await?.rows;
    file.run(connection, "DROP TABLE temp.millrace_twin").await?;
    Ok(found
        .into_iter()
        .filter_map(|row| {
            let mut cells = row.into_iter().flatten();
            Some((cells.next()?, cells.next()?))
        })
        .collect())
}

async fn first_cells(file: &SqliteFile, connection: &mut Session, asked: &str) -> Result<Vec<String>, PortError> {
    let rows = file.ask(connection, asked).await?.rows;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

/// What follows the name in `CREATE TABLE name (…) …`, as SQLite keeps it: the name is as its user wrote it.
fn behind_name(sql: &str) -> Option<&str> {
    let rest = sql.get("CREATE TABLE".len()..).filter(|_| sql[..12].eq_ignore_ascii_case("CREATE TABLE"))?.trim_start();
    let closing = match rest.chars().next()? {
        '"' => '"',
        '`' => '`',
        '\'' => '\'',
        '[' => ']',
        _ => {
            let end = rest.find(|letter: char| letter.is_whitespace() || "(/-".contains(letter))?;
            return columns_in(&rest[end..]);
        }
    };
    let mut letters = rest.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        // A quote within the name is written twice.
        if letter == closing && (closing == ']' || letters.next_if(|(_, next)| *next == closing).is_none()) {
            return columns_in(&rest[at + 1..]);
        }
    }
    None
}

/// Without the blanks and comments before.
fn columns_in(text: &str) -> Option<&str> {
    let mut rest = text.trim_start();
    loop {
        rest = if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/")?.1
        } else if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n')?.1
        } else {
            return Some(rest).filter(|rest| rest.starts_with('('));
        }
        .trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_stand_behind_the_name() {
        for sql in [
            "CREATE TABLE t(a)",
            "CREATE TABLE t (a)",
            "CREATE TABLE \"a\"\"(b\" (a)",
            "CREATE TABLE [a(b](a)",
            "CREATE TABLE 'it''s' (a)",
            "create table `주문`(a)",
            "CREATE TABLE t/* ( */ -- (\n (a)",
        ] {
            assert_eq!(behind_name(sql), Some("(a)"), "{sql}");
        }
        for sql in ["CREATE VIRTUAL TABLE t USING fts5(a)", "CREATE TABLE", "CREATE TABLE \"a", "CREATE"] {
            assert_eq!(behind_name(sql), None, "{sql}");
        }
    }
}
