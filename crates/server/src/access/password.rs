//! Passwords: hashed with Argon2id, and remembered for a short while once they were right, so that HTTP Basic does not
//! cost a hash with every request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::OnceCell;

#[derive(Debug, thiserror::Error)]
#[error("could not hash the password: {problem}")]
pub struct HashError {
    problem: String,
}

/// An Argon2id hash with its salt and parameters (PHC string).
pub fn hash_password(password: &str) -> Result<String, HashError> {
    let hash = Argon2::default()
        .hash_password(password.as_bytes())
        .map_err(|error| HashError { problem: error.to_string() })?;
    Ok(hash.to_string())
}

/// False also for a hash that cannot be read.
pub fn verify_password(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok())
}

/// What an unknown user's password is compared with, so that the answer takes as long as for a known one: a hash of nothing,
/// with the parameters of real ones. A constant, because making one takes 19 MiB that the allocator may keep.
pub(crate) const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5IGhhcyB0aGlzIQ$Y4KzzIgUErd7/K7tAmABwA2eMCXmbCD25+kvB5hRRio";

pub(crate) fn keyed_digest(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length; an error is not possible.
    let Ok(mut mac) = <Hmac<Sha256> as KeyInit>::new_from_slice(key) else { return [0; 32] };
    for part in parts {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

const REMEMBERED_FOR: Duration = Duration::from_mins(5);
const MOST_REMEMBERED: usize = 1024;

/// Digests of passwords that were right a moment ago, with the hash they were right for: a changed password is at once
/// another digest.
#[derive(Default)]
pub(crate) struct Verified {
    until: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Verified {
    pub fn contains(&self, digest: &[u8; 32]) -> bool {
        let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        until.get(digest).is_some_and(|until| Instant::now() < *until)
    }

    pub fn remember(&self, digest: [u8; 32]) {
        let now = Instant::now();
        let mut until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
        if until.len() >= MOST_REMEMBERED {
            until.retain(|_, until| now < *until);
        }
        if until.len() < MOST_REMEMBERED {
            until.insert(digest, now + REMEMBERED_FOR);
        }
    }
}

/// Passwords that are being looked at now, each with who waits for the same one.
#[derive(Default)]
pub(crate) struct Guesses {
    under_way: Mutex<HashMap<[u8; 32], Weak<OnceCell<bool>>>>,
}

impl Guesses {
    /// Whoever holds the cell of a digest at the same time shares what comes of it.
    pub fn enter(&self, digest: [u8; 32]) -> Arc<OnceCell<bool>> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cell) = under_way.get(&digest).and_then(Weak::upgrade) {
            return cell;
        }
        under_way.retain(|_, cell| cell.strong_count() > 0);
        let cell = Arc::new(OnceCell::new());
        under_way.insert(digest, Arc::downgrade(&cell));
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_fits_its_own_password_only() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(verify_password("correct horse", &hash));
        assert!(!verify_password("correct horse ", &hash));
        assert!(!verify_password("", &hash));
        assert!(!verify_password("correct horse", "not a hash"));
        assert_ne!(hash, hash_password("correct horse").unwrap(), "the salt differs");
    }

    #[test]
    fn nobody_costs_as_much_as_somebody() {
        let parameters = |hash: &str| hash.split('$').take(4).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(parameters(NOBODYS), parameters(&hash_password("anything").unwrap()));
        assert!(PasswordHash::new(NOBODYS).is_ok(), "it is read, and so the password is hashed");
        assert!(!verify_password("", NOBODYS));
    }

    #[test]
    fn parts_of_a_digest_cannot_be_shifted() {
        assert_ne!(keyed_digest(b"k", &[b"ab", b"c"]), keyed_digest(b"k", &[b"a", b"bc"]));
    }
}
