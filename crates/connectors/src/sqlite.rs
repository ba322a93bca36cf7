//! SQLite files: as a source of rows, and as a warehouse that needs no server.

mod anatomy;
mod cells;
mod connect;
mod load;
mod numbers;
mod source;
mod stage;
mod swap;
mod types;
mod warehouse;

pub use source::SqliteSource;
pub use warehouse::SqliteWarehouse;
