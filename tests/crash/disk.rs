//! The disk is full, or takes no more writes, under a daemon that goes on.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use millrace_testkit::{Daemon, wait_until_blocking};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{PATIENCE, TestHome};

/// What is in the daemon's way, and out of it again.
trait Obstacle {
    fn begin(&self, daemon: &Daemon);
    fn end(&self, daemon: &Daemon);
    /// Whether the daemon can still say what is wrong.
    fn spares_the_log(&self) -> bool;
}

/// No file of the process may be written to.
struct WriteLimit;

impl WriteLimit {
    fn set(daemon: &Daemon, limit: Option<u64>) {
        let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap());
        let maximum = getrlimit(Resource::Fsize).maximum;
        prlimit(pid, Resource::Fsize, Rlimit { current: limit, maximum }).unwrap();
    }
}

impl Obstacle for WriteLimit {
    fn begin(&self, daemon: &Daemon) {
        Self::set(daemon, Some(0));
    }

    fn end(&self, daemon: &Daemon) {
        Self::set(daemon, getrlimit(Resource::Fsize).current);
    }

    fn spares_the_log(&self) -> bool {
        false
    }
}

/// A disk of a few megabytes, with a file that takes all that is left.
struct SmallDisk {
    place: PathBuf,
}

impl SmallDisk {
    fn mounted_on(place: &Path) -> Self {
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(place).status();
        assert!(mounted.unwrap().success(), "root can mount a file system of its own");
        Self { place: place.to_owned() }
    }
}

impl Obstacle for SmallDisk {
    fn begin(&self, _: &Daemon) {
        let mut file = fs::File::create(self.place.join("filler")).unwrap();
        while file.write_all(&[7; 4096]).is_ok() {}
    }

    fn end(&self, _: &Daemon) {
        fs::remove_file(self.place.join("filler")).unwrap();
    }

    fn spares_the_log(&self) -> bool {
        true
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.place).status();
    }
}

/// A run is under way when the obstacle comes; it ends while nothing can be written down.
fn goes_on_behind(home: &mut TestHome, obstacle: &dyn Obstacle) {
    // Whoever reads the files first, the daemon or a command, is told so.
    home.set("MILLRACE__CORE__DAGS_ARE_PAUSED_AT_CREATION", "false");
    let home = &*home;
    let outside = TempDir::new().unwrap();
    let file = |name: &str| outside.path().join(name);
    let (gate, effects) = (file("gate"), file("effects"));
    fs::create_dir_all(home.file("dags")).unwrap();
    home.write_dag(
        "works.yaml",
        &format!(
            "schedule: none\ntasks:\n  a:\n    operator: bash\n    command: |\n      echo a >> {effects}\n      while ! test -e {gate}; do sleep 0.05; done\n  b: {{operator: bash, command: 'echo b >> {effects}', depends_on: [a]}}\n",
            effects = effects.display(),
            gate = gate.display(),
        ),
    );
    // Always something to write down, so that what little room is left is used up.
    home.write_dag("busy.yaml", "schedule: {every: 1s}\ntasks: {t: {operator: noop}}\n");
    // A file that is too large would end the process by a signal, which a full disk does not.
    let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
    let program = env!("CARGO_BIN_EXE_millrace");
    let mut daemon = Daemon::builder("/bin/sh")
        .args(["-c", script, program, "standalone", "--port", "0"])
        .home(home.path())
        .env("MILLRACE__CORE__DAGS_ARE_PAUSED_AT_CREATION", "false")
        .spawn()
        .unwrap();
    let line = daemon.wait_for_line("address   http://127.0.0.1:", PATIENCE).unwrap();
    let health = format!("{}/api/v1/health", line.trim().strip_prefix("address").unwrap().trim());
    let scheduler = || -> Value { ureq::get(&health).call().unwrap().body_mut().read_json().unwrap() };
    let is = |status: &str| scheduler()["scheduler"]["status"] == status;
    wait_until_blocking("it is healthy", PATIENCE, || is("healthy")).unwrap();
    home.ok(&["dags", "trigger", "works", "--run-id", "r"]);
    wait_until_blocking("a task works", PATIENCE, || effects.exists()).unwrap();

    obstacle.begin(&daemon);
    wait_until_blocking("it says that it is degraded", PATIENCE, || is("degraded")).unwrap();
    // What the database says is for its operator, not for everybody who may ask for its health.
    let said = scheduler()["scheduler"]["problem"].to_string();
    assert!(said.contains("trouble with") && !said.contains("disk"), "{said}");
    let names_it = || ["disk", "full"].iter().any(|word| daemon.stderr().contains(word));
    if obstacle.spares_the_log() {
        wait_until_blocking("its log says why", PATIENCE, names_it).unwrap();
    }
    fs::write(&gate, "").unwrap();
    assert_eq!(fs::read_to_string(&effects).unwrap(), "a\n", "nothing follows from what is not written down");
    obstacle.end(&daemon);

    wait_until_blocking("it works again", PATIENCE, || is("healthy")).unwrap();
    let state = || home.ok(&["dags", "state", "works", "r"]).stdout;
    wait_until_blocking("the run ends", PATIENCE, || state() != "running\n").unwrap();
    assert_eq!(state(), "success\n", "{}", daemon.stderr());
    assert_eq!(fs::read_to_string(&effects).unwrap(), "a\nb\n", "each once: no result was lost");
    assert!(daemon.terminate(PATIENCE).unwrap().success(), "{}", daemon.stderr());
    assert!(!daemon.stderr().contains("panicked"), "{}", daemon.stderr());
    home.ok(&["db", "check"]);
}

#[test]
fn a_daemon_that_may_write_nothing_for_a_while_loses_nothing() {
    goes_on_behind(&mut TestHome::new(), &WriteLimit);
}

/// Only root can give a test a disk of its own: anybody else becomes root of a namespace of their own first.
#[test]
fn a_full_disk_loses_nothing() {
    if !rustix::process::geteuid().is_root() {
        let test = ["--exact", "disk::a_full_disk_loses_nothing", "--nocapture"];
        let program = std::env::current_exe().unwrap();
        let inner =
            Command::new("unshare").args(["--user", "--map-root-user", "--mount"]).arg(program).args(test).status();
        let inner = inner.expect("unshare is there: install the Debian package util-linux");
        assert!(
            inner.success(),
            "it failed as root of a user namespace (see above); where a machine gives no such namespaces, run this test as root"
        );
        return;
    }
    let mut home = TestHome::new();
    let disk = SmallDisk::mounted_on(home.path());
    goes_on_behind(&mut home, &disk);
}
