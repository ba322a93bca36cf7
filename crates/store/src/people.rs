//! Who may do what, and who did.

pub(crate) mod api_token;
pub(crate) mod audit;
pub(crate) mod grant;
pub(crate) mod identity;
pub(crate) mod session;
pub(crate) mod user;
