//! What a process takes of the machine's memory for its work.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

/// The kernel keeps no highest value of this part.
const LOOKS_EVERY: Duration = Duration::from_millis(2);

/// Bytes of memory that hold what the process made (`RssAnon`). Pages of its program, which the kernel maps and drops as it
/// likes, are not among them.
pub fn own_memory(pid: u32) -> Result<u64> {
    status(pid, "RssAnon:")
}

/// Bytes of its program and libraries that are mapped now (`RssFile`).
pub fn mapped_program(pid: u32) -> Result<u64> {
    status(pid, "RssFile:")
}

fn status(pid: u32, name: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(number.with_context(|| format!("{path} has no {name}"))? * 1024)
}

/// What `work` gives, and the most that the process had meanwhile, in bytes.
pub fn most_memory<T>(pid: u32, work: impl FnOnce() -> T) -> Result<(T, u64)> {
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also when the work panics: the scope would wait for its thread for ever.
        let done = Done(&is_done);
        let watch = scope.spawn(|| {
            let mut most = 0;
            while !is_done.load(Ordering::Relaxed) {
                most = own_memory(pid)?.max(most);
                thread::sleep(LOOKS_EVERY);
            }
            Ok(most)
        });
        let gave = work();
        drop(done);
        let most: Result<u64> = watch.join().expect("the watch does not panic");
        Ok((gave, most?))
    })
}

struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
