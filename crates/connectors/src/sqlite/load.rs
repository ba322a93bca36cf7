//! Rows into a SQLite table: into a temporary table first, which locks nothing, then one short IMMEDIATE transaction.

use millrace_operator_api::PortError;
use millrace_operator_api::ports::{LoadMethod, LoadReport, LoadRequest};

use super::anatomy;
use super::anatomy::describe;
use super::connect::{SqliteFile, literal, table};
use super::marker::{NOW, drop_old_markers, find_marker, insert_marker, marker_ddl};
use super::numbers::BY_NUMBER;
use super::session::Session;
use super::stage::{STAGING, Staged, Staging, kind_of};
use super::swap::build_by_name;
use super::writing::{Writing, is_rule};
use crate::parts::csv_rows::check_format;
use crate::parts::doubles;
use crate::parts::exact::Keeps;
use crate::parts::failure::{invalid, while_doing};
use crate::parts::quarantine;
use crate::parts::row_counts::{require_all_inserted, require_all_read};
use crate::parts::rows::{CellKind, LoadColumn, Rejects, taken};
use crate::parts::said::Said;
use crate::parts::session::{marker_of, report_before};
use crate::parts::sql::{list, list_of, quote, scalar_number};
use crate::parts::swap::{load_report, marker_of_swap, request_of_load};
use crate::parts::turns::Turns;
use crate::parts::upsert::{Nulls, SEQUENCE, Upsert, check_keys, rows_not_waiting, tied};

pub async fn load(file: &SqliteFile, request: LoadRequest) -> Result<LoadReport, PortError> {
    check_format(&request.format, "SQLite")?;
    let mut connection = file.open(false).await?;
    let fields = file_columns(file, &mut connection, &request).await?;
    let columns = taken(&fields);
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    check_keys(&request, &names)?;
    file.run(&mut connection, &marker_ddl()).await?;
    let marker =
        if request.method == LoadMethod::Swap { marker_of_swap(&request.work) } else { marker_of(&request.work) };
    let found = file.ask(&mut connection, &find_marker(&marker)).await?;
    if !found.rows.is_empty() {
        return Ok(report_before(&request, &found));
    }
    let target = &request.target;
    let mut collations = Vec::new();
    match &request.method {
        LoadMethod::Upsert { keys, order_key } => {
            anatomy::require_table(file, &mut connection, target, "an upsert").await?;
            let compared: Vec<String> = keys.iter().chain(order_key).cloned().collect();
            collations = anatomy::collations(file, &mut connection, target, &compared).await?;
        }
        // Before anything is read; the short transaction asks again.
        LoadMethod::Replace | LoadMethod::Swap => {
            if request.method == LoadMethod::Swap {
                anatomy::require_table(file, &mut connection, target, "a swap").await?;
            }
            anatomy::refuse_to_empty(file, &mut connection, target).await?;
        }
        LoadMethod::Append => {}
    }
    // Staging tells one key from another as the target does.
    let collated = |name: &str| {
        let found = collations.iter().find(|(column, _)| column.eq_ignore_ascii_case(name));
        found.map(|(_, collation)| format!(" COLLATE {}", quote(collation))).unwrap_or_default()
    };
    let definitions: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}{}", quote(&column.name), column.type_name, collated(&column.name)))
        .collect();
    file.run(
        &mut connection,
        &format!("CREATE TABLE {STAGING} ({} INTEGER PRIMARY KEY, {})", quote(SEQUENCE), definitions.join(", ")),
    )
    .await?;
    let mut rejects = Rejects::of(&request, &fields);
    let staging = Staging { file, fields: &fields, columns: &columns, format: &request.format };
    let staged = staging
        .fill(&mut connection, &request.rows, &mut rejects)
        .await
        .map_err(|error| while_doing(&format!("loading into {}", request.target), error))?;
    require_all_read(&request, Some(staged.rows))?;
    if !request.unique_by.is_empty() {
        let found =
            file.ask(&mut connection, &doubles::find(STAGING, &request.unique_by, &list(&request.unique_by))).await?;
        doubles::refuse(&request.unique_by, &found, request.show_values)
            .map_err(|error| while_doing(&format!("loading into {}", request.target), error))?;
    }
    if request.method == LoadMethod::Swap {
        return swap(file, &mut connection, &request, &names, (staged, rejects)).await;
    }
    let mut turns = Turns::default();
    loop {
        match publish(file, &mut connection, &request, &columns, staged, &rejects).await {
            Ok(report) => return Ok(report),
            Err(error) => turns
                .again(error, &file.task)
                .await
                .map_err(|error| while_doing(&format!("loading into {}", request.target), error))?,
        }
    }
}

