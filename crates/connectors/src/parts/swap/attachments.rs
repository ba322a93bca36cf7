//! What belongs to a table beside its columns and rows: who may use it, what is said of it, what hangs on it.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::TableName;

use crate::parts::dialect::Dialect;
use crate::parts::session::{Session, ask, picks};
use crate::parts::sql::{list, literal, quote, table};

#[derive(Debug, Default)]
pub struct Attachments {
    /// Views, foreign keys, triggers, rules, policies, partitions, functions or labels refer to the table itself, or it is
    /// none that could be made again.
    pub keeps_live_table: bool,
    owner: Option<String>,
    /// As in `pg_class.relacl`: `role=arwd/owner`. Of Redshift.
    grants: Vec<String>,
    comment: Option<String>,
    /// Column and comment.
    column_comments: Vec<(String, String)>,
    /// Sequences that columns own: name in SQL, column.
    sequences: Vec<(String, String)>,
    /// Declared keys, which LIKE leaves behind on Redshift: `PRIMARY KEY`, and the columns.
    keys: Vec<(&'static str, Vec<String>)>,
    dialect: Option<Dialect>,
}

impl Attachments {
    pub async fn of(session: &dyn Session, target: &TableName) -> Result<Self, PortError> {
        let dialect = session.dialect();
        let from = format!("pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE {}", picks(target, dialect));
        let dependents = match dialect {
            Dialect::Postgres => {
                "(SELECT COUNT(*) FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid WHERE d.classid = 'pg_rewrite'::regclass \
                 AND d.refobjid = c.oid) + (SELECT COUNT(*) FROM pg_constraint k WHERE k.confrelid = c.oid OR \
                 (k.conrelid = c.oid AND k.contype = 'f')) + (SELECT COUNT(*) FROM pg_trigger g WHERE g.tgrelid = c.oid AND NOT \
                 g.tgisinternal) + (SELECT COUNT(*) FROM pg_policy p WHERE p.polrelid = c.oid) + (SELECT COUNT(*) FROM pg_inherits i \
                 WHERE i.inhparent = c.oid OR i.inhrelid = c.oid) + (SELECT COUNT(*) FROM pg_publication_rel b WHERE b.prrelid = c.oid) \
                 + (SELECT COUNT(*) FROM pg_depend d WHERE d.deptype = 'n' AND (d.classid = 'pg_proc'::regclass AND d.refobjid = c.oid \
                 OR d.refclassid = 'pg_type'::regclass AND d.refobjid = c.reltype)) \
                 + (SELECT COUNT(*) FROM pg_seclabel l WHERE l.classoid = 'pg_class'::regclass AND l.objoid = c.oid) \
                 + (CASE WHEN c.relkind = 'r' AND c.reloftype = 0 THEN 0 ELSE 1 END)"
            }
            Dialect::Redshift => {
                "(SELECT COUNT(*) FROM pg_depend d JOIN pg_rewrite r ON r.oid = d.objid WHERE d.refobjid = c.oid AND r.ev_class <> c.oid)"
            }
        };
        let about = ask(
            session,
            "attachments",
            format!(
                "SELECT {dependents}, pg_get_userbyid(c.relowner), array_to_string(c.relacl, '\n'), obj_description(c.oid, 'pg_class') FROM {from}"
            ),
        )
        .await?;
        let Some(row) = about.rows.into_iter().next() else { return Ok(Self::default()) };
        let mut cells = row.into_iter();
        let mut next = || cells.next().flatten();
        let mut attachments = Self {
            keeps_live_table: next().is_some_and(|count| count != "0"),
            owner: next(),
            grants: next().map(|text| text.lines().map(ToOwned::to_owned).collect()).unwrap_or_default(),
            comment: next(),
            dialect: Some(dialect),
            ..Self::default()
        };
        let comments = ask(
            session,
            "attachments",
            format!(
                "SELECT a.attname, col_description(c.oid, a.attnum) FROM pg_attribute a JOIN {} AND a.attrelid = c.oid AND a.attnum > 0 \
                 AND col_description(c.oid, a.attnum) IS NOT NULL",
                from.replacen("pg_class c JOIN", "pg_class c ON a.attrelid = c.oid JOIN", 1)
            ),
        )
        .await?;
        attachments.column_comments = pairs(comments.rows);
        if dialect == Dialect::Redshift {
            attachments.keys = keys(session, target).await?;
        }
        if dialect == Dialect::Postgres {
            let sequences = ask(
                session,
                "attachments",
                format!(
                    "SELECT d.objid::regclass::text, a.attname FROM pg_depend d JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n \
                     ON n.oid = c.relnamespace JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_attribute a ON \
                     a.attrelid = c.oid AND a.attnum = d.refobjsubid WHERE {} AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'",
                    picks(target, dialect)
                ),
            )
            .await?;
            attachments.sequences = pairs(sequences.rows);
        }
        Ok(attachments)
    }

