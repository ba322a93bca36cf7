//! Finds the programs of the servers, and names the Debian package of one that is missing.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Looks for `name` in `folders` first and then along PATH and the usual system folders (`/usr/sbin` is not on the PATH
/// of an ordinary user).
pub(crate) fn find(name: &str, folders: &[PathBuf], package: &str) -> Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let usual = ["/usr/local/bin", "/usr/bin", "/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    let candidates = folders.iter().cloned().chain(env::split_paths(&path)).chain(usual);
    for folder in candidates {
        let program = folder.join(name);
        if program.is_file() {
            return Ok(program);
        }
    }
    bail!(
        "the program `{name}` is not installed, and the tests need it: `apt-get install {package}`, or run tests/setup.sh"
    )
}

/// The folder of the newest PostgreSQL server that Debian's packages installed; they keep it off the PATH.
pub(crate) fn postgres_folders() -> Vec<PathBuf> {
    let Ok(versions) = fs::read_dir(Path::new("/usr/lib/postgresql")) else { return Vec::new() };
    let mut versions: Vec<(u32, PathBuf)> = versions
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    versions.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_program_names_its_package() {
        let error = find("surely-not-a-program", &[], "some-package").unwrap_err().to_string();
        assert!(error.contains("surely-not-a-program") && error.contains("apt-get install some-package"), "{error}");
    }
}
