//! States of task instances and runs, and the one table of legal transitions: the store asks it before it writes a
//! planned step, and the database has CHECK constraints that mirror the two lists.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! string_enum {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)+ }

        impl $name {
            /// Every value, in the order of the declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}

string_enum!(
    /// The state of a task instance.
    TaskState {
        /// Waits for its dependencies. Moved by the scheduler.
        None => "none",
        /// Dependencies are met; waits for a pool, run or DAG slot. Moved by the scheduler.
        Scheduled => "scheduled",
        /// Waits for a worker. Moved by the worker that claims it.
        Queued => "queued",
        /// A worker holds the lease. Moved by that worker, or by the scheduler when the lease is lost.
        Running => "running",
        /// Waits for something outside without a worker slot.
        Deferred => "deferred",
        AwaitingInput => "awaiting_input",
        /// Failed with tries left; moved by the scheduler when `next_try_at` has passed.
        UpForRetry => "up_for_retry",
        UpForReschedule => "up_for_reschedule",
        /// Cleared while it ran; the worker is asked to stop, then it runs again.
        Restarting => "restarting",
        Success => "success",
        Failed => "failed",
        /// Never got its chance, because one before it failed.
        UpstreamFailed => "upstream_failed",
        Skipped => "skipped",
        /// Its task is no longer in the DAG.
        Removed => "removed",
    }
);

string_enum!(
    /// The state of a run.
    RunState {
        Queued => "queued",
        Running => "running",
        Success => "success",
        Failed => "failed",
    }
);

string_enum!(
    /// Why a run exists.
    RunType {
        Scheduled => "scheduled",
        Manual => "manual",
        Backfill => "backfill",
        AssetTriggered => "asset_triggered",
    }
);

impl TaskState {
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failed | Self::UpstreamFailed | Self::Skipped | Self::Removed)
    }

    /// Failed, or never got its chance because of a failure.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failed | Self::UpstreamFailed)
    }

    /// Holds a slot of its pool and counts against `max_active_tasks`.
    pub const fn occupies_slot(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Restarting)
    }

    /// Counts against the limits of its task and its key: the work goes on while it waits outside.
    pub const fn holds_limits(self) -> bool {
        self.occupies_slot() || matches!(self, Self::Deferred)
    }

    /// Whether a task instance may go from `self` to `to`. Clearing (any finished state to `none`) is in the table.
    pub fn may_become(self, to: Self) -> bool {
        TASK_TRANSITIONS.iter().any(|(from, targets)| *from == self && targets.contains(&to))
    }
}

impl RunState {
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Success | Self::Failed)
    }

    pub fn may_become(self, to: Self) -> bool {
        RUN_TRANSITIONS.iter().any(|(from, targets)| *from == self && targets.contains(&to))
    }
}

/// From each state, the states that may follow. A local worker is given its task in the commit that queues it, so the
/// steps none -> scheduled -> queued -> running may be taken together; the shortcuts are listed.
pub const TASK_TRANSITIONS: &[(TaskState, &[TaskState])] = {
    use TaskState::*;
    &[
        (None, &[Scheduled, Queued, Running, Success, Failed, UpstreamFailed, Skipped, Removed]),
        (Scheduled, &[None, Queued, Running, Success, Failed, UpstreamFailed, Skipped, Removed]),
        (Queued, &[None, Scheduled, Running, Success, Failed, Skipped, Removed]),
        (
            Running,
            &[Success, Failed, Skipped, UpForRetry, UpForReschedule, Deferred, AwaitingInput, Restarting, Removed],
        ),
        (
            Deferred,
            &[
                None,
                Scheduled,
                Queued,
                Running,
                UpForRetry,
                UpForReschedule,
                Restarting,
                Success,
                Failed,
                Skipped,
                Removed,
            ],
        ),
        (AwaitingInput, &[Scheduled, Success, Failed, Skipped, Removed]),
        (UpForRetry, &[None, Scheduled, Queued, Running, Success, Failed, UpstreamFailed, Skipped, Removed]),
        (UpForReschedule, &[None, Scheduled, Queued, Running, Success, Failed, UpstreamFailed, Skipped, Removed]),
        (Restarting, &[None, UpForRetry, Success, Failed, Skipped, Removed]),
        // Restarting: marked while it ran, and cleared before its try had stopped.
        (Success, &[None, Failed, Skipped, Removed, Restarting]),
        (Failed, &[None, Success, Skipped, Removed, Restarting]),
        (UpstreamFailed, &[None, Success, Failed, Skipped, Removed]),
        (Skipped, &[None, Success, Failed, Removed, Restarting]),
        (Removed, &[None, Restarting]),
    ]
};

/// As [`TASK_TRANSITIONS`], for runs. A finished run goes back to queued when it is cleared.
pub const RUN_TRANSITIONS: &[(RunState, &[RunState])] = {
    use RunState::*;
    &[
        (Queued, &[Running, Success, Failed]),
        (Running, &[Success, Failed, Queued]),
        (Success, &[Queued, Failed]),
        (Failed, &[Queued, Success]),
    ]
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_stands_once_in_the_table_and_reads_back() {
        for state in TaskState::ALL {
            assert_eq!(TASK_TRANSITIONS.iter().filter(|(from, _)| from == state).count(), 1, "{state}");
            assert_eq!(TaskState::parse(state.as_str()), Some(*state));
        }
        for state in RunState::ALL {
            assert_eq!(RUN_TRANSITIONS.iter().filter(|(from, _)| from == state).count(), 1, "{state}");
        }
    }

    #[test]
    fn a_finished_task_runs_again_only_by_being_cleared() {
        for state in TaskState::ALL.iter().filter(|s| s.is_finished()) {
            assert!(state.may_become(TaskState::None), "{state} can be cleared");
            for active in [TaskState::Scheduled, TaskState::Queued, TaskState::Running, TaskState::UpForRetry] {
                assert!(!state.may_become(active), "{state} must not become {active}");
            }
        }
    }
}
