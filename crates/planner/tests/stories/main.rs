//! What the planner decides, as stories.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

mod alerts;
mod assets;
mod backfills;
mod calendars;
mod changed;
mod dependencies;
mod explained;
mod maintenance;
mod mapped;
mod missed;
mod outlook;
mod past;
mod pools;
mod roles;
mod runs;
mod script;
mod stops;
mod tries;
mod waits;
