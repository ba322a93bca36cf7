//! Build, check, swap in SQLite. Where the new table looks like the live one, the live one stays with its indexes,
//! triggers and views, and its rows are exchanged in one transaction; otherwise the new table takes its name.

use millrace_operator_api::ports::{BuildReport, BuildRequest, Column, TableName};
use millrace_operator_api::{PortError, PortErrorKind};

use super::anatomy;
use super::anatomy::describe;
use super::connect::{SqliteFile, literal, table};
use super::marker::{drop_old_markers, find_marker, insert_marker, marker_ddl};
use super::session::Session;
use super::table_checks::check;
use crate::parts::failed_builds;
use crate::parts::failure::{invalid, while_doing};
use crate::parts::row_counts::require_inserted;
use crate::parts::sql::{self, list, name_with_suffix, quote, scalar_number, without_semicolon};
use crate::parts::swap::marker_of_swap;

pub async fn build_and_swap(file: &SqliteFile, request: BuildRequest) -> Result<BuildReport, PortError> {
    let connection = &mut file.open(false).await?;
    let built = build_by_name(file, connection, &request, None).await?;
    if built.was_swapped {
        forget_failed(file, connection, &request).await;
    }
    Ok(built)
}

/// The table that is built goes when the try fails.
pub async fn build_by_name(
    file: &SqliteFile,
    connection: &mut Session,
    request: &BuildRequest,
    names: Option<&[String]>,
) -> Result<BuildReport, PortError> {
    let build = build_of(request);
    let built = build_and_publish(file, connection, request, &build, names).await;
    if built.is_err() {
        // The first error counts. Without a transaction the one fails, without a table the other does nothing.
        let _ = file.run(connection, "ROLLBACK").await;
        let _ = file.run(connection, &format!("DROP TABLE IF EXISTS {}", table(&build))).await;
    }
    built
}

/// Drops what failed runs of this task kept. That one cannot be dropped fails nothing.
async fn forget_failed(file: &SqliteFile, connection: &mut Session, request: &BuildRequest) {
    let prefix = failed_builds::prefix_of(request);
    let asked = format!(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND substr(name, 1, {}) = {} COLLATE NOCASE",
        prefix.chars().count(),
        literal(&prefix)
    );
    let kept = file.ask(connection, &asked).await.map(|found| found.rows).unwrap_or_default();
    for name in kept.into_iter().filter_map(|row| row.into_iter().next()?) {
        if let Err(error) = file.run(connection, &format!("DROP TABLE IF EXISTS {}", quote(&name))).await {
            tracing::info!(table = name, error = error.message, "a failed build stays");
        }
    }
}

fn build_of(request: &BuildRequest) -> TableName {
    let suffix = format!("__build_{}", request.work.short_hash());
    sql::beside(&request.target, &name_with_suffix(&request.target.name, &suffix))
}

