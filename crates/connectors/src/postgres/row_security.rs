//! Rows that policies hide from the role that loads.
//!
//! They cannot be deleted, updated or even seen, and nothing is said of it: a replacement would keep them, and an upsert
//! would insert their keys once more.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{SmallResult, TableName};

use crate::parts::dialect::Dialect;
use crate::parts::failure::invalid;
use crate::parts::session::{Session, ask, picks};

/// Tables, the target or what it shows as a view, whose rows policies may hide from this role. Behind a view it is the
/// view's owner, as a rule, whom they are hidden from.
pub fn hidden(target: &TableName) -> String {
    format!(
        "WITH RECURSIVE tree(oid, reader) AS (SELECT c.oid, NULL::oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} UNION SELECT d.refobjid, v.relowner FROM tree JOIN pg_class v ON v.oid = tree.oid AND v.relkind = 'v' \
         JOIN pg_rewrite r ON r.ev_class = v.oid JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid \
         AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> v.oid) \
         SELECT DISTINCT k.oid::regclass::text, current_user::text FROM tree JOIN pg_class k ON k.oid = tree.oid \
         WHERE k.relrowsecurity AND ((row_security_active(k.oid) AND {}) OR (tree.reader IS NOT NULL AND NOT EXISTS (SELECT 1 \
         FROM pg_roles o WHERE o.oid = tree.reader AND (o.rolsuper OR o.rolbypassrls \
         OR (o.oid = k.relowner AND NOT k.relforcerowsecurity))) AND {})) ORDER BY 1",
        picks(target, Dialect::Postgres),
        hides_from("(SELECT u.oid FROM pg_roles u WHERE u.rolname = current_user)"),
        hides_from("tree.reader"),
    )
}

/// Whether the policies of table `k` may hide rows from a role, which is SQL: not where one says `USING (true)` for reading,
/// updating and deleting each, and none restricts that.
fn hides_from(role: &str) -> String {
    let says = |what: &str| {
        format!(
            "EXISTS (SELECT 1 FROM pg_policy p WHERE p.polrelid = k.oid AND {what} AND EXISTS (SELECT 1 FROM \
             unnest(p.polroles) AS m(oid) WHERE m.oid = 0 OR pg_has_role({role}, m.oid, 'USAGE')))"
        )
    };
    let condition = "pg_get_expr(p.polqual, p.polrelid)";
    format!(
        "(EXISTS (SELECT 1 FROM unnest('{{r,w,d}}'::\"char\"[]) AS w(command) WHERE NOT {}) OR {})",
        says(&format!("p.polpermissive AND p.polcmd IN ('*', w.command) AND {condition} = 'true'")),
        says(&format!("NOT p.polpermissive AND {condition} <> 'true'")),
    )
}

/// Like [`hidden`], but fails with a division by zero when there is one: the last guard, behind the lock.
pub fn guard(target: &TableName) -> String {
    format!("SELECT 1 / (CASE WHEN COUNT(*) = 0 THEN 1 ELSE 0 END) FROM ({}) AS h", hidden(target))
}

/// Refuses when rows may be hidden; `what` is to be done with the target: `replacing all rows`.
pub async fn check(session: &dyn Session, target: &TableName, what: &str) -> Result<(), PortError> {
    judge(target, what, &ask(session, "row-security", hidden(target)).await?)
}

pub fn judge(target: &TableName, what: &str, found: &SmallResult) -> Result<(), PortError> {
    let Some([Some(table), Some(role)]) = found.rows.first().map(Vec::as_slice) else { return Ok(()) };
    Err(invalid(format!(
        "{what} of {target} would pass over rows that the policies of {table} may hide from role {role} (row level security), \
         and they would stay or come twice; nothing was changed. Load as a role that sees all rows (ALTER ROLE {role} BYPASSRLS, \
         or the table's owner, unless the table says FORCE ROW LEVEL SECURITY), or append",
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_table_role_and_what_helps() {
        let target = TableName { schema: None, name: "shown".into() };
        let rows = vec![vec![Some("dw.t".to_owned()), Some("loader".to_owned())]];
        let error = judge(&target, "an upsert", &SmallResult { rows, ..SmallResult::default() }).unwrap_err().message;
        assert!(error.contains("an upsert of shown") && error.contains("policies of dw.t"), "{error}");
        assert!(error.contains("ALTER ROLE loader BYPASSRLS"), "{error}");
        assert!(judge(&target, "an upsert", &SmallResult::default()).is_ok());
    }
}
