//! The database itself: reaching it, its schema, and what is done with whole tables.

pub(crate) mod clean;
pub(crate) mod connecting;
pub(crate) mod examine;
pub mod schema;
pub(crate) mod tables;
pub(crate) mod transfer;
pub(crate) mod url;