/// With `names`, those are the columns that the SELECT gives, in its order; without, it gives them by position.
async fn build_and_publish(
    file: &SqliteFile,
    connection: &mut Session,
    request: &BuildRequest,
    build: &TableName,
    names: Option<&[String]>,
) -> Result<BuildReport, PortError> {
    let names = names.map(|names| format!(" ({})", list(names))).unwrap_or_default();
    let target = &request.target;
    let marker = marker_of_swap(&request.work);
    file.run(connection, &marker_ddl()).await?;
    if !file.ask(connection, &find_marker(&marker)).await?.rows.is_empty() {
        return Ok(BuildReport { was_built_before: true, was_swapped: true, ..BuildReport::default() });
    }
    let live = match describe(file, connection, target).await {
        Ok(columns) => Some(columns),
        Err(error) if error.kind == PortErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    if live.is_some() {
        anatomy::require_table(file, connection, target, "a swap").await?;
        anatomy::refuse_to_empty(file, connection, target).await?;
    }
    let shape = match (&request.columns_ddl, &live) {
        (Some(ddl), _) if ddl.trim_start().starts_with('(') => ddl.clone(),
        (Some(_), _) => return Err(invalid(format!("the columns of {target} must be given in parentheses"))),
        (None, Some(_)) => like(file, connection, target).await?,
        (None, None) => {
            return Err(PortError::new(
                PortErrorKind::NotFound,
                format!("there is no table {target} yet, and no columns were given to make it with"),
            ));
        }
    };
    let built = table(build);
    file.run(connection, "BEGIN IMMEDIATE").await?;
    for statement in [
        format!("DROP TABLE IF EXISTS {built}"),
        format!("CREATE TABLE {built} {shape}"),
        format!("INSERT INTO {built}{names}\n{}\n", without_semicolon(&request.select)),
        "COMMIT".to_owned(),
    ] {
        file.run(connection, &statement)
            .await
            .map_err(|error| while_doing(&format!("building {target} beside the live table"), error))?;
    }
    let rows = file.ask(connection, &format!("SELECT COUNT(*) FROM {built}")).await?;
    let mut report = BuildReport { rows: scalar_number(&rows), ..BuildReport::default() };
    report.checks = check(file, connection, build, &request.checks).await?;
    if report.checks.iter().any(|check| !check.passed) {
        if request.keep_failed {
            let kept = failed_builds::name_of(request);
            let renamed = format!("ALTER TABLE {built} RENAME TO {}", quote(&kept.name));
            file.run(connection, &format!("DROP TABLE IF EXISTS {}; {renamed}", table(&kept))).await?;
            report.kept_as = Some(kept.to_string());
        } else {
            file.run(connection, &format!("DROP TABLE {built}")).await?;
        }
        return Ok(report);
    }
    let columns = describe(file, connection, build).await?;
    file.run(connection, "BEGIN IMMEDIATE").await?;
    if live.is_some() {
        anatomy::refuse_to_empty(file, connection, target).await?;
    }
    let mut statements = publish(target, build, live.as_deref(), &columns);
    let into_live = format!("INSERT INTO {} ", table(target));
    if live.as_ref().is_some_and(|live| *live != columns) {
        statements.extend(hangers_on(file, connection, target).await?);
    }
    statements.extend_from_slice(&request.also);
    statements.push(insert_marker(&literal(&marker), report.rows.unwrap_or(0)));
    statements.push(drop_old_markers());
    statements.push("COMMIT".to_owned());
    for statement in statements {
        let written = file
            .run(connection, &statement)
            .await
            .map_err(|error| while_doing(&format!("putting the new {target} in place"), error))?;
        // Triggers of the live table see its rows come, and may keep some of them.
        if let Some(rows) = report.rows.filter(|_| statement.starts_with(&into_live)) {
            require_inserted(target, rows, Some(written))?;
        }
    }
    report.was_swapped = true;
    Ok(report)
}

fn publish(target: &TableName, build: &TableName, live: Option<&[Column]>, columns: &[Column]) -> Vec<String> {
    let (name, built) = (table(target), table(build));
    match live {
        Some(live) if live == columns => {
            let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
            vec![
                format!("DELETE FROM {name}"),
                format!("INSERT INTO {name} ({0}) SELECT {0} FROM {built}", list(&names)),
                format!("DROP TABLE {built}"),
            ]
        }
        Some(_) => vec![format!("DROP TABLE {name}"), format!("ALTER TABLE {built} RENAME TO {}", quote(&target.name))],
        None => vec![format!("ALTER TABLE {built} RENAME TO {}", quote(&target.name))],
    }
}

/// What makes the indexes and triggers of the table, which go with it when it is dropped. One that does not fit the new
/// columns stops the swap.
async fn hangers_on(file: &SqliteFile, connection: &mut Session, target: &TableName) -> Result<Vec<String>, PortError> {
    let asked = format!(
        "SELECT sql FROM sqlite_master WHERE type IN ('index', 'trigger') AND sql IS NOT NULL AND tbl_name = {} COLLATE NOCASE",
        literal(&target.name)
    );
    let rows = file.ask(connection, &asked).await?.rows;
    Ok(rows.into_iter().filter_map(|row| row.into_iter().next().flatten()).collect())
}

/// SQLite has no LIKE: columns, defaults, NOT NULL and the primary key are read back.
async fn like(file: &SqliteFile, connection: &mut Session, target: &TableName) -> Result<String, PortError> {
    let statement = format!(
        "SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_info({}) ORDER BY cid",
        literal(&target.name)
    );
    let rows = file.ask(connection, &statement).await?.rows;
    let cell = |row: &Vec<Option<String>>, index: usize| row.get(index).cloned().flatten();
    let mut parts: Vec<String> = rows
        .iter()
        .map(|row| {
            let mut part = format!("{} {}", quote(&cell(row, 0).unwrap_or_default()), cell(row, 1).unwrap_or_default());
            if cell(row, 2).as_deref() == Some("1") {
                part.push_str(" NOT NULL");
            }
            if let Some(default) = cell(row, 3) {
                part.push_str(&format!(" DEFAULT ({default})"));
            }
            part
        })
        .collect();
    let mut keys: Vec<(u32, String)> = rows
        .iter()
        .filter_map(|row| Some((cell(row, 4)?.parse().ok().filter(|position| *position > 0)?, cell(row, 0)?)))
        .collect();
    if !keys.is_empty() {
        keys.sort();
        let keys: Vec<String> = keys.into_iter().map(|(_, name)| name).collect();
        parts.push(format!("PRIMARY KEY ({})", list(&keys)));
    }
    Ok(format!("({})", parts.join(", ")))
}
