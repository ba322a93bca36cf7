//! What the scheduler that leads goes by: whoever explains in another process may have other slots and windows.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::maintenance::Maintenance;
use millrace_model::schedule::parse_zone;
use millrace_store::{Result, Store};
use serde::{Deserialize, Serialize};

use crate::Surroundings;

const PREFIX: &str = "in_force";
/// So long no living process is silent.
const LONG_GONE: TimeDelta = TimeDelta::days(1);

/// Of a configuration, what the planner is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    pub parallelism: usize,
    pub maintenance: String,
    pub maintenance_except_tags: String,
    /// Of windows that name none.
    pub zone: String,
}

impl InForce {
    fn key(hostname: &str, pid: u32) -> String {
        format!("{PREFIX}/{hostname}/{pid}")
    }

    /// Said by the daemon `pid`, for those who explain; daemons that were killed took nothing back, and it is done for them.
    pub async fn say(&self, store: &Store, hostname: &str, pid: u32, now: DateTime<Utc>) -> Result<()> {
        store.drop_settings_of_the_dead(PREFIX, now - LONG_GONE).await?;
        let text = serde_json::to_string(self).unwrap_or_default();
        store.put_setting(&Self::key(hostname, pid), &text).await
    }

    /// Takes back what was said, as the daemon ends.
    pub async fn unsay(store: &Store, hostname: &str, pid: u32) -> Result<()> {
        store.take_setting(&Self::key(hostname, pid)).await.map(drop)
    }

    fn surroundings(&self) -> Option<Surroundings> {
        let zone = parse_zone(&self.zone).ok()?;
        let maintenance = Maintenance::parse(&self.maintenance, &self.maintenance_except_tags, zone).ok()?;
        Some(Surroundings { parallelism: self.parallelism, maintenance: Arc::new(maintenance) })
    }
}

/// What the scheduler that leads said of itself; none: nobody leads, or it has said nothing that is understood here.
pub async fn said_by_leader(store: &Store) -> Result<Option<Surroundings>> {
    if !store.is_led().await? {
        return Ok(None);
    }
    let Some(job_id) = store.leader().await?.job_id else { return Ok(None) };
    let Some(job) = store.job(&job_id).await? else { return Ok(None) };
    let said = store.setting(&InForce::key(&job.hostname, job.pid)).await?;
    Ok(said.and_then(|text| serde_json::from_str::<InForce>(&text).ok()?.surroundings()))
}
