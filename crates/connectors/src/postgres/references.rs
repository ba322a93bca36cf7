//! What deleting the rows of a table would do to other tables.
//!
//! A foreign key with an action follows a DELETE: its rows go, or lose their link, and they do not come back with the
//! rows that are put in the place of the deleted ones.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{SmallResult, TableName};

use crate::parts::dialect::Dialect;
use crate::parts::followers::refusal;
use crate::parts::session::{Session, ask, picks};

/// Foreign keys of other tables, with an action on DELETE, that refer to the table, to a part of it, or to what a view
/// shows: a text for each.
pub fn with_actions(target: &TableName) -> String {
    format!(
        "WITH RECURSIVE tree(oid) AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {picked} \
         UNION SELECT e.below FROM tree JOIN (SELECT inhparent AS above, inhrelid AS below FROM pg_inherits \
         UNION ALL SELECT r.ev_class, d.refobjid FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class AND v.relkind = 'v' \
         JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass) AS e \
         ON e.above = tree.oid) \
         SELECT 'foreign key ' || quote_ident(k.conname) || ' of ' || k.conrelid::regclass::text || ' (ON DELETE ' || \
         CASE k.confdeltype WHEN 'c' THEN 'CASCADE' WHEN 'n' THEN 'SET NULL' ELSE 'SET DEFAULT' END || ')' \
         FROM pg_constraint k WHERE k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd') \
         AND k.confrelid IN (SELECT oid FROM tree) AND k.conrelid NOT IN (SELECT oid FROM tree) \
         AND NOT EXISTS (SELECT 1 FROM pg_constraint p WHERE p.oid = k.conparentid AND p.confrelid IN (SELECT oid FROM tree)) \
         ORDER BY 1",
        picked = picks(target, Dialect::Postgres),
    )
}

/// Like [`with_actions`], and tables that inherit from this one without being its partitions: a DELETE goes on to their rows,
/// which have columns of their own. Nothing where the table (quoted in `quoted`) has no row: then nothing is lost.
pub fn that_lose(target: &TableName, quoted: &str) -> String {
    format!(
        "SELECT * FROM (({}) UNION ALL SELECT 'table ' || i.inhrelid::regclass::text || ', which inherits from it' \
         FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhparent JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE c.relkind <> 'p' AND {}) AS k WHERE EXISTS (SELECT 1 FROM {quoted})",
        with_actions(target),
        picks(target, Dialect::Postgres),
    )
}

/// Like [`that_lose`], but fails with a division by zero when there is one: the last guard, behind the lock.
pub fn guard(target: &TableName, quoted: &str) -> String {
    format!("SELECT 1 / (CASE WHEN COUNT(*) = 0 THEN 1 ELSE 0 END) FROM ({}) AS k", that_lose(target, quoted))
}

/// Refuses when another table would lose something.
pub async fn check(session: &dyn Session, target: &TableName, quoted: &str) -> Result<(), PortError> {
    judge(target, "replacing all rows", &ask(session, "references", that_lose(target, quoted)).await?)
}

/// For the removal of rows that stand for one key.
pub fn judge_doubles(target: &TableName, found: &SmallResult) -> Result<(), PortError> {
    judge(target, "removing rows whose key occurs more than once", found)
}

pub fn judge(target: &TableName, what: &str, found: &SmallResult) -> Result<(), PortError> {
    let keys: Vec<&str> = found.rows.iter().filter_map(|row| row.first()?.as_deref()).collect();
    if keys.is_empty() { Ok(()) } else { Err(refusal(target, what, &keys)) }
}
