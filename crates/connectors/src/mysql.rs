//! MySQL and MariaDB as sources of rows.

mod cells;
mod hashing;
mod kill;
mod refusal;
mod rows;
mod source;
mod types;

pub use source::MySqlSource;
