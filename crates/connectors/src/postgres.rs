//! PostgreSQL: as a source of rows, and as a warehouse.

mod copy_text;
mod hashing;
pub mod keys;
mod load;
pub mod locks;
mod parents;
pub mod references;
mod refusal;
mod replica;
pub mod row_security;
mod source;
mod stage;
mod straight;
mod types;
mod warehouse;
mod writing;

pub use hashing::key_query;
pub use refusal::{BrokenRule, reason_of};
pub use source::PostgresSource;
pub use warehouse::{PostgresWarehouse, execute as execute_over_wire, forget};
