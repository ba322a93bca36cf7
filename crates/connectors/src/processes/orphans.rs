//! Finds processes that a dead daemon of the same home left behind.

use std::collections::BTreeSet;
use std::fs;

use rustix::process::{Pid, Signal, getpgid, getpid, kill_process_group};

use super::LEASE_OWNER_VARIABLE;

/// Kills every process group with a member that was started for this installation by an owner other than `live_owner`,
/// and returns their number. Reads `/proc`: on systems without it nothing is found. Processes of other users can't be
/// looked into and are passed over.
pub fn kill_orphans(installation: &str, live_owner: &str) -> usize {
    let mut groups = BTreeSet::new();
    // Our own group is spared: a daemon may itself be a task of another one with the same home's name.
    let own = getpgid(None).unwrap_or_else(|_| getpid());
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw) else {
            continue;
        };
        let Ok(environment) = fs::read(entry.path().join("environ")) else { continue };
        if !is_orphan(&environment, installation, live_owner) {
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

fn is_orphan(environment: &[u8], installation: &str, live_owner: &str) -> bool {
    environment.split(|byte| *byte == 0).any(|variable| {
        variable
            .strip_prefix(LEASE_OWNER_VARIABLE.as_bytes())
            .and_then(|rest| rest.strip_prefix(b"="))
            .and_then(|value| value.strip_prefix(installation.as_bytes()))
            .and_then(|rest| rest.strip_prefix(b"/"))
            .is_some_and(|owner| owner != live_owner.as_bytes())
    })
}

#[cfg(test)]
mod tests {
    use super::is_orphan;

    #[test]
    fn only_dead_owners_of_this_installation_are_orphans() {
        assert!(is_orphan(b"A=1\0MILLRACE_LEASE_OWNER=home/old\0B=2\0", "home", "new"));
        assert!(!is_orphan(b"MILLRACE_LEASE_OWNER=home/new\0", "home", "new"));
        assert!(!is_orphan(b"MILLRACE_LEASE_OWNER=home2/old\0", "home", "new"));
        assert!(!is_orphan(b"XMILLRACE_LEASE_OWNER=home/old\0", "home", "new"));
    }
}
