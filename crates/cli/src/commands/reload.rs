//! `millrace config reload`: asks each daemon of this machine, and prints what it answers.

use std::time::Duration;

use anyhow::bail;
use millrace_store::{JobRow, Store};
use serde::Serialize;

use crate::app::App;
use crate::commands::jobs::lease_timeout;
use crate::live::{ReloadReport, report_key};
use crate::output::{notice, print_list};
use crate::wiring;

const JOBS_LOOKED_AT: u64 = 1000;
/// How long a daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(20);

#[derive(Serialize)]
struct Row {
    pid: u32,
    applied: Vec<String>,
    needs_restart: Vec<String>,
    error: Option<String>,
}

pub async fn run(app: &App) -> anyhow::Result<()> {
    let store = app.store().await?;
    let daemons = daemons(app, &store).await?;
    if daemons.is_empty() {
        bail!("no daemon runs on this machine ({}); `millrace jobs list` shows where they run", wiring::hostname());
    }
    let mut rows = Vec::new();
    for daemon in &daemons {
        let report = ask(&store, daemon).await?;
        let ReloadReport { applied, needs_restart, error, .. } = report;
        rows.push(Row { pid: daemon.pid, applied, needs_restart, error });
    }
    print_list(app.format, &["pid", "applied", "needs_restart", "error"], &rows)?;
    if rows.iter().any(|row| row.error.is_some()) {
        bail!("the configuration has a mistake; nothing was changed");
    }
    if rows.iter().any(|row| !row.needs_restart.is_empty()) {
        notice("what needs a restart is not in force yet");
    }
    Ok(())
}

/// Schedulers and web servers that live here, each process once.
async fn daemons(app: &App, store: &Store) -> anyhow::Result<Vec<JobRow>> {
    let (now, timeout, here) = (app.now(), lease_timeout(app), wiring::hostname());
    let mut found: Vec<JobRow> = Vec::new();
    for job in store.jobs(JOBS_LOOKED_AT).await? {
        let is_kind = job.kind == "scheduler" || job.kind == "server";
        let is_daemon = is_kind && job.hostname == here && job.state(now, timeout) == "running";
        if is_daemon && is_millrace(job.pid) && found.iter().all(|other| other.pid != job.pid) {
            found.push(job);
        }
    }
    Ok(found)
}

/// A signal to a process that is none of ours would end it: the number may have been given to another.
fn is_millrace(pid: u32) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<&[u8]> = command.split(|byte| *byte == 0).collect();
    let program = words.first().map(|word| String::from_utf8_lossy(word).into_owned()).unwrap_or_default();
    program.rsplit('/').next().is_some_and(|name| name.starts_with("millrace"))
        && words.iter().any(|word| [&b"scheduler"[..], b"standalone", b"server"].contains(word))
}

async fn ask(store: &Store, daemon: &JobRow) -> anyhow::Result<ReloadReport> {
    let key = report_key(&daemon.hostname, daemon.pid);
    // What an earlier signal left behind is no answer to this one.
    store.take_setting(&key).await?;
    let Some(pid) = i32::try_from(daemon.pid).ok().and_then(rustix::process::Pid::from_raw) else {
        bail!("{} is no process id", daemon.pid);
    };
    rustix::process::kill_process(pid, rustix::process::Signal::HUP)
        .map_err(|error| anyhow::anyhow!("the daemon with pid {} can't be asked: {error}", daemon.pid))?;
    let answer = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(text) = store.take_setting(&key).await? {
                return Ok::<_, anyhow::Error>(serde_json::from_str(&text)?);
            }
            tokio::time::sleep(LOOK).await;
        }
    });
    match answer.await {
        Ok(report) => report,
        Err(_) => bail!("the daemon with pid {} did not answer within {} s", daemon.pid, PATIENCE.as_secs()),
    }
}
