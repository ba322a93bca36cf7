//! The outside world: one file per outside system, each implementing the ports of `millrace-operator-api`.
//!
//! Invariants:
//! - everything streams in bounded memory; no table, file or answer of unknown size is held as a whole;
//! - values travel as the exact text of their source: decimals and big integers never pass through floats, NULL and ''
//!   stay different, sessions are in UTC;
//! - whoever drops a future or a stream here also stops the work on the other side;
//! - a load or a swap leaves its marker in its own transaction, so that no try ever does it twice;
//! - no error text, log line or `Debug` output holds a secret.
//!
//! May be imported by `cli` and tests only; imports `operator-api` and `model`, never the store or the engines.

mod aws;
mod batches;
mod callback;
mod checks;
mod connectors;
mod csv_quotes;
mod csv_rows;
mod ddl;
mod declared;
mod exact;
mod failure;
mod files;
mod limits;
mod long_names;
mod mysql;
mod parquet_rows;
mod postgres;
mod processes;
mod protection;
mod quarantine;
mod query_filter;
mod rds;
mod redshift;
mod row_counts;
mod rows;
mod s3;
mod scratch;
mod script;
mod session;
mod sql;
mod sqlite;
mod swap;
mod task;
mod turns;
mod upsert;
mod web;
mod wire;

pub use aws::{AwsIdentity, aws_identity};
pub use callback::{post_signed, run_command};
pub use connectors::{Connectors, ConnectorsConfig};
pub use processes::{LEASE_OWNER_VARIABLE, LocalProcesses, ProcessSettings, kill_orphans, owner_mark};
pub use query_filter::{Counterpart, QueryFilter, query_filter};
pub use scratch::FolderScratch;
pub use web::ask;
