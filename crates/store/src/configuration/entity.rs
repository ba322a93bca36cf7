//! The plain rows, as sea-orm maps them. Private to the store.

pub(crate) mod connection;
pub(crate) mod pool;
pub(crate) mod variable;
