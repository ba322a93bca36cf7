//! Files, schedules and templates that nobody would write: nothing panics, nothing hangs, and what is refused is refused
//! with its place.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod files;
mod schedules;
mod templates;
