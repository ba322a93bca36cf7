//! Tables from one database straight into another: what `table_copy` is made of.

pub mod checksum;
pub mod config;
pub mod convert;
pub mod deletes;
pub mod dotted;
pub mod select;
pub mod staging;
pub mod table;
pub mod verify;
pub mod watermark;
pub mod written;
