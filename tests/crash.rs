//! The daemon is killed at any moment, its database goes away and comes back, a second scheduler takes over: whatever
//! happens, every run ends, every task succeeds exactly once, and no two tries of a task run at the same time.
//!
//! `MILLRACE_KILLS` says how often the busy daemon is killed (default: 5).

#![allow(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![allow(clippy::print_stderr, reason = "the seed and what was lost are for whoever repeats a failure")]

mod support;

#[path = "crash/busy.rs"]
mod busy;
#[path = "crash/disk.rs"]
mod disk;
#[path = "crash/kills.rs"]
mod kills;
#[path = "crash/loads.rs"]
mod loads;
#[path = "crash/movements.rs"]
mod movements;
#[path = "crash/outage.rs"]
mod outage;
#[path = "crash/strikes.rs"]
mod strikes;
#[path = "crash/takeover.rs"]
mod takeover;
