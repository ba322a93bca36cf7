//! Loads into one table take turns: what another one's transaction did to ours is tried again.

use std::time::Duration;

use millrace_operator_api::{PortError, PortErrorKind};

use crate::parts::task::TaskHandle;

/// Attempts at one transaction in all.
const MOST: u32 = 8;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The code of an error that another transaction's table is to blame for: a serialization failure's.
pub const LOST_TURN: &str = "40001";

/// How often a transaction was tried.
#[derive(Debug, Default)]
pub struct Turns {
    failed: u32,
}

impl Turns {
    /// 1 for the first attempt.
    pub fn attempt(&self) -> u32 {
        self.failed + 1
    }

    /// Waits a while if the transaction lost against another one and may win next time, or gives the error back.
    pub async fn again(&mut self, error: PortError, task: &TaskHandle) -> Result<(), PortError> {
        self.failed += 1;
        if !lost(&error) || self.failed == MOST {
            return Err(error);
        }
        tracing::info!(attempt = self.failed, error = error.message, "another transaction was in the way; once more");
        let pause = FIRST_PAUSE.saturating_mul(1 << self.failed.min(10)).min(LONGEST_PAUSE);
        // Apart by try and process, so that those who met once do not meet again.
        let apart = Duration::from_millis(u64::from(std::process::id() % 97) + u64::from(task.try_number % 7) * 13);
        task.until_cancelled(async {
            tokio::time::sleep(pause + apart).await;
            Ok(())
        })
        .await
    }
}

/// Serialization failures (1023, 40001), deadlocks, locks that were not to be had, and a table that was just being
/// exchanged for another.
fn lost(error: &PortError) -> bool {
    let lower = error.message.to_ascii_lowercase();
    let code = error.code.as_deref().unwrap_or_default();
    match error.kind {
        PortErrorKind::Unavailable => {
            matches!(code, "40001" | "40P01" | "55P03" | "5" | "6" | "517" | "261" | "773")
                || ["1023", "serializable isolation violation", "could not serialize", "deadlock"]
                    .iter()
                    .any(|words| lower.contains(words))
        }
        // The table was there when the load began.
        PortErrorKind::NotFound => lower.contains("relation") || lower.contains("no such table"),
        _ => lower.contains("could not open relation"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_transaction_did_is_told_from_what_is_wrong() {
        let error = |kind, message: &str, code: &str| PortError::new(kind, message).with_code(code);
        assert!(lost(&error(PortErrorKind::Unavailable, "ERROR: 1023 Serializable isolation violation", "XX000")));
        assert!(lost(&error(PortErrorKind::Unavailable, "could not serialize access", "40001")));
        assert!(lost(&error(PortErrorKind::NotFound, "relation \"nps\" does not exist", "42P01")));
        assert!(!lost(&error(PortErrorKind::Unavailable, "connection refused", "08006")));
        assert!(!lost(&error(PortErrorKind::Data, "value too long", "22001")));
    }
}
