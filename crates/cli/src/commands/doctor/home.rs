//! The home and the machine: who may read what, disk space, clock, time zones.

use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::SystemTime;

use chrono::{DateTime, TimeDelta, Utc};
use millrace_model::schedule::parse_zone;

use super::Report;
use crate::app::App;

const MIB: u64 = 1024 * 1024;
/// Less free space than this is a warning; less than a tenth of it is a failure.
const ENOUGH_SPACE: u64 = 1024 * MIB;
/// File handles below which many tasks at once may run out of them.
const ENOUGH_FILES: u64 = 1024;
const NO_SPACE: &str = "make room: `millrace db clean --keep 90d --skip-archive` deletes old runs and their logs; without that flag it \
                        writes them to archive/ first, on the same disk";
/// What the disk's clock and ours may differ.
const CLOCK_SLACK: TimeDelta = TimeDelta::seconds(5);

pub(super) fn look(app: &App, report: &mut Report) {
    let root = app.home.root();
    if !root.exists() {
        report.warn("home", format!("{} does not exist yet", root.display()), "the first command that writes makes it");
    } else {
        writable(app, report);
        secrets(app, report);
        space(report, "home", root);
        let logs = app.config.logs_folder(&app.home);
        let device = |path: &Path| fs::metadata(path).map(|found| found.dev()).ok();
        if logs.exists() && device(&logs) != device(root) {
            space(report, "logs", &logs);
        }
    }
    config(app, report);
    zones(app, report);
    if let Some(limit) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current
        && limit < ENOUGH_FILES
    {
        let what = format!("a process may have {limit} files open");
        report.warn(
            "machine",
            what,
            format!("raise it: `ulimit -n {ENOUGH_FILES}`, or LimitNOFILE in the systemd unit"),
        );
    }
}

/// A file is written, and its date compared with our clock.
fn writable(app: &App, report: &mut Report) {
    let path = app.home.root().join(format!(".doctor-{}", std::process::id()));
    let written = fs::File::create(&path).and_then(|mut file| file.write_all(b"x").and_then(|()| file.metadata()));
    let _ = fs::remove_file(&path);
    match written {
        Err(error) => {
            let what = format!("{} can't be written: {error}", app.home.root().display());
            let mend = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => NO_SPACE,
                ErrorKind::ReadOnlyFilesystem => "its disk is mounted for reading only: mount it for writing",
                _ => "run as the user who owns it, or give that user the right to write",
            };
            report.fail("home", what, mend);
        }
        Ok(metadata) => {
            report.ok("home", format!("{} can be written", app.home.root().display()));
            let now = app.now();
            match metadata.modified().map(DateTime::<Utc>::from) {
                Ok(at) if (at - now).abs() > CLOCK_SLACK => {
                    let what = format!("the disk's clock and the machine's differ by {} s", (at - now).num_seconds());
                    report.warn("clock", what, "synchronise both with a time server");
                }
                _ => clock(now, report),
            }
        }
    }
}

/// A clock that was never set stands years in the past.
fn clock(now: DateTime<Utc>, report: &mut Report) {
    let built = fs::metadata("/proc/self/exe").and_then(|program| program.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    if now + TimeDelta::days(1) < DateTime::<Utc>::from(built) {
        let what = format!("the clock says {}, which is before this program was made", now.format("%Y-%m-%d %H:%M"));
        report.fail("clock", what, "set the clock, and keep it with a time server: schedules depend on it");
    } else {
        report.ok("clock", now.format("%Y-%m-%d %H:%M:%S UTC").to_string());
    }
}

fn secrets(app: &App, report: &mut Report) {
    let root = app.home.root();
    let files = [
        app.home.key_file(),
        app.home.admin_password_file(),
        root.join("s3_keys"),
        app.home.database_file(),
        app.home.config_file(),
    ];
    let owner = fs::metadata(root).map(|home| home.uid());
    if fs::metadata(root).is_ok_and(|home| crate::seclusion::is_open(&home)) {
        let what = "others on this machine may list it: names of DAGs and runs, and the demo's data";
        report.warn("home", what, format!("chmod o-rwx {}", root.display()));
    }
    let mut loose = Vec::new();
    for path in &files {
        let Ok(metadata) = fs::metadata(path) else { continue };
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // Settings are no secret unless a password stands among them.
        let is_secret = *path != app.home.config_file() || app.config.database.url.contains('@');
        if is_secret && metadata.permissions().mode() & 0o077 != 0 {
            loose.push(name.clone());
        }
        if owner.as_ref().is_ok_and(|owner| *owner != metadata.uid()) {
            let what = format!("{name} belongs to another user than its folder");
            report.warn("home", what, format!("chown it to the owner of {}", root.display()));
        }
        if fs::File::open(path).is_err() {
            report.fail("home", format!("{name} can't be read"), "run as the user who owns the home");
        }
    }
    if loose.is_empty() {
        report.ok("home", "secrets are readable for their owner only");
    } else {
        let mend = format!(
            "chmod 600 {}",
            loose.iter().map(|name| root.join(name).display().to_string()).collect::<Vec<_>>().join(" ")
        );
        report.fail("home", format!("others on this machine may read {}", loose.join(", ")), mend);
    }
}

fn space(report: &mut Report, area: &'static str, path: &Path) {
    let Ok(found) = rustix::fs::statvfs(path) else { return };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let what = format!("{} MiB are free on the disk of {}", free / MIB, path.display());
    let mend = NO_SPACE;
    if free < ENOUGH_SPACE / 10 {
        report.fail(area, what, mend);
    } else if free < ENOUGH_SPACE || found.f_favail.saturating_mul(50) < found.f_files {
        report.warn(area, what, mend);
    } else {
        report.ok(area, what);
    }
}

fn config(app: &App, report: &mut Report) {
    let file = app.home.config_file();
    let said = if file.exists() {
        format!("{} can be read", file.display())
    } else {
        "no millrace.toml: the defaults are in force".to_owned()
    };
    report.ok("config", said);
    let host = app.config.server.host.as_str();
    if !matches!(host, "127.0.0.1" | "localhost" | "::1") {
        let what = format!("the web server listens on {host}, in clear");
        report.warn("config", what, "put a server with TLS before it, or set server.host = \"127.0.0.1\"");
    }
    let scheduler = &app.config.scheduler;
    if scheduler.lease_timeout < scheduler.heartbeat_interval.saturating_mul(3) {
        let what = format!(
            "a worker counts as dead after {} s, with a heartbeat every {} s",
            scheduler.lease_timeout, scheduler.heartbeat_interval
        );
        report.warn("config", what, "let scheduler.lease_timeout be three times scheduler.heartbeat_interval or more");
    }
}

fn zones(app: &App, report: &mut Report) {
    let zone = &app.config.core.default_timezone;
    match parse_zone(zone) {
        Ok(_) => report
            .ok("time zones", format!("edition {} is built in; the default is {zone}", chrono_tz::IANA_TZDB_VERSION)),
        Err(error) => {
            report.fail("time zones", error.to_string(), "set core.default_timezone to a name such as Europe/Berlin");
        }
    }
}
