//! A whole metadata database as lines of text, and back: from SQLite to PostgreSQL or the other way.
//!
//! Form: a header `{"millrace_export": 1, "migrations": […], …}`; then for each table `{"table": …, "columns": […]}`, one
//! JSON array for each row, `{"end": …, "rows": n, "sha256": …}` over the rows' lines; at the end `{"end_of_export": n}`.
//! Columns go by name. Only a database with the same migrations takes it.

use std::io::{BufRead, Write};

use chrono::{DateTime, Utc};
use millrace_migrations::KNOWN;
use sea_orm::{ConnectionTrait, DbBackend};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use crate::database::tables::{Table, quote, tables};
use crate::sql::{Kind, values};
use crate::{AuditRow, Backend, Result, Store, StoreError, sql};

const FORM: u32 = 1;
/// Rows that are read, or written, with one statement.
const PAGE: usize = 500;
/// What belongs to the place, not to what is kept there: who leads, what the scheduler is to look at, and when the home's
/// files were last read.
const LEFT_OUT: &[&str] = &["leader", "signal", DAG_FILES];
const DAG_FILES: &str = "dag_file";
/// What a migration puts in; an import replaces it.
const SEEDED: &[&str] = &["pool", "setting"];

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    millrace_export: u32,
    millrace: String,
    made_at: String,
    migrations: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Line {
    Row(Vec<Json>),
    Begin { table: String, columns: Vec<String> },
    End { end: String, rows: u64, sha256: String },
    EndOfExport { end_of_export: u64 },
}

/// Table and rows.
pub type TransferReport = Vec<(String, u64)>;

fn refused(attempted: &'static str, reason: impl Into<String>) -> StoreError {
    StoreError::Refused { attempted, reason: reason.into() }
}

fn known() -> Vec<String> {
    KNOWN.iter().map(|known| known.name.to_owned()).collect()
}

impl Store {
    /// Writes everything, as it stands at one moment.
    pub async fn export(&self, out: &mut (dyn Write + Send), now: DateTime<Utc>) -> Result<TransferReport> {
        let snapshot = self.snapshot("export").await?;
        let header = Header {
            millrace_export: FORM,
            millrace: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: now.to_rfc3339(),
            migrations: known(),
        };
        write(out, &json!(header))?;
        let mut report = Vec::new();
        for table in tables(&snapshot).await?.iter().filter(|table| !LEFT_OUT.contains(&table.name.as_str())) {
            let names: Vec<&str> = table.columns.iter().map(|column| column.name.as_str()).collect();
            write(out, &json!({"table": table.name, "columns": names}))?;
            let (mut count, mut digest, mut after) = (0_u64, Sha256::new(), None::<Vec<Json>>);
            loop {
                let rows = table.page(&snapshot, ("TRUE", vec![]), after.as_deref(), PAGE as u64).await?;
                for row in &rows {
                    let line = Json::Array(row.clone());
                    digest.update(line.to_string().as_bytes());
                    write(out, &line)?;
                    count += 1;
                }
                match rows.into_iter().next_back() {
                    Some(last) => after = Some(last),
                    None => break,
                }
            }
            write(out, &json!({"end": table.name, "rows": count, "sha256": hex::encode(digest.finalize())}))?;
            report.push((table.name.clone(), count));
        }
        write(out, &json!({"end_of_export": report.len()}))?;
        out.flush().map_err(writing)?;
        Ok(report)
    }

    /// Reads an export into this database, which must be migrated and empty: everything, checked, or nothing.
    pub async fn import(
        &self,
        source: &mut (dyn BufRead + Send),
        actor: &str,
        now: DateTime<Utc>,
    ) -> Result<TransferReport> {
        let mut lines = Lines { source, number: 0 };
        let header = lines.next()?.and_then(|line| serde_json::from_str::<Header>(&line).ok());
        let Some(header) = header else {
            return Err(refused("import", "the file is no export of `millrace db export`"));
        };
        check_header(&header)?;
        let tx = self.begin_in_turn("import").await?;
        let known_tables = tables(&tx.inner).await?;
        check_empty(&tx.inner, &known_tables).await?;
        let read_before = known_tables.iter().map(|table| table.name.as_str()).filter(|name| *name == DAG_FILES);
        for name in SEEDED.iter().copied().chain(read_before) {
            sql::run(&tx.inner, "import", format!("DELETE FROM {}", quote(name)), vec![]).await?;
        }
        let mut report = Vec::new();
        loop {
            match lines.parsed()? {
                Line::Begin { table, columns } => {
                    let found = known_tables.iter().find(|known| known.name == table);
                    let Some(found) = found.filter(|found| !LEFT_OUT.contains(&found.name.as_str())) else {
                        return Err(lines.wrong(&format!("there is no table '{table}'")));
                    };
                    let rows = import_table(&tx.inner, found, &columns, &mut lines).await?;
                    report.push((table, rows));
                }
                Line::EndOfExport { end_of_export } if end_of_export == report.len() as u64 => break,
                _ => return Err(lines.wrong("the file is cut or was changed")),
            }
        }
        if self.backend() == Backend::Postgres {
            set_sequences(&tx.inner, &known_tables).await?;
        }
        for (name, rows) in &report {
            let table = known_tables.iter().find(|table| table.name == *name);
            let stored = match table {
                Some(table) => table.count(&tx.inner).await?,
                None => 0,
            };
            if stored != *rows {
                return Err(refused("import", format!("table {name} has {stored} rows, not the {rows} of the file")));
            }
        }
        let details = json!({"made_at": header.made_at, "tables": report.len()});
        tx.audit(&AuditRow::new(actor, "database_imported", details, now)).await?;
        tx.commit().await?;
        Ok(report)
    }
}

