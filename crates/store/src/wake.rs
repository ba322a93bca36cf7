//! How the scheduler learns that somebody wrote a signal.

use crate::Store;

impl Store {
    /// Resolves when a signal may have been written since the last call: by this process at once, by another through
    /// LISTEN/NOTIFY (PostgreSQL) or a touched file in the home (SQLite). May resolve for nothing.
    pub async fn woken(&self) {
        todo!()
    }

    /// Wakes whoever waits in [`Store::woken`], here and in other processes.
    pub async fn wake(&self) {
        todo!()
    }
}
