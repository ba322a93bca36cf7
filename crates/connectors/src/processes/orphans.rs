//! Finds processes that another daemon of the same home left behind.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, Signal, getpgid, getpid, kill_process_group};

use super::LEASE_OWNER_VARIABLE;

/// Names this process, and no other that gets its number later.
pub fn owner_mark() -> String {
    let pid = std::process::id();
    format!("{pid}-{}", started(pid).unwrap_or_default())
}

/// Kills every process group with a member that was started for this installation by a process that lives no more, or by
/// another one with a number of `given_up`, and returns how many they were. A daemon that lives, though it hangs, answers
/// for what it started until it is given up. Reads `/proc`: on systems without it nothing is found. Processes of other
/// users can't be looked into and are passed over.
pub fn kill_orphans(installation: &str, given_up: &[u32]) -> usize {
    let mut groups = BTreeSet::new();
    // Our own group is spared: a daemon may itself be a task of another one with the same home's name.
    let own = getpgid(None).unwrap_or_else(|_| getpid());
    let own_mark = owner_mark();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        let Some(owner) = owner_of(&environment, installation) else { continue };
        let is_given_up = pid_of(owner).is_some_and(|pid| given_up.contains(&pid));
        if owner == own_mark || (lives(owner) && !is_given_up) {
            continue;
        }
        if let Ok(group) = getpgid(Some(pid))
            && group != own
        {
            groups.insert(group.as_raw_nonzero());
        }
    }
    groups
        .into_iter()
        .filter_map(|group| Pid::from_raw(group.get()))
        .filter(|group| kill_process_group(*group, Signal::KILL).is_ok())
        .count()
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
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // What comes before is the program's name, which may hold anything.
    let (_, facts) = stat.rsplit_once(')')?;
    let mut facts = facts.split_ascii_whitespace();
    let has_ended = matches!(facts.next()?, "Z" | "X");
    facts.nth(18).filter(|_| !has_ended).map(str::to_owned)
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
