//! What a load leaves beside its rows, so that it is not made twice.

use super::connect::literal;

/// The engine's clock, in UTC: people read it, and nothing is decided by it.
pub const NOW: &str = "strftime('%Y-%m-%d %H:%M:%f', 'now')";

pub fn marker_ddl() -> String {
    "CREATE TABLE IF NOT EXISTS millrace_load_marker (marker TEXT PRIMARY KEY NOT NULL, loaded_at TEXT NOT NULL, rows INTEGER)".to_owned()
}

pub fn find_marker(marker: &str) -> String {
    format!("SELECT rows FROM millrace_load_marker WHERE marker = {}", literal(marker))
}

/// `marker` is a literal.
pub fn insert_marker(marker: &str, rows: u64) -> String {
    format!("INSERT INTO millrace_load_marker (marker, loaded_at, rows) VALUES ({marker}, {NOW}, {rows})")
}
