//! A second pair of eyes on a process that a test owns.
//!
//! `Drop` does not run when a test is killed (a runner's time limit, Ctrl-C). So a small shell waits on a pipe that the
//! test process holds: when the pipe closes without a word, the test is gone, and the shell ends what it had started.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

const SCRIPT: &str = r#"
if ! read -r _; then
    kill -s KILL -- "-$1" 2>/dev/null
    if [ -n "$2" ]; then rm -rf -- "$2"; fi
fi
"#;

/// Kills a process group, and removes a folder, when the test process dies. Letting go of it does neither.
#[derive(Debug)]
pub(crate) struct Leash(Child);

impl Leash {
    /// `group` is the id of a process group that was made for the child (`process_group(0)`).
    pub(crate) fn new(group: u32, folder: Option<&Path>) -> Result<Self> {
        let child = Command::new("/bin/sh")
            .args(["-c", SCRIPT, "millrace-testkit-leash", &group.to_string()])
            .arg(folder.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // A runner that kills the test's process group must not take the shell with it.
            .process_group(0)
            .spawn()
            .context("cannot start /bin/sh to watch over a test's process")?;
        Ok(Self(child))
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        if let Some(stdin) = &mut self.0.stdin {
            let _ = stdin.write_all(b"let go\n");
        }
        let _ = self.0.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    fn sleeper() -> Child {
        Command::new("sleep").arg("600").process_group(0).spawn().unwrap()
    }

    #[test]
    fn when_the_test_dies_its_process_and_folder_go() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = sleeper();
        let mut leash = Leash::new(child.id(), Some(folder.path())).unwrap();
        // What the kernel does when the test process dies.
        drop(leash.0.stdin.take());
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        leash.0.wait().unwrap();
        assert!(!folder.path().exists());
    }

    #[test]
    fn letting_go_touches_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = sleeper();
        drop(Leash::new(child.id(), Some(folder.path())).unwrap());
        assert!(child.try_wait().unwrap().is_none() && folder.path().exists());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
