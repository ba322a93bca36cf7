//! What several outside systems share: rows and files on their way, SQL and its types, the PostgreSQL protocol, swaps,
//! checks, what a task that opened a connection asks of it.

pub mod batches;
pub mod checks;
mod csv_quotes;
pub mod csv_rows;
pub mod ddl;
pub mod declared;
pub mod dialect;
pub mod doubles;
pub mod exact;
pub mod failed_builds;
pub mod failure;
pub mod farewell;
pub mod files;
pub mod followers;
pub mod long_names;
pub mod old_markers;
pub mod parquet_rows;
pub mod pieces;
mod places;
pub mod protection;
pub mod quarantine;
pub mod query_filter;
pub mod room;
pub mod row_counts;
pub mod rows;
pub mod said;
pub mod script;
pub mod session;
pub mod sql;
pub mod swap;
pub mod task;
pub mod turns;
pub mod upsert;
pub mod wire;
