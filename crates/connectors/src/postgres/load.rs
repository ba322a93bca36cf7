//! Files into a PostgreSQL table: COPY into a temporary table outside of any lock, then one short transaction.
//!
//! The staging table is temporary and dies with the connection, so that nothing is left behind however a try ends. Only
//! the short transaction is seen by anybody else, and it carries the marker.

use bytes::{BufMut, Bytes, BytesMut};
use futures::{SinkExt, TryStreamExt};
use millrace_operator_api::ports::{LoadMethod, LoadReport, LoadRequest, ObjectInfo, SmallResult};
use millrace_operator_api::{PortError, PortErrorKind};

use super::copy_text::write_cell;
use crate::csv_rows::{CellKind, CsvRows, FileColumn, Row, check_format, declared_length};
use crate::failure::{data, invalid, while_doing};
use crate::session::{Dialect, ask, find_marker, has_marker, insert_marker, marker_of, picks};
use crate::sql::{list, literal, quote, table};
use crate::upsert::{SEQUENCE, Upsert};
use crate::wire::{WireClient, WireConfig, WireSession};

const STAGING: &str = "pg_temp.millrace_staging";
/// COPY data sent at once.
const CHUNK: usize = 64 * 1024;

pub async fn load(config: &WireConfig, request: LoadRequest) -> Result<LoadReport, PortError> {
    check_format(&request.format, "PostgreSQL")?;
    let session = WireSession { config: config.clone() };
    let columns = file_columns(&session, &request).await?;
    if has_marker(&session, &request.target, &marker_of(&request.work)).await? {
        return Ok(LoadReport { was_loaded_before: true, ..LoadReport::default() });
    }
    let client = config.connect().await?;
    let has_sequence = matches!(request.method, LoadMethod::Upsert { .. });
    client.batch(&staging_ddl(&columns, has_sequence)).await?;
    let mut rows = 0;
    for object in &request.objects {
        rows += copy_file(&client, &request, object, &columns)
            .await
            .map_err(|error| while_doing(&format!("loading {} into {}", object.url(), request.target), error))?;
    }
    if has_sequence {
        // Without statistics the planner may take a million staged rows for a thousand.
        client.batch(&format!("ANALYZE {STAGING}")).await?;
    }
    publish(&session, &client, &request, &columns, rows)
        .await
        .map_err(|error| while_doing(&format!("loading into {}", request.target), error))
}

/// The columns of the files, typed as the table has them.
async fn file_columns(session: &WireSession, request: &LoadRequest) -> Result<Vec<(FileColumn, bool)>, PortError> {
    let statement = format!(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attgenerated <> '', t.typcategory, \
         format_type(coalesce(nullif(t.typbasetype, 0), t.oid), NULL) \
         FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid \
         JOIN pg_type t ON t.oid = a.atttypid WHERE {} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        picks(&request.target, Dialect::Postgres)
    );
    let found = ask(session, "describe", statement).await?;
    if found.rows.is_empty() {
        return Err(PortError::new(
            PortErrorKind::NotFound,
            format!("connection {:?}: there is no table {}", session.config.conn_id, request.target),
        ));
    }
    let cell = |row: &Vec<Option<String>>, index: usize| row.get(index).cloned().flatten().unwrap_or_default();
    let all: Vec<(FileColumn, bool, bool)> = found
        .rows
        .iter()
        .map(|row| {
            let (type_name, category, base) = (cell(row, 1), cell(row, 4), cell(row, 5));
            let kind = match base.as_str() {
                "smallint" | "integer" | "bigint" => CellKind::Integer,
                "bytea" => CellKind::Bytes,
                _ if category == "S" => CellKind::Text(declared_length(&type_name)),
                _ => CellKind::Other,
            };
            (FileColumn { name: cell(row, 0), type_name, kind }, cell(row, 2) == "t", cell(row, 3) == "t")
        })
        .collect();
    let picked: Vec<(FileColumn, bool)> = match &request.columns {
        // A generated column can't be written, so the file can't have it.
        None => all
            .into_iter()
            .filter(|(_, _, is_generated)| !is_generated)
            .map(|(column, not_null, _)| (column, not_null))
            .collect(),
        Some(names) => names
            .iter()
            .map(|name| {
                all.iter()
                    .find(|(column, ..)| column.name == *name)
                    .map(|(column, not_null, _)| (column.clone(), *not_null))
                    .ok_or_else(|| {
                        let known: Vec<&str> = all.iter().map(|(column, ..)| column.name.as_str()).collect();
                        invalid(format!("table {} has no column {name:?}; it has {}", request.target, known.join(", ")))
                    })
            })
            .collect::<Result<_, _>>()?,
    };
    check_keys(request, &picked.iter().map(|(column, _)| column.name.clone()).collect::<Vec<_>>())?;
    Ok(picked)
}

