//! Operators against fake ports: what they decide, and what they do after dying at each effect.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod catalogue;
mod choices;
mod copies;
mod fakes;
mod loads;
mod movements;
mod objects;
mod others;
mod quality;
mod splits;
mod unloads;
mod waits;
