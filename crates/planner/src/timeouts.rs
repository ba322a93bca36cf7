//! Runs that take too long.

use chrono::{DateTime, Utc};
use millrace_model::change::RunKey;
use millrace_model::state::RunState;

use crate::run::RunView;
use crate::turn::Turn;
use crate::view::View;

/// Why such a run fails, what of it ran fails, and the rest is skipped.
const REASON: &str = "timeout";

/// When a running run has taken too long. Counted from its start: waiting in the queue costs it nothing.
pub(crate) fn times_out_at(run: &RunView) -> Option<DateTime<Utc>> {
    if run.state != RunState::Running || run.ending.is_some() {
        return None;
    }
    run.facts.start_date?.checked_add_signed(run.version.dag.dagrun_timeout?.as_delta())
}

impl View {
    /// Notes when the run times out. To be called again when it starts.
    pub(crate) fn note_timeout(&mut self, key: RunKey) {
        if let Some(at) = self.runs.get(&key).and_then(times_out_at) {
            self.timeouts.insert((at, key));
        }
    }
}

impl Turn<'_> {
    /// Gives up the runs whose time is over. What is noted of a run that ended or began anew meanwhile is passed over.
    pub(crate) fn time_out_runs(&mut self) {
        while let Some((at, key)) = self.view.timeouts.first().copied() {
            if at > self.now {
                break;
            }
            self.view.timeouts.pop_first();
            if self.view.runs.get(&key).and_then(times_out_at).is_some_and(|at| at <= self.now) {
                self.wind_down(key, REASON);
            }
        }
    }
}
