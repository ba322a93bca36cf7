//! What runs here is stopped before anybody else may start it again.
//!
//! A lease holds from its owner's last heartbeat; nobody gives its try again before it has run out. A scheduler
//! that cannot reach the database does not know whether another one can. So it stops its tries while its leases hold: two
//! thirds into them every try is asked to stop, and before the last sixth begins it is killed. Measured by the time that
//! passes in this process, from before each heartbeat was sent: clocks need not agree.

use std::time::Duration;

use millrace_model::change::Executor;
use millrace_planner::FENCED_REASON;
use tokio::time::Instant;

pub(super) struct Fence {
    timeout: Duration,
    /// The leases hold at least from here.
    extended_at: Instant,
    is_up: bool,
}

impl Fence {
    pub fn new(timeout: Duration) -> Self {
        Self { timeout, extended_at: Instant::now(), is_up: false }
    }

    /// Never while it is up.
    pub async fn is_due(fence: Option<&Self>) {
        match fence.filter(|fence| !fence.is_up) {
            Some(fence) => tokio::time::sleep_until(fence.extended_at + fence.timeout * 2 / 3).await,
            None => std::future::pending().await,
        }
    }

    pub fn put_up(&mut self, executor: &dyn Executor) {
        tracing::error!(
            "no heartbeat gets through, and the leases of what runs here will run out; stopping it, before another scheduler may start it again"
        );
        let must_be_gone = self.extended_at + self.timeout * 5 / 6;
        executor.fence(FENCED_REASON, must_be_gone.saturating_duration_since(Instant::now()));
        self.is_up = true;
    }

    /// A heartbeat that was begun then has been written. Returns whether something may run again.
    pub fn extend(&mut self, begun: Instant, executor: &dyn Executor) -> bool {
        self.extended_at = begun;
        let was_up = std::mem::replace(&mut self.is_up, false);
        if was_up {
            executor.lift_fence();
        }
        was_up
    }
}
