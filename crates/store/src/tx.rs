//! One unit of work.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbBackend, IsolationLevel, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};

use crate::faults::{self, FaultPoint};
use crate::sql::values;
use crate::{Backend, Change, Result, Store, StoreError, sql};

/// Among PostgreSQL's advisory locks.
const STATES_LOCK: i64 = 0x6D69_6C6C_0003;

/// An open transaction. Functions that are handed one join it. Dropped without a commit, it rolls back.
pub(crate) struct Tx {
    pub(crate) inner: DatabaseTransaction,
    pub(crate) store: Store,
    /// What it is for.
    pub(crate) attempted: &'static str,
    /// Told once the commit stands.
    pub(crate) changes: Mutex<Vec<Change>>,
    pub(crate) wakes: AtomicBool,
}

impl Store {
    /// For what changes no state of runs and instances; for those see [`Store::begin_in_turn`].
    pub(crate) async fn begin(&self, attempted: &'static str) -> Result<Tx> {
        self.begin_on(self.inner.writer.as_ref(), attempted).await
    }

    async fn begin_on(&self, writer: Option<&DatabaseConnection>, attempted: &'static str) -> Result<Tx> {
        let writer = writer.ok_or(StoreError::ReadOnly { attempted })?;
        faults::strike(FaultPoint::Begin, attempted)?;
        // IMMEDIATE: a writer that begins by reading would otherwise be told "busy" when it comes to write.
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begun = writer.begin_with_options(options).await;
        let inner = begun.map_err(StoreError::during(attempted))?;
        Ok(Tx { inner, store: self.clone(), attempted, changes: Mutex::default(), wakes: AtomicBool::new(false) })
    }

    /// For changes to the states of runs and instances, and for what several processes store at the same moment (changed
    /// DAG files). One such transaction at a time: two that change the same rows in different orders (a batch and
    /// somebody's clear, say) would deadlock on PostgreSQL, and two that store one new version would collide. SQLite has one
    /// writer anyway.
    pub(crate) async fn begin_in_turn(&self, attempted: &'static str) -> Result<Tx> {
        let tx = self.begin_on(self.inner.turns.as_ref(), attempted).await?;
        if self.backend() == Backend::Postgres {
            let sql = "SELECT 1 AS n FROM (SELECT pg_advisory_xact_lock($1)) AS l";
            sql::all(&tx.inner, attempted, sql, values![STATES_LOCK]).await?;
        }
        Ok(tx)
    }

    /// As [`Store::begin_in_turn`], for the leader of this epoch; `StaleEpoch` when another one leads. The leader's row is
    /// held until the end, so that nobody takes the lead between this look and the commit.
    pub(crate) async fn begin_as_leader(&self, attempted: &'static str, held: i64) -> Result<Tx> {
        let tx = self.begin_on(self.inner.turns.as_ref(), attempted).await?;
        let row = match self.backend() {
            Backend::Sqlite => sql::one(&tx.inner, attempted, "SELECT epoch FROM leader WHERE id = 1", vec![]).await?,
            // One round trip: the row is read, as it is then, after the turn has come.
            Backend::Postgres => {
                let sql = "SELECT epoch FROM leader WHERE id = 1 AND pg_advisory_xact_lock($1) IS NOT NULL FOR SHARE";
                sql::one(&tx.inner, attempted, sql, values![STATES_LOCK]).await?
            }
        };
        let current = row.map(|row| row.int("epoch")).transpose()?.unwrap_or(0);
        if current == held { Ok(tx) } else { Err(StoreError::StaleEpoch { held, current }) }
    }

    /// Several reads that must see one state.
    pub(crate) async fn snapshot(&self, attempted: &'static str) -> Result<DatabaseTransaction> {
        faults::strike(FaultPoint::Begin, attempted)?;
        let options = match self.backend() {
            Backend::Sqlite => TransactionOptions::default(),
            Backend::Postgres => TransactionOptions {
                isolation_level: Some(IsolationLevel::RepeatableRead),
                ..TransactionOptions::default()
            },
        };
        let begun = self.reader().begin_with_options(options).await;
        begun.map_err(StoreError::during(attempted))
    }
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<()> {
        let Self { inner, store, attempted, changes, wakes } = self;
        faults::strike(FaultPoint::BeforeCommit, attempted)?;
        inner.commit().await.map_err(StoreError::during(attempted))?;
        faults::strike(FaultPoint::AfterCommit, attempted)?;
        if wakes.load(Ordering::Relaxed) {
            store.wake_after_commit();
        }
        for change in changes.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            // Nobody listens: nothing to tell.
            if change.run_id.is_some() && change.task_id.is_none() {
                let _ = store.inner.run_changes.send(change.clone());
            }
            let _ = store.inner.changes.send(change);
        }
        Ok(())
    }

    pub(crate) fn dialect(&self) -> DbBackend {
        self.store.dialect()
    }

    pub(crate) fn tell(&self, change: Change) {
        self.changes.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push(change);
    }
}
