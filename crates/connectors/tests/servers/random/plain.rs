//! Rows as lines that do not depend on the engine, read without anything that moves or compares rows for users: by the
//! `mariadb` client, by PostgreSQL's simple queries, by SQLite's own values.

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};
use sqlx::{Column as _, Connection as _, Row as _, TypeInfo as _, ValueRef as _};

use super::table::Table;
use crate::copies::databases::{Database, Kind};
use crate::world::{Cells, World};

/// What makes two values of different engines the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Number,
    /// A number, and bits in MariaDB.
    Bits,
    Single,
    Double,
    Truth,
    Text,
    /// Blanks at the end are nothing.
    Padded,
    Bytes,
    Moment,
    Clock,
    Json,
}

impl Form {
    fn plain(self, cell: &str) -> String {
        match self {
            Self::Number | Self::Bits => number(cell),
            Self::Single => {
                cell.parse::<f32>().map_or_else(|_| cell.to_owned(), |number| format!("{:08x}", number.to_bits()))
            }
            Self::Double => {
                cell.parse::<f64>().map_or_else(|_| cell.to_owned(), |number| format!("{:016x}", number.to_bits()))
            }
            Self::Truth => if matches!(cell, "t" | "true" | "1") { "yes" } else { "no" }.to_owned(),
            Self::Text => cell.to_owned(),
            Self::Padded => cell.trim_end_matches(' ').to_owned(),
            Self::Bytes => cell.strip_prefix("\\x").unwrap_or(cell).to_lowercase(),
            Self::Moment => without_zeros(cell.strip_suffix("+00").unwrap_or(cell)).to_owned(),
            Self::Clock => without_zeros(cell).to_owned(),
            Self::Json => serde_json::from_str::<serde_json::Value>(cell)
                .map_or_else(|error| format!("{cell} is no JSON: {error}"), |value| value.to_string()),
        }
    }

    /// What MariaDB is asked for.
    fn of_maria(self, name: &str) -> String {
        match self {
            Self::Bits => format!("CAST({name} + 0 AS CHAR)"),
            // A FLOAT shows six digits, as a DOUBLE all that it has.
            Self::Single | Self::Double => format!("CAST({name} + 0e0 AS CHAR)"),
            Self::Bytes => format!("HEX({name})"),
            _ => format!("CAST({name} AS CHAR CHARACTER SET utf8mb4)"),
        }
    }
}

fn without_zeros(cell: &str) -> &str {
    if cell.contains('.') { cell.trim_end_matches('0').trim_end_matches('.') } else { cell }
}

fn number(cell: &str) -> String {
    let (sign, digits) = cell.strip_prefix('-').map_or(("", cell), |digits| ("-", digits));
    if !digits.starts_with(|first: char| first.is_ascii_digit()) {
        return cell.to_owned();
    }
    let digits = without_zeros(digits);
    let whole = digits.trim_start_matches('0');
    match whole {
        "" => "0".to_owned(),
        _ if whole.starts_with('.') => format!("{sign}0{whole}"),
        _ => format!("{sign}{whole}"),
    }
}

/// All rows of a table in one order, a line each, and one checksum over them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plain {
    pub lines: Vec<String>,
    pub checksum: String,
}

impl Plain {
    pub async fn read(world: &World, database: &Database, table: &Table, name: &str) -> Result<Self> {
        let forms: Vec<Form> = table.forms().collect();
        let cells = cells(world, database, table, name, &forms).await?;
        let mut lines: Vec<String> = cells
            .iter()
            .map(|row| {
                let cells = row.iter().zip(&forms).map(|(cell, form)| match cell {
                    None => "NULL".to_owned(),
                    Some(cell) => format!("{:?}", form.plain(cell)),
                });
                cells.collect::<Vec<_>>().join(" | ")
            })
            .collect();
        lines.sort();
        let digest = Sha256::digest(lines.join("\n"));
        Ok(Self { checksum: digest.iter().map(|byte| format!("{byte:02x}")).collect(), lines })
    }

