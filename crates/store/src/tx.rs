//! One unit of work.

use sea_orm::DatabaseTransaction;

use crate::{Result, Store};

/// An open transaction. Functions that are handed one join it. Dropped without a commit, it rolls back.
pub struct Tx {
    pub(crate) inner: DatabaseTransaction,
}

impl Store {
    /// Runs `work` in one transaction: `Ok` commits; an error, a panic or a dropped caller rolls back.
    pub async fn with_tx<T, F>(&self, work: F) -> Result<T>
    where
        F: AsyncFnOnce(&Tx) -> Result<T>,
    {
        let tx = self.begin().await?;
        let value = work(&tx).await?;
        tx.commit().await?;
        Ok(value)
    }

    pub(crate) async fn begin(&self) -> Result<Tx> {
        todo!()
    }
}

impl Tx {
    pub(crate) async fn commit(self) -> Result<()> {
        self.inner
            .commit()
            .await
            .map_err(|source| crate::StoreError::Database { attempted: "commit", source })
    }
}
