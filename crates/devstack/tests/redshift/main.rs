//! The Redshift stand-in through the real AWS SDK client, over a real PostgreSQL.

mod concurrency;
mod conformance;
mod copy;
mod data_api;
mod sql;
mod stand;
