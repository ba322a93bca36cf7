//! Long-lived processes: schedulers and their workers.

use chrono::{DateTime, TimeDelta, Utc};

use crate::sql::{Row, micros, values};
use crate::{Result, Store, sql};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// `scheduler`, `server`, `task_run`.
    pub kind: String,
    pub hostname: String,
    pub pid: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobRow {
    pub id: String,
    pub kind: String,
    pub hostname: String,
    pub pid: u32,
    pub started_at: DateTime<Utc>,
    pub heartbeat_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
    /// How long leaders together have watched it without a sign of life, by their own clocks, since its last one.
    pub silent_for: TimeDelta,
}

impl JobRow {
    /// `running`, `ended`, or `lost`: its heartbeat is older than `timeout`.
    pub fn state(&self, now: DateTime<Utc>, timeout: TimeDelta) -> &'static str {
        match self.ended_at {
            Some(_) => "ended",
            None if now - self.heartbeat_at > timeout => "lost",
            None => "running",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Of the newest scheduler that has not ended.
    pub scheduler_heartbeat_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Gives the job's id: the owner named in claims.
    pub async fn register_job(&self, job: &NewJob, now: DateTime<Utc>) -> Result<String> {
        let id = uuid::Uuid::now_v7().to_string();
        let tx = self.begin("register a job").await?;
        let sql = "INSERT INTO job (id, kind, hostname, pid, started_at, heartbeat_at) VALUES ($1, $2, $3, $4, $5, $5)";
        let values = values![id.as_str(), job.kind.as_str(), job.hostname.as_str(), i64::from(job.pid), micros(now)];
        sql::run(&tx.inner, "register a job", sql, values).await?;
        tx.commit().await?;
        Ok(id)
    }

    /// Says that the job lives, which keeps every lease that it holds. On PostgreSQL it waits for nobody's turn: a database
    /// that is busy with something large must not make it look dead. SQLite has one writer, for which it waits.
    pub async fn heartbeat(&self, job_id: &str, now: DateTime<Utc>) -> Result<()> {
        let tx = self.begin("beat").await?;
        let sql = "UPDATE job SET heartbeat_at = $2, silent_for = 0 WHERE id = $1";
        sql::run(&tx.inner, "beat", sql, values![job_id, micros(now)]).await?;
        tx.commit().await
    }

    /// A leader has watched a job for so long, and its last sign of life is still this one. Gives for how long leaders have
    /// now watched it in vain, all together; nothing when it has given another sign. Each adds what passed by its own clock:
    /// clocks need not agree, and whoever leads next goes on from there.
    pub async fn note_silence(
        &self,
        job_id: &str,
        heartbeat_at: DateTime<Utc>,
        watched: TimeDelta,
        epoch: i64,
    ) -> Result<TimeDelta> {
        let tx = self.begin_as_leader("note a silence", epoch).await?;
        let sql = "UPDATE job SET silent_for = silent_for + $3 WHERE id = $1 AND heartbeat_at = $2 \
                   RETURNING silent_for";
        let watched = watched.num_microseconds().unwrap_or(i64::MAX / 2).max(0);
        let row = sql::one(&tx.inner, "note a silence", sql, values![job_id, micros(heartbeat_at), watched]).await?;
        tx.commit().await?;
        let total = row.map(|row| row.int("silent_for")).transpose()?;
        Ok(TimeDelta::microseconds(total.unwrap_or(0)))
    }

    pub async fn end_job(&self, job_id: &str, now: DateTime<Utc>) -> Result<()> {
        let tx = self.begin("end a job").await?;
        let sql = "UPDATE job SET ended_at = $2 WHERE id = $1 AND ended_at IS NULL";
        sql::run(&tx.inner, "end a job", sql, values![job_id, micros(now)]).await?;
        tx.commit().await
    }

    /// Those that have not ended first, and of them the one that was heard last: however many come and go, one that goes
    /// on is among the first.
    pub async fn jobs(&self, limit: u64) -> Result<Vec<JobRow>> {
        let sql = "SELECT * FROM job ORDER BY CASE WHEN ended_at IS NULL THEN 0 ELSE 1 END, heartbeat_at DESC, \
                   started_at DESC, id DESC LIMIT $1";
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = sql::all(self.reader(), "list jobs", sql, values![limit]).await?;
        rows.iter().map(read_job).collect()
    }

    pub async fn job(&self, job_id: &str) -> Result<Option<JobRow>> {
        let row = sql::one(self.reader(), "read a job", "SELECT * FROM job WHERE id = $1", values![job_id]).await?;
        row.as_ref().map(read_job).transpose()
    }

    pub async fn health(&self) -> Result<Health> {
        let sql = "SELECT heartbeat_at FROM job WHERE kind = 'scheduler' AND ended_at IS NULL \
                   ORDER BY heartbeat_at DESC LIMIT 1";
        let row = sql::one(self.reader(), "read the scheduler's heartbeat", sql, vec![]).await?;
        Ok(Health { scheduler_heartbeat_at: row.map(|row| row.instant("heartbeat_at")).transpose()? })
    }
}

fn read_job(row: &Row) -> Result<JobRow> {
    Ok(JobRow {
        id: row.text("id")?,
        kind: row.text("kind")?,
        hostname: row.text("hostname")?,
        pid: row.count("pid")?,
        started_at: row.instant("started_at")?,
        heartbeat_at: row.instant("heartbeat_at")?,
        ended_at: row.opt_instant("ended_at")?,
        silent_for: TimeDelta::microseconds(row.int("silent_for")?),
    })
}