fn check_header(header: &Header) -> Result<()> {
    if header.millrace_export != FORM {
        let reason = format!("the file has form {}, this Millrace reads form {FORM}", header.millrace_export);
        return Err(refused("import", reason));
    }
    if header.migrations != known() {
        return Err(refused(
            "import",
            format!(
                "the file was made by Millrace {} with other migrations (the last: {}); import it with that version, \
                 then run `millrace db migrate` with this one",
                header.millrace,
                header.migrations.last().map_or("none", String::as_str)
            ),
        ));
    }
    Ok(())
}

async fn check_empty(connection: &impl ConnectionTrait, tables: &[Table]) -> Result<()> {
    let mut full = Vec::new();
    for table in tables.iter().filter(|table| !LEFT_OUT.contains(&table.name.as_str())) {
        let rows = table.count(connection).await?;
        // What a migration seeds is one pool and the installation's name.
        let allowed = u64::from(SEEDED.contains(&table.name.as_str()));
        // Whoever runs the import may have been noted as a process.
        if rows > allowed && table.name != "job" {
            full.push(format!("{} ({rows} rows)", table.name));
        }
    }
    if full.is_empty() {
        return sql::run(connection, "import", "DELETE FROM job", vec![]).await.map(|_| ());
    }
    Err(refused("import", format!("the database is not empty: {}; `millrace db reset` empties it", full.join(", "))))
}

/// The rows up to the table's end, with their number and checksum compared.
async fn import_table(
    connection: &impl ConnectionTrait,
    table: &Table,
    columns: &[String],
    lines: &mut Lines<'_>,
) -> Result<u64> {
    let mut kinds = Vec::with_capacity(columns.len());
    for name in columns {
        let column = table.columns.iter().find(|column| column.name == *name);
        let column = column.ok_or_else(|| lines.wrong(&format!("table {} has no column '{name}'", table.name)))?;
        kinds.push(column.kind);
    }
    let insert = insert_text(connection.get_database_backend(), table, columns, &kinds);
    let (mut count, mut digest, mut page) = (0_u64, Sha256::new(), Vec::with_capacity(PAGE));
    loop {
        let (text, line) = lines.with_text()?;
        match line {
            Line::Row(row) if row.len() == columns.len() => {
                digest.update(text.as_bytes());
                count += 1;
                page.push(row);
                if page.len() == PAGE {
                    let rows = std::mem::replace(&mut page, Vec::with_capacity(PAGE));
                    sql::run(connection, "import rows", insert.as_str(), vec![sql::rows(rows)]).await?;
                }
            }
            Line::End { end, rows, sha256 } if end == table.name => {
                if rows != count || sha256 != hex::encode(digest.finalize()) {
                    return Err(lines.wrong(&format!("the rows of {end} are not those that were exported")));
                }
                if !page.is_empty() {
                    sql::run(connection, "import rows", insert.as_str(), vec![sql::rows(page)]).await?;
                }
                return Ok(count);
            }
            _ => return Err(lines.wrong(&format!("this is no row of {}", table.name))),
        }
    }
}

fn insert_text(backend: DbBackend, table: &Table, columns: &[String], kinds: &[Kind]) -> String {
    let quoted: Vec<String> = columns.iter().map(|name| quote(name)).collect();
    let places: Vec<String> = (0..columns.len()).map(|place| format!("x{place}")).collect();
    let cells: Vec<(&str, Kind)> = places.iter().map(String::as_str).zip(kinds.iter().copied()).collect();
    // "WHERE TRUE" keeps SQLite from reading what follows as a part of a join.
    format!(
        "INSERT INTO {} ({}) SELECT {} FROM {} WHERE TRUE",
        table.quoted(),
        quoted.join(", "),
        places.join(", "),
        sql::source(backend, 1, &cells)
    )
}

/// The next id comes after the largest imported one.
async fn set_sequences(connection: &impl ConnectionTrait, tables: &[Table]) -> Result<()> {
    for table in tables.iter().filter(|table| table.has("id")) {
        let name = table.quoted();
        let sql = "SELECT pg_get_serial_sequence($1, 'id') AS name";
        let row = sql::one(connection, "look for a sequence", sql, values![name.as_str()]).await?;
        let Some(sequence) = row.map(|row| row.opt_text("name")).transpose()?.flatten() else { continue };
        let sql = format!("SELECT setval(CAST($1 AS regclass), MAX(id)) AS n FROM {name} HAVING MAX(id) IS NOT NULL");
        sql::all(connection, "set a sequence", sql, values![sequence]).await?;
    }
    Ok(())
}

struct Lines<'a> {
    source: &'a mut (dyn BufRead + Send),
    number: u64,
}

impl Lines<'_> {
    fn next(&mut self) -> Result<Option<String>> {
        let mut line = String::new();
        self.number += 1;
        let read = self.source.read_line(&mut line);
        let read = read.map_err(|error| refused("import", format!("line {} can't be read: {error}", self.number)))?;
        Ok((read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
    }

    fn with_text(&mut self) -> Result<(String, Line)> {
        let text = self.next()?.ok_or_else(|| self.wrong("the file is cut"))?;
        let line = serde_json::from_str(&text).map_err(|_| self.wrong("this is no line of an export"))?;
        Ok((text, line))
    }

    fn parsed(&mut self) -> Result<Line> {
        self.with_text().map(|(_, line)| line)
    }

    fn wrong(&self, problem: &str) -> StoreError {
        refused("import", format!("line {}: {problem}; nothing was imported", self.number))
    }
}

fn write(out: &mut (dyn Write + Send), value: &Json) -> Result<()> {
    writeln!(out, "{value}").map_err(writing)
}

fn writing(error: std::io::Error) -> StoreError {
    refused("export", format!("the file can't be written: {error}"))
}
