//! What several operators are made of: the CSV encoder, streams of encoded rows, publishing objects, loading them, and
//! reading parameters.

pub mod asking;
pub mod checks;
pub mod copy_options;
pub mod copying;
pub mod csv;
pub mod encoding;
pub mod handover;
pub mod load_target;
pub mod loading;
pub mod manifest;
pub mod mark;
pub mod packing;
pub mod parameter;
pub mod parquet;
pub mod publishing;
pub mod report;
pub mod scalar;
pub mod script;
pub mod sensor;
pub mod shape;
pub mod size;
pub mod splitting;
pub mod table_name;
pub mod truth;
pub mod verifying;