/// The keys and the order key of an upsert must come with the rows.
pub fn check_keys(request: &LoadRequest, columns: &[String]) -> Result<(), PortError> {
    let LoadMethod::Upsert { keys, order_key } = &request.method else { return Ok(()) };
    if keys.is_empty() {
        return Err(invalid(format!("an upsert into {} needs at least one key column", request.target)));
    }
    match keys.iter().chain(order_key).find(|key| !columns.contains(key)) {
        Some(missing) => Err(invalid(format!(
            "the upsert into {} goes by column {missing:?}, which the files do not have; they have {}",
            request.target,
            columns.join(", ")
        ))),
        None => Ok(()),
    }
}

fn staging_ddl(columns: &[(FileColumn, bool)], has_sequence: bool) -> String {
    let mut parts: Vec<String> = columns
        .iter()
        .map(|(column, is_not_null)| {
            format!("{} {}{}", quote(&column.name), column.type_name, if *is_not_null { " NOT NULL" } else { "" })
        })
        .collect();
    if has_sequence {
        parts.push(format!("{} bigint GENERATED ALWAYS AS IDENTITY", quote(SEQUENCE)));
    }
    format!("CREATE TEMP TABLE millrace_staging ({})", parts.join(", "))
}

async fn copy_file(
    client: &WireClient,
    request: &LoadRequest,
    object: &ObjectInfo,
    columns: &[(FileColumn, bool)],
) -> Result<u64, PortError> {
    let columns: Vec<FileColumn> = columns.iter().map(|(column, _)| column.clone()).collect();
    let url = object.url();
    let names: Vec<String> = columns.iter().map(|column| column.name.clone()).collect();
    let copy = format!("COPY {STAGING} ({}) FROM STDIN", list(&names));
    client.set_busy(true);
    let sink = client
        .client
        .copy_in::<_, Bytes>(&copy)
        .await
        .map_err(|error| client.config.failure("COPY was refused", &error))?;
    let mut sink = std::pin::pin!(sink);
    let mut rows = CsvRows::new(&request.format, &columns, &url)?;
    let mut out = BytesMut::with_capacity(CHUNK * 2);
    let mut body = open_unchanged(request, object).await?;
    let mut seen: u64 = 0;
    let mut refused = None;
    'reading: loop {
        let chunk = body.try_next().await?;
        seen += chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
        for piece in chunk.as_deref().unwrap_or_default().chunks(CHUNK) {
            rows.feed(piece, &mut |row| {
                write_row(&mut out, &row, &columns);
                Ok(())
            })?;
            if out.len() >= CHUNK
                && let Err(error) = sink.send(out.split().freeze()).await
            {
                refused = Some(error);
                break 'reading;
            }
        }
        if chunk.is_none() {
            break;
        }
    }
    if refused.is_none() {
        if seen != object.size {
            return Err(changed(object));
        }
        rows.finish(&mut |row| {
            write_row(&mut out, &row, &columns);
            Ok(())
        })?;
        if !out.is_empty()
            && let Err(error) = sink.send(out.split().freeze()).await
        {
            refused = Some(error);
        }
    }
    // The server's own words come with the end of the COPY, also when sending failed before.
    let finished = sink.finish().await;
    client.set_busy(false);
    match (finished, refused) {
        (Err(error), _) | (Ok(_), Some(error)) => Err(located(client, request, object, &columns, &error).await),
        (Ok(copied), None) if copied == rows.rows => Ok(copied),
        (Ok(copied), None) => Err(data(format!("{} rows were sent, but {copied} were copied", rows.rows))),
    }
}

