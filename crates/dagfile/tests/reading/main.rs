//! DAG files: text in, DAG or diagnostics out.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![expect(clippy::format_collect, reason = "test data need not be built fast")]

mod cases;
mod catalogue;
mod composed;
mod dags;
mod every_key;
mod examples;
mod expand;
mod groups;
mod hostile;
mod schema;
