//! Build a table beside the live one, check it, put it in the live one's place: PostgreSQL and Redshift.
//!
//! The built table gets the live one's name in one transaction, with owner, grants, comments and, in PostgreSQL, all else
//! that a table is. Where something hangs on the live table itself that would stay with the old one (views, foreign keys,
//! triggers, policies), the live table stays and its rows are exchanged in one transaction instead. Readers see the old
//! rows or the new ones either way.

mod attachments;
mod likeness;

use millrace_operator_api::context::WorkId;
use millrace_operator_api::ports::{
    BuildReport, BuildRequest, CheckResult, Column, LoadReport, LoadRequest, SmallResult, TableCheck, TableName,
};
use millrace_operator_api::{PortError, PortErrorKind};

use crate::parts::checks;
use crate::parts::dialect::Dialect;
use crate::parts::failed_builds;
use crate::parts::failure::{invalid, while_doing};
use crate::parts::old_markers;
use crate::parts::row_counts::Awaited;
use crate::parts::session::{
    Attempt, Session, ask, columns, guard_marker, has_marker, insert_marker, marker_of, picks,
};
use crate::parts::sql::{self, list, quote, scalar_number, table, without_semicolon};
use crate::parts::task::TaskHandle;
use crate::parts::turns::{LOST_TURN, Turns};
use crate::postgres::keys::keeps_unique;
use crate::postgres::locks::{ALONE, LockTurns};
use crate::postgres::{references, row_security};
use attachments::Attachments;
use likeness::{Likeness, Storage};

pub async fn check(
    session: &dyn Session,
    target: &TableName,
    wanted: &[TableCheck],
) -> Result<Vec<CheckResult>, PortError> {
    let mut results = Vec::with_capacity(wanted.len());
    for (index, check) in wanted.iter().enumerate() {
        let name = checks::name(check);
        let failed = |error| while_doing(&format!("the check {name} on {target} could not be made"), error);
        if let (TableCheck::Unique(keys), Dialect::Postgres) = (check, session.dialect())
            && is_kept_unique(session, target, keys).await.map_err(failed)?
        {
            let found = "a unique index keeps every key from occurring more than once".to_owned();
            results.push(CheckResult { name, passed: true, found });
            continue;
        }
        let step = format!("check:{}", index + 1);
        let answer = ask(session, &step, checks::statement(check, &table(target))).await.map_err(failed)?;
        results.push(checks::judge(check, &answer));
    }
    Ok(results)
}

/// Whether an index sees to it that no key occurs twice: then nobody needs to group all rows by it.
async fn is_kept_unique(session: &dyn Session, target: &TableName, keys: &[String]) -> Result<bool, PortError> {
    let statement = format!(
        "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} AND {} LIMIT 1",
        picks(target, Dialect::Postgres),
        keeps_unique(keys)
    );
    Ok(!ask(session, "unique", statement).await?.rows.is_empty())
}

/// Once more when another transaction was in the way.
pub async fn build_and_swap(
    session: &dyn Session,
    request: BuildRequest,
    task: &TaskHandle,
) -> Result<BuildReport, PortError> {
    let mut turns = Turns::default();
    loop {
        let attempt = Attempt { session, again: "", number: turns.attempt() };
        match build_by_name(&attempt, &request, None).await {
            // What the SELECT names and is not there will not come.
            Err(error) if error.kind == PortErrorKind::Unavailable => turns.again(error, task).await?,
            result => {
                if result.as_ref().is_ok_and(|report| report.was_swapped) {
                    failed_builds::forget(session, &request).await;
                    old_markers::tend(session, &request.target).await;
                }
                return result;
            }
        }
    }
}

/// With `names`, those are the columns that the SELECT gives, in its order; without, it gives them by position. The table
/// that is built goes when the try fails; when even that fails, the next try drops it.
pub async fn build_by_name(
    session: &dyn Session,
    request: &BuildRequest,
    names: Option<&[String]>,
) -> Result<BuildReport, PortError> {
    let suffix = format!("__build_{}", request.work.short_hash());
    let build = sql::beside(&request.target, &sql::name_with_suffix(&request.target.name, &suffix));
    let built = build_and_publish(session, request, &build, names).await;
    if built.as_ref().map_or(true, |report| report.was_built_before) {
        remove(session, &build).await;
    }
    built
}

