//! Database URLs.