async fn file_columns(
    file: &SqliteFile,
    connection: &mut Session,
    request: &LoadRequest,
) -> Result<Vec<LoadColumn>, PortError> {
    let all: Vec<LoadColumn> = describe(file, connection, &request.target)
        .await?
        .into_iter()
        .map(|column| {
            let kind = kind_of(&column.type_name);
            let keeps = Keeps::of_sqlite(&column.type_name);
            let is_day = column.type_name.trim() == "date";
            let said = if is_day { Said::of_day(request, &column.name) } else { Said::Anything };
            LoadColumn { name: column.name, type_name: column.type_name, kind, keeps, said }
        })
        .collect();
    let Some(names) = &request.columns else { return Ok(all) };
    names
        .iter()
        .map(|name| {
            if request.ignored.contains(name) {
                return Ok(LoadColumn::ignored(name));
            }
            // SQLite's names have no case.
            all.iter().find(|column| column.name.eq_ignore_ascii_case(name)).cloned().ok_or_else(|| {
                let known: Vec<&str> = all.iter().map(|column| column.name.as_str()).collect();
                invalid(format!("table {} has no column {name:?}; it has {}", request.target, known.join(", ")))
            })
        })
        .collect()
}

/// Texts of digits are in the order of their numbers: columns of text hold the numbers that SQLite has no type for.
fn order_collation(columns: &[LoadColumn], order_key: Option<&String>) -> &'static str {
    let is_number = |column: &LoadColumn| {
        column.kind == CellKind::Integer || matches!(column.keeps, Keeps::Float { .. } | Keeps::SqliteNumber { .. })
    };
    match columns.iter().find(|column| Some(&column.name) == order_key) {
        Some(column) if !is_number(column) => BY_NUMBER,
        _ => "",
    }
}

