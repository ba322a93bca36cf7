//! The scheduler on a real SQLite store, with an executor that does what the test says.

mod folder;
mod loop_;
mod recovery;
mod stage;
mod world;
