//! Slows down whoever guesses passwords.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

/// Wrong passwords that one address may give for one name within the window.
const ALLOWED: u32 = 10;
const WINDOW: TimeDelta = TimeDelta::minutes(1);
const MOST_WATCHED: usize = 10_000;

/// Since when, and how many.
type Failures = (DateTime<Utc>, u32);

#[derive(Default)]
pub(crate) struct Attempts {
    failures: Mutex<HashMap<(IpAddr, String), Failures>>,
}

impl Attempts {
    /// Err: the seconds to wait.
    pub fn check(&self, from: IpAddr, name: &str, now: DateTime<Utc>) -> Result<(), i64> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match failures.get(&(from, name.to_owned())) {
            Some((since, count)) if *count >= ALLOWED && now < *since + WINDOW => {
                Err((*since + WINDOW - now).num_seconds().max(1))
            }
            _ => Ok(()),
        }
    }

    pub fn failed(&self, from: IpAddr, name: &str, now: DateTime<Utc>) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST_WATCHED {
            failures.retain(|_, (since, _)| now < *since + WINDOW);
        }
        if failures.len() >= MOST_WATCHED {
            return;
        }
        let entry = failures.entry((from, name.to_owned())).or_insert((now, 0));
        if now >= entry.0 + WINDOW {
            *entry = (now, 0);
        }
        entry.1 += 1;
    }

    pub fn succeeded(&self, from: IpAddr, name: &str) {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).remove(&(from, name.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_ones_a_minute_then_wait() {
        let attempts = Attempts::default();
        let from = IpAddr::from([127, 0, 0, 1]);
        let start: DateTime<Utc> = "2024-01-01T00:00:00Z".parse().unwrap();
        for _ in 0..ALLOWED {
            assert_eq!(attempts.check(from, "admin", start), Ok(()));
            attempts.failed(from, "admin", start);
        }
        assert_eq!(attempts.check(from, "admin", start + TimeDelta::seconds(20)), Err(40));
        assert_eq!(attempts.check(from, "other", start), Ok(()));
        assert_eq!(attempts.check(from, "admin", start + WINDOW), Ok(()));
        attempts.succeeded(from, "admin");
        assert_eq!(attempts.check(from, "admin", start), Ok(()));
    }
}
