//! Rows on their way out of a source: which of them, and what is done to their values.

pub mod clocks;
pub mod expected_columns;
pub mod incremental;
pub mod longest;
pub mod parallel;
pub mod reading;
pub mod treatment;
