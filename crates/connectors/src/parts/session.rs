//! One way to run SQL in a transaction on PostgreSQL and on Redshift, whatever the transport.

use futures::future::BoxFuture;
use millrace_operator_api::context::WorkId;
use millrace_operator_api::ports::{Column, LoadMethod, LoadReport, LoadRequest, NO_SCHEMA, SmallResult, TableName};
use millrace_operator_api::{PortError, PortErrorKind};
use sha2::{Digest, Sha256};

use crate::parts::dialect::Dialect;
use crate::parts::row_counts::Awaited;
use crate::parts::{long_names, old_markers, sql};

pub trait Session: Send + Sync {
    fn dialect(&self) -> Dialect;

    /// Runs the statements as one transaction and returns one result each. `step` names them within the task, for
    /// messages and for the journal of remote statements.
    fn run<'a>(&'a self, step: &'a str, statements: Vec<String>) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        self.run_counting(step, statements, None)
    }

    /// Like [`run`](Self::run), and nothing is committed when the statement that is meant inserts another number of rows.
    /// Redshift's tables have nothing that could take rows away, so that the Data API need not count.
    fn run_counting<'a>(
        &'a self,
        step: &'a str,
        statements: Vec<String>,
        awaited: Option<Awaited<'a>>,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>>;

    /// Runs one statement that tidies up, also when the task has been cancelled; sending it twice must do no harm.
    fn clean_up(&self, statement: String) -> BoxFuture<'_, Result<(), PortError>>;

    /// Waits until what earlier tries of the same work sent has ended. Where a statement dies with its connection there
    /// is nothing to wait for. True: there is some that they sent, or may have, and whose end nobody wrote down.
    fn await_earlier(&self) -> BoxFuture<'_, Result<bool, PortError>> {
        Box::pin(async { Ok(false) })
    }

    /// What came of this step's statements when an earlier try sent them, or may have, and never heard of their end: asked
    /// before anything is touched that they make. `None` when there are none, when they failed, and where a statement dies
    /// with its connection.
    fn take_up<'a>(
        &'a self,
        _step: &'a str,
        _statements: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Vec<SmallResult>>, PortError>> {
        Box::pin(async { Ok(None) })
    }

    /// A line of the try's log.
    fn tell(&self, line: &str);
}

/// A session in a later attempt at the same work. Its steps go by names of their own: under the name of the first attempt the
/// Data API would answer with what became of that.
pub struct Attempt<'a> {
    pub session: &'a dyn Session,
    /// Stands behind the name of every step when the whole work is done anew; empty at first.
    pub again: &'a str,
    /// 1 for the first.
    pub number: u32,
}

impl Attempt<'_> {
    fn name(&self, step: &str) -> String {
        match self.number {
            1 => format!("{step}{}", self.again),
            number => format!("{step}{}:{number}", self.again),
        }
    }
}

impl Session for Attempt<'_> {
    fn dialect(&self) -> Dialect {
        self.session.dialect()
    }

    fn run_counting<'a>(
        &'a self,
        step: &'a str,
        statements: Vec<String>,
        awaited: Option<Awaited<'a>>,
    ) -> BoxFuture<'a, Result<Vec<SmallResult>, PortError>> {
        Box::pin(async move { self.session.run_counting(&self.name(step), statements, awaited).await })
    }

    fn clean_up(&self, statement: String) -> BoxFuture<'_, Result<(), PortError>> {
        self.session.clean_up(statement)
    }

    fn await_earlier(&self) -> BoxFuture<'_, Result<bool, PortError>> {
        self.session.await_earlier()
    }

    fn take_up<'a>(
        &'a self,
        step: &'a str,
        statements: &'a [String],
    ) -> BoxFuture<'a, Result<Option<Vec<SmallResult>>, PortError>> {
        Box::pin(async move { self.session.take_up(&self.name(step), statements).await })
    }

    fn tell(&self, line: &str) {
        self.session.tell(line);
    }
}