/// That it cannot be removed fails nothing.
async fn remove(session: &dyn Session, build: &TableName) {
    if let Err(error) = session.clean_up(format!("DROP TABLE IF EXISTS {}", table(build))).await {
        tracing::info!(table = %build, error = error.message, "what was built is left behind");
    }
}

async fn build_and_publish(
    session: &dyn Session,
    request: &BuildRequest,
    build: &TableName,
    names: Option<&[String]>,
) -> Result<BuildReport, PortError> {
    let target = &request.target;
    let marker = marker_of_swap(&request.work);
    let has_earlier = session.await_earlier().await?;
    if has_marker(session, target, &marker).await? {
        return Ok(BuildReport { was_built_before: true, was_swapped: true, ..BuildReport::default() });
    }
    let live = columns(session, target).await?;
    let is_new = live.is_none();
    let is_postgres = session.dialect() == Dialect::Postgres;
    let storage = match &live {
        Some(_) if is_postgres => likeness::storage(session, target).await?,
        _ => Storage::default(),
    };
    let shape = shape(request, live.is_some(), is_postgres.then_some(storage.place.as_str()))?;
    if is_postgres && live.is_some() {
        // Before anything is built; the transaction asks again.
        references::check(session, target, &table(target)).await?;
        row_security::check(session, target, "replacing all rows").await?;
    }
    if let (Some(_), Some(live)) = (&request.columns_ddl, &live) {
        refuse_other_columns(session, request, live, &shape).await?;
    }
    let select = without_semicolon(&request.select);
    let mut statements = Vec::from_iter(is_postgres.then(|| ISOLATION.to_owned()));
    statements.extend([
        format!("DROP TABLE IF EXISTS {}", table(build)),
        format!("CREATE {}TABLE {} {shape}", storage.kind, table(build)),
        insert_select(session.dialect(), build, names, select),
        format!("SELECT COUNT(*) FROM {}", table(build)),
    ]);
    let made = session
        .run("build", statements)
        .await
        .map_err(|error| while_doing(&format!("building {target} beside the live table"), error))?;
    let mut report = BuildReport { rows: made.last().and_then(scalar_number), ..BuildReport::default() };
    note_ids(&mut report, &made);
    report.checks = check(session, build, &request.checks).await?;
    if report.checks.iter().any(|check| !check.passed) {
        if request.keep_failed {
            report.kept_as = Some(failed_builds::keep(session, request, build).await.to_string());
        } else {
            session.run("drop", vec![format!("DROP TABLE IF EXISTS {}", table(build))]).await?;
        }
        return Ok(report);
    }
    let publishing = Publishing { session, request, build, marker: &marker, rows: report.rows };
    let swapped = match live {
        None => session.run("swap", publishing.new_table()).await,
        Some(_) => publishing.in_place_of_live().await?,
    };
    match swapped {
        Ok(done) => {
            note_ids(&mut report, &done);
            // It may have been an earlier try's exchange, which ended while this one built once more.
            if has_earlier {
                remove(session, build).await;
            }
        }
        // The guard stops a second swap by a division by zero; then an earlier try's statement has done it meanwhile.
        Err(error) => {
            if !has_marker(session, target, &marker).await? {
                if is_postgres {
                    references::check(session, target, &table(target)).await?;
                    row_security::check(session, target, "replacing all rows").await?;
                }
                publishing.require_built_rows().await?;
                let error = while_doing(&format!("putting the new {target} in place"), error);
                // Another task made the table meanwhile: now it is one to be exchanged.
                if is_new && columns(session, target).await?.is_some() {
                    return Err(PortError { kind: PortErrorKind::Unavailable, ..error }.with_code(LOST_TURN));
                }
                return Err(error);
            }
            report.was_built_before = true;
        }
    }
    report.was_swapped = true;
    Ok(report)
}

