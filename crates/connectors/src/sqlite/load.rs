//! Files into a SQLite table: into a temporary table first, which locks nothing, then one short IMMEDIATE transaction.

use futures::TryStreamExt;
use millrace_operator_api::ports::{LoadMethod, LoadReport, LoadRequest, ObjectInfo};
use millrace_operator_api::{PortError, PortErrorKind};
use sqlx::{AssertSqlSafe, SqliteConnection};

use super::connect::{SqliteFile, literal, table};
use super::warehouse::{describe, find_marker, insert_marker, marker_ddl};
use crate::csv_rows::{CellKind, CsvRows, FileColumn, Row, check_format, declared_length};
use crate::failure::{data, excerpt, invalid, while_doing};
use crate::postgres::{check_keys, open_unchanged};
use crate::session::marker_of;
use crate::sql::{list, quote};
use crate::upsert::{SEQUENCE, Upsert};

const STAGING: &str = "temp.\"millrace_staging\"";
/// SQLite takes 32,766 values in one statement.
const VALUES_PER_INSERT: usize = 4_000;
const PIECE: usize = 64 * 1024;

pub async fn load(file: &SqliteFile, request: LoadRequest) -> Result<LoadReport, PortError> {
    check_format(&request.format, "SQLite")?;
    let mut connection = file.open(false).await?;
    let columns = file_columns(file, &mut connection, &request).await?;
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    check_keys(&request, &names)?;
    file.run(&mut connection, &marker_ddl()).await?;
    let marker = marker_of(&request.work);
    if !file.ask(&mut connection, &find_marker(&marker)).await?.rows.is_empty() {
        return Ok(LoadReport { was_loaded_before: true, ..LoadReport::default() });
    }
    let definitions: Vec<String> =
        columns.iter().map(|column| format!("{} {}", quote(&column.name), column.type_name)).collect();
    file.run(
        &mut connection,
        &format!("CREATE TABLE {STAGING} ({} INTEGER PRIMARY KEY, {})", quote(SEQUENCE), definitions.join(", ")),
    )
    .await?;
    let mut rows = 0;
    for object in &request.objects {
        rows += stage(file, &mut connection, &request, object, &columns)
            .await
            .map_err(|error| while_doing(&format!("loading {} into {}", object.url(), request.target), error))?;
    }
    publish(file, &mut connection, &request, &names, rows)
        .await
        .map_err(|error| while_doing(&format!("loading into {}", request.target), error))
}

async fn file_columns(
    file: &SqliteFile,
    connection: &mut SqliteConnection,
    request: &LoadRequest,
) -> Result<Vec<FileColumn>, PortError> {
    let all: Vec<FileColumn> = describe(file, connection, &request.target)
        .await?
        .into_iter()
        .map(|column| {
            let kind = kind_of(&column.type_name);
            FileColumn { name: column.name, type_name: column.type_name, kind }
        })
        .collect();
    let Some(names) = &request.columns else { return Ok(all) };
    names
        .iter()
        .map(|name| {
            // SQLite's names have no case.
            all.iter().find(|column| column.name.eq_ignore_ascii_case(name)).cloned().ok_or_else(|| {
                let known: Vec<&str> = all.iter().map(|column| column.name.as_str()).collect();
                invalid(format!("table {} has no column {name:?}; it has {}", request.target, known.join(", ")))
            })
        })
        .collect()
}

/// SQLite's own rules for the affinity of a declared type, as far as empty fields and hex are concerned.
fn kind_of(type_name: &str) -> CellKind {
    let upper = type_name.to_ascii_uppercase();
    if upper.contains("INT") {
        CellKind::Integer
    } else if ["CHAR", "CLOB", "TEXT"].iter().any(|name| upper.contains(name)) {
        CellKind::Text(declared_length(&upper))
    } else if upper.contains("BLOB") || upper.contains("BYTEA") || upper.contains("BINARY") {
        CellKind::Bytes
    } else {
        CellKind::Other
    }
}

enum Cell {
    Null,
    Text(String),
    Bytes(Vec<u8>),
}

async fn stage(
    file: &SqliteFile,
    connection: &mut SqliteConnection,
    request: &LoadRequest,
    object: &ObjectInfo,
    columns: &[FileColumn],
) -> Result<u64, PortError> {
    let url = object.url();
    let mut rows = CsvRows::new(&request.format, columns, &url)?;
    let mut waiting: Vec<Cell> = Vec::new();
    let mut body = open_unchanged(request, object).await?;
    let mut seen = 0;
    let per_insert = (VALUES_PER_INSERT / columns.len()).max(1) * columns.len();
    file.run(connection, "BEGIN").await?;
    while let Some(chunk) = body.try_next().await? {
        seen += chunk.len() as u64;
        for piece in chunk.chunks(PIECE) {
            rows.feed(piece, &mut |row| take(&mut waiting, &row, columns, &url))?;
            while waiting.len() >= per_insert {
                let rest = waiting.split_off(per_insert);
                insert(file, connection, columns, std::mem::replace(&mut waiting, rest)).await?;
            }
        }
    }
    if seen != object.size {
        return Err(PortError::new(
            PortErrorKind::Unavailable,
            format!("{url} is not the file any more that was there when the load began"),
        ));
    }
    rows.finish(&mut |row| take(&mut waiting, &row, columns, &url))?;
    while !waiting.is_empty() {
        let rest = waiting.split_off(per_insert.min(waiting.len()));
        insert(file, connection, columns, std::mem::replace(&mut waiting, rest)).await?;
    }
    file.run(connection, "COMMIT").await?;
    Ok(rows.rows)
}