/// Runs one statement.
pub async fn ask(session: &dyn Session, step: &str, statement: String) -> Result<SmallResult, PortError> {
    Ok(session.run(step, vec![statement]).await?.pop().unwrap_or_default())
}

/// A condition that picks the table out of `pg_class c JOIN pg_namespace n`.
pub fn picks(name: &TableName, dialect: Dialect) -> String {
    // Redshift folds names to lower case, quoted or not, unless the cluster is told otherwise.
    let same = |column: &str, text: &str| match dialect {
        Dialect::Postgres => format!("{column} = {}", sql::literal(text)),
        Dialect::Redshift => format!("lower({column}) = {}", sql::literal(&text.to_lowercase())),
    };
    match &name.schema {
        Some(schema) => format!("{} AND {}", same("n.nspname", schema), same("c.relname", &name.name)),
        None => format!("pg_table_is_visible(c.oid) AND {}", same("c.relname", &name.name)),
    }
}

/// A condition on `pg_namespace n`: tables beside this one, whose number is `oid`.
pub fn in_schema_of(name: &TableName, dialect: Dialect, oid: &str) -> String {
    match (&name.schema, dialect) {
        (Some(schema), Dialect::Postgres) => format!("n.nspname = {}", sql::literal(schema)),
        (Some(schema), Dialect::Redshift) => format!("lower(n.nspname) = {}", sql::literal(&schema.to_lowercase())),
        (None, _) => format!("pg_table_is_visible({oid})"),
    }
}

/// SQL for the type of a column of `pg_attribute a` at the end of its chain of domains and arrays of them, on PostgreSQL: what
/// a domain holds is what the last of them holds, as far as the domains before it say no more of it.
pub const BASE_TYPE: &str = "(WITH RECURSIVE base AS (SELECT a.atttypid AS oid, a.atttypmod AS typmod, 0 AS arrays \
     UNION ALL SELECT CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.typelem END, \
     CASE t.typtype WHEN 'd' THEN t.typtypmod ELSE base.typmod END, \
     base.arrays + CASE t.typtype WHEN 'd' THEN 0 ELSE 1 END \
     FROM base JOIN pg_type t ON t.oid = base.oid WHERE t.typtype = 'd' OR (t.typcategory = 'A' AND t.typelem <> 0)) \
     SELECT format_type(b.oid, b.typmod) || repeat('[]', b.arrays) FROM base b JOIN pg_type t ON t.oid = b.oid \
     WHERE t.typtype <> 'd' AND (t.typcategory <> 'A' OR t.typelem = 0))";

/// Asks the catalogue for the columns in their order.
pub fn select_columns(name: &TableName, dialect: Dialect) -> String {
    // Redshift has no domains.
    let base_type = match dialect {
        Dialect::Postgres => format!(", {BASE_TYPE}"),
        Dialect::Redshift => String::new(),
    };
    format!(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 1 ELSE 0 END, \
         pg_get_expr(d.adbin, d.adrelid){base_type} FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_attribute a ON a.attrelid = c.oid LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum \
         WHERE {} AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        picks(name, dialect)
    )
}

/// The answer to [`select_columns`].
pub fn read_columns(answer: SmallResult) -> Vec<Column> {
    answer
        .rows
        .into_iter()
        .map(|row| {
            let mut cells = row.into_iter();
            let mut next = || cells.next().flatten();
            let (name, type_name) = (next().unwrap_or_default(), next().unwrap_or_default());
            let (is_nullable, default) = (next().as_deref() != Some("1"), next());
            let base_type = next().filter(|base| *base != type_name);
            Column { name, type_name, base_type, is_nullable, default }
        })
        .collect()
}

/// The columns in their order; `None` when there is no such table.
pub async fn columns(session: &dyn Session, name: &TableName) -> Result<Option<Vec<Column>>, PortError> {
    let dialect = session.dialect();
    // The catalogue would be asked for the beginning of it.
    long_names::check_table(dialect, name)?;
    let columns = read_columns(ask(session, "describe", select_columns(name, dialect)).await?);
    Ok((!columns.is_empty()).then_some(columns))
}