/// What stands behind the name of the table that is made. `place` is where PostgreSQL keeps the live one; none: Redshift.
fn shape(request: &BuildRequest, is_live: bool, place: Option<&str>) -> Result<String, PortError> {
    let target = &request.target;
    match (&request.columns_ddl, is_live, place) {
        (Some(ddl), ..) if ddl.trim().starts_with('(') => Ok(ddl.trim().to_owned()),
        (Some(_), ..) => Err(invalid(format!("the columns of {target} must be given in parentheses"))),
        // PostgreSQL can take keys, indexes and comments along as well; Redshift has no such thing.
        (None, true, Some(place)) => Ok(format!("(LIKE {} INCLUDING ALL){place}", table(target))),
        (None, true, None) => Ok(format!("(LIKE {} INCLUDING DEFAULTS)", table(target))),
        (None, false, _) => Err(PortError::new(
            PortErrorKind::NotFound,
            format!("there is no table {target} yet, and no columns were given to make it with"),
        )),
    }
}

/// Where something hangs on the live table its rows are exchanged, and its columns stay what they are: values would be cast
/// to its types, rounded or cut.
async fn refuse_other_columns(
    session: &dyn Session,
    request: &BuildRequest,
    live: &[Column],
    shape: &str,
) -> Result<(), PortError> {
    let target = &request.target;
    if !Attachments::of(session, target).await?.keeps_live_table {
        return Ok(());
    }
    // Not the table that is built: an earlier try's may be there already, and be taken for this one's.
    let suffix = format!("__shape_{}", request.work.short_hash());
    let tried = sql::beside(target, &sql::name_with_suffix(&target.name, &suffix));
    let drop = format!("DROP TABLE IF EXISTS {}", table(&tried));
    let make = vec![drop.clone(), format!("CREATE TABLE {} {shape}", table(&tried))];
    let made = session.run("shape", make).await;
    made.map_err(|error| while_doing(&format!("making the columns that {target} is to have"), error))?;
    let wanted = columns(session, &tried).await;
    if let Err(error) = session.clean_up(drop).await {
        tracing::info!(table = %tried, error = error.message, "what was made to see its columns is left behind");
    }
    let wanted = wanted?.ok_or_else(|| {
        let message =
            format!("the table {tried}, made to see the columns of the new {target}, is gone; run the task again");
        PortError::new(PortErrorKind::Unavailable, message)
    })?;
    let differing: Vec<String> = wanted
        .iter()
        .filter_map(|column| match live.iter().find(|known| known.name == column.name) {
            None => Some(format!("there is no {}", column.name)),
            Some(known) if known.type_name != column.type_name => {
                Some(format!("{} is {}, not {}", column.name, known.type_name, column.type_name))
            }
            Some(_) => None,
        })
        .collect();
    if differing.is_empty() {
        return Ok(());
    }
    Err(invalid(format!(
        "views, triggers, foreign keys or the like hang on {target}, so that its rows are exchanged and its columns stay as \
         they are: {}; change the table first (ALTER TABLE), give its own columns, or drop what hangs on it",
        differing.join(", ")
    )))
}

/// By position, as SELECT has it, or by name; columns that the SELECT does not have get their defaults.
fn insert_select(dialect: Dialect, build: &TableName, names: Option<&[String]>, select: &str) -> String {
    let names = names.map(|names| format!(" ({})", list(names))).unwrap_or_default();
    let overriding = if dialect == Dialect::Postgres { " OVERRIDING SYSTEM VALUE" } else { "" };
    // The newline ends a comment that the SELECT may end with.
    format!("INSERT INTO {}{names}{overriding}\n{select}\n", table(build))
}

/// Whatever is usual in this database: what others commit meanwhile, the marker of an earlier try above all, is to be seen.
const ISOLATION: &str = "SET TRANSACTION ISOLATION LEVEL READ COMMITTED";

/// Fewer than the Data API takes.
const ATTACHED_AT_ONCE: usize = 30;

/// A built and checked table on its way into the live one's place.
struct Publishing<'a> {
    session: &'a dyn Session,
    request: &'a BuildRequest,
    build: &'a TableName,
    marker: &'a str,
    /// Those of the built table.
    rows: Option<u64>,
}

