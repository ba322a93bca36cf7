//! A home that somebody made beforehand may be open to everybody on the machine.

use std::fs::{self, Metadata, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

/// Whether the mode lets others than the owner and the group see what is in it, or put something there. To pass through to
/// what they know by name, such as DAG files that others write, is somebody's choice.
pub fn is_open(home: &Metadata) -> bool {
    home.mode() & 0o006 != 0
}

/// Takes from others what the mode of the home lets them do, if the folder is only ours, and says so in the log. A group
/// that was let in stays.
pub fn close(root: &Path) {
    let Ok(home) = fs::metadata(root) else { return };
    if !is_open(&home) {
        return;
    }
    let mode = home.mode() & 0o7777;
    let folder = root.display();
    let closed = Permissions::from_mode(mode & !0o007);
    let me = rustix::process::geteuid().as_raw();
    if home.uid() != me {
        // A volume that the machine makes for whoever runs in it.
        let owner = home.uid();
        tracing::info!(%folder, "the home is open to others on this machine (mode {mode:o}), and user {owner}'s, who may close it");
    } else if is_only_ours(root, &home) && fs::set_permissions(root, closed).is_ok() {
        tracing::warn!(%folder, "others on this machine could look into the home (mode {mode:o}); they can no more");
    } else {
        tracing::warn!(%folder, "others on this machine can look into the home (mode {mode:o}): chmod o-rwx it");
    }
}

/// Not `/tmp` or `/var`, which others need.
fn is_only_ours(root: &Path, home: &Metadata) -> bool {
    let me = rustix::process::geteuid().as_raw();
    let is_shared = home.mode() & 0o1000 != 0 || root.ancestors().count() <= 2;
    let is_mine = |entry: std::io::Result<fs::DirEntry>| {
        entry.and_then(|entry| entry.metadata()).is_ok_and(|metadata| metadata.uid() == me)
    };
    !is_shared && fs::read_dir(root).is_ok_and(|mut entries| entries.all(is_mine))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_home_of_ours_is_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        fs::create_dir(&home).unwrap();
        fs::write(home.join("millrace.db"), "").unwrap();
        // What it is, and what it is made.
        for (before, after) in
            [(0o755, 0o750), (0o777, 0o770), (0o700, 0o700), (0o750, 0o750), (0o1777, 0o1777), (0o711, 0o711)]
        {
            fs::set_permissions(&home, Permissions::from_mode(before)).unwrap();
            close(&home);
            assert_eq!(fs::metadata(&home).unwrap().mode() & 0o7777, after, "{before:o}");
        }
        close(&folder.path().join("none"));
        assert!(!is_only_ours(Path::new("/var"), &fs::metadata("/var").unwrap()));
    }
}
