//! What people change, by REST and pages alike: the rules, the rights and who did it are the same by both.

pub(crate) mod actions;
pub(crate) mod backfills;
pub(crate) mod changes;
pub(crate) mod deletions;
