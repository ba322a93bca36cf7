//! What a load leaves beside its rows, so that it is not made twice.

use super::connect::literal;
use crate::parts::old_markers::KEPT_DAYS;

/// The engine's clock, in UTC: people read it, and nothing is decided by it.
pub const NOW: &str = "strftime('%Y-%m-%d %H:%M:%f', 'now')";

pub fn marker_ddl() -> String {
    "CREATE TABLE IF NOT EXISTS millrace_load_marker (marker TEXT PRIMARY KEY NOT NULL, loaded_at TEXT NOT NULL, rows INTEGER); \
     CREATE INDEX IF NOT EXISTS millrace_load_marker_loaded_at ON millrace_load_marker (loaded_at)"
        .to_owned()
}

/// Of those that nothing asks for any more.
pub fn drop_old_markers() -> String {
    let kept = NOW.replace("'now'", &format!("'now', '-{KEPT_DAYS} days'"));
    format!("DELETE FROM millrace_load_marker WHERE loaded_at < {kept}")
}

pub fn find_marker(marker: &str) -> String {
    format!("SELECT rows FROM millrace_load_marker WHERE marker = {}", literal(marker))
}

/// `marker` is a literal.
pub fn insert_marker(marker: &str, rows: u64) -> String {
    format!("INSERT INTO millrace_load_marker (marker, loaded_at, rows) VALUES ({marker}, {NOW}, {rows})")
}
