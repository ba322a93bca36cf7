//! Files, schedules and templates that nobody would write: nothing panics, nothing hangs, and what is refused is refused
//! with its place.

mod files;
mod schedules;
mod templates;
