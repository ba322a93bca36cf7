//! References of a table to others, asked about of rows that are not in it yet.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::TableName;

use crate::parts::dialect::Dialect;
use crate::parts::failure::data;
use crate::parts::session::picks;
use crate::parts::sql::quote;
use crate::parts::upsert::SEQUENCE;
use crate::parts::wire::WireClient;

#[derive(Debug, PartialEq, Eq)]
pub struct Reference {
    pub constraint: String,
    pub columns: Vec<String>,
    /// As FROM takes it.
    parent: String,
    /// Its columns, in the order of `columns`.
    keys: Vec<String>,
    /// MATCH FULL: a NULL beside a value refers to nothing.
    is_full: bool,
}

/// Of the table's references those to other tables that can be asked about: what is deferred, or was never looked at (NOT VALID),
/// is no matter of single rows, and whoever may not see all parents can't tell.
fn select(target: &TableName) -> String {
    let names = |table: &str, numbers: &str| {
        format!(
            "(SELECT json_agg(a.attname ORDER BY u.place)::text FROM unnest(k.{numbers}) WITH ORDINALITY u (number, place) \
             JOIN pg_attribute a ON a.attrelid = k.{table} AND a.attnum = u.number)"
        )
    };
    format!(
        "SELECT k.conname, CASE p.relkind WHEN 'p' THEN '' ELSE 'ONLY ' END || quote_ident(s.nspname) || '.' || quote_ident(p.relname), \
         k.confmatchtype = 'f', {}, {} \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_constraint k ON k.conrelid = c.oid AND k.contype = 'f' \
         JOIN pg_class p ON p.oid = k.confrelid JOIN pg_namespace s ON s.oid = p.relnamespace \
         WHERE {} AND k.confrelid <> c.oid AND NOT k.condeferred AND k.convalidated \
         AND to_jsonb(k) ->> 'conperiod' IS DISTINCT FROM 'true' \
         AND NOT EXISTS (SELECT 1 FROM pg_constraint w WHERE w.oid = k.conparentid AND w.conrelid = k.conrelid) \
         AND has_table_privilege(k.confrelid, 'SELECT') AND NOT row_security_active(k.confrelid) ORDER BY k.conname",
        names("conrelid", "conkey"),
        names("confrelid", "confkey"),
        picks(target, Dialect::Postgres)
    )
}

impl Reference {
    pub async fn all_of(client: &WireClient, target: &TableName) -> Result<Vec<Self>, PortError> {
        let found = client.query(&select(target)).await?;
        let read = |row: Vec<Option<String>>| {
            let [constraint, parent, is_full, columns, keys] = <[Option<String>; 5]>::try_from(row).ok()?;
            Some(Self {
                constraint: constraint?,
                parent: parent?,
                is_full: is_full? == "t",
                columns: serde_json::from_str(&columns?).ok()?,
                keys: serde_json::from_str(&keys?).ok()?,
            })
        };
        let all: Option<Vec<Self>> = found.rows.into_iter().map(read).collect();
        all.ok_or_else(|| data(format!("what {target} refers to was told in a form that is not known")))
    }

    /// Asks for the numbers of rows that refer to a parent which is not there, so many at most.
    pub fn find_orphans(&self, staging: &str, most: u64) -> String {
        let seq = quote(SEQUENCE);
        let between = if self.is_full { " OR " } else { " AND " };
        let is_set: Vec<String> = self.columns.iter().map(|name| format!("s.{} IS NOT NULL", quote(name))).collect();
        let pairs = self.columns.iter().zip(&self.keys);
        let same: Vec<String> = pairs.map(|(name, key)| format!("p.{} = s.{}", quote(key), quote(name))).collect();
        format!(
            "SELECT s.{seq} FROM {staging} AS s WHERE ({}) AND NOT EXISTS (SELECT 1 FROM {} AS p WHERE {}) ORDER BY s.{seq} LIMIT {most}",
            is_set.join(between),
            self.parent,
            same.join(" AND ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_null_refers_to_nothing_unless_the_reference_says_full() {
        let reference = |is_full| Reference {
            constraint: "k".into(),
            columns: vec!["a".into(), "b".into()],
            parent: "ONLY p.t".into(),
            keys: vec!["x".into(), "y".into()],
            is_full,
        };
        let of = |is_full| reference(is_full).find_orphans("st", 3);
        let rest = "AND NOT EXISTS (SELECT 1 FROM ONLY p.t AS p WHERE p.\"x\" = s.\"a\" AND p.\"y\" = s.\"b\") \
                    ORDER BY s.\"millrace_seq\" LIMIT 3";
        let head = "SELECT s.\"millrace_seq\" FROM st AS s WHERE";
        assert_eq!(of(false), format!("{head} (s.\"a\" IS NOT NULL AND s.\"b\" IS NOT NULL) {rest}"));
        assert_eq!(of(true), format!("{head} (s.\"a\" IS NOT NULL OR s.\"b\" IS NOT NULL) {rest}"));
    }
}
