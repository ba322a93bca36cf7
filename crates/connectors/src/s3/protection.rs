//! How objects are kept: by which key they are encrypted, and whose bucket it must be.

use aws_sdk_s3::types::ServerSideEncryption;
use millrace_operator_api::PortError;
use millrace_operator_api::connection::Connection;

use crate::parts::failure::invalid;

/// Told to the store with every request that writes; the owner with every request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protection {
    encryption: Option<ServerSideEncryption>,
    kms_key: Option<String>,
    owner: Option<String>,
    /// Bytes beyond which a copy is made in parts.
    pub largest_copy: u64,
}

const MIB: u64 = 1024 * 1024;
/// Of S3: what one CopyObject takes.
const LARGEST_COPY: u64 = 5 * 1024 * MIB;

impl Protection {
    /// `server_side_encryption` (`AES256`, `aws:kms`, `aws:kms:dsse`), `kms_key_id`, `expected_bucket_owner` (12 digits) and
    /// `multipart_copy_mib` of the connection's extra.
    pub fn of(connection: &Connection) -> Result<Self, PortError> {
        let (conn_id, extra) = (&connection.conn_id, &connection.extra);
        let kms_key = extra.text("kms_key_id").map(ToOwned::to_owned);
        let encryption = match extra.text("server_side_encryption") {
            None => kms_key.is_some().then_some(ServerSideEncryption::AwsKms),
            Some("AES256") if kms_key.is_some() => {
                return Err(invalid(format!(
                    "connection {conn_id:?}: kms_key_id has no meaning with server_side_encryption AES256; use aws:kms"
                )));
            }
            Some(name @ ("AES256" | "aws:kms" | "aws:kms:dsse")) => Some(ServerSideEncryption::from(name)),
            Some(other) => {
                return Err(invalid(format!(
                    "connection {conn_id:?}: server_side_encryption {other:?} is not AES256, aws:kms or aws:kms:dsse"
                )));
            }
        };
        // An account id written as a number loses its leading zeros, so that it would be another account.
        let owner = match extra.0.get("expected_bucket_owner") {
            None | Some(serde_json::Value::Null) => None,
            Some(serde_json::Value::String(text)) if text.is_empty() => None,
            Some(serde_json::Value::String(text)) if text.len() == 12 && text.bytes().all(|b| b.is_ascii_digit()) => {
                Some(text.clone())
            }
            Some(other) => {
                return Err(invalid(format!(
                    "connection {conn_id:?}: expected_bucket_owner is {other}, not an account id: 12 digits in quotes"
                )));
            }
        };
        let largest_copy = match extra.number("multipart_copy_mib") {
            None => LARGEST_COPY,
            Some(mib @ 5..=5120) => mib * MIB,
            Some(other) => {
                return Err(invalid(format!(
                    "connection {conn_id:?}: multipart_copy_mib {other} is not from 5 to 5120"
                )));
            }
        };
        Ok(Self { encryption, kms_key, owner, largest_copy })
    }

    pub fn encryption(&self) -> Option<ServerSideEncryption> {
        self.encryption.clone()
    }

    pub fn kms_key(&self) -> Option<String> {
        self.kms_key.clone()
    }

    pub fn owner(&self) -> Option<String> {
        self.owner.clone()
    }
}
