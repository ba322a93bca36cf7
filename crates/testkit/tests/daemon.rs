//! The helper for long-running programs, tried on /bin/sh.

#![expect(clippy::unwrap_used, reason = "a test may stop where it stands")]

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use millrace_testkit::{Daemon, free_port};

const PATIENCE: Duration = Duration::from_secs(30);

fn shell(script: &str) -> Daemon {
    Daemon::builder("/bin/sh").args(["-c", script]).spawn().unwrap()
}

#[test]
fn its_home_is_its_own_and_its_output_is_kept() {
    let mut daemon = shell("echo \"home is $MILLRACE_HOME\"; pwd; echo trouble >&2");
    assert!(daemon.wait(PATIENCE).unwrap().success());
    let home = daemon.home().display().to_string();
    assert_eq!(daemon.stdout(), format!("home is {home}\n{home}\n"));
    assert_eq!(daemon.stderr(), "trouble\n");
}

#[test]
fn a_line_is_waited_for() {
    let mut daemon = shell("printf 'listening on '; echo port 7; exec sleep 600");
    assert_eq!(daemon.wait_for_line("listening", PATIENCE).unwrap(), "listening on port 7");
    assert!(daemon.is_running());
}

#[test]
fn an_early_end_is_told_with_the_output() {
    let mut daemon = shell("echo 'cannot open the database' >&2; exit 3");
    let error = daemon.wait_for_line("listening", PATIENCE).unwrap_err().to_string();
    assert!(error.contains("exit status: 3") && error.contains("cannot open the database"), "{error}");
}

#[test]
fn it_is_ended_by_the_signal_that_was_asked_for() {
    let mut daemon = shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done");
    daemon.wait_for_line("ready", PATIENCE).unwrap();
    assert!(daemon.terminate(PATIENCE).unwrap().success());
    assert_eq!(daemon.stdout(), "ready\nbye\n");

    let mut daemon = shell("trap '' TERM; echo ready; exec sleep 600");
    daemon.wait_for_line("ready", PATIENCE).unwrap();
    assert_eq!(daemon.kill().unwrap().signal(), Some(9));
    assert!(!daemon.is_running());
}

#[test]
fn dropping_it_ends_what_it_had_started() {
    let mut daemon = shell("sleep 600 & echo child $!; wait");
    let line = daemon.wait_for_line("child", PATIENCE).unwrap();
    let child = line.rsplit(' ').next().unwrap().to_owned();
    drop(daemon);
    millrace_testkit::wait_until_blocking("the child is gone", PATIENCE, || {
        // Nobody may have collected it yet: a zombie has no command line.
        std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default().is_empty()
    })
    .unwrap();
}

#[test]
fn a_home_can_be_used_again() {
    let home = tempfile::tempdir().unwrap();
    let write = Daemon::builder("/bin/sh").args(["-c", "echo left > note"]).home(home.path());
    write.spawn().unwrap().wait(PATIENCE).unwrap();
    let mut read = Daemon::builder("/bin/cat").args(["note"]).home(home.path()).spawn().unwrap();
    read.wait(PATIENCE).unwrap();
    assert_eq!(read.stdout(), "left\n");
}

#[test]
fn a_health_url_that_nobody_serves_is_waited_for_in_vain() {
    let mut daemon = shell("exec sleep 600");
    let url = format!("http://127.0.0.1:{}/health", free_port().unwrap());
    let error = daemon.wait_for_url(&url, Duration::from_millis(50)).unwrap_err().to_string();
    assert!(error.contains(&url), "{error}");
}
