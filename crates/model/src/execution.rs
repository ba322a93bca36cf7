//! How tries are repeated, weighed and held back.

use serde::{Deserialize, Serialize};

/// What a task's effective weight is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightRule {
    /// Its own weight and that of every distinct task after it.
    #[default]
    Downstream,
    /// Its own weight and that of every distinct task before it.
    Upstream,
    /// Its own weight.
    Absolute,
}

impl WeightRule {
    pub const ALL: &[Self] = &[Self::Downstream, Self::Upstream, Self::Absolute];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Downstream => "downstream",
            Self::Upstream => "upstream",
            Self::Absolute => "absolute",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|rule| rule.as_str() == text)
    }

    /// What a stored task leaves out.
    pub fn is_default(&self) -> bool {
        *self == Self::Downstream
    }
}

/// At most `limit` at a time, of any DAG, whose keys come to the same text: tries of tasks, or whole runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyLimit {
    /// A template over the run's params, conf and dates.
    pub key: String,
    pub limit: u32,
}
