//! Where a program is.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

/// The file that `program` names in `path`, the child's own `PATH`; `program` itself when it is a path already or is not
/// found, so that the start says what is wrong.
///
/// The standard library starts a file that it need not look for without copying the daemon first; for a mere name and an
/// environment of the child's own it would `fork`, which costs more the more memory the daemon has.
pub(super) fn located(program: &str, path: Option<&OsStr>) -> OsString {
    if program.contains('/') {
        return program.into();
    }
    let folders = path.into_iter().flat_map(std::env::split_paths);
    let mut files = folders.take_while(|folder| folder.is_absolute()).map(|folder| folder.join(program));
    files.find(|file| is_executable(file)).map_or_else(|| program.into(), PathBuf::into_os_string)
}

fn is_executable(file: &Path) -> bool {
    file.is_file() && access(file, Access::EXEC_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::located;

    #[test]
    fn the_first_executable_file_in_the_path_is_taken() {
        let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
        let path = std::env::join_paths(folders.iter().map(|folder| folder.path())).unwrap();
        std::fs::create_dir(folders[0].path().join("tool")).unwrap();
        std::fs::write(folders[1].path().join("tool"), "no program").unwrap();
        assert_eq!(located("tool", Some(&path)), "tool", "neither a folder nor a text is a program");
        let program = folders[2].path().join("tool");
        std::fs::write(&program, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        assert_eq!(located("tool", Some(&path)), program.as_os_str());
        assert_eq!(located("./tool", Some(&path)), "./tool");
        assert_eq!(located("tool", None), "tool");
        // A relative folder is the child's to look in: it may run in another one.
        let mixed = std::env::join_paths([std::path::Path::new("bin"), folders[2].path()]).unwrap();
        assert_eq!(located("tool", Some(&mixed)), "tool");
    }
}
