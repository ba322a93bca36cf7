//! The words of Millrace and the rules that need nothing but those words: identifiers, states and the table of legal
//! transitions, the DAG graph, schedules, trigger rules, error codes.
//!
//! Invariants:
//! - Pure. No tokio, no database, no files, no clock, no environment; nothing depends on hash order. `now` is an argument.
//! - Instants are UTC; they are stored and printed with microseconds.
//! - A state is a string everywhere outside this crate; [`state::TaskState`] and [`state::RunState`] are the only lists.
//!
//! May import no other room.

pub mod address;
pub mod alert;
pub mod asset;
pub mod calendar;
pub mod change;
pub mod choice;
pub mod dag;
pub mod duration;
pub mod error_code;
pub mod execution;
pub mod graph;
pub mod ids;
pub mod instant;
pub mod json_text;
pub mod ledger;
pub mod maintenance;
pub mod mapping;
pub mod notice;
pub mod param;
pub mod pool;
pub mod schedule;
pub mod selection;
pub mod span;
pub mod state;
pub mod trigger_rule;
