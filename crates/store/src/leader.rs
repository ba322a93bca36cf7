//! One scheduler leads. PostgreSQL: a session's advisory lock. SQLite: a file lock in the home. Each leader takes the next
//! epoch, so that what a late one still sends is refused.

use chrono::{DateTime, Utc};

use crate::{Result, Store};

/// Held while this value lives.
#[derive(Debug)]
pub struct Leadership {
    pub epoch: i64,
    /// The lock itself proves that the process of every earlier leader has ended: its leases may be taken at once,
    /// without waiting for them to expire.
    pub previous_owner_is_dead: bool,
}

impl Store {
    /// `None`: another process leads. Ask again later.
    pub async fn try_lead(&self, job_id: &str, now: DateTime<Utc>) -> Result<Option<Leadership>> {
        todo!("{job_id} {now}")
    }

    /// Whether some process holds the lock now: a scheduler is running.
    pub async fn is_led(&self) -> Result<bool> {
        todo!()
    }
}
