//! The metadata database, and who works on it.

use chrono::TimeDelta;
use millrace_settings::config::mask_url;
use millrace_store::{JobRow, Store, StoreError};

use super::Report;
use crate::app::App;
use crate::commands::jobs::lease_timeout;

/// What the database's clock and ours may differ.
const CLOCK_SLACK: TimeDelta = TimeDelta::seconds(5);
const JOBS_LOOKED_AT: u64 = 1000;

/// Opened for reading only; `None` when nothing can be read.
pub(super) async fn look(app: &App, report: &mut Report) -> Option<Store> {
    let url = mask_url(&app.database_url());
    let store = match app.store_read_only().await {
        Ok(Some(store)) => store,
        Ok(None) => {
            report.warn("database", format!("there is no database at {url} yet"), "millrace db migrate");
            return None;
        }
        Err(error) => {
            let mend = match error.downcast_ref::<StoreError>() {
                Some(StoreError::SchemaPending { .. }) => "millrace db migrate",
                Some(StoreError::SchemaTooNew { .. }) => "use the newer Millrace that migrated it, or restore a backup",
                _ => "see that it runs, and that database.url names it",
            };
            report.fail("database", crate::chain(&error), mend);
            return None;
        }
    };
    report.ok("database", format!("{url} has this version's schema"));
    match store.examine().await {
        Err(error) => report.fail("database", error.to_string(), "restore a backup"),
        Ok(found) => {
            for problem in &found.damage {
                report.fail("database", format!("it is damaged: {problem}"), "restore a backup");
            }
            if let Some(size) = found.size {
                report.ok("database", format!("{} MiB", size.div_ceil(1024 * 1024)));
            }
            if let Some(difference) = found.clock.map(|clock| (clock - app.now()).abs())
                && difference > CLOCK_SLACK
            {
                let what = format!("its clock and this machine's differ by {} s", difference.num_seconds());
                report.warn("clock", what, "synchronise both with a time server");
            }
        }
    }
    Some(store)
}

pub(super) async fn look_at_scheduler(app: &App, store: &Store, report: &mut Report) {
    let now = app.now();
    let jobs = store.jobs(JOBS_LOOKED_AT).await.unwrap_or_default();
    let of = |state: &'static str| {
        let timeout = lease_timeout(app);
        jobs.iter().filter(move |job| job.kind == "scheduler" && job.state(now, timeout) == state)
    };
    match store.is_led().await {
        Err(error) => report.fail("scheduler", error.to_string(), "see that the database can be reached"),
        Ok(false) => report.warn("scheduler", "none is running", "start `millrace scheduler` or `millrace standalone`"),
        Ok(true) => match of("running").count() {
            0 => report.warn(
                "scheduler",
                "one leads, but it has not been heard for a while",
                "look at its log; restart it",
            ),
            1 => report.ok("scheduler", "one is running"),
            count => report.ok("scheduler", format!("{count} are running; one leads, the others stand by")),
        },
    }
    let killed: Vec<&JobRow> = of("lost").collect();
    if let Some(last) = killed.first() {
        let what = format!("{} ended without a word, the last on {} (pid {})", killed.len(), last.hostname, last.pid);
        report.ok("scheduler", what);
    }
}
