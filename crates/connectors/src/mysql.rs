//! MySQL and MariaDB as sources of rows.

mod cells;
mod derived;
mod entrance;
mod hashing;
mod kill;
mod refusal;
mod replica;
mod rows;
mod source;
mod types;

pub use source::MySqlSource;
