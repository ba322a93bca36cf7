//! Why a stand-in could not start or stop.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Starting or stopping a stand-in failed.
#[derive(Debug, thiserror::Error)]
pub enum DevstackError {
    /// The address could not be listened on.
    #[error("cannot listen on {address}: is another process using the port?")]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Stand-ins know one fixed key pair, so they must not be reachable from elsewhere.
    #[error("stand-ins listen on loopback only, not on {address}: use 127.0.0.1")]
    NotLoopback {
        /// The address that was asked for.
        address: SocketAddr,
    },
    /// The folder of the S3 stand-in could not be read or written.
    #[error("cannot use {path} as storage of the S3 stand-in")]
    Storage {
        /// The folder or file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// Another stand-in works in the folder.
    #[error("another process uses {folder} as storage of the S3 stand-in")]
    InUse {
        /// The folder.
        folder: PathBuf,
    },
    /// A file in the folder of the S3 stand-in is not what the stand-in writes there.
    #[error("{path} is not a record of the S3 stand-in: move it away or use another folder")]
    Record {
        /// The file.
        path: PathBuf,
        /// What was wrong in it.
        #[source]
        source: serde_json::Error,
    },
    /// A bucket that should exist from the start has a name S3 would refuse.
    #[error("`{name}` is not a bucket name: 3 to 63 of a-z, 0-9, `-` and `.`")]
    BucketName {
        /// The name.
        name: String,
    },
    /// PostgreSQL behind the Redshift stand-in could not be reached or prepared.
    #[error("cannot prepare the PostgreSQL database behind the Redshift stand-in")]
    Postgres(#[source] tokio_postgres::Error),
}

/// Refuses an address that other machines could reach.
pub(crate) fn require_loopback(address: SocketAddr) -> Result<(), DevstackError> {
    if address.ip().is_loopback() { Ok(()) } else { Err(DevstackError::NotLoopback { address }) }
}
