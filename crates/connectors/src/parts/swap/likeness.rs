//! What a PostgreSQL table is beside what LIKE copies: who may do what with it, how it is stored, where its sequences stand,
//! what its indexes are called.

use std::collections::BTreeMap;

use millrace_operator_api::PortError;
use millrace_operator_api::ports::TableName;

use crate::parts::dialect::Dialect;
use crate::parts::session::{Session, ask, picks};
use crate::parts::sql::{literal, quote, table};

/// Around `CREATE TABLE name (…)`.
#[derive(Debug, Default)]
pub struct Storage {
    /// `UNLOGGED ` or nothing.
    pub kind: &'static str,
    /// Access method and tablespace.
    pub place: String,
}

/// Statements that make the built table what the live one is.
#[derive(Debug, Default)]
pub struct Likeness {
    /// While both are there.
    pub beside: Vec<String>,
    /// When the live one is gone and its names are free.
    pub after: Vec<String>,
}

type Cells = Vec<Option<String>>;

const TABLE: &str = "pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace";
/// Of `o`, a text `name=value`.
const OPTION: &str = "quote_ident(split_part(o, '=', 1)) || ' = ' || quote_literal(substr(o, strpos(o, '=') + 1))";

fn text(row: &Cells, column: usize) -> Option<&str> {
    row.get(column)?.as_deref()
}

fn is_true(row: &Cells, column: usize) -> bool {
    text(row, column) == Some("t")
}

pub async fn storage(session: &dyn Session, live: &TableName) -> Result<Storage, PortError> {
    let asked = format!(
        "SELECT c.relpersistence, quote_ident(m.amname), quote_ident(s.spcname) FROM {TABLE} \
         LEFT JOIN pg_am m ON m.oid = c.relam AND c.relkind = 'r' LEFT JOIN pg_tablespace s ON s.oid = c.reltablespace WHERE {}",
        picks(live, Dialect::Postgres)
    );
    let Some(row) = ask(session, "storage", asked).await?.rows.into_iter().next() else {
        return Ok(Storage::default());
    };
    let mut place = String::new();
    if let Some(method) = text(&row, 1) {
        place.push_str(&format!(" USING {method}"));
    }
    if let Some(tablespace) = text(&row, 2) {
        place.push_str(&format!(" TABLESPACE {tablespace}"));
    }
    Ok(Storage { kind: if text(&row, 0) == Some("u") { "UNLOGGED " } else { "" }, place })
}

