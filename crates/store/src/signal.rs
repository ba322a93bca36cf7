//! Notes to the scheduler, written in the transaction that changed something under it.

use millrace_model::change::RunKey;
use millrace_model::ids::DagId;

use crate::{Result, Store};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// A run was created from outside.
    RunCreated,
    /// A run or its instances were changed from outside (cleared, marked, cancelled): read it again.
    RunChanged,
    /// Paused, unpaused, a new version, stale: read the DAG again.
    DagChanged,
    PoolChanged,
    BackfillChanged,
}

impl SignalKind {
    pub const ALL: &[Self] =
        &[Self::RunCreated, Self::RunChanged, Self::DagChanged, Self::PoolChanged, Self::BackfillChanged];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunCreated => "run_created",
            Self::RunChanged => "run_changed",
            Self::DagChanged => "dag_changed",
            Self::PoolChanged => "pool_changed",
            Self::BackfillChanged => "backfill_changed",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signal {
    pub id: i64,
    pub kind: SignalKind,
    pub dag_id: Option<DagId>,
    pub run: Option<RunKey>,
}

impl Store {
    /// Those not yet handled, oldest first. Name them in `Batch::signals_handled` when they are taken into account.
    pub async fn signals(&self) -> Result<Vec<Signal>> {
        todo!()
    }
}
