//! Stand-ins that speak the real protocols on loopback, so that a person without an AWS account (and every test)
//! can move data into a warehouse with the unchanged AWS SDK clients.
//!
//! * [`s3`]: an S3 endpoint over a folder.
//! * [`sts`]: keys for a while, by AssumeRole.
//! * [`openid`]: a provider of identities, for signing in.
//! * [`redshift`]: a Redshift Data API endpoint over PostgreSQL.
//!
//! Invariants:
//! * Never kinder than the real service. Where a behaviour is not emulated it is refused, with a message that says so.
//! * What a killed process leaves behind is either a whole object or nothing.
//! * Bodies stream; no object, part or load is ever held in memory as a whole.
//! * Both can be told to fail, through [`Faults`] or from outside ([`serve_faults`]).
//!
//! This crate stands beside the product: it imports none of its other crates.

pub mod conformance;
pub mod error;
pub mod faults;
pub mod objects;
pub mod openid;
pub mod redshift;
pub mod s3;
pub mod sts;

pub use error::DevstackError;
pub use faults::{Fault, Faults, RunningFaultsPort, serve_faults};
pub use objects::{ObjectError, ObjectInfo, ObjectSource};
pub use openid::{Mistake, OpenIdConfig, RunningOpenId, serve_openid};
pub use redshift::{RedshiftConfig, RunningRedshift, serve_redshift};
pub use s3::{RunningS3, S3Config, Sessions, serve_s3};
pub use sts::{RunningSts, StsConfig, serve_sts};
