//! What the end-to-end suites share: a home folder with a command line, and the systems that data moves between.
//!
//! Every suite compiles this for itself and uses a part of it.

#![allow(dead_code, unused_imports, reason = "each suite uses a part")]

mod home;
mod source;
mod warehouse;

pub use home::{Output, TestHome, repository};
pub use source::Source;
pub use warehouse::{ACCESS_KEY, Comparison, SECRET_KEY, Warehouse};

use std::time::Duration;

/// How long anything may take on a machine that is busy with other tests.
pub const PATIENCE: Duration = Duration::from_mins(4);
