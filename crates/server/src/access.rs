//! Who comes, how they show who they are, and what they may.

pub(crate) mod attempts;
pub(crate) mod client;
pub(crate) mod guard;
pub(crate) mod oidc;
pub(crate) mod password;
pub(crate) mod people;
pub(crate) mod permission;
pub(crate) mod person;
pub(crate) mod sessions;
pub(crate) mod sign_in;