/// Puts a table of the rows in the place of the target.
async fn swap(
    file: &SqliteFile,
    connection: &mut Session,
    request: &LoadRequest,
    names: &[String],
    (staged, mut rejects): (Staged, Rejects),
) -> Result<LoadReport, PortError> {
    let target = &table(&request.target);
    let mut is_winnowed = false;
    loop {
        let quarantine = quarantine(file, connection, request, &rejects).await?;
        let build = request_of_load(request, STAGING, names, quarantine);
        match build_by_name(file, connection, &build, Some(names)).await {
            Ok(built) => return Ok(load_report(report_of(staged, &rejects), built)),
            Err(error) if is_rule(&error) && !is_winnowed => {
                is_winnowed = true;
                let writing = Writing { file, request, names, target, upsert: None };
                rejects = writing.winnow(connection, &rejects, error).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn publish(
    file: &SqliteFile,
    connection: &mut Session,
    request: &LoadRequest,
    columns: &[LoadColumn],
    staged: Staged,
    rejects: &Rejects,
) -> Result<LoadReport, PortError> {
    let names: &[String] = &columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    let (target, marker) = (table(&request.target), marker_of(&request.work));
    file.run(connection, "BEGIN IMMEDIATE").await?;
    let work = async {
        if !file.ask(connection, &find_marker(&marker)).await?.rows.is_empty() {
            return Ok(LoadReport { was_loaded_before: true, ..LoadReport::default() });
        }
        let (mut address, mut deleted) = (Vec::new(), None);
        match &request.method {
            LoadMethod::Upsert { .. } => address = anatomy::row_address(file, connection, &request.target).await?,
            LoadMethod::Replace => {
                anatomy::refuse_to_empty(file, connection, &request.target).await?;
                // With a condition: without one SQLite truncates, and counts nothing.
                deleted = Some(file.run(connection, &format!("DELETE FROM {target} WHERE 1")).await?);
            }
            LoadMethod::Append | LoadMethod::Swap => {}
        }
        let (address, sequence) = (address.iter().map(String::as_str).collect::<Vec<_>>(), quote(SEQUENCE));
        let may_refuse = rejects.are_allowed();
        let rows = if may_refuse { rows_not_waiting(STAGING) } else { STAGING.to_owned() };
        let upsert = match &request.method {
            LoadMethod::Upsert { keys, order_key } => Some(Upsert {
                target: &target,
                staging: STAGING,
                rows: &rows,
                may_refuse,
                columns: names,
                keys,
                order_key: order_key.as_ref(),
                null_is_newest: request.null_is_newest,
                row_address: &address,
                sequence: &sequence,
                overriding: "",
                collation: order_collation(columns, order_key.as_ref()),
            }),
            _ => None,
        };
        if let Some(upsert) = &upsert {
            keep_best_incoming(file, connection, request, upsert).await?;
        }
        let writing = Writing { file, request, names, target: &target, upsert };
        let gone = writing.delete_gone(connection).await?;
        let (written, found) = writing.write(connection, rejects).await?;
        let written = gone.and(written);
        let rejects = found.as_ref().unwrap_or(rejects);
        require_all_inserted(request, staged.rows - rejects.count, written.inserted)?;
        for statement in quarantine(file, connection, request, rejects).await?.iter().chain(&request.also) {
            file.run(connection, statement).await?;
        }
        file.run(connection, &insert_marker(&literal(&marker), staged.rows)).await?;
        file.run(connection, &drop_old_markers()).await?;
        file.run(connection, "COMMIT").await?;
        Ok(LoadReport {
            rows_inserted: written.inserted,
            rows_updated: written.updated,
            rows_deleted: deleted.or(written.deleted),
            rows_kept: written.kept,
            rows_late: written.late,
            ..report_of(staged, rejects)
        })
    };
    let result = work.await;
    if !matches!(&result, Ok(report) if !report.was_loaded_before) {
        // The connection is closed next in any case, and that rolls back as well.
        let _ = file.run(connection, "ROLLBACK").await;
    }
    result
}

async fn keep_best_incoming(
    file: &SqliteFile,
    connection: &mut Session,
    request: &LoadRequest,
    upsert: &Upsert<'_>,
) -> Result<(), PortError> {
    if *upsert.keys != request.unique_by {
        if let Some(count) = upsert.count_ties(Nulls::Distinct, &list_of("s", upsert.columns))
            && let Some(ties @ 1..) = scalar_number(&file.ask(connection, &count).await?)
        {
            return Err(tied(ties, upsert.keys, None));
        }
        file.run(connection, &upsert.keep_best_incoming(Nulls::Distinct)).await?;
    }
    let index = list(upsert.keys);
    let index = format!("CREATE INDEX IF NOT EXISTS temp.millrace_staging_key ON millrace_staging ({index})");
    file.run(connection, &index).await.map(|_| ())
}

fn report_of(staged: Staged, rejects: &Rejects) -> LoadReport {
    LoadReport {
        rows_read: Some(staged.rows),
        rows_rejected: Some(rejects.count),
        rows_quarantined: rejects.quarantined(),
        rejected: rejects.first(),
        bytes: staged.bytes,
        ..LoadReport::default()
    }
}

/// Statements that put the refused rows there.
async fn quarantine(
    file: &SqliteFile,
    connection: &mut Session,
    request: &LoadRequest,
    rejects: &Rejects,
) -> Result<Vec<String>, PortError> {
    let Some(quarantine) = request.quarantine.as_ref().filter(|_| rejects.count > 0) else { return Ok(Vec::new()) };
    let name = table(quarantine);
    let known = quarantine::known(describe(file, connection, quarantine).await)?;
    let rows = quarantine::insert(&name, &request.target, &request.work, rejects, NOW, literal);
    Ok(quarantine::make(&name, known).into_iter().chain(rows.into_iter().map(|(_, statement)| statement)).collect())
}
