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
//! What several of the systems share lives in `parts`.
//!
//! May be imported by `cli` and tests only; imports `operator-api` and `model`, never the store or the engines.

mod aws;
mod callback;
mod connectors;
mod mysql;
mod parts;
mod postgres;
mod processes;
mod rds;
mod redshift;
mod s3;
mod scratch;
mod sqlite;
mod web;

pub use aws::{AwsIdentity, aws_identity};
pub use callback::{post_signed, run_command};
pub use connectors::{Connectors, ConnectorsConfig, known_type, known_types};
pub use parts::farewell::farewells;
pub use parts::query_filter::{Counterpart, QueryFilter, query_filter};
pub use processes::{LEASE_OWNER_VARIABLE, LocalProcesses, ProcessSettings, kill_orphans, owner_mark};
pub use scratch::FolderScratch;
pub use web::ask;