fn take(waiting: &mut Vec<Cell>, row: &Row<'_>, columns: &[FileColumn], url: &str) -> Result<(), PortError> {
    for (cell, column) in row.cells().zip(columns) {
        let refused = |cell: &[u8], why: &str| {
            data(format!(
                "{url}: line {}, column {}, value {}: {why} ({})",
                row.line,
                column.name,
                excerpt(cell),
                column.type_name
            ))
        };
        waiting.push(match cell {
            None => Cell::Null,
            Some(cell) if column.kind == CellKind::Bytes => {
                let hex = cell.strip_prefix(b"\\x").unwrap_or(cell);
                Cell::Bytes(unhex(hex).ok_or_else(|| refused(cell, "not hexadecimal"))?)
            }
            Some(cell) => {
                let text = std::str::from_utf8(cell).map_err(|_| refused(cell, "not UTF-8"))?;
                // SQLite itself would keep a text in a column of numbers.
                if column.kind == CellKind::Integer && text.trim().parse::<i64>().is_err() {
                    return Err(refused(cell, "not an integer"));
                }
                if is_number(column) && text.trim().parse::<f64>().is_err() {
                    return Err(refused(cell, "not a number"));
                }
                Cell::Text(text.to_owned())
            }
        });
    }
    Ok(())
}

fn is_number(column: &FileColumn) -> bool {
    let upper = column.type_name.to_ascii_uppercase();
    column.kind == CellKind::Other
        && ["REAL", "FLOA", "DOUB", "NUMERIC", "DECIMAL"].iter().any(|name| upper.contains(name))
}

fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

async fn insert(
    file: &SqliteFile,
    connection: &mut SqliteConnection,
    columns: &[FileColumn],
    cells: Vec<Cell>,
) -> Result<(), PortError> {
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let row = format!("({})", vec!["?"; columns.len()].join(", "));
    let rows = vec![row.as_str(); cells.len() / columns.len()].join(", ");
    let mut query = sqlx::query(AssertSqlSafe(format!("INSERT INTO {STAGING} ({}) VALUES {rows}", list(&names))));
    for cell in cells {
        query = match cell {
            Cell::Null => query.bind(None::<String>),
            Cell::Text(text) => query.bind(text),
            Cell::Bytes(bytes) => query.bind(bytes),
        };
    }
    query.execute(connection).await.map(|_| ()).map_err(|error| file.failure("a row was refused", &error))
}

async fn publish(
    file: &SqliteFile,
    connection: &mut SqliteConnection,
    request: &LoadRequest,
    names: &[String],
    rows_read: u64,
) -> Result<LoadReport, PortError> {
    let (target, marker) = (table(&request.target), marker_of(&request.work));
    let mut report = LoadReport { rows_read: Some(rows_read), rows_rejected: Some(0), ..LoadReport::default() };
    file.run(connection, "BEGIN IMMEDIATE").await?;
    let work = async {
        if !file.ask(connection, &find_marker(&marker)).await?.rows.is_empty() {
            return Ok(LoadReport { was_loaded_before: true, ..LoadReport::default() });
        }
        if let LoadMethod::Upsert { keys, order_key } = &request.method {
            let upsert = Upsert {
                target: &target,
                staging: STAGING,
                columns: names,
                keys,
                order_key: order_key.as_ref(),
                row_address: &["rowid"],
                overriding: "",
            };
            file.run(connection, &upsert.keep_best_incoming()).await?;
            file.run(
                connection,
                &format!("CREATE INDEX temp.millrace_staging_key ON millrace_staging ({})", list(keys)),
            )
            .await?;
            report.rows_deleted = Some(file.run(connection, &upsert.delete_existing_doubles()).await?);
            report.rows_updated = Some(match upsert.update() {
                Some(update) => file.run(connection, &update).await?,
                None => 0,
            });
            report.rows_inserted = Some(file.run(connection, &upsert.insert()).await?);
        } else {
            if request.method == LoadMethod::Replace {
                // With a condition: without one SQLite truncates, and counts nothing.
                report.rows_deleted = Some(file.run(connection, &format!("DELETE FROM {target} WHERE 1")).await?);
            }
            let insert = format!(
                "INSERT INTO {target} ({0}) SELECT {0} FROM {STAGING} ORDER BY {1}",
                list(names),
                quote(SEQUENCE)
            );
            report.rows_inserted = Some(file.run(connection, &insert).await?);
        }
        file.run(connection, &insert_marker(&literal(&marker), rows_read)).await?;
        file.run(connection, "COMMIT").await?;
        Ok(report)
    };
    let result = work.await;
    if !matches!(&result, Ok(report) if !report.was_loaded_before) {
        // The connection is closed next in any case, and that rolls back as well.
        let _ = file.run(connection, "ROLLBACK").await;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_have_their_kinds() {
        assert_eq!(kind_of("bigint"), CellKind::Integer);
        assert_eq!(kind_of("VARCHAR(10)"), CellKind::Text(Some(10)));
        assert_eq!(kind_of("timestamp"), CellKind::Other);
        assert_eq!(kind_of("blob"), CellKind::Bytes);
        assert_eq!(unhex(b"00aBff"), Some(vec![0, 0xab, 0xff]));
        assert_eq!(unhex(b"0"), None);
        assert_eq!(unhex(b"zz"), None);
    }
}