fn changed(object: &ObjectInfo) -> PortError {
    PortError::new(
        PortErrorKind::Unavailable,
        format!("{} is not the file any more that was there when the load began", object.url()),
    )
}

/// Opens the object if it still is what the request says.
pub async fn open_unchanged(
    request: &LoadRequest,
    object: &ObjectInfo,
) -> Result<millrace_operator_api::ports::ByteStream, PortError> {
    if let Some(etag) = &object.etag {
        match request.store.head(&object.bucket, &object.key).await? {
            None => {
                return Err(PortError::new(PortErrorKind::NotFound, format!("{} is gone", object.url())));
            }
            Some(now) if now.etag.as_ref() != Some(etag) => return Err(changed(object)),
            Some(_) => {}
        }
    }
    request.store.get(&object.bucket, &object.key).await
}

fn write_row(out: &mut BytesMut, row: &Row<'_>, columns: &[FileColumn]) {
    for (index, cell) in row.cells().enumerate() {
        if index > 0 {
            out.put_u8(b'\t');
        }
        if let Some(hex) = cell
            && columns[index].kind == CellKind::Bytes
            && !hex.starts_with(b"\\x")
        {
            out.put_slice(b"\\\\x");
        }
        write_cell(out, cell);
    }
    out.put_u8(b'\n');
}

/// PostgreSQL counts the rows it was sent; people count the lines of their file.
async fn located(
    client: &WireClient,
    request: &LoadRequest,
    object: &ObjectInfo,
    columns: &[FileColumn],
    error: &tokio_postgres::Error,
) -> PortError {
    let plain = client.config.failure("COPY failed", error);
    let Some(place) = error.as_db_error().and_then(|db| db.where_()).and_then(copy_place) else { return plain };
    let line = match line_of_row(request, object, columns, place.row).await {
        Ok(Some(line)) => format!("line {line}"),
        _ => format!("row {}", place.row),
    };
    let message = error.as_db_error().map_or_else(String::new, |db| db.message().to_owned());
    let column = place.column.map(|column| format!(", column {column}")).unwrap_or_default();
    let value = place.value.map(|value| format!(", value {value}")).unwrap_or_default();
    let code = plain.code.clone().unwrap_or_default();
    let located = format!("{}: {line}{column}{value}: {message} (SQLSTATE {code})", object.url());
    PortError { message: located, ..plain }
}

async fn line_of_row(
    request: &LoadRequest,
    object: &ObjectInfo,
    columns: &[FileColumn],
    wanted: u64,
) -> Result<Option<u64>, PortError> {
    let url = object.url();
    let mut rows = CsvRows::new(&request.format, columns, &url)?;
    let (mut count, mut line) = (0, None);
    let mut take = |row: Row<'_>| {
        count += 1;
        if count == wanted {
            line = Some(row.line);
        }
        Ok(())
    };
    let mut body = request.store.get(&object.bucket, &object.key).await?;
    while let Some(chunk) = body.try_next().await? {
        rows.feed(&chunk, &mut take)?;
        if rows.rows >= wanted {
            return Ok(line);
        }
    }
    rows.finish(&mut take)?;
    Ok(line)
}

#[derive(Debug, PartialEq, Eq)]
struct CopyPlace {
    row: u64,
    column: Option<String>,
    value: Option<String>,
}

/// Reads `COPY t, line 3, column score: "x"`.
fn copy_place(context: &str) -> Option<CopyPlace> {
    let rest =
        context.lines().find_map(|line| line.strip_prefix("COPY ")?.split_once(", line ").map(|(_, rest)| rest))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let row = rest[..digits].parse().ok()?;
    let mut place = CopyPlace { row, column: None, value: None };
    if let Some(rest) = rest[digits..].strip_prefix(", column ") {
        let (column, value) = rest.split_once(": ").map_or((rest, None), |(column, value)| (column, Some(value)));
        place.column = Some(column.to_owned());
        place.value = value.map(ToOwned::to_owned);
    }
    Some(place)
}