/// Columns whose values PostgreSQL makes itself and takes from nobody.
pub async fn generated(session: &dyn Session, live: &TableName) -> Result<Vec<String>, PortError> {
    let asked = format!(
        "SELECT a.attname FROM {TABLE} JOIN pg_attribute a ON a.attrelid = c.oid WHERE {} AND a.attnum > 0 \
         AND NOT a.attisdropped AND a.attgenerated <> ''",
        picks(live, Dialect::Postgres)
    );
    let rows = ask(session, "generated", asked).await?.rows;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

/// `columns` are those of the built table.
pub async fn likeness(
    session: &dyn Session,
    live: &TableName,
    build: &TableName,
    columns: &[String],
) -> Result<Likeness, PortError> {
    let name = table(build);
    let mut likeness = Likeness::default();
    let indexes = indexes(session, live, build).await?;
    // Those of identity columns go on where they stand, under their names.
    for sequence in sequences(session, live, build).await? {
        likeness.beside.push(sequence.go_on());
        likeness.after.push(format!("ALTER SEQUENCE {} RENAME TO {}", sequence.built, quote(&sequence.live_name)));
    }
    likeness.beside.extend(rights(session, live, build, columns).await?);
    likeness.beside.extend(columns_as(session, live, &name, columns).await?);
    likeness.beside.extend(table_as(session, live, &name, &indexes).await?);
    for index in indexes {
        likeness.after.push(format!("ALTER INDEX {} RENAME TO {}", index.built, quote(&index.name)));
    }
    likeness.after.extend(statistics(session, live, build).await?);
    Ok(likeness)
}

/// Extended statistics keep their names.
async fn statistics(session: &dyn Session, live: &TableName, build: &TableName) -> Result<Vec<String>, PortError> {
    // What they are said to be, without their name and their table's.
    let of = |name: &TableName| {
        format!(
            "SELECT replace(replace(pg_get_statisticsobjdef(x.oid), quote_ident(n.nspname) || '.' || quote_ident(x.stxname), ''), \
             ' FROM ' || x.stxrelid::regclass::text, ''), x.stxname, quote_ident(n.nspname) || '.' || quote_ident(x.stxname) \
             FROM pg_statistic_ext x JOIN pg_namespace n ON n.oid = x.stxnamespace WHERE x.stxrelid = \
             (SELECT c.oid FROM {TABLE} WHERE {}) ORDER BY x.oid",
            picks(name, Dialect::Postgres)
        )
    };
    let mut built = ask(session, "statistics", of(build)).await?.rows;
    let mut statements = Vec::new();
    for row in ask(session, "statistics", of(live)).await?.rows {
        let Some(at) = built.iter().position(|built| text(built, 0) == text(&row, 0)) else { continue };
        let same = built.remove(at);
        if let (Some(built), Some(name)) = (text(&same, 2), text(&row, 1)) {
            statements.push(format!("ALTER STATISTICS {built} RENAME TO {}", quote(name)));
        }
    }
    Ok(statements)
}

async fn table_as(
    session: &dyn Session,
    live: &TableName,
    name: &str,
    indexes: &[Index],
) -> Result<Vec<String>, PortError> {
    let asked = format!(
        "SELECT c.relrowsecurity, c.relforcerowsecurity, c.relreplident, (SELECT string_agg(p || {OPTION}, ', ') FROM \
         (SELECT '' AS p, unnest(c.reloptions) AS o UNION ALL SELECT 'toast.', unnest(t.reloptions) FROM pg_class t \
         WHERE t.oid = c.reltoastrelid) AS options) FROM {TABLE} WHERE {}",
        picks(live, Dialect::Postgres)
    );
    let Some(row) = ask(session, "likeness", asked).await?.rows.into_iter().next() else { return Ok(Vec::new()) };
    let mut clauses = Vec::new();
    if let Some(options) = text(&row, 3) {
        clauses.push(format!("SET ({options})"));
    }
    match text(&row, 2) {
        Some("n") => clauses.push("REPLICA IDENTITY NOTHING".to_owned()),
        Some("f") => clauses.push("REPLICA IDENTITY FULL".to_owned()),
        _ => {}
    }
    for index in indexes {
        if index.is_identity {
            clauses.push(format!("REPLICA IDENTITY USING INDEX {}", quote(&index.built_name)));
        }
        if index.is_clustered {
            clauses.push(format!("CLUSTER ON {}", quote(&index.built_name)));
        }
    }
    // Last: a table that is closed to its own owner stays open until all else is done.
    if is_true(&row, 0) {
        clauses.push("ENABLE ROW LEVEL SECURITY".to_owned());
    }
    if is_true(&row, 1) {
        clauses.push("FORCE ROW LEVEL SECURITY".to_owned());
    }
    Ok(clauses.into_iter().map(|clause| format!("ALTER TABLE {name} {clause}")).collect())
}

async fn columns_as(
    session: &dyn Session,
    live: &TableName,
    name: &str,
    columns: &[String],
) -> Result<Vec<String>, PortError> {
    let asked = format!(
        "SELECT a.attname, CASE WHEN a.attstattarget >= 0 THEN a.attstattarget END, \
         (SELECT string_agg({OPTION}, ', ') FROM unnest(a.attoptions) AS o) FROM {TABLE} JOIN pg_attribute a ON a.attrelid = c.oid \
         WHERE {} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        picks(live, Dialect::Postgres)
    );
    let mut statements = Vec::new();
    for row in ask(session, "likeness", asked).await?.rows {
        let Some(column) = text(&row, 0).filter(|column| columns.iter().any(|name| name == column)) else { continue };
        let column = quote(column);
        if let Some(target) = text(&row, 1) {
            statements.push(format!("ALTER TABLE {name} ALTER COLUMN {column} SET STATISTICS {target}"));
        }
        if let Some(options) = text(&row, 2) {
            statements.push(format!("ALTER TABLE {name} ALTER COLUMN {column} SET ({options})"));
        }
    }
    Ok(statements)
}

/// Exactly the rights on the live table: what default privileges gave to the built one, and the live one does not give, is
/// taken away.
async fn rights(
    session: &dyn Session,
    live: &TableName,
    build: &TableName,
    columns: &[String],
) -> Result<Vec<String>, PortError> {
    const GRANTEE: &str = "CASE WHEN x.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(x.grantee)) END";
    const OF_TABLE: &str = "aclexplode(COALESCE(c.relacl, acldefault('r', c.relowner))) AS x";
    let (of_live, of_build) = (picks(live, Dialect::Postgres), picks(build, Dialect::Postgres));
    let given = format!(
        "SELECT DISTINCT {GRANTEE} FROM {TABLE} CROSS JOIN LATERAL {OF_TABLE} WHERE {of_build} \
         UNION SELECT quote_ident(pg_get_userbyid(c.relowner)) FROM {TABLE} WHERE {of_live}"
    );
    let wanted = format!(
        "SELECT {GRANTEE}, x.is_grantable, NULL, x.privilege_type FROM {TABLE} CROSS JOIN LATERAL {OF_TABLE} WHERE {of_live} \
         UNION ALL SELECT {GRANTEE}, x.is_grantable, a.attname, x.privilege_type FROM {TABLE} JOIN pg_attribute a \
         ON a.attrelid = c.oid AND NOT a.attisdropped CROSS JOIN LATERAL aclexplode(a.attacl) AS x WHERE {of_live}"
    );
    let name = table(build);
    let mut statements = Vec::new();
    for row in ask(session, "rights", given).await?.rows {
        if let Some(grantee) = text(&row, 0) {
            statements.push(format!("REVOKE ALL ON {name} FROM {grantee}"));
        }
    }
    let mut grants: BTreeMap<(String, bool), Vec<String>> = BTreeMap::new();
    for row in ask(session, "rights", wanted).await?.rows {
        let (Some(grantee), Some(right)) = (text(&row, 0), text(&row, 3)) else { continue };
        let right = match text(&row, 2) {
            None => right.to_owned(),
            Some(column) if columns.iter().any(|name| name == column) => format!("{right} ({})", quote(column)),
            Some(_) => continue,
        };
        grants.entry((grantee.to_owned(), is_true(&row, 1))).or_default().push(right);
    }
    for ((grantee, is_grantable), rights) in grants {
        let option = if is_grantable { " WITH GRANT OPTION" } else { "" };
        statements.push(format!("GRANT {} ON {name} TO {grantee}{option}", rights.join(", ")));
    }
    Ok(statements)
}

/// The sequence of an identity column, of the live table and of the built one: quoted, with their schemas.
struct Sequence {
    column: String,
    live: String,
    /// Without schema and quotes.
    live_name: String,
    built: String,
    /// The built table's rows have taken numbers from it.
    is_used: bool,
}

impl Sequence {
    /// Sets the built one to where the one stands that has come further.
    fn go_on(&self) -> String {
        let Self { live, built, .. } = self;
        let which = literal(built);
        format!(
            "SELECT setval({which}, CASE WHEN (SELECT seqincrement > 0 FROM pg_sequence WHERE seqrelid = {which}::regclass) \
             THEN GREATEST(l.last_value, b.last_value) ELSE LEAST(l.last_value, b.last_value) END, \
             l.is_called OR b.is_called) FROM {live} AS l, {built} AS b"
        )
    }
}

async fn sequences(session: &dyn Session, live: &TableName, build: &TableName) -> Result<Vec<Sequence>, PortError> {
    let of = |name: &TableName| {
        format!(
            "SELECT a.attname, quote_ident(sn.nspname) || '.' || quote_ident(s.relname), s.relname, \
             CASE WHEN has_sequence_privilege(s.oid, 'SELECT') THEN pg_sequence_last_value(s.oid) IS NOT NULL END FROM {TABLE} \
             JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid AND d.classid = 'pg_class'::regclass \
             AND d.deptype = 'i' JOIN pg_class s ON s.oid = d.objid AND s.relkind = 'S' JOIN pg_namespace sn ON sn.oid = s.relnamespace \
             JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid WHERE {}",
            picks(name, Dialect::Postgres)
        )
    };
    let built = ask(session, "sequences", of(build)).await?.rows;
    let mut found = Vec::new();
    for row in ask(session, "sequences", of(live)).await?.rows {
        let (Some(column), Some(live), Some(name)) = (text(&row, 0), text(&row, 1), text(&row, 2)) else { continue };
        let Some(same) = built.iter().find(|built| text(built, 0) == Some(column)) else { continue };
        found.push(Sequence {
            column: column.to_owned(),
            live: live.to_owned(),
            live_name: name.to_owned(),
            built: text(same, 1).unwrap_or_default().to_owned(),
            is_used: is_true(same, 3),
        });
    }
    Ok(found)
}

/// Identity columns that did not come: the built table has numbered its rows, and the live one numbers them itself. So its
/// sequence goes on, which whoever only writes rows may not set.
pub async fn numbered(session: &dyn Session, live: &TableName, build: &TableName) -> Result<Vec<String>, PortError> {
    let sequences = sequences(session, live, build).await?;
    Ok(sequences.into_iter().filter(|sequence| sequence.is_used).map(|sequence| sequence.column).collect())
}

/// An index of the built table that is what one of the live table is.
struct Index {
    /// Of the live table's.
    name: String,
    /// Quoted, with its schema.
    built: String,
    built_name: String,
    is_identity: bool,
    is_clustered: bool,
}

async fn indexes(session: &dyn Session, live: &TableName, build: &TableName) -> Result<Vec<Index>, PortError> {
    let of = |name: &TableName| {
        format!(
            "SELECT concat_ws('|', x.relam, i.indisunique, i.indisprimary, i.indisexclusion, i.indimmediate, i.indnkeyatts, \
             i.indclass::text, i.indcollation::text, i.indoption::text, pg_get_expr(i.indpred, i.indrelid), \
             ARRAY(SELECT pg_get_indexdef(i.indexrelid, k, true) FROM generate_series(1, i.indnatts) AS k)::text), x.relname, \
             quote_ident(n.nspname) || '.' || quote_ident(x.relname), i.indisreplident, i.indisclustered FROM {TABLE} \
             JOIN pg_index i ON i.indrelid = c.oid AND i.indisvalid JOIN pg_class x ON x.oid = i.indexrelid WHERE {} ORDER BY x.oid",
            picks(name, Dialect::Postgres)
        )
    };
    let mut built = ask(session, "indexes", of(build)).await?.rows;
    let mut pairs = Vec::new();
    for row in ask(session, "indexes", of(live)).await?.rows {
        let Some(at) = built.iter().position(|built| text(built, 0) == text(&row, 0)) else { continue };
        let same = built.remove(at);
        let owned = |row: &Cells, column| text(row, column).unwrap_or_default().to_owned();
        pairs.push(Index {
            name: owned(&row, 1),
            built: owned(&same, 2),
            built_name: owned(&same, 1),
            is_identity: is_true(&row, 3),
            is_clustered: is_true(&row, 4),
        });
    }
    Ok(pairs)
}
