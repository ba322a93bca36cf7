//! Operators against fake ports: what they decide, and what they do after dying at each effect.

mod catalogue;
mod fakes;
mod loads;
mod movements;
mod others;
