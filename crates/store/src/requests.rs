//! What people ask for: each is one transaction with its audit row and a signal for the scheduler.

pub(crate) mod backfill;
pub(crate) mod clear;
pub(crate) mod delete;
pub(crate) mod mark;
pub(crate) mod note;
pub(crate) mod repin;
pub(crate) mod scope;
pub(crate) mod trigger;
pub(crate) mod triggered;