pub async fn describe(session: &dyn Session, name: &TableName) -> Result<Vec<Column>, PortError> {
    if let Some(columns) = columns(session, name).await? {
        return Ok(columns);
    }
    require_schema(session, name).await?;
    Err(PortError::new(PortErrorKind::NotFound, format!("there is no table {name} in this database")))
}

/// Schemas that a message lists.
const LISTED: usize = 12;

/// Where there is no schema, no table can be made either: it is told before that is tried.
async fn require_schema(session: &dyn Session, name: &TableName) -> Result<(), PortError> {
    let Some(wanted) = &name.schema else { return Ok(()) };
    let statement = "SELECT current_database(), nspname FROM pg_namespace ORDER BY 2".to_owned();
    let found = ask(session, "schemas", statement).await?.rows;
    let known: Vec<&str> = found.iter().filter_map(|row| row.get(1)?.as_deref()).collect();
    let is_wanted = |known: &&&str| match session.dialect() {
        Dialect::Postgres => **known == wanted,
        Dialect::Redshift => known.eq_ignore_ascii_case(wanted),
    };
    // The answer may be a part of what there is; a schema of the server's own is there in any case.
    if known.is_empty() || wanted.starts_with("pg_") || known.iter().any(|known| is_wanted(&known)) {
        return Ok(());
    }
    let own = known.iter().filter(|known| !known.starts_with("pg_") && **known != "information_schema");
    let listed: Vec<&str> = own.copied().take(LISTED + 1).collect();
    let more = if listed.len() > LISTED { ", …" } else { "" };
    let database = found.first().and_then(|row| row.first()?.as_deref()).unwrap_or_default();
    let message = format!(
        "there is no schema {wanted} in database {database}, which has {}{more}: name one of them, or make the schema first: \
         CREATE SCHEMA {}",
        listed[..listed.len().min(LISTED)].join(", "),
        sql::quote(wanted)
    );
    Err(PortError::new(PortErrorKind::NotFound, message).with_code(NO_SCHEMA))
}

/// What a load writes down of its work: the work's marker, or, where that is longer than the column, its beginning and a
/// digest of the whole.
pub fn marker_of(work: &WorkId) -> String {
    const LONGEST: usize = 480;
    let marker = work.marker();
    if marker.len() <= LONGEST {
        return marker;
    }
    let digest = hex::encode(Sha256::digest(&marker));
    let mut cut = LONGEST - digest.len() - 1;
    while !marker.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}#{digest}", &marker[..cut])
}

/// Where loads and swaps of a schema leave their marks.
pub fn marker_table(target: &TableName) -> TableName {
    sql::beside(target, "millrace_load_marker")
}

pub fn create_marker_table(dialect: Dialect, target: &TableName) -> Vec<String> {
    let name = sql::table(&marker_table(target));
    let made = |key: &str| {
        format!(
            "CREATE TABLE IF NOT EXISTS {name} (marker varchar(512) {key}, loaded_at timestamp NOT NULL, rows bigint)"
        )
    };
    match dialect {
        Dialect::Postgres => vec![made("PRIMARY KEY"), old_markers::create_index(target, "loaded_at")],
        Dialect::Redshift => vec![made("NOT NULL")],
    }
}

pub fn find_marker(target: &TableName, marker: &str) -> String {
    format!("SELECT rows FROM {} WHERE marker = {}", sql::table(&marker_table(target)), sql::literal(marker))
}

/// Fails with a division by zero when the marker is there already: the last guard against doing a thing twice, inside
/// of the transaction and behind the lock.
pub fn guard_marker(target: &TableName, marker: &str) -> String {
    format!(
        "SELECT 1 / (CASE WHEN COUNT(*) = 0 THEN 1 ELSE 0 END) FROM {} WHERE marker = {}",
        sql::table(&marker_table(target)),
        sql::literal(marker)
    )
}

