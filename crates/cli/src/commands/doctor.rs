//! `millrace doctor`: looks at everything that a daemon needs, and says of each thing that is not fine how to mend it.
//! Changes nothing.

mod aws;
mod dags;
mod database;
mod home;
mod outside;

use anyhow::bail;
use serde::Serialize;

use crate::app::App;
use crate::args::{DoctorArgs, DoctorCommand};
use crate::output::{Format, notice, print_list};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Ok,
    Warn,
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    area: &'static str,
    status: Status,
    what: String,
    mend: Option<String>,
}

/// What was looked at so far.
#[derive(Debug, Default)]
struct Report {
    checks: Vec<Check>,
}

impl Report {
    fn ok(&mut self, area: &'static str, what: impl Into<String>) {
        self.checks.push(Check { area, status: Status::Ok, what: what.into(), mend: None });
    }

    fn warn(&mut self, area: &'static str, what: impl Into<String>, mend: impl Into<String>) {
        self.checks.push(Check { area, status: Status::Warn, what: what.into(), mend: Some(mend.into()) });
    }

    fn fail(&mut self, area: &'static str, what: impl Into<String>, mend: impl Into<String>) {
        self.checks.push(Check { area, status: Status::Fail, what: what.into(), mend: Some(mend.into()) });
    }

    fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|check| check.status == status).count()
    }

    fn conclude(self, format: Format, is_strict: bool, is_quiet: bool) -> anyhow::Result<()> {
        let shown: Vec<&Check> = self.checks.iter().filter(|check| !is_quiet || check.status != Status::Ok).collect();
        if !shown.is_empty() || !is_quiet {
            print_list(format, &["area", "status", "what", "mend"], &shown)?;
        }
        let (failed, warned) = (self.count(Status::Fail), self.count(Status::Warn));
        let said = format!("{failed} broken, {warned} to look at, {} fine", self.count(Status::Ok));
        if failed > 0 || (is_strict && warned > 0) {
            bail!("{said}");
        }
        notice(said);
        Ok(())
    }
}

pub async fn run(app: &App, args: &DoctorArgs) -> anyhow::Result<()> {
    if let Some(DoctorCommand::Aws { dag_id }) = &args.command {
        return Box::pin(aws::run(app, dag_id.as_deref())).await;
    }
    let mut report = Report::default();
    home::look(app, &mut report);
    if let Some(store) = database::look(app, &mut report).await {
        database::look_at_scheduler(app, &store, &mut report).await;
        dags::look_at_stored(app, &store, &mut report).await;
        outside::look(app, &store, args.connections, &mut report).await;
        store.close().await;
    }
    dags::look_at_files(app, &mut report).await;
    report.conclude(app.format, args.strict, args.quiet)
}

/// When the configuration can't be read there is nothing else to look at.
pub fn unconfigured(format: Format, error: &str) -> anyhow::Result<()> {
    let mut report = Report::default();
    report.fail(
        "config",
        error,
        "mend the file or the environment variable; `millrace config reference` shows every key",
    );
    report.conclude(format, false, false)
}
