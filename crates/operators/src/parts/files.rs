//! What operators read and write: files of rows, in which format, where, and what is remembered of them.

pub mod csv;
pub mod encoding;
pub mod manifest;
pub mod mark;
pub mod packing;
pub mod parquet;
pub mod place;
pub mod publishing;
pub mod relocation;
pub mod shape;
pub mod size;
pub mod splitting;
pub mod type_codes;
pub mod writing;
