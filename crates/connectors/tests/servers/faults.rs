//! What goes wrong outside: for each fault the retry ends with exactly the right table, or the task says why it failed and
//! leaves the target as it was.

mod deaths;
mod redshift;
mod sources;
mod stores;
mod targets;

pub use targets::{Holder, is_waited_for};
