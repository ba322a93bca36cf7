//! What shows that two places hold the same: values in one canonical form, hashes of rows, tables compared, bytes counted.

pub mod canonical;
pub mod comparing;
mod messages;
pub mod row_hash;
pub mod verifying;