    /// Statements that declare the same keys of another table with these columns, made by LIKE.
    pub fn keys_of(&self, other: &TableName, columns: &[String]) -> Vec<String> {
        let fitting = self.keys.iter().filter(|(_, key)| key.iter().all(|column| columns.contains(column)));
        fitting.map(|(kind, key)| format!("ALTER TABLE {} ADD {kind} ({})", table(other), list(key))).collect()
    }

    /// The statement that gives Redshift's other table to the same owner: the last, since afterwards the table may not be
    /// ours to change. PostgreSQL's is among [`copied_to`](Self::copied_to).
    pub fn owned_alike(&self, other: &TableName) -> Option<String> {
        let owner = self.owner.as_ref().filter(|_| self.dialect == Some(Dialect::Redshift))?;
        Some(format!("ALTER TABLE {} OWNER TO {}", table(other), quote(owner)))
    }

    /// Statements that give the same to another table with these columns.
    pub fn copied_to(&self, other: &TableName, columns: &[String]) -> Vec<String> {
        let name = table(other);
        let mut statements = Vec::new();
        // First: a sequence is owned by a table of its owner alone, and what is granted is granted by the owner.
        if self.dialect == Some(Dialect::Postgres) {
            statements.extend(self.owner.as_ref().map(|owner| format!("ALTER TABLE {name} OWNER TO {}", quote(owner))));
        }
        for (sequence, column) in &self.sequences {
            // A sequence goes with the column that owns it, and the old table is about to be dropped.
            if columns.contains(column) {
                statements.push(format!("ALTER SEQUENCE {sequence} OWNED BY {name}.{}", quote(column)));
            }
        }
        if let Some(comment) = &self.comment {
            statements.push(format!("COMMENT ON TABLE {name} IS {}", comment_literal(comment, self.dialect)));
        }
        for (column, comment) in &self.column_comments {
            if columns.contains(column) {
                statements.push(format!(
                    "COMMENT ON COLUMN {name}.{} IS {}",
                    quote(column),
                    comment_literal(comment, self.dialect)
                ));
            }
        }
        if self.dialect == Some(Dialect::Redshift) {
            statements
                .extend(self.grants.iter().filter_map(|item| grant(item, &name, self.owner.as_deref())).flatten());
        }
        statements
    }
}

/// They are not enforced, so that the order of their columns means nothing.
async fn keys(session: &dyn Session, target: &TableName) -> Result<Vec<(&'static str, Vec<String>)>, PortError> {
    let asked = format!(
        "SELECT k.conname, k.contype, a.attname FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n \
         ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = ANY (k.conkey) WHERE {} \
         AND k.contype IN ('p', 'u') ORDER BY k.conname, a.attnum",
        picks(target, Dialect::Redshift)
    );
    let mut keys: Vec<(String, &'static str, Vec<String>)> = Vec::new();
    for row in ask(session, "attachments", asked).await?.rows {
        let mut cells = row.into_iter().flatten();
        let (Some(name), Some(kind), Some(column)) = (cells.next(), cells.next(), cells.next()) else { continue };
        match keys.last_mut().filter(|(last, ..)| *last == name) {
            Some((_, _, columns)) => columns.push(column),
            None => keys.push((name, if kind == "p" { "PRIMARY KEY" } else { "UNIQUE" }, vec![column])),
        }
    }
    Ok(keys.into_iter().map(|(_, kind, columns)| (kind, columns)).collect())
}

/// COMMENT takes one plain literal, no expression.
fn comment_literal(text: &str, dialect: Option<Dialect>) -> String {
    let text = if dialect == Some(Dialect::Redshift) { text.replace('\\', "\\\\") } else { text.to_owned() };
    if text.contains('\\') { format!("'{}'", text.replace('\'', "''")) } else { literal(&text) }
}

fn pairs(rows: Vec<Vec<Option<String>>>) -> Vec<(String, String)> {
    rows.into_iter()
        .filter_map(|row| {
            let mut cells = row.into_iter().flatten();
            Some((cells.next()?, cells.next()?))
        })
        .collect()
}

/// From an `aclitem` (`reader=r*w/owner`, `group analysts=r/owner`, `=r/owner` for everybody) to GRANTs. The owner's own
/// rights come with ownership.
fn grant(item: &str, table: &str, owner: Option<&str>) -> Option<Vec<String>> {
    let (grantee, rights) = split_grantee(item)?;
    let rights = rights.rsplit_once('/').map_or(rights, |(rights, _)| rights);
    let to = match grantee.strip_prefix("group ") {
        Some(group) => format!("GROUP {}", quote(&unquoted(group))),
        None if grantee.is_empty() => "PUBLIC".to_owned(),
        None if Some(unquoted(grantee).as_str()) == owner => return None,
        None => quote(&unquoted(grantee)),
    };
    let mut plain = Vec::new();
    let mut with_option = Vec::new();
    let mut letters = rights.chars().peekable();
    while let Some(letter) = letters.next() {
        let Some(right) = right_of(letter) else { continue };
        if letters.next_if_eq(&'*').is_some() {
            with_option.push(right);
        } else {
            plain.push(right);
        }
    }
    let mut statements = Vec::new();
    if !plain.is_empty() {
        statements.push(format!("GRANT {} ON {table} TO {to}", plain.join(", ")));
    }
    if !with_option.is_empty() {
        statements.push(format!("GRANT {} ON {table} TO {to} WITH GRANT OPTION", with_option.join(", ")));
    }
    Some(statements)
}

fn split_grantee(item: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = item.strip_prefix('"') {
        let end = quoted.find("\"=")? + 2;
        return Some((&item[..end], &item[end + 1..]));
    }
    item.split_once('=')
}

fn unquoted(name: &str) -> String {
    match name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) {
        Some(inner) => inner.replace("\"\"", "\""),
        None => name.to_owned(),
    }
}

fn right_of(letter: char) -> Option<&'static str> {
    Some(match letter {
        'r' => "SELECT",
        'a' => "INSERT",
        'w' => "UPDATE",
        'd' => "DELETE",
        'D' => "TRUNCATE",
        'x' => "REFERENCES",
        't' => "TRIGGER",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_lists_become_grants() {
        let of = |item| grant(item, "\"t\"", Some("owner"));
        assert_eq!(of("owner=arwdDxt/owner"), None);
        assert_eq!(
            of("reader=r*w/owner"),
            Some(vec![
                "GRANT UPDATE ON \"t\" TO \"reader\"".into(),
                "GRANT SELECT ON \"t\" TO \"reader\" WITH GRANT OPTION".into()
            ])
        );
        assert_eq!(of("=r/owner"), Some(vec!["GRANT SELECT ON \"t\" TO PUBLIC".into()]));
        assert_eq!(of("group bi team=r/owner"), Some(vec!["GRANT SELECT ON \"t\" TO GROUP \"bi team\"".into()]));
        assert_eq!(of("\"Odd=Name\"=r/owner"), Some(vec!["GRANT SELECT ON \"t\" TO \"Odd=Name\"".into()]));
    }
}
