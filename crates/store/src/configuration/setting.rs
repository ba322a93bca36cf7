//! Words that processes of one installation leave for each other.

use chrono::{DateTime, Utc};

use crate::sql::{micros, values};
use crate::{Result, Store, sql};

impl Store {
    /// True once in each `period`, for one process: whoever is told true does the daily work.
    pub async fn take_turn(&self, name: &str, now: DateTime<Utc>, period: chrono::TimeDelta) -> Result<bool> {
        let tx = self.begin("take a turn").await?;
        let sql = "INSERT INTO setting (key, value) VALUES ($1, '0') ON CONFLICT DO NOTHING";
        sql::run(&tx.inner, "take a turn", sql, values![name]).await?;
        let sql = "UPDATE setting SET value = $2 WHERE key = $1 AND CAST(value AS BIGINT) <= $3";
        let last = micros(now - period);
        let taken = sql::run(&tx.inner, "take a turn", sql, values![name, micros(now).to_string(), last]).await?;
        tx.commit().await?;
        Ok(taken > 0)
    }

    /// A word of the installation's, beside those that the program itself keeps there.
    pub async fn put_setting(&self, key: &str, value: &str) -> Result<()> {
        let tx = self.begin("write a setting").await?;
        let sql =
            "INSERT INTO setting (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = EXCLUDED.value";
        sql::run(&tx.inner, "write a setting", sql, values![key, value]).await?;
        tx.commit().await
    }

    pub async fn setting(&self, key: &str) -> Result<Option<String>> {
        let sql = "SELECT value FROM setting WHERE key = $1";
        let row = sql::one(self.reader(), "read a setting", sql, values![key]).await?;
        row.map(|row| row.text("value")).transpose()
    }

    /// Takes away the words `PREFIX/HOSTNAME/PID` of processes that have ended, or were not heard of since `heard`.
    pub async fn drop_settings_of_the_dead(&self, prefix: &str, heard: DateTime<Utc>) -> Result<()> {
        let tx = self.begin("take away settings").await?;
        let sql = "DELETE FROM setting WHERE SUBSTR(key, 1, LENGTH($1) + 1) = $1 || '/' AND NOT EXISTS (\
                   SELECT 1 FROM job WHERE job.ended_at IS NULL AND job.heartbeat_at >= $2 \
                   AND setting.key = $1 || '/' || job.hostname || '/' || CAST(job.pid AS TEXT))";
        sql::run(&tx.inner, "take away settings", sql, values![prefix, micros(heard)]).await?;
        tx.commit().await
    }

    /// Reads it, and takes it away.
    pub async fn take_setting(&self, key: &str) -> Result<Option<String>> {
        let tx = self.begin("take a setting").await?;
        let sql = "DELETE FROM setting WHERE key = $1 RETURNING value";
        let row = sql::one(&tx.inner, "take a setting", sql, values![key]).await?;
        let value = row.map(|row| row.text("value")).transpose()?;
        tx.commit().await?;
        Ok(value)
    }
}
