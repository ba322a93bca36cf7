//! What people are told of.

pub(crate) mod alert;
pub(crate) mod notification;
pub(crate) mod webhook;
