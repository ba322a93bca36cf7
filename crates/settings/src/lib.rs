//! Configuration, the home folder, and everything about secrets: encryption at rest, connection and variable forms,
//! masking.
//!
//! Invariants:
//! - A secret leaves this crate as `secrecy::SecretString` or sealed, never in a `Debug` or an error text.
//! - Unknown configuration keys are refused with their place and a suggestion.
//! - Look-up order: environment, then the metadata database (which others read; this crate only knows the forms).

pub mod config;
pub mod connection;
pub mod home;
pub mod kept;
pub mod keyring;
pub mod known_extra;
pub mod mask;

pub use config::{Config, ConfigError};
pub use connection::{ConnectionForm, ConnectionFormError};
pub use home::Home;
pub use keyring::{Keyring, KeyringError};
pub use mask::Masker;