    /// The first line that only one of them has, of each.
    pub fn difference(&self, other: &Self) -> Option<String> {
        if self.checksum == other.checksum {
            return None;
        }
        let only = |one: &Self, other: &Self| {
            let first = one.lines.iter().find(|line| !other.lines.contains(line));
            first.map_or_else(|| "nothing".to_owned(), |line| line.chars().take(2_000).collect())
        };
        Some(format!(
            "{} rows and {}; only here: {}; only there: {}",
            self.lines.len(),
            other.lines.len(),
            only(self, other),
            only(other, self)
        ))
    }
}

async fn cells(world: &World, database: &Database, table: &Table, name: &str, forms: &[Form]) -> Result<Cells> {
    let place = database.place(&database.quoted(name));
    // Redshift knows no capitals in names, and neither does the PostgreSQL behind it.
    let own = |name: &str| if database.kind.is_redshift() { name.to_ascii_lowercase() } else { name.to_owned() };
    let names: Vec<String> = table.names().map(|name| database.quoted(&own(name))).collect();
    match database.kind {
        Kind::Maria => {
            let list: Vec<String> = names
                .iter()
                .zip(forms)
                .map(|(name, form)| format!("HEX(CONVERT({} USING utf8mb4))", form.of_maria(name)))
                .collect();
            let sql = format!("SET time_zone = '+00:00'; SELECT {} FROM {place}", list.join(", "));
            let rows = database.maria()?.query(&sql)?;
            rows.iter().map(|row| row.iter().map(|cell| from_hex(cell)).collect()).collect()
        }
        Kind::Lite => {
            let path = database.connection(world)?.schema.context("a path")?;
            values_of_sqlite(&path, &format!("SELECT {} FROM {place}", names.join(", "))).await
        }
        Kind::Postgres | Kind::Redshift | Kind::Wire => {
            let list: Vec<String> = names
                .iter()
                .zip(forms)
                .map(|(name, form)| match form {
                    Form::Number if database.kind == Kind::Postgres => format!("{name}::numeric"),
                    _ => name.clone(),
                })
                .collect();
            let settings = "SET TimeZone = 'UTC'; SET IntervalStyle = 'postgres'; SET extra_float_digits = 3";
            database.postgres()?.query(&format!("{settings}; SELECT {} FROM {place}", list.join(", ")))
        }
    }
}

/// `NULL` is no hex.
fn from_hex(cell: &str) -> Result<Option<String>> {
    if cell == "NULL" {
        return Ok(None);
    }
    ensure!(cell.len().is_multiple_of(2), "half a byte");
    let byte = |at: usize| u8::from_str_radix(&cell[at..at + 2], 16);
    let bytes: Vec<u8> = (0..cell.len()).step_by(2).map(byte).collect::<Result<_, _>>()?;
    Ok(Some(String::from_utf8(bytes)?))
}

/// As they are kept, whatever a column was declared as.
async fn values_of_sqlite(path: &str, sql: &str) -> Result<Cells> {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).read_only(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await?;
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned())).fetch_all(&mut connection).await?;
    connection.close().await?;
    rows.iter()
        .map(|row| {
            row.columns()
                .iter()
                .map(|column| {
                    let at = column.ordinal();
                    let value = row.try_get_raw(at)?;
                    if value.is_null() {
                        return Ok(None);
                    }
                    let kind = value.type_info().name().to_owned();
                    Ok(Some(match kind.as_str() {
                        "INTEGER" => row.try_get_unchecked::<i64, _>(at)?.to_string(),
                        "REAL" => row.try_get_unchecked::<f64, _>(at)?.to_string(),
                        "TEXT" => row.try_get_unchecked::<String, _>(at)?,
                        "BLOB" => {
                            row.try_get_unchecked::<Vec<u8>, _>(at)?.iter().map(|byte| format!("{byte:02x}")).collect()
                        }
                        other => bail!("a value of {other}"),
                    }))
                })
                .collect()
        })
        .collect()
}
