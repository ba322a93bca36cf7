//! Notes to the scheduler, written in the transaction that changed something under it.

use chrono::{DateTime, Utc};
use millrace_model::change::RunKey;
use millrace_model::ids::DagId;
use serde_json::json;

use crate::sql::{Kind, micros, values};
use crate::{Result, Store, Tx, sql};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SignalKind {
    /// A run was created from outside.
    RunCreated,
    /// A run or its instances were changed from outside (cleared, marked, cancelled): read it again.
    RunChanged,
    /// Paused, unpaused, a new version, stale, ended runs of it deleted: read the DAG again.
    DagChanged,
    PoolChanged,
    BackfillChanged,
    /// Somebody wants the DAG files to be read again, whatever their times and sizes say.
    FilesAsked,
}

impl SignalKind {
    pub const ALL: &[Self] = &[
        Self::RunCreated,
        Self::RunChanged,
        Self::DagChanged,
        Self::PoolChanged,
        Self::BackfillChanged,
        Self::FilesAsked,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RunCreated => "run_created",
            Self::RunChanged => "run_changed",
            Self::DagChanged => "dag_changed",
            Self::PoolChanged => "pool_changed",
            Self::BackfillChanged => "backfill_changed",
            Self::FilesAsked => "files_asked",
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
        let sql = "SELECT id, kind, dag_id, run_id FROM signal ORDER BY id";
        let rows = sql::all(self.reader(), "read the signals", sql, vec![]).await?;
        rows.iter()
            .map(|row| {
                Ok(Signal {
                    id: row.int("id")?,
                    kind: row.word("kind", SignalKind::parse)?,
                    dag_id: row.opt_text("dag_id")?.map(DagId::new_unchecked),
                    run: row.opt_int("run_id")?,
                })
            })
            .collect()
    }
}

impl Tx {
    /// Written with this transaction; its commit wakes the scheduler.
    pub(crate) async fn signal(
        &self,
        kind: SignalKind,
        dag_id: Option<&DagId>,
        run: Option<RunKey>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let sql = "INSERT INTO signal (kind, dag_id, run_id, created_at) VALUES ($1, $2, $3, $4)";
        let values = values![kind.as_str(), dag_id.map(DagId::as_str).map(str::to_owned), run, micros(now)];
        sql::run(&self.inner, "signal the scheduler", sql, values).await?;
        self.wake().await
    }

    /// As [`Tx::signal`], of each of these runs of a DAG.
    pub(crate) async fn signal_runs(
        &self,
        kind: SignalKind,
        runs: impl Iterator<Item = (&DagId, RunKey)>,
        now: DateTime<Utc>,
    ) -> Result<()> {
        let source = sql::source(self.dialect(), 1, &[("x_dag", Kind::Text), ("x_run", Kind::Int)]);
        let sql =
            format!("INSERT INTO signal (kind, dag_id, run_id, created_at) SELECT $2, x_dag, x_run, $3 FROM {source}");
        let rows = sql::rows(runs.map(|(dag_id, run)| vec![json!(dag_id.as_str()), json!(run)]));
        sql::run(&self.inner, "signal the scheduler", sql, vec![rows, kind.as_str().into(), micros(now).into()])
            .await?;
        self.wake().await
    }
}
