//! What a DAG wants people to be told of.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::change::RunKey;
use crate::duration::Span;
use crate::ids::DagId;

/// From when a deadline counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeadlineReference {
    /// The end of the data interval, or the moment at which the run was asked for.
    #[default]
    RunAfter,
    LogicalDate,
    /// The moment at which the run began, or began again after a clear.
    StartDate,
}

/// A run that is not finished so long after its reference is late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    #[serde(default)]
    pub reference: DeadlineReference,
    pub within: Span,
}

/// A run that takes longer than the earlier ones did is worth a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongerThanUsual {
    /// Percent of the median of the last successful runs: 200 is twice as long.
    pub percent: u32,
    /// How many successful runs it takes to know what is usual.
    pub min_runs: u32,
}

/// How many of the last successful runs say what is usual.
pub const USUAL_RUNS: u32 = 30;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    Deadline,
    LongerThanUsual,
    /// The DAG was paused after too many failed runs.
    AutoPaused,
    /// The DAG's file cannot be read any more; its last good version serves.
    ImportError,
    /// The DAG's file lacks tasks that it had.
    TasksLost,
}

impl AlertKind {
    pub const ALL: &[Self] =
        &[Self::Deadline, Self::LongerThanUsual, Self::AutoPaused, Self::ImportError, Self::TasksLost];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deadline => "deadline",
            Self::LongerThanUsual => "longer_than_usual",
            Self::AutoPaused => "auto_paused",
            Self::ImportError => "import_error",
            Self::TasksLost => "tasks_lost",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Told once for each run and kind, or for each version of the DAG and kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    pub dag_id: DagId,
    pub run: RunKey,
    pub kind: AlertKind,
    pub message: String,
    pub at: DateTime<Utc>,
}
