//! Finds processes that another daemon of the same home left behind.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};
use std::{fs, thread};

use rustix::process::{Pid, Signal, getpgid, getpid, kill_process_group};

use super::LEASE_OWNER_VARIABLE;

/// Names this process, and no other that gets its number later.
pub fn owner_mark() -> String {
    let pid = std::process::id();
    format!("{pid}-{}", started(pid).unwrap_or_default())
}

/// How long a killed process may take to be gone: one that waits for a broken disk may take for ever.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

/// Kills every process group with a member that was started for this installation by a process that lives no more, or by
/// another one with a number of `given_up`, waits until they are gone, so that nothing of theirs is held when their tasks
/// are tried again, and returns how many they were. A daemon that lives, though it hangs, answers for what it started until
/// it is given up. Reads `/proc`: on systems without it nothing is found. Processes of other users can't be looked into and
/// are passed over. Blocks for as long as that takes, at most 10 seconds.
pub fn kill_orphans(installation: &str, given_up: &[u32]) -> usize {
    let deadline = Instant::now() + GONE_WITHIN;
    let mut killed = BTreeSet::new();
    loop {
        let groups = orphaned_groups(installation, given_up);
        for group in groups.iter().filter_map(|group| Pid::from_raw(*group)) {
            if kill_process_group(group, Signal::KILL).is_ok() {
                killed.insert(group.as_raw_nonzero());
            }
        }
        while groups.iter().any(|group| has_members(*group)) && Instant::now() < deadline {
            thread::sleep(PAUSE);
        }
        // What was being started while we looked is found the next time.
        if groups.is_empty() || Instant::now() >= deadline {
            return killed.len();
        }
    }
}

fn orphaned_groups(installation: &str, given_up: &[u32]) -> BTreeSet<i32> {
    // Our own group is spared: a daemon may itself be a task of another one with the same home's name.
    let own = getpgid(None).unwrap_or_else(|_| getpid());
    let own_mark = owner_mark();
    let is_orphan = |pid: &Pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        owner_of(&environment, installation).is_some_and(|owner| {
            let is_given_up = pid_of(owner).is_some_and(|pid| given_up.contains(&pid));
            owner != own_mark && (is_given_up || !lives(owner))
        })
    };
    let groups = processes().filter(is_orphan).filter_map(|pid| getpgid(Some(pid)).ok());
    groups.filter(|group| *group != own).map(Pid::as_raw_pid).collect()
}

fn processes() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?))
}

/// Of members that have ended nothing is left but what their parent was not told yet.
fn has_members(group: i32) -> bool {
    processes().any(|pid| facts_of(pid).is_some_and(|facts| facts.group == group && !facts.has_ended))
}

/// None: it was not started for this installation.
fn owner_of<'a>(environment: &'a [u8], installation: &str) -> Option<&'a str> {
    let value = environment.split(|byte| *byte == 0).find_map(|variable| {
        let value = variable.strip_prefix(LEASE_OWNER_VARIABLE.as_bytes())?.strip_prefix(b"=")?;
        value.strip_prefix(installation.as_bytes())?.strip_prefix(b"/")
    })?;
    std::str::from_utf8(value).ok()
}

fn pid_of(owner: &str) -> Option<u32> {
    owner.split('-').next()?.parse().ok()
}

fn lives(owner: &str) -> bool {
    let Some((pid, start)) = owner.split_once('-') else { return false };
    pid.parse().is_ok_and(|pid| started(pid).is_some_and(|found| found == start))
}

/// When a process that lives was started, in the system's own count. None for one that has ended, also if nobody has been
/// told yet.
fn started(pid: u32) -> Option<String> {
    let facts = facts_of(Pid::from_raw(pid.try_into().ok()?)?)?;
    (!facts.has_ended).then_some(facts.started)
}

/// What the system tells of a process.
struct Facts {
    has_ended: bool,
    group: i32,
    started: String,
}

fn facts_of(pid: Pid) -> Option<Facts> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // What comes before is the program's name, which may hold anything.
    let (_, facts) = stat.rsplit_once(')')?;
    let mut facts = facts.split_ascii_whitespace();
    Some(Facts {
        has_ended: matches!(facts.next()?, "Z" | "X"),
        group: facts.nth(1)?.parse().ok()?,
        started: facts.nth(16)?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::{lives, owner_mark, owner_of, pid_of};

    #[test]
    fn processes_of_this_installation_name_their_owner() {
        assert_eq!(owner_of(b"A=1\0MILLRACE_LEASE_OWNER=home/7-99\0B=2\0", "home"), Some("7-99"));
        assert_eq!(owner_of(b"MILLRACE_LEASE_OWNER=home2/7-99\0", "home"), None);
        assert_eq!(owner_of(b"XMILLRACE_LEASE_OWNER=home/7-99\0", "home"), None);
        assert_eq!(pid_of("7-99"), Some(7));
    }

    #[test]
    fn an_owner_lives_until_its_number_is_another_s() {
        let own = owner_mark();
        assert!(lives(&own));
        assert!(!lives(&format!("{}-1", std::process::id())));
        assert!(!lives("old"));
    }
}
