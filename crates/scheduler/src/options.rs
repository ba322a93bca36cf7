//! What the wiring decides.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use millrace_model::maintenance::Maintenance;
use millrace_operator_api::context::Clock;
use tokio::sync::watch;

use crate::dags_folder::FolderOptions;

/// Lengths of time that take effect as soon as they are changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// How often the whole folder is read, beside the changes that are seen at once.
    pub rescan_interval: Duration,
    /// The longest time between two looks at everything.
    pub slow_tick: Duration,
    /// How long running tries may go on after a stop was asked for; then they are cancelled and given again later.
    pub drain_timeout: Duration,
}

impl SchedulerOptions {
    pub(crate) fn tuning(&self) -> Tuning {
        *self.tuning.borrow()
    }
}

/// Ends what daemons that live no more left running on this machine, and what those with these process numbers did, which
/// hang at best. Called on a thread that may block.
pub type EndLeftovers = Arc<dyn Fn(&[u32]) + Send + Sync>;

/// How the scheduler runs.
pub struct SchedulerOptions {
    pub folder: FolderOptions,
    /// How often it says that it lives, which keeps its leases; on PostgreSQL at least four times in `leader_timeout`.
    pub heartbeat_interval: Duration,
    /// How long a lease holds without a heartbeat.
    pub lease_timeout: Duration,
    /// How long another leader may give no sign of life before its lock is taken away.
    pub leader_timeout: Duration,
    /// What may change while it runs.
    pub tuning: watch::Receiver<Tuning>,
    /// The maintenance windows of the installation; they may change while it runs.
    pub maintenance: watch::Receiver<Arc<Maintenance>>,
    pub hostname: String,
    pub clock: Arc<dyn Clock>,
    /// Called each time this process has become the leader, and for tries that are lost, before anything is started.
    pub end_leftovers: EndLeftovers,
}

impl fmt::Debug for SchedulerOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SchedulerOptions")
            .field("folder", &self.folder.folder)
            .field("heartbeat_interval", &self.heartbeat_interval)
            .field("lease_timeout", &self.lease_timeout)
            .field("leader_timeout", &self.leader_timeout)
            .field("tuning", &*self.tuning.borrow())
            .field("hostname", &self.hostname)
            .finish_non_exhaustive()
    }
}