impl Publishing<'_> {
    /// What goes with the table, and the mark of its being there.
    fn marking(&self) -> impl Iterator<Item = String> {
        let marker = insert_marker(
            self.session.dialect(),
            &self.request.target,
            self.marker,
            &self.rows.unwrap_or(0).to_string(),
        );
        self.request.also.iter().cloned().chain([marker])
    }

    /// First in the transaction: this work's swap was not made yet, and, on Redshift, the built table still has its rows.
    /// There the building may be that of an earlier try, and the table another one's meanwhile.
    fn guards(&self) -> Vec<String> {
        let is_redshift = self.session.dialect() == Dialect::Redshift;
        let counted = self.rows.filter(|_| is_redshift).map(|rows| {
            format!("SELECT 1 / (CASE WHEN COUNT(*) = {rows} THEN 1 ELSE 0 END) FROM {}", table(self.build))
        });
        std::iter::once(guard_marker(&self.request.target, self.marker)).chain(counted).collect()
    }

    /// Says that the guard has found other rows; the table is built once more then.
    async fn require_built_rows(&self) -> Result<(), PortError> {
        let Some(rows) = self.rows.filter(|_| self.session.dialect() == Dialect::Redshift) else { return Ok(()) };
        let count = format!("SELECT COUNT(*) FROM {}", table(self.build));
        match ask(self.session, "rebuilt", count).await.as_ref().map(scalar_number) {
            Ok(Some(found)) if found != rows => {
                let message = format!(
                    "{rows} rows were built for {}, but {} has {found}; nothing was put in place",
                    self.request.target, self.build
                );
                Err(PortError::new(PortErrorKind::Unavailable, message).with_code(LOST_TURN))
            }
            // That the swap failed is told in any case.
            _ => Ok(()),
        }
    }

    fn new_table(&self) -> Vec<String> {
        let mut statements = self.guards();
        statements.push(format!("ALTER TABLE {} RENAME TO {}", table(self.build), quote(&self.request.target.name)));
        statements.extend(self.marking());
        statements
    }

    /// The outer error is that of a question, the inner one that of the swap, which may have been done nevertheless.
    async fn in_place_of_live(&self) -> Result<Result<Vec<SmallResult>, PortError>, PortError> {
        let (session, target) = (self.session, &self.request.target);
        let attachments = Attachments::of(session, target).await?;
        let built = columns(session, self.build).await?.unwrap_or_default();
        let mut names: Vec<String> = built.into_iter().map(|column| column.name).collect();
        let is_exchanged = attachments.keeps_live_table;
        // Triggers and rules of the live table see its rows come, and may keep some of them.
        let awaited = |statements: &[String]| {
            let statement = statements.iter().position(|statement| statement.starts_with("INSERT INTO"))?;
            Some(Awaited { statement, rows: self.rows.filter(|_| is_exchanged)?, target })
        };
        let statements = if is_exchanged {
            if session.dialect() == Dialect::Postgres {
                let generated = likeness::generated(session, target).await?;
                let numbered = likeness::numbered(session, target, self.build).await?;
                names.retain(|name| !generated.contains(name) && !numbered.contains(name));
            }
            self.exchanged_rows(&names)
        } else {
            self.exchanged_tables(&attachments, &names).await?
        };
        if session.dialect() == Dialect::Redshift {
            let lock = format!("LOCK TABLE {}", table(target));
            return Ok(session.run("swap", std::iter::once(lock).chain(statements).collect()).await);
        }
        // Who reads goes on reading while rows are exchanged.
        let mode = if is_exchanged { "SHARE ROW EXCLUSIVE" } else { ALONE };
        let mut turns = LockTurns::default();
        loop {
            let mut all = vec![ISOLATION.to_owned()];
            all.extend(turns.statements(&table(target), mode));
            all.extend(statements.iter().cloned());
            let awaited = awaited(&all);
            match session.run_counting("swap", all, awaited).await {
                Ok(done) => return Ok(Ok(done)),
                Err(error) => {
                    if let Err(error) = turns.again(error).await {
                        return Ok(Err(error));
                    }
                    turns.tell(session, &table(target), mode).await;
                }
            }
        }
    }

    fn exchanged_rows(&self, names: &[String]) -> Vec<String> {
        let target = &self.request.target;
        let (live, built, names) = (table(target), table(self.build), list(names));
        let mut statements = self.guards();
        let mut overriding = "";
        if self.session.dialect() == Dialect::Postgres {
            statements.push(references::guard(target, &live));
            statements.push(row_security::guard(target));
            overriding = " OVERRIDING SYSTEM VALUE";
        }
        statements.extend([
            format!("DELETE FROM {live}"),
            format!("INSERT INTO {live} ({names}){overriding} SELECT {names} FROM {built}"),
        ]);
        statements.push(format!("DROP TABLE {built}"));
        statements.extend(self.marking());
        statements
    }

    /// On the built table, which nobody sees yet: a transaction of the Data API holds few statements, and a table may have
    /// a comment for each of its columns.
    async fn attach(&self, statements: Vec<String>) -> Result<(), PortError> {
        for (number, some) in statements.chunks(ATTACHED_AT_ONCE).enumerate() {
            let attached = self.session.run(&format!("attach:{}", number + 1), some.to_vec()).await;
            attached.map_err(|error| {
                while_doing(
                    &format!("giving keys, comments and grants of {} to the new table", self.request.target),
                    error,
                )
            })?;
        }
        Ok(())
    }

    async fn exchanged_tables(&self, attachments: &Attachments, names: &[String]) -> Result<Vec<String>, PortError> {
        let (target, build) = (&self.request.target, self.build);
        let suffix = format!("__old_{}", self.request.work.short_hash());
        let old = sql::beside(target, &sql::name_with_suffix(&target.name, &suffix));
        let mut statements = self.guards();
        let mut attached = Vec::new();
        if self.request.columns_ddl.is_none() {
            attached.extend(attachments.keys_of(build, names));
        }
        attached.extend(attachments.copied_to(build, names));
        match self.session.dialect() {
            Dialect::Postgres => statements.append(&mut attached),
            Dialect::Redshift => self.attach(attached).await?,
        }
        statements.extend(attachments.owned_alike(build));
        let mut likeness = Likeness::default();
        if self.session.dialect() == Dialect::Postgres {
            likeness = likeness::likeness(self.session, target, build, names).await?;
        }
        statements.extend(likeness.beside);
        statements.extend(rename(target, build, &old));
        statements.extend(likeness.after);
        statements.extend(self.marking());
        Ok(statements)
    }
}

