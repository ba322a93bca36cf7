//! Long-lived processes: schedulers and their workers.

use chrono::{DateTime, Utc};

use crate::{Result, Store};

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
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Of the newest scheduler that has not ended.
    pub scheduler_heartbeat_at: Option<DateTime<Utc>>,
}

impl Store {
    /// Gives the job's id: the owner named in claims.
    pub async fn register_job(&self, job: &NewJob, now: DateTime<Utc>) -> Result<String> {
        todo!("{job:?} {now}")
    }

    /// Says that the job lives, and extends every lease that it holds, in one transaction.
    pub async fn heartbeat(&self, job_id: &str, now: DateTime<Utc>, lease_expires_at: DateTime<Utc>) -> Result<()> {
        todo!("{job_id} {now} {lease_expires_at}")
    }

    pub async fn end_job(&self, job_id: &str, now: DateTime<Utc>) -> Result<()> {
        todo!("{job_id} {now}")
    }

    /// Newest first.
    pub async fn jobs(&self, limit: u64) -> Result<Vec<JobRow>> {
        todo!("{limit}")
    }

    pub async fn health(&self) -> Result<Health> {
        todo!()
    }
}