/// `rows` is SQL for a number. The same text at every try: a retry recognises its statement by it.
pub fn insert_marker(dialect: Dialect, target: &TableName, marker: &str, rows: &str) -> String {
    let now = match dialect {
        Dialect::Postgres => "timezone('UTC', clock_timestamp())",
        // CURRENT_TIMESTAMP runs on the leader node only and can't be inserted.
        Dialect::Redshift => "GETDATE()",
    };
    format!(
        "INSERT INTO {} (marker, loaded_at, rows) SELECT {}, {now}, {rows}",
        sql::table(&marker_table(target)),
        sql::literal(marker),
    )
}

/// Sends a CREATE TABLE. Two tasks may make one table at the same time: IF NOT EXISTS does not keep the second from an error.
pub async fn make_table(
    session: &dyn Session,
    name: &TableName,
    statement: String,
    if_not_exists: bool,
) -> Result<(), PortError> {
    match ask(session, "create-table", statement).await {
        Err(error)
            if if_not_exists
                && error.kind != PortErrorKind::Cancelled
                && columns(session, name).await.is_ok_and(|found| found.is_some()) =>
        {
            Ok(())
        }
        other => other.map(|_| ()),
    }
}

/// Whether the marker is there; makes its table when it is missing. The first thing that a load asks of its schema.
pub async fn has_marker(session: &dyn Session, target: &TableName, marker: &str) -> Result<bool, PortError> {
    look_for_marker(session, target, marker).await.map_err(|error| {
        if error.kind != PortErrorKind::Denied {
            return error;
        }
        let schema = target.schema.as_deref().map_or_else(|| "its schema".to_owned(), |name| format!("schema {name}"));
        let message = format!(
            "{}; loads into {target} need USAGE and CREATE on {schema}, where they keep millrace_load_marker, and SELECT and \
             INSERT on that table",
            error.message
        );
        PortError { message, ..error }
    })
}

/// Of work whose marker is there, and what it says. That of rows which were merged, or of which some may have been refused,
/// does not say how many were read.
pub fn report_before(request: &LoadRequest, marker: &SmallResult) -> LoadReport {
    let is_told = request.format.max_error == 0 && !matches!(request.method, LoadMethod::Upsert { .. });
    let rows_read = if is_told { sql::scalar_number(marker) } else { None };
    LoadReport { was_loaded_before: true, rows_read, ..LoadReport::default() }
}

pub async fn loaded_before(
    session: &dyn Session,
    request: &LoadRequest,
    marker: &str,
) -> Result<LoadReport, PortError> {
    let found = ask(session, "marker", find_marker(&request.target, marker)).await?;
    Ok(report_before(request, &found))
}

async fn look_for_marker(session: &dyn Session, target: &TableName, marker: &str) -> Result<bool, PortError> {
    let known = columns(session, &marker_table(target)).await?;
    if known.is_none() {
        require_schema(session, target).await?;
        match session.run("marker-table", create_marker_table(session.dialect(), target)).await {
            Ok(_) => return Ok(false),
            // Two tasks made it at the same time: it is there now.
            Err(error)
                if error.kind == PortErrorKind::Cancelled
                    || columns(session, &marker_table(target)).await?.is_none() =>
            {
                return Err(error);
            }
            Err(_) => {}
        }
    }
    Ok(!ask(session, "marker", find_marker(target, marker)).await?.rows.is_empty())
}

#[cfg(test)]
mod tests {
    use millrace_model::ids::{DagId, TaskId};

    use super::*;

    #[test]
    fn long_markers_fit_their_column_and_stay_apart() {
        let work = |run_id: String| WorkId {
            dag_id: DagId::new_unchecked("주문".repeat(40)),
            run_id,
            run_created_at: chrono::DateTime::UNIX_EPOCH,
            task_id: TaskId::new_unchecked("t"),
            map_index: -1,
            generation: 0,
            installation: "home".into(),
        };
        assert_eq!(marker_of(&work("r".into())), work("r".into()).marker());
        let (one, other) = (marker_of(&work("a".repeat(250))), marker_of(&work("a".repeat(249) + "b")));
        assert!(one.len() <= 480 && one != other);
    }
}
