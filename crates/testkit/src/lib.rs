//! Real servers for tests: PostgreSQL, MariaDB, a browser, and our own daemon.
//!
//! A test that needs a server asks for it here and gets a real one. What is not installed is an error that names the
//! Debian package; a test is never skipped.
//!
//! Invariants:
//! - every server listens on 127.0.0.1 only, on a free port, with data and settings of its own: one that the machine
//!   runs already is neither used nor disturbed;
//! - [`Postgres::shared`] and [`MariaDb::shared`] are one server per Unix user, shared by all test processes (nextest
//!   runs each test in its own) and kept apart by a database per test; it ends by itself when nobody has used it for a
//!   while, and its data is then removed;
//! - what a test owns alone ([`PrivatePostgres`], [`PrivateMariaDb`], [`Chromium`], [`Daemon`]) ends with the value that owns it, and also
//!   when the test process is killed;
//! - all calls block, unless they are `async`, and may be made from inside a tokio runtime.
//!
//! This crate knows nothing of the rest of Millrace and must not depend on it.

mod account;
mod binaries;
mod cable;
mod chromium;
mod daemon;
mod fuzz;
mod leash;
mod mariadb;
mod memory;
mod ports;
mod postgres;
mod private_server;
mod shared_server;
mod site;
mod waiting;

pub use cable::{Cable, Stop};
pub use chromium::Chromium;
pub use daemon::{Daemon, DaemonBuilder};
pub use fuzz::Fuzz;
pub use mariadb::{MariaDatabase, MariaDb, PrivateMariaDb};
pub use memory::{mapped_program, most_memory, own_memory};
pub use ports::free_port;
pub use postgres::{Postgres, PrivatePostgres, TestDatabase};
pub use shared_server::Stopped;
pub use waiting::{wait_for, wait_until, wait_until_blocking};