fn rename(target: &TableName, build: &TableName, old: &TableName) -> [String; 3] {
    [
        format!("ALTER TABLE {} RENAME TO {}", table(target), quote(&old.name)),
        format!("ALTER TABLE {} RENAME TO {}", table(build), quote(&target.name)),
        format!("DROP TABLE {}", table(old)),
    ]
}

/// The marker of a swap is another one than that of a load of the same work.
pub fn marker_of_swap(work: &WorkId) -> String {
    format!("{}#swap", marker_of(work))
}

/// What puts the rows of `staging` in the live table's place, and refused ones into the quarantine.
pub fn request_of_load(
    request: &LoadRequest,
    staging: &str,
    names: &[String],
    quarantine: Vec<String>,
) -> BuildRequest {
    BuildRequest {
        target: request.target.clone(),
        select: format!("SELECT {} FROM {staging}", list(names)),
        columns_ddl: None,
        checks: Vec::new(),
        keep_failed: false,
        also: [quarantine, request.also.clone()].concat(),
        work: request.work.clone(),
    }
}

/// A load's report after its swap.
pub fn load_report(mut report: LoadReport, built: BuildReport) -> LoadReport {
    if built.was_built_before {
        return LoadReport { was_loaded_before: true, ..LoadReport::default() };
    }
    report.rows_inserted = built.rows;
    report.remote_ids.extend(built.remote_ids);
    report.remote_ids.dedup();
    report
}

fn note_ids(report: &mut BuildReport, results: &[SmallResult]) {
    for id in results.iter().filter_map(|result| result.remote_id.clone()) {
        if !report.remote_ids.contains(&id) {
            report.remote_ids.push(id);
        }
    }
}
