//! DAG files: YAML text and the table of operators in, a checked [`Dag`](millrace_model::dag::Dag) or located
//! diagnostics out.
//!
//! A file goes through a tree that knows where each value stands ([`tree`]), is checked against the operators' schemas,
//! and only then becomes typed, so that every problem is reported at once and at its place.
//!
//! Invariants:
//! - Nothing is executed, and nothing is read but the text and the files that [`ReadOptions::files`] hands out.
//! - Bounded: size, depth, number of values; aliases are counted as what they expand to.
//! - A [`Dag`](millrace_model::dag::Dag) comes out only when there is no error: unique ids, known dependencies, no
//!   cycle, parameters that their operator accepts.
//! - No clock and no environment: equal text and options give an equal result.
//!
//! May import `model`, `template` and `operator-api` only.

mod alert;
mod asset;
mod calendar;
mod callbacks;
mod compose;
mod dag;
mod dependencies;
mod diagnostic;
mod editor_schema;
mod execution;
mod expand;
mod fields;
mod files;
mod groups;
mod keys;
mod lint;
mod misfire;
mod options;
mod parameter_list;
mod parameters;
mod params;
mod read;
mod roles;
mod scalar;
mod schema_check;
mod schema_walk;
mod source;
mod suggest;
mod task;
mod templates;
mod text;
mod timetable;
pub mod tree;
mod written;

pub use calendar::{CALENDARS_FOLDER, CalendarFile, calendar_path, read_calendar};
pub use diagnostic::{Diagnostic, Severity, render_all};
pub use editor_schema::dag_schema;
pub use files::check_path;
pub use lint::{KnownConnection, LINTS, Lint, LintOptions, backfill_problems, lint, rerun_problems};
pub use options::{Defaults, ReadOptions};
pub use parameter_list::{Parameter, parameters_of};
pub use read::{ReadResult, read_dag, read_dag_bytes};
pub use source::MAX_FILE_SIZE;
