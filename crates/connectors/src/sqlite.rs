//! SQLite files: as a source of rows, and as a warehouse that needs no server.

mod anatomy;
mod cells;
mod connect;
mod load;
mod marker;
mod numbers;
mod reading;
mod session;
mod source;
mod stage;
mod swap;
mod table_checks;
mod types;
mod warehouse;
mod writing;

pub use connect::SqliteFile;
pub use source::SqliteSource;
pub use warehouse::SqliteWarehouse;
