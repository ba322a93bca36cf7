//! PostgreSQL: as a source of rows, and as a warehouse.

mod copy_text;
mod load;
mod source;
mod types;
mod warehouse;

pub use load::{check_keys, open_unchanged};
pub use source::{BATCH_BYTES, PostgresSource, receive};
pub use warehouse::{PostgresWarehouse, execute as execute_over_wire};
