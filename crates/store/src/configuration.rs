//! What is configured while it runs: connections, pools, variables.

pub(crate) mod connection;
pub(crate) mod entity;
pub(crate) mod pool;
pub(crate) mod setting;
pub(crate) mod variable;
