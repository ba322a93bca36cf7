//! The processes that share the database: who leads, who lives, how they wake each other.

pub(crate) mod alone;
pub(crate) mod changes;
pub(crate) mod counter;
pub(crate) mod job;
pub(crate) mod leader;
pub(crate) mod set_aside;
pub(crate) mod signal;
pub(crate) mod trouble;
pub(crate) mod wake;
