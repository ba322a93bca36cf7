//! The plain rows, as sea-orm maps them. Private to the store.

pub(crate) mod api_token;
pub(crate) mod connection;
pub(crate) mod pool;
pub(crate) mod user;
pub(crate) mod variable;
