//! The systemd units, read as systemd reads them.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::support::{TestHome, repository};

/// Section and key, with the last value given.
fn unit(name: &str) -> BTreeMap<(String, String), String> {
    let text = fs::read_to_string(repository().join("packaging/systemd").join(name)).unwrap();
    let mut section = String::new();
    let mut keys = BTreeMap::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';'])) {
        if let Some(named) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            assert!(["Unit", "Service", "Install"].contains(&named), "{name}: section {named}");
            named.clone_into(&mut section);
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or_else(|| panic!("{name}: {line}"));
        assert!(!section.is_empty() && !key.is_empty() && !key.contains(' '), "{name}: {line}");
        let before = keys.insert((section.clone(), key.to_owned()), value.to_owned());
        assert!(before.is_none(), "{name}: {key} stands there twice");
    }
    keys
}

#[test]
fn the_units_start_restart_reload_and_give_tasks_their_time() {
    let home = TestHome::new();
    let setting = |key: &str| home.ok(&["config", "get-value", key]).stdout.trim().parse::<u64>().unwrap();
    for name in ["millrace-scheduler.service", "millrace-server.service"] {
        let unit = unit(name);
        let service = |key: &str| {
            let found = unit.get(&("Service".to_owned(), key.to_owned()));
            found.unwrap_or_else(|| panic!("{name} has no {key}")).as_str()
        };
        assert_eq!((service("Restart"), service("KillSignal"), service("Type")), ("always", "SIGTERM", "exec"));
        assert_eq!(service("ExecReload"), "/bin/kill -HUP $MAINPID");
        assert_eq!(unit[&("Unit".to_owned(), "StartLimitIntervalSec".to_owned())], "0", "it is never given up");
        assert!(service("Environment").starts_with("MILLRACE_HOME=/"), "{name}");
        // What is started is understood.
        let words: Vec<&str> = service("ExecStart").split(' ').skip(1).chain(["--help"]).collect();
        home.ok(&words);
        let stop: u64 = service("TimeoutStopSec").parse().unwrap();
        if name.contains("scheduler") {
            assert!(stop > setting("scheduler.drain_timeout") + setting("worker.kill_grace") + 10, "{stop}");
            assert_eq!(service("KillMode"), "mixed", "tasks are not told to stop with the daemon");
        }
    }
}

#[test]
fn systemd_understands_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for name in ["millrace-scheduler.service", "millrace-server.service"] {
        let text = fs::read_to_string(repository().join("packaging/systemd").join(name)).unwrap();
        // It asks whether the program is there.
        let text = text.replace("/usr/bin/millrace", env!("CARGO_BIN_EXE_millrace"));
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        paths.push(path);
    }
    let output = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&paths).output();
    let output = output.expect("systemd-analyze is there: install the Debian package systemd");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("millrace")).collect();
    assert!(ours.is_empty(), "{said}");
}
