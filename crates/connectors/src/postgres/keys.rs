//! What PostgreSQL itself does about the keys of an upsert.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::TableName;

use crate::parts::dialect::Dialect;
use crate::parts::session::{Session, ask, picks};
use crate::parts::sql::literal;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Nothing: a key may occur twice in the target.
    MayRepeat,
    Unique,
    /// There is a unique index on exactly the keys, and an INSERT that meets it may update instead: the rows have all that
    /// an INSERT needs, and nothing fires that tells the one from the other.
    Arbiter,
}

fn literals(names: &[String]) -> String {
    names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ")
}

/// A condition on an index `i` of a table `c`: it sees to it that no two rows of the table have the same key.
///
/// Not an index on a part of the rows or on what is worked out of them, nor one that is looked at later or was never
/// finished. One that takes more texts for equal, or fewer, than the column does is another rule, and so is one with
/// operators of its own. A table's children have indexes of their own, partitions have not.
pub fn keeps_unique(keys: &[String]) -> String {
    format!(
        "(c.relkind = 'p' OR NOT c.relhassubclass) \
         AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL \
         AND NOT EXISTS (SELECT 1 FROM unnest(i.indkey[0:i.indnkeyatts - 1], i.indcollation[0:i.indnkeyatts - 1], \
         i.indclass[0:i.indnkeyatts - 1]) AS k(n, rule, class) \
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE a.attname NOT IN ({}) \
         OR NOT EXISTS (SELECT 1 FROM pg_opclass o WHERE o.oid = k.class AND (o.opcdefault OR o.opcname LIKE '%pattern_ops')) \
         OR (k.rule <> a.attcollation AND EXISTS (SELECT 1 FROM pg_collation l \
         WHERE l.oid IN (k.rule, a.attcollation) AND NOT l.collisdeterministic)))",
        literals(keys)
    )
}

/// `columns` are those of the rows.
pub async fn key_of(
    session: &dyn Session,
    target: &TableName,
    keys: &[String],
    columns: &[String],
) -> Result<Key, PortError> {
    // A partitioned table tells nobody which rows were there (xmax), and one constraint that can be deferred spoils the
    // others. A CHECK and NOT NULL look at the row to be inserted, also where its key is there already.
    let statement = format!(
        "SELECT i.indnkeyatts = {count} AND c.relkind = 'r' AND NOT c.relhasrules \
         AND NOT EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT g.tgisinternal) \
         AND NOT EXISTS (SELECT 1 FROM pg_index o WHERE o.indrelid = c.oid AND o.indisunique AND NOT o.indimmediate) \
         AND NOT EXISTS (SELECT 1 FROM pg_attribute o WHERE o.attrelid = c.oid AND o.attnum > 0 AND NOT o.attisdropped \
         AND o.attname NOT IN ({columns}) AND (o.attnotnull \
         OR EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c' AND o.attnum = ANY (k.conkey)))) \
         FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {picked} AND {keeps_unique} ORDER BY 1 DESC LIMIT 1",
        count = keys.len(),
        columns = literals(columns),
        picked = picks(target, Dialect::Postgres),
        keeps_unique = keeps_unique(keys),
    );
    let found = ask(session, "unique", statement).await?;
    Ok(match found.rows.first().and_then(|row| row.first()) {
        None => Key::MayRepeat,
        Some(Some(answer)) if answer == "t" => Key::Arbiter,
        Some(_) => Key::Unique,
    })
}

/// Answers with a row where a unique rule, of the table or of a part of it, may be broken by two rows with different keys: one
/// whose columns are not all of the keys and more. Not where more may happen with a row that goes than that it goes: a trigger
/// or a rule, a reference that takes other rows along or changes them, or is looked at when the transaction ends only.
pub fn rule_beside(target: &TableName, keys: &[String]) -> String {
    format!(
        "WITH RECURSIVE tree(oid) AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {} \
         UNION SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid) \
         SELECT 1 FROM pg_index i WHERE i.indrelid IN (SELECT oid FROM tree) AND (i.indisexclusion OR i.indisunique \
         AND EXISTS (SELECT 1 FROM unnest(ARRAY[{}]) AS w(name) WHERE NOT EXISTS (SELECT 1 \
         FROM unnest(i.indkey[0:i.indnkeyatts - 1], i.indcollation[0:i.indnkeyatts - 1]) AS k(n, rule) \
         JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.n \
         WHERE a.attname = w.name AND k.rule = a.attcollation))) \
         AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.contype = 'f' AND k.confrelid IN (SELECT oid FROM tree) \
         AND (k.confdeltype IN ('c', 'n', 'd') OR k.condeferred)) \
         AND NOT EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid IN (SELECT oid FROM tree) AND NOT g.tgisinternal \
         AND g.tgenabled <> 'D' AND g.tgtype & 8 > 0) \
         AND NOT EXISTS (SELECT 1 FROM pg_rewrite r WHERE r.ev_class IN (SELECT oid FROM tree) AND r.ev_type = '4') LIMIT 1",
        picks(target, Dialect::Postgres),
        literals(keys),
    )
}

/// Answers with a row where an INSERT or an UPDATE may come to nothing in silence: triggers, rules, or tables that are
/// elsewhere, of the table or of its parts. True: what keeps a row from being updated may first have changed what it was to
/// become, as a rule does not.
pub fn what_may_keep_rows(target: &TableName) -> String {
    // Bits of its type: for each row, before or instead; INSERT, UPDATE.
    let has_trigger = |events: u32| {
        format!(
            "EXISTS (SELECT 1 FROM pg_trigger g WHERE g.tgrelid = k.oid AND NOT g.tgisinternal AND g.tgenabled <> 'D' \
             AND g.tgtype & 1 > 0 AND g.tgtype & 66 > 0 AND g.tgtype & {events} > 0)"
        )
    };
    format!(
        "WITH RECURSIVE tree(oid) AS (SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {} \
         UNION SELECT i.inhrelid FROM tree JOIN pg_inherits i ON i.inhparent = tree.oid) \
         SELECT k.relkind NOT IN ('r', 'p') OR {} FROM tree JOIN pg_class k ON k.oid = tree.oid \
         WHERE k.relkind NOT IN ('r', 'p') OR k.relhasrules OR {} ORDER BY 1 DESC LIMIT 1",
        picks(target, Dialect::Postgres),
        has_trigger(16),
        has_trigger(4 | 16),
    )
}
