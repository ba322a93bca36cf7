//! The log of a try: one text file, written masked, read page by page, followed while it grows.
//!
//! Invariants:
//! - Nothing reaches the disk before it went through the mask.
//! - A line is `<RFC 3339 instant, microseconds> <LEVEL> <text>`; a text with line breaks becomes several lines.
//! - Names of DAGs, runs and tasks can't lead out of the folder.

mod folder;
mod line;
mod orphans;
mod owner;
mod reading;
mod writer;

pub use folder::{LogFolder, TryId};
pub use line::{Level, LogLine};
pub use reading::LogPage;
pub use writer::{Aside, Making, Mask, TryLog};
