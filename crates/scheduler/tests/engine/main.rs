//! The scheduler on a real SQLite store, with an executor that does what the test says.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]
#![expect(clippy::print_stderr, reason = "the World shows its steps on request")]

mod backfills;
mod changes;
mod dependencies;
mod explained;
mod folder;
mod given_up;
mod hand_over;
mod loop_;
mod mapped;
mod parked;
mod recovery;
mod repinned;
mod silence;
mod stage;
mod time;
mod world;
