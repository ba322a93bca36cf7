//! Rows on their way into a warehouse: by which options, from which files, into which columns.

pub mod copy_options;
pub mod drift;
pub mod file_columns;
pub mod handover;
pub mod load_parameters;
pub mod loading;
pub mod rejected;
pub mod unknown_clock;
