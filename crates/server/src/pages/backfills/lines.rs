//! Backfills as they are listed, with how far they are.

use chrono_tz::Tz;
use millrace_store::{BackfillProgress, BackfillRow};
use serde::Serialize;

use crate::format::When;
use crate::links;
use crate::problem::Answer;
use crate::server::Server;

#[derive(Serialize)]
pub(super) struct Line {
    key: i64,
    dag_id: String,
    /// The backfills of its DAG.
    dag_href: String,
    href: String,
    from: String,
    to: String,
    state: &'static str,
    is_paused: bool,
    is_active: bool,
    total: u64,
    ended: u64,
    failed: u64,
    running: u64,
    gone: u64,
    queued: u64,
    reprocess: &'static str,
    max_active_runs: u32,
    is_reversed: bool,
    tasks: Option<String>,
    by: String,
    created: When,
}

/// With dates as that zone has them, unless who looks has chosen another.
pub(super) async fn lines(server: &Server, rows: &[BackfillRow], zone: Tz) -> Answer<Vec<Line>> {
    let keys: Vec<i64> = rows.iter().map(|row| row.key).collect();
    let progress = server.store().backfill_progress(&keys).await?;
    let now = server.now();
    let line = |row: &BackfillRow| {
        let progress: BackfillProgress = progress.get(&row.key).copied().unwrap_or_default();
        let of_dag = links::backfills(row.dag_id.as_str());
        Line {
            key: row.key,
            dag_id: row.dag_id.to_string(),
            href: format!("{of_dag}/{}", row.key),
            dag_href: of_dag,
            from: When::new(row.from, now, zone).local,
            to: When::new(row.to, now, zone).local,
            state: row.state.as_str(),
            is_paused: row.is_paused,
            is_active: row.completed_at.is_none(),
            total: progress.total(),
            ended: progress.ended(),
            failed: progress.failed,
            running: progress.running,
            gone: progress.gone,
            queued: progress.queued,
            reprocess: row.reprocess.as_str(),
            max_active_runs: row.max_active_runs,
            is_reversed: row.is_reversed,
            tasks: row.selection.clone(),
            by: row.created_by.clone(),
            created: When::new(row.created_at, now, zone),
        }
    };
    Ok(rows.iter().map(line).collect())
}