/// The short transaction: lock, look for the marker again, rows, marker.
async fn publish(
    session: &WireSession,
    client: &WireClient,
    request: &LoadRequest,
    columns: &[(FileColumn, bool)],
    rows_read: u64,
) -> Result<LoadReport, PortError> {
    let (target, marker) = (table(&request.target), marker_of(&request.work));
    let names: Vec<String> = columns.iter().map(|(column, _)| column.name.clone()).collect();
    let mut report = LoadReport { rows_read: Some(rows_read), rows_rejected: Some(0), ..LoadReport::default() };
    let upsert = match &request.method {
        LoadMethod::Upsert { keys, order_key } => Some(Upsert {
            target: &target,
            staging: STAGING,
            columns: &names,
            keys,
            order_key: order_key.as_ref(),
            row_address: &["tableoid", "ctid"],
            overriding: "OVERRIDING SYSTEM VALUE ",
        }),
        _ => None,
    };
    let may_have_doubles = match &upsert {
        Some(upsert) => {
            client.batch(&upsert.keep_best_incoming()).await?;
            !has_unique_key(session, request, upsert.keys).await?
        }
        None => false,
    };
    client.batch("BEGIN").await?;
    let work = async {
        client.batch(&format!("LOCK TABLE {target} IN SHARE ROW EXCLUSIVE MODE")).await?;
        if !client.query(&find_marker(&request.target, &marker)).await?.rows.is_empty() {
            return Ok(false);
        }
        let count = |result: SmallResult| result.rows_affected;
        if let Some(upsert) = &upsert {
            report.rows_deleted = Some(0);
            if may_have_doubles {
                report.rows_deleted = count(client.query(&upsert.delete_existing_doubles()).await?);
            }
            report.rows_updated = match upsert.update() {
                Some(update) => count(client.query(&update).await?),
                None => Some(0),
            };
            report.rows_inserted = count(client.query(&upsert.insert()).await?);
        } else {
            if request.method == LoadMethod::Replace {
                report.rows_deleted = count(client.query(&format!("DELETE FROM {target}")).await?);
            }
            let insert =
                format!("INSERT INTO {target} ({0}) OVERRIDING SYSTEM VALUE SELECT {0} FROM {STAGING}", list(&names));
            report.rows_inserted = count(client.query(&insert).await?);
        }
        client.batch(&insert_marker(Dialect::Postgres, &request.target, &marker, &rows_read.to_string())).await?;
        Ok(true)
    };
    match work.await {
        Ok(true) => client.batch("COMMIT").await.map(|()| report),
        Ok(false) => {
            client.batch("ROLLBACK").await?;
            Ok(LoadReport { was_loaded_before: true, ..LoadReport::default() })
        }
        Err(error) => {
            // The first error counts; a connection that is gone has rolled back by itself.
            let _ = client.batch("ROLLBACK").await;
            Err(error)
        }
    }
}

/// Whether the database itself sees to it that no key occurs twice.
async fn has_unique_key(session: &WireSession, request: &LoadRequest, keys: &[String]) -> Result<bool, PortError> {
    let keys: Vec<String> = keys.iter().map(|key| literal(key)).collect();
    let statement = format!(
        "SELECT 1 FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE {} AND i.indisunique AND i.indisvalid AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL \
         AND NOT EXISTS (SELECT 1 FROM unnest(i.indkey[0:i.indnkeyatts - 1]) AS k(n) JOIN pg_attribute a \
         ON a.attrelid = i.indrelid AND a.attnum = k.n WHERE a.attname NOT IN ({})) LIMIT 1",
        picks(&request.target, Dialect::Postgres),
        keys.join(", ")
    );
    Ok(!ask(session, "unique", statement).await?.rows.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_an_error_is_read_from_its_context() {
        let place = copy_place("COPY millrace_staging, line 12, column score: \"a: b\"").expect("a place");
        assert_eq!(place, CopyPlace { row: 12, column: Some("score".into()), value: Some("\"a: b\"".into()) });
        let bare = copy_place("COPY millrace_staging, line 3: \"1\t2\"").expect("a place");
        assert_eq!((bare.row, bare.column), (3, None));
        assert_eq!(copy_place("PL/pgSQL function f() line 3"), None);
    }
}
