//! `millrace jobs …`: who is alive.

use anyhow::bail;
use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::instant::format_utc_micros;
use millrace_store::{Backend, JobRow};
use serde::Serialize;

use crate::app::App;
use crate::args::JobsCommand;
use crate::lookup::optional_time;
use crate::output::{Format, notice, print_list, print_one};

/// Jobs that are looked through for a living one.
const LOOKED_AT: u64 = 1000;

#[derive(Serialize)]
struct JobView {
    id: String,
    job_type: String,
    /// running, lost (no heartbeat for too long) or ended.
    state: &'static str,
    hostname: String,
    pid: u32,
    start_date: String,
    latest_heartbeat: String,
    /// Seconds since the last heartbeat.
    heartbeat_age: f64,
    end_date: Option<String>,
}

impl JobView {
    fn of(row: &JobRow, now: DateTime<Utc>, timeout: TimeDelta) -> Self {
        Self {
            id: row.id.clone(),
            job_type: row.kind.clone(),
            state: row.state(now, timeout),
            hostname: row.hostname.clone(),
            pid: row.pid,
            start_date: format_utc_micros(row.started_at),
            latest_heartbeat: format_utc_micros(row.heartbeat_at),
            heartbeat_age: age(row, now).num_milliseconds() as f64 / 1000.0,
            end_date: optional_time(row.ended_at),
        }
    }
}

fn age(row: &JobRow, now: DateTime<Utc>) -> TimeDelta {
    (now - row.heartbeat_at).max(TimeDelta::zero())
}

pub async fn run(app: &App, command: JobsCommand) -> anyhow::Result<()> {
    let store = app.store().await?;
    let (now, timeout) = (app.now(), lease_timeout(app));
    match command {
        JobsCommand::List { limit, all } => {
            let rows = store.jobs(if all { limit } else { LOOKED_AT }).await?;
            let shown = rows.iter().filter(|row| all || row.ended_at.is_none()).take(limit as usize);
            let views: Vec<JobView> = shown.map(|row| JobView::of(row, now, timeout)).collect();
            print_list(
                app.format,
                &["job_type", "state", "hostname", "pid", "start_date", "latest_heartbeat", "heartbeat_age", "id"],
                &views,
            )
        }
        JobsCommand::Check { hostname, job_type } => {
            let rows = store.jobs(LOOKED_AT).await?;
            let asked =
                |row: &&JobRow| row.kind == job_type && hostname.as_ref().is_none_or(|name| *name == row.hostname);
            let newest = rows.iter().filter(asked).max_by_key(|row| (row.ended_at.is_none(), row.heartbeat_at));
            let place = hostname.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
            match newest {
                None => bail!("no {job_type}{place} has ever run on this database; start `millrace {job_type}`"),
                // Where a lock ends with its process, it tells sooner than a heartbeat that nobody lives.
                Some(row)
                    if row.kind == "scheduler"
                        && row.ended_at.is_none()
                        && store.backend() == Backend::Sqlite
                        && !store.is_led().await? =>
                {
                    bail!(
                        "no {job_type}{place} lives: the last one, on {} (pid {}), ended without a word after its \
                         heartbeat {} s ago",
                        row.hostname,
                        row.pid,
                        age(row, now).num_seconds()
                    )
                }
                Some(row) if row.state(now, timeout) == "running" => {
                    let seconds = age(row, now).num_seconds();
                    notice(format!(
                        "the {job_type} on {} (pid {}) lives: heartbeat {seconds} s ago",
                        row.hostname, row.pid
                    ));
                    match app.format {
                        Format::Table | Format::Plain => Ok(()),
                        Format::Json | Format::Yaml => print_one(app.format, &JobView::of(row, now, timeout)),
                    }
                }
                Some(row) => match row.ended_at {
                    Some(at) => bail!("no {job_type}{place} lives: the last one ended at {}", format_utc_micros(at)),
                    None => bail!(
                        "no {job_type}{place} lives: the last heartbeat, from {} (pid {}), is {} s old; {} s are allowed \
                         (scheduler.lease_timeout)",
                        row.hostname,
                        row.pid,
                        age(row, now).num_seconds(),
                        timeout.num_seconds()
                    ),
                },
            }
        }
    }
}

/// How old a heartbeat may be.
pub fn lease_timeout(app: &App) -> TimeDelta {
    TimeDelta::seconds(i64::try_from(app.config.scheduler.lease_timeout).unwrap_or(i64::MAX / 1_000_000))
}
