//! Who may come in: the one fixed key, and keys that the STS stand-in gave for a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};
use s3s::auth::{S3Auth, SecretKey};
use s3s::{S3Error, S3ErrorCode, S3Result};

/// A key for a while.
#[derive(Debug, Clone)]
pub(crate) struct TemporaryKey {
    pub(crate) id: String,
    pub(crate) secret: String,
    pub(crate) token: String,
    expires: DateTime<Utc>,
}

/// The keys that are good for a while; a shared handle.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    keys: Arc<Mutex<HashMap<String, TemporaryKey>>>,
}

impl Sessions {
    pub(crate) fn open(&self, expires: DateTime<Utc>) -> TemporaryKey {
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let id = format!("ASIA{}", random()[..16].to_ascii_uppercase());
        let key = TemporaryKey { id, secret: random(), token: random(), expires };
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).insert(key.id.clone(), key.clone());
        key
    }

    fn find(&self, id: &str) -> Option<TemporaryKey> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned()
    }

    /// A temporary key is good with its token only, and until it expires.
    pub(super) fn check(&self, id: &str, token: Option<&[u8]>) -> S3Result<()> {
        let Some(key) = self.find(id) else { return Ok(()) };
        if token != Some(key.token.as_bytes()) {
            return Err(S3Error::with_message(
                S3ErrorCode::InvalidToken,
                "The provided token is malformed or invalid.",
            ));
        }
        if key.expires <= Utc::now() {
            return Err(expired());
        }
        Ok(())
    }
}

/// The protocol crate knows the code, but not that it is a 400.
pub(super) fn expired() -> S3Error {
    let mut error = S3Error::with_message(S3ErrorCode::ExpiredToken, "The provided token has expired.");
    error.set_status_code(http::StatusCode::BAD_REQUEST);
    error
}

pub(super) struct Keys {
    pub(super) fixed: (String, SecretKey),
    pub(super) sessions: Sessions,
}

#[async_trait::async_trait]
impl S3Auth for Keys {
    async fn get_secret_key(&self, access_key: &str) -> S3Result<SecretKey> {
        if access_key == self.fixed.0 {
            return Ok(self.fixed.1.clone());
        }
        match self.sessions.find(access_key) {
            Some(key) => Ok(key.secret.into()),
            None => Err(S3Error::with_message(
                S3ErrorCode::InvalidAccessKeyId,
                "The AWS Access Key Id you provided does not exist in our records.",
            )),
        }
    }
}
